/* Epilogues: the steps of a layer on one number, in registers. Each step emits the rounded operations of ir/exact.h in
 * their order, never fused. Steps stand in one table, `forms`: the constants of each, and what it does to the number.
 *
 * A constant of one number is an immediate; others are arrays in device memory, a row a channel or one row for all.
 * Thresholds are counted by a product where that is exact (requantization.c), else one by one. Those that depend on a
 * second activation and are counted one by one stay in memory, a part of the row for each of its numbers, and each
 * element loads the part that its number names.
 */
#include "emit.h"

#include <math.h>
#include <string.h>

/* Numbers between rows, rounded up so that rows load as whole vectors. */
static int row_width(int width) {
  int rounded = 1;
  while (rounded < width) rounded *= 2;
  return rounded;
}

static int32_t float_bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* --- constants --- */

/* Puts a constant [1], [C], [1, L] or [C, L] of 32-bit numbers where the kernel can read it. */
static StepConstant bind(Kernel *k, const int32_t *data, int64_t rows, int width, RegClass class) {
  Context *c = k->graph->context;
  int stride = row_width(width);
  StepConstant s = {.class = class, .width = width, .loaded = ARENA_NEW(c, PtxValue, 2 * stride)};
  if (rows == 1 && width == 1) {
    s.is_immediate = true;
    s.immediate = (PtxValue){OPERAND_IMMEDIATE, class, 0, class == CLASS_F32 ? (int64_t)(uint32_t)data[0] : data[0]};
    return s;
  }
  int64_t padded = rows == 1 ? 1 : (rows + CHANNEL_PADDING - 1) / CHANNEL_PADDING * CHANNEL_PADDING;
  int32_t *array = ARENA_NEW(c, int32_t, padded * stride);
  for (int64_t row = 0; row < rows; row++)
    memcpy(array + row * stride, data + row * width, (size_t)width * sizeof *array);
  s.per_channel = rows > 1;
  s.at = s.pointer = kernel_constant(k, array, (size_t)(padded * stride) * sizeof *array);
  return s;
}

static StepConstant bind_one(Kernel *k, int32_t bits, RegClass class) {
  return bind(k, &bits, 1, 1, class);
}

static StepConstant bind_value(Kernel *k, ValueId value) {
  const Value *v = graph_value(k->graph, value);
  int width = v->type.rank == 2 ? v->type.dim[1] : 1;
  return bind(k, v->data, v->type.dim[0], width, v->type.kind == ELEM_F32 ? CLASS_F32 : CLASS_B32);
}

/* The step between levels of an integer type (scale / mult), per channel where it has scales. */
static StepConstant bind_step_size(Kernel *k, const Type *t) {
  if (t->scales == NO_VALUE) return bind_one(k, float_bits(type_step(k->graph, t, 0)), CLASS_F32);
  int32_t count = type_scale_channels(t);
  int32_t *steps = ARENA_NEW(k->graph->context, int32_t, count);
  for (int32_t i = 0; i < count; i++) steps[i] = float_bits(type_step(k->graph, t, i));
  return bind(k, steps, count, 1, CLASS_F32);
}

static void bind_dequantize(EpilogueStep *s, Kernel *k, const Type *in) {
  s->constants[0] = bind_step_size(k, in);
}

static void bind_quantize(EpilogueStep *s, Kernel *k, const Type *in) {
  (void)in;
  const Type *t = &s->step->type;
  s->constants[0] = t->scales == NO_VALUE ? bind_one(k, float_bits(t->scale), CLASS_F32) : bind_value(k, t->scales);
}

static void bind_add(EpilogueStep *s, Kernel *k, const Type *in) {
  (void)in;
  s->other = tensor_of(k, s->step->args[0]);
  if (s->other.type.kind != ELEM_F32) s->constants[0] = bind_step_size(k, &s->other.type);
}

static bool all_zero(const Value *v) {
  int64_t count = type_elements(&v->type);
  for (int64_t i = 0; i < count; i++)
    if (((const int32_t *)v->data)[i]) return false;
  return true;
}

