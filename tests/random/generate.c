/* Writes a random network, statement by statement.
 *
 * The generator knows the kind and shape of every value, so that each statement follows the rules of the language; what
 * it cannot foresee is only whether sums stay within 32 bits, which the compiler then refuses. Sizes are small and
 * mostly odd: the work of one image is bounded by MOST_WORK multiply-adds.
 */
#include "generate.h"
#include "element.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 40, MOST_BLOCKS = 2, MOST_WORK = 400000, MOST_ELEMENTS = 6000, NAME_BYTES = 16 };

typedef enum Kind { KIND_QUANTIZED, KIND_I32, KIND_F32 } Kind;

typedef struct Tensor {
  char name[NAME_BYTES];
  Kind kind;
  ElementChoice element; /* QUANTIZED */
  bool one_scale;        /* the same scale for all channels */
  int type_id;           /* equal where two quantized tensors surely have equal types; 0: of its own */
  int rank, dim[4];
  bool used;
} Tensor;

typedef struct BlockShape {
  ElementChoice result;
} BlockShape;

typedef struct Generator {
  RandomSource random;
  FILE *head, *body; /* constants and blocks; statements */
  Tensor tensors[MOST_TENSORS];
  int tensor_count;
  BlockShape blocks[MOST_BLOCKS];
  int block_count;
  int names; /* counts fresh names */
  long work;
} Generator;

/* --- values --- */

static bool is_image(const Tensor *t) {
  return t->rank == 3;
}
static bool is_quantized(const Tensor *t) {
  return t->kind == KIND_QUANTIZED;
}
static bool can_multiply(const Tensor *t) {
  return is_quantized(t) && t->one_scale;
}
static bool is_multiplied_image(const Tensor *t) {
  return can_multiply(t) && is_image(t);
}
static bool is_block_operand(const Tensor *t) {
  return is_multiplied_image(t) && element_has_zero(&t->element);
}
static bool is_anything(const Tensor *t) {
  return t->rank > 0;
}

static int element_count(const Tensor *t) {
  int n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->dim[i];
  return n;
}

static bool same_shape(const Tensor *a, const Tensor *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, sizeof(int) * (size_t)a->rank) == 0;
}

/* A tensor that fits, recent and unused ones more often; NULL if there is none. */
static Tensor *pick(Generator *g, bool (*fits)(const Tensor *)) {
  Tensor *chosen = NULL;
  for (int i = 0; i < g->tensor_count; i++) {
    Tensor *t = &g->tensors[i];
    if (fits(t) && (!chosen || random_chance(&g->random, chosen->used && !t->used ? 90 : t->used ? 25 : 60)))
      chosen = t;
  }
  return chosen;
}

/* Copies `t` under a fresh name; the copy is not in the list until keep(). */
static Tensor derive(Generator *g, const Tensor *t) {
  Tensor n = *t;
  n.used = false;
  snprintf(n.name, sizeof n.name, "v%d", g->names++);
  return n;
}

static void keep(Generator *g, const Tensor *t) {
  g->tensors[g->tensor_count++] = *t;
}

static void make_real(Tensor *t) {
  t->kind = KIND_F32;
}

static void make_sums(Tensor *t) {
  t->kind = KIND_I32;
  t->one_scale = false;
}

static int odd_size(Generator *g) {
  static const int sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13};
  return RANDOM_OF(&g->random, sizes);
}

static int channel_count(Generator *g) {
  static const int usual[] = {1, 2, 3, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33};
  static const int large[] = {40, 48, 63, 64, 65, 72, 96, 127, 128, 129, 160};
  return random_chance(&g->random, 75) ? RANDOM_OF(&g->random, usual) : RANDOM_OF(&g->random, large);
}

static const char *number(Generator *g) {
  static const char *const numbers[] = {"1", "0.5", "1/4", "0.37", "3/2", "2", "1e-2", "0.1", "5/7", "(1 + 2) / 16"};
  return RANDOM_OF(&g->random, numbers);
}

/* --- inputs --- */

