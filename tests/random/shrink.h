/* Makes a failing network small. */
#ifndef TESTS_RANDOM_SHRINK_H
#define TESTS_RANDOM_SHRINK_H

#include <stdbool.h>

/* Smaller texts (fewer lines, steps and arguments, smaller numbers) that `still_fails` accepts, until none of them does
 * or `most_attempts` were made. From malloc. */
char *shrink_network(const char *text, bool (*still_fails)(void *user, const char *text), void *user,
                     int most_attempts);

#endif
