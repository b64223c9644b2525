/* From the addresses of 32 lanes to bytes: bounds, alignment, "was it ever written", async copies in flight. The cost
 * of the checks is a few vector operations where all lanes stay in one region. */
#ifndef CPU_ACCESS_H
#define CPU_ACCESS_H

#include "exec.h"

typedef enum AccessUse { ACCESS_READ, ACCESS_WRITE, ACCESS_BOTH } AccessUse;

/* Who touches memory, for the race check: the warp as it goes on, or what it started. */
typedef enum AccessAgent { AGENT_WARP, AGENT_PRODUCT, AGENT_BULK } AccessAgent;

typedef struct Access {
  Region *region;
  uint32_t mask;          /* lanes served */
  uint64_t offset[LANES]; /* in the region; idle lanes repeat an active one's */
  bool contiguous;        /* all 32 lanes, one after the other */
} Access;

/* What an instruction does to memory through one of its memory operands. */
typedef struct AccessPlan {
  uint32_t operand; /* which of Inst.address */
  uint8_t space;
  AccessUse use;
  AccessAgent agent;
  uint32_t bytes, align;
  bool noncoherent; /* ld.global.nc in a launch that overlaps the one before */
} AccessPlan;

/* access.c: the ways that end in a fault. */
Region *access_region(Warp *w, const Inst *in, const AccessPlan *plan, uint32_t lane, uint64_t address);
void access_misaligned(Warp *w, const Inst *in, const Access *a, uint32_t bytes, AccessUse use);
void access_unwritten(Warp *w, const Inst *in, const Access *a, uint32_t bytes);
bool access_pending(Warp *w, const Inst *in, const Access *a, uint32_t bytes, AccessUse use);
bool access_overlapping(Warp *w, const Inst *in, const Access *a, const AccessPlan *plan);

/* One lane's access to any number of bytes (bulk copies, descriptors, barriers): all checks, then the place, or NULL
 * after a fault. Shared addresses are offsets. */
uint8_t *access_bytes(Warp *w, const Inst *in, uint32_t lane, const AccessPlan *plan, uint64_t address);

/* race.c: false after a fault. Only for a block with a Race. */
bool race_note(Warp *w, const Inst *in, const Access *a, const AccessPlan *plan);

/* Addresses as the lanes give them; shared ones moved to their window, a block's own without its tag. */
static inline void access_addresses(const Warp *w, const Inst *in, const AccessPlan *plan, uint64_t address[LANES]) {
  const Address *operand = &in->address[plan->operand];
  uint64_t add = (uint64_t)operand->displacement;
  if (operand->wide) {
    const uint64_t *base = (const uint64_t *)(w->registers + operand->base);
    EACH_LANE address[lane] = base[lane] + add;
  } else {
    const uint32_t *base = (const uint32_t *)(w->registers + operand->base);
    EACH_LANE address[lane] = (uint32_t)(base[lane] + (uint32_t)add);
  }
  if (plan->space != SPACE_SHARED) return;
  uint64_t tag = w->block->shared_tag;
  if (tag) EACH_LANE address[lane] ^= (address[lane] & ~(uint64_t)CLUSTER_OFFSET) == tag ? tag : 0;
  EACH_LANE address[lane] |= SHARED_WINDOW;
}

static inline bool access_all_written(const Access *a, uint32_t bytes) {
  const uint8_t *map = a->region->written;
  if (!map) return true;
  if (a->contiguous) return shadow_all_set(map, a->offset[0], (uint64_t)bytes * LANES);
  uint32_t wanted = bytes >= 8 ? 0xff : (1u << bytes) - 1, missing = 0;
  for (uint32_t part = 0; part < bytes; part += 8) EACH_LANE {
      uint64_t at = a->offset[lane] + part;
      missing |= ~((uint32_t)map[at >> 3] >> (at & 7)) & wanted;
    }
  return !missing;
}

static inline void access_mark(const Access *a, uint32_t bytes) {
  uint8_t *map = a->region->written;
  memory_note_store(a->region);
  if (!map) return;
  if (a->contiguous) {
    shadow_set(map, a->offset[0], (uint64_t)bytes * LANES);
    return;
  }
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint64_t at = a->offset[first_lane(rest)];
    uint32_t wanted = bytes >= 8 ? 0xff : ((1u << bytes) - 1) << (at & 7);
    if (bytes > 8 || (map[at >> 3] & wanted) != wanted) shadow_set(map, at, bytes);
  }
}

/* The lanes of `mask` that lie in one region with the first of them. False after a fault. */
static inline bool access_open(Warp *w, const Inst *in, const AccessPlan *plan, const uint64_t address[LANES],
                               uint32_t mask, Access *a) {
  Region **cached = &w->block->cache[in->cache + plan->operand];
  uint32_t bytes = plan->bytes;
  AccessUse use = plan->use;
  uint32_t first = first_lane(mask), inside = 0;
  Region *r = *cached;
  if (!r || r->size < bytes || address[first] - r->start > r->size - bytes) {
    r = access_region(w, in, plan, first, address[first]);
    if (!r) return false;
    *cached = r;
  }
  uint64_t start = r->start, last = r->size - bytes, fallback = address[first] - start;
  EACH_LANE {
    uint64_t offset = address[lane] - start;
    bool served = (mask >> lane & 1) && offset <= last;
    inside |= (uint32_t)served << lane;
    a->offset[lane] = served ? offset : fallback;
  }
  uint64_t low = 0, apart = 0;
  EACH_LANE low |= a->offset[lane], apart |= a->offset[lane] ^ (fallback + (uint64_t)lane * bytes);
  a->region = r;
  a->mask = inside;
  a->contiguous = inside == FULL_MASK && !apart;
  if (low & (plan->align - 1)) {
    access_misaligned(w, in, a, plan->align, use);
    return false;
  }
  if (((w->early & inside) || plan->noncoherent) && !access_overlapping(w, in, a, plan)) return false;
  if (use != ACCESS_WRITE && w->block->launch->check && !access_all_written(a, bytes)) {
    access_unwritten(w, in, a, bytes);
    return false;
  }
  if (r->pending && w->block->pending_granules && !access_pending(w, in, a, bytes, use)) return false;
  if (use != ACCESS_READ) access_mark(a, bytes);
  return !w->block->race || race_note(w, in, a, plan);
}

#endif
