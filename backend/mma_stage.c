/* Tensor-core layers: the stages of shared memory.
 *
 * mma.sync: a row after the other, input then weights, tile_row_words apart.
 * wgmma: pieces of 16 bytes; the same piece of all input rows lies together, piece after piece, then the weights likewise
 * with WGMMA_SUM_ROWS more rows. Eight rows of a piece are a core matrix. One row's room between pieces spreads the
 * copies of a row over the banks.
 */
#include "mma_kernel.h"

enum { PIECE_BYTES = 16 };

int mma_row_bytes(const Mma *m) {
  return engine_uses_wgmma(m->node->engine) ? PIECE_BYTES : 4 * (int)tile_row_words(&m->tile);
}

int mma_input_piece_bytes(const Mma *m) {
  return PIECE_BYTES * (m->tile.m + 1);
}

int mma_weight_piece_bytes(const Mma *m) {
  return PIECE_BYTES * (m->tile.n + WGMMA_SUM_ROWS + 1);
}

PtxValue mma_stage(Mma *m, PtxValue stage) {
  int bytes = (int)tile_shared_bytes(&m->tile, m->node->engine) / m->tile.stages;
  return ptx_mad(&m->k->ptx, stage, ptx_int(bytes), m->shared);
}

static PtxValue offset_in_pieces(Ptx *p, PtxValue row, PtxValue word, int piece_bytes) {
  PtxValue piece = ptx_mul(p, ptx_shr(p, word, 2), ptx_int(piece_bytes));
  PtxValue in_piece = ptx_shl(p, ptx_and(p, word, ptx_int(3)), 2);
  return ptx_add(p, ptx_mad(p, row, ptx_int(PIECE_BYTES), in_piece), piece);
}

PtxValue mma_input_offset(Mma *m, PtxValue row, PtxValue word) {
  Ptx *p = &m->k->ptx;
  if (engine_uses_wgmma(m->node->engine)) return offset_in_pieces(p, row, word, mma_input_piece_bytes(m));
  return ptx_shl(p, ptx_mad(p, row, ptx_int(m->row_bytes / 4), word), 2);
}

PtxValue mma_weight_offset(Mma *m, PtxValue row, PtxValue word) {
  Ptx *p = &m->k->ptx;
  if (!engine_uses_wgmma(m->node->engine)) return mma_input_offset(m, ptx_add(p, row, ptx_int(m->tile.m)), word);
  PtxValue inside = offset_in_pieces(p, row, word, mma_weight_piece_bytes(m));
  return ptx_add(p, inside, ptx_int(m->tile.k / 4 * mma_input_piece_bytes(m)));
}
