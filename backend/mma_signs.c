/* Tensor-core layers whose epilogue is thresholds alone: from accumulators to packed bit planes in a few instructions a
 * result.
 *
 * A result of b bits counts which of 2^b - 1 rising thresholds x reaches. Bit k of the count is the exclusive or of
 * "x >= t[i]" over i = 2^k, 2 * 2^k, ..., an odd number of them. The sign of t[i] - 1 - x says whether x reaches t[i], so
 * bit k is the sign of the exclusive or of such differences, and a funnel shift moves it into the lane's word. Channels
 * that fall (thresholds of ~x, see passes/thresholds.c) count the complement, every bit of it: one exclusive or a word.
 *
 * No difference overflows: thresholds beyond the sums that the layer can reach are moved to just beyond them. The
 * correction of the border goes into the thresholds where it is the same for all pixels.
 */
#include "mma_kernel.h"

#include <string.h>

enum { MOST_BITS = 4, MOST_THRESHOLDS = (1 << MOST_BITS) - 1 };

static bool is_signs(const Mma *m) {
  const Node *node = m->node;
  const Type *t = &m->out.type;
  if (node->step_count != 1 || node->steps[0].op != OP_THRESHOLDS || t->layout.kind != LAYOUT_PLANES) return false;
  bool counts = t->kind != ELEM_TERNARY && t->bits <= MOST_BITS; /* q as stored is the count */
  const Type *table = graph_type(m->k->graph, node->steps[0].args[0]);
  int width = table->rank == 2 ? table->dim[1] : 1;
  bool one_border = !m->w.border || m->w.class_count == 1;
  int warp_n = m->tile.n / m->tile.warps_n;
  bool whole = warp_n % 32 == 0;
  NodeId id = (NodeId)(node - m->k->graph->nodes);
  return counts && width == (1 << t->bits) - 1 && one_border && whole &&
         accumulator_bound(m->k->graph, id) < INT64_C(1) << 30;
}

/* Row or only row of a constant [C, L] or [1, L]. */
static const int32_t *row_of(const Value *v, int32_t channel) {
  int width = v->type.rank == 2 ? v->type.dim[1] : 1;
  return (const int32_t *)v->data + (v->type.dim[0] == 1 ? 0 : (int64_t)channel * width);
}

/* What the sign of the difference is taken of, for one threshold of (x ^ flip): its sense is restored by the flip. */
static int64_t sign_threshold(int64_t threshold, bool falls, int64_t bound) {
  int64_t t = falls ? -threshold : threshold; /* ~x >= t where x < -t */
  int64_t least = -bound, most = bound + 1;
  return (t < least ? least : t > most ? most : t) - 1;
}

static void bind_thresholds(Mma *m, const Value *table, const Value *flips, int width) {
  Kernel *k = m->k;
  int64_t bound = accumulator_bound(k->graph, (NodeId)(m->node - k->graph->nodes));
  int32_t channels = m->out.image.channels;
  int32_t *words = ARENA_NEW(k->graph->context, int32_t, (int64_t)m->w.rows * m->sign_width);
  for (int32_t c = 0; c < m->w.rows; c++)
    for (int i = 0; i < width; i++) {
      int64_t t = bound; /* no sum reaches it: bits of channels past the last are zero */
      if (c < channels) t = sign_threshold(row_of(table, c)[i], *row_of(flips, c) != 0, bound);
      if (c < channels && m->w.border) t -= m->w.border[c];
      words[(int64_t)c * m->sign_width + i] = (int32_t)(uint32_t)t;
    }
  m->sign_thresholds = kernel_constant(k, words, (size_t)m->w.rows * (size_t)m->sign_width * sizeof *words);
}

/* A bit a channel that falls, in the order of the result's planes. */
static void bind_flips(Mma *m, const Value *flips) {
  Context *c = m->k->graph->context;
  uint32_t *words = ARENA_NEW(c, uint32_t, m->w.rows / 32);
  bool any = false;
  for (int32_t channel = 0; channel < m->out.image.channels; channel++) {
    if (!*row_of(flips, channel)) continue;
    uint32_t bit = layout_bit_of_channel(m->out.type.layout, (uint32_t)channel);
    words[bit / 32] |= 1u << bit % 32;
    any = true;
  }
  m->sign_flips = any ? kernel_constant(m->k, words, (size_t)m->w.rows / 8) : ptx_int(0);
}

bool mma_signs_bind(Mma *m) {
  if (!is_signs(m)) return false;
  const Step *step = &m->node->steps[0];
  int width = (1 << m->out.type.bits) - 1;
  m->sign_width = width + 1 - (width == 1);
  const Value *flips = graph_value(m->k->graph, step->args[1]);
  bind_thresholds(m, graph_value(m->k->graph, step->args[0]), flips, width);
  bind_flips(m, flips);
  return true;
}

/* --- the code --- */

