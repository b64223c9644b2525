/* A warp: 32 lanes, each with a program counter. The lanes with the least one run together until it reaches the least
 * of the others, so structured code meets again by itself. Guarantees: lanes that wait for others of their own warp let
 * them run (a group that yields or branches back too often gives way). */
#include "machine.h"

#include <string.h>

/* How many instructions a part of a warp runs before another part gets its turn. */
static const uint64_t GROUP_QUANTUM = 1 << 24;

/* ---- start ---- */

static void fill32(const Warp *w, uint32_t slot, const uint32_t values[LANES]) {
  if (slot != NO_OPERAND) memcpy(w->registers + slot, values, LANES * sizeof *values);
}

static void fill_same(const Warp *w, int special, uint64_t value) {
  uint32_t slot = w->block->kernel->special_slot[special], narrow[LANES];
  if (slot == NO_OPERAND) return;
  for (int lane = 0; lane < LANES; lane++) narrow[lane] = (uint32_t)value;
  if (special_registers[special].class != REGISTER_64) {
    fill32(w, slot, narrow);
    return;
  }
  for (int lane = 0; lane < LANES; lane++) memcpy(w->registers + slot + 8 * lane, &value, sizeof value);
}

static void fill_triple(const Warp *w, int special, const uint32_t values[3]) {
  for (int i = 0; i < 3; i++) fill_same(w, special + i, values[i]);
}

static void fill_lane_registers(const Warp *w) {
  const uint32_t *slot = w->block->kernel->special_slot, *size = w->block->launch->block;
  uint32_t values[9][LANES];
  for (uint32_t lane = 0; lane < LANES; lane++) {
    uint32_t thread = w->index * LANES + lane, bit = 1u << lane;
    uint32_t of_lane[] = {
        thread % size[0], thread / size[0] % size[1], thread / size[0] / size[1], lane, bit, bit | (bit - 1), bit - 1,
        ~(bit - 1),       ~(bit | (bit - 1))};
    for (int i = 0; i < 9; i++) values[i][lane] = of_lane[i];
  }
  static const uint8_t special[] = {SPECIAL_TID_X,       SPECIAL_TID_Y,       SPECIAL_TID_Z,
                                    SPECIAL_LANEID,      SPECIAL_LANEMASK_EQ, SPECIAL_LANEMASK_LE,
                                    SPECIAL_LANEMASK_LT, SPECIAL_LANEMASK_GE, SPECIAL_LANEMASK_GT};
  for (int i = 0; i < 9; i++) fill32(w, slot[special[i]], values[i]);
}

static void fill_block_registers(const Warp *w) {
  const Block *block = w->block;
  const Launch *launch = block->launch;
  uint32_t size = launch->cluster_size, rank[3] = {block->rank, 0, 0}, sizes[3] = {size, 1, 1};
  uint32_t cluster[3] = {block->index[0] / size, block->index[1], block->index[2]};
  uint32_t clusters[3] = {launch->grid[0] / size, launch->grid[1], launch->grid[2]};
  fill_triple(w, SPECIAL_NTID_X, launch->block);
  fill_triple(w, SPECIAL_CTAID_X, block->index);
  fill_triple(w, SPECIAL_NCTAID_X, launch->grid);
  fill_triple(w, SPECIAL_CLUSTERID_X, cluster);
  fill_triple(w, SPECIAL_NCLUSTERID_X, clusters);
  fill_triple(w, SPECIAL_CLUSTER_CTAID_X, rank);
  fill_triple(w, SPECIAL_CLUSTER_NCTAID_X, sizes);
  fill_same(w, SPECIAL_CLUSTER_CTARANK, block->rank);
  fill_same(w, SPECIAL_CLUSTER_NCTARANK, size);
  fill_same(w, SPECIAL_WARPID, w->index);
  fill_same(w, SPECIAL_NWARPID, block->warp_count);
  fill_same(w, SPECIAL_SMID, 0);
  fill_same(w, SPECIAL_NSMID, 1);
  fill_same(w, SPECIAL_GRIDID, 0);
  fill_same(w, SPECIAL_DYNAMIC_SMEM_SIZE, launch->shared_dynamic);
  fill_same(w, SPECIAL_TOTAL_SMEM_SIZE, block->shared.size);
}

