/* Operations that work element for element, each as one function on one number. The evaluator runs it over arrays, the
 * thresholds pass bisects chains of the same functions (eval_chain).
 *
 * An integer number is q of its type (the value itself for i32); consumers map it to its level.
 */
#include "eval.h"
#include "exact.h"

typedef union Number {
  int32_t i;
  float f;
} Number;

typedef struct Vector { /* [channels] or [1]: then stride is 0 */
  const void *data;
  size_t stride;
} Vector;

/* An operation with everything but the number and its channel. */
typedef struct Element {
  const Attrs *attrs;
  Vector operand[5]; /* of operands 1 and later */
  int32_t levels;    /* thresholds a channel, and a number of the other operand */
  LevelMap map;      /* of the number that comes in, */
  Vector scale;      /* its scale and whether the step is half of it */
  bool half;
  int32_t q_min, q_max, zero2; /* of the result, and its scale */
  Vector result_scale;
} Element;

/* `second`: of an addition the second operand as a real number, of thresholds the r of ops.def. */
typedef Number (*Apply)(const Element *e, Number x, Number second, int32_t channel);

static float real_at(const Vector *v, int32_t channel) {
  return ((const float *)v->data)[(size_t)channel * v->stride];
}
static Number real(float f) {
  return (Number){.f = f};
}
static int32_t level_of(const Element *e, Number x) {
  return (int32_t)((uint32_t)e->map.mult * (uint32_t)x.i) - e->map.offset;
}

static Vector scale_vector(const Graph *g, const Type *t) {
  const float *scales = type_scales(g, t);
  return scales ? (Vector){scales, 1} : (Vector){&t->scale, 0};
}

static int32_t numbers_of(const Type *t) {
  return type_q_max(t) - type_q_min(t) + 1;
}

static Element prepare(const Graph *g, const Attrs *attrs, const Operand *in, uint32_t count, const Type *type) {
  Element e = {.attrs = attrs, .map = type_level_map(in[0].type), .scale = scale_vector(g, in[0].type)};
  e.half = e.map.mult == 2;
  e.result_scale = scale_vector(g, type);
  if (type_is_quantized(type)) {
    e.q_min = type_q_min(type);
    e.q_max = type_q_max(type);
    e.zero2 = type->zero2;
  }
  for (uint32_t i = 1; i < count && i < 5; i++) {
    const Type *t = in[i].type;
    e.operand[i] = (Vector){in[i].data, t->dim[0] == 1 ? 0 : (size_t)(type_elements(t) / t->dim[0])};
    e.levels = i == 1 && t->rank == 2 ? t->dim[1] : e.levels;
  }
  if (count == 4 && type_is_quantized(in[3].type)) e.levels /= numbers_of(in[3].type);
  return e;
}

/* --- the operations --- */

static Number apply_affine(const Element *e, Number x, Number second, int32_t c) {
  (void)second;
  return real(exact_add(exact_mul(x.f, real_at(&e->operand[1], c)), real_at(&e->operand[2], c)));
}

static Number apply_batchnorm(const Element *e, Number x, Number second, int32_t c) {
  float a, b;
  (void)second;
  exact_batchnorm(real_at(&e->operand[1], c), real_at(&e->operand[2], c), real_at(&e->operand[3], c),
                  real_at(&e->operand[4], c), e->attrs->eps, &a, &b);
  return real(exact_add(exact_mul(x.f, a), b));
}

static Number apply_bias(const Element *e, Number x, Number second, int32_t c) {
  (void)second;
  return real(exact_add(x.f, real_at(&e->operand[1], c)));
}

static Number apply_relu(const Element *e, Number x, Number second, int32_t c) {
  (void)e, (void)second, (void)c;
  return real(x.f > 0 ? x.f : 0.0f);
}

static Number apply_relu6(const Element *e, Number x, Number second, int32_t c) {
  float y = apply_relu(e, x, second, c).f;
  return real(y < 6 ? y : 6.0f);
}

static Number apply_leaky_relu(const Element *e, Number x, Number second, int32_t c) {
  (void)second, (void)c;
  return real(x.f > 0 ? x.f : exact_mul(x.f, e->attrs->alpha));
}

static Number apply_prelu(const Element *e, Number x, Number second, int32_t c) {
  (void)second;
  return real(x.f > 0 ? x.f : exact_mul(x.f, real_at(&e->operand[1], c)));
}

static Number apply_hardtanh(const Element *e, Number x, Number second, int32_t c) {
  (void)second, (void)c;
  return real(exact_min(exact_max(x.f, e->attrs->lo), e->attrs->hi));
}

static Number apply_sign(const Element *e, Number x, Number second, int32_t c) {
  (void)e, (void)second, (void)c;
  return real(x.f >= 0 ? 1.0f : -1.0f);
}

static Number apply_add(const Element *e, Number x, Number second, int32_t c) {
  (void)e, (void)c;
  return real(exact_add(x.f, second.f));
}

static Number apply_quantize(const Element *e, Number x, Number second, int32_t c) {
  (void)second;
  return (Number){.i = exact_quantize(x.f, real_at(&e->result_scale, c), e->zero2, e->q_min, e->q_max)};
}

static Number apply_dequantize(const Element *e, Number x, Number second, int32_t c) {
  float scale = real_at(&e->scale, c);
  (void)second;
  return real(exact_dequantize(level_of(e, x), e->half ? exact_mul(scale, 0.5f) : scale));
}

