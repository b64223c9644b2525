/* Thresholds as signs, two results at a time: a register holds x - t + 2^15 of a channel in its lower half and of
 * another channel in its upper half. Neither leaves 0 .. 2^16 - 1, so the halves do not disturb each other however they
 * are added up, and bit 15 of each says whether x reaches t. For |x| below 2^14.
 *
 * A run of 2J bits (mma_rows.c) is four parts of J/2, and a step takes one bit of each: two pairs, whose four signs
 * become four bytes of zeros or ones by one `prmt`, of which bit `step` enters the bytes of the lane's word. A byte of
 * the word so ends up with a part of the run.
 *
 * In gaps between pixels sums mean nothing and may disturb each other; nothing of them is stored. Past the last channel
 * the same may happen in an upper half, behind which nothing lies; mma_signs.c clears those bits.
 */
#include "mma_signs.h"

enum { HALF = 1 << 15, UPPER = 1 << 16 };

/* Two pairs of channels a step: of parts 0 and 1 of the run, and of parts 2 and 3. */
enum { PAIRS = 2 };

static int part_size(int tiles) {
  return tiles / 2;
}

/* The lane's channel at a place of its run, from the run's first. */
static int32_t channel_at(int position, int32_t quad) {
  return position / 2 * 8 + quad * 2 + position % 2;
}

/* [run][step][pair][quad][sign_width]: 2^15 - t of both channels of a pair. */
void mma_signs_bind_pairs(Mma *m) {
  int count = (1 << m->out.type.bits) - 1, tiles = mma_run_tiles(m, m->out.type.layout), part = part_size(tiles);
  int32_t rows = m->w.rows / 2;
  uint32_t *words = ARENA_NEW(m->k->graph->context, uint32_t, (int64_t)rows * m->sign_width);
  for (int32_t row = 0; row < rows; row++) {
    int32_t quad = row % 4, pair = row / 4 % PAIRS, step = row / (4 * PAIRS) % part, run = row / (4 * tiles);
    int position = 2 * pair * part + step;
    int32_t first = run * 8 * tiles, lower_channel = first + channel_at(position, quad);
    int32_t upper_channel = first + channel_at(position + part, quad);
    for (int i = 0; i < count; i++) {
      int64_t lower = HALF - mma_sign_threshold(m, lower_channel, i);
      int64_t upper = HALF - mma_sign_threshold(m, upper_channel, i);
      words[row * m->sign_width + i] = (uint32_t)(lower + upper * UPPER);
    }
  }
  m->table.global = kernel_constant(m->k, words, (size_t)rows * (size_t)m->sign_width * sizeof *words);
  m->table.tile_bytes = 2u * m->tile.n * (uint32_t)m->sign_width;
}

/* Both sums of a pair in one register; `sums`: what both lack. */
static PtxValue pair_of_sums(Mma *m, PtxValue lower, PtxValue upper, PtxValue sums) {
  Ptx *p = &m->k->ptx;
  PtxValue both = ptx_mad(p, lower, ptx_int(m->w.product_scale), sums);
  return ptx_mad(p, upper, ptx_int((int64_t)m->w.product_scale * UPPER), both);
}

/* Bits 15 and 31 of both registers, each as a whole byte. */
static PtxValue signs_as_bytes(Ptx *p, PtxValue first, PtxValue second) {
  PtxValue bytes = ptx_new(p, CLASS_B32);
  ptx_raw(p, "prmt.b32 %s, %s, %s, 0xfdb9;", ptx_text(p, bytes), ptx_text(p, first), ptx_text(p, second));
  return bytes;
}

/* Bit `step` of every byte of a word is that of `bytes`; the first step gives the others too. */
static PtxValue enter_word(Ptx *p, PtxValue word, PtxValue bytes, int step) {
  if (step == 0) return bytes;
  PtxValue next = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, 0x%x, 0xd8;", ptx_text(p, next), ptx_text(p, word), ptx_text(p, bytes),
          0x01010101u << step);
  return next;
}

/* The signs of a pair's results, a plane each. */
static void signs_of_pair(Ptx *p, PtxValue both, const PtxValue *row, int bits, PtxValue *signs) {
  int count = (1 << bits) - 1;
  PtxValue differences[MOST_SIGN_THRESHOLDS];
  for (int t = 0; t < count; t++) differences[t] = ptx_add(p, both, row[t]);
  for (int plane = 0; plane < bits; plane++) signs[plane] = mma_sign_of_bit(p, differences, count, 1 << plane);
}

/* The lower bits of the four bytes of a word, side by side. */
static PtxValue close_word(Ptx *p, PtxValue word, int part) {
  if (part == 8) return word;
  PtxValue kept = ptx_and(p, word, ptx_int(0x01010101 * ((1 << part) - 1)));
  PtxValue twos = ptx_or(p, kept, ptx_shr(p, kept, 8 - part)); /* bytes 0 and 2 hold two parts */
  PtxValue upper = ptx_and(p, ptx_shr(p, twos, 16 - 2 * part), ptx_int(((1 << 2 * part) - 1) << 2 * part));
  return ptx_or(p, ptx_and(p, twos, ptx_int((1 << 2 * part) - 1)), upper);
}

/* Where a step's results are: accumulators of the lane's rows. */
typedef struct Run {
  Signs *s;
  int first_tile, part;
  PtxValue sums[MAX_ROW_TILES][2];
} Run;

static PtxValue accumulator_at(const Run *r, int i, int h, int position) {
  return r->s->m->accumulators[i][r->first_tile + position / 2][2 * h + position % 2];
}

/* A step of all rows and planes; `rows`: of thresholds, of both pairs. */
static void pack_step(Run *r, int step, PtxValue rows[PAIRS][MOST_SIGN_THRESHOLDS + 1]) {
  Mma *m = r->s->m;
  Ptx *p = &m->k->ptx;
  int bits = m->out.type.bits;
  PtxValue signs[PAIRS][MOST_SIGN_BITS];
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      for (int pair = 0; pair < PAIRS; pair++) {
        int position = 2 * pair * r->part + step;
        PtxValue lower = accumulator_at(r, i, h, position), upper = accumulator_at(r, i, h, position + r->part);
        signs_of_pair(p, pair_of_sums(m, lower, upper, r->sums[i][h]), rows[pair], bits, signs[pair]);
      }
      for (int plane = 0; plane < bits; plane++) {
        PtxValue *word = &r->s->words[i][h][plane];
        *word = enter_word(p, *word, signs_as_bytes(p, signs[0][plane], signs[1][plane]), step);
      }
    }
}

void mma_signs_pack_pairs(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  Run r = {.s = s, .first_tile = first_tile, .part = part_size(tiles)};
  PtxValue rows[PAIRS][MOST_SIGN_THRESHOLDS + 1];
  PtxValue at = mma_table_at(m, first_tile, 8 * tiles, 16LL * tiles * m->sign_width);
  at = ptx_address(p, at, m->quad, 4 * m->sign_width);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      r.sums[i][h] = m->w.sum_scale ? ptx_mul(p, m->sums[i][h], ptx_int(UPPER + 1)) : ptx_int(0);
  for (int step = 0; step < r.part; step++) {
    for (int pair = 0; pair < PAIRS; pair++)
      mma_load_sign_row(p, at, 16LL * (PAIRS * step + pair) * m->sign_width, m->sign_width, rows[pair]);
    pack_step(&r, step, rows);
  }
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      for (int plane = 0; plane < m->out.type.bits; plane++)
        s->words[i][h][plane] = close_word(p, s->words[i][h][plane], r.part);
}
