/* Allocation, copies and sets. Guarantees: copies touch only live memory; bytes copied or set count as written, bytes
 * copied between allocations are as written as their source. */
#include "driver.h"

#include <string.h>

enum {
  POINTER_CONTEXT = 1,
  POINTER_MEMORY_TYPE = 2,
  POINTER_DEVICE_POINTER = 3,
  POINTER_HOST_POINTER = 4,
  POINTER_IS_MANAGED = 8,
  POINTER_DEVICE_ORDINAL = 9,
  POINTER_RANGE_START = 11,
  POINTER_RANGE_SIZE = 12,
  POINTER_MAPPED = 13
};

/* ---- allocation ---- */

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!address || !bytes) return driver_fail(CUDA_ERROR_INVALID_VALUE, "cuMemAlloc of %zu bytes", bytes);
  Region *region = memory_allocate(bytes, REGION_DEVICE, false);
  if (!region) return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
  *address = region->start;
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  CUresult result = driver_enter();
  if (result || !address) return result;
  if (memory_release(address, REGION_DEVICE)) return CUDA_SUCCESS;
  return driver_fail(CUDA_ERROR_INVALID_VALUE, "cuMemFree: 0x%llx is not the start of an allocation", address);
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  CUresult result = driver_enter();
  if (!free_bytes || !total_bytes) return CUDA_ERROR_INVALID_VALUE;
  *free_bytes = *total_bytes = memory_bytes_total();
  return result;
}

CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned int flags) {
  CUresult result = driver_enter();
  (void)flags;
  if (result) return result;
  if (!memory || !bytes) return driver_fail(CUDA_ERROR_INVALID_VALUE, "cuMemHostAlloc of %zu bytes", bytes);
  Region *region = memory_allocate(bytes, REGION_HOST, true);
  if (!region) return driver_fail(CUDA_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
  *memory = region->bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *memory) {
  CUresult result = driver_enter();
  if (result || !memory) return result;
  if (memory_release((uint64_t)(uintptr_t)memory, REGION_HOST)) return CUDA_SUCCESS;
  return driver_fail(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost: not memory of cuMemHostAlloc");
}

static bool describe_pointer(void *data, int attribute, const Region *region, CUdeviceptr address) {
  uint64_t wide = 0;
  uint32_t narrow = 0;
  CUcontext context = NULL;
  switch (attribute) {
  case POINTER_CONTEXT:
    cuCtxGetCurrent(&context);
    memcpy(data, &context, sizeof context);
    return true;
  case POINTER_DEVICE_POINTER:
    wide = address;
    break;
  case POINTER_HOST_POINTER:
    if (region->kind != REGION_HOST) return false;
    wide = address;
    break;
  case POINTER_RANGE_START:
    wide = region->start;
    break;
  case POINTER_RANGE_SIZE:
    wide = region->size;
    break;
  case POINTER_MEMORY_TYPE:
    narrow = region->kind == REGION_HOST ? 1 : 2;
    goto keep_narrow;
  case POINTER_DEVICE_ORDINAL:
    goto keep_narrow;
  case POINTER_IS_MANAGED:
  case POINTER_MAPPED:
    *(uint8_t *)data = attribute == POINTER_MAPPED;
    return true;
  default:
    return false;
  }
  memcpy(data, &wide, sizeof wide);
  return true;
keep_narrow:
  memcpy(data, &narrow, sizeof narrow);
  return true;
}

CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr address) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!data) return CUDA_ERROR_INVALID_VALUE;
  memory_lock_reading();
  const Region *region = memory_find(address, 1);
  bool known = region && describe_pointer(data, attribute, region, address);
  memory_unlock();
  return known ? CUDA_SUCCESS : driver_fail(CUDA_ERROR_INVALID_VALUE, "0x%llx has no such attribute", address);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
  CUresult result = driver_enter();
  if (result) return result;
  memory_lock_reading();
  const Region *region = memory_find(address, 1);
  if (region && base) *base = region->start;
  if (region && bytes) *bytes = region->size;
  memory_unlock();
  return region ? CUDA_SUCCESS : driver_fail(CUDA_ERROR_NOT_FOUND, "0x%llx is in no allocation", address);
}

/* ---- copies ---- */

static CUresult submit_copy(uint64_t to, bool to_device, uint64_t from, bool from_device, size_t bytes,
                            CUstream stream) {
  CUresult result = driver_enter();
  if (!result && to_device) result = work_check_copy(to, bytes, true);
  if (!result && from_device) result = work_check_copy(from, bytes, true);
  if (result || !bytes) return result;
  if (!to || !from) return driver_fail(CUDA_ERROR_INVALID_VALUE, "copy of %zu bytes from or to NULL", bytes);
  Work work = {.kind = WORK_COPY, .to = to, .from = from, .count = bytes, .element_bytes = 1};
  return work_submit(&work, stream);
}

static uint64_t host(const void *memory) {
  return (uint64_t)(uintptr_t)memory;
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return submit_copy(to, false, from, false, bytes, NULL);
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return submit_copy(to, false, from, false, bytes, stream);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return submit_copy(to, true, host(from), false, bytes, NULL);
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return submit_copy(host(to), false, from, true, bytes, NULL);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return submit_copy(to, true, from, true, bytes, NULL);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
  return submit_copy(to, true, host(from), false, bytes, stream);
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return submit_copy(host(to), false, from, true, bytes, stream);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return submit_copy(to, true, from, true, bytes, stream);
}

/* ---- sets ---- */

static CUresult submit_set(CUdeviceptr to, uint32_t value, uint32_t element_bytes, size_t count, CUstream stream) {
  CUresult result = driver_enter();
  if (result) return result;
  if (count > SIZE_MAX / element_bytes || to % element_bytes) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "a set of %zu elements of %u bytes at 0x%llx", count, element_bytes,
                       to);
  }
  result = work_check_copy(to, count * element_bytes, true);
  if (result || !count) return result;
  Work work = {.kind = WORK_SET, .to = to, .count = count, .value = value, .element_bytes = element_bytes};
  return work_submit(&work, stream);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return submit_set(to, value, 1, count, NULL);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return submit_set(to, value, 1, count, stream);
}
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count) {
  return submit_set(to, value, 4, count, NULL);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
  return submit_set(to, value, 4, count, stream);
}
