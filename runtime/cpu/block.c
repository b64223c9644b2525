/* A block: its warps in turn, its barriers, its shared memory. Guarantees: a block whose warps all wait ends with a
 * fault that says who is missing where. */
#include "race.h"

#include <stdlib.h>
#include <string.h>

/* ---- storage ---- */

typedef struct Layout {
  size_t registers, shared, written, pending, cache, assigned, accumulating, total;
} Layout;

static size_t reserve(size_t *total, size_t bytes) {
  size_t at = *total;
  *total += (bytes + 255) & ~(size_t)255;
  return at;
}

static Layout plan_storage(const Block *block) {
  const Kernel *k = block->kernel;
  Layout l = {0};
  size_t warps = block->warp_count;
  l.registers = reserve(&l.total, warps * k->register_bytes);
  l.shared = reserve(&l.total, block->shared.size + 16);
  l.written = reserve(&l.total, block->shared.size / 8 + 16);
  l.pending = reserve(&l.total, block->shared.size / 32 + 16);
  l.cache = reserve(&l.total, k->cache_count * sizeof(Region *));
  l.assigned = reserve(&l.total, warps * k->tracked_count * sizeof(uint32_t));
  l.accumulating = reserve(&l.total, warps * k->accumulator_count * sizeof(uint32_t));
  return l;
}

static void fill_constant(const Warp *w, const Constant *c, uint64_t value) {
  uint8_t *at = w->registers + c->slot;
  uint32_t narrow = (uint32_t)value;
  if (c->class == REGISTER_PREDICATE)
    memcpy(at, &narrow, sizeof narrow);
  else if (c->class == REGISTER_64)
    for (int lane = 0; lane < LANES; lane++) memcpy(at + 8 * lane, &value, sizeof value);
  else
    for (int lane = 0; lane < LANES; lane++) memcpy(at + 4 * lane, &narrow, sizeof narrow);
}

static void fill_constants(const Warp *w, const Kernel *k) {
  for (uint32_t i = 0; i < k->constant_count; i++) fill_constant(w, &k->constants[i], k->constants[i].value);
}

void block_tag_shared(Block *block, uint64_t tag) {
  const Kernel *k = block->kernel;
  block->shared_tag = tag;
  for (uint32_t i = 0; i < k->constant_count; i++)
    for (uint32_t w = 0; k->constants[i].is_shared && w < block->warp_count; w++)
      fill_constant(&block->warps[w], &k->constants[i], k->constants[i].value | tag);
}

static void place_storage(Block *block, Layout l) {
  const Kernel *k = block->kernel;
  uint8_t *s = block->storage;
  block->shared.bytes = s + l.shared;
  block->shared.written = s + l.written;
  block->shared.pending = s + l.pending;
  block->cache = (Region **)(s + l.cache);
  memset(block->cache, 0, k->cache_count * sizeof *block->cache);
  for (uint32_t i = 0; i < block->warp_count; i++) {
    Warp *w = &block->warps[i];
    w->registers = s + l.registers + (size_t)i * k->register_bytes;
    w->assigned = (uint32_t *)(s + l.assigned) + (size_t)i * k->tracked_count;
    w->accumulating = (uint32_t *)(s + l.accumulating) + (size_t)i * k->accumulator_count;
    fill_constants(w, k);
  }
}

bool block_prepare(Block *block, Launch *launch) {
  const uint32_t *size = launch->block;
  block->launch = launch;
  block->kernel = launch->kernel;
  block->thread_count = size[0] * size[1] * size[2];
  block->warp_count = (block->thread_count + LANES - 1) / LANES;
  block->shared = (Region){.start = SHARED_WINDOW,
                           .kind = REGION_SHARED,
                           .size = (uint64_t)launch->kernel->shared_static + launch->shared_dynamic};
  block->params = (Region){.start = PARAM_WINDOW,
                           .size = launch->kernel->function->param_bytes,
                           .bytes = (uint8_t *)(uintptr_t)launch->params,
                           .kind = REGION_PARAM,
                           .read_only = true};
  Layout layout = plan_storage(block);
  if (layout.total > block->storage_bytes) {
    void *fresh;
    if (posix_memalign(&fresh, 256, layout.total)) return false;
    memset(fresh, 0, layout.total); /* registers of lanes that never run are computed with, and then dropped */
    free(block->storage);
    block->storage = fresh;
    block->storage_bytes = layout.total;
  }
  place_storage(block, layout);
  race_close(block);
  return !launch->check_race || race_open(block);
}