static void random_shape(Generator *g, Tensor *t) {
  RandomSource *r = &g->random;
  do {
    t->rank = random_chance(r, 80) ? 3 : random_in(r, 1, 4);
    for (int i = 0; i < t->rank; i++) t->dim[i] = i == t->rank - 1 ? channel_count(g) : odd_size(g);
  } while (element_count(t) > MOST_ELEMENTS / 2);
}

static void add_input(Generator *g) {
  Tensor t = {.one_scale = true};
  snprintf(t.name, sizeof t.name, "in%d", g->tensor_count);
  t.element = element_choose(&g->random);
  bool is_real = g->tensor_count > 0 && random_chance(&g->random, 20);
  t.kind = is_real ? KIND_F32 : KIND_QUANTIZED;
  random_shape(g, &t);
  if (is_real) t.rank = t.rank == 2 ? 1 : t.rank;
  fprintf(g->body, "  input %s : %s[", t.name, is_real ? "f32" : t.element.element->name);
  for (int i = 0; i < t.rank; i++) fprintf(g->body, "%s%d", i > 0 ? ", " : "", t.dim[i]);
  fprintf(g->body, "]");
  bool shifted = !is_real && t.element.zero2 != t.element.element->zero2;
  if (shifted)
    fprintf(g->body, "(zero=%d/2, scale=%s)", t.element.zero2, number(g));
  else if (!is_real && random_chance(&g->random, 40))
    fprintf(g->body, "(scale=%s)", number(g));
  fprintf(g->body, "\n");
  keep(g, &t);
}

/* --- element for element --- */

/* name="..." where the assignment's name would serve two operations, and at will elsewhere. */
static void write_name(Generator *g, bool *default_taken, const char *before, const char *after) {
  if (!*default_taken && random_chance(&g->random, 60))
    *default_taken = true;
  else
    fprintf(g->body, "%sname=\"n%d\"%s", before, g->names++, after);
}

static void write_parametrised(Generator *g, const char *op, bool *default_taken) {
  fputs(op, g->body);
  write_name(g, default_taken, "(", ")");
}

static void write_quantize_to(Generator *g, Tensor *t, ElementChoice element, bool *default_taken) {
  t->element = element;
  t->kind = KIND_QUANTIZED;
  t->one_scale = true;
  t->type_id = 0;
  fprintf(g->body, "quantize(%s", t->element.text);
  if (random_chance(&g->random, 35)) {
    int choice = random_in(&g->random, 1, 4);
    fprintf(g->body, ", scale=%d/8", choice);
    t->type_id = (int)(t->element.element - elements) * 10000 + (t->element.zero2 + 700) * 5 + choice;
  } else {
    write_name(g, default_taken, ", ", "");
  }
  fprintf(g->body, ")");
}

static void write_quantize(Generator *g, Tensor *t, bool *default_taken) {
  write_quantize_to(g, t, element_choose(&g->random), default_taken);
}

/* One operation on the value that stands before the pipe sign. */
static void write_step(Generator *g, Tensor *t, bool *default_taken) {
  static const char *const parametrised[] = {"batchnorm", "affine", "bias", "prelu"};
  static const char *const plain[] = {"relu",       "relu6",      "sign",
                                      "dequantize", "leaky_relu", "hardtanh(lo=-0.75, hi=1.25)"};
  int choice = random_in(&g->random, 1, 100);
  if (choice <= 40) {
    write_parametrised(g, RANDOM_OF(&g->random, parametrised), default_taken);
  } else if (choice <= 75) {
    const char *op = RANDOM_OF(&g->random, plain);
    if (strcmp(op, "dequantize") == 0 && t->kind == KIND_F32) op = "relu";
    fputs(op, g->body);
  } else if (choice <= 80) {
    static const char *const alphas[] = {"0.1", "1/4", "0", "-0.5", "1.5"};
    fprintf(g->body, "leaky_relu(alpha=%s)", RANDOM_OF(&g->random, alphas));
  } else {
    write_quantize(g, t, default_taken);
    return;
  }
  make_real(t);
}

