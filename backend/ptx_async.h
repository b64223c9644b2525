/* Barriers in shared memory and copies that complete on them (PTX ISA, "mbarrier" and "cp.async.bulk"): what the
 * builder adds for kernels whose copies run beside their arithmetic. Barriers are 32-bit shared addresses of 8 bytes.
 */
#ifndef BACKEND_PTX_ASYNC_H
#define BACKEND_PTX_ASYNC_H

#include "ptx.h"

void ptx_barrier_init(Ptx *p, PtxValue barrier, uint32_t arrivals);
/* Initialised barriers become visible to copies; before the block's first bar.sync. */
void ptx_barrier_init_fence(Ptx *p);
/* Waits until the phase of a parity (0, 1) has ended; that before the first counts as parity 1 and has. */
void ptx_barrier_wait(Ptx *p, PtxValue barrier, PtxValue parity);
void ptx_barrier_arrive_if(Ptx *p, PtxValue pred, PtxValue barrier);
/* Arrives, and lets the phase end no earlier than when this many bytes have come. */
void ptx_barrier_expect(Ptx *p, PtxValue barrier, PtxValue bytes);
void ptx_barrier_expect_if(Ptx *p, PtxValue pred, PtxValue barrier, PtxValue bytes);
/* The same address in another block of the cluster. */
PtxValue ptx_in_block(Ptx *p, PtxValue address, PtxValue rank);
/* Stores 2 or 4 words to another block's memory or one's own, all addresses from ptx_in_block; they count as bytes of
 * the barrier there, and are seen by who waits for it. */
void ptx_send_words(Ptx *p, PtxValue to, const PtxValue *words, int count, PtxValue barrier);
/* Starts a copy of `bytes` bytes (a multiple of 16, as both addresses are) to shared memory under a predicate. */
void ptx_bulk_copy_if(Ptx *p, PtxValue pred, PtxValue to, PtxValue from, PtxValue bytes, PtxValue barrier);

/* An address of shared memory as wgmma's descriptors have it, in units of 16 bytes (PTX ISA, "Matrix descriptor"):
 * without the upper bits, in which a cluster says which block is meant. */
PtxValue ptx_descriptor_address(Ptx *p, PtxValue address);
/* A descriptor of rows without swizzle, in those units: of the rows `offset` behind an address, whose second 16 bytes
 * of an instruction lie `apart` behind the first and the next eight rows `group`. */
enum { DESCRIPTOR_ROWS = 8 }; /* of a core matrix */
PtxValue ptx_descriptor(Ptx *p, PtxValue address, uint32_t offset, uint32_t apart, uint32_t group);

#endif
