/* Reading the text form character by character: blanks, words, numbers, names, and errors with their place. */
#ifndef IR_READER_H
#define IR_READER_H

#include "graph.h"

typedef struct Reader {
  Context *context;
  const char *at, *end;
  const char *line_start;
  uint32_t file, line;
} Reader;

Reader reader_new(Context *c, uint32_t file, const char *text, size_t length);
SourceLoc reader_loc(const Reader *r); /* of the next token, one character long */
void reader_skip_blanks(Reader *r);    /* white space and # comments */
void reader_skip_line(Reader *r);      /* to the start of the next line */
bool reader_at_end(Reader *r);
bool reader_take(Reader *r, char ch); /* the next token, where it is that character */
bool reader_expect(Reader *r, char ch, const char *where);
bool reader_fail(Reader *r, const char *expected); /* reports the next token as unexpected; false */

/* Each returns false after a report. */
const char *reader_word(Reader *r, const char *expected);            /* letters, digits, _; NULL after a report */
const char *reader_name(Reader *r, char mark, const char *expected); /* %name or %"any name" */
bool reader_int(Reader *r, int64_t least, int64_t most, const char *what, int64_t *out);
bool reader_unsigned(Reader *r, uint64_t most, const char *what, uint64_t *out);
bool reader_float(Reader *r, float *out);
bool reader_hex64(Reader *r, uint64_t *out);
bool reader_tile(Reader *r, Tile *out); /* its eight numbers, as tile_text writes them */

#endif
