/* CUDA graphs of a session: one for each of the last few combinations of batch and pointers that came more than once.
 *
 * Capturing happens on a stream of its own that does not block, so that work which other threads put on the legacy
 * default stream meanwhile does not disturb it. */
#include "session.h"

#include <string.h>

static bool slot_matches(const ApnnSession *s, const GraphSlot *slot, int batch) {
  size_t bytes = s->network->file.header.tensor_count * sizeof *s->pointers;
  return slot->batch == batch && memcmp(slot->pointers, s->pointers, bytes) == 0;
}

static void empty_slot(ApnnSession *s, GraphSlot *slot) {
  if (slot->exec) s->network->device.driver.graph_exec_destroy(slot->exec);
  slot->exec = NULL;
  slot->batch = 0;
}

GraphSlot *apnn_graph_slot(ApnnSession *s, int batch, bool *known) {
  GraphSlot *oldest = &s->graphs[0];
  s->runs++;
  for (int i = 0; i < GRAPH_SLOTS; i++) {
    GraphSlot *slot = &s->graphs[i];
    if (slot_matches(s, slot, batch)) {
      slot->used_at = s->runs;
      *known = true;
      return slot;
    }
    if (slot->used_at < oldest->used_at) oldest = slot;
  }
  empty_slot(s, oldest);
  memcpy(oldest->pointers, s->pointers, s->network->file.header.tensor_count * sizeof *s->pointers);
  oldest->batch = batch;
  oldest->used_at = s->runs;
  *known = false;
  return oldest;
}

static ApnnStatus check(ApnnSession *s, CuResult result, const char *what) {
  return apnn_driver_check(&s->network->device.driver, result, &s->error, "%s", what);
}

ApnnStatus apnn_graph_capture_work(ApnnSession *s, GraphWork work, const void *user, CuGraphExec *exec) {
  const ApnnDriver *d = &s->network->device.driver;
  CuGraph graph = NULL;
  ApnnStatus status = APNN_OK;
  *exec = NULL;
  if (!s->capture_stream)
    status = check(s, d->stream_create(&s->capture_stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  if (status == APNN_OK)
    status = check(s, d->capture_begin(s->capture_stream, CU_CAPTURE_RELAXED), "cuStreamBeginCapture");
  if (status != APNN_OK) return status;
  status = work(s, user);
  CuResult ended = d->capture_end(s->capture_stream, &graph);
  if (status == APNN_OK) status = check(s, ended, "cuStreamEndCapture");
  if (status == APNN_OK) status = check(s, d->graph_instantiate(exec, graph, 0), "cuGraphInstantiateWithFlags");
  if (status != APNN_OK) *exec = NULL;
  if (graph) d->graph_destroy(graph);
  return status;
}

typedef struct LaunchRange {
  int batch, repeats;
  uint32_t first, last;
} LaunchRange;

static ApnnStatus launch_range(ApnnSession *s, const void *user) {
  const LaunchRange *range = user;
  ApnnStatus status = APNN_OK;
  for (int r = 0; r < range->repeats; r++)
    for (uint32_t i = range->first; status == APNN_OK && i < range->last; i++) {
      LaunchPlace place = r > 0 || i > range->first ? LAUNCH_BEHIND_LAUNCH : LAUNCH_FIRST;
      status = apnn_launch_one(s, i, range->batch, place, s->capture_stream);
    }
  return status;
}

ApnnStatus apnn_graph_capture(ApnnSession *s, int batch, uint32_t first, uint32_t last, int repeats,
                              CuGraphExec *exec) {
  LaunchRange range = {batch, repeats, first, last};
  return apnn_graph_capture_work(s, launch_range, &range, exec);
}

void apnn_graphs_free(ApnnSession *s) {
  for (int i = 0; i < GRAPH_SLOTS; i++) empty_slot(s, &s->graphs[i]);
  if (s->capture_stream) s->network->device.driver.stream_destroy(s->capture_stream);
  s->capture_stream = NULL;
}
