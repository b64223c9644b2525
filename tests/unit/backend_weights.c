/* Packed weights against direct sums: for every pair of element types, zero points and ways of padding, the formula of
 * backend/weights.h, carried out on the packed words and on an input packed as its layout says, gives the exact sum of
 * products of levels at every output pixel and channel. So do the pieces of layers on wgmma, with the sums of the input
 * taken from the row of ones beside the weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>

#include "../../backend/weights.h"
#include "../../ir/patch.h"
#include "../../ir/staging.h"
#include "../../ir/strip.h"

/* An element type as a test names it. */
typedef struct Elem {
  ElemKind kind;
  int bits, zero2;
} Elem;

static const Elem elems[] = {
    {ELEM_UINT, 1, 1},   {ELEM_TERNARY, 2, 0}, {ELEM_UINT, 1, 0},  {ELEM_UINT, 2, 0},    {ELEM_UINT, 2, 3},
    {ELEM_UINT, 3, 4},   {ELEM_UINT, 4, 15},   {ELEM_UINT, 5, 62}, {ELEM_UINT, 7, 0},    {ELEM_UINT, 8, 0},
    {ELEM_UINT, 8, 255}, {ELEM_INT, 2, 0},     {ELEM_INT, 2, -1},  {ELEM_INT, 3, 2},     {ELEM_INT, 4, 0},
    {ELEM_INT, 6, -7},   {ELEM_INT, 8, 0},     {ELEM_INT, 8, -1},  {ELEM_UINT, 6, -300}, {ELEM_INT, 5, 512},
};
enum { ELEMS = sizeof elems / sizeof *elems };

typedef struct Shape {
  int32_t height, width, channels_in, channels_out, kernel[2], stride[2], pad[4], dilation[2];
} Shape;

