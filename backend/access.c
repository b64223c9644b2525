/* Elements in memory: how a number of any type is read from any layout, and what its stored bits are. */
#include "emit.h"

int32_t stored_bias(const Type *t) {
  bool is_signed = t->kind == ELEM_INT || t->kind == ELEM_TERNARY;
  return t->layout.kind == LAYOUT_PLANES && is_signed ? 1 << (t->bits - 1) : 0;
}

PtxValue flow_q(Ptx *p, Flow f) {
  return ptx_add(p, ptx_shr(p, f.reg, f.low), ptx_int(f.bias));
}

PtxValue flow_level(Ptx *p, Flow f) {
  if (!type_is_quantized(&f.type)) return f.reg;
  LevelMap map = type_level_map(&f.type);
  int64_t bias = (int64_t)map.mult * f.bias - map.offset;
  return ptx_mad(p, ptx_shr(p, f.reg, f.low), ptx_int(map.mult), ptx_int((int32_t)(uint32_t)bias));
}

PtxValue flow_stored(Ptx *p, Flow f, const Type *as) {
  if (!type_is_quantized(&f.type)) return f.reg;
  return ptx_add(p, ptx_shr(p, f.reg, f.low), ptx_int((int64_t)f.bias + stored_bias(as)));
}

Tensor tensor_of(Kernel *k, ValueId value) {
  const Type *type = graph_type(k->graph, value);
  return (Tensor){.type = *type, .image = type_image(type), .base = kernel_value_pointer(k, value)};
}

PtxValue inside_image(Ptx *p, Image image, PtxValue row, PtxValue column) {
  PtxValue row_inside = ptx_setp(p, "lt.u32", row, ptx_int(image.height));
  PtxValue column_inside = ptx_setp(p, "lt.u32", column, ptx_int(image.width));
  return ptx_pred_and(p, row_inside, column_inside);
}

/* --- positions --- */

Grid grid_of(const Type *t) {
  Grid g = {.image = type_image(t)};
  bool pieces = layout_is_pieces(t->layout);
  g.row_pitch = pieces ? (int32_t)t->layout.row_pitch : g.image.width;
  g.image_pitch = pieces ? (int32_t)t->layout.image_pitch : g.image.width * g.image.height;
  return g;
}

bool grid_has_gaps(const Grid *g) {
  return g->image_pitch != g->image.width * g->image.height;
}

Place place_of_position(Ptx *p, const Grid *g, PtxValue position) {
  Place at;
  at.image = ptx_div(p, position, ptx_int(g->image_pitch));
  PtxValue local = ptx_rem(p, position, ptx_int(g->image_pitch));
  at.y = ptx_div(p, local, ptx_int(g->row_pitch));
  at.x = ptx_rem(p, local, ptx_int(g->row_pitch));
  at.is_pixel = grid_has_gaps(g) ? inside_image(p, g->image, at.y, at.x) : ptx_int(1);
  at.pixel = position;
  if (!grid_has_gaps(g)) return at;
  PtxValue row = ptx_mad(p, at.image, ptx_int(g->image.height), at.y);
  at.pixel = ptx_mad(p, row, ptx_int(g->image.width), at.x);
  return at;
}

PtxValue position_of(Ptx *p, const Grid *g, PtxValue image, PtxValue y, PtxValue x) {
  PtxValue row = ptx_mad(p, y, ptx_int(g->row_pitch), x);
  return ptx_mad(p, image, ptx_int(g->image_pitch), row);
}

PtxValue position_of_pixel(Ptx *p, const Grid *g, PtxValue pixel) {
  if (!grid_has_gaps(g)) return pixel;
  int32_t pixels = g->image.height * g->image.width;
  PtxValue image = ptx_div(p, pixel, ptx_int(pixels)), local = ptx_rem(p, pixel, ptx_int(pixels));
  PtxValue y = ptx_div(p, local, ptx_int(g->image.width)), x = ptx_rem(p, local, ptx_int(g->image.width));
  return position_of(p, g, image, y, x);
}

PtxValue block_address(Ptx *p, const Tensor *t, PtxValue position, PtxValue block) {
  Strides s = layout_strides(&t->type);
  PtxValue at = ptx_address(p, t->base, position, (int64_t)s.position);
  return ptx_address(p, at, block, (int64_t)s.block);
}

