/* Packs the weights of a tensor-core layer in the order in which its input is stored, and works out the corrections
 * that zero points and padding ask for (weights.h).
 */
#include "weights.h"

#include "../ir/gemv.h"
#include "../ir/patch.h"
#include "../ir/skinny.h"
#include "../ir/staging.h"
#include "../ir/strip.h"

#include <string.h>

/* How the input is stored: level = mult * stored - offset. */
static LevelMap input_map(const Type *t) {
  LevelMap map = type_level_map(t);
  return (LevelMap){map.mult, map.offset + map.mult * stored_bias(t)};
}

typedef struct Packing {
  const Graph *graph;
  const Node *node;
  const Type *input;
  const uint8_t *q; /* [O][KH][KW][I], two's complement for signed types */
  int32_t channels_out, kernel_h, kernel_w, channels_in;
  uint32_t *place_of_channel; /* bit of the input's planes, or byte */
  Staging staging;            /* of pieces */
  uint32_t *piece_of_tap;     /* of a block */
  Skinny skinny;              /* of streams */
  Gemv gemv;                  /* of steps */
  Patch patch;                /* of fragments */
  Strips strips;              /* of strips */
  LevelMap map;               /* of stored weights */
  uint8_t stored[256];        /* by the byte of q */
  int32_t level[256];
} Packing;

/* What gemv_s8 widens. */
static void choose_few_bits(Packing *s, PackedWeights *w, const Type *t) {
  GemvWeights few = gemv_weights(t);
  for (int32_t q = type_q_min(t); q <= type_q_max(t); q++)
    s->stored[q & 255] = gemv_weight_in_memory(&few, s->level[q & 255]);
  s->map = few.map;
  w->is_signed = few.is_signed;
}

static void choose_storage(Packing *s, PackedWeights *w, const Type *t) {
  bool planes = engine_uses_planes(s->node->engine), is_signed = t->kind != ELEM_UINT, as_level;
  LevelMap map = type_level_map(t);
  int32_t bias = planes && is_signed ? 1 << (t->bits - 1) : 0;
  s->map = weight_storage(t, planes, &as_level);
  for (int32_t q = type_q_min(t); q <= type_q_max(t); q++) {
    int32_t level = map.mult * q - map.offset;
    s->level[q & 255] = level;
    s->stored[q & 255] = (uint8_t)(as_level ? level : q + bias);
  }
  w->planes = planes ? t->bits : 1;
  w->is_signed = as_level || is_signed;
  if (s->node->engine == ENGINE_GEMV_S8) choose_few_bits(s, w, t);
}

static const uint8_t *weights_at(const Packing *s, int32_t o, int32_t tap) {
  return s->q + ((int64_t)o * s->kernel_h * s->kernel_w + tap) * s->channels_in;
}

/* The words of one filter tap: [plane][word], channels in the order of the input. */
static void pack_tap(const Packing *s, const PackedWeights *w, int32_t o, int32_t tap, uint32_t *words) {
  const uint8_t *q = weights_at(s, o, tap);
  memset(words, 0, sizeof *words * (size_t)(w->planes * w->words));
  for (int32_t c = 0; c < s->channels_in; c++) {
    uint32_t stored = s->stored[q[c]], bit = s->place_of_channel[c];
    if (!engine_uses_planes(s->node->engine)) {
      words[bit / 4] |= stored << bit % 4 * 8;
      continue;
    }
    for (int plane = 0; plane < w->planes; plane++)
      words[plane * w->words + (int32_t)(bit / 32)] |= (stored >> plane & 1) << bit % 32;
  }
}

/* Puts the words of a tap and plane where the kernel reads them. */
typedef void (*PutWords)(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap, const uint32_t *words);

static void pack(const Packing *s, PackedWeights *w, PutWords put) {
  uint32_t *words = ARENA_NEW(s->graph->context, uint32_t, w->planes * w->words);
  for (int32_t o = 0; o < s->channels_out; o++)
    for (int32_t tap = 0; tap < w->taps; tap++) {
      pack_tap(s, w, o, tap, words);
      for (int plane = 0; plane < w->planes; plane++) put(s, w, plane, o, tap, words + plane * w->words);
    }
}

