/* Measuring: on a device with graphs, graph replays between two events; on others, launches between two readings of the
 * clock. A layer by itself is so short that a graph holds it REPEATS times over. */
#include "measure.h"

#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_RUNS = 3, LEAST_RUNS = 3, MOST_RUNS = 100, REPEATS = 20 };
static const double usual_budget_us = 2e6;

struct Measure {
  ApnnNetwork *network;
  ApnnSession *session;
  int batch, runs;
  double budget_us;
  uint64_t random;
  CuEvent start, stop;
  double *times;
  void **arrays; /* host arrays of all inputs, then outputs, for the largest batch */
};

/* --- making and freeing --- */

static ApnnStatus check(Measure *m, CuResult result, const char *what) {
  return apnn_driver_check(&m->network->device.driver, result, &m->session->error, "%s", what);
}

static bool uses_graphs(const Measure *m) {
  const ApnnDriver *d = &m->network->device.driver;
  return apnn_driver_has_graphs(d) && d->event_create && d->event_record && d->event_synchronize && d->event_elapsed &&
         d->event_destroy;
}

static ApnnStatus make_events(Measure *m) {
  const ApnnDriver *d = &m->network->device.driver;
  if (!uses_graphs(m)) return APNN_OK;
  ApnnStatus status = apnn_device_enter(&m->network->device, &m->session->error);
  if (status != APNN_OK) return status;
  status = check(m, d->event_create(&m->start, 0), "cuEventCreate");
  if (status == APNN_OK) status = check(m, d->event_create(&m->stop, 0), "cuEventCreate");
  apnn_device_leave(&m->network->device);
  return status;
}

static ApnnStatus make_arrays(Measure *m, ErrorText *error) {
  const ApnnFile *file = &m->network->file;
  m->arrays = calloc(file->header.tensor_count, sizeof *m->arrays);
  m->times = calloc(m->runs ? (size_t)m->runs : MOST_RUNS, sizeof *m->times);
  bool good = m->arrays && m->times;
  for (uint32_t i = 0; good && i < file->header.tensor_count; i++) {
    m->arrays[i] = calloc(file->header.max_batch, file->tensors[m->network->tensor_order[i]].image_bytes);
    good = m->arrays[i];
  }
  return good ? APNN_OK
              : apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for the arrays of a batch of %u",
                          file->header.max_batch);
}

ApnnStatus measure_new(ApnnNetwork *network, int runs, Measure **measure, char *buffer, size_t buffer_bytes) {
  ErrorText error = apnn_error_text(buffer, buffer_bytes);
  *measure = NULL;
  Measure *m = calloc(1, sizeof *m);
  if (!m) return apnn_fail(&error, APNN_ERROR_MEMORY, "out of memory");
  m->network = network;
  m->runs = runs;
  m->budget_us = usual_budget_us;
  m->random = UINT64_C(0x9e3779b97f4a7c15);
  ApnnStatus status = make_arrays(m, &error);
  if (status == APNN_OK) status = apnn_session_new(network, NULL, &m->session, buffer, buffer_bytes);
  if (status == APNN_OK) {
    status = make_events(m);
    if (status != APNN_OK) apnn_fail(&error, status, "%s", apnn_session_error(m->session));
  }
  if (status == APNN_OK)
    *measure = m;
  else
    measure_free(m);
  return status;
}

void measure_within(Measure *m, double us) {
  m->budget_us = us;
}

void measure_without_overlap(Measure *m) {
  m->session->no_overlap = true;
}

static void free_events(Measure *m) {
  ErrorText ignored = {NULL, 0};
  if (!m->start || apnn_device_enter(&m->network->device, &ignored) != APNN_OK) return;
  m->network->device.driver.event_destroy(m->start);
  if (m->stop) m->network->device.driver.event_destroy(m->stop);
  apnn_device_leave(&m->network->device);
}

void measure_free(Measure *m) {
  if (!m) return;
  free_events(m);
  apnn_session_free(m->session);
  for (uint32_t i = 0; m->arrays && i < m->network->file.header.tensor_count; i++) free(m->arrays[i]);
  free(m->arrays);
  free(m->times);
  free(m);
}

