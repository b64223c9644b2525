/* Parts of sums to stored results (parts_finish.h). A warp has 32 channels of a position, which neighbour each other in
 * the result: its lanes put the parts together, apply the layer's steps to a number each, and store them side by side;
 * of bit planes a vote makes the words.
 */
#include "parts_finish.h"

#include "../ir/skinny.h"

/* A position of the result: where it is stored, if at all, and whether it is a pixel. */
typedef struct Spot {
  PtxValue position, pixel, is_pixel, stores;
} Spot;

enum { MOST_TOGETHER = 4 };

static int constants_of(const Epilogue *e, const Node *node) {
  int count = 0;
  for (uint32_t i = 0; i < node->step_count; i++)
    for (int j = 0; j < MAX_STEP_CONSTANTS; j++) {
      const StepConstant *c = &e->steps[i].constants[j];
      if (!c->is_immediate && !c->is_table) count += c->width;
    }
  return count;
}

PtxValue parts_word(const PartsFinish *f) {
  return ptx_and(&f->k->ptx, f->warp, ptx_int(f->rows / 32 - 1));
}

void parts_place(PartsFinish *f, PtxValue row_tile) {
  Ptx *p = &f->k->ptx;
  Layout l = f->out->type.layout;
  PtxValue row = ptx_mad(p, parts_word(f), ptx_int(32), f->lane);
  f->bit = ptx_mad(p, row_tile, ptx_int(f->rows), row);
  f->channel = layout_orders_channels(l) ? channel_of_bit(p, l, f->bit) : f->bit;
  f->has_channel = ptx_int(1);
  uint32_t channels = (uint32_t)f->out->image.channels;
  if (channels % f->rows || f->row_tiles * f->rows > channels)
    f->has_channel = ptx_setp(p, "lt.u32", f->channel, ptx_int(channels));
  f->channel = ptx_select(p, f->has_channel, f->channel, ptx_int(0));
  epilogue_at(f->epilogue, f->channel);
  f->constants_inside = constants_of(f->epilogue, f->k->node) > f->most_constants;
}

void parts_load(PartsFinish *f, bool again) {
  Ptx *p = &f->k->ptx;
  if (!f->constants_inside) (again ? epilogue_load_again : epilogue_load)(f->epilogue, 0);
  if (!f->has_border) return;
  if (!again) f->border = ptx_new(p, CLASS_B32);
  PtxValue at = ptx_address(p, f->border_constant, f->channel, 4);
  const char *space = f->epilogue->loads_in_order ? "global" : "global.nc";
  ptx_raw(p, "ld.%s.b32 %s, %s;", space, ptx_text(p, f->border), ptx_at(p, at, 0));
}

/* Positions that the parts and the batch have; none where the warp's channels lie behind the last. */
static PtxValue count_positions(const PartsFinish *f) {
  Ptx *p = &f->k->ptx;
  PtxValue left = ptx_2(p, "min.s32", ptx_sub(p, f->positions, f->first_position), ptx_int(f->own));
  uint32_t rows = skinny_rows(&f->out->type), in_last = rows % f->rows;
  if (f->rows == 32 || in_last == 0 || in_last > 32) return left;
  PtxValue first_bit = ptx_sub(p, f->bit, f->lane);
  return ptx_select(p, ptx_setp(p, "lt.u32", first_bit, ptx_int(rows)), left, ptx_int(0));
}

/* `exists`: the position; where it does not, nothing is stored, and what would be is none's. */
static Spot place_spot(const PartsFinish *f, PtxValue index, PtxValue exists) {
  Ptx *p = &f->k->ptx;
  PtxValue position = ptx_add(p, f->first_position, index);
  Place at = place_of_position(p, f->grid, position);
  bool pieces = layout_is_pieces(f->out->type.layout);
  PtxValue is_pixel = ptx_pred_and(p, at.is_pixel, exists);
  PtxValue pixel = ptx_select(p, is_pixel, at.pixel, ptx_int(0));
  return (Spot){pieces ? position : pixel, pixel, is_pixel, pieces ? exists : is_pixel};
}

/* `parts`: the lane's number of position 0. */
static PtxValue address_of_position(const PartsFinish *f, PtxValue parts, PtxValue index) {
  Ptx *p = &f->k->ptx;
  if (f->beside == 1) return ptx_mad(p, index, ptx_int(f->pitch * 4), parts);
  PtxValue pair = ptx_mad(p, ptx_shr(p, index, 1), ptx_int(2 * f->pitch * 4), parts);
  return ptx_mad(p, ptx_and(p, index, ptx_int(1)), ptx_int(4), pair);
}