/* Numbers that a quantized type has. */
static int numbers_of(const Type *t) {
  return type_q_max(t) - type_q_min(t) + 1;
}

/* Thresholds [C or 1, R * L] as [C or 1, R * row_width(L)]: the L thresholds of a number load as whole vectors. */
static StepConstant bind_table(Kernel *k, ValueId value, int numbers) {
  const Value *v = graph_value(k->graph, value);
  int rows = v->type.dim[0], width = v->type.dim[1] / numbers, stride = row_width(width);
  int32_t *table = ARENA_NEW(k->graph->context, int32_t, (size_t)rows * (size_t)numbers * (size_t)stride);
  for (int i = 0; i < rows * numbers; i++)
    memcpy(table + (size_t)i * (size_t)stride, (const int32_t *)v->data + (size_t)i * (size_t)width,
           (size_t)width * sizeof *table);
  StepConstant s = bind(k, table, rows, numbers * stride, CLASS_B32);
  s.is_table = true;
  return s;
}

/* Rows of slope and offset; with a second activation, what a number more of it adds to the offset; gain and lift unless
 * all are plain. */
static StepConstant bind_requantizers(Kernel *k, const Requantization *r) {
  int of_value = r->numbers > 1 ? 3 : 2, width = of_value + (r->has_gain ? 2 : 0);
  int32_t *rows = ARENA_NEW(k->graph->context, int32_t, r->rows * width);
  for (int32_t i = 0; i < r->rows; i++) {
    const Requantizer *q = &r->of_row[i];
    int32_t bits[] = {float_bits(q->slope), float_bits(q->offset), float_bits(q->of_other)};
    int32_t gain[] = {float_bits(q->gain), float_bits(q->lift)};
    memcpy(rows + i * width, bits, (size_t)of_value * sizeof *rows);
    memcpy(rows + i * width + of_value, gain, (size_t)(width - of_value) * sizeof *rows);
  }
  return bind(k, rows, r->rows, width, CLASS_F32);
}

static void bind_thresholds(EpilogueStep *s, Kernel *k, const Type *in) {
  (void)in;
  ValueId flip = s->step->args[1], other = step_operand(s->step);
  if (other != NO_VALUE) s->other = tensor_of(k, other);
  s->requantization = requantization_of(k, (uint32_t)(s->step - k->node->steps));
  if (s->requantization) {
    s->constants[0] = bind_requantizers(k, s->requantization);
    return;
  }
  ValueId table = s->step->args[0];
  s->constants[0] = other == NO_VALUE ? bind_value(k, table) : bind_table(k, table, numbers_of(&s->other.type));
  s->constants[1] = all_zero(graph_value(k->graph, flip)) ? bind_one(k, 0, CLASS_B32) : bind_value(k, flip);
}

static void bind_arguments(EpilogueStep *s, Kernel *k, const Type *in) {
  (void)in;
  for (uint32_t a = 0; a < s->step->arg_count; a++) s->constants[a] = bind_value(k, s->step->args[a]);
}

/* Loads numbers that lie side by side, whole vectors of them. Global memory has 64-bit addresses, shared memory 32-bit
 * ones. */
static void load_into(Ptx *p, const char *global, RegClass class, PtxValue at, int64_t offset, int count,
                      const PtxValue *registers) {
  int vector = count < 4 ? count : 4;
  const char *type = class == CLASS_F32 ? "f32" : "b32", *space = at.class == CLASS_B64 ? global : "shared";
  for (int w = 0; w < count; w += vector) {
    const PtxValue *r = &registers[w];
    const char *address = ptx_at(p, at, offset + 4 * w);
    if (vector == 1)
      ptx_raw(p, "ld.%s.%s %s, %s;", space, type, ptx_text(p, r[0]), address);
    else if (vector == 2)
      ptx_raw(p, "ld.%s.v2.%s {%s, %s}, %s;", space, type, ptx_text(p, r[0]), ptx_text(p, r[1]), address);
    else
      ptx_raw(p, "ld.%s.v4.%s {%s, %s, %s, %s}, %s;", space, type, ptx_text(p, r[0]), ptx_text(p, r[1]),
              ptx_text(p, r[2]), ptx_text(p, r[3]), address);
  }
}

