/* Device memory: regions of bytes with a map of which of them were ever written.
 *
 * A device address is the address of the bytes themselves, so finding a region is the only translation. The table of
 * regions is one a process (as a driver's is) behind a reader-writer lock: launches and copies hold it for reading,
 * allocation and release for writing. */
#ifndef CPU_MEMORY_H
#define CPU_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

typedef enum RegionKind {
  REGION_DEVICE,   /* cuMemAlloc */
  REGION_HOST,     /* cuMemHostAlloc: counts as written */
  REGION_VARIABLE, /* .global and .const of a module */
  REGION_SHARED,   /* a block's shared memory; never in the table */
  REGION_PARAM     /* a launch's parameters; never in the table */
} RegionKind;

typedef struct Region {
  uint64_t start, size;
  uint8_t *bytes;
  uint8_t *written; /* one bit a byte; NULL: all of it counts as written */
  uint8_t *pending; /* shared memory: one bit for each 4 bytes that an async copy has still to fill, else NULL */
  RegionKind kind;
  bool read_only;
  bool stored; /* a kernel has written it */
} Region;

/* Shared memory seen through generic addresses: this bit and the offset. No host address has it. */
#define SHARED_WINDOW ((uint64_t)1 << 63)

/* Parameters seen through generic addresses (a tensor map that is a parameter). */
#define PARAM_WINDOW ((uint64_t)1 << 62)

/* ---- the table ---- */

void memory_lock_reading(void);
void memory_lock_writing(void);
void memory_unlock(void);

/* New region of `size` bytes, aligned to 256; NULL without memory. Takes the lock for writing itself. `all_written` for
 * memory whose writes cannot be seen. */
Region *memory_allocate(uint64_t size, RegionKind kind, bool all_written);

/* Releases the region that starts at `address` and has this kind; false where there is none. Takes the lock. */
bool memory_release(uint64_t address, RegionKind kind);

/* The region that holds [address, address + size), or NULL. The caller holds the lock. */
Region *memory_find(uint64_t address, uint64_t size);

/* The region nearest below `address`, to say how far beyond its end an access lies. The caller holds the lock. */
Region *memory_find_below(uint64_t address);

uint64_t memory_bytes_total(void);

/* Blocks of a launch run on several threads. */
static inline void memory_note_store(Region *region) {
  if (!__atomic_load_n(&region->stored, __ATOMIC_RELAXED)) __atomic_store_n(&region->stored, true, __ATOMIC_RELAXED);
}

/* ---- bit maps (shadow.c); bits and counts are in bytes of the region ---- */

bool shadow_all_set(const uint8_t *map, uint64_t start, uint64_t count);
void shadow_set(uint8_t *map, uint64_t start, uint64_t count);
void shadow_clear(uint8_t *map, uint64_t start, uint64_t count);
void shadow_copy(const Region *from, uint64_t from_start, Region *to, uint64_t to_start, uint64_t count);

#endif
