/* Variables of .shared, .const, .global and .param space with their initial values. Guarantees: sizes are bounded and
 * `initial`, where there is one, has exactly `bytes` bytes. */
#include "ptx.h"

#include <string.h>

static const uint64_t MAX_VARIABLE_BYTES = (uint64_t)1 << 30;

uint64_t parser_align_up(uint64_t value, uint64_t align) {
  return (value + align - 1) / align * align;
}

Variable *parser_find_variable(const Parser *p, const char *name, size_t length) {
  const Variable *lists[] = {p->function ? p->function->variables : NULL, p->module->variables};
  for (int i = 0; i < 2; i++)
    for (const Variable *v = lists[i]; v; v = v->next)
      if (strlen(v->name) == length && !memcmp(v->name, name, length)) return (Variable *)v;
  for (size_t i = 0; p->function && i < p->function->param_count; i++) {
    Variable *v = p->function->params[i];
    if (strlen(v->name) == length && !memcmp(v->name, name, length)) return v;
  }
  return NULL;
}

static uint64_t read_align(Parser *p) {
  uint64_t align = parser_constant(p);
  if (!align || align > 4096 || (align & (align - 1))) parser_fail(p, p->token.line, "not an alignment");
  return align;
}

/* .type with .align and .ptr attributes in any order before the name. */
static void read_attributes(Parser *p, Variable *v) {
  v->type = TYPE_COUNT;
  while (p->token.kind == TOKEN_DOTTED) {
    Token token = p->token;
    parser_advance(p);
    PtxType type = ptx_type_named(token.text, token.length);
    if (type != TYPE_COUNT)
      v->type = type;
    else if (token.length == 5 && !memcmp(token.text, "align", 5))
      v->align = read_align(p);
    else if (token.length == 3 && !memcmp(token.text, "ptr", 3)) {
      while (p->token.kind == TOKEN_DOTTED) {
        bool align = parser_at_dotted(p, "align");
        parser_advance(p);
        if (align) read_align(p);
      }
    } else
      parser_fail(p, token.line, "\".%.*s\" is not supported in a variable", (int)token.length, token.text);
  }
  if (v->type == TYPE_COUNT || v->type == TYPE_PREDICATE) parser_fail(p, p->token.line, "a variable needs a type");
}

typedef struct Filling {
  uint8_t *bytes; /* NULL while counting */
  uint64_t count; /* elements seen */
  uint64_t limit; /* elements there is room for */
} Filling;

static uint64_t initial_bits(Parser *p, PtxType type) {
  bool minus = parser_at(p, '-');
  Lexer before = p->lexer;
  Token token = p->token;
  if (minus) parser_advance(p);
  bool single = p->token.kind == TOKEN_SINGLE;
  if (!single && p->token.kind != TOKEN_DOUBLE) {
    p->lexer = before, p->token = token;
    return parser_constant(p);
  }
  uint64_t bits = p->token.integer ^ (minus ? (uint64_t)1 << (single ? 31 : 63) : 0);
  parser_advance(p);
  if (single || ptx_types[type].bytes == 8) return bits;
  double value;
  memcpy(&value, &bits, sizeof value);
  float rounded = (float)value;
  uint32_t narrow;
  memcpy(&narrow, &rounded, sizeof narrow);
  return narrow;
}

/* Nested braces are read as one list: the elements of every row are given in full. */
static void fill_elements(Parser *p, const Variable *v, Filling *f) {
  if (++p->depth > 16) parser_fail(p, p->token.line, "initial values nested too deeply");
  do {
    if (parser_accept(p, '{')) {
      fill_elements(p, v, f);
      parser_expect(p, '}');
      continue;
    }
    uint64_t bits = initial_bits(p, v->type);
    if (f->count == f->limit) parser_fail(p, p->token.line, "more initial values than elements in \"%s\"", v->name);
    if (f->bytes) memcpy(f->bytes + f->count * ptx_types[v->type].bytes, &bits, ptx_types[v->type].bytes);
    f->count++;
  } while (parser_accept(p, ','));
  p->depth--;
}

static void read_initial(Parser *p, Variable *v, bool open_ended) {
  Lexer before = p->lexer;
  Token token = p->token;
  Filling filling = {.limit = open_ended ? MAX_VARIABLE_BYTES / 8 : v->bytes / ptx_types[v->type].bytes};
  if (v->space == SPACE_SHARED || v->space == SPACE_PARAM) {
    parser_fail(p, token.line, "\"%s\" cannot have initial values", v->name);
  }
  fill_elements(p, v, &filling);
  if (open_ended) v->bytes = filling.count * ptx_types[v->type].bytes;
  p->lexer = before, p->token = token;
  uint8_t *bytes = arena_take(p->arena, v->bytes);
  filling.bytes = bytes, filling.count = 0;
  fill_elements(p, v, &filling);
  v->initial = bytes;
}

/* [n][m]...; true where the first dimension is left open. */
static bool read_dimensions(Parser *p, Variable *v) {
  bool open_ended = false;
  while (parser_accept(p, '[')) {
    if (parser_accept(p, ']')) {
      open_ended = true;
      continue;
    }
    uint64_t count = parser_constant(p);
    parser_expect(p, ']');
    if (count > MAX_VARIABLE_BYTES || v->bytes * count > MAX_VARIABLE_BYTES) {
      parser_fail(p, v->line, "\"%s\" is too large", v->name);
    }
    v->bytes *= count;
  }
  return open_ended;
}

Variable *parser_variable(Parser *p, Space space) {
  Variable *v = arena_take(p->arena, sizeof *v);
  v->space = space;
  v->line = p->token.line;
  read_attributes(p, v);
  v->name = parser_word(p, "the name of a variable");
  v->bytes = ptx_types[v->type].bytes;
  if (v->align < v->bytes) v->align = v->bytes;
  bool open_ended = read_dimensions(p, v);
  if (parser_accept(p, '='))
    read_initial(p, v, open_ended);
  else if (open_ended)
    v->bytes = 0;
  return v;
}
