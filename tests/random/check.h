/* One network, every way: reference evaluation = evaluation after each pass = a device that runs the compiled file. */
#ifndef TESTS_RANDOM_CHECK_H
#define TESTS_RANDOM_CHECK_H

#include "../../ir/ir.h"
#include "../../runtime/apnn.h"

typedef struct CheckOptions {
  uint64_t seed;      /* of parameters and inputs */
  const char *device; /* as in apnn.h; "none": nothing is run */
  const Target *target;
  int sm_count;  /* multiprocessors that the passes count with, so that few blocks walk over many tiles; 0: the target's
                  */
  Tile tile;     /* forced where a layer can have it; all zero: the cost model's */
  Engine engine; /* forced where it can compute a layer; ENGINE_NONE: the cost model's */
  uint32_t batch;
  bool every_pass;      /* evaluate, print and parse after every pass */
  bool assemble;        /* also write the cubin form and run that; needs ptxas */
  ApnnNetwork **latest; /* may be NULL: the network that this process ran last is kept there until the next is loaded,
                           so that the driver keeps the GPU's context instead of making one for every network */
} CheckOptions;

/* What of the options follows from a seed; device is kept. */
CheckOptions check_options_from_seed(uint64_t seed, const char *device);

typedef enum Verdict {
  VERDICT_NONE,
  VERDICT_SAME,    /* every bit is the same */
  VERDICT_REFUSED, /* the compiler says that sums could pass 32 bits */
  VERDICT_FAILED
} Verdict;

typedef struct CheckResult {
  Verdict verdict;
  char stage[48];   /* what failed: "pass fuse", "compare", ... */
  char words[1500]; /* how */
} CheckResult;

void check_network(const char *text, const CheckOptions *options, CheckResult *result);

#endif
