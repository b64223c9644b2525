/* Which registers may be read before they are written. A forward analysis over the blocks of the code: a register is
 * surely written at a place when every way there writes it. What it cannot prove is checked while running, lane by
 * lane; in compiled code that is next to nothing. */
#include "machine.h"

#include <string.h>

typedef struct Analysis {
  Arena *arena;
  Kernel *kernel;
  uint32_t words;        /* of a set of registers */
  uint32_t *register_at; /* slot / 4 -> id + 1, 0 for constants and special registers */
  uint32_t *block_of;    /* instruction -> block */
  uint32_t *starts;      /* block -> first instruction; one more at the end */
  uint32_t block_count;
  uint64_t *sets;        /* block -> registers surely written at its start */
  uint32_t *tracked;     /* register id -> index + 1 */
  uint32_t *accumulator; /* register id -> index in Warp.accumulating + 1 */
} Analysis;

static uint64_t *set_of(const Analysis *a, uint32_t block) {
  return a->sets + (size_t)block * a->words;
}

static uint32_t register_of(const Analysis *a, uint32_t slot) {
  return slot == NO_OPERAND ? 0 : a->register_at[slot / 4];
}

static bool contains(const uint64_t *set, uint32_t id) {
  return set[id / 64] >> (id % 64) & 1;
}

/* ---- blocks ---- */

static void find_blocks(Analysis *a) {
  const Kernel *k = a->kernel;
  uint8_t *leader = arena_take(a->arena, k->count + 1);
  leader[0] = 1;
  for (uint32_t i = 0; i < k->count; i++) {
    if (k->code[i].kind == INST_BRANCH) leader[k->code[i].target] = 1;
    if (k->code[i].kind == INST_BRANCH || k->code[i].kind == INST_EXIT) leader[i + 1] = 1;
  }
  a->block_of = arena_take(a->arena, k->count * sizeof *a->block_of);
  a->starts = arena_take(a->arena, (k->count + 1) * sizeof *a->starts);
  for (uint32_t i = 0; i < k->count; i++) {
    if (leader[i]) a->starts[a->block_count++] = i;
    a->block_of[i] = a->block_count - 1;
  }
  a->starts[a->block_count] = k->count;
}

/* ---- the analysis ---- */

static void apply_defines(const Analysis *a, const Inst *in, uint64_t *set) {
  if (in->guard != NO_OPERAND) return;
  for (uint32_t k = 0; k < OPERAND_SLOTS; k++) {
    uint32_t id = in->defines >> k & 1 ? register_of(a, in->o[k]) : 0;
    if (id) set[(id - 1) / 64] |= (uint64_t)1 << ((id - 1) % 64);
  }
  for (uint32_t k = 0; k < in->list_count; k++) {
    uint32_t id = register_of(a, in->list[k]);
    if (id) set[(id - 1) / 64] |= (uint64_t)1 << ((id - 1) % 64);
  }
}

static bool meet(const Analysis *a, uint32_t block, const uint64_t *set) {
  uint64_t *into = set_of(a, block), changed = 0;
  for (uint32_t i = 0; i < a->words; i++) {
    changed |= into[i] & ~set[i];
    into[i] &= set[i];
  }
  return changed != 0;
}

static bool flow_block(const Analysis *a, uint32_t block, uint64_t *set) {
  const Inst *last = &a->kernel->code[a->starts[block + 1] - 1];
  bool changed = false, ends = last->guard == NO_OPERAND && (last->kind == INST_BRANCH || last->kind == INST_EXIT);
  memcpy(set, set_of(a, block), a->words * sizeof *set);
  for (uint32_t i = a->starts[block]; i < a->starts[block + 1]; i++) apply_defines(a, &a->kernel->code[i], set);
  if (last->kind == INST_BRANCH) changed |= meet(a, a->block_of[last->target], set);
  if (!ends && block + 1 < a->block_count) changed |= meet(a, block + 1, set);
  return changed;
}

static void solve(Analysis *a) {
  uint64_t *set = arena_take(a->arena, a->words * sizeof *set);
  a->sets = arena_take(a->arena, (size_t)a->block_count * a->words * sizeof *a->sets);
  memset(set_of(a, 0) + a->words, 0xff, (size_t)(a->block_count - 1) * a->words * sizeof *a->sets);
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t block = 0; block < a->block_count; block++) changed |= flow_block(a, block, set);
  }
}

/* ---- what to check ---- */

/* Slots that an instruction reads: operands and addresses. */
static uint32_t collect_uses(const Inst *in, uint32_t slots[OPERAND_SLOTS + 3]) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < OPERAND_SLOTS; k++)
    if (in->uses >> k & 1) slots[n++] = in->o[k];
  for (int k = 0; k < in->address_count; k++) slots[n++] = in->address[k].base;
  return n;
}

/* The entry for a register that may be unwritten here; false where it surely is written. */
static bool unproven(Analysis *a, uint32_t slot, const uint64_t *set, TrackedUse *use) {
  uint32_t id = register_of(a, slot);
  if (!id || contains(set, id - 1)) return false;
  if (!a->tracked[id - 1]) a->tracked[id - 1] = ++a->kernel->tracked_count;
  *use = (TrackedUse){a->tracked[id - 1] - 1, a->kernel->function->registers[id - 1]};
  return true;
}

static void track_unproven(Analysis *a, Inst *in, const uint64_t *set) {
  uint32_t slots[OPERAND_SLOTS + 3], n = collect_uses(in, slots);
  TrackedUse found[OPERAND_SLOTS + 3], guard;
  uint32_t count = 0;
  bool guard_unproven = in->guard != NO_OPERAND && unproven(a, in->guard, set, &guard);
  for (uint32_t k = 0; k < n; k++) count += unproven(a, slots[k], set, &found[count]);
  if (!count && !guard_unproven) return;
  Track *track = arena_take(a->arena, sizeof *track);
  track->uses = arena_take(a->arena, (count + 1) * sizeof *found);
  memcpy(track->uses, found, count * sizeof *found);
  track->use_count = count;
  if (guard_unproven) {
    track->uses[count] = guard;
    track->guard = &track->uses[count];
  }
  in->track = track;
}

