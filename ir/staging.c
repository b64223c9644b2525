/* Shared memory of layers on wgmma (staging.h). */
#include "staging.h"

#include "lines.h"

LevelMap weight_storage(const Type *t, bool planes, bool *as_level) {
  LevelMap map = type_level_map(t);
  int32_t bias = planes && t->kind != ELEM_UINT ? 1 << (t->bits - 1) : 0;
  *as_level = !planes && type_level_min(t) >= INT8_MIN && type_level_max(t) <= INT8_MAX;
  return *as_level ? (LevelMap){1, 0} : (LevelMap){map.mult, map.offset + map.mult * bias};
}

uint32_t staging_tap_shift(const Graph *g, const Node *node, uint32_t tap) {
  if (node->op == OP_LINEAR) return 0;
  const Attrs *a = &node->attrs;
  uint32_t row_pitch = graph_type(g, node->inputs[0])->layout.row_pitch, width = (uint32_t)a->kernel[1];
  return tap / width * (uint32_t)a->dilation[0] * row_pitch + tap % width * (uint32_t)a->dilation[1];
}

static uint32_t filter_width(const Node *node) {
  return node->op == OP_CONV2D ? (uint32_t)node->attrs.kernel[1] : 1;
}

uint32_t staging_tap_slot(const Node *node, const Staging *s, uint32_t tap) {
  return tap % filter_width(node) % s->joined;
}

uint32_t staging_tap_piece(const Graph *g, const Node *node, const Staging *s, uint32_t tap) {
  tap -= staging_tap_slot(node, s, tap);
  uint32_t shift = staging_tap_shift(g, node, tap), piece = 0;
  for (uint32_t other = 0; other < s->taps; other++) {
    if (staging_tap_slot(node, s, other)) continue;
    uint32_t its_shift = staging_tap_shift(g, node, other);
    piece += its_shift < shift || (its_shift == shift && other < tap);
  }
  return piece;
}

enum { MOST_COLUMNS = 256 }; /* of an instruction */

/* The most taps of a filter's row for which a piece has room, no more than there are. Sums of the input are those of
 * columns then, for which a tile of 256 has no room, and rows of the filter keep their order. */
static void join_taps(Staging *s, const Graph *g, const Node *node, const Tile *tile) {
  enum { MOST_JOINED = 4 };
  const Type *x = graph_type(g, node->inputs[0]);
  uint32_t width = filter_width(node), channels = (uint32_t)type_channels(x);
  s->joined = 1;
  s->join_shift = width > 1 ? staging_tap_shift(g, node, 1) : 0;
  bool in_order = s->taps <= width || staging_tap_shift(g, node, width - 1) < staging_tap_shift(g, node, width);
  bool joins = tile->resident == RESIDENT && engine_uses_planes(node->engine) && s->blocks == 1 && in_order;
  if (joins && tile->n + SUM_ROWS <= MOST_COLUMNS)
    while (s->joined < width && 2 * s->joined * channels <= layout_piece_channels(x->layout) &&
           s->joined < MOST_JOINED)
      s->joined *= 2;
  s->row_pieces = ceil_div(width, s->joined);
  s->filter_pieces = s->taps / width * s->row_pieces;
}

/* The sum counts in 64 bits: where it fits shared memory, so do its parts their 32. */
static void size_stages(Staging *s, const Tile *tile) {
  uint64_t chunk = (uint64_t)s->pieces * s->weight_rows * PIECE_BYTES;
  uint64_t packed = (uint64_t)s->pieces * tile->n * PIECE_BYTES;
  uint64_t weights = tile->resident ? s->weight_planes * s->chunks * chunk : 0;
  uint64_t window = (uint64_t)s->chunk_blocks * s->input_rows * PIECE_BYTES;
  uint64_t stage = tile->resident ? s->input_planes * window : window + chunk;
  s->chunk_bytes = (uint32_t)chunk;
  s->packed_bytes = (uint32_t)packed;
  s->window_bytes = (uint32_t)window;
  s->stage_bytes = (uint32_t)stage;
  s->resident_bytes = (uint32_t)weights;
  s->tables = !s->table_bytes ? 0 : tile->resident ? 1 : 2;
  s->fulls = tile->resident ? s->input_planes * s->parts : 1;
  s->barrier_bytes = 8 * s->walks * tile->stages * (s->fulls + 1);
  s->barrier_bytes += 8 * (tile->resident ? s->weight_planes * s->parts : 2 * s->tables);
  s->sums_bytes = 4 * s->summed * (tile->warps_m / 4u);
  uint64_t sums = (uint64_t)s->sums_bytes * (tile->resident ? tile->stages : 1);
  s->shared_bytes = (uint64_t)s->walks * tile->stages * stage + weights + (uint64_t)s->tables * s->table_bytes +
                    s->lines_bytes + s->barrier_bytes + sums;
}

