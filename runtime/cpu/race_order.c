/* Which operations come before which: the clocks of the race check. Guarantees: a wait takes over what was released
 * into the phase it waited for, not what came into later ones; products and stores that run beside their warp end only
 * at a wait for their group. */
#include "race_state.h"

#include <stdlib.h>

static void join(RaceClock *into, const RaceClock *from) {
  for (int i = 0; i < ENTRY_COUNT; i++)
    if (from->seen[i] > into->seen[i]) into->seen[i] = from->seen[i];
}

/* What the warp does from now on is not part of what it has released. */
static void pass_time(Race *race, uint32_t warp) {
  race->warps[warp].seen[ENTRY_WARP + warp]++;
}

/* All that a block of the cluster wrote here until now. */
static void release_block(Race *race, uint32_t rank, RaceClock *clock) {
  clock->seen[ENTRY_BLOCK + rank] = ++race->arrivals[rank];
}

static void release_into(Warp *w, RaceClock *clock) {
  Race *race = w->block->race;
  join(clock, &race->warps[w->index]);
  pass_time(race, w->index);
}

/* ---- a block ---- */

bool race_open(Block *block) {
  uint64_t bytes = block->shared.size;
  race_close(block);
  Race *race = block->race = calloc(1, sizeof *race);
  if (!race) return false;
  race->size = bytes;
  race->warp_count = block->warp_count;
  race->writes = calloc(bytes + 1, sizeof *race->writes);
  bool complete = race->writes;
  for (int i = 0; i < TOUCH_COUNT; i++) {
    race->touches[i] = calloc(bytes * block->warp_count + 1, sizeof *race->touches[i]);
    complete = complete && race->touches[i];
  }
  if (!complete) race_close(block);
  return complete;
}

void race_close(Block *block) {
  Race *race = block->race;
  if (!race) return;
  for (int i = 0; i < TOUCH_COUNT; i++) free(race->touches[i]);
  free(race->writes);
  free(race);
  block->race = NULL;
}

/* Times go on from block to block, so that bytes keep theirs and count as long past. */
void race_start(Block *block) {
  Race *race = block->race;
  RaceClock all = {{0}};
  for (uint32_t i = 0; i < race->warp_count; i++) {
    join(&all, &race->warps[i]);
    all.seen[ENTRY_PRODUCT + i] = ++race->products[i];
    all.seen[ENTRY_STORE + i] = ++race->stores[i];
  }
  for (uint32_t i = 0; i < race->warp_count; i++) all.seen[ENTRY_FENCED + i] = all.seen[ENTRY_WARP + i];
  for (uint32_t i = 0; i < race->mbarrier_count; i++) {
    RaceMbarrier *m = &race->mbarriers[i];
    all.seen[ENTRY_PHASE + i] = ++m->phases;
    m->ended = false;
    m->open = m->last = (RaceClock){{0}};
  }
  for (uint32_t i = 0; i < MAX_CLUSTER; i++) release_block(race, i, &all);
  memset(race->barriers, 0, sizeof race->barriers);
  race->cluster = (RaceClock){{0}};
  for (uint32_t i = 0; i < race->warp_count; i++) {
    race->warps[i] = all;
    pass_time(race, i);
  }
}

/* ---- barriers of the block ---- */

void race_barrier_arrive(Warp *w, uint32_t number) {
  release_into(w, &w->block->race->barriers[number]);
}

void race_barrier_leave(Warp *w, uint32_t number) {
  Race *race = w->block->race;
  join(&race->warps[w->index], &race->barriers[number]);
}

void race_barrier_end(Block *block, uint32_t number) {
  Race *race = block->race;
  if (number == CLUSTER_BARRIER) {
    race->cluster = race->barriers[number];
    for (uint32_t i = 0; i < MAX_CLUSTER; i++) release_block(race, i, &race->cluster);
  }
  race->barriers[number] = (RaceClock){{0}};
}

void race_cluster_leave(Warp *w) {
  Race *race = w->block->race;
  join(&race->warps[w->index], &race->cluster);
}

/* ---- mbarriers ---- */

