/* Blocks: a call is expanded in place, in a scope of its own. Parameters inside are named after the chain of calls. */
#include "lower.h"
#include <string.h>

const Block *block_by_name(const Lower *l, const char *name) {
  const Binding *b = scope_find(l->blocks, name);
  return b ? l->tree->blocks[b->item.integer] : NULL;
}

static BlockState *state_of(Lower *l, const Block *block) {
  return &l->block_states[scope_find(l->blocks, block->name.text)->item.integer];
}

/* --- statements that blocks and networks share --- */

static Item assigned_value(Lower *l, const Place *place, const Statement *s) {
  Place inside = {place->frame, place->scope, s->names.items[0].text};
  return evaluate(l, &inside, s->values.items[0].value, true);
}

void run_constant(Lower *l, const Place *place, const Statement *s) {
  Item value = assigned_value(l, place, s);
  bool fits = value.kind == ITEM_NONE || (value.kind != ITEM_TENSOR && value.kind != ITEM_SEVERAL);
  if (!fits) {
    diag(l->context, DIAG_NOT_CONSTANT, expression_span(s->values.items[0].value), s->names.items[0].text);
    diag_expected(l->context, "a number, a type, a string or a list");
    diag_seen(l->context, "%s", item_words(l, &value));
    value = item_none();
  }
  Binding *b = scope_bind(l->context, place->scope, s->names.items[0], value);
  if (b) b->may_be_unused = true;
}

/* Each name of s to its value. */
static void bind_results(Lower *l, Scope *scope, const Statement *s, Item value) {
  uint32_t names = s->names.count, values = value.kind == ITEM_SEVERAL ? value.count : 1;
  if (value.kind != ITEM_NONE && names != values) {
    const Expression *e = s->values.items[0].value;
    diag(l->context, DIAG_RESULT_COUNT, e->loc, e->kind == EXPRESSION_CALL ? e->text : "this expression", values,
         values == 1 ? "" : "s");
    diag_expected(l->context, "%u, one for each name on the left", names);
    value = item_none();
  }
  for (uint32_t i = 0; i < names; i++)
    scope_bind(l->context, scope, s->names.items[i], value.kind == ITEM_SEVERAL ? value.items[i] : value);
}

void run_assignment(Lower *l, const Place *place, const Statement *s) {
  bind_results(l, place->scope, s, assigned_value(l, place, s));
}

/* --- the body --- */

static Item returned(Lower *l, const Place *place, const Statement *s) {
  Place inside = {place->frame, place->scope, ""};
  if (s->values.count == 1) return evaluate(l, &inside, s->values.items[0].value, true);
  Item result = {.kind = ITEM_SEVERAL, .loc = s->loc, .count = s->values.count};
  result.items = ARENA_NEW(l->context, Item, result.count);
  for (uint32_t i = 0; i < result.count; i++) {
    result.items[i] = evaluate(l, &inside, s->values.items[i].value, false);
    if (result.items[i].kind == ITEM_NONE) result.kind = ITEM_NONE;
  }
  return result;
}

enum { SHOWN_CALLS = 3 };

/* The calls that led to the latest report: the innermost ones, and the outermost. */
static void note_calls(Lower *l, const Frame *frame) {
  uint32_t shown = 0;
  l->errors_noted = diag_error_count(l->context);
  for (; frame->block && frame->loc.file; frame = frame->parent, shown++) {
    bool outermost = !frame->parent->block;
    if (shown < SHOWN_CALLS)
      diag_note(l->context, frame->loc, "in this call of block '%s'", frame->block->name.text);
    else if (outermost)
      diag_note(l->context, frame->loc, "%u calls further out, in this one of block '%s'", shown - SHOWN_CALLS + 1,
                frame->block->name.text);
  }
}

static Item run_body(Lower *l, const Place *place, const Block *block) {
  for (uint32_t i = 0; i < block->body.count; i++) {
    const Statement *s = block->body.items[i];
    uint32_t errors = diag_error_count(l->context);
    Item result = item_none();
    if (s->kind == STATEMENT_CONST)
      run_constant(l, place, s);
    else if (s->kind == STATEMENT_ASSIGN)
      run_assignment(l, place, s);
    else if (s->kind == STATEMENT_RETURN)
      result = returned(l, place, s);
    uint32_t now = diag_error_count(l->context);
    if (now != errors && now != l->errors_noted) note_calls(l, place->frame);
    if (s->kind == STATEMENT_RETURN) return result;
  }
  return item_none();
}

/* --- arguments --- */

