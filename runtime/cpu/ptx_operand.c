/* Operands, register names and integer constant expressions. Guarantees: every register of an operand was declared in
 * an enclosing scope; nesting is bounded. */
#include "ptx.h"

#include <stdio.h>
#include <string.h>

const SpecialInfo special_registers[SPECIAL_COUNT] = {
#define SPECIAL(name, text, class) {text, class},
#include "special_registers.def"
};

enum { MAX_DEPTH = 64, MAX_REGISTERS = 1 << 20, MAX_ITEMS = 512 };

/* ---- registers ---- */

static uint32_t hash_name(const char *name, size_t length) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)name[i]) * 16777619u;
  return hash;
}

static RegisterClass class_of_declaration(Parser *p) {
  Token token = p->token;
  PtxType type = token.kind == TOKEN_DOTTED ? ptx_type_named(token.text, token.length) : TYPE_COUNT;
  bool half = token.kind == TOKEN_DOTTED && token.length == 3 && !memcmp(token.text, "f16", 3);
  if (type == TYPE_COUNT && !half) {
    parser_fail(p, token.line, "expected the type of a register, seen \"%.*s\"", (int)token.length, token.text);
  }
  parser_advance(p);
  if (half) return REGISTER_16;
  static const RegisterClass class_of_bytes[] = {
      [0] = REGISTER_PREDICATE, [1] = REGISTER_16, [2] = REGISTER_16, [4] = REGISTER_32, [8] = REGISTER_64};
  return class_of_bytes[ptx_types[type].bytes];
}

static void declare_range(Parser *p, RegisterClass class) {
  RegisterRange *range = arena_take(p->arena, sizeof *range);
  uint32_t line = p->token.line;
  range->name = parser_word(p, "the name of a register");
  range->length = (uint32_t)strlen(range->name);
  range->hash = hash_name(range->name, range->length);
  range->class = class;
  uint64_t made = 1;
  if (parser_accept(p, '<')) {
    made = parser_constant(p);
    if (!made || made > MAX_REGISTERS) parser_fail(p, line, "a range of registers must hold 1 to %d", MAX_REGISTERS);
    parser_expect(p, '>');
    range->count = (uint32_t)made;
  }
  range->made = arena_take(p->arena, made * sizeof *range->made);
  range->next = p->scope->ranges;
  p->scope->ranges = range;
}

void parser_registers(Parser *p) {
  RegisterClass class = class_of_declaration(p);
  do declare_range(p, class);
  while (parser_accept(p, ','));
  parser_expect(p, ';');
}

static Register *register_in_range(Parser *p, RegisterRange *range, uint32_t index, const char *name, size_t length) {
  if (range->made[index]) return range->made[index];
  Function *f = p->function;
  Register *made = arena_take(p->arena, sizeof *made);
  made->name = arena_copy_text(p->arena, name, length);
  made->class = range->class;
  made->id = (uint32_t)f->register_count;
  f->registers = arena_grow(p->arena, f->registers, f->register_count, &f->register_capacity, sizeof *f->registers);
  f->registers[f->register_count++] = made;
  range->made[index] = made;
  return made;
}

/* The length of the name without its decimal index, and the index; a leading zero belongs to the name. */
static size_t split_index(const char *name, size_t length, uint32_t *index) {
  size_t stem = length;
  uint64_t value = 0, power = 1;
  while (stem > 1 && length - stem < 9 && name[stem - 1] >= '0' && name[stem - 1] <= '9') {
    value += power * (uint64_t)(name[--stem] - '0');
    power *= 10;
  }
  *index = (uint32_t)value;
  return stem;
}

Register *parser_find_register(Parser *p, const char *name, size_t length) {
  uint32_t index, hash = hash_name(name, length);
  size_t stem = split_index(name, length, &index);
  uint32_t stem_hash = hash_name(name, stem);
  for (Scope *scope = p->scope; scope; scope = scope->parent)
    for (RegisterRange *r = scope->ranges; r; r = r->next) {
      if (!r->count && r->hash == hash && r->length == length && !memcmp(r->name, name, length))
        return register_in_range(p, r, 0, name, length);
      if (index < r->count && r->hash == stem_hash && r->length == stem && !memcmp(r->name, name, stem))
        return register_in_range(p, r, index, name, length);
    }
  return NULL;
}

/* ---- constant expressions ---- */

typedef struct BinaryOperator {
  char mark;
  uint32_t length;
  int precedence;
} BinaryOperator;

