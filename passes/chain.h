/* Chains of elementwise operations: how each step rises or falls on a channel. */
#ifndef PASSES_CHAIN_H
#define PASSES_CHAIN_H

#include "rewrite.h"

typedef enum Slope {
  SLOPE_UNKNOWN,
  SLOPE_FALLING,       /* never rises, for finite operands */
  SLOPE_RISING_FINITE, /* never falls, for finite operands */
  SLOPE_RISING         /* never falls, and takes NaN and -infinity to the same number or again to one of these two */
} Slope;

/* How the plain node's operation moves with its first operand on a channel (an addition: with either one), its
 * constants being what they are and another activation fixed and finite. */
Slope step_slope(const Graph *g, const Node *node, uint32_t channel);
/* Every channel rises in the sense of SLOPE_RISING. */
bool step_rises(const Graph *g, const Node *node);
/* The node is an elementwise operation without steps whose only operand that is no constant is the first. */
bool is_chain_link(const Graph *g, const Node *node);

#endif
