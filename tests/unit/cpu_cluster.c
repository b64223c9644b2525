/* Clusters of the CPU device: special registers, shared memory of other blocks, barriers across blocks; their faults,
 * and what check=race says of them. */
#include "cpu_device.h"

/* %r rank, %n blocks of the cluster, %t thread, %peer the word of this thread in the next block's sm. */
#define HEAD(size)                                                                                                     \
  PTX_HEADER ".visible .entry k(.param .u64 po, .param .u32 n)\n.maxntid 64, 1, 1\n.explicitcluster\n"                 \
             ".reqnctapercluster " size ", 1, 1\n{\n.shared .align 16 .b8 sm[256];\n.shared .align 8 .b64 bar;\n"      \
             ".reg .b64 %o, %s;\n.reg .b32 %r, %n, %t, %a, %b, %next, %peer, %v, %w, %c;\n.reg .pred %p, %first;\n"    \
             "ld.param.u64 %o, [po];\nmov.u32 %t, %tid.x;\nmov.u32 %r, %cluster_ctarank;\n"                            \
             "mov.u32 %n, %cluster_nctarank;\nsetp.eq.u32 %first, %t, 0;\nmov.u32 %a, sm;\nmov.u32 %b, bar;\n"         \
             "@%first mbarrier.init.shared.b64 [bar], 2;\n@%first fence.mbarrier_init.release.cluster;\n"              \
             "add.u32 %next, %r, 1;\nrem.u32 %next, %next, %n;\nmad.lo.u32 %v, %t, 4, %a;\n"                           \
             "mapa.shared::cluster.u32 %peer, %v, %next;\n"
#define TAIL                                                                                                           \
  "mov.u32 %c, %ctaid.x;\nmad.lo.u32 %c, %c, 64, %t;\nmul.wide.u32 %s, %c, 4;\nadd.s64 %o, %o, %s;\n"                  \
  "st.global.u32 [%o], %w;\nret;\n}\n"
#define MEET "barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;\n"
/* What thread t of block c of the grid sends: 1000 c + t. */
#define VALUE "mov.u32 %w, %ctaid.x;\nmad.lo.u32 %w, %w, 1000, %t;\n"
#define SEND VALUE "st.shared::cluster.u32 [%peer], %w;\n"
#define ARRIVE                                                                                                         \
  "bar.warp.sync -1;\nand.b32 %c, %t, 31;\nsetp.eq.u32 %p, %c, 0;\nmapa.shared::cluster.u32 %c, %b, %next;\n"          \
  "@%p mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%c];\n"
#define WAIT "W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p, [bar], 0;\n@!%p bra W;\n"
/* The same as words that complete on the next block's barrier, which thread 0 of that block tells of their bytes. */
#define EXPECT(bytes)                                                                                                  \
  "setp.le.u32 %p, %t, 1;\nmov.u32 %c, 0;\n@%first mov.u32 %c, " bytes ";\n"                                           \
  "@%p mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], %c;\n"
#define SEND_ASYNC(where)                                                                                              \
  VALUE "mapa.shared::cluster.u32 %c, %b, " where ";\n"                                                                \
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%peer], %w, [%c];\n"
#define RECEIVE "ld.shared.u32 %w, [%v];\n"

enum { BLOCKS = 16, THREADS = 64 };

static void run(const char *ptx, uint32_t out[BLOCKS][THREADS]) {
  Run r = {.entry = "k", .grid = BLOCKS, .block = THREADS, .arrays = {{out, BLOCKS * THREADS * 4, 0}}};
  device_run(ptx, &r);
}

/* Block c has what the one before it in its cluster sent. */
static void expect_passed_on(uint32_t size, uint32_t out[BLOCKS][THREADS]) {
  for (uint32_t c = 0; c < BLOCKS; c++)
    for (uint32_t t = 0; t < THREADS; t++)
      assert_int_equal(out[c][t], 1000 * (c / size * size + (c + size - 1) % size) + t);
}

