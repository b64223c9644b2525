/* Instructions in which lanes or warps meet: shfl, vote, redux, match, elect, barriers. Guarantees: a lane that the
 * mask names and that is elsewhere is a fault, not a guess. */
#include "race.h"

/* Lanes of the member mask that could take part and do not are a fault; so is a lane outside its own mask. */
static bool check_members(Warp *w, const Inst *in, uint32_t mask, uint32_t members) {
  uint32_t outside = mask & ~members, missing = members & w->live & ~mask;
  if (!outside && !missing) return true;
  if (outside) {
    fault_raise(w, in, first_lane(outside), FAULT_FAILED, "lane %u is not in its own member mask 0x%08x",
                first_lane(outside), members);
  } else {
    fault_raise(w, in, first_lane(mask), FAULT_FAILED,
                "the member mask 0x%08x names lanes 0x%08x, which are elsewhere in the program", members, missing);
  }
  return false;
}

/* ---- shfl ---- */

enum { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX };

/* The lane that `lane` reads, and whether it is inside the segment (PTX ISA, shfl.sync). */
static uint32_t shuffle_source(uint8_t mode, uint32_t lane, uint32_t b, uint32_t c, bool *inside) {
  uint32_t segment = c >> 8 & 31, bound = c & 31, distance = b & 31;
  uint32_t greatest = (lane & segment) | (bound & ~segment), least = lane & segment;
  uint32_t from;
  switch (mode) {
  case SHUFFLE_UP:
    from = lane - distance;
    *inside = (int32_t)from >= (int32_t)greatest;
    break;
  case SHUFFLE_DOWN:
    from = lane + distance;
    *inside = from <= greatest;
    break;
  case SHUFFLE_BFLY:
    from = lane ^ distance;
    *inside = from <= greatest;
    break;
  default:
    from = least | (distance & ~segment);
    *inside = from <= greatest;
  }
  return *inside ? from & 31 : lane;
}

EXEC(shfl) {
  const uint32_t *b = lanes32(w, in, 3), *c = lanes32(w, in, 4), *members = lanes32(w, in, 5);
  uint32_t a[LANES], t[LANES] = {0}, inside_bits = 0;
  memcpy(a, lanes32(w, in, 2), sizeof a);
  if (!check_members(w, in, mask, members[first_lane(mask)])) return;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    bool inside;
    uint32_t from = shuffle_source(in->mod[MOD_MODE], lane, b[lane], c[lane], &inside);
    if (!(mask >> from & 1)) {
      fault_raise(w, in, lane, FAULT_FAILED, "lane %u reads lane %u, which takes no part", lane, from);
      return;
    }
    t[lane] = a[from];
    inside_bits |= (uint32_t)inside << lane;
  }
  keep32(w, in, 0, t, mask);
  if (in->o[1] != NO_OPERAND) keep_predicate(w, in, 1, inside_bits, mask);
}

/* ---- votes ---- */

static uint32_t members_of(const Warp *w, const Inst *in, int k, uint32_t mask) {
  return uniform32(w, in, k, mask);
}

enum { VOTE_ALL, VOTE_ANY, VOTE_UNI };

EXEC(vote) {
  uint32_t holds = predicate(w, in, 1) & mask;
  if (!check_members(w, in, mask, members_of(w, in, 2, mask))) return;
  bool result = in->mod[MOD_MODE] == VOTE_ALL   ? holds == mask
                : in->mod[MOD_MODE] == VOTE_ANY ? holds != 0
                                                : holds == mask || !holds;
  keep_predicate(w, in, 0, result ? FULL_MASK : 0, mask);
}

static void keep_uniform(Warp *w, const Inst *in, int k, uint32_t value, uint32_t mask) {
  uint32_t t[LANES];
  EACH_LANE t[lane] = value;
  keep32(w, in, k, t, mask);
}

EXEC(vote_ballot) {
  uint32_t holds = predicate(w, in, 1) & mask;
  if (check_members(w, in, mask, members_of(w, in, 2, mask))) keep_uniform(w, in, 0, holds, mask);
}

EXEC(activemask) {
  keep_uniform(w, in, 0, mask, mask);
}