static void write_steps(Generator *g, Tensor *t, int count, bool default_taken) {
  for (int i = 0; i < count; i++) {
    fputs(" | ", g->body);
    write_step(g, t, &default_taken);
  }
}

/* batchnorm | activation | quantize: what follows most layers of real networks. */
static void write_usual_steps(Generator *g, Tensor *t, bool default_taken) {
  static const char *const activations[] = {"", "", " | relu", " | relu", " | relu6", " | hardtanh(-1, 1)", " | prelu"};
  const char *activation = RANDOM_OF(&g->random, activations);
  fputs(" | ", g->body);
  write_parametrised(g, "batchnorm", &default_taken);
  if (strcmp(activation, " | prelu") == 0) {
    fputs(" | ", g->body);
    write_parametrised(g, "prelu", &default_taken);
  } else {
    fputs(activation, g->body);
  }
  fputs(" | ", g->body);
  write_quantize(g, t, &default_taken);
}

static void write_tail(Generator *g, Tensor *t, bool default_taken) {
  if (random_chance(&g->random, 45))
    write_usual_steps(g, t, default_taken);
  else if (random_chance(&g->random, 40))
    write_steps(g, t, random_in(&g->random, 1, 4), default_taken);
  fputc('\n', g->body);
  keep(g, t);
}

static bool make_steps(Generator *g) {
  Tensor *x = pick(g, is_anything);
  Tensor t = derive(g, x);
  x->used = true;
  fprintf(g->body, "  %s = %s", t.name, x->name);
  write_steps(g, &t, random_in(&g->random, 1, 3), false);
  fputc('\n', g->body);
  keep(g, &t);
  return true;
}

static bool make_quantize(Generator *g) {
  Tensor *x = pick(g, is_anything);
  Tensor t = derive(g, x);
  bool default_taken = false;
  x->used = true;
  fprintf(g->body, "  %s = %s | ", t.name, x->name);
  write_quantize(g, &t, &default_taken);
  fputc('\n', g->body);
  keep(g, &t);
  return true;
}

/* --- windows --- */

typedef struct Window {
  int kernel[2], stride[2], dilation[2], pad[4]; /* pad: top, left, bottom, right */
} Window;

static int window_count(const Window *w, int axis, int size) {
  int room = size + w->pad[axis] + w->pad[axis + 2] - ((w->kernel[axis] - 1) * w->dilation[axis] + 1);
  return room < 0 ? 0 : room / w->stride[axis] + 1;
}

/* A window that fits the image; pads stay below `most_pad` of the kernel where that counts (pooling). */
static Window random_window(Generator *g, const Tensor *x, bool is_pool) {
  RandomSource *r = &g->random;
  Window w;
  do {
    w = (Window){{1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}};
    bool square = random_chance(r, 70), padded = random_chance(r, 60), strided = random_chance(r, 30);
    bool dilated = !is_pool && random_chance(r, 15);
    for (int i = 0; i < 2; i++) {
      w.kernel[i] = i > 0 && square ? w.kernel[0] : random_in(r, 1, 5);
      if (strided) w.stride[i] = random_in(r, 1, 3);
      if (dilated) w.dilation[i] = random_in(r, 1, 3);
    }
    for (int i = 0; padded && i < 4; i++) {
      int most = is_pool ? w.kernel[i % 2] - 1 : 3;
      w.pad[i] = square && i > 0 ? w.pad[0] : random_in(r, 0, most < 3 ? most : 3);
      if (is_pool && w.pad[i] > most) w.pad[i] = most;
    }
  } while (window_count(&w, 0, x->dim[0]) < 1 || window_count(&w, 1, x->dim[1]) < 1);
  return w;
}

static void write_pair(Generator *g, const char *name, const int pair[2], int absent) {
  if (pair[0] == pair[1] && pair[0] == absent) return;
  if (pair[0] == pair[1])
    fprintf(g->body, ", %s=%d", name, pair[0]);
  else
    fprintf(g->body, ", %s=[%d, %d]", name, pair[0], pair[1]);
}

