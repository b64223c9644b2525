/* Graphs: lists of work with parameters of their own, and launches. Guarantees: a graph keeps the modules of its
 * kernels alive; a launch is checked against the limits of the device before anything runs. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/* ---- graphs ---- */

struct Graph *graph_new(void) {
  return calloc(1, sizeof(struct Graph));
}

static bool copy_params(Work *work) {
  uint64_t bytes = work->function->kernel->function->param_bytes;
  const uint8_t *from = work->params;
  work->params = malloc(bytes + 1);
  if (work->params) memcpy(work->params, from, bytes);
  return work->params != NULL;
}

bool graph_append(struct Graph *graph, const Work *work) {
  if (graph->count == graph->capacity) {
    size_t wanted = graph->capacity ? graph->capacity * 2 : 16;
    Work *grown = realloc(graph->works, wanted * sizeof *grown);
    if (!grown) return false;
    graph->works = grown;
    graph->capacity = wanted;
  }
  Work *kept = &graph->works[graph->count];
  *kept = *work;
  if (kept->kind == WORK_LAUNCH) {
    if (!copy_params(kept)) return false;
    module_retain(kept->function->module);
  }
  graph->count++;
  return true;
}

void graph_free(struct Graph *graph) {
  if (!graph) return;
  for (size_t i = 0; i < graph->count; i++) {
    if (graph->works[i].kind != WORK_LAUNCH) continue;
    free(graph->works[i].params);
    module_drop(graph->works[i].function->module);
  }
  free(graph->works);
  free(graph);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
  CUresult result = driver_enter();
  (void)flags;
  if (result) return result;
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  if (!object_known(OBJECT_GRAPH, graph)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a graph");
  struct Graph *copy = graph_new();
  bool whole = copy != NULL;
  for (size_t i = 0; whole && i < graph->count; i++) whole = graph_append(copy, &graph->works[i]);
  if (whole && object_add(OBJECT_GRAPH_EXEC, copy)) {
    *exec = copy;
    return CUDA_SUCCESS;
  }
  graph_free(copy);
  return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for a graph");
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
  struct Stream *stream;
  CUresult result = driver_enter();
  if (!result) result = stream_resolve(handle, &stream);
  if (result) return result;
  if (!object_known(OBJECT_GRAPH_EXEC, exec)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a graph to launch");
  for (size_t i = 0; !result && i < exec->count; i++) result = work_submit(&exec->works[i], handle);
  return result;
}

static CUresult destroy(ObjectKind kind, struct Graph *graph) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!object_remove(kind, graph)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a graph");
  graph_free(graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec exec) {
  return destroy(OBJECT_GRAPH_EXEC, exec);
}
CUresult cuGraphDestroy(CUgraph graph) {
  return destroy(OBJECT_GRAPH, graph);
}

/* ---- launches ---- */

static CUresult check_block(const Function *f, const uint32_t block[3], uint64_t threads) {
  const uint32_t *most = f->max_threads, *exact = f->required_threads;
  if (exact[0] && memcmp(exact, block, 3 * sizeof *block)) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "kernel %s needs blocks of %u,%u,%u threads, not %u,%u,%u", f->name,
                       exact[0], exact[1], exact[2], block[0], block[1], block[2]);
  }
  if (most[0] && threads > (uint64_t)most[0] * most[1] * most[2]) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "kernel %s allows blocks of %u,%u,%u threads, not %u,%u,%u", f->name,
                       most[0], most[1], most[2], block[0], block[1], block[2]);
  }
  return CUDA_SUCCESS;
}

