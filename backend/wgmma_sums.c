/* Layers on wgmma, the sums of their input (S2 of weights.h), in one of two ways (../ir/staging.h).
 *
 * By columns: a row of ones behind the weights sums up the input with every plane of weights.
 *
 * Beside the products, by the warps that wait for them: a group of four warps sums up every position that its rows
 * read, all channels and planes of it, a thread a position, in shared memory, where the windows lie. The sum of a row
 * is then that of the positions under its filter. A block that goes through tiles of the same rows, one column after
 * the other, does so with the first of them and keeps the sums of the rows.
 */
#include "wgmma_kernel.h"

static bool has_columns(const Wgmma *w) {
  return w->s.weight_rows > w->m.tile.n;
}

static bool sums_beside(const Wgmma *w) {
  return w->s.summed > 0;
}

/* --- by columns --- */

/* Taps in the last piece of a row of the filter. */
static uint32_t last_slots(const Wgmma *w) {
  return w->s.taps / (w->s.filter_pieces / w->s.row_pieces) - (w->s.row_pieces - 1) * w->s.joined;
}

/* Joined windows hold other positions behind the last tap of a row. */
static PtxValue ones_of_piece(Wgmma *w, PtxValue piece) {
  Ptx *p = &w->m.k->ptx;
  PtxValue in_row = ptx_rem(p, piece, ptx_int(w->s.row_pieces));
  PtxValue is_last = ptx_setp(p, "eq.s32", in_row, ptx_int(w->s.row_pieces - 1));
  return ptx_select(p, is_last, ptx_int((1 << 32 / w->s.joined * last_slots(w)) - 1), ptx_int(-1));
}

/* Lines of 16 bytes, behind the copied rows of a stage or part: [stage, or part][group of 8 rows][piece][row]. */
void wgmma_write_sum_rows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  const Tile *t = &w->m.tile;
  if (!has_columns(w)) return;
  uint32_t copies = t->resident ? w->s.weight_planes * w->s.parts : t->stages, pieces = w->s.part_pieces;
  uint32_t lines = pieces * SUM_ROWS, apart = t->resident ? w->s.chunk_bytes / w->s.parts : w->s.stage_bytes;
  PtxValue base = t->resident ? wgmma_resident(w) : ptx_add(p, w->m.shared, ptx_int(w->s.window_bytes));
  PtxValue i = ptx_for(p, w->m.thread, ptx_int((int64_t)copies * lines), ptx_int(staging_threads(t)));
  PtxValue line = ptx_rem(p, i, ptx_int(lines));
  PtxValue copy = ptx_div(p, i, ptx_int(lines)), at = ptx_mad(p, copy, ptx_int(apart), base);
  at = ptx_add(p, ptx_mad(p, line, ptx_int(PIECE_BYTES), at), ptx_int(w->s.packed_bytes / w->s.parts));
  PtxValue first_row = ptx_setp(p, "eq.s32", ptx_and(p, line, ptx_int(7)), ptx_int(0));
  PtxValue in_part = ptx_shr(p, line, 3), real = ptx_setp(p, "lt.s32", in_part, ptx_int(pieces));
  PtxValue piece = ptx_mad(p, ptx_rem(p, copy, ptx_int(w->s.parts)), ptx_int(pieces), in_part);
  if (w->s.real_pieces < w->s.pieces)
    real = ptx_pred_and(p, real, ptx_setp(p, "lt.s32", piece, ptx_int(w->s.real_pieces)));
  PtxValue ones = ptx_int(engine_uses_planes(w->m.node->engine) ? -1 : 0x01010101);
  if (last_slots(w) < w->s.joined) ones = ones_of_piece(w, piece);
  PtxValue word = ptx_variable(p, ptx_select(p, ptx_pred_and(p, first_row, real), ones, ptx_int(0)));
  const char *text = ptx_text(p, word);
  ptx_raw(p, "st.shared.v4.b32 [%s], {%s, %s, %s, %s};", ptx_text(p, at), text, text, text, text);
  ptx_end_for(p);
  ptx_raw(p, "fence.proxy.async;");
}

/* Weight plane i counts 2^i times, all planes 2^planes - 1 times. That is odd, so modulo 2^32 it has an inverse. */
static uint32_t inverse_of_planes(uint32_t planes) {
  uint32_t times = (1u << planes) - 1, inverse = 1;
  for (int i = 0; i < 5; i++) inverse *= 2 - times * inverse; /* each step doubles the bits that are right */
  return inverse;
}

