/* The mock driver. Device memory is host memory, work is done when it is put on a stream. A call that is to fail and
 * would make something makes nothing; one that would release something releases it all the same, as the caller could
 * do nothing else. */
#include "mock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_FOUND = 500, CAPTURING = 900 };
enum { MAX_OBJECTS = 256, MAX_ALLOCATIONS = MAX_OBJECTS + 1, MAX_NODES = 256, MAX_DEPTH = 8 };

typedef struct Node {
  int kernel;
  unsigned blocks, threads;
  uint64_t parameters[4];
} Node;

typedef struct Graph {
  int count;
  Node nodes[MAX_NODES];
} Graph;

typedef struct Stream {
  Graph *capture; /* NULL: work is done at once */
} Stream;

typedef struct Allocation {
  char *base;
  size_t bytes;
} Allocation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static MockControl control = {.devices = 1, .capability = 80, .fail_with = 999};
static Stream legacy_stream;
static _Thread_local void *contexts[MAX_DEPTH];
static _Thread_local int depth;

EXPORT MockControl *mock_control(void);
EXPORT void mock_reset(void);

MockControl *mock_control(void) {
  return &control;
}

void mock_reset(void) {
  control = (MockControl){.devices = 1, .capability = 80, .live = control.live, .fail_with = 999};
}

/* Count a call; the result that it must fail with, or 0. */
static int enter(const char *symbol, bool needs_context) {
  pthread_mutex_lock(&lock);
  int result = ++control.calls == control.fail_at ? control.fail_with : 0;
  if (result) control.failed = symbol;
  pthread_mutex_unlock(&lock);
  if (!result && needs_context && (!depth || !contexts[depth - 1])) return INVALID_CONTEXT;
  return result;
}

/* --- what is alive: host memory that stands for a stream, graph, event or device memory --- */

static void *objects[MAX_OBJECTS];

static void *make_object(size_t bytes) {
  void *made = NULL;
  pthread_mutex_lock(&lock);
  for (int i = 0; !made && i < MAX_OBJECTS; i++)
    if (!objects[i]) {
      objects[i] = made = calloc(1, bytes);
      control.live++;
    }
  pthread_mutex_unlock(&lock);
  return made;
}

static bool free_object(void *object) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (int i = 0; object && !found && i < MAX_OBJECTS; i++)
    if (objects[i] == object) {
      objects[i] = NULL;
      free(object);
      control.live--;
      found = true;
    }
  pthread_mutex_unlock(&lock);
  return found;
}

static Allocation allocations[MAX_ALLOCATIONS];

/* What a context takes with it when it ends. */
static void free_leftovers(void) {
  memset(allocations, 0, sizeof allocations);
  for (int i = 0; i < MAX_OBJECTS; i++)
    if (objects[i] && free_object(objects[i])) control.leftovers++;
}

static void count(int *counter) {
  pthread_mutex_lock(&lock);
  ++*counter;
  pthread_mutex_unlock(&lock);
}

#define ENTER(symbol, needs_context)                                                                                   \
  do {                                                                                                                 \
    int entered = enter(symbol, needs_context);                                                                        \
    if (entered) return entered;                                                                                       \
  } while (0)

/* --- devices and contexts --- */

static int mock_init(unsigned flags) {
  ENTER("cuInit", false);
  return flags ? INVALID_VALUE : 0;
}

static int mock_error_name(int result, const char **text) {
  *text = result == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_MOCK";
  return 0;
}

static int mock_error_string(int result, const char **text) {
  *text = result == 2 ? "out of memory" : "the mock was told to fail";
  return 0;
}

static int mock_device_count(int *devices) {
  ENTER("cuDeviceGetCount", false);
  *devices = control.devices;
  return 0;
}

static int mock_device_get(int *device, int ordinal) {
  ENTER("cuDeviceGet", false);
  *device = ordinal;
  return 0;
}

