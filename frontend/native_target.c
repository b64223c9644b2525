/* The target of the machine's first GPU: the CUDA driver is asked, by dlopen, only where --target=native wants it. */
#include "options.h"
#include <dlfcn.h>

typedef struct Driver {
  int (*init)(unsigned flags);
  int (*device_count)(int *count);
  int (*device_get)(int *device, int ordinal);
  int (*device_attribute)(int *value, int attribute, int device);
} Driver;

enum { ATTRIBUTE_MAJOR = 75, ATTRIBUTE_MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR */

static bool find_symbol(void *library, const char *name, void *function) {
  *(void **)function = dlsym(library, name);
  return *(void **)function != NULL;
}

static bool open_driver(void *library, Driver *d) {
  return find_symbol(library, "cuInit", &d->init) && find_symbol(library, "cuDeviceGetCount", &d->device_count) &&
         find_symbol(library, "cuDeviceGet", &d->device_get) &&
         find_symbol(library, "cuDeviceGetAttribute", &d->device_attribute);
}

/* Compute capability times ten; 0 with *problem set. */
static int ask_driver(const Driver *d, const char **problem) {
  int count = 0, device, major, minor;
  *problem = "the CUDA driver finds no device";
  if (d->init(0) || d->device_count(&count) || !count || d->device_get(&device, 0)) return 0;
  *problem = "the CUDA driver does not tell the device's compute capability";
  if (d->device_attribute(&major, ATTRIBUTE_MAJOR, device) || d->device_attribute(&minor, ATTRIBUTE_MINOR, device))
    return 0;
  return 10 * major + minor;
}

const Target *native_target(Context *c) {
  const char *problem = "libcuda.so.1 cannot be loaded";
  const Target *target = NULL;
  Driver driver;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library) {
    problem = "libcuda.so.1 lacks the functions needed";
    int capability = open_driver(library, &driver) ? ask_driver(&driver, &problem) : 0;
    if (capability) {
      target = target_for_capability(capability);
      problem = arena_printf(c, "no target fits compute capability %d.%d", capability / 10, capability % 10);
    }
    dlclose(library);
  }
  if (!target) {
    diag(c, DIAG_NO_DRIVER, (SourceLoc){0}, problem);
    diag_hint(c, "name the target, --target and one of%s", target_names);
  }
  return target;
}