static void put_in_row(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap, const uint32_t *words) {
  (void)s;
  uint32_t *row = w->data + ((int64_t)plane * w->rows + o) * w->row_words;
  memcpy(row + (int64_t)tap * w->words, words, sizeof *words * (size_t)w->words);
}

/* --- pieces (../ir/staging.h): [tile of channels][plane][chunk][part][group of 8 rows][piece][row] of 16 bytes --- */

/* A piece of a chunk in a row of the tile of channels. */
static uint32_t *piece_row(const Packing *s, PackedWeights *w, uint64_t chunk, uint64_t piece, uint32_t row) {
  const Staging *g = &s->staging;
  uint64_t part = piece / g->part_pieces, lines = (uint64_t)g->part_pieces * s->node->tile.n;
  uint64_t line = part * lines + (row / 8 * g->part_pieces + piece % g->part_pieces) * 8 + row % 8;
  return w->data + (chunk * g->packed_bytes + line * PIECE_BYTES) / 4;
}

static void put_in_pieces(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap,
                          const uint32_t *words) {
  enum { WORDS = PIECE_BYTES / 4 };
  uint32_t n = s->node->tile.n, tile = (uint32_t)o / n, row = (uint32_t)o % n;
  uint32_t slot_bits = 32 / s->staging.joined * staging_tap_slot(s->node, &s->staging, (uint32_t)tap);
  const Staging *g = &s->staging;
  for (uint32_t block = 0; block < g->blocks; block++) {
    uint64_t chunk = ((uint64_t)tile * g->weight_planes + (uint32_t)plane) * g->chunks + block / g->chunk_blocks;
    uint32_t piece = block % g->chunk_blocks * g->filter_pieces + s->piece_of_tap[tap];
    for (uint32_t i = 0; i < WORDS; i++) {
      bool permuted = staging_gathers(&s->node->tile);
      uint32_t in_pair = piece % 2 * WORDS + i;
      uint32_t at = permuted ? piece - piece % 2 + in_pair % 2 : piece, word = permuted ? in_pair / 2 : i;
      piece_row(s, w, chunk, at, row)[word] |= words[block * WORDS + i] << slot_bits;
    }
  }
}

/* --- streams (../ir/skinny.h): rows are channels in the order of the result --- */

static uint32_t *stream_row(const Packing *s, PackedWeights *w, int plane, uint32_t block, uint32_t row) {
  const Skinny *k = &s->skinny;
  uint32_t split = s->node->tile.split_k, rank = block / k->share_blocks, in_share = block % k->share_blocks;
  uint64_t share = (uint64_t)(row / SKINNY_ROWS) * split + rank;
  uint64_t chunk = (share * k->weight_planes + k->weight_planes - 1 - (uint32_t)plane) * k->chunks;
  chunk += in_share / k->chunk_blocks;
  uint64_t line = (uint64_t)(in_share % k->chunk_blocks) * SKINNY_ROWS + row % SKINNY_ROWS;
  return w->data + (chunk * k->chunk_bytes + line * PIECE_BYTES) / 4;
}

static uint32_t row_of_result(const Packing *s, int32_t o) {
  Layout l = graph_type(s->graph, s->node->result)->layout;
  return layout_orders_channels(l) ? layout_bit_of_channel(l, (uint32_t)o) : (uint32_t)o;
}

static void put_in_stream(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap,
                          const uint32_t *words) {
  (void)tap;
  uint32_t row = row_of_result(s, o);
  for (uint32_t block = 0; block < s->skinny.blocks; block++)
    memcpy(stream_row(s, w, plane, block, row), words + block * (PIECE_BYTES / 4), PIECE_BYTES);
}

/* --- steps (../ir/gemv.h): rows are channels in the order of the result --- */

