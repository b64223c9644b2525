/* The engines on wgmma: convolution of stride 1 and matrix product of operands that lie in pieces (../ir/type.h).
 *
 * A block of threads, or each of its walks (../ir/staging.h), goes through tiles of tile.m positions x tile.n channels.
 * One thread starts the copies, bulk copies that complete on barriers in shared memory (wgmma_load.c); warps, four to
 * 64 x row_tiles rows, multiply what has come (wgmma_multiply.c) and finish the tile (mma_signs.c, mma_finish.c) while
 * copies for the next are under way.
 *
 * Rows of a tile are positions, those between pixels too: their products are computed and thrown away, which is what
 * makes each filter tap one offset for the whole tile, so that an input is in shared memory once for all taps. Gathered
 * rows are pixels alone: lanes load them from where they are (wgmma_gather.c).
 */
#include "wgmma_kernel.h"

/* --- shared memory --- */

PtxValue wgmma_stage(Wgmma *w, PtxValue stage) {
  return ptx_mad(&w->m.k->ptx, stage, ptx_int(w->s.stage_bytes), w->stages);
}

PtxValue wgmma_resident(Wgmma *w) {
  return ptx_add(&w->m.k->ptx, w->m.shared, ptx_int((int64_t)w->s.walks * w->m.tile.stages * w->s.stage_bytes));
}

PtxValue wgmma_table(Wgmma *w, PtxValue number) {
  Ptx *p = &w->m.k->ptx;
  PtxValue first = ptx_add(p, wgmma_resident(w), ptx_int(w->s.resident_bytes));
  return ptx_mad(p, number, ptx_int(w->s.table_bytes), first);
}

static PtxValue lines(Wgmma *w) {
  return wgmma_table(w, ptx_int(w->s.tables));
}

static PtxValue barrier(Wgmma *w, PtxValue number) {
  Ptx *p = &w->m.k->ptx;
  return ptx_mad(p, number, ptx_int(8), ptx_add(p, lines(w), ptx_int(w->s.lines_bytes)));
}

/* Of a walk: empty ones, then full ones. */
static uint32_t barriers_of_walk(const Wgmma *w) {
  return w->m.tile.stages * (1 + w->s.fulls);
}

PtxValue wgmma_empty(Wgmma *w, PtxValue stage) {
  return barrier(w, ptx_add(&w->m.k->ptx, w->first_barrier, stage));
}

PtxValue wgmma_full(Wgmma *w, PtxValue stage) {
  return barrier(w, ptx_add(&w->m.k->ptx, stage, ptx_int(w->m.tile.stages)));
}

PtxValue wgmma_table_full(Wgmma *w, PtxValue number) {
  return barrier(w, ptx_add(&w->m.k->ptx, number, ptx_int(2 * w->m.tile.stages)));
}

PtxValue wgmma_table_empty(Wgmma *w, PtxValue number) {
  return barrier(w, ptx_add(&w->m.k->ptx, number, ptx_int(2 * w->m.tile.stages + (int)w->s.tables)));
}

/* [stage][plane][part] of a walk. */
PtxValue wgmma_windows_full(Wgmma *w, PtxValue stage, PtxValue plane, uint32_t part) {
  Ptx *p = &w->m.k->ptx;
  PtxValue number = ptx_mad(p, stage, ptx_int(w->s.input_planes), plane);
  number = ptx_mad(p, number, ptx_int(w->s.parts), ptx_int(w->m.tile.stages + part));
  return barrier(w, ptx_add(p, w->first_barrier, number));
}

/* [plane][part], behind all walks. */
PtxValue wgmma_weights_full(Wgmma *w, PtxValue plane, uint32_t part) {
  Ptx *p = &w->m.k->ptx;
  return barrier(w, ptx_mad(p, plane, ptx_int(w->s.parts), ptx_int(w->s.walks * barriers_of_walk(w) + part)));
}

PtxValue wgmma_sums(Wgmma *w) {
  return ptx_add(&w->m.k->ptx, barrier(w, ptx_int(0)), ptx_int(w->s.barrier_bytes));
}

bool wgmma_streams_tables(const Wgmma *w) {
  return w->m.table.tile_bytes && !w->m.tile.resident;
}

