/* The checks of one network, in order:
 *
 *   frontend     the text compiles to a graph
 *   evaluate     the reference evaluator computes it; its results are what all others must equal
 *   pass NAME    the pass runs, the graph verifies, and evaluates to the same bits
 *   parse NAME   what is printed after the pass reads back and prints the same
 *   compile, load, run, compare   the compiled file on a device
 *   assemble     the same through ptxas
 */
#include "check.h"
#include "../../frontend/frontend.h"
#include "cases.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 5, MOST_IMAGES = 33 }; /* the second where few images are what an engine is for */

typedef struct Check {
  Context *context;
  const char *text;
  const CheckOptions *options;
  CheckResult *result;
  Target target; /* that of the options, of as many multiprocessors as they say */
  Case cases[PATTERN_COUNT];
} Check;

/* One that wgmma can have if its reduction and shared memory allow. */
static Tile random_tile(RandomSource *r) {
  static const uint16_t columns[] = {32, 64, 128};
  int warps = 4 * random_in(r, 1, 3), row_tiles = random_in(r, 1, 2), resident = random_in(r, STREAMED, GATHERED);
  bool by_themselves = resident == GATHERED || (resident && random_in(r, 0, 1)); /* groups of four */
  int sharing = by_themselves ? 4 : warps;
  return (Tile){.m = (uint16_t)(16 * sharing * row_tiles),
                .n = RANDOM_OF(r, columns),
                .k = (uint16_t)(4 * random_in(r, 1, 6)),
                .warps_m = (uint8_t)warps,
                .warps_n = 1,
                .stages = (uint8_t)random_in(r, resident ? 1 : 2, 4),
                .split_k = 1,
                .resident = (uint8_t)resident};
}

/* One that layers on mma.sync can have where it covers whole blocks of the result. */
static Tile random_sync_tile(RandomSource *r) {
  static const uint8_t warps[] = {1, 2, 4}, words[] = {8, 16, 32};
  uint8_t warps_m = RANDOM_OF(r, warps), warps_n = (uint8_t)random_in(r, 1, 2);
  int row_tiles = random_in(r, 1, 2), columns = row_tiles == 1 && random_in(r, 0, 1) ? 64 : 32;
  return (Tile){.m = (uint16_t)(16 * row_tiles * warps_m),
                .n = (uint16_t)(columns * warps_n),
                .k = RANDOM_OF(r, words),
                .warps_m = warps_m,
                .warps_n = warps_n,
                .stages = (uint8_t)random_in(r, 2, 4),
                .split_k = 1};
}

/* One that skinny layers can have if it fits shared memory. */
static Tile random_skinny_tile(RandomSource *r) {
  static const uint16_t positions[] = {8, 16, 24, 32, 64};
  return (Tile){.m = 64,
                .n = RANDOM_OF(r, positions),
                .k = (uint16_t)(8 * random_in(r, 1, 4)),
                .warps_m = (uint8_t)(4 * random_in(r, 1, 4)),
                .warps_n = 1,
                .stages = (uint8_t)(1 << random_in(r, 1, 4)),
                .split_k = (uint8_t)(1 << random_in(r, 0, 3))};
}

/* One that gemv layers can have if their units and registers allow. */
static Tile random_gemv_tile(RandomSource *r, Engine engine) {
  bool planes = engine_uses_planes(engine);
  return (Tile){.m = 32,
                .n = (uint16_t)(1 << random_in(r, planes ? 0 : 3, 4)),
                .k = 16,
                .warps_m = (uint8_t)random_in(r, 1, random_in(r, 0, 1) ? 4 : 16),
                .warps_n = 1,
                .stages = (uint8_t)random_in(r, 1, planes ? 4 : 8),
                .split_k = 1};
}