static int mock_device_name(char *name, int bytes, int device) {
  ENTER("cuDeviceGetName", false);
  snprintf(name, (size_t)bytes, "Mock GPU %d", device);
  return 0;
}

static int mock_device_attribute(int *value, int attribute, int device) {
  ENTER("cuDeviceGetAttribute", false);
  (void)device;
  *value = attribute == 75 ? control.capability / 10 : attribute == 76 ? control.capability % 10 : 100 * 1024;
  return 0;
}

static char primary;
static int retained;

static int mock_primary_retain(void **context, int device) {
  ENTER("cuDevicePrimaryCtxRetain", false);
  (void)device;
  pthread_mutex_lock(&lock);
  retained++;
  pthread_mutex_unlock(&lock);
  *context = &primary;
  return 0;
}

static int mock_primary_release(int device) {
  (void)device;
  pthread_mutex_lock(&lock);
  bool last = --retained == 0;
  pthread_mutex_unlock(&lock);
  if (last) free_leftovers();
  return enter("cuDevicePrimaryCtxRelease", false);
}

static int mock_context_current(void **context) {
  ENTER("cuCtxGetCurrent", false);
  *context = depth ? contexts[depth - 1] : NULL;
  return 0;
}

static int mock_context_push(void *context) {
  ENTER("cuCtxPushCurrent", false);
  if (depth == MAX_DEPTH) return INVALID_CONTEXT;
  contexts[depth++] = context;
  return 0;
}

static int mock_context_pop(void **context) {
  if (!depth) return INVALID_CONTEXT;
  *context = contexts[--depth];
  return enter("cuCtxPopCurrent", false);
}

static int mock_context_device(int *device) {
  ENTER("cuCtxGetDevice", true);
  *device = 0;
  return 0;
}

/* --- modules --- */

static char functions[2];

static int mock_module_load(void **module, const void *image, unsigned count, const int *options, void **values) {
  ENTER("cuModuleLoadDataEx", true);
  (void)options;
  (void)values;
  bool elf = memcmp(image, "\177ELF", 4) == 0;
  if (!elf && (!strstr(image, ".entry widen") || count != 2)) return INVALID_VALUE;
  *module = make_object(1);
  return 0;
}

static int mock_module_unload(void *module) {
  free_object(module);
  return enter("cuModuleUnload", true);
}

static int mock_module_function(void **function, void *module, const char *name) {
  ENTER("cuModuleGetFunction", true);
  (void)module;
  if (strcmp(name, "widen") && strcmp(name, "mix")) return NOT_FOUND;
  *function = &functions[strcmp(name, "mix") == 0];
  return 0;
}

static int mock_function_set(void *function, int attribute, int value) {
  bool preference = attribute == 9;
  ENTER(preference ? "cuFuncSetAttribute of a preference" : "cuFuncSetAttribute", true);
  if (preference) return value >= 0 && value <= 100 ? 0 : INVALID_VALUE;
  return function == &functions[1] && attribute == 8 && value == 50000 ? 0 : INVALID_VALUE;
}

/* --- memory --- */

static Allocation *find_allocation(uint64_t pointer) { /* under the lock */
  for (int i = 0; i < MAX_ALLOCATIONS; i++)
    if (allocations[i].base && pointer >= (uintptr_t)allocations[i].base &&
        pointer < (uintptr_t)allocations[i].base + allocations[i].bytes)
      return &allocations[i];
  return NULL;
}

static int mock_memory_allocate(uint64_t *pointer, size_t bytes) {
  ENTER("cuMemAlloc", true);
  char *base = bytes ? make_object(bytes) : NULL;
  if (!base) return 2;
  memset(base, 0xa5, bytes);
  *pointer = (uintptr_t)base;
  pthread_mutex_lock(&lock);
  int free_slot = 0;
  while (allocations[free_slot].base) free_slot++;
  allocations[free_slot] = (Allocation){base, bytes};
  pthread_mutex_unlock(&lock);
  return 0;
}

