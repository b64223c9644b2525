/* What sm_90a adds, on the CPU device: wgmma from descriptors of every swizzle and from registers, barriers in shared
 * memory, bulk and tensor copies, clusters of one block; and their faults. */
#include "cpu_device.h"

/* ---- wgmma: operands are laid out here by the published rules, product by plain loops ---- */

typedef struct Layout {
  const char *name;
  int code;            /* bits 62-63 of the descriptor */
  int pitch;           /* bytes from row to row in a group of 8; 0: no swizzle */
  int mask;            /* what bits 7-9 of the address flip */
  int leading, stride; /* byte offsets */
} Layout;

static const Layout layouts[] = {{"none", 0, 0, 0, 8192, 128},
                                 {"none, pieces side by side", 0, 0, 0, 128, 256},
                                 {"128 bytes", 1, 128, 0x70, 16, 1024},
                                 {"64 bytes", 2, 64, 0x30, 16, 512},
                                 {"32 bytes", 3, 32, 0x10, 16, 256}};

typedef struct Product {
  const char *shape, *types;
  int columns;
  bool bits, registers, a_signed, b_signed;
} Product;

static const Product products[] = {
    {"m64n8k256", ".s32.b1.b1.and.popc", 8, true, false, false, false},
    {"m64n64k256", ".s32.b1.b1.and.popc", 64, true, false, false, false},
    {"m64n256k256", ".s32.b1.b1.and.popc", 256, true, false, false, false},
    {"m64n96k256", ".s32.b1.b1.and.popc", 96, true, true, false, false},
    {"m64n16k32", ".s32.s8.s8", 16, false, false, true, true},
    {"m64n128k32", ".s32.u8.s8", 128, false, false, false, true},
    {"m64n32k32", ".s32.s8.u8", 32, false, true, true, false},
    {"m64n8k32", ".s32.u8.u8", 8, false, false, false, false},
};

enum { IMAGE_BYTES = 65536, ROW_BYTES = 64, STEPS = 2 };

/* Two steps of 32 bytes along k, one behind the other in a row of the swizzled layouts that has the room. */
static uint32_t step_start(const Layout *l, int step) {
  if (l->pitch >= 64) return (uint32_t)step * 32;
  return (uint32_t)step * 16384;
}

static void place(uint8_t *image, const Layout *l, int row, int step, const uint8_t bytes[32]) {
  for (int piece = 0; piece < 2; piece++) {
    uint32_t at = step_start(l, step) + (uint32_t)(row / 8 * l->stride);
    at += (uint32_t)(l->pitch ? row % 8 * l->pitch + piece * 16 : row % 8 * 16 + piece * l->leading);
    at ^= at >> 3 & (uint32_t)l->mask;
    assert_true(at + 16 <= IMAGE_BYTES);
    memcpy(image + at, bytes + 16 * piece, 16);
  }
}

static uint64_t descriptor(const Layout *l, uint32_t start) {
  return (uint64_t)(start >> 4) | (uint64_t)(l->leading >> 4) << 16 | (uint64_t)(l->stride >> 4) << 32 |
         (uint64_t)l->code << 62;
}

