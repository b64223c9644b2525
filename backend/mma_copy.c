/* Tensor-core layers, the copies: chunks of input pixels and of weights on their way to shared memory.
 *
 * A chunk is tile.k words of the reduction, which runs over (tap, channel word) of one plane. Which input pixel a word
 * belongs to is worked out where it is copied, so no im2col stands in memory. Words of pixels outside the image and
 * past the last tap are filled with zeros (cp.async with source size 0); the packed weights have zeros past the last
 * tap too.
 */
#include "mma_kernel.h"

static int block_threads(const Mma *m) {
  return 32 * m->tile.warps_m * m->tile.warps_n;
}

static CopyRow place_row(Mma *m, int i) {
  Ptx *p = &m->k->ptx;
  const Attrs *a = &m->node->attrs;
  Grid in = grid_of(&m->in.type);
  CopyRow row;
  PtxValue position = ptx_add(p, m->first_position, ptx_add(p, m->copy.first_row, ptx_int(i * m->copy.rows_apart)));
  Place at = place_of_position(p, &m->grid, position);
  PtxValue exists = ptx_pred_and(p, ptx_setp(p, "lt.u32", position, m->total_positions), at.is_pixel);
  PtxValue y = ptx_add(p, ptx_mul(p, at.y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  row.y = ptx_select(p, exists, y, ptx_int(-(1 << 30)));
  row.x = ptx_add(p, ptx_mul(p, at.x, ptx_int(a->stride[1])), ptx_int(-a->pad[1]));
  row.image = ptx_mul(p, at.image, ptx_int(in.image_pitch));
  return row;
}

void mma_place_copies(Mma *m) {
  Ptx *p = &m->k->ptx;
  InputCopy *c = &m->copy;
  c->vector = m->w.words % 4 == 0 ? 4 : m->w.words % 2 == 0 ? 2 : 1;
  c->vectors_per_row = m->tile.k / c->vector;
  c->rows_apart = block_threads(m) / c->vectors_per_row;
  c->row_count = (m->tile.m + c->rows_apart - 1) / c->rows_apart;
  c->rows = ARENA_NEW(p->context, CopyRow, c->row_count);
  c->word = ptx_mul(p, ptx_rem(p, m->thread, ptx_int(c->vectors_per_row)), ptx_int(c->vector));
  c->first_row = ptx_div(p, m->thread, ptx_int(c->vectors_per_row));
  for (int i = 0; i < c->row_count; i++) c->rows[i] = place_row(m, i);
}

/* "@%p1 " where not all threads have such a row, "" otherwise. */
static const char *guard_rows(Ptx *p, bool needed, PtxValue row, int limit) {
  if (!needed) return "";
  return arena_printf(p->context, "@%s ", ptx_text(p, ptx_setp(p, "lt.u32", row, ptx_int(limit))));
}

/* One input pixel of a tap at dy, dx from the window's first; `words` is that place at the tensor's first position. */
static void copy_row(Mma *m, int i, PtxValue dy, PtxValue dx, PtxValue in_filter, PtxValue words, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  const InputCopy *c = &m->copy;
  Grid in = grid_of(&m->in.type);
  PtxValue row = ptx_add(p, c->first_row, ptx_int(i * c->rows_apart));
  PtxValue y = ptx_add(p, c->rows[i].y, dy), x = ptx_add(p, c->rows[i].x, dx);
  PtxValue inside = ptx_pred_and(p, inside_image(p, in.image, y, x), in_filter);
  PtxValue position = ptx_add(p, c->rows[i].image, ptx_mad(p, y, ptx_int(in.row_pitch), x));
  position = ptx_select(p, inside, position, ptx_int(0));
  PtxValue bytes = ptx_select(p, inside, ptx_int(4 * c->vector), ptx_int(0));
  PtxValue from = ptx_address(p, words, position, (int64_t)layout_strides(&m->in.type).position);
  PtxValue to = ptx_add(p, stage, mma_input_offset(m, row, c->word));
  const char *guard = guard_rows(p, c->row_count * c->rows_apart > m->tile.m, row, m->tile.m);
  ptx_raw(p, "%scp.async.%s.shared.global [%s], [%s], %d, %s;", guard, c->vector == 4 ? "cg" : "ca", ptx_text(p, to),
          ptx_text(p, from), 4 * c->vector, ptx_text(p, bytes));
}

void mma_copy_input(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  const Attrs *a = &m->node->attrs;
  PtxValue plane = ptx_and(p, ptx_shr(p, at.word, 8), ptx_int(255)), base = mma_stage(m, stage);
  PtxValue word = ptx_mad(p, at.chunk, ptx_int(m->tile.k), m->copy.word);
  PtxValue tap = ptx_div(p, word, ptx_int(m->w.words)), rest = ptx_rem(p, word, ptx_int(m->w.words));
  PtxValue kh = ptx_div(p, tap, ptx_int(a->kernel[1])), kw = ptx_rem(p, tap, ptx_int(a->kernel[1]));
  PtxValue dy = ptx_mul(p, kh, ptx_int(a->dilation[0])), dx = ptx_mul(p, kw, ptx_int(a->dilation[1]));
  PtxValue in_filter = ptx_setp(p, "lt.u32", tap, ptx_int(m->w.taps));
  PtxValue words = unit_address(p, &m->in, ptx_int(0), rest, 4);
  words = ptx_address(p, words, plane, (int64_t)layout_strides(&m->in.type).plane);
  for (int i = 0; i < m->copy.row_count; i++) copy_row(m, i, dy, dx, in_filter, words, base);
}

/* Rows of weights are contiguous, zeros to the end of the last chunk, and padded to whole tiles of channels. */
void mma_copy_weights(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue plane = ptx_and(p, at.word, ptx_int(255)), base = mma_stage(m, stage);
  int vectors_per_row = m->tile.k / 4, rows_apart = block_threads(m) / vectors_per_row;
  PtxValue word = ptx_shl(p, ptx_rem(p, m->thread, ptx_int(vectors_per_row)), 2);
  PtxValue first = ptx_div(p, m->thread, ptx_int(vectors_per_row));
  PtxValue line = ptx_add(p, ptx_mad(p, plane, ptx_int(m->w.rows), m->first_channel), first);
  PtxValue from = ptx_address(p, m->weights, line, 4LL * m->w.row_words);
  from = ptx_address(p, from, ptx_mad(p, at.chunk, ptx_int(m->tile.k), word), 4);
  PtxValue to = ptx_add(p, base, mma_weight_offset(m, first, word));
  for (int row = 0; row < m->tile.n; row += rows_apart) {
    const char *guard = guard_rows(p, row + rows_apart > m->tile.n, first, m->tile.n - row);
    const char *source = ptx_at(p, from, 4LL * row * m->w.row_words);
    ptx_raw(p, "%scp.async.cg.shared.global %s, %s, 16;", guard, ptx_at(p, to, (int64_t)row * m->row_bytes), source);
  }
}
