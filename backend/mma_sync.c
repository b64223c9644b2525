/* Tensor-core layers, the reduction on mma.sync: two to four stages, the copies of all but one under way while that one
 * is multiplied.
 *
 * Word order: the instruction wants words t and t + 4 of eight from lane t; both operands are read as words 2t and 2t +
 * 1 instead, one 8-byte load, which permutes the reduction and changes nothing.
 */
#include "mma_kernel.h"

/* --- products of a chunk --- */

/* Adds the stored numbers in one register of the input to a sum. */
static void add_sum(Mma *m, PtxValue sum, PtxValue word) {
  Ptx *p = &m->k->ptx;
  if (engine_uses_planes(m->node->engine)) {
    PtxValue count = ptx_1(p, "popc.b32", word);
    ptx_raw(p, "add.s32 %s, %s, %s;", ptx_text(p, sum), ptx_text(p, sum), ptx_text(p, count));
  } else {
    const char *mnemonic = m->in.type.kind == ELEM_UINT ? "dp4a.u32.u32" : "dp4a.s32.u32";
    ptx_raw(p, "%s %s, %s, 0x01010101, %s;", mnemonic, ptx_text(p, sum), ptx_text(p, word), ptx_text(p, sum));
  }
}

static void load_rows(Mma *m, PtxValue a_base, int step, int i, int h, PtxValue words[2]) {
  ptx_load_pair(&m->k->ptx, "shared.v2.b32", a_base, (int64_t)(16 * i + 8 * h) * m->row_bytes + 32 * step, words);
}

/* Each plane of the input counts once, with weight plane 0: of several weight planes few pairs, which load the input
 * once more for it. */
static bool sums_apart(const Mma *m) {
  return m->w.sum_scale && m->w.planes > 1;
}

static void sum_chunk(Mma *m, Position at, PtxValue a_base) {
  Ptx *p = &m->k->ptx;
  ptx_if(p, mma_pair_is_first(m, at.word));
  for (int step = 0; step < m->tile.k / 8; step++)
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        PtxValue words[2];
        load_rows(m, a_base, step, i, h, words);
        for (int w = 0; w < 2; w++) add_sum(m, m->sums[i][h], words[w]);
      }
  ptx_end_if(p);
}

void mma_multiply(Mma *m, int i, int j, const PtxValue a[4], const PtxValue b[2]) {
  Ptx *p = &m->k->ptx;
  const PtxValue *d = m->accumulators[i][j];
  const char *registers = arena_printf(p->context, "{%s, %s, %s, %s}", ptx_text(p, d[0]), ptx_text(p, d[1]),
                                       ptx_text(p, d[2]), ptx_text(p, d[3]));
  ptx_raw(p, "%s %s, {%s, %s, %s, %s}, {%s, %s}, %s;", m->instruction->mnemonic, registers, ptx_text(p, a[0]),
          ptx_text(p, a[1]), ptx_text(p, a[2]), ptx_text(p, a[3]), ptx_text(p, b[0]), ptx_text(p, b[1]), registers);
}

static void multiply_step(Mma *m, PtxValue a_base, PtxValue b_base, int step) {
  Ptx *p = &m->k->ptx;
  PtxValue a[MAX_ROW_TILES][2][2]; /* [tile][half][word] */
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      load_rows(m, a_base, step, i, h, a[i][h]);
      if (m->w.sum_scale && !sums_apart(m))
        for (int w = 0; w < 2; w++) add_sum(m, m->sums[i][h], a[i][h][w]);
    }
  for (int j = 0; j < m->column_tiles; j++) {
    PtxValue b[2];
    ptx_load_pair(p, "shared.v2.b32", b_base, (int64_t)8 * j * m->row_bytes + 32 * step, b);
    for (int i = 0; i < m->row_tiles; i++)
      mma_multiply(m, i, j, (PtxValue[]){a[i][0][0], a[i][1][0], a[i][0][1], a[i][1][1]}, b);
  }
}

