/* Pooling of bit planes: 32 channels a word, computed at once.
 *
 * Maxima: stored numbers are unsigned and nothing is below zero, which is what channels and pixels that are not there
 * hold. Comparing runs from plane 0 up: a bit says whether the greatest so far is above the new number.
 *
 * Sums: a counter of as many planes as the sum has bits, which full adders count up, 32 channels at once.
 */
#include "pool_kernel.h"

enum {
  LUT_SUM = 0x96,     /* a ^ b ^ c */
  LUT_CARRY = 0xE8,   /* two of a, b, c */
  LUT_GREATER = 0xB2, /* a above b, or equal and c */
  LUT_SELECT = 0xCA   /* a ? b : c */
};

static PtxValue logic(Ptx *p, PtxValue a, PtxValue b, PtxValue c, int table) {
  PtxValue d = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, %s, %d;", ptx_text(p, d), ptx_text(p, a), ptx_text(p, b), ptx_text(p, c), table);
  return d;
}

static bool is_zero(PtxValue o) {
  return ptx_is_int(o, 0);
}

/* --- loads and stores of a unit: `words` words of every plane, word w of plane i at i * words + w --- */

/* Whether the planes of a pixel are one run of words that the unit covers. */
static bool is_one_run(const Pool *pool, const Tensor *t) {
  return pool->plan.units == 1 && !layout_is_pieces(t->type.layout) && t->type.layout.pitch / 32 == pool->plan.words;
}

/* Whether a word of the unit is one of the tensor's. */
static PtxValue has_word(Pool *pool, const Tensor *t, int word) {
  Ptx *p = &pool->k->ptx;
  int words = (int)pool->plan.words, last = ((int)pool->plan.units - 1) * words + word;
  int all = (int)(t->type.layout.pitch / 32);
  if (last < all || pool->plan.units == 1) return ptx_int(last < all);
  return ptx_setp(p, "lt.u32", ptx_mad(p, pool->unit, ptx_int(words), ptx_int(word)), ptx_int(all));
}

static void load_unit(Pool *pool, Tap tap, PtxValue *out) {
  Ptx *p = &pool->k->ptx;
  const Type *t = &pool->in.type;
  int words = (int)pool->plan.words, all = words * t->bits;
  PtxValue at = unit_address(p, &pool->in, tap.position, pool->unit, 4 * words);
  if (is_one_run(pool, &pool->in)) {
    int vector = pool_vector((uint32_t)all);
    for (int i = 0; i < all; i += vector) pool_load(p, tap.inside, at, 4 * i, vector, 0, out + i);
    return;
  }
  int vector = pool_vector(t->layout.pitch / 32);
  if (vector > words) vector = words;
  int64_t plane_bytes = (int64_t)layout_strides(t).plane;
  for (int w = 0; w < words; w += vector) {
    PtxValue there = pool_both(p, has_word(pool, &pool->in, w), tap.inside);
    for (int i = 0; i < t->bits; i++) pool_load(p, there, at, i * plane_bytes + 4 * w, vector, 0, out + i * words + w);
  }
}

static void store_unit(Pool *pool, const PtxValue *from) {
  Ptx *p = &pool->k->ptx;
  const Type *t = &pool->out.type;
  int words = (int)pool->plan.words, all = words * t->bits;
  PtxValue at = unit_address(p, &pool->out, pool->position, pool->unit, 4 * words), first = pool_is_first(pool);
  if (is_one_run(pool, &pool->out)) {
    int vector = pool_vector((uint32_t)all);
    for (int i = 0; i < all; i += vector) pool_store(p, first, at, 4 * i, vector, from + i);
    return;
  }
  int vector = pool_vector(t->layout.pitch / 32);
  if (vector > words) vector = words;
  int64_t plane_bytes = (int64_t)layout_strides(t).plane;
  for (int w = 0; w < words; w += vector) {
    PtxValue there = pool_both(p, has_word(pool, &pool->out, w), first);
    for (int i = 0; i < t->bits; i++) pool_store(p, there, at, i * plane_bytes + 4 * w, vector, from + i * words + w);
  }
}

/* --- the order of channels: run r of a block has the bytes r of its 32 channels each, side by side (ir/type.h) --- */

/* Words a, b -> the even and the odd ones of their bytes or halves. */
static void part(Ptx *p, PtxValue *a, PtxValue *b, int even, int odd) {
  PtxValue x = *a, y = *b;
  if (is_zero(x) && is_zero(y)) return;
  *a = pool_permute(p, x, y, even);
  *b = pool_permute(p, x, y, odd);
}

