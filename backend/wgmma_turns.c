/* Layers on wgmma, two groups of warps that finish tiles in turn.
 *
 * Both groups would multiply at the same time and finish at the same time, and the tensor cores would rest meanwhile.
 * So only one of them finishes its part of a tile, and the other, once it has waited for it, is as long behind from
 * then on. Each turn of one is let go by the other, once a tile: arrivals and waits are equally many.
 */
#include "wgmma_kernel.h"

/* Named barriers: 1 lets the first group of warps finish a tile, 2 the second. */
enum { FIRST_MAY_FINISH = 1, SECOND_MAY_FINISH = 2 };

/* It pays where a block has several tiles. Of resident weights several blocks share a multiprocessor instead. */
bool wgmma_may_alternate(const Wgmma *w) {
  enum { TILES_OF_BLOCK = 3 };
  uint64_t positions = (uint64_t)w->m.grid.image_pitch * w->m.k->graph->max_batch;
  uint64_t tiles = (positions + w->m.tile.m - 1) / w->m.tile.m * (uint64_t)wgmma_column_tiles(w);
  uint64_t several = (uint64_t)TILES_OF_BLOCK * (uint64_t)w->m.k->emitter->target->sm_count;
  return !w->m.tile.resident && w->consumer_warps == 8 && tiles >= several;
}

/* "sync" or "arrive" at a barrier, by one of the two groups. */
static void turn(Wgmma *w, const char *what, int group, int number) {
  Ptx *p = &w->m.k->ptx;
  ptx_if(p, ptx_setp(p, group == 0 ? "lt.u32" : "ge.u32", w->warp, ptx_int(w->consumer_warps / 2)));
  ptx_raw(p, "bar.%s %d, %d;", what, number, 32 * w->consumer_warps);
  ptx_end_if(p);
}

void wgmma_begin_tile(Wgmma *w) {
  if (w->alternates) turn(w, "arrive", 1, FIRST_MAY_FINISH); /* its last tile is finished */
}

void wgmma_wait_for_turn(Wgmma *w) {
  if (!w->alternates) return;
  turn(w, "sync", 0, FIRST_MAY_FINISH);
  turn(w, "sync", 1, SECOND_MAY_FINISH);
}

void wgmma_end_turn(Wgmma *w) {
  if (w->alternates) turn(w, "arrive", 0, SECOND_MAY_FINISH);
}
