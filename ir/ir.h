/* Everything a pass, a backend or a test needs of the IR: the map of this folder. */
#ifndef IR_IR_H
#define IR_IR_H

#include "context.h"
#include "graph.h"
#include "target.h"
#include "type.h"
#include <stdio.h>

/* type_string.c: types in the words of the language, for messages: "u2[N,8,8,16](scale=0.25, zero=1/2)",
 * "bipolar[32,3,3,1](scale=%conv1.scale)". All in the context's arena. `g` names per-channel scales and may be NULL. */
const char *type_string(Context *c, const Graph *g, const Type *t);
/* print.c: "64,8,8,4,1,2,1,0", a tile's eight numbers as the text form has them. Returns text. */
enum { TILE_TEXT = 48 };
const char *tile_text(const Tile *t, char text[TILE_TEXT]);
const char *shape_string(Context *c, const Type *t); /* "[N,8,8,16]" */
const char *elem_string(Context *c, const Type *t);  /* "u2" */

/* scales.c: the real numbers behind a type. */
const float *type_scales(const Graph *g, const Type *t); /* the per-channel scales, or NULL where it has one scale */
float type_scale(const Graph *g, const Type *t, int32_t channel); /* value = scale * (q - zero_point) */
float type_step(const Graph *g, const Type *t, int32_t channel);  /* value = step * level; scale / mult */
/* How many per-channel scales it would have: last dim of activations (batched), first dim of constants. */
int32_t type_scale_channels(const Type *t);
/* NULL, or what makes the type impossible: "has no dimension", ... Every rule of type.h. */
const char *type_problem(const Graph *g, const Type *t);

/* infer.c: types. Checks operands and attributes and computes the result type of an operation; reports what is wrong
 * (with shapes) at `loc` and returns false. `result` comes in as the wanted type for quantize and thresholds (their
 * shape is the operand's) and as the wanted shape for reshape; otherwise, where it already names the right per-channel
 * scales, these are kept and no new constant is made. `result` must not point into the graph; operands may. The result
 * has no layout. */
bool infer_op(Graph *g, Op op, const Attrs *attrs, const Type *const *operands, uint32_t operand_count, Type *result,
              SourceLoc loc);
/* Recomputes main_type, step types and the result's type of a node (layouts are kept), and checks that integer sums
 * stay within ACCUMULATOR_LIMIT. May add values and so move g->values. */
bool infer_node(Graph *g, NodeId node);

/* print.c: the text form. Constants of up to 64 elements print in full, larger ones too if `full`; otherwise as
 * @<64-bit content hash>, which graph_parse resolves in `pool`. Floats print as C hexadecimal literals. */
typedef enum PrintMode { PRINT_SHORT, PRINT_FULL } PrintMode;
void graph_print(const Graph *g, PrintMode mode, FILE *out);
char *graph_print_string(const Graph *g, PrintMode mode); /* in the context's arena */
/* parse.c: reads the text form. `pool` (may be NULL): a graph whose constants resolve hashes. NULL after errors, which
 * are reported against `file_name`. */
Graph *graph_parse(Context *c, const char *file_name, const char *text, const Graph *pool);

/* verify.c: every rule of graph.h and type.h; reports as internal errors and returns false. */
bool graph_verify(const Graph *g);

/* eval.c: what a network means. Plain loops over dense row-major arrays; at any stage of the pipeline. `inputs[i]`
 * holds batch images of graph input i, `outputs[i]` receives those of output i. False after reporting: elements outside
 * an input's range, a graph that does not verify, no memory. */
bool graph_eval(const Graph *g, uint32_t batch, const void *const *inputs, void *const *outputs);

/* One operation on dense row-major arrays. Operands whose type is batched hold `batch` images, others one; so does the
 * result. `result_type` is what infer_op gives. The types must have passed infer_op. */
typedef struct Operand {
  const Type *type;
  const void *data;
} Operand;
bool eval_op(const Graph *g, Op op, const Attrs *attrs, uint32_t batch, const Operand *operands, uint32_t operand_count,
             const Type *result_type, void *result);

/* eval_element.c: a chain of epilogue steps on one number. x is the accumulator where `source` is I32 and the *level*
 * where it is quantized; `channel` its channel. Returns q (or the integer) where the last step's type is not F32;
 * otherwise stores the real value in *real (may be NULL) and returns 0. Where a step has an activation as its second
 * operand, that is quantized or i32 and `other` is its q. With no steps it returns x. */
int32_t eval_chain(const Graph *g, const Type *source, const Step *steps, uint32_t step_count, int32_t x, int32_t other,
                   int32_t channel, float *real);

/* accumulate.c: greatest |partial sum| that a conv2d, linear or integer avgpool node can reach in any output channel,
 * over all inputs and all orders of adding; 0 for other operations. */
int64_t accumulator_bound(const Graph *g, NodeId node);
enum { ACCUMULATOR_LIMIT = INT32_MAX - 1 };
/* Greatest |level| that a quantized or i32 value can take (2^31 for an i32 network input); 0 for f32. */
int64_t value_bound(const Graph *g, ValueId value);

#endif
