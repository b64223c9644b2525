/* From what a pooling kernel has found for a few channels to its result: the steps of the layer, and stores to bytes
 * and words. Channels past the last and positions that are no pixel become zeros, which is what layouts keep there. */
#include "pool_kernel.h"

static bool has_padding_channels(const Pool *pool) {
  uint32_t unit = pool->plan.words ? 32 * pool->plan.words : POOL_UNIT_BYTES;
  if (pool->plan.straight) return false; /* zeros of the operand become those of the result */
  return pool->plan.units * unit > (uint32_t)pool->out.image.channels;
}

static PtxValue is_channel(Pool *pool, PtxValue channel) {
  if (!has_padding_channels(pool)) return ptx_int(1);
  return ptx_setp(&pool->k->ptx, "lt.u32", channel, ptx_int(pool->out.image.channels));
}

/* Steps may read another tensor at (pixel, channel); where there is none they read its first. */
void pool_group(Pool *pool, PoolGroup *group, Flow (*number)(Pool *pool, int i, void *user), void *user) {
  Ptx *p = &pool->k->ptx;
  PtxValue is_pixel = pool->place.is_pixel, pixel = ptx_select(p, is_pixel, pool->place.pixel, ptx_int(0));
  epilogue_at(&pool->epilogue, group->channel);
  for (int i = 0; i < POOL_CHANNELS; i++) {
    PtxValue channel = ptx_add(p, group->channel, ptx_int(group->offsets[i])), exists = is_channel(pool, channel);
    PtxValue read = ptx_select(p, exists, channel, ptx_int(0));
    epilogue_load(&pool->epilogue, group->offsets[i]);
    Flow f = epilogue_apply(&pool->epilogue, number(pool, i, user), pixel, read);
    PtxValue stored = flow_stored(p, f, &pool->out.type), there = pool_both(p, exists, is_pixel);
    bool zeros = pool->out.type.layout.kind != LAYOUT_WORDS;
    group->stored[i] = zeros ? ptx_select(p, there, stored, ptx_int(0)) : stored;
  }
}

PtxValue pool_packed(Ptx *p, const PtxValue stored[POOL_CHANNELS]) {
  PtxValue word = stored[0];
  for (int i = 1; i < POOL_CHANNELS; i++) {
    PtxValue with = ptx_new(p, CLASS_B32);
    ptx_raw(p, "bfi.b32 %s, %s, %s, %d, 8;", ptx_text(p, with), ptx_text(p, stored[i]), ptx_text(p, word), 8 * i);
    word = with;
  }
  return word;
}

/* Products whose terms meet in no bit: bit 8i goes to 28 + i, and bit i to 8i. */
PtxValue pool_gather_bits(Ptx *p, PtxValue bytes, int plane) {
  PtxValue bits = ptx_and(p, ptx_shr(p, bytes, plane), ptx_int(0x01010101));
  return ptx_shr(p, ptx_mul(p, bits, ptx_int(0x10204080)), 28);
}

PtxValue pool_scatter_bits(Ptx *p, PtxValue nibble) {
  return ptx_and(p, ptx_mul(p, nibble, ptx_int(0x00204081)), ptx_int(0x01010101));
}

/* Channels from the first of the group that lie side by side. */
static int run_of(const PoolGroup *group) {
  return group->offsets[2] == 2 ? 4 : 2;
}

/* The longest store that channels of a multiple of `run` allow where `pitch` are kept a pixel. */
static int vector_of(uint32_t pitch, int run) {
  int vector = pool_vector(pitch);
  return vector < run ? vector : run;
}

static PtxValue is_stored(Pool *pool, const PoolGroup *group, int i, PtxValue first) {
  Ptx *p = &pool->k->ptx;
  uint32_t unit = pool->plan.words ? 32 : POOL_UNIT_BYTES, pitch = pool->out.type.layout.pitch;
  if (pool->plan.units * unit <= pitch) return first;
  PtxValue channel = ptx_add(p, group->channel, ptx_int(group->offsets[i]));
  return pool_both(p, first, ptx_setp(p, "lt.u32", channel, ptx_int(pitch)));
}

static void store_words(Pool *pool, const PoolGroup *group, PtxValue first) {
  Ptx *p = &pool->k->ptx;
  bool real = pool->out.type.kind == ELEM_F32;
  int vector = vector_of(pool->out.type.layout.pitch, run_of(group));
  PtxValue words[POOL_CHANNELS], at = unit_address(p, &pool->out, pool->position, group->channel, 4);
  for (int i = 0; i < POOL_CHANNELS; i++)
    words[i] = real ? ptx_convert(p, "mov.b32", CLASS_B32, group->stored[i]) : group->stored[i];
  for (int i = 0; i < POOL_CHANNELS; i += vector)
    pool_store(p, is_stored(pool, group, i, first), at, 4 * group->offsets[i], vector, words + i);
}

static void store_bytes(Pool *pool, const PoolGroup *group, PtxValue first) {
  Ptx *p = &pool->k->ptx;
  static const char *const store[] = {NULL, "global.u8", "global.u16", NULL, "global.b32"};
  Layout l = pool->out.type.layout;
  bool ordered = layout_orders_channels(l); /* then pairs of channels lie side by side */
  int vector = ordered ? 2 : vector_of(l.pitch, run_of(group));
  PtxValue word = pool_packed(p, group->stored);
  for (int i = 0; i < POOL_CHANNELS; i += vector) {
    PtxValue at = ptx_add(p, group->channel, ptx_int(group->offsets[i]));
    if (ordered) at = bit_of_channel(p, l, at);
    at = unit_address(p, &pool->out, pool->position, at, 1);
    ptx_store_if(p, is_stored(pool, group, i, first), store[vector], at, 0, ptx_shr(p, word, 8 * i));
  }
}

void pool_store_group(Pool *pool, const PoolGroup *group) {
  bool by_turns = pool->plan.words != 0; /* then a group has one thread, not all that share the unit */
  PtxValue first = by_turns ? ptx_int(1) : pool_is_first(pool);
  if (pool->out.type.layout.kind == LAYOUT_BYTES)
    store_bytes(pool, group, first);
  else
    store_words(pool, group, first);
}