/* The first word of a unit's step: the fragments of the two row tiles and of the halves of its units. */
static uint32_t *step_words(const Packing *s, PackedWeights *w, int plane, uint32_t unit, uint32_t row) {
  const Gemv *k = &s->gemv;
  uint32_t falling = k->weight_planes - 1 - (uint32_t)plane;
  uint64_t warp = (uint64_t)(row / GEMV_ROWS) * s->node->tile.warps_m + unit / k->units;
  uint32_t step = (falling * k->units + unit % k->units) / k->step_units;
  return w->data + (warp * k->warp_bytes + step * k->step_loads * GEMV_FRAGMENT_BYTES) / 4;
}

/* Word `at` of a lane's fragments in a step joins those that share a word of memory with it. */
static void put_in_step(const Gemv *k, uint32_t *step, uint32_t lane, uint32_t at, uint32_t word) {
  uint32_t in_word = 8 / k->byte_bits, in_memory = at / in_word;
  uint32_t *to = &step[in_memory / 4 * (GEMV_FRAGMENT_BYTES / 4) + lane * 4 + in_memory % 4];
  *to |= word << (8 - k->byte_bits) >> at % in_word * k->byte_bits;
}

static void put_in_steps(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap, const uint32_t *words) {
  (void)tap;
  uint32_t row = row_of_result(s, o);
  for (uint32_t i = 0; i < s->gemv.blocks * 4; i++) {
    uint32_t block = i / 4, word = i % 4, lane = row % 8 * 4 + block % GEMV_UNIT_BLOCKS;
    uint32_t unit = block / GEMV_UNIT_BLOCKS, in_step = unit % s->gemv.step_units;
    uint32_t fragment = in_step * GEMV_UNIT_FRAGMENTS + row % GEMV_ROWS / 16 * 2 + word / 2;
    uint32_t *step = step_words(s, w, plane, unit, row);
    put_in_step(&s->gemv, step, lane, fragment * 4 + word % 2 * 2 + row % 16 / 8, words[i]);
  }
}

/* --- fragments (../ir/patch.h): words in the order in which lanes read them, 16 bytes each --- */

static void put_in_fragments(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap,
                             const uint32_t *words) {
  (void)plane;
  const Patch *p = &s->patch;
  uint32_t n = s->node->tile.n, tile = (uint32_t)o / n, column = (uint32_t)o % n;
  for (uint32_t i = 0; i < p->words; i++) {
    uint32_t in_row = (uint32_t)(tap % s->kernel_w) * p->words + i;
    uint32_t unit = (uint32_t)(tap / s->kernel_w) * p->row_units + in_row / 4;
    uint32_t pair = (tile * p->steps + unit / 2) * (n / 16) + column / 16, lane = column % 8 * 4 + in_row % 4;
    w->data[((uint64_t)pair * 32 + lane) * 4 + column % 16 / 8 * 2 + unit % 2] = words[i];
  }
}

/* --- strips (../ir/strip.h): [tile of channels][group of 8 rows][unit][row] of 16 bytes --- */

static void put_in_strips(const Packing *s, PackedWeights *w, int plane, int32_t o, int32_t tap,
                          const uint32_t *words) {
  (void)plane;
  const Strips *k = &s->strips;
  uint32_t n = s->node->tile.n, tile = (uint32_t)o / n, row = (uint32_t)o % n, column = (uint32_t)(tap % s->kernel_w);
  uint32_t unit = (uint32_t)(tap / s->kernel_w) * k->row_strips + column / k->taps;
  uint32_t *strip = w->data + (((tile * (n / 8) + row / 8) * (2 * k->steps) + unit) * 8 + row % 8) * (STRIP_BYTES / 4);
  for (uint32_t c = 0; c < k->pixel_bytes; c++) {
    uint32_t at = column % k->taps * k->pixel_bytes + c;
    strip[at / 4] |= (words[c / 4] >> c % 4 * 8 & 255) << at % 4 * 8;
  }
}

/* Which taps of one dimension lie inside the image at each output position, as [first, last). */
typedef struct Span {
  int32_t first, last;
} Span;

static Span span_at(int32_t position, int32_t kernel, int32_t stride, int32_t pad, int32_t dilation, int32_t size) {
  Span s = {kernel, kernel};
  for (int32_t k = kernel - 1; k >= 0; k--) {
    int32_t at = position * stride - pad + k * dilation;
    if (at < 0 || at >= size) continue;
    if (s.first == kernel) s.last = k + 1;
    s.first = k;
  }
  return s;
}

