/* `apnn-bench layer`: a layer of given sizes and precisions is compiled in process (layer_network.h), run once on
 * random inputs, compared with the reference evaluator, and timed alone: its launch twenty times in a CUDA graph, each
 * waiting for the one before. With a list, one
 * such command a line. */
#define _GNU_SOURCE
#include "layer.h"

#include "layer_network.h"
#include "../measure.h"
#include "../network.h"
#include "../tool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char tool[] = "apnn-bench";
enum { MOST_SIZES = 7 };

static const char help[] =
    "usage: apnn-bench layer gemm M N K PRECISION [options]\n"
    "       apnn-bench layer conv N H W CIN COUT K STRIDE PRECISION [options]\n"
    "       apnn-bench layer --list FILE [options]\n"
    "\n"
    "Compile one layer with random weights, compare it with the reference and time it alone. gemm: M vectors of K\n"
    "numbers times N x K weights. conv: N images, a K x K window, padding (K - 1) / 2. Packed data in and out.\n"
    "\n"
    "PRECISION: w1a2 (w1 is bipolar, w2..w8 are i2..i8, a1..a8 are u1..u8) or WEIGHTSxACTIVATIONS, as ternaryxu4\n"
    "\n"
    "      --out TYPE         what the layer writes: u1..u8, i2..i8, bipolar or ternary behind a batchnorm, or i32,\n"
    "                         its sums; default: the activations' type\n"
    "      --engine ENGINE    default: what the cost model chooses; one of\n"
    "                        %s\n"
    "      --tile TILE        eight numbers with commas, as the text form of a plan has them; default: as above\n"
    "      --target TARGET    sm_80, sm_86, sm_89 or sm_90a; default: the GPU's, on the CPU device sm_90a\n"
    "      --device DEVICE    cpu, cuda:0, cuda:1, ...; default: cuda:0 where there is a GPU, otherwise cpu\n"
    "      --cold             with none of the weights in the L2 cache: copies of the layer take turns; needs a GPU\n"
    "      --sample           compare some elements with the reference instead of all, as is done for large layers\n"
    "      --no-overlap       a launch begins when the one before it has ended, also where it could begin earlier\n"
    "      --candidates N     list what else is worth measuring: engines, and the N best tiles of this one (1 to 16)\n"
    "      --json             one JSON object\n"
    "      --runs N           runs of which the median is taken; default: up to 100 within the budget, at least 3\n"
    "      --budget MS        milliseconds for the runs where they are not counted; default: 2000\n"
    "      --list FILE        a layer with its options on every line, those given here in front; - is standard input\n"
    "      --turn FILE        keep FILE locked while the device is used: programs side by side take turns\n"
    "      --help             print this\n"
    "\n"
    "JSON keys: op, shape, w, a, out, target, device, engine, tile, us, tops (2 a multiply-add), bit_tops (of one-bit\n"
    "products; null on engines without), peak_share (of the engine's rate in the target's table), bytes (read and\n"
    "written, at least), exact (true, false, \"sampled\"), l2 (\"warm\", \"cold\"), image (\"cubin\"; \"ptx\" on the\n"
    "CPU device and where ptxas is not found: the driver assembles), outputs (a hash of the results' bytes); with\n"
    "--candidates engines and tiles, each with estimate_us. Of a list one object a line, with error alone where there\n"
    "is no result.\n"
    "Exit status: 0 success, 1 bad input or a result that is not exact, 2 wrong usage.\n";

typedef struct Options {
  LayerSpec spec;
  int32_t sizes[MOST_SIZES];
  int size_count;
  const char *device, *list, *turn;
  long runs, budget, candidates;
  int turn_file; /* negative: none */
  bool json, cold, sample, no_overlap, help;
  bool listed; /* the command is a line of a list */
} Options;

/* --- errors --- */

/* Returns `code`. Of a list with --json every line has its object, so an error is one too. */
static int fail(const Options *o, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(const Options *o, int code, const char *format, ...) {
  char text[NETWORK_ERROR + 128];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!o->listed || !o->json) return tool_fail(code, tool, "%s", text);
  printf("{\"error\": ");
  tool_print_json_string(text);
  puts("}");
  return code;
}

