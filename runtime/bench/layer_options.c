/* The command line of `apnn-bench layer`. */
#include "layer_command.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    "      --target TARGET    one of%s; default: the GPU's, on the CPU device sm_90a\n"
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

void layer_options_help(void) {
  printf(help, product_engine_names, target_names);
}

/* --- errors --- */

int layer_fail(const LayerOptions *o, int code, const char *format, ...) {
  char text[NETWORK_ERROR + 128];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!o->listed || !o->json) return tool_fail(code, "apnn-bench", "%s", text);
  printf("{\"error\": ");
  tool_print_json_string(text);
  puts("}");
  return code;
}

/* False, after "what" and, where there is one, "the text". */
static bool usage(const LayerOptions *o, const char *what, const char *text) {
  if (text)
    layer_fail(o, EXIT_USAGE, "%s, got \"%s\"; try apnn-bench layer --help", what, text);
  else
    layer_fail(o, EXIT_USAGE, "%s; try apnn-bench layer --help", what);
  return false;
}

static bool usage_name(const LayerOptions *o, const char *option, const char *names, const char *text) {
  layer_fail(o, EXIT_USAGE, "%s: expected one of%s, got \"%s\"; try apnn-bench layer --help", option, names, text);
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

static bool read_engine(LayerOptions *o, const char *text) {
  o->spec.engine = product_engine_find(text);
  return o->spec.engine != ENGINE_NONE || usage_name(o, "--engine", product_engine_names, text);
}

static bool parse_option(LayerOptions *o, int option) {
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
    return s->target || usage_name(o, "--target", target_names, optarg);
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
static void place_sizes(LayerOptions *o) {
  LayerSpec *s = &o->spec;
  int32_t *gemm[] = {&s->batch, &s->channels_out, &s->channels_in};
  int32_t *conv[] = {&s->batch, &s->height, &s->width, &s->channels_in, &s->channels_out, &s->kernel, &s->stride};
  for (int i = 0; i < o->size_count; i++) *(s->conv ? conv[i] : gemm[i]) = o->sizes[i];
}

/* "gemm M N K PRECISION" or "conv N H W CIN COUT K STRIDE PRECISION". */
static bool parse_layer(LayerOptions *o, int count, char **words) {
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

bool layer_options_read(LayerOptions *o, int argc, char **argv) {
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
