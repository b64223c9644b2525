/* The ROW engine: argmax and softmax over the channels of a pixel, one thread a pixel, in the order that the contract
 * fixes (ir/exact.h).
 */
#include "emit.h"

#include <math.h>

typedef struct Row {
  Kernel *k;
  Tensor in, out;
  PtxValue pixel;
} Row;

/* What channels are compared by: the level, or the real number. */
static PtxValue load_key(Row *r, PtxValue channel) {
  Ptx *p = &r->k->ptx;
  return flow_level(p, load_element(p, &r->in, r->pixel, channel));
}

static void emit_argmax(Row *r) {
  Ptx *p = &r->k->ptx;
  bool real = r->in.type.kind == ELEM_F32;
  PtxValue best = ptx_variable(p, load_key(r, ptx_int(0)));
  PtxValue index = ptx_variable(p, ptx_int(0));
  PtxValue c = ptx_for(p, ptx_int(1), ptx_int(r->in.image.channels), ptx_int(1));
  PtxValue x = load_key(r, c);
  PtxValue greater = ptx_setp(p, real ? "gt.f32" : "gt.s32", x, best);
  ptx_assign(p, best, ptx_select(p, greater, x, best));
  ptx_assign(p, index, ptx_select(p, greater, c, index));
  ptx_end_for(p);
  ptx_store(p, "global.b32", ptx_address(p, r->out.base, r->pixel, 4), 0, index);
}

/* exact_exp, operation by operation. */
static PtxValue emit_exp(Ptx *p, PtxValue x) {
  static const float coefficient[] = {0x1.a01a02p-13f, 0x1.6c16c2p-10f, 0x1.111112p-7f, 0x1.555556p-5f,
                                      0x1.555556p-3f,  0x1p-1f,         0x1p+0f,        0x1p+0f};
  PtxValue t = ptx_2(p, "min.f32", ptx_2(p, "max.f32", x, ptx_float(-87.0f)), ptx_float(0));
  PtxValue n = ptx_1(p, "cvt.rni.f32.f32", ptx_2(p, "mul.rn.f32", t, ptx_float(0x1.715476p+0f)));
  PtxValue r = ptx_2(p, "sub.rn.f32", t, ptx_2(p, "mul.rn.f32", n, ptx_float(0x1.63p-1f)));
  r = ptx_2(p, "sub.rn.f32", r, ptx_2(p, "mul.rn.f32", n, ptx_float(-0x1.bd0106p-13f)));
  PtxValue poly = ptx_float(coefficient[0]);
  for (int i = 1; i < 8; i++) poly = ptx_2(p, "add.rn.f32", ptx_2(p, "mul.rn.f32", poly, r), ptx_float(coefficient[i]));
  PtxValue exponent = ptx_convert(p, "cvt.rzi.s32.f32", CLASS_B32, n);
  PtxValue power = ptx_shl(p, ptx_add(p, exponent, ptx_int(127)), 23);
  PtxValue y = ptx_2(p, "mul.rn.f32", poly, ptx_convert(p, "mov.b32", CLASS_F32, power));
  PtxValue small = ptx_setp(p, "lt.f32", x, ptx_float(-87.0f));
  PtxValue nan = ptx_setp(p, "nan.f32", x, x);
  y = ptx_select(p, small, ptx_float(0), y);
  return ptx_select(p, nan, ptx_convert(p, "mov.b32", CLASS_F32, ptx_int(INT32_MAX)), y);
}

static void emit_softmax(Row *r) {
  Ptx *p = &r->k->ptx;
  PtxValue count = ptx_int(r->in.image.channels);
  PtxValue best = ptx_variable(p, ptx_float(-INFINITY));
  PtxValue c = ptx_for(p, ptx_int(0), count, ptx_int(1));
  ptx_assign(p, best, ptx_2(p, "max.f32", best, load_key(r, c)));
  ptx_end_for(p);
  PtxValue row = ptx_address(p, r->out.base, r->pixel, (int64_t)layout_pixel_bytes(&r->out.type));
  PtxValue sum = ptx_variable(p, ptx_float(0));
  c = ptx_for(p, ptx_int(0), count, ptx_int(1));
  PtxValue e = emit_exp(p, ptx_2(p, "sub.rn.f32", load_key(r, c), best));
  ptx_assign(p, sum, ptx_2(p, "add.rn.f32", sum, e));
  ptx_store(p, "global.f32", ptx_address(p, row, c, 4), 0, e);
  ptx_end_for(p);
  c = ptx_for(p, ptx_int(0), count, ptx_int(1));
  PtxValue at = ptx_address(p, row, c, 4);
  ptx_store(p, "global.f32", at, 0, ptx_2(p, "div.rn.f32", ptx_load(p, "global.f32", CLASS_F32, at, 0), sum));
  ptx_end_for(p);
}

bool kernel_row(Kernel *k) {
  Row r = {.k = k, .in = tensor_of(k, k->node->inputs[0])};
  r.out = tensor_of(k, k->node->result);
  r.pixel = kernel_thread(k, (int64_t)r.in.image.height * r.in.image.width);
  (k->node->op == OP_ARGMAX ? emit_argmax : emit_softmax)(&r);
  return true;
}