/* False, after "what" and, where there is one, "the text". */
static bool usage(const Options *o, const char *what, const char *text) {
  if (text)
    fail(o, EXIT_USAGE, "%s, got \"%s\"; try apnn-bench layer --help", what, text);
  else
    fail(o, EXIT_USAGE, "%s; try apnn-bench layer --help", what);
  return false;
}

/* --- the command line --- */

/* "64,32,8,4,1,2,1,0", see Tile in ../../ir/graph.h. */
static bool read_tile(const char *text, Tile *t) {
  unsigned n[8];
  char end;
  if (sscanf(text, "%u,%u,%u,%u,%u,%u,%u,%u%c", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &end) != 8)
    return false;
  for (int i = 0; i < 8; i++)
    if (n[i] > (i < 3 ? UINT16_MAX : UINT8_MAX)) return false;
  *t = (Tile){(uint16_t)n[0], (uint16_t)n[1], (uint16_t)n[2], (uint8_t)n[3],
              (uint8_t)n[4],  (uint8_t)n[5],  (uint8_t)n[6],  (uint8_t)n[7]};
  return t->m > 0;
}

static bool read_engine(Options *o, const char *text) {
  char what[200];
  for (int i = 0; i < PRODUCT_ENGINES; i++)
    if (!strcmp(text, engine_name[product_engines[i]])) {
      o->spec.engine = product_engines[i];
      return true;
    }
  snprintf(what, sizeof what, "--engine: expected one of%s", product_engine_names);
  return usage(o, what, text);
}

static bool parse_option(Options *o, int option) {
  LayerSpec *s = &o->spec;
  switch (option) {
  case 'o':
    if (!precision_is_result(optarg))
      return usage(o, "--out: expected u1..u8, i2..i8, bipolar, ternary or i32", optarg);
    snprintf(s->out, sizeof s->out, "%s", optarg);
    return true;
  case 'e':
    return read_engine(o, optarg);
  case 'i':
    return read_tile(optarg, &s->tile) || usage(o, "--tile: expected eight numbers with commas", optarg);
  case 't':
    s->target = target_find(optarg);
    return s->target || usage(o, "--target: expected sm_80, sm_86, sm_89 or sm_90a", optarg);
  case 'd':
    o->device = optarg;
    return true;
  case 'r':
    return tool_integer(optarg, 1, 1000000, &o->runs) ||
           usage(o, "--runs: expected a number from 1 to 1000000", optarg);
  case 'b':
    return tool_integer(optarg, 1, 1000000, &o->budget) ||
           usage(o, "--budget: expected a number from 1 to 1000000", optarg);
  case 'a':
    return tool_integer(optarg, 1, MOST_TILES, &o->candidates) ||
           usage(o, "--candidates: expected a number from 1 to 16", optarg);
  case 'l':
    o->list = optarg;
    return !o->listed || usage(o, "--list: not within a list", NULL);
  case 'u':
    o->turn = optarg;
    return !o->listed || usage(o, "--turn: not within a list", NULL);
  case 'c':
    return o->cold = true;
  case 's':
    return o->sample = true;
  case 'j':
    return o->json = true;
  case 'n':
    return o->no_overlap = true;
  case 'h':
    o->help = true;
    return !o->listed || usage(o, "--help: not within a list", NULL);
  }
  if (o->listed) return usage(o, "an option is unknown or lacks its argument", NULL);
  fputs("try apnn-bench layer --help\n", stderr); /* getopt has said what is wrong */
  return false;
}

/* Where each number goes, in the order of the command line. */
static void place_sizes(Options *o) {
  LayerSpec *s = &o->spec;
  int32_t *gemm[] = {&s->batch, &s->channels_out, &s->channels_in};
  int32_t *conv[] = {&s->batch, &s->height, &s->width, &s->channels_in, &s->channels_out, &s->kernel, &s->stride};
  for (int i = 0; i < o->size_count; i++) *(s->conv ? conv[i] : gemm[i]) = o->sizes[i];
}

