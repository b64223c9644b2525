/* The CUDA driver entry points that libapnn-cpu.so offers: own declarations with the names, values and signatures of
 * the driver (CUDA 12 and 13), so that neither the device nor its users need cuda.h. The driver's documentation says
 * what they do; README.md of this folder says where this device differs. */
#ifndef CPU_DRIVER_API_H
#define CPU_DRIVER_API_H

#include <stddef.h>
#include <stdint.h>

#define APNN_CPU_API __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct Context *CUcontext;
typedef struct Module *CUmodule;
typedef struct DeviceFunction *CUfunction;
typedef struct Stream *CUstream;
typedef struct Event *CUevent;
typedef struct Graph *CUgraph;
typedef struct Graph *CUgraphExec;

typedef struct CUlaunchAttribute {
  int id;
  char pad[4];
  union {
    char bytes[64];
    unsigned int cluster[3];
    int integer;
  } value;
} CUlaunchAttribute;

typedef struct CUlaunchConfig {
  unsigned int gridDimX, gridDimY, gridDimZ;
  unsigned int blockDimX, blockDimY, blockDimZ;
  unsigned int sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute *attrs;
  unsigned int numAttrs;
} CUlaunchConfig;

#define CU_LAUNCH_PARAM_END ((void *)0)
#define CU_LAUNCH_PARAM_BUFFER_POINTER ((void *)1)
#define CU_LAUNCH_PARAM_BUFFER_SIZE ((void *)2)

enum {
#define DRIVER_ERROR(name, code, text) name = code,
#include "driver_errors.def"
  CU_RESULT_FORCE_INT = 0x7fffffff
};

#define DRIVER_CALL(plain, name, parameters) APNN_CPU_API CUresult name parameters;
#include "driver_calls.def"

/* What the last device fault or refused call of this thread was, in words; "" where there was none. The text stays
 * until the thread's next fault. */
APNN_CPU_API const char *apnn_cpu_last_error(void);

/* threads=1..256, check=all|none|race, limit=N (instructions a block may run, 0: any number). Unknown ones are ignored.
 */
APNN_CPU_API void apnn_cpu_set_option(const char *name, const char *value);

#endif
