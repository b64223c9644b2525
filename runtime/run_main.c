/* apnn-run: run a compiled network on arrays from .npy files. More images than the largest batch are run in pieces. */
#include "arrays.h"
#include "network.h"
#include "tool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tool[] = "apnn-run";

static const char help[] =
    "usage: apnn-run FILE -i [NAME=]INPUT.npy ... [-o [NAME=]OUTPUT.npy ...] [options]\n"
    "       apnn-run FILE --list\n"
    "\n"
    "Run a network that apnnc compiled (.cubin or .ptx). Arrays have the batch as their first dimension. NAME= says\n"
    "which input or output is meant; without it they are taken in the network's order.\n"
    "\n"
    "  -i, --input [NAME=]FILE    array of an input: uint8 for u1..u8, int8 for i2..i8, int32, float32\n"
    "  -o, --output [NAME=]FILE   write an output\n"
    "      --device DEVICE        cpu, cuda:0, cuda:1, ...; default: cuda:0 where there is a GPU, otherwise cpu\n"
    "      --batch-size N         images a run; default: the largest the network takes\n"
    "      --labels FILE          compare the first output with these classes and print the accuracy\n"
    "      --list                 print the inputs and outputs, and run nothing\n"
    "      --help                 print this\n"
    "\n"
    "Exit status: 0 success, 1 bad input, 2 wrong usage.\n";

typedef struct Options {
  const char *file, *device, *labels;
  const char **inputs, **outputs; /* room for argc names each */
  int input_count, output_count;
  long batch_size; /* 0: the largest */
  bool list, help;
} Options;

static bool parse_option(Options *o, int option) {
  switch (option) {
  case 'i':
    o->inputs[o->input_count++] = optarg;
    return true;
  case 'o':
    o->outputs[o->output_count++] = optarg;
    return true;
  case 'd':
    o->device = optarg;
    return true;
  case 'l':
    o->labels = optarg;
    return true;
  case 'L':
    o->list = true;
    return true;
  case 'h':
    o->help = true;
    return true;
  case 'b':
    if (tool_integer(optarg, 1, INT32_MAX, &o->batch_size)) return true;
    tool_fail(EXIT_USAGE, tool, "--batch-size: expected a number from 1, got \"%s\"", optarg);
    return false;
  }
  fputs("try apnn-run --help\n", stderr); /* getopt has said what is wrong */
  return false;
}

