/* The compiled network as bytes: the one header that compiler and runtime share.
 *
 * A file is an image (what the CUDA driver loads) and a payload (what libapnn needs to launch it):
 *
 *   net.cubin   ELF image, zero padding to 16 bytes, payload, trailer
 *   net.ptx     PTX text, then the payload as comment lines "//!apnn <base64>", 96 characters of base64 a line
 *   net.o/.c    the bytes of net.cubin as an array
 *
 * The payload begins with ApnnFileHeader; every offset counts from the payload's start and every table is aligned to 16
 * bytes. All integers are little-endian, all padding is zero: the same network compiles to the same bytes.
 */
#ifndef APNN_FILE_H
#define APNN_FILE_H

#include <stdint.h>

#define APNN_FILE_MAGIC "APNNFIL1"
#define APNN_TRAILER_MAGIC "APNNEND1"
#define APNN_PTX_COMMENT "//!apnn "
enum { APNN_FILE_VERSION = 3, APNN_FILE_ALIGN = 16 };

/* FNV-1a over 64 bits: basis 0xcbf29ce484222325, prime 0x100000001b3. */
#define APNN_FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define APNN_FNV_PRIME UINT64_C(0x100000001b3)

typedef struct ApnnFileHeader {
  char magic[8];
  uint32_t version, header_bytes;
  uint64_t payload_bytes;    /* header included, trailer not */
  uint64_t payload_checksum; /* FNV-1a of the payload with this field zero */
  uint64_t image_bytes;      /* of the cubin before its padding, or of the PTX text before the comment lines */
  uint64_t image_checksum;   /* FNV-1a of the image */
  uint32_t arch;             /* 80, 86, 89, 90: compute capability the image needs */
  uint32_t arch_exact;       /* 1: that capability alone (sm_90a); 0: it or later ones of the same major version for a
                                cubin, it or any later one for PTX */
  uint32_t max_batch;
  uint32_t flags;                             /* zero */
  uint64_t arena_bytes;                       /* device memory for values between layers at max_batch */
  uint64_t constants_offset, constants_bytes; /* device constants: weights, thresholds, tables */
  uint64_t ptx_offset, ptx_bytes; /* PTX text, terminated by a zero byte that is counted; zero bytes in a .ptx file */
  uint64_t strings_offset, strings_bytes; /* zero-terminated names; offset 0 is "" */
  uint64_t tensors_offset, kernels_offset, launches_offset, params_offset;
  uint32_t tensor_count, kernel_count, launch_count, param_count;
  uint32_t network_name; /* offset in strings, as every name */
  uint32_t reserved[3];
} ApnnFileHeader;

typedef struct ApnnFileTrailer { /* the last 32 bytes of a .cubin file */
  char magic[8];
  uint64_t payload_offset; /* from the start of the file */
  uint64_t payload_bytes;
  uint64_t reserved;
} ApnnFileTrailer;

enum { APNN_TENSOR_INPUT = 0, APNN_TENSOR_OUTPUT = 1 };
enum { APNN_ELEM_UINT = 1, APNN_ELEM_INT = 2, APNN_ELEM_I32 = 3, APNN_ELEM_F32 = 4 };

/* A network input or output. The user's array is dense row-major [batch][dims]; one byte an element (q) for UINT and
 * INT, four bytes for I32 and F32. */
typedef struct ApnnFileTensor {
  uint32_t name;
  uint32_t role;
  uint32_t elem, bits;
  uint32_t rank;
  int32_t dim[4];
  int32_t zero2; /* value = scale * (q - zero2 / 2) */
  float scale;
  int32_t q_min, q_max; /* the range of UINT and INT elements; input elements outside it are refused by apnn-run */
  uint32_t reserved;
  uint64_t image_bytes; /* bytes of one image */
} ApnnFileTensor;

/* APNN_KERNEL_WAITS: every thread executes griddepcontrol.wait before it touches memory that kernels write, so that the
 * kernel may begin while the launch before it still runs (programmatic stream serialization). */
enum { APNN_KERNEL_WAITS = 1 };
typedef struct ApnnFileKernel {
  uint32_t name; /* .entry in the PTX */
  uint32_t threads;
  uint32_t shared_bytes; /* dynamic shared memory */
  uint32_t flags;
} ApnnFileKernel;

/* Launch in order; each depends on those before it. grid.x = ceil(batch * x_mul / x_div), but no more than x_most where
 * that is not 0; grid.y = y, grid.z = 1. */
typedef struct ApnnFileLaunch {
  uint32_t kernel;
  uint32_t layer_name; /* name of the value that the layer computes */
  uint32_t engine_name;
  uint32_t x_mul, x_div, y;
  uint32_t first_param, param_count;
  uint32_t x_most, reserved;
  uint64_t bytes_per_image; /* activations read and written, packed */
  uint64_t bytes_constant;  /* weights and tables read */
  uint64_t ops_per_image;   /* 2 x multiply-adds of the layer */
} ApnnFileLaunch;

/* Kernel parameters in order. Pointers are 8 bytes, BATCH 4 bytes. */
enum {
  APNN_PARAM_ARENA = 0,    /* arena + value */
  APNN_PARAM_CONSTANT = 1, /* constants + value */
  APNN_PARAM_TENSOR = 2,   /* the device array of tensor number `value` */
  APNN_PARAM_BATCH = 3     /* u32: images in this run */
};
typedef struct ApnnFileParam {
  uint32_t kind, reserved;
  uint64_t value;
} ApnnFileParam;

_Static_assert(sizeof(ApnnFileTensor) == 64 && sizeof(ApnnFileKernel) == 16 && sizeof(ApnnFileLaunch) == 64 &&
                   sizeof(ApnnFileParam) == 16 && sizeof(ApnnFileTrailer) == 32,
               "tables have no hidden padding");

#endif
