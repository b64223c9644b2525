/* A CUDA driver in host memory, for tests of libapnn: a library named libcuda.so.1 that knows the sample network's two
 * kernels, counts what is alive, and fails the call it is told to fail. Get these functions with dlsym. */
#ifndef TESTS_UNIT_RUNTIME_MOCK_H
#define TESTS_UNIT_RUNTIME_MOCK_H

#include <stdbool.h>

typedef struct MockControl {
  int fail_at;         /* the call with this number (from 1) fails; 0: none */
  int fail_with;       /* its result */
  int calls;           /* calls so far */
  const char *failed;  /* the symbol that failed, or NULL */
  const char *missing; /* cuGetProcAddress does not find this symbol */
  int devices;         /* GPUs */
  int capability;      /* 80: 8.0 */
  int live;            /* modules, allocations, streams, graphs and events */
  int leftovers;       /* of these, left to the end of the primary context, which takes them with it */
  int launches, graph_launches, copies, synchronizations;
  int overlaps;       /* launches that may begin before the one before them ends */
  unsigned blocks[2]; /* of the last launch of each kernel */
} MockControl;

typedef MockControl *MockControlFunction(void); /* "mock_control" */
typedef void MockResetFunction(void);           /* "mock_reset": one GPU of 8.0, nothing fails */

#endif
