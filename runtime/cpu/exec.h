/* What every handler uses: access to the lanes of operands and the loop over them.
 *
 * The exec_*.c files are compiled twice, with and without APNN_CPU_V3 (AVX2), so that each handler exists under two
 * names; exec_table.c collects them. A handler computes all 32 lanes into a local array, where that has no effect
 * outside, and keeps the lanes of `mask`. */
#ifndef CPU_EXEC_H
#define CPU_EXEC_H

#include "machine.h"

#include <string.h>

#ifdef APNN_CPU_V3
#define EXEC_NAME(name) exec_##name##_v3
#else
#define EXEC_NAME(name) exec_##name##_base
#endif
#define EXEC(name) void EXEC_NAME(name)(Warp * w, const Inst *in, uint32_t mask)

#define EACH_LANE for (int lane = 0; lane < LANES; lane++)

#define OP(name, operands, handler, kind) EXEC(handler);
#include "ptx_ops.def"

__extension__ typedef unsigned __int128 Wide;
__extension__ typedef __int128 SignedWide;

static inline uint32_t *lanes32(const Warp *w, const Inst *in, int k) {
  return (uint32_t *)(w->registers + in->o[k]);
}
static inline uint64_t *lanes64(const Warp *w, const Inst *in, int k) {
  return (uint64_t *)(w->registers + in->o[k]);
}

static inline void keep32(const Warp *w, const Inst *in, int k, const uint32_t t[LANES], uint32_t mask) {
  uint32_t *d = lanes32(w, in, k);
  if (mask == FULL_MASK)
    memcpy(d, t, LANES * sizeof *d);
  else
    EACH_LANE d[lane] = mask >> lane & 1 ? t[lane] : d[lane];
}

static inline void keep64(const Warp *w, const Inst *in, int k, const uint64_t t[LANES], uint32_t mask) {
  uint64_t *d = lanes64(w, in, k);
  if (mask == FULL_MASK)
    memcpy(d, t, LANES * sizeof *d);
  else
    EACH_LANE d[lane] = mask >> lane & 1 ? t[lane] : d[lane];
}

/* A predicate operand, negation applied. */
static inline uint32_t predicate(const Warp *w, const Inst *in, int k) {
  uint32_t bits;
  memcpy(&bits, w->registers + in->o[k], sizeof bits);
  return in->flip >> k & 1 ? ~bits : bits;
}

static inline void keep_predicate(const Warp *w, const Inst *in, int k, uint32_t bits, uint32_t mask) {
  uint32_t *d = (uint32_t *)(w->registers + in->o[k]);
  *d = (*d & ~mask) | (bits & mask);
}

static inline uint32_t first_lane(uint32_t mask) {
  return (uint32_t)__builtin_ctz(mask);
}

/* An operand that is the same in every lane (a constant of the instruction): the value of its first active lane. */
static inline uint32_t uniform32(const Warp *w, const Inst *in, int k, uint32_t mask) {
  return lanes32(w, in, k)[first_lane(mask)];
}

static inline float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline double as_double(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint64_t double_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

#endif