static void write_product_kernel(TextBuffer *t, const Product *p, const Layout *l) {
  int registers = p->columns / 2;
  t->used = 0;
  text_add(t,
           "%s.extern .shared .align 1024 .b8 sm[];\n.visible .entry k(.param .u64 pi, .param .u64 pa, .param .u64 pd, "
           ".param .u32 n) .maxntid 128 {\n"
           ".reg .b64 %%p, %%q, %%x, %%y, %%da, %%db;\n.reg .b32 %%t, %%s, %%i, %%v<4>, %%a<4>, %%d<128>, %%b;\n.reg "
           ".pred %%p1, %%zero, %%one;\n",
           PTX_HEADER);
  text_add(t,
           "ld.param.u64 %%p, [pi];\nmov.u32 %%t, %%tid.x;\nmov.u32 %%b, sm;\nshl.b32 %%i, %%t, 4;\nLOOP: cvt.u64.u32 "
           "%%x, %%i;\nadd.s64 %%q, %%p, %%x;\n"
           "ld.global.v4.u32 {%%v0, %%v1, %%v2, %%v3}, [%%q];\nadd.u32 %%s, %%b, %%i;\nst.shared.v4.u32 [%%s], {%%v0, "
           "%%v1, %%v2, %%v3};\n"
           "add.u32 %%i, %%i, 2048;\nsetp.lt.u32 %%p1, %%i, %d;\n@%%p1 bra LOOP;\nfence.proxy.async;\nbar.sync 0;\n",
           2 * IMAGE_BYTES);
  text_add(t, "setp.ne.u32 %%zero, 0, 0;\nsetp.eq.u32 %%one, 0, 0;\nshr.u32 %%s, %%b, 4;\ncvt.u64.u32 %%y, %%s;\n");
  for (int i = 0; i < registers; i++) text_add(t, "mov.u32 %%d%d, 12345;\n", i);
  for (int step = 0; step < STEPS; step++) {
    text_add(t, "mov.u64 %%da, 0x%llx;\nadd.s64 %%da, %%da, %%y;\nmov.u64 %%db, 0x%llx;\nadd.s64 %%db, %%db, %%y;\n",
             (unsigned long long)descriptor(l, step_start(l, step)),
             (unsigned long long)descriptor(l, IMAGE_BYTES + step_start(l, step)));
    if (p->registers) {
      text_add(t,
               "ld.param.u64 %%q, [pa];\nmul.wide.u32 %%x, %%t, 16;\nadd.s64 %%q, %%q, %%x;\nld.global.v4.u32 {%%a0, "
               "%%a1, %%a2, %%a3}, [%%q+%d];\n",
               step * 2048);
    }
    text_add(t, "wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.%s%s {", p->shape, p->types);
    for (int i = 0; i < registers; i++) text_add(t, "%s%%d%d", i ? ", " : "", i);
    text_add(t, "}, %s, %%db, %s;\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
             p->registers ? "{%a0, %a1, %a2, %a3}" : "%da", step ? "%one" : "%zero");
  }
  text_add(t, "ld.param.u64 %%q, [pd];\nmul.wide.u32 %%x, %%t, %d;\nadd.s64 %%q, %%q, %%x;\n", registers * 4);
  for (int i = 0; i < registers; i++) text_add(t, "st.global.u32 [%%q+%d], %%d%d;\n", 4 * i, i);
  text_add(t, "ret;\n}\n");
}

static int32_t plain_product(const Product *p, const uint8_t *x, const uint8_t *y) {
  int32_t sum = 0;
  for (int i = 0; i < ROW_BYTES; i++) {
    if (p->bits)
      sum += __builtin_popcount(x[i] & y[i]);
    else
      sum += (p->a_signed ? (int8_t)x[i] : x[i]) * (p->b_signed ? (int8_t)y[i] : y[i]);
  }
  return sum;
}

static void check_product(const Product *p, const Layout *l) {
  static TextBuffer t;
  static uint8_t image[2 * IMAGE_BYTES], a[64][ROW_BYTES], b[256][ROW_BYTES];
  static uint32_t fragments[STEPS][128][4], out[128 * 128];
  memset(image, 0, sizeof image);
  for (int i = 0; i < 64; i++)
    for (int k = 0; k < ROW_BYTES; k++) a[i][k] = (uint8_t)random64();
  for (int i = 0; i < 256; i++)
    for (int k = 0; k < ROW_BYTES; k++) b[i][k] = (uint8_t)random64();
  for (int step = 0; step < STEPS; step++) {
    for (int i = 0; i < 64; i++) place(image, l, i, step, a[i] + 32 * step);
    for (int i = 0; i < p->columns; i++) place(image + IMAGE_BYTES, l, i, step, b[i] + 32 * step);
    for (int thread = 0; thread < 128; thread++)
      for (int r = 0; r < 4; r++) {
        int row = thread / 32 * 16 + thread % 32 / 4 + 8 * (r & 1), k = 4 * (thread % 4) + 16 * (r >> 1);
        memcpy(&fragments[step][thread][r], a[row] + 32 * step + k, 4);
      }
  }
  write_product_kernel(&t, p, l);
  Run run = {.entry = "k",
             .grid = 1,
             .block = 128,
             .shared_bytes = 2 * IMAGE_BYTES,
             .arrays = {{image, sizeof image, 0}, {fragments, sizeof fragments, 0}, {out, sizeof out, 0}}};
  device_run(t.text, &run);
  int registers = p->columns / 2;
  for (int thread = 0; thread < 128; thread++)
    for (int i = 0; i < registers; i++) {
      int row = thread / 32 * 16 + thread % 32 / 4 + 8 * (i >> 1 & 1),
          column = 8 * (i >> 2) + 2 * (thread % 4) + (i & 1);
      int32_t want = plain_product(p, a[row], b[column]), got = (int32_t)out[thread * registers + i];
      if (got != want)
        fail_msg("%s%s, swizzle %s: row %d, column %d: %d, expected %d", p->shape, p->types, l->name, row, column, got,
                 want);
    }
}

