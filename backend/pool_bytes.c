/* Pooling of bytes: 16 channels a thread, four words.
 *
 * Maxima compare whole words, or halves of them where the target has such an instruction, in which the byte that counts
 * stands on top: what is below only decides between equals.
 *
 * Sums: dp4a with a one in place of a channel.
 */
#include "pool_kernel.h"

enum { WORDS = POOL_UNIT_BYTES / 4, HALVES_FROM = 90 };

static bool is_signed(const Pool *pool) {
  return pool->in.type.kind != ELEM_UINT;
}

/* Four bytes below all others. */
static int32_t least_bytes(const Pool *pool) {
  return is_signed(pool) ? (int32_t)UINT32_C(0x80808080) : 0;
}

/* Whether word w of the unit is one of the tensor's. */
static PtxValue has_word(Pool *pool, const Tensor *t, int w) {
  Ptx *p = &pool->k->ptx;
  int last = ((int)pool->plan.units - 1) * WORDS + w, all = (int)t->type.layout.pitch / 4;
  if (last < all || pool->plan.units == 1) return ptx_int(last < all);
  return ptx_setp(p, "lt.u32", ptx_mad(p, pool->unit, ptx_int(WORDS), ptx_int(w)), ptx_int(all));
}

static void load_words(Pool *pool, Tap tap, int32_t other, PtxValue *words) {
  Ptx *p = &pool->k->ptx;
  int vector = pool_vector(pool->in.type.layout.pitch / 4);
  PtxValue at = unit_address(p, &pool->in, tap.position, pool->unit, POOL_UNIT_BYTES);
  for (int w = 0; w < WORDS; w += vector) {
    PtxValue there = pool_both(p, has_word(pool, &pool->in, w), tap.inside);
    pool_load(p, there, at, 4 * w, vector, other, words + w);
  }
}

/* --- maxima --- */

/* Registers a word: bytes of one word that go to the top of as many registers. */
static int registers_a_word(const Pool *pool) {
  return pool->k->emitter->target->arch >= HALVES_FROM ? 2 : 4;
}

static void begin_max(Pool *pool) {
  pool->acc_count = WORDS * registers_a_word(pool);
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = ptx_int(least_bytes(pool));
}

static void join_max(Pool *pool, const PtxValue *other) {
  const char *word = is_signed(pool) ? "max.s32" : "max.u32", *half = is_signed(pool) ? "max.s16x2" : "max.u16x2";
  const char *max = registers_a_word(pool) == 2 ? half : word;
  for (int i = 0; i < pool->acc_count; i++) {
    bool is_new = pool->acc[i].kind == OPERAND_IMMEDIATE, is_nothing = other[i].kind == OPERAND_IMMEDIATE;
    if (is_new) pool->acc[i] = other[i];
    if (!is_new && !is_nothing) pool->acc[i] = ptx_2(&pool->k->ptx, max, pool->acc[i], other[i]);
  }
}

static void take_max(Pool *pool, Tap tap) {
  PtxValue words[WORDS], spread[POOL_ACCUMULATORS];
  int registers = registers_a_word(pool);
  load_words(pool, tap, least_bytes(pool), words);
  for (int i = 0; i < pool->acc_count; i++) {
    int below = registers - 1 - i % registers;
    spread[i] = ptx_shl(&pool->k->ptx, words[i / registers], 8 * below);
  }
  join_max(pool, spread);
}

/* The four bytes of word w. */
static PtxValue joined_word(Pool *pool, int w) {
  Ptx *p = &pool->k->ptx;
  const PtxValue *from = pool->acc + w * registers_a_word(pool);
  if (registers_a_word(pool) == 2) return pool_permute(p, from[0], from[1], 0x7351);
  PtxValue low = pool_permute(p, from[0], from[1], 0x0073), high = pool_permute(p, from[2], from[3], 0x0073);
  return pool_permute(p, low, high, 0x5410);
}

static Flow greatest(Pool *pool, int i, void *user) {
  const PtxValue *word = user;
  PtxValue q = ptx_3(&pool->k->ptx, is_signed(pool) ? "bfe.s32" : "bfe.u32", *word, ptx_int(8 * i), ptx_int(8));
  return (Flow){pool->k->node->main_type, q, 0, 0};
}

/* --- sums --- */

static void begin_sum(Pool *pool) {
  pool->acc_count = POOL_UNIT_BYTES;
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = ptx_int(0);
}

static void take_sum(Pool *pool, Tap tap) {
  Ptx *p = &pool->k->ptx;
  PtxValue words[WORDS];
  load_words(pool, tap, 0, words);
  for (int i = 0; i < POOL_UNIT_BYTES; i++) {
    if (words[i / 4].kind == OPERAND_IMMEDIATE) continue;
    PtxValue one = ptx_int((int64_t)1 << 8 * (i % 4));
    pool->acc[i] = ptx_3(p, is_signed(pool) ? "dp4a.s32.s32" : "dp4a.u32.u32", words[i / 4], one, pool->acc[i]);
  }
}

static void join_sum(Pool *pool, const PtxValue *other) {
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = ptx_add(&pool->k->ptx, pool->acc[i], other[i]);
}

