/* The machine that runs decoded PTX: instructions, kernels, warps, blocks and launches.
 *
 *   ptx_ops.def   one row an instruction: pattern of its name, operands, handler
 *   decode.c      tree -> instructions;  pattern.c: names against rows;  operands.c: operands -> places of registers
 *   assignment.c  which registers are surely written before they are read; only the others are checked while running
 *   exec_*.c      the handlers, compiled twice: for any machine and, on x86-64, for AVX2
 *   warp.c        32 lanes with a program counter each
 *   block.c       warps of a block, barriers, deadlocks;  cluster.c: blocks that run side by side
 *   launch.c      a grid over the pool of threads (pool.c);  fault.c: what went wrong, in words
 *
 * A register is 32 lanes side by side in the warp's register file (uint32_t for 16 and 32 bits, uint64_t for 64), a
 * predicate one bit a lane in a uint32_t. Constants and special registers are registers too, filled when a block
 * starts: every handler is then a loop over lanes. */
#ifndef CPU_MACHINE_H
#define CPU_MACHINE_H

#include "memory.h"
#include "ptx.h"

#include <pthread.h>

enum {
  LANES = 32,
  MAX_WARPS = 32,
  MAX_SHARED_BYTES = 232448,
  BARRIER_COUNT = 16,
  CLUSTER_BARRIER = BARRIER_COUNT,
  OPERAND_SLOTS = 16
};

#define FULL_MASK 0xffffffffu
#define NO_OPERAND UINT32_MAX

typedef struct Warp Warp;
typedef struct Block Block;
typedef struct Kernel Kernel;
typedef struct Launch Launch;
typedef struct Inst Inst;
typedef struct Race Race;
typedef struct Cluster Cluster;

typedef void ExecFn(Warp *w, const Inst *in, uint32_t mask);

/* ---- instructions ---- */

typedef enum InstKind {
  INST_PLAIN,   /* runs and falls through */
  INST_TRACKED, /* plain, with registers to check (Inst.track) */
  INST_BRANCH,
  INST_EXIT,
  INST_SWITCH /* may block or yield: the warp chooses its lanes anew after it */
} InstKind;

/* Parts of an instruction's name that vary within a row. */
typedef enum Modifier {
  MOD_TYPE,
  MOD_TYPE2,
  MOD_COMPARE,
  MOD_BOOLEAN,
  MOD_ROUND,
  MOD_SPACE,
  MOD_SPACE2,
  MOD_VECTOR,
  MOD_MODE, /* shfl, vote, redux, atom, testp, prmt: which */
  MOD_FTZ,
  MOD_SAT,
  MOD_NAN,
  MOD_TRANSPOSE,
  MOD_NONCOHERENT, /* ld.global.nc */
  MOD_COUNT
} Modifier;

enum { MOD_NONE = 0xff };

typedef enum Compare {
  COMPARE_EQ,
  COMPARE_NE,
  COMPARE_LT,
  COMPARE_LE,
  COMPARE_GT,
  COMPARE_GE,
  COMPARE_LO,
  COMPARE_LS,
  COMPARE_HI,
  COMPARE_HS,
  COMPARE_EQU,
  COMPARE_NEU,
  COMPARE_LTU,
  COMPARE_LEU,
  COMPARE_GTU,
  COMPARE_GEU,
  COMPARE_NUM,
  COMPARE_NAN
} Compare;

typedef enum Boolean { BOOLEAN_AND, BOOLEAN_OR, BOOLEAN_XOR } Boolean;

typedef enum Rounding { ROUND_RN, ROUND_RZ, ROUND_RM, ROUND_RP, ROUND_RNI, ROUND_RZI, ROUND_RMI, ROUND_RPI } Rounding;

/* A register that has to be looked at when the instruction runs. */
typedef struct TrackedUse {
  uint32_t index; /* in Warp.assigned */
  const Register *reg;
} TrackedUse;

typedef struct Track {
  TrackedUse *uses, *marks;
  uint32_t use_count, mark_count;
  const TrackedUse *guard;  /* or NULL */
  TrackedUse *accumulators; /* registers that wgmma may still be writing or reading */
  uint32_t accumulator_count;
} Track;

/* A memory operand: the register of the base (or a constant's slot) and what is added to it. */
typedef struct Address {
  uint32_t base;
  bool wide; /* the base has 64 bits */
  int64_t displacement;
} Address;

/* What every step needs comes first, so that it lies in one line of the cache with the operands of short instructions.
 */
