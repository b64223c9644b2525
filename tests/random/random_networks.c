/* Random networks, every way, bit for bit.
 *
 *   random_networks [--seed S] [--first I] [--count N] [--device cpu|cuda:0|none] [--jobs J] [--assemble N]
 *                   [--no-passes]
 *   random_networks --pairs [--first I] [...]     every weight type x activation type on every engine
 *   random_networks --pools [--first I] [...]     pooling of every type, with every engine around it
 *   random_networks --network file.apnn --seed S  one network from a file, options as the seed gives them
 *   random_networks --print --seed S             the text of one network
 *
 * Checks are numbered; --first I leaves out those before number I, so that a long run can be made in parts. A line on
 * stderr every ten seconds says how far it has come. --jobs 0 checks in this process, where debuggers and
 * compute-sanitizer see it. A failure prints its seed and a shrunk network; the exit status is then 1.
 */
#include "check.h"
#include "generate.h"
#include "shrink.h"
#include "workers.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USUAL_COUNT = 100, MOST_SHRUNK = 3, SHRINK_ATTEMPTS = 600, SECONDS_A_CHECK = 240, SECONDS_A_REPORT = 10 };

typedef struct Plan {
  uint64_t seed;
  uint32_t first, count, jobs, assemble_every; /* checks first .. first + count - 1 */
  const char *device, *network;
  char *network_text;
  bool pairs, pools, print, no_passes;
  ApnnNetwork *latest; /* of this process, see CheckOptions */
} Plan;

/* Networks that are listed, not drawn, each with every engine. */
typedef char *Series(uint32_t index);

static Series *series_of(const Plan *p) {
  return p->pairs ? generate_pair : p->pools ? generate_pool : NULL;
}

/* --- what check number `index` is --- */

static char *text_of(const Plan *p, uint32_t index) {
  if (p->network) return strdup(p->network_text);
  return series_of(p) ? series_of(p)(index / PRODUCT_ENGINES) : generate_network(p->seed + index);
}

static CheckOptions options_of(const Plan *p, uint32_t index) {
  CheckOptions o = check_options_from_seed(p->seed + index, p->device);
  if (series_of(p)) {
    o.engine = product_engines[index % PRODUCT_ENGINES];
    o.every_pass = false;
  }
  if (p->no_passes) o.every_pass = false;
  o.assemble = p->assemble_every > 0 && index % p->assemble_every == 0;
  return o;
}

static void work(void *user, uint32_t index, CheckResult *result) {
  Plan *p = user;
  char *text = text_of(p, p->first + index);
  CheckOptions options = options_of(p, p->first + index);
  options.latest = &p->latest;
  check_network(text, &options, result);
  free(text);
}

/* --- failures --- */

typedef struct Shrinking {
  const Plan *plan;
  CheckOptions options;
  const char *text;  /* under test */
  const char *stage; /* that must fail again */
} Shrinking;

static void check_candidate(void *user, uint32_t index, CheckResult *result) {
  const Shrinking *s = user;
  (void)index;
  check_network(s->text, &s->options, result);
}

static bool still_fails(void *user, const char *text) {
  Shrinking *s = user;
  s->text = text;
  Workers w = {.work = check_candidate, .user = s, .count = 1, .processes = 1, .seconds = 20};
  bool same = workers_run(&w) && w.results[0].verdict == VERDICT_FAILED && strcmp(w.results[0].stage, s->stage) == 0;
  workers_free(&w);
  return same;
}

static void print_shrunk(const Plan *p, uint32_t index, const CheckResult *result) {
  Shrinking s = {.plan = p, .options = options_of(p, index), .stage = result->stage};
  char *text = text_of(p, index);
  char *small = shrink_network(text, still_fails, &s, SHRINK_ATTEMPTS);
  printf("shrunk to:\n%s\n", small);
  free(small);
  free(text);
}

static void print_failure(const Plan *p, uint32_t index, const CheckResult *result) {
  CheckOptions o = options_of(p, index);
  char tile[TILE_TEXT];
  printf("FAILED %s %u, seed %llu (target %s, %d multiprocessors, engine %s, tile %s, batch %u, device %s): %s\n%s\n",
         series_of(p) ? "listed network" : "network", index, (unsigned long long)o.seed, o.target->name,
         o.sm_count ? o.sm_count : o.target->sm_count, engine_name[o.engine], tile_text(&o.tile, tile), o.batch,
         o.device, result->stage, result->words);
  if (series_of(p))
    printf("again: random_networks %s --seed %llu --first %u --count 1\n", p->pairs ? "--pairs" : "--pools",
           (unsigned long long)p->seed, index);
  else if (!p->network)
    printf("again: random_networks --seed %llu --count 1\n", (unsigned long long)o.seed);
}