/* Four words as rows of four bytes, transposed. */
static void transpose(Ptx *p, PtxValue w[4]) {
  for (int i = 0; i < 2; i++) part(p, &w[i], &w[i + 2], 0x6240, 0x7351);
  for (int i = 0; i < 4; i += 2) part(p, &w[i], &w[i + 1], 0x5140, 0x7362);
  PtxValue swapped = w[1];
  w[1] = w[2];
  w[2] = swapped;
}

static void to_blocks_of_32(Ptx *p, int block, int words, PtxValue *w) {
  for (int i = 0; block == 64 && i < words; i += 2) part(p, &w[i], &w[i + 1], 0x6420, 0x7531);
  for (int i = 0; block == 128 && i < words; i += 4) transpose(p, w + i);
}

static void from_blocks_of_32(Ptx *p, int block, int words, PtxValue *w) {
  for (int i = 0; block == 64 && i < words; i += 2) part(p, &w[i], &w[i + 1], 0x5140, 0x7362);
  for (int i = 0; block == 128 && i < words; i += 4) transpose(p, w + i);
}

/* --- maxima --- */

static void begin_max(Pool *pool) {
  pool->acc_count = (int)pool->plan.words * pool->in.type.bits;
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = ptx_int(0);
}

static void join_word_max(Ptx *p, PtxValue *a, const PtxValue *b, int bits, int words) {
  PtxValue greater = ptx_int(0);
  int top = (bits - 1) * words;
  for (int i = 0; i < top; i += words) greater = logic(p, a[i], b[i], greater, LUT_GREATER);
  if (top) greater = logic(p, a[top], b[top], greater, LUT_GREATER);
  for (int i = 0; i < top; i += words) a[i] = logic(p, greater, a[i], b[i], LUT_SELECT);
  a[top] = ptx_or(p, a[top], b[top]);
}

static void join_max(Pool *pool, const PtxValue *other) {
  int words = (int)pool->plan.words, bits = pool->in.type.bits;
  bool is_new = true;
  for (int i = 0; i < pool->acc_count; i++) is_new = is_new && is_zero(pool->acc[i]);
  for (int w = 0; w < words && !is_new; w++) join_word_max(&pool->k->ptx, pool->acc + w, other + w, bits, words);
  for (int i = 0; i < pool->acc_count && is_new; i++) pool->acc[i] = other[i];
}

static void take_max(Pool *pool, Tap tap) {
  PtxValue x[POOL_ACCUMULATORS];
  load_unit(pool, tap, x);
  join_max(pool, x);
}

static void finish_max(Pool *pool) {
  Ptx *p = &pool->k->ptx;
  int words = (int)pool->plan.words, from = pool->in.type.layout.block, to = pool->out.type.layout.block;
  for (int i = 0; i < pool->acc_count && from != to; i += words) {
    to_blocks_of_32(p, from, words, pool->acc + i);
    from_blocks_of_32(p, to, words, pool->acc + i);
  }
  store_unit(pool, pool->acc);
}

/* --- sums --- */

static int bits_of(uint64_t most) {
  int bits = 0;
  while (bits < 32 && most >> bits) bits++;
  return bits;
}

static uint64_t taps_of(const Pool *pool) {
  return (uint64_t)pool->k->node->attrs.kernel[0] * (uint64_t)pool->k->node->attrs.kernel[1];
}

static void begin_sum(Pool *pool) {
  uint64_t most_of_number = (UINT64_C(1) << pool->in.type.bits) - 1;
  pool->acc_count = bits_of(most_of_number * taps_of(pool));
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = ptx_int(0);
  pool->most = 0;
}

/* acc += x of x_bits planes, where the sum has no more than `most`. */
static void count(Pool *pool, const PtxValue *x, int x_bits, uint64_t most) {
  Ptx *p = &pool->k->ptx;
  int alive = bits_of(most);
  PtxValue carry = ptx_int(0);
  if (alive > pool->acc_count) alive = pool->acc_count;
  for (int i = 0; i < alive; i++) {
    PtxValue a = pool->acc[i], b = i < x_bits ? x[i] : ptx_int(0);
    bool last = i + 1 == alive;
    if (is_zero(a) + is_zero(b) + is_zero(carry) >= 2) {
      pool->acc[i] = ptx_or(p, ptx_or(p, a, b), carry);
      carry = ptx_int(0);
      continue;
    }
    pool->acc[i] = logic(p, a, b, carry, LUT_SUM);
    carry = last ? carry : logic(p, a, b, carry, LUT_CARRY);
  }
  pool->most = most;
}

static void take_sum(Pool *pool, Tap tap) {
  PtxValue x[8];
  int bits = pool->in.type.bits;
  load_unit(pool, tap, x);
  count(pool, x, bits, pool->most + (UINT64_C(1) << bits) - 1);
}

