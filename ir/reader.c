/* Reading the text form character by character. Never reads past the end; every failure is a report. */
#include "reader.h"
#include "print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

Reader reader_new(Context *c, uint32_t file, const char *text, size_t length) {
  return (Reader){c, text, text + length, text, file, 1};
}

/* Of what was read on this line since `start`. */
static SourceLoc loc_since(const Reader *r, const char *start) {
  uint32_t column = (uint32_t)(start - r->line_start) + 1;
  uint32_t length = r->at > start ? (uint32_t)(r->at - start) : 1;
  return (SourceLoc){r->file, r->line, column, length};
}

void reader_skip_blanks(Reader *r) {
  for (; r->at < r->end; r->at++) {
    char ch = *r->at;
    if (ch == '#') {
      while (r->at < r->end && *r->at != '\n') r->at++;
      if (r->at == r->end) return;
      ch = '\n';
    }
    if (ch != ' ' && ch != '\t' && ch != '\r' && ch != '\n') return;
    if (ch == '\n') {
      r->line++;
      r->line_start = r->at + 1;
    }
  }
}

void reader_skip_line(Reader *r) {
  while (r->at < r->end && *r->at != '\n') r->at++;
}

SourceLoc reader_loc(const Reader *r) {
  Reader ahead = *r;
  reader_skip_blanks(&ahead);
  return loc_since(&ahead, ahead.at);
}

bool reader_at_end(Reader *r) {
  reader_skip_blanks(r);
  return r->at == r->end;
}

/* The next token, shortened, for a message. */
static const char *next_token(Reader *r) {
  if (reader_at_end(r)) return "end of the text";
  const char *stop = r->at + 1;
  if (is_name_character(*r->at) || *r->at == '%' || *r->at == '@')
    while (stop < r->end && stop - r->at < 40 && is_name_character(*stop)) stop++;
  unsigned char byte = (unsigned char)*r->at;
  if (byte < 32 || byte >= 127) return arena_printf(r->context, "byte 0x%02x", byte);
  return arena_printf(r->context, "'%.*s'", (int)(stop - r->at), r->at);
}

bool reader_fail(Reader *r, const char *expected) {
  const char *token = next_token(r);
  diag(r->context, DIAG_IR_SYNTAX, reader_loc(r), token);
  diag_expected(r->context, "%s", expected);
  return false;
}

bool reader_take(Reader *r, char ch) {
  if (reader_at_end(r) || *r->at != ch) return false;
  r->at++;
  return true;
}

bool reader_expect(Reader *r, char ch, const char *where) {
  if (reader_take(r, ch)) return true;
  return reader_fail(r, arena_printf(r->context, "'%c' %s", ch, where));
}

static bool is_word_character(char ch) {
  return is_name_character(ch) && !strchr(".$/-", ch);
}

const char *reader_word(Reader *r, const char *expected) {
  reader_skip_blanks(r);
  const char *start = r->at;
  while (r->at < r->end && *r->at && is_word_character(*r->at)) r->at++;
  if (r->at > start) return arena_strndup(r->context, start, (size_t)(r->at - start));
  reader_fail(r, expected);
  return NULL;
}

static int hex_digit(char ch) {
  if (ch >= '0' && ch <= '9') return ch - '0';
  return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* The rest of a quoted name behind its first quote. */
static const char *quoted_name(Reader *r) {
  Text name = {.context = r->context};
  while (r->at < r->end && *r->at != '"' && *r->at != '\n' && *r->at) {
    char byte = *r->at++;
    if (byte == '\\') {
      if (r->end - r->at < 3 || *r->at != 'x' || hex_digit(r->at[1]) < 0 || hex_digit(r->at[2]) < 0) break;
      byte = (char)(hex_digit(r->at[1]) * 16 + hex_digit(r->at[2]));
      if (!byte) break;
      r->at += 3;
    }
    text_add_bytes(&name, &byte, 1);
  }
  if (r->at < r->end && *r->at == '"' && r->at[-1] != '\\') {
    r->at++;
    return name.data ? name.data : "";
  }
  reader_fail(r, "the rest of a quoted name, with \\x and two lower-case hexadecimal digits for special bytes");
  return NULL;
}

const char *reader_name(Reader *r, char mark, const char *expected) {
  if (!reader_take(r, mark)) {
    reader_fail(r, expected);
    return NULL;
  }
  if (r->at < r->end && *r->at == '"') {
    r->at++;
    return quoted_name(r);
  }
  const char *start = r->at;
  while (r->at < r->end && *r->at && is_name_character(*r->at)) r->at++;
  if (r->at > start) return arena_strndup(r->context, start, (size_t)(r->at - start));
  reader_fail(r, expected);
  return NULL;
}

/* Decimal digits; a value past 64 bits becomes UINT64_MAX. */
static bool read_digits(Reader *r, const char *what, uint64_t *out) {
  const char *start = r->at;
  uint64_t value = 0;
  for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
    uint64_t digit = (uint64_t)(*r->at - '0');
    value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
  }
  *out = value;
  return r->at > start || reader_fail(r, what);
}

