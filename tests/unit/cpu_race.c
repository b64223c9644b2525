/* check=race of the CPU device: what orders accesses to shared memory and what does not. Each kernel that is right
 * passes, and with one thing left out or misplaced it is a fault that says so. */
#include "cpu_device.h"

typedef struct RaceCase {
  const char *name, *body, *word; /* NULL: no race; otherwise this stands in the message */
} RaceCase;

static void check_kernel(const char *name, const char *ptx, uint32_t threads, const char *word) {
  static uint8_t data[4096];
  CUmodule module = device_module(ptx);
  Run run = {.entry = "k", .grid = 2, .block = threads, .arrays = {{data, sizeof data, 0}}};
  CUresult result = device_launch(module, &run);
  if (!word && result) fail_msg("%s: %s", name, cu.last_error());
  if (word && !result) fail_msg("%s: no fault", name);
  if (word && !strstr(cu.last_error(), word)) fail_msg("%s: \"%s\" is not in: %s", name, word, cu.last_error());
  CHECK_CU(cu.cuModuleUnload(module));
}

/* ---- small kernels of four warps: %t thread, %w warp, %mine and %next 4 bytes of this and the next warp's thread ----
 */

#define SMALL_HEAD                                                                                                     \
  PTX_HEADER ".visible .entry k(.param .u64 pa, .param .u32 n) {\n.shared .align 1024 .b8 sm[4096];\n"                 \
             ".shared .align 8 .b64 bar;\n.reg .b64 %a, %d, %s;\n"                                                     \
             ".reg .b32 %t, %w, %mine, %next, %x, %c<4>;\n.reg .pred %p, %no, %first, %w0, %w1, %w2, %w3, %low;\n"     \
             "ld.param.u64 %a, [pa];\nmov.u32 %t, %tid.x;\nshr.u32 %w, %t, 5;\nsetp.eq.u32 %first, %t, 0;\n"           \
             "setp.eq.u32 %w0, %w, 0;\nsetp.eq.u32 %w1, %w, 1;\nsetp.eq.u32 %w2, %w, 2;\nsetp.eq.u32 %w3, %w, "        \
             "3;\nsetp.lt.u32 %low, %w, 2;\n"                                                                          \
             "setp.ne.u32 %no, 0, 0;\nmov.u32 %x, sm;\nmad.lo.u32 %mine, %t, 4, %x;\nadd.u32 %next, %t, 32;\n"         \
             "and.b32 %next, %next, 127;\nmad.lo.u32 %next, %next, 4, %x;\n"                                           \
             "st.shared.u32 [%mine], 0;\nfence.proxy.async;\nbar.sync 0;\n"
#define SMALL_TAIL "ret;\n}\n"
#define WRITE_MINE "st.shared.u32 [%mine], %t;\n"
#define READ_NEXT "ld.shared.u32 %x, [%next];\n"
#define INIT(count) "@%first mbarrier.init.shared.b64 [bar], " count ";\nbar.sync 0;\n"
#define WAIT(label, parity) label ": mbarrier.try_wait.parity.shared.b64 %p, [bar], " parity ";\n@!%p bra " label ";\n"
#define FILL "mad.lo.u32 %x, %t, 32, %x;\nst.shared.v2.u64 [%x], {1, 2};\nst.shared.v2.u64 [%x+16], {1, 2};\n"
#define PRODUCT                                                                                                        \
  "mov.u32 %x, sm;\nshr.u32 %x, %x, 4;\ncvt.u64.u32 %d, %x;\nadd.s64 %d, %d, 0x800080000;\n"                           \
  "wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%c0, %c1, %c2, %c3}, %d, "    \
  "%d, %no;\nwgmma.commit_group.sync.aligned;\n"
#define BULK_STORE                                                                                                     \
  "@%first cp.async.bulk.global.shared::cta.bulk_group [%a], [sm], 512;\n@%first cp.async.bulk.commit_group;\n"
#define COPY "cp.async.ca.shared.global [sm], [%a], 16;\n"
#define BULK_COPY                                                                                                      \
  "@%first mbarrier.arrive.expect_tx.shared.b64 %s, [bar], 512;\n@%first cp.async.bulk.shared::cluster.global."        \
  "mbarrier::complete_tx::bytes [sm], [%a], 512, [bar];\n"