static int formal_index(const Block *block, const char *name) {
  for (uint32_t i = 0; i < block->formals.count; i++)
    if (!strcmp(block->formals.items[i].name.text, name)) return (int)i;
  return -1;
}

static const char *formal_words(Context *c, const Block *block) {
  Text t = {.context = c};
  for (uint32_t i = 0; i < block->formals.count; i++)
    text_add(&t, "%s%s, ", block->formals.items[i].name.text, block->formals.items[i].value ? "=" : "");
  text_add(&t, "name=");
  return t.data;
}

static bool unknown_argument(Lower *l, const Block *block, Name name) {
  diag(l->context, DIAG_UNKNOWN_ARGUMENT, name.loc, block->name.text, name.text);
  diag_expected(l->context, "one of %s", formal_words(l->context, block));
  Suggestion s = suggestion_for(name.text);
  for (uint32_t i = 0; i < block->formals.count; i++) suggestion_offer(&s, block->formals.items[i].name.text);
  suggestion_hint(l->context, &s);
  return false;
}

/* Which formal an argument belongs to; -1 for name=, -2 after reporting. */
static int place_argument(Lower *l, const Block *block, const Argument *a, uint32_t position) {
  if (a->name.text) {
    int index = formal_index(block, a->name.text);
    if (index >= 0 || !strcmp(a->name.text, "name")) return index;
    unknown_argument(l, block, a->name);
    return -2;
  }
  if (position < block->formals.count) return (int)position;
  diag(l->context, DIAG_TOO_MANY_ARGUMENTS, expression_span(a->value), block->name.text);
  diag_expected(l->context, "at most %u", block->formals.count);
  return -2;
}

/* The arguments by formal; NULL where none was given. Values are evaluated in the caller's place. */
static bool take_arguments(Lower *l, const Place *place, const Block *block, const Expression *call, Item **given) {
  bool good = true;
  uint32_t position = 0;
  for (uint32_t i = 0; i < call->list.count; i++) {
    const Argument *a = &call->list.items[i];
    int index = place_argument(l, block, a, position);
    position += !a->name.text;
    if (index == -1) continue;
    Item *item = ARENA_NEW(l->context, Item, 1);
    *item = evaluate(l, place, a->value, false);
    item->loc = expression_span(a->value);
    if (index < 0) {
      good = false;
      continue;
    }
    const char *formal = block->formals.items[index].name.text;
    if (given[index]) {
      diag(l->context, DIAG_ARGUMENT_TWICE, a->name.text ? a->name.loc : item->loc, formal, block->name.text);
      good = false;
    }
    if (item->kind == ITEM_NONE || item->kind == ITEM_SEVERAL) {
      if (item->kind == ITEM_SEVERAL) {
        diag(l->context, DIAG_WRONG_ARGUMENT, item->loc, formal, block->name.text);
        diag_expected(l->context, "one value");
        diag_seen(l->context, "%s", item_words(l, item));
      }
      good = false;
    }
    given[index] = item;
  }
  return good;
}

/* Binds the formals in the block's scope; defaults may use the formals before them. */
static bool bind_formals(Lower *l, const Place *inside, const Block *block, const Expression *call, Item **given) {
  bool good = true;
  for (uint32_t i = 0; i < block->formals.count; i++) {
    const Argument *formal = &block->formals.items[i];
    Item item = item_none();
    if (given[i]) {
      item = *given[i];
    } else if (formal->value) {
      item = evaluate(l, inside, formal->value, false);
    } else if (call) {
      diag(l->context, DIAG_MISSING_ARGUMENT, call->loc, block->name.text, formal->name.text);
      diag_expected(l->context, "%s(%s)", block->name.text, formal_words(l->context, block));
      good = false;
    }
    Binding *b = scope_bind(l->context, inside->scope, formal->name, item);
    if (b)
      b->may_be_unused = true;
    else
      good = false;
  }
  return good;
}

/* --- the call --- */

static bool may_expand(Lower *l, const Place *place, const Block *block, const Expression *call) {
  uint32_t depth = 0;
  for (const Frame *f = place->frame; f; f = f->parent, depth++)
    if (f->block == block) {
      diag(l->context, DIAG_RECURSION, call->loc, block->name.text);
      diag_hint(l->context, "blocks are expanded in place, so a block cannot contain itself");
      return false;
    }
  if (depth < MAX_BLOCK_DEPTH && l->expansions++ < MAX_EXPANSIONS) return true;
  if (!l->expansion_reported && depth >= MAX_BLOCK_DEPTH)
    diag(l->context, DIAG_EXPANSION, call->loc, MAX_BLOCK_DEPTH, "blocks inside each other");
  else if (!l->expansion_reported)
    diag(l->context, DIAG_EXPANSION, call->loc, MAX_EXPANSIONS, "calls of blocks");
  l->expansion_reported = true;
  return false;
}