static void write_pad(Generator *g, const int pad[4]) {
  bool symmetric = pad[0] == pad[2] && pad[1] == pad[3];
  if (!(pad[0] | pad[1] | pad[2] | pad[3])) return;
  if (symmetric && pad[0] == pad[1])
    fprintf(g->body, ", pad=%d", pad[0]);
  else if (symmetric)
    fprintf(g->body, ", pad=[%d, %d]", pad[0], pad[1]);
  else
    fprintf(g->body, ", pad=[%d, %d, %d, %d]", pad[0], pad[1], pad[2], pad[3]);
}

static void slide(Tensor *t, const Window *w) {
  for (int i = 0; i < 2; i++) t->dim[i] = window_count(w, i, t->dim[i]);
}

/* --- layers --- */

static bool afford(Generator *g, long work, const Tensor *result) {
  if (g->work + work > MOST_WORK || element_count(result) > MOST_ELEMENTS) return false;
  g->work += work;
  return true;
}

static int random_divisor(Generator *g, int n) {
  int divisors[32], count = 0;
  for (int d = 1; d <= n && count < 32; d++)
    if (n % d == 0) divisors[count++] = d;
  return divisors[random_in(&g->random, 0, count - 1)];
}

/* Ends the call of a layer whose weights are written; what follows is `t`. */
static bool finish_layer(Generator *g, Tensor *t) {
  bool default_taken = false;
  make_sums(t);
  if (random_chance(&g->random, 25)) {
    fprintf(g->body, ", bias=true");
    make_real(t);
  }
  write_name(g, &default_taken, ", ", "");
  fprintf(g->body, ")");
  write_tail(g, t, default_taken);
  return true;
}

static bool make_conv2d(Generator *g) {
  Tensor *x = pick(g, is_multiplied_image);
  if (!x) return false;
  Window w = random_window(g, x, false);
  Tensor t = derive(g, x);
  bool depthwise = random_chance(&g->random, 8);
  int groups = depthwise ? x->dim[2] : random_chance(&g->random, 12) ? random_divisor(g, x->dim[2]) : 1;
  t.dim[2] = depthwise ? groups : groups > 1 ? groups * random_in(&g->random, 1, 3) : channel_count(g);
  slide(&t, &w);
  if (!afford(g, (long)element_count(&t) * w.kernel[0] * w.kernel[1] * (x->dim[2] / groups), &t)) return false;
  x->used = true;
  if (depthwise) {
    fprintf(g->body, "  %s = depthwise_conv2d(%s", t.name, x->name);
  } else {
    fprintf(g->body, "  %s = conv2d(%s, %d", t.name, x->name, t.dim[2]);
    if (groups > 1) fprintf(g->body, ", groups=%d", groups);
  }
  write_pair(g, "kernel", w.kernel, 0);
  write_pair(g, "stride", w.stride, 1);
  write_pair(g, "dilation", w.dilation, 1);
  write_pad(g, w.pad);
  bool padded = w.pad[0] | w.pad[1] | w.pad[2] | w.pad[3];
  if (padded && !element_has_zero(&x->element))
    fprintf(g->body, ", pad_value=%d", element_random_level(&x->element, &g->random));
  fprintf(g->body, ", w=%s", element_choose(&g->random).text);
  return finish_layer(g, &t);
}

static bool make_linear(Generator *g) {
  Tensor *x = pick(g, can_multiply);
  if (!x) return false;
  Tensor t = derive(g, x);
  t.rank = 1;
  t.dim[0] = channel_count(g);
  if (!afford(g, (long)t.dim[0] * element_count(x), &t)) return false;
  x->used = true;
  const char *order = is_image(x) && random_chance(&g->random, 30) ? ", order=\"chw\"" : "";
  if (x->rank == 1)
    fprintf(g->body, "  %s = linear(%s", t.name, x->name);
  else
    fprintf(g->body, "  %s = linear(flatten(%s%s)", t.name, x->name, order);
  fprintf(g->body, ", %d, w=%s", t.dim[0], element_choose(&g->random).text);
  return finish_layer(g, &t);
}