static const Shape shapes[] = {
    {5, 4, 7, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   {4, 5, 37, 2, {2, 3}, {1, 2}, {0, 0, 0, 0}, {1, 1}},
    {7, 6, 5, 2, {3, 2}, {2, 1}, {2, 3, 0, 4}, {2, 3}},   {3, 3, 130, 2, {3, 3}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 9, 4, 130, {1, 4}, {1, 3}, {0, 2, 1, 5}, {1, 2}}, {1, 1, 33, 5, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Of stride 1: two blocks of planes, a ragged chunk of three, dilation, several tiles of channels, 1 x 1. */
static const Shape piece_shapes[] = {
    {3, 4, 130, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, {4, 5, 37, 34, {2, 3}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {5, 6, 20, 2, {3, 2}, {1, 1}, {2, 3, 0, 4}, {2, 3}},  {2, 2, 300, 40, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 5, 4, 130, {1, 4}, {1, 1}, {0, 2, 1, 5}, {1, 2}},
};
enum { PIECE_SHAPES = sizeof piece_shapes / sizeof *piece_shapes };

static uint64_t seed = 7;
static int32_t draw(int32_t least, int32_t most) {
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return least + (int32_t)((seed >> 33) % (uint64_t)(most - least + 1));
}

static void *random_q(Context *c, const Type *t) {
  uint8_t *data = arena_alloc(c, type_dense_bytes(t));
  for (int64_t i = 0; i < type_elements(t); i++) data[i] = (uint8_t)draw(type_q_min(t), type_q_max(t));
  return data;
}

static int32_t q_at(const Type *t, const void *data, int64_t index) {
  return t->kind == ELEM_UINT ? ((const uint8_t *)data)[index] : ((const int8_t *)data)[index];
}

static int32_t level_at(const Type *t, const void *data, int64_t index) {
  LevelMap map = type_level_map(t);
  return map.mult * q_at(t, data, index) - map.offset;
}

/* --- a layer and its input --- */

typedef struct Layer {
  Graph *g;
  Type in, weight;
  const void *in_data, *weight_data;
  Node node;
  Image out;
} Layer;

static Type type_of(Elem e, bool batched, int rank, const int32_t *dim) {
  Type t = type_make(e.kind, e.bits, batched, rank, dim);
  t.zero2 = (int16_t)e.zero2;
  return t;
}

static int32_t windows(int32_t size, int32_t pads, int32_t kernel, int32_t dilation, int32_t stride) {
  return (size + pads - ((kernel - 1) * dilation + 1)) / stride + 1;
}

static Layer make_layer(Context *c, const Shape *s, Elem x, Elem w, Engine engine, int block, int step) {
  Layer l = {.g = graph_new(c, "test")};
  l.in = type_of(x, true, 3, (int32_t[]){s->height, s->width, s->channels_in});
  l.in.layout = engine_uses_planes(engine) ? layout_planes(&l.in, block) : layout_bytes(&l.in, 4);
  l.weight = type_of(w, false, 4, (int32_t[]){s->channels_out, s->kernel[0], s->kernel[1], s->channels_in});
  l.in_data = random_q(c, &l.in);
  l.weight_data = random_q(c, &l.weight);
  l.out.height = windows(s->height, s->pad[0] + s->pad[2], s->kernel[0], s->dilation[0], s->stride[0]);
  l.out.width = windows(s->width, s->pad[1] + s->pad[3], s->kernel[1], s->dilation[1], s->stride[1]);
  l.out.channels = s->channels_out;
  ValueId *inputs = ARENA_NEW(c, ValueId, 2);
  inputs[0] = graph_add_input(l.g, "x", l.in);
  inputs[1] = graph_add_const(l.g, "w", l.weight, l.weight_data);
  l.node = (Node){.op = OP_CONV2D, .attrs = attrs_default(), .inputs = inputs, .input_count = 2, .engine = engine};
  memcpy(l.node.attrs.kernel, s->kernel, sizeof s->kernel);
  memcpy(l.node.attrs.stride, s->stride, sizeof s->stride);
  memcpy(l.node.attrs.pad, s->pad, sizeof s->pad);
  memcpy(l.node.attrs.dilation, s->dilation, sizeof s->dilation);
  int32_t q = draw(type_q_min(&l.in), type_q_max(&l.in));
  LevelMap map = type_level_map(&l.in);
  l.node.attrs.pad_level = type_has_zero(&l.in) ? 0 : map.mult * q - map.offset;
  l.node.main_type = type_make(ELEM_I32, 32, true, 3, (int32_t[]){l.out.height, l.out.width, l.out.channels});
  l.node.tile.k = (uint16_t)step;
  return l;
}

/* The words of all pixels, laid out as type.h says. */
static uint32_t *pack_input(Context *c, const Layer *l) {
  const Type *t = &l->in;
  size_t pixel_bytes = layout_pixel_bytes(t);
  uint8_t *packed = arena_alloc(c, layout_image_bytes(t));
  int32_t channels = type_channels(t);
  for (int64_t i = 0; i < type_elements(t); i++) {
    uint8_t *pixel = packed + (size_t)(i / channels) * pixel_bytes;
    uint32_t channel = (uint32_t)(i % channels), stored = layout_stored_q(t, q_at(t, l->in_data, i));
    if (t->layout.kind == LAYOUT_BYTES) {
      pixel[channel] = (uint8_t)stored;
      continue;
    }
    uint32_t bit = layout_bit_of_channel(t->layout, channel);
    for (int plane = 0; plane < t->bits; plane++)
      pixel[(uint32_t)plane * t->layout.pitch / 8 + bit / 8] |= (uint8_t)((stored >> plane & 1) << bit % 8);
  }
  return (uint32_t *)packed;
}

/* --- both sides of the comparison --- */

/* Input pixel of a tap, or -1 outside the image. */
static int64_t pixel_of_tap(const Layer *l, int32_t y, int32_t x, int32_t tap) {
  const Attrs *a = &l->node.attrs;
  int32_t row = y * a->stride[0] - a->pad[0] + tap / a->kernel[1] * a->dilation[0];
  int32_t column = x * a->stride[1] - a->pad[1] + tap % a->kernel[1] * a->dilation[1];
  bool inside = row >= 0 && row < l->in.dim[0] && column >= 0 && column < l->in.dim[1];
  return inside ? (int64_t)row * l->in.dim[1] + column : -1;
}

static int64_t direct_sum(const Layer *l, int32_t y, int32_t x, int32_t o) {
  int32_t taps = l->weight.dim[1] * l->weight.dim[2], channels = l->weight.dim[3];
  int64_t sum = 0;
  for (int32_t tap = 0; tap < taps; tap++) {
    int64_t pixel = pixel_of_tap(l, y, x, tap);
    for (int32_t c = 0; c < channels; c++) {
      int64_t level = pixel < 0 ? l->node.attrs.pad_level : level_at(&l->in, l->in_data, pixel * channels + c);
      sum += level * level_at(&l->weight, l->weight_data, ((int64_t)o * taps + tap) * channels + c);
    }
  }
  return sum;
}

typedef struct Sums {
  int64_t products, inputs; /* S1, S2 */
} Sums;

static int64_t byte_at(uint32_t word, int i, bool is_signed) {
  uint8_t byte = (uint8_t)(word >> 8 * i);
  return is_signed ? (int8_t)byte : byte;
}

static void add_word(const Layer *l, const PackedWeights *w, uint32_t wide, uint32_t x, int weight_plane, int plane,
                     Sums *s) {
  if (engine_uses_planes(l->node.engine)) {
    s->products += (int64_t)__builtin_popcount(wide & x) << (weight_plane + plane);
    if (weight_plane == 0) s->inputs += (int64_t)__builtin_popcount(x) << plane;
    return;
  }
  for (int i = 0; i < 4; i++) {
    int64_t stored = byte_at(x, i, l->in.kind != ELEM_UINT);
    s->products += byte_at(wide, i, w->is_signed) * stored;
    s->inputs += stored;
  }
}

static int64_t packed_sum(const Layer *l, const PackedWeights *w, const uint32_t *input, int32_t y, int32_t x,
                          int32_t o) {
  Sums s = {0, 0};
  size_t pixel_words = layout_pixel_bytes(&l->in) / 4;
  for (int32_t tap = 0; tap < w->taps; tap++) {
    int64_t pixel = pixel_of_tap(l, y, x, tap);
    if (pixel < 0) continue;
    for (int weight_plane = 0; weight_plane < w->planes; weight_plane++)
      for (int plane = 0; plane < layout_plane_count(&l->in); plane++)
        for (int32_t i = 0; i < w->words; i++) {
          uint32_t wide = w->data[((int64_t)weight_plane * w->rows + o) * w->row_words + tap * w->words + i];
          add_word(l, w, wide, input[(size_t)pixel * pixel_words + (size_t)(plane * w->words + i)], weight_plane, plane,
                   &s);
        }
  }
  int64_t sum = w->product_scale * s.products - w->sum_scale * s.inputs;
  uint32_t class = w->class_count > 1 ? w->row_class[y] * (uint32_t)w->column_classes + w->column_class[x] : 0;
  return w->border ? sum + w->border[(int64_t) class * w->rows + o] : sum;
}

static void check_layer(Context *c, const Shape *s, Elem x, Elem w, Engine engine, int block, int step) {
  Layer l = make_layer(c, s, x, w, engine, block, step);
  PackedWeights packed = weights_pack(l.g, &l.node);
  const uint32_t *input = pack_input(c, &l);
  assert_int_equal(packed.row_words % step, 0);
  assert_int_equal(packed.rows % CHANNEL_PADDING, 0);
  assert_true(packed.taps * packed.words <= packed.row_words && packed.row_words < packed.taps * packed.words + step);
  for (int32_t y = 0; y < l.out.height; y++)
    for (int32_t column = 0; column < l.out.width; column++)
      for (int32_t o = 0; o < l.out.channels; o++) {
        int64_t want = direct_sum(&l, y, column, o), got = packed_sum(&l, &packed, input, y, column, o);
        if (got != want)
          fail_msg("input %s, weights %s, %s: %lld, not %lld, at %d, %d, channel %d", type_string(c, l.g, &l.in),
                   type_string(c, l.g, &l.weight), engine_name[engine], (long long)got, (long long)want, y, column, o);
      }
}

/* --- pieces (../../ir/staging.h) --- */

/* A tile as far as the order of weights depends on it, and positions between rows and images beyond what is needed. */
typedef struct PieceCase {
  int shape, n, chunk_blocks;
  uint32_t more_columns, more_rows;
} PieceCase;

enum { IMAGES = 2, GARBAGE = 0xb7 };

static uint32_t at_least(int32_t a, int32_t b, int32_t c) {
  int32_t most = a > b ? a : b;
  return (uint32_t)(most > c ? most : c);
}

static Layer make_piece_layer(Context *c, const PieceCase *k, Elem x, Elem w, Engine engine) {
  const Shape *s = &piece_shapes[k->shape];
  Layer l = make_layer(c, s, x, w, engine, 128, 4 * k->chunk_blocks);
  LayoutKind kind = engine_uses_planes(engine) ? LAYOUT_PLANES : LAYOUT_BYTES;
  uint32_t row = k->more_columns + at_least(s->width + s->pad[1], s->width + s->pad[3], l.out.width);
  uint32_t rows = k->more_rows + at_least(s->height + s->pad[0], s->height + s->pad[2], l.out.height);
  l.in.layout = layout_pieces(&l.in, kind, row, row * rows, IMAGES);
  *graph_type(l.g, l.node.inputs[0]) = l.in;
  Type result = type_make(ELEM_UINT, 2, true, 3, l.node.main_type.dim);
  result.layout = layout_pieces(&result, LAYOUT_PLANES, row, row * rows, IMAGES);
  l.node.result = graph_add_result(l.g, "y", result);
  l.node.tile.m = 64;
  l.node.tile.n = (uint16_t)k->n;
  l.node.tile.warps_m = 4;
  l.node.tile.warps_n = l.node.tile.split_k = 1;
  l.node.tile.stages = 2;
  return l;
}

/* Image 1 of the batch: the numbers of l->in_data; the pixels of image 0 hold garbage. */
static uint8_t *pack_pieces(Context *c, const Layer *l) {
  const Type *t = &l->in;
  const Layout *a = &t->layout;
  size_t piece_bytes = (size_t)a->positions * PIECE_BYTES, blocks = a->pitch / a->block;
  uint8_t *packed = arena_alloc(c, layout_image_bytes(t) * IMAGES);
  int32_t channels = type_channels(t), width = t->dim[1];
  for (int64_t i = 0; i < IMAGES * type_elements(t); i++) {
    int64_t element = i % type_elements(t), pixel = element / channels;
    size_t position = (size_t)(i / type_elements(t)) * a->image_pitch + (size_t)(pixel / width) * a->row_pitch;
    uint32_t channel = (uint32_t)(element % channels), stored = layout_stored_q(t, q_at(t, l->in_data, element));
    if (i == element) stored = GARBAGE & ((1u << t->bits) - 1);
    uint32_t place = layout_bit_of_channel(*a, channel), in_piece = a->kind == LAYOUT_BYTES ? 16 : 128;
    uint8_t *piece = packed + place / in_piece * piece_bytes + (position + (size_t)(pixel % width)) * PIECE_BYTES;
    if (a->kind == LAYOUT_BYTES) {
      piece[place % in_piece] = (uint8_t)stored;
      continue;
    }
    uint32_t bit = place % in_piece;
    for (int plane = 0; plane < t->bits; plane++)
      piece[(size_t)plane * blocks * piece_bytes + bit / 8] |= (uint8_t)((stored >> plane & 1) << bit % 8);
  }
  return packed;
}

/* A word of the weights as they stand in shared memory; row n, of ones, is what sums of the input count with. */
static uint32_t weight_word(const Layer *l, const PackedWeights *w, const Staging *s, uint32_t chunk, uint32_t piece,
                            uint32_t row, int word) {
  uint32_t n = l->node.tile.n;
  if (row == n && piece >= s->real_pieces) return 0;
  if (row == n) return engine_uses_planes(l->node.engine) ? UINT32_MAX : 0x01010101;
  size_t line = ((size_t)(row / 8) * s->pieces + piece) * 8 + row % 8;
  return w->data[((size_t)chunk * s->packed_bytes + line * PIECE_BYTES) / 4 + (size_t)word];
}

/* What a kernel's accumulator of one row of weights holds at a position of image 1. Blocks of the input past the last
 * are zeros; what goes with the last of an odd number of pieces is anything. */
static int64_t accumulated(const Layer *l, const PackedWeights *w, const Staging *s, const uint8_t *input,
                           uint32_t tile, uint32_t row, int64_t position) {
  const Layout *a = &l->in.layout;
  static const uint8_t zeros[PIECE_BYTES];
  uint8_t garbage[PIECE_BYTES];
  memset(garbage, GARBAGE, sizeof garbage);
  int64_t sum = 0;
  for (uint32_t wp = 0; wp < (row == l->node.tile.n ? 1 : s->weight_planes); wp++)
    for (uint32_t xp = 0; xp < s->input_planes; xp++)
      for (uint32_t i = 0; i < s->chunks * s->pieces; i++) {
        uint32_t chunk = i / s->pieces, piece = i % s->pieces, block = chunk * s->chunk_blocks + piece / s->taps;
        int64_t at = position + a->image_pitch - s->shift + staging_tap_shift(l->g, &l->node, piece % s->taps);
        size_t index = ((size_t)xp * s->blocks + block) * a->positions + (size_t)at;
        bool outside = block >= s->blocks || at < 0 || at >= a->positions;
        const uint8_t *x = piece >= s->real_pieces ? garbage : outside ? zeros : input + index * PIECE_BYTES;
        uint32_t of_tile = (tile * s->weight_planes + wp) * s->chunks + chunk;
        Sums sums = {0, 0};
        for (int n = 0; n < PIECE_BYTES / 4; n++) {
          uint32_t word;
          memcpy(&word, x + 4 * n, 4);
          add_word(l, w, weight_word(l, w, s, of_tile, piece, row, n), word, (int)wp, (int)xp, &sums);
        }
        sum += sums.products;
      }
  return sum;
}

/* Packed rows that belong to no channel are zero. */
static void expect_zero_rows(const Layer *l, const PackedWeights *w, const Staging *s, uint32_t tiles) {
  uint32_t n = l->node.tile.n;
  for (size_t i = 0; i < w->bytes / 4; i++) {
    uint32_t line = (uint32_t)(i / 4 % (n * s->pieces)), row = line / 8 / s->pieces * 8 + line % 8;
    uint32_t tile = (uint32_t)(i * 4 / (w->bytes / tiles));
    if (tile * n + row >= (uint32_t)l->out.channels) assert_int_equal(w->data[i], 0);
  }
}

static void check_pieces(Context *c, const PieceCase *k, Elem x, Elem w, Engine engine) {
  Layer l = make_piece_layer(c, k, x, w, engine);
  PackedWeights packed = weights_pack_pieces(l.g, &l.node);
  Staging s = staging_of(l.g, &l.node, &l.node.tile);
  const uint8_t *input = pack_pieces(c, &l);
  uint32_t n = l.node.tile.n, tiles = tile_count_of_channels(&l.node.tile, graph_type(l.g, l.node.result));
  assert_int_equal(packed.bytes, (size_t)tiles * s.weight_planes * s.chunks * s.packed_bytes);
  assert_true(tiles * n >= (uint32_t)l.out.channels && (s.summed > 0 || s.weight_rows > n) == (packed.sum_scale != 0));
  expect_zero_rows(&l, &packed, &s, tiles);
  for (int32_t y = 0; y < l.out.height; y++)
    for (int32_t column = 0; column < l.out.width; column++) {
      int64_t position = (int64_t)y * l.in.layout.row_pitch + column;
      int64_t inputs = packed.sum_scale ? accumulated(&l, &packed, &s, input, 0, n, position) : 0;
      for (int32_t o = 0; o < l.out.channels; o++) {
        uint32_t tile = (uint32_t)o / n;
        int64_t got = accumulated(&l, &packed, &s, input, tile, (uint32_t)o % n, position) * packed.product_scale;
        got -= packed.sum_scale * inputs;
        uint32_t class = packed.class_count > 1 ? packed.row_class[y] * (uint32_t)packed.column_classes : 0;
        if (packed.class_count > 1) class += packed.column_class[column];
        if (packed.border) got += packed.border[(int64_t) class * packed.rows + o];
        int64_t want = direct_sum(&l, y, column, o);
        if (got != want)
          fail_msg("input %s, weights %s, shape %d, %s: %lld, not %lld, at %d, %d, channel %d",
                   type_string(c, l.g, &l.in), type_string(c, l.g, &l.weight), k->shape, engine_name[engine],
                   (long long)got, (long long)want, y, column, o);
      }
    }
}

/* --- tests --- */

static void every_pair_of_types(void **state) {
  (void)state;
  static const int blocks[] = {32, 64, 128}, steps[] = {8, 16, 32};
  for (int x = 0; x < ELEMS; x++)
    for (int w = 0; w < ELEMS; w++) {
      Context *c = context_new(NULL);
      int i = x * ELEMS + w;
      for (int n = 0; n < 2; n++) {
        const Shape *s = &shapes[(i + 3 * n) % SHAPES];
        check_layer(c, s, elems[x], elems[w], ENGINE_MMA_B1, blocks[(i + n) % 3], steps[i % 3]);
        check_layer(c, s, elems[x], elems[w], ENGINE_MMA_S8, 0, steps[(i + 1) % 3]);
      }
      context_free(c);
    }
}

static void every_shape(void **state) {
  (void)state;
  static const Elem few[] = {{ELEM_UINT, 2, 3}, {ELEM_UINT, 1, 1}, {ELEM_INT, 3, 2}, {ELEM_UINT, 2, 0}};
  for (int s = 0; s < SHAPES; s++)
    for (int x = 0; x < 4; x++)
      for (int w = 0; w < 4; w++) {
        Context *c = context_new(NULL);
        for (int block = 32; block <= 128; block *= 2)
          check_layer(c, &shapes[s], few[x], few[w], ENGINE_MMA_B1, block, 8);
        check_layer(c, &shapes[s], few[x], few[w], ENGINE_MMA_S8, 0, 8);
        context_free(c);
      }
}

/* --- fragments: what lanes read of them is what the rows of weights_pack hold --- */

/* Word `number` of a filter row of a channel, zero past the filter and past the last channel. */
static uint32_t row_word(const Layer *l, const PackedWeights *rows, const Patch *p, uint32_t o, uint32_t filter_row,
                         uint32_t number) {
  uint32_t tap = number / p->words, word = number % p->words, taps = (uint32_t)l->weight.dim[2];
  if (o >= (uint32_t)l->weight.dim[0] || filter_row >= (uint32_t)l->weight.dim[1] || tap >= taps) return 0;
  if (word >= (uint32_t)rows->words) return 0;
  return rows->data[o * (uint32_t)rows->row_words + (filter_row * taps + tap) * (uint32_t)rows->words + word];
}

static void check_fragments(Context *c, const Shape *s, Elem x, Elem w, uint16_t n) {
  Layer l = make_layer(c, s, x, w, ENGINE_MMA_S8, 0, 8);
  PackedWeights rows = weights_pack(l.g, &l.node);
  l.node.engine = ENGINE_PATCH_S8;
  l.node.tile = (Tile){32, n, 8, 1, 1, 1, 1, 0};
  l.node.result = graph_add_result(l.g, "y", l.node.main_type);
  PackedWeights packed = weights_pack_fragments(l.g, &l.node);
  Patch p = patch_of(l.g, &l.node, &l.node.tile);
  uint32_t tiles = ((uint32_t)s->channels_out + n - 1) / n, words = p.weight_bytes / 4;
  assert_int_equal(packed.bytes, (size_t)tiles * p.weight_bytes);
  assert_int_equal(words, p.steps * n * 8);
  for (uint32_t i = 0; i < tiles * words; i++) {
    uint32_t e = i % 4, lane = i / 4 % 32, pair = i / 128 % (n / 16u), step = i % words / (n * 8u);
    uint32_t o = i / words * n + pair * 16 + e / 2 * 8 + lane / 4, unit = step * 2 + e % 2;
    uint32_t number = unit % p.row_units * 4 + lane % 4;
    assert_int_equal(packed.data[i], row_word(&l, &rows, &p, o, unit / p.row_units, number));
  }
  assert_true(packed.product_scale == rows.product_scale && packed.sum_scale == rows.sum_scale);
  assert_true(packed.class_count == rows.class_count && !packed.border == !rows.border);
  size_t border = sizeof *rows.border * (size_t)rows.class_count * (size_t)rows.rows;
  if (rows.border) assert_memory_equal(packed.border, rows.border, border);
}

static void fragments_hold_the_rows(void **state) {
  (void)state;
  for (int x = 0; x < ELEMS; x++)
    for (int w = 0; w < ELEMS; w++) {
      Context *c = context_new(NULL);
      int i = x * ELEMS + w;
      Shape s = shapes[i % SHAPES];
      s.channels_in = 1 + i % 16;
      check_fragments(c, &s, elems[x], elems[w], i % 2 ? 32 : 64);
      context_free(c);
    }
}

/* --- strips: bytes of taps side by side --- */

/* Byte of a tap and channel, zero past the filter and past the last channel. */
static uint32_t row_byte(const Layer *l, const PackedWeights *rows, uint32_t o, uint32_t filter_row, uint32_t tap,
                         uint32_t channel) {
  uint32_t taps = (uint32_t)l->weight.dim[2];
  if (o >= (uint32_t)l->weight.dim[0] || filter_row >= (uint32_t)l->weight.dim[1] || tap >= taps) return 0;
  uint32_t word = (filter_row * taps + tap) * (uint32_t)rows->words + channel / 4;
  return rows->data[o * (uint32_t)rows->row_words + word] >> channel % 4 * 8 & 255;
}

static void check_strips(Context *c, const Shape *s, Elem x, Elem w, uint16_t n) {
  Layer l = make_layer(c, s, x, w, ENGINE_MMA_S8, 0, 8);
  PackedWeights rows = weights_pack(l.g, &l.node);
  l.node.engine = ENGINE_STRIP_S8;
  l.node.tile = (Tile){64, n, 8, 4, 1, 1, 1, 0};
  l.node.result = graph_add_result(l.g, "y", l.node.main_type);
  Strips p;
  assert_true(strips_of(l.g, &l.node, &l.node.tile, &p));
  PackedWeights packed = weights_pack_strips(l.g, &l.node);
  uint32_t tiles = ((uint32_t)s->channels_out + n - 1) / n, channels = p.pixel_bytes;
  assert_int_equal(packed.bytes, (size_t)tiles * p.weight_bytes);
  for (uint32_t i = 0; i < packed.bytes; i++) {
    uint32_t byte = i % 16, row = i / 16 % 8, unit = i / 128 % (2 * p.steps), group = i / 128 / (2 * p.steps);
    uint32_t tap = unit % p.row_strips * p.taps + byte / channels, wanted = 0;
    if (byte / channels < p.taps)
      wanted = row_byte(&l, &rows, group * 8 + row, unit / p.row_strips, tap, byte % channels);
    assert_int_equal(packed.data[i / 4] >> i % 4 * 8 & 255, wanted);
  }
  assert_true(packed.product_scale == rows.product_scale && packed.class_count == rows.class_count);
}

static void strips_hold_the_rows(void **state) {
  (void)state;
  for (int x = 0; x < ELEMS; x++)
    for (int w = 0; w < ELEMS; w++) {
      Context *c = context_new(NULL);
      int i = x * ELEMS + w;
      Shape s = shapes[i % SHAPES];
      s.channels_in = 1 + i % 16;
      if (s.kernel[1] * s.channels_in <= STRIP_BYTES || s.stride[1] * s.channels_in <= STRIP_BYTES)
        check_strips(c, &s, elems[x], elems[w], i % 2 ? 32 : 64);
      context_free(c);
    }
}

static void every_pair_of_types_in_pieces(void **state) {
  (void)state;
  for (int x = 0; x < ELEMS; x++)
    for (int w = 0; w < ELEMS; w++) {
      Context *c = context_new(NULL);
      int i = x * ELEMS + w;
      PieceCase k = {.shape = i % 3 * 2, .n = 32 << i % 3, .chunk_blocks = 1 + i % 2};
      check_pieces(c, &k, elems[x], elems[w], ENGINE_WGMMA_B1);
      check_pieces(c, &k, elems[x], elems[w], ENGINE_WGMMA_S8);
      context_free(c);
    }
}

static void every_shape_in_pieces(void **state) {
  (void)state;
  static const Elem few[] = {{ELEM_UINT, 2, 3}, {ELEM_UINT, 1, 1}, {ELEM_INT, 3, 2}, {ELEM_UINT, 2, 0}};
  for (int i = 0; i < PIECE_SHAPES * 3 * 3 * 2; i++) {
    PieceCase k = {.shape = i % PIECE_SHAPES, .n = 32 << i / PIECE_SHAPES % 3};
    k.chunk_blocks = 1 << i / PIECE_SHAPES / 3 % 3; /* more blocks than the input has, too */
    k.more_columns = k.more_rows = (uint32_t)(i / PIECE_SHAPES / 9);
    Context *c = context_new(NULL);
    check_pieces(c, &k, few[i % 4], few[i / 4 % 4], ENGINE_WGMMA_B1);
    check_pieces(c, &k, few[i / 4 % 4], few[i % 4], ENGINE_WGMMA_S8);
    context_free(c);
  }
}

/* Corrections that cost a kernel something are there only where zero points ask for them. */
static void no_needless_corrections(void **state) {
  Context *c = *state;
  const Elem u3 = {ELEM_UINT, 3, 0}, u2_half = {ELEM_UINT, 2, 3}, i4 = {ELEM_INT, 4, 0}, bipolar = {ELEM_UINT, 1, 1};
  Layer plain = make_layer(c, &shapes[0], u3, u3, ENGINE_MMA_B1, 32, 8);
  PackedWeights w = weights_pack(plain.g, &plain.node);
  assert_true(w.sum_scale == 0 && w.border == NULL && w.product_scale == 1 && w.class_count == 1);
  Layer levels = make_layer(c, &shapes[0], u3, bipolar, ENGINE_MMA_S8, 0, 8);
  w = weights_pack(levels.g, &levels.node); /* bytes hold -1 and 1 */
  assert_true(w.sum_scale == 0 && w.border == NULL && w.is_signed);
  Layer signs = make_layer(c, &shapes[0], u3, i4, ENGINE_MMA_B1, 32, 8);
  w = weights_pack(signs.g, &signs.node); /* planes hold q + 8 */
  assert_true(w.sum_scale == 8 && w.border == NULL && w.planes == 4);
  Layer inner = make_layer(c, &shapes[1], u2_half, u3, ENGINE_MMA_B1, 32, 8);
  w = weights_pack(inner.g, &inner.node); /* no padding: one class */
  assert_true(w.sum_scale == 0 && w.border && w.class_count == 1);
  Layer border = make_layer(c, &shapes[0], u2_half, u3, ENGINE_MMA_B1, 32, 8);
  w = weights_pack(border.g, &border.node);
  assert_true(w.class_count == 9 && w.column_classes == 3 && w.row_class[0] != w.row_class[1]);
}

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}

static int teardown(void **state) {
  context_free(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_pair_of_types),
      cmocka_unit_test(every_shape),
      cmocka_unit_test(fragments_hold_the_rows),
      cmocka_unit_test(strips_hold_the_rows),
      cmocka_unit_test(every_pair_of_types_in_pieces),
      cmocka_unit_test(every_shape_in_pieces),
      cmocka_unit_test_setup_teardown(no_needless_corrections, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
