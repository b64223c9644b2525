/* ld, st, atom, red, ldmatrix, cvta. Guarantees: no byte outside a live region is touched; every check of access.h
 * comes before the access. */
#include "access.h"

/* ---- ld ---- */

#define LOAD_AS(T, keep)                                                                                               \
  EACH_LANE {                                                                                                          \
    t[lane] = keep * (const T *)(bytes + a->offset[lane]);                                                             \
  }                                                                                                                    \
  return

/* One element of each lane, sign- or zero-extended to 64 bits. */
static inline void load_element(const Access *a, uint32_t skip, PtxType type, uint64_t t[LANES]) {
  const uint8_t *bytes = a->region->bytes + skip;
  switch (type) {
  case TYPE_S8:
    LOAD_AS(int8_t, (uint64_t)(int64_t));
  case TYPE_S16:
    LOAD_AS(int16_t, (uint64_t)(int64_t));
  case TYPE_S32:
    LOAD_AS(int32_t, (uint64_t)(int64_t));
  default:
    break;
  }
  switch (ptx_types[type].bytes) {
  case 1:
    LOAD_AS(uint8_t, (uint64_t));
  case 2:
    LOAD_AS(uint16_t, (uint64_t));
  case 4:
    LOAD_AS(uint32_t, (uint64_t));
  default:
    LOAD_AS(uint64_t, (uint64_t));
  }
}

static inline void load_words(const Access *a, uint32_t skip, uint32_t t[LANES]) {
  const uint8_t *bytes = a->region->bytes + skip;
  if (a->contiguous && !skip)
    memcpy(t, bytes + a->offset[0], LANES * sizeof *t);
  else
    EACH_LANE t[lane] = *(const uint32_t *)(bytes + a->offset[lane]);
}

static inline void keep_loaded(Warp *w, const Inst *in, int k, const uint64_t t[LANES], uint32_t mask) {
  if (in->data_class == REGISTER_64) {
    keep64(w, in, k, t, mask);
    return;
  }
  uint32_t narrow[LANES], held = in->data_class == REGISTER_16 ? 0xffff : FULL_MASK;
  EACH_LANE narrow[lane] = (uint32_t)t[lane] & held;
  keep32(w, in, k, narrow, mask);
}

static void load_lanes(Warp *w, const Inst *in, Access *a) {
  PtxType type = (PtxType)in->mod[MOD_TYPE];
  uint32_t bytes = ptx_types[type].bytes;
  for (uint32_t k = 0; k < in->vector; k++) {
    if (bytes == 4 && in->data_class == REGISTER_32) {
      uint32_t words[LANES];
      a->contiguous = a->contiguous && in->vector == 1;
      load_words(a, k * 4, words);
      keep32(w, in, (int)k, words, a->mask);
    } else {
      uint64_t t[LANES];
      load_element(a, k * bytes, type, t);
      keep_loaded(w, in, (int)k, t, a->mask);
    }
  }
}

static inline uint8_t space_of(const Inst *in) {
  return in->mod[MOD_SPACE] == MOD_NONE ? SPACE_GENERIC : in->mod[MOD_SPACE];
}

EXEC(ld) {
  uint64_t address[LANES];
  uint32_t bytes = ptx_types[in->mod[MOD_TYPE]].bytes * in->vector;
  AccessPlan plan = {.space = space_of(in), .use = ACCESS_READ, .bytes = bytes, .align = bytes};
  plan.noncoherent = in->mod[MOD_NONCOHERENT] != MOD_NONE && w->block->launch->overlaps;
  access_addresses(w, in, &plan, address);
  while (mask) {
    Access a;
    if (!access_open(w, in, &plan, address, mask, &a)) return;
    load_lanes(w, in, &a);
    mask &= ~a.mask;
  }
}

EXEC(ld_param) {
  uint32_t bytes = ptx_types[in->mod[MOD_TYPE]].bytes;
  uint64_t at = (uint64_t)in->address[0].displacement, end = w->block->kernel->function->param_bytes;
  if (at > end || (uint64_t)bytes * in->vector > end - at) {
    fault_raise(w, in, first_lane(mask), FAULT_ADDRESS, "read of byte %llu of the parameters, which are %llu bytes",
                (unsigned long long)at, (unsigned long long)end);
    return;
  }
  uint32_t unused = 64 - 8 * bytes;
  for (uint32_t k = 0; k < in->vector; k++) {
    uint64_t value = 0, t[LANES];
    memcpy(&value, w->block->launch->params + at + k * bytes, bytes);
    if (ptx_types[in->mod[MOD_TYPE]].kind == 's') value = (uint64_t)((int64_t)(value << unused) >> unused);
    EACH_LANE t[lane] = value;
    keep_loaded(w, in, (int)k, t, mask);
  }
}