static const BinaryOperator binary_operators[] = {{'|', 1, 1}, {'^', 1, 2}, {'&', 1, 3}, {'<', 2, 4}, {'>', 2, 4},
                                                  {'+', 1, 5}, {'-', 1, 5}, {'*', 1, 6}, {'/', 1, 6}, {'%', 1, 6}};

static const BinaryOperator *binary_operator_at(const Parser *p) {
  if (p->token.kind != TOKEN_MARK) return NULL;
  for (size_t i = 0; i < sizeof binary_operators / sizeof *binary_operators; i++)
    if (binary_operators[i].mark == *p->token.text && binary_operators[i].length == p->token.length)
      return &binary_operators[i];
  return NULL;
}

static uint64_t apply_operator(Parser *p, char mark, uint64_t a, uint64_t b) {
  if ((mark == '/' || mark == '%') && !b) parser_fail(p, p->token.line, "division by zero in a constant");
  switch (mark) {
  case '|':
    return a | b;
  case '^':
    return a ^ b;
  case '&':
    return a & b;
  case '<':
    return b > 63 ? 0 : a << b;
  case '>':
    return b > 63 ? 0 : a >> b;
  case '+':
    return a + b;
  case '-':
    return a - b;
  case '*':
    return a * b;
  case '/':
    return a / b;
  default:
    return a % b;
  }
}

static uint64_t constant_at_level(Parser *p, int level);

static uint64_t constant_primary(Parser *p) {
  uint64_t value;
  Token token = p->token;
  if (++p->depth > MAX_DEPTH) parser_fail(p, token.line, "constant nested too deeply");
  if (token.kind == TOKEN_INTEGER)
    parser_advance(p), value = token.integer;
  else if (parser_accept(p, '-'))
    value = 0 - constant_primary(p);
  else if (parser_accept(p, '~'))
    value = ~constant_primary(p);
  else if (parser_accept(p, '!'))
    value = !constant_primary(p);
  else if (parser_accept(p, '+'))
    value = constant_primary(p);
  else if (parser_accept(p, '('))
    value = constant_at_level(p, 1), parser_expect(p, ')');
  else
    parser_fail(p, token.line, "expected an integer, seen \"%.*s\"", (int)token.length, token.text);
  p->depth--;
  return value;
}

static uint64_t constant_at_level(Parser *p, int level) {
  uint64_t value = constant_primary(p);
  const BinaryOperator *op;
  while ((op = binary_operator_at(p)) && op->precedence >= level) {
    parser_advance(p);
    value = apply_operator(p, op->mark, value, constant_at_level(p, op->precedence + 1));
  }
  return value;
}

uint64_t parser_constant(Parser *p) {
  return constant_at_level(p, 1);
}

/* ---- operands ---- */

static int find_special(const char *text, size_t length) {
  for (int i = 0; i < SPECIAL_COUNT; i++)
    if (strlen(special_registers[i].text) == length && !memcmp(special_registers[i].text, text, length)) return i;
  return -1;
}

/* %tid.x comes as a word and a dotted token; the two touch. */
static bool special_operand(Parser *p, Token word, Operand *operand) {
  char name[40];
  size_t length = word.length;
  bool dotted = p->token.kind == TOKEN_DOTTED && p->token.text == word.text + word.length + 1;
  if (*word.text != '%') return false;
  if (dotted) length += 1 + p->token.length;
  if (length >= sizeof name) return false;
  memcpy(name, word.text, length);
  operand->special = find_special(name, length);
  if (operand->special < 0) {
    if (!dotted) return false;
    parser_fail(p, word.line, "special register \"%.*s\" is not supported", (int)length, name);
  }
  if (dotted) parser_advance(p);
  operand->kind = OPERAND_SPECIAL;
  return true;
}

static void label_operand(Parser *p, Token word, Operand *operand) {
  operand->kind = OPERAND_LABEL;
  operand->label = arena_copy_text(p->arena, word.text, word.length);
}

/* The displacement after a base: + constant or - constant. */
static uint64_t displacement(Parser *p) {
  if (parser_accept(p, '+')) return constant_at_level(p, 6);
  if (parser_accept(p, '-')) return 0 - constant_at_level(p, 6);
  return 0;
}