static void words_go_round(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("2") SEND MEET RECEIVE MEET TAIL, out);
  expect_passed_on(2, out);
  run(HEAD("4") MEET SEND ARRIVE WAIT RECEIVE MEET TAIL, out);
  expect_passed_on(4, out);
  run(HEAD("8") MEET SEND ARRIVE WAIT RECEIVE TAIL, out);
  expect_passed_on(8, out);
}

static void words_complete_on_barriers(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("4") MEET EXPECT("256") SEND_ASYNC("%next") WAIT RECEIVE TAIL, out);
  expect_passed_on(4, out);
  run(HEAD("8") MEET SEND_ASYNC("%next") EXPECT("256") WAIT RECEIVE TAIL, out);
  expect_passed_on(8, out);
}

/* Four words of every fourth thread. */
static void words_go_together(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("2") MEET EXPECT("256") VALUE
      "mapa.shared::cluster.u32 %c, %b, %next;\nand.b32 %v, %t, 3;\nsetp.eq.u32 %p, %v, 0;\n.reg .b32 %x<3>;\n"
      "add.u32 %x0, %w, 1;\nadd.u32 %x1, %w, 2;\nadd.u32 %x2, %w, 3;\nmad.lo.u32 %v, %t, 4, %a;\n"
      "@%p st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%peer], {%w, %x0, %x1, %x2}, [%c];\n" WAIT
          RECEIVE TAIL,
      out);
  expect_passed_on(2, out);
}

static void other_blocks_are_read(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("4") VALUE "st.shared.u32 [%v], %w;\n" MEET "ld.shared::cluster.u32 %w, [%peer];\n" MEET TAIL, out);
  for (uint32_t c = 0; c < BLOCKS; c++)
    for (uint32_t t = 0; t < THREADS; t++) assert_int_equal(out[c][t], 1000 * (c / 4 * 4 + (c + 1) % 4) + t);
}

static void registers_say_where(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("4") MEET "mov.u32 %v, %clusterid.x;\nmad.lo.u32 %w, %v, 10, %r;\nmad.lo.u32 %w, %n, 1000, %w;\n"
                     "mov.u32 %v, %nclusterid.x;\nmad.lo.u32 %w, %v, 100000, %w;\n" TAIL,
      out);
  for (uint32_t c = 0; c < BLOCKS; c++) assert_int_equal(out[c][7], 404000 + c / 4 * 10 + c % 4);
}

/* An address of shared memory names the block in its upper bits, as on a GPU, and serves its own block and others. A
 * descriptor made of it must leave them out. */
static void addresses_name_their_block(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  run(HEAD("4") MEET "shr.u32 %w, %a, 24;\n" TAIL, out);
  for (uint32_t c = 0; c < BLOCKS; c++)
    for (uint32_t other = 0; other < c % 4; other++) assert_int_not_equal(out[c][0], out[c / 4 * 4 + other][0]);
  run(HEAD("4") VALUE "st.shared.u32 [%v], %w;\n" MEET "mov.u32 %w, 0;\nld.shared::cluster.u32 %w, [%v];\n" TAIL, out);
  for (uint32_t c = 0; c < BLOCKS; c++) assert_int_equal(out[c][9], 1000 * c + 9);
}

typedef struct FaultCase {
  const char *ptx, *word; /* NULL: none */
  uint32_t grid;
} FaultCase;

static void check_fault(const FaultCase *f) {
  static uint32_t out[BLOCKS][THREADS];
  CUmodule module = device_module(f->ptx);
  Run r = {.entry = "k", .grid = f->grid, .block = THREADS, .arrays = {{out, sizeof out, 0}}};
  CUresult result = device_launch(module, &r);
  if (!f->word && result) fail_msg("a fault: %s", cu.last_error());
  if (f->word && !result) fail_msg("no fault: %s", f->word);
  if (f->word && !strstr(cu.last_error(), f->word)) fail_msg("\"%s\" is not in: %s", f->word, cu.last_error());
  CHECK_CU(cu.cuModuleUnload(module));
}