static void init_barriers(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0)));
  uint32_t stages = w->m.tile.stages, of_walk = barriers_of_walk(w), count = w->s.walks * of_walk;
  if (w->m.tile.resident) count += w->s.weight_planes * w->s.parts;
  for (uint32_t i = 0; i < count; i++) {
    bool is_empty = i < w->s.walks * of_walk && i % of_walk < stages;
    ptx_barrier_init(p, barrier(w, ptx_int(i)), is_empty ? (uint32_t)w->walk_warps : 1);
  }
  for (uint32_t i = 0; wgmma_streams_tables(w) && i < w->s.tables; i++) {
    ptx_barrier_init(p, wgmma_table_full(w, ptx_int(i)), 1);
    ptx_barrier_init(p, wgmma_table_empty(w, ptx_int(i)), (uint32_t)w->consumer_warps);
  }
  ptx_barrier_init_fence(p);
  ptx_end_if(p);
  ptx_raw(p, "bar.sync 0;");
}

static Ring ring_of(Wgmma *w, int count, int parity) {
  Ptx *p = &w->m.k->ptx;
  Ring ring = {.count = count};
  ring.stage = ptx_variable(p, ptx_int(0));
  ring.parity = ptx_variable(p, ptx_int(parity));
  return ring;
}

void wgmma_rings_start(Wgmma *w, int parity) {
  w->ring = ring_of(w, w->m.tile.stages, parity);
  if (wgmma_streams_tables(w)) w->tables = ring_of(w, (int)w->s.tables, parity);
}

void wgmma_ring_next(Wgmma *w, Ring ring) {
  Ptx *p = &w->m.k->ptx;
  PtxValue next = ptx_add(p, ring.stage, ptx_int(1));
  PtxValue wraps = ptx_setp(p, "eq.s32", next, ptx_int(ring.count));
  ptx_assign(p, ring.stage, ptx_select(p, wraps, ptx_int(0), next));
  PtxValue flip = ptx_select(p, wraps, ptx_int(1), ptx_int(0));
  ptx_assign(p, ring.parity, ptx_2(p, "xor.b32", ring.parity, flip));
}

/* --- tiles --- */

int wgmma_column_tiles(const Wgmma *w) {
  return (int)tile_count_of_channels(&w->m.tile, &w->m.out.type);
}

PtxValue wgmma_tile_count(Wgmma *w) {
  return ptx_mul(&w->m.k->ptx, w->row_tiles, ptx_int(wgmma_column_tiles(w)));
}

void wgmma_place_tile(Wgmma *w, PtxValue tile) {
  Ptx *p = &w->m.k->ptx;
  Mma *m = &w->m;
  int band_rows = staging_band_rows(&m->tile), columns = wgmma_column_tiles(w);
  m->first_position = ptx_mul(p, tile, ptx_int(m->tile.m));
  m->first_channel = ptx_int(0);
  if (columns == 1) return;
  PtxValue band_tiles = ptx_int(band_rows * columns);
  PtxValue band = ptx_div(p, tile, band_tiles), in_band = ptx_rem(p, tile, band_tiles);
  PtxValue first_row = ptx_mul(p, band, ptx_int(band_rows));
  PtxValue rows = ptx_2(p, "min.u32", ptx_sub(p, w->row_tiles, first_row), ptx_variable(p, ptx_int(band_rows)));
  PtxValue column = ptx_div(p, in_band, rows);
  PtxValue row = ptx_add(p, first_row, ptx_sub(p, in_band, ptx_mul(p, column, rows)));
  m->first_position = ptx_mul(p, row, ptx_int(m->tile.m));
  m->first_channel = ptx_mul(p, column, ptx_int(m->tile.n));
}

PtxValue wgmma_tile_position(Wgmma *w, PtxValue row_tile) {
  Ptx *p = &w->m.k->ptx;
  PtxValue first = ptx_mul(p, row_tile, ptx_int(w->m.tile.m));
  return staging_gathers(&w->m.tile) ? position_of_pixel(p, &w->positions, first) : first;
}

/* Resident weights belong to one tile of channels, which blockIdx.y names; streamed ones to any. */
void wgmma_for_each_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  Mma *m = &w->m;
  if (m->tile.resident) {
    w->row_tile = ptx_for(p, w->first_tile, w->row_tiles, w->tiles_apart);
    m->first_position = ptx_mul(p, w->row_tile, ptx_int(m->tile.m));
    m->first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(m->tile.n));
    return;
  }
  wgmma_place_tile(w, ptx_for(p, w->first_tile, wgmma_tile_count(w), w->tiles_apart));
}

