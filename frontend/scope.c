/* Names and what they stand for: one hash table a block or network, the file's constants outermost. */
#include "lower.h"
#include <string.h>

Scope *scope_new(Context *c, const Scope *outer) {
  Scope *s = ARENA_NEW(c, Scope, 1);
  s->outer = outer;
  return s;
}

static uint32_t hash_name(const char *name) {
  uint32_t hash = 2166136261u;
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

/* The slot that holds the name, or the free one where it belongs. */
static Binding **find_slot(Binding **slots, uint32_t slot_count, const char *name) {
  uint32_t i = hash_name(name) & (slot_count - 1);
  while (slots[i] && strcmp(slots[i]->name, name)) i = (i + 1) & (slot_count - 1);
  return &slots[i];
}

Binding *scope_local(const Scope *s, const char *name) {
  return s->slot_count ? *find_slot(s->slots, s->slot_count, name) : NULL;
}

Binding *scope_find(const Scope *s, const char *name) {
  for (; s; s = s->outer) {
    Binding *b = scope_local(s, name);
    if (b) return b;
  }
  return NULL;
}

static void grow(Context *c, Scope *s) {
  uint32_t slot_count = s->slot_count ? s->slot_count * 2 : 16;
  Binding **slots = ARENA_NEW(c, Binding *, slot_count);
  for (uint32_t i = 0; i < s->slot_count; i++)
    if (s->slots[i]) *find_slot(slots, slot_count, s->slots[i]->name) = s->slots[i];
  s->slots = slots;
  s->slot_count = slot_count;
}

static bool reserved(Context *c, Name name) {
  Item type;
  const char *what = type_by_name(name.text, &type)                              ? "an element type"
                     : !strcmp(name.text, "true") || !strcmp(name.text, "false") ? "a truth value"
                                                                                 : NULL;
  if (what) diag(c, DIAG_RESERVED_NAME, name.loc, name.text, what);
  return what != NULL;
}

Binding *scope_bind(Context *c, Scope *s, Name name, Item item) {
  if (reserved(c, name)) return NULL;
  Binding *taken = scope_find(s, name.text);
  if (taken) {
    diag(c, DIAG_DUPLICATE_NAME, name.loc, name.text);
    diag_note(c, taken->loc, "the first definition is here");
    return NULL;
  }
  if (2 * s->count >= s->slot_count) grow(c, s);
  Binding *b = ARENA_NEW(c, Binding, 1);
  *b = (Binding){.name = name.text, .item = item, .loc = name.loc};
  *find_slot(s->slots, s->slot_count, name.text) = b;
  s->count++;
  return b;
}

void scope_warn_unused(Context *c, const Scope *s) {
  for (uint32_t i = 0; i < s->slot_count; i++) {
    const Binding *b = s->slots[i];
    if (b && !b->used && !b->may_be_unused) diag(c, DIAG_UNUSED_VALUE, b->loc, b->name);
  }
}
