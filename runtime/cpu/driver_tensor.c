/* cuTensorMapEncodeTiled: a tensor's place, shape and box in the 128 bytes that a kernel is given. */
#include "driver.h"
#include "tensor_map.h"

#include <string.h>

/* Bytes of CUtensorMapDataType in its order; 0 where this device has none. */
static const uint8_t type_bytes[] = {1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4};

static CUresult check_shape(uint32_t rank, uint32_t bytes, const uint64_t *sizes, const uint64_t *strides,
                            const uint32_t *box, const uint32_t *steps) {
  for (uint32_t i = 0; i < rank; i++) {
    if (!sizes[i] || sizes[i] > UINT32_MAX || !box[i] || box[i] > 256 || steps[i] != 1) {
      return driver_fail(CUDA_ERROR_INVALID_VALUE, "tensor map: dimension %u of size %llu, box %u, element stride %u",
                         i, (unsigned long long)sizes[i], box[i], steps[i]);
    }
    if (i && (strides[i - 1] % 16 || strides[i - 1] >= (uint64_t)1 << 40)) {
      return driver_fail(CUDA_ERROR_INVALID_VALUE, "tensor map: stride %llu is not a multiple of 16 below 2^40",
                         (unsigned long long)strides[i - 1]);
    }
  }
  if (box[0] * bytes % 16) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE,
                       "tensor map: rows of the box have %u bytes, which is not a multiple of 16", box[0] * bytes);
  }
  return CUDA_SUCCESS;
}

CUresult cuTensorMapEncodeTiled(void *result, int type, unsigned int rank, void *address, const uint64_t *sizes,
                                const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,
                                int swizzle, int promotion, int fill) {
  static const uint8_t span[] = {[SWIZZLE_NONE] = 0, [SWIZZLE_32] = 32, [SWIZZLE_64] = 64, [SWIZZLE_128] = 128};
  (void)promotion;
  if (!result || !address || !sizes || !box || !steps || !rank || rank > TENSOR_MAX_RANK || (rank > 1 && !strides)) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "tensor map: an argument is missing");
  }
  if (type < 0 || type >= (int)sizeof type_bytes || swizzle < 0 || swizzle > SWIZZLE_128 || (uintptr_t)address % 16) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "tensor map: type %d, swizzle %d, address %p", type, swizzle, address);
  }
  if (interleave || fill) return driver_fail(CUDA_ERROR_NOT_SUPPORTED, "tensor map: interleave and fill must be none");
  CUresult code = check_shape(rank, type_bytes[type], sizes, strides, box, steps);
  if (code) return code;
  if (swizzle && box[0] * type_bytes[type] != span[swizzle]) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE,
                       "tensor map: a row of the box has %u bytes; this device takes exactly the swizzle's %d",
                       box[0] * type_bytes[type], span[swizzle]);
  }
  TensorMap map = {.magic = TENSOR_MAP_MAGIC,
                   .address = (uint64_t)(uintptr_t)address,
                   .rank = (uint8_t)rank,
                   .element_bytes = type_bytes[type],
                   .swizzle = (uint8_t)swizzle,
                   .strides = {type_bytes[type]}};
  for (uint32_t i = 0; i < rank; i++) {
    map.sizes[i] = (uint32_t)sizes[i];
    map.box[i] = (uint16_t)box[i];
    if (i) map.strides[i] = strides[i - 1];
  }
  memset(result, 0, 128);
  memcpy(result, &map, sizeof map);
  return CUDA_SUCCESS;
}
