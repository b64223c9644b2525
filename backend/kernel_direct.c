/* The DIRECT engine: CUDA cores, one thread a 32-bit word of the result (or a byte, where rows of bytes do not fill
 * words). It computes every main operation in every layout: grouped convolution, pooling, concatenation, upsampling,
 * reshapes, elementwise layers and copies between layouts.
 */
#include "emit.h"

#include <limits.h>
#include <math.h>

typedef struct Direct {
  Kernel *k;
  Node node; /* the kernel's node; an elementwise main operation is its first step here */
  Tensor out;
  Tensor *in;
  PtxValue weights;                   /* conv2d: i16 levels [O][KH][KW][I/groups] */
  PtxValue position;                  /* of the result */
  PtxValue pixel;                     /* its number over the batch */
  PtxValue image, local, row, column; /* image in the batch, pixel in the image, its row and column */
  Epilogue epilogue;
} Direct;

/* A loop nest over a window; inside, `pixel` is the input pixel and `tap` = kh * KW + kw. */
typedef struct Window {
  PtxValue pixel, tap, inside;
} Window;

static Window window_begin(Direct *d) {
  Ptx *p = &d->k->ptx;
  const Attrs *a = &d->node.attrs;
  Image in = d->in[0].image;
  PtxValue kh = ptx_for(p, ptx_int(0), ptx_int(a->kernel[0]), ptx_int(1));
  PtxValue kw = ptx_for(p, ptx_int(0), ptx_int(a->kernel[1]), ptx_int(1));
  PtxValue origin_row = ptx_add(p, ptx_mul(p, d->row, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  PtxValue origin_column = ptx_add(p, ptx_mul(p, d->column, ptx_int(a->stride[1])), ptx_int(-a->pad[1]));
  PtxValue row = ptx_mad(p, kh, ptx_int(a->dilation[0]), origin_row);
  PtxValue column = ptx_mad(p, kw, ptx_int(a->dilation[1]), origin_column);
  Window w;
  w.inside = inside_image(p, in, row, column);
  w.pixel = ptx_mad(p, ptx_mad(p, d->image, ptx_int(in.height), row), ptx_int(in.width), column);
  w.tap = ptx_mad(p, kh, ptx_int(a->kernel[1]), kw);
  return w;
}

static void window_end(Direct *d) {
  ptx_end_for(&d->k->ptx);
  ptx_end_for(&d->k->ptx);
}

/* Main operations: the number at (pixel, channel) of the result. */

static Flow element_conv(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  const Attrs *a = &d->node.attrs;
  int32_t per_group_in = d->in[0].image.channels / a->groups;
  int32_t per_group_out = type_channels(&d->node.main_type) / a->groups;
  PtxValue first = ptx_mul(p, ptx_div(p, channel, ptx_int(per_group_out)), ptx_int(per_group_in));
  PtxValue filter = ptx_address(p, d->weights, channel, 2LL * a->kernel[0] * a->kernel[1] * per_group_in);
  PtxValue sum = ptx_variable(p, ptx_int(0));
  Window w = window_begin(d);
  PtxValue taps = ptx_address(p, filter, w.tap, 2LL * per_group_in);
  PtxValue c = ptx_for(p, ptx_int(0), ptx_int(per_group_in), ptx_int(1));
  PtxValue weight = ptx_load(p, "global.nc.s16", CLASS_B32, ptx_address(p, taps, c, 2), 0);
  PtxValue level = ptx_variable(p, ptx_int(a->pad_level));
  ptx_if(p, w.inside);
  ptx_assign(p, level, flow_level(p, load_element(p, &d->in[0], w.pixel, ptx_add(p, first, c))));
  ptx_end_if(p);
  ptx_assign(p, sum, ptx_mad(p, weight, level, sum));
  ptx_end_for(p);
  window_end(d);
  return (Flow){d->node.main_type, sum, 0, 0};
}

static Flow element_maxpool(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  bool real = d->node.main_type.kind == ELEM_F32;
  PtxValue best = ptx_variable(p, real ? ptx_float(-INFINITY) : ptx_int(INT32_MIN));
  int32_t bias = 0;
  Window w = window_begin(d);
  ptx_if(p, w.inside);
  Flow x = load_element(p, &d->in[0], w.pixel, channel);
  bias = x.bias;
  ptx_assign(p, best, ptx_2(p, real ? "max.f32" : "max.s32", best, x.reg));
  ptx_end_if(p);
  window_end(d);
  return (Flow){d->node.main_type, best, bias, 0};
}

static Flow element_avgpool(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  bool real = d->node.main_type.kind == ELEM_F32;
  PtxValue sum = ptx_variable(p, real ? ptx_float(0) : ptx_int(0));
  Window w = window_begin(d);
  ptx_if(p, w.inside);
  Flow x = load_element(p, &d->in[0], w.pixel, channel);
  ptx_assign(p, sum, real ? ptx_2(p, "add.rn.f32", sum, x.reg) : ptx_add(p, sum, flow_level(p, x)));
  ptx_end_if(p);
  window_end(d);
  if (!real) return (Flow){d->node.main_type, sum, 0, 0};
  float count = (float)((int64_t)d->node.attrs.kernel[0] * d->node.attrs.kernel[1]);
  return (Flow){d->node.main_type, ptx_2(p, "div.rn.f32", sum, ptx_float(count)), 0, 0};
}

static Flow element_copy(Direct *d, PtxValue channel) {
  return load_element(&d->k->ptx, &d->in[0], d->pixel, channel);
}

static Flow element_upsample(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  Image in = d->in[0].image;
  PtxValue row = ptx_div(p, d->row, ptx_int(d->node.attrs.factor[0]));
  PtxValue column = ptx_div(p, d->column, ptx_int(d->node.attrs.factor[1]));
  PtxValue pixel = ptx_mad(p, ptx_mad(p, d->image, ptx_int(in.height), row), ptx_int(in.width), column);
  return load_element(p, &d->in[0], pixel, channel);
}

/* Element `linear` of an image in dense order. */
static Flow load_linear(Direct *d, const Tensor *t, PtxValue linear) {
  Ptx *p = &d->k->ptx;
  PtxValue channels = ptx_int(t->image.channels);
  PtxValue local = ptx_div(p, linear, channels), channel = ptx_rem(p, linear, channels);
  return load_element(p, t, ptx_mad(p, d->image, ptx_int(t->image.height * t->image.width), local), channel);
}

static Flow element_reshape(Direct *d, PtxValue channel) {
  PtxValue linear = ptx_mad(&d->k->ptx, d->local, ptx_int(d->out.image.channels), channel);
  return load_linear(d, &d->in[0], linear);
}

static Flow element_flatten(Direct *d, PtxValue channel) {
  if (!d->node.attrs.chw) return element_reshape(d, channel);
  Ptx *p = &d->k->ptx;
  int32_t pixels = d->in[0].image.height * d->in[0].image.width;
  PtxValue local = ptx_rem(p, channel, ptx_int(pixels)), from = ptx_div(p, channel, ptx_int(pixels));
  return load_element(p, &d->in[0], ptx_mad(p, d->image, ptx_int(pixels), local), from);
}

/* The dense index splits at the axis into (outer, position, inner); each input owns a range of positions. */
static Flow element_concat(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  const Type *type = &d->node.main_type;
  int32_t axis = d->node.attrs.axis, inner = 1;
  for (int i = axis + 1; i < type->rank; i++) inner *= type->dim[i];
  PtxValue linear = ptx_mad(p, d->local, ptx_int(d->out.image.channels), channel);
  PtxValue low = ptx_rem(p, linear, ptx_int(inner)), high = ptx_div(p, linear, ptx_int(inner));
  PtxValue position = ptx_rem(p, high, ptx_int(type->dim[axis])), outer = ptx_div(p, high, ptx_int(type->dim[axis]));
  PtxValue result = ptx_new(p, type->kind == ELEM_F32 ? CLASS_F32 : CLASS_B32);
  int32_t start = 0;
  for (uint32_t i = 0; i < d->node.input_count; i++) {
    int32_t size = d->in[i].type.dim[axis];
    PtxValue mine = ptx_sub(p, position, ptx_int(start));
    ptx_if(p, ptx_setp(p, "lt.u32", mine, ptx_int(size)));
    PtxValue from = ptx_mad(p, ptx_mad(p, outer, ptx_int(size), mine), ptx_int(inner), low);
    Flow x = load_linear(d, &d->in[i], from);
    ptx_assign(p, result, type->kind == ELEM_F32 ? x.reg : ptx_add(p, x.reg, ptx_int(x.bias)));
    ptx_end_if(p);
    start += size;
  }
  return (Flow){*type, result, 0, 0};
}

typedef Flow (*ElementOf)(Direct *d, PtxValue channel);
static const ElementOf element_of[OP_COUNT] = {
    [OP_CONV2D] = element_conv,     [OP_MAXPOOL] = element_maxpool,   [OP_AVGPOOL] = element_avgpool,
    [OP_COPY] = element_copy,       [OP_UPSAMPLE] = element_upsample, [OP_RESHAPE] = element_reshape,
    [OP_FLATTEN] = element_flatten, [OP_CONCAT] = element_concat,     [OP_LINEAR] = element_conv,
};

bool direct_has(Op op) {
  return element_of[op] != NULL;
}

/* The result of the layer at (pixel, channel). */
static Flow element(Direct *d, PtxValue channel) {
  epilogue_at(&d->epilogue, channel);
  epilogue_load(&d->epilogue, 0);
  return epilogue_apply(&d->epilogue, element_of[d->node.op](d, channel), d->pixel, channel);
}

/* Results: how many channels a thread computes and how they are put together. */

static void store_planes(Direct *d, PtxValue unit) {
  Ptx *p = &d->k->ptx;
  const Type *t = &d->out.type;
  PtxValue words[8];
  for (int i = 0; i < t->bits; i++) words[i] = ptx_variable(p, ptx_int(0));
  PtxValue bit = ptx_for(p, ptx_int(0), ptx_int(32), ptx_int(1));
  PtxValue channel = channel_of_bit(p, t->layout, ptx_add(p, ptx_shl(p, unit, 5), bit));
  ptx_if(p, ptx_setp(p, "lt.u32", channel, ptx_int(d->out.image.channels)));
  PtxValue stored = flow_stored(p, element(d, channel), t);
  for (int i = 0; i < t->bits; i++) {
    PtxValue one = ptx_and(p, ptx_shr(p, stored, i), ptx_int(1));
    ptx_assign(p, words[i], ptx_or(p, words[i], ptx_2(p, "shl.b32", one, bit)));
  }
  ptx_end_if(p);
  ptx_end_for(p);
  PtxValue at = unit_address(p, &d->out, d->position, unit, 4);
  int64_t plane_bytes = (int64_t)layout_strides(t).plane;
  for (int i = 0; i < t->bits; i++) ptx_store(p, "global.b32", at, i * plane_bytes, words[i]);
}

static void store_four_bytes(Direct *d, PtxValue unit) {
  Ptx *p = &d->k->ptx;
  const Type *t = &d->out.type;
  PtxValue word = ptx_variable(p, ptx_int(0));
  PtxValue byte = ptx_for(p, ptx_int(0), ptx_int(4), ptx_int(1));
  PtxValue channel = ptx_add(p, ptx_shl(p, unit, 2), byte);
  if (layout_orders_channels(t->layout)) channel = channel_of_bit(p, t->layout, channel);
  ptx_if(p, ptx_setp(p, "lt.u32", channel, ptx_int(d->out.image.channels)));
  PtxValue stored = ptx_and(p, flow_stored(p, element(d, channel), t), ptx_int(255));
  ptx_assign(p, word, ptx_or(p, word, ptx_2(p, "shl.b32", stored, ptx_shl(p, byte, 3))));
  ptx_end_if(p);
  ptx_end_for(p);
  ptx_store(p, "global.b32", unit_address(p, &d->out, d->position, unit, 4), 0, word);
}

static void store_one(Direct *d, PtxValue channel) {
  Ptx *p = &d->k->ptx;
  const Type *t = &d->out.type;
  bool bytes = t->layout.kind == LAYOUT_BYTES;
  PtxValue at = unit_address(p, &d->out, d->position, channel, bytes ? 1 : 4);
  PtxValue padding = ptx_setp(p, "ge.u32", channel, ptx_int(d->out.image.channels));
  if (bytes) ptx_store_if(p, padding, "global.u8", at, 0, ptx_int(0));
  PtxValue real = ptx_new(p, CLASS_PRED);
  ptx_raw(p, "not.pred %s, %s;", ptx_text(p, real), ptx_text(p, padding));
  ptx_if(p, real);
  PtxValue stored = flow_stored(p, element(d, channel), t);
  ptx_store(p, bytes ? "global.u8" : stored.class == CLASS_F32 ? "global.f32" : "global.b32", at, 0, stored);
  ptx_end_if(p);
}

/* Stores the unit of the thread's pixel, as pixel_units counts them. */
typedef void (*StoreUnit)(Direct *d, PtxValue unit);

static StoreUnit store_of(Layout l) {
  if (l.kind == LAYOUT_PLANES) return store_planes;
  return l.kind == LAYOUT_BYTES && l.pitch % 4 == 0 ? store_four_bytes : store_one;
}

/* An elementwise main operation is a copy whose first step it is. */
static Node with_main_as_step(Kernel *k) {
  Node node = *k->node;
  if (!(op_info[node.op].flags & F_STEP)) return node;
  Step *steps = ARENA_NEW(k->graph->context, Step, node.step_count + 1);
  steps[0] = (Step){.op = node.op, .attrs = node.attrs, .type = node.main_type, .arg_count = node.input_count - 1};
  for (uint32_t i = 1; i < node.input_count; i++) steps[0].args[i - 1] = node.inputs[i];
  for (uint32_t i = 0; i < node.step_count; i++) steps[i + 1] = node.steps[i];
  node.op = OP_COPY;
  node.attrs = attrs_default();
  node.main_type = *graph_type(k->graph, node.inputs[0]);
  node.input_count = 1;
  node.steps = steps;
  node.step_count++;
  return node;
}

static PtxValue bind_weights(Kernel *k, const Node *node) {
  const Value *w = graph_value(k->graph, node->inputs[1]);
  LevelMap map = type_level_map(&w->type);
  int64_t count = type_elements(&w->type);
  int16_t *levels = ARENA_NEW(k->graph->context, int16_t, count);
  for (int64_t i = 0; i < count; i++) {
    int32_t q = w->type.kind == ELEM_UINT ? ((const uint8_t *)w->data)[i] : ((const int8_t *)w->data)[i];
    levels[i] = (int16_t)(map.mult * q - map.offset);
  }
  return kernel_constant(k, levels, (size_t)count * sizeof *levels);
}

/* Where the thread's position lies. */
static Place locate(Direct *d) {
  Ptx *p = &d->k->ptx;
  Grid grid = grid_of(&d->out.type);
  Place at = place_of_position(p, &grid, d->position);
  d->pixel = at.pixel;
  d->image = at.image;
  d->row = at.y;
  d->column = at.x;
  d->local = ptx_mad(p, at.y, ptx_int(grid.image.width), at.x);
  return at;
}

/* A position between pixels (of pieces, whose units are words) holds zeros; its thread is done. */
static void fill_gap(Direct *d, PtxValue is_pixel, PtxValue unit) {
  Ptx *p = &d->k->ptx;
  if (is_pixel.kind == OPERAND_IMMEDIATE) return;
  int64_t plane_bytes = (int64_t)layout_strides(&d->out.type).plane;
  PtxValue gap = ptx_new(p, CLASS_PRED);
  ptx_raw(p, "not.pred %s, %s;", ptx_text(p, gap), ptx_text(p, is_pixel));
  PtxValue at = unit_address(p, &d->out, d->position, unit, 4);
  for (int i = 0; i < layout_plane_count(&d->out.type); i++)
    ptx_store_if(p, gap, "global.b32", at, i * plane_bytes, ptx_int(0));
  ptx_return_unless(p, is_pixel);
}

bool kernel_direct(Kernel *k) {
  Ptx *p = &k->ptx;
  Direct d = {.k = k, .node = with_main_as_step(k)};
  k->node = &d.node;
  uint32_t tensors = d.node.op == OP_CONV2D || d.node.op == OP_LINEAR ? 1 : d.node.input_count;
  d.in = ARENA_NEW(k->graph->context, Tensor, tensors);
  for (uint32_t i = 0; i < tensors; i++) d.in[i] = tensor_of(k, d.node.inputs[i]);
  d.out = tensor_of(k, d.node.result);
  if (tensors < d.node.input_count) d.weights = bind_weights(k, &d.node);
  epilogue_begin(&d.epilogue, k);
  uint32_t units = pixel_units(&d.out.type);
  PtxValue thread = kernel_thread(k, (int64_t)layout_image_positions(&d.out.type) * units);
  d.position = ptx_div(p, thread, ptx_int(units));
  PtxValue unit = ptx_rem(p, thread, ptx_int(units));
  fill_gap(&d, locate(&d).is_pixel, unit);
  store_of(d.out.type.layout)(&d, unit);
  return true;
}
