/* Bit maps beside memory: which bytes were written. Guarantees: several threads may set bits of one byte of the map at
 * once; whole bytes are set by plain stores. */
#include "memory.h"

#include <string.h>

static uint8_t bits_from(uint64_t start) {
  return (uint8_t)(0xff << (start & 7));
}
static uint8_t bits_below(uint64_t end) {
  return (uint8_t)(0xff >> (7 - ((end - 1) & 7)));
}

static uint8_t load_bits(const uint8_t *at) {
  return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static void set_bits(uint8_t *at, uint8_t bits) {
  if (bits == 0xff)
    __atomic_store_n(at, bits, __ATOMIC_RELAXED);
  else if ((load_bits(at) & bits) != bits)
    __atomic_fetch_or(at, bits, __ATOMIC_RELAXED);
}

bool shadow_all_set(const uint8_t *map, uint64_t start, uint64_t count) {
  if (!count) return true;
  uint64_t first = start >> 3, last = (start + count - 1) >> 3;
  uint8_t head = bits_from(start), tail = bits_below(start + count);
  if (first == last) return (load_bits(map + first) & head & tail) == (head & tail);
  if ((load_bits(map + first) & head) != head || (load_bits(map + last) & tail) != tail) return false;
  uint64_t i = first + 1;
  for (; i + 8 <= last; i += 8) {
    uint64_t word;
    memcpy(&word, map + i, 8);
    if (word != UINT64_MAX) return false;
  }
  for (; i < last; i++)
    if (load_bits(map + i) != 0xff) return false;
  return true;
}

void shadow_set(uint8_t *map, uint64_t start, uint64_t count) {
  if (!count) return;
  uint64_t first = start >> 3, last = (start + count - 1) >> 3;
  uint8_t head = bits_from(start), tail = bits_below(start + count);
  if (first == last) {
    set_bits(map + first, head & tail);
    return;
  }
  set_bits(map + first, head);
  memset(map + first + 1, 0xff, last - first - 1);
  set_bits(map + last, tail);
}

void shadow_clear(uint8_t *map, uint64_t start, uint64_t count) {
  for (uint64_t i = start; i < start + count; i++) map[i >> 3] &= (uint8_t) ~(1u << (i & 7));
}

static bool bit_at(const Region *region, uint64_t i) {
  return !region->written || (load_bits(region->written + (i >> 3)) >> (i & 7) & 1);
}

void shadow_copy(const Region *from, uint64_t from_start, Region *to, uint64_t to_start, uint64_t count) {
  if (!to->written) return;
  if (!from->written || shadow_all_set(from->written, from_start, count)) {
    shadow_set(to->written, to_start, count);
    return;
  }
  for (uint64_t i = 0; i < count; i++) {
    if (bit_at(from, from_start + i))
      shadow_set(to->written, to_start + i, 1);
    else
      __atomic_fetch_and(to->written + ((to_start + i) >> 3), (uint8_t) ~(1u << ((to_start + i) & 7)),
                         __ATOMIC_RELAXED);
  }
}
