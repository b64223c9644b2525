/* The memory of a compilation: an arena, blocks with lives of their own, recovery when memory runs out, close actions.
 *
 * Every byte comes from the host's allocator and goes back to it in context_free, whatever happened in between.
 */
#include "context_state.h"
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, FIRST_CHUNK = 1 << 14, LARGEST_CHUNK = 1 << 20 };

static size_t align_up(size_t n) {
  return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static void *library_reallocate(void *user, void *pointer, size_t old_size, size_t new_size) {
  (void)user, (void)old_size;
  if (new_size == 0) {
    free(pointer);
    return NULL;
  }
  return realloc(pointer, new_size);
}

static void host_free(Context *c, void *pointer, size_t size) {
  c->allocator.reallocate(c->allocator.user, pointer, size, 0);
}

Context *context_new(const Allocator *allocator) {
  Allocator a = allocator ? *allocator : (Allocator){library_reallocate, NULL};
  Context *c = a.reallocate(a.user, NULL, 0, sizeof *c);
  if (!c) return NULL;
  memset(c, 0, sizeof *c);
  c->allocator = a;
  c->next_chunk = FIRST_CHUNK;
  return c;
}

static void release_blocks_after(Context *c, uint64_t serial) {
  for (Block *b = c->blocks, *next; b; b = next) {
    next = b->next;
    if (b->serial > serial) context_release(c, (char *)b + align_up(sizeof *b));
  }
}

void context_free(Context *c) {
  if (!c) return;
  while (c->close_actions) {
    CloseAction *a = c->close_actions;
    c->close_actions = a->next;
    a->action(a->user);
  }
  release_blocks_after(c, 0);
  for (Chunk *k = c->chunks, *next; k; k = next) {
    next = k->next;
    host_free(c, k, k->size);
  }
  host_free(c, c, sizeof *c);
}

bool context_try(Context *c, bool (*body)(void *user), void *user) {
  Recovery here = {.outer = c->recovery, .serial = c->serial};
  c->recovery = &here;
  if (setjmp(here.jump) != 0) {
    c->recovery = here.outer;
    release_blocks_after(c, here.serial);
    return false;
  }
  bool ok = body(user);
  c->recovery = here.outer;
  return ok;
}

/* Reports and jumps; returns only where no context_try is active. */
static void out_of_memory(Context *c) {
  if (!c->out_of_memory) c->error_count++;
  c->out_of_memory = true;
  if (c->recovery) longjmp(c->recovery->jump, 1);
}

static void *host_alloc(Context *c, size_t size) {
  void *p = size <= PTRDIFF_MAX ? c->allocator.reallocate(c->allocator.user, NULL, 0, size) : NULL;
  if (!p) out_of_memory(c);
  return p;
}

void *context_alloc(Context *c, size_t bytes) {
  size_t header = align_up(sizeof(Block));
  size_t size = bytes <= PTRDIFF_MAX - header ? bytes + header : SIZE_MAX;
  Block *b = host_alloc(c, size);
  if (!b) return NULL;
  memset(b, 0, size);
  *b = (Block){.next = c->blocks, .size = size, .serial = ++c->serial};
  if (c->blocks) c->blocks->previous = b;
  c->blocks = b;
  return (char *)b + header;
}

void context_release(Context *c, void *block) {
  if (!block) return;
  Block *b = (Block *)((char *)block - align_up(sizeof *b));
  if (b->next) b->next->previous = b->previous;
  if (b->previous)
    b->previous->next = b->next;
  else
    c->blocks = b->next;
  host_free(c, b, b->size);
}

void context_on_close(Context *c, void (*action)(void *user), void *user) {
  CloseAction *a = NULL;
  Recovery here = {.outer = c->recovery, .serial = c->serial};
  c->recovery = &here;
  if (setjmp(here.jump) != 0) {
    c->recovery = here.outer;
    action(user);
    out_of_memory(c);
    return;
  }
  a = ARENA_NEW(c, CloseAction, 1);
  c->recovery = here.outer;
  *a = (CloseAction){c->close_actions, action, user};
  c->close_actions = a;
}

/* A chunk with room for `bytes`. A large piece gets a chunk of its own behind the current one. */
static Chunk *chunk_with_room(Context *c, size_t bytes) {
  Chunk *k = c->chunks;
  if (k && k->size - k->used >= bytes) return k;
  size_t header = align_up(sizeof *k);
  bool own = bytes > c->next_chunk / 4;
  size_t size = own ? header + bytes : c->next_chunk;
  k = host_alloc(c, size);
  if (!k) return NULL;
  *k = (Chunk){.size = size, .used = header};
  if (own && c->chunks) {
    k->next = c->chunks->next;
    c->chunks->next = k;
  } else {
    k->next = c->chunks;
    c->chunks = k;
  }
  if (!own && c->next_chunk < LARGEST_CHUNK) c->next_chunk *= 2;
  return k;
}

void *arena_alloc(Context *c, size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) {
    out_of_memory(c);
    return NULL;
  }
  bytes = align_up(bytes ? bytes : 1);
  Chunk *k = chunk_with_room(c, bytes);
  if (!k) return NULL;
  void *p = (char *)k + k->used;
  k->used += bytes;
  return memset(p, 0, bytes);
}