/* The least active lane is elected. */
EXEC(elect) {
  if (!check_members(w, in, mask, members_of(w, in, 2, mask))) return;
  keep_uniform(w, in, 0, first_lane(mask), mask);
  keep_predicate(w, in, 1, mask & (0 - mask), mask);
}

EXEC(match_any) {
  uint32_t a[LANES], t[LANES] = {0};
  memcpy(a, lanes32(w, in, 1), sizeof a);
  if (!check_members(w, in, mask, members_of(w, in, 2, mask))) return;
  EACH_LANE for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t other = first_lane(rest);
    t[lane] |= (uint32_t)(a[other] == a[lane]) << other;
  }
  keep32(w, in, 0, t, mask);
}

/* ---- redux ---- */

enum { REDUX_ADD, REDUX_MIN, REDUX_MAX, REDUX_AND, REDUX_OR, REDUX_XOR };

static uint32_t reduce_two(const Inst *in, uint32_t x, uint32_t y) {
  bool is_signed = in->mod[MOD_TYPE] == TYPE_S32;
  switch (in->mod[MOD_MODE]) {
  case REDUX_ADD:
    return x + y;
  case REDUX_MIN:
    return (is_signed ? (int32_t)x < (int32_t)y : x < y) ? x : y;
  case REDUX_MAX:
    return (is_signed ? (int32_t)x > (int32_t)y : x > y) ? x : y;
  case REDUX_AND:
    return x & y;
  case REDUX_OR:
    return x | y;
  default:
    return x ^ y;
  }
}

EXEC(redux) {
  const uint32_t *a = lanes32(w, in, 1);
  uint32_t result = a[first_lane(mask)];
  if (!check_members(w, in, mask, members_of(w, in, 2, mask))) return;
  for (uint32_t rest = mask & (mask - 1); rest; rest &= rest - 1) result = reduce_two(in, result, a[first_lane(rest)]);
  keep_uniform(w, in, 0, result, mask);
}

EXEC(bar_warp) {
  check_members(w, in, mask, members_of(w, in, 0, mask));
}

/* ---- barriers of the block ---- */

static uint32_t rounded_threads(const Block *block) {
  return (block->thread_count + LANES - 1) / LANES * LANES;
}

static void release_block(Block *block, uint32_t number) {
  bool of_cluster = number == CLUSTER_BARRIER;
  if (block->race && of_cluster) race_barrier_end(block, number);
  for (uint32_t i = 0; i < block->warp_count; i++) {
    Warp *other = &block->warps[i];
    uint32_t before = other->blocked;
    for (uint32_t rest = other->blocked; rest; rest &= rest - 1) {
      uint32_t lane = first_lane(rest);
      if (other->barrier[lane] == number) other->blocked &= ~(1u << lane);
    }
    if (block->race && other->blocked != before)
      (of_cluster ? race_cluster_leave(other) : race_barrier_leave(other, number));
  }
  if (block->race && !of_cluster) race_barrier_end(block, number);
  block->cluster_phase += of_cluster;
  block->progress++;
}

static void release_barrier(Block *block, uint32_t number) {
  bool all = number == CLUSTER_BARRIER;
  for (uint32_t i = 0; all && i < block->cluster->size; i++) release_block(block->cluster->blocks[i], number);
  if (!all) release_block(block, number);
  (all ? block->cluster->blocks[0] : block)->barriers[number] = (Barrier){0};
}

/* Arrival of a group of lanes; `waits` blocks them until all have come. A warp that is only partly there (the last one
 * of a block) counts as a whole one, as barrier counts are given in warps. */
