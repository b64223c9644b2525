/* The PTX builder: one kernel's body as typed registers, instructions and structured control flow.
 *
 * Operands are registers of a class or immediates. Integer arithmetic on immediates is folded while building, so a
 * kernel generator can be written for the general case and costs nothing in the special one. Every instruction checks
 * the classes of its operands; a mismatch is remembered and reported by ptx_finish as an internal error.
 * Registers are variables: ptx_assign may write one again.
 *
 * Calls emit in the order in which they run, and C leaves the order of a call's arguments open: where two arguments
 * would both emit, one of them is computed before. So the text is the same whatever compiler built the generator.
 */
#ifndef BACKEND_PTX_H
#define BACKEND_PTX_H

#include "../ir/context.h"

typedef enum RegClass { CLASS_PRED, CLASS_B32, CLASS_F32, CLASS_B64, CLASS_COUNT } RegClass;

typedef struct PtxValue {
  enum { OPERAND_REG, OPERAND_IMMEDIATE } kind;
  RegClass class;
  uint32_t id;   /* register number in its class */
  int64_t value; /* immediate; the bits of a float for CLASS_F32 */
} PtxValue;

enum { PTX_MAX_DEPTH = 32 };
typedef struct PtxBlock {
  uint32_t label;
  bool is_loop, has_else;
  PtxValue index, bound, step;
} PtxBlock;

typedef struct Ptx {
  Context *context;
  Text params; /* .param declarations */
  Text body;
  uint32_t param_count;
  uint32_t reg_count[CLASS_COUNT];
  uint32_t label_count;
  PtxBlock blocks[PTX_MAX_DEPTH];
  uint32_t depth;
  uint32_t blocks_of_sm; /* .minnctapersm, which setmaxnreg needs; 0: unsaid */
  bool overlaps;         /* the kernel may begin before the one before it ends */
  bool waited;           /* ptx_wait_for_launch has been emitted */
  uint32_t cluster;      /* blocks of a cluster, along x (.reqnctapercluster); 0: unsaid */
  const char *error;     /* first misuse, or NULL */
} Ptx;

void ptx_begin(Ptx *p, Context *c);
/* Appends ".visible .entry name(...) { ... }" to `module`. `threads`: the block size (.maxntid). False and an internal
 * error reported if the builder was misused. */
bool ptx_finish(Ptx *p, Text *module, const char *name, uint32_t threads);

/* Operands. */
PtxValue ptx_int(int64_t value); /* CLASS_B32 immediate */
PtxValue ptx_float(float value); /* CLASS_F32 immediate, written as 0f........ */
PtxValue ptx_new(Ptx *p, RegClass class);
PtxValue ptx_variable(Ptx *p, PtxValue start); /* a register of its own that begins as `start` */
bool ptx_is_int(PtxValue o, int64_t value);    /* an immediate with that value */

/* Parameters: a pointer (already converted to the global space) and the batch. */
PtxValue ptx_param_pointer(Ptx *p);
PtxValue ptx_param_u32(Ptx *p);
PtxValue ptx_special(Ptx *p, const char *name); /* %tid.x, ... */

/* A number that is the same in all lanes of a warp, taken from lane 0 so that the assembler sees it: what is derived
 * from it then takes uniform registers. All lanes run it. */
PtxValue ptx_uniform(Ptx *p, PtxValue of_warp);

/* An instruction "mnemonic d, a, b, c;" whose operands' classes follow from its last type suffix. */
PtxValue ptx_1(Ptx *p, const char *mnemonic, PtxValue a);
PtxValue ptx_2(Ptx *p, const char *mnemonic, PtxValue a, PtxValue b);
PtxValue ptx_3(Ptx *p, const char *mnemonic, PtxValue a, PtxValue b, PtxValue c);
PtxValue ptx_convert(Ptx *p, const char *mnemonic, RegClass to, PtxValue a); /* cvt.*, mov between classes */
void ptx_assign(Ptx *p, PtxValue to, PtxValue from);
void ptx_raw(Ptx *p, const char *format, ...) __attribute__((format(printf, 2, 3))); /* one line, no checks */
const char *ptx_text(Ptx *p, PtxValue o);                                            /* how an operand is written */
const char *ptx_at(Ptx *p, PtxValue address, int64_t offset);                        /* "[address+offset]" */

/* Integer arithmetic, folded (ptx_arith.c); u32 wraps. */
PtxValue ptx_add(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_sub(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_mul(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_mad(Ptx *p, PtxValue a, PtxValue b, PtxValue c);
PtxValue ptx_div(Ptx *p, PtxValue a, PtxValue b); /* unsigned */
PtxValue ptx_rem(Ptx *p, PtxValue a, PtxValue b); /* unsigned */
PtxValue ptx_and(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_or(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_shl(Ptx *p, PtxValue a, int amount);
PtxValue ptx_shr(Ptx *p, PtxValue a, int amount); /* unsigned */
/* Address base + index * bytes, of 64 bits in global memory, of 32 in shared memory, as the base is; the index is
 * unsigned, bytes fit 32 bits. */
PtxValue ptx_address(Ptx *p, PtxValue base, PtxValue index, int64_t bytes);

/* The same of an index that is signed and in a register, in global memory. */
PtxValue ptx_signed_address(Ptx *p, PtxValue base, PtxValue index, int64_t bytes);

/* Predicates: compare is "lt.s32", "ge.u32", ... */
PtxValue ptx_setp(Ptx *p, const char *compare, PtxValue a, PtxValue b);
PtxValue ptx_pred_and(Ptx *p, PtxValue a, PtxValue b);
PtxValue ptx_select(Ptx *p, PtxValue pred, PtxValue yes, PtxValue no);

/* Memory: `space_type` as in "global.nc.b32", "shared.b32". offset in bytes. */
PtxValue ptx_load(Ptx *p, const char *space_type, RegClass class, PtxValue address, int64_t offset);
void ptx_load_pair(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue out[2]);
void ptx_load_four(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue out[4]);
void ptx_store(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue value);
/* The same under a predicate that may be an immediate (1: always). */
void ptx_store_if(Ptx *p, PtxValue pred, const char *space_type, PtxValue address, int64_t offset, PtxValue value);

/* Programmatic dependent launch (PTX ISA, "griddepcontrol"), where p->overlaps; nothing is emitted otherwise. First of
 * all a kernel lets the one behind it begin. Behind the wait, which the first call emits for all threads and outside of
 * control flow, the kernel before it has ended and what it wrote is there: until then nothing is touched that kernels
 * write. ptx_finish reports a kernel without it. */
void ptx_allow_next_launch(Ptx *p);
void ptx_wait_for_launch(Ptx *p);
/* How what kernels write is loaded: "global." and the type. Memory that nobody writes while the kernel runs is loaded
 * as "global.nc.", which ptxas moves over barriers and over the wait. */
const char *ptx_written(Ptx *p, const char *type);

/* Structured control flow. for: index = start; while index < bound (signed); index += step. */
PtxValue ptx_for(Ptx *p, PtxValue start, PtxValue bound, PtxValue step);
void ptx_end_for(Ptx *p);
void ptx_if(Ptx *p, PtxValue pred);
void ptx_else(Ptx *p);
void ptx_end_if(Ptx *p);
void ptx_return_unless(Ptx *p, PtxValue pred); /* leaves the kernel */

#endif
