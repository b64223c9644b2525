/* The compiler's text readers: the language, the text form of the IR, tuning files. */
#include "../../frontend/frontend.h"
#include "../../passes/tuning.h"
#include "../random/check.h"
#include "../random/generate.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

static const char everything[] =
    "const width = 3 + 2 * (4 - 1) % 5 / 1\n"
    "block two(x, n=width, type=u2) {\n"
    "  a = conv2d(x, n, kernel=[1, 3], stride=[2, 1], pad=[0, 1, 0, 1], dilation=1, w=ternary, name=\"a\")\n"
    "  b = depthwise_conv2d(x, kernel=3, pad=\"same\", stride=2, w=i4) | bias(name=\"bb\") | prelu(name=\"p\")\n"
    "  return a | quantize(type), b\n"
    "}\n"
    "network one {\n"
    "  params \"x.safetensors\"  # a comment\n"
    "  input x : u4[7, 5, 6](scale=1/15, zero=15/2), y : f32[3]\n"
    "  p, q = two(x | quantize(u3), n=4)\n"
    "  r = flatten(p, order=\"chw\") | quantize(bipolar(scale=0.5)) | linear(9, w=u2(zero=3/2), bias=true)\n"
    "  output out = softmax(r | reshape([3, 3]))\n"
    "  output best = argmax(q), y = y | hardtanh(-1e-3, 0x10) | leaky_relu(alpha=-.5)\n"
    "}\n"
    "network two { input x : bipolar[8, 8, 1] output z = x | maxpool(2) | upsample(factor=2) | sign }\n";

bool fuzz_prepare_language(Corpus *corpus) {
  corpus_add(corpus, everything, strlen(everything));
  for (uint64_t seed = 1; seed <= 40; seed++) {
    char *text = generate_network(seed);
    corpus_add(corpus, text, strlen(text));
    free(text);
  }
  return true;
}

typedef struct Reading {
  Context *context;
  const char *text;
  size_t size;
  Corpus *corpus; /* that is being made */
  const char *wrong;
} Reading;

static bool load(void *user) {
  Reading *r = user;
  FrontendOptions options = {.random_params = true, .seed = 1};
  Graph *g = frontend_load(r->context, "fuzz.apnn", r->text, r->size, &options);
  if (!g && diag_error_count(r->context) == 0) r->wrong = "no graph and no error";
  if (g && diag_error_count(r->context) > 0) r->wrong = "a graph in spite of an error";
  if (g && !graph_verify(g)) r->wrong = "a graph that does not verify";
  return true;
}

static const char *read_with(bool (*body)(void *user), const uint8_t *data, size_t size) {
  LimitedContext limited;
  limited_context_open(&limited);
  Reading reading = {.context = limited.context, .text = (const char *)data, .size = size};
  context_try(limited.context, body, &reading);
  FILE *nowhere = fopen("/dev/null", "w");
  if (nowhere) {
    diag_flush(limited.context, nowhere);
    fclose(nowhere);
  }
  const char *left = limited_context_close(&limited);
  return reading.wrong ? reading.wrong : left;
}

const char *fuzz_read_language(const uint8_t *data, size_t size) {
  return read_with(load, data, size);
}

/* --- the IR's text form --- */

static bool add_stages(void *user) {
  Reading *r = user;
  FrontendOptions options = {.random_params = true, .seed = 1};
  PassOptions passes = {.target = target_at(0), .max_batch = 2};
  Graph *g = frontend_load(r->context, "fuzz.apnn", r->text, r->size, &options);
  for (uint32_t i = 0; g && pass_at(i); i++) {
    const char *printed = graph_print_string(g, PRINT_FULL);
    if (i % 3 == 0 && strlen(printed) < 20000) corpus_add(r->corpus, printed, strlen(printed));
    if (!pass_at(i)->run(g, &passes)) return false;
  }
  return true;
}

bool fuzz_prepare_ir(Corpus *corpus) {
  for (uint64_t seed = 1; corpus->count < MOST_CORPUS && seed < 200; seed++) {
    char *text = generate_network(seed);
    LimitedContext limited;
    limited_context_open(&limited);
    Reading reading = {limited.context, text, strlen(text), corpus, NULL};
    context_try(limited.context, add_stages, &reading);
    limited_context_close(&limited);
    free(text);
  }
  return corpus->count > 0;
}

static bool parse(void *user) {
  Reading *r = user;
  Graph *g = graph_parse(r->context, "fuzz.ir", r->text, NULL);
  if (!g) {
    if (diag_error_count(r->context) == 0) r->wrong = "no graph and no error";
    return true;
  }
  if (!graph_verify(g)) return true;
  const char *printed = graph_print_string(g, PRINT_FULL);
  Graph *again = graph_parse(r->context, "again.ir", printed, NULL);
  if (!again)
    r->wrong = "what was printed does not read back";
  else if (strcmp(printed, graph_print_string(again, PRINT_FULL)) != 0)
    r->wrong = "it prints otherwise the second time";
  return true;
}

const char *fuzz_read_ir(const uint8_t *data, size_t size) {
  return read_with(parse, data, size);
}

/* --- tuning files --- */

bool fuzz_prepare_tuning(Corpus *corpus) {
  static const char text[] =
      "apnnc tuning 1\n"
      "# measured\n"
      "sm_90a batch=64 conv2d(u2[N,6,6,32], u1[32,3,3,32]{zero=1/2}) kernel=3,3 pad=1,1,1,1 | thresholds -> "
      "u2[N,6,6,32]"
      " : engine=wgmma_b1 tile=64,32,4,4,1,3,1,1  # 12.34 us\n"
      "sm_90a batch=1 linear(input i8[N,9], i8[4,9]) -> output i32[N,4] : engine=direct\n"
      "\n"
      "sm_80 batch=1 linear(u8[N,9], i8[4,9]) -> i32[N,4] : engine=mma_s8 tile=16,32,8,1,1,2,1,0\n";
  corpus_add(corpus, text, strlen(text));
  return true;
}

static bool parse_tuning(void *user) {
  Reading *r = user;
  Tuning *t = tuning_parse(r->context, "fuzz.tune", r->text, r->size);
  if (!t && diag_error_count(r->context) == 0) r->wrong = "no choices and no error";
  if (t && diag_error_count(r->context) > 0) r->wrong = "choices in spite of an error";
  if (!t) return true;
  Text printed = tuning_text(t);
  Tuning *again = tuning_parse(r->context, "again.tune", printed.data, printed.length);
  if (!again) r->wrong = "what was printed does not read back";
  Text second = again ? tuning_text(again) : printed;
  if (second.length != printed.length || memcmp(second.data, printed.data, printed.length) != 0)
    r->wrong = "it prints otherwise the second time";
  return true;
}

const char *fuzz_read_tuning(const uint8_t *data, size_t size) {
  return read_with(parse_tuning, data, size);
}