static void find_unproven(Analysis *a) {
  uint64_t *set = arena_take(a->arena, a->words * sizeof *set);
  for (uint32_t block = 0; block < a->block_count; block++) {
    memcpy(set, set_of(a, block), a->words * sizeof *set);
    for (uint32_t i = a->starts[block]; i < a->starts[block + 1]; i++) {
      track_unproven(a, &a->kernel->code[i], set);
      apply_defines(a, &a->kernel->code[i], set);
    }
  }
}

static Track *track_of(Arena *arena, Inst *in) {
  Track *track = arena_take(arena, sizeof *track);
  if (in->track) *track = *in->track;
  in->track = track;
  return track;
}

static void add_mark(Analysis *a, Inst *in, Track **track, uint32_t slot, uint32_t room) {
  uint32_t id = register_of(a, slot);
  if (!id || !a->tracked[id - 1]) return;
  if (!*track) *track = track_of(a->arena, in);
  if (!(*track)->marks) (*track)->marks = arena_take(a->arena, room * sizeof *(*track)->marks);
  (*track)->marks[(*track)->mark_count++] =
      (TrackedUse){a->tracked[id - 1] - 1, a->kernel->function->registers[id - 1]};
}

/* Every write of a tracked register is recorded. */
static void add_marks(Analysis *a) {
  for (uint32_t i = 0; a->kernel->tracked_count && i < a->kernel->count; i++) {
    Inst *in = &a->kernel->code[i];
    Track *track = NULL;
    for (uint32_t k = 0; k < OPERAND_SLOTS; k++)
      if (in->defines >> k & 1) add_mark(a, in, &track, in->o[k], OPERAND_SLOTS + in->list_count);
    for (uint32_t k = 0; k < in->list_count; k++) add_mark(a, in, &track, in->list[k], OPERAND_SLOTS + in->list_count);
  }
}

/* ---- registers of wgmma: accumulators, and fragments of A ---- */

static uint32_t number_of(Analysis *a, uint32_t slot) {
  uint32_t id = register_of(a, slot);
  if (!id) return NO_NUMBER;
  uint32_t *number = &a->accumulator[id - 1];
  if (!*number) *number = ++a->kernel->accumulator_count;
  return *number - 1;
}

static void number_accumulators(Analysis *a) {
  for (uint32_t i = 0; i < a->kernel->count; i++) {
    Inst *in = &a->kernel->code[i];
    if (!in->list_count) continue;
    uint32_t fragments = wgmma_fragment_registers(in);
    uint32_t *index = arena_take(a->arena, (in->list_count + fragments) * sizeof *index);
    for (uint32_t k = 0; k < in->list_count; k++) index[k] = number_of(a, in->list[k]);
    for (uint32_t k = 0; k < fragments; k++) index[in->list_count + k] = number_of(a, in->o[k]);
    in->list_index = index;
  }
}

static void guard_slot(Analysis *a, Inst *in, Track **track, uint32_t slot) {
  uint32_t id = register_of(a, slot);
  if (!id || !a->accumulator[id - 1]) return;
  if (!*track) *track = track_of(a->arena, in);
  if (!(*track)->accumulators) {
    (*track)->accumulators = arena_take(a->arena, (2 * OPERAND_SLOTS + 4) * sizeof *(*track)->accumulators);
  }
  (*track)->accumulators[(*track)->accumulator_count++] =
      (TrackedUse){a->accumulator[id - 1] - 1, a->kernel->function->registers[id - 1]};
}

/* Every other instruction that reads or writes one looks whether a product is still on its way. */
static void guard_accumulators(Analysis *a) {
  for (uint32_t i = 0; a->kernel->accumulator_count && i < a->kernel->count; i++) {
    Inst *in = &a->kernel->code[i];
    if (in->list_count) continue;
    uint32_t slots[OPERAND_SLOTS + 3], n = collect_uses(in, slots);
    Track *track = NULL;
    for (uint32_t k = 0; k < n; k++) guard_slot(a, in, &track, slots[k]);
    for (uint32_t k = 0; k < OPERAND_SLOTS; k++)
      if (in->defines >> k & 1) guard_slot(a, in, &track, in->o[k]);
  }
}

static void map_registers(Analysis *a) {
  const Function *f = a->kernel->function;
  a->register_at = arena_take(a->arena, (a->kernel->register_bytes / 4 + 1) * sizeof *a->register_at);
  for (uint32_t id = 0; id < f->register_count; id++)
    if (f->registers[id]->slot != NO_OPERAND) a->register_at[f->registers[id]->slot / 4] = id + 1;
}

void assignment_analyse(Arena *arena, Kernel *kernel) {
  uint32_t registers = (uint32_t)kernel->function->register_count;
  Analysis a = {.arena = arena, .kernel = kernel, .words = registers / 64 + 1};
  a.tracked = arena_take(arena, (registers + 1) * sizeof *a.tracked);
  a.accumulator = arena_take(arena, (registers + 1) * sizeof *a.accumulator);
  map_registers(&a);
  find_blocks(&a);
  solve(&a);
  find_unproven(&a);
  add_marks(&a);
  number_accumulators(&a);
  guard_accumulators(&a);
  for (uint32_t i = 0; i < kernel->count; i++)
    if (kernel->code[i].track && kernel->code[i].kind == INST_PLAIN) kernel->code[i].kind = INST_TRACKED;
}
