/* Running the work of a stream or a graph: launches, copies, sets. Guarantees: memory cannot be released under work
 * that runs (it holds the table's lock for reading); a device fault becomes a driver error and a text. */
#include "driver.h"

#include <string.h>

CUresult work_check_copy(uint64_t address, uint64_t bytes, bool must_be_device) {
  if (!bytes) return CUDA_SUCCESS;
  memory_lock_reading();
  bool known = memory_find(address, bytes) != NULL;
  memory_unlock();
  if (known || !must_be_device) return CUDA_SUCCESS;
  return driver_fail(CUDA_ERROR_INVALID_VALUE, "%llu bytes at 0x%llx are not inside one allocation",
                     (unsigned long long)bytes, (unsigned long long)address);
}

/* Host memory that the table does not know counts as written. The lock is held. */
static void run_copy(const Work *work) {
  Region *to = memory_find(work->to, work->count), *from = memory_find(work->from, work->count);
  memmove((void *)(uintptr_t)work->to, (const void *)(uintptr_t)work->from, work->count);
  if (!to) return;
  Region written = {.start = 0};
  uint64_t from_start = from ? work->from - from->start : 0;
  shadow_copy(from ? from : &written, from_start, to, work->to - to->start, work->count);
}

static void run_set(const Work *work) {
  uint8_t *bytes = (uint8_t *)(uintptr_t)work->to;
  Region *to = memory_find(work->to, work->count * work->element_bytes);
  if (work->element_bytes == 1)
    memset(bytes, (int)work->value, work->count);
  else
    for (uint64_t i = 0; i < work->count; i++) memcpy(bytes + i * 4, &work->value, 4);
  if (to && to->written) shadow_set(to->written, work->to - to->start, work->count * work->element_bytes);
}

static CUresult run_launch(const Work *work) {
  Launch launch = {.kernel = work->function->kernel,
                   .shared_dynamic = work->shared_bytes,
                   .params = work->params,
                   .overlaps = work->overlaps};
  memcpy(launch.grid, work->grid, sizeof launch.grid);
  memcpy(launch.block, work->block, sizeof launch.block);
  if (pthread_mutex_init(&launch.lock, NULL)) return CUDA_ERROR_OUT_OF_MEMORY;
  memory_lock_reading();
  launch_run(&launch);
  memory_unlock();
  pthread_mutex_destroy(&launch.lock);
  static const CUresult result_of[] = {[FAULT_NONE] = CUDA_SUCCESS,
                                       [FAULT_ADDRESS] = CUDA_ERROR_ILLEGAL_ADDRESS,
                                       [FAULT_ALIGNMENT] = CUDA_ERROR_MISALIGNED_ADDRESS,
                                       [FAULT_INSTRUCTION] = CUDA_ERROR_ILLEGAL_INSTRUCTION,
                                       [FAULT_FAILED] = CUDA_ERROR_LAUNCH_FAILED,
                                       [FAULT_MEMORY] = CUDA_ERROR_OUT_OF_MEMORY};
  CUresult result = result_of[launch.fault];
  return result ? driver_fail(result, "%s", launch.text) : CUDA_SUCCESS;
}

CUresult work_run(const Work *work) {
  if (work->kind == WORK_LAUNCH) return run_launch(work);
  uint64_t bytes = work->count * work->element_bytes;
  bool set = work->kind == WORK_SET;
  CUresult result = set ? work_check_copy(work->to, bytes, true) : CUDA_SUCCESS;
  if (result) return result;
  memory_lock_reading();
  if (set)
    run_set(work);
  else
    run_copy(work);
  memory_unlock();
  return CUDA_SUCCESS;
}

CUresult work_submit(const Work *work, CUstream handle) {
  struct Stream *stream;
  CUresult result = stream_resolve(handle, &stream);
  if (result) return result;
  if (!stream || !stream->capture) return work_run(work);
  return graph_append(stream->capture, work) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
