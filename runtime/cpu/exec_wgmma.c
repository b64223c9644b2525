/* wgmma: products of a group of four warps. Warp i of the group computes rows 16i ... 16i + 15 by itself when it comes
 * to the instruction; the accumulators count as not there, and fragments of A as in use, until wgmma.wait_group covers
 * them.
 *
 * Operands in shared memory are described by 64 bits: start address / 16 in bits 0-13, leading byte offset / 16 in
 * 16-29, stride byte offset / 16 in 32-45, swizzle in 62-63 (0 none, 1: 128, 2: 64, 3: 32 bytes). Both are K-major; one
 * instruction takes 32 bytes along k of each row, in two pieces of 16. Without swizzle a core matrix is 8 rows of 16
 * bytes, the second piece lies a leading offset behind the first, the next 8 rows a stride offset. With it rows are
 * 128 (64, 32) bytes apart and the pieces are permuted by the address. Offsets are never negative: a sum past the
 * block's shared memory is an access out of bounds there and here. */
#include "race.h"
#include "tensor_map.h"

enum { ROWS = 16, MAX_COLUMNS = 256, K_BYTES = 32, DESCRIPTOR_A = 0, DESCRIPTOR_B = 1 };

typedef struct Descriptor {
  uint32_t start, leading, stride;
  TensorSwizzle swizzle;
} Descriptor;

static Descriptor read_descriptor(const Warp *w, const Inst *in, int k) {
  static const TensorSwizzle swizzle_of[] = {SWIZZLE_NONE, SWIZZLE_128, SWIZZLE_64, SWIZZLE_32};
  uint64_t bits = lanes64(w, in, k)[0];
  return (Descriptor){.start = (uint32_t)(bits & 0x3fff) << 4,
                      .leading = (uint32_t)(bits >> 16 & 0x3fff) << 4,
                      .stride = (uint32_t)(bits >> 32 & 0x3fff) << 4,
                      .swizzle = swizzle_of[bits >> 62]};
}

static uint32_t piece_address(const Descriptor *d, uint32_t row, uint32_t piece) {
  static const uint8_t pitch[] = {[SWIZZLE_NONE] = 16, [SWIZZLE_32] = 32, [SWIZZLE_64] = 64, [SWIZZLE_128] = 128};
  uint32_t along_k = piece * (d->swizzle == SWIZZLE_NONE ? d->leading : 16);
  uint32_t linear = d->start + row / 8 * d->stride + row % 8 * pitch[d->swizzle] + along_k;
  return swizzled_address(linear, d->swizzle);
}

/* 16 bytes of shared memory with nothing to object to; NULL where access_bytes has to look closer. */
static inline const uint8_t *plain_piece(const Warp *w, uint32_t address) {
  const Block *block = w->block;
  uint16_t written;
  if (address % 16 || block->shared.size < 16 || address > block->shared.size - 16) return NULL;
  memcpy(&written, block->shared.written + address / 8, sizeof written);
  if (written != 0xffff || block->pending_granules || block->race) return NULL;
  return block->shared.bytes + address;
}

/* Rows first ... first + count - 1 of an operand, 32 bytes each. */
static bool read_rows(Warp *w, const Inst *in, int k, uint32_t first, uint32_t count, uint8_t rows[][K_BYTES]) {
  Descriptor d = read_descriptor(w, in, k);
  AccessPlan plan = {.space = SPACE_SHARED, .use = ACCESS_READ, .agent = AGENT_PRODUCT, .bytes = 16, .align = 16};
  for (uint32_t row = 0; row < count; row++)
    for (uint32_t piece = 0; piece < 2; piece++) {
      uint32_t address = piece_address(&d, first + row, piece);
      const uint8_t *at = plain_piece(w, address);
      if (!at) at = access_bytes(w, in, 0, &plan, address);
      if (!at) return false;
      memcpy(rows[row] + 16 * piece, at, 16);
    }
  return true;
}

/* The fragment of A in registers: as mma.m16n8k256 and m16n8k32 have it. */
static void rows_from_registers(const Warp *w, const Inst *in, uint8_t rows[ROWS][K_BYTES]) {
  for (int r = 0; r < 4; r++)
    for (int g = 0; g < 8; g++) memcpy(rows[g + 8 * (r & 1)] + 16 * (r >> 1), lanes32(w, in, r) + 4 * g, 16);
}

typedef struct Product {
  uint32_t columns;
  bool a_signed, b_signed;
  uint8_t a[ROWS][K_BYTES], b[MAX_COLUMNS][K_BYTES];
  int32_t sum[ROWS][MAX_COLUMNS];
} Product;

static void multiply_bits(Product *p) {
  for (uint32_t column = 0; column < p->columns; column++) {
    uint64_t y[4];
    memcpy(y, p->b[column], sizeof y);
    for (int row = 0; row < ROWS; row++) {
      uint64_t x[4];
      memcpy(x, p->a[row], sizeof x);
      p->sum[row][column] = __builtin_popcountll(x[0] & y[0]) + __builtin_popcountll(x[1] & y[1]) +
                            __builtin_popcountll(x[2] & y[2]) + __builtin_popcountll(x[3] & y[3]);
    }
  }
}