static Flow level_sum(Pool *pool, int i, void *user) {
  PtxValue sum = ((const PtxValue *)user)[i];
  if (sum.kind == OPERAND_IMMEDIATE) sum = ptx_variable(&pool->k->ptx, sum);
  return (Flow){pool->k->node->main_type, pool_level_sum(pool, sum), 0, 0};
}

/* --- results --- */

/* Channels 4g .. 4g + 3 of the unit. */
static PoolGroup finish_group(Pool *pool, int g) {
  static const int offsets[POOL_CHANNELS] = {0, 1, 2, 3};
  Ptx *p = &pool->k->ptx;
  PoolGroup group = {.channel = ptx_mad(p, pool->unit, ptx_int(POOL_UNIT_BYTES), ptx_int(4 * g)), .offsets = offsets};
  if (pool->k->node->op == OP_AVGPOOL) {
    pool_group(pool, &group, level_sum, pool->acc + 4 * g);
  } else {
    PtxValue word = joined_word(pool, g);
    pool_group(pool, &group, greatest, &word);
  }
  return group;
}

/* The unit is half a word of planes: in each of its four runs the upper or lower four bits. The thread of the other
 * half is `shares` lanes away. */
static PtxValue word_of_plane(Pool *pool, const PtxValue runs[4], int plane, PtxValue shift) {
  Ptx *p = &pool->k->ptx;
  PtxValue word = ptx_int(0);
  for (int r = 0; r < 4; r++) word = ptx_or(p, word, ptx_shl(p, pool_gather_bits(p, runs[r], plane), 8 * r));
  word = ptx_2(p, "shl.b32", word, shift);
  return ptx_or(p, word, pool_exchange(p, word, (int)pool->plan.shares));
}

/* Run r of a block has the bytes r of its words of 32 channels side by side: of each half of the unit's word, two. */
static void store_runs(Pool *pool, PtxValue word, PtxValue half, PtxValue address, int64_t offset) {
  Ptx *p = &pool->k->ptx;
  int in_block = pool->out.type.layout.block / 32;
  PtxValue first = pool_is_first(pool);
  PtxValue lower = pool_both(p, first, ptx_setp(p, "eq.u32", half, ptx_int(0)));
  if (in_block == 1) {
    pool_store(p, lower, address, offset, 1, &word);
    return;
  }
  PtxValue upper = pool_both(p, first, ptx_setp(p, "eq.u32", half, ptx_int(1)));
  for (int r = 0; r < 4; r++)
    ptx_store_if(p, r < 2 ? lower : upper, "global.u8", address, offset + r * in_block, ptx_shr(p, word, 8 * r));
}

static void store_planes(Pool *pool, const PtxValue packed[WORDS]) {
  Ptx *p = &pool->k->ptx;
  const Type *t = &pool->out.type;
  int in_block = t->layout.block / 32;
  static const struct { int word, selector; } run[4] = {{0, 0x5410}, {0, 0x7632}, {1, 0x5410}, {1, 0x7632}};
  PtxValue runs[4];
  for (int r = 0; r < 4; r++) runs[r] = pool_permute(p, packed[run[r].word], packed[run[r].word + 2], run[r].selector);
  PtxValue half = ptx_and(p, pool->unit, ptx_int(1)), shift = ptx_shl(p, half, 2), word = ptx_shr(p, pool->unit, 1);
  PtxValue block = ptx_div(p, word, ptx_int(in_block)), in = ptx_rem(p, word, ptx_int(in_block));
  PtxValue at = unit_address(p, &pool->out, pool->position, block, 4 * in_block);
  if (in_block > 1) at = ptx_address(p, at, in, 1);
  int64_t plane_bytes = (int64_t)layout_strides(t).plane;
  for (int i = 0; i < t->bits; i++) store_runs(pool, word_of_plane(pool, runs, i, shift), half, at, i * plane_bytes);
}

static void store_words(Pool *pool, const PtxValue packed[WORDS]) {
  Ptx *p = &pool->k->ptx;
  int vector = pool_vector(pool->out.type.layout.pitch / 4);
  PtxValue at = unit_address(p, &pool->out, pool->position, pool->unit, POOL_UNIT_BYTES), first = pool_is_first(pool);
  for (int w = 0; w < WORDS; w += vector)
    pool_store(p, pool_both(p, has_word(pool, &pool->out, w), first), at, 4 * w, vector, packed + w);
}

static void finish(Pool *pool) {
  PtxValue packed[WORDS];
  const Layout *to = &pool->out.type.layout;
  bool planes = to->kind == LAYOUT_PLANES, packs = planes || (to->kind == LAYOUT_BYTES && to->pitch % 4 == 0);
  for (int g = 0; g < WORDS; g++) {
    PoolGroup group = finish_group(pool, g);
    if (packs)
      packed[g] = pool_packed(&pool->k->ptx, group.stored);
    else
      pool_store_group(pool, &group);
  }
  if (packs) (planes ? store_planes : store_words)(pool, packed);
}

const PoolForm pool_max_bytes = {begin_max, take_max, join_max, finish};
const PoolForm pool_sum_bytes = {begin_sum, take_sum, join_sum, finish};
