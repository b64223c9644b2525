/* The table of device memory. Guarantees: regions are sorted and disjoint; a region stays where it is until released.
 */
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct MemoryTable {
  pthread_rwlock_t lock;
  Region **regions; /* by address */
  size_t count, capacity;
} MemoryTable;

/* The one device's memory, as a driver has it. */
static MemoryTable table = {.lock = PTHREAD_RWLOCK_INITIALIZER};

void memory_lock_reading(void) {
  pthread_rwlock_rdlock(&table.lock);
}
void memory_lock_writing(void) {
  pthread_rwlock_wrlock(&table.lock);
}
void memory_unlock(void) {
  pthread_rwlock_unlock(&table.lock);
}

/* How many regions start at or below `address`. */
static size_t rank_of(uint64_t address) {
  size_t low = 0, high = table.count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (table.regions[middle]->start <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Region *memory_find_below(uint64_t address) {
  size_t rank = rank_of(address);
  return rank ? table.regions[rank - 1] : NULL;
}

Region *memory_find(uint64_t address, uint64_t size) {
  Region *region = memory_find_below(address);
  uint64_t offset = region ? address - region->start : 0;
  return region && offset <= region->size && size <= region->size - offset ? region : NULL;
}

static bool insert(Region *region) {
  if (table.count == table.capacity) {
    size_t wanted = table.capacity ? table.capacity * 2 : 64;
    Region **grown = realloc(table.regions, wanted * sizeof *grown);
    if (!grown) return false;
    table.regions = grown;
    table.capacity = wanted;
  }
  size_t at = rank_of(region->start);
  memmove(table.regions + at + 1, table.regions + at, (table.count - at) * sizeof *table.regions);
  table.regions[at] = region;
  table.count++;
  return true;
}

static void destroy(Region *region) {
  if (!region) return;
  free(region->bytes);
  free(region->written);
  free(region);
}

Region *memory_allocate(uint64_t size, RegionKind kind, bool all_written) {
  if (!size || size > memory_bytes_total()) return NULL;
  Region *region = calloc(1, sizeof *region);
  void *bytes = NULL;
  if (!region || posix_memalign(&bytes, 256, (size + 255) & ~(uint64_t)255)) {
    free(region);
    return NULL;
  }
  *region = (Region){.start = (uint64_t)(uintptr_t)bytes, .size = size, .bytes = bytes, .kind = kind};
  if (!all_written) region->written = calloc((size + 7) / 8 + 8, 1);
  bool kept = false;
  if (all_written || region->written) {
    memory_lock_writing();
    kept = insert(region);
    memory_unlock();
  }
  if (!kept) destroy(region);
  return kept ? region : NULL;
}

static Region *remove_region(uint64_t address, RegionKind kind) {
  size_t rank = rank_of(address);
  Region *region = rank ? table.regions[rank - 1] : NULL;
  if (!region || region->start != address || region->kind != kind) return NULL;
  table.count--;
  memmove(table.regions + rank - 1, table.regions + rank, (table.count - (rank - 1)) * sizeof *table.regions);
  if (!table.count) {
    free(table.regions);
    table.regions = NULL;
    table.capacity = 0;
  }
  return region;
}

bool memory_release(uint64_t address, RegionKind kind) {
  memory_lock_writing();
  Region *region = remove_region(address, kind);
  memory_unlock();
  destroy(region);
  return region != NULL;
}

uint64_t memory_bytes_total(void) {
  long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : (uint64_t)1 << 32;
}
