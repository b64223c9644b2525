/* Shared memory of layers on patches (patch.h). */
#include "patch.h"

#include "lines.h"

/* Far more than shared memory has in a row or a column, small enough for products of two. */
enum { MOST_SIDE = 1 << 24 };

static uint32_t words_of(const Type *input) {
  int32_t channels = type_channels(input);
  return channels <= 4 ? 1 : channels <= 8 ? 2 : 4;
}

static uint32_t row_units(const Graph *g, const Node *node) {
  uint32_t taps = (uint32_t)graph_type(g, node->inputs[1])->dim[2];
  return ceil_div(taps * words_of(graph_type(g, node->inputs[0])), 4);
}

bool patch_serves(const Graph *g, const Node *node) {
  if (node->op != OP_CONV2D || node->attrs.groups != 1) return false;
  Image in = type_image(graph_type(g, node->inputs[0]));
  return in.channels <= MOST_PATCH_CHANNELS && in.width <= MOST_SIDE && patch_steps(g, node) <= MOST_PATCH_STEPS;
}

uint32_t patch_steps(const Graph *g, const Node *node) {
  return ceil_div((uint32_t)graph_type(g, node->inputs[1])->dim[1] * row_units(g, node), 2);
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
  p->across = ceil_div(width, p->columns);
  p->down = ceil_div(height, p->rows);
}

static void size_elements(Patch *p, const Type *input, const Attrs *a) {
  Layout l = input->layout;
  Image image = type_image(input);
  bool dense = l.kind == LAYOUT_NONE || l.pitch == (uint32_t)image.channels;
  p->group = dense && image.channels < 4 && image.width % 4 == 0 ? 4 : 1;
  p->lead = p->group == 4 ? (4 - (uint32_t)a->pad[1] % 4) % 4 : 0;
  p->width = ceil_div(p->width + p->lead, p->group) * p->group;
  p->vector = p->group == 4 ? 4 : l.pitch == 4 * p->words ? p->words : 1;
}

static void size_patch(Patch *p, const Graph *g, const Node *node, uint32_t threads) {
  const Attrs *a = &node->attrs;
  p->width = side(p->columns, a->stride[1], 4 * p->row_units / p->words, a->dilation[1]);
  p->height = side(p->rows, a->stride[0], (uint32_t)graph_type(g, node->inputs[1])->dim[1], a->dilation[0]);
  size_elements(p, graph_type(g, node->inputs[0]), a);
  p->pitch = p->width * p->words;
  p->row_elements = p->pitch / p->vector;
  p->pass_rows = p->row_elements < threads ? threads / p->row_elements : 1;
  if (p->pass_rows > p->height) p->pass_rows = p->height;
  p->passes = ceil_div(p->height, p->pass_rows);
  p->patch_bytes = 4 * (uint64_t)p->pitch * p->height;
}

uint64_t patch_elements_of_thread(const Patch *p, const Tile *tile) {
  return (uint64_t)p->passes * ceil_div(p->row_elements, 32u * tile->warps_m);
}

/* The shape with the fewest tiles, and of those the one that is filled soonest. */
static Patch shaped(Patch p, const Graph *g, const Node *node, const Tile *tile) {
  static const uint32_t columns[] = {16, 8, 32};
  Patch best = {0};
  for (int i = 0; i < 3; i++) {
    size_tile(&p, graph_type(g, node->result), tile->m, columns[i]);
    size_patch(&p, g, node, 32u * tile->warps_m);
    uint64_t tiles = (uint64_t)p.across * p.down, least = (uint64_t)best.across * best.down;
    bool sooner = patch_elements_of_thread(&p, tile) < patch_elements_of_thread(&best, tile);
    if (i == 0 || tiles < least || (tiles == least && sooner)) best = p;
  }
  return best;
}

Patch patch_of(const Graph *g, const Node *node, const Tile *tile) {
  Patch p = {.words = words_of(graph_type(g, node->inputs[0])), .row_units = row_units(g, node)};
  p.units = p.row_units * (uint32_t)graph_type(g, node->inputs[1])->dim[1];
  p.steps = ceil_div(p.units, 2);
  p = shaped(p, g, node, tile);
  p.weight_bytes = p.steps * tile->n * 32;
  p.lines_bytes = tile->warps_m * lines_of_warp(graph_type(g, node->result), tile->n);
  p.shared_bytes = p.weight_bytes + 2 * p.patch_bytes + p.lines_bytes;
  return p;
}
