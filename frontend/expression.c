/* Expressions: numbers, names, lists, and calls of operations, blocks and types. Integers stay integers, checked for
 * overflow; a division that leaves a rest gives a real number.
 */
#include "lower.h"
#include <math.h>
#include <string.h>

Item item_none(void) {
  return (Item){.kind = ITEM_NONE};
}

Item item_tensor(ValueId value, SourceLoc loc) {
  return (Item){.kind = ITEM_TENSOR, .loc = loc, .value = value};
}

bool item_is_number(const Item *item) {
  return item->kind == ITEM_INTEGER || item->kind == ITEM_REAL;
}

double item_number(const Item *item) {
  return item->kind == ITEM_INTEGER ? (double)item->integer : item->real;
}

const char *item_words(const Lower *l, const Item *item) {
  Context *c = l->context;
  switch (item->kind) {
  case ITEM_INTEGER:
    return arena_printf(c, "the integer %lld", (long long)item->integer);
  case ITEM_REAL:
    return arena_printf(c, "the number %.9g", item->real);
  case ITEM_TRUTH:
    return item->integer ? "true" : "false";
  case ITEM_STRING:
    return arena_printf(c, "the string \"%s\"", item->text);
  case ITEM_LIST:
    return arena_printf(c, "a list of %u", item->count);
  case ITEM_TYPE:
    return arena_printf(c, "the type %s", item->text);
  case ITEM_TENSOR:
    return arena_printf(c, "a tensor %s", type_string(c, l->graph, graph_type(l->graph, item->value)));
  case ITEM_SEVERAL:
    return arena_printf(c, "%u values", item->count);
  default:
    return "nothing";
  }
}

const char *path_join(Context *c, const char *path, const char *part) {
  if (!*path) return part;
  return *part ? arena_printf(c, "%s.%s", path, part) : path;
}

/* --- numbers --- */

static Item integer_item(int64_t n, SourceLoc loc) {
  return (Item){.kind = ITEM_INTEGER, .loc = loc, .integer = n};
}

static Item real_item(double x, SourceLoc loc) {
  return (Item){.kind = ITEM_REAL, .loc = loc, .real = x};
}

static Item out_of_range(Lower *l, const Expression *e, char operation) {
  diag(l->context, DIAG_ARITHMETIC_RANGE, e->loc, operation);
  return item_none();
}

static Item divide_by_zero(Lower *l, const Expression *e) {
  diag(l->context, DIAG_DIVISION_BY_ZERO, expression_span(e->right));
  return item_none();
}

static Item integer_arithmetic(Lower *l, const Expression *e, int64_t a, int64_t b) {
  int64_t r = 0;
  bool overflow = false;
  switch (e->operation) {
  case '+':
    overflow = __builtin_add_overflow(a, b, &r);
    break;
  case '-':
    overflow = __builtin_sub_overflow(a, b, &r);
    break;
  case '*':
    overflow = __builtin_mul_overflow(a, b, &r);
    break;
  default:
    if (!b) return divide_by_zero(l, e);
    if (b == -1 && e->operation == '/')
      overflow = __builtin_sub_overflow(0, a, &r);
    else if (b == -1)
      r = 0;
    else if (e->operation == '%')
      r = a % b;
    else if (a % b)
      return real_item((double)a / (double)b, e->loc);
    else
      r = a / b;
  }
  return overflow ? out_of_range(l, e, e->operation) : integer_item(r, e->loc);
}

static Item real_arithmetic(Lower *l, const Expression *e, double a, double b) {
  if (b == 0 && (e->operation == '/' || e->operation == '%')) return divide_by_zero(l, e);
  double r = e->operation == '+'   ? a + b
             : e->operation == '-' ? a - b
             : e->operation == '*' ? a * b
             : e->operation == '/' ? a / b
                                   : fmod(a, b);
  return isfinite(r) ? real_item(r, e->loc) : out_of_range(l, e, e->operation);
}

static bool check_number(Lower *l, const Expression *e, const Item *item, char operation) {
  if (item->kind == ITEM_NONE) return false;
  if (item_is_number(item)) return true;
  diag(l->context, DIAG_WRONG_OPERAND, e->loc, operation);
  diag_seen(l->context, "%s", item_words(l, item));
  if (item->kind == ITEM_TENSOR && operation == '+') diag_hint(l->context, "tensors are added by add(a, b)");
  if (item->kind == ITEM_TENSOR && operation == '*') diag_hint(l->context, "tensors are scaled by affine");
  return false;
}

static Item binary(Lower *l, const Place *place, const Expression *e) {
  Item a = evaluate(l, place, e->left, false), b = evaluate(l, place, e->right, false);
  if (!check_number(l, e, &a, e->operation) || !check_number(l, e, &b, e->operation)) return item_none();
  if (a.kind == ITEM_INTEGER && b.kind == ITEM_INTEGER) return integer_arithmetic(l, e, a.integer, b.integer);
  return real_arithmetic(l, e, item_number(&a), item_number(&b));
}

static Item negate(Lower *l, const Place *place, const Expression *e) {
  Item a = evaluate(l, place, e->left, false);
  if (!check_number(l, e, &a, '-')) return item_none();
  if (a.kind == ITEM_REAL) return real_item(-a.real, e->loc);
  return a.integer == INT64_MIN ? out_of_range(l, e, '-') : integer_item(-a.integer, e->loc);
}

/* --- names --- */

static void suggest_bindings(Suggestion *s, const Scope *scope) {
  for (; scope; scope = scope->outer)
    for (uint32_t i = 0; i < scope->slot_count; i++)
      if (scope->slots[i]) suggestion_offer(s, scope->slots[i]->name);
}

