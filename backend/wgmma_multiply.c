/* Layers on wgmma, the products: 64 rows of positions a warpgroup and row tile, all columns of the tile, two pieces of
 * the reduction an instruction.
 *
 * Both operands are read from shared memory by descriptors without swizzle: eight rows of 16 bytes are a core matrix,
 * and the descriptor says how far apart the two pieces of an instruction lie and how far the next eight rows. For the
 * input the first is the step to the next tap or block; weights lie in groups of eight rows (PTX ISA, "Matrix
 * descriptor"). A stage is given back when the products that read it are done, one chunk after they were started.
 */
#include "wgmma_kernel.h"

enum { MOST_UNROLLED = 160 }; /* instructions of a tile with resident weights */

/* Offset of a piece of a chunk in the input window, in pieces. */
uint32_t wgmma_input_piece(const Wgmma *w, uint32_t piece) {
  if (piece >= w->s.real_pieces) piece = w->s.real_pieces - 1; /* its weights are zero */
  return piece / w->s.filter_pieces * w->s.input_rows + w->piece_shifts[piece % w->s.filter_pieces];
}

/* The products of a row tile and a part of a chunk. Addresses in pieces: of the warpgroup's first row in the windows,
 * of the chunk's weights. `adds`: the chunk's first products add to what accumulators hold. */
static void multiply_part(Wgmma *w, int row_tile, uint32_t part, PtxValue input, PtxValue weights, PtxValue adds) {
  Ptx *p = &w->m.k->ptx;
  uint32_t count = w->s.part_pieces, with = part * (w->s.chunk_bytes / w->s.parts / PIECE_BYTES);
  for (uint32_t piece = part * count; piece < (part + 1) * count; piece += 2, with += 2 * DESCRIPTOR_ROWS) {
    uint32_t first = wgmma_input_piece(w, piece), second = wgmma_input_piece(w, piece + 1);
    PtxValue a = ptx_descriptor(p, input, first + (uint32_t)row_tile * 64, second - first, DESCRIPTOR_ROWS);
    PtxValue b = ptx_descriptor(p, weights, with, DESCRIPTOR_ROWS, count * DESCRIPTOR_ROWS);
    mma_group_multiply(&w->m, row_tile, w->s.weight_rows, ptx_text(p, a), b, piece ? ptx_int(1) : adds);
  }
}

void wgmma_begin_products(Wgmma *w) {
  ptx_raw(&w->m.k->ptx, "wgmma.fence.sync.aligned;");
}

void wgmma_commit_products(Wgmma *w) {
  ptx_raw(&w->m.k->ptx, "wgmma.commit_group.sync.aligned;");
}

static void multiply_chunk(Wgmma *w, PtxValue input, PtxValue weights, PtxValue adds) {
  wgmma_begin_products(w);
  for (int i = 0; i < w->m.row_tiles; i++) multiply_part(w, i, 0, input, weights, adds);
  wgmma_commit_products(w);
}

void wgmma_wait_for_products(Wgmma *w, int but) {
  ptx_raw(&w->m.k->ptx, "wgmma.wait_group.sync.aligned %d;", but);
}

static void give_back(Wgmma *w, PtxValue pred, PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  PtxValue one = ptx_pred_and(p, pred, ptx_setp(p, "eq.s32", w->m.lane, ptx_int(0)));
  ptx_barrier_arrive_if(p, one, wgmma_empty(w, stage));
}

static PtxValue in_pieces(Wgmma *w, PtxValue address) {
  return ptx_descriptor_address(&w->m.k->ptx, address);
}

/* First row of the warpgroup, in the windows of a stage. */
static PtxValue input_address(Wgmma *w, PtxValue stage) {
  return ptx_add(&w->m.k->ptx, in_pieces(w, wgmma_stage(w, stage)), w->group_row);
}

static void shift_accumulators(Wgmma *w, PtxValue pair) {
  if (w->m.pair_count > 1) mma_shift_if(&w->m, mma_pair_shifts(&w->m, pair));
}

/* --- resident weights: a stage holds all that a tile reads --- */

/* Where the planes of a pair begin. */
static PtxValue input_of_pair(Wgmma *w, PtxValue pair, PtxValue input) {
  Ptx *p = &w->m.k->ptx;
  PtxValue plane = ptx_and(p, ptx_shr(p, pair, 8), ptx_int(255));
  return ptx_mad(p, plane, ptx_int((int64_t)w->s.chunk_blocks * w->s.input_rows), input);
}