static int parse_options(Options *o, int argc, char **argv) {
  static const struct option table[] = {
      {"input", required_argument, NULL, 'i'},  {"output", required_argument, NULL, 'o'},
      {"device", required_argument, NULL, 'd'}, {"batch-size", required_argument, NULL, 'b'},
      {"labels", required_argument, NULL, 'l'}, {"list", no_argument, NULL, 'L'},
      {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
  };
  int option;
  while ((option = getopt_long(argc, argv, "i:o:", table, NULL)) != -1)
    if (!parse_option(o, option)) return EXIT_USAGE;
  if (o->help) return EXIT_GOOD;
  if (optind + 1 != argc)
    return tool_fail(EXIT_USAGE, tool,
                     optind == argc ? "no network is given; try apnn-run --help"
                                    : "expected one network, got several; try apnn-run --help");
  o->file = argv[optind];
  if (!o->list && !o->output_count && !o->labels)
    return tool_fail(EXIT_USAGE, tool, "nothing to do: give -o, --labels or --list");
  return EXIT_GOOD;
}

/* --- --list: the file alone, without a device --- */

static void list_tensor(const ApnnFile *file, const ApnnFileTensor *t) {
  char type[256];
  ApnnTensorInfo info = {.name = apnn_file_name(file, t->name),
                         .elem = (ApnnElem)t->elem,
                         .bits = (int)t->bits,
                         .rank = (int)t->rank,
                         .scale = t->scale,
                         .zero2 = t->zero2};
  memcpy(info.dims, t->dim, sizeof info.dims);
  tool_type_text(&info, type, sizeof type);
  printf("  %s %s : %s, %llu bytes an image\n", t->role == APNN_TENSOR_INPUT ? "input " : "output", info.name, type,
         (unsigned long long)t->image_bytes);
}

static void list_file(const ApnnFile *file) {
  const ApnnFileHeader *h = &file->header;
  printf("network %s: sm_%u%s, batch 1 to %u\n", apnn_file_name(file, h->network_name), h->arch,
         h->arch_exact ? "a" : "", h->max_batch);
  for (uint32_t role = APNN_TENSOR_INPUT; role <= APNN_TENSOR_OUTPUT; role++)
    for (uint32_t i = 0; i < h->tensor_count; i++)
      if (file->tensors[i].role == role) list_tensor(file, &file->tensors[i]);
  printf("  %u launches of %u kernels, %llu bytes of constants, %llu bytes of arena\n", h->launch_count,
         h->kernel_count, (unsigned long long)h->constants_bytes, (unsigned long long)h->arena_bytes);
}

static int list(const char *path) {
  char text[1024];
  ErrorText error = apnn_error_text(text, sizeof text);
  void *bytes = NULL;
  size_t size = 0;
  ApnnFile file;
  if (apnn_file_read(path, &bytes, &size, &error) != APNN_OK) return tool_fail(EXIT_BAD_INPUT, tool, "%s", text);
  ApnnStatus status = apnn_file_parse(bytes, size, &file, &error);
  if (status == APNN_OK) list_file(&file);
  apnn_file_free(&file);
  free(bytes);
  return status == APNN_OK ? EXIT_GOOD : tool_fail(EXIT_BAD_INPUT, tool, "%s: %s", path, text);
}

/* --- which array is which --- */

typedef ApnnStatus InfoFunction(const ApnnNetwork *network, int index, ApnnTensorInfo *info);

/* The number of the tensor of this name, `length` characters long; -1 where there is none. */
static int find_tensor(const ApnnNetwork *network, InfoFunction *describe, const char *name, size_t length) {
  ApnnTensorInfo info;
  for (int i = 0; describe(network, i, &info) == APNN_OK; i++)
    if (strlen(info.name) == length && memcmp(info.name, name, length) == 0) return i;
  return -1;
}

/* Sort "[NAME=]FILE" texts into paths[count], NULL where none is given. False after saying what is wrong. */
static bool bind(const ApnnNetwork *network, InfoFunction *describe, const char *what, const char **texts, int given,
                 const char **paths, int count) {
  int next = 0;
  for (int i = 0; i < given; i++) {
    const char *text = texts[i], *equals = strchr(text, '='), *slash = strchr(text, '/');
    bool named = equals && (!slash || equals < slash);
    int index = named ? find_tensor(network, describe, text, (size_t)(equals - text)) : next++;
    if (index < 0)
      return tool_fail(0, tool, "the network has no %s named %.*s; try --list", what, (int)(equals - text), text);
    if (index >= count)
      return tool_fail(0, tool, "the network has %d %s%s, got %d; try --list", count, what, count == 1 ? "" : "s",
                       given);
    if (paths[index]) return tool_fail(0, tool, "%s %d is given twice: %s and %s", what, index, paths[index], text);
    paths[index] = named ? equals + 1 : text;
  }
  return true;
}

static bool bind_inputs(const ApnnNetwork *network, const Options *o, const char **paths) {
  ApnnTensorInfo info;
  int count = apnn_input_count(network);
  if (!bind(network, apnn_input_info, "input", o->inputs, o->input_count, paths, count)) return false;
  for (int i = 0; i < count; i++)
    if (!paths[i] && apnn_input_info(network, i, &info) == APNN_OK)
      return tool_fail(0, tool, "no array for input %s is given; try --list", info.name);
  return true;
}

/* --- running --- */

static int run_pieces(ApnnNetwork *network, Arrays *arrays, long batch_size) {
  char error[1024];
  ApnnSession *session;
  long most = apnn_max_batch(network);
  if (batch_size > most)
    return tool_fail(EXIT_BAD_INPUT, tool, "--batch-size %ld: this network takes 1 to %ld", batch_size, most);
  int step = (int)(batch_size ? batch_size : most);
  if (apnn_session_new(network, NULL, &session, error, sizeof error) != APNN_OK)
    return tool_fail(EXIT_BAD_INPUT, tool, "%s", error);
  ApnnStatus status = APNN_OK;
  for (int64_t done = 0; status == APNN_OK && done < arrays->images; done += step) {
    int batch = (int)(arrays->images - done < step ? arrays->images - done : step);
    arrays_piece(arrays, done);
    status = apnn_run(session, batch, arrays->piece_inputs, arrays->piece_outputs);
  }
  if (status != APNN_OK) tool_fail(EXIT_BAD_INPUT, tool, "%s", apnn_session_error(session));
  apnn_session_free(session);
  return status == APNN_OK ? EXIT_GOOD : EXIT_BAD_INPUT;
}

/* Labels that do not serve are told before anything is written. */
static int compare_and_write(const ApnnNetwork *network, const Options *o, const Arrays *arrays,
                             const char *const *paths) {
  char text[1024];
  ErrorText error = apnn_error_text(text, sizeof text);
  int64_t right = 0;
  if (o->labels && arrays_compare(arrays, o->labels, &right, &error) != APNN_OK)
    return tool_fail(EXIT_BAD_INPUT, tool, "%s", text);
  for (int i = 0; i < arrays->output_count; i++)
    if (paths[i] && arrays_write(arrays, i, paths[i], &error) != APNN_OK)
      return tool_fail(EXIT_BAD_INPUT, tool, "%s", text);
  if (!o->labels) return EXIT_GOOD;
  printf("accuracy: %.1f%% (%lld of %lld) on %s\n", 100.0 * (double)right / (double)arrays->images, (long long)right,
         (long long)arrays->images, apnn_device_name(network));
  return EXIT_GOOD;
}

static int run_bound(ApnnNetwork *network, const Options *o, const char **inputs, const char **outputs) {
  char text[1024];
  ErrorText error = apnn_error_text(text, sizeof text);
  Arrays arrays;
  if (!bind_inputs(network, o, inputs) ||
      !bind(network, apnn_output_info, "output", o->outputs, o->output_count, outputs, apnn_output_count(network)))
    return EXIT_BAD_INPUT;
  if (arrays_open(network, inputs, &arrays, &error) != APNN_OK) return tool_fail(EXIT_BAD_INPUT, tool, "%s", text);
  int code = run_pieces(network, &arrays, o->batch_size);
  if (code == EXIT_GOOD) code = compare_and_write(network, o, &arrays, outputs);
  arrays_free(&arrays);
  return code;
}

static int run(ApnnNetwork *network, const Options *o) {
  const char **inputs = calloc((size_t)apnn_input_count(network), sizeof *inputs);
  const char **outputs = calloc((size_t)apnn_output_count(network), sizeof *outputs);
  int code =
      inputs && outputs ? run_bound(network, o, inputs, outputs) : tool_fail(EXIT_BAD_INPUT, tool, "out of memory");
  free(inputs);
  free(outputs);
  return code;
}

static int load_and_run(const Options *o) {
  char error[1024];
  ApnnNetwork *network;
  if (apnn_load_file(o->file, o->device, &network, error, sizeof error) != APNN_OK)
    return tool_fail(EXIT_BAD_INPUT, tool, "%s", error);
  int code = run(network, o);
  apnn_network_free(network);
  return code;
}

int main(int argc, char **argv) {
  Options options = {0};
  options.inputs = calloc((size_t)argc + 1, sizeof *options.inputs);
  options.outputs = calloc((size_t)argc + 1, sizeof *options.outputs);
  int code = EXIT_BAD_INPUT;
  if (options.inputs && options.outputs) code = parse_options(&options, argc, argv);
  if (code == EXIT_GOOD && options.help)
    fputs(help, stdout);
  else if (code == EXIT_GOOD)
    code = options.list ? list(options.file) : load_and_run(&options);
  free(options.inputs);
  free(options.outputs);
  return code;
}
