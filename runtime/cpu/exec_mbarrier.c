/* mbarrier: an 8-byte object in shared memory that counts arrivals and bytes. Its bits on this machine:
 *   0 phase | 1..20 expected arrivals | 21..40 arrivals still missing | 41..62 bytes still missing, signed | 63
 * initialised A phase ends when nothing is missing. Guarantees: a barrier that was not initialised, or counts that
 * leave their range, are faults; waiting lanes let other warps run. */
#include "bulk.h"

enum { MAX_COUNT = (1 << 20) - 1 };

typedef struct Mbarrier {
  uint32_t phase, expected, missing;
  int32_t bytes;
} Mbarrier;

static uint64_t pack(Mbarrier m) {
  return (uint64_t)1 << 63 | (uint64_t)((uint32_t)m.bytes & 0x3fffff) << 41 | (uint64_t)m.missing << 21 |
         (uint64_t)m.expected << 1 | m.phase;
}

static Mbarrier unpack(uint64_t bits) {
  return (Mbarrier){.phase = bits & 1,
                    .expected = bits >> 1 & MAX_COUNT,
                    .missing = bits >> 21 & MAX_COUNT,
                    .bytes = (int32_t)((uint32_t)(bits >> 41) << 10) >> 10};
}

/* The object at an operand's address in one lane, or NULL after a fault. */
static uint64_t *object_at(Warp *w, const Inst *in, uint32_t lane, uint64_t address, bool fresh) {
  AccessPlan plan = {.space = SPACE_SHARED, .use = fresh ? ACCESS_WRITE : ACCESS_BOTH, .bytes = 8, .align = 8};
  uint64_t *object = (uint64_t *)access_bytes(w, in, lane, &plan, address);
  if (object && !fresh && !(*object >> 63)) {
    fault_raise(w, in, lane, FAULT_FAILED, "the mbarrier at shared address %llu is not initialised",
                (unsigned long long)(address & ~SHARED_WINDOW));
    return NULL;
  }
  return object;
}

static uint64_t address_of(const Warp *w, const Inst *in, uint32_t lane) {
  uint64_t address[LANES];
  AccessPlan plan = {.space = SPACE_SHARED};
  access_addresses(w, in, &plan, address);
  return address[lane];
}

/* The block of the cluster in whose shared memory an address lies; the address becomes the offset there. */
static Block *owner_of(const Warp *w, uint64_t *address) {
  uint64_t tag = (*address & ~SHARED_WINDOW) >> CLUSTER_SHIFT;
  *address &= CLUSTER_OFFSET;
  return tag ? w->block->cluster->blocks[tag - 1] : w->block;
}

static void keep_object(const Warp *w, uint64_t address, uint64_t *object, Mbarrier m) {
  Block *owner = owner_of(w, &address);
  if (!m.missing && !m.bytes) {
    m.phase ^= 1;
    m.missing = m.expected;
    owner->progress++;
    if (owner->race) race_mbarrier_end(owner, (uint32_t)address);
  }
  *object = pack(m);
}

EXEC(mbarrier_init) {
  const uint32_t *count = lanes32(w, in, 0);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (!count[lane] || count[lane] > MAX_COUNT) {
      fault_raise(w, in, lane, FAULT_INSTRUCTION, "an mbarrier for %u arrivals", count[lane]);
      return;
    }
    uint64_t *object = object_at(w, in, lane, address_of(w, in, lane), true);
    if (!object) return;
    *object = pack((Mbarrier){.expected = count[lane], .missing = count[lane]});
    if (w->block->race && !race_mbarrier_init(w, in, lane, (uint32_t)address_of(w, in, lane))) return;
  }
}

EXEC(mbarrier_inval) {
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint64_t *object = object_at(w, in, first_lane(rest), address_of(w, in, first_lane(rest)), false);
    if (!object) return;
    *object = 0;
  }
}

/* What an arrival changes. */
typedef struct Arrival {
  uint32_t arrivals, drops;
  int64_t bytes;
  bool releases; /* what the warp did before it comes before the phase's end */
} Arrival;

static void note_arrival(Warp *w, uint64_t address) {
  Block *owner = owner_of(w, &address);
  if (owner == w->block)
    race_mbarrier_arrive(w, (uint32_t)address);
  else
    race_mbarrier_arrive_from(owner, w->block->rank, (uint32_t)address);
}

static bool apply(Warp *w, const Inst *in, uint32_t lane, uint64_t address, Arrival change, uint64_t *before) {
  uint64_t *object = object_at(w, in, lane, address, false);
  if (!object) return false;
  Mbarrier m = unpack(*object);
  int64_t bytes = m.bytes + change.bytes;
  *before = *object;
  if (change.arrivals > m.missing || change.drops > m.expected || bytes > MAX_COUNT || bytes < -MAX_COUNT) {
    fault_raise(
        w, in, lane, FAULT_FAILED,
        "the mbarrier at shared address %llu waits for %u more arrivals and %d bytes: %u arrivals and %lld bytes "
        "are too many",
        (unsigned long long)(address & ~SHARED_WINDOW), m.missing, m.bytes, change.arrivals, (long long)change.bytes);
    return false;
  }
  m.missing -= change.arrivals;
  m.expected -= change.drops;
  m.bytes = (int32_t)bytes;
  if (change.releases && w->block->race) note_arrival(w, address);
  keep_object(w, address, object, m);
  return true;
}

