/* Epilogues: the steps of a layer on one number, in registers. Each step emits the rounded operations of ir/exact.h in
 * their order, never fused.
 */
#include "emit.h"

#include <math.h>
#include <string.h>

/* Numbers a channel that a constant holds, rounded up so that rows load as whole vectors. */
static int row_width(int width) {
  int rounded = 1;
  while (rounded < width) rounded *= 2;
  return rounded;
}

/* Puts a constant [1], [C], [1, L] or [C, L] of 32-bit numbers where the kernel can read it. `fill` pads rows and channels. */
static StepConstant bind(Kernel *k, const int32_t *data, int64_t rows, int width, RegClass class, int32_t fill) {
  StepConstant s = {.class = class, .width = width};
  if (rows == 1 && width == 1) {
    s.is_immediate = true;
    s.immediate = (PtxValue){OPERAND_IMMEDIATE, class, 0, class == CLASS_F32 ? (int64_t)(uint32_t)data[0] : data[0]};
    return s;
  }
  int stride = row_width(width);
  int64_t padded = rows == 1 ? 1 : (rows + CHANNEL_PADDING - 1) / CHANNEL_PADDING * CHANNEL_PADDING;
  int32_t *array = ARENA_NEW(k->graph->context, int32_t, padded * stride);
  for (int64_t i = 0; i < padded * stride; i++) {
    int64_t row = i / stride, column = i % stride;
    array[i] = row < rows && column < width ? data[row * width + column] : fill;
  }
  s.per_channel = rows > 1;
  s.at = s.pointer = kernel_constant(k, array, (size_t)(padded * stride) * 4);
  return s;
}

static StepConstant bind_value(Kernel *k, ValueId value, int32_t fill) {
  const Value *v = graph_value(k->graph, value);
  int width = v->type.rank == 2 ? v->type.dim[1] : 1;
  RegClass class = v->type.kind == ELEM_F32 ? CLASS_F32 : CLASS_B32;
  return bind(k, v->data, v->type.dim[0], width, class, fill);
}

static int32_t float_bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* The step between levels of an integer type (scale / mult), per channel where it has scales. */
static StepConstant bind_step_size(Kernel *k, const Type *t) {
  float mult = (float)type_level_map(t).mult;
  if (t->scales == NO_VALUE) {
    int32_t bits = float_bits(t->scale / mult);
    return bind(k, &bits, 1, 1, CLASS_F32, 0);
  }
  const Value *v = graph_value(k->graph, t->scales);
  int32_t count = v->type.dim[0];
  int32_t *steps = ARENA_NEW(k->graph->context, int32_t, count);
  for (int32_t i = 0; i < count; i++) steps[i] = float_bits(((const float *)v->data)[i] / mult);
  return bind(k, steps, count, 1, CLASS_F32, 0);
}

static StepConstant bind_scale(Kernel *k, const Type *t) {
  if (t->scales != NO_VALUE) return bind_value(k, t->scales, float_bits(1.0f));
  int32_t bits = float_bits(t->scale);
  return bind(k, &bits, 1, 1, CLASS_F32, 0);
}

static bool all_zero(const Value *v) {
  int64_t count = type_elements(&v->type);
  for (int64_t i = 0; i < count; i++)
    if (((const int32_t *)v->data)[i]) return false;
  return true;
}

/* Binding: what constants a step needs, given the type that flows in. */
static void bind_step(Epilogue *e, Kernel *k, uint32_t i, const Type *in) {
  const Step *step = &k->node->steps[i];
  StepConstant *c = e->constants[i];
  switch (step->op) {
  case OP_DEQUANTIZE: c[0] = bind_step_size(k, in); break;
  case OP_QUANTIZE: c[0] = bind_scale(k, &step->type); break;
  case OP_ADD: {
    e->others[i] = tensor_of(k, step->args[0]);
    if (e->others[i].type.kind != ELEM_F32) c[0] = bind_step_size(k, &e->others[i].type);
    break;
  }
  case OP_THRESHOLDS: {
    c[0] = bind_value(k, step->args[0], INT32_MAX);
    const Value *flip = graph_value(k->graph, step->args[1]);
    int32_t none = 0;
    c[1] = all_zero(flip) ? bind(k, &none, 1, 1, CLASS_B32, 0) : bind_value(k, step->args[1], 0);
    break;
  }
  default:
    for (uint32_t a = 0; a < step->arg_count; a++) c[a] = bind_value(k, step->args[a], 0);
  }
}

