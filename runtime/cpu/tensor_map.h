/* What the 128 bytes of a CUtensorMap hold on this device: the arguments of cuTensorMapEncodeTiled. */
#ifndef CPU_TENSOR_MAP_H
#define CPU_TENSOR_MAP_H

#include <stdint.h>

#define TENSOR_MAP_MAGIC 0x70616d6e6e706130u

enum { TENSOR_MAX_RANK = 5 };

typedef enum TensorSwizzle { SWIZZLE_NONE, SWIZZLE_32, SWIZZLE_64, SWIZZLE_128 } TensorSwizzle;

typedef struct TensorMap {
  uint64_t magic;
  uint64_t address;
  uint64_t strides[TENSOR_MAX_RANK]; /* bytes from one index to the next; [0] is the element's size */
  uint32_t sizes[TENSOR_MAX_RANK];   /* elements of the tensor, innermost first */
  uint16_t box[TENSOR_MAX_RANK];
  uint8_t rank, element_bytes, swizzle;
} TensorMap;

_Static_assert(sizeof(TensorMap) <= 128, "a tensor map has 128 bytes");

/* The 16-byte pieces of shared memory are permuted by bits 7 to 9 of the address; the same in tensor copies and in the
 * descriptors of wgmma. */
static inline uint32_t swizzled_address(uint32_t address, TensorSwizzle swizzle) {
  static const uint8_t bits[] = {[SWIZZLE_NONE] = 0, [SWIZZLE_32] = 0x10, [SWIZZLE_64] = 0x30, [SWIZZLE_128] = 0x70};
  return address ^ (address >> 3 & bits[swizzle]);
}

#endif