/* A quantize to an element type of few bits, behind an activation or none: what follows a residual addition. */
static void write_few_bits(Generator *g, Tensor *t, bool *default_taken) {
  static const char *const activations[] = {"", "", "relu | ", "relu | ", "hardtanh(-2, 3) | ", "leaky_relu(0.25) | "};
  ElementChoice few;
  do few = element_choose(&g->random);
  while (few.element->q_max - few.element->q_min > 15);
  fprintf(g->body, " | %s", RANDOM_OF(&g->random, activations));
  if (random_chance(&g->random, 20)) {
    write_parametrised(g, "batchnorm", default_taken);
    fputs(" | ", g->body);
  }
  write_quantize_to(g, t, few, default_taken);
}

/* conv2d | batchnorm, plus its own input: a residual layer. */
static bool make_residual(Generator *g) {
  Tensor *x = pick(g, is_multiplied_image);
  if (!x) return false;
  Tensor t = derive(g, x);
  int kernel = element_has_zero(&x->element) ? 3 : 1;
  if (!afford(g, (long)element_count(x) * kernel * kernel * x->dim[2], &t)) return false;
  x->used = true;
  fprintf(g->body, "  c%s = conv2d(%s, %d, kernel=%d, pad=%d, w=%s) | batchnorm(name=\"n%d\")\n", t.name, x->name,
          x->dim[2], kernel, kernel / 2, element_choose(&g->random).text, g->names++);
  if (random_chance(&g->random, 50))
    fprintf(g->body, "  %s = add(c%s, %s)", t.name, t.name, x->name);
  else
    fprintf(g->body, "  %s = add(%s, c%s)", t.name, x->name, t.name);
  make_real(&t);
  bool default_taken = false;
  if (random_chance(&g->random, 70)) write_few_bits(g, &t, &default_taken);
  write_tail(g, &t, default_taken);
  return true;
}

static bool make_block_call(Generator *g) {
  Tensor *x = pick(g, is_block_operand);
  if (!x || g->block_count == 0) return false;
  int block = random_in(&g->random, 0, g->block_count - 1);
  Tensor t = derive(g, x);
  t.dim[2] = channel_count(g);
  if (!afford(g, (long)element_count(&t) * 9 * (x->dim[2] + t.dim[2]), &t)) return false;
  x->used = true;
  t.element = g->blocks[block].result;
  t.type_id = 0;
  if (random_chance(&g->random, 50))
    fprintf(g->body, "  %s = unit%d(%s, %d)", t.name, block, x->name, t.dim[2]);
  else
    fprintf(g->body, "  %s = unit%d(%s, channels=%d, name=\"b%d\")", t.name, block, x->name, t.dim[2], g->names++);
  fputc('\n', g->body);
  keep(g, &t);
  return true;
}

/* --- pools and shapes --- */

static bool make_pool(Generator *g) {
  static const char *const names[] = {"maxpool", "maxpool", "avgpool"};
  Tensor *x = pick(g, is_image);
  if (!x) return false;
  const char *name = RANDOM_OF(&g->random, names);
  Window w = random_window(g, x, true);
  Tensor t = derive(g, x);
  slide(&t, &w);
  if (!afford(g, (long)element_count(&t) * w.kernel[0] * w.kernel[1], &t)) return false;
  x->used = true;
  fprintf(g->body, "  %s = %s(%s", t.name, name, x->name);
  write_pair(g, "kernel", w.kernel, 0);
  fprintf(g->body, ", stride=[%d, %d]", w.stride[0], w.stride[1]);
  write_pad(g, w.pad);
  fprintf(g->body, ")");
  if (name[0] == 'a' && t.kind != KIND_F32) make_sums(&t);
  write_tail(g, &t, false);
  return true;
}

