/* Module, entries and statements. Guarantees: a tree whose names are resolved (registers, variables, labels), or one
 * message that names the line. */
#include "ptx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PARAM_BYTES = 4096, MAX_OPERANDS = 32, MAX_MNEMONIC = 160, MAX_SCOPES = 64 };

/* ---- tokens ---- */

void parser_fail(Parser *p, uint32_t line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = snprintf(p->message, p->message_size, "PTX line %u: ", line);
  if (n > 0 && (size_t)n < p->message_size) vsnprintf(p->message + n, p->message_size - (size_t)n, format, arguments);
  va_end(arguments);
  longjmp(p->escape, 2);
}

void parser_advance(Parser *p) {
  p->token = lexer_next(&p->lexer);
  if (p->token.kind == TOKEN_BAD) {
    int shown = p->token.length < 40 ? (int)p->token.length : 40;
    parser_fail(p, p->token.line, "\"%.*s\" is not a number or a string", shown, p->token.text);
  }
}

bool parser_at(const Parser *p, char mark) {
  return p->token.kind == TOKEN_MARK && p->token.length == 1 && *p->token.text == mark;
}

bool parser_accept(Parser *p, char mark) {
  if (!parser_at(p, mark)) return false;
  parser_advance(p);
  return true;
}

static _Noreturn void fail_expected(Parser *p, const char *what) {
  if (p->token.kind == TOKEN_END) parser_fail(p, p->token.line, "expected %s, seen the end of the text", what);
  int shown = p->token.length < 40 ? (int)p->token.length : 40;
  parser_fail(p, p->token.line, "expected %s, seen \"%.*s\"", what, shown, p->token.text);
}

void parser_expect(Parser *p, char mark) {
  char what[] = {'"', mark, '"', 0};
  if (!parser_accept(p, mark)) fail_expected(p, what);
}

bool parser_at_dotted(const Parser *p, const char *text) {
  return p->token.kind == TOKEN_DOTTED && strlen(text) == p->token.length &&
         !memcmp(p->token.text, text, p->token.length);
}

static bool accept_dotted(Parser *p, const char *text) {
  if (!parser_at_dotted(p, text)) return false;
  parser_advance(p);
  return true;
}

const char *parser_word(Parser *p, const char *what) {
  if (p->token.kind != TOKEN_WORD) fail_expected(p, what);
  const char *word = arena_copy_text(p->arena, p->token.text, p->token.length);
  parser_advance(p);
  return word;
}

/* ---- scopes and labels ---- */

static void open_scope(Parser *p, Scope *scope) {
  *scope = (Scope){.parent = p->scope};
  p->scope = scope;
}

static bool resolve_use(const Scope *scope, LabelUse *use) {
  for (const Label *label = scope->labels; label; label = label->next)
    if (!strcmp(label->name, use->operand->label)) {
      use->operand->value = label->index;
      return true;
    }
  return false;
}

/* Names that this scope does not define are left to the one around it. */
static void close_scope(Parser *p) {
  Scope *scope = p->scope;
  for (LabelUse *use = scope->uses, *next; use; use = next) {
    next = use->next;
    if (resolve_use(scope, use)) continue;
    if (!scope->parent) parser_fail(p, use->line, "\"%s\" is not declared", use->operand->label);
    use->next = scope->parent->uses;
    scope->parent->uses = use;
  }
  p->scope = scope->parent;
}

static void define_label(Parser *p, const char *name, uint32_t line) {
  for (Label *label = p->scope->labels; label; label = label->next)
    if (!strcmp(label->name, name)) parser_fail(p, line, "label \"%s\" stands twice", name);
  Label *label = arena_take(p->arena, sizeof *label);
  label->name = name;
  label->index = p->function->statement_count;
  label->next = p->scope->labels;
  p->scope->labels = label;
}