CheckOptions check_options_from_seed(uint64_t seed, const char *device) {
  RandomSource r = {seed ^ UINT64_C(0x6f7074696f6e73)};
  uint32_t target_count = 0;
  while (target_at(target_count)) target_count++;
  CheckOptions o = {.seed = seed,
                    .device = device,
                    .target = target_at((uint32_t)random_in(&r, 0, (int)target_count - 1)),
                    .batch = (uint32_t)random_in(&r, 1, MOST_BATCH),
                    .every_pass = true};
  int engine = random_in(&r, -2, PRODUCT_ENGINES - 1); /* below zero: the model chooses */
  if (engine >= 0) o.engine = product_engines[engine];
  if (random_in(&r, 0, 1)) o.sm_count = random_in(&r, 1, 3);
  if (random_in(&r, 0, 2) == 0) o.tile = random_tile(&r);
  bool sync = engine_is_portable(o.engine);
  if (sync && random_in(&r, 0, 1)) o.tile = random_sync_tile(&r);
  if (o.engine == ENGINE_SKINNY_B1 && random_in(&r, 0, 1)) o.tile = random_skinny_tile(&r);
  if (engine_is_gemv(o.engine) && random_in(&r, 0, 3)) o.tile = random_gemv_tile(&r, o.engine);
  bool few = o.engine == ENGINE_SKINNY_B1 || engine_is_gemv(o.engine);
  if (few && random_in(&r, 0, 3) == 0) o.batch = (uint32_t)random_in(&r, 1, MOST_IMAGES);
  return o;
}

/* --- reporting --- */

static char *reports(Context *c) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  diag_flush(c, f);
  fclose(f);
  char *copy = arena_strdup(c, text);
  free(text);
  return copy;
}

/* Notes the failure, with the compiler's reports where it made some. False. */
static bool failed(Check *k, const char *stage, const char *detail, const char *words) {
  CheckResult *r = k->result;
  const char *reported = reports(k->context);
  r->verdict = strstr(reported, "[E0310]") ? VERDICT_REFUSED : VERDICT_FAILED;
  snprintf(r->stage, sizeof r->stage, "%s%s%s", stage, detail[0] ? " " : "", detail);
  snprintf(r->words, sizeof r->words, "%s%s%s", words, words[0] && reported[0] ? "\n" : "", reported);
  return false;
}

/* --- the compiler in process --- */

static Graph *load(Check *k) {
  FrontendOptions options = {.random_params = true, .seed = k->options->seed};
  Graph *g = frontend_load(k->context, "random.apnn", k->text, strlen(k->text), &options);
  if (!g) failed(k, "frontend", "", "");
  return g;
}

static PassOptions pass_options(const Check *k) {
  const CheckOptions *o = k->options;
  return (PassOptions){.target = &k->target,
                       .max_batch = o->batch,
                       .force_engine = o->engine,
                       .force_tile = o->tile.m ? &o->tile : NULL};
}

/* The largest batch with every pattern but one, and a batch of one in between. */
static bool make_cases(Check *k, const Graph *g) {
  RandomSource random = {k->options->seed};
  for (int i = 0; i < PATTERN_COUNT; i++) {
    k->cases[i] = case_new(g, i == PATTERN_LEAST ? 1 : k->options->batch, (Pattern)i, &random);
    if (!graph_eval(g, k->cases[i].batch, (const void *const *)k->cases[i].inputs, k->cases[i].expected))
      return failed(k, "evaluate", "", "graph_eval gave up");
  }
  return true;
}

static bool same_evaluation(Check *k, const Graph *g, const char *stage, const char *detail) {
  static const Pattern patterns[] = {PATTERN_LEAST, PATTERN_EDGES};
  for (int i = 0; i < 2; i++) {
    const Case *the_case = &k->cases[patterns[i]];
    void **outputs = case_outputs(g, the_case);
    if (!graph_eval(g, the_case->batch, (const void *const *)the_case->inputs, outputs))
      return failed(k, stage, detail, "graph_eval gave up");
    const char *difference = case_difference(g, the_case, outputs);
    if (difference) return failed(k, stage, detail, difference);
  }
  return true;
}

static bool reads_back(Check *k, const Graph *g, const char *pass, PrintMode mode) {
  const char *printed = graph_print_string(g, mode);
  Graph *parsed = graph_parse(k->context, "printed.ir", printed, mode == PRINT_FULL ? NULL : g);
  if (!parsed) return failed(k, "parse", pass, printed);
  if (!graph_verify(parsed)) return failed(k, "parse", pass, "what was read back does not verify");
  if (strcmp(printed, graph_print_string(parsed, mode)) != 0)
    return failed(k, "parse", pass, "what was read back prints otherwise");
  return mode == PRINT_SHORT || same_evaluation(k, parsed, "parse", pass);
}