static PtxValue weights_of_pair(Wgmma *w, PtxValue pair, PtxValue weights) {
  Ptx *p = &w->m.k->ptx;
  return ptx_mad(p, ptx_and(p, pair, ptx_int(255)), ptx_int(w->s.chunk_bytes / PIECE_BYTES), weights);
}

static bool arrives(uint64_t *arrived, uint32_t number) {
  bool before = *arrived >> number & 1;
  *arrived |= (uint64_t)1 << number;
  return !before;
}

static void wait_for_weights(Wgmma *w, PtxValue plane, uint32_t part) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, w->is_first);
  ptx_barrier_wait(p, wgmma_weights_full(w, plane, part), ptx_int(0));
  ptx_end_if(p);
}

static void wait_for_windows(Wgmma *w, Ring at, uint32_t plane, uint32_t part) {
  if (staging_blocks_before(&w->s, part) == staging_blocks_before(&w->s, part + 1)) return;
  ptx_barrier_wait(&w->m.k->ptx, wgmma_windows_full(w, at.stage, ptx_int(plane), part), at.parity);
}

void wgmma_wait_for_part(Wgmma *w, Arrived *arrived, uint32_t pair, uint32_t part) {
  uint32_t weights = pair & 255, windows = pair >> 8 & 255;
  if (arrives(&arrived->weights, weights * w->s.parts + part)) wait_for_weights(w, ptx_int(weights), part);
  if (arrives(&arrived->windows, windows * w->s.parts + part)) wait_for_windows(w, w->ring, windows, part);
}

void wgmma_wait_for_all_windows(Wgmma *w, Ring at, Arrived *arrived) {
  for (uint32_t plane = 0; plane < w->s.input_planes; plane++)
    for (uint32_t part = 0; part < w->s.parts; part++)
      if (arrives(&arrived->windows, plane * w->s.parts + part)) wait_for_windows(w, at, plane, part);
}

static void join_when_there(Wgmma *w, Ring at) {
  Arrived none = {0};
  wgmma_wait_for_all_windows(w, at, &none);
  wgmma_join(w, at.stage);
}

/* The next tile's taps are joined while the tensor cores multiply this one's, if its windows have a stage of their own.
 */
static bool joins_ahead(const Wgmma *w) {
  return wgmma_joins(w) && w->m.tile.stages > 1;
}

static void join_first(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!wgmma_joins(w)) return;
  if (joins_ahead(w)) ptx_if(p, w->is_first);
  join_when_there(w, w->ring);
  if (joins_ahead(w)) ptx_end_if(p);
}

static void join_next(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  if (!joins_ahead(w)) return;
  Ring next = {.count = w->ring.count};
  next.stage = ptx_variable(p, w->ring.stage);
  next.parity = ptx_variable(p, w->ring.parity);
  wgmma_ring_next(w, next);
  ptx_if(p, ptx_setp(p, "lt.s32", ptx_add(p, w->row_tile, w->tiles_apart), w->row_tiles));
  join_when_there(w, next);
  ptx_end_if(p);
}

/* The products of a row tile and pairs of one significance, in the parts in which their operands come. */
static void multiply_pairs(Wgmma *w, int row_tile, int first, int end, Arrived *arrived) {
  PtxValue input = input_address(w, w->ring.stage), weights = in_pieces(w, wgmma_resident(w));
  for (int k = first; k < end; k++) {
    PtxValue pair = ptx_int(w->m.pair_list[k]);
    PtxValue at = input_of_pair(w, pair, input), with = weights_of_pair(w, pair, weights);
    for (uint32_t part = 0; part < w->s.parts; part++) {
      wgmma_wait_for_part(w, arrived, (uint32_t)w->m.pair_list[k], part);
      wgmma_begin_products(w);
      multiply_part(w, row_tile, part, at, with, ptx_int(k > 0));
    }
  }
  wgmma_commit_products(w);
}

/* Code of its own for each pair, the pairs of a significance together. A row tile is shifted while the tensor core
 * multiplies the other. */
static void multiply_each_pair(Wgmma *w, Arrived *arrived) {
  int count = w->m.pair_count;
  for (int first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && w->m.pair_list[end] < PAIR_SHIFTS;) end++;
    for (int i = 0; i < w->m.row_tiles; i++) {
      if (first) {
        wgmma_wait_for_products(w, w->m.row_tiles - 1);
        mma_shift(&w->m, i);
      }
      multiply_pairs(w, i, first, end, arrived);
    }
    if (first == 0 && w->s.summed) {
      wgmma_wait_for_all_windows(w, w->ring, arrived);
      wgmma_sum_positions(w);
    }
    if (first == 1 || count == 1) wgmma_sum_rows(w); /* the second significance begins with pair 1 */
  }
  join_next(w);
  wgmma_wait_for_products(w, 0);
}