static int mock_memory_free(uint64_t pointer) {
  pthread_mutex_lock(&lock);
  Allocation *found = find_allocation(pointer);
  void *base = found ? found->base : NULL;
  if (found) found->base = NULL;
  pthread_mutex_unlock(&lock);
  bool good = free_object(base);
  int result = enter("cuMemFree", true);
  return good ? result : INVALID_VALUE;
}

static int mock_copy_in(uint64_t to, const void *from, size_t bytes) {
  ENTER("cuMemcpyHtoD", true);
  memcpy((void *)(uintptr_t)to, from, bytes);
  return 0;
}

static int mock_copy_in_async(uint64_t to, const void *from, size_t bytes, void *stream) {
  ENTER("cuMemcpyHtoDAsync", true);
  (void)stream;
  count(&control.copies);
  memcpy((void *)(uintptr_t)to, from, bytes);
  return 0;
}

static int mock_copy_out_async(void *to, uint64_t from, size_t bytes, void *stream) {
  ENTER("cuMemcpyDtoHAsync", true);
  (void)stream;
  count(&control.copies);
  memcpy(to, (void *)(uintptr_t)from, bytes);
  return 0;
}

static int mock_pointer_attribute(void *value, int attribute, uint64_t pointer) {
  ENTER("cuPointerGetAttribute", true);
  pthread_mutex_lock(&lock);
  bool found = find_allocation(pointer);
  pthread_mutex_unlock(&lock);
  if (attribute != 2 || !found) return INVALID_VALUE;
  *(unsigned *)value = 2;
  return 0;
}

static int mock_address_range(uint64_t *base, size_t *bytes, uint64_t pointer) {
  ENTER("cuMemGetAddressRange", true);
  pthread_mutex_lock(&lock);
  Allocation *found = find_allocation(pointer);
  if (found) {
    *base = (uintptr_t)found->base;
    *bytes = found->bytes;
  }
  pthread_mutex_unlock(&lock);
  return found ? 0 : NOT_FOUND;
}

/* --- kernels --- */

static void execute(const Node *node) {
  uint32_t images = (uint32_t)node->parameters[node->kernel ? 3 : 2];
  for (uint32_t i = 0; i < node->blocks * node->threads; i++) {
    if (i >= images * 6) continue;
    if (node->kernel == 0)
      ((int32_t *)(uintptr_t)node->parameters[1])[i] = ((uint8_t *)(uintptr_t)node->parameters[0])[i];
    else
      ((int32_t *)(uintptr_t)node->parameters[2])[i] =
          3 * ((int32_t *)(uintptr_t)node->parameters[0])[i] + ((int32_t *)(uintptr_t)node->parameters[1])[i % 6];
  }
}

static Stream *stream_of(void *handle) {
  return handle == (void *)1 || !handle ? &legacy_stream : handle;
}

typedef struct Config {
  unsigned grid[3], block[3], shared;
  void *stream;
  const void *attributes;
  unsigned attribute_count;
} Config;

typedef struct Attribute {
  int id, padding, allowed, rest[15];
} Attribute;

static int launch(void *function, const Config *c, void **parameters, void **extra) {
  Node node = {.kernel = function == &functions[1], .blocks = c->grid[0], .threads = c->block[0]};
  Stream *stream = stream_of(c->stream);
  bool flat = c->grid[1] == 1 && c->grid[2] == 1 && c->block[1] == 1 && c->block[2] == 1;
  if (!flat || extra || c->shared != (node.kernel ? 50000u : 0)) return INVALID_VALUE;
  int pointers = node.kernel ? 3 : 2;
  for (int i = 0; i < pointers; i++) memcpy(&node.parameters[i], parameters[i], 8);
  memcpy(&node.parameters[pointers], parameters[pointers], 4);
  count(&control.launches);
  pthread_mutex_lock(&lock);
  control.blocks[node.kernel] = c->grid[0];
  pthread_mutex_unlock(&lock);
  if (!stream->capture)
    execute(&node);
  else if (stream->capture->count < MAX_NODES)
    stream->capture->nodes[stream->capture->count++] = node;
  return 0;
}

