/* What lexer.l, parser.y and syntax.c share while one file is read. */
#ifndef FRONTEND_SYNTAX_H
#define FRONTEND_SYNTAX_H

#include "ast.h"
#include <setjmp.h>

enum { MAX_OPEN_BRACKETS = 64, MAX_SYNTAX_ERRORS = 50, MAX_SOURCE_BYTES = 1 << 24 };

typedef struct OpenBracket {
  char sign;
  SourceLoc loc;
} OpenBracket;

typedef struct SourceReader {
  Context *context;
  SyntaxTree *tree;
  const char *text;            /* the whole file */
  uint32_t file, line, column; /* of the next character */
  size_t offset;               /* bytes before it */
  size_t token_offset;         /* bytes before the token read last */
  uint32_t bad_line;           /* the line of the last character that begins no token: what follows is not reported */
  SourceLoc after;             /* just behind the last token */
  int last_token;
  bool finished;                       /* the end's own NEWLINE was given */
  OpenBracket open[MAX_OPEN_BRACKETS]; /* brackets not closed yet, for notes */
  uint32_t open_count;                 /* may pass MAX_OPEN_BRACKETS; deeper ones are not recorded */
  uint32_t error_count;
  jmp_buf stop; /* where the lexer jumps on an error of its own machinery */
} SourceReader;

/* syntax.c */
void syntax_error(SourceReader *reader, SourceLoc loc, const char *unexpected, const char *const *expected,
                  int expected_count);
void reader_open(SourceReader *reader, char sign, SourceLoc loc);
void reader_close(SourceReader *reader);

#endif
