/* The command line of apnnc: a table of options, and what they do to Options. Wrong use is told on stderr. */
#include "options.h"
#include "lower.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "usage: apnnc NETWORK.apnn [options]        compile, or only check where no -o is given\n"
    "       apnnc NETWORK.apnn --eval X.npy ... -o Y.npy ...\n"
    "\n"
    "NETWORK.apnn is a network in the language of frontend/README.md; NETWORK.ir is a graph in the IR's text form.\n"
    "\n"
    "  -o FILE               .cubin .ptx .c .o .h (a compiled network), .ir (the graph as text), .npy (with --eval);\n"
    "                        several -o are allowed\n"
    "  --target NAME         native (this machine's GPU) or one of%s; sm_90a without the option\n"
    "  --batch N             the largest batch that the compiled network runs; 1 without the option\n"
    "  --network NAME        which network of the file\n"
    "  --random-params SEED  draw parameters from a seed instead of reading files\n"
    "  --engine NAME         the engine of every layer that it can compute, one of\n"
    "                       %s\n"
    "  --tuning FILE         engines and tiles that were measured, from --tune; where it has none the cost model "
    "chooses\n"
    "  --tune FILE           measure engines and tiles of each layer on --device, with the target and batch given, "
    "and\n"
    "                        put the fastest into a file for --tuning; lines on other layers stay in it\n"
    "  --device DEVICE       of --tune: cuda:0, cuda:1, ... or cpu; cuda:0 where there is a GPU, otherwise cpu\n"
    "  --tune-candidates N   of --tune: tiles that it measures for an engine, 1 to 16; 6 without the option\n"
    "  --symbol-prefix NAME  prefix of the symbols in .c, .o and .h; the network's name without the option\n"
    "  --eval                run the reference evaluator on the .npy arrays given, one for each input, in order\n"
    "  --explain             per layer: engine and why, bytes moved, tile, estimated time\n"
    "  --emit ir             print the graph as text\n"
    "  --passes A,B          run these passes only, in this order\n"
    "  --stop-after PASS     stop behind a pass\n"
    "  --print-after PASS    print the graph behind passes (comma-separated, or all)\n"
    "  --list-passes         list the passes in order\n"
    "  --list-engines        list the engines for --engine that --target has\n"
    "  --plugin FILE.so      load a pass of one's own; several are allowed\n"
    "  -Wunused-params       warn about parameters of the files that the network does not read\n"
    "  --version, --help\n"
    "\n"
    "Exit status: 0 success, 1 bad input, 2 wrong use.\n";

/* Says what is wrong; always false. */
static bool wrong(const char *format, const char *a, const char *b) {
  fputs("apnnc: ", stderr);
  fprintf(stderr, format, a, b);
  fputs("\ntry 'apnnc --help'\n", stderr);
  return false;
}

/* --- values of options --- */

static bool add_output(Options *o, const char *path) {
  static const struct {
    const char *extension;
    OutputKind kind;
  } kinds[] = {{".cubin", OUTPUT_CUBIN}, {".ptx", OUTPUT_PTX}, {".c", OUTPUT_C},    {".o", OUTPUT_OBJECT},
               {".h", OUTPUT_HEADER},    {".ir", OUTPUT_IR},   {".npy", OUTPUT_NPY}};
  const char *extension = strrchr(path, '.');
  if (o->output_count == MAX_FILES) return wrong("too many outputs%s%s", "", "");
  for (size_t i = 0; extension && i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(extension, kinds[i].extension)) continue;
    for (uint32_t k = 0; k < o->output_count; k++)
      if (!strcmp(o->outputs[k].path, path)) return wrong("output '%s' is named twice%s", path, "");
    o->outputs[o->output_count++] = (Output){path, kinds[i].kind};
    return true;
  }
  return wrong("output '%s' must end in .cubin, .ptx, .c, .o, .h, .ir or .npy%s", path, "");
}

static bool read_number(const char *option, const char *word, uint64_t least, uint64_t most, uint64_t *number) {
  char *end;
  errno = 0;
  *number = strtoull(word, &end, 10);
  if (*word >= '0' && *word <= '9' && !*end && !errno && *number >= least && *number <= most) return true;
  fprintf(stderr, "apnnc: %s takes a number from %llu to %llu, not '%s'\n", option, (unsigned long long)least,
          (unsigned long long)most, word);
  return false;
}

static bool set_target(Options *o, const char *name) {
  o->target = name;
  if (!strcmp(name, "native") || target_find(name)) return true;
  fprintf(stderr, "apnnc: unknown target '%s'; known are%s native\n", name, target_names);
  return false;
}

static bool set_batch(Options *o, const char *word) {
  uint64_t n;
  if (!read_number("--batch", word, 1, 1 << 20, &n)) return false;
  o->passes.max_batch = (uint32_t)n;
  return true;
}

static bool set_seed(Options *o, const char *word) {
  o->frontend.random_params = true;
  return read_number("--random-params", word, 0, UINT64_MAX, &o->frontend.seed);
}

