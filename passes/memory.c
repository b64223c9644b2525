/* memory: one arena for all values between layers.
 *
 * Guarantees: values that are needed at the same time do not overlap, at the largest batch; offsets are multiples of
 * 256 bytes; a view has its operand's offset; network outputs have none. A value lives from the node that computes it
 * to the last one that reads it, or reads a view of it, both included, so no kernel writes over what it reads.
 *
 * Placement: largest first, each into the smallest gap between the values placed before that live at the same time.
 */
#include "plan.h"
#include <stdlib.h>

enum { ARENA_ALIGN = 256 };

typedef struct Block {
  ValueId value;
  NodeId first, last; /* nodes between which it lives */
  uint64_t bytes, offset;
} Block;

/* The value whose memory v uses. */
static ValueId storage_of(const Graph *g, ValueId v) {
  for (const Node *node = defining_node(g, v); node && node->engine == ENGINE_VIEW; node = defining_node(g, v))
    v = node->inputs[0];
  return v;
}

static void extend_life(const Graph *g, Block *block_of, ValueId v, NodeId n) {
  if (graph_value(g, v)->kind != VALUE_RESULT) return;
  Block *block = &block_of[storage_of(g, v)];
  if (block->last < n) block->last = n;
}

/* blocks[v] for every value v; bytes 0 where it has no memory in the arena. */
static Block *find_lives(Graph *g, uint32_t batch) {
  Block *blocks = ARENA_NEW(g->context, Block, g->value_count);
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    Block *block = &blocks[node->result];
    *block = (Block){.value = node->result, .first = n, .last = n};
    bool has_own = node->engine != ENGINE_VIEW && !graph_is_output(g, node->result);
    uint64_t bytes = has_own ? layout_image_bytes(graph_type(g, node->result)) * (uint64_t)batch : 0;
    block->bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    for (uint32_t i = 0; i < node->input_count; i++) extend_life(g, blocks, node->inputs[i], n);
    for (uint32_t s = 0; s < node->step_count; s++)
      for (uint32_t i = 0; i < node->steps[s].arg_count; i++) extend_life(g, blocks, node->steps[s].args[i], n);
  }
  return blocks;
}

static int larger_first(const void *a, const void *b) {
  const Block *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return x->value < y->value ? -1 : 1;
}

static int lower_first(const void *a, const void *b) {
  const Block *x = *(Block *const *)a, *y = *(Block *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool live_together(const Block *a, const Block *b) {
  return a->first <= b->last && b->first <= a->last;
}

/* The placed blocks that live together with `block`, by offset. */
static uint32_t find_neighbours(Block *placed, uint32_t count, const Block *block, Block **neighbours) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < count; i++)
    if (live_together(&placed[i], block)) neighbours[found++] = &placed[i];
  qsort(neighbours, found, sizeof *neighbours, lower_first);
  return found;
}

static uint64_t best_gap(Block *const *neighbours, uint32_t count, uint64_t bytes) {
  uint64_t end = 0, best = NO_OFFSET, best_bytes = UINT64_MAX;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t start = neighbours[i]->offset;
    if (start > end && start - end >= bytes && start - end < best_bytes) {
      best = end;
      best_bytes = start - end;
    }
    if (start + neighbours[i]->bytes > end) end = start + neighbours[i]->bytes;
  }
  return best == NO_OFFSET ? end : best;
}

static void place(Graph *g, Block *blocks, uint32_t count) {
  Block **neighbours = ARENA_NEW(g->context, Block *, count);
  g->arena_bytes = 0;
  for (uint32_t i = 0; i < count && blocks[i].bytes; i++) {
    uint32_t found = find_neighbours(blocks, i, &blocks[i], neighbours);
    blocks[i].offset = best_gap(neighbours, found, blocks[i].bytes);
    graph_value(g, blocks[i].value)->arena_offset = blocks[i].offset;
    uint64_t end = blocks[i].offset + blocks[i].bytes;
    if (end > g->arena_bytes) g->arena_bytes = end;
  }
}

bool pass_memory(Graph *g, const PassOptions *options) {
  g->max_batch = options->max_batch;
  Block *blocks = find_lives(g, g->max_batch);
  for (ValueId v = 0; v < g->value_count; v++) graph_value(g, v)->arena_offset = NO_OFFSET;
  uint32_t count = g->value_count;
  qsort(blocks, count, sizeof *blocks, larger_first);
  place(g, blocks, count);
  for (NodeId n = 0; n < g->node_count; n++) {
    ValueId v = g->nodes[n].result;
    if (g->nodes[n].engine == ENGINE_VIEW)
      graph_value(g, v)->arena_offset = graph_value(g, storage_of(g, v))->arena_offset;
  }
  return true;
}