PtxValue unit_address(Ptx *p, const Tensor *t, PtxValue position, PtxValue unit, int bytes) {
  if (!layout_is_pieces(t->type.layout)) return ptx_address(p, block_address(p, t, position, ptx_int(0)), unit, bytes);
  PtxValue units = ptx_int(16 / bytes);
  PtxValue block = ptx_div(p, unit, units), in_block = ptx_rem(p, unit, units);
  return ptx_address(p, block_address(p, t, position, block), in_block, bytes);
}

/* --- the order of channels in bit planes: a block of 8J channels stands in four runs of 2J bits --- */

/* log2 of 2J. */
static int run_shift(Layout layout) {
  return __builtin_ctz(layout.block / 4);
}

PtxValue bit_of_channel(Ptx *p, Layout layout, PtxValue channel) {
  PtxValue in_block = ptx_and(p, channel, ptx_int(layout.block - 1));
  PtxValue block = ptx_sub(p, channel, in_block);
  PtxValue run = ptx_shl(p, ptx_shr(p, ptx_and(p, in_block, ptx_int(7)), 1), run_shift(layout));
  PtxValue pair = ptx_shl(p, ptx_shr(p, in_block, 3), 1);
  PtxValue low = ptx_and(p, in_block, ptx_int(1));
  PtxValue first_of_run = ptx_or(p, block, run);
  return ptx_or(p, first_of_run, ptx_or(p, pair, low));
}

PtxValue channel_of_bit(Ptx *p, Layout layout, PtxValue bit) {
  PtxValue in_block = ptx_and(p, bit, ptx_int(layout.block - 1));
  PtxValue block = ptx_sub(p, bit, in_block);
  PtxValue run = ptx_shl(p, ptx_shr(p, in_block, run_shift(layout)), 1);
  PtxValue in_run = ptx_and(p, in_block, ptx_int((1 << run_shift(layout)) - 1));
  PtxValue eight = ptx_shl(p, ptx_shr(p, in_run, 1), 3);
  PtxValue low = ptx_and(p, in_run, ptx_int(1));
  PtxValue first_of_eight = ptx_or(p, block, eight);
  return ptx_or(p, first_of_eight, ptx_or(p, run, low));
}

/* --- loads --- */

static Flow load_planes(Ptx *p, const Tensor *t, PtxValue position, PtxValue channel) {
  Layout layout = t->type.layout;
  int64_t plane_bytes = (int64_t)layout_strides(&t->type).plane;
  PtxValue bit = bit_of_channel(p, layout, channel);
  PtxValue word = unit_address(p, t, position, ptx_shr(p, bit, 5), 4);
  PtxValue shift = ptx_and(p, bit, ptx_int(31));
  PtxValue q = ptx_int(0);
  for (int plane = 0; plane < t->type.bits; plane++) {
    PtxValue bits = ptx_load(p, ptx_written(p, "b32"), CLASS_B32, word, plane * plane_bytes);
    PtxValue one = ptx_and(p, ptx_2(p, "shr.b32", bits, shift), ptx_int(1));
    q = ptx_or(p, q, ptx_shl(p, one, plane));
  }
  return (Flow){t->type, q, -stored_bias(&t->type), 0};
}

Flow load_element(Ptx *p, const Tensor *t, PtxValue pixel, PtxValue channel) {
  Grid grid = grid_of(&t->type);
  PtxValue position = position_of_pixel(p, &grid, pixel);
  if (t->type.layout.kind == LAYOUT_PLANES) return load_planes(p, t, position, channel);
  if (t->type.layout.kind == LAYOUT_BYTES) {
    if (layout_orders_channels(t->type.layout)) channel = bit_of_channel(p, t->type.layout, channel);
    PtxValue at = unit_address(p, t, position, channel, 1);
    const char *load = ptx_written(p, t->type.kind == ELEM_UINT ? "u8" : "s8");
    return (Flow){t->type, ptx_load(p, load, CLASS_B32, at, 0), 0, 0};
  }
  PtxValue at = unit_address(p, t, position, channel, 4);
  bool is_float = t->type.kind == ELEM_F32;
  PtxValue reg = ptx_load(p, ptx_written(p, is_float ? "f32" : "b32"), is_float ? CLASS_F32 : CLASS_B32, at, 0);
  return (Flow){t->type, reg, 0, 0};
}
