/* Damages inputs: flips, cuts, doublings, splices and telling numbers, all from a seed. */
#ifndef TESTS_FUZZ_MUTATE_H
#define TESTS_FUZZ_MUTATE_H

#include "../random/random_source.h"
#include <stddef.h>

typedef struct Bytes {
  uint8_t *data; /* from malloc */
  size_t size;
} Bytes;

Bytes bytes_copy(const void *data, size_t size);
/* A damaged copy of one of the corpus; some of its pieces may come from another of them. */
Bytes mutate(const Bytes *corpus, uint32_t count, RandomSource *random);

#endif
