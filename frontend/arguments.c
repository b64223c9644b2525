/* The arguments of an operation, against its row in the table of operations: by position or by name, each of the kind
 * that the row says. All faults of a call are reported.
 */
#include "lower.h"
#include <math.h>
#include <string.h>

/* --- kinds --- */

static bool is_integer(const Item *item, int64_t least) {
  return item->kind == ITEM_INTEGER && item->integer >= least && item->integer <= MAX_DIMENSION;
}

static bool is_integers(const Item *item, uint32_t count, int64_t least) {
  if (item->kind != ITEM_LIST || item->count != count) return false;
  for (uint32_t i = 0; i < count; i++)
    if (!is_integer(&item->items[i], least)) return false;
  return true;
}

static bool fits_tensor(const Item *item) {
  return item->kind == ITEM_TENSOR;
}
static bool fits_count(const Item *item) {
  return is_integer(item, 1);
}
static bool fits_integer(const Item *item) {
  return is_integer(item, -MAX_DIMENSION);
}
static bool fits_real(const Item *item) {
  return item_is_number(item) && isfinite((float)item_number(item));
}
static bool fits_truth(const Item *item) {
  return item->kind == ITEM_TRUTH;
}
static bool fits_type(const Item *item) {
  return item->kind == ITEM_TYPE && type_is_quantized(&item->type);
}
static bool fits_pair(const Item *item) {
  return is_integer(item, 1) || is_integers(item, 2, 1);
}

static bool fits_scale(const Item *item) {
  float scale;
  return item_is_number(item) && number_to_scale(item_number(item), &scale);
}

static bool fits_pad(const Item *item) {
  if (item->kind == ITEM_STRING) return !strcmp(item->text, "same");
  return is_integer(item, 0) || is_integers(item, 2, 0) || is_integers(item, 4, 0);
}

static bool fits_shape(const Item *item) {
  return item->kind == ITEM_LIST && item->count >= 1 && item->count <= MAX_RANK && is_integers(item, item->count, 1);
}

static bool fits_order(const Item *item) {
  return item->kind == ITEM_STRING && (!strcmp(item->text, "hwc") || !strcmp(item->text, "chw"));
}

typedef struct KindInfo {
  bool (*fits)(const Item *item);
  const char *words;
} KindInfo;

static const KindInfo kinds[] = {
    [ARG_TENSOR] = {fits_tensor, "a tensor"},
    [ARG_TENSORS] = {fits_tensor, "a tensor"},
    [ARG_COUNT] = {fits_count, "an integer from 1 to 16777216"},
    [ARG_INTEGER] = {fits_integer, "an integer from -16777216 to 16777216"},
    [ARG_REAL] = {fits_real, "a number within binary32"},
    [ARG_SCALE] = {fits_scale, "a positive, normal binary32 number"},
    [ARG_TRUTH] = {fits_truth, "true or false"},
    [ARG_TYPE] = {fits_type, "a type of 1 to 8 bits: u1..u8, i2..i8, bipolar or ternary"},
    [ARG_PAIR] = {fits_pair, "an integer from 1 to 16777216, or a list of two: [vertical, horizontal]"},
    [ARG_PAD] = {fits_pad, "an integer from 0 to 16777216, [vertical, horizontal], [top, left, bottom, right] or "
                           "\"same\""},
    [ARG_SHAPE] = {fits_shape, "a list of 1 to 4 integers from 1 to 16777216"},
    [ARG_ORDER] = {fits_order, "\"hwc\" or \"chw\""},
};

/* "a list [3, x]" is clearer with its numbers. */
static const char *seen_words(Lower *l, const Item *item) {
  if (item->kind != ITEM_LIST) return item_words(l, item);
  Text t = {.context = l->context};
  for (uint32_t i = 0; i < item->count && i < 8; i++) {
    const Item *part = &item->items[i];
    text_add(&t, i ? ", " : "the list [");
    if (part->kind == ITEM_INTEGER)
      text_add(&t, "%lld", (long long)part->integer);
    else
      text_add(&t, "%s", item_words(l, part));
  }
  text_add(&t, !item->count ? "an empty list" : item->count > 8 ? ", ...]" : "]");
  return t.data;
}

/* --- names --- */

static const char *signature(Context *c, const Operation *operation) {
  Text t = {.context = c};
  text_add(&t, "%s(", operation->name);
  for (const ArgSpec *a = operation->args; a->kind != ARG_END; a++)
    text_add(&t, "%s%s%s", a == operation->args ? "" : ", ", a->name,
             a->kind == ARG_TENSORS ? ", ..."
             : a->required          ? ""
                                    : "=");
  text_add(&t, operation->parameters ? ", name=)" : ")");
  return t.data;
}

static int spec_index(const Operation *operation, const char *name) {
  for (int i = 0; operation->args[i].kind != ARG_END; i++)
    if (!strcmp(operation->args[i].name, name)) return i;
  return -1;
}

static int unknown_argument(Lower *l, const Operation *operation, Name name) {
  diag(l->context, DIAG_UNKNOWN_ARGUMENT, name.loc, operation->name, name.text);
  diag_expected(l->context, "%s", signature(l->context, operation));
  Suggestion s = suggestion_for(name.text);
  for (const ArgSpec *a = operation->args; a->kind != ARG_END; a++) suggestion_offer(&s, a->name);
  suggestion_hint(l->context, &s);
  return -1;
}

/* Which row an argument belongs to; -1 after reporting. */
static int place_argument(Lower *l, const Operation *operation, const Argument *a, int *position) {
  if (a->name.text) {
    int index = spec_index(operation, a->name.text);
    return index >= 0 ? index : unknown_argument(l, operation, a->name);
  }
  const ArgSpec *spec = &operation->args[*position];
  if (spec->kind == ARG_TENSORS) return *position;
  if (spec->kind != ARG_END) return (*position)++;
  diag(l->context, DIAG_TOO_MANY_ARGUMENTS, expression_span(a->value), operation->name);
  diag_expected(l->context, "%s", signature(l->context, operation));
  return -1;
}