static void note_label_use(Parser *p, Operand *operand, uint32_t line) {
  if (operand->kind != OPERAND_LABEL) {
    for (uint32_t i = 0; i < operand->count; i++) note_label_use(p, &operand->items[i], line);
    if (operand->pair) note_label_use(p, operand->pair, line);
    return;
  }
  LabelUse *use = arena_take(p->arena, sizeof *use);
  *use = (LabelUse){.operand = operand, .line = line, .next = p->scope->uses};
  p->scope->uses = use;
}

/* ---- statements ---- */

static Statement *new_statement(Parser *p) {
  Function *f = p->function;
  f->statements = arena_grow(p->arena, f->statements, f->statement_count, &f->statement_capacity, sizeof(Statement));
  return &f->statements[f->statement_count++];
}

static void read_guard(Parser *p, Statement *statement) {
  if (!parser_accept(p, '@')) return;
  statement->guard_negated = parser_accept(p, '!');
  Token token = p->token;
  if (token.kind == TOKEN_WORD) statement->guard = parser_find_register(p, token.text, token.length);
  if (!statement->guard || statement->guard->class != REGISTER_PREDICATE) fail_expected(p, "a declared predicate");
  parser_advance(p);
}

static const char *read_mnemonic(Parser *p) {
  char text[MAX_MNEMONIC];
  size_t n = p->token.length;
  if (p->token.kind != TOKEN_WORD || n >= sizeof text) fail_expected(p, "an instruction");
  memcpy(text, p->token.text, n);
  parser_advance(p);
  while (p->token.kind == TOKEN_DOTTED) {
    if (n + 1 + p->token.length >= sizeof text) parser_fail(p, p->token.line, "instruction name too long");
    text[n++] = '.';
    memcpy(text + n, p->token.text, p->token.length);
    n += p->token.length;
    parser_advance(p);
  }
  return arena_copy_text(p->arena, text, n);
}

static void read_operands(Parser *p, Statement *statement) {
  Operand operands[MAX_OPERANDS];
  uint32_t count = 0;
  if (!parser_at(p, ';')) {
    do {
      if (count == MAX_OPERANDS) parser_fail(p, statement->line, "more than %d operands", MAX_OPERANDS);
      operands[count++] = parser_operand(p);
    } while (parser_accept(p, ','));
  }
  parser_expect(p, ';');
  statement->count = count;
  statement->operands = arena_take(p->arena, count * sizeof *operands);
  memcpy(statement->operands, operands, count * sizeof *operands);
  for (uint32_t i = 0; i < count; i++) note_label_use(p, &statement->operands[i], statement->line);
}

/* The text of the last "// layer:" comment, copied once for all instructions under it. */
static const char *current_layer(Parser *p) {
  if (p->lexer.layer != p->layer_source) {
    p->layer_source = p->lexer.layer;
    p->layer = arena_copy_text(p->arena, p->lexer.layer, p->lexer.layer_length);
  }
  return p->layer;
}

static void read_instruction(Parser *p) {
  uint32_t line = p->token.line;
  Statement statement = {.line = line};
  const char *layer = current_layer(p);
  read_guard(p, &statement);
  statement.mnemonic = read_mnemonic(p);
  if (!statement.guard && parser_at(p, ':')) {
    parser_advance(p);
    define_label(p, statement.mnemonic, line);
    return;
  }
  statement.layer = layer;
  read_operands(p, &statement);
  *new_statement(p) = statement;
}

static void read_variables(Parser *p, Space space, bool is_extern, Variable **list) {
  do {
    uint32_t line = p->token.line;
    Variable *v = parser_variable(p, space);
    if (parser_find_variable(p, v->name, strlen(v->name))) parser_fail(p, line, "\"%s\" is declared twice", v->name);
    v->is_extern = is_extern;
    if (is_extern && space != SPACE_SHARED) parser_fail(p, line, ".extern is supported for .shared alone");
    while (*list) list = &(*list)->next;
    *list = v;
  } while (parser_accept(p, ','));
  parser_expect(p, ';');
}

