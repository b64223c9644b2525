/* cp.async: copies from global to shared memory that a wait must cover before anybody reads them. The bytes move at
 * once; until the wait their granules of 4 bytes are marked pending and any access to them is a fault. */
#include "bulk.h"

#include <stdlib.h>

/* ---- the record of what is in flight ---- */

static void mark_pending(Block *block, const AsyncCopy *copy) {
  for (uint32_t rest = copy->mask; rest; rest &= rest - 1) {
    uint32_t first = copy->address[first_lane(rest)] / 4;
    for (uint32_t g = first; g < first + copy->bytes / 4; g++) {
      block->pending_granules += !(block->shared.pending[g >> 3] >> (g & 7) & 1);
      block->shared.pending[g >> 3] |= (uint8_t)(1u << (g & 7));
    }
  }
}

static void clear_pending(Block *block, const AsyncCopy *copy, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    uint32_t first = copy->address[first_lane(rest)] / 4;
    for (uint32_t g = first; g < first + copy->bytes / 4; g++) {
      block->pending_granules -= block->shared.pending[g >> 3] >> (g & 7) & 1;
      block->shared.pending[g >> 3] &= (uint8_t) ~(1u << (g & 7));
    }
  }
}

static void remember_copy(Warp *w, const Inst *in, const Access *to, uint32_t bytes) {
  if (!w->block->launch->check) return;
  if (w->copy_count == w->copy_capacity) {
    uint32_t wanted = w->copy_capacity ? w->copy_capacity * 2 : 16;
    AsyncCopy *grown = realloc(w->copies, wanted * sizeof *grown);
    if (!grown) {
      fault_raise(w, in, first_lane(to->mask), FAULT_MEMORY, "no memory to track asynchronous copies");
      return;
    }
    w->copies = grown;
    w->copy_capacity = wanted;
  }
  AsyncCopy *copy = &w->copies[w->copy_count++];
  copy->mask = to->mask;
  copy->bytes = bytes;
  EACH_LANE copy->address[lane] = (uint32_t)to->offset[lane], copy->group[lane] = w->committed[lane];
  mark_pending(w->block, copy);
}

/* For the race check the bytes are there now, or when the phase of the lane's barrier ends. */
static void note_finished(Warp *w, const Inst *in, const AsyncCopy *copy, uint32_t lanes, const uint64_t *barriers) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (barriers)
      race_copy_brings(w->block, (uint32_t)barriers[lane], in->line, copy->address[lane], copy->bytes);
    else
      race_copy_lands(w, copy->address[lane], copy->bytes);
  }
}

/* Ends the copies of these lanes whose group is older than the newest `keep` committed ones. */
static void finish_groups(Warp *w, const Inst *in, uint32_t mask, uint32_t keep, const uint64_t *barriers) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < w->copy_count; i++) {
    AsyncCopy *copy = &w->copies[i];
    uint32_t done = 0;
    EACH_LANE done |= (uint32_t)(copy->group[lane] + (uint64_t)keep < w->committed[lane]) << lane;
    done &= mask & copy->mask;
    if (done) clear_pending(w->block, copy, done);
    if (w->block->race) note_finished(w, in, copy, done, barriers);
    copy->mask &= ~done;
    if (copy->mask && left != i) w->copies[left] = *copy;
    left += copy->mask != 0;
  }
  w->copy_count = left;
}

/* ---- the instructions ---- */

/* Copies `read` bytes and fills up to `size` with zeros, for lanes that agree on `read`. */
static bool copy_lanes(Warp *w, const Inst *in, uint32_t mask, uint32_t size, uint32_t read) {
  uint64_t from_address[LANES], to_address[LANES];
  Access from = {0}, to;
  AccessPlan from_plan = {.operand = 1, .space = SPACE_GLOBAL, .use = ACCESS_READ, .bytes = read, .align = size};
  AccessPlan to_plan = {.operand = 0, .space = SPACE_SHARED, .use = ACCESS_WRITE, .bytes = size, .align = size};
  access_addresses(w, in, &from_plan, from_address);
  access_addresses(w, in, &to_plan, to_address);
  while (mask) {
    uint32_t served = mask;
    if (read) {
      if (!access_open(w, in, &from_plan, from_address, mask, &from)) return false;
      served = from.mask;
    }
    if (!access_open(w, in, &to_plan, to_address, served, &to)) return false;
    for (uint32_t rest = to.mask; rest; rest &= rest - 1) {
      uint32_t lane = first_lane(rest);
      uint8_t *at = to.region->bytes + to.offset[lane];
      if (read == 16) {
        memcpy(at, from.region->bytes + from.offset[lane], 16);
        continue;
      }
      if (read) memcpy(at, from.region->bytes + from.offset[lane], read);
      memset(at + read, 0, size - read);
    }
    remember_copy(w, in, &to, size);
    mask &= ~to.mask;
  }
  return !w->stopped;
}

EXEC(cp_async) {
  uint32_t size = uniform32(w, in, 0, mask);
  bool only_16 = in->mod[MOD_MODE] == 1;
  if (only_16 ? size != 16 : size != 4 && size != 8 && size != 16) {
    fault_raise(w, in, first_lane(mask), FAULT_INSTRUCTION, "cp.async%s cannot copy %u bytes", only_16 ? ".cg" : ".ca",
                size);
    return;
  }
  while (mask) {
    uint32_t read = size, same = mask;
    if (in->o[1] != NO_OPERAND) {
      const uint32_t *sizes = lanes32(w, in, 1);
      read = sizes[first_lane(mask)];
      EACH_LANE if (sizes[lane] != read) same &= ~(1u << lane);
    }
    if (read > size) {
      fault_raise(w, in, first_lane(mask), FAULT_INSTRUCTION, "cp.async reads %u bytes to write %u", read, size);
      return;
    }
    if (!copy_lanes(w, in, same, size, read)) return;
    mask &= ~same;
  }
}

EXEC(cp_async_commit) {
  (void)in;
  EACH_LANE w->committed[lane] += mask >> lane & 1;
}

EXEC(cp_async_wait_group) {
  finish_groups(w, in, mask, uniform32(w, in, 0, mask), NULL);
}

/* The lanes' earlier copies are there when the barrier's phase ends; on this machine they are there now. */
EXEC(cp_async_arrive) {
  uint64_t address[LANES];
  AccessPlan plan = {.space = SPACE_SHARED};
  access_addresses(w, in, &plan, address);
  EACH_LANE w->committed[lane] += mask >> lane & 1;
  finish_groups(w, in, mask, 0, address);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (!EXEC_NAME(mbarrier_arrive_copies)(w, in, lane, address[lane], in->mod[MOD_MODE] == 1)) return;
  }
}

EXEC(cp_async_wait_all) {
  EACH_LANE w->committed[lane] += mask >> lane & 1;
  finish_groups(w, in, mask, 0, NULL);
}