/* --- inputs --- */

static uint64_t next_random(Measure *m) { /* xorshift64 */
  m->random ^= m->random << 13;
  m->random ^= m->random >> 7;
  m->random ^= m->random << 17;
  return m->random >> 16;
}

static void fill_random(Measure *m, const ApnnFileTensor *t, void *array, size_t images) {
  size_t bytes = t->image_bytes * images;
  uint64_t span = (uint64_t)((int64_t)t->q_max - t->q_min) + 1;
  for (size_t i = 0; i < bytes && t->elem <= APNN_ELEM_INT; i++)
    ((uint8_t *)array)[i] = (uint8_t)(t->q_min + (int32_t)(next_random(m) % span));
  for (size_t i = 0; i < bytes / 4 && t->elem == APNN_ELEM_I32; i++)
    ((int32_t *)array)[i] = (int32_t)(next_random(m) % 2001) - 1000;
  for (size_t i = 0; i < bytes / 4 && t->elem == APNN_ELEM_F32; i++)
    ((float *)array)[i] = (float)(next_random(m) % 65536) / 32768.0f - 1.0f;
}

ApnnStatus measure_prepare(Measure *m, int batch) {
  const ApnnNetwork *n = m->network;
  m->batch = batch;
  for (uint32_t i = 0; i < n->input_count; i++)
    fill_random(m, &n->file.tensors[n->tensor_order[i]], m->arrays[i], (size_t)batch);
  return apnn_run(m->session, batch, (const void *const *)m->arrays, m->arrays + n->input_count);
}

void *const *measure_arrays(const Measure *m) {
  return m->arrays;
}

/* --- times --- */