static void skip_to_mark(Parser *p, char mark) {
  while (!parser_at(p, mark)) {
    if (p->token.kind == TOKEN_END) fail_expected(p, "the end of a directive");
    parser_advance(p);
  }
  parser_advance(p);
}

/* .loc and .file end with their line. */
static void skip_line(Parser *p, uint32_t line) {
  while (p->token.kind != TOKEN_END && p->token.line == line) parser_advance(p);
}

static void read_body_directive(Parser *p) {
  Token token = p->token;
  if (accept_dotted(p, "reg"))
    parser_registers(p);
  else if (accept_dotted(p, "shared"))
    read_variables(p, SPACE_SHARED, false, &p->function->variables);
  else if (accept_dotted(p, "pragma"))
    skip_to_mark(p, ';');
  else if (accept_dotted(p, "loc") || accept_dotted(p, "file"))
    skip_line(p, token.line);
  else
    parser_fail(p, token.line, "directive \".%.*s\" is not supported here", (int)token.length, token.text);
}

static void read_block(Parser *p) {
  Scope scope;
  open_scope(p, &scope);
  if (++p->depth > MAX_SCOPES) parser_fail(p, p->token.line, "scopes nested too deeply");
  while (!parser_accept(p, '}')) {
    if (p->token.kind == TOKEN_END)
      fail_expected(p, "\"}\"");
    else if (p->token.kind == TOKEN_DOTTED)
      read_body_directive(p);
    else if (parser_accept(p, '{'))
      read_block(p);
    else if (!parser_accept(p, ';'))
      read_instruction(p);
  }
  p->depth--;
  close_scope(p);
}

/* ---- entries ---- */

static void read_params(Parser *p, Function *f) {
  if (!parser_accept(p, '(') || parser_accept(p, ')')) return;
  do {
    if (!accept_dotted(p, "param")) fail_expected(p, "\".param\"");
    Variable *v = parser_variable(p, SPACE_PARAM);
    v->address = parser_align_up(f->param_bytes, v->align);
    f->param_bytes = v->address + v->bytes;
    if (f->param_bytes > MAX_PARAM_BYTES) parser_fail(p, v->line, "more than %d bytes of parameters", MAX_PARAM_BYTES);
    f->params = arena_grow(p->arena, f->params, f->param_count, &f->param_capacity, sizeof *f->params);
    f->params[f->param_count++] = v;
  } while (parser_accept(p, ','));
  parser_expect(p, ')');
}

static void read_triple(Parser *p, uint32_t triple[3]) {
  triple[0] = triple[1] = triple[2] = 1;
  for (int i = 0; i < 3; i++) {
    uint64_t value = parser_constant(p);
    if (!value || value > 1024) parser_fail(p, p->token.line, "a block has 1 to 1024 threads");
    triple[i] = (uint32_t)value;
    if (!parser_accept(p, ',')) return;
  }
}

static void read_cluster(Parser *p, Function *f) {
  uint32_t line = p->token.line, size[3];
  read_triple(p, size);
  if (size[0] > MAX_CLUSTER || size[1] * size[2] != 1)
    parser_fail(p, line, "clusters of 1 to %d blocks along x are supported", MAX_CLUSTER);
  f->cluster = size[0];
}

static void read_entry_directive(Parser *p, Function *f) {
  Token token = p->token;
  if (accept_dotted(p, "maxntid"))
    read_triple(p, f->max_threads);
  else if (accept_dotted(p, "reqntid"))
    read_triple(p, f->required_threads);
  else if (accept_dotted(p, "reqnctapercluster"))
    read_cluster(p, f);
  else if (accept_dotted(p, "minnctapersm") || accept_dotted(p, "maxnreg") || accept_dotted(p, "maxclusterrank"))
    parser_constant(p);
  else if (accept_dotted(p, "pragma"))
    skip_to_mark(p, ';');
  else if (!accept_dotted(p, "noreturn") && !accept_dotted(p, "explicitcluster")) {
    parser_fail(p, token.line, "directive \".%.*s\" is not supported here", (int)token.length, token.text);
  }
}