static void finish_columns(Wgmma *w) {
  Mma *m = &w->m;
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) m->sums[i][h] = m->accumulators[i][m->column_tiles][2 * h];
  mma_finish_sums(m, (int32_t)(0u - (uint32_t)m->w.sum_scale * inverse_of_planes(w->s.weight_planes)));
}

/* --- beside the products --- */

/* Resident weights belong to one column of tiles, so that rows change with every tile. */
static bool keeps_sums(const Wgmma *w) {
  return sums_beside(w) && !w->m.tile.resident && wgmma_column_tiles(w) > 1;
}

/* Address of the sum of a position of the group's windows. */
static PtxValue sum_at(Wgmma *w, PtxValue position) {
  Ptx *p = &w->m.k->ptx;
  PtxValue sums = ptx_mad(p, ptx_shr(p, w->warp, 2), ptx_int(4 * w->s.summed), wgmma_sums(w));
  if (w->m.tile.resident) sums = ptx_mad(p, w->ring.stage, ptx_int(w->s.sums_bytes), sums);
  return ptx_mad(p, position, ptx_int(4), sums);
}

/* Positions of the group's windows that are summed up: of gathered rows those that were copied. */
static PtxValue summed_positions(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue all = ptx_int(w->s.summed);
  if (!staging_gathers(&w->m.tile)) return all;
  PtxValue left = ptx_sub(p, w->total_positions, w->tile_position);
  return ptx_2(p, "min.s32", ptx_add(p, left, ptx_int((int64_t)w->s.shift + w->s.halo)), ptx_variable(p, all));
}

/* Opens the loop over the thread's positions. */
static PtxValue for_each_position(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue first = ptx_and(p, w->m.thread, ptx_int(GROUP_THREADS - 1));
  return ptx_for(p, first, summed_positions(w), ptx_int(GROUP_THREADS));
}

static void end_positions(Wgmma *w) {
  ptx_end_for(&w->m.k->ptx);
  ptx_raw(&w->m.k->ptx, "bar.warp.sync -1;");
}

/* Four words: their ones, or their bytes. */
static PtxValue add_piece(Wgmma *w, PtxValue at, int64_t offset, PtxValue sum) {
  Ptx *p = &w->m.k->ptx;
  PtxValue words[4];
  ptx_load_four(p, "shared.v4.b32", at, offset, words);
  const char *of_bytes = w->m.in.type.kind == ELEM_UINT ? "dp4a.u32.u32" : "dp4a.s32.u32";
  for (int i = 0; i < 4; i++)
    sum = engine_uses_planes(w->m.node->engine) ? ptx_add(p, ptx_1(p, "popc.b32", words[i]), sum)
                                                : ptx_3(p, of_bytes, words[i], ptx_int(0x01010101), sum);
  return sum;
}

/* The blocks of channels of a position in one plane. `at`: of the first. */
static PtxValue add_blocks(Wgmma *w, PtxValue at, int64_t offset, PtxValue sum) {
  enum { MOST_UNROLLED = 8 };
  Ptx *p = &w->m.k->ptx;
  int64_t block_bytes = (int64_t)w->s.input_rows * PIECE_BYTES;
  if (w->s.chunk_blocks <= MOST_UNROLLED) {
    for (uint32_t i = 0; i < w->s.chunk_blocks; i++) sum = add_piece(w, at, offset + i * block_bytes, sum);
    return sum;
  }
  PtxValue all = ptx_variable(p, sum);
  PtxValue block = ptx_for(p, ptx_int(0), ptx_int(w->s.chunk_blocks), ptx_int(1));
  ptx_assign(p, all, add_piece(w, ptx_mad(p, block, ptx_int(block_bytes), at), offset, all));
  ptx_end_for(p);
  return all;
}

/* Address of a position of the group's windows, in the first window of a stage. */
static PtxValue position_at(Wgmma *w, PtxValue stage, PtxValue position) {
  Ptx *p = &w->m.k->ptx;
  PtxValue row = ptx_add(p, w->group_row, position);
  return ptx_mad(p, row, ptx_int(PIECE_BYTES), wgmma_stage(w, stage));
}