/* ---- st ---- */

#define STORE_AS(T)                                                                                                    \
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {                                                              \
    uint32_t lane = first_lane(rest);                                                                                  \
    *(T *)(bytes + a->offset[lane]) = (T)(wide ? x64[lane] : x32[lane]);                                               \
  }                                                                                                                    \
  break

static void store_element(Warp *w, const Inst *in, const Access *a, int k, uint32_t size) {
  uint8_t *bytes = a->region->bytes + (uint32_t)k * size;
  bool wide = in->data_class == REGISTER_64;
  const uint32_t *x32 = lanes32(w, in, k);
  const uint64_t *x64 = lanes64(w, in, k);
  switch (size) {
  case 1:
    STORE_AS(uint8_t);
  case 2:
    STORE_AS(uint16_t);
  case 4:
    STORE_AS(uint32_t);
  default:
    STORE_AS(uint64_t);
  }
}

EXEC(st) {
  uint64_t address[LANES];
  uint32_t size = ptx_types[in->mod[MOD_TYPE]].bytes, bytes = size * in->vector;
  AccessPlan plan = {.space = space_of(in), .use = ACCESS_WRITE, .bytes = bytes, .align = bytes};
  access_addresses(w, in, &plan, address);
  while (mask) {
    Access a;
    if (!access_open(w, in, &plan, address, mask, &a)) return;
    if (a.contiguous && size == 4 && in->vector == 1 && in->data_class == REGISTER_32) {
      memcpy(a.region->bytes + a.offset[0], lanes32(w, in, 0), 4 * LANES);
    } else {
      for (uint32_t k = 0; k < in->vector; k++) store_element(w, in, &a, (int)k, size);
    }
    mask &= ~a.mask;
  }
}

/* ---- atom and red ---- */

typedef enum AtomicOp {
  ATOMIC_ADD,
  ATOMIC_MIN,
  ATOMIC_MAX,
  ATOMIC_AND,
  ATOMIC_OR,
  ATOMIC_XOR,
  ATOMIC_EXCH,
  ATOMIC_CAS,
  ATOMIC_INC,
  ATOMIC_DEC
} AtomicOp;

static uint32_t atomic_result32(uint8_t op, uint8_t type, uint32_t old, uint32_t b, uint32_t c) {
  bool is_signed = type == TYPE_S32;
  switch (op) {
  case ATOMIC_ADD: {
    if (type != TYPE_F32) return old + b;
    float sum = as_float(old) + as_float(b);
    return sum != sum ? 0x7fffffff : float_bits(sum);
  }
  case ATOMIC_MIN:
    return (is_signed ? (int32_t)b < (int32_t)old : b < old) ? b : old;
  case ATOMIC_MAX:
    return (is_signed ? (int32_t)b > (int32_t)old : b > old) ? b : old;
  case ATOMIC_AND:
    return old & b;
  case ATOMIC_OR:
    return old | b;
  case ATOMIC_XOR:
    return old ^ b;
  case ATOMIC_EXCH:
    return b;
  case ATOMIC_CAS:
    return old == b ? c : old;
  case ATOMIC_INC:
    return old >= b ? 0 : old + 1;
  default:
    return old == 0 || old > b ? b : old - 1;
  }
}

static uint64_t atomic_result64(uint8_t op, uint8_t type, uint64_t old, uint64_t b, uint64_t c) {
  bool is_signed = type == TYPE_S64;
  switch (op) {
  case ATOMIC_ADD:
    return type == TYPE_F64 ? double_bits(as_double(old) + as_double(b)) : old + b;
  case ATOMIC_MIN:
    return (is_signed ? (int64_t)b < (int64_t)old : b < old) ? b : old;
  case ATOMIC_MAX:
    return (is_signed ? (int64_t)b > (int64_t)old : b > old) ? b : old;
  case ATOMIC_AND:
    return old & b;
  case ATOMIC_OR:
    return old | b;
  case ATOMIC_XOR:
    return old ^ b;
  case ATOMIC_EXCH:
    return b;
  default:
    return old == b ? c : old;
  }
}

