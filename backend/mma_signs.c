/* Tensor-core layers whose epilogue is thresholds alone: from accumulators to packed bit planes in a few instructions a
 * result.
 *
 * A result of b bits counts which of 2^b - 1 rising thresholds x reaches. Bit k of the count is the exclusive or of
 * "x >= t[i]" over i = 2^k, 2 * 2^k, ..., an odd number of them. The sign of a difference says whether x reaches t[i],
 * so bit k is the sign of the exclusive or of such differences, which a shift moves into the lane's word. Channels that
 * fall (thresholds of ~x, see passes/thresholds.c) count the complement, every bit of it: one exclusive or a word.
 *
 * Differences are taken in 32 bits (mma_signs_single.c) or, where sums are small enough, of two results in the halves
 * of a register (mma_signs_pairs.c). No difference overflows: thresholds beyond the sums that the layer can reach are
 * moved to just beyond them. The correction of the border goes into the thresholds where it is the same for all pixels.
 */
#include "mma_signs.h"

/* From so many bits on a product counts in fewer instructions than signs, where it is exact (requantization.c); of
 * fewer than signs one by one, too. */
enum { LEAST_REQUANTIZED_BITS = 3 };

static int64_t sum_bound(const Mma *m) {
  return accumulator_bound(m->k->graph, (NodeId)(m->node - m->k->graph->nodes));
}

/* Rising rows and channels that rise or fall, as the thresholds pass writes them; a graph may have others. */
static bool table_rises(const Mma *m) {
  const Step *step = &m->node->steps[0];
  const Value *table = graph_value(m->k->graph, step->args[0]), *flips = graph_value(m->k->graph, step->args[1]);
  int width = table->type.dim[1];
  for (int32_t c = 0; c < table->type.dim[0]; c++)
    for (int i = 1; i < width; i++)
      if (constant_row(table, c)[i] < constant_row(table, c)[i - 1]) return false;
  for (int32_t c = 0; c < flips->type.dim[0]; c++)
    if (*constant_row(flips, c) != 0 && *constant_row(flips, c) != -1) return false;
  return true;
}

/* Differences of two results in a register. */
static bool pairs_fit(const Mma *m) {
  return 2 * sum_bound(m) + 1 < 1 << 15;
}

static bool is_signs(const Mma *m) {
  const Node *node = m->node;
  const Type *t = &m->out.type;
  bool alone = node->step_count == 1 && node->steps[0].op == OP_THRESHOLDS && node->steps[0].arg_count == 2;
  if (!alone || t->layout.kind != LAYOUT_PLANES) return false;
  bool counts = t->kind != ELEM_TERNARY && t->bits <= MOST_SIGN_BITS; /* q as stored is the count */
  const Type *table = graph_type(m->k->graph, node->steps[0].args[0]);
  int width = table->dim[1];
  bool one_border = !m->w.border || m->w.class_count == 1;
  bool whole = m->tile.n / m->tile.warps_n % 32 == 0;
  bool serves =
      counts && width == (1 << t->bits) - 1 && one_border && whole && table_rises(m) && sum_bound(m) < INT64_C(1) << 30;
  return serves && ((t->bits < LEAST_REQUANTIZED_BITS && pairs_fit(m)) || !requantization_of(m->k, 0));
}

int64_t mma_sign_threshold(const Mma *m, int32_t channel, int i) {
  const Step *step = &m->node->steps[0];
  int64_t bound = m->sign_bound, least = -bound, most = bound + 1;
  if (channel >= m->out.image.channels) return most;
  const Value *table = graph_value(m->k->graph, step->args[0]), *flips = graph_value(m->k->graph, step->args[1]);
  int64_t t = constant_row(table, channel)[i];
  if (*constant_row(flips, channel)) t = -t; /* ~x >= t where x < -t */
  t = t < least ? least : t > most ? most : t;
  return m->w.border ? t - m->w.border[channel] : t;
}

/* One bit a channel, in the order of the result's planes. */
static PtxValue bind_channel_bits(Mma *m, bool (*is_set)(const Mma *m, int32_t channel)) {
  uint32_t *words = ARENA_NEW(m->k->graph->context, uint32_t, m->w.rows / 32);
  for (int32_t channel = 0; channel < m->w.rows; channel++) {
    uint32_t bit = layout_bit_of_channel(m->out.type.layout, (uint32_t)channel);
    if (is_set(m, channel)) words[bit / 32] |= 1u << bit % 32;
  }
  return kernel_constant(m->k, words, (size_t)m->w.rows / 8);
}

static bool falls(const Mma *m, int32_t channel) {
  const Value *flips = graph_value(m->k->graph, m->node->steps[0].args[1]);
  return channel < m->out.image.channels && *constant_row(flips, channel);
}

