/* The engine for convolutions of few channels on wgmma: first layers, whose input is an image.
 *
 * A block of threads keeps the weights of tile.n channels in shared memory and goes through tiles of the result,
 * rectangles of tile.m positions. Of each it brings the strips of the windows to shared memory once (strip_fill.c),
 * starts the products (strip_multiply.c), brings those of the next tile while the tensor cores multiply, and finishes
 * the tile (mma_signs.c, mma_finish.c). Four warps have one or two squares of the rectangle and all of its channels.
 */
#include "strip_kernel.h"

/* --- tiles --- */

/* Rows of the tile are positions of the rectangle: square by square, and row by row in each. */
static RowPlace place_row(Mma *m, PtxValue row) {
  StripKernel *k = (StripKernel *)m;
  Ptx *p = &m->k->ptx;
  PtxValue squares = ptx_int(k->s.columns / STRIP_SQUARE), square = ptx_shr(p, row, 6);
  PtxValue in_square = ptx_and(p, ptx_shr(p, row, 3), ptx_int(STRIP_SQUARE - 1));
  PtxValue down = ptx_mad(p, ptx_div(p, square, squares), ptx_int(STRIP_SQUARE), in_square);
  PtxValue in_row = ptx_and(p, row, ptx_int(STRIP_SQUARE - 1));
  PtxValue across = ptx_mad(p, ptx_rem(p, square, squares), ptx_int(STRIP_SQUARE), in_row);
  return rectangle_row(m, &k->rectangles, down, across);
}

/* --- what serves all tiles: weights and constants of the epilogue --- */

static void copy_constants(StripKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  rectangle_copy_constants(m, m->weights, k->s.weight_bytes, m->shared);
  if (m->table.is_shared) {
    m->table.shared = ptx_add(p, m->shared, ptx_int(k->s.weight_bytes));
    rectangle_copy_constants(m, m->table.global, m->table.tile_bytes, m->table.shared);
  }
  ptx_raw(p, "cp.async.commit_group;");
}

/* --- the kernel --- */

static bool tile_fits(const StripKernel *k) {
  const Mma *m = &k->m;
  const Tile *t = &m->tile;
  bool rows = m->row_tiles >= 1 && m->row_tiles <= MAX_ROW_TILES && t->m == 16 * m->row_tiles * t->warps_m;
  bool squares = k->s.columns == STRIP_SQUARE || k->s.columns / STRIP_SQUARE % (uint32_t)m->row_tiles == 0;
  return (rectangle_tile_fits(m) && rows && squares) || mma_bad_tile(m);
}

static void place(StripKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  mma_place_lane(m);
  k->warp = ptx_uniform(p, ptx_shr(p, m->thread, 5));
  PtxValue group_rows = ptx_mul(p, ptx_shr(p, k->warp, 2), ptx_int(64 * m->row_tiles));
  m->warp_row = ptx_mad(p, ptx_and(p, k->warp, ptx_int(3)), ptx_int(16), group_rows);
  k->rectangles = (Rectangles){.columns = k->s.columns, .rows = k->s.rows, .across = k->s.across, .down = k->s.down};
  rectangles_begin(m, &k->rectangles);
  PtxValue lines = ptx_add(p, m->shared, ptx_int(k->s.weight_bytes + k->s.table_bytes));
  if (mma_has_lines(m)) mma_lines_place(m, lines, 1);
  PtxValue first = ptx_add(p, lines, ptx_int(k->s.lines_bytes));
  rectangles_place_patches(m, &k->rectangles, first, (int64_t)k->s.patch_bytes);
  strip_place_fill(k);
  strip_multiply_begin(k);
}

/* One barrier a tile: behind it every warp has stored its share of this patch and has waited for its products of the
 * one before, which the next is then stored over. */
static void emit(StripKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  place(k);
  copy_constants(k);
  ptx_wait_for_launch(p);
  PtxValue start = ptx_special(p, "%ctaid.x"), step = ptx_special(p, "%nctaid.x");
  ptx_raw(p, "cp.async.wait_group 0;");
  strip_fill(k, start);
  PtxValue tile = ptx_for(p, start, k->rectangles.count, step);
  rectangles_swap_patches(m, &k->rectangles);
  ptx_raw(p, "bar.sync 0;");
  strip_multiply_start(k);
  strip_fill(k, ptx_add(p, tile, step));
  k->rectangles.tile = rectangle_place(p, &k->rectangles, tile);
  strip_multiply_wait(k);
  (m->signs ? mma_signs_finish : mma_finish)(m);
  ptx_end_for(p);
}

bool kernel_strip(Kernel *k) {
  const Tile *t = &k->node->tile;
  StripKernel q = {.m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 64, .place = place_row}};
  q.m.row_tiles = strip_squares_of_warps(t);
  q.m.column_tiles = t->n / 8;
  q.m.in = tensor_of(k, k->node->inputs[0]);
  q.m.out = tensor_of(k, k->node->result);
  strips_of(k->graph, k->node, t, &q.s);
  if (!tile_fits(&q)) return false;
  q.m.w = weights_pack_strips(k->graph, k->node);
  if (!mma_find_instruction(&q.m)) return false;
  mma_bind(&q.m);
  if (q.m.table.tile_bytes > q.s.table_bytes) q.m.table.tile_bytes = 0; /* it stays in global memory */
  q.m.table.is_shared = q.m.table.tile_bytes > 0;
  mma_share_registers(&q.m);
  emit(&q);
  return true;
}