static void suggest_blocks(const Lower *l, Suggestion *s) {
  for (uint32_t i = 0; i < l->tree->block_count; i++) suggestion_offer(s, l->tree->blocks[i]->name.text);
}

/* The statement that defines a name, in a body where it is not known yet. */
static const Statement *find_definition(const StatementList *body, const char *name) {
  for (uint32_t i = 0; body && i < body->count; i++)
    for (uint32_t k = 0; k < body->items[i]->names.count; k++)
      if (body->items[i]->kind != STATEMENT_PARAMS && !strcmp(body->items[i]->names.items[k].text, name))
        return body->items[i];
  return NULL;
}

static const StatementList *body_of(const Lower *l) {
  return l->network ? &l->network->body : NULL;
}

static Item unknown_name(Lower *l, const Place *place, const Expression *e) {
  diag(l->context, DIAG_UNKNOWN_NAME, e->loc, e->text);
  if (!diag_is_kept(l->context)) return item_none();
  if (operation_by_name(e->text) || block_by_name(l, e->text)) {
    diag_hint(l->context, "'%s' works on something: %s(x), or x | %s", e->text, e->text, e->text);
    return item_none();
  }
  const Statement *later = find_definition(place->frame->block ? &place->frame->block->body : body_of(l), e->text);
  if (later || (later = find_definition(&l->tree->constants, e->text))) {
    diag_note(l->context, later->loc, "it is defined only here");
    return item_none();
  }
  if ((e->text[0] == 'u' || e->text[0] == 'i') && e->text[1] && !e->text[1 + strspn(e->text + 1, "0123456789")]) {
    diag_expected(l->context, "u1..u8 or i2..i8, if a type is meant");
    return item_none();
  }
  Suggestion s = suggestion_for(e->text);
  suggest_bindings(&s, place->scope);
  suggest_types(&s);
  suggestion_hint(l->context, &s);
  return item_none();
}

static Item name(Lower *l, const Place *place, const Expression *e) {
  Item item;
  Binding *b = scope_find(place->scope, e->text);
  if (b) {
    b->used = true;
    item = b->item;
  } else if (!strcmp(e->text, "true") || !strcmp(e->text, "false")) {
    item = (Item){.kind = ITEM_TRUTH, .integer = e->text[0] == 't'};
  } else if (!type_by_name(e->text, &item)) {
    return unknown_name(l, place, e);
  }
  item.loc = e->loc;
  return item;
}

/* --- lists and calls --- */

static Item list(Lower *l, const Place *place, const Expression *e) {
  Item result = {.kind = ITEM_LIST, .loc = e->loc, .count = e->list.count};
  result.items = ARENA_NEW(l->context, Item, e->list.count);
  for (uint32_t i = 0; i < e->list.count; i++) {
    result.items[i] = evaluate(l, place, e->list.items[i].value, false);
    if (result.items[i].kind == ITEM_NONE) result.kind = ITEM_NONE;
  }
  return result;
}

static void suggest_for_operation(const Lower *l, const Expression *e, const Binding *b) {
  if (b && b->item.kind != ITEM_NONE) {
    diag_seen(l->context, "'%s', %s", e->text, item_words(l, &b->item));
  } else {
    Suggestion s = suggestion_for(e->text);
    suggest_operations(&s);
    suggest_blocks(l, &s);
    suggestion_hint(l->context, &s);
  }
}

static Item unknown_operation(Lower *l, const Place *place, const Expression *e, const Binding *b) {
  diag(l->context, DIAG_UNKNOWN_OPERATION, e->loc, e->text);
  if (diag_is_kept(l->context)) suggest_for_operation(l, e, b);
  for (uint32_t i = 0; i < e->list.count; i++) evaluate(l, place, e->list.items[i].value, false);
  return item_none();
}

static Item call(Lower *l, const Place *place, const Expression *e, bool outermost) {
  const Operation *operation = operation_by_name(e->text);
  if (operation) {
    const char *result = path_join(l->context, place->frame->path, place->own);
    return operation_call(l, place, operation, e, outermost ? result : path_join(l->context, result, e->text));
  }
  const Block *block = block_by_name(l, e->text);
  if (block) return block_call(l, place, block, e);
  Item type;
  if (type_by_name(e->text, &type)) return type_refine(l, place, type, e);
  Binding *b = scope_find(place->scope, e->text);
  if (b && b->item.kind == ITEM_TYPE) {
    b->used = true;
    return type_refine(l, place, b->item, e);
  }
  return unknown_operation(l, place, e, b);
}

static Item evaluate_kind(Lower *l, const Place *place, const Expression *e, bool outermost) {
  switch (e->kind) {
  case EXPRESSION_INTEGER:
    return integer_item(e->integer, e->loc);
  case EXPRESSION_REAL:
    return real_item(e->real, e->loc);
  case EXPRESSION_STRING:
    return (Item){.kind = ITEM_STRING, .loc = e->loc, .text = e->text};
  case EXPRESSION_NAME:
    return name(l, place, e);
  case EXPRESSION_LIST:
    return list(l, place, e);
  case EXPRESSION_NEGATE:
    return negate(l, place, e);
  case EXPRESSION_BINARY:
    return binary(l, place, e);
  default:
    return call(l, place, e, outermost);
  }
}

Item evaluate(Lower *l, const Place *place, const Expression *e, bool outermost) {
  if (l->depth >= MAX_EVALUATION_DEPTH) {
    if (!l->depth_reported) diag(l->context, DIAG_TOO_DEEP, e->loc, MAX_EVALUATION_DEPTH);
    l->depth_reported = true;
    return item_none();
  }
  l->depth++;
  Item result = evaluate_kind(l, place, e, outermost);
  l->depth--;
  return result;
}