static bool check_passes(Check *k) {
  PassOptions options = pass_options(k);
  Graph *g = load(k);
  if (!g || !reads_back(k, g, "frontend", PRINT_FULL)) return false;
  for (uint32_t i = 0; pass_at(i); i++) {
    const Pass *pass = pass_at(i);
    if (!pass->run(g, &options) || !graph_verify(g)) return failed(k, "pass", pass->name, "");
    if (!same_evaluation(k, g, "pass", pass->name)) return false;
    if (!reads_back(k, g, pass->name, pass_at(i + 1) ? PRINT_SHORT : PRINT_FULL)) return false;
  }
  return true;
}

/* --- the compiled file on a device --- */

/* The second round replays what the first recorded. */
static bool run_cases(Check *k, const Graph *g, ApnnSession *session, const char *form) {
  for (int i = 0; i < 2 * PATTERN_COUNT; i++) {
    const Case *the_case = &k->cases[i % PATTERN_COUNT];
    void **outputs = case_outputs(g, the_case);
    ApnnStatus status = apnn_run(session, (int)the_case->batch, (const void *const *)the_case->inputs, outputs);
    if (status != APNN_OK) return failed(k, "run", form, apnn_session_error(session));
    const char *difference = case_difference(g, the_case, outputs);
    if (difference) return failed(k, "compare", form, difference);
  }
  return true;
}

/* Frees the network before this one and, after a failure, this one too: a context in which a kernel went wrong is of no
 * more use. */
static void keep_latest(Check *k, ApnnNetwork *network, bool good) {
  ApnnNetwork **latest = k->options->latest, *none = NULL;
  if (!latest) latest = &none;
  apnn_network_free(*latest);
  *latest = network;
  if (good && latest != &none) return;
  apnn_network_free(network);
  *latest = NULL;
}

static bool run_file(Check *k, const Graph *g, const Text *bytes, const char *form) {
  char words[1000] = "";
  if (strcmp(k->options->device, "none") == 0) return true;
  ApnnNetwork *network = NULL;
  ApnnSession *session = NULL;
  if (apnn_load_memory(bytes->data, bytes->length, k->options->device, &network, words, sizeof words) != APNN_OK)
    return failed(k, "load", form, words);
  bool good = apnn_session_new(network, NULL, &session, words, sizeof words) == APNN_OK;
  good = good ? run_cases(k, g, session, form) : failed(k, "load", form, words);
  apnn_session_free(session);
  keep_latest(k, network, good);
  return good;
}

static bool check_device(Check *k) {
  PassOptions options = pass_options(k);
  Module module = {0};
  Text bytes;
  Graph *g = load(k);
  if (!g) return false;
  if (!compile_graph(g, &options, &module)) return failed(k, "compile", "", "");
  backend_ptx_bytes(k->context, &module, &bytes);
  if (!run_file(k, g, &bytes, "ptx")) return false;
  if (!k->options->assemble) return true;
  return backend_cubin_bytes(k->context, &module, &bytes) ? run_file(k, g, &bytes, "cubin")
                                                          : failed(k, "assemble", "", "");
}

static bool check(void *user) {
  Check *k = user;
  Graph *g = load(k);
  return g && make_cases(k, g) && (!k->options->every_pass || check_passes(k)) && check_device(k);
}

void check_network(const char *text, const CheckOptions *options, CheckResult *result) {
  *result = (CheckResult){.verdict = VERDICT_NONE};
  Check k = {
      .context = context_new(NULL), .text = text, .options = options, .result = result, .target = *options->target};
  if (options->sm_count) k.target.sm_count = options->sm_count;
  bool good = k.context && context_try(k.context, check, &k);
  if (good)
    result->verdict = VERDICT_SAME;
  else if (result->verdict == VERDICT_NONE) {
    result->verdict = VERDICT_FAILED;
    snprintf(result->stage, sizeof result->stage, "memory");
  }
  context_free(k.context);
}
