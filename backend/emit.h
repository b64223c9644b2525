/* Generating a layer's kernel: what emit.c, the kernels and the epilogue share. Private to this folder. */
#ifndef BACKEND_EMIT_H
#define BACKEND_EMIT_H

#include "backend.h"
#include "ptx.h"

enum { MAX_KERNEL_PARAMS = 40 };

typedef struct Emitter {
  Graph *graph;
  const Target *target;
  Module *module;
  Text *kernel_texts; /* the body of every kernel, to share equal ones */
} Emitter;

/* The kernel of one node under construction. */
typedef struct Kernel {
  Emitter *emitter;
  Graph *graph;
  const Node *node;
  Ptx ptx;
  PtxValue batch; /* images in this run */
  ApnnFileParam params[MAX_KERNEL_PARAMS];
  PtxValue pointers[MAX_KERNEL_PARAMS];
  uint32_t param_count;
} Kernel;

/* Pointer parameters; must be asked for outside of control flow. Equal ones are one parameter. */
PtxValue kernel_pointer(Kernel *k, ApnnFileParam param);
PtxValue kernel_value_pointer(Kernel *k, ValueId value);                  /* a value's memory */
PtxValue kernel_constant(Kernel *k, const void *data, size_t bytes);      /* bytes put among the device constants */

/* A tensor in memory. Pixels are numbered over the whole batch: image * height * width + row * width + column. */
typedef struct Tensor {
  Type type;
  Image image;
  PtxValue base;
} Tensor;
Tensor tensor_of(Kernel *k, ValueId value);

/* A number on its way through a kernel. Quantized types: q = reg + bias; I32 and F32: reg. */
typedef struct Flow {
  Type type;
  PtxValue reg;
  int32_t bias;
} Flow;
PtxValue flow_level(Ptx *p, Flow f);  /* the level (quantized) or the integer (I32) */
PtxValue flow_stored(Ptx *p, Flow f, const Type *as); /* bits to be stored under as->layout */

/* access.c: any element of any layout. */
Flow load_element(Ptx *p, const Tensor *t, PtxValue pixel, PtxValue channel);
/* What is added to q when a type is stored: 2^(bits-1) for signed types in planes, otherwise 0. */
int32_t stored_bias(const Type *t);
/* Channel of bit `bit` (a register) of a plane row; the inverse of the layout's order. */
PtxValue channel_of_bit(Ptx *p, Layout layout, PtxValue bit);

/* epilogue.c: the steps of the node on one number. */
enum { MAX_STEPS = 16, MAX_STEP_CONSTANTS = 4, MAX_CONSTANT_WIDTH = 16 };
typedef struct StepConstant {
  bool is_immediate, per_channel;
  PtxValue immediate;   /* one number for all channels */
  PtxValue pointer, at; /* array of rows [channel]; row of the channel that epilogue_at named */
  int width;           /* numbers a row */
  RegClass class;
  PtxValue loaded[MAX_CONSTANT_WIDTH];
} StepConstant;
typedef struct Epilogue {
  Kernel *kernel;
  StepConstant constants[MAX_STEPS][MAX_STEP_CONSTANTS];
  Tensor others[MAX_STEPS]; /* second operands of add */
  /* How a kernel reads element (pixel, channel) of others[step] where it knows a shorter way than load_element; NULL. */
  Flow (*read_other)(void *user, uint32_t step, PtxValue pixel, PtxValue channel);
  void *user;
} Epilogue;
void epilogue_begin(Epilogue *e, Kernel *k);                  /* outside of control flow */
void epilogue_at(Epilogue *e, PtxValue channel);               /* rows of constants from this channel on */
void epilogue_load(Epilogue *e, int offset);                  /* constants of channel + offset into registers */
Flow epilogue_apply(Epilogue *e, Flow f, PtxValue pixel, PtxValue channel);

/* Constant arrays indexed by channel are padded to a multiple of this, so that whole tiles can read them. */
enum { CHANNEL_PADDING = 128 };

/* The kernels, one an engine; each has the builder's body emitted when it returns. */
bool kernel_mma(Kernel *k);    /* kernel_mma.c: MMA_B1, MMA_S8 */
bool kernel_direct(Kernel *k); /* kernel_direct.c */
bool kernel_row(Kernel *k);    /* kernel_row.c */

#endif