static void multiply_chunk(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  if (m->pair_count > 1) {
    PtxValue begins = ptx_setp(p, "eq.s32", at.chunk, ptx_int(0));
    mma_shift_if(m, ptx_pred_and(p, begins, mma_pair_shifts(m, at.word)));
  }
  PtxValue base = mma_stage(m, stage);
  PtxValue a_row = ptx_add(p, m->warp_row, m->group);
  PtxValue b_row = ptx_add(p, m->warp_column, m->group);
  PtxValue words = ptx_shl(p, m->quad, 1);
  PtxValue a_base = ptx_add(p, base, mma_input_offset(m, a_row, words));
  PtxValue b_base = ptx_add(p, base, mma_weight_offset(m, b_row, words));
  for (int step = 0; step < m->tile.k / 8; step++) multiply_step(m, a_base, b_base, step);
  if (sums_apart(m)) sum_chunk(m, at, a_base);
}

/* A launch may have more blocks than there are tiles. */
static void leave_without_tile(Mma *m) {
  Ptx *p = &m->k->ptx;
  if (!m->k->node->launch.x_most) return;
  PtxValue has_tile = ptx_setp(p, "lt.u32", m->first_position, m->total_positions);
  ptx_raw(p, "@!%s cp.async.wait_all;", ptx_text(p, has_tile));
  ptx_return_unless(p, has_tile);
}

/* Weights of the first chunks need not wait for the launch before. */
static void copy_first_chunks(Mma *m, Position copy, int count) {
  Ptx *p = &m->k->ptx;
  Position weights = mma_position_start(m);
  for (int i = 0; i < count; i++) {
    mma_copy_weights(m, weights, ptx_int(i));
    mma_position_next(m, weights);
  }
  ptx_wait_for_launch(p);
  leave_without_tile(m);
  for (int i = 0; i < count; i++) {
    mma_copy_input(m, copy, ptx_int(i));
    mma_position_next(m, copy);
    ptx_raw(p, "cp.async.commit_group;");
  }
}

static void next_stage(Mma *m, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue next = ptx_add(p, stage, ptx_int(1));
  ptx_assign(p, stage, ptx_select(p, ptx_setp(p, "eq.s32", next, ptx_int(m->tile.stages)), ptx_int(0), next));
}

/* Tiles behind the last channel, which make up whole blocks of the result, are zeros. */
static bool begin_channels(Mma *m) {
  Ptx *p = &m->k->ptx;
  int channels = m->out.image.channels, tiles = (int)tile_count_of_channels(&m->tile, &m->out.type);
  bool some = (tiles - 1) * m->tile.n >= channels;
  if (some) ptx_if(p, ptx_setp(p, "lt.u32", m->first_channel, ptx_int(channels)));
  return some;
}

/* Behind the barrier a chunk has come for all threads, and all have multiplied the one whose stage is filled next. */
void mma_reduce_sync(Mma *m) {
  Ptx *p = &m->k->ptx;
  int total = m->pair_count * m->chunks, ahead = m->tile.stages - 1, first = total < ahead ? total : ahead;
  Position copy = mma_position_start(m), at = mma_position_start(m);
  copy_first_chunks(m, copy, first);
  bool some = begin_channels(m);
  PtxValue filled = ptx_variable(p, ptx_int(ahead)), stage = ptx_variable(p, ptx_int(0));
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(total), ptx_int(1));
  ptx_raw(p, "cp.async.wait_group %d;", first - 1);
  ptx_raw(p, "bar.sync 0;");
  ptx_if(p, ptx_setp(p, "lt.s32", i, ptx_int(total - ahead)));
  mma_copy_weights(m, copy, filled);
  mma_copy_input(m, copy, filled);
  mma_position_next(m, copy);
  next_stage(m, filled);
  ptx_end_if(p);
  ptx_raw(p, "cp.async.commit_group;");
  multiply_chunk(m, at, stage);
  mma_position_next(m, at);
  next_stage(m, stage);
  ptx_end_for(p);
  if (some) ptx_end_if(p);
  ptx_raw(p, "cp.async.wait_group 0;");
}
