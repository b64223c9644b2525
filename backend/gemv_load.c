/* Gemv layers, the loads: weights as the stream in which they lie, 16 bytes a lane and fragment, some steps ahead of
 * the products; the input the same way, from its pieces.
 */
#include "gemv_kernel.h"

static Fragment new_fragment(Ptx *p) {
  Fragment f;
  for (int i = 0; i < 4; i++) f.words[i] = ptx_new(p, CLASS_B32);
  return f;
}

static void load(Ptx *p, const Fragment *to, const char *how, PtxValue address, int64_t offset, PtxValue pred) {
  const char *guard = ptx_is_int(pred, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, pred));
  const PtxValue *w = to->words;
  ptx_raw(p, "%sld.%s {%s, %s, %s, %s}, %s;", guard, how, ptx_text(p, w[0]), ptx_text(p, w[1]), ptx_text(p, w[2]),
          ptx_text(p, w[3]), ptx_at(p, address, offset));
}

/* --- weights --- */

PtxValue gemv_weights_behind(GemvKernel *s, PtxValue weights, PtxValue row_tiles) {
  return ptx_address(&s->k->ptx, weights, row_tiles, (int64_t)s->tile.warps_m * s->s.warp_bytes);
}

/* Each is read once: they pass L1 by, where the input stays. As .nc they would be moved behind the wait for the launch
 * before (ptx_written). */
void gemv_load_step(GemvKernel *s, uint32_t stage, PtxValue weights, uint32_t step, PtxValue pred) {
  uint32_t loads = s->s.step_loads;
  for (uint32_t i = 0; i < loads; i++)
    load(&s->k->ptx, &s->stages[stage][i], "global.L1::no_allocate.v4.b32", weights,
         (int64_t)(step * loads + i) * GEMV_FRAGMENT_BYTES, pred);
}

/* Where the batch has no positions for the block, the weights would be loaded for nothing. */
void gemv_load_first_weights(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue works = ptx_int(1);
  if (s->s.column_tiles > 1) works = ptx_setp(p, "lt.u32", s->first_position, s->positions);
  PtxValue of_lane = ptx_address(p, ptx_address(p, s->weights, s->warp, s->s.warp_bytes), s->lane, 16);
  s->tile_weights = ptx_variable(p, gemv_weights_behind(s, of_lane, s->first_tile));
  for (uint32_t stage = 0; stage < s->tile.stages; stage++) {
    for (uint32_t i = 0; i < s->s.step_loads; i++) s->stages[stage][i] = new_fragment(p);
    gemv_load_step(s, stage, s->tile_weights, stage, works);
  }
}

/* --- the input --- */

static uint32_t positions_of_group(const GemvKernel *s) {
  return s->tile.n < 8 ? s->tile.n : 8;
}

/* The plane of a lane's column, where a group has several, and the position, in the first group of positions. */
static void place_columns(GemvKernel *s, PtxValue *plane, PtxValue *position) {
  Ptx *p = &s->k->ptx;
  uint32_t n = positions_of_group(s), in_last = s->s.input_planes % (8 / n);
  *plane = ptx_shr(p, s->group, __builtin_ctz(n));
  *position = ptx_add(p, s->first_position, ptx_and(p, s->group, ptx_int(n - 1)));
  s->plane_exists = in_last ? ptx_setp(p, "lt.u32", *plane, ptx_int(in_last)) : ptx_int(1);
}

/* The lane's first block of channels; the last units of the last warps may lie behind all. */
static PtxValue place_blocks(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  uint32_t of_warp = s->s.units * GEMV_UNIT_BLOCKS, before = (s->tile.warps_m - 1u) * of_warp;
  PtxValue block = ptx_mad(p, s->warp, ptx_int(of_warp), s->quad);
  for (uint32_t unit = 0; unit < s->s.units; unit++) {
    uint32_t in_warp = unit * GEMV_UNIT_BLOCKS;
    s->block_exists[unit] = ptx_int(1);
    if (before + in_warp + GEMV_UNIT_BLOCKS > s->s.blocks)
      s->block_exists[unit] = ptx_setp(p, "lt.s32", block, ptx_int((int64_t)s->s.blocks - in_warp));
  }
  return block;
}

/* In the place of positions that the batch does not have stands its last one, whose numbers nobody reads. */
void gemv_place_input(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  Strides strides = layout_strides(&s->in.type);
  PtxValue plane, first, block = place_blocks(s);
  place_columns(s, &plane, &first);
  PtxValue at = ptx_address(p, s->in.base, plane, (int64_t)strides.plane);
  at = ptx_address(p, at, block, (int64_t)strides.block);
  PtxValue last = ptx_sub(p, s->positions, ptx_int(1));
  for (uint32_t i = 0; i < gemv_position_groups(s); i++) {
    PtxValue position = ptx_add(p, first, ptx_int(8 * i));
    if (s->tile.n > 1) position = ptx_2(p, "min.u32", position, last);
    s->first_input[i] = ptx_variable(p, ptx_address(p, at, position, (int64_t)strides.position));
  }
  if (!s->s.keeps_input) s->nothing = ptx_convert(p, "cvt.u64.u32", CLASS_B64, ptx_shr(p, s->k->batch, 31));
}

/* Adds a nothing that the assembler does not know to be one. It would see that a weight plane loads what the one before
 * loaded, and keep all of it in registers that there are not. */
void gemv_load_input_anew(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  for (uint32_t i = 0; i < gemv_position_groups(s); i++)
    ptx_assign(p, s->first_input[i], ptx_2(p, "add.s64", s->first_input[i], s->nothing));
}

/* Zeros behind the last plane and the last block. */
Fragment gemv_load_input(GemvKernel *s, uint32_t unit, uint32_t group) {
  Ptx *p = &s->k->ptx;
  Strides strides = layout_strides(&s->in.type);
  uint32_t planes = 8 / positions_of_group(s), positions = gemv_position_groups(s);
  PtxValue exists = s->block_exists[unit], from = s->first_input[group % positions];
  if (planes > 1 && group == s->s.groups - 1) exists = ptx_pred_and(p, exists, s->plane_exists);
  Fragment f = new_fragment(p);
  if (!ptx_is_int(exists, 1))
    for (int i = 0; i < 4; i++) ptx_assign(p, f.words[i], ptx_int(0));
  int64_t offset = (int64_t)strides.plane * (group / positions * planes);
  offset += (int64_t)strides.block * (unit * GEMV_UNIT_BLOCKS);
  load(p, &f, ptx_written(p, "v4.b32"), from, offset, exists);
  return f;
}

void gemv_keep_input(GemvKernel *s) {
  for (uint32_t unit = 0; unit < s->s.units; unit++)
    for (uint32_t group = 0; group < s->s.groups; group++)
      s->input[unit * s->s.groups + group] = gemv_load_input(s, unit, group);
}
