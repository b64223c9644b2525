/* Readers of the runtime: compiled networks in libapnn, and PTX in the CPU device. */
#define _GNU_SOURCE
#include "../../frontend/frontend.h"
#include "../../runtime/apnn.h"
#include "../../runtime/driver.h"
#include "../random/generate.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

typedef struct Compiling {
  Context *context;
  Corpus *corpus;
  const char *text;
  bool want_ptx; /* alone; otherwise whole files */
  const Target *target;
} Compiling;

static bool compile(void *user) {
  Compiling *k = user;
  FrontendOptions options = {.random_params = true, .seed = 1};
  PassOptions passes = {.target = k->target, .max_batch = 3};
  Graph *g = frontend_load(k->context, "fuzz.apnn", k->text, strlen(k->text), &options);
  Module m = {0};
  Text bytes;
  if (!g || !compile_graph(g, &passes, &m)) return false;
  if (k->want_ptx) {
    corpus_add(k->corpus, m.ptx.data, m.ptx.length);
    return true;
  }
  if (!backend_cubin_bytes(k->context, &m, &bytes)) return false;
  corpus_add(k->corpus, bytes.data, bytes.length);
  backend_ptx_bytes(k->context, &m, &bytes);
  corpus_add(k->corpus, bytes.data, bytes.length);
  return true;
}

static bool prepare(Corpus *corpus, bool want_ptx, uint64_t networks) {
  for (uint64_t seed = 1; seed <= networks; seed++) {
    Compiling k = {.context = context_new(NULL),
                   .corpus = corpus,
                   .text = generate_network(seed),
                   .want_ptx = want_ptx,
                   .target = target_find(seed % 2 ? "sm_90a" : "sm_80")};
    context_try(k.context, compile, &k);
    diag_flush(k.context, stderr);
    context_free(k.context);
    free((char *)k.text);
  }
  if (corpus->count == 0) fprintf(stderr, "nothing could be compiled\n");
  return corpus->count > 0;
}

bool fuzz_prepare_file(Corpus *corpus) {
  return prepare(corpus, false, 3);
}
bool fuzz_prepare_ptx(Corpus *corpus) {
  return prepare(corpus, true, 8);
}

/* --- compiled networks --- */

static uint64_t fnv1a(const uint8_t *data, size_t size) {
  uint64_t hash = APNN_FNV_BASIS;
  for (size_t i = 0; i < size; i++) hash = (hash ^ data[i]) * APNN_FNV_PRIME;
  return hash;
}

/* Makes the checksums of a damaged .cubin right again, so that what stands behind them is read. */
static void mend_checksums(uint8_t *data, size_t size) {
  ApnnFileTrailer trailer;
  ApnnFileHeader header;
  if (size < sizeof trailer + sizeof header) return;
  memcpy(&trailer, data + size - sizeof trailer, sizeof trailer);
  uint64_t at = trailer.payload_offset, bytes = size - sizeof trailer - at;
  if (at > size - sizeof trailer - sizeof header || trailer.payload_bytes != bytes) return;
  memcpy(&header, data + at, sizeof header);
  if (header.image_bytes <= at) header.image_checksum = fnv1a(data, header.image_bytes);
  header.payload_checksum = 0;
  memcpy(data + at, &header, sizeof header);
  header.payload_checksum = fnv1a(data + at, bytes);
  memcpy(data + at, &header, sizeof header);
}

static void touch_infos(const ApnnNetwork *network) {
  ApnnTensorInfo info;
  for (int i = -1; i <= apnn_input_count(network); i++) apnn_input_info(network, i, &info);
  for (int i = -1; i <= apnn_output_count(network); i++) apnn_output_info(network, i, &info);
}

static const char *load(const uint8_t *data, size_t size) {
  char words[300] = "?";
  ApnnNetwork *network = NULL;
  ApnnStatus status = apnn_load_memory(data, size, "cpu", &network, words, sizeof words);
  if ((status == APNN_OK) != (network != NULL)) return "status and network contradict each other";
  if ((status == APNN_OK) != (words[0] == '\0')) return "status and error text contradict each other";
  if (network) touch_infos(network);
  apnn_network_free(network);
  return NULL;
}

const char *fuzz_read_file(const uint8_t *data, size_t size) {
  const char *wrong = load(data, size);
  Bytes mended = bytes_copy(data, size);
  mend_checksums(mended.data, mended.size);
  if (!wrong) wrong = load(mended.data, mended.size);
  free(mended.data);
  return wrong;
}

/* --- PTX --- */

const char *fuzz_read_ptx(const uint8_t *data, size_t size) {
  ApnnDriver driver;
  ErrorText nowhere = apnn_error_text(NULL, 0);
  CuContext context = NULL;
  CuModule module = NULL;
  (void)size;
  if (apnn_driver_open_cpu(&driver, &nowhere) != APNN_OK) return "no CPU device";
  if (driver.init(0) != CU_SUCCESS || driver.primary_retain(&context, 0) != CU_SUCCESS) return "no context";
  driver.context_push(context);
  if (driver.module_load(&module, data, 0, NULL, NULL) == CU_SUCCESS) driver.module_unload(module);
  driver.context_pop(&context);
  driver.primary_release(0);
  apnn_driver_close(&driver);
  return NULL;
}
