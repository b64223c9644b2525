/* PTX text as a tree: what the lexer and the parser make and the decoder reads.
 *
 *   ptx_lexer.c      characters -> tokens
 *   ptx_operand.c    tokens -> operands, registers, constant expressions
 *   ptx_variable.c   .reg, .shared, .const and .global declarations, initial values
 *   ptx_parser.c     module, entries, statements, labels
 *
 * Everything lives in the arena of the module. Errors leave by longjmp to ptx_parse with a message that names the line.
 */
#ifndef CPU_PTX_H
#define CPU_PTX_H

#include "arena.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- types ---- */

typedef enum PtxType {
#define PTX_TYPE(name, text, bytes, kind) TYPE_##name,
#include "ptx_types.def"
  TYPE_COUNT
} PtxType;

typedef struct PtxTypeInfo {
  const char *text;
  uint8_t bytes; /* 0 for predicates */
  char kind;     /* u, s, b, f or p */
} PtxTypeInfo;

extern const PtxTypeInfo ptx_types[TYPE_COUNT];

/* The type named by `text` (without its dot), or TYPE_COUNT. */
PtxType ptx_type_named(const char *text, size_t length);

/* ---- tokens ---- */

typedef enum TokenKind {
  TOKEN_END,
  TOKEN_WORD,    /* add, %r1, $label, smem */
  TOKEN_DOTTED,  /* .s32, .shared::cta; the text is without the first dot */
  TOKEN_INTEGER, /* 12, 0x1f, 0b101, 017, each with an optional U */
  TOKEN_SINGLE,  /* 0f3F800000: bits in `integer` */
  TOKEN_DOUBLE,  /* 0d..., 1.5, 2e-3: bits in `integer` */
  TOKEN_STRING,
  TOKEN_MARK, /* one character of punctuation, or << and >> as '<' and '>' with length 2 */
  TOKEN_BAD
} TokenKind;

typedef struct Token {
  TokenKind kind;
  uint32_t line;
  const char *text;
  uint32_t length;
  uint64_t integer;
} Token;

typedef struct Lexer {
  const char *at, *end;
  uint32_t line;
  const char *layer; /* the text after the last "// layer:" seen, or NULL */
  uint32_t layer_length;
} Lexer;

void lexer_start(Lexer *lexer, const char *text, size_t length);
Token lexer_next(Lexer *lexer);

/* ---- the tree ---- */

typedef enum RegisterClass { REGISTER_PREDICATE, REGISTER_16, REGISTER_32, REGISTER_64 } RegisterClass;

typedef struct Register {
  const char *name;
  RegisterClass class;
  uint32_t id;   /* place in Function.registers */
  uint32_t slot; /* byte offset in a warp's register file; set by the decoder */
} Register;

typedef enum Space { SPACE_GENERIC, SPACE_PARAM, SPACE_GLOBAL, SPACE_SHARED, SPACE_CONST, SPACE_LOCAL } Space;

typedef struct Variable {
  const char *name;
  Space space;
  PtxType type;
  uint32_t line;
  uint64_t align, bytes;
  bool is_extern;         /* .extern .shared: the dynamic shared memory */
  const uint8_t *initial; /* bytes, or NULL */
  uint64_t address;       /* .param and .shared: offset; .global and .const: device address */
  bool placed;            /* shared variables: `address` is valid in function `placed_in` */
  const void *placed_in;
  struct Variable *next;
} Variable;

typedef enum OperandKind {
  OPERAND_REGISTER,
  OPERAND_SPECIAL, /* %tid.x: index into the table of special registers */
  OPERAND_INTEGER,
  OPERAND_SINGLE,
  OPERAND_DOUBLE,
  OPERAND_VARIABLE, /* address of a variable plus `value` */
  OPERAND_LABEL,
  OPERAND_MEMORY, /* [item + value] or [item + value, {...}] : items[0] the base, items[1] the vector */
  OPERAND_VECTOR,
  OPERAND_SINK /* _ */
} OperandKind;