static Number apply_thresholds(const Element *e, Number x, Number second, int32_t c) {
  const int32_t *t = (const int32_t *)e->operand[1].data + (size_t)c * e->operand[1].stride + second.i * e->levels;
  int32_t flipped = level_of(e, x) ^ ((const int32_t *)e->operand[2].data)[(size_t)c * e->operand[2].stride];
  int32_t q = e->q_min;
  for (int32_t i = 0; i < e->levels; i++) q += flipped >= t[i];
  return (Number){.i = q};
}

static const Apply applies[OP_COUNT] = {
    [OP_BATCHNORM] = apply_batchnorm,
    [OP_AFFINE] = apply_affine,
    [OP_BIAS] = apply_bias,
    [OP_RELU] = apply_relu,
    [OP_RELU6] = apply_relu6,
    [OP_LEAKY_RELU] = apply_leaky_relu,
    [OP_PRELU] = apply_prelu,
    [OP_HARDTANH] = apply_hardtanh,
    [OP_SIGN] = apply_sign,
    [OP_ADD] = apply_add,
    [OP_QUANTIZE] = apply_quantize,
    [OP_DEQUANTIZE] = apply_dequantize,
    [OP_THRESHOLDS] = apply_thresholds,
};

/* --- over arrays --- */

static Number load(const Type *t, const void *data, size_t i) {
  if (t->kind == ELEM_F32) return real(((const float *)data)[i]);
  return (Number){.i = dense_integer(t, data, i)};
}

static void store(const Type *t, void *data, size_t i, Number x) {
  if (t->kind == ELEM_F32)
    ((float *)data)[i] = x.f;
  else
    store_integer(t, data, i, x.i);
}

/* The second activation of an operation, among its operands, NULL if there is none. */
static const Operand *second_operand(Op op, const Operand *in, uint32_t count) {
  for (uint32_t i = 1; i < count; i++)
    if (operand_is_activation(op, i)) return &in[i];
  return NULL;
}

/* What Apply calls `second`, of a number y of type t. */
static Number second_of(Op op, const Element *second, const Type *t, Number y, int32_t c) {
  if (op == OP_THRESHOLDS) return (Number){.i = y.i - type_q_min(t)};
  return t->kind == ELEM_F32 ? y : apply_dequantize(second, y, (Number){0}, c);
}

static void eval_elements(const Eval *e, Op op) {
  const Type *from = e->in[0].type;
  Element element = prepare(e->graph, e->attrs, e->in, e->count, e->type), second = {0};
  const Operand *other = second_operand(op, e->in, e->count);
  int32_t channels = type_channels(from);
  size_t total = (size_t)type_elements(from) * image_count(from, e->batch);
  Apply apply = applies[op];
  if (other) second = prepare(e->graph, e->attrs, other, 1, e->type);
  for (size_t pixel = 0; pixel < total; pixel += (size_t)channels)
    for (int32_t c = 0; c < channels; c++) {
      size_t i = pixel + (size_t)c;
      Number y = {0};
      if (other) y = second_of(op, &second, other->type, load(other->type, other->data, i), c);
      store(e->type, e->out, i, apply(&element, load(from, e->in[0].data, i), y, c));
    }
}

void eval_batchnorm(const Eval *e) {
  eval_elements(e, OP_BATCHNORM);
}
void eval_affine(const Eval *e) {
  eval_elements(e, OP_AFFINE);
}
void eval_bias(const Eval *e) {
  eval_elements(e, OP_BIAS);
}
void eval_relu(const Eval *e) {
  eval_elements(e, OP_RELU);
}
void eval_relu6(const Eval *e) {
  eval_elements(e, OP_RELU6);
}
void eval_leaky_relu(const Eval *e) {
  eval_elements(e, OP_LEAKY_RELU);
}
void eval_prelu(const Eval *e) {
  eval_elements(e, OP_PRELU);
}
void eval_hardtanh(const Eval *e) {
  eval_elements(e, OP_HARDTANH);
}
void eval_sign(const Eval *e) {
  eval_elements(e, OP_SIGN);
}
void eval_add(const Eval *e) {
  eval_elements(e, OP_ADD);
}
void eval_quantize(const Eval *e) {
  eval_elements(e, OP_QUANTIZE);
}
void eval_dequantize(const Eval *e) {
  eval_elements(e, OP_DEQUANTIZE);
}
void eval_thresholds(const Eval *e) {
  eval_elements(e, OP_THRESHOLDS);
}

/* --- one number through a chain --- */

int32_t eval_chain(const Graph *g, const Type *source, const Step *steps, uint32_t step_count, int32_t x, int32_t other,
                   int32_t channel, float *out) {
  Number n = {.i = x};
  const Type *type = source;
  for (uint32_t s = 0; s < step_count; s++) {
    Operand in[5] = {{type, NULL}};
    for (uint32_t i = 0; i < steps[s].arg_count; i++)
      in[i + 1] = (Operand){graph_type(g, steps[s].args[i]), g->values[steps[s].args[i]].data};
    Element e = prepare(g, &steps[s].attrs, in, steps[s].arg_count + 1, &steps[s].type);
    if (s == 0) e.map = (LevelMap){1, 0}; /* x is a level already */
    const Operand *second = second_operand(steps[s].op, in, steps[s].arg_count + 1);
    Number y = {0};
    if (second) {
      Element of_second = prepare(g, &steps[s].attrs, second, 1, &steps[s].type);
      y = second_of(steps[s].op, &of_second, second->type, (Number){.i = other}, channel);
    }
    n = applies[steps[s].op](&e, n, y, channel);
    type = &steps[s].type;
  }
  if (type->kind != ELEM_F32) return n.i;
  if (out) *out = n.f;
  return 0;
}
