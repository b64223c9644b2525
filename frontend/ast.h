/* The syntax tree: what the parser read, before any name has a meaning.
 *
 * Everything lives in the context's arena. Strings are zero-terminated copies. A pipe `x | op(a)` is the call op(x, a)
 * with `piped` set. Expressions know their depth, so that no walk over them recurses deeper than MAX_EXPRESSION_DEPTH.
 */
#ifndef FRONTEND_AST_H
#define FRONTEND_AST_H

#include "../ir/context.h"

enum { MAX_EXPRESSION_DEPTH = 500 };

typedef struct Name {
  const char *text; /* NULL: no name */
  SourceLoc loc;
} Name;

typedef struct Expression Expression;

typedef struct Argument {
  Name name; /* text NULL: by position */
  Expression *value;
} Argument;

typedef struct ArgumentList {
  Argument *items;
  uint32_t count, capacity;
} ArgumentList;

typedef struct NameList {
  Name *items;
  uint32_t count, capacity;
} NameList;

typedef enum ExpressionKind {
  EXPRESSION_INTEGER,
  EXPRESSION_REAL,
  EXPRESSION_STRING,
  EXPRESSION_NAME,
  EXPRESSION_LIST,
  EXPRESSION_NEGATE, /* left */
  EXPRESSION_BINARY, /* left operation right */
  EXPRESSION_CALL    /* name(list) */
} ExpressionKind;

struct Expression {
  ExpressionKind kind;
  SourceLoc loc; /* of a call: its name; of an operation: its sign */
  uint32_t depth;
  bool piped;
  char operation; /* + - * / % */
  int64_t integer;
  double real;
  const char *text; /* STRING, NAME and CALL */
  Expression *left, *right;
  ArgumentList list; /* LIST and CALL */
};

typedef enum StatementKind {
  STATEMENT_CONST,  /* const name = values[0] */
  STATEMENT_PARAMS, /* params "names[0]" */
  STATEMENT_INPUT,  /* input name : element dims */
  STATEMENT_OUTPUT, /* output names, or names = values[0] */
  STATEMENT_ASSIGN, /* names = values[0] */
  STATEMENT_RETURN  /* return values */
} StatementKind;

typedef struct Statement {
  StatementKind kind;
  SourceLoc loc; /* the keyword, or the first name */
  NameList names;
  ArgumentList values; /* unnamed */
  Expression *element; /* INPUT */
  ArgumentList dims;   /* INPUT */
} Statement;

typedef struct StatementList {
  Statement **items;
  uint32_t count, capacity;
} StatementList;

typedef struct Block {
  Name name;
  ArgumentList formals; /* value NULL: no default */
  StatementList body;
} Block;

typedef struct Network {
  Name name;
  StatementList body;
} Network;

typedef struct SyntaxTree {
  StatementList constants;
  Block **blocks;
  uint32_t block_count, block_capacity;
  Network **networks;
  uint32_t network_count, network_capacity;
} SyntaxTree;

/* syntax.c. Reads a whole source file; reports every syntax error. The tree holds what could be read: it is of use only
 * where no error was reported. */
SyntaxTree *parse_source(Context *c, uint32_t file, const char *text, size_t length);

/* ast.c */
Expression *expression_new(Context *c, ExpressionKind kind, SourceLoc loc);
Expression *expression_text(Context *c, ExpressionKind kind, Name name);
Expression *expression_list(Context *c, SourceLoc loc, ArgumentList items);
Expression *expression_negate(Context *c, SourceLoc loc, Expression *operand);
Expression *expression_binary(Context *c, char operation, SourceLoc loc, Expression *left, Expression *right);
Expression *expression_call(Context *c, Name name, ArgumentList arguments);
Expression *expression_pipe(Context *c, Expression *first, Expression *call);
SourceLoc expression_span(const Expression *e); /* the whole expression, as far as it stands on one line */
ArgumentList argument_add(Context *c, ArgumentList list, Name name, Expression *value);
NameList name_add(Context *c, NameList list, Name name);
Statement *statement_new(Context *c, StatementKind kind, SourceLoc loc, NameList names, ArgumentList values);
StatementList statement_add(Context *c, StatementList list, Statement *s);
void tree_add_block(Context *c, SyntaxTree *tree, Name name, ArgumentList formals, StatementList body);
void tree_add_network(Context *c, SyntaxTree *tree, Name name, StatementList body);
SourceLoc location_join(SourceLoc first, SourceLoc last); /* from first to last, or first where lines differ */

#endif
