/* PTX -> cubin by the CUDA toolkit's ptxas, a child process without a shell.
 *
 * ptxas runs inside a fresh folder under $TMPDIR (or /tmp), on files of fixed names, so that neither its messages nor
 * the cubin depend on where that is; the folder is gone when backend_assemble returns, on every path.
 */
#define _GNU_SOURCE
#include "backend.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define PTX_FILE "network.ptx"
#define CUBIN_FILE "network.cubin"
#define WORDS_FILE "words.txt"

typedef struct Assembly {
  Context *context;
  const Module *module;
  const char *ptxas;
  char *folder; /* NULL until it exists */
  Text *cubin;
} Assembly;

/* --- where ptxas is --- */

static bool is_program(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && S_ISREG(s.st_mode) && access(path, X_OK) == 0;
}

/* folder/name if that is a program, otherwise NULL; length bytes of `folder` count. */
static char *program_in(Context *c, const char *folder, size_t length, const char *name) {
  char *path = arena_printf(c, "%.*s/%s", (int)length, length > 0 ? folder : ".", name);
  return is_program(path) ? path : NULL;
}

static char *program_on_path(Context *c, const char *name) {
  const char *folder = getenv("PATH");
  while (folder) {
    size_t length = strcspn(folder, ":");
    char *found = program_in(c, folder, length, name);
    if (found) return found;
    folder = folder[length] ? folder + length + 1 : NULL;
  }
  return NULL;
}

static char *resolve(Context *c, const char *path) {
  char *real = realpath(path, NULL);
  if (!real) return NULL;
  context_on_close(c, free, real);
  return real;
}

static char *ptxas_beside_nvcc(Context *c) {
  char *nvcc = program_on_path(c, "nvcc");
  char *real = nvcc ? resolve(c, nvcc) : NULL;
  return real ? program_in(c, real, (size_t)(strrchr(real, '/') - real), "ptxas") : NULL;
}

static char *ptxas_in_home(Context *c) {
  const char *home = getenv("CUDA_HOME");
  if (!home || !*home) return NULL;
  char *bin = arena_printf(c, "%s/bin", home);
  return program_in(c, bin, strlen(bin), "ptxas");
}

static char *find_ptxas(Context *c) {
  static const char usual[] = "/usr/local/cuda/bin";
  char *found = ptxas_in_home(c);
  if (!found) found = ptxas_beside_nvcc(c);
  if (!found) found = program_on_path(c, "ptxas");
  if (!found) found = program_in(c, usual, strlen(usual), "ptxas");
  return found ? resolve(c, found) : NULL;
}

/* --- the temporary folder --- */

static bool make_folder(Assembly *a) {
  const char *parent = getenv("TMPDIR");
  if (!parent || !*parent) parent = "/tmp";
  char *name = arena_printf(a->context, "%s/apnnc-XXXXXX", parent);
  if (!mkdtemp(name)) {
    diag(a->context, DIAG_CANNOT_WRITE, (SourceLoc){0}, parent, strerror(errno));
    return false;
  }
  a->folder = name;
  return true;
}