static const RaceCase small_cases[] = {
    {"barrier of the block", WRITE_MINE "bar.sync 0;\n" READ_NEXT, NULL},
    {"no barrier", WRITE_MINE READ_NEXT, "race on shared byte"},
    {"written again without a barrier", WRITE_MINE "bar.sync 0;\n" READ_NEXT WRITE_MINE, "nothing orders the read of"},
    {"written again behind a barrier", WRITE_MINE "bar.sync 0;\n" READ_NEXT "bar.sync 0;\n" WRITE_MINE, NULL},
    {"barrier of the cluster",
     WRITE_MINE "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" READ_NEXT, NULL},
    {"atomics among themselves", "@%first st.shared.u32 [sm], 0;\nbar.sync 0;\nred.shared.add.u32 [sm], 1;\n", NULL},
    {"atomic and read",
     "@%first st.shared.u32 [sm], 0;\nbar.sync 0;\nred.shared.add.u32 [sm], 1;\n"
     "ld.shared.u32 %x, [sm];\n",
     "race on"},

    /* named barriers */
    {"subset", "@!%low bra END;\n" WRITE_MINE "bar.sync 1, 64;\n@%w0 ld.shared.u32 %x, [%next];\nEND: ", NULL},
    {"other subset",
     "@%low " WRITE_MINE "@%low bar.sync 1, 64;\n@!%low bar.sync 2, 64;\n@%w2 ld.shared.u32 %x, [sm];\n",
     "nothing orders the write of warp 0"},
    {"arrival before the other's wait",
     "@%w0 " WRITE_MINE "@%w0 bar.arrive 1, 64;\n@%w1 bar.sync 1, 64;\n@%w1 ld.shared.u32 %x, [sm];\n", NULL},
    {"arrival does not wait",
     "@%w1 " WRITE_MINE "@%w1 bar.sync 1, 64;\n@%w0 bar.arrive 1, 64;\n@%w0 ld.shared.u32 %x, [sm+128];\n", "race on"},
    {"from one subset to the next",
     "@%w0 " WRITE_MINE "@%low bar.sync 1, 64;\n@%w1 bar.arrive 2, 64;\n@%w2 bar.sync 2, 64;\n"
     "@%w2 ld.shared.u32 %x, [sm];\n",
     NULL},

    /* mbarriers */
    {"arrival and wait", INIT("128") WRITE_MINE "mbarrier.arrive.shared.b64 %s, [bar];\n" WAIT("W", "0") READ_NEXT,
     NULL},
    {"wait for a state",
     INIT("128") WRITE_MINE "mbarrier.arrive.shared.b64 %s, [bar];\nW: mbarrier.test_wait.shared.b64 %p, [bar], %s;\n"
                            "@!%p bra W;\n" READ_NEXT,
     NULL},
    {"written behind the arrival",
     INIT("128") "mbarrier.arrive.shared.b64 %s, [bar];\n" WRITE_MINE WAIT("W", "0") READ_NEXT, "race on"},
    {"wait for the phase before",
     INIT("32") "@%w3 bra READ;\n@!%w0 bra END;\n" WRITE_MINE
                "mbarrier.arrive.shared.b64 %s, [bar];\nbra END;\nREAD: " WAIT("W",
                                                                               "1") "ld.shared.u32 %x, [sm];\nEND: ",
     "nothing orders the read of warp 3"},
    {"the next phase does not count yet",
     INIT("64") "@!%low bra END;\nmbarrier.arrive.shared.b64 %s, [bar];\n" WAIT(
         "W", "0") "@%w0 st.shared.u32 [sm], 1;\n@%w0 mbarrier.arrive.shared.b64 %s, [bar];\n@%w1 ld.shared.u32 %x, "
                   "[sm];\nEND: ",
     "race on"},
    {"no barrier behind the initialisation",
     "setp.eq.u32 %p, %t, 96;\n@%p mbarrier.init.shared.b64 [bar], 128;\nmbarrier.arrive.shared.b64 %s, [bar];\n",
     "nothing orders the write of warp 3"},

    /* copies */
    {"cp.async", "@%w1 " COPY "@%w1 cp.async.wait_all;\nbar.sync 0;\nld.shared.u32 %x, [sm];\n", NULL},
    {"cp.async, the wait behind the barrier",
     "@%w2 " COPY "bar.sync 0;\n@%w2 cp.async.wait_all;\nld.shared.u32 %x, [sm];\n",
     "nothing orders the write of warp 2"},
    {"cp.async on an mbarrier",
     INIT("1") "setp.eq.u32 %p, %t, 127;\n@%p " COPY
               "@%p cp.async.mbarrier.arrive.noinc.shared.b64 [bar];\n" WAIT("W", "0") "ld.shared.u32 %x, [sm];\n",
     NULL},
    {"cp.async on an mbarrier, no wait",
     INIT("1") "setp.eq.u32 %p, %t, 127;\n@%p " COPY "@%p cp.async.mbarrier.arrive.noinc.shared.b64 [bar];\n"
               "@%p ld.shared.u32 %x, [sm];\n",
     "has not waited for the copy"},
    {"bulk copy", INIT("1") BULK_COPY WAIT("W", "0") READ_NEXT, NULL},
    {"bulk copy, one warp waits for all", INIT("1") BULK_COPY "@!%w0 bra GO;\n" WAIT("W", "0") "GO: " READ_NEXT,
     "shared byte"},
    {"bulk copy, a barrier passes the wait on",
     INIT("1") BULK_COPY "@!%w0 bra GO;\n" WAIT("W", "0") "GO: bar.sync 0;\n" READ_NEXT, NULL},
    {"bulk copy over what is being read", WRITE_MINE "fence.proxy.async;\n" INIT("1") READ_NEXT BULK_COPY,
     "nothing orders the read of"},
    {"bulk copy over what was read", WRITE_MINE "fence.proxy.async;\n" INIT("1") READ_NEXT "bar.sync 0;\n" BULK_COPY,
     NULL},

    /* what the async proxy sees */
    {"product of what was stored", FILL "fence.proxy.async.shared::cta;\nbar.sync 0;\n" PRODUCT, NULL},
    {"fence behind the barrier", FILL "bar.sync 0;\nfence.proxy.async;\n" PRODUCT, NULL},
    {"no fence", FILL "bar.sync 0;\n" PRODUCT, "no fence.proxy.async between the write of warp 0"},
    {"fence before the write", "fence.proxy.async;\n" FILL "bar.sync 0;\n" PRODUCT, "no fence.proxy.async"},
    {"fence of generic accesses", FILL "fence.acq_rel.cta;\nbar.sync 0;\n" PRODUCT, "no fence.proxy.async"},
    {"store over a product's operand",
     FILL "fence.proxy.async;\nbar.sync 0;\n" PRODUCT "bar.sync 0;\nst.shared.u32 [%mine], 1;\n",
     "which ends with a wgmma.wait_group"},
    {"store behind the product",
     FILL "fence.proxy.async;\nbar.sync 0;\n" PRODUCT "wgmma.wait_group.sync.aligned 0;\nbar.sync 0;\n"
          "st.shared.u32 [%mine], 1;\n",
     NULL},
    {"bulk store",
     WRITE_MINE "fence.proxy.async;\nbar.sync 0;\n" BULK_STORE
                "@%first cp.async.bulk.wait_group.read 0;\nbar.sync 0;\n" WRITE_MINE,
     NULL},
    {"bulk store without its wait",
     WRITE_MINE "fence.proxy.async;\nbar.sync 0;\n" BULK_STORE "bar.sync 0;\n" WRITE_MINE,
     "nothing orders the bulk store of warp 0"},
    {"bulk store without a fence", WRITE_MINE "bar.sync 0;\n" BULK_STORE, "no fence.proxy.async"},
};

