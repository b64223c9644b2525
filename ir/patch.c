/* Shared memory of layers on patches (patch.h). */
#include "patch.h"

/* Far more than shared memory has in a row or a column, small enough for products of two. */
enum { MOST_SIDE = 1 << 24 };

static uint32_t divide_up(uint32_t a, uint32_t b) {
  return (a + b - 1) / b;
}

static uint32_t words_of(const Type *input) {
  int32_t channels = type_channels(input);
  return channels <= 4 ? 1 : channels <= 8 ? 2 : 4;
}

static uint32_t row_units(const Graph *g, const Node *node) {
  uint32_t taps = (uint32_t)graph_type(g, node->inputs[1])->dim[2];
  return divide_up(taps * words_of(graph_type(g, node->inputs[0])), 4);
}

bool patch_serves(const Graph *g, const Node *node) {
  return node->op == OP_CONV2D && node->attrs.groups == 1 &&
         type_channels(graph_type(g, node->inputs[0])) <= MOST_PATCH_CHANNELS &&
         patch_steps(g, node) <= MOST_PATCH_STEPS;
}

uint32_t patch_steps(const Graph *g, const Node *node) {
  return divide_up((uint32_t)graph_type(g, node->inputs[1])->dim[1] * row_units(g, node), 2);
}

/* Input pixels that `count` windows of `taps` taps span. */
static uint32_t side(uint32_t count, int32_t stride, uint32_t taps, int32_t dilation) {
  uint64_t pixels = (uint64_t)(count - 1) * (uint32_t)stride + (uint64_t)(taps - 1) * (uint32_t)dilation + 1;
  return pixels < MOST_SIDE ? (uint32_t)pixels : MOST_SIDE;
}

static void size_tile(Patch *p, const Type *result, uint32_t positions, uint32_t columns) {
  Image image = type_image(result);
  bool gaps = layout_is_pieces(result->layout);
  uint32_t width = gaps ? result->layout.row_pitch : (uint32_t)image.width;
  uint32_t height = gaps ? result->layout.image_pitch / result->layout.row_pitch : (uint32_t)image.height;
  p->columns = columns;
  p->rows = positions / columns;
  p->across = divide_up(width, p->columns);
  p->down = divide_up(height, p->rows);
}

/* The shape with the fewest tiles, and of those the one with the smallest patch. */
static Patch shaped(Patch p, const Graph *g, const Node *node, uint32_t positions) {
  static const uint32_t columns[] = {16, 8, 32};
  const Attrs *a = &node->attrs;
  uint32_t filter_rows = (uint32_t)graph_type(g, node->inputs[1])->dim[1];
  Patch best = p;
  uint64_t least = 0;
  for (int i = 0; i < 3; i++) {
    size_tile(&p, graph_type(g, node->result), positions, columns[i]);
    p.width = side(p.columns, a->stride[1], 4 * p.row_units / p.words, a->dilation[1]);
    p.height = side(p.rows, a->stride[0], filter_rows, a->dilation[0]);
    uint64_t tiles = (uint64_t)p.across * p.down, pixels = (uint64_t)p.width * p.height;
    if (i > 0 && (tiles > (uint64_t)best.across * best.down ||
                  (tiles == (uint64_t)best.across * best.down && pixels >= least)))
      continue;
    best = p;
    least = pixels;
  }
  return best;
}

Patch patch_of(const Graph *g, const Node *node, const Tile *tile) {
  Patch p = {.words = words_of(graph_type(g, node->inputs[0])), .row_units = row_units(g, node)};
  p.units = p.row_units * (uint32_t)graph_type(g, node->inputs[1])->dim[1];
  p.steps = divide_up(p.units, 2);
  p = shaped(p, g, node, tile->m);
  p.pitch = p.width * p.words;
  p.weight_bytes = p.steps * tile->n * 32;
  p.shared_bytes = p.weight_bytes + 4 * (uint64_t)p.pitch * p.height;
  return p;
}
