/* Types of operations that slide a window over an image, and of linear. */
#include "exact.h"
#include "infer.h"

static bool check_positive(Inference *in, const int32_t *pair, const char *attribute) {
  return infer_range(in, pair[0] >= 1 && pair[1] >= 1, attribute, "at least 1");
}

/* Windows along one axis: (size + pads - ((kernel - 1) * dilation + 1)) / stride + 1; at most 0 where none fits. */
static int64_t window_count(int64_t size, int64_t pads, int64_t kernel, int64_t dilation, int64_t stride) {
  int64_t room = size + pads - ((kernel - 1) * dilation + 1);
  return room < 0 ? 0 : room / stride + 1;
}

/* The result's height and width. */
static bool infer_window(Inference *in, const int32_t *dilation, int32_t *height, int32_t *width) {
  const Type *x = in->operands[0];
  const Attrs *a = in->attrs;
  Context *c = in->context;
  for (int i = 0; i < 4; i++)
    if (!infer_range(in, a->pad[i] >= 0, "pad", "at least 0")) return false;
  if (!check_positive(in, a->kernel, "kernel") || !check_positive(in, a->stride, "stride")) return false;
  int64_t rows = window_count(x->dim[0], (int64_t)a->pad[0] + a->pad[2], a->kernel[0], dilation[0], a->stride[0]);
  int64_t columns = window_count(x->dim[1], (int64_t)a->pad[1] + a->pad[3], a->kernel[1], dilation[1], a->stride[1]);
  if (rows > 0 && columns > 0 && rows <= INT32_MAX && columns <= INT32_MAX) {
    *height = (int32_t)rows;
    *width = (int32_t)columns;
    return true;
  }
  diag(c, DIAG_WINDOW_TOO_LARGE, in->loc, in->name);
  diag_expected(c, rows > 0 && columns > 0 ? "at most 2147483647 places for it in height and in width"
                                           : "a window of at most the padded image");
  diag_seen(c, "kernel %d x %d, dilation %d x %d, on %s padded by %d, %d, %d, %d", a->kernel[0], a->kernel[1],
            dilation[0], dilation[1], shape_string(c, x), a->pad[0], a->pad[1], a->pad[2], a->pad[3]);
  return false;
}

static bool check_image(Inference *in) {
  if (in->operands[0]->rank == 3) return true;
  return infer_reject_operand(in, 0, "an image [height, width, channels]",
                              in->operands[0]->rank == 1 ? "reshape it to three dimensions" : NULL);
}

static bool is_level(const Type *t, int32_t level) {
  LevelMap m = type_level_map(t);
  return level >= type_level_min(t) && level <= type_level_max(t) && (level + m.offset) % m.mult == 0;
}

/* Levels that an operand has, for a message: "-1 or 1", "-3, -1, 1 .. 3". */
static const char *level_names(Context *c, const Type *t) {
  LevelMap m = type_level_map(t);
  int32_t least = type_level_min(t), most = type_level_max(t);
  if (most == least + m.mult) return arena_printf(c, "%d or %d", least, most);
  return arena_printf(c, "%d, %d .. %d", least, least + m.mult, most);
}

static bool check_pad_level(Inference *in) {
  const Attrs *a = in->attrs;
  const Type *x = in->operands[0];
  Context *c = in->context;
  if (!(a->pad[0] | a->pad[1] | a->pad[2] | a->pad[3])) return true;
  if (type_has_zero(x)) return infer_range(in, a->pad_level == 0, "pad_level", "0, for a type that has zero");
  if (is_level(x, a->pad_level)) return true;
  diag(c, DIAG_PAD_VALUE, in->loc, in->name, a->pad_level, type_string(c, in->graph, x));
  diag_expected(c, "%s", level_names(c, x));
  diag_hint(c, "say which value pads (pad_value=), or leave the padding out");
  return false;
}

static bool check_weights(Inference *in, int rank) {
  const Type *w = in->operands[1];
  if (type_is_quantized(w) && !w->batched && w->rank == rank) return true;
  return infer_reject_operand(
      in, 1, rank == 4 ? "quantized constant weights [O, KH, KW, I/groups]" : "quantized constant weights [O, K]",
      NULL);
}

static bool check_quantized(Inference *in) {
  if (type_is_quantized(in->operands[0])) return true;
  return infer_reject_operand(in, 0, "quantized elements", "quantize it first, for instance with quantize(u4)");
}

/* Weights [O, KH, KW, I/groups] for x [H, W, I]. */
static bool check_conv2d_shapes(Inference *in) {
  const Type *x = in->operands[0], *w = in->operands[1];
  const Attrs *a = in->attrs;
  Context *c = in->context;
  if (!infer_range(in, a->groups >= 1 && x->dim[2] % a->groups == 0 && w->dim[0] % a->groups == 0, "groups",
                   arena_printf(c, "a divisor of %d input and %d output channels", x->dim[2], w->dim[0])))
    return false;
  if (w->dim[1] == a->kernel[0] && w->dim[2] == a->kernel[1] && w->dim[3] == x->dim[2] / a->groups) return true;
  diag(c, DIAG_SHAPE_MISMATCH, in->loc, in->name);
  diag_expected(c, "weights [%d,%d,%d,%d] for an image %s, kernel %d x %d and %d group%s", w->dim[0], a->kernel[0],
                a->kernel[1], x->dim[2] / a->groups, shape_string(c, x), a->kernel[0], a->kernel[1], a->groups,
                a->groups == 1 ? "" : "s");
  diag_seen(c, "weights %s", shape_string(c, w));
  return false;
}