static void arrive(Warp *w, const Inst *in, uint32_t mask, uint32_t number, uint32_t expected, bool waits) {
  Block *block = w->block;
  Barrier *barrier = &(number == CLUSTER_BARRIER ? block->cluster->blocks[0] : block)->barriers[number];
  bool whole = number == CLUSTER_BARRIER || expected <= 1024;
  if (!expected || expected % LANES || !whole) {
    fault_raise(w, in, first_lane(mask), FAULT_INSTRUCTION, "a barrier for %u threads", expected);
    return;
  }
  if (barrier->expected && barrier->expected != expected) {
    fault_raise(w, in, first_lane(mask), FAULT_FAILED, "barrier %u is used for %u threads here and for %u at line %u",
                number, expected, barrier->expected, barrier->line);
    return;
  }
  if (!barrier->expected) barrier->line = in->line;
  barrier->expected = expected;
  bool holds_first = mask & w->exists & (0 - w->exists);
  barrier->arrived += (uint32_t)__builtin_popcount(mask) + (holds_first ? (uint32_t)__builtin_popcount(~w->exists) : 0);
  if (block->race) race_barrier_arrive(w, number);
  if (waits) {
    w->blocked |= mask;
    EACH_LANE if (mask >> lane & 1) w->barrier[lane] = number,
                                    w->barrier_pc[lane] = (uint32_t)(in - block->kernel->code);
  }
  if (barrier->arrived >= expected) release_barrier(block, number);
}

static uint32_t barrier_threads(const Warp *w, const Inst *in, int k, uint32_t mask) {
  return in->o[k] == NO_OPERAND ? rounded_threads(w->block) : uniform32(w, in, k, mask);
}

static void arrive_at_numbered(Warp *w, const Inst *in, uint32_t mask, bool waits) {
  uint32_t number = uniform32(w, in, 0, mask);
  if (number < BARRIER_COUNT) {
    arrive(w, in, mask, number, barrier_threads(w, in, 1, mask), waits);
    return;
  }
  fault_raise(w, in, first_lane(mask), FAULT_INSTRUCTION, "barrier %u: there are %d", number, BARRIER_COUNT);
}

EXEC(bar_sync) {
  arrive_at_numbered(w, in, mask, true);
}
EXEC(bar_arrive) {
  arrive_at_numbered(w, in, mask, false);
}

/* ---- the cluster: its barrier counts in the first of its blocks ---- */

EXEC(cluster_arrive) {
  EACH_LANE if (mask >> lane & 1) w->cluster_phase[lane] = w->block->cluster_phase;
  arrive(w, in, mask, CLUSTER_BARRIER, rounded_threads(w->block) * w->block->cluster->size, false);
}

/* Lanes whose phase has not ended wait for it. */
EXEC(cluster_wait) {
  if (w->block->race) race_cluster_leave(w);
  EACH_LANE {
    if (!(mask >> lane & 1) || w->cluster_phase[lane] != w->block->cluster_phase) continue;
    w->blocked |= 1u << lane;
    w->barrier[lane] = CLUSTER_BARRIER;
    w->barrier_pc[lane] = (uint32_t)(in - w->block->kernel->code);
  }
}

/* A block's own addresses stay as they are. */
EXEC(mapa) {
  const uint32_t *rank = lanes32(w, in, 2), *address = lanes32(w, in, 1);
  uint32_t t[LANES], size = w->block->cluster->size;
  EACH_LANE t[lane] =
      (address[lane] & CLUSTER_OFFSET) | (rank[lane] == w->block->rank ? 0 : (rank[lane] + 1) << CLUSTER_SHIFT);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    if (rank[lane] < size) continue;
    fault_raise(w, in, lane, FAULT_ADDRESS, "block %u of a cluster that has %u", rank[lane], size);
    return;
  }
  keep32(w, in, 0, t, mask);
}

/* ---- the launch before ---- */

/* It has ended when this one runs; lanes that do not ask are what access.c looks for. */
EXEC(wait_for_launch) {
  (void)in;
  w->early &= ~mask;
}

/* ---- ends ---- */

EXEC(trap) {
  fault_raise(w, in, first_lane(mask), FAULT_FAILED, "trap");
}

/* A grid that ends without having waited says nothing of the one before it to the one behind it. */
EXEC(exit_lanes) {
  uint32_t early = w->early & mask;
  if (early) {
    fault_raise(w, in, first_lane(early), FAULT_FAILED,
                "the thread ends without griddepcontrol.wait: the launch behind this one would not wait for the one "
                "before it");
    return;
  }
  w->live &= ~mask;
}