bool race_mbarrier_init(Warp *w, const Inst *in, uint32_t lane, uint32_t barrier) {
  Race *race = w->block->race;
  RaceMbarrier *m = race_mbarrier(race, barrier);
  if (!m && race->mbarrier_count == MAX_MBARRIERS) {
    fault_raise(w, in, lane, FAULT_FAILED, "the race check follows %d mbarriers, and this block has more",
                MAX_MBARRIERS);
    return false;
  }
  if (!m) m = &race->mbarriers[race->mbarrier_count++];
  *m = (RaceMbarrier){.address = barrier, .phases = m->phases};
  return true;
}

void race_mbarrier_arrive(Warp *w, uint32_t barrier) {
  RaceMbarrier *m = race_mbarrier(w->block->race, barrier);
  if (m) release_into(w, &m->open);
}

void race_write_from(Block *owner, uint32_t rank, uint32_t line, uint64_t at, uint64_t bytes) {
  RaceWrite write = {.entry = ENTRY_BLOCK + rank, .time = owner->race->arrivals[rank] + 1, .line = line};
  for (uint64_t i = 0; i < bytes; i++) owner->race->writes[at + i] = write;
}

void race_mbarrier_arrive_from(Block *owner, uint32_t rank, uint32_t barrier) {
  RaceMbarrier *m = race_mbarrier(owner->race, barrier);
  if (m) release_block(owner->race, rank, &m->open);
}

void race_mbarrier_end(Block *block, uint32_t barrier) {
  RaceMbarrier *m = race_mbarrier(block->race, barrier);
  if (!m) return;
  m->last = m->open;
  m->open = (RaceClock){{0}};
  m->ended = true;
  m->last.seen[ENTRY_PHASE + (m - block->race->mbarriers)] = ++m->phases;
}

void race_mbarrier_leave(Warp *w, uint32_t barrier) {
  Race *race = w->block->race;
  RaceMbarrier *m = race_mbarrier(race, barrier);
  if (m && m->ended) join(&race->warps[w->index], &m->last);
}

/* ---- beside the warp ---- */

/* Every write that comes before the fence, the warp's own or another's, is seen by async operations after it. */
void race_fence_async(Warp *w) {
  Race *race = w->block->race;
  uint32_t *seen = race->warps[w->index].seen;
  for (uint32_t i = 0; i < race->warp_count; i++)
    if (seen[ENTRY_FENCED + i] < seen[ENTRY_WARP + i]) seen[ENTRY_FENCED + i] = seen[ENTRY_WARP + i];
  pass_time(race, w->index);
}

static void wait_for_groups(Warp *w, uint32_t entry, uint32_t committed, uint32_t keep) {
  uint32_t *seen = &w->block->race->warps[w->index].seen[entry + w->index];
  if (committed > keep && *seen < committed - keep) *seen = committed - keep;
}

void race_products_commit(Warp *w) {
  w->block->race->products[w->index]++;
}

void race_products_wait(Warp *w, uint32_t keep) {
  wait_for_groups(w, ENTRY_PRODUCT, w->block->race->products[w->index], keep);
}

void race_stores_commit(Warp *w) {
  w->block->race->stores[w->index]++;
}

void race_stores_wait(Warp *w, uint32_t keep) {
  wait_for_groups(w, ENTRY_STORE, w->block->race->stores[w->index], keep);
}

void race_copy_brings(Block *block, uint32_t barrier, uint32_t line, uint32_t address, uint32_t bytes) {
  Race *race = block->race;
  RaceMbarrier *m = race_mbarrier(race, barrier);
  if (!m) return;
  RaceWrite write = {.entry = (uint32_t)(ENTRY_PHASE + (m - race->mbarriers)), .time = m->phases + 1, .line = line};
  for (uint32_t i = 0; i < bytes; i++) race->writes[address + i] = write;
}

void race_copy_lands(Warp *w, uint32_t address, uint32_t bytes) {
  Race *race = w->block->race;
  uint32_t now = race->warps[w->index].seen[ENTRY_WARP + w->index];
  for (uint32_t i = 0; i < bytes; i++) race->writes[address + i].time = now;
}
