/* Thresholds as signs, one result at a time: t - 1 - x is negative where x reaches t, and a funnel shift moves the sign
 * into the word. For sums of up to 2^30.
 */
#include "mma_signs.h"

/* [channel][sign_width] */
void mma_signs_bind_single(Mma *m) {
  int count = (1 << m->out.type.bits) - 1;
  int32_t *words = ARENA_NEW(m->k->graph->context, int32_t, (int64_t)m->w.rows * m->sign_width);
  for (int32_t c = 0; c < m->w.rows; c++)
    for (int i = 0; i < count; i++) words[c * m->sign_width + i] = (int32_t)(uint32_t)(mma_sign_threshold(m, c, i) - 1);
  m->table.global = kernel_constant(m->k, words, (size_t)m->w.rows * (size_t)m->sign_width * sizeof *words);
  m->table.tile_bytes = 4u * m->tile.n * (uint32_t)m->sign_width;
}

static void push_bits(Signs *s, int i, int h, PtxValue sum, const PtxValue *thresholds, bool first) {
  Ptx *p = &s->m->k->ptx;
  int bits = s->m->out.type.bits, count = (1 << bits) - 1;
  PtxValue differences[MOST_SIGN_THRESHOLDS];
  for (int t = 0; t < count; t++) differences[t] = ptx_sub(p, thresholds[t], sum);
  for (int plane = 0; plane < bits; plane++) {
    PtxValue sign = mma_sign_of_bit(p, differences, count, 1 << plane), *word = &s->words[i][h][plane];
    PtxValue before = first ? ptx_int(0) : *word;
    *word = ptx_new(p, CLASS_B32);
    ptx_raw(p, "shf.l.wrap.b32 %s, %s, %s, 1;", ptx_text(p, *word), ptx_text(p, sign), ptx_text(p, before));
  }
}

/* From the last bit of the lane's run to the first, so that each shift puts a bit where it stays. */
void mma_signs_pack_single(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  PtxValue row[MOST_SIGN_THRESHOLDS + 1];
  PtxValue at = mma_table_at(m, first_tile, 8, 32 * m->sign_width);
  at = ptx_address(p, at, m->quad, 8 * m->sign_width);
  for (int bit = 2 * tiles - 1; bit >= 0; bit--) {
    int j = bit / 2, e = bit % 2;
    mma_load_sign_row(p, at, 4LL * (8 * j + e) * m->sign_width, m->sign_width, row);
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        PtxValue sum = ptx_mul(p, m->accumulators[i][first_tile + j][2 * h + e], ptx_int(m->w.product_scale));
        if (m->w.sum_scale) sum = ptx_add(p, sum, m->sums[i][h]);
        push_bits(s, i, h, sum, row, bit == 2 * tiles - 1);
      }
  }
}
