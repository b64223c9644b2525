/* Thresholds as signs, two results at a time: a register holds x - t + 2^15 of a channel in its lower half and of the
 * channel half a run further in its upper half. Neither leaves 0 .. 2^16 - 1, so the halves do not disturb each other
 * however they are added up, and bit 15 of each says whether x reaches t. For |x| below 2^14.
 *
 * In gaps between pixels sums mean nothing and may disturb each other; nothing of them is stored. Past the last channel
 * the same may happen in an upper half, behind which nothing lies; mma_signs.c clears those bits.
 */
#include "mma_signs.h"

enum { HALF = 1 << 15, UPPER = 1 << 16 };

/* [run][position in half a run][quad][sign_width]: 2^15 - t of both channels of a pair. */
void mma_signs_bind_pairs(Mma *m) {
  int count = (1 << m->out.type.bits) - 1, tiles = mma_run_tiles(m, m->out.type.layout), run = 8 * tiles;
  int32_t pairs = m->w.rows / 2;
  uint32_t *words = ARENA_NEW(m->k->graph->context, uint32_t, (int64_t)pairs * m->sign_width);
  for (int32_t pair = 0; pair < pairs; pair++) {
    int32_t quad = pair % 4, position = pair / 4 % tiles, first = pair / (4 * tiles) * run;
    int32_t channel = first + position / 2 * 8 + quad * 2 + position % 2;
    for (int i = 0; i < count; i++) {
      int64_t lower = HALF - mma_sign_threshold(m, channel, i);
      int64_t upper = HALF - mma_sign_threshold(m, channel + run / 2, i);
      words[pair * m->sign_width + i] = (uint32_t)(lower + upper * UPPER);
    }
  }
  m->sign_thresholds = kernel_constant(m->k, words, (size_t)pairs * (size_t)m->sign_width * sizeof *words);
}

/* Both sums of a pair in one register; `sums`: what both lack. */
static PtxValue pair_of_sums(Mma *m, PtxValue lower, PtxValue upper, PtxValue sums) {
  Ptx *p = &m->k->ptx;
  PtxValue both = ptx_mad(p, lower, ptx_int(m->w.product_scale), sums);
  return ptx_mad(p, upper, ptx_int((int64_t)m->w.product_scale * UPPER), both);
}

/* Bits 15 and 31 of a register enter the halves of a word from above. */
static PtxValue enter_word(Ptx *p, PtxValue word, PtxValue bits) {
  PtxValue moved = ptx_shr(p, word, 1), next = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, 0x80008000, 0xd8;", ptx_text(p, next), ptx_text(p, moved), ptx_text(p, bits));
  return next;
}

static void push_pair(Signs *s, int i, int h, PtxValue both, const PtxValue *row, bool first) {
  Ptx *p = &s->m->k->ptx;
  int bits = s->m->out.type.bits, count = (1 << bits) - 1;
  PtxValue differences[MOST_SIGN_THRESHOLDS];
  for (int t = 0; t < count; t++) differences[t] = ptx_add(p, both, row[t]);
  for (int plane = 0; plane < bits; plane++) {
    PtxValue sign = mma_sign_of_bit(p, differences, count, 1 << plane), *word = &s->words[i][h][plane];
    *word = first ? sign : enter_word(p, *word, sign);
  }
}

/* The upper `tiles` bits of either half of a word, side by side. Those below are not the run's. */
static PtxValue close_word(Ptx *p, PtxValue word, int tiles) {
  if (tiles == 16) return word;
  PtxValue lower = ptx_and(p, ptx_shr(p, word, 16 - tiles), ptx_int((1 << tiles) - 1));
  PtxValue upper = ptx_shl(p, ptx_shr(p, word, 32 - tiles), tiles);
  return ptx_or(p, lower, upper);
}

void mma_signs_pack_pairs(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  PtxValue row[MOST_SIGN_THRESHOLDS + 1], sums[MAX_ROW_TILES][2];
  PtxValue run = ptx_div(p, mma_tile_channel(m, first_tile), ptx_int(8 * tiles));
  PtxValue at = ptx_address(p, m->sign_thresholds, run, 16LL * tiles * m->sign_width);
  at = ptx_address(p, at, m->quad, 4 * m->sign_width);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      sums[i][h] = m->w.sum_scale ? ptx_mul(p, m->sums[i][h], ptx_int(UPPER + 1)) : ptx_int(0);
  for (int position = 0; position < tiles; position++) {
    int j = first_tile + position / 2, e = position % 2;
    mma_load_sign_row(p, at, 16LL * position * m->sign_width, m->sign_width, row);
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        PtxValue lower = m->accumulators[i][j][2 * h + e], upper = m->accumulators[i][j + tiles / 2][2 * h + e];
        push_pair(s, i, h, pair_of_sums(m, lower, upper, sums[i][h]), row, position == 0);
      }
  }
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      for (int plane = 0; plane < m->out.type.bits; plane++)
        s->words[i][h][plane] = close_word(p, s->words[i][h][plane], tiles);
}
