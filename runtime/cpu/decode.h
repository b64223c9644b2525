/* Inside the decoder: state shared by decode.c, pattern.c and operands.c. */
#ifndef CPU_DECODE_H
#define CPU_DECODE_H

#include "machine.h"

typedef struct ConstantEntry {
  Constant constant;
  struct ConstantEntry *next;
} ConstantEntry;

enum { CONSTANT_BUCKETS = 256, NAME_BUCKETS = 256 };

/* A name that was seen: the first row it fits. */
typedef struct NameEntry {
  const char *mnemonic;
  uint32_t row;
} NameEntry;

typedef struct Decoder {
  Arena *arena;
  Function *function;
  Kernel *kernel;
  const char *text_start;
  uint32_t next_slot, next_predicate; /* free places in the register file */
  ConstantEntry *constants[CONSTANT_BUCKETS];
  uint32_t constant_count;
  uint32_t sinks[4]; /* by RegisterClass; NO_OPERAND until used */
  NameEntry names[NAME_BUCKETS];
  jmp_buf escape;
  char *message;
  size_t message_size;
} Decoder;

_Noreturn void decode_fail(Decoder *d, uint32_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* pattern.c: whether the mnemonic fits the pattern of a row; fills in->mod and in->vector. */
bool pattern_matches(const char *pattern, const char *mnemonic, Inst *in);

/* operands.c: whether the operands fit the row; fills o, address, list, data_class and the masks of `in`. */
bool operands_match(Decoder *d, const OpRow *row, const Statement *statement, Inst *in);
uint32_t operands_register_slot(Decoder *d, Register *reg);
uint32_t operands_special_slot(Decoder *d, int special);

#endif
