/* One trial of --tune. The network is loaded anew into a context of its own, compiled in process, and run by libapnn.
 */
#include "tune.h"

#include "../runtime/measure.h"
#include "../runtime/network.h"

#include <string.h>

/* --- compiling --- */

typedef struct Compilation {
  const Tuner *tuner;
  const Tuning *choices;
  Trial *trial;
  Text bytes;
} Compilation;

static bool compile(void *user) {
  Compilation *job = user;
  const Options *o = job->tuner->options;
  PassOptions passes = o->passes;
  Module module = {0};
  passes.tuning = job->choices;
  job->trial->graph = load_graph(job->trial->context, o);
  if (!job->trial->graph || !compile_graph(job->trial->graph, &passes, &module)) return false;
  if (job->tuner->assemble) return backend_cubin_bytes(job->trial->context, &module, &job->bytes);
  backend_ptx_bytes(job->trial->context, &module, &job->bytes);
  return true;
}

/* --- launches --- */

static void add_layout_of(Text *plan, const Graph *g, ValueId v) {
  const Value *value = graph_value(g, v);
  const Layout *l = &value->type.layout;
  if (value->kind != VALUE_CONST)
    text_add(plan, " %s:%d:%u:%u:%u:%u:%u", value->name, l->kind, l->block, l->pitch, l->row_pitch, l->image_pitch,
             l->positions);
}

static const char *plan_of(const Graph *g, const Node *node) {
  Text plan = {.context = g->context};
  char tile[TILE_TEXT];
  text_add(&plan, "%s %s", engine_name[node->engine], tile_text(&node->tile, tile));
  for (uint32_t i = 0; i < node->input_count; i++) add_layout_of(&plan, g, node->inputs[i]);
  for (uint32_t s = 0; s < node->step_count; s++)
    if (step_operand(&node->steps[s]) != NO_VALUE) add_layout_of(&plan, g, step_operand(&node->steps[s]));
  add_layout_of(&plan, g, node->result);
  return plan.data;
}

static void list_launches(const Tuner *tuner, const ApnnNetwork *network, Trial *trial) {
  const Graph *g = trial->graph;
  trial->launch_count = measure_layer_count(network);
  trial->launches = ARENA_NEW(trial->context, LaunchTime, trial->launch_count);
  for (uint32_t i = 0; i < trial->launch_count; i++) {
    LaunchTime *l = &trial->launches[i];
    *l = (LaunchTime){
        .name = arena_strdup(trial->context, measure_layer_info(network, i, 1).name), .plan = "", .us = -1};
    ValueId v = graph_find(g, l->name);
    NodeId n = v == NO_VALUE ? NO_NODE : graph_definition(g, v);
    if (n == NO_NODE) continue;
    l->plan = plan_of(g, &g->nodes[n]);
    if (tuning_serves(&g->nodes[n])) l->key = tuning_key(g, &g->nodes[n], &tuner->options->passes);
  }
}

static bool is_known(const Trial *base, const LaunchTime *launch) {
  for (uint32_t i = 0; i < base->launch_count; i++)
    if (!strcmp(base->launches[i].name, launch->name) && !strcmp(base->launches[i].plan, launch->plan)) return true;
  return false;
}

/* --- running --- */

static bool fail(const Tuner *tuner, const char *what) {
  diag(tuner->context, DIAG_TUNING_FAILED, (SourceLoc){0}, what);
  return false;
}

static void copy_outputs(const ApnnNetwork *network, const Measure *m, Trial *trial) {
  int inputs = apnn_input_count(network), batch = apnn_max_batch(network);
  trial->output_count = apnn_output_count(network);
  trial->outputs = ARENA_NEW(trial->context, void *, trial->output_count);
  trial->output_bytes = ARENA_NEW(trial->context, size_t, trial->output_count);
  for (int i = 0; i < trial->output_count; i++) {
    ApnnTensorInfo info;
    apnn_output_info(network, i, &info);
    trial->output_bytes[i] = info.image_bytes * (size_t)batch;
    trial->outputs[i] = arena_alloc(trial->context, trial->output_bytes[i]);
    memcpy(trial->outputs[i], measure_arrays(m)[inputs + i], trial->output_bytes[i]);
  }
}

