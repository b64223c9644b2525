/* libapnn: run networks that apnnc compiled.
 *
 *   ApnnNetwork *network;                                      a file, loaded on one device
 *   ApnnSession *session;                                      one thread's working memory and stream
 *   char error[512];
 *
 *   apnn_load_file("digits.cubin", NULL, &network, error, sizeof error);
 *   apnn_session_new(network, NULL, &session, error, sizeof error);
 *   apnn_run(session, batch, inputs, outputs);
 *   apnn_session_free(session);
 *   apnn_network_free(network);
 *
 * Every call that can fail returns an ApnnStatus; APNN_OK is 0. Nothing is printed and the program is never ended. A
 * network does not change once loaded and may be shared by threads; a session belongs to one thread at a time.
 *
 * Devices are named by a text:
 *
 *   "cuda:0", "cuda:1", ...   that GPU, in its primary context (the one that the CUDA runtime API uses); "cuda": GPU 0
 *   "current"                 the CUDA context that is current in the calling thread, which must outlive the network
 *   "cpu"                     the CPU device: executes the network's PTX without a GPU
 *   NULL                      "cuda:0" where there is a driver and a GPU, "cpu" otherwise
 *
 * No call leaves another context current than it found.
 */
#ifndef APNN_H
#define APNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define APNN_API __attribute__((visibility("default")))
#else
#define APNN_API
#endif

typedef struct ApnnNetwork ApnnNetwork;
typedef struct ApnnSession ApnnSession;

typedef enum ApnnStatus {
  APNN_OK = 0,
  APNN_ERROR_ARGUMENT = 1, /* an argument of the call is out of range */
  APNN_ERROR_FILE = 2,     /* the file cannot be opened or read */
  APNN_ERROR_FORMAT = 3,   /* not a compiled network, truncated or altered */
  APNN_ERROR_VERSION = 4,  /* written in a format version that this library does not read */
  APNN_ERROR_TARGET = 5,   /* compiled for another GPU architecture */
  APNN_ERROR_DRIVER = 6,   /* no driver, no such device, or a driver that is too old */
  APNN_ERROR_DEVICE = 7,   /* a call of the driver failed, or a kernel did */
  APNN_ERROR_MEMORY = 8    /* host or device memory ran out */
} ApnnStatus;

/* Elements of inputs and outputs as the caller's arrays hold them. */
typedef enum ApnnElem {
  APNN_UINT = 1, /* uint8_t, q of 1 to 8 bits */
  APNN_INT = 2,  /* int8_t, q of 2 to 8 bits */
  APNN_I32 = 3,  /* int32_t */
  APNN_F32 = 4   /* float */
} ApnnElem;

/* An input or output. The caller's array is dense and row-major: [batch][dims[0]]..[dims[rank - 1]]; images are
 * [height][width][channels]. The number that an element q stands for is scale * (q - zero2 / 2.0); of F32 it is the
 * element. */
typedef struct ApnnTensorInfo {
  const char *name; /* lives as long as the network */
  ApnnElem elem;
  int bits;        /* of UINT and INT: 1 to 8; otherwise 32 */
  int rank;        /* dimensions, the batch not counted: 1 to 4 */
  int32_t dims[4]; /* those past `rank` are 1 */
  float scale;
  int zero2;          /* twice the zero point */
  int q_min, q_max;   /* range of UINT and INT elements. Inputs outside it are not detected by apnn_run and give
                         outputs without meaning (no invalid memory access). */
  size_t image_bytes; /* bytes of one image; an array has batch * image_bytes */
} ApnnTensorInfo;

/* Load a compiled network (.cubin or .ptx) on a device. The whole file is checked before anything is allocated on the
 * device.
 *
 *   path          file to read
 *   device        see above
 *   network       receives the network, NULL on errors. Free it with apnn_network_free.
 *   error         receives what was wrong, cut to error_bytes and always terminated; "" on success. May be NULL.
 */
APNN_API ApnnStatus apnn_load_file(const char *path, const char *device, ApnnNetwork **network, char *error,
                                   size_t error_bytes);

