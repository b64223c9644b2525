/* The moves that passes make on a graph: questions about definitions and uses, and replacements that keep the names of
 * network outputs. */
#ifndef PASSES_REWRITE_H
#define PASSES_REWRITE_H

#include "passes.h"

/* The node that defines a value; NULL for graph inputs and constants. Valid until a node is inserted. */
Node *defining_node(const Graph *g, ValueId v);
/* The node that defines v if it is `op` without epilogue steps, else NULL. */
Node *defined_by(const Graph *g, ValueId v, Op op);
/* v is a result, read once and not a network output: its definition may change together with its reader. */
bool is_private(const Graph *g, ValueId v);
bool node_is_plain(const Node *node); /* alive and without steps */

/* Makes every reader of the node's result read v instead, which holds the same elements, and deletes the node. A
 * network output keeps its name; where that is impossible (v is a graph input, a constant or an output) nothing changes
 * and the result is false. */
bool replace_by_operand(Graph *g, NodeId node, ValueId v);
/* Turns the node into another operation that gives the same result value. */
void become(Graph *g, NodeId node, Op op, const Attrs *attrs, const ValueId *inputs, uint32_t input_count);

/* `t` with the dimensions of `shape`. */
Type type_reshaped(const Type *t, const Type *shape);
/* Element of an f32 or i32 constant [C] or [1] that channel c meets. */
float const_f32_at(const Graph *g, ValueId v, uint32_t channel);
/* The operation has one constant for all channels, as have its operand and result. */
bool acts_on_all_channels_alike(const Graph *g, const Node *node);

#endif
