/* The slow side of memory accesses: finding a region, and saying what is wrong with an access. */
#include "access.h"

#include <stdio.h>

static const char *const use_word[] = {[ACCESS_READ] = "read", [ACCESS_WRITE] = "write", [ACCESS_BOTH] = "update"};

static bool contains(const Region *r, uint64_t address, uint64_t bytes) {
  return r->size >= bytes && address - r->start <= r->size - bytes;
}

static void fault_shared_bounds(Warp *w, const Inst *in, uint32_t lane, uint64_t address, uint32_t bytes,
                                AccessUse use) {
  fault_raise(w, in, lane, FAULT_ADDRESS,
              "out-of-bounds %s of %u bytes at shared address %llu: the block has %llu bytes", use_word[use], bytes,
              (unsigned long long)(address & ~SHARED_WINDOW), (unsigned long long)w->block->shared.size);
}

static void fault_bounds(Warp *w, const Inst *in, uint32_t lane, uint64_t address, uint32_t bytes, AccessUse use) {
  const Region *below = memory_find_below(address);
  const Region *above = memory_find_below(address + bytes);
  if (below && address - below->start < below->size + 65536) {
    fault_raise(w, in, lane, FAULT_ADDRESS,
                "out-of-bounds %s of %u bytes at 0x%llx: byte %llu of an allocation of %llu bytes", use_word[use],
                bytes, (unsigned long long)address, (unsigned long long)(address - below->start),
                (unsigned long long)below->size);
  } else if (above && above != below) {
    fault_raise(w, in, lane, FAULT_ADDRESS, "out-of-bounds %s of %u bytes at 0x%llx: %llu bytes before an allocation",
                use_word[use], bytes, (unsigned long long)address, (unsigned long long)(above->start - address));
  } else {
    fault_raise(w, in, lane, FAULT_ADDRESS, "out-of-bounds %s of %u bytes at 0x%llx: no allocation is near",
                use_word[use], bytes, (unsigned long long)address);
  }
}

Region *access_region(Warp *w, const Inst *in, const AccessPlan *plan, uint32_t lane, uint64_t address) {
  Region *r;
  if ((address & SHARED_WINDOW) && (plan->space == SPACE_SHARED || plan->space == SPACE_GENERIC)) {
    uint64_t tag = (address & ~SHARED_WINDOW) >> CLUSTER_SHIFT;
    r = tag && tag <= w->block->cluster->size ? &w->block->cluster->windows[tag - 1] : &w->block->shared;
    if (contains(r, address, plan->bytes)) return r;
    fault_shared_bounds(w, in, lane, address, plan->bytes, plan->use);
    return NULL;
  }
  if ((address & PARAM_WINDOW) && !(address & SHARED_WINDOW) && plan->space == SPACE_GENERIC) {
    r = &w->block->params;
    if (contains(r, address, plan->bytes) && plan->use == ACCESS_READ) return r;
    fault_raise(w, in, lane, FAULT_ADDRESS, "%s of %u bytes at byte %llu of the parameters, which are %llu bytes",
                use_word[plan->use], plan->bytes, (unsigned long long)(address & ~PARAM_WINDOW),
                (unsigned long long)r->size);
    return NULL;
  }
  r = memory_find(address, plan->bytes);
  if (!r) {
    fault_bounds(w, in, lane, address, plan->bytes, plan->use);
    return NULL;
  }
  if (r->read_only && plan->use != ACCESS_READ) {
    fault_raise(w, in, lane, FAULT_ADDRESS, "write to .const memory at 0x%llx", (unsigned long long)address);
    return NULL;
  }
  return r;
}

void access_misaligned(Warp *w, const Inst *in, const Access *a, uint32_t align, AccessUse use) {
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (!(a->offset[lane] & (align - 1))) continue;
    bool shared = a->region->kind == REGION_SHARED;
    fault_raise(w, in, lane, FAULT_ALIGNMENT, "misaligned %s: %s address 0x%llx is not a multiple of %u", use_word[use],
                shared ? "shared" : "global", (unsigned long long)(a->offset[lane] + (shared ? 0 : a->region->start)),
                align);
    return;
  }
}