static uint32_t update32(uint32_t *at, const Inst *in, uint32_t b, uint32_t c) {
  uint32_t old = __atomic_load_n(at, __ATOMIC_SEQ_CST), next;
  do next = atomic_result32(in->mod[MOD_MODE], in->mod[MOD_TYPE], old, b, c);
  while (!__atomic_compare_exchange_n(at, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return old;
}

static uint64_t update64(uint64_t *at, const Inst *in, uint64_t b, uint64_t c) {
  uint64_t old = __atomic_load_n(at, __ATOMIC_SEQ_CST), next;
  do next = atomic_result64(in->mod[MOD_MODE], in->mod[MOD_TYPE], old, b, c);
  while (!__atomic_compare_exchange_n(at, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return old;
}

/* Lanes go in their order. `d` is the first lane array of the old values, or NULL for red. */
static void atomic_lanes32(const Inst *in, const Access *a, uint32_t *d, const uint32_t *b, const uint32_t *c) {
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    uint32_t *at = (uint32_t *)(a->region->bytes + a->offset[lane]);
    uint32_t old = update32(at, in, b[lane], c ? c[lane] : 0);
    if (d) d[lane] = old;
  }
}

static void atomic_lanes64(const Inst *in, const Access *a, uint64_t *d, const uint64_t *b, const uint64_t *c) {
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    uint64_t *at = (uint64_t *)(a->region->bytes + a->offset[lane]);
    uint64_t old = update64(at, in, b[lane], c ? c[lane] : 0);
    if (d) d[lane] = old;
  }
}

static void atomic_access(Warp *w, const Inst *in, uint32_t mask, int d, int b, int c) {
  uint64_t address[LANES];
  uint32_t bytes = ptx_types[in->mod[MOD_TYPE]].bytes;
  AccessPlan plan = {.space = space_of(in), .use = ACCESS_BOTH, .bytes = bytes, .align = bytes};
  access_addresses(w, in, &plan, address);
  while (mask) {
    Access a;
    if (!access_open(w, in, &plan, address, mask, &a)) return;
    if (bytes == 4) {
      uint32_t old[LANES], *kept = d < 0 ? NULL : old;
      atomic_lanes32(in, &a, kept, lanes32(w, in, b), c < 0 ? NULL : lanes32(w, in, c));
      if (kept) keep32(w, in, d, old, a.mask);
    } else {
      uint64_t old[LANES], *kept = d < 0 ? NULL : old;
      atomic_lanes64(in, &a, kept, lanes64(w, in, b), c < 0 ? NULL : lanes64(w, in, c));
      if (kept) keep64(w, in, d, old, a.mask);
    }
    mask &= ~a.mask;
  }
}

EXEC(atom) {
  atomic_access(w, in, mask, 0, 1, -1);
}
EXEC(atom_cas) {
  atomic_access(w, in, mask, 0, 1, 2);
}
EXEC(red) {
  atomic_access(w, in, mask, -1, 0, -1);
}

/* ---- ldmatrix ---- */

/* Matrix k has its rows at the addresses of lanes 8k ... 8k + 7. Lane 4g + t gets bytes 4t ... 4t + 3 of row g;
 * transposed, the elements (2t, g) and (2t + 1, g). */
static void keep_matrix(Warp *w, const Inst *in, const Access *a, int k) {
  uint32_t t[LANES];
  const uint8_t *bytes = a->region->bytes;
  const uint64_t *row = a->offset + 8 * k;
  EACH_LANE {
    int g = lane >> 2, q = lane & 3;
    if (in->mod[MOD_TRANSPOSE] == MOD_NONE) {
      t[lane] = *(const uint32_t *)(bytes + row[g] + 4 * q);
    } else {
      uint32_t low = *(const uint16_t *)(bytes + row[2 * q] + 2 * g);
      t[lane] = low | (uint32_t) * (const uint16_t *)(bytes + row[2 * q + 1] + 2 * g) << 16;
    }
  }
  keep32(w, in, k, t, FULL_MASK);
}

EXEC(ldmatrix) {
  uint64_t address[LANES];
  Access a;
  uint32_t rows = in->vector * 8u, row_mask = rows == 32 ? FULL_MASK : (1u << rows) - 1;
  if (mask != FULL_MASK) {
    fault_raise(w, in, first_lane(mask), FAULT_FAILED, "ldmatrix by a part of a warp (lanes 0x%08x)", mask);
    return;
  }
  AccessPlan plan = {.space = SPACE_SHARED, .use = ACCESS_READ, .bytes = 16, .align = 16};
  access_addresses(w, in, &plan, address);
  if (!access_open(w, in, &plan, address, row_mask, &a)) return;
  if (a.mask != row_mask) {
    uint32_t outside = first_lane(row_mask & ~a.mask);
    access_region(w, in, &plan, outside, address[outside]);
    return;
  }
  for (int k = 0; k < in->vector; k++) keep_matrix(w, in, &a, k);
}

/* ---- addresses between spaces ---- */

EXEC(cvta_shared) {
  const uint64_t *a = lanes64(w, in, 1);
  uint64_t t[LANES];
  EACH_LANE t[lane] = a[lane] | SHARED_WINDOW;
  keep64(w, in, 0, t, mask);
}

EXEC(cvta_to_shared) {
  const uint64_t *a = lanes64(w, in, 1);
  uint64_t t[LANES];
  EACH_LANE t[lane] = a[lane] & ~SHARED_WINDOW;
  keep64(w, in, 0, t, mask);
}