static void test_wgmma(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof products / sizeof *products; i++)
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts; k++) {
      bool fits = layouts[k].leading < 8192 || products[i].columns <= 256;
      if (fits && !(k == 0 && products[i].columns > 512)) check_product(&products[i], &layouts[k]);
    }
}

/* ---- barriers and bulk copies: a ring of two buffers, a producer warp and consumer warps ---- */

static const char ring_ptx[] = PTX_HEADER
    ".visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.shared .align 128 .b8 "
    "buffers[2048];\n.shared .align 8 .b64 full[2];\n"
    ".shared .align 8 .b64 empty[2];\n.reg .b64 %p, %o, %x, %st;\n.reg .b32 %t, %n, %i, %slot, %phase, %f, %e, %b, %v, "
    "%sum;\n.reg .pred %q, %r, %producer;\n"
    "ld.param.u64 %p, [pi];\nld.param.u64 %o, [po];\nld.param.u32 %n, [n];\nmov.u32 %t, %tid.x;\nsetp.eq.u32 %q, %t, "
    "0;\n"
    "@%q mbarrier.init.shared.b64 [full], 1;\n@%q mbarrier.init.shared.b64 [full+8], 1;\n@%q mbarrier.init.shared.b64 "
    "[empty], 64;\n"
    "@%q mbarrier.init.shared.b64 [empty+8], 64;\n@%q fence.mbarrier_init.release.cluster;\nbar.sync 0;\nmov.u32 %i, "
    "0;\nmov.u32 %sum, 0;\n"
    "setp.ge.u32 %producer, %t, 64;\n@!%producer bra CONSUME;\nsetp.ne.u32 %q, %t, 64;\n@%q bra END;\n"
    "PRODUCE: and.b32 %slot, %i, 1;\nshr.u32 %phase, %i, 1;\nand.b32 %phase, %phase, 1;\nxor.b32 %phase, %phase, "
    "1;\nshl.b32 %v, %slot, 3;\n"
    "mov.u32 %e, empty;\nadd.u32 %e, %e, %v;\nmov.u32 %f, full;\nadd.u32 %f, %f, %v;\nshl.b32 %v, %slot, 10;\nmov.u32 "
    "%b, buffers;\nadd.u32 %b, %b, %v;\n"
    "W1: mbarrier.try_wait.parity.shared.b64 %q, [%e], %phase;\n@!%q bra W1;\n"
    "mbarrier.arrive.expect_tx.shared.b64 %st, [%f], 1024;\nmul.wide.u32 %x, %i, 1024;\nadd.s64 %x, %p, %x;\n"
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%b], [%x], 512, [%f];\nadd.s64 %x, %x, "
    "512;\nadd.u32 %b, %b, 512;\n"
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%b], [%x], 512, [%f];\n"
    "add.u32 %i, %i, 1;\nsetp.lt.u32 %q, %i, %n;\n@%q bra PRODUCE;\nbra END;\n"
    "CONSUME: and.b32 %slot, %i, 1;\nshr.u32 %phase, %i, 1;\nand.b32 %phase, %phase, 1;\nshl.b32 %v, %slot, "
    "3;\nmov.u32 %e, empty;\nadd.u32 %e, %e, %v;\n"
    "mov.u32 %f, full;\nadd.u32 %f, %f, %v;\nshl.b32 %v, %slot, 10;\nmov.u32 %b, buffers;\nadd.u32 %b, %b, "
    "%v;\nshl.b32 %v, %t, 2;\nadd.u32 %b, %b, %v;\n"
    "W2: mbarrier.try_wait.parity.shared::cta.b64 %q, [%f], %phase, 1000;\n@!%q bra W2;\nld.shared.u32 %v, "
    "[%b];\nmad.lo.u32 %sum, %sum, 3, %v;\n"
    "ld.shared.u32 %v, [%b+768];\nadd.u32 %sum, %sum, %v;\nmbarrier.arrive.release.cta.shared::cta.b64 _, [%e];\n"
    "add.u32 %i, %i, 1;\nsetp.lt.u32 %q, %i, %n;\n@%q bra CONSUME;\nmul.wide.u32 %x, %t, 4;\nadd.s64 %o, %o, "
    "%x;\nst.global.u32 [%o], %sum;\nEND: ret;\n}\n";