/* Output channel o of a depthwise convolution reads input channel o / (O / groups) alone, so x may have scales then. */
static float conv2d_scale(const Inference *in, int32_t o) {
  int32_t outputs = in->operands[1]->dim[0];
  int32_t input = in->op == OP_CONV2D && in->operands[0]->scales != NO_VALUE ? o / (outputs / in->attrs->groups) : 0;
  return exact_mul(type_step(in->graph, in->operands[0], input), type_step(in->graph, in->operands[1], o));
}

static bool reject_channel_scales(Inference *in) {
  return infer_reject_operand(in, 0, "one scale for all channels, because its channels are summed",
                              "quantize it with one scale");
}

bool infer_conv2d(Inference *in) {
  const Type *x = in->operands[0], *w = in->operands[1];
  int32_t height, width;
  if (!check_quantized(in) || !check_image(in) || !check_weights(in, 4)) return false;
  if (!check_positive(in, in->attrs->dilation, "dilation")) return false;
  if (!infer_window(in, in->attrs->dilation, &height, &width) || !check_conv2d_shapes(in) || !check_pad_level(in))
    return false;
  if (x->scales != NO_VALUE && in->attrs->groups != x->dim[2]) return reject_channel_scales(in);
  *in->result = type_make(ELEM_I32, 32, x->batched, 3, (int32_t[]){height, width, w->dim[0]});
  return infer_scales(in, x->scales != NO_VALUE || w->scales != NO_VALUE, conv2d_scale);
}

bool infer_linear(Inference *in) {
  const Type *x = in->operands[0], *w = in->operands[1];
  Context *c = in->context;
  if (!check_quantized(in) || !check_weights(in, 2)) return false;
  if (x->rank != 1) return infer_reject_operand(in, 0, "a vector [K]", "flatten it first");
  if (x->dim[0] != w->dim[1]) {
    diag(c, DIAG_SHAPE_MISMATCH, in->loc, in->name);
    diag_expected(c, "weights [%d,%d] for a vector %s", w->dim[0], x->dim[0], shape_string(c, x));
    diag_seen(c, "weights %s", shape_string(c, w));
    return false;
  }
  if (x->scales != NO_VALUE) return reject_channel_scales(in);
  *in->result = type_make(ELEM_I32, 32, x->batched, 1, w->dim);
  return infer_scales(in, w->scales != NO_VALUE, conv2d_scale);
}

/* A window that lay wholly in padding would have no maximum. */
static bool check_pool(Inference *in, int32_t *height, int32_t *width) {
  static const int32_t dense[2] = {1, 1};
  const Attrs *a = in->attrs;
  if (!check_image(in) || !infer_window(in, dense, height, width)) return false;
  bool inside =
      a->pad[0] < a->kernel[0] && a->pad[2] < a->kernel[0] && a->pad[1] < a->kernel[1] && a->pad[3] < a->kernel[1];
  return infer_range(in, inside, "pad", "less than the kernel");
}

bool infer_maxpool(Inference *in) {
  int32_t height, width;
  if (!check_pool(in, &height, &width)) return false;
  infer_same_as(in, in->operands[0]);
  in->result->dim[0] = height;
  in->result->dim[1] = width;
  return true;
}

static float avgpool_scale(const Inference *in, int32_t channel) {
  const int32_t *kernel = in->attrs->kernel;
  return exact_div(type_step(in->graph, in->operands[0], channel), (float)((int64_t)kernel[0] * kernel[1]));
}

bool infer_avgpool(Inference *in) {
  const Type *x = in->operands[0];
  int32_t height, width;
  if (!check_pool(in, &height, &width)) return false;
  const int32_t dim[] = {height, width, x->dim[2]};
  *in->result = type_make(x->kind == ELEM_F32 ? ELEM_F32 : ELEM_I32, 32, x->batched, 3, dim);
  return x->kind == ELEM_F32 || infer_scales(in, x->scales != NO_VALUE, avgpool_scale);
}

bool infer_upsample(Inference *in) {
  const Type *x = in->operands[0];
  const int32_t *factor = in->attrs->factor;
  if (!check_image(in) || !check_positive(in, factor, "factor")) return false;
  int64_t height = (int64_t)x->dim[0] * factor[0], width = (int64_t)x->dim[1] * factor[1];
  if (!infer_range(in, height <= INT32_MAX && width <= INT32_MAX, "factor", "a smaller image")) return false;
  infer_same_as(in, x);
  in->result->dim[0] = (int32_t)height;
  in->result->dim[1] = (int32_t)width;
  return true;
}
