/* What every handler uses: access to the lanes of operands and the loop over them.
 *
 * The exec_*.c files are compiled twice, with and without APNN_CPU_V3 (AVX2), so that each handler exists under two
 * names, with sanitizers only without; exec_table.c collects them. A handler computes all 32 lanes into a local array,
 * where that has no effect outside, and keeps the lanes of `mask`. */
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

/* In a build with AddressSanitizer, arithmetic has the lanes of an operand checked at once, as an access to them all,
 * instead of one by one. */
#ifdef APNN_CPU_CHECK_ROWS
void __asan_loadN(void *at, long bytes); /* as gcc has it built in */
#define CHECK_ROW(at, bytes) __asan_loadN((at), (long)(bytes))
#else
#define CHECK_ROW(at, bytes) ((void)(at), (void)(bytes))
#endif

static inline void *operand_row(const Warp *w, const Inst *in, int k, size_t bytes) {
  uint8_t *at = w->registers + in->o[k];
  CHECK_ROW(at, bytes);
  return at;
}

static inline uint32_t *lanes32(const Warp *w, const Inst *in, int k) {
  return operand_row(w, in, k, LANES * sizeof(uint32_t));
}
static inline uint64_t *lanes64(const Warp *w, const Inst *in, int k) {
  return operand_row(w, in, k, LANES * sizeof(uint64_t));
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
  memcpy(&bits, operand_row(w, in, k, sizeof bits), sizeof bits);
  return in->flip >> k & 1 ? ~bits : bits;
}

static inline void keep_predicate(const Warp *w, const Inst *in, int k, uint32_t bits, uint32_t mask) {
  uint32_t *d = operand_row(w, in, k, sizeof *d);
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