static void multiply_bytes(Product *p) {
  int16_t transposed[K_BYTES][MAX_COLUMNS];
  for (uint32_t column = 0; column < p->columns; column++)
    for (int k = 0; k < K_BYTES; k++)
      transposed[k][column] = p->b_signed ? (int16_t)(int8_t)p->b[column][k] : (int16_t)p->b[column][k];
  for (int row = 0; row < ROWS; row++) {
    int32_t *sum = p->sum[row];
    memset(sum, 0, sizeof p->sum[row]);
    for (int k = 0; k < K_BYTES; k++) {
      int32_t x = p->a_signed ? (int8_t)p->a[row][k] : p->a[row][k];
      for (uint32_t column = 0; column < p->columns; column++) sum[column] += x * transposed[k][column];
    }
  }
}

static uint32_t accumulate(const Inst *in, uint32_t c, int32_t sum) {
  if (in->mod[MOD_SAT] == MOD_NONE) return c + (uint32_t)sum;
  int64_t exact = (int64_t)(int32_t)c + sum;
  return (uint32_t)(int32_t)(exact > INT32_MAX ? INT32_MAX : exact < INT32_MIN ? INT32_MIN : exact);
}

/* Register i of lane 4g + t: row g + 8 * (i / 2 % 2), column 8 * (i / 4) + 2t + i % 2. Without `adds` the old values do
 * not count. */
static void keep_product(Warp *w, const Inst *in, const Product *p, bool adds) {
  for (uint32_t i = 0; i < in->list_count; i++) {
    uint32_t *d = (uint32_t *)(w->registers + in->list[i]);
    EACH_LANE {
      int32_t sum = p->sum[(lane >> 2) + 8 * (i >> 1 & 1)][8 * (i >> 2) + 2 * ((uint32_t)lane & 3) + (i & 1)];
      d[lane] = accumulate(in, adds ? d[lane] : 0, sum);
    }
  }
}

/* The product counts as under way, for its accumulators and for A's registers. */
static void begin_product(Warp *w, const Inst *in) {
  uint32_t group = w->products_committed + 1, count = in->list_count + wgmma_fragment_registers(in);
  if (!w->block->launch->check) return;
  for (uint32_t i = 0; i < count; i++) {
    if (in->list_index[i] == NO_NUMBER) continue;
    w->accumulating_count += !w->accumulating[in->list_index[i]];
    w->accumulating[in->list_index[i]] = group;
  }
}

static bool check_group(Warp *w, const Inst *in, uint32_t mask) {
  if (in->list_count != in->vector * 4u) {
    fault_raise(w, in, first_lane(mask), FAULT_INSTRUCTION, "%u accumulators for %u columns: %u are needed",
                in->list_count, in->vector * 8u, in->vector * 4u);
    return false;
  }
  if (mask == FULL_MASK && w->index / 4 * 4 + 4 <= w->block->warp_count) return true;
  fault_raise(w, in, first_lane(mask), FAULT_FAILED, "a wgmma by a part of a group of four warps");
  return false;
}

static void run_product(Warp *w, const Inst *in, uint32_t mask, bool bits, bool registers) {
  Product p;
  if (!check_group(w, in, mask)) return;
  p.columns = in->vector * 8u;
  p.a_signed = in->mod[MOD_TYPE] == TYPE_S8;
  p.b_signed = in->mod[MOD_TYPE2] == TYPE_S8;
  if (registers)
    rows_from_registers(w, in, p.a);
  else if (!read_rows(w, in, DESCRIPTOR_A, w->index % 4 * ROWS, ROWS, p.a))
    return;
  if (!read_rows(w, in, registers ? 4 : DESCRIPTOR_B, 0, p.columns, p.b)) return;
  if (bits)
    multiply_bits(&p);
  else
    multiply_bytes(&p);
  keep_product(w, in, &p, predicate(w, in, registers ? 5 : 2) & 1);
  begin_product(w, in);
}

EXEC(wgmma_bits) {
  run_product(w, in, mask, true, false);
}
EXEC(wgmma_bits_registers) {
  run_product(w, in, mask, true, true);
}
EXEC(wgmma_bytes) {
  run_product(w, in, mask, false, false);
}
EXEC(wgmma_bytes_registers) {
  run_product(w, in, mask, false, true);
}

EXEC(wgmma_commit) {
  (void)in, (void)mask;
  w->products_committed++;
  if (w->block->race) race_products_commit(w);
}

EXEC(wgmma_wait) {
  uint32_t keep = uniform32(w, in, 0, mask), count = w->block->kernel->accumulator_count;
  if (w->block->race) race_products_wait(w, keep);
  for (uint32_t i = 0; w->accumulating_count && i < count; i++) {
    if (!w->accumulating[i] || (uint64_t)w->accumulating[i] + keep > w->products_committed) continue;
    w->accumulating[i] = 0;
    w->accumulating_count--;
  }
}
