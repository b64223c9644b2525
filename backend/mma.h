/* The tensor-core instructions of mma.def as a table: mnemonic, shape, operand kinds and the engine that uses each. */
#ifndef BACKEND_MMA_H
#define BACKEND_MMA_H

#include "../ir/graph.h"

typedef enum MmaOperand { MMA_OPERAND_B1, MMA_OPERAND_S8, MMA_OPERAND_U8 } MmaOperand;

typedef struct MmaInstruction {
  const char *name;     /* row of mma.def, and MmaRate.name of the targets that have it */
  const char *mnemonic; /* PTX, with all qualifiers */
  uint16_t m, n;        /* rows of A, rows of B */
  uint8_t k_words;      /* 32-bit words of one operand row */
  MmaOperand a, b;
  Engine engine;
  const char *ptx_version; /* lowest PTX ISA version that has it: one digit, a point, one digit */
} MmaInstruction;

const MmaInstruction *mma_find(const char *name); /* NULL if unknown */
/* The instruction of an engine for operands of the given signedness, which counts for bytes alone; NULL if none. */
const MmaInstruction *mma_for(Engine engine, bool a_signed, bool b_signed);

#endif
