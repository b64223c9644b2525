/* Layers on patches, the products: every register of the left operand is one word of the patch, those of the right one
 * come four at a time in the order in which weights.h has them.
 *
 * Where a lane reads is one address a lane and patch, and what tells its rows, steps and units apart is known while
 * compiling. Of the 8 groups of lanes each reads another position of a row of the tile, of a quad each lane another
 * word of a unit: without dilation words stride * words * group + quad, which lie in different banks or are the same
 * where stride * words is 1 .. 4 or 12. Such a load is one access to shared memory; with 8 or 16 words between
 * positions it is two or four.
 */
#include "patch_kernel.h"

/* Words from the first of a unit to that of a lane. */
static PtxValue lane_word(PatchKernel *k) {
  Ptx *p = &k->m.k->ptx;
  PtxValue words = ptx_int(k->s.words), tap = ptx_div(p, k->m.quad, words);
  PtxValue in_tap = k->s.words == 1 ? ptx_int(0) : ptx_rem(p, k->m.quad, words);
  return ptx_mad(p, tap, ptx_int((int64_t)k->m.node->attrs.dilation[1] * k->s.words), in_tap);
}

/* Words from a warp's first position to another of its tile, which lies `row` positions on. */
static int64_t position_words(const PatchKernel *k, uint32_t row) {
  const Attrs *a = &k->m.node->attrs;
  uint32_t y = row / k->s.columns, x = row % k->s.columns;
  return (int64_t)y * a->stride[0] * k->s.pitch + (int64_t)x * a->stride[1] * k->s.words;
}

static int64_t unit_words(const PatchKernel *k, uint32_t unit) {
  const Attrs *a = &k->m.node->attrs;
  return (int64_t)(unit / k->s.row_units) * a->dilation[0] * k->s.pitch +
         (int64_t)(unit % k->s.row_units) * 4 * a->dilation[1];
}

void patch_multiply_begin(PatchKernel *k) {
  Mma *m = &k->m;
  Ptx *p = &m->k->ptx;
  const Attrs *a = &m->node->attrs;
  PtxValue warp = ptx_shr(p, m->thread, 5);
  PtxValue word = ptx_add(p, lane_word(k), ptx_int(k->s.lead));
  word = ptx_mad(p, warp, ptx_int(position_words(k, PATCH_WARP_ROWS)), word);
  word = ptx_mad(p, m->group, ptx_int((int64_t)a->stride[1] * k->s.words), word);
  k->lane_input = ptx_shl(p, word, 2);
  k->lane_weights = ptx_mad(p, m->lane, ptx_int(16), m->shared);
  int left = m->w.words * a->kernel[1] - 4 * ((int)k->s.row_units - 1); /* words of a row's last unit */
  PtxValue real = ptx_setp(p, "lt.u32", m->quad, ptx_int(left));
  int channels = m->in.image.channels;
  k->ones = ptx_int(channels < 4 ? 0x010101 >> 8 * (3 - channels) : 0x01010101);
  k->last_ones = left == 4 ? k->ones : ptx_select(p, real, k->ones, ptx_int(0));
}

static PtxValue load_input(PatchKernel *k, PtxValue lane, uint32_t unit, int i, int h) {
  int64_t words = position_words(k, (uint32_t)(16 * i + 8 * h)) + unit_words(k, unit);
  return ptx_load(&k->m.k->ptx, "shared.b32", CLASS_B32, lane, 4 * words);
}

/* S2 (weights.h): what a row's last unit has past the filter does not count, nor bytes past the last channel. */
static void add_sum(PatchKernel *k, uint32_t unit, int i, int h, PtxValue word) {
  Ptx *p = &k->m.k->ptx;
  if (!k->m.w.sum_scale) return;
  PtxValue sum = k->m.sums[i][h];
  bool last = unit % k->s.row_units == k->s.row_units - 1;
  const char *mnemonic = k->m.in.type.kind == ELEM_UINT ? "dp4a.u32.u32" : "dp4a.s32.u32";
  ptx_raw(p, "%s %s, %s, %s, %s;", mnemonic, ptx_text(p, sum), ptx_text(p, word),
          ptx_text(p, last ? k->last_ones : k->ones), ptx_text(p, sum));
}

/* Fragments of a row tile. Past the last unit weights are zero: any input serves. */
static void load_rows(PatchKernel *k, PtxValue lane, uint32_t step, int i, PtxValue a[4]) {
  for (uint32_t u = 0; u < 2; u++)
    for (int h = 0; h < 2; h++) {
      uint32_t unit = 2 * step + u;
      if (unit >= k->s.units) {
        a[2 * u + (uint32_t)h] = a[h];
        continue;
      }
      a[2 * u + (uint32_t)h] = load_input(k, lane, unit, i, h);
      add_sum(k, unit, i, h, a[2 * u + (uint32_t)h]);
    }
}

/* Fragments of two column tiles. */
static void load_columns(PatchKernel *k, uint32_t step, int pair, PtxValue b[4]) {
  int64_t offset = ((int64_t)step * (k->m.tile.n / 16) + pair) * 512;
  ptx_load_four(&k->m.k->ptx, "shared.v4.b32", k->lane_weights, offset, b);
}

void patch_multiply(PatchKernel *k) {
  Mma *m = &k->m;
  PtxValue lane = ptx_add(&m->k->ptx, k->rectangles.current, k->lane_input);
  for (uint32_t step = 0; step < k->s.steps; step++) {
    PtxValue a[MAX_ROW_TILES][4], b[4];
    for (int i = 0; i < m->row_tiles; i++) load_rows(k, lane, step, i, a[i]);
    for (int pair = 0; pair < m->column_tiles / 2; pair++) {
      load_columns(k, step, pair, b);
      for (int j = 0; j < 2; j++)
        for (int i = 0; i < m->row_tiles; i++) mma_multiply(m, i, 2 * pair + j, a[i], b + 2 * j);
    }
  }
}
