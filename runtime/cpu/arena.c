/* Memory that lives as long as a module. Guarantees: zeroed, aligned to 16 bytes, never NULL (a failure leaves by the
 * arena's escape). */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ArenaChunk {
  ArenaChunk *next;
  size_t used, size;
  _Alignas(16) char bytes[];
};

enum { CHUNK_BYTES = 64 * 1024 };

static ArenaChunk *new_chunk(Arena *arena, size_t bytes) {
  size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
  ArenaChunk *chunk = size > SIZE_MAX - sizeof *chunk ? NULL : calloc(1, sizeof *chunk + size);
  if (!chunk) longjmp(*arena->escape, 1);
  chunk->size = size;
  chunk->next = arena->chunks;
  arena->chunks = chunk;
  return chunk;
}

void *arena_take(Arena *arena, size_t bytes) {
  size_t rounded = (bytes + 15) & ~(size_t)15;
  ArenaChunk *chunk = arena->chunks;
  if (rounded < bytes) longjmp(*arena->escape, 1);
  if (!chunk || chunk->size - chunk->used < rounded) chunk = new_chunk(arena, rounded);
  void *piece = chunk->bytes + chunk->used;
  chunk->used += rounded;
  return piece;
}

char *arena_copy_text(Arena *arena, const char *text, size_t length) {
  char *copy = arena_take(arena, length + 1);
  memcpy(copy, text, length);
  return copy;
}

void *arena_grow(Arena *arena, void *array, size_t count, size_t *capacity, size_t element_bytes) {
  if (count < *capacity) return array;
  size_t wanted = *capacity ? *capacity * 2 : 16;
  void *grown = arena_take(arena, wanted * element_bytes);
  if (count) memcpy(grown, array, count * element_bytes);
  *capacity = wanted;
  return grown;
}

void arena_release(Arena *arena) {
  while (arena->chunks) {
    ArenaChunk *next = arena->chunks->next;
    free(arena->chunks);
    arena->chunks = next;
  }
}