void access_unwritten(Warp *w, const Inst *in, const Access *a, uint32_t bytes) {
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (shadow_all_set(a->region->written, a->offset[lane], bytes)) continue;
    bool shared = a->region->kind == REGION_SHARED;
    fault_raise(w, in, lane, FAULT_FAILED, "read of %u bytes of %s memory that nothing wrote: byte %llu of %s of %llu",
                bytes, shared ? "shared" : "device", (unsigned long long)a->offset[lane],
                shared ? "the block's memory" : "an allocation", (unsigned long long)a->region->size);
    return;
  }
}

bool access_pending(Warp *w, const Inst *in, const Access *a, uint32_t bytes, AccessUse use) {
  const uint8_t *map = a->region->pending;
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    for (uint64_t g = a->offset[lane] / 4; g <= (a->offset[lane] + bytes - 1) / 4; g++) {
      if (!(map[g >> 3] >> (g & 7) & 1)) continue;
      fault_raise(w, in, lane, FAULT_FAILED,
                  "%s of shared byte %llu, which an asynchronous copy is still filling: no wait has covered it",
                  use_word[use], (unsigned long long)a->offset[lane]);
      return false;
    }
  }
  return true;
}

/* In a launch that may begin before the one before it ends, a lane that has not waited for that one touches only what
 * no kernel writes. A load by .nc may come before its wait in the assembled code wherever it stands. */
bool access_overlapping(Warp *w, const Inst *in, const Access *a, const AccessPlan *plan) {
  uint32_t early = w->early & a->mask;
  bool stored = __atomic_load_n(&a->region->stored, __ATOMIC_RELAXED);
  if (a->region->kind == REGION_SHARED || a->region->kind == REGION_PARAM) return true;
  if (early && plan->use != ACCESS_READ) {
    fault_raise(w, in, first_lane(early), FAULT_FAILED,
                "%s of device memory before griddepcontrol.wait: the launch before may still use it",
                use_word[plan->use]);
  } else if (early && stored) {
    fault_raise(w, in, first_lane(early), FAULT_FAILED,
                "read of device memory that kernels write, before griddepcontrol.wait");
  } else if (plan->noncoherent && stored) {
    fault_raise(w, in, first_lane(a->mask), FAULT_FAILED,
                "non-coherent read of device memory that kernels write, in a launch that overlaps the one before: "
                "griddepcontrol.wait does not order it");
  } else {
    return true;
  }
  return false;
}

uint8_t *access_bytes(Warp *w, const Inst *in, uint32_t lane, const AccessPlan *plan, uint64_t address) {
  Access a = {.mask = 1u << lane};
  if (plan->space == SPACE_SHARED) address |= SHARED_WINDOW;
  a.region = access_region(w, in, plan, lane, address);
  if (!a.region) return NULL;
  a.offset[lane] = address - a.region->start;
  if (a.offset[lane] & (plan->align - 1)) {
    access_misaligned(w, in, &a, plan->align, plan->use);
    return NULL;
  }
  if ((w->early & a.mask) && !access_overlapping(w, in, &a, plan)) return NULL;
  const uint8_t *written = a.region->written;
  if (plan->use != ACCESS_WRITE && w->block->launch->check && written &&
      !shadow_all_set(written, a.offset[lane], plan->bytes)) {
    access_unwritten(w, in, &a, plan->bytes);
    return NULL;
  }
  bool pending = a.region->pending && w->block->pending_granules;
  if (pending && !access_pending(w, in, &a, plan->bytes, plan->use)) return NULL;
  if (plan->use != ACCESS_READ) memory_note_store(a.region);
  if (plan->use != ACCESS_READ && written) shadow_set(a.region->written, a.offset[lane], plan->bytes);
  if (w->block->race && !race_note(w, in, &a, plan)) return NULL;
  return a.region->bytes + a.offset[lane];
}
