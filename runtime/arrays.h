/* The arrays of apnn-run: inputs from .npy files, checked against the network; outputs; labels. */
#ifndef RUNTIME_ARRAYS_H
#define RUNTIME_ARRAYS_H

#include "apnn.h"
#include "npy.h"

typedef struct Arrays {
  const ApnnNetwork *network;
  int64_t images; /* first dimension of every input, at least 1 */
  int input_count, output_count;
  Npy *inputs;
  void **outputs;            /* images * image_bytes each */
  const void **piece_inputs; /* pointers for apnn_run, set by arrays_piece */
  void **piece_outputs;
} Arrays;

/* Read the inputs, one path an input, and make room for the outputs. Element type, shape and range are checked. On
 * errors nothing stays allocated. */
ApnnStatus arrays_open(const ApnnNetwork *network, const char *const *paths, Arrays *arrays, ErrorText *error);
void arrays_free(Arrays *arrays);

/* Point piece_inputs and piece_outputs at image number `first`. */
void arrays_piece(Arrays *arrays, int64_t first);

/* Write output number `index` as [images, dims...]. */
ApnnStatus arrays_write(const Arrays *arrays, int index, const char *path, ErrorText *error);

/* Images whose class is that of the labels file, an integer array [images]. The class is the first output itself where
 * it is one i32, otherwise the least index of its greatest element. */
ApnnStatus arrays_compare(const Arrays *arrays, const char *path, int64_t *right, ErrorText *error);

#endif