/* Named barriers behind those of wgmma_turns.c. A number in a register would reserve all that a block can have. */
void wgmma_meet(Wgmma *w, PtxValue group, int warps) {
  enum { FIRST_BARRIER = 3 };
  Ptx *p = &w->m.k->ptx;
  int groups = w->consumer_warps / warps;
  for (int i = 0; i < groups; i++) {
    if (groups > 1) ptx_if(p, ptx_setp(p, "eq.s32", group, ptx_int(i)));
    ptx_raw(p, "bar.sync %d, %d;", FIRST_BARRIER + i, 32 * warps);
    if (groups > 1) ptx_end_if(p);
  }
}

/* --- the kernel --- */

static bool tile_fits(const Wgmma *w) {
  const Tile *t = &w->m.tile;
  const Mma *m = &w->m;
  bool columns = t->n == 32 || t->n == 64 || t->n == 128 || t->n == 256;
  columns = columns && tile_within_padding(t, &m->out.type);
  bool rows = t->warps_m % 4 == 0 && t->warps_n == 1 && t->m == 16 * m->row_tiles * w->walk_warps &&
              m->row_tiles >= 1 && m->row_tiles <= MAX_ROW_TILES;
  bool chunk = t->k >= 4 && t->k % 4 == 0 && (!t->resident || w->s.chunks == 1);
  bool stages = t->stages >= (t->resident ? 1 : 2);
  bool whole = t->resident <= GATHERED;
  if (staging_gathers(t)) whole = m->node->op == OP_CONV2D && staging_products(&w->s, t) <= MOST_GATHERED_PRODUCTS;
  if (columns && rows && chunk && stages && whole && t->split_k == 1) return true;
  return mma_bad_tile(m);
}

static void place_pieces(Wgmma *w) {
  const Graph *g = w->m.k->graph;
  w->piece_shifts = ARENA_NEW(g->context, uint32_t, w->s.filter_pieces);
  for (uint32_t tap = 0; tap < w->s.taps; tap++)
    if (staging_tap_slot(w->m.node, &w->s, tap) == 0)
      w->piece_shifts[staging_tap_piece(g, w->m.node, &w->s, tap)] = staging_tap_shift(g, w->m.node, tap);
}

/* The first tiles of all blocks' first walks come before those of the second ones, so that tiles spread over blocks. */
static void place_walk(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  w->stages = w->m.shared;
  w->first_tile = ptx_special(p, "%ctaid.x");
  w->tiles_apart = ptx_special(p, "%nctaid.x");
  w->walk = ptx_int(0);
  w->walk_warp = w->warp;
  w->first_barrier = ptx_int(0);
  w->is_loader = ptx_setp(p, "eq.s32", w->m.thread, ptx_int(0));
  if (w->s.walks == 1) return;
  PtxValue walk = w->walk = ptx_div(p, w->warp, ptx_int(w->walk_warps));
  w->walk_warp = ptx_rem(p, w->warp, ptx_int(w->walk_warps));
  w->is_loader = ptx_setp(p, "eq.s32", ptx_rem(p, w->m.thread, ptx_int(32 * w->walk_warps)), ptx_int(0));
  w->stages = ptx_mad(p, walk, ptx_int((int64_t)w->m.tile.stages * w->s.stage_bytes), w->stages);
  w->first_barrier = ptx_mul(p, walk, ptx_int(barriers_of_walk(w)));
  w->first_tile = ptx_mad(p, walk, w->tiles_apart, w->first_tile);
  w->tiles_apart = ptx_mul(p, w->tiles_apart, ptx_int(w->s.walks));
}

static void place(Wgmma *w) {
  Mma *m = &w->m;
  Ptx *p = &m->k->ptx;
  w->positions = grid_of(&m->in.type);
  w->positions.image = m->out.image;
  w->total_positions = ptx_mul(p, m->k->batch, ptx_int(w->positions.image_pitch));
  m->grid = w->positions;
  if (staging_gathers(&m->tile)) {
    m->grid.row_pitch = m->out.image.width;
    m->grid.image_pitch = m->out.image.width * m->out.image.height;
  }
  mma_place_lane(m);
  w->warp = ptx_uniform(p, ptx_shr(p, m->thread, 5));
  place_walk(w);
  w->group_row = ptx_mul(p, ptx_shr(p, w->walk_warp, 2), ptx_int(64 * m->row_tiles));
  m->warp_row = ptx_mad(p, ptx_and(p, w->warp, ptx_int(3)), ptx_int(16), w->group_row);
  m->warp_column = ptx_int(0);
  m->total_positions = ptx_mul(p, m->k->batch, ptx_int(m->grid.image_pitch));
  PtxValue rounded = ptx_add(p, m->total_positions, ptx_int(m->tile.m - 1));
  w->row_tiles = ptx_div(p, rounded, ptx_int(m->tile.m));
}

