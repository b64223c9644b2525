/* Skinny layers, the end: parts of sums to stored results. A warp has 32 channels of a position, which neighbour each
 * other in the result: its lanes put the parts together, apply the layer's steps to a number each, and store them side
 * by side; of bit planes a vote makes the words.
 */
#include "skinny_kernel.h"

enum { KEPT_CONSTANTS = 32 }; /* numbers of a channel that stay in registers from position to position */

/* A position of the result: where it is stored, if at all, and whether it is a pixel. */
typedef struct Spot {
  PtxValue position, pixel, is_pixel, stores;
} Spot;

static int constants_of(const Epilogue *e, const Node *node) {
  int count = 0;
  for (uint32_t i = 0; i < node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      const StepConstant *c = &e->steps[i].constants[j];
      if (!c->is_immediate && !c->is_table) count += c->width;
    }
  return count;
}

static void place_channel(SkinnyFinish *f) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  Layout l = s->out.type.layout;
  PtxValue word = ptx_and(p, s->warp, ptx_int(1));
  PtxValue row = ptx_mad(p, word, ptx_int(32), s->lane);
  f->bit = ptx_mad(p, ptx_sub(p, s->row_tile, s->tiles_apart), ptx_int(SKINNY_ROWS), row);
  f->channel = layout_orders_channels(l) ? channel_of_bit(p, l, f->bit) : f->bit;
  f->has_channel = ptx_int(1);
  if (s->out.image.channels % SKINNY_ROWS || s->s.row_tiles * SKINNY_ROWS > (uint32_t)s->out.image.channels)
    f->has_channel = ptx_setp(p, "lt.u32", f->channel, ptx_int(s->out.image.channels));
  f->channel = ptx_select(p, f->has_channel, f->channel, ptx_int(0));
  f->parts = ptx_mad(p, row, ptx_int(4), skinny_parts(s, f->turn));
  epilogue_at(&s->epilogue, f->channel);
  f->constants_inside = constants_of(&s->epilogue, s->node) > KEPT_CONSTANTS;
  if (!f->constants_inside) epilogue_load(&s->epilogue, 0);
  if (s->w.border) f->border = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, s->border, f->channel, 4), 0);
}

/* Positions that the block finishes and the batch has; none where the warp's channels lie behind the last. */
static PtxValue count_positions(const SkinnyFinish *f) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  PtxValue first = ptx_mad(p, s->rank, ptx_int(s->s.own), s->first_position);
  PtxValue left = ptx_2(p, "min.s32", ptx_sub(p, s->positions, first), ptx_int(s->s.own));
  uint32_t rows = skinny_rows(&s->out.type);
  if (rows % SKINNY_ROWS == 0 || rows % SKINNY_ROWS > 32) return left;
  PtxValue first_bit = ptx_sub(p, f->bit, s->lane);
  return ptx_select(p, ptx_setp(p, "lt.u32", first_bit, ptx_int(rows)), left, ptx_int(0));
}

static Spot place_spot(SkinnyKernel *s, PtxValue index) {
  Ptx *p = &s->k->ptx;
  PtxValue first = ptx_mad(p, s->rank, ptx_int(s->s.own), s->first_position);
  PtxValue position = ptx_add(p, first, index);
  Place at = place_of_position(p, &s->grid, position);
  bool pieces = layout_is_pieces(s->out.type.layout);
  PtxValue pixel = ptx_select(p, at.is_pixel, at.pixel, ptx_int(0));
  return (Spot){pieces ? position : pixel, pixel, at.is_pixel, pieces ? ptx_int(1) : at.is_pixel};
}

static PtxValue sum_of_parts(const SkinnyFinish *f, PtxValue index) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  PtxValue at = ptx_mad(p, index, ptx_int(SKINNY_ROW_PITCH * 4), f->parts);
  PtxValue sum = s->w.border ? f->border : ptx_int(0);
  for (uint32_t part = 0; part < s->s.parts; part++) {
    int64_t offset = (int64_t)part * s->s.own * SKINNY_ROW_PITCH * 4;
    sum = ptx_add(p, ptx_load(p, "shared.b32", CLASS_B32, at, offset), sum);
  }
  return sum;
}