struct Inst {
  ExecFn *exec;
  const Track *track;
  uint32_t guard;      /* slot of the predicate, or NO_OPERAND */
  uint32_t guard_flip; /* 0, or FULL_MASK for @! */
  uint32_t target;     /* of a branch: index of an instruction */
  uint8_t kind;
  uint8_t data_class;        /* RegisterClass of the first operand that may have any width */
  uint8_t source_class;      /* and of the second */
  uint8_t vector;            /* how many registers an X operand holds */
  uint32_t o[OPERAND_SLOTS]; /* slots of registers in the order of the row, NO_OPERAND where left out */
  uint8_t flip;              /* bit k: predicate operand k is negated */
  uint8_t mod[MOD_COUNT];
  uint8_t address_count;
  Address address[3];
  uint32_t cache;             /* first of the places of this instruction's last regions in Block.cache */
  uint16_t defines, uses;     /* bit k: operand o[k] is written, read */
  const uint32_t *list;       /* slots of a long list (wgmma accumulators) */
  const uint32_t *list_index; /* their places in Warp.accumulating, then those of A's fragment; NO_NUMBER: constants */
  uint32_t list_count;
  uint32_t line;
  const char *layer;
};

/* Registers of A's fragment in a wgmma, its first operands: a descriptor is one operand, and no fourth follows it. */
#define NO_NUMBER UINT32_MAX
static inline uint32_t wgmma_fragment_registers(const Inst *in) {
  return in->list_count && (in->uses >> 3 & 1) ? 4 : 0;
}

/* ---- kernels ---- */

/* A constant of the code: a slot of the register file filled before the first block. The address of shared memory, in a
 * cluster, says which block of it is meant. */
typedef struct Constant {
  uint64_t value;
  uint32_t slot;
  RegisterClass class;
  bool is_shared;
} Constant;

struct Kernel {
  const char *name;
  const Function *function;
  Inst *code;
  uint32_t count;
  uint32_t cache_count;    /* places in Block.cache */
  uint32_t register_bytes; /* of a warp's register file */
  const Constant *constants;
  uint32_t constant_count;
  uint32_t special_slot[SPECIAL_COUNT]; /* or NO_OPERAND */
  uint32_t tracked_count;
  uint32_t accumulator_count; /* registers of wgmma accumulators and fragments */
  uint32_t shared_static;
  int32_t shared_dynamic_limit; /* cuFuncSetAttribute */
  const char *text;
  size_t text_length;
};

/* decode.c. NULL with a message, or with *out_of_memory set. Variables of .global and .const have their addresses. */
Kernel *decode_function(PtxModule *module, Function *function, char *message, size_t message_size, bool *out_of_memory);

/* assignment.c: fills Inst.track. */
void assignment_analyse(Arena *arena, Kernel *kernel);

/* ---- running ---- */

/* A cp.async whose bytes count as not there yet. */
typedef struct AsyncCopy {
  uint32_t mask;
  uint32_t bytes;
  uint32_t address[LANES];
  uint32_t group[LANES]; /* the number that the lane's next commit_group had */
} AsyncCopy;

/* Lanes that stand at the same instruction. */
typedef struct LaneGroup {
  uint32_t pc, mask;
} LaneGroup;

struct Warp {
  uint8_t *registers;
  Block *block;
  uint32_t index;
  uint32_t exists;         /* lanes there are */
  uint32_t live;           /* lanes that have not exited */
  uint32_t blocked;        /* lanes waiting at a barrier */
  uint32_t early;          /* of a launch that overlaps the one before: lanes that have not waited for it */
  bool stopped;            /* a fault */
  bool yielded;            /* waits for something another warp does: let others run */
  LaneGroup groups[LANES]; /* where the lanes are: disjoint, none empty */
  uint32_t group_count;
  uint32_t last_pc;        /* of the instruction that yielded */
  uint32_t resume_from;    /* the next group is the one from here on */
  uint64_t apart;          /* instructions run by parts of the warp since it was last whole */
  uint32_t carry;          /* CC.CF of add.cc and its like */
  uint32_t barrier[LANES]; /* where a blocked lane waits */
  uint32_t barrier_pc[LANES];
  uint32_t *assigned;     /* one mask for each tracked register */
  uint32_t *accumulating; /* per wgmma register: number of the group that writes or reads it, from 1; or 0 */
  AsyncCopy *copies;
  uint32_t copy_count, copy_capacity;
  uint32_t committed[LANES];     /* cp.async groups */
  uint32_t products_committed;   /* wgmma groups */
  uint32_t accumulating_count;   /* registers that wgmma may still be writing or reading */
  uint32_t cluster_phase[LANES]; /* of the cluster's barrier when the lane arrived */
  uint64_t executed;             /* instructions of this warp */
};

typedef struct Barrier {
  uint32_t arrived;   /* threads, in whole warps where a warp is only partly there */
  uint32_t expected;  /* 0: nobody has arrived */
  uint32_t line;      /* of the first arrival */
  uint32_t reduction; /* bar.red */
} Barrier;

/* Bytes that a bulk copy brought and that count as absent until somebody has waited for the barrier's phase. */
typedef struct BulkCopy {
  uint32_t barrier; /* shared address */
  uint32_t phase;
  uint32_t address, bytes;
} BulkCopy;