/* Registers of a thread that multiplies and of one of the loading group, with three groups of four warps in an SM. */
enum { MULTIPLY_REGISTERS = 240, LOAD_REGISTERS = 24 };

static void move_registers(Wgmma *w, const char *way, int count) {
  if (staging_moves_registers(&w->m.tile)) ptx_raw(&w->m.k->ptx, "setmaxnreg.%s.sync.aligned.u32 %d;", way, count);
}

/* --- who does what --- */

static void finish_tile(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  bool streams = wgmma_streams_tables(w);
  if (streams) {
    ptx_barrier_wait(p, wgmma_table_full(w, w->tables.stage), w->tables.parity);
    w->m.table.shared = wgmma_table(w, w->tables.stage);
  }
  wgmma_finish_sums(w);
  (w->m.signs ? mma_signs_finish : mma_finish)(&w->m);
  if (staging_gathers(&w->m.tile)) wgmma_clear_gaps(w);
  if (!streams) return;
  ptx_raw(p, "bar.warp.sync -1;"); /* all lanes have read the table that lane 0 gives back */
  ptx_barrier_arrive_if(p, ptx_setp(p, "eq.s32", w->m.lane, ptx_int(0)), wgmma_table_empty(w, w->tables.stage));
  wgmma_ring_next(w, w->tables);
}

static void finish_tiles(Wgmma *w) {
  wgmma_multiply_begin(w);
  wgmma_sums_start(w);
  wgmma_for_each_tile(w);
  wgmma_begin_tile(w);
  wgmma_sums_begin_tile(w);
  wgmma_multiply_tile(w);
  wgmma_wait_for_turn(w);
  finish_tile(w);
  wgmma_end_turn(w);
  ptx_end_for(&w->m.k->ptx);
}

/* The last warp, or group of warps, loads. */
static void emit_streamed(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  wgmma_load_weights_ahead(w);
  ptx_wait_for_launch(p);
  ptx_if(p, ptx_setp(p, "lt.u32", w->warp, ptx_int(w->consumer_warps)));
  move_registers(w, "inc", MULTIPLY_REGISTERS);
  finish_tiles(w);
  ptx_else(p);
  move_registers(w, "dec", LOAD_REGISTERS);
  ptx_if(p, wgmma_is_loader(w));
  wgmma_load_all(w);
  ptx_end_if(p);
  ptx_end_if(p);
}

static void emit_resident(Wgmma *w) {
  Ptx *p = &w->m.k->ptx;
  wgmma_load_first(w);
  ptx_return_unless(p, ptx_setp(p, "lt.s32", w->first_tile, w->row_tiles));
  if (w->m.table.tile_bytes) w->m.table.shared = wgmma_table(w, ptx_int(0));
  finish_tiles(w);
}

bool kernel_wgmma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Wgmma w = {.m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 64, .place = mma_place},
             .consumer_warps = t->warps_m};
  w.walk_warps = t->warps_m / (int)staging_walks(t);
  w.m.row_tiles = t->m / w.walk_warps / 16;
  w.m.column_tiles = t->n / 8;
  w.m.in = tensor_of(k, k->node->inputs[0]);
  w.m.out = tensor_of(k, k->node->result);
  w.s = staging_of(k->graph, k->node, t);
  w.m.sum_tiles = (int)(w.s.weight_rows - t->n) / 8;
  if (!tile_fits(&w) || (!staging_gathers(t) && !same_positions(k->graph, k->node))) return false;
  w.m.w = weights_pack_pieces(k->graph, k->node);
  if (!mma_find_instruction(&w.m)) return false;
  mma_bind(&w.m);
  place_pieces(&w);
  size_t window = (size_t)w.s.input_rows * PIECE_BYTES;
  w.zeros = kernel_constant(k, arena_alloc(k->graph->context, window), window);
  place(&w);
  if (w.m.table.tile_bytes > w.s.table_bytes) w.m.table.tile_bytes = 0; /* it stays in global memory */
  w.m.table.is_shared = w.m.table.tile_bytes > 0;
  if (mma_has_lines(&w.m)) mma_lines_place(&w.m, lines(&w), 1);
  w.alternates = wgmma_may_alternate(&w);
  mma_share_registers(&w.m);
  wgmma_clear_windows(&w);
  wgmma_write_sum_rows(&w);
  init_barriers(&w);
  (t->resident ? emit_resident : emit_streamed)(&w);
  return true;
}
