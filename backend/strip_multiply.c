/* Layers on strips, the products: 64 rows, a square of positions, by all columns of the tile an instruction, two units
 * of the reduction each. Both operands are read from shared memory by descriptors; what tells squares, units and
 * columns apart is known while compiling.
 */
#include "strip_kernel.h"

/* Strips from the first of a window to that of one of its units. Past the last unit weights are zero. */
static uint32_t unit_strips(const StripKernel *k, uint32_t unit) {
  if (unit >= k->s.units) unit = k->s.units - 1;
  uint32_t dilation = (uint32_t)k->m.node->attrs.dilation[0];
  return unit / k->s.row_strips * dilation * k->s.pitch + unit % k->s.row_strips * k->s.shift;
}

static uint32_t squares_across(const StripKernel *k) {
  return k->s.columns / STRIP_SQUARE;
}

/* Strips between rows of squares. */
static uint32_t square_row_strips(const StripKernel *k) {
  return STRIP_SQUARE * (uint32_t)k->m.node->attrs.stride[0] * k->s.pitch;
}

/* Strips from the four warps' first square to another of theirs: beside it, or below it where a tile is one wide. */
static uint32_t square_strips(const StripKernel *k, int row_tile) {
  return (uint32_t)row_tile * (squares_across(k) > 1 ? STRIP_SQUARE : square_row_strips(k));
}

void strip_multiply_begin(StripKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  PtxValue first = m->tile.warps_m == 4 ? ptx_int(0) : ptx_mul(p, ptx_shr(p, k->warp, 2), ptx_int(m->row_tiles));
  PtxValue down = ptx_div(p, first, ptx_int(squares_across(k)));
  PtxValue across = ptx_mul(p, ptx_rem(p, first, ptx_int(squares_across(k))), ptx_int(STRIP_SQUARE));
  k->group_offset = ptx_mad(p, down, ptx_int(square_row_strips(k)), across);
  k->weights = ptx_descriptor_address(p, m->shared);
  mma_make_accumulators(m);
}

void strip_multiply_start(StripKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  PtxValue input = ptx_add(p, ptx_descriptor_address(p, k->rectangles.current), k->group_offset);
  uint32_t rows_apart = (uint32_t)m->node->attrs.stride[0] * k->s.pitch, weight_rows = 2 * k->s.steps * DESCRIPTOR_ROWS;
  ptx_raw(p, "wgmma.fence.sync.aligned;");
  for (int i = 0; i < m->row_tiles; i++)
    for (uint32_t step = 0; step < k->s.steps; step++) {
      uint32_t first = unit_strips(k, 2 * step), second = unit_strips(k, 2 * step + 1);
      PtxValue a = ptx_descriptor(p, input, square_strips(k, i) + first, second - first, rows_apart);
      PtxValue b = ptx_descriptor(p, k->weights, 2 * step * DESCRIPTOR_ROWS, DESCRIPTOR_ROWS, weight_rows);
      mma_group_multiply(m, i, (uint32_t)m->tile.n, ptx_text(&m->k->ptx, a), b, ptx_int(step > 0));
    }
  ptx_raw(p, "wgmma.commit_group.sync.aligned;");
}

void strip_multiply_wait(StripKernel *k) {
  ptx_raw(&k->m.k->ptx, "wgmma.wait_group.sync.aligned 0;");
}