void epilogue_begin(Epilogue *e, Kernel *k) {
  *e = (Epilogue){.kernel = k};
  const Type *in = &k->node->main_type;
  for (uint32_t i = 0; i < k->node->step_count; i++) {
    bind_step(e, k, i, in);
    in = &k->node->steps[i].type;
  }
}

void epilogue_at(Epilogue *e, PtxValue channel) {
  Ptx *p = &e->kernel->ptx;
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      StepConstant *c = &e->constants[i][j];
      if (c->per_channel) c->at = ptx_address(p, c->pointer, channel, 4 * row_width(c->width));
    }
}

static void load_row(Ptx *p, StepConstant *c, int64_t offset) {
  int stride = row_width(c->width), vector = stride < 4 ? stride : 4;
  const char *type = c->class == CLASS_F32 ? "f32" : "b32";
  for (int w = 0; w < stride; w += vector) {
    for (int i = 0; i < vector; i++) c->loaded[w + i] = ptx_new(p, c->class);
    const char *at = arena_printf(p->context, "[%s+%lld]", ptx_text(p, c->at), (long long)(offset + 4 * w));
    PtxValue *r = &c->loaded[w];
    if (vector == 1) ptx_raw(p, "ld.global.nc.%s %s, %s;", type, ptx_text(p, r[0]), at);
    else if (vector == 2)
      ptx_raw(p, "ld.global.nc.v2.%s {%s, %s}, %s;", type, ptx_text(p, r[0]), ptx_text(p, r[1]), at);
    else
      ptx_raw(p, "ld.global.nc.v4.%s {%s, %s, %s, %s}, %s;", type, ptx_text(p, r[0]), ptx_text(p, r[1]),
              ptx_text(p, r[2]), ptx_text(p, r[3]), at);
  }
}

void epilogue_load(Epilogue *e, int offset) {
  Ptx *p = &e->kernel->ptx;
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      StepConstant *c = &e->constants[i][j];
      if (c->is_immediate) c->loaded[0] = c->immediate;
      else if (c->width) load_row(p, c, c->per_channel ? (int64_t)offset * 4 * row_width(c->width) : 0);
    }
}

/* Steps. Each gets the number, its constants and the wanted type. */

static PtxValue dequantized(Ptx *p, Flow f, PtxValue step_size) {
  PtxValue real = ptx_convert(p, "cvt.rn.f32.s32", CLASS_F32, flow_level(p, f));
  if (step_size.kind == OPERAND_IMMEDIATE && step_size.value == float_bits(1.0f)) return real;
  return ptx_2(p, "mul.rn.f32", real, step_size);
}

/* x / scale; a power of two whose reciprocal is a normal number multiplies instead, which rounds to the same bits. */
static PtxValue divided(Ptx *p, PtxValue x, PtxValue scale) {
  if (scale.kind == OPERAND_IMMEDIATE) {
    float s;
    int32_t bits = (int32_t)scale.value;
    memcpy(&s, &bits, sizeof s);
    int exponent;
    if (s == 1.0f) return x;
    if (frexpf(s, &exponent) == 0.5f && isnormal(1.0f / s)) return ptx_2(p, "mul.rn.f32", x, ptx_float(1.0f / s));
  }
  return ptx_2(p, "div.rn.f32", x, scale);
}

