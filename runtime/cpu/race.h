/* The race check of shared memory (option check=race): what the instructions tell it. race_order.c keeps which
 * operations come before which, race.c holds every access against that. All of it belongs to one block and its thread;
 * a block without the check has no Race, and nobody calls. */
#ifndef CPU_RACE_H
#define CPU_RACE_H

#include "access.h"

bool race_open(Block *block); /* Block.race for the launch at hand; false without memory */
void race_close(Block *block);
void race_start(Block *block); /* the next block: everything before it is over */

/* ---- barriers of the block: the cluster's wait may come when its phase is over already ---- */

void race_barrier_arrive(Warp *w, uint32_t number);
void race_barrier_leave(Warp *w, uint32_t number); /* when it is complete */
void race_barrier_end(Block *block, uint32_t number);
void race_cluster_leave(Warp *w);

/* ---- mbarriers, by their shared address ---- */

bool race_mbarrier_init(Warp *w, const Inst *in, uint32_t lane, uint32_t barrier);
void race_mbarrier_arrive(Warp *w, uint32_t barrier);
void race_mbarrier_end(Block *block, uint32_t barrier); /* the phase is complete */
void race_mbarrier_leave(Warp *w, uint32_t barrier);    /* a wait for the last complete phase succeeds */

/* ---- other blocks of the cluster: writes count by the rank of the block that wrote, and are seen by those who wait
 * for what that block arrived at afterwards. Their reads are not followed. ---- */

void race_write_from(Block *owner, uint32_t rank, uint32_t line, uint64_t at, uint64_t bytes);
void race_mbarrier_arrive_from(Block *owner, uint32_t rank, uint32_t barrier);

/* ---- operations that run beside the warp ---- */

void race_fence_async(Warp *w);
void race_products_commit(Warp *w);
void race_products_wait(Warp *w, uint32_t keep);
void race_stores_commit(Warp *w);
void race_stores_wait(Warp *w, uint32_t keep);

/* These bytes are there when the mbarrier's present phase ends: a bulk copy, cp.async with cp.async.mbarrier.arrive. */
void race_copy_brings(Block *block, uint32_t barrier, uint32_t line, uint32_t address, uint32_t bytes);
/* These bytes of the warp's cp.async are there now. */
void race_copy_lands(Warp *w, uint32_t address, uint32_t bytes);

#endif