struct Block {
  Launch *launch;
  const Kernel *kernel;
  uint32_t index[3];
  uint32_t thread_count, warp_count;
  Warp warps[MAX_WARPS];
  Barrier barriers[BARRIER_COUNT + 1]; /* the last one is the cluster's */
  uint32_t cluster_phase;
  Region shared, params;
  BulkCopy *bulk;
  uint32_t bulk_count, bulk_capacity;
  Region **cache;
  uint32_t pending_granules; /* of shared memory, set in shared.pending */
  uint64_t progress;         /* counts what can let a yielding warp go on */
  uint8_t *storage;
  size_t storage_bytes;
  Race *race; /* state of the race check (race.h), or NULL */
  Cluster *cluster;
  uint32_t rank;       /* in it */
  uint64_t shared_tag; /* of its own shared memory; 0 in a cluster of one */
};

/* Blocks that one worker runs side by side. An address in the shared memory of a block of the cluster is that block's
 * rank plus one in the bits from CLUSTER_SHIFT on, and the offset there; also a block's own, as on a GPU, where a
 * descriptor made of it must leave those bits out. */
enum { CLUSTER_SHIFT = 24, CLUSTER_OFFSET = (1 << CLUSTER_SHIFT) - 1 };
struct Cluster {
  Block *blocks[MAX_CLUSTER];
  uint32_t size;
  Region windows[MAX_CLUSTER]; /* the shared memory of each, at the addresses that the others have for it */
};

typedef enum FaultCode {
  FAULT_NONE,
  FAULT_ADDRESS,
  FAULT_ALIGNMENT,
  FAULT_INSTRUCTION,
  FAULT_FAILED,
  FAULT_MEMORY /* the machine itself had no memory */
} FaultCode;

enum { FAULT_TEXT = 1024 };

struct Launch {
  const Kernel *kernel;
  uint32_t grid[3], block[3];
  uint32_t shared_dynamic;
  const uint8_t *params;
  bool overlaps; /* may begin before the launch before it ends: what lanes do until griddepcontrol.wait is checked */
  bool check;    /* reads of memory never written, async copies */
  bool check_race;
  uint64_t limit; /* warp instructions of a block, 0: none */
  uint64_t next_cluster, cluster_count;
  uint32_t cluster_size; /* blocks */
  bool stop;
  pthread_mutex_t lock; /* of the fault; the caller initialises it */
  FaultCode fault;
  char text[FAULT_TEXT];
};

typedef enum WarpState { WARP_READY, WARP_BLOCKED, WARP_DONE, WARP_STOPPED } WarpState;

WarpState warp_run(Warp *w, uint64_t quantum);
void warp_start(Warp *w, Block *block, uint32_t index);

/* Runs the cluster's blocks, from number * size on in the launch; their storage is kept from cluster to cluster. */
void cluster_run(Cluster *cluster, uint64_t number);
void block_start(Block *block, uint64_t number);
/* What became of a round in which every warp that could ran for a while. */
typedef struct Round {
  uint32_t done, ran, yielded;
} Round;
bool block_run_round(Block *block, uint64_t quantum, Round *round); /* adds to it; false after a fault */
void block_report_stuck(Block *block);
void block_report_spinning(Block *block);
bool block_over_limit(Block *block);
bool block_prepare(Block *block, Launch *launch); /* false without memory */
void block_release(Block *block);
void block_tag_shared(Block *block, uint64_t tag); /* prepared; its addresses of shared memory carry the tag */
/* cluster.c: its blocks are prepared for a launch. */
void cluster_prepare(Cluster *cluster);

/* Runs the grid and returns when it has ended. The caller holds the memory lock for reading. */
void launch_run(Launch *launch);

/* The first fault of a launch is kept; the warp stops. `lane` names the thread. */
void fault_raise(Warp *w, const Inst *in, uint32_t lane, FaultCode code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void fault_raise_block(Block *block, const Inst *in, FaultCode code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* pool.c: calls work(data) on the calling thread and on up to `helpers` others, and returns when all calls have. */
void pool_run(void (*work)(void *), void *data, uint32_t helpers);

/* options.c: apnn_cpu_set_option and the environment (APNN_CPU_THREADS, APNN_CPU_CHECK, APNN_CPU_LIMIT). */
typedef struct Options {
  uint32_t threads;
  bool check, check_race;
  uint64_t limit;
} Options;
Options options_now(void);
bool options_set(const char *name, const char *value);

/* ---- rows of ptx_ops.def ---- */

typedef struct OpRow {
  const char *pattern, *operands;
  uint8_t kind;
} OpRow;

extern const OpRow op_rows[];
extern const uint32_t op_row_count;
extern ExecFn *const exec_table_base[];
extern ExecFn *const exec_table_v3[];

#endif
