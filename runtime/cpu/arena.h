/* Memory that lives as long as a module: pieces are taken in turn and released together. A failed request leaves
 * through `escape` (set by the caller with setjmp), so code that builds a module needs no check at every allocation. */
#ifndef CPU_ARENA_H
#define CPU_ARENA_H

#include <setjmp.h>
#include <stddef.h>

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
  ArenaChunk *chunks;
  jmp_buf *escape;
} Arena;

/* Zeroed memory, aligned to 16 bytes. */
void *arena_take(Arena *arena, size_t bytes);
char *arena_copy_text(Arena *arena, const char *text, size_t length);
void arena_release(Arena *arena);

/* A growing array in an arena: returns the place for element `count` of an array with room for *capacity elements. */
void *arena_grow(Arena *arena, void *array, size_t count, size_t *capacity, size_t element_bytes);

#endif
