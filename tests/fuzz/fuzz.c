/* Feeds damaged inputs to every reader of the project; none may crash, hang, leak or misbehave under the sanitizers.
 *
 *   fuzz [NAME...] [--seed S] [--from I] [--count N] [--jobs J]   readers of fuzz.def; all of them where none is named
 *   fuzz NAME --seed S --from I --save FILE                       writes the input of one iteration
 */
#include "fuzz.h"
#include "../random/workers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 100, SECONDS_A_BLOCK = 120, SECONDS_ALONE = 20 };

static const FuzzTarget targets[] = {
#define FUZZ(name, about) {#name, about, fuzz_prepare_##name, fuzz_read_##name},
#include "fuzz.def"
#undef FUZZ
};
enum { TARGET_COUNT = sizeof targets / sizeof targets[0] };

void corpus_add(Corpus *corpus, const void *data, size_t size) {
  if (corpus->count < MOST_CORPUS) corpus->items[corpus->count++] = bytes_copy(data, size);
}

void corpus_free(Corpus *corpus) {
  for (uint32_t i = 0; i < corpus->count; i++) free(corpus->items[i].data);
}

/* --- the limited context --- */

enum { MEMORY_LIMIT = 192 << 20 };

static void *limited_reallocate(void *user, void *pointer, size_t old_size, size_t new_size) {
  LimitedContext *l = user;
  if (new_size > old_size && new_size - old_size > l->most - l->live) return NULL;
  void *moved = new_size > 0 ? realloc(pointer, new_size) : (free(pointer), NULL);
  if (moved || new_size == 0) l->live += new_size - old_size;
  return moved;
}

void limited_context_open(LimitedContext *l) {
  *l = (LimitedContext){.most = MEMORY_LIMIT};
  l->context = context_new(&(Allocator){limited_reallocate, l});
  if (!l->context) abort();
}

const char *limited_context_close(LimitedContext *l) {
  context_free(l->context);
  return l->live == 0 ? NULL : "memory stayed behind";
}

/* --- running --- */

typedef struct Run {
  const FuzzTarget *target;
  Corpus corpus;
  uint64_t seed;
  uint32_t from, count, jobs, block;
} Run;

static Bytes input_of(const Run *run, uint32_t iteration) {
  RandomSource random = {run->seed * UINT64_C(0x2545f4914f6cdd1d) + iteration};
  return mutate(run->corpus.items, run->corpus.count, &random);
}

static void work(void *user, uint32_t index, CheckResult *result) {
  const Run *run = user;
  for (uint32_t i = index * run->block; i < (index + 1) * run->block && i < run->count; i++) {
    Bytes input = input_of(run, run->from + i);
    const char *wrong = run->target->read(input.data, input.size);
    free(input.data);
    if (!wrong) continue;
    result->verdict = VERDICT_FAILED;
    snprintf(result->words, sizeof result->words, "%s", wrong);
    return;
  }
  result->verdict = VERDICT_SAME;
}

/* Runs blocks in child processes; results of each. */
static bool run_blocks(Run *run, Workers *w, uint32_t block, uint32_t seconds) {
  run->block = block;
  *w = (Workers){
      .work = work, .user = run, .count = (run->count + block - 1) / block, .processes = run->jobs, .seconds = seconds};
  return workers_run(w);
}

/* Finds which inputs of a failed block do it, each in a process of its own. */
static void print_block(const Run *whole, uint32_t block) {
  Run run = *whole;
  Workers w;
  run.from += block * BLOCK;
  run.count = whole->count - block * BLOCK < BLOCK ? whole->count - block * BLOCK : BLOCK;
  bool found = false;
  run_blocks(&run, &w, 1, SECONDS_ALONE);
  for (uint32_t i = 0; i < w.count && !found; i++) {
    const CheckResult *r = &w.results[i];
    if (r->verdict == VERDICT_SAME) continue;
    found = true;
    printf("FAILED %s: %s %s\nagain: fuzz %s --seed %llu --from %u --count 1\n", run.target->name, r->stage, r->words,
           run.target->name, (unsigned long long)run.seed, run.from + i);
  }
  if (!found) printf("FAILED %s: inputs %u to %u together\n", run.target->name, run.from, run.from + run.count - 1);
  workers_free(&w);
}

/* Failed blocks, or 1 where it could not run. */
static uint32_t run_target(Run *run) {
  enum { MOST_PRINTED = 3 };
  Workers w;
  uint32_t failed = 0;
  run->corpus.count = 0;
  if (!run->target->prepare(&run->corpus)) {
    corpus_free(&run->corpus);
    return 1;
  }
  if (!run_blocks(run, &w, BLOCK, SECONDS_A_BLOCK)) return perror("processes"), 1;
  for (uint32_t i = 0; i < w.count; i++)
    if (w.results[i].verdict != VERDICT_SAME && failed++ < MOST_PRINTED) print_block(run, i);
  if (w.damaged_workers) printf("FAILED %s: a leak or the like at the end\n", run->target->name);
  failed += w.damaged_workers;
  workers_free(&w);
  corpus_free(&run->corpus);
  printf("%s: %u inputs of %s, %u failures\n", run->target->name, run->count, run->target->about, failed);
  fflush(stdout);
  return failed;
}

static int save_input(Run *run, const char *path) {
  if (!run->target->prepare(&run->corpus)) return 1;
  Bytes input = input_of(run, run->from);
  FILE *f = fopen(path, "wb");
  bool good = f && fwrite(input.data, 1, input.size, f) == input.size;
  if (f) good = fclose(f) == 0 && good;
  if (!good) perror(path);
  free(input.data);
  corpus_free(&run->corpus);
  return !good;
}

/* --- options --- */

static bool number_option(char ***arguments, const char *name, uint64_t *out) {
  if (strcmp(**arguments, name) != 0 || !(*arguments)[1]) return false;
  char *end;
  *out = strtoull((*arguments)[1], &end, 0);
  if (*end) return false;
  ++*arguments;
  return true;
}

static int find_target(const char *name) {
  for (int i = 0; i < TARGET_COUNT; i++)
    if (strcmp(targets[i].name, name) == 0) return i;
  return -1;
}

int main(int argument_count, char **arguments) {
  uint64_t seed = 1, from = 0, count = 2000, jobs = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
  bool chosen[TARGET_COUNT] = {false}, any = false;
  const char *save = NULL;
  for (arguments += argument_count > 0; *arguments; arguments++) {
    int target = find_target(*arguments);
    if (target >= 0)
      chosen[target] = any = true;
    else if (strcmp(*arguments, "--save") == 0 && arguments[1])
      save = *++arguments;
    else if (!number_option(&arguments, "--seed", &seed) && !number_option(&arguments, "--from", &from) &&
             !number_option(&arguments, "--count", &count) && !number_option(&arguments, "--jobs", &jobs))
      return fprintf(stderr, "usage: fuzz [NAME...] [--seed S] [--from I] [--count N] [--jobs J] [--save FILE]\n"), 2;
  }
  uint32_t passed = 0, failed = 0;
  for (int i = 0; i < TARGET_COUNT; i++) {
    if (any && !chosen[i]) continue;
    Run run = {
        .target = &targets[i], .seed = seed, .from = (uint32_t)from, .count = (uint32_t)count, .jobs = (uint32_t)jobs};
    if (save) return save_input(&run, save);
    if (run_target(&run))
      failed++;
    else
      passed++;
  }
  printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
