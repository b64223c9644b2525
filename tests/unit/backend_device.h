/* Graphs that passes have planned, emitted and run on the CPU device. */
#ifndef TESTS_UNIT_BACKEND_DEVICE_H
#define TESTS_UNIT_BACKEND_DEVICE_H

#include "backend/backend.h"
#include "passes_graphs.h"
#include "runtime/apnn.h"

static inline void run_passes(Build *b, uint32_t images, const char *pipeline, Engine force) {
  PassOptions options = {
      .target = target_find("sm_90a"), .max_batch = images, .pipeline = pipeline, .force_engine = force};
  bool ran = passes_run(b->g, &options, NULL);
  if (!ran) diag_flush(b->context, stderr);
  assert_true(ran);
}

/* The PTX of a planned graph, after its outputs are computed on the device. */
static inline const char *run_on_device(Build *b, uint32_t images, const void *const *inputs, void *const *outputs) {
  Module module;
  Text file;
  char error[1000];
  ApnnNetwork *network;
  ApnnSession *session;
  if (!backend_emit(b->g, target_find("sm_90a"), &module)) {
    diag_flush(b->context, stderr);
    fail_msg("not emitted");
  }
  backend_ptx_bytes(b->context, &module, &file);
  if (apnn_load_memory(file.data, file.length, "cpu", &network, error, sizeof error) != APNN_OK) fail_msg("%s", error);
  assert_int_equal(apnn_session_new(network, NULL, &session, error, sizeof error), APNN_OK);
  if (apnn_run(session, images, inputs, outputs) != APNN_OK) fail_msg("%s", apnn_session_error(session));
  apnn_session_free(session);
  apnn_network_free(network);
  return module.ptx.data;
}

/* Numbers of the graph's only input, of one byte each, for so many images. */
static inline const uint8_t *draw_images(Build *b, uint32_t images) {
  const Type *x = graph_type(b->g, b->g->inputs[0]);
  size_t bytes = type_dense_bytes(x) * images;
  uint8_t *drawn = arena_alloc(b->context, bytes);
  uint32_t seed = 7, count = (uint32_t)(type_q_max(x) - type_q_min(x) + 1);
  for (size_t i = 0; i < bytes; i++) {
    seed = seed * 1664525 + 1013904223;
    drawn[i] = (uint8_t)(type_q_min(x) + (int32_t)((seed >> 16) % count));
  }
  return drawn;
}

/* The graph's only output on the device is the evaluator's, bit for bit; the PTX. `what` is told otherwise. */
static inline const char *check_on_device(Build *b, uint32_t images, const void *input, const char *what) {
  size_t bytes = type_dense_bytes(graph_type(b->g, b->g->outputs[0])) * images;
  void *wanted = arena_alloc(b->context, bytes), *got = arena_alloc(b->context, bytes);
  assert_true(graph_eval(b->g, images, &input, &wanted));
  const char *ptx = run_on_device(b, images, &input, &got);
  if (memcmp(got, wanted, bytes)) fail_msg("%s differs at a batch of %u", what, images);
  return ptx;
}

/* The kernel of a layer, by the comment in front of it, up to the next; NULL if its text is that of an earlier one. */
static inline const char *kernel_of_layer(Build *b, const char *ptx, ValueId layer) {
  const char *head = arena_printf(b->context, "// layer: %s\n", graph_value(b->g, layer)->name);
  const char *from = strstr(ptx, head);
  if (!from) return NULL;
  const char *end = strstr(from + 1, "// layer: ");
  return arena_printf(b->context, "%.*s", end ? (int)(end - from) : (int)strlen(from), from);
}

#endif