static void test_small(void **state) {
  static TextBuffer t;
  (void)state;
  for (size_t i = 0; i < sizeof small_cases / sizeof *small_cases; i++) {
    const RaceCase *c = &small_cases[i];
    t.used = 0;
    text_add(&t, "%s%s%s", SMALL_HEAD, c->body, SMALL_TAIL);
    check_kernel(c->name, t.text, 128, c->word);
  }
}

/* ---- a ring of two stages: thread 0 copies, four warps multiply ---- */

typedef struct RingCase {
  const char *name, *word;
  const char *init_sync, *wait_empty, *wait_full, *early, *give; /* NULL: as it should be */
} RingCase;

static const char ring_head[] =
    PTX_HEADER ".visible .entry k(.param .u64 pi, .param .u32 n) {\n.shared .align 128 .b8 stages[5120];\n"
               ".shared .align 8 .b64 full[2];\n.shared .align 8 .b64 empty[2];\n.reg .b64 %p, %a, %b, %x;\n"
               ".reg .b32 %t, %i, %slot, %phase, %f, %e, %s, %v, %c<4>;\n.reg .pred %q, %r, %no, %one, %first;\n"
               "ld.param.u64 %p, [pi];\nmov.u32 %t, %tid.x;\nand.b32 %v, %t, 31;\nsetp.eq.u32 %one, %v, 0;\n"
               "setp.ne.u32 %no, 0, 0;\nsetp.eq.u32 %first, %t, 0;\n@%first mbarrier.init.shared.b64 [full], 1;\n"
               "@%first mbarrier.init.shared.b64 [full+8], 1;\n@%first mbarrier.init.shared.b64 [empty], 4;\n"
               "@%first mbarrier.init.shared.b64 [empty+8], 4;\n@%first fence.mbarrier_init.release.cluster;\n";
#define RING_PLACES                                                                                                    \
  "and.b32 %slot, %i, 1;\nshr.u32 %phase, %i, 1;\nand.b32 %phase, %phase, 1;\nmov.u32 %e, empty;\n"                    \
  "mad.lo.u32 %e, %slot, 8, %e;\nmov.u32 %f, full;\nmad.lo.u32 %f, %slot, 8, %f;\nmov.u32 %s, stages;\n"               \
  "mad.lo.u32 %s, %slot, 2560, %s;\n"
