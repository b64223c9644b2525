/* A small compiled network, made by the tests themselves: two kernels with an arena between them,
 *
 *     widen: arena[i] = x[i]        mix: y[i] = 3 * arena[i] + c[i % 6]
 *
 * x is u4[6], y is i32[6], the largest batch 5. A test may change the parts before the bytes are written, or the bytes
 * afterwards and seal them again. */
#ifndef TESTS_UNIT_RUNTIME_SAMPLE_H
#define TESTS_UNIT_RUNTIME_SAMPLE_H

#include "runtime/apnn_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE_CHANNELS = 6, SAMPLE_BATCH = 5, SAMPLE_ELF_BYTES = 100, SAMPLE_SHARED_BYTES = 50000 };

typedef struct Sample {
  ApnnFileHeader header; /* what sample_payload does not compute: arch, arch_exact, max_batch, arena_bytes */
  ApnnFileTensor tensors[2];
  ApnnFileKernel kernels[2];
  ApnnFileLaunch launches[2];
  ApnnFileParam params[7];
  char strings[64];
  int32_t constants[4 + SAMPLE_CHANNELS]; /* c stands behind 16 bytes that are not used */
  bool with_ptx;                          /* beside a cubin */
} Sample;

static const char sample_ptx_text[] =
    ".version 7.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry widen(.param .u64 p0, .param .u64 p1, .param .u32 p2)\n"
    ".maxntid 32, 1, 1\n"
    "{\n"
    "  .reg .pred %p<2>;\n  .reg .b32 %r<10>;\n  .reg .b64 %rd<10>;\n"
    "  ld.param.u64 %rd1, [p0];\n  ld.param.u64 %rd2, [p1];\n  ld.param.u32 %r1, [p2];\n"
    "  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %tid.x;\n  mad.lo.u32 %r4, %r2, 32, %r3;\n"
    "  mul.lo.u32 %r5, %r1, 6;\n  setp.ge.u32 %p1, %r4, %r5;\n  @%p1 ret;\n"
    "  cvt.u64.u32 %rd3, %r4;\n  add.u64 %rd4, %rd1, %rd3;\n  ld.global.u8 %r6, [%rd4];\n"
    "  mad.wide.u32 %rd5, %r4, 4, %rd2;\n  st.global.u32 [%rd5], %r6;\n  ret;\n"
    "}\n"
    ".visible .entry mix(.param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u32 p3)\n"
    ".maxntid 32, 1, 1\n"
    "{\n"
    "  .reg .pred %p<2>;\n  .reg .b32 %r<12>;\n  .reg .b64 %rd<10>;\n"
    "  ld.param.u64 %rd1, [p0];\n  ld.param.u64 %rd2, [p1];\n  ld.param.u64 %rd3, [p2];\n  ld.param.u32 %r1, [p3];\n"
    "  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %tid.x;\n  mad.lo.u32 %r4, %r2, 32, %r3;\n"
    "  mul.lo.u32 %r5, %r1, 6;\n  setp.ge.u32 %p1, %r4, %r5;\n  @%p1 ret;\n"
    "  rem.u32 %r6, %r4, 6;\n  mad.wide.u32 %rd4, %r4, 4, %rd1;\n  ld.global.u32 %r7, [%rd4];\n"
    "  mad.wide.u32 %rd5, %r6, 4, %rd2;\n  ld.global.u32 %r8, [%rd5];\n  mad.lo.s32 %r9, %r7, 3, %r8;\n"
    "  mad.wide.u32 %rd6, %r4, 4, %rd3;\n  st.global.u32 [%rd6], %r9;\n  ret;\n"
    "}\n";

/* Offsets of the names below. */
enum {
  SAMPLE_NAME = 1,   /* "sample" */
  SAMPLE_X = 8,      /* "x" */
  SAMPLE_Y = 10,     /* "y" */
  SAMPLE_WIDEN = 12, /* "widen" */
  SAMPLE_MIX = 18,   /* "mix" */
  SAMPLE_ENGINE = 22 /* "cuda" */
};

static inline Sample sample_make(void) {
  Sample s = {
      .header = {.magic = APNN_FILE_MAGIC,
                 .version = APNN_FILE_VERSION,
                 .header_bytes = sizeof(ApnnFileHeader),
                 .arch = 80,
                 .max_batch = SAMPLE_BATCH,
                 .network_name = SAMPLE_NAME,
                 .arena_bytes = 16 + SAMPLE_BATCH * SAMPLE_CHANNELS * 4},
      .tensors = {{.name = SAMPLE_X,
                   .role = APNN_TENSOR_INPUT,
                   .elem = APNN_ELEM_UINT,
                   .bits = 4,
                   .rank = 1,
                   .dim = {SAMPLE_CHANNELS, 1, 1, 1},
                   .zero2 = 3,
                   .scale = 0.5f,
                   .q_max = 15,
                   .image_bytes = SAMPLE_CHANNELS},
                  {.name = SAMPLE_Y,
                   .role = APNN_TENSOR_OUTPUT,
                   .elem = APNN_ELEM_I32,
                   .bits = 32,
                   .rank = 1,
                   .dim = {SAMPLE_CHANNELS, 1, 1, 1},
                   .scale = 1,
                   .image_bytes = 4 * SAMPLE_CHANNELS}},
      .kernels = {{.name = SAMPLE_WIDEN, .threads = 32},
                  {.name = SAMPLE_MIX, .threads = 32, .shared_bytes = SAMPLE_SHARED_BYTES}},
      .launches = {{.kernel = 0,
                    .layer_name = SAMPLE_X,
                    .engine_name = SAMPLE_ENGINE,
                    .x_mul = SAMPLE_CHANNELS,
                    .x_div = 32,
                    .y = 1,
                    .first_param = 0,
                    .param_count = 3,
                    .bytes_per_image = 30},
                   {.kernel = 1,
                    .layer_name = SAMPLE_Y,
                    .engine_name = SAMPLE_ENGINE,
                    .x_mul = SAMPLE_CHANNELS,
                    .x_div = 32,
                    .y = 1,
                    .first_param = 3,
                    .param_count = 4,
                    .bytes_per_image = 48,
                    .bytes_constant = 24,
                    .ops_per_image = 12}},
      .params = {{APNN_PARAM_TENSOR, 0, 0},
                 {APNN_PARAM_ARENA, 0, 16},
                 {APNN_PARAM_BATCH, 0, 0},
                 {APNN_PARAM_ARENA, 0, 16},
                 {APNN_PARAM_CONSTANT, 0, 16},
                 {APNN_PARAM_TENSOR, 0, 1},
                 {APNN_PARAM_BATCH, 0, 0}},
      .strings = "\0sample\0x\0y\0widen\0mix\0cuda",
      .constants = {-1, -1, -1, -1, 100, -200, 300, 400, 500, 600},
      .with_ptx = true,
  };
  return s;
}