static void test_ring(void **state) {
  enum { ROUNDS = 7 };
  (void)state;
  static uint32_t in[ROUNDS][256], out[64];
  for (int i = 0; i < ROUNDS; i++)
    for (int k = 0; k < 256; k++) in[i][k] = (uint32_t)random64();
  Run run = {
      .entry = "k", .grid = 1, .block = 96, .scalar = ROUNDS, .arrays = {{in, sizeof in, 0}, {out, sizeof out, 0}}};
  device_run(ring_ptx, &run);
  for (int t = 0; t < 64; t++) {
    uint32_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) sum = sum * 3 + in[i][t] + in[i][t + 192];
    assert_int_equal(out[t], sum);
  }
}

/* States of arrivals, test_wait, arrivals of cp.async, a bulk store, the cluster's barrier. */
static void test_barrier_forms(void **state) {
  (void)state;
  static const char ptx[] =
      PTX_HEADER ".visible .entry k(.param .u64 pi, .param .u64 po, .param .u32 n) {\n.shared .align 128 .b8 "
                 "sm[512];\n.shared .align 8 .b64 bar;\n.reg .b64 %p, %o, %x, %s;\n"
                 ".reg .b32 %t, %a, %v, %w;\n.reg .pred %q, %first;\nld.param.u64 %p, [pi];\nld.param.u64 %o, "
                 "[po];\nmov.u32 %t, %tid.x;\nsetp.eq.u32 %first, %t, 0;\n"
                 "@%first mbarrier.init.shared.b64 [bar], "
                 "32;\nbarrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"
                 "mov.u32 %a, sm;\nmad.lo.u32 %a, %t, 16, %a;\nmul.wide.u32 %x, %t, 16;\nadd.s64 %p, %p, %x;\n"
                 "cp.async.cg.shared.global [%a], [%p], 16;\ncp.async.mbarrier.arrive.noinc.shared.b64 [bar];\n"
                 "W: mbarrier.test_wait.parity.shared.b64 %q, [bar], 0;\n@!%q bra W;\nxor.b32 %v, %t, 1;\nmov.u32 %a, "
                 "sm;\nmad.lo.u32 %w, %v, 16, %a;\nld.shared.u32 %v, [%w+8];\n"
                 "mbarrier.arrive.shared.b64 %s, [bar];\nV: mbarrier.try_wait.shared.b64 %q, [bar], %s;\n@!%q bra V;\n"
                 "mad.lo.u32 %w, %t, 16, %a;\nst.shared.u32 [%w+4], %v;\nfence.proxy.async.shared::cta;\nbar.sync "
                 "0;\nmapa.shared::cluster.u32 %w, %a, 0;\n"
                 "@%first cp.async.bulk.global.shared::cta.bulk_group [%o], [%w], 512;\n@%first "
                 "cp.async.bulk.commit_group;\n@%first cp.async.bulk.wait_group.read 0;\n"
                 "@%first mbarrier.inval.shared.b64 [bar];\nret;\n}\n";
  uint32_t in[32][4], out[32][4];
  for (int i = 0; i < 32; i++)
    for (int k = 0; k < 4; k++) in[i][k] = (uint32_t)random64();
  memset(out, 0, sizeof out);
  Run run = {.entry = "k", .grid = 1, .block = 32, .arrays = {{in, sizeof in, 0}, {out, sizeof out, 0}}};
  device_run(ptx, &run);
  for (int i = 0; i < 32; i++) {
    const uint32_t want[] = {in[i][0], in[i ^ 1][2], in[i][2], in[i][3]};
    assert_memory_equal(out[i], want, sizeof want);
  }
}