static bool make_global_pool(Generator *g) {
  Tensor *x = pick(g, is_image);
  if (!x) return false;
  Tensor t = derive(g, x);
  bool average = random_chance(&g->random, 50);
  x->used = true;
  t.dim[0] = t.dim[1] = 1;
  fprintf(g->body, "  %s = %s(%s)", t.name, average ? "global_avgpool" : "global_maxpool", x->name);
  if (average && t.kind != KIND_F32) make_sums(&t);
  write_tail(g, &t, false);
  return true;
}

static bool make_add(Generator *g) {
  Tensor *a = pick(g, is_anything);
  for (int i = 0; i < g->tensor_count; i++) {
    Tensor *b = &g->tensors[i];
    if (!same_shape(a, b) || (a == b && random_chance(&g->random, 80))) continue;
    Tensor t = derive(g, a);
    a->used = b->used = true;
    fprintf(g->body, "  %s = add(%s, %s)", t.name, a->name, b->name);
    make_real(&t);
    write_tail(g, &t, false);
    return true;
  }
  return false;
}

static bool may_concatenate(const Tensor *a, const Tensor *b, int axis) {
  if (a->rank != b->rank || a->kind != b->kind || a->kind == KIND_I32) return false;
  if (a != b && a->kind == KIND_QUANTIZED && (a->type_id == 0 || a->type_id != b->type_id)) return false;
  for (int i = 0; i < a->rank; i++)
    if (i != axis && a->dim[i] != b->dim[i]) return false;
  return true;
}

static bool make_concat(Generator *g) {
  Tensor *a = pick(g, is_anything);
  int axis = random_in(&g->random, 0, a->rank - 1), count = 1;
  Tensor t = derive(g, a), *parts[4] = {a};
  for (int i = 0; i < g->tensor_count && count < 4; i++)
    if (may_concatenate(a, &g->tensors[i], axis)) parts[count++] = &g->tensors[i];
  for (int i = 1; i < count; i++) t.dim[axis] += parts[i]->dim[axis];
  if (count == 1 || !afford(g, 0, &t)) return false;
  fprintf(g->body, "  %s = concat(%s", t.name, a->name);
  for (int i = 1; i < count; i++) fprintf(g->body, ", %s", parts[i]->name);
  for (int i = 0; i < count; i++) parts[i]->used = true;
  fprintf(g->body, ", axis=%d)", axis);
  write_tail(g, &t, false);
  return true;
}

static bool make_flatten(Generator *g) {
  Tensor *x = pick(g, is_anything);
  Tensor t = derive(g, x);
  t.rank = 1;
  t.dim[0] = element_count(x);
  x->used = true;
  bool chw = is_image(x) && random_chance(&g->random, 40);
  fprintf(g->body, "  %s = flatten(%s%s)\n", t.name, x->name, chw ? ", order=\"chw\"" : "");
  keep(g, &t);
  return true;
}

static bool make_reshape(Generator *g) {
  Tensor *x = pick(g, is_anything);
  if (!x->one_scale) return false;
  Tensor t = derive(g, x);
  int rest = element_count(x);
  t.rank = random_in(&g->random, 1, 4);
  x->used = true;
  for (int i = t.rank - 1; i > 0; i--) {
    t.dim[i] = random_divisor(g, rest);
    rest /= t.dim[i];
  }
  t.dim[0] = rest;
  fprintf(g->body, "  %s = reshape(%s, [", t.name, x->name);
  for (int i = 0; i < t.rank; i++) fprintf(g->body, "%s%d", i > 0 ? ", " : "", t.dim[i]);
  fprintf(g->body, "])\n");
  keep(g, &t);
  return true;
}

static bool make_upsample(Generator *g) {
  Tensor *x = pick(g, is_image);
  if (!x) return false;
  Tensor t = derive(g, x);
  int factor[2] = {random_in(&g->random, 1, 3), random_in(&g->random, 1, 3)};
  for (int i = 0; i < 2; i++) t.dim[i] *= factor[i];
  if (!afford(g, 0, &t)) return false;
  x->used = true;
  if (factor[0] == factor[1])
    fprintf(g->body, "  %s = upsample(%s, %d)\n", t.name, x->name, factor[0]);
  else
    fprintf(g->body, "  %s = upsample(%s, factor=[%d, %d])\n", t.name, x->name, factor[0], factor[1]);
  keep(g, &t);
  return true;
}

