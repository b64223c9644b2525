/* A network around one layer, as text in the language, compiled in process.
 *
 *   input x -> a = quantize -> y = the layer, batchnorm, relu, quantize -> a small layer of the same kind
 *                                                                       -> concat with a second input, the output
 *
 * The layer stands between two others, as in a network: what it reads was written by one kernel in the layout that it
 * wants, and what it writes is packed for the next. All layers get the engine that the one in question gets. With sums
 * as the result (i32) the layer's own result is the output. */
#include "layer_network.h"

#include "../../frontend/frontend.h"
#include "../../passes/plan.h"
#include "graph_part.h"

#include <stdlib.h>
#include <string.h>

enum { BESIDE = 16 }; /* channels of the second input, and of the small layer */
static const uint64_t seed = 1;

/* --- precisions --- */

/* Bits of "u4" or "i4"; 0 where it is neither. */
static int number_bits(const char *name, char kind, int least) {
  bool good = name[0] == kind && name[1] >= '0' + least && name[1] <= '8' && !name[2];
  return good ? name[1] - '0' : 0;
}

static bool is_quantized_name(const char *name) {
  return number_bits(name, 'u', 1) || number_bits(name, 'i', 2) || !strcmp(name, "bipolar") || !strcmp(name, "ternary");
}

bool precision_is_result(const char *name) {
  return is_quantized_name(name) || !strcmp(name, "i32");
}

static bool read_pair_of_bits(const char *text, LayerSpec *spec) {
  if (strlen(text) != 4 || text[0] != 'w' || text[2] != 'a') return false;
  if (text[1] < '1' || text[1] > '8' || text[3] < '1' || text[3] > '8') return false;
  if (text[1] == '1')
    strcpy(spec->w, "bipolar");
  else
    snprintf(spec->w, sizeof spec->w, "i%c", text[1]);
  snprintf(spec->a, sizeof spec->a, "u%c", text[3]);
  return true;
}

bool precision_read(const char *text, LayerSpec *spec) {
  if (read_pair_of_bits(text, spec)) return true;
  const char *x = strchr(text, 'x');
  if (!x || x - text >= PRECISION_NAME || strlen(x + 1) >= PRECISION_NAME) return false;
  snprintf(spec->w, sizeof spec->w, "%.*s", (int)(x - text), text);
  snprintf(spec->a, sizeof spec->a, "%s", x + 1);
  return is_quantized_name(spec->w) && is_quantized_name(spec->a);
}

/* The scale that spreads numbers of up to `reach` over the levels of a type. */
static double scale_for(const char *name, double reach) {
  int bits = number_bits(name, 'u', 1);
  if (bits) return reach / ((1 << bits) - 1);
  bits = number_bits(name, 'i', 2);
  return bits ? reach / ((1 << (bits - 1)) - 1) : !strcmp(name, "bipolar") ? 2 : reach / 2;
}

/* --- sizes --- */

int32_t spec_pad(const LayerSpec *spec) {
  return spec->conv ? (spec->kernel - 1) / 2 : 0;
}

int32_t spec_size_out(const LayerSpec *s, int32_t size) {
  int64_t room = (int64_t)size + 2 * (int64_t)spec_pad(s) - s->kernel;
  return room < 0 ? 0 : (int32_t)(room / s->stride + 1);
}

/* --- the text --- */

static const char *image_shape(Context *c, const LayerSpec *s, bool result, int32_t channels) {
  if (!s->conv) return arena_printf(c, "[%d]", channels);
  return arena_printf(c, "[%d, %d, %d]", result ? spec_size_out(s, s->height) : s->height,
                      result ? spec_size_out(s, s->width) : s->width, channels);
}

static const char *weight_type(Context *c, const LayerSpec *s) {
  return arena_printf(c, "%s(scale=%d)", s->w, strcmp(s->w, "bipolar") ? 1 : 2);
}

static const char *layer_call(Context *c, const LayerSpec *s) {
  if (!s->conv) return arena_printf(c, "linear(a, %d, w=%s, name=\"layer\")", s->channels_out, weight_type(c, s));
  return arena_printf(c, "conv2d(a, %d, kernel=%d, stride=%d, pad=%d%s, w=%s, name=\"layer\")", s->channels_out,
                      s->kernel, s->stride, spec_pad(s), strcmp(s->a, "bipolar") ? "" : ", pad_value=-1",
                      weight_type(c, s));
}

/* Numbers of 8 bits come in, so that what is read is the layer's own type, written by a kernel before it. */
static void add_input_text(Text *t, const LayerSpec *s) {
  bool is_unsigned = number_bits(s->a, 'u', 1) > 0;
  bool eight = number_bits(s->a, 'u', 1) == 8 || number_bits(s->a, 'i', 2) == 8;
  double scale = eight ? 0.75 : scale_for(s->a, is_unsigned ? 255 : 127); /* with a scale of 1 nothing would be done */
  text_add(t, "  input x : %s%s\n", is_unsigned ? "u8" : "i8", image_shape(t->context, s, false, s->channels_in));
  text_add(t, "  a = quantize(x, %s, scale=%.9g)\n", s->a, scale);
}