/* ---- tensor copies ---- */

/* Loads a box and, where `stores` says so, stores it to a second tensor. */
static void check_tensor(int swizzle, int span, int x, int y, int z, bool stores) {
  enum { WIDTH = 80, HEIGHT = 9, DEPTH = 3, BOX_HEIGHT = 8, BOX_DEPTH = 2 };
  static uint8_t in[DEPTH][HEIGHT][WIDTH], out[BOX_DEPTH * BOX_HEIGHT * 128], back[DEPTH][HEIGHT][WIDTH];
  static const char ptx[] =
      PTX_HEADER ".visible .entry k(.param .align 64 .b8 map[128], .param .align 64 .b8 target[128], .param .u64 po, "
                 ".param .u32 x, .param .u32 y, .param .u32 z, .param .u32 bytes, .param .u32 stores) {\n"
                 ".shared .align 1024 .b8 sm[4096];\n.shared .align 8 .b64 bar;\n.reg .b64 %m, %o, %s, %i;\n.reg .b32 "
                 "%x, %y, %z, %n, %t, %a, %v;\n.reg .pred %q;\n"
                 "ld.param.u32 %x, [x];\nld.param.u32 %y, [y];\nld.param.u32 %z, [z];\nld.param.u32 %n, "
                 "[bytes];\nld.param.u64 %o, [po];\nmov.u32 %t, %tid.x;\n"
                 "mbarrier.init.shared.b64 [bar], 1;\nfence.proxy.async;\nmov.b64 %m, map;\ncvta.param.u64 %m, "
                 "%m;\nprefetch.tensormap [%m];\n"
                 "mbarrier.arrive.expect_tx.shared.b64 %s, [bar], "
                 "%n;\ncp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [sm], [%m, "
                 "{%x, %y, %z}], [bar];\n"
                 "W: mbarrier.try_wait.parity.shared.b64 %q, [bar], 0;\n@!%q bra W;\n"
                 "mov.u32 %t, 0;\nL: mov.u32 %a, sm;\nadd.u32 %a, %a, %t;\nld.shared.u32 %v, [%a];\ncvt.u64.u32 %i, "
                 "%t;\nadd.s64 %i, %o, %i;\nst.global.u32 [%i], %v;\n"
                 "add.u32 %t, %t, 4;\nsetp.lt.u32 %q, %t, %n;\n@%q bra L;\nld.param.u32 %t, [stores];\nsetp.eq.u32 %q, "
                 "%t, 0;\n@%q ret;\nmov.b64 %m, target;\ncvta.param.u64 %m, %m;\n"
                 "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%m, {%x, %y, %z}], "
                 "[sm];\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nret;\n}\n";
  _Alignas(64) uint8_t map[128], target[128];
  CUdeviceptr source, copy, o;
  CUfunction function;
  uint32_t bytes = (uint32_t)(BOX_DEPTH * BOX_HEIGHT * span), store = stores;
  const uint64_t sizes[] = {WIDTH, HEIGHT, DEPTH}, strides[] = {WIDTH, WIDTH * HEIGHT};
  const uint32_t box[] = {(uint32_t)span, BOX_HEIGHT, BOX_DEPTH}, steps[] = {1, 1, 1};
  for (size_t i = 0; i < sizeof in; i++) ((uint8_t *)in)[i] = (uint8_t)random64();
  CHECK_CU(cu.cuMemAlloc_v2(&source, sizeof in));
  CHECK_CU(cu.cuMemAlloc_v2(&copy, sizeof in));
  CHECK_CU(cu.cuMemAlloc_v2(&o, sizeof out));
  CHECK_CU(cu.cuMemcpyHtoD_v2(source, in, sizeof in));
  CHECK_CU(cu.cuMemsetD8_v2(copy, 0xcc, sizeof in));
  CHECK_CU(
      cu.cuTensorMapEncodeTiled(map, 0, 3, (void *)(uintptr_t)source, sizes, strides, box, steps, 0, swizzle, 0, 0));
  CHECK_CU(
      cu.cuTensorMapEncodeTiled(target, 0, 3, (void *)(uintptr_t)copy, sizes, strides, box, steps, 0, swizzle, 0, 0));
  CUmodule module = device_module(ptx);
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "k"));
  void *params[] = {map, target, &o, &x, &y, &z, &bytes, &store};
  CHECK_CU(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
  CHECK_CU(cu.cuMemcpyDtoH_v2(out, o, bytes));
  CHECK_CU(cu.cuMemcpyDtoH_v2(back, copy, sizeof back));
  for (int d = 0; d < BOX_DEPTH; d++)
    for (int h = 0; h < BOX_HEIGHT; h++)
      for (int k = 0; k < span; k++) {
        bool inside = x + k >= 0 && x + k < WIDTH && y + h >= 0 && y + h < HEIGHT && z + d >= 0 && z + d < DEPTH;
        uint32_t at = (uint32_t)((d * BOX_HEIGHT + h) * span + k);
        static const uint32_t flips[] = {0, 0x10, 0x30, 0x70};
        at ^= at >> 3 & flips[swizzle];
        uint8_t want = inside ? in[z + d][y + h][x + k] : 0;
        if (out[at] != want) {
          fail_msg("swizzle %d, rows of %d bytes, box at %d,%d,%d: element %d,%d,%d is %d, expected %d", swizzle, span,
                   x, y, z, k, h, d, out[at], want);
        }
        if (inside && stores)
          assert_int_equal(back[z + d][y + h][x + k], in[z + d][y + h][x + k]), back[z + d][y + h][x + k] = 0xcc;
      }
  for (size_t i = 0; i < sizeof back; i++) assert_int_equal(((uint8_t *)back)[i], 0xcc);
  CHECK_CU(cu.cuModuleUnload(module));
  CHECK_CU(cu.cuMemFree_v2(source));
  CHECK_CU(cu.cuMemFree_v2(copy));
  CHECK_CU(cu.cuMemFree_v2(o));
}