typedef struct Operand {
  OperandKind kind;
  bool negated; /* !p, or -%r (refused by the decoder) */
  Register *reg;
  Variable *variable;
  int special;
  uint64_t value; /* integer, bits of a float, displacement, or the index of the statement a label names */
  const char *label;
  struct Operand *items;
  uint32_t count;
  struct Operand *pair; /* the second of a|b */
} Operand;

typedef struct Statement {
  const char *mnemonic; /* "add.s32" */
  Register *guard;
  bool guard_negated;
  Operand *operands;
  uint32_t count;
  uint32_t line;
  const char *layer; /* or NULL */
} Statement;

enum { MAX_CLUSTER = 8 }; /* blocks, as any GPU with clusters has them */

typedef struct Function {
  const char *name;
  uint32_t line;
  Variable **params;
  size_t param_count, param_capacity;
  uint64_t param_bytes;
  Register **registers;
  size_t register_count, register_capacity;
  Statement *statements;
  size_t statement_count, statement_capacity;
  Variable *variables;                          /* .shared variables of this function */
  uint32_t max_threads[3], required_threads[3]; /* 0: not stated */
  uint32_t cluster;                             /* blocks of one, along x; 0: not stated */
  struct Function *next;
} Function;

typedef struct PtxModule {
  Arena *arena;
  const char *text;
  size_t length;
  Function *functions;
  Variable *variables; /* of module scope */
  uint32_t version_major, version_minor;
  const char *target;
} PtxModule;

/* Special registers in their order in special_registers.def. */
typedef enum Special {
#define SPECIAL(name, text, class) SPECIAL_##name,
#include "special_registers.def"
  SPECIAL_COUNT
} Special;

typedef struct SpecialInfo {
  const char *text;
  RegisterClass class;
} SpecialInfo;

extern const SpecialInfo special_registers[SPECIAL_COUNT];

/* Parses `length` characters of PTX into `module` (arena set by the caller). On failure writes a message that names the
 * line into `message` and returns false. `out_of_memory` tells that kind of failure apart. */
bool ptx_parse(PtxModule *module, const char *text, size_t length, char *message, size_t message_size,
               bool *out_of_memory);

/* ---- inside the parser ---- */

typedef struct RegisterRange {
  const char *name;
  uint32_t length, hash;
  uint32_t count; /* %r<count>; 0: one register of exactly this name */
  RegisterClass class;
  Register **made;
  struct RegisterRange *next;
} RegisterRange;

typedef struct Label {
  const char *name;
  uint64_t index;
  struct Label *next;
} Label;

typedef struct LabelUse {
  Operand *operand;
  uint32_t line;
  struct LabelUse *next;
} LabelUse;

typedef struct Scope {
  RegisterRange *ranges;
  Label *labels;
  LabelUse *uses;
  Variable *variables;
  struct Scope *parent;
} Scope;

typedef struct Parser {
  PtxModule *module;
  Arena *arena;
  Lexer lexer;
  Token token; /* the next one */
  Function *function;
  Scope *scope;
  Function **last_function;
  const char *layer_source, *layer; /* the comment in the text, and its copy */
  uint32_t depth;                   /* of nested braces and brackets, bounded */
  jmp_buf escape;
  char *message;
  size_t message_size;
} Parser;

_Noreturn void parser_fail(Parser *p, uint32_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void parser_advance(Parser *p);
bool parser_at(const Parser *p, char mark);
bool parser_accept(Parser *p, char mark);
void parser_expect(Parser *p, char mark);
bool parser_at_dotted(const Parser *p, const char *text);
const char *parser_word(Parser *p, const char *what);

Operand parser_operand(Parser *p);
uint64_t parser_constant(Parser *p); /* an integer constant expression */
void parser_registers(Parser *p);    /* after .reg */
Register *parser_find_register(Parser *p, const char *name, size_t length);
Variable *parser_find_variable(const Parser *p, const char *name, size_t length);
uint64_t parser_align_up(uint64_t value, uint64_t align);

/* A variable's declaration after its space: [.align n] .type name[...][= {...}], without what follows. */
Variable *parser_variable(Parser *p, Space space);

#endif
