/* First layers, convolutions of few channels, as nodes whose operand is dense bytes: for the tests of what engines keep
 * of them in shared memory. */
#ifndef UNIT_IR_FIRST_LAYER_H
#define UNIT_IR_FIRST_LAYER_H

#include "../../ir/graph.h"

typedef struct FirstLayer {
  int32_t size[2], channels, outputs, kernel[2], stride[2], pad, dilation[2];
} FirstLayer;

static inline Node conv(Context *c, Graph **g, const FirstLayer *s) {
  *g = graph_new(c, "test");
  Node node = {.op = OP_CONV2D, .attrs = attrs_default(), .inputs = ARENA_NEW(c, ValueId, 2), .input_count = 2};
  Attrs *a = &node.attrs;
  int32_t out[3] = {0, 0, s->outputs};
  for (int i = 0; i < 2; i++) {
    a->kernel[i] = s->kernel[i], a->stride[i] = s->stride[i], a->dilation[i] = s->dilation[i];
    a->pad[i] = a->pad[i + 2] = s->pad;
    out[i] = (s->size[i] + 2 * s->pad - ((s->kernel[i] - 1) * s->dilation[i] + 1)) / s->stride[i] + 1;
  }
  Type x = type_make(ELEM_UINT, 8, true, 3, (int32_t[]){s->size[0], s->size[1], s->channels});
  x.layout = layout_dense(&x);
  Type w = type_make(ELEM_INT, 8, false, 4, (int32_t[]){s->outputs, s->kernel[0], s->kernel[1], s->channels});
  node.main_type = type_make(ELEM_I32, 32, true, 3, out);
  node.inputs[0] = graph_add_input(*g, "x", x);
  node.inputs[1] = graph_add_const(*g, "w", w, arena_alloc(c, type_dense_bytes(&w)));
  node.result = graph_add_result(*g, "y", node.main_type);
  return node;
}

/* A context as the state of a test. */
static inline int begin(void **state) {
  *state = context_new(NULL);
  return *state ? 0 : -1;
}

static inline int end(void **state) {
  context_free(*state);
  return 0;
}

#endif