static void remove_folder(Assembly *a) {
  static const char *const names[] = {PTX_FILE, CUBIN_FILE, WORDS_FILE};
  if (!a->folder) return;
  int folder = open(a->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (size_t i = 0; folder >= 0 && i < sizeof names / sizeof names[0]; i++) unlinkat(folder, names[i], 0);
  if (folder >= 0) close(folder);
  rmdir(a->folder);
}

static bool write_ptx(Assembly *a) {
  char *path = arena_printf(a->context, "%s/%s", a->folder, PTX_FILE);
  FILE *f = fopen(path, "we");
  bool good = f && fwrite(a->module->ptx.data, 1, a->module->ptx.length, f) == a->module->ptx.length;
  int error = errno;
  if (f && fclose(f) != 0 && good) {
    good = false;
    error = errno;
  }
  if (!good) diag(a->context, DIAG_CANNOT_WRITE, (SourceLoc){0}, path, strerror(error));
  return good;
}

/* The whole of a file of the folder, allocated before it is opened. */
static bool read_text(Assembly *a, const char *name, Text *out) {
  char *path = arena_printf(a->context, "%s/%s", a->folder, name);
  struct stat s;
  if (stat(path, &s) != 0) return false;
  size_t size = (size_t)s.st_size;
  char *data = arena_alloc(a->context, size + 1);
  FILE *f = fopen(path, "re");
  if (!f) return false;
  bool good = fread(data, 1, size, f) == size;
  fclose(f);
  *out = (Text){.context = a->context, .data = data, .length = size, .capacity = size + 1};
  return good;
}

/* --- the child --- */

/* Runs ptxas to its end: 0 and its wait status, or an errno. */
static int run_ptxas(const Assembly *a, char *const arguments[], int *status) {
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  error = posix_spawn_file_actions_addchdir_np(&actions, a->folder);
  if (!error) error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (!error) error = posix_spawn_file_actions_addopen(&actions, 1, WORDS_FILE, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (!error) error = posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  if (!error) error = posix_spawn(&child, a->ptxas, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  while (!error && waitpid(child, status, 0) < 0)
    if (errno != EINTR) error = errno;
  return error;
}

static const char *describe(Context *c, int error, int status) {
  if (error) return strerror(error);
  if (WIFSIGNALED(status)) return arena_printf(c, "signal %d", WTERMSIG(status));
  return arena_printf(c, "exit status %d", WEXITSTATUS(status));
}

static void add_words(Assembly *a) {
  Text words = {0};
  if (!read_text(a, WORDS_FILE, &words)) return;
  for (char *line = words.data; *line; line += strspn(line, "\n")) {
    size_t length = strcspn(line, "\n");
    if (length > 0) diag_note(a->context, (SourceLoc){0}, "%.*s", (int)length, line);
    line += length;
  }
}

static bool has_words(Assembly *a) {
  Text words = {0};
  return read_text(a, WORDS_FILE, &words) && words.length > 0;
}

/* One run of ptxas; "" or what came of it. */
static const char *attempt(Assembly *a, const char *split) {
  Context *c = a->context;
  char *arguments[] = {
      "ptxas", arena_printf(c, "-arch=%s", a->module->target->name), "-o", CUBIN_FILE, PTX_FILE, (char *)split, NULL};
  int status = 0;
  int error = run_ptxas(a, arguments, &status);
  if (error || status != 0) return describe(c, error, status);
  return read_text(a, CUBIN_FILE, a->cubin) && a->cubin->length > 0 ? "" : "no cubin came back";
}

/* Kernels are optimized in parallel. The number of threads stands in the cubin, so it is the same on every machine. A
 * toolkit that does not know the option is asked once more without. */
static bool assemble(void *user) {
  Assembly *a = user;
  Context *c = a->context;
  const char *target = a->module->target->name;
  if (!make_folder(a) || !write_ptx(a)) return false;
  const char *problem = attempt(a, "--split-compile=8");
  if (problem[0]) {
    unlink(arena_printf(c, "%s/%s", a->folder, WORDS_FILE));
    problem = attempt(a, NULL);
  }
  if (problem[0])
    diag(c, DIAG_ASSEMBLER_FAILED, (SourceLoc){0}, a->ptxas, target, problem);
  else if (has_words(a))
    diag(c, DIAG_ASSEMBLER_WARNS, (SourceLoc){0}, a->ptxas, target);
  add_words(a);
  return !problem[0];
}

bool backend_can_assemble(Context *c) {
  return find_ptxas(c) != NULL;
}

bool backend_assemble(Context *c, const Module *m, Text *cubin) {
  Assembly a = {.context = c, .module = m, .ptxas = find_ptxas(c), .cubin = cubin};
  if (!a.ptxas) {
    diag(c, DIAG_NO_ASSEMBLER, (SourceLoc){0});
    diag_expected(c, "ptxas in $CUDA_HOME/bin, beside nvcc, on PATH or in /usr/local/cuda/bin");
    diag_hint(c, "install the CUDA toolkit, or write net.ptx, which the driver assembles");
    return false;
  }
  bool good = context_try(c, assemble, &a);
  remove_folder(&a);
  return good;
}