void block_release(Block *block) {
  for (int i = 0; i < MAX_WARPS; i++) free(block->warps[i].copies);
  race_close(block);
  free(block->bulk);
  free(block->storage);
  free(block);
}

/* ---- running ---- */

void block_start(Block *block, uint64_t number) {
  const uint32_t *grid = block->launch->grid;
  block->index[0] = (uint32_t)(number % grid[0]);
  block->index[1] = (uint32_t)(number / grid[0] % grid[1]);
  block->index[2] = (uint32_t)(number / grid[0] / grid[1]);
  memset(block->barriers, 0, sizeof block->barriers);
  memset(block->shared.written, 0, block->shared.size / 8 + 1);
  memset(block->shared.pending, 0, block->shared.size / 32 + 1);
  block->pending_granules = 0;
  block->bulk_count = 0;
  block->cluster_phase = 0;
  if (block->race) race_start(block);
  for (uint32_t i = 0; i < block->warp_count; i++) warp_start(&block->warps[i], block, i);
}

typedef struct Census {
  uint32_t exited, at_this, elsewhere;
  uint32_t other_pc, other_barrier; /* where one of the others waits */
} Census;

static Census count_threads(const Block *block, uint32_t barrier) {
  Census c = {0};
  for (uint32_t i = 0; i < block->warp_count; i++) {
    const Warp *w = &block->warps[i];
    c.exited += (uint32_t)__builtin_popcount(w->exists & ~w->live);
    for (uint32_t rest = w->blocked; rest; rest &= rest - 1) {
      uint32_t lane = (uint32_t)__builtin_ctz(rest);
      if (w->barrier[lane] == barrier) {
        c.at_this++;
        continue;
      }
      c.elsewhere++;
      c.other_barrier = w->barrier[lane];
      c.other_pc = w->barrier_pc[lane];
    }
  }
  return c;
}

static const Inst *waiting_at(const Block *block, uint32_t *barrier) {
  for (uint32_t i = 0; i < block->warp_count; i++) {
    const Warp *w = &block->warps[i];
    if (!w->blocked) continue;
    uint32_t lane = (uint32_t)__builtin_ctz(w->blocked);
    *barrier = w->barrier[lane];
    return &block->kernel->code[w->barrier_pc[lane]];
  }
  return NULL;
}

void block_report_stuck(Block *block) {
  uint32_t barrier = 0;
  const Inst *in = waiting_at(block, &barrier);
  Census c = count_threads(block, barrier);
  const Block *counting = barrier == CLUSTER_BARRIER ? block->cluster->blocks[0] : block;
  uint32_t expected = counting->barriers[barrier].expected;
  if (c.elsewhere) {
    fault_raise_block(block, in, FAULT_FAILED,
                      "deadlock: %u threads wait at barrier %u for %u; %u wait at others (barrier %u, PTX line %u), "
                      "%u have exited",
                      c.at_this, barrier, expected, c.elsewhere, c.other_barrier, block->kernel->code[c.other_pc].line,
                      c.exited);
  } else {
    fault_raise_block(block, in, FAULT_FAILED, "%u threads wait at barrier %u for %u; %u have exited without it",
                      c.at_this, barrier, expected, c.exited);
  }
}

void block_report_spinning(Block *block) {
  for (uint32_t i = 0; i < block->warp_count; i++) {
    const Warp *w = &block->warps[i];
    if (!(w->live & ~w->blocked)) continue;
    fault_raise_block(block, &block->kernel->code[w->last_pc], FAULT_FAILED,
                      "deadlock: warp %u waits for something that no other warp of the block will do", w->index);
    return;
  }
}

bool block_over_limit(Block *block) {
  uint64_t executed = 0, limit = block->launch->limit;
  if (!limit) return false;
  for (uint32_t i = 0; i < block->warp_count; i++) executed += block->warps[i].executed;
  if (executed <= limit) return false;
  fault_raise_block(block, NULL, FAULT_FAILED, "the block ran more than %llu instructions", (unsigned long long)limit);
  return true;
}

bool block_run_round(Block *block, uint64_t quantum, Round *round) {
  for (uint32_t i = 0; i < block->warp_count; i++) {
    Warp *w = &block->warps[i];
    if (w->live & ~w->blocked) {
      round->ran++;
      if (warp_run(w, quantum) == WARP_STOPPED) return false;
      round->yielded += w->yielded;
    }
    round->done += !w->live;
  }
  return !__atomic_load_n(&block->launch->stop, __ATOMIC_RELAXED);
}
