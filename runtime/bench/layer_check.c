/* Is what a layer's network computed what the reference evaluator computes?
 *
 * A layer of up to `full_work` multiply-adds is evaluated whole, and every output compared. For a larger one the
 * reference's graph is cut down to random channels of the layer and evaluated on random images of the batch: the same
 * operations on the same weights, thresholds and scales, so what is computed is exactly right, only not everything. */
#include "graph_part.h"
#include "layer_network.h"

#include <string.h>

enum { MOST_IMAGES = 16, MOST_CHANNELS = 32 };
static const int64_t full_work = INT64_C(1) << 30, sample_work = INT64_C(1) << 26;

typedef struct Check {
  const LayerNetwork *network;
  uint32_t batch;
  const void *const *inputs, *const *outputs;
  bool sample; /* even where the layer is small */
  Exactness exact;
  uint64_t random;
} Check;

static int64_t image_work(const LayerNetwork *n) {
  const Graph *g = n->reference;
  const Node *layer = &g->nodes[graph_definition(g, n->layer)];
  const Type *w = graph_type(g, layer->inputs[1]);
  return type_elements(graph_type(g, n->layer)) * (type_elements(w) / w->dim[0]);
}

static bool check_all(Check *k) {
  const Graph *g = k->network->reference;
  void **expected = ARENA_NEW(g->context, void *, g->output_count);
  for (uint32_t i = 0; i < g->output_count; i++)
    expected[i] = arena_alloc(g->context, type_dense_bytes(graph_type(g, g->outputs[i])) * k->batch);
  if (!graph_eval(g, k->batch, k->inputs, expected)) return false;
  k->exact = EXACT_ALL;
  for (uint32_t i = 0; i < g->output_count; i++)
    if (memcmp(expected[i], k->outputs[i], type_dense_bytes(graph_type(g, g->outputs[i])) * k->batch) != 0)
      k->exact = EXACT_NO;
  return true;
}

/* --- samples --- */

typedef struct Sample {
  int32_t images[MOST_IMAGES], channels[MOST_CHANNELS];
  int32_t image_count, channel_count;
} Sample;

static int32_t next_below(Check *k, int32_t limit) { /* xorshift64 */
  k->random ^= k->random << 13;
  k->random ^= k->random >> 7;
  k->random ^= k->random << 17;
  return (int32_t)((k->random >> 16) % (uint64_t)limit);
}

/* `count` different numbers below `limit`, rising: one from each of `count` equal stretches. */
static void choose(Check *k, int32_t count, int32_t limit, int32_t *out) {
  for (int32_t i = 0; i < count; i++) {
    int32_t first = (int32_t)((int64_t)limit * i / count), end = (int32_t)((int64_t)limit * (i + 1) / count);
    out[i] = first + next_below(k, end - first);
  }
}

static int32_t least(int64_t a, int64_t b) {
  return (int32_t)(a < b ? a : b);
}

/* Channels first, then as many images as the work allows, at least one of either. */
static Sample choose_sample(Check *k) {
  int32_t channels = type_channels(graph_type(k->network->reference, k->network->layer));
  int64_t work = image_work(k->network) / channels; /* of one channel of one image */
  Sample s = {.channel_count = least(sample_work / work, least(channels, MOST_CHANNELS))};
  if (s.channel_count < 1) s.channel_count = 1;
  s.image_count = least(sample_work / (work * s.channel_count), least(k->batch, MOST_IMAGES));
  if (s.image_count < 1) s.image_count = 1;
  choose(k, s.channel_count, channels, s.channels);
  choose(k, s.image_count, (int32_t)k->batch, s.images);
  return s;
}

static void *gather_images(const Check *k, const Sample *s) {
  const Graph *g = k->network->reference;
  size_t bytes = type_dense_bytes(graph_type(g, g->inputs[0]));
  char *images = arena_alloc(g->context, bytes * (size_t)s->image_count);
  for (int32_t i = 0; i < s->image_count; i++)
    memcpy(images + (size_t)i * bytes, (const char *)k->inputs[0] + (size_t)s->images[i] * bytes, bytes);
  return images;
}

/* Each element of the sample, against its place in output 0. */
static bool same_elements(const Check *k, const Sample *s, const Type *part, const char *expected) {
  const Graph *g = k->network->reference;
  const Type *whole = graph_type(g, g->outputs[0]);
  size_t element = type_element_bytes(whole), pixels = (size_t)(type_elements(part) / s->channel_count);
  size_t row = element * (size_t)type_channels(whole);
  for (int32_t i = 0; i < s->image_count; i++)
    for (size_t p = 0; p < pixels; p++) {
      const char *seen = (const char *)k->outputs[0] + ((size_t)s->images[i] * pixels + p) * row;
      for (int32_t c = 0; c < s->channel_count; c++, expected += element)
        if (memcmp(seen + (size_t)s->channels[c] * element, expected, element) != 0) return false;
    }
  return true;
}

static bool check_sample(Check *k) {
  const LayerNetwork *n = k->network;
  Sample s = choose_sample(k);
  ChannelCut cut = {n->layer, s.channels, s.channel_count};
  Graph *part = graph_part(n->reference, n->result, &cut);
  const void *inputs[] = {gather_images(k, &s)};
  Type type = *graph_type(part, part->outputs[0]);
  void *outputs[] = {arena_alloc(n->context, type_dense_bytes(&type) * (size_t)s.image_count)};
  if (!graph_eval(part, (uint32_t)s.image_count, inputs, outputs)) return false;
  k->exact = same_elements(k, &s, &type, outputs[0]) ? EXACT_SAMPLED : EXACT_NO;
  return true;
}

static bool check(void *user) {
  Check *k = user;
  bool all = !k->sample && image_work(k->network) * k->batch <= full_work;
  return all ? check_all(k) : check_sample(k);
}

bool layer_network_check(const LayerNetwork *network, uint32_t batch, bool sample, const void *const *inputs,
                         const void *const *outputs, Exactness *exact, char error[NETWORK_ERROR]) {
  Check k = {network, batch, inputs, outputs, sample, EXACT_NO, UINT64_C(0x2545f4914f6cdd1d)};
  bool good = context_try(network->context, check, &k);
  *exact = k.exact;
  if (!good) layer_network_reports(network, error);
  return good;
}