static CUresult check_launch(const Work *work) {
  const Kernel *k = work->function->kernel;
  const uint32_t *grid = work->grid, *block = work->block;
  uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
  bool block_fits = threads && block[0] <= 1024 && block[1] <= 1024 && block[2] <= 64 && threads <= 1024;
  bool grid_fits = grid[0] && grid[1] && grid[2] && grid[0] <= 0x7fffffff && grid[1] <= 65535 && grid[2] <= 65535;
  if (!block_fits || !grid_fits) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "kernel %s: grid %u,%u,%u of blocks %u,%u,%u", k->name, grid[0],
                       grid[1], grid[2], block[0], block[1], block[2]);
  }
  int64_t allowed = k->shared_dynamic_limit;
  if ((int64_t)work->shared_bytes > allowed || (uint64_t)work->shared_bytes + k->shared_static > MAX_SHARED_BYTES) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE,
                       "kernel %s: %u bytes of dynamic shared memory; cuFuncSetAttribute allows %lld", k->name,
                       work->shared_bytes, (long long)allowed);
  }
  if (k->function->cluster && grid[0] % k->function->cluster) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE,
                       "kernel %s: a grid of %u blocks along x is no whole number of clusters of %u", k->name, grid[0],
                       k->function->cluster);
  }
  return check_block(k->function, block, threads);
}

static bool params_from_list(const Function *f, void **params, uint8_t *bytes) {
  for (size_t i = 0; i < f->param_count; i++) {
    if (!params || !params[i]) return false;
    memcpy(bytes + f->params[i]->address, params[i], f->params[i]->bytes);
  }
  return true;
}

/* One buffer with all parameters, as `extra` gives it. */
static bool params_from_buffer(const Function *f, void **extra, uint8_t *bytes) {
  const void *buffer = NULL;
  size_t size = 0;
  for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = extra[i + 1];
    else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
      size = *(const size_t *)extra[i + 1];
    else
      return false;
  }
  if (!buffer || size < f->param_bytes) return false;
  memcpy(bytes, buffer, f->param_bytes);
  return true;
}

static CUresult submit_launch(Work *work, CUstream stream, void **params, void **extra) {
  uint8_t bytes[4096] = {0};
  CUresult result = driver_enter();
  if (result) return result;
  if (!object_known(OBJECT_FUNCTION, work->function)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a function");
  const Function *f = work->function->kernel->function;
  if (extra ? !params_from_buffer(f, extra, bytes) : !params_from_list(f, params, bytes)) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "kernel %s takes %zu parameters in %llu bytes", f->name,
                       f->param_count, (unsigned long long)f->param_bytes);
  }
  result = check_launch(work);
  if (result) return result;
  work->params = bytes;
  result = work_submit(work, stream);
  work->params = NULL;
  return result;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                        unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                        CUstream stream, void **params, void **extra) {
  Work work = {.kind = WORK_LAUNCH,
               .function = function,
               .grid = {grid_x, grid_y, grid_z},
               .block = {block_x, block_y, block_z},
               .shared_bytes = shared_bytes};
  return submit_launch(&work, stream, params, extra);
}

/* Attributes: clusters are those that the kernel states; a launch that may overlap the one before is checked for it;
 * the rest change nothing here. */
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params, void **extra) {
  enum { ATTRIBUTE_COOPERATIVE = 2, ATTRIBUTE_CLUSTER = 4, ATTRIBUTE_PROGRAMMATIC_SERIALIZATION = 6 };
  bool overlaps = false;
  if (!config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < config->numAttrs; i++) {
    const CUlaunchAttribute *a = &config->attrs[i];
    const unsigned int *cluster = a->value.cluster;
    bool single = cluster[0] <= 1 && cluster[1] <= 1 && cluster[2] <= 1;
    if ((a->id == ATTRIBUTE_CLUSTER && !single) || (a->id == ATTRIBUTE_COOPERATIVE && a->value.integer)) {
      return driver_fail(CUDA_ERROR_NOT_SUPPORTED,
                         "the CPU device has clusters where a kernel states them, and no cooperative launches");
    }
    if (a->id == ATTRIBUTE_PROGRAMMATIC_SERIALIZATION) overlaps = a->value.integer;
  }
  Work work = {.kind = WORK_LAUNCH,
               .function = function,
               .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
               .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
               .shared_bytes = config->sharedMemBytes,
               .overlaps = overlaps};
  return submit_launch(&work, config->hStream, params, extra);
}
