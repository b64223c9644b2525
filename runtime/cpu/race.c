/* The race check of shared memory, byte by byte: an access whose byte another warp, a product or a copy has touched,
 * one of the two writing, without an order between them (race_order.c) is a fault. Atomics and operations on mbarriers
 * race with plain accesses alone. */
#include "race_state.h"

/* An access at hand: bytes at ... at + count - 1. */
typedef struct Touch {
  const Warp *w;
  Race *race;
  const uint32_t *seen; /* the warp's clock */
  uint64_t at, count;
  AccessUse use;
  AccessAgent agent;
} Touch;

typedef enum Conflict {
  CONFLICT_NONE,
  CONFLICT_WRITE,    /* with the last write */
  CONFLICT_UNFENCED, /* which the async proxy does not see */
  CONFLICT_TOUCH     /* with a read, an update, a product or a store */
} Conflict;

typedef struct Finding {
  Conflict conflict;
  RaceTouch touch;
  uint32_t warp;
  uint64_t byte;
} Finding;

static const uint32_t touch_entry[] = {[TOUCH_READ] = ENTRY_WARP,
                                       [TOUCH_UPDATE] = ENTRY_WARP,
                                       [TOUCH_PRODUCT] = ENTRY_PRODUCT,
                                       [TOUCH_STORE] = ENTRY_STORE};

/* Against which touches each use is held. */
static const bool conflicts[][TOUCH_COUNT] = {
    [ACCESS_READ] = {[TOUCH_UPDATE] = true},
    [ACCESS_WRITE] = {[TOUCH_READ] = true, [TOUCH_UPDATE] = true, [TOUCH_PRODUCT] = true, [TOUCH_STORE] = true},
    [ACCESS_BOTH] = {[TOUCH_READ] = true, [TOUCH_PRODUCT] = true, [TOUCH_STORE] = true}};

static uint32_t *row_of(const Race *race, RaceTouch touch, uint32_t warp) {
  return race->touches[touch] + (size_t)warp * race->size;
}

static bool check_writes(const Touch *t, Finding *f) {
  const RaceWrite *writes = t->race->writes + t->at;
  RaceWrite good = {0};
  for (uint64_t i = 0; i < t->count; i++) {
    RaceWrite write = writes[i];
    if (write.entry == good.entry && write.time == good.time) continue;
    bool unfenced = t->agent != AGENT_WARP && write.entry < ENTRY_WARP + MAX_WARPS &&
                    t->seen[ENTRY_FENCED + write.entry - ENTRY_WARP] < write.time;
    f->byte = t->at + i;
    f->conflict = t->seen[write.entry] < write.time ? CONFLICT_WRITE : unfenced ? CONFLICT_UNFENCED : CONFLICT_NONE;
    if (f->conflict != CONFLICT_NONE) return false;
    good = write;
  }
  return true;
}

static bool check_row(const Touch *t, RaceTouch touch, uint32_t warp, Finding *f) {
  uint32_t seen = t->seen[touch_entry[touch] + warp];
  if (t->race->last_touch[touch][warp] <= seen) return true;
  const uint32_t *row = row_of(t->race, touch, warp) + t->at;
  for (uint64_t i = 0; i < t->count; i++) {
    if (row[i] <= seen) continue;
    *f = (Finding){.conflict = CONFLICT_TOUCH, .touch = touch, .warp = warp, .byte = t->at + i};
    return false;
  }
  return true;
}

static bool check_touches(const Touch *t, Finding *f) {
  for (RaceTouch touch = 0; touch < TOUCH_COUNT; touch++)
    for (uint32_t warp = 0; conflicts[t->use][touch] && warp < t->race->warp_count; warp++)
      if (!check_row(t, touch, warp, f)) return false;
  return true;
}

static void keep_touch(const Touch *t, uint32_t line) {
  uint32_t warp = t->w->index, now = t->seen[ENTRY_WARP + warp];
  if (t->use == ACCESS_WRITE) {
    RaceWrite write = {.entry = ENTRY_WARP + warp, .time = now, .line = line};
    for (uint64_t i = 0; i < t->count; i++) t->race->writes[t->at + i] = write;
    return;
  }
  RaceTouch touch = t->use == ACCESS_BOTH       ? TOUCH_UPDATE
                    : t->agent == AGENT_PRODUCT ? TOUCH_PRODUCT
                    : t->agent == AGENT_BULK    ? TOUCH_STORE
                                                : TOUCH_READ;
  if (touch == TOUCH_PRODUCT) now = t->race->products[warp] + 1;
  if (touch == TOUCH_STORE) now = t->race->stores[warp] + 1;
  uint32_t *row = row_of(t->race, touch, warp) + t->at;
  for (uint64_t i = 0; i < t->count; i++) row[i] = now;
  t->race->last_touch[touch][warp] = now;
}