/* A lane a plane stores the word. */
static void store_planes(const SkinnyFinish *f, const Spot *spot, PtxValue stored) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  PtxValue mine = ptx_int(0);
  for (int plane = 0; plane < s->out.type.bits; plane++) {
    PtxValue one = ptx_and(p, ptx_shr(p, stored, plane), ptx_int(1)), word = ptx_new(p, CLASS_B32);
    PtxValue is_one = ptx_setp(p, "ne.s32", one, ptx_int(0));
    ptx_raw(p, "vote.sync.ballot.b32 %s, %s, -1;", ptx_text(p, word), ptx_text(p, is_one));
    mine = plane ? ptx_select(p, ptx_setp(p, "eq.s32", s->lane, ptx_int(plane)), word, mine) : word;
  }
  PtxValue at = unit_address(p, &s->out, spot->position, ptx_shr(p, f->bit, 5), 4);
  at = ptx_address(p, at, s->lane, (int64_t)layout_strides(&s->out.type).plane);
  PtxValue stores = ptx_setp(p, "lt.u32", s->lane, ptx_int(s->out.type.bits));
  ptx_store_if(p, ptx_pred_and(p, stores, spot->stores), "global.b32", at, 0, mine);
}

static void store_element(const SkinnyFinish *f, const Spot *spot, PtxValue stored) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  bool bytes = s->out.type.layout.kind == LAYOUT_BYTES;
  uint32_t rows = skinny_rows(&s->out.type);
  PtxValue stores = spot->stores;
  if (rows % 32) stores = ptx_pred_and(p, stores, ptx_setp(p, "lt.u32", f->bit, ptx_int(rows)));
  PtxValue at = unit_address(p, &s->out, spot->position, f->bit, bytes ? 1 : 4);
  ptx_store_if(p, stores, bytes ? "global.u8" : stored.class == CLASS_F32 ? "global.f32" : "global.b32", at, 0, stored);
}

static void finish_position(const SkinnyFinish *f, PtxValue index) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  const Type *t = &s->out.type;
  Spot spot = place_spot(s, index);
  if (f->constants_inside) epilogue_load(&s->epilogue, 0);
  Flow sum = {s->node->main_type, sum_of_parts(f, index), 0, 0};
  PtxValue stored = flow_stored(p, epilogue_apply(&s->epilogue, sum, spot.pixel, f->channel), t);
  if (type_is_quantized(t)) {
    stored = ptx_select(p, f->has_channel, stored, ptx_int(0));
    stored = ptx_select(p, spot.is_pixel, stored, ptx_int(0));
  }
  (t->layout.kind == LAYOUT_PLANES ? store_planes : store_element)(f, &spot, stored);
}

static void wait_for_parts(SkinnyKernel *s, PtxValue turn) {
  Ptx *p = &s->k->ptx;
  PtxValue parity = ptx_and(p, ptx_shr(p, turn, 1), ptx_int(1)), done = skinny_parts_barrier(s, turn);
  (s->tile.split_k > 1 ? ptx_barrier_wait_cluster : ptx_barrier_wait)(p, done, parity);
}

SkinnyFinish skinny_place_finish(SkinnyKernel *s) {
  SkinnyFinish f = {.s = s, .turn = ptx_sub(&s->k->ptx, s->turn, ptx_int(1))};
  place_channel(&f);
  return f;
}

void skinny_finish_tile(const SkinnyFinish *f) {
  SkinnyKernel *s = f->s;
  Ptx *p = &s->k->ptx;
  PtxValue count = count_positions(f);
  wait_for_parts(s, f->turn);
  PtxValue index = ptx_for(p, ptx_shr(p, s->warp, 1), count, ptx_int(s->tile.warps_m / 2));
  finish_position(f, index);
  ptx_end_for(p);
}