/* The layers that the trial chooses for, by name. */
static const char *names_of_choices(const Trial *trial, const Tuning *choices, Context *c) {
  Text names = {.context = c};
  for (uint32_t i = 0; i < trial->launch_count; i++) {
    const LaunchTime *l = &trial->launches[i];
    if (l->key && choices && tuning_find(choices, l->key)) text_add(&names, names.length ? ", %s" : "%s", l->name);
  }
  return names.length ? names.data : "none";
}

static bool compare_outputs(const Tuner *tuner, const Trial *trial, const Tuning *choices) {
  const Trial *base = &tuner->base;
  for (int i = 0; i < base->output_count; i++)
    if (trial->output_bytes[i] != base->output_bytes[i] ||
        memcmp(trial->outputs[i], base->outputs[i], base->output_bytes[i])) {
      Text what = {.context = tuner->context};
      text_add(&what, "output %d has other bytes than without choices for layers %s", i,
               names_of_choices(trial, choices, tuner->context));
      for (uint32_t k = 0; k < choices->count; k++)
        text_add(&what, "; %s on %s", choices->entries[k].key, engine_name[choices->entries[k].engine]);
      return fail(tuner, what.data);
    }
  return true;
}

static ApnnStatus measure_trial(const Tuner *tuner, const Tuning *choices, bool whole, Measure *m, Trial *trial) {
  bool is_base = trial == &tuner->base;
  ApnnStatus status = APNN_OK;
  if (whole) status = measure_whole(m, &trial->whole_us);
  for (uint32_t i = 0; status == APNN_OK && !whole && i < trial->launch_count; i++) {
    LaunchTime *l = &trial->launches[i];
    bool chosen = l->key && choices && tuning_find(choices, l->key);
    if (is_base || chosen || !is_known(&tuner->base, l)) status = measure_launches(m, i, i + 1, &l->us);
  }
  return status;
}

static bool run_measure(const Tuner *tuner, const Tuning *choices, bool whole, ApnnNetwork *network, Measure *m,
                        Trial *trial) {
  if (measure_prepare(m, apnn_max_batch(network)) != APNN_OK) return fail(tuner, measure_error(m));
  copy_outputs(network, m, trial);
  list_launches(tuner, network, trial);
  if (trial != &tuner->base && !compare_outputs(tuner, trial, choices)) return false;
  return measure_trial(tuner, choices, whole, m, trial) == APNN_OK || fail(tuner, measure_error(m));
}

typedef struct Run {
  Tuner *tuner;
  const Tuning *choices;
  bool whole;
  ApnnNetwork *network;
  Measure *measure;
  Trial *trial;
} Run;

static bool run_in_context(void *user) {
  Run *run = user;
  return run_measure(run->tuner, run->choices, run->whole, run->network, run->measure, run->trial);
}

static bool run_compiled(Run *run, const Text *bytes) {
  const Tuner *tuner = run->tuner;
  char error[1024];
  if (apnn_load_memory(bytes->data, bytes->length, tuner->options->device, &run->network, error, sizeof error) !=
      APNN_OK)
    return fail(tuner, error);
  /* the CPU device is for checking: one run */
  bool good = measure_new(run->network, tuner->assemble ? 0 : 1, &run->measure, error, sizeof error) == APNN_OK;
  if (good)
    good = context_try(run->trial->context, run_in_context, run);
  else
    fail(tuner, error);
  measure_free(run->measure);
  apnn_network_free(run->network);
  return good;
}

/* --- the whole --- */

TrialResult trial_run(Tuner *tuner, const Tuning *choices, bool whole, Trial *out) {
  *out = (Trial){.context = context_new(NULL), .whole_us = -1};
  if (!out->context) {
    fail(tuner, "out of memory");
    return TRIAL_FAILED;
  }
  Compilation job = {tuner, choices, out, {0}};
  if (!context_try(out->context, compile, &job)) {
    diag_flush(out->context, stderr);
    return TRIAL_LEFT_OUT;
  }
  Run run = {tuner, choices, whole, NULL, NULL, out};
  if (run_compiled(&run, &job.bytes)) return TRIAL_GOOD;
  if (diag_error_count(out->context)) diag_flush(out->context, stderr);
  return TRIAL_FAILED;
}

void trial_free(Trial *trial) {
  if (trial->context) context_free(trial->context);
  *trial = (Trial){0};
}
