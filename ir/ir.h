/* Everything a pass, a backend or a test needs of the IR: the map of this folder. */
#ifndef IR_IR_H
#define IR_IR_H

#include "context.h"
#include "graph.h"
#include "target.h"
#include "type.h"
#include <stdio.h>

/* infer.c: types. Checks operands and attributes and computes the result type of an operation; reports what is wrong
 * (with shapes) at `loc` and returns false. `result` comes in as the wanted type for quantize, reshape and thresholds. */
bool infer_op(Graph *g, Op op, const Attrs *attrs, const Type *const *operands, uint32_t operand_count, Type *result,
              SourceLoc loc);
/* Recomputes main_type, step types and the result's type of a node (layouts are kept). */
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

/* eval.c: what a network means. Plain loops over dense row-major arrays; at any stage of the pipeline. `inputs[i]` holds
 * batch images of graph input i, `outputs[i]` receives those of output i. */
bool graph_eval(const Graph *g, uint32_t batch, const void *const *inputs, void *const *outputs);
/* The elements of every value (for debugging and for passes that evaluate a chain): one operation on dense arrays.
 * `operands[i]` may be NULL where operand i is a constant of the graph. */
/* accumulate.c: greatest |partial sum| that conv2d / linear node's output channel can reach, over all inputs. */
int64_t accumulator_bound(const Graph *g, NodeId node);

#endif
