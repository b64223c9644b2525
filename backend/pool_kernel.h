/* Pooling kernels: what kernel_pool.c, the operand's forms and the ways to a result share. Private to this folder. */
#ifndef BACKEND_POOL_KERNEL_H
#define BACKEND_POOL_KERNEL_H

#include "../ir/pooling.h"
#include "emit.h"

enum {
  POOL_ACCUMULATORS = 64, /* most registers that hold what a thread has seen of its window */
  POOL_CHANNELS = 4       /* a group: channels that go through the steps together */
};

typedef struct Pool {
  Kernel *k;
  Pooling plan;
  Tensor in, out;
  Epilogue epilogue;
  PtxValue share, unit, position;     /* the thread's work */
  Place place;                        /* the position */
  PtxValue origin_row, origin_column; /* of the window, in the operand; may be negative */
  /* What is known of the taps so far. Registers are never written twice, so that immediates stay immediates. */
  PtxValue acc[POOL_ACCUMULATORS];
  int acc_count;
  uint64_t most; /* the greatest sum of stored numbers, sums in planes: so many planes are alive */
} Pool;

/* A pixel of the operand under the window; what is not inside counts as nothing. */
typedef struct Tap {
  PtxValue position, inside;
} Tap;

/* What an operation does with numbers of one kind of layout. */
typedef struct PoolForm {
  void (*begin)(Pool *pool);                       /* acc of no tap */
  void (*take)(Pool *pool, Tap tap);               /* one more */
  void (*join)(Pool *pool, const PtxValue *other); /* another thread's acc */
  void (*finish)(Pool *pool);                      /* acc -> result in memory */
} PoolForm;

extern const PoolForm pool_max_planes, pool_max_planes_steps, pool_sum_planes; /* pool_planes.c */
extern const PoolForm pool_max_bytes, pool_sum_bytes;                          /* pool_bytes.c */

/* kernel_pool.c */
/* Words from memory in loads of up to four, `other` where a predicate is false; and to memory. */
void pool_load(Ptx *p, PtxValue inside, PtxValue address, int64_t offset, int count, int32_t other, PtxValue *words);
void pool_store(Ptx *p, PtxValue inside, PtxValue address, int64_t offset, int count, const PtxValue *words);
int pool_vector(uint32_t words);                                     /* the longest load that divides so many words */
PtxValue pool_permute(Ptx *p, PtxValue a, PtxValue b, int selector); /* prmt */
PtxValue pool_both(Ptx *p, PtxValue a, PtxValue b);                  /* of two predicates, which may be immediates */
PtxValue pool_exchange(Ptx *p, PtxValue word, int distance);         /* the word of lane ^ distance */
PtxValue pool_level_sum(Pool *pool, PtxValue stored_sum);            /* sum of levels from that of stored numbers */
PtxValue pool_is_first(Pool *pool);                                  /* of the threads that share a unit, one stores */

/* pool_finish.c: the steps on a group of channels channel + offsets[i]; stored bits, zeros where there is no channel or
 * no pixel, each in a register of its own and as bytes of a word. */
typedef struct PoolGroup {
  PtxValue channel;
  const int *offsets;
  PtxValue stored[POOL_CHANNELS];
} PoolGroup;
void pool_group(Pool *pool, PoolGroup *group, Flow (*number)(Pool *pool, int i, void *user), void *user);
PtxValue pool_packed(Ptx *p, const PtxValue stored[POOL_CHANNELS]);
/* Bit `plane` of the four bytes of a word, next to each other in bits 0..3; and back, in bit 0 of the bytes. */
PtxValue pool_gather_bits(Ptx *p, PtxValue bytes, int plane);
PtxValue pool_scatter_bits(Ptx *p, PtxValue nibble);
/* Stores a group to a result of bytes or words. */
void pool_store_group(Pool *pool, const PoolGroup *group);

#endif
