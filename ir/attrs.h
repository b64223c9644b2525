/* The table of attributes (attrs.def) as the printer and the parser walk it. */
#ifndef IR_ATTRS_H
#define IR_ATTRS_H

#include "graph.h"

typedef enum AttrForm { ATTR_INT, ATTR_INT2, ATTR_INT4, ATTR_F32, ATTR_BOOL } AttrForm;

typedef struct AttrInfo {
  const char *name;
  size_t offset, size; /* of the field in Attrs */
  AttrForm form;
} AttrInfo;
extern const AttrInfo attr_info[ATTR_COUNT];

int attr_int_count(AttrForm form); /* 1, 2 or 4; 0 for floats and booleans */

#endif
