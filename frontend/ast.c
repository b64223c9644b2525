/* Building the syntax tree. */
#include "ast.h"

/* Room for one more item; doubles the array. */
#define GROW(c, items, count, capacity)                                                                                \
  do {                                                                                                                 \
    if ((count) == (capacity)) {                                                                                       \
      uint32_t grown = (capacity) ? (capacity)*2 : 4;                                                                  \
      (items) = arena_grow((c), (items), sizeof *(items) * (capacity), sizeof *(items) * (size_t)grown);               \
      (capacity) = grown;                                                                                              \
    }                                                                                                                  \
  } while (0)

Expression *expression_new(Context *c, ExpressionKind kind, SourceLoc loc) {
  Expression *e = ARENA_NEW(c, Expression, 1);
  e->kind = kind;
  e->loc = loc;
  e->depth = 1;
  return e;
}

static void hold(Expression *e, const Expression *child) {
  if (child && child->depth >= e->depth) e->depth = child->depth + 1;
}

static void hold_all(Expression *e, ArgumentList list) {
  for (uint32_t i = 0; i < list.count; i++) hold(e, list.items[i].value);
  e->list = list;
}

Expression *expression_text(Context *c, ExpressionKind kind, Name name) {
  Expression *e = expression_new(c, kind, name.loc);
  e->text = name.text;
  return e;
}

Expression *expression_list(Context *c, SourceLoc loc, ArgumentList items) {
  Expression *e = expression_new(c, EXPRESSION_LIST, loc);
  hold_all(e, items);
  return e;
}

Expression *expression_negate(Context *c, SourceLoc loc, Expression *operand) {
  Expression *e = expression_new(c, EXPRESSION_NEGATE, loc);
  e->left = operand;
  hold(e, operand);
  return e;
}

Expression *expression_binary(Context *c, char operation, SourceLoc loc, Expression *left, Expression *right) {
  Expression *e = expression_new(c, EXPRESSION_BINARY, loc);
  e->operation = operation;
  e->left = left;
  e->right = right;
  hold(e, left);
  hold(e, right);
  return e;
}

Expression *expression_call(Context *c, Name name, ArgumentList arguments) {
  Expression *e = expression_text(c, EXPRESSION_CALL, name);
  hold_all(e, arguments);
  return e;
}

Expression *expression_pipe(Context *c, Expression *first, Expression *call) {
  ArgumentList list = argument_add(c, (ArgumentList){0}, (Name){0}, first);
  for (uint32_t i = 0; i < call->list.count; i++)
    list = argument_add(c, list, call->list.items[i].name, call->list.items[i].value);
  call->piped = true;
  hold_all(call, list);
  return call;
}

SourceLoc location_join(SourceLoc first, SourceLoc last) {
  if (first.line == last.line && last.column >= first.column) first.length = last.column + last.length - first.column;
  return first;
}

SourceLoc expression_span(const Expression *e) {
  const Expression *first = e, *last = e;
  while (first->kind == EXPRESSION_BINARY || first->piped)
    first = first->piped ? first->list.items[0].value : first->left;
  while (last->kind == EXPRESSION_BINARY || last->kind == EXPRESSION_NEGATE)
    last = last->kind == EXPRESSION_BINARY ? last->right : last->left;
  return location_join(first->loc, last->loc);
}

ArgumentList argument_add(Context *c, ArgumentList list, Name name, Expression *value) {
  GROW(c, list.items, list.count, list.capacity);
  list.items[list.count++] = (Argument){name, value};
  return list;
}

NameList name_add(Context *c, NameList list, Name name) {
  GROW(c, list.items, list.count, list.capacity);
  list.items[list.count++] = name;
  return list;
}

Statement *statement_new(Context *c, StatementKind kind, SourceLoc loc, NameList names, ArgumentList values) {
  Statement *s = ARENA_NEW(c, Statement, 1);
  *s = (Statement){.kind = kind, .loc = loc, .names = names, .values = values};
  return s;
}

StatementList statement_add(Context *c, StatementList list, Statement *s) {
  GROW(c, list.items, list.count, list.capacity);
  list.items[list.count++] = s;
  return list;
}

void tree_add_block(Context *c, SyntaxTree *tree, Name name, ArgumentList formals, StatementList body) {
  GROW(c, tree->blocks, tree->block_count, tree->block_capacity);
  Block *b = ARENA_NEW(c, Block, 1);
  *b = (Block){name, formals, body};
  tree->blocks[tree->block_count++] = b;
}

void tree_add_network(Context *c, SyntaxTree *tree, Name name, StatementList body) {
  GROW(c, tree->networks, tree->network_count, tree->network_capacity);
  Network *n = ARENA_NEW(c, Network, 1);
  *n = (Network){name, body};
  tree->networks[tree->network_count++] = n;
}
