/* Layers on wgmma, the sums of their input (S2 of weights.h): of each row, by columns of ones behind those of the tile.
 *
 * The products of weight plane 0 go with them: of an input plane each once, and what comes after doubles the sums as it
 * doubles all accumulators. A block that goes through tiles of the same rows, one column after the other, sums their
 * input with the first of them and keeps the sums.
 */
#include "wgmma_kernel.h"

static bool has_sum_rows(const Wgmma *w) {
  return w->s.weight_rows > w->m.tile.n;
}

/* Resident weights belong to one column of tiles, so that rows change with every tile. */
static bool keeps_sums(const Wgmma *w) {
  return has_sum_rows(w) && !w->m.tile.resident && wgmma_column_tiles(w) > 1;
}

/* Lines of 16 bytes, behind the copied rows: [copy of the weights][group of 8 rows][piece][row]. */
void wgmma_write_sum_rows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  const Tile *t = &w->m.tile;
  if (!has_sum_rows(w)) return;
  uint32_t copies = t->resident ? w->s.weight_planes : t->stages, lines = w->s.pieces * SUM_ROWS;
  uint32_t apart = t->resident ? w->s.chunk_bytes : w->s.stage_bytes;
  PtxValue base = t->resident ? wgmma_resident(w) : ptx_add(p, w->m.shared, ptx_int(w->s.window_bytes));
  PtxValue i = ptx_for(p, w->m.thread, ptx_int((int64_t)copies * lines), ptx_int(staging_threads(t)));
  PtxValue line = ptx_rem(p, i, ptx_int(lines));
  PtxValue at = ptx_mad(p, ptx_div(p, i, ptx_int(lines)), ptx_int(apart), base);
  at = ptx_add(p, ptx_mad(p, line, ptx_int(PIECE_BYTES), at), ptx_int(w->s.packed_bytes));
  PtxValue first_row = ptx_setp(p, "eq.s32", ptx_and(p, line, ptx_int(7)), ptx_int(0));
  PtxValue real = ptx_setp(p, "lt.s32", ptx_shr(p, line, 3), ptx_int(w->s.real_pieces));
  int32_t one = engine_uses_planes(w->m.node->engine) ? -1 : 0x01010101;
  PtxValue word = ptx_variable(p, ptx_select(p, ptx_pred_and(p, first_row, real), ptx_int(one), ptx_int(0)));
  const char *text = ptx_text(p, word);
  ptx_raw(p, "st.shared.v4.b32 [%s], {%s, %s, %s, %s};", ptx_text(p, at), text, text, text, text);
  ptx_end_for(p);
  ptx_raw(p, "fence.proxy.async;");
}

void wgmma_sums_start(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!keeps_sums(w)) return;
  w->summed_position = ptx_variable(p, ptx_int(-1));
  for (int i = 0; i < w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++) w->kept_sums[i][h] = ptx_variable(p, ptx_int(0));
}

void wgmma_sums_begin_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (keeps_sums(w)) w->has_new_rows = ptx_setp(p, "ne.s32", w->m.first_position, w->summed_position);
  if (!has_sum_rows(w) || w->s.weight_planes == 1) return;
  for (int i = 0; i < w->m.row_tiles; i++) /* planes of greater significance do not touch them */
    for (int j = 0; j < SUM_TILES; j++)
      for (int r = 0; r < 4; r++) ptx_assign(p, w->m.accumulators[i][w->m.column_tiles + j][r], ptx_int(0));
}

bool wgmma_goes_with_sums(const Wgmma *w, uint32_t pair) {
  return has_sum_rows(w) && (pair & 255) == 0;
}

void wgmma_with_sums(Wgmma *w, PtxValue index, PtxValue pair, MultiplyPair *multiply) {
  Ptx *p = &w->m.k->ptx;
  PtxValue goes = ptx_int(has_sum_rows(w));
  if (has_sum_rows(w) && w->s.weight_planes > 1) goes = mma_pair_is_first(&w->m, pair);
  if (keeps_sums(w)) goes = ptx_pred_and(p, w->has_new_rows, goes);
  if (goes.kind == OPERAND_IMMEDIATE) {
    multiply(w, index, pair, has_sum_rows(w));
    return;
  }
  ptx_if(p, goes);
  multiply(w, index, pair, true);
  ptx_else(p);
  multiply(w, index, pair, false);
  ptx_end_if(p);
}

void wgmma_finish_sums(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!keeps_sums(w)) {
    mma_finish_sums(&w->m);
    return;
  }
  ptx_if(p, w->has_new_rows);
  mma_finish_sums(&w->m);
  for (int i = 0; i < w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      ptx_assign(p, w->kept_sums[i][h], w->m.sums[i][h]);
      w->m.sums[i][h] = w->kept_sums[i][h];
    }
  ptx_assign(p, w->summed_position, w->m.first_position);
  ptx_end_if(p);
}