static const char ring_produce[] =
    "mov.u32 %i, 0;\nsetp.ge.u32 %q, %t, 128;\n@%q bra CONSUME;\n@!%first bra END;\nPRODUCE: " RING_PLACES;
static const char ring_copy[] =
    "mbarrier.arrive.expect_tx.shared.b64 %x, [%f], 2304;\n"
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%p], 2304, [%f];\n"
    "add.u32 %i, %i, 1;\nsetp.lt.u32 %q, %i, 7;\n@%q bra PRODUCE;\nbra END;\nCONSUME: " RING_PLACES;
static const char ring_multiply[] =
    "shr.u32 %v, %s, 4;\ncvt.u64.u32 %a, %v;\nadd.s64 %b, %a, 0x800080080;\nadd.s64 %a, %a, 0x800400000;\n"
    "wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%c0, %c1, %c2, %c3}, %a, "
    "%b, %no;\nwgmma.commit_group.sync.aligned;\n";
static const char ring_tail[] = "add.u32 %i, %i, 1;\nsetp.lt.u32 %q, %i, 7;\n@%q bra CONSUME;\n"
                                "wgmma.wait_group.sync.aligned 0;\nEND: ret;\n}\n";

#define WAIT_EMPTY(parity) "W1: mbarrier.try_wait.parity.shared.b64 %q, [%e], " parity ";\n@!%q bra W1;\n"
#define WAIT_FULL(parity) "W2: mbarrier.try_wait.parity.shared.b64 %q, [%f], " parity ";\n@!%q bra W2;\n"
#define ARRIVE "@%one mbarrier.arrive.shared.b64 _, [%e];\n"
#define WAIT_PRODUCTS(but) "wgmma.wait_group.sync.aligned " but ";\n"

static const RingCase ring_cases[] = {
    {.name = "ring"},
    {.name = "ring with a stage in flight",
     .give = WAIT_PRODUCTS("1") "mov.u32 %e, empty;\nxor.b32 %v, %slot, 1;\nmad.lo.u32 %e, %v, 8, %e;\n"
                                "setp.gt.u32 %r, %i, 0;\nand.pred %r, %r, %one;\n"
                                "@%r mbarrier.arrive.shared.b64 _, [%e];\n"},
    {.name = "given back before the products are done",
     .give = ARRIVE WAIT_PRODUCTS("0"),
     .word = "which ends with a wgmma.wait_group, before this bulk copy to it"},
    {.name = "a wait that leaves the stage's products",
     .give = WAIT_PRODUCTS("1") ARRIVE,
     .word = "which ends with a wgmma.wait_group, before this bulk copy to it"},
    {.name = "given back before the products are started",
     .early = ARRIVE,
     .give = WAIT_PRODUCTS("0"),
     .word = "race on"},
    {.name = "refilled without a wait", .wait_empty = "", .word = "shared byte"},
    {.name = "the filling parity does not wrap", .wait_empty = WAIT_EMPTY("1"), .word = "shared byte"},
    {.name = "the reading parity does not wrap", .wait_full = WAIT_FULL("0"), .word = "deadlock"},
    {.name = "read without a wait", .wait_full = "", .word = "shared memory that nothing wrote"},
    {.name = "one warp does not wait",
     .wait_full = "shr.u32 %v, %t, 5;\nsetp.eq.u32 %r, %v, 5;\n@%r bra GO;\n" WAIT_FULL("%phase") "GO:\n",
     .word = "has not waited for the copy"},
    {.name = "no barrier behind the initialisation", .init_sync = "", .word = "nothing orders the write of warp 0"},
};

static void test_rings(void **state) {
  static TextBuffer t;
  (void)state;
  for (size_t i = 0; i < sizeof ring_cases / sizeof *ring_cases; i++) {
    const RingCase *c = &ring_cases[i];
    t.used = 0;
    text_add(&t, "%s%s%s", ring_head, c->init_sync ? c->init_sync : "bar.sync 0;\n", ring_produce);
    text_add(&t, "%s%s", c->wait_empty ? c->wait_empty : "xor.b32 %phase, %phase, 1;\n" WAIT_EMPTY("%phase"),
             ring_copy);
    text_add(&t, "%s%s%s", c->wait_full ? c->wait_full : WAIT_FULL("%phase"), c->early ? c->early : "", ring_multiply);
    text_add(&t, "%s%s", c->give ? c->give : WAIT_PRODUCTS("0") ARRIVE, ring_tail);
    check_kernel(c->name, t.text, 256, c->word);
  }
}

static int open_cpu(void **state) {
  if (device_open(state) || !cu.is_cpu) return -1;
  cu.set_option("check", "race");
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_rings)};
  return cmocka_run_group_tests(tests, open_cpu, device_close);
}
