/* Bulk copies: cp.async.bulk and cp.async.bulk.tensor, and st.async. The bytes move at once; those that go to shared
 * memory are marked pending until a thread has waited for the phase of their barrier. Elements outside a tensor are
 * read as zero and not written. */
#include "bulk.h"
#include "tensor_map.h"

#include <stdlib.h>

static uint64_t lane_address(const Warp *w, const Inst *in, uint32_t operand, uint8_t space, uint32_t lane) {
  uint64_t address[LANES];
  AccessPlan plan = {.operand = operand, .space = space};
  access_addresses(w, in, &plan, address);
  return address[lane];
}

/* Marks the bytes as not there until the barrier's phase was waited for. */
static bool remember_bulk(Warp *w, const Inst *in, uint32_t lane, Block *block, BulkCopy copy) {
  if (!block->launch->check) return true;
  if (block->bulk_count == block->bulk_capacity) {
    uint32_t wanted = block->bulk_capacity ? block->bulk_capacity * 2 : 64;
    BulkCopy *grown = realloc(block->bulk, wanted * sizeof *grown);
    if (!grown) {
      fault_raise(w, in, lane, FAULT_MEMORY, "no memory to track bulk copies");
      return false;
    }
    block->bulk = grown;
    block->bulk_capacity = wanted;
  }
  block->bulk[block->bulk_count++] = copy;
  for (uint32_t g = copy.address / 4; g < (copy.address + copy.bytes) / 4; g++) {
    block->pending_granules += !(block->shared.pending[g >> 3] >> (g & 7) & 1);
    block->shared.pending[g >> 3] |= (uint8_t)(1u << (g & 7));
  }
  return true;
}

/* The copy has arrived: its bytes count on the barrier. */
static bool deliver(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, uint32_t address, uint32_t bytes) {
  if ((barrier | address) >> CLUSTER_SHIFT) {
    fault_raise(w, in, lane, FAULT_ADDRESS, "a bulk copy to another block of the cluster, which this device has not");
    return false;
  }
  if (w->block->race) race_copy_brings(w->block, (uint32_t)barrier, in->line, address, bytes);
  BulkCopy copy = {.barrier = (uint32_t)barrier, .address = address, .bytes = bytes};
  return EXEC_NAME(mbarrier_transfer)(w, in, lane, barrier, bytes, &copy.phase) &&
         remember_bulk(w, in, lane, w->block, copy);
}

static bool check_size(Warp *w, const Inst *in, uint32_t lane, uint32_t bytes) {
  if (bytes && bytes % 16 == 0) return true;
  fault_raise(w, in, lane, FAULT_INSTRUCTION, "a bulk copy of %u bytes, which is not a multiple of 16", bytes);
  return false;
}

static void copy_bulk(Warp *w, const Inst *in, uint32_t lane, bool loads) {
  uint32_t bytes = lanes32(w, in, 0)[lane];
  uint64_t to = lane_address(w, in, 0, loads ? SPACE_SHARED : SPACE_GLOBAL, lane);
  uint64_t from = lane_address(w, in, 1, loads ? SPACE_GLOBAL : SPACE_SHARED, lane);
  AccessPlan from_plan = {.space = loads ? SPACE_GLOBAL : SPACE_SHARED,
                          .use = ACCESS_READ,
                          .agent = AGENT_BULK,
                          .bytes = bytes,
                          .align = 16};
  AccessPlan to_plan = {.space = loads ? SPACE_SHARED : SPACE_GLOBAL,
                        .use = ACCESS_WRITE,
                        .agent = AGENT_BULK,
                        .bytes = bytes,
                        .align = 16};
  if (!check_size(w, in, lane, bytes)) return;
  const uint8_t *source = access_bytes(w, in, lane, &from_plan, from);
  uint8_t *target = source ? access_bytes(w, in, lane, &to_plan, to) : NULL;
  if (!target) return;
  memcpy(target, source, bytes);
  if (loads) deliver(w, in, lane, lane_address(w, in, 2, SPACE_SHARED, lane) & ~SHARED_WINDOW, (uint32_t)to, bytes);
}

EXEC(bulk_load) {
  for (uint32_t rest = mask; rest && !w->stopped; rest &= rest - 1) copy_bulk(w, in, first_lane(rest), true);
}

EXEC(bulk_store) {
  for (uint32_t rest = mask; rest && !w->stopped; rest &= rest - 1) copy_bulk(w, in, first_lane(rest), false);
}

/* ---- st.async: words to the shared memory of any block of the cluster, in which their barrier lies too ---- */