static void faults_are_told(void **state) {
  (void)state;
  static const FaultCase cases[] = {
      {HEAD("4") MEET "mapa.shared::cluster.u32 %c, %a, 4;\nmov.u32 %w, 0;\n" TAIL, "block 4 of a cluster that has 4",
       4},
      {HEAD("4") MEET VALUE TAIL, "a grid of 6 blocks along x is no whole number of clusters of 4", 6},
      {HEAD("2") MEET "ld.shared::cluster.u32 %w, [%peer];\n" TAIL, "shared memory that nothing wrote", 2},
      {HEAD("2") MEET "st.shared::cluster.u32 [%peer+1024], %t;\n" VALUE TAIL, "out-of-bounds", 2},
      {HEAD("2") MEET "mapa.shared::cluster.u32 %c, %b, %next;\nW: mbarrier.try_wait.parity.shared.b64 %p, [%c], 0;\n"
                      "@!%p bra W;\n" VALUE TAIL,
       "a wait for an mbarrier of another block", 2},
      {HEAD("2") MEET EXPECT("256") SEND_ASYNC("%r") WAIT TAIL, "another block than that of its mbarrier", 2},
      {HEAD("2") MEET EXPECT("260") SEND_ASYNC("%next") WAIT TAIL, "deadlock", 2},
      {HEAD("2") MEET EXPECT("256") SEND_ASYNC("%next") MEET RECEIVE TAIL, "still filling", 2},
      {HEAD("2") "setp.eq.u32 %p, %r, 0;\n@%p bra GO;\n" MEET "GO:\n" VALUE TAIL, "have exited", 2},
      {HEAD("2") MEET "setp.eq.u32 %p, %r, 0;\n@%p bra GO;\n" WAIT "GO:\n" VALUE TAIL, "deadlock", 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_fault(&cases[i]);
}

static void races_are_found(void **state) {
  (void)state;
  static const FaultCase cases[] = {
      {HEAD("4") MEET SEND ARRIVE WAIT RECEIVE TAIL, NULL, 8},
      {HEAD("4") MEET SEND MEET RECEIVE TAIL, NULL, 8},
      {HEAD("4") MEET SEND ARRIVE WAIT RECEIVE "st.shared.u32 [%v], 1;\n" TAIL, NULL, 8},
      {HEAD("4") MEET EXPECT("256") SEND_ASYNC("%next") WAIT RECEIVE "st.shared.u32 [%v], 1;\n" TAIL, NULL, 8},
      {HEAD("2") "st.shared.u32 [%v], 0;\n" MEET SEND RECEIVE MEET TAIL, "has not waited for block", 2},
      {HEAD("2") MEET ARRIVE SEND WAIT RECEIVE MEET TAIL, "has not waited for block", 2},
  };
  cu.set_option("check", "race");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_fault(&cases[i]);
  cu.set_option("check", "1");
}

/* Several workers, each with clusters of its own. */
static void workers_share_the_clusters(void **state) {
  (void)state;
  static uint32_t out[BLOCKS][THREADS];
  cu.set_option("threads", "4");
  for (int i = 0; i < 20; i++) {
    memset(out, 0, sizeof out);
    run(HEAD("2") MEET SEND ARRIVE WAIT RECEIVE TAIL, out);
    expect_passed_on(2, out);
  }
}

static void sizes_have_bounds(void **state) {
  (void)state;
  CUmodule module;
  assert_int_not_equal(cu.cuModuleLoadData(&module, HEAD("16") VALUE TAIL), 0);
  assert_non_null(strstr(cu.last_error(), "clusters of 1 to 8 blocks"));
}

static int open_cpu(void **state) {
  return device_open(state) || !cu.is_cpu ? -1 : 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_go_round),      cmocka_unit_test(words_complete_on_barriers),
      cmocka_unit_test(words_go_together),   cmocka_unit_test(other_blocks_are_read),
      cmocka_unit_test(registers_say_where), cmocka_unit_test(faults_are_told),
      cmocka_unit_test(races_are_found),     cmocka_unit_test(workers_share_the_clusters),
      cmocka_unit_test(sizes_have_bounds),   cmocka_unit_test(addresses_name_their_block),
  };
  return cmocka_run_group_tests(tests, open_cpu, device_close);
}
