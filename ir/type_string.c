/* Types in the words of the language, for messages. */
#include "print.h"

static bool is_bipolar(const Type *t) {
  return t->kind == ELEM_UINT && t->bits == 1 && t->zero2 == 1;
}

void text_add_elem(Text *out, const Type *t) {
  switch (t->kind) {
  case ELEM_UINT:
    text_add(out, "u%d", t->bits);
    break;
  case ELEM_INT:
    text_add(out, "i%d", t->bits);
    break;
  case ELEM_TERNARY:
    text_add(out, "ternary");
    break;
  case ELEM_I32:
    text_add(out, "i32");
    break;
  case ELEM_F32:
    text_add(out, "f32");
    break;
  default:
    text_add(out, "none");
  }
}

static void add_elem(Text *out, const Type *t) {
  if (is_bipolar(t))
    text_add(out, "bipolar");
  else
    text_add_elem(out, t);
}

static void add_shape(Text *out, const Type *t) {
  text_add(out, "[%s", t->batched ? "N" : "");
  for (int i = 0; i < t->rank && i < MAX_RANK; i++) text_add(out, i || t->batched ? ",%d" : "%d", t->dim[i]);
  text_add(out, "]");
}

/* "(scale=0.25, zero=1/2)"; what has its usual value is left out. */
static void add_quantization(Text *out, const Graph *g, const Type *t) {
  if (!type_is_integer(t)) return;
  const char *separator = "(";
  if (t->scales != NO_VALUE) {
    bool named = g && t->scales < g->value_count;
    text_add(out, "(scale=%%%s", named ? g->values[t->scales].name : "?");
    separator = ", ";
  } else if (t->scale != (is_bipolar(t) ? 2.0f : 1.0f)) {
    text_add(out, "(scale=%.9g", (double)t->scale);
    separator = ", ";
  }
  if (t->zero2 && !is_bipolar(t)) {
    text_add(out, t->zero2 & 1 ? "%szero=%d/2" : "%szero=%d", separator, t->zero2 & 1 ? t->zero2 : t->zero2 / 2);
    separator = ", ";
  }
  if (*separator == ',') text_add(out, ")");
}

const char *type_string(Context *c, const Graph *g, const Type *t) {
  Text out = {.context = c};
  add_elem(&out, t);
  add_shape(&out, t);
  add_quantization(&out, g, t);
  return out.data;
}

const char *shape_string(Context *c, const Type *t) {
  Text out = {.context = c};
  add_shape(&out, t);
  return out.data;
}

const char *elem_string(Context *c, const Type *t) {
  Text out = {.context = c};
  add_elem(&out, t);
  return out.data;
}
