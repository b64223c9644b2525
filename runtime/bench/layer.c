/* `apnn-bench layer`: a layer of given sizes and precisions is compiled in process (layer_network.h), run once on
 * random inputs, compared with the reference evaluator, and timed alone: its launch twenty times in a CUDA graph, each
 * waiting for the one before. With a list, one such command a line. */
#define _GNU_SOURCE
#include "../measure.h"
#include "../network.h"
#include "layer.h"
#include "layer_command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* --- device and target --- */

/* Asks the device what is to be compiled for it. */
static int choose_target(LayerOptions *o) {
  char text[512];
  ErrorText error = apnn_error_text(text, sizeof text);
  ApnnDevice device = {0};
  if (apnn_device_open(&device, o->device, &error) != APNN_OK) return layer_fail(o, EXIT_BAD_INPUT, "%s", text);
  bool is_cpu = device.driver.is_cpu;
  int capability = device.capability;
  apnn_device_close(&device);
  o->spec.assemble = !is_cpu;
  if (o->spec.target) return EXIT_GOOD;
  o->spec.target = is_cpu ? target_find("sm_90a") : target_for_capability(capability);
  if (o->spec.target) return EXIT_GOOD;
  return layer_fail(o, EXIT_BAD_INPUT, "no target fits a GPU of compute capability %d.%d", capability / 10,
                    capability % 10);
}

/* --- measuring --- */

/* Others that measure on this device wait meanwhile. */
static void begin_turn(const LayerOptions *o) {
  if (o->turn_file < 0) return;
  while (flock(o->turn_file, LOCK_EX) && errno == EINTR) continue;
}

static void end_turn(const LayerOptions *o) {
  if (o->turn_file >= 0) flock(o->turn_file, LOCK_UN);
}

static bool find_launches(const ApnnNetwork *network, int batch, LayerResult *r) {
  uint32_t count = measure_layer_count(network);
  for (r->first = 0; r->first < count && strcmp(measure_layer_info(network, r->first, batch).name, "y");) r->first++;
  for (r->last = r->first; r->last < count; r->last++) {
    LayerInfo info = measure_layer_info(network, r->last, batch);
    if (strcmp(info.name, "y")) break;
    r->bytes += info.bytes;
    r->ops += (double)info.ops;
  }
  return r->first < r->last;
}

static uint64_t hash_outputs(const ApnnNetwork *network, int batch, const void *const *outputs) { /* FNV-1a */
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (int i = 0; i < apnn_output_count(network); i++) {
    ApnnTensorInfo info;
    apnn_output_info(network, i, &info);
    const uint8_t *bytes = outputs[i], *end = bytes + info.image_bytes * (size_t)batch;
    while (bytes < end) hash = (hash ^ *bytes++) * UINT64_C(0x100000001b3);
  }
  return hash;
}

/* --- with cold weights: copies of the network take turns --- */

enum { COLD_BYTES = 128 << 20, MOST_COPIES = 64 };

typedef struct Copies {
  ApnnNetwork *networks[MOST_COPIES];
  Measure *measures[MOST_COPIES];
  int count;
} Copies;

/* Copies behind the first, which is measured already. */
static bool load_copy(const LayerOptions *o, const LayerNetwork *layer, Copies *copies, char error[NETWORK_ERROR]) {
  int i = copies->count++;
  return apnn_load_memory(layer->bytes.data, layer->bytes.length, o->device, &copies->networks[i], error,
                          NETWORK_ERROR) == APNN_OK &&
         measure_new(copies->networks[i], (int)o->runs, &copies->measures[i], error, NETWORK_ERROR) == APNN_OK &&
         measure_prepare(copies->measures[i], o->spec.batch) == APNN_OK;
}

static void free_copies(Copies *copies) {
  for (int i = 1; i < copies->count; i++) {
    measure_free(copies->measures[i]);
    apnn_network_free(copies->networks[i]);
  }
}

static int measure_cold(const LayerOptions *o, const LayerNetwork *layer, Measure *m, LayerResult *r) {
  char error[NETWORK_ERROR] = "a copy of the layer does not run";
  Copies copies = {.measures = {m}, .count = 1};
  int wanted = r->bytes < COLD_BYTES / (MOST_COPIES - 1) ? MOST_COPIES : (int)(COLD_BYTES / r->bytes) + 2;
  bool good = true;
  while (good && copies.count < wanted) good = load_copy(o, layer, &copies, error);
  for (int i = 1; good && i < copies.count; i++)
    if (o->no_overlap) measure_without_overlap(copies.measures[i]);
  ApnnStatus status = good ? measure_in_turn(copies.measures, copies.count, r->first, r->last, &r->us) : APNN_OK;
  free_copies(&copies);
  if (!good) return layer_fail(o, EXIT_BAD_INPUT, "%s", error);
  return status == APNN_OK ? EXIT_GOOD : layer_fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
}

/* --- the layer --- */