static void send(Warp *w, const Inst *in, uint32_t lane) {
  uint32_t bytes = 4 * in->vector;
  AccessPlan plan = {.space = SPACE_SHARED, .use = ACCESS_WRITE, .agent = AGENT_BULK, .bytes = bytes, .align = bytes};
  uint64_t to = lane_address(w, in, 0, SPACE_SHARED, lane) & ~SHARED_WINDOW,
           barrier = lane_address(w, in, 1, SPACE_SHARED, lane) & ~SHARED_WINDOW, tag = to >> CLUSTER_SHIFT;
  if (barrier >> CLUSTER_SHIFT != tag) {
    fault_raise(w, in, lane, FAULT_ADDRESS, "st.async to another block than that of its mbarrier");
    return;
  }
  uint8_t *target = access_bytes(w, in, lane, &plan, to);
  if (!target) return;
  for (uint32_t k = 0; k < in->vector; k++) memcpy(target + 4 * k, &lanes32(w, in, (int)k)[lane], 4);
  Block *owner = tag ? w->block->cluster->blocks[tag - 1] : w->block;
  BulkCopy copy = {.barrier = (uint32_t)(barrier & CLUSTER_OFFSET), .address = (uint32_t)(to & CLUSTER_OFFSET)};
  copy.bytes = bytes;
  if (owner->race) race_copy_brings(owner, copy.barrier, in->line, copy.address, bytes);
  if (EXEC_NAME(mbarrier_send)(w, in, lane, barrier, bytes, &copy.phase)) remember_bulk(w, in, lane, owner, copy);
}

EXEC(st_async) {
  for (uint32_t rest = mask; rest && !w->stopped; rest &= rest - 1) send(w, in, first_lane(rest));
}

/* ---- tensors ---- */

/* A copy under way: where the box lies in the tensor and in shared memory. */
typedef struct TensorCopy {
  Warp *w;
  const Inst *in;
  uint32_t lane;
  TensorMap map;
  int32_t at[TENSOR_MAX_RANK]; /* the box's first element */
  uint32_t shared;
  bool loads;
} TensorCopy;

static bool read_map(TensorCopy *c, uint32_t operand) {
  uint64_t address = lane_address(c->w, c->in, operand, SPACE_GENERIC, c->lane);
  AccessPlan plan = {.space = SPACE_GENERIC, .use = ACCESS_READ, .bytes = 128, .align = 64};
  const uint8_t *bytes = access_bytes(c->w, c->in, c->lane, &plan, address);
  if (!bytes) return false;
  memcpy(&c->map, bytes, sizeof c->map);
  if (c->map.magic == TENSOR_MAP_MAGIC && c->map.rank == c->in->vector) return true;
  if (c->map.magic != TENSOR_MAP_MAGIC) {
    fault_raise(c->w, c->in, c->lane, FAULT_FAILED, "the bytes at 0x%llx are not a tensor map",
                (unsigned long long)address);
  } else {
    fault_raise(c->w, c->in, c->lane, FAULT_FAILED, "the tensor map has %u dimensions, not %u", c->map.rank,
                c->in->vector);
  }
  return false;
}

static uint32_t box_bytes(const TensorMap *m) {
  uint32_t bytes = m->element_bytes;
  for (int i = 0; i < m->rank; i++) bytes *= m->box[i];
  return bytes;
}

/* Moves bytes between global memory (NULL: zeros, or nowhere) and shared memory at a linear address of the box, which
 * the swizzle scatters in pieces of 16 bytes. */
static bool move_row(const TensorCopy *c, uint64_t global, bool inside, uint32_t linear, uint32_t bytes) {
  AccessPlan plan = {.space = SPACE_GLOBAL, .use = c->loads ? ACCESS_READ : ACCESS_WRITE, .bytes = bytes, .align = 1};
  uint8_t *far = inside ? access_bytes(c->w, c->in, c->lane, &plan, global) : NULL;
  if (inside && !far) return false;
  for (uint32_t done = 0, piece; done < bytes; done += piece) {
    uint32_t address = linear + done;
    piece = 16 - address % 16 < bytes - done ? 16 - address % 16 : bytes - done;
    AccessPlan near_plan = {.space = SPACE_SHARED,
                            .use = c->loads ? ACCESS_WRITE : ACCESS_READ,
                            .agent = AGENT_BULK,
                            .bytes = piece,
                            .align = 1};
    uint8_t *near = access_bytes(c->w, c->in, c->lane, &near_plan, swizzled_address(address, c->map.swizzle));
    if (!near) return false;
    if (!c->loads && far) memcpy(far + done, near, piece);
    if (c->loads && far) memcpy(near, far + done, piece);
    if (c->loads && !far) memset(near, 0, piece);
  }
  return true;
}

