/* A GPU architecture as the passes see it: which tensor-core instructions it has and what they cost. Filled in one
 * short file a target in backend/; passes get a pointer and know nothing else of the backend.
 */
#ifndef IR_TARGET_H
#define IR_TARGET_H

#include <stdbool.h>
#include <stdint.h>

/* One tensor-core instruction on one target. */
typedef struct MmaRate {
  const char *name; /* row of backend/mma.def */
  uint8_t engine;   /* Engine of graph.h that uses it */
  float tera_ops;   /* measured or published 10^12 multiply-adds x 2 a second, dense, whole chip */
  bool native;      /* false: emulated by the assembler; never chosen */
} MmaRate;

enum { BLOCK_SHARED_BYTES = 1024 };

typedef struct Target {
  const char *name;        /* sm_80, sm_86, sm_89, sm_90a */
  int arch;                /* 80, 86, 89, 90 */
  const char *ptx_version; /* lowest that serves, e.g. "7.0" */
  int sm_count;
  uint32_t shared_bytes;    /* a block's limit */
  uint32_t sm_shared_bytes; /* of all blocks of a multiprocessor; each takes BLOCK_SHARED_BYTES more than it asks for */
  float copy_gb_per_s;      /* device memory, bytes read plus written */
  float cuda_core_tera_ops; /* and + popc, or multiply-add on CUDA cores */
  float launch_us;          /* a dependent kernel inside a graph */
  bool overlaps_launches;   /* griddepcontrol: a kernel may begin before the one before it ends (PTX 7.8, sm_90 on) */
  const MmaRate *mma;
  uint32_t mma_count;
} Target;

/* backend/target.c */
const Target *target_find(const char *name); /* NULL if unknown */
const Target *target_at(uint32_t index);     /* NULL past the last */
extern const char target_names[];            /* of all, a blank in front of each */
/* The latest whose code runs on a GPU of compute capability `capability`, 90 for 9.0; NULL if there is none. */
const Target *target_for_capability(int capability);

#endif
