/* A stream of pseudo-random numbers that depends on its seed alone (splitmix64), on every machine. */
#ifndef TESTS_RANDOM_SOURCE_H
#define TESTS_RANDOM_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RandomSource {
  uint64_t state;
} RandomSource;

static inline uint64_t random_bits(RandomSource *r) {
  uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* low .. high, both included. */
static inline int random_in(RandomSource *r, int low, int high) {
  return low + (int)(random_bits(r) % (uint64_t)((int64_t)high - low + 1));
}

static inline bool random_chance(RandomSource *r, int percent) {
  return random_in(r, 1, 100) <= percent;
}

#define RANDOM_OF(r, table) ((table)[random_in((r), 0, (int)(sizeof(table) / sizeof *(table)) - 1)])

#endif