static bool exists(const Mma *m, int32_t channel) {
  return channel < m->out.image.channels;
}

static bool any_falls(const Mma *m) {
  for (int32_t channel = 0; channel < m->out.image.channels; channel++)
    if (falls(m, channel)) return true;
  return false;
}

bool mma_signs_bind(Mma *m) {
  if (!is_signs(m)) return false;
  int width = (1 << m->out.type.bits) - 1;
  m->sign_bound = sum_bound(m);
  m->sign_pairs = pairs_fit(m);
  m->sign_width = width == 1 ? 1 : width + 1;
  (m->sign_pairs ? mma_signs_bind_pairs : mma_signs_bind_single)(m);
  m->sign_flips = any_falls(m) ? bind_channel_bits(m, falls) : ptx_int(0);
  m->sign_mask = mma_has_more_columns(m) ? bind_channel_bits(m, exists) : ptx_int(-1);
  return true;
}

/* --- the code --- */

PtxValue mma_table_at(Mma *m, int column_tile, int channels, int64_t bytes) {
  Ptx *p = &m->k->ptx;
  if (m->table.is_shared) return ptx_add(p, m->table.shared, ptx_int(8 * column_tile / channels * bytes));
  return ptx_address(p, m->table.global, ptx_div(p, mma_tile_channel(m, column_tile), ptx_int(channels)), bytes);
}

/* Global memory has 64-bit addresses, shared memory 32-bit ones. */
void mma_load_sign_row(Ptx *p, PtxValue at, int64_t offset, int width, PtxValue *out) {
  bool is_global = at.class == CLASS_B64;
  if (width == 1) out[0] = ptx_load(p, is_global ? "global.nc.b32" : "shared.b32", CLASS_B32, at, offset);
  for (int i = 0; i + 4 <= width; i += 4)
    ptx_load_four(p, is_global ? "global.nc.v4.b32" : "shared.v4.b32", at, offset + 4 * i, out + i);
}

PtxValue mma_sign_of_bit(Ptx *p, const PtxValue *differences, int count, int apart) {
  PtxValue sign = differences[apart - 1];
  for (int i = 3 * apart - 1; i < count; i += 2 * apart) {
    PtxValue next = ptx_new(p, CLASS_B32);
    ptx_raw(p, "lop3.b32 %s, %s, %s, %s, 0x96;", ptx_text(p, next), ptx_text(p, sign),
            ptx_text(p, differences[i - apart]), ptx_text(p, differences[i]));
    sign = next;
  }
  return sign;
}

/* The lane's run of a word a block of channels. */
static PtxValue load_channel_bits(Mma *m, PtxValue words, int first_tile, int tiles) {
  static const char *const load[] = {[4] = "global.nc.u8", [8] = "global.nc.u16", [16] = "global.nc.b32"};
  Ptx *p = &m->k->ptx;
  Layout l = m->out.type.layout;
  PtxValue channel = mma_tile_channel(m, first_tile), start = mma_run_start(m, l, channel);
  PtxValue block = ptx_address(p, words, ptx_div(p, channel, ptx_int(l.block)), l.block / 8);
  return ptx_load(p, load[tiles], CLASS_B32, ptx_address(p, block, ptx_shr(p, start, 3), 1), 0);
}

/* Falling channels turn, those past the last vanish. */
static void correct_run(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  bool turns = !ptx_is_int(m->sign_flips, 0), vanish = !ptx_is_int(m->sign_mask, -1);
  PtxValue flips = turns ? load_channel_bits(m, m->sign_flips, first_tile, tiles) : ptx_int(0);
  PtxValue mask = vanish ? load_channel_bits(m, m->sign_mask, first_tile, tiles) : ptx_int(-1);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      for (int plane = 0; plane < m->out.type.bits; plane++) {
        PtxValue *word = &s->words[i][h][plane];
        if (turns) *word = ptx_2(p, "xor.b32", *word, flips);
        *word = ptx_and(p, *word, mask);
      }
}

void mma_signs_finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Signs s = {.m = m};
  PtxValue lane_channel = ptx_add(p, mma_tile_channel(m, 0), ptx_shl(p, m->quad, 1));
  mma_place_rows(m, s.rows, lane_channel, false);
  int tiles = mma_run_tiles(m, m->out.type.layout);
  for (int first = 0; first < m->column_tiles; first += tiles) {
    (m->sign_pairs ? mma_signs_pack_pairs : mma_signs_pack_single)(&s, first, tiles);
    correct_run(&s, first, tiles);
    mma_store_run(m, s.rows, s.words, first + tiles - 1);
  }
}
