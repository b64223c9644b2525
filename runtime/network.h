/* A loaded network: the file's tables, a device and what stands on it. Internal to libapnn and its tools. */
#ifndef RUNTIME_NETWORK_H
#define RUNTIME_NETWORK_H

#include "driver.h"
#include "file.h"

#include <stdatomic.h>

/* A device of an open driver. */
typedef struct ApnnDevice {
  ApnnDriver driver;
  CuDevice ordinal;
  CuContext context;
  bool owns_primary; /* the context is the primary one and retained */
  int capability;    /* compute capability, 90 for 9.0; of the CPU device 0 */
  int shared_bytes;  /* a block's limit */
  char name[32];     /* "cuda:0", "cpu" */
  char model[96];    /* what the driver calls it */
} ApnnDevice;

struct ApnnNetwork {
  atomic_int references; /* the loader's and each session's */
  ApnnDevice device;
  ApnnFile file; /* tables only: constants and PTX are on the device */
  CuModule module;
  CuFunction *functions; /* one a kernel */
  CuPointer constants;
  uint32_t *tensor_order; /* numbers of the inputs, then of the outputs, each in file order */
  uint32_t input_count, output_count;
};

/* device.c: choose and open the device that `spec` (apnn.h) names. No context is made or retained yet; for "current"
 * it is the current one. On errors nothing stays open. */
ApnnStatus apnn_device_open(ApnnDevice *device, const char *spec, ErrorText *error);

/* Retain the primary context where the device has no context. */
ApnnStatus apnn_device_retain(ApnnDevice *device, ErrorText *error);
void apnn_device_close(ApnnDevice *device);

/* Make the device's context current, and what was current before current again. */
ApnnStatus apnn_device_enter(const ApnnDevice *device, ErrorText *error);
void apnn_device_leave(const ApnnDevice *device);

/* target.c: which of a file's images the device can run. */
typedef enum ImageChoice { IMAGE_CUBIN, IMAGE_PTX_FILE, IMAGE_PTX_BESIDE } ImageChoice;
ApnnStatus apnn_choose_image(const ApnnFile *file, const ApnnDevice *device, ImageChoice *choice, ErrorText *error);

void apnn_network_release(ApnnNetwork *network); /* drops one reference */

#endif
