/* The table of attributes. */
#include "attrs.h"

const AttrInfo attr_info[ATTR_COUNT] = {
#define ATTR(BIT, field, form) {#field, offsetof(Attrs, field), sizeof(((Attrs *)0)->field), ATTR_##form},
#include "attrs.def"
#undef ATTR
};

int attr_int_count(AttrForm form) {
  static const int count[] = {[ATTR_INT] = 1, [ATTR_INT2] = 2, [ATTR_INT4] = 4, [ATTR_F32] = 0, [ATTR_BOOL] = 0};
  return count[form];
}
