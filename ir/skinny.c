/* Shared memory and shares of skinny layers (skinny.h). */
#include "skinny.h"

uint32_t skinny_threads(const Tile *tile) {
  return 32u * (tile->warps_m + 1u);
}

bool skinny_warps_fit(const Tile *tile) {
  return tile->warps_n == 1 && tile->warps_m && tile->warps_m % 4 == 0 && tile->warps_m <= 4 * SKINNY_MOST_GROUPS;
}

uint32_t skinny_rows(const Type *result) {
  return result->layout.kind == LAYOUT_WORDS ? (uint32_t)type_channels(result) : result->layout.pitch;
}

/* wgmma has 8, 16, 24 and 32 columns, and then multiples of 16. */
static uint32_t instruction_columns(uint32_t columns) {
  return columns <= 32 ? columns : ceil_div(columns, 16) * 16;
}

/* In 64 bits: where the sum fits shared memory, so do its parts their 32. */
static void size_shared(Skinny *s, const Tile *tile) {
  uint64_t stages = (uint64_t)s->groups * tile->stages * s->chunk_blocks * SKINNY_ROWS * PIECE_BYTES;
  uint64_t input = (uint64_t)s->share_blocks * s->columns * PIECE_BYTES;
  uint64_t parts = (uint64_t)s->parts * s->own * SKINNY_ROWS * 4, sums = (uint64_t)tile->n * 4;
  s->chunk_bytes = s->chunk_blocks * SKINNY_ROWS * PIECE_BYTES;
  s->input_bytes = (uint32_t)input;
  s->parts_bytes = (uint32_t)parts;
  s->input_at = (uint32_t)stages;
  s->parts_at = (uint32_t)(stages + input);
  s->sums_at = (uint32_t)(stages + input + 2 * parts * s->groups);
  s->barriers_at = (uint32_t)(s->sums_at + sums);
  s->group_barriers = 2 * tile->stages + 2u;
  s->shared_bytes = stages + input + 2 * parts * s->groups + sums + 8 * s->group_barriers * s->groups;
}

Skinny skinny_of(const Graph *g, const Node *node, const Tile *tile) {
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  Skinny s = {.weight_planes = w->bits, .input_planes = x->bits};
  s.blocks = x->layout.pitch / layout_piece_channels(x->layout);
  s.chunk_blocks = tile->k * 4u / PIECE_BYTES;
  s.chunks = ceil_div(ceil_div(s.blocks, s.chunk_blocks), tile->split_k);
  s.share_blocks = s.chunks * s.chunk_blocks;
  s.columns = instruction_columns(s.input_planes * tile->n);
  s.row_tiles = ceil_div(skinny_rows(graph_type(g, node->result)), SKINNY_ROWS);
  s.column_tiles = ceil_div(x->layout.positions, tile->n);
  s.groups = tile->warps_m / 4u;
  s.parts = tile->split_k;
  s.own = tile->n / tile->split_k;
  size_shared(&s, tile);
  return s;
}