static int mock_launch_kernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                              unsigned bz, unsigned shared, void *handle, void **parameters, void **extra) {
  ENTER("cuLaunchKernel", true);
  Config config = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared, .stream = handle};
  return launch(function, &config, parameters, extra);
}

/* The second kernel follows the first; nothing is before that one that it could overlap. */
static int mock_launch_kernel_ex(const void *launch_config, void *function, void **parameters, void **extra) {
  ENTER("cuLaunchKernelEx", true);
  const Config *config = launch_config;
  const Attribute *attribute = config->attributes;
  if (config->attribute_count != 1 || attribute->id != 6 || attribute->allowed != 1 || function != &functions[1])
    return INVALID_VALUE;
  count(&control.overlaps);
  return launch(function, config, parameters, extra);
}

/* --- streams and graphs --- */

static int mock_stream_create(void **stream, unsigned flags) {
  ENTER("cuStreamCreate", true);
  if (flags > 1) return INVALID_VALUE;
  *stream = make_object(sizeof(Stream));
  return 0;
}

static int mock_stream_destroy(void *handle) {
  free_object(((Stream *)handle)->capture);
  free_object(handle);
  return enter("cuStreamDestroy", true);
}

static int mock_stream_synchronize(void *handle) {
  ENTER("cuStreamSynchronize", true);
  count(&control.synchronizations);
  return stream_of(handle)->capture ? CAPTURING : 0;
}

static int mock_stream_is_capturing(void *handle, int *status) {
  ENTER("cuStreamIsCapturing", true);
  *status = stream_of(handle)->capture != NULL;
  return 0;
}

static int mock_capture_begin(void *handle, int mode) {
  ENTER("cuStreamBeginCapture", true);
  (void)mode;
  ((Stream *)handle)->capture = make_object(sizeof(Graph));
  return 0;
}

static int mock_capture_end(void *handle, void **graph) {
  Stream *stream = handle;
  int result = enter("cuStreamEndCapture", true);
  *graph = result ? NULL : stream->capture;
  if (result) free_object(stream->capture);
  stream->capture = NULL;
  return result;
}

static int mock_graph_instantiate(void **exec, void *graph, unsigned long long flags) {
  ENTER("cuGraphInstantiateWithFlags", true);
  (void)flags;
  *exec = make_object(sizeof(Graph));
  memcpy(*exec, graph, sizeof(Graph));
  return 0;
}

static int mock_graph_launch(void *exec, void *handle) {
  ENTER("cuGraphLaunch", true);
  (void)handle;
  const Graph *graph = exec;
  count(&control.graph_launches);
  for (int i = 0; i < graph->count; i++) execute(&graph->nodes[i]);
  return 0;
}

static int mock_graph_exec_destroy(void *exec) {
  free_object(exec);
  return enter("cuGraphExecDestroy", true);
}

static int mock_graph_destroy(void *graph) {
  free_object(graph);
  return enter("cuGraphDestroy", true);
}

/* --- events --- */

static int mock_event_create(void **event, unsigned flags) {
  ENTER("cuEventCreate", true);
  (void)flags;
  *event = make_object(1);
  return 0;
}

static int mock_event_record(void *event, void *stream) {
  (void)event;
  (void)stream;
  return enter("cuEventRecord", true);
}

static int mock_event_synchronize(void *event) {
  (void)event;
  return enter("cuEventSynchronize", true);
}

static int mock_event_elapsed(float *milliseconds, void *start, void *stop) {
  ENTER("cuEventElapsedTime", true);
  (void)start;
  (void)stop;
  *milliseconds = 0.25f;
  return 0;
}

static int mock_event_destroy(void *event) {
  free_object(event);
  return enter("cuEventDestroy", true);
}

/* --- the table --- */