static bool set_engine(Options *o, const char *name) {
  o->passes.force_engine = product_engine_find(name);
  return o->passes.force_engine != ENGINE_NONE || wrong("unknown engine '%s'; known are%s", name, product_engine_names);
}

/* Names between commas, none at all included. */
static bool check_pass_names(const char *option, const char *names, bool all) {
  while (*names) {
    size_t n = strcspn(names, ",");
    bool known = all && n == 3 && !memcmp(names, "all", 3);
    for (uint32_t i = 0; !known && pass_at(i); i++)
      known = strlen(pass_at(i)->name) == n && !memcmp(pass_at(i)->name, names, n);
    if (!known) {
      fprintf(stderr, "apnnc: %s: no pass is called '%.*s'; --list-passes lists them\n", option, (int)n, names);
      return false;
    }
    names += n + (names[n] == ',');
  }
  return true;
}

static bool check_pass_name(const char *option, const char *name) {
  for (uint32_t i = 0; pass_at(i); i++)
    if (!strcmp(pass_at(i)->name, name)) return true;
  fprintf(stderr, "apnnc: %s: no pass is called '%s'; --list-passes lists them\n", option, name);
  return false;
}

static bool set_candidates(Options *o, const char *word) {
  uint64_t n;
  if (!read_number("--tune-candidates", word, 1, 16, &n)) return false;
  o->tune_candidates = (uint32_t)n;
  return true;
}

static bool set_tune(Options *o, const char *v) {
  return (o->tune = v) != NULL;
}
static bool set_tuning(Options *o, const char *v) {
  return (o->tuning = v) != NULL;
}
static bool set_device(Options *o, const char *v) {
  return (o->device = v) != NULL;
}
static bool set_network(Options *o, const char *v) {
  return (o->frontend.network = v) != NULL;
}
static bool set_prefix(Options *o, const char *v) {
  return (o->symbol_prefix = v) != NULL;
}
static bool set_print(Options *o, const char *v) {
  return (o->passes.print_after = v) != NULL;
}
static bool set_stop(Options *o, const char *v) {
  return (o->passes.stop_after = v) != NULL;
}
static bool set_pipeline(Options *o, const char *v) {
  return (o->passes.pipeline = v) != NULL;
}

static bool set_emit(Options *o, const char *what) {
  o->emit_ir = true;
  return !strcmp(what, "ir") || wrong("--emit takes ir, not '%s'%s", what, "");
}

static bool add_plugin(Options *o, const char *path) {
  PassOptions *p = &o->passes;
  if (p->plugin_count == MAX_FILES) return wrong("too many plug-ins%s%s", "", "");
  o->plugins[p->plugin_count++] = path;
  return true;
}

static bool set_evaluate(Options *o, const char *v) {
  return (o->evaluate = true) || v;
}
static bool set_explain(Options *o, const char *v) {
  return (o->explain = true) || v;
}
static bool set_list_engines(Options *o, const char *v) {
  return (o->list_engines = true) || v;
}
static bool set_unused(Options *o, const char *v) {
  return (o->frontend.warn_unused_params = true) || v;
}

typedef struct OptionInfo {
  const char *name;
  bool value;
  bool (*set)(Options *o, const char *value);
} OptionInfo;

static const OptionInfo option_infos[] = {
    {"-o", true, add_output},
    {"--target", true, set_target},
    {"--batch", true, set_batch},
    {"--network", true, set_network},
    {"--random-params", true, set_seed},
    {"--engine", true, set_engine},
    {"--symbol-prefix", true, set_prefix},
    {"--eval", false, set_evaluate},
    {"--explain", false, set_explain},
    {"--emit", true, set_emit},
    {"--passes", true, set_pipeline},
    {"--stop-after", true, set_stop},
    {"--print-after", true, set_print},
    {"--plugin", true, add_plugin},
    {"--list-engines", false, set_list_engines},
    {"-Wunused-params", false, set_unused},
    {"--tuning", true, set_tuning},
    {"--tune", true, set_tune},
    {"--device", true, set_device},
    {"--tune-candidates", true, set_candidates},
};
enum { OPTION_COUNT = sizeof option_infos / sizeof *option_infos };

/* --- the line --- */

static bool unknown_option(const char *word) {
  Suggestion s = suggestion_for(word);
  for (int i = 0; i < OPTION_COUNT; i++) suggestion_offer(&s, option_infos[i].name);
  return s.best ? wrong("unknown option '%s'; did you mean '%s'?", word, s.best)
                : wrong("unknown option '%s'%s", word, "");
}

/* Reads the option at words[*i], and its value, which may stand behind '=' or in the next word. */
static bool read_option(Options *o, int count, char **words, int *i) {
  const char *word = words[*i], *equals = strchr(word, '=');
  size_t length = equals ? (size_t)(equals - word) : strlen(word);
  for (int k = 0; k < OPTION_COUNT; k++) {
    const OptionInfo *info = &option_infos[k];
    if (strlen(info->name) != length || memcmp(info->name, word, length)) continue;
    if (!info->value && equals) return wrong("%s takes no value%s", info->name, "");
    if (!info->value) return info->set(o, "");
    if (equals) return info->set(o, equals + 1);
    if (*i + 1 >= count) return wrong("%s lacks its value%s", info->name, "");
    return info->set(o, words[++*i]);
  }
  return unknown_option(word);
}