typedef struct Signs {
  Mma *m;
  MmaRow rows[MAX_ROW_TILES][2];
  PtxValue words[MAX_ROW_TILES][2][8];
  PtxValue thresholds; /* address of those of the lane's first channel */
} Signs;

/* The thresholds of one column of an instruction tile. */
static void load_thresholds(Signs *s, int column, PtxValue *out) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  int64_t offset = 4LL * column * m->sign_width;
  if (m->sign_width == 1) {
    out[0] = ptx_load(p, "global.nc.b32", CLASS_B32, s->thresholds, offset);
    return;
  }
  for (int i = 0; i < m->sign_width; i += 4) {
    for (int j = 0; j < 4; j++) out[i + j] = ptx_new(p, CLASS_B32);
    ptx_raw(p, "ld.global.nc.v4.b32 {%s, %s, %s, %s}, %s;", ptx_text(p, out[i]), ptx_text(p, out[i + 1]),
            ptx_text(p, out[i + 2]), ptx_text(p, out[i + 3]), ptx_at(p, s->thresholds, offset + 4 * i));
  }
}

static PtxValue xor3(Ptx *p, PtxValue a, PtxValue b, PtxValue c) {
  PtxValue d = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, %s, 0x96;", ptx_text(p, d), ptx_text(p, a), ptx_text(p, b), ptx_text(p, c));
  return d;
}

/* The exclusive or of every `apart`-th difference: an odd number of them. */
static PtxValue sign_of_bit(Ptx *p, const PtxValue *differences, int count, int apart) {
  PtxValue sign = differences[apart - 1];
  for (int i = 3 * apart - 1; i < count; i += 2 * apart) sign = xor3(p, sign, differences[i - apart], differences[i]);
  return sign;
}

static void push_bits(Signs *s, int i, int h, PtxValue sum, const PtxValue *thresholds, bool first) {
  Ptx *p = &s->m->k->ptx;
  int bits = s->m->out.type.bits, count = (1 << bits) - 1;
  PtxValue differences[MOST_THRESHOLDS];
  for (int t = 0; t < count; t++) differences[t] = ptx_sub(p, thresholds[t], sum);
  for (int plane = 0; plane < bits; plane++) {
    PtxValue sign = sign_of_bit(p, differences, count, 1 << plane), *word = &s->words[i][h][plane];
    PtxValue before = first ? ptx_int(0) : *word;
    *word = ptx_new(p, CLASS_B32);
    ptx_raw(p, "shf.l.wrap.b32 %s, %s, %s, 1;", ptx_text(p, *word), ptx_text(p, sign), ptx_text(p, before));
  }
}

/* From the last bit of the lane's run to the first, so that each shift puts a bit where it stays. */
static void pack_run(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  PtxValue thresholds[MOST_THRESHOLDS + 1];
  for (int bit = 2 * tiles - 1; bit >= 0; bit--) {
    int j = first_tile + bit / 2, e = bit % 2;
    load_thresholds(s, 8 * j + e, thresholds);
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        PtxValue sum = ptx_mul(p, m->accumulators[i][j][2 * h + e], ptx_int(m->w.product_scale));
        if (m->w.sum_scale) sum = ptx_add(p, sum, m->sums[i][h]);
        push_bits(s, i, h, sum, thresholds, bit == 2 * tiles - 1);
      }
  }
}

static void flip_run(Signs *s, int first_tile, int tiles) {
  Mma *m = s->m;
  Ptx *p = &m->k->ptx;
  if (ptx_is_int(m->sign_flips, 0)) return;
  static const char *const load[] = {[4] = "global.nc.u8", [8] = "global.nc.u16", [16] = "global.nc.b32"};
  Layout l = m->out.type.layout;
  PtxValue channel = mma_tile_channel(m, first_tile), offset = mma_run_offset(m, l, channel);
  PtxValue block = ptx_div(p, channel, ptx_int(l.block));
  PtxValue at = ptx_address(p, ptx_address(p, m->sign_flips, block, l.block / 8), offset, 1);
  PtxValue flips = ptx_load(p, load[tiles], CLASS_B32, at, 0);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      for (int plane = 0; plane < m->out.type.bits; plane++)
        s->words[i][h][plane] = ptx_2(p, "xor.b32", s->words[i][h][plane], flips);
}

void mma_signs_finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Signs s = {.m = m};
  PtxValue lane_channel = ptx_add(p, mma_tile_channel(m, 0), ptx_shl(p, m->quad, 1));
  s.thresholds = ptx_address(p, m->sign_thresholds, lane_channel, 4 * m->sign_width);
  mma_finish_sums(m);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) s.rows[i][h] = mma_place_row(m, i, h, lane_channel);
  int tiles = mma_run_tiles(m, m->out.type.layout);
  for (int first = 0; first < m->column_tiles; first += tiles) {
    pack_run(&s, first, tiles);
    flip_run(&s, first, tiles);
    mma_store_run(m, s.rows, s.words, first + tiles - 1);
  }
}
