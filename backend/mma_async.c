/* Tensor-core layers, the reduction on wgmma: both operands in shared memory, tile.stages stages of it, copies of later
 * chunks under way while one is multiplied.
 *
 * A step of an iteration is fenced in this order: every thread waits for its copies of the chunk and makes them visible
 * to the tensor cores (fence.proxy.async), then all meet at a barrier; by then every warp has waited for the products of
 * the iteration before, so the stage that these read is free for the next copy.
 *
 * Sums of the input (S2, weights.h) come from WGMMA_SUM_ROWS further rows of weights, the first of which is all ones: a
 * wider instruction computes them as columns of their own, for weight plane 0, and lane quad 0 holds them.
 */
#include "mma_kernel.h"

#include <string.h>

enum { CORE_MATRIX_BYTES = 128 };

/* The rows of ones and zeros behind the weights of every stage, written once. */
static void fill_sum_rows(Mma *m) {
  if (!m->w.sum_scale) return;
  Ptx *p = &m->k->ptx;
  int threads = 32 * m->tile.warps_m, words = m->tile.k * WGMMA_SUM_ROWS;
  int32_t one = engine_uses_planes(m->node->engine) ? -1 : 0x01010101;
  for (int stage = 0; stage < m->tile.stages; stage++)
    for (int first = 0; first < words; first += threads) {
      PtxValue index = ptx_add(p, m->thread, ptx_int(first));
      PtxValue row = ptx_div(p, index, ptx_int(m->tile.k)), word = ptx_rem(p, index, ptx_int(m->tile.k));
      PtxValue value = ptx_select(p, ptx_setp(p, "eq.s32", row, ptx_int(0)), ptx_int(one), ptx_int(0));
      PtxValue inside = ptx_setp(p, "lt.s32", index, ptx_int(words));
      PtxValue at = mma_weight_offset(m, ptx_add(p, row, ptx_int(m->tile.n)), word);
      at = ptx_add(p, at, mma_stage(m, ptx_int(stage)));
      ptx_store_if(p, inside, "shared.b32", at, 0, value);
    }
}

/* A matrix descriptor without swizzle: address, distance of the two pieces of a step, distance of core matrices. */
static PtxValue descriptor(Mma *m, PtxValue address, int piece_bytes) {
  Ptx *p = &m->k->ptx;
  PtxValue low = ptx_or(p, ptx_shr(p, address, 4), ptx_int((int64_t)(piece_bytes / 16) << 16));
  PtxValue high = ptx_int(CORE_MATRIX_BYTES / 16), d = ptx_new(p, CLASS_B64);
  ptx_raw(p, "mov.b64 %s, {%s, %s};", ptx_text(p, d), ptx_text(p, low), ptx_text(p, high));
  return d;
}

static void multiply_step(Mma *m, PtxValue a, PtxValue b, int tiles) {
  Ptx *p = &m->k->ptx;
  Text line = {.context = p->context};
  const char *columns = strchr(m->instruction->mnemonic, '%');
  text_add(&line, "%.*s%d%s", (int)(columns - m->instruction->mnemonic), m->instruction->mnemonic, 8 * tiles,
           columns + 2);
  for (int j = 0; j < tiles; j++)
    for (int r = 0; r < 4; r++)
      text_add(&line, "%s%s", j || r ? ", " : " {", ptx_text(p, m->accumulators[0][j][r]));
  ptx_raw(p, "%s}, %s, %s, 1;", line.data, ptx_text(p, a), ptx_text(p, b));
}

/* The steps of a chunk, on `tiles` column tiles. */
static void multiply_steps(Mma *m, PtxValue a_base, PtxValue b_base, int tiles) {
  Ptx *p = &m->k->ptx;
  for (int step = 0; step < m->tile.k / 8; step++) {
    PtxValue a = ptx_add(p, a_base, ptx_int(2 * step * mma_input_piece_bytes(m)));
    PtxValue b = ptx_add(p, b_base, ptx_int(2 * step * mma_weight_piece_bytes(m)));
    PtxValue input = descriptor(m, a, mma_input_piece_bytes(m));
    multiply_step(m, input, descriptor(m, b, mma_weight_piece_bytes(m)), tiles);
  }
}