/* Numbers the different spans of a dimension; returns how many there are. */
static int32_t classify(const Packing *s, int dim, int32_t size_in, int32_t size_out, Span *spans, uint32_t *classes) {
  const Attrs *a = &s->node->attrs;
  int32_t count = 0;
  for (int32_t i = 0; i < size_out; i++) {
    Span here = span_at(i, a->kernel[dim], a->stride[dim], a->pad[dim], a->dilation[dim], size_in);
    int32_t found = 0;
    while (found < count && (spans[found].first != here.first || spans[found].last != here.last)) found++;
    if (found == count) spans[count++] = here;
    classes[i] = (uint32_t)found;
  }
  return count;
}

/* Sums of one output channel's weight levels over rectangles of taps, by a table: sums[r][c] is over the first r rows
 * and c columns of taps. */
static void sum_taps(const Packing *s, int32_t o, int64_t *sums) {
  int32_t width = s->kernel_w + 1;
  for (int32_t tap = 0; tap < s->kernel_h * s->kernel_w; tap++) {
    const uint8_t *q = weights_at(s, o, tap);
    int64_t sum = 0;
    for (int32_t c = 0; c < s->channels_in; c++) sum += s->level[q[c]];
    int64_t *above = &sums[(int64_t)(tap / s->kernel_w) * width + tap % s->kernel_w], *here = above + width;
    here[1] = sum + here[0] + above[1] - above[0];
  }
}

static int64_t sum_inside(const Packing *s, const int64_t *sums, Span rows, Span columns) {
  int64_t width = s->kernel_w + 1;
  if (rows.first >= rows.last || columns.first >= columns.last) return 0;
  return sums[rows.last * width + columns.last] - sums[rows.first * width + columns.last] -
         sums[rows.last * width + columns.first] + sums[rows.first * width + columns.first];
}

/* border of every class. Like all parts of an accumulator it counts modulo 2^32: only their sum is known to fit. */
static void fill_border(const Packing *s, PackedWeights *w, int32_t offset_in, int32_t pad_level, const Span *rows,
                        int32_t row_count, const Span *columns) {
  int64_t *sums = ARENA_NEW(s->graph->context, int64_t, (int64_t)(s->kernel_h + 1) * (s->kernel_w + 1));
  Span all_rows = {0, s->kernel_h}, all_columns = {0, s->kernel_w};
  for (int32_t o = 0; o < s->channels_out; o++) {
    sum_taps(s, o, sums);
    int64_t all = sum_inside(s, sums, all_rows, all_columns);
    for (int32_t r = 0; r < row_count; r++)
      for (int32_t k = 0; k < w->column_classes; k++) {
        int64_t inside = sum_inside(s, sums, rows[r], columns[k]);
        int64_t border = (all - inside) * pad_level - inside * offset_in;
        w->border[((int64_t)r * w->column_classes + k) * w->rows + o] = (int32_t)(uint32_t)border;
      }
  }
}

static void make_border(const Packing *s, PackedWeights *w, int32_t offset_in) {
  Context *c = s->graph->context;
  int32_t pad_level = s->node->attrs.pad_level;
  const Attrs *a = &s->node->attrs;
  bool padded = a->pad[0] || a->pad[1] || a->pad[2] || a->pad[3];
  w->class_count = w->column_classes = 1;
  if (!offset_in && !(padded && pad_level)) return;
  Image in = type_image(s->input), out = type_image(&s->node->main_type);
  Span *rows = ARENA_NEW(c, Span, out.height), *columns = ARENA_NEW(c, Span, out.width);
  w->row_class = ARENA_NEW(c, uint32_t, out.height);
  w->column_class = ARENA_NEW(c, uint32_t, out.width);
  int32_t row_count = classify(s, 0, in.height, out.height, rows, w->row_class);
  w->column_classes = classify(s, 1, in.width, out.width, columns, w->column_class);
  w->class_count = row_count * w->column_classes;
  w->border = ARENA_NEW(c, int32_t, (int64_t)w->class_count * w->rows);
  fill_border(s, w, offset_in, pad_level, rows, row_count, columns);
}