/* The most parts that are equal, of so many products that the wait for a part is short beside them. A group of warps by
 * itself would leave the tensor cores idle for each. */
static uint32_t parts_of(const Staging *s, const Tile *tile) {
  enum { LEAST_PRODUCTS = 2 };
  uint32_t products = s->pieces / 2, parts = tile->resident && tile->warps_m > 4 ? MOST_PARTS : 1;
  while (parts > 1 && (products % parts || products / parts < LEAST_PRODUCTS)) parts--;
  return parts;
}

uint32_t staging_blocks_before(const Staging *s, uint32_t part) {
  uint32_t pieces = part * s->part_pieces < s->real_pieces ? part * s->part_pieces : s->real_pieces;
  return ceil_div(pieces, s->filter_pieces);
}

uint64_t staging_image_rows(const Graph *g, const Node *node, const Tile *tile) {
  if (!staging_gathers(tile)) return layout_image_positions(graph_type(g, node->inputs[0]));
  Image image = type_image(&node->main_type);
  return (uint64_t)image.height * (uint64_t)image.width;
}

/* From the first position of a tile to its last: the most, where the second row is the first of an image. */
static uint32_t tile_positions(const Graph *g, const Node *node, const Tile *tile) {
  if (!staging_gathers(tile)) return tile->m;
  Layout l = graph_type(g, node->inputs[0])->layout;
  Image image = type_image(&node->main_type);
  uint32_t width = (uint32_t)image.width, height = (uint32_t)image.height, steps = tile->m - 1u;
  return tile->m + ceil_div(steps, width) * (l.row_pitch - width) +
         ceil_div(steps, width * height) * (l.image_pitch - height * l.row_pitch);
}

/* A row of a word or of four for each channel, where the epilogue is thresholds alone. */
static uint32_t table_bytes(const Graph *g, const Node *node, const Tile *tile) {
  if (node->step_count != 1 || node->steps[0].op != OP_THRESHOLDS) return 0;
  bool is_word = node->steps[0].arg_count == 2 && graph_type(g, node->result)->bits == 1;
  return tile->n * (is_word ? 4u : 16u);
}

/* Sums beside the products take about as long as so many pieces times columns, whatever the tile; the windows of a
 * streamed convolution would be gone through with each chunk. Instructions of 256 columns have no room for more. */
static void share_out_sums(Staging *s, const Tile *tile) {
  enum { LEAST_PRODUCTS = 2048 };
  uint64_t products = (uint64_t)s->pieces * s->chunks * s->weight_planes * s->input_planes * tile->n;
  bool pays = products >= LEAST_PRODUCTS && (tile->resident || s->taps == 1) && s->joined == 1;
  pays = pays || staging_gathers(tile);
  if (pays || tile->n + SUM_ROWS > MOST_COLUMNS)
    s->summed = staging_gathers(tile) ? s->input_rows : staging_group_rows(tile) + s->halo;
  else
    s->weight_rows += SUM_ROWS;
}

Staging staging_of(const Graph *g, const Node *node, const Tile *tile) {
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  bool planes = engine_uses_planes(node->engine), as_level;
  Staging s = {.taps = w->rank == 4 ? (uint32_t)(w->dim[1] * w->dim[2]) : 1};
  s.blocks = x->layout.pitch / layout_piece_channels(x->layout);
  s.weight_planes = planes ? w->bits : 1;
  s.input_planes = planes ? x->bits : 1;
  s.chunk_blocks = tile->k * 4u / PIECE_BYTES;
  s.chunks = ceil_div(s.blocks, s.chunk_blocks);
  join_taps(&s, g, node, tile);
  s.real_pieces = s.filter_pieces * s.chunk_blocks;
  s.pieces = (s.real_pieces + 1) / 2 * 2;
  s.parts = parts_of(&s, tile);
  s.part_pieces = s.pieces / s.parts;
  s.halo = staging_tap_shift(g, node, s.taps - 1);
  if (node->op == OP_CONV2D)
    s.shift = (uint32_t)node->attrs.pad[0] * x->layout.row_pitch + (uint32_t)node->attrs.pad[1];
  s.input_rows = tile_positions(g, node, tile) + s.halo;
  s.walks = staging_walks(tile);
  s.weight_rows = tile->n;
  if (weight_storage(w, planes, &as_level).offset) share_out_sums(&s, tile);
  s.table_bytes = table_bytes(g, node, tile);
  s.lines_bytes = tile->warps_m * lines_of_warp(graph_type(g, node->result), tile->n);
  size_stages(&s, tile);
  return s;
}