/* Starts the products of a chunk. */
static void multiply_chunk(Mma *m, PtxValue stage, int tiles) {
  Ptx *p = &m->k->ptx;
  PtxValue base = mma_stage(m, stage);
  PtxValue warpgroup_row = ptx_and(p, m->warp_row, ptx_int(~63));
  PtxValue a_base = ptx_add(p, base, mma_input_offset(m, warpgroup_row, ptx_int(0)));
  PtxValue b_base = ptx_add(p, base, mma_weight_offset(m, ptx_int(0), ptx_int(0)));
  ptx_raw(p, "wgmma.fence.sync.aligned;");
  multiply_steps(m, a_base, b_base, tiles);
  ptx_raw(p, "wgmma.commit_group.sync.aligned;");
}

/* The stage after `stage`, round and round. */
static void stage_next(Mma *m, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue next = ptx_add(p, stage, ptx_int(1));
  PtxValue wrap = ptx_setp(p, "eq.s32", next, ptx_int(m->tile.stages));
  ptx_assign(p, stage, ptx_select(p, wrap, ptx_int(0), next));
}

/* The copies under way, ahead of the products. */
typedef struct Ahead {
  Position at;
  PtxValue number, stage; /* of the chunk, counted over all pairs; where it goes */
  int total;
} Ahead;

/* Copies the next chunk, if there is one, and closes its group in any case, so that groups count iterations. */
static void copy_next(Mma *m, Ahead *ahead) {
  Ptx *p = &m->k->ptx;
  ptx_if(p, ptx_setp(p, "lt.s32", ahead->number, ptx_int(ahead->total)));
  mma_copy_chunk(m, ahead->at, ahead->stage);
  ptx_end_if(p);
  mma_position_next(m, ahead->at);
  stage_next(m, ahead->stage);
  ptx_assign(p, ahead->number, ptx_add(p, ahead->number, ptx_int(1)));
  ptx_raw(p, "cp.async.commit_group;");
}

/* All chunks of a pair of planes. Between its products nothing else writes accumulators, so they stay in a pipeline. */
static void multiply_pair(Mma *m, Ahead *ahead, PtxValue stage, int tiles) {
  Ptx *p = &m->k->ptx;
  ptx_for(p, ptx_int(0), ptx_int(m->chunks), ptx_int(1));
  ptx_raw(p, "cp.async.wait_group %d;", m->tile.stages - 2);
  ptx_raw(p, "fence.proxy.async;");
  ptx_raw(p, "bar.sync 0;");
  multiply_chunk(m, stage, tiles);
  copy_next(m, ahead);
  stage_next(m, stage);
  ptx_raw(p, "wgmma.wait_group.sync.aligned 0;");
  ptx_end_for(p);
}

/* The columns that sum the input join the products of weight plane 0. */
static void multiply_pairs(Mma *m, Ahead *ahead, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  int all_tiles = m->column_tiles + (m->w.sum_scale ? SUM_TILES : 0);
  if (m->pair_count == 1) {
    multiply_pair(m, ahead, stage, all_tiles);
    return;
  }
  PtxValue index = ptx_for(p, ptx_int(0), ptx_int(m->pair_count), ptx_int(1));
  PtxValue pair = mma_pair_word(m, index);
  mma_shift_if(m, mma_pair_shifts(m, pair));
  if (m->w.sum_scale && m->w.planes > 1) {
    ptx_if(p, mma_pair_is_first(m, pair));
    multiply_pair(m, ahead, stage, all_tiles);
    ptx_else(p);
    multiply_pair(m, ahead, stage, m->column_tiles);
    ptx_end_if(p);
  } else {
    multiply_pair(m, ahead, stage, all_tiles);
  }
  ptx_end_for(p);
}

void mma_reduce_async(Mma *m) {
  Ptx *p = &m->k->ptx;
  Ahead ahead = {.at = mma_position_start(m), .total = m->pair_count * m->chunks};
  ahead.number = ptx_variable(p, ptx_int(0));
  ahead.stage = ptx_variable(p, ptx_int(0));
  fill_sum_rows(m);
  for (int i = 0; i + 1 < m->tile.stages; i++) copy_next(m, &ahead);
  multiply_pairs(m, &ahead, ptx_variable(p, ptx_int(0)));
  ptx_raw(p, "cp.async.wait_group 0;");
}
