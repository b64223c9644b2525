/* Which handles are alive. Guarantees: an invalid handle is told as such and never followed. */
#include "driver.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

typedef struct Entry {
  const void *object;
  ObjectKind kind;
  struct Entry *next;
} Entry;

static struct {
  pthread_mutex_t lock;
  Entry *buckets[BUCKETS];
} objects = {.lock = PTHREAD_MUTEX_INITIALIZER};

static Entry **place_of(ObjectKind kind, const void *object) {
  uint64_t hash = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
  Entry **at = &objects.buckets[hash >> 54];
  while (*at && ((*at)->object != object || (*at)->kind != kind)) at = &(*at)->next;
  return at;
}

bool object_add(ObjectKind kind, const void *object) {
  Entry *entry = malloc(sizeof *entry);
  if (!entry) return false;
  pthread_mutex_lock(&objects.lock);
  Entry **at = place_of(kind, object);
  *entry = (Entry){.object = object, .kind = kind, .next = *at};
  *at = entry;
  pthread_mutex_unlock(&objects.lock);
  return true;
}

bool object_known(ObjectKind kind, const void *object) {
  pthread_mutex_lock(&objects.lock);
  bool known = *place_of(kind, object) != NULL;
  pthread_mutex_unlock(&objects.lock);
  return known;
}

bool object_remove(ObjectKind kind, const void *object) {
  pthread_mutex_lock(&objects.lock);
  Entry **at = place_of(kind, object), *entry = *at;
  if (entry) *at = entry->next;
  pthread_mutex_unlock(&objects.lock);
  free(entry);
  return entry != NULL;
}