/* What both orders have in common; data is still missing. */
static PackedWeights begin(Packing *s, const Graph *g, const Node *node) {
  const Value *weight = graph_value(g, node->inputs[1]);
  const Type *t = &weight->type;
  bool conv = t->rank == 4;
  *s = (Packing){.graph = g, .node = node, .input = graph_type(g, node->inputs[0]), .q = weight->data};
  s->channels_out = t->dim[0];
  s->kernel_h = conv ? t->dim[1] : 1;
  s->kernel_w = conv ? t->dim[2] : 1;
  s->channels_in = t->dim[t->rank - 1];
  s->place_of_channel = ARENA_NEW(g->context, uint32_t, s->channels_in);
  for (uint32_t c = 0; c < (uint32_t)s->channels_in; c++)
    s->place_of_channel[c] = layout_orders_channels(s->input->layout) ? layout_bit_of_channel(s->input->layout, c) : c;
  PackedWeights w = {.taps = s->kernel_h * s->kernel_w};
  choose_storage(s, &w, t);
  w.words = (int32_t)s->input->layout.pitch / (engine_uses_planes(node->engine) ? 32 : 4);
  w.rows = (s->channels_out + CHANNEL_PADDING - 1) / CHANNEL_PADDING * CHANNEL_PADDING;
  return w;
}

static void correct(const Packing *s, PackedWeights *w) {
  LevelMap in = input_map(s->input);
  w->product_scale = s->map.mult * in.mult;
  w->sum_scale = s->map.offset * in.mult;
  make_border(s, w, in.offset);
}

PackedWeights weights_pack(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  w.row_words = (w.taps * w.words + node->tile.k - 1) / node->tile.k * node->tile.k;
  w.bytes = (size_t)w.planes * (size_t)w.rows * (size_t)w.row_words * 4;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_row);
  correct(&s, &w);
  return w;
}

PackedWeights weights_pack_fragments(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  s.patch = patch_of(g, node, &node->tile);
  w.words = (int32_t)s.patch.words;
  w.bytes = (size_t)tile_count_of_channels(&node->tile, graph_type(g, node->result)) * s.patch.weight_bytes;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_fragments);
  correct(&s, &w);
  return w;
}

PackedWeights weights_pack_strips(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  strips_of(g, node, &node->tile, &s.strips);
  w.words = (int32_t)ceil_div(s.strips.pixel_bytes, 4);
  w.bytes = (size_t)tile_count_of_channels(&node->tile, graph_type(g, node->result)) * s.strips.weight_bytes;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_strips);
  correct(&s, &w);
  return w;
}

PackedWeights weights_pack_pieces(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  s.staging = staging_of(g, node, &node->tile);
  s.piece_of_tap = ARENA_NEW(g->context, uint32_t, s.staging.taps);
  for (uint32_t tap = 0; tap < s.staging.taps; tap++)
    s.piece_of_tap[tap] = staging_tap_piece(g, node, &s.staging, tap);
  uint32_t tiles = tile_count_of_channels(&node->tile, graph_type(g, node->result));
  w.bytes = (size_t)tiles * s.staging.weight_planes * s.staging.chunks * s.staging.packed_bytes;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_pieces);
  correct(&s, &w);
  return w;
}

PackedWeights weights_pack_stream(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  const Skinny *k = &s.skinny;
  s.skinny = skinny_of(g, node, &node->tile);
  w.bytes = (size_t)k->row_tiles * node->tile.split_k * k->weight_planes * k->chunks * k->chunk_bytes;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_stream);
  correct(&s, &w);
  return w;
}

PackedWeights weights_pack_steps(const Graph *g, const Node *node) {
  Packing s;
  PackedWeights w = begin(&s, g, node);
  const Gemv *k = &s.gemv;
  s.gemv = gemv_of(g, node, &node->tile);
  w.bytes = (size_t)k->row_tiles * node->tile.warps_m * k->warp_bytes;
  w.data = arena_alloc(g->context, w.bytes);
  pack(&s, &w, put_in_steps);
  correct(&s, &w);
  return w;
}
