/* Child processes that take indices from one counter in shared memory, and a parent that starts another where one
 * crashed. */
#define _GNU_SOURCE
#include "workers.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PROCESSES = 64, NO_INDEX = -1 };

/* Memory that all processes share. */
typedef struct Shared {
  time_t start;
  atomic_llong next_report; /* seconds since the start */
  atomic_uint next, finished;
  atomic_int current[MOST_PROCESSES]; /* index that each process is at */
  CheckResult results[];
} Shared;

static size_t shared_bytes(const Workers *w) {
  return sizeof(Shared) + w->count * sizeof(CheckResult);
}

static Shared *shared_of(const Workers *w) {
  return (Shared *)((char *)w->results - offsetof(Shared, results));
}

/* The first process that comes by after the time of a report writes it. */
static void tell_progress(const Workers *w, Shared *shared) {
  uint32_t finished = atomic_fetch_add(&shared->finished, 1) + 1;
  long long due = atomic_load(&shared->next_report), now = time(NULL) - shared->start;
  if (!w->seconds_a_report || now < due) return;
  if (!atomic_compare_exchange_strong(&shared->next_report, &due, now + w->seconds_a_report)) return;
  fprintf(stderr, "%u of %u after %lld s\n", finished, w->count, now);
}

static void run_worker(const Workers *w, Shared *shared, int process) {
  for (;;) {
    uint32_t index = atomic_fetch_add(&shared->next, 1);
    if (index >= w->count) break;
    atomic_store(&shared->current[process], (int)index);
    if (w->processes) alarm(w->seconds);
    w->work(w->user, index, &shared->results[index]);
    atomic_store(&shared->current[process], NO_INDEX);
    tell_progress(w, shared);
  }
  alarm(0);
}

/* The child's process id, or -1. The child leaves by exit, so that a leak checker has its say. */
static pid_t start(const Workers *w, Shared *shared, int process) {
  atomic_store(&shared->current[process], NO_INDEX);
  fflush(NULL);
  pid_t child = fork();
  if (child != 0) return child;
  run_worker(w, shared, process);
  exit(0);
}

static void note_crash(Shared *shared, int process, int status) {
  int index = atomic_load(&shared->current[process]);
  if (index == NO_INDEX) return;
  CheckResult *r = &shared->results[index];
  r->verdict = VERDICT_FAILED;
  snprintf(r->stage, sizeof r->stage, "crash");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    snprintf(r->words, sizeof r->words, "it took too long");
  else if (WIFSIGNALED(status))
    snprintf(r->words, sizeof r->words, "%s", strsignal(WTERMSIG(status)));
  else
    snprintf(r->words, sizeof r->words, "the process ended with status %d", WEXITSTATUS(status));
}

/* Waits for a child of this pool; its number, or -1 where there is none left. */
static int wait_for_one(pid_t *children, uint32_t processes, int *status) {
  for (uint32_t i = 0; i < processes; i++)
    if (children[i] > 0) {
      pid_t ended = waitpid(-1, status, 0);
      for (uint32_t j = 0; j < processes; j++)
        if (children[j] == ended) return (int)j;
      return -1;
    }
  return -1;
}

bool workers_run(Workers *w) {
  Shared *shared = mmap(NULL, shared_bytes(w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t children[MOST_PROCESSES] = {0};
  if (shared == MAP_FAILED) return false;
  shared->start = time(NULL);
  atomic_store(&shared->next_report, w->seconds_a_report);
  w->results = shared->results;
  if (!w->processes) run_worker(w, shared, 0);
  if (w->processes > MOST_PROCESSES) w->processes = MOST_PROCESSES;
  for (uint32_t i = 0; i < w->processes; i++)
    if ((children[i] = start(w, shared, (int)i)) < 0) return false;
  for (int status, ended; (ended = wait_for_one(children, w->processes, &status)) >= 0;) {
    children[ended] = 0;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool crashed = !good && atomic_load(&shared->current[ended]) != NO_INDEX;
    if (crashed)
      note_crash(shared, ended, status);
    else if (!good)
      w->damaged_workers++;
    bool more = atomic_load(&shared->next) < w->count;
    if (crashed && more && (children[ended] = start(w, shared, ended)) < 0) return false;
  }
  return true;
}

void workers_free(Workers *w) {
  if (w->results) munmap(shared_of(w), shared_bytes(w));
  w->results = NULL;
}