static void load_numbers(Ptx *p, const char *global, RegClass class, PtxValue at, int64_t offset, int count,
                         PtxValue *out) {
  for (int i = 0; i < count; i++) out[i] = ptx_new(p, class);
  load_into(p, global, class, at, offset, count, out);
}

/* --- what steps do --- */

/* A step at one number, its constants in registers. */
typedef struct Application {
  Epilogue *epilogue;
  uint32_t index;
  PtxValue pixel, channel;
} Application;

static const EpilogueStep *step_of(const Application *a) {
  return &a->epilogue->steps[a->index];
}

static PtxValue constant(const Application *a, int number) {
  return step_of(a)->constants[number].row[0];
}

static Flow real(const Application *a, PtxValue x) {
  return (Flow){step_of(a)->step->type, x, 0, 0};
}

static PtxValue dequantized(Ptx *p, Flow f, PtxValue step_size) {
  PtxValue level = ptx_convert(p, "cvt.rn.f32.s32", CLASS_F32, flow_level(p, f));
  if (step_size.kind == OPERAND_IMMEDIATE && step_size.value == float_bits(1.0f)) return level;
  return ptx_2(p, "mul.rn.f32", level, step_size);
}

static Flow apply_dequantize(Ptx *p, const Application *a, Flow f) {
  return real(a, dequantized(p, f, constant(a, 0)));
}

