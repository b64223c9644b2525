/* The race check of shared memory (option check=race). Each byte keeps which warp wrote it and which read it since the
 * last barrier of the whole block; a second warp that touches it, one of the two writing, is a race. Atomics race with
 * plain accesses alone. */
#include "access.h"

/* Who touched a byte in epoch `epoch`: warp + 1, or SEVERAL. */
typedef struct RaceByte {
  uint32_t epoch;
  uint8_t writer, reader;
  bool atomic;
} RaceByte;

enum { SEVERAL = 0xff };

static bool note_byte(RaceByte *byte, uint32_t epoch, uint8_t self, AccessUse use) {
  if (byte->epoch != epoch) *byte = (RaceByte){.epoch = epoch};
  bool atomic = use == ACCESS_BOTH;
  bool other_wrote = byte->writer && byte->writer != self && !(atomic && byte->atomic);
  bool other_read = byte->reader && byte->reader != self;
  if (other_wrote || (use != ACCESS_READ && other_read)) return false;
  if (use == ACCESS_READ)
    byte->reader = byte->reader && byte->reader != self ? SEVERAL : self;
  else
    byte->writer = byte->writer && byte->writer != self ? SEVERAL : self, byte->atomic = atomic;
  return true;
}

bool race_note(Warp *w, const Inst *in, const Access *a, uint32_t bytes, AccessUse use) {
  Block *block = w->block;
  if (a->region != &block->shared) return true;
  RaceByte *map = block->race;
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    uint32_t lane = first_lane(rest);
    for (uint32_t i = 0; i < bytes; i++) {
      RaceByte *byte = &map[a->offset[lane] + i];
      uint8_t before = byte->writer;
      if (note_byte(byte, block->race_epoch, (uint8_t)(w->index + 1), use)) continue;
      fault_raise(w, in, lane, FAULT_FAILED, "race on shared byte %llu: another warp %s it since the last barrier",
                  (unsigned long long)(a->offset[lane] + i), before && before != w->index + 1 ? "wrote" : "read");
      return false;
    }
  }
  return true;
}

size_t race_bytes(const Block *block) {
  return block->shared.size * sizeof(RaceByte);
}