static bool ends_with(const char *word, const char *end) {
  size_t n = strlen(word), m = strlen(end);
  return n > m && !strcmp(word + n - m, end);
}

static bool read_file(Options *o, const char *word) {
  if (ends_with(word, ".npy")) {
    if (o->array_count == MAX_FILES) return wrong("too many arrays%s%s", "", "");
    o->arrays[o->array_count++] = word;
    return true;
  }
  if (o->source) return wrong("two networks are named: '%s' and '%s'", o->source, word);
  o->source = word;
  return true;
}

bool options_source_is_ir(const Options *o) {
  return ends_with(o->source, ".ir");
}

bool options_make_module(const Options *o) {
  for (uint32_t i = 0; i < o->output_count; i++)
    if (o->outputs[i].kind < OUTPUT_IR) return true;
  return false;
}

bool options_run_passes(const Options *o) {
  const PassOptions *p = &o->passes;
  return options_make_module(o) || o->explain || p->print_after || p->stop_after || p->pipeline || p->plugin_count;
}

static uint32_t count_outputs(const Options *o, OutputKind kind) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < o->output_count; i++) n += o->outputs[i].kind == kind;
  return n;
}

/* A graph in text form stands for one network and holds its parameters. */
static bool check_source(const Options *o) {
  const FrontendOptions *f = &o->frontend;
  if (!options_source_is_ir(o)) return true;
  const char *option = f->network ? "--network" : f->random_params ? "--random-params" : "-Wunused-params";
  if (!f->network && !f->random_params && !f->warn_unused_params) return true;
  return wrong("%s has no meaning for '%s', a graph that holds its parameters", option, o->source);
}

/* --tune compiles the network many times over and writes its file alone. */
static bool check_tune(const Options *o) {
  const PassOptions *p = &o->passes;
  const char *without = o->device ? "--device" : o->tune_candidates ? "--tune-candidates" : NULL;
  if (!o->tune) return !without || wrong("%s has no meaning without --tune%s", without, "");
  const char *beside = o->output_count   ? "-o"
                       : o->evaluate     ? "--eval"
                       : o->tuning       ? "--tuning"
                       : o->explain      ? "--explain"
                       : o->emit_ir      ? "--emit"
                       : p->pipeline     ? "--passes"
                       : p->stop_after   ? "--stop-after"
                       : p->print_after  ? "--print-after"
                       : p->force_engine ? "--engine"
                                         : NULL;
  return !beside || wrong("--tune writes its file alone: leave out %s%s", beside, "");
}

/* What only makes sense, or no sense, together. */
static bool check_together(const Options *o) {
  const PassOptions *p = &o->passes;
  if (o->list_engines) return true;
  if (!o->source) return wrong("no network is named%s%s", "", "");
  if (!check_source(o) || !check_tune(o)) return false;
  if (o->array_count && !o->evaluate) return wrong("'%s' is an array, but there is no --eval%s", o->arrays[0], "");
  if (o->evaluate && !o->array_count) return wrong("--eval lacks its .npy arrays%s%s", "", "");
  if (count_outputs(o, OUTPUT_NPY) && !o->evaluate) return wrong("an .npy output needs --eval%s%s", "", "");
  if (o->evaluate && !count_outputs(o, OUTPUT_NPY)) return wrong("--eval lacks -o Y.npy%s%s", "", "");
  if (p->stop_after && p->pipeline) return wrong("--stop-after and --passes exclude each other%s%s", "", "");
  if ((p->stop_after || p->pipeline) && options_make_module(o))
    return wrong("a compiled network needs all passes: leave out %s%s", p->stop_after ? "--stop-after" : "--passes",
                 "");
  /* A plug-in's pass has a name of its own, which is known only when it has been loaded. */
  if (p->plugin_count) return true;
  return (!p->stop_after || check_pass_name("--stop-after", p->stop_after)) &&
         (!p->pipeline || check_pass_names("--passes", p->pipeline, false)) &&
         (!p->print_after || check_pass_names("--print-after", p->print_after, true));
}

static bool tells_something(const char *word) {
  if (!strcmp(word, "--help") || !strcmp(word, "-h"))
    return printf(help_text, target_names, product_engine_names), true;
  if (!strcmp(word, "--version")) return puts("apnnc " APNN_VERSION), true;
  if (!strcmp(word, "--list-passes")) return passes_list(stdout), true;
  return false;
}

OptionsResult options_read(int count, char **words, Options *out) {
  *out = (Options){.target = "sm_90a", .passes = {.max_batch = 1}};
  out->passes.plugins = out->plugins;
  for (int i = 1; i < count; i++) {
    const char *word = words[i];
    if (tells_something(word)) return OPTIONS_DONE;
    bool good = word[0] == '-' && word[1] ? read_option(out, count, words, &i) : read_file(out, word);
    if (!good) return OPTIONS_WRONG;
  }
  return check_together(out) ? OPTIONS_RUN : OPTIONS_WRONG;
}
