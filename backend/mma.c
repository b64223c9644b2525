/* Finds rows of mma.def. */
#include "mma.h"
#include <string.h>

static const MmaInstruction instructions[] = {
#define MMA(name, mnemonic, m, n, k_words, a, b, engine, ptx_version)                                                  \
  {#name, mnemonic, m, n, k_words, MMA_OPERAND_##a, MMA_OPERAND_##b, ENGINE_##engine, ptx_version},
#include "mma.def"
#undef MMA
};

enum { INSTRUCTION_COUNT = sizeof instructions / sizeof instructions[0] };

const MmaInstruction *mma_find(const char *name) {
  for (uint32_t i = 0; i < INSTRUCTION_COUNT; i++)
    if (strcmp(instructions[i].name, name) == 0) return &instructions[i];
  return NULL;
}

static bool takes(MmaOperand operand, bool is_signed) {
  return operand == MMA_OPERAND_B1 || (operand == MMA_OPERAND_S8) == is_signed;
}

const MmaInstruction *mma_for(Engine engine, bool a_signed, bool b_signed) {
  for (uint32_t i = 0; i < INSTRUCTION_COUNT; i++) {
    const MmaInstruction *mma = &instructions[i];
    if (mma->engine == engine && takes(mma->a, a_signed) && takes(mma->b, b_signed)) return mma;
  }
  return NULL;
}
