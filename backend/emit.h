/* Generating a layer's kernel: what emit.c, the kernels and the epilogue share. Private to this folder. */
#ifndef BACKEND_EMIT_H
#define BACKEND_EMIT_H

#include "../ir/requantize.h"
#include "backend.h"
#include "ptx.h"

/* A kernel's parameters have 4096 bytes; the batch takes the first 8. */
enum { MAX_KERNEL_PARAMS = 512 };

typedef struct Emitter {
  Graph *graph;
  const Target *target;
  Module *module;
  const char *ptx_version;  /* lowest that serves the target and the kernels so far */
  Text *kernel_texts;       /* the body of every kernel, to share equal ones */
  uint32_t params_capacity; /* of module->params */
} Emitter;

typedef struct KernelParam {
  ApnnFileParam param;
  PtxValue value;
} KernelParam;

/* requantization.c: a thresholds step as a product (../ir/requantize.h). */
typedef struct Requantization {
  int levels, numbers;       /* of the result but one; of the second activation, 1 without */
  int32_t rows;              /* of thresholds: channels, or 1 for all */
  bool has_gain;             /* not all are plain */
  const Requantizer *of_row; /* [rows] */
} Requantization;

/* The kernel of one node under construction. */
typedef struct Kernel {
  Emitter *emitter;
  Graph *graph;
  const Node *node;
  Ptx ptx;
  PtxValue batch; /* images in this run */
  KernelParam *params;
  uint32_t param_count, param_capacity;
  struct SearchedStep *searched; /* requantization.c: of each step; NULL before the first was looked at */
} Kernel;

/* Of a step of the kernel's node: NULL where it is no thresholds, or no requantizer of some channel is exact, or one
 * comparison does. */
const Requantization *requantization_of(Kernel *k, uint32_t step);

/* check.c: what kernels take for granted of a planned graph. False after reporting, for every layer, what does not
 * hold. */