/* Extends in place where `old` is the last piece of the current chunk. */
static bool grow_in_place(Context *c, char *old, size_t old_bytes, size_t new_bytes) {
  Chunk *k = c->chunks;
  if (!k || !old || new_bytes > PTRDIFF_MAX / 2) return false;
  size_t old_size = align_up(old_bytes ? old_bytes : 1), new_size = align_up(new_bytes ? new_bytes : 1);
  if (old + old_size != (char *)k + k->used || new_size - old_size > k->size - k->used) return false;
  memset(old + old_size, 0, new_size - old_size);
  k->used += new_size - old_size;
  return true;
}

void *arena_grow(Context *c, void *old, size_t old_bytes, size_t new_bytes) {
  if (old && new_bytes <= old_bytes) return old;
  if (grow_in_place(c, old, old_bytes, new_bytes)) return old;
  void *p = arena_alloc(c, new_bytes);
  if (p && old_bytes) memcpy(p, old, old_bytes);
  return p;
}

char *arena_strdup(Context *c, const char *s) {
  return arena_strndup(c, s, strlen(s));
}

char *arena_strndup(Context *c, const char *s, size_t n) {
  char *copy = arena_alloc(c, n + 1);
  if (copy && n) memcpy(copy, s, n);
  return copy;
}

static char *arena_vprintf(Context *c, const char *format, va_list args) {
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *s = arena_alloc(c, n < 0 ? 1 : (size_t)n + 1);
  if (s && n > 0) vsnprintf(s, (size_t)n + 1, format, args);
  return s;
}

char *arena_printf(Context *c, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *s = arena_vprintf(c, format, args);
  va_end(args);
  return s;
}

/* Room for n more bytes and the terminating zero. */
static bool text_reserve(Text *t, size_t n) {
  if (n < t->capacity - t->length && t->data) return true;
  size_t capacity = t->capacity < 64 ? 128 : t->capacity * 2;
  while (capacity - t->length <= n) capacity *= 2;
  char *data = arena_grow(t->context, t->data, t->capacity, capacity);
  if (!data) return false;
  t->data = data;
  t->capacity = capacity;
  return true;
}

void text_add_bytes(Text *t, const void *data, size_t n) {
  if (!text_reserve(t, n)) return;
  if (n) memcpy(t->data + t->length, data, n);
  t->length += n;
  t->data[t->length] = 0;
}

void text_add(Text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0 || !text_reserve(t, (size_t)n)) return;
  va_start(args, format);
  vsnprintf(t->data + t->length, (size_t)n + 1, format, args);
  va_end(args);
  t->length += (size_t)n;
}