/* "gemm M N K PRECISION" or "conv N H W CIN COUT K STRIDE PRECISION". */
static bool parse_layer(Options *o, int count, char **words) {
  LayerSpec *s = &o->spec;
  if (!count) return usage(o, "no layer is given", NULL);
  s->conv = !strcmp(words[0], "conv");
  if (!s->conv && strcmp(words[0], "gemm")) return usage(o, "expected gemm or conv", words[0]);
  o->size_count = s->conv ? 7 : 3;
  if (count != o->size_count + 2)
    return usage(o, s->conv ? "expected conv N H W CIN COUT K STRIDE PRECISION" : "expected gemm M N K PRECISION",
                 NULL);
  for (int i = 0; i < o->size_count; i++) {
    long size;
    if (!tool_integer(words[i + 1], 1, 1 << 24, &size))
      return usage(o, "expected a number from 1 to 16777216", words[i + 1]);
    o->sizes[i] = (int32_t)size;
  }
  place_sizes(o);
  const char *precision = words[count - 1];
  if (!precision_read(precision, s)) return usage(o, "expected a precision such as w1a2", precision);
  if (!s->out[0]) strcpy(s->out, s->a);
  return true;
}

static bool parse_options(Options *o, int argc, char **argv) {
  static const struct option table[] = {
      {"out", required_argument, NULL, 'o'},    {"engine", required_argument, NULL, 'e'},
      {"tile", required_argument, NULL, 'i'},   {"target", required_argument, NULL, 't'},
      {"device", required_argument, NULL, 'd'}, {"runs", required_argument, NULL, 'r'},
      {"cold", no_argument, NULL, 'c'},         {"json", no_argument, NULL, 'j'},
      {"sample", no_argument, NULL, 's'},       {"no-overlap", no_argument, NULL, 'n'},
      {"budget", required_argument, NULL, 'b'}, {"candidates", required_argument, NULL, 'a'},
      {"list", required_argument, NULL, 'l'},   {"turn", required_argument, NULL, 'u'},
      {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
  };
  int option;
  optind = 0; /* a new command line */
  opterr = !o->listed;
  while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
    if (!parse_option(o, option)) return false;
  if (o->help) return true;
  if (!o->list) return parse_layer(o, argc - optind, argv + optind);
  return optind == argc || usage(o, "expected no layer beside --list", argv[optind]);
}

/* --- device and target --- */

/* Code for an architecture runs on later ones of the same major version, that for sm_90a on 9.0 alone. */
static const Target *target_for(int capability) {
  const Target *best = NULL;
  for (uint32_t i = 0; target_at(i); i++) {
    const Target *t = target_at(i);
    bool fits = t->arch / 10 == capability / 10 && (t->arch >= 90 ? t->arch == capability : t->arch <= capability);
    if (fits && (!best || t->arch > best->arch)) best = t;
  }
  return best;
}

/* Asks the device what is to be compiled for it. */
static int choose_target(Options *o) {
  char text[512];
  ErrorText error = apnn_error_text(text, sizeof text);
  ApnnDevice device = {0};
  if (apnn_device_open(&device, o->device, &error) != APNN_OK) return fail(o, EXIT_BAD_INPUT, "%s", text);
  bool is_cpu = device.driver.is_cpu;
  int capability = device.capability;
  apnn_device_close(&device);
  o->spec.assemble = !is_cpu;
  if (o->spec.target) return EXIT_GOOD;
  o->spec.target = is_cpu ? target_find("sm_90a") : target_for(capability);
  if (o->spec.target) return EXIT_GOOD;
  return fail(o, EXIT_BAD_INPUT, "no target fits a GPU of compute capability %d.%d", capability / 10, capability % 10);
}

/* --- measuring --- */

typedef struct Result {
  uint32_t first, last; /* the layer's launches */
  uint64_t bytes;
  double us, ops;
  uint64_t hash; /* of the outputs */
  Exactness exact;
  const char *device;
} Result;

/* Others that measure on this device wait meanwhile. */
static void begin_turn(const Options *o) {
  if (o->turn_file < 0) return;
  while (flock(o->turn_file, LOCK_EX) && errno == EINTR) continue;
}

static void end_turn(const Options *o) {
  if (o->turn_file >= 0) flock(o->turn_file, LOCK_UN);
}

static bool find_launches(const ApnnNetwork *network, int batch, Result *r) {
  uint32_t count = measure_layer_count(network);
  for (r->first = 0; r->first < count && strcmp(measure_layer_info(network, r->first, batch).name, "y");) r->first++;
  for (r->last = r->first; r->last < count; r->last++) {
    LayerInfo info = measure_layer_info(network, r->last, batch);
    if (strcmp(info.name, "y")) break;
    r->bytes += info.bytes;
    r->ops += (double)info.ops;
  }
  return r->first < r->last;
}

static uint64_t hash_outputs(const ApnnNetwork *network, int batch, const void *const *outputs) { /* FNV-1a */
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (int i = 0; i < apnn_output_count(network); i++) {
    ApnnTensorInfo info;
    apnn_output_info(network, i, &info);
    const uint8_t *bytes = outputs[i], *end = bytes + info.image_bytes * (size_t)batch;
    while (bytes < end) hash = (hash ^ *bytes++) * UINT64_C(0x100000001b3);
  }
  return hash;
}

/* --- with cold weights: copies of the network take turns --- */

enum { COLD_BYTES = 128 << 20, MOST_COPIES = 64 };

typedef struct Copies {
  ApnnNetwork *networks[MOST_COPIES];
  Measure *measures[MOST_COPIES];
  int count;
} Copies;

/* Copies behind the first, which is measured already. */
static bool load_copy(const Options *o, const LayerNetwork *layer, Copies *copies, char error[NETWORK_ERROR]) {
  int i = copies->count++;
  return apnn_load_memory(layer->bytes.data, layer->bytes.length, o->device, &copies->networks[i], error,
                          NETWORK_ERROR) == APNN_OK &&
         measure_new(copies->networks[i], (int)o->runs, &copies->measures[i], error, NETWORK_ERROR) == APNN_OK &&
         measure_prepare(copies->measures[i], o->spec.batch) == APNN_OK;
}

static void free_copies(Copies *copies) {
  for (int i = 1; i < copies->count; i++) {
    measure_free(copies->measures[i]);
    apnn_network_free(copies->networks[i]);
  }
}

static int measure_cold(const Options *o, const LayerNetwork *layer, Measure *m, Result *r) {
  char error[NETWORK_ERROR] = "a copy of the layer does not run";
  Copies copies = {.measures = {m}, .count = 1};
  int wanted = r->bytes < COLD_BYTES / (MOST_COPIES - 1) ? MOST_COPIES : (int)(COLD_BYTES / r->bytes) + 2;
  bool good = true;
  while (good && copies.count < wanted) good = load_copy(o, layer, &copies, error);
  for (int i = 1; good && i < copies.count; i++)
    if (o->no_overlap) measure_without_overlap(copies.measures[i]);
  ApnnStatus status = good ? measure_in_turn(copies.measures, copies.count, r->first, r->last, &r->us) : APNN_OK;
  free_copies(&copies);
  if (!good) return fail(o, EXIT_BAD_INPUT, "%s", error);
  return status == APNN_OK ? EXIT_GOOD : fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
}

/* --- the layer --- */

static int measure_warm(const Options *o, Measure *m, Result *r) {
  ApnnStatus status = measure_launches(m, r->first, r->last, &r->us);
  return status == APNN_OK ? EXIT_GOOD : fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
}

static int measure(const Options *o, const LayerNetwork *layer, ApnnNetwork *network, Measure *m, Result *r) {
  char error[NETWORK_ERROR];
  int batch = o->spec.batch;
  r->device = apnn_device_name(network);
  if (!find_launches(network, batch, r)) return fail(o, EXIT_BAD_INPUT, "the file has no launch named y");
  begin_turn(o);
  ApnnStatus status = measure_prepare(m, batch);
  end_turn(o);
  if (status != APNN_OK) return fail(o, EXIT_BAD_INPUT, "%s", measure_error(m));
  void *const *arrays = measure_arrays(m);
  const void *const *inputs = (const void *const *)arrays, *const *outputs = inputs + apnn_input_count(network);
  if (!layer_network_check(layer, (uint32_t)batch, o->sample, inputs, outputs, &r->exact, error))
    return fail(o, EXIT_BAD_INPUT, "%s", error);
  r->hash = hash_outputs(network, batch, outputs);
  begin_turn(o);
  int code = o->cold ? measure_cold(o, layer, m, r) : measure_warm(o, m, r);
  end_turn(o);
  return code;
}

static int measure_network(const Options *o, const LayerNetwork *layer, ApnnNetwork *network, Result *r) {
  char error[1024];
  Measure *m;
  if (measure_new(network, (int)o->runs, &m, error, sizeof error) != APNN_OK)
    return fail(o, EXIT_BAD_INPUT, "%s", error);
  if (o->no_overlap) measure_without_overlap(m);
  if (o->budget) measure_within(m, (double)o->budget * 1e3);
  int code = measure(o, layer, network, m, r);
  measure_free(m);
  return code;
}

/* --- printing --- */

/* "128x64x32 s4 k2": rows, channels, words of a step; stages; parts of the reduction. "" on CUDA cores. */
static void tile_text(const Tile *t, char text[64]) {
  text[0] = 0;
  if (t->m)
    snprintf(text, 64, "%u,%u,%u,%u,%u,%u,%u,%u", t->m, t->n, t->k, t->warps_m, t->warps_n, t->stages, t->split_k,
             t->resident);
}

static void print_candidates(const LayerNetwork *n) {
  printf(", \"engines\": [");
  for (uint32_t i = 0; i < n->engines.count; i++)
    printf("%s{\"engine\": \"%s\", \"estimate_us\": %.3f}", i ? ", " : "", engine_name[n->engines.engines[i]],
           n->engines.microseconds[i]);
  printf("], \"tiles\": [");
  for (uint32_t i = 0; i < n->tiles.count; i++) {
    char tile[64];
    tile_text(&n->tiles.tiles[i], tile);
    printf("%s{\"tile\": \"%s\", \"estimate_us\": %.3f}", i ? ", " : "", tile, n->tiles.microseconds[i]);
  }
  putchar(']');
}

static void print_json(const Options *o, const LayerNetwork *n, const Result *r) {
  static const char *const exact[] = {"false", "true", "\"sampled\""};
  const LayerSpec *s = &o->spec;
  char tile[64];
  double tops = r->us > 0 ? r->ops / r->us / 1e6 : 0, machine = tops * (n->planes ? n->planes : 1);
  tile_text(&n->tile, tile);
  printf("{\"op\": \"%s\", \"shape\": [", s->conv ? "conv" : "gemm");
  for (int i = 0; i < o->size_count; i++) printf("%s%d", i ? ", " : "", o->sizes[i]);
  printf("], \"w\": \"%s\", \"a\": \"%s\", \"out\": \"%s\", \"target\": \"%s\", \"device\": \"%s\", ", s->w, s->a,
         s->out, s->target->name, r->device);
  printf("\"engine\": \"%s\", \"tile\": \"%s\", \"us\": %.3f, \"tops\": %.6g, ", engine_name[n->engine], tile, r->us,
         tops);
  if (n->planes)
    printf("\"bit_tops\": %.6g, ", machine);
  else
    printf("\"bit_tops\": null, ");
  printf("\"peak_share\": %.6g, \"bytes\": %llu, \"exact\": %s, \"l2\": \"%s\", "
         "\"image\": \"%s\", \"outputs\": \"%016llx\"",
         n->tera_ops > 0 ? machine / n->tera_ops : 0, (unsigned long long)r->bytes, exact[r->exact],
         o->cold ? "cold" : "warm", n->assembled ? "cubin" : "ptx", (unsigned long long)r->hash);
  if (o->candidates) print_candidates(n);
  puts("}");
}

static void print_text(const Options *o, const LayerNetwork *n, const Result *r) {
  static const char *const exact[] = {"NOT EXACT", "exact", "exact (sampled)"};
  const LayerSpec *s = &o->spec;
  char tile[64];
  double tops = r->us > 0 ? r->ops / r->us / 1e6 : 0;
  tile_text(&n->tile, tile);
  printf("%s", s->conv ? "conv" : "gemm");
  for (int i = 0; i < o->size_count; i++) printf("%s%d", i ? "x" : " ", o->sizes[i]);
  printf(" %sx%s to %s on %s (%s): %.2f us, %.1f Top/s, %s%s%s, L2 %s, %s\n", s->w, s->a, s->out, r->device,
         s->target->name, r->us, tops, engine_name[n->engine], tile[0] ? " " : "", tile, o->cold ? "cold" : "warm",
         exact[r->exact]);
  for (uint32_t i = 0; i < n->engines.count; i++)
    printf("  %s: about %.2f us\n", engine_name[n->engines.engines[i]], n->engines.microseconds[i]);
  for (uint32_t i = 0; i < n->tiles.count; i++) {
    tile_text(&n->tiles.tiles[i], tile);
    printf("  %s %s: about %.2f us\n", engine_name[n->engine], tile, n->tiles.microseconds[i]);
  }
}

/* --- the whole --- */

static int bench_compiled(const Options *o, const LayerNetwork *layer) {
  char error[NETWORK_ERROR];
  ApnnNetwork *network;
  Result result = {0};
  if (apnn_load_memory(layer->bytes.data, layer->bytes.length, o->device, &network, error, sizeof error) != APNN_OK)
    return fail(o, EXIT_BAD_INPUT, "%s", error);
  int code = measure_network(o, layer, network, &result);
  if (code == EXIT_GOOD) (o->json ? print_json : print_text)(o, layer, &result);
  apnn_network_free(network);
  if (code != EXIT_GOOD || result.exact != EXACT_NO) return code;
  return o->listed ? EXIT_BAD_INPUT : fail(o, EXIT_BAD_INPUT, "the result differs from the reference");
}

static int bench(Options *o) {
  char error[NETWORK_ERROR];
  LayerNetwork layer = {0};
  const LayerSpec *s = &o->spec;
  if (s->conv && (spec_size_out(s, s->height) < 1 || spec_size_out(s, s->width) < 1))
    return fail(o, EXIT_BAD_INPUT, "a window of %d x %d does not fit %d x %d with padding %d", s->kernel, s->kernel,
                s->height, s->width, spec_pad(s));
  int code = choose_target(o);
  if (code != EXIT_GOOD) return code;
  o->spec.candidates = (uint32_t)o->candidates;
  code = layer_network_new(s, &layer, error) ? bench_compiled(o, &layer) : fail(o, EXIT_BAD_INPUT, "%s", error);
  layer_network_free(&layer);
  return code;
}

static int bench_line(void *user, int count, char **words) {
  Options o = *(const Options *)user;
  o.list = NULL;
  o.listed = true;
  return parse_options(&o, count, words) ? bench(&o) : EXIT_USAGE;
}

/* The device's context stays between lines: making it takes longer than most layers. */
static int bench_lines(Options *o) {
  char text[512];
  ErrorText error = apnn_error_text(text, sizeof text);
  ApnnDevice device = {0};
  if (apnn_device_open(&device, o->device, &error) != APNN_OK) return fail(o, EXIT_BAD_INPUT, "%s", text);
  int code = apnn_device_retain(&device, &error) == APNN_OK ? bench_list(o->list, tool, bench_line, o)
                                                            : fail(o, EXIT_BAD_INPUT, "%s", text);
  apnn_device_close(&device);
  return code;
}

int bench_layer(int argc, char **argv) {
  Options o = {.turn_file = -1};
  if (!parse_options(&o, argc, argv)) return EXIT_USAGE;
  if (o.help) {
    printf(help, product_engine_names);
    return EXIT_GOOD;
  }
  if (o.turn) o.turn_file = open(o.turn, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (o.turn && o.turn_file < 0) return fail(&o, EXIT_BAD_INPUT, "--turn: %s: %s", o.turn, strerror(errno));
  int code = o.list ? bench_lines(&o) : bench(&o);
  if (o.turn) close(o.turn_file);
  return code;
}
