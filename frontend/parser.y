/* The grammar of the language. Builds the syntax tree; after a syntax error it goes on with the next line, so that
 * several errors are reported in one go. Pure: all state is in the reader.
 */
%define api.pure full
%define api.location.type {SourceLoc}
%define parse.error custom
%define lr.type canonical-lr
%locations
%param { yyscan_t scanner }
%parse-param { SourceReader *reader }

%code requires {
#include "syntax.h"
#ifndef YY_TYPEDEF_YY_SCANNER_T
#define YY_TYPEDEF_YY_SCANNER_T
typedef void *yyscan_t;
#endif
}

%code provides {
int yylex(YYSTYPE *value, YYLTYPE *loc, yyscan_t scanner);
}

%code {
#define C reader->context
#define YYMAXDEPTH 4000
#define YYMALLOC(bytes) arena_alloc(reader->context, bytes)
#define YYFREE(block) ((void)(block))
#define YYLLOC_DEFAULT(current, rhs, n)                                                                                \
  (current) = (n) ? location_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n)) : YYRHSLOC(rhs, 0)

static void yyerror(const YYLTYPE *loc, yyscan_t scanner, SourceReader *reader, const char *message);
static Expression *too_deep(SourceReader *reader, Expression *e);
static NameList one_name(Context *c, Name name);
static ArgumentList one_value(Context *c, Expression *value);
static Statement *input_of(Context *c, Expression *element, ArgumentList dims);
}

%union {
  int64_t integer;
  double real;
  Name name;
  Expression *expression;
  Argument argument;
  ArgumentList arguments;
  NameList names;
  Statement *statement;
  StatementList statements;
}

%token END 0 "end of file"
%token NEWLINE 300 "end of line"
%token <name> NAME "a name" STRING "a string"
%token <integer> INTEGER "an integer"
%token <real> REAL "a number"
%token CONST "'const'" BLOCK "'block'" NETWORK "'network'" PARAMS "'params'" INPUT "'input'" OUTPUT "'output'"
%token RETURN "'return'"

%precedence '|'
%left '+' '-'
%left '*' '/' '%'
%precedence NEGATION

%type <expression> expression stage
%type <argument> argument formal
%type <arguments> arguments argument_list formals formal_list values dims
%type <names> names
%type <statement> statement constant element
%type <statements> body statements

%%

file: items
items: %empty
     | items item NEWLINE
     | items NEWLINE
     | items error NEWLINE                      { yyerrok; }

item: constant                                  { reader->tree->constants =
                                                      statement_add(C, reader->tree->constants, $1); }
    | BLOCK NAME '(' formals ')' body           { tree_add_block(C, reader->tree, $2, $4, $6); }
    | BLOCK error body                          { yyerrok; }
    | NETWORK NAME body                         { tree_add_network(C, reader->tree, $2, $3); }
    | NETWORK error body                        { yyerrok; }

constant: CONST NAME '=' expression             { $$ = statement_new(C, STATEMENT_CONST, @2, one_name(C, $2),
                                                                     one_value(C, $4)); }

formals: %empty                                 { $$ = (ArgumentList){0}; }
       | formal_list
       | formal_list ','
formal_list: formal                             { $$ = argument_add(C, (ArgumentList){0}, $1.name, $1.value); }
           | formal_list ',' formal             { $$ = argument_add(C, $1, $3.name, $3.value); }
formal: NAME                                    { $$ = (Argument){$1, NULL}; }
      | NAME '=' expression                     { $$ = (Argument){$1, $3}; }

body: '{' statements '}'                        { $$ = $2; }
    | '{' statements statement '}'              { $$ = statement_add(C, $2, $3); }
    | '{' statements error '}'                  { $$ = $2; yyerrok; }

statements: %empty                              { $$ = (StatementList){0}; }
          | statements statement NEWLINE        { $$ = statement_add(C, $1, $2); }
          | statements NEWLINE
          | statements error NEWLINE            { yyerrok; }

statement: constant
         | PARAMS STRING                        { $$ = statement_new(C, STATEMENT_PARAMS, @2, one_name(C, $2),
                                                                     (ArgumentList){0}); }
         | INPUT NAME ':' element               { $$ = $4;
                                                  $$->loc = @2;
                                                  $$->names = one_name(C, $2); }
         | OUTPUT names                         { $$ = statement_new(C, STATEMENT_OUTPUT, @1, $2,
                                                                     (ArgumentList){0}); }
         | OUTPUT names '=' expression          { $$ = statement_new(C, STATEMENT_OUTPUT, @1, $2, one_value(C, $4)); }
         | names '=' expression                 { $$ = statement_new(C, STATEMENT_ASSIGN, @1, $1, one_value(C, $3)); }
         | RETURN values                        { $$ = statement_new(C, STATEMENT_RETURN, @1, (NameList){0}, $2); }

element: NAME dims                              { $$ = input_of(C, expression_text(C, EXPRESSION_NAME, $1), $2); }
       | NAME dims '(' arguments ')'            { $$ = input_of(C, expression_call(C, $1, $4), $2); }
       | NAME '(' arguments ')' dims            { $$ = input_of(C, expression_call(C, $1, $3), $5); }