static int compare_times(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double clock_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

/* What is timed: launches first..last, by a graph that holds them `repeats` times or one by one. */
typedef struct Span {
  uint32_t first, last;
  int repeats;
  CuGraphExec exec;
} Span;

static ApnnStatus run_graph_once(Measure *m, const Span *span, double *us) {
  const ApnnDriver *d = &m->network->device.driver;
  CuStream stream = m->session->stream;
  float milliseconds = 0;
  ApnnStatus status = check(m, d->event_record(m->start, stream), "cuEventRecord");
  if (status == APNN_OK) status = check(m, d->graph_launch(span->exec, stream), "cuGraphLaunch");
  if (status == APNN_OK) status = check(m, d->event_record(m->stop, stream), "cuEventRecord");
  if (status == APNN_OK) status = check(m, d->event_synchronize(m->stop), "cuEventSynchronize");
  if (status == APNN_OK) status = check(m, d->event_elapsed(&milliseconds, m->start, m->stop), "cuEventElapsedTime");
  *us = (double)milliseconds * 1e3 / span->repeats;
  return status;
}

static ApnnStatus run_launches_once(Measure *m, const Span *span, double *us) {
  ApnnStatus status = APNN_OK;
  double start = clock_us();
  for (uint32_t i = span->first; status == APNN_OK && i < span->last; i++) {
    LaunchPlace place = i > span->first ? LAUNCH_BEHIND_LAUNCH : LAUNCH_FIRST;
    status = apnn_launch_one(m->session, i, m->batch, place, m->session->stream);
  }
  if (status == APNN_OK)
    status = check(m, m->network->device.driver.stream_synchronize(m->session->stream), "cuStreamSynchronize");
  *us = clock_us() - start;
  return status;
}

static ApnnStatus run_once(Measure *m, const Span *span, double *us) {
  return span->exec ? run_graph_once(m, span, us) : run_launches_once(m, span, us);
}

static double median(double *times, int count) {
  qsort(times, (size_t)count, sizeof *times, compare_times);
  return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

static ApnnStatus measure_runs(Measure *m, const Span *span, double *us) {
  int most = m->runs ? m->runs : MOST_RUNS, done = 0;
  double started = clock_us(), ignored;
  ApnnStatus status = APNN_OK;
  for (int i = 0; status == APNN_OK && span->exec && i < WARM_RUNS; i++) {
    if (i && !m->runs && clock_us() - started > m->budget_us) break;
    status = run_once(m, span, &ignored);
  }
  while (status == APNN_OK && done < most) {
    if (!m->runs && done >= LEAST_RUNS && clock_us() - started > m->budget_us) break;
    status = run_once(m, span, &m->times[done++]);
  }
  if (status != APNN_OK) return status;
  *us = median(m->times, done);
  return APNN_OK;
}

static ApnnStatus measure_span(Measure *m, Span *span, double *us) {
  m->session->error = apnn_error_text(m->session->error_buffer, sizeof m->session->error_buffer);
  ApnnStatus status = apnn_device_enter(&m->network->device, &m->session->error);
  if (status != APNN_OK) return status;
  if (uses_graphs(m))
    status = apnn_graph_capture(m->session, m->batch, span->first, span->last, span->repeats, &span->exec);
  if (status == APNN_OK) status = measure_runs(m, span, us);
  if (span->exec) m->network->device.driver.graph_exec_destroy(span->exec);
  apnn_device_leave(&m->network->device);
  return status;
}

ApnnStatus measure_whole(Measure *m, double *us) {
  Span span = {0, measure_layer_count(m->network), 1, NULL};
  return measure_span(m, &span, us);
}

ApnnStatus measure_launches(Measure *m, uint32_t first, uint32_t last, double *us) {
  Span span = {first, last, REPEATS, NULL};
  return measure_span(m, &span, us);
}

/* --- copies that take turns --- */

typedef struct Turns {
  Measure *const *measures;
  int count, repeats;
  uint32_t first, last;
} Turns;

static ApnnStatus launch_turns(ApnnSession *s, const void *user) {
  const Turns *turns = user;
  ApnnStatus status = APNN_OK;
  for (int r = 0; r < turns->repeats; r++) {
    const Measure *m = turns->measures[r % turns->count];
    for (uint32_t i = turns->first; status == APNN_OK && i < turns->last; i++) {
      LaunchPlace place = r > 0 || i > turns->first ? LAUNCH_BEHIND_LAUNCH : LAUNCH_FIRST;
      status = apnn_launch_one(m->session, i, m->batch, place, s->capture_stream);
    }
  }
  return status;
}

ApnnStatus measure_in_turn(Measure *const *measures, int count, uint32_t first, uint32_t last, double *us) {
  Measure *m = measures[0];
  Turns turns = {measures, count, (REPEATS + count - 1) / count * count, first, last};
  Span span = {first, last, turns.repeats, NULL};
  m->session->error = apnn_error_text(m->session->error_buffer, sizeof m->session->error_buffer);
  if (m->network->device.driver.is_cpu || !uses_graphs(m))
    return apnn_fail(&m->session->error, APNN_ERROR_DEVICE, "times with a cold cache need a GPU");
  ApnnStatus status = apnn_device_enter(&m->network->device, &m->session->error);
  if (status != APNN_OK) return status;
  status = apnn_graph_capture_work(m->session, launch_turns, &turns, &span.exec);
  if (status == APNN_OK) status = measure_runs(m, &span, us);
  if (span.exec) m->network->device.driver.graph_exec_destroy(span.exec);
  apnn_device_leave(&m->network->device);
  return status;
}

/* --- what the file says --- */

uint32_t measure_layer_count(const ApnnNetwork *network) {
  return network->file.header.launch_count;
}

LayerInfo measure_layer_info(const ApnnNetwork *network, uint32_t layer, int batch) {
  const ApnnFileLaunch *l = &network->file.launches[layer];
  return (LayerInfo){apnn_file_name(&network->file, l->layer_name), apnn_file_name(&network->file, l->engine_name),
                     l->bytes_per_image * (uint64_t)batch + l->bytes_constant, l->ops_per_image * (uint64_t)batch};
}

const char *measure_model(const ApnnNetwork *network) {
  return network->device.model;
}

const char *measure_error(const Measure *m) {
  return apnn_session_error(m->session);
}
