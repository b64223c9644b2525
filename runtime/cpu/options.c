/* Options of the device: threads, check (all, none, race), limit. They come from the environment (APNN_CPU_THREADS,
 * APNN_CPU_CHECK, APNN_CPU_LIMIT) and from apnn_cpu_set_option, which wins. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct OptionState {
  pthread_mutex_t lock;
  bool read; /* the environment was read */
  Options options;
} OptionState;

static OptionState state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool parse_number(const char *text, uint64_t greatest, uint64_t *value) {
  char *end;
  if (*text < '0' || *text > '9') return false;
  *value = strtoull(text, &end, 10);
  return !*end && *value <= greatest;
}

static bool set_threads(Options *o, const char *value) {
  uint64_t n;
  if (!parse_number(value, 256, &n) || !n) return false;
  o->threads = (uint32_t)n;
  return true;
}

static bool set_check(Options *o, const char *value) {
  bool race = !strcmp(value, "race"), none = !strcmp(value, "none");
  if (!race && !none && strcmp(value, "all")) return false;
  o->check = !none;
  o->check_race = race;
  return true;
}

static bool set_limit(Options *o, const char *value) {
  return parse_number(value, UINT64_MAX, &o->limit);
}

static const struct {
  const char *name, *variable;
  bool (*set)(Options *o, const char *value);
} option_rows[] = {{"threads", "APNN_CPU_THREADS", set_threads},
                   {"check", "APNN_CPU_CHECK", set_check},
                   {"limit", "APNN_CPU_LIMIT", set_limit}};

enum { OPTION_ROWS = sizeof option_rows / sizeof *option_rows };

static void read_environment(void) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (state.read) return;
  state.read = true;
  state.options = (Options){.threads = cores > 0 && cores < 256 ? (uint32_t)cores : 1, .check = true};
  for (int i = 0; i < OPTION_ROWS; i++) {
    const char *value = getenv(option_rows[i].variable);
    if (value) option_rows[i].set(&state.options, value);
  }
}

Options options_now(void) {
  pthread_mutex_lock(&state.lock);
  read_environment();
  Options now = state.options;
  pthread_mutex_unlock(&state.lock);
  return now;
}

bool options_set(const char *name, const char *value) {
  bool taken = false;
  pthread_mutex_lock(&state.lock);
  read_environment();
  for (int i = 0; name && value && i < OPTION_ROWS; i++)
    if (!strcmp(option_rows[i].name, name)) taken = option_rows[i].set(&state.options, value);
  pthread_mutex_unlock(&state.lock);
  return taken;
}