static float float_of(PtxValue immediate) {
  float x;
  int32_t bits = (int32_t)immediate.value;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* x / scale; a power of two whose reciprocal is a normal number multiplies instead, which rounds to the same bits. */
static PtxValue divided(Ptx *p, PtxValue x, PtxValue scale) {
  int exponent;
  if (scale.kind != OPERAND_IMMEDIATE) return ptx_2(p, "div.rn.f32", x, scale);
  float s = float_of(scale);
  if (s == 1.0f) return x;
  if (frexpf(s, &exponent) == 0.5f && isnormal(1.0f / s)) return ptx_2(p, "mul.rn.f32", x, ptx_float(1.0f / s));
  return ptx_2(p, "div.rn.f32", x, scale);
}

/* The quotient between low and high. Rounded down, the sign of the smallest would count: only what is rounded to the
 * nearest integer can do without a division. */
static PtxValue clamped_quotient(Ptx *p, PtxValue x, PtxValue scale, float low, float high, bool to_nearest) {
  int exponent;
  PtxValue v;
  bool products = to_nearest && scale.kind == OPERAND_IMMEDIATE && frexpf(float_of(scale), &exponent) != 0.5f;
  if (products && quotient_by_products(p, x, float_of(scale), low, high, &v)) return v;
  v = divided(p, x, scale);
  return ptx_2(p, "min.f32", ptx_2(p, "max.f32", v, ptx_float(low)), ptx_float(high));
}

static Flow apply_quantize(Ptx *p, const Application *a, Flow f) {
  const Type *to = &step_of(a)->step->type;
  bool half = to->zero2 & 1;
  int32_t zero = half ? (to->zero2 + 1) / 2 : to->zero2 / 2;
  float low = (float)(type_q_min(to) - zero), high = (float)(type_q_max(to) - zero);
  PtxValue v = clamped_quotient(p, f.reg, constant(a, 0), low, high, !half);
  if (half) return (Flow){*to, ptx_convert(p, "cvt.rmi.s32.f32", CLASS_B32, v), zero, 0};
  PtxValue sum = ptx_2(p, "add.rn.f32", v, ptx_float(REQUANTIZE_MAGIC)); /* even, so that ties stay what they are */
  return (Flow){*to, ptx_convert(p, "mov.b32", CLASS_B32, sum), zero - REQUANTIZE_MAGIC_BITS, 0};
}

/* The element of the step's second activation. */
static Flow other_element(Ptx *p, const Application *a) {
  Epilogue *e = a->epilogue;
  if (e->read_other) return e->read_other(e->user, a->index, a->pixel, a->channel);
  return load_element(p, &step_of(a)->other, a->pixel, a->channel);
}

/* The thresholds of the number that the second activation has here, in registers. */
static StepConstant looked_up(Ptx *p, const Application *a) {
  const StepConstant *table = &step_of(a)->constants[0];
  const Type *type = &step_of(a)->other.type;
  PtxValue r = ptx_sub(p, flow_q(p, other_element(p, a)), ptx_int(type_q_min(type)));
  const Type *thresholds = graph_type(a->epilogue->kernel->graph, step_of(a)->step->args[0]);
  int width = thresholds->dim[1] / numbers_of(type), stride = row_width(width);
  StepConstant row = {.class = CLASS_B32, .width = width, .row = ARENA_NEW(p->context, PtxValue, stride)};
  load_numbers(p, "global.nc", CLASS_B32, ptx_address(p, table->at, r, 4 * stride), table->offset, stride, row.row);
  return row;
}

static Flow count_thresholds(Ptx *p, const Application *a, PtxValue x) {
  StepConstant thresholds = step_of(a)->constants[0];
  if (thresholds.is_table) thresholds = looked_up(p, a);
  const Type *to = &step_of(a)->step->type;
  PtxValue flip = constant(a, 1), count = ptx_int(0);
  if (!ptx_is_int(flip, 0)) x = ptx_2(p, "xor.b32", x, flip);
  for (int i = 0; i < thresholds.width; i++) {
    PtxValue reached = ptx_new(p, CLASS_B32); /* -1 or 0 */
    ptx_raw(p, "set.ge.u32.s32 %s, %s, %s;", ptx_text(p, reached), ptx_text(p, x), ptx_text(p, thresholds.row[i]));
    count = i ? ptx_sub(p, count, reached) : ptx_1(p, "neg.s32", reached);
  }
  return (Flow){*to, count, type_q_min(to), 0};
}

/* What the second activation's number adds to the offset. Zeros below it in its register make it a multiple. */
static PtxValue offset_by_other(Ptx *p, const Application *a, PtxValue offset, PtxValue of_other) {
  Flow other = other_element(p, a);
  PtxValue r = ptx_add(p, other.reg, ptx_shl(p, ptx_int(other.bias - type_q_min(&other.type)), other.low));
  if (other.low) of_other = ptx_2(p, "mul.rn.f32", of_other, ptx_float(ldexpf(1, -other.low)));
  return ptx_3(p, "fma.rn.f32", ptx_convert(p, "cvt.rn.f32.u32", CLASS_F32, r), of_other, offset);
}

/* ../ir/requantize.h. The result stays in the bits of a real number, less which it counts. */
static Flow apply_requantization(Ptx *p, const Application *a, PtxValue x) {
  const Requantization *r = step_of(a)->requantization;
  const PtxValue *row = step_of(a)->constants[0].row;
  const Type *to = &step_of(a)->step->type;
  PtxValue offset = r->numbers > 1 ? offset_by_other(p, a, row[1], row[2]) : row[1];
  x = ptx_convert(p, "cvt.rn.f32.s32", CLASS_F32, x);
  const PtxValue *gain = row + (r->numbers > 1 ? 3 : 2); /* and lift */
  PtxValue share = ptx_3(p, r->has_gain ? "fma.rn.f32" : "fma.rn.sat.f32", x, row[0], offset);
  if (r->has_gain) share = ptx_3(p, "fma.rn.sat.f32", share, gain[0], gain[1]);
  PtxValue magic = ptx_float(REQUANTIZE_MAGIC + (float)type_q_min(to));
  PtxValue q = ptx_3(p, "fma.rn.f32", share, ptx_float((float)r->levels), magic);
  return (Flow){*to, ptx_convert(p, "mov.b32", CLASS_B32, q), -REQUANTIZE_MAGIC_BITS, 0};
}

static Flow apply_thresholds(Ptx *p, const Application *a, Flow f) {
  return (step_of(a)->requantization ? apply_requantization : count_thresholds)(p, a, flow_level(p, f));
}

static Flow apply_affine(Ptx *p, const Application *a, Flow f) {
  PtxValue product = ptx_2(p, "mul.rn.f32", f.reg, constant(a, 0));
  return real(a, ptx_2(p, "add.rn.f32", product, constant(a, 1)));
}

static Flow apply_bias(Ptx *p, const Application *a, Flow f) {
  return real(a, ptx_2(p, "add.rn.f32", f.reg, constant(a, 0)));
}

/* What a quantization makes of numbers below zero it makes of zero too. */
static bool quantize_is_relu(const Step *next) {
  return next->op == OP_QUANTIZE && !(next->type.zero2 & 1) && type_q_min(&next->type) >= next->type.zero2 / 2;
}

static Flow apply_relu(Ptx *p, const Application *a, Flow f) {
  const Kernel *k = a->epilogue->kernel;
  if (a->index + 1 < k->node->step_count && quantize_is_relu(&k->node->steps[a->index + 1])) return real(a, f.reg);
  return real(a, ptx_2(p, "max.f32", f.reg, ptx_float(0)));
}

static PtxValue between(Ptx *p, PtxValue x, float lo, float hi) {
  return ptx_2(p, "min.f32", ptx_2(p, "max.f32", x, ptx_float(lo)), ptx_float(hi));
}

static Flow apply_relu6(Ptx *p, const Application *a, Flow f) {
  return real(a, between(p, f.reg, 0, 6));
}

static Flow apply_hardtanh(Ptx *p, const Application *a, Flow f) {
  const Attrs *attrs = &step_of(a)->step->attrs;
  return real(a, between(p, f.reg, attrs->lo, attrs->hi));
}

static PtxValue leaky(Ptx *p, PtxValue x, PtxValue slope) {
  PtxValue positive = ptx_setp(p, "gt.f32", x, ptx_float(0));
  return ptx_select(p, positive, x, ptx_2(p, "mul.rn.f32", x, slope));
}

static Flow apply_leaky_relu(Ptx *p, const Application *a, Flow f) {
  return real(a, leaky(p, f.reg, ptx_float(step_of(a)->step->attrs.alpha)));
}

static Flow apply_prelu(Ptx *p, const Application *a, Flow f) {
  return real(a, leaky(p, f.reg, constant(a, 0)));
}

static Flow apply_sign(Ptx *p, const Application *a, Flow f) {
  PtxValue at_least_zero = ptx_setp(p, "ge.f32", f.reg, ptx_float(0));
  return real(a, ptx_select(p, at_least_zero, ptx_float(1), ptx_float(-1)));
}

static Flow apply_add(Ptx *p, const Application *a, Flow f) {
  Flow other = other_element(p, a);
  PtxValue y = other.type.kind == ELEM_F32 ? other.reg : dequantized(p, other, constant(a, 0));
  return real(a, ptx_2(p, "add.rn.f32", f.reg, y));
}

/* --- the table --- */

typedef struct StepForm {
  void (*bind)(EpilogueStep *s, Kernel *k, const Type *in); /* its constants, given the type that flows in */
  Flow (*apply)(Ptx *p, const Application *a, Flow f);
} StepForm;

static const StepForm forms[OP_COUNT] = {
    [OP_DEQUANTIZE] = {bind_dequantize, apply_dequantize},
    [OP_QUANTIZE] = {bind_quantize, apply_quantize},
    [OP_THRESHOLDS] = {bind_thresholds, apply_thresholds},
    [OP_ADD] = {bind_add, apply_add},
    [OP_AFFINE] = {bind_arguments, apply_affine},
    [OP_BIAS] = {bind_arguments, apply_bias},
    [OP_PRELU] = {bind_arguments, apply_prelu},
    [OP_RELU] = {bind_arguments, apply_relu},
    [OP_RELU6] = {bind_arguments, apply_relu6},
    [OP_LEAKY_RELU] = {bind_arguments, apply_leaky_relu},
    [OP_HARDTANH] = {bind_arguments, apply_hardtanh},
    [OP_SIGN] = {bind_arguments, apply_sign},
};

bool epilogue_has(Op op) {
  return forms[op].apply != NULL;
}

void epilogue_begin(Epilogue *e, Kernel *k) {
  const Node *node = k->node;
  *e = (Epilogue){.kernel = k, .steps = ARENA_NEW(k->graph->context, EpilogueStep, node->step_count)};
  const Type *in = &node->main_type;
  for (uint32_t i = 0; i < node->step_count; i++) {
    e->steps[i].step = &node->steps[i];
    forms[node->steps[i].op].bind(&e->steps[i], k, in);
    in = &node->steps[i].type;
  }
}

void epilogue_at(Epilogue *e, PtxValue channel) {
  Ptx *p = &e->kernel->ptx;
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      StepConstant *c = &e->steps[i].constants[j];
      if (c->per_channel) c->at = ptx_address(p, c->pointer, channel, 4 * row_width(c->width));
    }
}