static void join_sum(Pool *pool, const PtxValue *other) {
  count(pool, other, pool->acc_count, 2 * pool->most);
}

/* --- steps --- */

/* Four neighbouring bits of a word are channels 0, 1, 8, 9 from the first of them. */
static const int offsets[POOL_CHANNELS] = {0, 1, 8, 9};

/* Stored numbers or sums of the group under way, eight bits of all four channels a word. */
typedef struct Numbers {
  PtxValue bytes[4];
} Numbers;

static PtxValue number_of(Pool *pool, int i, const Numbers *n) {
  Ptx *p = &pool->k->ptx;
  PtxValue number = ptx_int(0);
  for (int b = 0; b < 4 && 8 * b < pool->acc_count; b++) {
    PtxValue byte = ptx_3(p, "bfe.u32", n->bytes[b], ptx_int(8 * i), ptx_int(8));
    number = ptx_or(p, number, ptx_shl(p, byte, 8 * b));
  }
  return number;
}

static Flow stored_number(Pool *pool, int i, void *user) {
  return (Flow){pool->k->node->main_type, number_of(pool, i, user), -stored_bias(&pool->in.type), 0};
}

static Flow level_sum(Pool *pool, int i, void *user) {
  return (Flow){pool->k->node->main_type, pool_level_sum(pool, number_of(pool, i, user)), 0, 0};
}

static Numbers numbers_at(Pool *pool, PtxValue bit) {
  Ptx *p = &pool->k->ptx;
  Numbers n;
  for (int b = 0; b < 4; b++) n.bytes[b] = ptx_int(0);
  for (int i = 0; i < pool->acc_count; i++) {
    if (is_zero(pool->acc[i])) continue;
    PtxValue nibble = ptx_and(p, ptx_2(p, "shr.u32", pool->acc[i], bit), ptx_int(15));
    PtxValue *bytes = &n.bytes[i / 8];
    *bytes = ptx_or(p, *bytes, ptx_shl(p, pool_scatter_bits(p, nibble), i % 8));
  }
  return n;
}

/* Bits of the group among those of the word that the thread, or all that share its unit, stores. */
static void gather(Pool *pool, const PoolGroup *group, PtxValue bit, PtxValue *words) {
  Ptx *p = &pool->k->ptx;
  PtxValue bytes = pool_packed(p, group->stored);
  for (int i = 0; i < pool->out.type.bits; i++) {
    PtxValue bits = ptx_2(p, "shl.b32", pool_gather_bits(p, bytes, i), bit);
    ptx_assign(p, words[i], ptx_or(p, words[i], bits));
  }
}

static void store_gathered(Pool *pool, PtxValue *words) {
  Ptx *p = &pool->k->ptx;
  for (int i = 0; i < pool->out.type.bits; i++)
    for (int distance = 1; distance < (int)pool->plan.shares; distance *= 2)
      words[i] = ptx_or(p, words[i], pool_exchange(p, words[i], distance));
  store_unit(pool, words);
}

/* Group after group of four bits; threads that share a unit take turns. */
static void finish_steps(Pool *pool, Flow (*number)(Pool *, int, void *)) {
  Ptx *p = &pool->k->ptx;
  bool planes = pool->out.type.layout.kind == LAYOUT_PLANES;
  PtxValue words[8];
  for (int i = 0; i < 8 && planes; i++) words[i] = ptx_variable(p, ptx_int(0));
  bool turns = pool->plan.shares == 1;
  PtxValue index = turns ? ptx_for(p, ptx_int(0), ptx_int(8), ptx_int(1)) : pool->share;
  PtxValue bit = ptx_shl(p, index, 2);
  Numbers n = numbers_at(pool, bit);
  PtxValue first = ptx_add(p, ptx_shl(p, pool->unit, 5), bit);
  PoolGroup group = {.channel = channel_of_bit(p, pool->in.type.layout, first), .offsets = offsets};
  pool_group(pool, &group, number, &n);
  if (planes)
    gather(pool, &group, bit, words);
  else
    pool_store_group(pool, &group);
  if (turns) ptx_end_for(p);
  if (planes) store_gathered(pool, words);
}

static void finish_max_steps(Pool *pool) {
  finish_steps(pool, stored_number);
}

static void finish_sum(Pool *pool) {
  finish_steps(pool, level_sum);
}

const PoolForm pool_max_planes = {begin_max, take_max, join_max, finish_max};
const PoolForm pool_max_planes_steps = {begin_max, take_max, join_max, finish_max_steps};
const PoolForm pool_sum_planes = {begin_sum, take_sum, join_sum, finish_sum};
