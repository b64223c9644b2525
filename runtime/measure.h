/* Times of a loaded network, whole or layer by layer, for apnn-bench and `apnnc --tune`. */
#ifndef RUNTIME_MEASURE_H
#define RUNTIME_MEASURE_H

#include "apnn.h"

typedef struct Measure Measure;

/* What the file says of one launch at a batch. Texts live as long as the network. */
typedef struct LayerInfo {
  const char *name, *engine;
  uint64_t bytes; /* activations read and written, weights and tables read: once each */
  uint64_t ops;   /* 2 a multiply-add */
} LayerInfo;

/* `runs` 0: up to 100 within two seconds, at least 3. Free with measure_free, which accepts NULL. */
ApnnStatus measure_new(ApnnNetwork *network, int runs, Measure **measure, char *error, size_t error_bytes);
void measure_free(Measure *measure);

/* The runs of a time that are not counted beforehand (`runs` 0) take about so long, instead of two seconds. */
void measure_within(Measure *measure, double us);

/* From now on every launch begins when the one before it has ended, also where its kernel could begin earlier. */
void measure_without_overlap(Measure *measure);

/* Fill the inputs with random numbers of their types and run the batch once. Before the two below. */
ApnnStatus measure_prepare(Measure *measure, int batch);

/* Host arrays of the inputs, then the outputs, as the last measure_prepare left them. */
void *const *measure_arrays(const Measure *measure);

/* Median microseconds of the whole network, and of launches `first` to `last` (not included) alone. */
ApnnStatus measure_whole(Measure *measure, double *us);
ApnnStatus measure_launches(Measure *measure, uint32_t first, uint32_t last, double *us);

/* The same for launches `first` to `last` (not included) of several copies of a network that take turns, so that the L2
 * cache no longer holds weights when they are needed again if all copies together have many more bytes than it. The
 * error, if any, is that of the first. APNN_ERROR_DEVICE on the CPU, which has no such cache. */
ApnnStatus measure_in_turn(Measure *const *measures, int count, uint32_t first, uint32_t last, double *us);

uint32_t measure_layer_count(const ApnnNetwork *network);
LayerInfo measure_layer_info(const ApnnNetwork *network, uint32_t layer, int batch);
const char *measure_model(const ApnnNetwork *network); /* "NVIDIA H200" */
const char *measure_error(const Measure *measure);

#endif