static PtxValue sum_of_parts(const PartsFinish *f, PtxValue parts, PtxValue index) {
  Ptx *p = &f->k->ptx;
  PtxValue at = address_of_position(f, parts, index);
  PtxValue sum = f->has_border ? f->border : ptx_int(0);
  for (uint32_t part = 0; part < f->parts; part++) {
    int64_t offset = (int64_t)part * f->own * f->pitch * 4;
    sum = ptx_add(p, ptx_load(p, "shared.b32", CLASS_B32, at, offset), sum);
  }
  return sum;
}

/* A lane a plane stores the word. */
static void store_planes(const PartsFinish *f, const Spot *spot, PtxValue stored) {
  Ptx *p = &f->k->ptx;
  const Type *t = &f->out->type;
  PtxValue mine = ptx_int(0);
  for (int plane = 0; plane < t->bits; plane++) {
    PtxValue one = ptx_and(p, ptx_shr(p, stored, plane), ptx_int(1)), word = ptx_new(p, CLASS_B32);
    PtxValue is_one = ptx_setp(p, "ne.s32", one, ptx_int(0));
    ptx_raw(p, "vote.sync.ballot.b32 %s, %s, -1;", ptx_text(p, word), ptx_text(p, is_one));
    mine = plane ? ptx_select(p, ptx_setp(p, "eq.s32", f->lane, ptx_int(plane)), word, mine) : word;
  }
  PtxValue at = unit_address(p, f->out, spot->position, ptx_shr(p, f->bit, 5), 4);
  at = ptx_address(p, at, f->lane, (int64_t)layout_strides(t).plane);
  PtxValue stores = ptx_setp(p, "lt.u32", f->lane, ptx_int(t->bits));
  ptx_store_if(p, ptx_pred_and(p, stores, spot->stores), "global.b32", at, 0, mine);
}

static void store_element(const PartsFinish *f, const Spot *spot, PtxValue stored) {
  Ptx *p = &f->k->ptx;
  bool bytes = f->out->type.layout.kind == LAYOUT_BYTES;
  uint32_t rows = skinny_rows(&f->out->type);
  PtxValue stores = spot->stores;
  if (rows % 32) stores = ptx_pred_and(p, stores, ptx_setp(p, "lt.u32", f->bit, ptx_int(rows)));
  PtxValue at = unit_address(p, f->out, spot->position, f->bit, bytes ? 1 : 4);
  ptx_store_if(p, stores, bytes ? "global.u8" : stored.class == CLASS_F32 ? "global.f32" : "global.b32", at, 0, stored);
}

static void finish_position(const PartsFinish *f, PtxValue sum_of_position, PtxValue index, PtxValue exists) {
  Ptx *p = &f->k->ptx;
  const Type *t = &f->out->type;
  Spot spot = place_spot(f, index, exists);
  if (f->constants_inside) epilogue_load(f->epilogue, 0);
  Flow sum = {f->k->node->main_type, sum_of_position, 0, 0};
  PtxValue stored = flow_stored(p, epilogue_apply(f->epilogue, sum, spot.pixel, f->channel), t);
  if (type_is_quantized(t)) {
    stored = ptx_select(p, f->has_channel, stored, ptx_int(0));
    stored = ptx_select(p, spot.is_pixel, stored, ptx_int(0));
  }
  (t->layout.kind == LAYOUT_PLANES ? store_planes : store_element)(f, &spot, stored);
}

/* Positions of a warp, `apart` from each other, that are finished side by side: one waits while another goes on.
 * Constants that are loaded again for each leave no registers for several. */
static uint32_t positions_together(const PartsFinish *f, uint32_t apart) {
  uint32_t together = f->constants_inside ? 1 : MOST_TOGETHER;
  while (together > 1 && f->own % (together * apart)) together /= 2;
  return together;
}

void parts_finish(const PartsFinish *f, PtxValue parts) {
  Ptx *p = &f->k->ptx;
  uint32_t words = f->rows / 32;
  PtxValue count = count_positions(f), rows = ptx_add(p, parts, f->row_at);
  PtxValue first = ptx_shr(p, f->warp, __builtin_ctz(words));
  uint32_t apart = f->warps / words, together = positions_together(f, apart);
  PtxValue index = ptx_for(p, first, count, ptx_int(together * apart));
  PtxValue indices[MOST_TOGETHER], sums[MOST_TOGETHER];
  for (uint32_t i = 0; i < together; i++) {
    indices[i] = ptx_add(p, index, ptx_int(i * apart));
    sums[i] = sum_of_parts(f, rows, indices[i]);
  }
  for (uint32_t i = 0; i < together; i++)
    finish_position(f, sums[i], indices[i], i ? ptx_setp(p, "lt.s32", indices[i], count) : ptx_int(1));
  ptx_end_for(p);
}
