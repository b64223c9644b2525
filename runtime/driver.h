/* The CUDA driver API as far as libapnn uses it, declared here so that building needs no CUDA headers, and opened with
 * dlopen so that running needs a driver only where a GPU is asked for. */
#ifndef RUNTIME_DRIVER_H
#define RUNTIME_DRIVER_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int CuResult;
typedef int CuDevice;
typedef uint64_t CuPointer; /* an address in device memory */
typedef void *CuContext;
typedef void *CuModule;
typedef void *CuFunction;
typedef void *CuStream;
typedef void *CuEvent;
typedef void *CuGraph;
typedef void *CuGraphExec;

enum { CU_SUCCESS = 0, CU_ERROR_INVALID_VALUE = 1, CU_ERROR_OUT_OF_MEMORY = 2, CU_ERROR_NO_DEVICE = 100 };
enum { /* CUdevice_attribute */
       CU_DEVICE_SHARED_BYTES_OPTIN = 97,
       CU_DEVICE_CAPABILITY_MAJOR = 75,
       CU_DEVICE_CAPABILITY_MINOR = 76
};
enum { /* CUfunction_attribute */
       CU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES = 8,
       CU_FUNCTION_PREFERRED_SHARED_CARVEOUT = 9 /* percent of an SM's memory; the rest is its L1 cache */
};
enum { CU_POINTER_MEMORY_TYPE = 2, CU_MEMORY_TYPE_DEVICE = 2 }; /* CUpointer_attribute, CUmemorytype */
enum { CU_JIT_ERROR_LOG = 5, CU_JIT_ERROR_LOG_BYTES = 6 };      /* CUjit_option */
enum { CU_STREAM_DEFAULT = 0, CU_STREAM_NON_BLOCKING = 1 };
enum { CU_CAPTURE_RELAXED = 2, CU_CAPTURE_STATUS_NONE = 0 };
enum { CU_LAUNCH_PROGRAMMATIC_SERIALIZATION = 6 }; /* CUlaunchAttributeID */

typedef struct CuLaunchAttribute { /* CUlaunchAttribute */
  int id, padding;
  union {
    int allowed;
    char bytes[64];
  } value;
} CuLaunchAttribute;

typedef struct CuLaunchConfig { /* CUlaunchConfig */
  unsigned grid[3], block[3], shared_bytes;
  CuStream stream;
  CuLaunchAttribute *attributes;
  unsigned attribute_count;
} CuLaunchConfig;

/* An open driver: the function table, and the library that keeps it in memory. */
typedef struct ApnnDriver {
  void *library;
  bool is_cpu;
  const char *(*cpu_last_error)(void); /* libapnn-cpu's text of the last error of the calling thread; NULL on CUDA */
#define DRIVER(field, symbol, version, need, arguments) CuResult(*field) arguments;
#include "driver.def"
#undef DRIVER
} ApnnDriver;

/* Open libcuda.so.1. APNN_ERROR_DRIVER where it is absent or lacks an entry point; nothing stays open then. */
ApnnStatus apnn_driver_open_cuda(ApnnDriver *driver, ErrorText *error);

/* Open the CPU device: the file $APNN_CPU_DEVICE where that is set; otherwise libapnn-cpu.so beside libapnn or the
 * program (or in ../lib from there), then along the dynamic linker's path. */
ApnnStatus apnn_driver_open_cpu(ApnnDriver *driver, ErrorText *error);

void apnn_driver_close(ApnnDriver *driver);

/* APNN_OK for CU_SUCCESS; otherwise writes "what: CUDA_ERROR_NAME: text" (on the CPU device its own explanation) and
 * returns APNN_ERROR_MEMORY for an allocation that failed, APNN_ERROR_DEVICE for all else. */
ApnnStatus apnn_driver_check(const ApnnDriver *driver, CuResult result, ErrorText *error, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether graphs can be captured and replayed on this device. */
bool apnn_driver_has_graphs(const ApnnDriver *driver);

#endif
