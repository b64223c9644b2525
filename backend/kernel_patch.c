/* The engine for convolutions of few channels, on mma.sync: first layers, whose input is an image.
 *
 * A block of threads keeps the weights of tile.n channels in shared memory and goes through tiles of the result,
 * rectangles of tile.m positions. Of each it brings the patch of input pixels that the windows touch to shared memory
 * once (patch_fill.c), multiplies (patch_multiply.c) and finishes (mma_finish.c), while the loads of the next patch are
 * under way. A warp has 32 positions of the rectangle and all of its channels.
 */
#include "patch_kernel.h"

/* --- tiles --- */

/* Rows of the tile are positions of the rectangle, row by row. */
static RowPlace place_row(Mma *m, PtxValue row) {
  PatchKernel *k = (PatchKernel *)m;
  Ptx *p = &m->k->ptx;
  PtxValue columns = ptx_int(k->s.columns), down = ptx_div(p, row, columns), across = ptx_rem(p, row, columns);
  return rectangle_row(m, &k->rectangles, down, across);
}

/* --- the kernel --- */

static bool tile_fits(const PatchKernel *k) {
  const Tile *t = &k->m.tile;
  return (rectangle_tile_fits(&k->m) && t->m == PATCH_WARP_ROWS * t->warps_m) || mma_bad_tile(&k->m);
}

static void place(PatchKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  mma_place_lane(m);
  m->warp_row = ptx_mul(p, ptx_shr(p, m->thread, 5), ptx_int(PATCH_WARP_ROWS));
  k->rectangles = (Rectangles){.columns = k->s.columns, .rows = k->s.rows, .across = k->s.across, .down = k->s.down};
  rectangles_begin(m, &k->rectangles);
  PtxValue lines = ptx_add(p, m->shared, ptx_int(k->s.weight_bytes));
  if (mma_has_lines(m)) mma_lines_place(m, lines, 1);
  PtxValue first = ptx_add(p, lines, ptx_int(k->s.lines_bytes));
  rectangles_place_patches(m, &k->rectangles, first, (int64_t)k->s.patch_bytes);
  patch_place_fill(k);
  patch_multiply_begin(k);
}

/* One barrier a tile: behind it every warp has stored its share of this patch and has done with the one before, which
 * the next is then stored over. */
static void emit(PatchKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  place(k);
  rectangle_copy_constants(m, m->weights, k->s.weight_bytes, m->shared);
  ptx_raw(p, "cp.async.commit_group;");
  ptx_wait_for_launch(p);
  PtxValue start = ptx_special(p, "%ctaid.x"), step = ptx_special(p, "%nctaid.x");
  patch_fill_begin(k, start);
  patch_fill_end(k);
  PtxValue tile = ptx_for(p, start, k->rectangles.count, step);
  rectangles_swap_patches(m, &k->rectangles);
  ptx_raw(p, "cp.async.wait_group 0;");
  ptx_raw(p, "bar.sync 0;");
  patch_fill_begin(k, ptx_add(p, tile, step));
  mma_make_accumulators(m);
  patch_multiply(k);
  patch_fill_end(k);
  k->rectangles.tile = rectangle_place(p, &k->rectangles, tile);
  mma_finish_sums(m, -m->w.sum_scale);
  (m->signs ? mma_signs_finish : mma_finish)(m);
  ptx_end_for(p);
  ptx_raw(p, "cp.async.wait_group 0;");
}

bool kernel_patch(Kernel *k) {
  const Tile *t = &k->node->tile;
  PatchKernel q = {.m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 16, .place = place_row}};
  q.m.row_tiles = PATCH_WARP_ROWS / 16;
  q.m.column_tiles = t->n / 8;
  q.m.in = tensor_of(k, k->node->inputs[0]);
  q.m.out = tensor_of(k, k->node->result);
  if (!tile_fits(&q)) return false;
  q.s = patch_of(k->graph, k->node, t);
  q.m.w = weights_pack_fragments(k->graph, k->node);
  if (!mma_find_instruction(&q.m)) return false;
  mma_bind(&q.m);
  emit(&q);
  return true;
}
