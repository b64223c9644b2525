/* apnn-bench: how long a compiled network takes, whole or layer by layer. On a GPU the times are of CUDA graphs,
 * between events on the device: copies to and from the host are not in them. */
#include "../measure.h"
#include "../tool.h"
#include "layer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tool[] = "apnn-bench";

static const char help[] =
    "usage: apnn-bench FILE [options]\n"
    "       apnn-bench layer gemm|conv SIZES PRECISION [options]   (apnn-bench layer --help)\n"
    "\n"
    "Time a network that apnnc compiled (.cubin or .ptx) on random inputs.\n"
    "\n"
    "      --batch N,...      batch sizes; default: the largest the network takes\n"
    "      --device DEVICE    cpu, cuda:0, cuda:1, ...; default: cuda:0 where there is a GPU, otherwise cpu\n"
    "      --per-layer        one line a layer, each timed by itself\n"
    "      --json             one JSON object a line\n"
    "      --no-overlap       a kernel begins when the one before it has ended, also where it could begin earlier\n"
    "      --runs N           runs of which the median is taken; default: up to 100 within two seconds, at least 3\n"
    "      --help             print this\n"
    "\n"
    "JSON keys: network, device, batch, us, images_per_s; with --per-layer: network, device, batch, layer, engine,\n"
    "us, bytes (read and written, at least), ops (2 a multiply-add).\n"
    "Exit status: 0 success, 1 bad input, 2 wrong usage.\n";

typedef struct Options {
  const char *file, *device;
  const char *batches; /* the text after --batch; NULL: the largest batch */
  long runs;           /* 0: the default */
  bool per_layer, json, no_overlap, help;
} Options;

static bool parse_option(Options *o, int option) {
  switch (option) {
  case 'b':
    o->batches = optarg;
    return true;
  case 'd':
    o->device = optarg;
    return true;
  case 'p':
    o->per_layer = true;
    return true;
  case 'j':
    o->json = true;
    return true;
  case 'n':
    o->no_overlap = true;
    return true;
  case 'h':
    o->help = true;
    return true;
  case 'r':
    if (tool_integer(optarg, 1, 1000000, &o->runs)) return true;
    tool_fail(EXIT_USAGE, tool, "--runs: expected a number from 1 to 1000000, got \"%s\"", optarg);
    return false;
  }
  fputs("try apnn-bench --help\n", stderr); /* getopt has said what is wrong */
  return false;
}

/* The number at *text, which is moved behind it and its comma; 0 where there is no number from 1 on. */
static int next_batch(const char **text) {
  char number[16];
  size_t length = strcspn(*text, ",");
  long value = 0;
  if (length >= sizeof number) return 0;
  memcpy(number, *text, length);
  number[length] = 0;
  *text += length + ((*text)[length] == ',');
  return tool_integer(number, 1, INT32_MAX, &value) ? (int)value : 0;
}

static bool batches_good(const char *text) {
  size_t length = strlen(text);
  if (!length || text[length - 1] == ',') return false;
  while (*text)
    if (!next_batch(&text)) return false;
  return true;
}