typedef void Function(void);
static const struct {
  const char *symbol;
  int version;
  Function *function;
} table[] = {
    {"cuInit", 2000, (Function *)mock_init},
    {"cuGetErrorName", 6000, (Function *)mock_error_name},
    {"cuGetErrorString", 6000, (Function *)mock_error_string},
    {"cuDeviceGetCount", 2000, (Function *)mock_device_count},
    {"cuDeviceGet", 2000, (Function *)mock_device_get},
    {"cuDeviceGetName", 2000, (Function *)mock_device_name},
    {"cuDeviceGetAttribute", 2000, (Function *)mock_device_attribute},
    {"cuDevicePrimaryCtxRetain", 7000, (Function *)mock_primary_retain},
    {"cuDevicePrimaryCtxRelease", 11000, (Function *)mock_primary_release},
    {"cuCtxGetCurrent", 4000, (Function *)mock_context_current},
    {"cuCtxPushCurrent", 4000, (Function *)mock_context_push},
    {"cuCtxPopCurrent", 4000, (Function *)mock_context_pop},
    {"cuCtxGetDevice", 2000, (Function *)mock_context_device},
    {"cuModuleLoadDataEx", 2010, (Function *)mock_module_load},
    {"cuModuleUnload", 2000, (Function *)mock_module_unload},
    {"cuModuleGetFunction", 2000, (Function *)mock_module_function},
    {"cuFuncSetAttribute", 9000, (Function *)mock_function_set},
    {"cuMemAlloc", 3020, (Function *)mock_memory_allocate},
    {"cuMemFree", 3020, (Function *)mock_memory_free},
    {"cuMemcpyHtoD", 3020, (Function *)mock_copy_in},
    {"cuMemcpyHtoDAsync", 3020, (Function *)mock_copy_in_async},
    {"cuMemcpyDtoHAsync", 3020, (Function *)mock_copy_out_async},
    {"cuPointerGetAttribute", 4000, (Function *)mock_pointer_attribute},
    {"cuMemGetAddressRange", 3020, (Function *)mock_address_range},
    {"cuStreamCreate", 2000, (Function *)mock_stream_create},
    {"cuStreamDestroy", 4000, (Function *)mock_stream_destroy},
    {"cuStreamSynchronize", 2000, (Function *)mock_stream_synchronize},
    {"cuLaunchKernel", 4000, (Function *)mock_launch_kernel},
    {"cuLaunchKernelEx", 12030, (Function *)mock_launch_kernel_ex},
    {"cuStreamIsCapturing", 10000, (Function *)mock_stream_is_capturing},
    {"cuStreamBeginCapture", 10010, (Function *)mock_capture_begin},
    {"cuStreamEndCapture", 10000, (Function *)mock_capture_end},
    {"cuGraphInstantiateWithFlags", 11040, (Function *)mock_graph_instantiate},
    {"cuGraphLaunch", 10000, (Function *)mock_graph_launch},
    {"cuGraphExecDestroy", 10000, (Function *)mock_graph_exec_destroy},
    {"cuGraphDestroy", 10000, (Function *)mock_graph_destroy},
    {"cuEventCreate", 2000, (Function *)mock_event_create},
    {"cuEventRecord", 2000, (Function *)mock_event_record},
    {"cuEventSynchronize", 2000, (Function *)mock_event_synchronize},
    {"cuEventElapsedTime", 2000, (Function *)mock_event_elapsed},
    {"cuEventDestroy", 4000, (Function *)mock_event_destroy},
};

EXPORT int cuGetProcAddress(const char *symbol, void **pointer, int version, uint64_t flags);

int cuGetProcAddress(const char *symbol, void **pointer, int version, uint64_t flags) {
  *pointer = NULL;
  for (size_t i = 0; !flags && i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i].symbol, symbol) == 0 && table[i].version == version &&
        !(control.missing && strcmp(control.missing, symbol) == 0)) {
      memcpy(pointer, &table[i].function, sizeof *pointer);
      return 0;
    }
  return NOT_FOUND;
}