static int measure_warm(const LayerOptions *o, Measure *m, LayerResult *r) {
  ApnnStatus status = measure_launches(m, r->first, r->last, &r->us);
  return status == APNN_OK ? EXIT_GOOD : layer_fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
}

static int measure(const LayerOptions *o, const LayerNetwork *layer, ApnnNetwork *network, Measure *m, LayerResult *r) {
  char error[NETWORK_ERROR];
  int batch = o->spec.batch;
  r->device = apnn_device_name(network);
  if (!find_launches(network, batch, r)) return layer_fail(o, EXIT_BAD_INPUT, "the file has no launch named y");
  begin_turn(o);
  ApnnStatus status = measure_prepare(m, batch);
  end_turn(o);
  if (status != APNN_OK) return layer_fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
  void *const *arrays = measure_arrays(m);
  const void *const *inputs = (const void *const *)arrays, *const *outputs = inputs + apnn_input_count(network);
  if (!layer_network_check(layer, (uint32_t)batch, o->sample, inputs, outputs, &r->exact, error))
    return layer_fail(o, EXIT_BAD_INPUT, "%s", error);
  r->hash = hash_outputs(network, batch, outputs);
  begin_turn(o);
  int code = o->cold ? measure_cold(o, layer, m, r) : measure_warm(o, m, r);
  end_turn(o);
  return code;
}

static int measure_network(const LayerOptions *o, const LayerNetwork *layer, ApnnNetwork *network, LayerResult *r) {
  char error[1024];
  Measure *m;
  if (measure_new(network, (int)o->runs, &m, error, sizeof error) != APNN_OK)
    return layer_fail(o, EXIT_BAD_INPUT, "%s", error);
  if (o->no_overlap) measure_without_overlap(m);
  if (o->budget) measure_within(m, (double)o->budget * 1e3);
  int code = measure(o, layer, network, m, r);
  measure_free(m);
  return code;
}

/* --- the whole --- */

static int bench_compiled(const LayerOptions *o, const LayerNetwork *layer) {
  char error[NETWORK_ERROR];
  ApnnNetwork *network;
  LayerResult result = {0};
  if (apnn_load_memory(layer->bytes.data, layer->bytes.length, o->device, &network, error, sizeof error) != APNN_OK)
    return layer_fail(o, EXIT_BAD_INPUT, "%s", error);
  int code = measure_network(o, layer, network, &result);
  if (code == EXIT_GOOD) layer_print(o, layer, &result);
  apnn_network_free(network);
  if (code != EXIT_GOOD || result.exact != EXACT_NO) return code;
  return o->listed ? EXIT_BAD_INPUT : layer_fail(o, EXIT_BAD_INPUT, "the result differs from the reference");
}

static int bench(LayerOptions *o) {
  char error[NETWORK_ERROR];
  LayerNetwork layer = {0};
  const LayerSpec *s = &o->spec;
  if (s->conv && (spec_size_out(s, s->height) < 1 || spec_size_out(s, s->width) < 1))
    return layer_fail(o, EXIT_BAD_INPUT, "a window of %d x %d does not fit %d x %d with padding %d", s->kernel,
                      s->kernel, s->height, s->width, spec_pad(s));
  int code = choose_target(o);
  if (code != EXIT_GOOD) return code;
  o->spec.candidates = (uint32_t)o->candidates;
  code = layer_network_new(s, &layer, error) ? bench_compiled(o, &layer) : layer_fail(o, EXIT_BAD_INPUT, "%s", error);
  layer_network_free(&layer);
  return code;
}

static int bench_line(void *user, int count, char **words) {
  LayerOptions o = *(const LayerOptions *)user;
  o.list = NULL;
  o.listed = true;
  return layer_options_read(&o, count, words) ? bench(&o) : EXIT_USAGE;
}

/* The device's context stays between lines: making it takes longer than most layers. */
static int bench_lines(LayerOptions *o) {
  char text[512];
  ErrorText error = apnn_error_text(text, sizeof text);
  ApnnDevice device = {0};
  if (apnn_device_open(&device, o->device, &error) != APNN_OK) return layer_fail(o, EXIT_BAD_INPUT, "%s", text);
  int code = apnn_device_retain(&device, &error) == APNN_OK ? bench_list(o->list, "apnn-bench", bench_line, o)
                                                            : layer_fail(o, EXIT_BAD_INPUT, "%s", text);
  apnn_device_close(&device);
  return code;
}

int bench_layer(int argc, char **argv) {
  LayerOptions o = {.turn_file = -1};
  if (!layer_options_read(&o, argc, argv)) return EXIT_USAGE;
  if (o.help) {
    layer_options_help();
    return EXIT_GOOD;
  }
  if (o.turn) o.turn_file = open(o.turn, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (o.turn && o.turn_file < 0) return layer_fail(&o, EXIT_BAD_INPUT, "--turn: %s: %s", o.turn, strerror(errno));
  int code = o.list ? bench_lines(&o) : bench(&o);
  if (o.turn) close(o.turn_file);
  return code;
}