/* ---- in words ---- */

static const char *use_in_words(const Touch *t) {
  static const char *const words[][3] = {[AGENT_WARP] = {"read", "write", "update"},
                                         [AGENT_PRODUCT] = {"read by a product"},
                                         [AGENT_BULK] = {"bulk copy from it", "bulk copy to it"}};
  return words[t->agent][t->use];
}

static void report_write(Warp *w, const Inst *in, uint32_t lane, const Touch *t, const Finding *f) {
  RaceWrite write = t->race->writes[f->byte];
  unsigned long long byte = f->byte;
  if (write.entry >= ENTRY_BLOCK) {
    fault_raise(
        w, in, lane, FAULT_FAILED,
        "race on shared byte %llu: warp %u has not waited for block %u of the cluster, which wrote it at PTX line "
        "%u, before this %s",
        byte, w->index, write.entry - ENTRY_BLOCK, write.line, use_in_words(t));
  } else if (write.entry >= ENTRY_PHASE) {
    fault_raise(w, in, lane, FAULT_FAILED,
                "race on shared byte %llu: warp %u has not waited for the copy of PTX line %u, which completes on the "
                "mbarrier at %u, before this %s",
                byte, w->index, write.line, t->race->mbarriers[write.entry - ENTRY_PHASE].address, use_in_words(t));
  } else if (f->conflict == CONFLICT_UNFENCED) {
    fault_raise(
        w, in, lane, FAULT_FAILED,
        "race on shared byte %llu: no fence.proxy.async between the write of warp %u at PTX line %u and this %s", byte,
        write.entry - ENTRY_WARP, write.line, use_in_words(t));
  } else {
    fault_raise(w, in, lane, FAULT_FAILED,
                "race on shared byte %llu: nothing orders the write of warp %u at PTX line %u before this %s", byte,
                write.entry - ENTRY_WARP, write.line, use_in_words(t));
  }
}

static void report_touch(Warp *w, const Inst *in, uint32_t lane, const Touch *t, const Finding *f) {
  static const struct {
    const char *what, *end;
  } words[] = {[TOUCH_READ] = {"read", ""},
               [TOUCH_UPDATE] = {"update", ""},
               [TOUCH_PRODUCT] = {"wgmma", ", which ends with a wgmma.wait_group,"},
               [TOUCH_STORE] = {"bulk store", ", which ends with a cp.async.bulk.wait_group,"}};
  fault_raise(w, in, lane, FAULT_FAILED, "race on shared byte %llu: nothing orders the %s of warp %u%s before this %s",
              (unsigned long long)f->byte, words[f->touch].what, f->warp, words[f->touch].end, use_in_words(t));
}

/* ---- an access ---- */

/* `lane` accesses the first bytes, each following lane the next `bytes`. */
static bool note(Warp *w, const Inst *in, const Touch *t, uint32_t lane, uint32_t bytes) {
  Finding f = {.conflict = CONFLICT_NONE};
  if (check_writes(t, &f) && check_touches(t, &f)) {
    keep_touch(t, in->line);
    return true;
  }
  lane += (uint32_t)((f.byte - t->at) / bytes);
  (f.conflict == CONFLICT_TOUCH ? report_touch : report_write)(w, in, lane, t, &f);
  return false;
}

/* Writes to another block's memory. */
static void note_beyond(const Warp *w, const Inst *in, const Access *a, const AccessPlan *plan) {
  const Cluster *cluster = w->block->cluster;
  if (a->region->kind != REGION_SHARED || plan->use != ACCESS_WRITE) return;
  Block *owner = cluster->blocks[a->region - cluster->windows];
  for (uint32_t rest = a->mask; rest; rest &= rest - 1)
    race_write_from(owner, w->block->rank, in->line, a->offset[first_lane(rest)], plan->bytes);
}

bool race_note(Warp *w, const Inst *in, const Access *a, const AccessPlan *plan) {
  Race *race = w->block->race;
  Touch t = {.w = w, .race = race, .seen = race->warps[w->index].seen, .use = plan->use, .agent = plan->agent};
  if (a->region != &w->block->shared) note_beyond(w, in, a, plan);
  if (a->region != &w->block->shared) return true;
  if (a->contiguous) {
    t.at = a->offset[0];
    t.count = (uint64_t)plan->bytes * LANES;
    return note(w, in, &t, 0, plan->bytes);
  }
  t.count = plan->bytes;
  for (uint32_t rest = a->mask; rest; rest &= rest - 1) {
    t.at = a->offset[first_lane(rest)];
    if (!note(w, in, &t, first_lane(rest), plan->bytes)) return false;
  }
  return true;
}