static bool make_row(Generator *g) {
  Tensor *x = pick(g, is_anything);
  Tensor t = derive(g, x);
  x->used = true;
  if (random_chance(&g->random, 50)) {
    fprintf(g->body, "  %s = softmax(%s)\n", t.name, x->name);
    make_real(&t);
  } else {
    fprintf(g->body, "  %s = argmax(%s)\n", t.name, x->name);
    t.kind = KIND_I32;
    t.one_scale = true;
    if (t.rank == 1)
      t.dim[0] = 1;
    else
      t.rank--;
  }
  keep(g, &t);
  return true;
}

/* --- the network --- */

static const struct Maker {
  int weight;
  bool (*make)(Generator *g);
} makers[] = {
    {30, make_conv2d},     {14, make_linear}, {12, make_residual}, {6, make_block_call}, {10, make_pool},
    {4, make_global_pool}, {9, make_add},     {6, make_concat},    {7, make_flatten},    {4, make_reshape},
    {4, make_upsample},    {3, make_row},     {14, make_steps},    {16, make_quantize},
};
enum { MAKER_COUNT = sizeof makers / sizeof makers[0] };

static void make_statement(Generator *g) {
  int total = 0;
  for (int i = 0; i < MAKER_COUNT; i++) total += makers[i].weight;
  for (int attempt = 0; attempt < 20; attempt++) {
    int choice = random_in(&g->random, 0, total - 1), maker = 0;
    while (choice >= makers[maker].weight) choice -= makers[maker++].weight;
    if (makers[maker].make(g)) return;
  }
}

static void add_block(Generator *g) {
  BlockShape *block = &g->blocks[g->block_count];
  do block->result = element_choose(&g->random);
  while (!element_has_zero(&block->result));
  fprintf(g->head, "block unit%d(x, channels, size=3) {\n", g->block_count++);
  fprintf(g->head, "  first = conv2d(x, channels, kernel=size, pad=\"same\", w=%s)\n", element_choose(&g->random).text);
  fprintf(g->head, "  mid = first | batchnorm(name=\"bn\") | relu | quantize(%s, name=\"act\")\n", block->result.text);
  if (random_chance(&g->random, 50)) {
    fprintf(g->head, "  second = conv2d(mid, channels, kernel=1, w=%s)\n", element_choose(&g->random).text);
    fprintf(g->head, "  return add(second | batchnorm(name=\"bn2\"), mid) | quantize(%s, name=\"act2\")\n}\n\n",
            block->result.text);
  } else {
    fprintf(g->head, "  return mid\n}\n\n");
  }
}

static void add_outputs(Generator *g) {
  Tensor *last = &g->tensors[g->tensor_count - 1];
  int count = 0;
  for (int i = 0; i < g->tensor_count; i++) {
    Tensor *t = &g->tensors[i];
    if (t == last || (!t->used && i > 0 && count < 6) || random_chance(&g->random, 4))
      fprintf(g->body, "  output out%d = %s\n", count++, t->name);
  }
}

char *generate_network(uint64_t seed) {
  char *head = NULL, *body = NULL, *text = NULL;
  size_t size;
  Generator g = {.random = {seed}};
  g.head = open_memstream(&head, &size);
  g.body = open_memstream(&body, &size);
  for (int blocks = random_in(&g.random, -1, MOST_BLOCKS); blocks > 0; blocks--) add_block(&g);
  for (int inputs = random_chance(&g.random, 25) ? random_in(&g.random, 2, 3) : 1; inputs > 0; inputs--) add_input(&g);
  for (int statements = random_in(&g.random, 1, 12); statements > 0; statements--) make_statement(&g);
  add_outputs(&g);
  fclose(g.head);
  fclose(g.body);
  FILE *out = open_memstream(&text, &size);
  fprintf(out, "%snetwork random {\n%s}\n", head, body);
  fclose(out);
  free(head);
  free(body);
  return text;
}