static void word_operand(Parser *p, Operand *operand) {
  Token word = p->token;
  parser_advance(p);
  if (word.length == 1 && *word.text == '_') {
    operand->kind = OPERAND_SINK;
    return;
  }
  operand->reg = parser_find_register(p, word.text, word.length);
  if (operand->reg) {
    operand->kind = OPERAND_REGISTER;
    return;
  }
  if (special_operand(p, word, operand)) return;
  if (word.length == 7 && !memcmp(word.text, "WARP_SZ", 7)) {
    operand->kind = OPERAND_INTEGER, operand->value = 32;
    return;
  }
  operand->variable = parser_find_variable(p, word.text, word.length);
  if (operand->variable) {
    operand->kind = OPERAND_VARIABLE;
    operand->value = displacement(p);
    return;
  }
  if (*word.text == '%') {
    parser_fail(p, word.line, "register \"%.*s\" is not declared", (int)word.length, word.text);
  }
  label_operand(p, word, operand);
}

static void operand_list(Parser *p, Operand *operand, char end) {
  Operand items[MAX_ITEMS];
  if (++p->depth > 4) parser_fail(p, p->token.line, "operands nested too deeply");
  do {
    if (operand->count == MAX_ITEMS) parser_fail(p, p->token.line, "more than %d operands in a list", MAX_ITEMS);
    items[operand->count++] = parser_operand(p);
  } while (parser_accept(p, ','));
  parser_expect(p, end);
  p->depth--;
  operand->items = arena_take(p->arena, operand->count * sizeof *items);
  memcpy(operand->items, items, operand->count * sizeof *items);
}

static void memory_operand(Parser *p, Operand *operand) {
  uint32_t line = p->token.line;
  operand->kind = OPERAND_MEMORY;
  operand->items = arena_take(p->arena, 2 * sizeof *operand->items);
  operand->items[0] = parser_operand(p);
  operand->count = 1;
  if (operand->items[0].pair) parser_fail(p, line, "an address cannot be a pair");
  operand->value = displacement(p);
  if (parser_accept(p, ',')) operand->items[operand->count++] = parser_operand(p);
  parser_expect(p, ']');
}

static bool is_float(TokenKind kind) {
  return kind == TOKEN_SINGLE || kind == TOKEN_DOUBLE;
}

static void float_operand(Parser *p, Operand *operand, bool minus) {
  bool single = p->token.kind == TOKEN_SINGLE;
  operand->kind = single ? OPERAND_SINGLE : OPERAND_DOUBLE;
  operand->value = p->token.integer ^ (minus ? (uint64_t)1 << (single ? 31 : 63) : 0);
  parser_advance(p);
}

static Operand primary_operand(Parser *p) {
  Operand operand = {.kind = OPERAND_INTEGER};
  if (is_float(p->token.kind)) {
    float_operand(p, &operand, false);
  } else if (p->token.kind == TOKEN_WORD) {
    word_operand(p, &operand);
  } else if (parser_accept(p, '{')) {
    operand.kind = OPERAND_VECTOR;
    operand_list(p, &operand, '}');
  } else if (parser_accept(p, '[')) {
    if (++p->depth > 4) parser_fail(p, p->token.line, "operands nested too deeply");
    memory_operand(p, &operand);
    p->depth--;
  } else if (parser_at(p, '!') || parser_at(p, '-')) {
    bool minus = parser_at(p, '-');
    Token mark = p->token;
    parser_advance(p);
    if (minus && is_float(p->token.kind)) {
      float_operand(p, &operand, true);
    } else if (p->token.kind == TOKEN_WORD) {
      word_operand(p, &operand);
      operand.negated = true;
      if (minus) parser_fail(p, mark.line, "\"-\" stands before a register");
    } else {
      operand.value = minus ? 0 - constant_at_level(p, 6) : !constant_primary(p);
      if (minus && binary_operator_at(p)) parser_fail(p, mark.line, "put the constant in parentheses");
    }
  } else if (p->token.kind == TOKEN_INTEGER || parser_at(p, '(') || parser_at(p, '~')) {
    operand.value = parser_constant(p);
  } else {
    parser_fail(p, p->token.line, "expected an operand, seen \"%.*s\"", (int)p->token.length, p->token.text);
  }
  return operand;
}

Operand parser_operand(Parser *p) {
  Operand operand = primary_operand(p);
  bool can_pair = operand.kind == OPERAND_REGISTER || operand.kind == OPERAND_SINK;
  if (can_pair && parser_accept(p, '|')) {
    operand.pair = arena_take(p->arena, sizeof *operand.pair);
    *operand.pair = primary_operand(p);
  }
  return operand;
}
