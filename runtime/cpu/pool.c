/* Threads that help with launches. Guarantees: the caller always works itself, so a launch ends however many others are
 * under way; threads start at the first need and end with the library. */
#include "machine.h"

#include <signal.h>
#include <string.h>

enum { MAX_POOL = 256 };

typedef struct Job {
  void (*work)(void *);
  void *data;
  uint32_t wanted; /* helpers still welcome */
  uint32_t active;
  pthread_cond_t idle;
  struct Job *next;
} Job;

typedef struct Pool {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  Job *jobs;
  pthread_t threads[MAX_POOL];
  uint32_t count;
  bool ending;
} Pool;

static Pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static Job *next_job(void) {
  for (Job *job = pool.jobs; job; job = job->next)
    if (job->wanted) return job;
  return NULL;
}

static void *helper(void *unused) {
  pthread_mutex_lock(&pool.lock);
  while (!pool.ending) {
    Job *job = next_job();
    if (!job) {
      pthread_cond_wait(&pool.wake, &pool.lock);
      continue;
    }
    job->wanted--;
    job->active++;
    pthread_mutex_unlock(&pool.lock);
    job->work(job->data);
    pthread_mutex_lock(&pool.lock);
    if (!--job->active) pthread_cond_signal(&job->idle);
  }
  pthread_mutex_unlock(&pool.lock);
  return unused;
}

/* Signals are the application's: its own threads take them. The lock is held. */
static void start_threads(uint32_t wanted) {
  sigset_t all, before;
  sigfillset(&all);
  if (wanted > MAX_POOL) wanted = MAX_POOL;
  if (pool.count >= wanted) return;
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (pool.count < wanted && !pthread_create(&pool.threads[pool.count], NULL, helper, NULL)) pool.count++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void withdraw(Job *job) {
  Job **at = &pool.jobs;
  while (*at != job) at = &(*at)->next;
  *at = job->next;
}

void pool_run(void (*work)(void *), void *data, uint32_t helpers) {
  Job job = {.work = work, .data = data, .wanted = helpers};
  if (!helpers || pthread_cond_init(&job.idle, NULL)) {
    work(data);
    return;
  }
  pthread_mutex_lock(&pool.lock);
  start_threads(helpers);
  job.next = pool.jobs;
  pool.jobs = &job;
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  work(data);
  pthread_mutex_lock(&pool.lock);
  withdraw(&job);
  while (job.active) pthread_cond_wait(&job.idle, &pool.lock);
  pthread_mutex_unlock(&pool.lock);
  pthread_cond_destroy(&job.idle);
}

/* Before launch.c releases the blocks. */
__attribute__((destructor(300))) static void end_pool(void) {
  pthread_mutex_lock(&pool.lock);
  pool.ending = true;
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  for (uint32_t i = 0; i < pool.count; i++) pthread_join(pool.threads[i], NULL);
  pool.count = 0;
}