PtxValue epilogue_rows(const Epilogue *e, uint32_t *row_bytes) {
  const StepConstant *c = &e->steps[0].constants[0];
  *row_bytes = 0;
  if (e->kernel->node->step_count != 1 || !e->steps[0].requantization || !c->per_channel) return ptx_int(0);
  *row_bytes = 4u * (uint32_t)row_width(c->width);
  return c->pointer;
}

void epilogue_set_rows(Epilogue *e, PtxValue shared, PtxValue pair) {
  StepConstant *c = &e->steps[0].constants[0];
  c->at = ptx_mad(&e->kernel->ptx, pair, ptx_int(8 * row_width(c->width)), shared);
}

/* Bytes from `at` to the row of the channel `offset` behind. */
static int64_t row_offset(const StepConstant *c, int offset) {
  return c->per_channel ? (int64_t)offset * 4 * row_width(c->width) : 0;
}

static const char *constants_space(const Epilogue *e) {
  return e->loads_in_order ? "global" : "global.nc";
}

static void load(Epilogue *e, int offset, int channels) {
  Ptx *p = &e->kernel->ptx;
  e->offset = offset;
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      StepConstant *c = &e->steps[i].constants[j];
      int count = row_width(c->width) * (c->per_channel ? channels : 1);
      if (c->is_immediate)
        c->loaded[0] = c->immediate;
      else if (c->width && !c->is_table)
        load_numbers(p, constants_space(e), c->class, c->at, row_offset(c, offset), count, c->loaded);
    }
  epilogue_take(e, 0);
}

void epilogue_load(Epilogue *e, int offset) {
  load(e, offset, 1);
}

void epilogue_load_again(Epilogue *e, int offset) {
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      const StepConstant *c = &e->steps[i].constants[j];
      if (c->per_channel && !c->is_table)
        load_into(&e->kernel->ptx, constants_space(e), c->class, c->at, row_offset(c, offset), row_width(c->width),
                  c->loaded);
    }
}

void epilogue_load_pair(Epilogue *e, int offset) {
  load(e, offset, 2);
}

void epilogue_take(Epilogue *e, int which) {
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      StepConstant *c = &e->steps[i].constants[j];
      c->offset = row_offset(c, e->offset + which);
      c->row = c->loaded + (c->per_channel ? which * row_width(c->width) : 0);
    }
}

Flow epilogue_apply(Epilogue *e, Flow f, PtxValue pixel, PtxValue channel) {
  Application a = {.epilogue = e, .pixel = pixel, .channel = channel};
  for (; a.index < e->kernel->node->step_count; a.index++) {
    const StepForm *form = &forms[e->kernel->node->steps[a.index].op];
    f = form->apply(&e->kernel->ptx, &a, f);
  }
  return f;
}