/* One innermost row: the elements before, inside and beyond the tensor. */
static bool move_innermost(const TensorCopy *c, uint64_t global, bool outside, uint32_t linear) {
  const TensorMap *m = &c->map;
  int64_t size = m->sizes[0], first = c->at[0], last = first + m->box[0];
  int64_t begin = first < 0 ? 0 : first, end = last > size ? size : last;
  if (outside || begin >= end) begin = end = first;
  uint32_t bytes = m->element_bytes, before = (uint32_t)(begin - first) * bytes,
           inside = (uint32_t)(end - begin) * bytes;
  uint32_t all = m->box[0] * bytes;
  return (!before || move_row(c, 0, false, linear, before)) &&
         (!inside || move_row(c, global + (uint64_t)begin * bytes, true, linear + before, inside)) &&
         (before + inside == all || move_row(c, 0, false, linear + before + inside, all - before - inside));
}

static bool move_box(const TensorCopy *c) {
  const TensorMap *m = &c->map;
  uint32_t rows = 1, row_bytes = m->box[0] * m->element_bytes;
  for (int i = 1; i < m->rank; i++) rows *= m->box[i];
  for (uint32_t row = 0; row < rows; row++) {
    uint64_t global = m->address;
    bool outside = false;
    uint32_t rest = row;
    for (int i = 1; i < m->rank; i++) {
      int64_t index = (int64_t)c->at[i] + rest % m->box[i];
      rest /= m->box[i];
      outside |= index < 0 || index >= m->sizes[i];
      global += (uint64_t)index * m->strides[i];
    }
    if (!move_innermost(c, global, outside, c->shared + row * row_bytes)) return false;
  }
  return true;
}

/* An sm_90 GPU refuses boxes that begin inside a piece of 16 bytes, and stores that begin outside the tensor. */
static bool check_box(const TensorCopy *c) {
  int64_t bytes = (int64_t)c->at[0] * c->map.element_bytes;
  bool outside = false;
  for (int i = 0; i < c->map.rank; i++) outside |= c->at[i] < 0;
  if (bytes % 16 == 0 && (c->loads || !outside)) return true;
  fault_raise(c->w, c->in, c->lane, FAULT_INSTRUCTION, "%s",
              bytes % 16 ? "the box does not begin at a multiple of 16 bytes"
                         : "the box of a store begins outside the tensor");
  return false;
}

static bool start_tensor_copy(TensorCopy *c, uint32_t map_operand, uint32_t shared_operand) {
  if (!read_map(c, map_operand)) return false;
  for (int i = 0; i < c->map.rank; i++) c->at[i] = (int32_t)lanes32(c->w, c->in, i)[c->lane];
  c->shared = (uint32_t)lane_address(c->w, c->in, shared_operand, SPACE_SHARED, c->lane);
  if (!check_box(c)) return false;
  if (c->shared % 128 == 0) return true;
  fault_raise(c->w, c->in, c->lane, FAULT_ALIGNMENT, "tensor copy at shared address %u, which is not a multiple of 128",
              c->shared);
  return false;
}

EXEC(tensor_load) {
  for (uint32_t rest = mask; rest && !w->stopped; rest &= rest - 1) {
    TensorCopy c = {.w = w, .in = in, .lane = first_lane(rest), .loads = true};
    if (!start_tensor_copy(&c, 1, 0) || !move_box(&c)) return;
    uint64_t barrier = lane_address(w, in, 2, SPACE_SHARED, c.lane) & ~SHARED_WINDOW;
    if (!deliver(w, in, c.lane, barrier, c.shared, box_bytes(&c.map))) return;
  }
}

EXEC(tensor_store) {
  for (uint32_t rest = mask; rest && !w->stopped; rest &= rest - 1) {
    TensorCopy c = {.w = w, .in = in, .lane = first_lane(rest)};
    if (!start_tensor_copy(&c, 0, 1) || !move_box(&c)) return;
  }
}

EXEC(fence_async) {
  (void)in, (void)mask;
  if (w->block->race) race_fence_async(w);
}

/* Stores have happened when they are started; only the race check knows their groups. */
EXEC(bulk_commit) {
  (void)in, (void)mask;
  if (w->block->race) race_stores_commit(w);
}

EXEC(bulk_wait) {
  if (w->block->race) race_stores_wait(w, uniform32(w, in, 0, mask));
}

/* Cache policies do nothing; they are a number that is passed on. */
EXEC(create_policy) {
  uint64_t t[LANES] = {0};
  keep64(w, in, 0, t, mask);
}