static int report(const Plan *p, const Workers *w) {
  uint32_t passed = 0, refused = 0, failed = 0;
  for (uint32_t i = 0; i < w->count; i++) {
    const CheckResult *r = &w->results[i];
    passed += r->verdict == VERDICT_SAME;
    refused += r->verdict == VERDICT_REFUSED;
    if (r->verdict == VERDICT_SAME || r->verdict == VERDICT_REFUSED) continue;
    print_failure(p, p->first + i, r);
    if (failed++ < MOST_SHRUNK) print_shrunk(p, p->first + i, r);
    fflush(stdout);
  }
  if (w->damaged_workers) printf("%u processes ended with an error after their checks\n", w->damaged_workers);
  printf("%u passed, %u failed, %u skipped\n", passed, failed + w->damaged_workers, refused);
  return failed || w->damaged_workers || passed == 0 ? 1 : 0;
}

/* --- options --- */

static char *read_text(const char *path) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = fopen(path, "r");
  if (!f) return NULL;
  if (getdelim(&text, &size, '\0', f) < 0) {
    free(text);
    text = NULL;
  }
  fclose(f);
  return text;
}

static bool parse_number(const char *text, uint64_t *out) {
  char *end;
  if (!text || *text < '0' || *text > '9') return false;
  *out = strtoull(text, &end, 0);
  return *end == '\0';
}

static const struct {
  const char *name;
  enum { OPTION_FLAG, OPTION_WORD, OPTION_U32, OPTION_U64 } form;
  size_t offset; /* of what it sets in Plan */
} option_table[] = {{"--pairs", OPTION_FLAG, offsetof(Plan, pairs)},
                    {"--pools", OPTION_FLAG, offsetof(Plan, pools)},
                    {"--print", OPTION_FLAG, offsetof(Plan, print)},
                    {"--no-passes", OPTION_FLAG, offsetof(Plan, no_passes)},
                    {"--device", OPTION_WORD, offsetof(Plan, device)},
                    {"--network", OPTION_WORD, offsetof(Plan, network)},
                    {"--seed", OPTION_U64, offsetof(Plan, seed)},
                    {"--first", OPTION_U32, offsetof(Plan, first)},
                    {"--count", OPTION_U32, offsetof(Plan, count)},
                    {"--jobs", OPTION_U32, offsetof(Plan, jobs)},
                    {"--assemble", OPTION_U32, offsetof(Plan, assemble_every)}};
enum { OPTION_COUNT = sizeof option_table / sizeof *option_table };

/* Sets what option number `i` stands for; false where its value is missing or wrong. */
static bool set_option(Plan *p, int i, const char *value) {
  void *field = (char *)p + option_table[i].offset;
  uint64_t number = 0;
  switch (option_table[i].form) {
  case OPTION_FLAG:
    return *(bool *)field = true;
  case OPTION_WORD:
    return (*(const char **)field = value) != NULL;
  case OPTION_U64:
    return parse_number(value, field);
  default:
    if (!parse_number(value, &number) || number > INT32_MAX) return false;
    *(uint32_t *)field = (uint32_t)number;
    return true;
  }
}

static bool parse_options(Plan *p, char **arguments) {
  for (; *arguments; arguments++) {
    int i = 0;
    while (i < OPTION_COUNT && strcmp(option_table[i].name, *arguments) != 0) i++;
    if (i == OPTION_COUNT || !set_option(p, i, arguments[1])) return false;
    if (option_table[i].form != OPTION_FLAG) arguments++;
  }
  return true;
}

static uint32_t series_count(Series *series) {
  for (uint32_t i = 0;; i++) {
    char *text = series(i);
    free(text);
    if (!text) return i * PRODUCT_ENGINES;
  }
}

/* How many checks there are: what --count says, at most as many as are listed. False where that is none. */
static bool settle_count(Plan *p) {
  Series *series = series_of(p);
  uint32_t listed = series ? series_count(series) : 0;
  if (p->network)
    p->count = 1;
  else if (!p->count)
    p->count = series ? listed : USUAL_COUNT;
  if (series && p->first < listed && p->count > listed - p->first) p->count = listed - p->first;
  return !series || p->first < listed;
}

static int run(Plan *p) {
  Workers w = {.work = work,
               .user = p,
               .count = p->count,
               .processes = p->jobs,
               .seconds = SECONDS_A_CHECK,
               .seconds_a_report = SECONDS_A_REPORT};
  bool ran = workers_run(&w);
  if (!ran) perror("processes");
  int status = ran ? report(p, &w) : 1;
  workers_free(&w);
  apnn_network_free(p->latest);
  return status;
}

int main(int argument_count, char **arguments) {
  Plan p = {.seed = 1, .device = "cpu", .jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)};
  if (argument_count < 1 || !parse_options(&p, arguments + 1) || !settle_count(&p)) {
    fprintf(stderr, "usage: random_networks [--seed S] [--first I] [--count N] [--device D] [--jobs J] [--assemble N]\n"
                    "                       [--pairs] [--pools] [--network FILE] [--no-passes] [--print]\n");
    return 2;
  }
  if (p.network && !(p.network_text = read_text(p.network))) return perror(p.network), 1;
  if (p.print) {
    char *text = text_of(&p, p.first);
    fputs(text, stdout);
    free(text);
    return 0;
  }
  int status = run(&p);
  free(p.network_text);
  return status;
}
