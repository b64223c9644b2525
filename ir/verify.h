/* The verifier with the message's code as a parameter: broken passes are internal errors, broken texts are not. */
#ifndef IR_VERIFY_H
#define IR_VERIFY_H

#include "ir.h"

bool verify_graph(const Graph *g, DiagCode code); /* the code's message takes one string */

#endif
