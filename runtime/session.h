/* A session: one thread's stream, arena, staging arrays and CUDA graphs over a shared network. Internal to libapnn and
 * its tools. */
#ifndef RUNTIME_SESSION_H
#define RUNTIME_SESSION_H

#include "network.h"

enum { GRAPH_SLOTS = 8 };

/* A combination of batch and pointers that was run. `exec` is NULL until its second run. */
typedef struct GraphSlot {
  int batch;           /* 0: the slot is free */
  CuPointer *pointers; /* one a tensor, in the session's block of keys */
  CuGraphExec exec;
  uint64_t used_at; /* the session's run counter; the least is replaced */
} GraphSlot;

struct ApnnSession {
  ApnnNetwork *network;
  CuStream stream;
  bool owns_stream;
  CuStream capture_stream; /* made when the first graph is */
  CuPointer arena;
  CuPointer *staging;  /* one a tensor: device array for host pointers; 0 until one is used */
  CuPointer *pointers; /* one a tensor: the device arrays of the present run */
  uint64_t *values;    /* of a launch's parameters */
  void **parameters;   /* addresses of `values` */
  CuPointer *graph_keys;
  GraphSlot graphs[GRAPH_SLOTS];
  uint64_t runs;
  bool no_overlap; /* every launch begins when the one before it has ended */
  char error_buffer[1024];
  ErrorText error;
};

/* launch.c: put launch number `index`, or all, on a stream, on session->pointers. LAUNCH_BEHIND_LAUNCH: what stands
 * before it on the stream is a launch of this session, and it may begin while that one still runs. */
typedef enum LaunchPlace { LAUNCH_FIRST, LAUNCH_BEHIND_LAUNCH } LaunchPlace;
ApnnStatus apnn_launch_one(ApnnSession *session, uint32_t index, int batch, LaunchPlace place, CuStream stream);
ApnnStatus apnn_launch_all(ApnnSession *session, int batch, CuStream stream);

/* graphs.c: the slot of this batch and these session->pointers, made if there is none; *known says whether it was
 * there. No driver call fails in it. */
GraphSlot *apnn_graph_slot(ApnnSession *session, int batch, bool *known);

/* Capture the launches `first` to `last` (not included), `repeats` times over, as a graph. */
ApnnStatus apnn_graph_capture(ApnnSession *session, int batch, uint32_t first, uint32_t last, int repeats,
                              CuGraphExec *exec);

/* Capture what `work` puts on session->capture_stream. */
typedef ApnnStatus (*GraphWork)(ApnnSession *session, const void *user);
ApnnStatus apnn_graph_capture_work(ApnnSession *session, GraphWork work, const void *user, CuGraphExec *exec);
void apnn_graphs_free(ApnnSession *session);

#endif