void warp_start(Warp *w, Block *block, uint32_t index) {
  uint32_t threads = block->thread_count - index * LANES;
  w->block = block;
  w->index = index;
  w->exists = threads >= LANES ? FULL_MASK : (1u << threads) - 1;
  w->live = w->exists;
  w->blocked = 0;
  w->early = block->launch->overlaps ? w->exists : 0;
  w->stopped = w->yielded = false;
  w->last_pc = w->resume_from = 0;
  w->apart = 0;
  w->carry = 0;
  w->copy_count = 0;
  w->products_committed = w->accumulating_count = 0;
  w->executed = 0;
  w->groups[0] = (LaneGroup){.pc = 0, .mask = w->exists};
  w->group_count = 1;
  memset(w->committed, 0, sizeof w->committed);
  if (w->assigned) memset(w->assigned, 0, block->kernel->tracked_count * sizeof *w->assigned);
  if (w->accumulating) memset(w->accumulating, 0, block->kernel->accumulator_count * sizeof *w->accumulating);
  fill_lane_registers(w);
  fill_block_registers(w);
}

/* ---- registers that have to be looked at ---- */

static bool check_assigned(Warp *w, const Inst *in, const TrackedUse *use, uint32_t mask) {
  uint32_t missing = mask & ~w->assigned[use->index];
  if (!missing) return true;
  fault_raise(w, in, (uint32_t)__builtin_ctz(missing), FAULT_FAILED, "register %s is read before anything wrote it",
              use->reg->name);
  return false;
}

/* Registers that a product has not finished writing must not be touched. */
static bool check_accumulators(Warp *w, const Inst *in, uint32_t mask) {
  for (uint32_t i = 0; i < in->track->accumulator_count; i++) {
    const TrackedUse *use = &in->track->accumulators[i];
    if (!w->accumulating[use->index]) continue;
    fault_raise(w, in, (uint32_t)__builtin_ctz(mask), FAULT_FAILED,
                "register %s belongs to a wgmma that no wgmma.wait_group has covered", use->reg->name);
    return false;
  }
  return true;
}

/* `mask` are the lanes that read the guard, `active` those that read the operands. */
static bool track_reads(Warp *w, const Inst *in, uint32_t mask, uint32_t active) {
  const Track *track = in->track;
  if (w->accumulating_count && active && !check_accumulators(w, in, active)) return false;
  if (track->guard && !check_assigned(w, in, track->guard, mask)) return false;
  for (uint32_t i = 0; i < track->use_count; i++)
    if (!check_assigned(w, in, &track->uses[i], active)) return false;
  return true;
}

static void track_writes(Warp *w, const Inst *in, uint32_t mask) {
  for (uint32_t i = 0; i < in->track->mark_count; i++) w->assigned[in->track->marks[i].index] |= mask;
}

/* ---- groups of lanes ---- */

typedef struct Group {
  uint32_t mask, pc;
  uint32_t limit; /* the least program counter of the other lanes that can run: stop there */
} Group;

/* The least program counter of lanes that can run, of those at or behind `from` where there are any. */
static uint32_t choose_pc(const Warp *w, uint32_t from) {
  uint32_t runnable = w->live & ~w->blocked, least = UINT32_MAX, least_from = UINT32_MAX;
  for (uint32_t i = 0; i < w->group_count; i++) {
    uint32_t pc = w->groups[i].pc;
    if (!(w->groups[i].mask & runnable)) continue;
    if (pc < least) least = pc;
    if (pc >= from && pc < least_from) least_from = pc;
  }
  return least_from != UINT32_MAX ? least_from : least;
}

