/* Trials of --tune: the whole network compiled with some choices, run and timed on the device. */
#ifndef FRONTEND_TUNE_H
#define FRONTEND_TUNE_H

#include "options.h"

/* One launch of a trial. */
typedef struct LaunchTime {
  const char *name, *key; /* of the layer; key NULL: it is not of those that are tuned */
  const char *plan;       /* engine, tile and layouts: equal plans of one name take the same time */
  double us;              /* negative: not measured */
} LaunchTime;

typedef struct Trial {
  Context *context; /* holds all of the trial */
  Graph *graph;     /* planned */
  LaunchTime *launches;
  uint32_t launch_count;
  void **outputs; /* of the random inputs that all trials get, for the largest batch */
  size_t *output_bytes;
  int output_count;
  double whole_us; /* negative: not measured */
} Trial;

typedef enum TrialResult {
  TRIAL_GOOD,
  TRIAL_LEFT_OUT, /* it does not compile; the reports are on stderr */
  TRIAL_FAILED    /* the device failed or the outputs differ from the base's; reported */
} TrialResult;

typedef struct Tuner {
  Context *context;
  const Options *options;
  bool assemble; /* to cubins: the device is a GPU */
  Trial base;    /* with the cost model's choices; all launches are measured */
} Tuner;

/* Compiles with the choices, runs, compares the outputs with those of the base (unless `out` is the base), and times:
 * of a `whole` trial the network as a whole, of the base every launch, of others the launches of layers that have a
 * choice and those whose plans are new. Free with trial_free in every case. */
TrialResult trial_run(Tuner *tuner, const Tuning *choices, bool whole, Trial *out);
void trial_free(Trial *trial);

#endif
