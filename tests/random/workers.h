/* Runs checks in child processes, so that a crash, an endless loop or a damaged heap is one failed check and no more.
 */
#ifndef TESTS_RANDOM_WORKERS_H
#define TESTS_RANDOM_WORKERS_H

#include "check.h"

typedef struct Workers {
  void (*work)(void *user, uint32_t index, CheckResult *result);
  void *user;
  uint32_t count;            /* indices 0 .. count - 1 */
  uint32_t processes;        /* that run at a time; 0: all work is done in the caller's own, for debuggers */
  uint32_t seconds;          /* most that one index may take in a process of its own */
  uint32_t seconds_a_report; /* a line on stderr, about that often, says how far the work has come; 0: none */
  CheckResult *results;      /* of every index, from workers_run; give back with workers_free */
  uint32_t damaged_workers;  /* ended with an error of their own after their checks, as leak checkers do */
} Workers;

/* False where no process could be started. */
bool workers_run(Workers *w);
void workers_free(Workers *w);

#endif
