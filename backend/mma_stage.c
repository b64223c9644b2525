/* Layers on mma.sync: the stages of shared memory. A stage is a row after the other, input then weights, tile_row_words
 * apart. */
#include "mma_kernel.h"

int mma_row_bytes(const Mma *m) {
  return 4 * (int)tile_row_words(&m->tile);
}

PtxValue mma_stage(Mma *m, PtxValue stage) {
  return ptx_mad(&m->k->ptx, stage, ptx_int((int)tile_stage_bytes(&m->tile)), m->shared);
}

PtxValue mma_input_offset(Mma *m, PtxValue row, PtxValue word) {
  Ptx *p = &m->k->ptx;
  return ptx_shl(p, ptx_mad(p, row, ptx_int(m->row_bytes / 4), word), 2);
}

PtxValue mma_weight_offset(Mma *m, PtxValue row, PtxValue word) {
  return mma_input_offset(m, ptx_add(&m->k->ptx, row, ptx_int(m->tile.m)), word);
}
