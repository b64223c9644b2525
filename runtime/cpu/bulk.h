/* Barriers in shared memory and the bulk copies that complete on them: what exec_mbarrier.c and exec_bulk.c share. */
#ifndef CPU_BULK_H
#define CPU_BULK_H

#include "race.h"

/* Adds to the transaction count of the barrier at a shared address (complete_tx of a copy), for the phase under way.
 * False after a fault. *phase is that phase. */
bool EXEC_NAME(mbarrier_transfer)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, uint32_t bytes,
                                  uint32_t *phase);

/* The same for words of st.async, behind all that the warp has done. */
bool EXEC_NAME(mbarrier_send)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, uint32_t bytes,
                              uint32_t *phase);

/* One arrival of cp.async.mbarrier.arrive; unless `counted` (.noinc) the arrivals that the phase waits for grow by one
 * first, so that nothing changes. */
bool EXEC_NAME(mbarrier_arrive_copies)(Warp *w, const Inst *in, uint32_t lane, uint64_t barrier, bool counted);

#endif