static inline int32_t sample_expected(uint8_t q, int channel) {
  static const int32_t c[] = {100, -200, 300, 400, 500, 600};
  return 3 * q + c[channel];
}

static inline uint64_t sample_fnv(const void *bytes, size_t size) {
  uint64_t hash = APNN_FNV_BASIS;
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * APNN_FNV_PRIME;
  return hash;
}

/* Set the payload's own checksum. */
static inline void sample_seal(uint8_t *payload, size_t bytes) {
  const size_t at = offsetof(ApnnFileHeader, payload_checksum);
  memset(payload + at, 0, 8);
  uint64_t sum = sample_fnv(payload, bytes);
  memcpy(payload + at, &sum, 8);
}

static inline size_t sample_align(size_t n) {
  return (n + 15) / 16 * 16;
}

/* The payload for an image; free it. */
static inline uint8_t *sample_payload(const Sample *s, const void *image, size_t image_bytes, size_t *size) {
  ApnnFileHeader h = s->header;
  size_t ptx_bytes = s->with_ptx ? sizeof sample_ptx_text : 0, used = sample_align(sizeof h);
  struct {
    uint64_t *offset;
    const void *data;
    size_t bytes;
  } parts[] = {
      {&h.constants_offset, s->constants, sizeof s->constants}, {&h.ptx_offset, sample_ptx_text, ptx_bytes},
      {&h.strings_offset, s->strings, sizeof s->strings},       {&h.tensors_offset, s->tensors, sizeof s->tensors},
      {&h.kernels_offset, s->kernels, sizeof s->kernels},       {&h.launches_offset, s->launches, sizeof s->launches},
      {&h.params_offset, s->params, sizeof s->params}};
  uint8_t *payload = calloc(1, 8192);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    *parts[i].offset = used;
    memcpy(payload + used, parts[i].data, parts[i].bytes);
    used = sample_align(used + parts[i].bytes);
  }
  h.constants_bytes = sizeof s->constants;
  h.ptx_bytes = ptx_bytes;
  h.strings_bytes = sizeof s->strings;
  h.tensor_count = h.kernel_count = h.launch_count = 2;
  h.param_count = 7;
  h.payload_bytes = *size = used;
  h.image_bytes = image_bytes;
  h.image_checksum = sample_fnv(image, image_bytes);
  memcpy(payload, &h, sizeof h);
  sample_seal(payload, used);
  return payload;
}

/* The bytes of a .cubin whose ELF image is a bare header; free them. */
static inline uint8_t *sample_cubin(const Sample *s, size_t *size) {
  uint8_t image[SAMPLE_ELF_BYTES] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
  size_t payload_bytes, at = sample_align(sizeof image);
  uint8_t *payload = sample_payload(s, image, sizeof image, &payload_bytes);
  ApnnFileTrailer trailer = {.magic = APNN_TRAILER_MAGIC, .payload_offset = at, .payload_bytes = payload_bytes};
  *size = at + payload_bytes + sizeof trailer;
  uint8_t *bytes = calloc(1, *size);
  memcpy(bytes, image, sizeof image);
  memcpy(bytes + at, payload, payload_bytes);
  memcpy(bytes + at + payload_bytes, &trailer, sizeof trailer);
  free(payload);
  return bytes;
}

/* The bytes of a .ptx; free them. */
static inline uint8_t *sample_ptx(const Sample *s, size_t *size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t image_bytes = sizeof sample_ptx_text - 1, payload_bytes;
  Sample without = *s;
  without.with_ptx = false;
  uint8_t *payload = sample_payload(&without, sample_ptx_text, image_bytes, &payload_bytes);
  char *text = calloc(1, image_bytes + payload_bytes * 2 + 64), *out = text + image_bytes;
  memcpy(text, sample_ptx_text, image_bytes);
  for (size_t i = 0; i < payload_bytes; i += 3) {
    size_t left = payload_bytes - i;
    uint32_t group =
        (uint32_t)payload[i] << 16 | (left > 1 ? (uint32_t)payload[i + 1] << 8 : 0) | (left > 2 ? payload[i + 2] : 0);
    if (i % 72 == 0) out += sprintf(out, "%s%s", i ? "\n" : "", APNN_PTX_COMMENT);
    for (int k = 0; k < 4; k++) *out++ = (size_t)k > left ? '=' : digits[group >> (18 - 6 * k) & 63];
  }
  *out++ = '\n';
  *size = (size_t)(out - text);
  free(payload);
  return (uint8_t *)text;
}

#endif
