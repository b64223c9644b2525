/* Gemv layers on bytes, the weights: from the bits that lie in memory to bytes, which have a weight on top and zeros
 * below, so that products with them are sums times a power of two. On top a weight needs no bits that repeat its sign,
 * and left shifts, which are products too, share out the work between two pipes of a multiprocessor.
 */
#include "gemv_kernel.h"

/* Word `at` of the stage's fragments (../ir/gemv.h). */
static PtxValue word_of(GemvKernel *s, uint32_t stage, uint32_t at) {
  Ptx *p = &s->k->ptx;
  uint32_t bits = s->s.byte_bits, in_word = 8 / bits, in_memory = at / in_word;
  PtxValue word = s->stages[stage][in_memory / 4].words[in_memory % 4];
  if (bits == 8) return word;
  uint32_t mask = (0xff00u >> bits & 0xff) * 0x01010101u, one = (0x80u >> bits) * 0x01010101u;
  word = ptx_shl(p, word, (int)(at % in_word * bits));
  if (!s->in_memory.is_odd) return ptx_and(p, word, ptx_int((int32_t)mask));
  PtxValue wide = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, %s, 0xea;", ptx_text(p, wide), ptx_text(p, word),
          ptx_text(p, ptx_int((int32_t)mask)), ptx_text(p, ptx_int((int32_t)one)));
  return wide;
}

Fragment gemv_widen(GemvKernel *s, uint32_t stage, uint32_t unit, int tile, int half) {
  Fragment f;
  uint32_t first = 4 * (unit * GEMV_UNIT_FRAGMENTS + 2 * (uint32_t)tile + (uint32_t)half);
  for (uint32_t i = 0; i < 4; i++) f.words[i] = word_of(s, stage, first + i);
  return f;
}

PtxValue gemv_narrow(GemvKernel *s, PtxValue sum) {
  uint32_t zeros = 8 - s->s.byte_bits;
  if (zeros && s->in_memory.is_odd) zeros--;
  return zeros ? ptx_2(&s->k->ptx, "shr.s32", sum, ptx_int(zeros)) : sum;
}
