/* Random networks in the language's own text. */
#ifndef TESTS_RANDOM_GENERATE_H
#define TESTS_RANDOM_GENERATE_H

#include <stdint.h>

/* A network that follows the language's rules: every operation, element type and size can come up. The text is from
 * malloc; the same seed gives the same text. */
char *generate_network(uint64_t seed);

/* pairs.c: number `index` of the full matrix of weight types x activation types x {conv2d, linear}. NULL past the last.
 * From malloc. */
char *generate_pair(uint32_t index);

/* pools.c: number `index` of the pooling networks. NULL past the last. From malloc. */
char *generate_pool(uint32_t index);

#endif
