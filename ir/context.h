/* What one compilation owns: an arena, sources, diagnostics. No globals; nothing here calls exit().
 *
 * Allocation never fails visibly: when memory runs out the arena jumps to the recovery point that context_try set, and
 * the compilation ends with an out-of-memory diagnostic. Files and maps that must be released are registered with
 * context_on_close.
 */
#ifndef IR_CONTEXT_H
#define IR_CONTEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Context Context;

/* Host allocator: like realloc; size 0 frees. NULL: the C library's. Blocks are aligned to 16. */
typedef struct Allocator {
  void *(*reallocate)(void *user, void *pointer, size_t old_size, size_t new_size);
  void *user;
} Allocator;

Context *context_new(const Allocator *allocator); /* NULL when out of memory */
void context_free(Context *c);                    /* runs the close actions, frees everything */
/* Runs body(user); false if it returned false or memory ran out inside (then a diagnostic was reported). Nests. */
bool context_try(Context *c, bool (*body)(void *user), void *user);
/* Registers what context_free runs, the latest first. When memory runs out here, the action runs at once. */
void context_on_close(Context *c, void (*action)(void *user), void *user);

/* Blocks with a life of their own, for large working memory: zeroed, aligned to 16, released by context_release, by
 * context_free, or by the context_try around them when memory runs out inside it. */
void *context_alloc(Context *c, size_t bytes);
void context_release(Context *c, void *block); /* NULL: nothing */

/* Outside every context_try there is nowhere to jump to: then the arena returns NULL when memory runs out. */
void *arena_alloc(Context *c, size_t bytes); /* zeroed, aligned to 16 */
void *arena_grow(Context *c, void *old, size_t old_bytes, size_t new_bytes);
char *arena_strdup(Context *c, const char *s);
char *arena_strndup(Context *c, const char *s, size_t n);
char *arena_printf(Context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define ARENA_NEW(c, T, count) ((T *)arena_alloc((c), sizeof(T) * (size_t)(count)))

/* A growing text in the arena. */
typedef struct Text {
  Context *context;
  char *data; /* always terminated once something was added; NULL before */
  size_t length, capacity;
} Text;
void text_add(Text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(Text *t, const void *data, size_t n);

/* Where something stands in a source. file 0: nowhere. */
typedef struct SourceLoc {
  uint32_t file, line, column, length; /* line and column from 1; columns count bytes */
} SourceLoc;
/* The text is borrowed. Returns its file number, from 1. */
uint32_t context_add_source(Context *c, const char *name, const char *text, size_t length);

/* Diagnostics: messages stand in diag.def. */
typedef enum DiagCode {
#define DIAG(ENUM, code, severity, format) DIAG_##ENUM,
#include "diag.def"
#undef DIAG
  DIAG_COUNT
} DiagCode;
enum { MAX_REPORTS = 100 };
typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING } Severity;

/* Reports the catalogue's message with printf arguments. What follows adds lines to the latest report. */
void diag(Context *c, DiagCode code, SourceLoc loc, ...);
void diag_expected(Context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_seen(Context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_hint(Context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_note(Context *c, SourceLoc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool diag_is_kept(const Context *c); /* the latest report is; those past MAX_REPORTS need no search for a hint */
uint32_t diag_error_count(const Context *c); /* errors since context_new, flushed ones too */
/* Writes all reports so far, in source order, equal ones once, and forgets them. Errors past MAX_REPORTS are counted.
 *
 *   net.apnn:3:10: error[E0201]: unknown name 'c2'
 *     3 | a1 = c2 | relu
 *       |      ^~
 *       expected: ...
 *       seen: ...
 *       hint: did you mean 'c1'?
 */
void diag_flush(Context *c, FILE *out);

#endif
