/* What the race check remembers of a block: vector clocks and, for each byte of shared memory, its last write and the
 * last read of every warp.
 *
 * A clock has an entry for everything that has a time of its own; `seen[e] >= t` says that what e did at time t comes
 * before what is done next by whoever has the clock. A warp's time passes when it releases (arrives, fences). */
#ifndef CPU_RACE_STATE_H
#define CPU_RACE_STATE_H

#include "race.h"

enum {
  MAX_MBARRIERS = 128,
  ENTRY_WARP = 0,                            /* what a warp's instructions did */
  ENTRY_PRODUCT = ENTRY_WARP + MAX_WARPS,    /* its groups of wgmma; time counts the groups */
  ENTRY_STORE = ENTRY_PRODUCT + MAX_WARPS,   /* its groups of bulk stores */
  ENTRY_FENCED = ENTRY_STORE + MAX_WARPS,    /* its writes as the async proxy sees them: up to a fence.proxy.async */
  ENTRY_PHASE = ENTRY_FENCED + MAX_WARPS,    /* what copies brought; time counts the phases of the mbarrier */
  ENTRY_BLOCK = ENTRY_PHASE + MAX_MBARRIERS, /* what other blocks of the cluster wrote; time counts their arrivals */
  ENTRY_COUNT = ENTRY_BLOCK + MAX_CLUSTER
};

typedef struct RaceClock {
  uint32_t seen[ENTRY_COUNT];
} RaceClock;

typedef struct RaceWrite {
  uint32_t entry, time; /* time 0: never */
  uint32_t line;
} RaceWrite;

/* Who else touches a byte; each kind has a row of times a warp. */
typedef enum RaceTouch { TOUCH_READ, TOUCH_UPDATE, TOUCH_PRODUCT, TOUCH_STORE, TOUCH_COUNT } RaceTouch;

typedef struct RaceMbarrier {
  uint32_t address;
  uint32_t phases;      /* that have ended, in all blocks so far */
  bool ended;           /* one at least since it was initialised */
  RaceClock open, last; /* released into the phase under way, into the one before */
} RaceMbarrier;

struct Race {
  uint64_t size; /* bytes of shared memory */
  uint32_t warp_count;
  RaceClock warps[MAX_WARPS];
  uint32_t products[MAX_WARPS], stores[MAX_WARPS]; /* groups committed */
  uint32_t arrivals[MAX_CLUSTER];                  /* of other blocks of the cluster */
  RaceClock barriers[BARRIER_COUNT + 1], cluster;
  RaceMbarrier mbarriers[MAX_MBARRIERS];
  uint32_t mbarrier_count;
  RaceWrite *writes;                           /* one a byte */
  uint32_t *touches[TOUCH_COUNT];              /* times: a row of bytes a warp */
  uint32_t last_touch[TOUCH_COUNT][MAX_WARPS]; /* the greatest of a row */
};

static inline RaceMbarrier *race_mbarrier(Race *race, uint32_t address) {
  for (uint32_t i = 0; i < race->mbarrier_count; i++)
    if (race->mbarriers[i].address == address) return &race->mbarriers[i];
  return NULL;
}

#endif
