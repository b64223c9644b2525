/* PTX characters to tokens. Guarantees: never reads past the end of the text, every token carries its line, and a
 * "// layer: NAME" comment is remembered as the layer of what follows. */
#include "ptx.h"

#include <stdlib.h>
#include <string.h>

const PtxTypeInfo ptx_types[TYPE_COUNT] = {
#define PTX_TYPE(name, text, bytes, kind) {text, bytes, kind},
#include "ptx_types.def"
};

PtxType ptx_type_named(const char *text, size_t length) {
  for (int i = 0; i < TYPE_COUNT; i++)
    if (strlen(ptx_types[i].text) == length && !memcmp(ptx_types[i].text, text, length)) return (PtxType)i;
  return TYPE_COUNT;
}

void lexer_start(Lexer *lexer, const char *text, size_t length) {
  *lexer = (Lexer){.at = text, .end = text + length, .line = 1};
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool is_word(char c) {
  return is_letter(c) || is_digit(c) || c == '_' || c == '$' || c == '%';
}

static char peek(const Lexer *lexer, size_t ahead) {
  return (size_t)(lexer->end - lexer->at) > ahead ? lexer->at[ahead] : 0;
}

static void remember_layer(Lexer *lexer, const char *text, const char *end) {
  static const char tag[] = "layer:";
  while (text < end && (*text == ' ' || *text == '\t')) text++;
  if ((size_t)(end - text) < sizeof tag - 1 || memcmp(text, tag, sizeof tag - 1)) return;
  text += sizeof tag - 1;
  while (text < end && (*text == ' ' || *text == '\t')) text++;
  while (end > text && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
  lexer->layer = text;
  lexer->layer_length = (uint32_t)(end - text);
}

static void skip_line_comment(Lexer *lexer) {
  const char *start = lexer->at + 2;
  while (lexer->at < lexer->end && *lexer->at != '\n') lexer->at++;
  remember_layer(lexer, start, lexer->at);
}

static void skip_block_comment(Lexer *lexer) {
  lexer->at += 2;
  while (lexer->at < lexer->end && !(peek(lexer, 0) == '*' && peek(lexer, 1) == '/'))
    if (*lexer->at++ == '\n') lexer->line++;
  lexer->at += lexer->at < lexer->end ? 2 : 0;
}

static void skip_blank(Lexer *lexer) {
  for (;;) {
    char c = peek(lexer, 0);
    if (c == '\n') lexer->line++;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v')
      lexer->at++;
    else if (c == '/' && peek(lexer, 1) == '/')
      skip_line_comment(lexer);
    else if (c == '/' && peek(lexer, 1) == '*')
      skip_block_comment(lexer);
    else
      return;
  }
}

static int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

/* Digits of `base` from the present place; how many there were. */
static int take_digits(Lexer *lexer, int base, uint64_t *value) {
  int count = 0;
  for (*value = 0; digit_value(peek(lexer, 0)) < base; count++)
    *value = *value * (uint64_t)base + (uint64_t)digit_value(*lexer->at++);
  return count;
}

/* 0f and 0d followed by the bits in hexadecimal. */
static void lex_float_bits(Lexer *lexer, Token *token, int digits, TokenKind kind) {
  lexer->at += 2;
  token->kind = take_digits(lexer, 16, &token->integer) == digits ? kind : TOKEN_BAD;
}

static bool looks_decimal_float(const Lexer *lexer) {
  size_t i = 0;
  while (is_digit(peek(lexer, i))) i++;
  char c = peek(lexer, i), d = peek(lexer, i + 1);
  if (c == '.') return is_digit(d);
  if (c != 'e' && c != 'E') return false;
  return is_digit(d) || ((d == '-' || d == '+') && is_digit(peek(lexer, i + 2)));
}

static void lex_decimal_float(Lexer *lexer, Token *token) {
  char copy[64];
  size_t n = 0;
  for (char c = peek(lexer, 0);
       is_digit(c) || c == '.' || c == 'e' || c == 'E' || ((c == '-' || c == '+') && (lexer->at[-1] | 32) == 'e');
       c = peek(lexer, 0)) {
    if (n < sizeof copy - 1) copy[n++] = c;
    lexer->at++;
  }
  copy[n] = 0;
  double value = strtod(copy, NULL);
  memcpy(&token->integer, &value, sizeof value);
  token->kind = n == sizeof copy - 1 ? TOKEN_BAD : TOKEN_DOUBLE;
}

static void lex_number(Lexer *lexer, Token *token) {
  char second = (char)(peek(lexer, 1) | 32);
  token->kind = TOKEN_INTEGER;
  if (*lexer->at == '0' && second == 'f') {
    lex_float_bits(lexer, token, 8, TOKEN_SINGLE);
    return;
  }
  if (*lexer->at == '0' && second == 'd') {
    lex_float_bits(lexer, token, 16, TOKEN_DOUBLE);
    return;
  }
  if (looks_decimal_float(lexer)) {
    lex_decimal_float(lexer, token);
    return;
  }
  int base = *lexer->at != '0' ? 10 : second == 'x' ? 16 : second == 'b' ? 2 : 8;
  if (base == 16 || base == 2) lexer->at += 2;
  if (!take_digits(lexer, base, &token->integer)) token->kind = TOKEN_BAD;
  if (peek(lexer, 0) == 'U') lexer->at++;
  if (is_word(peek(lexer, 0))) token->kind = TOKEN_BAD;
}

static void lex_word(Lexer *lexer) {
  while (is_word(peek(lexer, 0))) lexer->at++;
}

/* .name, where the name may hold "::" */
static void lex_dotted(Lexer *lexer) {
  lexer->at++;
  for (;;) {
    if (is_word(peek(lexer, 0)))
      lexer->at++;
    else if (peek(lexer, 0) == ':' && peek(lexer, 1) == ':' && is_word(peek(lexer, 2)))
      lexer->at += 2;
    else
      return;
  }
}

static void lex_string(Lexer *lexer, Token *token) {
  lexer->at++;
  while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n') lexer->at++;
  token->kind = peek(lexer, 0) == '"' ? TOKEN_STRING : TOKEN_BAD;
  if (token->kind == TOKEN_STRING) lexer->at++;
}

Token lexer_next(Lexer *lexer) {
  skip_blank(lexer);
  Token token = {.kind = TOKEN_MARK, .line = lexer->line, .text = lexer->at};
  char c = peek(lexer, 0);
  if (lexer->at >= lexer->end)
    token.kind = TOKEN_END;
  else if (is_digit(c))
    lex_number(lexer, &token);
  else if (is_word(c))
    token.kind = TOKEN_WORD, lex_word(lexer);
  else if (c == '.' && is_word(peek(lexer, 1)))
    token.kind = TOKEN_DOTTED, lex_dotted(lexer);
  else if (c == '"')
    lex_string(lexer, &token);
  else if ((c == '<' || c == '>') && peek(lexer, 1) == c)
    lexer->at += 2;
  else
    lexer->at++;
  token.length = (uint32_t)(lexer->at - token.text);
  if (token.kind == TOKEN_DOTTED) token.text++, token.length--;
  return token;
}