/* Takes the lanes to run out of the groups; those that have exited leave too. */
static bool choose_group(Warp *w, uint32_t from, Group *group) {
  uint32_t runnable = w->live & ~w->blocked, left = 0;
  *group = (Group){.pc = choose_pc(w, from), .limit = UINT32_MAX};
  for (uint32_t i = 0; i < w->group_count; i++) {
    LaneGroup lanes = w->groups[i];
    if (lanes.pc == group->pc) {
      group->mask |= lanes.mask & runnable;
      lanes.mask &= ~runnable;
    } else if ((lanes.mask & runnable) && lanes.pc > group->pc && lanes.pc < group->limit) {
      group->limit = lanes.pc;
    }
    lanes.mask &= w->live;
    if (lanes.mask) w->groups[left++] = lanes;
  }
  w->group_count = left;
  return group->mask != 0;
}

/* Lanes that meet others at an instruction join them. */
static void save_group(Warp *w, uint32_t mask, uint32_t pc) {
  if (!mask) return;
  for (uint32_t i = 0; i < w->group_count; i++) {
    if (w->groups[i].pc != pc) continue;
    w->groups[i].mask |= mask;
    return;
  }
  w->groups[w->group_count++] = (LaneGroup){.pc = pc, .mask = mask};
}

static inline uint32_t guard_mask(const Warp *w, const Inst *in) {
  return *(const uint32_t *)(w->registers + in->guard) ^ in->guard_flip;
}

/* Runs the group until it splits, meets others, may block, or has used its budget. Keeps its program counters. */
static void run_group(Warp *w, Group g, uint64_t *budget) {
  const Inst *code = w->block->kernel->code;
  uint32_t pc = g.pc, mask = g.mask;
  uint64_t left = *budget;
  while (left && pc < g.limit) {
    const Inst *in = &code[pc];
    uint32_t active = in->guard == NO_OPERAND ? mask : mask & guard_mask(w, in);
    left--;
    if (in->kind == INST_PLAIN) {
      if (active) in->exec(w, in, active);
      pc++;
      if (w->stopped) break;
      continue;
    }
    if (in->track && !track_reads(w, in, mask, active)) break;
    if (in->kind == INST_TRACKED) {
      if (active) in->exec(w, in, active);
      track_writes(w, in, active);
      pc++;
      if (w->stopped) break;
      continue;
    }
    if (in->kind == INST_BRANCH && active == mask) {
      pc = in->target;
      continue;
    }
    save_group(w, in->kind == INST_BRANCH ? mask & ~active : mask, pc + 1);
    if (in->kind == INST_BRANCH)
      save_group(w, active, in->target);
    else if (active)
      in->exec(w, in, active);
    if (w->yielded) w->last_pc = pc;
    if (in->track) track_writes(w, in, active);
    *budget = left;
    return;
  }
  save_group(w, mask, pc);
  *budget = left;
}

/* A part of a warp that ran long without meeting the rest may be waiting for it: then the rest gets its turn. */
static bool gives_way(Warp *w, const Group *group, uint64_t ran) {
  bool whole = group->mask == (w->live & ~w->blocked);
  w->apart = whole ? 0 : w->apart + ran;
  if (!w->yielded && w->apart < GROUP_QUANTUM) return false;
  w->apart = 0;
  return true;
}

WarpState warp_run(Warp *w, uint64_t quantum) {
  uint64_t left = quantum;
  Group group;
  w->yielded = false;
  while (left && !w->yielded && choose_group(w, w->resume_from, &group)) {
    uint64_t before = left;
    run_group(w, group, &left);
    if (w->stopped) return WARP_STOPPED;
    w->resume_from = gives_way(w, &group, before - left) ? group.pc + 1 : 0;
  }
  w->executed += quantum - left;
  if (!w->live) return WARP_DONE;
  return w->live & ~w->blocked ? WARP_READY : WARP_BLOCKED;
}