static void test_tensors(void **state) {
  static const int places[][3] = {{0, 0, 0},    {16, 1, 1},  {-16, -3, -1}, {64, 5, 2},
                                  {-208, 0, 0}, {32, 20, 0}, {0, -8, 0}};
  (void)state;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    const int *at = places[i];
    bool stores = at[0] >= 0 && at[1] >= 0 && at[2] >= 0;
    check_tensor(0, 48, at[0], at[1], at[2], stores);
    check_tensor(1, 32, at[0], at[1], at[2], stores);
    check_tensor(2, 64, at[0], at[1], at[2], stores);
    check_tensor(3, 128, at[0], at[1], at[2], stores);
  }
}

static void check_refused_box(const char *copy, const char *words) {
  static TextBuffer t;
  _Alignas(64) uint8_t map[128];
  const uint64_t sizes[] = {64, 8}, strides[] = {64};
  const uint32_t box[] = {16, 2}, steps[] = {1, 1};
  CUdeviceptr p;
  CUfunction function;
  CHECK_CU(cu.cuMemAlloc_v2(&p, 512));
  CHECK_CU(cu.cuMemsetD8_v2(p, 1, 512));
  CHECK_CU(cu.cuTensorMapEncodeTiled(map, 0, 2, (void *)(uintptr_t)p, sizes, strides, box, steps, 0, 0, 0, 0));
  t.used = 0;
  text_add(&t,
           "%s.visible .entry k(.param .align 64 .b8 map[128]) {\n.shared .align 128 .b8 sm[128];\n.shared .align 8 "
           ".b64 bar;\n.reg .b64 %%m;\n"
           "mbarrier.init.shared.b64 [bar], 1;\nst.shared.v4.u32 [sm], {1, 2, 3, 4};\nst.shared.v4.u32 [sm+16], {1, 2, "
           "3, 4};\n"
           "mov.b64 %%m, map;\ncvta.param.u64 %%m, %%m;\n%s\nret;\n}\n",
           PTX_HEADER, copy);
  CUmodule module = device_module(t.text);
  CHECK_CU(cu.cuModuleGetFunction(&function, module, "k"));
  void *params[] = {map};
  assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL),
                   CUDA_ERROR_ILLEGAL_INSTRUCTION);
  assert_non_null(strstr(cu.last_error(), words));
  CHECK_CU(cu.cuModuleUnload(module));
  CHECK_CU(cu.cuMemFree_v2(p));
}