/* One code for all pairs, where that would be too long. */
static void multiply_pairs_in_turn(Wgmma *w, Arrived *arrived) {
  Ptx *p = &w->m.k->ptx;
  PtxValue input = input_address(w, w->ring.stage), weights = in_pieces(w, wgmma_resident(w));
  wgmma_wait_for_all_windows(w, w->ring, arrived);
  wgmma_sum_positions(w);
  wgmma_sum_rows(w);
  PtxValue index = ptx_for(p, ptx_int(0), ptx_int(w->m.pair_count), ptx_int(1));
  PtxValue pair = mma_pair_word(&w->m, index), adds = ptx_setp(p, "gt.s32", index, ptx_int(0));
  shift_accumulators(w, pair);
  PtxValue at = input_of_pair(w, pair, input), with = weights_of_pair(w, pair, weights);
  PtxValue plane = ptx_and(p, pair, ptx_int(255));
  for (uint32_t part = 0; part < w->s.parts; part++) wait_for_weights(w, plane, part);
  wgmma_begin_products(w);
  for (int i = 0; i < w->m.row_tiles; i++)
    for (uint32_t part = 0; part < w->s.parts; part++) multiply_part(w, i, part, at, with, adds);
  wgmma_commit_products(w);
  wgmma_wait_for_products(w, 0);
  ptx_end_for(p);
  join_next(w);
}

static void multiply_resident(Wgmma *w) {
  w->is_first = ptx_setp(&w->m.k->ptx, "eq.s32", w->row_tile, w->first_tile);
  Arrived arrived = {.windows = wgmma_joins(w) ? UINT64_MAX : 0};
  bool is_short = staging_products(&w->s, &w->m.tile) <= MOST_UNROLLED;
  join_first(w);
  if (staging_gathers(&w->m.tile))
    wgmma_multiply_gathered(w, &arrived);
  else
    (is_short ? multiply_each_pair : multiply_pairs_in_turn)(w, &arrived);
  give_back(w, ptx_int(1), w->ring.stage);
  wgmma_load_ahead(w);
  wgmma_ring_next(w, w->ring);
}

/* --- streamed weights: a stage is a chunk of a pair of planes --- */

static void multiply_pair(Wgmma *w, PtxValue index, PtxValue pair) {
  Ptx *p = &w->m.k->ptx;
  PtxValue before = ptx_variable(p, ptx_int(0)); /* stage of the chunk before */
  PtxValue chunk = ptx_for(p, ptx_int(0), ptx_int(w->s.chunks), ptx_int(1));
  ptx_barrier_wait(p, wgmma_full(w, w->ring.stage), w->ring.parity);
  PtxValue input = input_address(w, w->ring.stage);
  PtxValue weights = ptx_add(p, wgmma_stage(w, w->ring.stage), ptx_int(w->s.window_bytes));
  PtxValue adds = ptx_setp(p, "gt.s32", ptx_or(p, index, chunk), ptx_int(0));
  multiply_chunk(w, input, in_pieces(w, weights), adds);
  wgmma_sum_chunk(w, pair, w->ring.stage);
  wgmma_wait_for_products(w, 1);
  give_back(w, ptx_setp(p, "gt.s32", chunk, ptx_int(0)), before);
  ptx_assign(p, before, w->ring.stage);
  wgmma_ring_next(w, w->ring);
  ptx_end_for(p);
  wgmma_wait_for_products(w, 0);
  give_back(w, ptx_int(1), before);
}

static void multiply_streamed(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  PtxValue index = ptx_for(p, ptx_int(0), ptx_int(w->m.pair_count), ptx_int(1));
  PtxValue pair = mma_pair_word(&w->m, index);
  shift_accumulators(w, pair);
  multiply_pair(w, index, pair);
  ptx_end_for(p);
}

void wgmma_multiply_begin(Wgmma *w) {
  wgmma_rings_start(w, 0);
  mma_make_accumulators(&w->m);
}

void wgmma_multiply_tile(Wgmma *w) {
  (w->m.tile.resident ? multiply_resident : multiply_streamed)(w);
}