/* The same from memory that holds the bytes of such a file, for example one that is linked into the program. The bytes
 * need no alignment and are not used after the call. */
APNN_API ApnnStatus apnn_load_memory(const void *data, size_t bytes, const char *device, ApnnNetwork **network,
                                     char *error, size_t error_bytes);

/* Free a network. Its sessions stay valid: the memory is released with the last of them. NULL is accepted. */
APNN_API void apnn_network_free(ApnnNetwork *network);

/* What the file says of the network. Texts live as long as the network. */
APNN_API const char *apnn_network_name(const ApnnNetwork *network);
APNN_API int apnn_max_batch(const ApnnNetwork *network);
APNN_API int apnn_input_count(const ApnnNetwork *network);
APNN_API int apnn_output_count(const ApnnNetwork *network);

/* Fill `info` with input (output) number `index`. APNN_ERROR_ARGUMENT if there is none; `info` is then zero. */
APNN_API ApnnStatus apnn_input_info(const ApnnNetwork *network, int index, ApnnTensorInfo *info);
APNN_API ApnnStatus apnn_output_info(const ApnnNetwork *network, int index, ApnnTensorInfo *info);

/* The device in use: "cuda:0" or "cpu". */
APNN_API const char *apnn_device_name(const ApnnNetwork *network);

/* Device memory in bytes: constants of the network (shared by its sessions), and what one session takes for values
 * between layers. Arrays for host pointers come on top, once such pointers are used. */
APNN_API size_t apnn_constant_bytes(const ApnnNetwork *network);
APNN_API size_t apnn_session_bytes(const ApnnNetwork *network);

/* Make a session.
 *
 *   stream        a CUstream (or cudaStream_t) of the network's context on which all work is to be put in order; the
 *                 session must be freed before it is destroyed. NULL: the session makes a stream of its own, which
 *                 waits for the legacy default stream as any blocking stream does. The legacy default stream itself is
 *                 (void *)1, CU_STREAM_LEGACY. The CPU device ignores it.
 *   session       receives the session, NULL on errors. Free it with apnn_session_free.
 *   error         as in apnn_load_file.
 */
APNN_API ApnnStatus apnn_session_new(ApnnNetwork *network, void *stream, ApnnSession **session, char *error,
                                     size_t error_bytes);

/* Run a batch.
 *
 *   batch         images, 1 to apnn_max_batch
 *   inputs        apnn_input_count pointers to arrays of batch * image_bytes
 *   outputs       apnn_output_count pointers to arrays of batch * image_bytes that overlap neither each other nor an
 *                 input
 *
 * Every pointer may be of the host or of the device; which one is found by asking the driver. Device pointers must be
 * aligned to 16 bytes, host pointers need no alignment.
 *
 * The call returns when the outputs are complete. It returns earlier, with the work in order on the stream, only where
 * the session has a caller's stream and all pointers are of the device; errors of the kernels then show at
 * apnn_session_wait, or at the caller's own synchronization. In that case a stream that is being captured is accepted
 * too.
 *
 * From the second run with the same batch and the same device pointers on, the launches are replayed as a CUDA graph.
 * Host pointers count as the same: the session has arrays of its own for them.
 *
 * On an error the outputs are undefined and apnn_session_error says what was wrong. */
APNN_API ApnnStatus apnn_run(ApnnSession *session, int batch, const void *const *inputs, void *const *outputs);

/* Wait for everything that the session put on its stream; reports errors of asynchronous runs. */
APNN_API ApnnStatus apnn_session_wait(ApnnSession *session);

/* The text of the last call's error on this session, "" where it succeeded. Valid until the next call on it. */
APNN_API const char *apnn_session_error(const ApnnSession *session);

/* Wait for the session's work and free it. NULL is accepted. */
APNN_API void apnn_session_free(ApnnSession *session);

/* A short constant text for a status, for example "out of memory". */
APNN_API const char *apnn_error_name(ApnnStatus status);

#ifdef __cplusplus
}
#endif
#endif
