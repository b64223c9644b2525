/* A reader under test: where its sound inputs come from, and what must hold for every damaged one. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "../../ir/context.h"
#include "mutate.h"

enum { MOST_CORPUS = 64 };

typedef struct Corpus {
  Bytes items[MOST_CORPUS];
  uint32_t count;
} Corpus;

void corpus_add(Corpus *corpus, const void *data, size_t size);
void corpus_free(Corpus *corpus);

typedef struct FuzzTarget {
  const char *name;
  const char *about;
  bool (*prepare)(Corpus *corpus); /* sound inputs; false after saying why there are none */
  /* Reads a damaged input, which is followed by a zero byte. NULL, or what is wrong with the reader. */
  const char *(*read)(const uint8_t *data, size_t size);
} FuzzTarget;

/* fuzz_compiler.c, fuzz_params.c, fuzz_runtime.c */
#define FUZZ(name, about)                                                                                              \
  bool fuzz_prepare_##name(Corpus *corpus);                                                                            \
  const char *fuzz_read_##name(const uint8_t *data, size_t size);
#include "fuzz.def"
#undef FUZZ

/* A context whose memory is limited, so that an input that asks for gigabytes gets an error and not the machine. */
typedef struct LimitedContext {
  Context *context;
  size_t live, most;
} LimitedContext;
void limited_context_open(LimitedContext *l);
/* Frees it; what is wrong if memory stayed behind. */
const char *limited_context_close(LimitedContext *l);

#endif