/* Lanes arrive one after the other; operand `result`, where there is one, gets the state before. */
static void arrive_lanes(Warp *w, const Inst *in, uint32_t mask, int result, int count, int bytes, bool drops) {
  uint64_t states[LANES] = {0};
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    bool counted = count >= 0 && in->o[count] != NO_OPERAND;
    Arrival change = {.arrivals = count == -2 ? 0 : counted ? lanes32(w, in, count)[lane] : 1};
    change.drops = drops ? change.arrivals : 0;
    change.releases = change.arrivals > 0;
    if (bytes >= 0) change.bytes = lanes32(w, in, bytes)[lane];
    if (!apply(w, in, lane, address_of(w, in, lane), change, &states[lane])) return;
  }
  if (result >= 0) keep64(w, in, result, states, mask);
}

enum { NO_RESULT = -1, ONE_ARRIVAL = -1, NO_ARRIVAL = -2, NO_BYTES = -1 };

EXEC(mbarrier_arrive) {
  arrive_lanes(w, in, mask, 0, 1, NO_BYTES, false);
}
EXEC(mbarrier_arrive_drop) {
  arrive_lanes(w, in, mask, 0, 1, NO_BYTES, true);
}
EXEC(mbarrier_expect) {
  arrive_lanes(w, in, mask, NO_RESULT, NO_ARRIVAL, 0, false);
}

/* The bytes are expected before the arrival counts, so the phase cannot end between the two. */
EXEC(mbarrier_arrive_expect) {
  arrive_lanes(w, in, mask, 0, ONE_ARRIVAL, 1, false);
}

EXEC(mbarrier_complete) {
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest), phase;
    if (!EXEC_NAME(mbarrier_transfer)(w, in, lane, address_of(w, in, lane), lanes32(w, in, 0)[lane], &phase)) return;
  }
}

bool EXEC_NAME(mbarrier_transfer)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, uint32_t bytes,
                                  uint32_t *phase) {
  uint64_t before;
  if (!apply(w, in, lane, barrier, (Arrival){.bytes = -(int64_t)bytes}, &before)) return false;
  *phase = before & 1;
  return true;
}

bool EXEC_NAME(mbarrier_send)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, uint32_t bytes,
                              uint32_t *phase) {
  uint64_t before;
  if (!apply(w, in, lane, barrier, (Arrival){.bytes = -(int64_t)bytes, .releases = true}, &before)) return false;
  *phase = before & 1;
  return true;
}

bool EXEC_NAME(mbarrier_arrive_copies)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, bool counted) {
  uint64_t before;
  return apply(w, in, lane, barrier, (Arrival){.arrivals = counted ? 1 : 0}, &before);
}

/* ---- waiting ---- */

/* Bytes of bulk copies that the ended phase has brought may be read now. */
static void receive(Block *block, uint64_t barrier, uint32_t phase) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < block->bulk_count; i++) {
    BulkCopy copy = block->bulk[i];
    if (copy.barrier != (uint32_t)barrier || copy.phase != phase) {
      block->bulk[left++] = copy;
      continue;
    }
    for (uint32_t g = copy.address / 4; g < (copy.address + copy.bytes) / 4; g++) {
      block->pending_granules -= block->shared.pending[g >> 3] >> (g & 7) & 1;
      block->shared.pending[g >> 3] &= (uint8_t) ~(1u << (g & 7));
    }
  }
  block->bulk_count = left;
}

/* True in lanes for whose phase the wait is over. A lane that still waits makes its warp give way. */
static void wait_lanes(Warp *w, const Inst *in, uint32_t mask, const uint32_t phase[LANES]) {
  uint32_t over = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    uint64_t address = address_of(w, in, lane), *object = object_at(w, in, lane, address, false);
    if (!object) return;
    if ((address & ~SHARED_WINDOW) >> CLUSTER_SHIFT) {
      fault_raise(w, in, lane, FAULT_ADDRESS, "a wait for an mbarrier of another block");
      return;
    }
    bool ended = unpack(*object).phase != (phase[lane] & 1);
    if (ended) receive(w->block, address & ~SHARED_WINDOW, phase[lane] & 1);
    if (ended && w->block->race) race_mbarrier_leave(w, (uint32_t)address);
    over |= (uint32_t)ended << lane;
  }
  keep_predicate(w, in, 0, over, mask);
  w->yielded = over != mask;
}

EXEC(mbarrier_wait) {
  const uint64_t *states = lanes64(w, in, 1);
  uint32_t phase[LANES];
  EACH_LANE phase[lane] = states[lane] & 1;
  wait_lanes(w, in, mask, phase);
}

EXEC(mbarrier_wait_parity) {
  wait_lanes(w, in, mask, lanes32(w, in, 1));
}