static void wait_for_group(Wgmma *w) {
  wgmma_meet(w, ptx_shr(&w->m.k->ptx, w->warp, 2), GROUP_THREADS / 32);
}

/* Where the sum of a lane's row begins, under the filter's first tap. */
static PtxValue row_sum_at(Wgmma *w, int i, int h) {
  Ptx *p = &w->m.k->ptx;
  if (staging_gathers(&w->m.tile)) return sum_at(w, w->row_positions[i][h]);
  PtxValue row = ptx_mad(p, ptx_and(p, w->warp, ptx_int(3)), ptx_int(16), w->m.group);
  return sum_at(w, ptx_add(p, row, ptx_int(64 * i + 8 * h)));
}

/* m.sums from the sums of positions. */
static void sum_rows(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  wait_for_group(w);
  for (int i = 0; i < w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue at = row_sum_at(w, i, h), sum = ptx_int(0);
      for (uint32_t tap = 0; tap < w->s.taps; tap++)
        sum = ptx_add(p, ptx_load(p, "shared.b32", CLASS_B32, at, 4 * (int64_t)w->piece_shifts[tap]), sum);
      w->m.sums[i][h] = ptx_mul(p, sum, ptx_int(-(int64_t)w->m.w.sum_scale));
    }
}

/* --- resident weights: a stage holds all planes and channels; its sums are written again when it is --- */

void wgmma_sum_positions(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!sums_beside(w)) return;
  PtxValue position = for_each_position(w), at = position_at(w, w->ring.stage, position), sum = ptx_int(0);
  for (uint32_t plane = w->s.input_planes; plane-- > 0;) {
    if (plane + 1 < w->s.input_planes) sum = ptx_shl(p, sum, 1);
    sum = add_blocks(w, at, (int64_t)plane * w->s.window_bytes, sum);
  }
  ptx_store(p, "shared.b32", sum_at(w, position), 0, sum);
  end_positions(w);
}

void wgmma_sum_rows(Wgmma *w) {
  if (sums_beside(w)) sum_rows(w);
}

/* --- streamed weights: a chunk of a plane after the other --- */

void wgmma_sums_start(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!keeps_sums(w)) return;
  w->summed_position = ptx_variable(p, ptx_int(-1));
  for (int i = 0; i < w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++) w->kept_sums[i][h] = ptx_variable(p, ptx_int(0));
}

void wgmma_sums_begin_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!sums_beside(w) || w->m.tile.resident) return;
  w->has_new_rows = ptx_int(1);
  if (keeps_sums(w)) w->has_new_rows = ptx_setp(p, "ne.s32", w->m.first_position, w->summed_position);
  ptx_store(p, "shared.b32", sum_at(w, for_each_position(w)), 0, ptx_int(0));
  end_positions(w);
}

void wgmma_sum_chunk(Wgmma *w, PtxValue pair, PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  if (!sums_beside(w)) return;
  PtxValue due = w->has_new_rows, plane = ptx_and(p, ptx_shr(p, pair, 8), ptx_int(255));
  if (w->s.weight_planes > 1) due = ptx_pred_and(p, due, mma_pair_is_first(&w->m, pair)); /* each input plane once */
  bool always = due.kind == OPERAND_IMMEDIATE;
  if (!always) ptx_if(p, due);
  PtxValue position = for_each_position(w), to = sum_at(w, position);
  PtxValue sum = add_blocks(w, position_at(w, stage, position), 0, ptx_int(0));
  sum = ptx_2(p, "shl.b32", sum, plane);
  ptx_store(p, "shared.b32", to, 0, ptx_add(p, ptx_load(p, "shared.b32", CLASS_B32, to, 0), sum));
  end_positions(w);
  if (!always) ptx_end_if(p);
}

void wgmma_finish_sums(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (has_columns(w)) finish_columns(w);
  if (!sums_beside(w) || w->m.tile.resident) return;
  if (!keeps_sums(w)) {
    sum_rows(w);
    wait_for_group(w); /* positions may be summed up again */
    return;
  }
  ptx_if(p, w->has_new_rows);
  sum_rows(w);
  wait_for_group(w);
  for (int i = 0; i < w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      ptx_assign(p, w->kept_sums[i][h], w->m.sums[i][h]);
      w->m.sums[i][h] = w->kept_sums[i][h];
    }
  ptx_assign(p, w->summed_position, w->m.first_position);
  ptx_end_if(p);
}
