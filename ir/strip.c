/* Shared memory of layers on strips (strip.h). */
#include "strip.h"
#include "lines.h"
#include "staging.h"

/* Sides of patches beyond it fit no shared memory, and products of two fit 64 bits. */
enum { MOST_SIDE = 1 << 24 };

/* Pixels of a filter row in a strip; 0 where strips cannot serve the filter. */
static uint32_t taps_of_strip(const Graph *g, const Node *node) {
  const Type *w = graph_type(g, node->inputs[1]);
  uint32_t width = (uint32_t)w->dim[2], most = STRIP_BYTES / (uint32_t)w->dim[3];
  uint32_t stride = (uint32_t)node->attrs.stride[1];
  return width <= most ? width : most / stride * stride;
}

static uint32_t units_of(const Graph *g, const Node *node, uint32_t taps) {
  const Type *w = graph_type(g, node->inputs[1]);
  return (uint32_t)w->dim[1] * ceil_div((uint32_t)w->dim[2], taps);
}

bool strip_serves(const Graph *g, const Node *node) {
  if (node->op != OP_CONV2D || node->attrs.groups != 1) return false;
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  Image in = type_image(x);
  bool as_level, dilated = node->attrs.dilation[1] > 1 && w->dim[2] > 1;
  if (!type_is_quantized(x) || !type_is_quantized(w) || weight_storage(w, false, &as_level).offset) return false;
  if (dilated || in.channels > STRIP_BYTES || in.width > MOST_SIDE || node->attrs.pad[1] > MOST_SIDE) return false;
  uint32_t taps = taps_of_strip(g, node);
  return in.width * in.channels % 4 == 0 && taps && ceil_div(units_of(g, node, taps), 2) <= MOST_STRIP_STEPS;
}

static void size_strips(Strips *s, const Graph *g, const Node *node) {
  const Type *x = graph_type(g, node->inputs[0]);
  const Attrs *a = &node->attrs;
  s->pixel_bytes = (uint32_t)type_channels(x);
  s->row_words = (uint32_t)type_image(x).width * s->pixel_bytes / 4;
  s->taps = taps_of_strip(g, node);
  s->units = units_of(g, node, s->taps);
  s->row_strips = s->units / (uint32_t)graph_type(g, node->inputs[1])->dim[1];
  s->steps = ceil_div(s->units, 2);
  s->shift = s->row_strips > 1 ? s->taps / (uint32_t)a->stride[1] : 0;
  s->aligned = (uint64_t)(uint32_t)a->stride[1] * s->pixel_bytes % 4 == 0 &&
               (uint64_t)(uint32_t)a->pad[1] * s->pixel_bytes % 4 == 0;
  s->words = ceil_div(s->taps * s->pixel_bytes, 4);
  s->loaded = s->aligned ? s->words : ceil_div(s->taps * s->pixel_bytes + 3, 4);
}

static void size_tile(Strips *s, const Type *result) {
  Image image = type_image(result);
  bool gaps = layout_is_pieces(result->layout);
  uint32_t width = gaps ? result->layout.row_pitch : (uint32_t)image.width;
  uint32_t height = gaps ? result->layout.image_pitch / result->layout.row_pitch : (uint32_t)image.height;
  s->across = ceil_div(width, s->columns);
  s->down = ceil_div(height, s->rows);
}

static bool size_patch(Strips *s, const Graph *g, const Node *node, uint32_t threads) {
  const Attrs *a = &node->attrs;
  uint64_t filter = (uint64_t)(graph_type(g, node->inputs[1])->dim[1] - 1) * (uint32_t)a->dilation[0] + 1;
  uint64_t height = (uint64_t)(s->rows - 1) * (uint32_t)a->stride[0] + filter;
  s->pitch = s->columns + (s->row_strips - 1) * s->shift;
  s->height = height < MOST_SIDE ? (uint32_t)height : MOST_SIDE;
  s->patch_bytes = (uint64_t)s->pitch * s->height * STRIP_BYTES;
  if (s->pitch > threads) return false;
  s->pass_rows = threads / s->pitch < s->height ? threads / s->pitch : s->height;
  s->passes = ceil_div(s->height, s->pass_rows);
  return s->passes <= MOST_STRIP_PASSES;
}

/* The rectangle with the fewest tiles, and of those the one that is filled in the fewest passes. */
bool strips_of(const Graph *g, const Node *node, const Tile *tile, Strips *out) {
  uint32_t squares = tile->m / (STRIP_SQUARE * STRIP_SQUARE);
  Strips s = {0}, best = {0};
  size_strips(&s, g, node);
  s.weight_bytes = s.steps * tile->n * 2 * STRIP_BYTES;
  s.table_bytes = tile->n * STRIP_BYTES;
  for (uint32_t across = 1; across <= squares; across *= 2) {
    s.columns = STRIP_SQUARE * across;
    s.rows = STRIP_SQUARE * (squares / across);
    size_tile(&s, graph_type(g, node->result));
    if (!size_patch(&s, g, node, 32u * tile->warps_m)) continue;
    uint64_t tiles = (uint64_t)s.across * s.down, least = (uint64_t)best.across * best.down;
    if (!best.passes || tiles < least || (tiles == least && s.passes < best.passes)) best = s;
  }
  best.lines_bytes = tile->warps_m * lines_of_warp(graph_type(g, node->result), tile->n);
  best.shared_bytes = best.weight_bytes + best.table_bytes + 2 * best.patch_bytes + best.lines_bytes;
  *out = best;
  return best.passes != 0;
}