dims: '[' values ']'                            { $$ = $2; }
    | '[' values ',' ']'                        { $$ = $2; }

names: NAME                                     { $$ = one_name(C, $1); }
     | names ',' NAME                           { $$ = name_add(C, $1, $3); }
values: expression                              { $$ = one_value(C, $1); }
      | values ',' expression                   { $$ = argument_add(C, $1, (Name){0}, $3); }

expression: INTEGER                             { $$ = expression_new(C, EXPRESSION_INTEGER, @1);
                                                  $$->integer = $1; }
          | REAL                                { $$ = expression_new(C, EXPRESSION_REAL, @1);
                                                  $$->real = $1; }
          | STRING                              { $$ = expression_text(C, EXPRESSION_STRING, $1); }
          | NAME                                { $$ = expression_text(C, EXPRESSION_NAME, $1); }
          | NAME '(' arguments ')'              { $$ = too_deep(reader, expression_call(C, $1, $3)); }
          | '(' expression ')'                  { $$ = $2; }
          | '[' ']'                             { $$ = expression_list(C, @$, (ArgumentList){0}); }
          | '[' values ']'                      { $$ = too_deep(reader, expression_list(C, @$, $2)); }
          | '[' values ',' ']'                  { $$ = too_deep(reader, expression_list(C, @$, $2)); }
          | '-' expression %prec NEGATION       { $$ = too_deep(reader, expression_negate(C, @1, $2)); }
          | expression '+' expression           { $$ = too_deep(reader, expression_binary(C, '+', @2, $1, $3)); }
          | expression '-' expression           { $$ = too_deep(reader, expression_binary(C, '-', @2, $1, $3)); }
          | expression '*' expression           { $$ = too_deep(reader, expression_binary(C, '*', @2, $1, $3)); }
          | expression '/' expression           { $$ = too_deep(reader, expression_binary(C, '/', @2, $1, $3)); }
          | expression '%' expression           { $$ = too_deep(reader, expression_binary(C, '%', @2, $1, $3)); }
          | expression '|' stage                { $$ = too_deep(reader, expression_pipe(C, $1, $3)); }

stage: NAME                                     { $$ = expression_call(C, $1, (ArgumentList){0}); }
     | NAME '(' arguments ')'                   { $$ = expression_call(C, $1, $3); }

arguments: %empty                               { $$ = (ArgumentList){0}; }
         | argument_list
         | argument_list ','
argument_list: argument                         { $$ = argument_add(C, (ArgumentList){0}, $1.name, $1.value); }
             | argument_list ',' argument       { $$ = argument_add(C, $1, $3.name, $3.value); }
argument: expression                            { $$ = (Argument){{0}, $1}; }
        | NAME '=' expression                   { $$ = (Argument){$1, $3}; }

%%

/* Only "memory exhausted", when brackets nest past YYMAXDEPTH, comes here. */
static void yyerror(const YYLTYPE *loc, yyscan_t scanner, SourceReader *reader, const char *message) {
  (void)scanner;
  (void)message;
  diag(C, DIAG_TOO_DEEP, *loc, MAX_EXPRESSION_DEPTH);
  reader->error_count++;
}

/* An expression past the depth limit is reported once and replaced, so that nothing recurses over it. */
static Expression *too_deep(SourceReader *reader, Expression *e) {
  if (e->depth <= MAX_EXPRESSION_DEPTH) return e;
  diag(C, DIAG_TOO_DEEP, e->loc, MAX_EXPRESSION_DEPTH);
  diag_hint(C, "give a part of it a name of its own");
  reader->error_count++;
  return expression_new(C, EXPRESSION_INTEGER, e->loc);
}

static NameList one_name(Context *c, Name name) { return name_add(c, (NameList){0}, name); }

static ArgumentList one_value(Context *c, Expression *value) {
  return argument_add(c, (ArgumentList){0}, (Name){0}, value);
}

static Statement *input_of(Context *c, Expression *element, ArgumentList dims) {
  Statement *s = statement_new(c, STATEMENT_INPUT, element->loc, (NameList){0}, (ArgumentList){0});
  s->element = element;
  s->dims = dims;
  return s;
}

static int yyreport_syntax_error(const yypcontext_t *context, yyscan_t scanner, SourceReader *reader) {
  (void)scanner;
  enum { MOST = 32 };
  yysymbol_kind_t kinds[MOST];
  const char *expected[MOST];
  int count = yypcontext_expected_tokens(context, kinds, MOST);
  if (count == YYENOMEM) return YYENOMEM;
  for (int i = 0; i < count; i++) expected[i] = yysymbol_name(kinds[i]);
  yysymbol_kind_t seen = yypcontext_token(context);
  syntax_error(reader, *yypcontext_location(context), seen == YYSYMBOL_YYEMPTY ? "nothing" : yysymbol_name(seen),
               expected, count);
  return 0;
}
