/* mma.sync: one-bit and one-byte products of fragments. With lane = 4g + t a register of A or B holds, for row (column)
 * g, the 32 bits or 4 bytes number t of a block of 128 bits along k; so the lanes 4g ... 4g + 3 of one register are 16
 * consecutive bytes of row g, and no fragment needs shuffling. Register r of A: rows 8 * (r % R) + g, block r / R along
 * k, R blocks of 8 rows; register r of B: column g, block r; register i of C: row 8 * (i / 2) + g, column 2t + i % 2.
 */
#include "exec.h"

enum { COLUMNS = 8, MAX_ROWS = 16 };

/* Operands of a row "{=r}D,{r}A,{r}B,{r}D". */
typedef struct Shape {
  int row_blocks; /* of 8 rows: 1 or 2 */
  int k_blocks;   /* of 128 bits: 1 or 2 */
} Shape;

static inline const uint32_t *fragment_a(const Warp *w, const Inst *in, Shape s, int row_block, int k_block) {
  return lanes32(w, in, 2 * s.row_blocks + row_block + s.row_blocks * k_block);
}

static inline const uint32_t *fragment_b(const Warp *w, const Inst *in, Shape s, int k_block) {
  return lanes32(w, in, 2 * s.row_blocks + s.row_blocks * s.k_blocks + k_block);
}

static inline const uint32_t *fragment_c(const Warp *w, const Inst *in, Shape s, int i) {
  return lanes32(w, in, 2 * s.row_blocks + s.row_blocks * s.k_blocks + s.k_blocks + i);
}

static inline bool whole_warp(Warp *w, const Inst *in, uint32_t mask) {
  if (mask == FULL_MASK) return true;
  fault_raise(w, in, first_lane(mask), FAULT_FAILED, "a tensor-core instruction by a part of a warp (lanes 0x%08x)",
              mask);
  return false;
}

static inline int32_t accumulate(const Inst *in, uint32_t c, int32_t sum) {
  if (in->mod[MOD_SAT] == MOD_NONE) return (int32_t)(c + (uint32_t)sum);
  int64_t exact = (int64_t)(int32_t)c + sum;
  return (int32_t)(exact > INT32_MAX ? INT32_MAX : exact < INT32_MIN ? INT32_MIN : exact);
}

/* Adds C and writes D; D may be C. */
static inline void keep_sums(Warp *w, const Inst *in, Shape s, int32_t sum[MAX_ROWS][COLUMNS]) {
  for (int i = 0; i < 2 * s.row_blocks; i++) {
    const uint32_t *c = fragment_c(w, in, s, i);
    uint32_t t[LANES];
    EACH_LANE t[lane] = (uint32_t)accumulate(in, c[lane], sum[8 * (i >> 1) + (lane >> 2)][2 * (lane & 3) + (i & 1)]);
    keep32(w, in, i, t, FULL_MASK);
  }
}

/* ---- one bit ---- */

static inline int bits_of_block(const uint32_t *a, const uint32_t *b, bool exclusive) {
  uint64_t x[2], y[2];
  memcpy(x, a, sizeof x);
  memcpy(y, b, sizeof y);
  if (exclusive) return __builtin_popcountll(x[0] ^ y[0]) + __builtin_popcountll(x[1] ^ y[1]);
  return __builtin_popcountll(x[0] & y[0]) + __builtin_popcountll(x[1] & y[1]);
}

static inline void mma_bits(Warp *w, const Inst *in, uint32_t mask, Shape s, bool exclusive) {
  int32_t sum[MAX_ROWS][COLUMNS] = {{0}};
  if (!whole_warp(w, in, mask)) return;
  for (int k = 0; k < s.k_blocks; k++) {
    const uint32_t *b = fragment_b(w, in, s, k);
    for (int row = 0; row < 8 * s.row_blocks; row++) {
      const uint32_t *a = fragment_a(w, in, s, row >> 3, k) + 4 * (row & 7);
      for (int column = 0; column < COLUMNS; column++) sum[row][column] += bits_of_block(a, b + 4 * column, exclusive);
    }
  }
  keep_sums(w, in, s, sum);
}

enum { BITS_AND, BITS_XOR };

#define MMA_BITS(name, rows, ks)                                                                                       \
  EXEC(name) {                                                                                                         \
    if (in->mod[MOD_MODE] == BITS_XOR)                                                                                 \
      mma_bits(w, in, mask, (Shape){rows, ks}, true);                                                                  \
    else                                                                                                               \
      mma_bits(w, in, mask, (Shape){rows, ks}, false);                                                                 \
  }
MMA_BITS(mma_m16n8k256_b1, 2, 2)
MMA_BITS(mma_m16n8k128_b1, 2, 1)
MMA_BITS(mma_m8n8k128_b1, 1, 1)

/* ---- bytes ---- */

/* Bytes of a register's lanes as 16-bit numbers. */
static inline void widen(const uint32_t *lanes, bool is_signed, int16_t out[4 * LANES]) {
  const uint8_t *bytes = (const uint8_t *)lanes;
  if (is_signed)
    for (int i = 0; i < 4 * LANES; i++) out[i] = (int8_t)bytes[i];
  else
    for (int i = 0; i < 4 * LANES; i++) out[i] = bytes[i];
}

static inline void mma_bytes(Warp *w, const Inst *in, uint32_t mask, Shape s) {
  int32_t sum[MAX_ROWS][COLUMNS] = {{0}};
  bool a_signed = in->mod[MOD_TYPE] == TYPE_S8, b_signed = in->mod[MOD_TYPE2] == TYPE_S8;
  if (!whole_warp(w, in, mask)) return;
  for (int k = 0; k < s.k_blocks; k++) {
    int16_t b[4 * LANES], transposed[16][COLUMNS];
    widen(fragment_b(w, in, s, k), b_signed, b);
    for (int i = 0; i < 16; i++)
      for (int column = 0; column < COLUMNS; column++) transposed[i][column] = b[16 * column + i];
    for (int block = 0; block < s.row_blocks; block++) {
      int16_t a[4 * LANES];
      widen(fragment_a(w, in, s, block, k), a_signed, a);
      for (int row = 0; row < 8; row++)
        for (int i = 0; i < 16; i++)
          for (int column = 0; column < COLUMNS; column++)
            sum[8 * block + row][column] += (int32_t)a[16 * row + i] * transposed[i][column];
    }
  }
  keep_sums(w, in, s, sum);
}

EXEC(mma_m16n8k32_s8) {
  mma_bytes(w, in, mask, (Shape){2, 2});
}
EXEC(mma_m16n8k16_s8) {
  mma_bytes(w, in, mask, (Shape){2, 1});
}
EXEC(mma_m8n8k16_s8) {
  mma_bytes(w, in, mask, (Shape){1, 1});
}