bool argument_name(Lower *l, const Place *place, const Expression *call, const char **name) {
  *name = NULL;
  for (uint32_t i = 0; i < call->list.count; i++) {
    const Argument *a = &call->list.items[i];
    if (!a->name.text || strcmp(a->name.text, "name")) continue;
    Item item = evaluate(l, place, a->value, false);
    if (item.kind == ITEM_NONE) return false;
    if (*name) {
      diag(l->context, DIAG_ARGUMENT_TWICE, a->name.loc, "name", call->text);
      return false;
    }
    if (item.kind != ITEM_STRING) {
      diag(l->context, DIAG_WRONG_ARGUMENT, expression_span(a->value), "name", call->text);
      diag_expected(l->context, "a string, the part of parameters' names that stands for this call");
      diag_seen(l->context, "%s", item_words(l, &item));
      return false;
    }
    *name = item.text;
  }
  return true;
}

/* --- one argument --- */

static bool check_kind(Lower *l, const Call *call, const ArgSpec *spec, const Item *item) {
  if (item->kind == ITEM_NONE) return false;
  if (kinds[spec->kind].fits(item)) return true;
  diag(l->context, DIAG_WRONG_ARGUMENT, item->loc, spec->name, call->operation->name);
  diag_expected(l->context, "%s", kinds[spec->kind].words);
  diag_seen(l->context, "%s", seen_words(l, item));
  return false;
}

static bool take_argument(Lower *l, const Place *place, Call *call, const Argument *a, int *position, bool *given) {
  int index = place_argument(l, call->operation, a, position);
  Item item = evaluate(l, place, a->value, false);
  if (index < 0) return false;
  item.loc = expression_span(a->value);
  const ArgSpec *spec = &call->operation->args[index];
  bool several = spec->kind == ARG_TENSORS;
  if (given[index] && !several) {
    diag(l->context, DIAG_ARGUMENT_TWICE, a->name.text ? a->name.loc : item.loc, spec->name, call->operation->name);
    return false;
  }
  given[index] = true;
  if (!check_kind(l, call, spec, &item)) return false;
  if (several) call->tensors[call->tensor_count++] = item.value;
  call->args[index] = item;
  return true;
}

bool arguments_bind(Lower *l, const Place *place, const Expression *e, Call *call) {
  bool good = true, given[MAX_ARGUMENTS] = {false};
  int position = 0;
  call->tensors = ARENA_NEW(l->context, ValueId, e->list.count);
  for (uint32_t i = 0; i < e->list.count; i++) {
    const Argument *a = &e->list.items[i];
    if (call->operation->parameters && a->name.text && !strcmp(a->name.text, "name")) continue;
    if (!take_argument(l, place, call, a, &position, given)) good = false;
  }
  for (int i = 0; call->operation->args[i].kind != ARG_END; i++) {
    const ArgSpec *spec = &call->operation->args[i];
    if (!spec->required || given[i]) continue;
    diag(l->context, DIAG_MISSING_ARGUMENT, call->loc, call->operation->name, spec->name);
    diag_expected(l->context, "%s", signature(l->context, call->operation));
    good = false;
  }
  return good;
}

/* --- for builders --- */

const Item *call_argument(const Call *call, const char *name) {
  int index = spec_index(call->operation, name);
  return index >= 0 && call->args[index].kind != ITEM_NONE ? &call->args[index] : NULL;
}

ValueId call_tensor(const Call *call) {
  return call->args[0].value;
}

int32_t call_integer(const Call *call, const char *name, int32_t absent) {
  const Item *item = call_argument(call, name);
  return item ? (int32_t)item->integer : absent;
}

bool call_truth(const Call *call, const char *name) {
  const Item *item = call_argument(call, name);
  return item && item->integer;
}

float call_real(const Call *call, const char *name, float absent) {
  const Item *item = call_argument(call, name);
  return item ? (float)item_number(item) : absent;
}

void call_pair(const Call *call, const char *name, int32_t pair[2]) {
  const Item *item = call_argument(call, name);
  if (!item) return;
  for (int i = 0; i < 2; i++) pair[i] = (int32_t)(item->kind == ITEM_LIST ? item->items[i].integer : item->integer);
}

/* pad="same" for an image extent: what keeps ceil(size / stride) windows, the odd one behind. */
static void pad_same(int32_t size, int32_t kernel, int32_t stride, int32_t dilation, int32_t *before, int32_t *after) {
  int64_t windows = ((int64_t)size + stride - 1) / stride;
  int64_t needed = (windows - 1) * stride + ((int64_t)kernel - 1) * dilation + 1 - size;
  if (needed < 0) needed = 0;
  *before = (int32_t)(needed / 2);
  *after = (int32_t)(needed - needed / 2);
}

void call_pad(const Call *call, const Type *image, const Attrs *attrs, int32_t pad[4]) {
  const Item *item = call_argument(call, "pad");
  if (!item) return;
  if (item->kind == ITEM_STRING) {
    for (int i = 0; i < 2; i++)
      pad_same(image->dim[i], attrs->kernel[i], attrs->stride[i], attrs->dilation[i], &pad[i], &pad[i + 2]);
    return;
  }
  uint32_t count = item->kind == ITEM_LIST ? item->count : 1;
  for (uint32_t i = 0; i < 4; i++)
    pad[i] = (int32_t)(item->kind == ITEM_LIST ? item->items[i % count].integer : item->integer);
}