static Flow quantized(Ptx *p, PtxValue x, PtxValue scale, const Type *to) {
  bool half = to->zero2 & 1;
  int32_t zero = half ? (to->zero2 + 1) / 2 : to->zero2 / 2;
  PtxValue low = ptx_float((float)(type_q_min(to) - zero)), high = ptx_float((float)(type_q_max(to) - zero));
  PtxValue v = divided(p, x, scale);
  v = ptx_2(p, "min.f32", ptx_2(p, "max.f32", v, low), high);
  PtxValue q = ptx_convert(p, half ? "cvt.rmi.s32.f32" : "cvt.rni.s32.f32", CLASS_B32, v);
  return (Flow){*to, q, zero};
}

static Flow counted(Ptx *p, PtxValue x, const StepConstant *thresholds, PtxValue flip, const Type *to) {
  if (!ptx_is_int(flip, 0)) x = ptx_2(p, "xor.b32", x, flip);
  PtxValue count = ptx_int(0);
  for (int i = 0; i < thresholds->width; i++) {
    PtxValue reached = ptx_new(p, CLASS_B32); /* -1 or 0 */
    ptx_raw(p, "set.ge.u32.s32 %s, %s, %s;", ptx_text(p, reached), ptx_text(p, x), ptx_text(p, thresholds->loaded[i]));
    count = i ? ptx_sub(p, count, reached) : ptx_1(p, "neg.s32", reached);
  }
  return (Flow){*to, count, type_q_min(to)};
}

static PtxValue leaky(Ptx *p, PtxValue x, PtxValue slope) {
  PtxValue positive = ptx_setp(p, "gt.f32", x, ptx_float(0));
  return ptx_select(p, positive, x, ptx_2(p, "mul.rn.f32", x, slope));
}

static Flow apply_step(Epilogue *e, uint32_t i, Flow f, PtxValue pixel, PtxValue channel) {
  Ptx *p = &e->kernel->ptx;
  const Step *step = &e->kernel->node->steps[i];
  const StepConstant *c = e->constants[i];
  PtxValue x = f.reg;
  switch (step->op) {
  case OP_DEQUANTIZE: x = dequantized(p, f, c[0].loaded[0]); break;
  case OP_QUANTIZE: return quantized(p, x, c[0].loaded[0], &step->type);
  case OP_THRESHOLDS: return counted(p, flow_level(p, f), &c[0], c[1].loaded[0], &step->type);
  case OP_AFFINE: x = ptx_2(p, "add.rn.f32", ptx_2(p, "mul.rn.f32", x, c[0].loaded[0]), c[1].loaded[0]); break;
  case OP_BIAS: x = ptx_2(p, "add.rn.f32", x, c[0].loaded[0]); break;
  case OP_RELU: x = ptx_2(p, "max.f32", x, ptx_float(0)); break;
  case OP_RELU6: x = ptx_2(p, "min.f32", ptx_2(p, "max.f32", x, ptx_float(0)), ptx_float(6)); break;
  case OP_LEAKY_RELU: x = leaky(p, x, ptx_float(step->attrs.alpha)); break;
  case OP_PRELU: x = leaky(p, x, c[0].loaded[0]); break;
  case OP_HARDTANH:
    x = ptx_2(p, "min.f32", ptx_2(p, "max.f32", x, ptx_float(step->attrs.lo)), ptx_float(step->attrs.hi));
    break;
  case OP_SIGN:
    x = ptx_select(p, ptx_setp(p, "ge.f32", x, ptx_float(0)), ptx_float(1), ptx_float(-1));
    break;
  case OP_ADD: {
    Flow other = e->read_other ? e->read_other(e->user, i, pixel, channel)
                               : load_element(p, &e->others[i], pixel, channel);
    x = ptx_2(p, "add.rn.f32", x, other.type.kind == ELEM_F32 ? other.reg : dequantized(p, other, c[0].loaded[0]));
    break;
  }
  default: p->error = arena_printf(p->context, "no kernel form of step %s", op_info[step->op].name);
  }
  return (Flow){step->type, x, 0};
}

Flow epilogue_apply(Epilogue *e, Flow f, PtxValue pixel, PtxValue channel) {
  for (uint32_t i = 0; i < e->kernel->node->step_count; i++) f = apply_step(e, i, f, pixel, channel);
  return f;
}