static void test_refused_boxes(void **state) {
  (void)state;
  if (!cu.is_cpu) skip();
  check_refused_box(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [sm], [%m, {5, 0}], [bar];",
      "multiple of 16 bytes");
  check_refused_box("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%m, {0, -1}], [sm];", "begins outside");
}

/* ---- faults ---- */

#define KERNEL(body)                                                                                                   \
  PTX_HEADER ".visible .entry bad(.param .u64 pa, .param .u32 n) {\n.shared .align 1024 .b8 sm[8192];\n.shared "       \
             ".align 8 .b64 bar;\n"                                                                                    \
             ".reg .b64 %a, %s, %d;\n.reg .b32 %t, %x, %c<4>;\n.reg .pred %p, %q;\nld.param.u64 %a, [pa];\nmov.u32 "   \
             "%t, %tid.x;\n"                                                                                           \
             "setp.eq.u32 %q, %t, 0;\n" body "\nret;\n}\n"
#define DESCRIBE "mov.u32 %x, sm;\nshr.u32 %x, %x, 4;\ncvt.u64.u32 %d, %x;\nadd.s64 %d, %d, 0x4000004000010000;\n"
#define FILL                                                                                                           \
  "mov.u32 %x, sm;\nmad.lo.u32 %x, %t, 64, %x;\nst.shared.v2.u64 [%x], {1, 2};\nst.shared.v2.u64 [%x+16], {1, 2};\n"   \
  "st.shared.v2.u64 [%x+32], {1, 2};\nst.shared.v2.u64 [%x+48], {1, 2};\nbar.sync 0;\n" DESCRIBE
#define PRODUCT "wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%c0, %c1, %c2, %c3}, %d, %d, %p;\n"

#define FROM_REGISTERS                                                                                                 \
  "wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%c0, %c1, %c2, %c3}, {%t, %t, %x, %x}, %d, %p;\n"

static const struct {
  const char *name, *ptx;
  uint32_t threads;
  const char *words[2];
} faults[] = {
    {"accumulators before the wait",
     KERNEL(FILL "setp.ne.u32 %p, 0, 0;\n" PRODUCT "wgmma.commit_group.sync.aligned;\nadd.u32 %x, %c1, 1;"),
     128,
     {"register %c1 belongs to a wgmma", "add.u32 %x, %c1, 1;"}},
    {"wait that leaves a group",
     KERNEL(FILL "setp.ne.u32 %p, 0, 0;\n" PRODUCT
                 "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 1;\nmov.u32 %c3, 1;"),
     128,
     {"register %c3 belongs to a wgmma"}},
    {"fragment before the wait",
     KERNEL(FILL "setp.ne.u32 %p, 0, 0;\n" FROM_REGISTERS "wgmma.commit_group.sync.aligned;\nmov.u32 %t, 1;"),
     128,
     {"register %t belongs to a wgmma"}},
    {"half a group of warps", KERNEL(FILL "setp.ne.u32 %p, 0, 0;\n" PRODUCT), 64, {"part of a group of four warps"}},
    {"operands nothing wrote",
     KERNEL(DESCRIBE "setp.ne.u32 %p, 0, 0;\n" PRODUCT),
     128,
     {"shared memory that nothing wrote"}},
    {"barrier never initialised",
     KERNEL("st.shared.u64 [bar], 0;\nmbarrier.arrive.shared.b64 %s, [bar];"),
     1,
     {"not initialised"}},
    {"too many arrivals",
     KERNEL("mbarrier.init.shared.b64 [bar], 2;\nmbarrier.arrive.shared.b64 %s, [bar], 3;"),
     1,
     {"too many"}},
    {"copy read before the wait",
     KERNEL("mbarrier.init.shared.b64 [bar], 1;\nmbarrier.arrive.expect_tx.shared.b64 %s, [bar], 64;\n"
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [sm], [%a], 64, [bar];\nld.shared.u32 "
            "%x, [sm+32];"),
     1,
     {"asynchronous copy", "byte 32"}},
    {"copy beyond the allocation",
     KERNEL("mbarrier.init.shared.b64 [bar], 1;\ncp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
            "[sm], [%a+208], 64, [bar];"),
     1,
     {"out-of-bounds read of 64 bytes"}},
    {"wait for ever",
     KERNEL("@%q mbarrier.init.shared.b64 [bar], 2;\nbar.sync 0;\n@%q mbarrier.arrive.shared.b64 %s, [bar];\n"
            "W: mbarrier.try_wait.parity.shared.b64 %p, [bar], 0;\n@!%p bra W;"),
     64,
     {"deadlock", "mbarrier.try_wait.parity"}},
    {"not a tensor map",
     KERNEL("mbarrier.init.shared.b64 [bar], "
            "1;\ncp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [sm], [%a, {0}], "
            "[bar];"),
     1,
     {"not a tensor map"}},
};

