/* What a Context holds; shared by context.c (memory) and diag.c (sources and reports) alone. */
#ifndef IR_CONTEXT_STATE_H
#define IR_CONTEXT_STATE_H

#include "context.h"
#include <setjmp.h>

typedef struct Chunk { /* a piece of the arena; its bytes follow */
  struct Chunk *next;
  size_t size, used; /* header included */
} Chunk;

typedef struct Block { /* header of context_alloc */
  struct Block *next, *previous;
  size_t size;
  uint64_t serial;
} Block;

typedef struct CloseAction {
  struct CloseAction *next;
  void (*action)(void *user);
  void *user;
} CloseAction;

typedef struct Recovery {
  struct Recovery *outer;
  uint64_t serial; /* blocks newer than this are released when memory runs out */
  jmp_buf jump;
} Recovery;

typedef struct Source {
  const char *name, *text;
  size_t length;
} Source;

typedef struct ReportLine { /* expected, seen, hint: label set; note: label NULL */
  struct ReportLine *next;
  const char *label, *text;
  SourceLoc loc;
} ReportLine;

typedef struct Report {
  DiagCode code;
  SourceLoc loc;
  const char *text;
  ReportLine *first, *last;
  uint32_t serial;
} Report;

struct Context {
  Allocator allocator;
  Chunk *chunks; /* the current one first */
  size_t next_chunk;
  Block *blocks;
  uint64_t serial;
  CloseAction *close_actions;
  Recovery *recovery;
  Source *sources;
  uint32_t source_count, source_capacity;
  Report **reports;
  uint32_t report_count, report_capacity, dropped; /* dropped: errors past the cap */
  uint32_t error_count, report_serial;
  Report *latest;     /* NULL where the latest report was dropped */
  bool out_of_memory; /* reported without allocating */
};

#endif