Item block_call(Lower *l, const Place *place, const Block *block, const Expression *call) {
  BlockState *state = state_of(l, block);
  const char *own = NULL;
  Item **given = ARENA_NEW(l->context, Item *, block->formals.count);
  state->called = true;
  bool good = argument_name(l, place, call, &own);
  if (!take_arguments(l, place, block, call, given) || !good) return item_none();
  if (state->failed || !may_expand(l, place, block, call)) return item_none();

  Frame *frame = ARENA_NEW(l->context, Frame, 1);
  *frame = (Frame){.parent = place->frame,
                   .path = path_join(l->context, place->frame->path, own ? own : place->own),
                   .named = own != NULL,
                   .depth = place->frame->depth + 1,
                   .block = block,
                   .loc = call->loc};
  Place inside = {frame, scope_new(l->context, l->globals), ""};
  if (!bind_formals(l, &inside, block, call, given)) return item_none();
  uint32_t errors = diag_error_count(l->context) - l->param_errors;
  Item result = run_body(l, &inside, block);
  if (diag_error_count(l->context) - l->param_errors != errors)
    state->failed = true;
  else
    scope_warn_unused(l->context, inside.scope);
  return result;
}

/* --- checks without a call --- */

static void check_statements(Lower *l, const Block *block) {
  const Statement *end = NULL;
  static const char *const words[] = {"const", "params", "input", "output", "assignment", "return"};
  for (uint32_t i = 0; i < block->body.count; i++) {
    const Statement *s = block->body.items[i];
    if (s->kind == STATEMENT_PARAMS || s->kind == STATEMENT_INPUT || s->kind == STATEMENT_OUTPUT) {
      diag(l->context, DIAG_WRONG_PLACE, s->loc, words[s->kind], "block");
      if (s->kind == STATEMENT_OUTPUT) diag_hint(l->context, "a block gives its results with return");
    }
    if (end) {
      diag(l->context, DIAG_AFTER_RETURN, s->loc);
      diag_note(l->context, end->loc, "the return is here");
      break;
    }
    if (s->kind == STATEMENT_RETURN) end = s;
  }
  if (!end) {
    diag(l->context, DIAG_NO_RETURN, block->name.loc, block->name.text);
    diag_expected(l->context, "a statement: return value, ...");
  }
}

static void check_formals(Lower *l, const Block *block) {
  Scope *scope = scope_new(l->context, l->globals);
  for (uint32_t i = 0; i < block->formals.count; i++) {
    Name name = block->formals.items[i].name;
    if (!strcmp(name.text, "name"))
      diag(l->context, DIAG_RESERVED_NAME, name.loc, name.text, "an argument that every block takes");
    scope_bind(l->context, scope, name, item_none());
  }
}

void check_blocks(Lower *l) {
  l->blocks = scope_new(l->context, NULL);
  for (uint32_t i = 0; i < l->tree->block_count; i++) {
    const Block *block = l->tree->blocks[i];
    uint32_t errors = diag_error_count(l->context);
    if (operation_by_name(block->name.text))
      diag(l->context, DIAG_RESERVED_NAME, block->name.loc, block->name.text, "an operation");
    scope_bind(l->context, l->blocks, block->name, (Item){.kind = ITEM_INTEGER, .integer = i});
    check_formals(l, block);
    check_statements(l, block);
    if (diag_error_count(l->context) != errors) l->block_states[i].failed = true;
  }
}

void check_uncalled_blocks(Lower *l, const Frame *top) {
  for (uint32_t i = 0; i < l->tree->block_count; i++) {
    const Block *block = l->tree->blocks[i];
    if (l->block_states[i].called || l->block_states[i].failed) continue;
    Frame *frame = ARENA_NEW(l->context, Frame, 1);
    *frame = (Frame){.parent = top, .path = block->name.text, .depth = 1, .block = block};
    Place inside = {frame, scope_new(l->context, l->globals), ""};
    Item **given = ARENA_NEW(l->context, Item *, block->formals.count);
    l->block_states[i].called = true;
    if (bind_formals(l, &inside, block, NULL, given)) run_body(l, &inside, block);
  }
}
