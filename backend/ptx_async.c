/* Barriers in shared memory and bulk copies (ptx_async.h). */
#include "ptx_async.h"

#include <inttypes.h>

/* "@%p1 ", or "" where the predicate is the immediate 1. */
static const char *guard(Ptx *p, PtxValue pred) {
  return ptx_is_int(pred, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, pred));
}

void ptx_barrier_init(Ptx *p, PtxValue barrier, uint32_t arrivals) {
  ptx_raw(p, "mbarrier.init.shared::cta.b64 [%s], %" PRIu32 ";", ptx_text(p, barrier), arrivals);
}

void ptx_barrier_init_fence(Ptx *p) {
  ptx_raw(p, "fence.mbarrier_init.release.cluster;");
}

void ptx_barrier_wait(Ptx *p, PtxValue barrier, PtxValue parity) {
  PtxValue done = ptx_new(p, CLASS_PRED);
  uint32_t label = p->label_count++;
  text_add(&p->body, "$wait%" PRIu32 ":\n", label);
  ptx_raw(p, "mbarrier.try_wait.parity.shared::cta.b64 %s, [%s], %s;", ptx_text(p, done), ptx_text(p, barrier),
          ptx_text(p, parity));
  ptx_raw(p, "@!%s bra $wait%" PRIu32 ";", ptx_text(p, done), label);
}

PtxValue ptx_in_block(Ptx *p, PtxValue address, PtxValue rank) {
  PtxValue there = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mapa.shared::cluster.u32 %s, %s, %s;", ptx_text(p, there), ptx_text(p, address), ptx_text(p, rank));
  return there;
}

void ptx_send_words(Ptx *p, PtxValue to, const PtxValue *words, int count, PtxValue barrier) {
  Text list = {.context = p->context};
  for (int i = 0; i < count; i++) text_add(&list, "%s%s", i ? ", " : "", ptx_text(p, words[i]));
  ptx_raw(p, "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v%d.b32 [%s], {%s}, [%s];", count,
          ptx_text(p, to), list.data, ptx_text(p, barrier));
}

void ptx_barrier_arrive_if(Ptx *p, PtxValue pred, PtxValue barrier) {
  ptx_raw(p, "%smbarrier.arrive.shared::cta.b64 _, [%s];", guard(p, pred), ptx_text(p, barrier));
}

void ptx_barrier_expect_if(Ptx *p, PtxValue pred, PtxValue barrier, PtxValue bytes) {
  ptx_raw(p, "%smbarrier.arrive.expect_tx.shared::cta.b64 _, [%s], %s;", guard(p, pred), ptx_text(p, barrier),
          ptx_text(p, bytes));
}

void ptx_barrier_expect(Ptx *p, PtxValue barrier, PtxValue bytes) {
  ptx_barrier_expect_if(p, ptx_int(1), barrier, bytes);
}

void ptx_bulk_copy_if(Ptx *p, PtxValue pred, PtxValue to, PtxValue from, PtxValue bytes, PtxValue barrier) {
  ptx_raw(p, "%scp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%s], %s, [%s];",
          guard(p, pred), ptx_text(p, to), ptx_text(p, from), ptx_text(p, bytes), ptx_text(p, barrier));
}

PtxValue ptx_descriptor_address(Ptx *p, PtxValue address) {
  return ptx_shr(p, ptx_and(p, address, ptx_int(0x3ffff)), 4);
}

PtxValue ptx_descriptor(Ptx *p, PtxValue address, uint32_t offset, uint32_t apart, uint32_t group) {
  PtxValue low = ptx_add(p, address, ptx_int((int64_t)(offset | apart << 16)));
  PtxValue d = ptx_new(p, CLASS_B64);
  ptx_raw(p, "mov.b64 %s, {%s, %" PRIu32 "};", ptx_text(p, d), ptx_text(p, low), group);
  return d;
}