static void test_faults(void **state) {
  (void)state;
  if (!cu.is_cpu) skip();
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    uint32_t data[64] = {0};
    CUmodule module = device_module(faults[i].ptx);
    Run run = {.entry = "bad", .grid = 1, .block = faults[i].threads, .arrays = {{data, sizeof data, 0}}};
    if (!device_launch(module, &run)) fail_msg("%s: no fault", faults[i].name);
    for (int k = 0; k < 2 && faults[i].words[k]; k++)
      if (!strstr(cu.last_error(), faults[i].words[k]))
        fail_msg("%s: \"%s\" is not in: %s", faults[i].name, faults[i].words[k], cu.last_error());
    CHECK_CU(cu.cuModuleUnload(module));
  }
}

static void test_tensor_map_errors(void **state) {
  (void)state;
  _Alignas(64) uint8_t map[128];
  const uint64_t sizes[] = {64, 8}, strides[] = {64};
  uint32_t box[] = {64, 8}, steps[] = {1, 1};
  CUdeviceptr p;
  CHECK_CU(cu.cuMemAlloc_v2(&p, 512));
  void *address = (void *)(uintptr_t)p;
  CHECK_CU(cu.cuTensorMapEncodeTiled(map, 0, 2, address, sizes, strides, box, steps, 0, 2, 0, 0));
  assert_int_equal(cu.cuTensorMapEncodeTiled(map, 0, 2, address, sizes, strides, box, steps, 0, 1, 0, 0),
                   CUDA_ERROR_INVALID_VALUE);
  assert_int_equal(cu.cuTensorMapEncodeTiled(map, 0, 6, address, sizes, strides, box, steps, 0, 0, 0, 0),
                   CUDA_ERROR_INVALID_VALUE);
  box[0] = 300;
  assert_int_equal(cu.cuTensorMapEncodeTiled(map, 0, 2, address, sizes, strides, box, steps, 0, 0, 0, 0),
                   CUDA_ERROR_INVALID_VALUE);
  CHECK_CU(cu.cuMemFree_v2(p));
}

/* The same kernels order what they do. */
static void test_without_races(void **state) {
  if (!cu.is_cpu) skip();
  cu.set_option("check", "race");
  test_ring(state);
  test_barrier_forms(state);
  test_tensors(state);
  check_product(&products[1], &layouts[0]);
  check_product(&products[3], &layouts[2]);
  cu.set_option("check", "all");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_wgmma),         cmocka_unit_test(test_ring),
                                     cmocka_unit_test(test_barrier_forms), cmocka_unit_test(test_tensors),
                                     cmocka_unit_test(test_refused_boxes), cmocka_unit_test(test_faults),
                                     cmocka_unit_test(test_without_races), cmocka_unit_test(test_tensor_map_errors)};
  return cmocka_run_group_tests(tests, device_open, device_close);
}
