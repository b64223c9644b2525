/* Element types by their names, and what may stand in parentheses behind one: u2(scale=0.5, zero=3/2). */
#include "lower.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct TypeName {
  const char *name;
  ElemKind kind;
  uint8_t bits;
  int16_t zero2;
  float scale;
  bool takes_scale, takes_zero;
} TypeName;

static const TypeName type_names[] = {
    {"u1", ELEM_UINT, 1, 0, 1, true, true},          {"u2", ELEM_UINT, 2, 0, 1, true, true},
    {"u3", ELEM_UINT, 3, 0, 1, true, true},          {"u4", ELEM_UINT, 4, 0, 1, true, true},
    {"u5", ELEM_UINT, 5, 0, 1, true, true},          {"u6", ELEM_UINT, 6, 0, 1, true, true},
    {"u7", ELEM_UINT, 7, 0, 1, true, true},          {"u8", ELEM_UINT, 8, 0, 1, true, true},
    {"i2", ELEM_INT, 2, 0, 1, true, true},           {"i3", ELEM_INT, 3, 0, 1, true, true},
    {"i4", ELEM_INT, 4, 0, 1, true, true},           {"i5", ELEM_INT, 5, 0, 1, true, true},
    {"i6", ELEM_INT, 6, 0, 1, true, true},           {"i7", ELEM_INT, 7, 0, 1, true, true},
    {"i8", ELEM_INT, 8, 0, 1, true, true},           {"bipolar", ELEM_UINT, 1, 1, 2, true, false},
    {"ternary", ELEM_TERNARY, 2, 0, 1, true, false}, {"i32", ELEM_I32, 32, 0, 1, true, false},
    {"f32", ELEM_F32, 32, 0, 1, false, false}};
enum { TYPE_NAME_COUNT = sizeof type_names / sizeof *type_names };

static const TypeName *find(const char *name) {
  for (int i = 0; i < TYPE_NAME_COUNT; i++)
    if (!strcmp(type_names[i].name, name)) return &type_names[i];
  return NULL;
}

bool type_by_name(const char *name, Item *out) {
  const TypeName *t = find(name);
  if (!t) return false;
  *out = (Item){.kind = ITEM_TYPE, .text = t->name, .type = type_make(t->kind, t->bits, false, 0, NULL)};
  out->type.zero2 = t->zero2;
  out->type.scale = t->scale;
  return true;
}

void suggest_types(Suggestion *s) {
  for (int i = 0; i < TYPE_NAME_COUNT; i++) suggestion_offer(s, type_names[i].name);
}

bool number_to_scale(double number, float *scale) {
  *scale = (float)number;
  return *scale >= 2 * FLT_MIN && *scale <= FLT_MAX;
}

static bool set_scale(Lower *l, Item *type, const Item *value) {
  if (value->kind == ITEM_NONE) return false;
  if (!item_is_number(value) || !number_to_scale(item_number(value), &type->type.scale)) {
    diag(l->context, DIAG_BAD_SCALE, value->loc);
    diag_seen(l->context, "%s", item_words(l, value));
    return false;
  }
  type->scale_given = true;
  return true;
}

static bool set_zero(Lower *l, Item *type, const Item *value) {
  if (value->kind == ITEM_NONE) return false;
  double twice = item_is_number(value) ? 2 * item_number(value) : (double)NAN;
  if (!(twice >= -512 && twice <= 512) || twice != floor(twice)) {
    diag(l->context, DIAG_BAD_ZERO_POINT, value->loc);
    diag_seen(l->context, "%s", item_words(l, value));
    return false;
  }
  type->type.zero2 = (int16_t)twice;
  return true;
}

static bool refine(Lower *l, const Place *place, Item *type, const Argument *a) {
  const TypeName *known = find(type->text);
  const char *name = a->name.text ? a->name.text : "argument without a name";
  bool scale = !strcmp(name, "scale") && known->takes_scale, zero = !strcmp(name, "zero") && known->takes_zero;
  if (!scale && !zero) {
    diag(l->context, DIAG_TYPE_ARGUMENT, a->name.text ? a->name.loc : expression_span(a->value), type->text, name);
    diag_expected(l->context, known->takes_zero    ? "scale=... and zero=..."
                              : known->takes_scale ? "scale=... alone"
                                                   : "nothing in parentheses");
    return false;
  }
  Item value = evaluate(l, place, a->value, false);
  value.loc = expression_span(a->value);
  return scale ? set_scale(l, type, &value) : set_zero(l, type, &value);
}

Item type_refine(Lower *l, const Place *place, Item base, const Expression *call) {
  bool good = true;
  for (uint32_t i = 0; i < call->list.count; i++) {
    const Argument *a = &call->list.items[i];
    for (uint32_t k = 0; k < i; k++) {
      const char *other = call->list.items[k].name.text;
      if (!a->name.text || !other || strcmp(other, a->name.text)) continue;
      diag(l->context, DIAG_ARGUMENT_TWICE, a->name.loc, a->name.text, base.text);
      good = false;
    }
    if (!refine(l, place, &base, a)) good = false;
  }
  base.loc = call->loc;
  return good ? base : item_none();
}
