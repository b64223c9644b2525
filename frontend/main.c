/* apnnc: a thin program over the compiler's library. Exit status: 0 success, 1 bad input, 2 wrong use. */
#include "../backend/file_write.h"
#include "../passes/plan.h"
#include "options.h"
#include "param_file.h"
#include <string.h>

typedef struct Job {
  Context *context;
  Options *options;
  Graph *graph;
  Module module;
} Job;

static bool read_source(Context *c, const char *path, const char **text, size_t *size) {
  const char *problem;
  const uint8_t *data;
  bool good = map_file(c, path, &data, size, &problem);
  if (!good) diag(c, DIAG_CANNOT_READ, (SourceLoc){0}, path, problem);
  *text = good ? (const char *)data : NULL;
  return good;
}

Graph *load_graph(Context *c, const Options *o) {
  const char *text;
  size_t size;
  if (!read_source(c, o->source, &text, &size)) return NULL;
  return options_source_is_ir(o) ? graph_parse(c, o->source, arena_strndup(c, text, size), NULL)
                                 : frontend_load(c, o->source, text, size, &o->frontend);
}

const Tuning *load_tuning(Context *c, const char *path) {
  const char *text;
  size_t size;
  return read_source(c, path, &text, &size) ? tuning_parse(c, path, text, size) : NULL;
}

/* The graph as text, and --eval: of the network as written, or of what the passes named have made of it. */
static bool use_graph(Job *job) {
  const Options *o = job->options;
  if (o->emit_ir) graph_print(job->graph, PRINT_SHORT, stdout);
  for (uint32_t i = 0; i < o->output_count; i++) {
    if (o->outputs[i].kind != OUTPUT_IR) continue;
    const char *text = graph_print_string(job->graph, PRINT_FULL);
    if (!write_file_atomically(job->context, o->outputs[i].path, text, strlen(text))) return false;
  }
  return !o->evaluate || evaluate_network(job->context, job->graph, o);
}

static bool write_module(Job *job, const Output *output) {
  const char *prefix = job->options->symbol_prefix;
  switch (output->kind) {
  case OUTPUT_CUBIN:
    return backend_write_cubin(job->context, &job->module, output->path);
  case OUTPUT_PTX:
    return backend_write_ptx(job->context, &job->module, output->path);
  case OUTPUT_C:
    return backend_write_c(job->context, &job->module, output->path, prefix);
  case OUTPUT_OBJECT:
    return backend_write_object(job->context, &job->module, output->path, prefix);
  case OUTPUT_HEADER:
    return backend_write_header(job->context, &job->module, output->path, prefix);
  default:
    return true; /* written by use_graph */
  }
}

static bool compile(Job *job) {
  const Options *o = job->options;
  if (!options_make_module(o)) {
    if (!passes_run(job->graph, &o->passes, NULL)) return false;
  } else if (!compile_graph(job->graph, &o->passes, &job->module)) {
    return false;
  }
  if (o->explain) passes_explain(job->graph, &o->passes, stdout);
  for (uint32_t i = 0; i < o->output_count; i++)
    if (!write_module(job, &o->outputs[i])) return false;
  return true;
}

/* Those for --engine. */
static bool print_engines(const Target *target) {
  for (int i = 0; i < PRODUCT_ENGINES; i++) {
    Engine e = product_engines[i];
    bool has = !engine_uses_tensor_cores(e) || engine_tera_ops(target, e) > 0;
    if (has) printf("%-14s %s\n", engine_name[e], engine_about[e]);
  }
  return true;
}

static bool run(void *user) {
  Job *job = user;
  Options *o = job->options;
  bool staged = o->passes.stop_after || o->passes.pipeline;
  o->passes.target = strcmp(o->target, "native") ? target_find(o->target) : native_target(job->context);
  o->passes.print_to = stdout;
  if (!o->passes.target) return false;
  if (o->list_engines) return print_engines(o->passes.target);
  if (o->tune) return tune_network(job->context, o);
  if (o->tuning && !(o->passes.tuning = load_tuning(job->context, o->tuning))) return false;
  job->graph = load_graph(job->context, o);
  if (!job->graph) return false;
  if (!staged && !use_graph(job)) return false;
  if (options_run_passes(o) && !compile(job)) return false;
  return !staged || use_graph(job);
}

static bool standard_output_written(void) {
  if (!fflush(stdout) && !ferror(stdout)) return true;
  fputs("apnnc: standard output cannot be written\n", stderr);
  return false;
}

int main(int count, char **words) {
  Options options;
  OptionsResult result = options_read(count, words, &options);
  if (result == OPTIONS_WRONG) return 2;
  if (result == OPTIONS_DONE) return standard_output_written() ? 0 : 1;
  Context *c = context_new(NULL);
  if (!c) {
    fputs("apnnc: out of memory\n", stderr);
    return 1;
  }
  Job job = {.context = c, .options = &options};
  bool good = context_try(c, run, &job);
  diag_flush(c, stderr);
  context_free(c);
  return standard_output_written() && good ? 0 : 1;
}
