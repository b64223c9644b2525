/* Tables of instructions against plain C: every case is one instruction on registers %a, %b, %c (and the predicate %p =
 * bit 0 of c) that leaves its result in %d; the reference sees the same bits. */
#ifndef TESTS_CPU_INSTRUCTION_H
#define TESTS_CPU_INSTRUCTION_H

#include "cpu_device.h"

typedef struct Case {
  const char *text;
  uint64_t (*expected)(uint64_t a, uint64_t b, uint64_t c);
} Case;

enum { CASE_THREADS = 256 };

typedef struct CaseInputs {
  uint64_t a[CASE_THREADS], b[CASE_THREADS], c[CASE_THREADS];
} CaseInputs;

/* %a %b %c %d have 64 bits, %ra .. %rd 32, %ha .. %hd 16, %fa .. %fd are the 32-bit ones as reals, %x the 64-bit ones;
 * results are written by the case to %d, %rd (zero-extended) or %hd: `result` says which. */
static void write_case_kernel(TextBuffer *t, const Case *cases, int count, const char *store, int bytes) {
  text_add(t, "%s.visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 po, .param .u32 n) {\n",
           PTX_HEADER);
  text_add(t, ".reg .b64 %%a, %%b, %%c, %%d, %%o, %%i;\n.reg .b32 %%ra, %%rb, %%rc, %%rd, %%t, %%t2;\n.reg .b16 %%ha, "
              "%%hb, %%hc, %%hd;\n.reg .pred %%p, %%q, %%s;\n");
  text_add(t, "mov.u32 %%t, %%tid.x;\nmul.wide.u32 %%i, %%t, 8;\n");
  for (const char *name = "abc"; *name; name++) {
    text_add(t, "ld.param.u64 %%o, [p%c];\nadd.s64 %%o, %%o, %%i;\nld.global.u64 %%%c, [%%o];\n", *name, *name);
    text_add(t, "cvt.u32.u64 %%r%c, %%%c;\ncvt.u16.u64 %%h%c, %%%c;\n", *name, *name, *name, *name);
  }
  text_add(t, "ld.param.u64 %%o, [po];\nadd.s64 %%o, %%o, %%i;\nand.b32 %%t, %%rc, 1;\nsetp.ne.s32 %%p, %%t, 0;\n");
  for (int i = 0; i < count; i++) {
    text_add(t, "mov.u64 %%d, 0;\n%s\n%s [%%o + %d], %%%s;\n", cases[i].text, store, i * CASE_THREADS * 8,
             bytes == 8   ? "d"
             : bytes == 4 ? "rd"
                          : "hd");
  }
  text_add(t, "ret;\n}\n");
}

/* Runs all cases on the inputs; the results' unused high bytes count as zero. */
static void check_cases(const Case *cases, int count, const char *store, int bytes, CaseInputs *in) {
  static TextBuffer t;
  uint64_t *out = calloc((size_t)count * CASE_THREADS, sizeof *out);
  t.used = 0;
  assert_non_null(out);
  write_case_kernel(&t, cases, count, store, bytes);
  Run run = {.entry = "k",
             .grid = 1,
             .block = CASE_THREADS,
             .arrays = {{in->a, sizeof in->a, 0},
                        {in->b, sizeof in->b, 0},
                        {in->c, sizeof in->c, 0},
                        {out, (size_t)count * CASE_THREADS * 8, 0}}};
  device_run(t.text, &run);
  uint64_t kept = bytes == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * bytes) - 1;
  for (int i = 0; i < count; i++)
    for (int k = 0; k < CASE_THREADS; k++) {
      uint64_t got = out[i * CASE_THREADS + k], want = cases[i].expected(in->a[k], in->b[k], in->c[k]) & kept;
      if (got == want) continue;
      fail_msg("%s on a=%llx b=%llx c=%llx gives %llx, expected %llx", cases[i].text, (unsigned long long)in->a[k],
               (unsigned long long)in->b[k], (unsigned long long)in->c[k], (unsigned long long)got,
               (unsigned long long)want);
    }
  free(out);
}

#define CHECK_CASES(cases, store, bytes, inputs)                                                                       \
  check_cases(cases, (int)(sizeof(cases) / sizeof *(cases)), store, bytes, inputs)

/* Defines a reference function. */
#define REFERENCE(name, expression)                                                                                    \
  static uint64_t name(uint64_t a, uint64_t b, uint64_t c) {                                                           \
    (void)a, (void)b, (void)c;                                                                                         \
    return (uint64_t)(expression);                                                                                     \
  }

#endif
