/* What printer and parser agree on. */
#ifndef IR_PRINT_H
#define IR_PRINT_H

#include "ir.h"

bool is_name_character(char ch);                           /* of names that need no quotes */
uint64_t content_hash(const void *data, size_t bytes);     /* after XXH64 */
void text_add_elem(Text *out, const Type *t);              /* "u4", "ternary", "f32", ...; bipolar is u1 */
void text_add_attrs(Text *out, Op op, const Attrs *attrs); /* " stride=2,2", what has its usual value left out */
void text_add_type(Text *out, const Graph *g, const Type *t);

#endif