static void read_entry(Parser *p) {
  Function *f = arena_take(p->arena, sizeof *f);
  f->line = p->token.line;
  f->name = parser_word(p, "the name of an entry");
  for (const Function *other = p->module->functions; other; other = other->next)
    if (!strcmp(other->name, f->name)) parser_fail(p, f->line, "entry \"%s\" stands twice", f->name);
  p->function = f;
  read_params(p, f);
  while (p->token.kind == TOKEN_DOTTED) read_entry_directive(p, f);
  parser_expect(p, '{');
  read_block(p);
  p->function = NULL;
  *p->last_function = f;
  p->last_function = &f->next;
}

/* ---- module ---- */

static void read_version(Parser *p) {
  if (p->token.kind != TOKEN_DOUBLE && p->token.kind != TOKEN_INTEGER) fail_expected(p, "a version such as 8.0");
  unsigned major = 0, minor = 0;
  sscanf(p->token.text, "%3u.%3u", &major, &minor);
  p->module->version_major = major, p->module->version_minor = minor;
  parser_advance(p);
}

static void read_target(Parser *p) {
  do {
    const char *word = parser_word(p, "a target");
    if (!p->module->target) p->module->target = word;
  } while (parser_accept(p, ','));
}

static void read_address_size(Parser *p) {
  uint32_t line = p->token.line;
  if (parser_constant(p) != 64) parser_fail(p, line, ".address_size 64 is the only one supported");
}

static void skip_section(Parser *p) {
  while (!parser_at(p, '{') && p->token.kind != TOKEN_END) parser_advance(p);
  skip_to_mark(p, '}');
}

static void read_module_directive(Parser *p) {
  Token token = p->token;
  bool is_extern = false;
  for (;; parser_advance(p)) {
    if (parser_at_dotted(p, "extern"))
      is_extern = true;
    else if (!parser_at_dotted(p, "visible") && !parser_at_dotted(p, "weak"))
      break;
  }
  Variable **list = &p->module->variables;
  if (accept_dotted(p, "entry"))
    read_entry(p);
  else if (accept_dotted(p, "shared"))
    read_variables(p, SPACE_SHARED, is_extern, list);
  else if (accept_dotted(p, "const"))
    read_variables(p, SPACE_CONST, is_extern, list);
  else if (accept_dotted(p, "global"))
    read_variables(p, SPACE_GLOBAL, is_extern, list);
  else if (accept_dotted(p, "version"))
    read_version(p);
  else if (accept_dotted(p, "target"))
    read_target(p);
  else if (accept_dotted(p, "address_size"))
    read_address_size(p);
  else if (accept_dotted(p, "file") || accept_dotted(p, "loc"))
    skip_line(p, token.line);
  else if (accept_dotted(p, "section"))
    skip_section(p);
  else if (accept_dotted(p, "pragma"))
    skip_to_mark(p, ';');
  else if (p->token.kind != TOKEN_DOTTED)
    fail_expected(p, "a directive");
  else
    parser_fail(p, p->token.line, "directive \".%.*s\" is not supported", (int)p->token.length, p->token.text);
}

static void read_module(Parser *p) {
  p->last_function = &p->module->functions;
  parser_advance(p);
  if (!parser_at_dotted(p, "version")) fail_expected(p, "\".version\" at the start of the module");
  while (p->token.kind != TOKEN_END) read_module_directive(p);
}

bool ptx_parse(PtxModule *module, const char *text, size_t length, char *message, size_t message_size,
               bool *out_of_memory) {
  Parser parser = {.module = module, .arena = module->arena, .message = message, .message_size = message_size};
  jmp_buf *outer = module->arena->escape;
  module->text = text;
  module->length = length;
  lexer_start(&parser.lexer, text, length);
  module->arena->escape = &parser.escape;
  int failure = setjmp(parser.escape);
  if (!failure) read_module(&parser);
  module->arena->escape = outer;
  *out_of_memory = failure == 1;
  return !failure;
}
