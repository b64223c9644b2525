/* Behind the driver's entry points: what its handles point to, and what the driver_*.c files share. */
#ifndef CPU_DRIVER_H
#define CPU_DRIVER_H

#include "driver_api.h"
#include "machine.h"

/* ---- handles: only pointers that this table knows are followed ---- */

typedef enum ObjectKind {
  OBJECT_CONTEXT,
  OBJECT_MODULE,
  OBJECT_FUNCTION,
  OBJECT_STREAM,
  OBJECT_EVENT,
  OBJECT_GRAPH,
  OBJECT_GRAPH_EXEC
} ObjectKind;

bool object_add(ObjectKind kind, const void *object); /* false without memory */
bool object_known(ObjectKind kind, const void *object);
bool object_remove(ObjectKind kind, const void *object); /* false where it was not known */

/* ---- errors ---- */

/* Keeps the text for apnn_cpu_last_error and gives back the code. */
CUresult driver_fail(CUresult code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* CUDA_SUCCESS where the driver was initialised and the thread has a context. */
CUresult driver_enter(void);

/* ---- modules ---- */

struct DeviceFunction {
  struct Module *module;
  Kernel *kernel;
};

struct Module {
  Arena arena;
  PtxModule ptx;
  struct DeviceFunction *functions;
  uint32_t function_count;
  uint32_t references; /* the handle, and every graph with a launch of it */
};

void module_retain(struct Module *module);
void module_drop(struct Module *module);

/* ---- work: what a stream runs at once or a graph keeps ---- */

typedef enum WorkKind { WORK_LAUNCH, WORK_COPY, WORK_SET } WorkKind;

typedef struct Work {
  WorkKind kind;
  struct DeviceFunction *function;
  uint32_t grid[3], block[3], shared_bytes;
  bool overlaps;            /* programmatic dependent launch: it may begin before the work before it ends */
  uint8_t *params;          /* owned by a graph; the caller's while run at once */
  uint64_t to, from, count; /* copies and sets; count in elements */
  uint32_t value, element_bytes;
} Work;

/* Runs it now, or appends it to the graph that the stream is capturing. */
CUresult work_submit(const Work *work, CUstream stream);
CUresult work_run(const Work *work); /* driver_work.c */
CUresult work_check_copy(uint64_t address, uint64_t bytes, bool must_be_device);

struct Graph {
  Work *works;
  size_t count, capacity;
  uint32_t references; /* of a capture under way: its streams and events */
  bool ended;          /* the capture has ended: its works went to another graph */
};

struct Graph *graph_new(void);
bool graph_append(struct Graph *graph, const Work *work);
void graph_free(struct Graph *graph);

/* ---- streams ---- */

struct Stream {
  struct Graph *capture; /* or NULL */
  bool origin;           /* the capture began here */
};

struct Event {
  bool recorded, timing;
  double seconds;
  struct Graph *capture; /* recorded inside this capture */
};

/* The stream behind a handle; NULL for the default streams, which need no state. */
CUresult stream_resolve(CUstream handle, struct Stream **stream);

#endif
