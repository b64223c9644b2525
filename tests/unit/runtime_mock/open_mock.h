/* Getting at the mock driver from a test: it lies in ../lib/mock beside the folder of the test's program. Once it is
 * open, libapnn's own dlopen of libcuda.so.1 finds it by its name. */
#ifndef TESTS_UNIT_RUNTIME_OPEN_MOCK_H
#define TESTS_UNIT_RUNTIME_OPEN_MOCK_H

#include "mock.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `relative` seen from the folder of the running program. */
static inline void beside_program(const char *relative, char path[PATH_MAX + 64]) {
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  char *slash = strrchr(program, '/');
  snprintf(path, PATH_MAX + 64, "%.*s/%s", slash ? (int)(slash - program) : 0, program, relative);
}

static inline MockControl *open_mock(void) {
  char path[PATH_MAX + 64];
  beside_program("../lib/mock/libcuda.so.1", path);
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  MockControlFunction *control;
  MockResetFunction *reset;
  void *address = dlsym(library, "mock_control");
  memcpy(&control, &address, sizeof control);
  address = dlsym(library, "mock_reset");
  memcpy(&reset, &address, sizeof reset);
  reset();
  return control();
}

#endif