static int parse_options(Options *o, int argc, char **argv) {
  static const struct option table[] = {
      {"batch", required_argument, NULL, 'b'}, {"device", required_argument, NULL, 'd'},
      {"per-layer", no_argument, NULL, 'p'},   {"json", no_argument, NULL, 'j'},
      {"no-overlap", no_argument, NULL, 'n'},  {"runs", required_argument, NULL, 'r'},
      {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
  };
  int option;
  while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
    if (!parse_option(o, option)) return EXIT_USAGE;
  if (o->help) return EXIT_GOOD;
  if (optind + 1 != argc)
    return tool_fail(EXIT_USAGE, tool,
                     optind == argc ? "no network is given; try apnn-bench --help"
                                    : "expected one network, got several; try apnn-bench --help");
  o->file = argv[optind];
  if (o->batches && !batches_good(o->batches))
    return tool_fail(EXIT_USAGE, tool, "--batch: expected numbers from 1, separated by commas, got \"%s\"", o->batches);
  return EXIT_GOOD;
}

/* --- printing --- */

static void print_json_text(const char *key, const char *text) {
  printf("\"%s\": ", key);
  tool_print_json_string(text);
  printf(", ");
}

static void print_json_head(const ApnnNetwork *network, int batch) {
  putchar('{');
  print_json_text("network", apnn_network_name(network));
  print_json_text("device", apnn_device_name(network));
  printf("\"batch\": %d, ", batch);
}

static void print_whole(const ApnnNetwork *network, const Options *o, int batch, double us) {
  double images_per_s = us > 0 ? batch / us * 1e6 : 0;
  if (!o->json) {
    printf("%8d %14.2f %14.0f\n", batch, us, images_per_s);
    return;
  }
  print_json_head(network, batch);
  printf("\"us\": %.3f, \"images_per_s\": %.1f}\n", us, images_per_s);
}

static void print_layer(const ApnnNetwork *network, const Options *o, int batch, const LayerInfo *layer, double us) {
  if (!o->json) {
    double per_us = us > 0 ? 1 / us : 0;
    printf("%8d %14.2f %10.3f %10.1f  %-12s %s\n", batch, us, (double)layer->ops * per_us / 1e6,
           (double)layer->bytes * per_us / 1e3, layer->engine, layer->name);
    return;
  }
  print_json_head(network, batch);
  print_json_text("layer", layer->name);
  print_json_text("engine", layer->engine);
  printf("\"us\": %.3f, \"bytes\": %llu, \"ops\": %llu}\n", us, (unsigned long long)layer->bytes,
         (unsigned long long)layer->ops);
}

static void print_title(const ApnnNetwork *network, const Options *o) {
  if (o->json) return;
  printf("%s on %s (%s)\n", apnn_network_name(network), apnn_device_name(network), measure_model(network));
  if (o->per_layer)
    printf("%8s %14s %10s %10s  %-12s %s\n", "batch", "us", "Top/s", "GB/s", "engine", "layer");
  else
    printf("%8s %14s %14s\n", "batch", "us", "images/s");
}

/* --- measuring --- */

static ApnnStatus measure_batch(ApnnNetwork *network, const Options *o, Measure *m, int batch) {
  double us = 0;
  ApnnStatus status = measure_prepare(m, batch);
  if (status == APNN_OK && !o->per_layer) {
    status = measure_whole(m, &us);
    if (status == APNN_OK) print_whole(network, o, batch, us);
    return status;
  }
  for (uint32_t i = 0; status == APNN_OK && i < measure_layer_count(network); i++) {
    LayerInfo layer = measure_layer_info(network, i, batch);
    status = measure_launches(m, i, i + 1, &us);
    if (status == APNN_OK) print_layer(network, o, batch, &layer, us);
  }
  return status;
}

static int bench(ApnnNetwork *network, const Options *o) {
  char error[1024], most[16];
  snprintf(most, sizeof most, "%d", apnn_max_batch(network));
  const char *batches = o->batches ? o->batches : most;
  for (const char *at = batches; *at;) {
    int batch = next_batch(&at);
    if (batch > apnn_max_batch(network))
      return tool_fail(EXIT_BAD_INPUT, tool, "--batch %d: this network takes 1 to %s", batch, most);
  }
  Measure *m;
  if (measure_new(network, (int)o->runs, &m, error, sizeof error) != APNN_OK)
    return tool_fail(EXIT_BAD_INPUT, tool, "%s", error);
  if (o->no_overlap) measure_without_overlap(m);
  ApnnStatus status = APNN_OK;
  print_title(network, o);
  for (const char *at = batches; *at && status == APNN_OK;) status = measure_batch(network, o, m, next_batch(&at));
  if (status != APNN_OK) tool_fail(EXIT_BAD_INPUT, tool, "%s", measure_error(m));
  measure_free(m);
  return status == APNN_OK ? EXIT_GOOD : EXIT_BAD_INPUT;
}

int main(int argc, char **argv) {
  Options options = {0};
  char error[1024];
  ApnnNetwork *network;
  if (argc > 1 && !strcmp(argv[1], "layer")) return bench_layer(argc - 1, argv + 1);
  int code = parse_options(&options, argc, argv);
  if (code != EXIT_GOOD) return code;
  if (options.help) {
    fputs(help, stdout);
    return EXIT_GOOD;
  }
  if (apnn_load_file(options.file, options.device, &network, error, sizeof error) != APNN_OK)
    return tool_fail(EXIT_BAD_INPUT, tool, "%s", error);
  code = bench(network, &options);
  apnn_network_free(network);
  return code;
}