static void add_result_text(Text *t, const LayerSpec *s) {
  Context *c = t->context;
  if (!strcmp(s->out, "i32")) {
    text_add(t, "  output y = %s\n", layer_call(c, s));
    return;
  }
  const char *type = arena_printf(c, "%s(scale=%.9g)", s->out, scale_for(s->out, 2));
  text_add(t, "  input beside : %s%s\n", type, image_shape(c, s, true, BESIDE));
  text_add(t, "  y = %s | batchnorm(name=\"bn\")%s | quantize(%s)\n", layer_call(c, s),
           number_bits(s->out, 'u', 1) ? " | relu" : "", type);
  text_add(t, "  output all = concat(y, beside)\n");
  if (s->conv)
    text_add(t, "  output next = conv2d(y, %d, kernel=1, w=%s)\n", BESIDE, weight_type(c, s));
  else
    text_add(t, "  output next = linear(y, %d, w=%s)\n", BESIDE, weight_type(c, s));
}

static Graph *load_network(Context *c, const LayerSpec *s) {
  Text t = {.context = c};
  text_add(&t, "network layer {\n");
  add_input_text(&t, s);
  add_result_text(&t, s);
  text_add(&t, "}\n");
  FrontendOptions options = {.random_params = true, .seed = seed};
  return frontend_load(c, "layer.apnn", t.data, t.length, &options);
}

/* --- compiling --- */

typedef struct Job {
  const LayerSpec *spec;
  LayerNetwork *network;
} Job;

static const Node *layer_node(const Graph *g) {
  ValueId y = graph_find(g, "y");
  NodeId n = y == NO_VALUE ? NO_NODE : graph_definition(g, y);
  return n == NO_NODE ? NULL : &g->nodes[n];
}

static bool refuse(Context *c, const char *text) {
  diag(c, DIAG_OPTION, (SourceLoc){0}, text);
  return false;
}

/* The engine that the layer gets when the others have their own. */
static bool choose_engine(const Job *job, PassOptions options, Engine *engine) {
  Context *c = job->network->context;
  Graph *g = graph_part(job->network->reference, NO_VALUE, NULL);
  options.stop_after = "engine";
  if (!passes_run(g, &options, NULL)) return false;
  const Node *node = layer_node(g);
  if (!node) return refuse(c, "the passes left no layer named y");
  *engine = node->engine;
  if (job->spec->candidates) list_engines(g, node, options.target, options.max_batch, &job->network->engines);
  if (options.force_engine == ENGINE_NONE || node->engine == options.force_engine) return true;
  const char *why = "it is not among the layer's engines";
  cost_of_node(g, node, options.force_engine, options.target, options.max_batch, &why);
  return refuse(c, arena_printf(c, "engine %s cannot compute this layer: %s", engine_name[options.force_engine], why));
}

static void find_layer(LayerNetwork *network) {
  const Graph *g = network->reference;
  network->result = graph_find(g, "y");
  for (NodeId n = 0; n < g->node_count && network->layer == NO_VALUE; n++)
    if (g->nodes[n].op == OP_LINEAR || g->nodes[n].op == OP_CONV2D) network->layer = g->nodes[n].result;
}

static bool compile(void *user) {
  const Job *job = user;
  LayerNetwork *n = job->network;
  const LayerSpec *s = job->spec;
  PassOptions options = {.target = s->target, .max_batch = (uint32_t)s->batch, .force_engine = s->engine};
  if (s->tile.m) options.force_tile = &s->tile;
  Module module = {0};
  n->reference = load_network(n->context, s);
  if (!n->reference) return false;
  find_layer(n);
  if (!choose_engine(job, options, &options.force_engine)) return false;
  Graph *g = graph_part(n->reference, NO_VALUE, NULL);
  if (!compile_graph(g, &options, &module)) return false;
  const Node *node = layer_node(g);
  if (!node) return refuse(n->context, "the passes left no layer named y");
  n->engine = node->engine;
  n->reads = graph_type(g, node->inputs[0])->layout.kind;
  n->writes = graph_type(g, node->result)->layout.kind;
  n->tile = node->tile;
  n->planes = engine_uses_planes(node->engine) ? plane_pairs(g, node, node->engine) : 0;
  n->tera_ops =
      engine_uses_tensor_cores(n->engine) ? engine_tera_ops(s->target, n->engine) : s->target->cuda_core_tera_ops;
  n->tiles.most = s->candidates;
  if (s->candidates) list_tiles(g, node, &options, &n->tiles);
  n->assembled = s->assemble && backend_can_assemble(n->context);
  if (n->assembled) return backend_cubin_bytes(n->context, &module, &n->bytes);
  backend_ptx_bytes(n->context, &module, &n->bytes);
  return true;
}

void layer_network_reports(const LayerNetwork *network, char error[NETWORK_ERROR]) {
  FILE *f = fmemopen(error, NETWORK_ERROR, "w");
  if (!f) return;
  diag_flush(network->context, f);
  fclose(f);
  error[NETWORK_ERROR - 1] = 0;
  size_t length = strlen(error);
  if (length && error[length - 1] == '\n') error[length - 1] = 0;
}

bool layer_network_new(const LayerSpec *spec, LayerNetwork *out, char error[NETWORK_ERROR]) {
  *out = (LayerNetwork){.context = context_new(NULL), .layer = NO_VALUE, .result = NO_VALUE};
  snprintf(error, NETWORK_ERROR, "out of memory");
  if (!out->context) return false;
  Job job = {spec, out};
  if (context_try(out->context, compile, &job)) return true;
  layer_network_reports(out, error);
  return false;
}

void layer_network_free(LayerNetwork *network) {
  if (network->context) context_free(network->context);
  network->context = NULL;
}
