/* Reads one source file into a syntax tree, and words the syntax errors. */
#include "syntax.h"
#include "parser.h"
#include <string.h>

typedef struct yy_buffer_state *YY_BUFFER_STATE;
int yylex_init_extra(SourceReader *reader, yyscan_t *scanner);
YY_BUFFER_STATE yy_scan_bytes(const char *bytes, int length, yyscan_t scanner);

void reader_open(SourceReader *reader, char sign, SourceLoc loc) {
  if (reader->open_count < MAX_OPEN_BRACKETS) reader->open[reader->open_count] = (OpenBracket){sign, loc};
  reader->open_count++;
}

void reader_close(SourceReader *reader) {
  if (reader->open_count) reader->open_count--;
}

/* Sets of tokens that mean one thing to a reader. A group is named where all its tokens are expected. */
typedef struct TokenGroup {
  const char *name;
  const char *tokens[8];
} TokenGroup;

static const TokenGroup groups[] = {
    {"an expression", {"a name", "a string", "an integer", "a number", "'['", "'('", "'-'"}},
    {"an operator", {"'|'", "'+'", "'-'", "'*'", "'/'", "'%'"}},
    {"a statement", {"a name", "'const'", "'params'", "'input'", "'output'", "'return'"}},
};

static int find_token(const char *const *tokens, int count, const char *token) {
  for (int i = 0; i < count; i++)
    if (!strcmp(tokens[i], token)) return i;
  return -1;
}

static bool holds_group(const char *const *tokens, int count, const TokenGroup *group) {
  for (int i = 0; i < 8 && group->tokens[i]; i++)
    if (find_token(tokens, count, group->tokens[i]) < 0) return false;
  return true;
}

static int remove_group(const char **tokens, int count, const TokenGroup *group) {
  for (int i = 0; i < 8 && group->tokens[i]; i++) {
    int at = find_token(tokens, count, group->tokens[i]);
    for (int k = at; at >= 0 && k + 1 < count; k++) tokens[k] = tokens[k + 1];
    count -= at >= 0;
  }
  return count;
}

static void add_words(Text *t, const char *word, bool last) {
  text_add(t, "%s%s", !t->length ? "" : last ? " or " : ", ", word);
}

/* "',', ')' or an operator" */
static const char *expected_words(Context *c, const char *const *expected, int count) {
  const char *tokens[32], *words[40];
  int token_count = count < 32 ? count : 32, word_count = 0;
  memcpy(tokens, expected, sizeof *tokens * (size_t)token_count);
  const char *found[8];
  int found_count = 0;
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (holds_group(tokens, token_count, &groups[i])) {
      token_count = remove_group(tokens, token_count, &groups[i]);
      found[found_count++] = groups[i].name;
    }
  for (int i = 0; i < token_count; i++) words[word_count++] = tokens[i];
  for (int i = 0; i < found_count; i++) words[word_count++] = found[i];
  Text t = {.context = c};
  for (int i = 0; i < word_count; i++) add_words(&t, words[i], i + 1 == word_count);
  return t.data ? t.data : "nothing";
}

static bool ends_text(const char *token) {
  return !strcmp(token, "end of line") || !strcmp(token, "end of file") || !strcmp(token, "'}'");
}

/* Where a closing bracket is missing: the place of the opening one. */
static void note_bracket(SourceReader *reader, const char *unexpected, const char *const *expected, int count) {
  uint32_t depth = reader->open_count + (!strcmp(unexpected, "'}'") ? 1 : 0); /* the lexer has counted '}' already */
  if (!ends_text(unexpected) || !depth || depth > MAX_OPEN_BRACKETS) return;
  OpenBracket open = reader->open[depth - 1];
  const char *closing = open.sign == '(' ? "')'" : open.sign == '[' ? "']'" : "'}'";
  if (find_token(expected, count, closing) >= 0)
    diag_note(reader->context, open.loc, "the '%c' to close is here", open.sign);
}

/* What is usually meant by a token in the wrong place. */
static void hint_for(Context *c, const char *unexpected, const char *const *expected, int count, bool bodies) {
  bool assign = find_token(expected, count, "'='") >= 0 && find_token(expected, count, "','") >= 0;
  if (!strcmp(unexpected, "'('") && assign)
    diag_hint(c, "a statement names its result: name = operation(...)");
  else if (!strcmp(unexpected, "'|'") && assign)
    diag_hint(c, "a statement names its result: name = x | operation");
  else if (!strcmp(unexpected, "'='") && find_token(expected, count, "':'") >= 0)
    diag_hint(c, "an input is declared as: input name : type[height, width, channels]");
  else if (!strcmp(unexpected, "'network'") || !strcmp(unexpected, "'block'"))
    diag_hint(c, "blocks and networks stand on the top level of a file; is a '}' missing above?");
  else if (find_token(expected, count, "'network'") >= 0)
    diag_hint(c, "the top level of a file holds only const, block and network%s",
              bodies ? "; is there one '}' too many above?" : "");
}

/* The token in words: "name 'relu'", "integer 3", "end of line", "'='". */
static const char *unexpected_words(const SourceReader *reader, SourceLoc loc, const char *token) {
  const char *article = !strncmp(token, "a ", 2) ? token + 2 : !strncmp(token, "an ", 3) ? token + 3 : NULL;
  if (!article) return token;
  const char *quote = !strcmp(article, "name") ? "'" : "";
  int length = loc.length > 64 ? 64 : (int)loc.length;
  return arena_printf(reader->context, "%s %s%.*s%s", article, quote, length, reader->text + reader->token_offset,
                      quote);
}

void syntax_error(SourceReader *reader, SourceLoc loc, const char *unexpected, const char *const *expected, int count) {
  if (++reader->error_count > MAX_SYNTAX_ERRORS || reader->bad_line == loc.line) return;
  Context *c = reader->context;
  diag(c, DIAG_SYNTAX, loc, unexpected_words(reader, loc, unexpected));
  diag_expected(c, "%s", expected_words(c, expected, count));
  hint_for(c, unexpected, expected, count, reader->tree->block_count || reader->tree->network_count);
  note_bracket(reader, unexpected, expected, count);
  if (ends_text(unexpected) && reader->open_count) {
    /* The rest of the file is read as if the brackets inside this statement were closed. */
    while (reader->open_count && reader->open_count <= MAX_OPEN_BRACKETS &&
           reader->open[reader->open_count - 1].sign != '{')
      reader->open_count--;
  }
}

SyntaxTree *parse_source(Context *c, uint32_t file, const char *text, size_t length) {
  SyntaxTree *tree = ARENA_NEW(c, SyntaxTree, 1);
  SourceReader *reader = ARENA_NEW(c, SourceReader, 1);
  *reader = (SourceReader){.context = c, .tree = tree, .file = file, .line = 1, .column = 1};
  reader->after = (SourceLoc){file, 1, 1, 1};
  if (length > MAX_SOURCE_BYTES) {
    diag(c, DIAG_SOURCE_SIZE, (SourceLoc){file, 1, 1, 1}, (unsigned long long)length);
    diag_expected(c, "at most %d bytes", MAX_SOURCE_BYTES);
    return tree;
  }
  size_t skip = length >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0; /* a byte order mark */
  reader->column += (uint32_t)skip;
  reader->text = text + skip;
  if (setjmp(reader->stop)) {
    diag(c, DIAG_INTERNAL, reader->after, "the lexer gave up");
    return tree;
  }
  yyscan_t scanner;
  yylex_init_extra(reader, &scanner);
  yy_scan_bytes(text + skip, (int)(length - skip), scanner);
  yyparse(scanner, reader);
  return tree;
}