static bool out_of_range(Reader *r, const char *start, const char *what) {
  diag(r->context, DIAG_IR_NUMBER, loc_since(r, start), what);
  return false;
}

bool reader_unsigned(Reader *r, uint64_t most, const char *what, uint64_t *out) {
  reader_skip_blanks(r);
  const char *start = r->at;
  if (!read_digits(r, what, out)) return false;
  return *out <= most || out_of_range(r, start, what);
}

bool reader_int(Reader *r, int64_t least, int64_t most, const char *what, int64_t *out) {
  reader_skip_blanks(r);
  const char *start = r->at;
  bool negative = reader_take(r, '-');
  uint64_t magnitude;
  if (!read_digits(r, what, &magnitude)) return false;
  *out = magnitude > INT64_MAX ? INT64_MAX : (int64_t)magnitude;
  if (negative) *out = -*out;
  return (*out >= least && *out <= most) || out_of_range(r, start, what);
}

bool reader_hex64(Reader *r, uint64_t *out) {
  const char *start = r->at;
  *out = 0;
  for (; r->at < r->end && hex_digit(*r->at) >= 0 && r->at - start < 16; r->at++)
    *out = *out * 16 + (uint64_t)hex_digit(*r->at);
  return r->at > start || reader_fail(r, "lower-case hexadecimal digits");
}

static bool nan_from_bits(Reader *r, float *out) {
  uint64_t bits;
  if (!reader_hex64(r, &bits)) return false;
  uint32_t word = (uint32_t)bits;
  memcpy(out, &word, sizeof word);
  return (bits <= UINT32_MAX && isnan(*out)) || reader_fail(r, "the eight digits of a NaN");
}

/* A C floating constant, inf, or nan: and its bits. */
bool reader_float(Reader *r, float *out) {
  char text[64];
  size_t n = 0;
  reader_skip_blanks(r);
  const char *start = r->at;
  while (r->at < r->end && *r->at && strchr("0123456789abcdefABCDEFxXpPinINF+-.", *r->at)) {
    if (n < sizeof text - 1) text[n++] = *r->at;
    r->at++;
  }
  text[n] = 0;
  if (!strcmp(text, "nan") && reader_take(r, ':')) return nan_from_bits(r, out);
  char *stop;
  *out = strtof(text, &stop);
  if (n && !*stop && n < sizeof text - 1 && !isnan(*out)) return true;
  r->at = start;
  return reader_fail(r, "a number");
}

bool reader_tile(Reader *r, Tile *out) {
  static const uint64_t most[] = {UINT16_MAX, UINT16_MAX, UINT16_MAX, UINT8_MAX,
                                  UINT8_MAX,  UINT8_MAX,  UINT8_MAX,  GATHERED};
  uint64_t n[8];
  for (int i = 0; i < 8; i++) {
    if (i && !reader_expect(r, ',', "between a tile's eight numbers")) return false;
    if (!reader_unsigned(r, most[i], "a number of the tile", &n[i])) return false;
  }
  *out = (Tile){(uint16_t)n[0], (uint16_t)n[1], (uint16_t)n[2], (uint8_t)n[3],
                (uint8_t)n[4],  (uint8_t)n[5],  (uint8_t)n[6],  (uint8_t)n[7]};
  return true;
}