bool check_plan(const Graph *g, const Target *target);
/* Whether a result in pieces has the positions of the first operand, in pieces too; reported if not. */
bool same_positions(const Graph *g, const Node *node);
/* Reports that the plan of a layer does not serve; false. */
bool bad_plan(const Graph *g, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 32-bit words of a pixel, or bytes where its bytes do not fill words: one thread each under the DIRECT engine. */
uint32_t pixel_units(const Type *t);

/* A row of a constant [C, L], or the only one of [1, L]. */
const int32_t *constant_row(const Value *v, int32_t row);

/* Pointer parameters; must be asked for outside of control flow. Equal ones are one parameter. */
PtxValue kernel_pointer(Kernel *k, ApnnFileParam param);
PtxValue kernel_value_pointer(Kernel *k, ValueId value);             /* a value's memory */
PtxValue kernel_constant(Kernel *k, const void *data, size_t bytes); /* bytes put among the device constants */
/* The thread's number in the grid. Waits for the launch before; threads from per_image * batch on leave the kernel. */
PtxValue kernel_thread(Kernel *k, int64_t per_image);

/* A tensor in memory. Pixels are numbered over the whole batch: image * height * width + row * width + column. */
typedef struct Tensor {
  Type type;
  Image image;
  PtxValue base;
} Tensor;
Tensor tensor_of(Kernel *k, ValueId value);

/* The positions (ir/type.h) that hold the pixels of an image. */
typedef struct Grid {
  Image image;
  int32_t row_pitch, image_pitch;
} Grid;
Grid grid_of(const Type *t);
bool grid_has_gaps(const Grid *g); /* positions that are no pixel */

/* A position taken apart. `pixel` is its number over the batch, unsaid where is_pixel (a predicate, or the immediate 1)
 * is false. */
typedef struct Place {
  PtxValue image, y, x, pixel, is_pixel;
} Place;
Place place_of_position(Ptx *p, const Grid *g, PtxValue position);
PtxValue position_of(Ptx *p, const Grid *g, PtxValue image, PtxValue y, PtxValue x);
PtxValue position_of_pixel(Ptx *p, const Grid *g, PtxValue pixel);
/* Address of plane 0 of a block of channels: of `block` (a number) at a position. */
PtxValue block_address(Ptx *p, const Tensor *t, PtxValue position, PtxValue block);
/* Address of the unit of `bytes` bytes, counted within the position over its blocks. */
PtxValue unit_address(Ptx *p, const Tensor *t, PtxValue position, PtxValue unit, int bytes);

/* A number on its way through a kernel. Quantized types: q = (reg >> low) + bias; I32 and F32: reg. */
typedef struct Flow {
  Type type;
  PtxValue reg;
  int32_t bias;
  int low; /* zeros below the number in `reg`, which is then unsigned */
} Flow;

/* access.c: any element of any layout. */
Flow load_element(Ptx *p, const Tensor *t, PtxValue pixel, PtxValue channel);
PtxValue flow_q(Ptx *p, Flow f);                      /* of a quantized type */
PtxValue flow_level(Ptx *p, Flow f);                  /* the level (quantized) or the integer (I32) */
PtxValue flow_stored(Ptx *p, Flow f, const Type *as); /* bits to be stored under as->layout */
/* What is added to q when a type is stored: 2^(bits-1) for signed types in planes, otherwise 0. */
int32_t stored_bias(const Type *t);
/* Bit of a plane row that holds a channel (ir/type.h), and the channel that a bit holds. */
PtxValue bit_of_channel(Ptx *p, Layout layout, PtxValue channel);
PtxValue channel_of_bit(Ptx *p, Layout layout, PtxValue bit);
PtxValue inside_image(Ptx *p, Image image, PtxValue row, PtxValue column); /* predicate; both may be negative */

/* epilogue.c: the steps of the node on one number. */
enum { MAX_STEP_CONSTANTS = 4 };
typedef struct StepConstant {
  bool is_immediate, per_channel;
  bool is_table;        /* not loaded: rows of a channel are looked up, a number at a time */
  PtxValue immediate;   /* one number for all channels */
  PtxValue pointer, at; /* array of rows [channel]; row of the channel that epilogue_at named */
  int64_t offset;       /* bytes from `at` to the row of the channel that was loaded or taken */
  int width;            /* numbers a row; 0: the step has no such constant */
  RegClass class;
  PtxValue *loaded, *row; /* the rows of one channel or two; the one in use */
} StepConstant;

typedef struct EpilogueStep {
  const Step *step;
  StepConstant constants[MAX_STEP_CONSTANTS];
  Tensor other;                         /* the activation among its operands (step_operand) */
  const Requantization *requantization; /* of thresholds: requantizers are its constants; or NULL */
} EpilogueStep;

typedef struct Epilogue {
  Kernel *kernel;
  EpilogueStep *steps; /* of kernel->node */
  int offset;          /* of the channel that was loaded */
  bool loads_in_order; /* constants stay before or behind waits and barriers as emitted (ptx_written) */
  /* How a kernel reads steps[step].other at (pixel, channel) where it knows a shorter way than load_element; NULL. */
  Flow (*read_other)(void *user, uint32_t step, PtxValue pixel, PtxValue channel);
  void *user;
} Epilogue;

/* quotient.c: a number that rounds to the same integer (to nearest, ties to even) as x / scale between low and high
 * does, without a division. False, and nothing emitted, where that is not sure. low, high: integers. */
bool quotient_by_products(Ptx *p, PtxValue x, float scale, float low, float high, PtxValue *out);

bool epilogue_has(Op op);                        /* whether an operation can be a step of a kernel */
void epilogue_begin(Epilogue *e, Kernel *k);     /* outside of control flow */
void epilogue_at(Epilogue *e, PtxValue channel); /* rows of constants from this channel on */
void epilogue_load(Epilogue *e, int offset);     /* constants of channel + offset into registers */
/* The same into the registers of the last epilogue_load, for the channel that epilogue_at has named since. */
void epilogue_load_again(Epilogue *e, int offset);
/* Where the only constants are requantizers of channels: their rows, and the bytes of one; 0 bytes otherwise. They may
 * be read from a copy in shared memory instead: `pair` is the number of pairs from its first channel to that of
 * epilogue_at. */
PtxValue epilogue_rows(const Epilogue *e, uint32_t *row_bytes);
void epilogue_set_rows(Epilogue *e, PtxValue shared, PtxValue pair);
/* The same of this channel and the next, where channel + offset is even; then those of one of the two. */
void epilogue_load_pair(Epilogue *e, int offset);
void epilogue_take(Epilogue *e, int which);
Flow epilogue_apply(Epilogue *e, Flow f, PtxValue pixel, PtxValue channel);

/* The kernels, one an engine. False after reporting a plan that the kernel cannot carry out. */
bool kernel_mma(Kernel *k);    /* kernel_mma.c: MMA_B1, MMA_S8 */
bool kernel_patch(Kernel *k);  /* kernel_patch.c: PATCH_S8 */
bool kernel_strip(Kernel *k);  /* kernel_strip.c: STRIP_S8 */
bool kernel_wgmma(Kernel *k);  /* kernel_wgmma.c: WGMMA_B1, WGMMA_S8 */
bool kernel_skinny(Kernel *k); /* kernel_skinny.c: SKINNY_B1 */
bool kernel_gemv(Kernel *k);   /* kernel_gemv.c: GEMV_B1, GEMV_S8 */
bool kernel_direct(Kernel *k); /* kernel_direct.c */
bool kernel_pool(Kernel *k);   /* kernel_pool.c */
bool kernel_row(Kernel *k);    /* kernel_row.c */
bool direct_has(Op op);        /* whether kernel_direct has a main operation */

#endif
