/* Exact integer products: conv2d and linear. Levels are expanded once to 16 bits; each output pixel gathers its patch
 * as [group][tap][channel of the group], the order of the weights of one output channel. */
#include "eval.h"

static int16_t *expand_levels(Context *c, const Operand *operand, uint32_t images) {
  const Type *t = operand->type;
  size_t total = (size_t)type_elements(t) * images;
  int16_t *levels = context_alloc(c, total * sizeof *levels);
  for (size_t i = 0; i < total; i++) levels[i] = (int16_t)dense_level(t, operand->data, i);
  return levels;
}

/* Wraps around instead of overflowing where elements lie outside their type's range. */
static int32_t dot(const int16_t *a, const int16_t *b, size_t count) {
  uint32_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += (uint32_t)(a[i] * b[i]);
  return (int32_t)sum;
}

typedef struct Patch {
  const Attrs *attrs;
  Image image;
  size_t group_channels, taps;
} Patch;

/* One tap of all groups: `pixel` is its row of channels, or NULL in the padding. */
static void gather_tap(const Patch *p, const int16_t *pixel, size_t tap, int16_t *patch) {
  size_t width = p->group_channels;
  for (int32_t group = 0; group < p->attrs->groups; group++) {
    int16_t *to = patch + ((size_t)group * p->taps + tap) * width;
    if (pixel)
      memcpy(to, pixel + (size_t)group * width, width * sizeof *to);
    else
      for (size_t i = 0; i < width; i++) to[i] = (int16_t)p->attrs->pad_level;
  }
}

static void gather(const Patch *p, const int16_t *image, int32_t row, int32_t column, int16_t *patch) {
  const Attrs *a = p->attrs;
  int64_t top = (int64_t)row * a->stride[0] - a->pad[0], left = (int64_t)column * a->stride[1] - a->pad[1];
  size_t tap = 0;
  for (int32_t kh = 0; kh < a->kernel[0]; kh++)
    for (int32_t kw = 0; kw < a->kernel[1]; kw++, tap++) {
      int64_t y = top + (int64_t)kh * a->dilation[0], x = left + (int64_t)kw * a->dilation[1];
      bool inside = y >= 0 && y < p->image.height && x >= 0 && x < p->image.width;
      size_t pixel = inside ? (size_t)(y * p->image.width + x) * (size_t)p->image.channels : 0;
      gather_tap(p, inside ? image + pixel : NULL, tap, patch);
    }
}

static void conv2d_image(const Eval *e, const Patch *p, const int16_t *image, const int16_t *weights, int16_t *patch,
                         int32_t *out) {
  const int32_t *dim = e->type->dim;
  size_t length = p->taps * p->group_channels;
  int32_t per_group = dim[2] / p->attrs->groups;
  for (int32_t row = 0; row < dim[0]; row++)
    for (int32_t column = 0; column < dim[1]; column++) {
      gather(p, image, row, column, patch);
      for (int32_t o = 0; o < dim[2]; o++)
        *out++ = dot(patch + (size_t)(o / per_group) * length, weights + (size_t)o * length, length);
    }
}

void eval_conv2d(const Eval *e) {
  Context *c = e->graph->context;
  const Type *x = e->in[0].type, *w = e->in[1].type;
  uint32_t images = image_count(x, e->batch);
  Patch p = {.attrs = e->attrs, .image = type_image(x), .group_channels = (size_t)w->dim[3]};
  p.taps = (size_t)w->dim[1] * (size_t)w->dim[2];
  int16_t *weights = expand_levels(c, &e->in[1], 1);
  int16_t *patch = context_alloc(c, p.taps * (size_t)p.image.channels * sizeof *patch);
  for (uint32_t n = 0; n < images; n++) {
    Operand one = {x, image_at(&e->in[0], n)};
    int16_t *image = expand_levels(c, &one, 1);
    conv2d_image(e, &p, image, weights, patch, result_at(e, n));
    context_release(c, image);
  }
  context_release(c, patch);
  context_release(c, weights);
}

void eval_linear(const Eval *e) {
  Context *c = e->graph->context;
  const Type *x = e->in[0].type, *w = e->in[1].type;
  uint32_t images = image_count(x, e->batch);
  size_t length = (size_t)w->dim[1];
  int16_t *weights = expand_levels(c, &e->in[1], 1), *levels = expand_levels(c, &e->in[0], images);
  int32_t *out = e->out;
  for (uint32_t n = 0; n < images; n++)
    for (int32_t o = 0; o < w->dim[0]; o++) *out++ = dot(levels + n * length, weights + (size_t)o * length, length);
  context_release(c, levels);
  context_release(c, weights);
}
