/* --tune: which engine and tile of each layer is fastest on this machine's device.
 *
 * The base is the network as the cost model plans it. First the tiles of every layer's own engine are tried, one of
 * each layer a trial, as tiles change no layouts and every layer is timed by itself. Then, layer by layer, the other
 * engines whose estimate is not far from the best: what a layout that suits the engine costs the layers around counts
 * too. In the end the network with all choices, and with those of tiles alone, is timed as a whole, and the fastest is
 * written.
 *
 * Guarantees: every trial's outputs have the base's bytes; the file is written whole or stays as it was, and keeps the
 * lines of other layers.
 */
#include "tune.h"

#include "../backend/file_write.h"
#include "../passes/tile.h"
#include "../runtime/network.h"

#include <string.h>
#include <unistd.h>

enum { USUAL_CANDIDATES = 6 };

/* A layer, or several with the same key. */
typedef struct Layer {
  const char *key, *name; /* name of the first */
  uint32_t count;
  bool mixed;                        /* the model gives them different choices */
  TuningEntry base, tiled, best;     /* the model's choice; the fastest with its engine; the fastest of all */
  double base_us, tiled_us, best_us; /* of all `count`, and what changes around them */
} Layer;

typedef struct Search {
  Tuner tuner;
  Layer *layers;
  uint32_t layer_count;
} Search;

/* --- layers --- */

static const PassOptions *pass_options(const Search *s) {
  return &s->tuner.options->passes;
}

static const Node *node_with_key(const Search *s, const Graph *g, const char *key) {
  for (NodeId n = 0; n < g->node_count; n++)
    if (tuning_serves(&g->nodes[n]) && !strcmp(tuning_key(g, &g->nodes[n], pass_options(s)), key)) return &g->nodes[n];
  return NULL;
}

/* Whether all layers with the key have this engine and can have this tile. */
static bool all_can_have(const Search *s, const Graph *g, const char *key, Engine engine, const Tile *tile) {
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (!tuning_serves(node) || strcmp(tuning_key(g, node, pass_options(s)), key)) continue;
    if (node->engine != engine || (tile->m && !tile_fits(g, node, tile, pass_options(s)->target))) return false;
  }
  return true;
}

/* The time of all launches with the key; 0 if there are none. */
static double time_of_key(const Trial *trial, const char *key) {
  double us = 0;
  for (uint32_t i = 0; i < trial->launch_count; i++)
    if (trial->launches[i].key && !strcmp(trial->launches[i].key, key)) us += trial->launches[i].us;
  return us;
}

static TuningEntry entry_of(const Search *s, const char *key, Engine engine, const Tile *tile) {
  TuningEntry e = {.key = arena_strdup(s->tuner.context, key), .engine = engine, .tile = *tile, .note = ""};
  return e;
}

static void add_layer(Search *s, const Node *node) {
  const Graph *g = s->tuner.base.graph;
  const char *key = tuning_key(g, node, pass_options(s));
  for (uint32_t i = 0; i < s->layer_count; i++)
    if (!strcmp(s->layers[i].key, key)) {
      TuningEntry *base = &s->layers[i].base;
      s->layers[i].mixed |= base->engine != node->engine || !tile_equal(&base->tile, &node->tile);
      s->layers[i].count++;
      return;
    }
  Layer *l = &s->layers[s->layer_count++];
  *l = (Layer){.key = key, .name = graph_value(g, node->result)->name, .count = 1};
  l->base = l->tiled = l->best = entry_of(s, key, node->engine, &node->tile);
  l->base_us = l->tiled_us = l->best_us = time_of_key(&s->tuner.base, key);
}

/* Layers that tensor cores can compute. */
static void list_layers(Search *s) {
  const Graph *g = s->tuner.base.graph;
  s->layers = ARENA_NEW(s->tuner.context, Layer, g->node_count);
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    bool serves = false;
    for (int e = ENGINE_NONE + 1; e < ENGINE_COUNT && tuning_serves(node); e++)
      serves = serves || (engine_uses_tensor_cores((Engine)e) &&
                          cost_of_node(g, node, (Engine)e, pass_options(s)->target, g->max_batch, NULL) >= 0);
    if (serves) add_layer(s, node);
  }
}

/* --- trials --- */

static const char *choice_text(Context *c, const TuningEntry *e) {
  char tile[TILE_TEXT];
  if (!e->tile.m) return engine_name[e->engine];
  return arena_printf(c, "%s %s", engine_name[e->engine], tile_text(&e->tile, tile));
}

/* What the launches of other layers, without choices of their own, take more than in the base. */
static double time_around(const Trial *base, const Trial *trial, const Tuning *choices) {
  double us = 0;
  bool *kept = ARENA_NEW(trial->context, bool, base->launch_count);
  for (uint32_t i = 0; i < trial->launch_count; i++) {
    const LaunchTime *l = &trial->launches[i];
    if (l->key && tuning_find(choices, l->key)) continue;
    if (l->us >= 0) us += l->us;
    for (uint32_t b = 0; b < base->launch_count; b++)
      if (!strcmp(base->launches[b].name, l->name) && !strcmp(base->launches[b].plan, l->plan)) kept[b] = true;
  }
  for (uint32_t b = 0; b < base->launch_count; b++) {
    const LaunchTime *l = &base->launches[b];
    if (!kept[b] && !(l->key && tuning_find(choices, l->key))) us -= l->us;
  }
  return us;
}

static void consider(const Search *s, Layer *l, const TuningEntry *entry, double us) {
  bool own_engine = entry->engine == l->base.engine;
  fprintf(stderr, "apnnc: %s: %s: %.2f us (so far %.2f us)\n", l->name, choice_text(s->tuner.context, entry), us,
          l->best_us);
  if (own_engine && us < l->tiled_us) {
    l->tiled = *entry;
    l->tiled_us = us;
  }
  if (us < l->best_us) {
    l->best = *entry;
    l->best_us = us;
  }
}

/* One trial with entries of one or several layers. False when tuning has to end. */
static bool try_choices(Search *s, const Tuning *choices, Trial *trial) {
  TrialResult result = trial_run(&s->tuner, choices, false, trial);
  if (result != TRIAL_GOOD) return result == TRIAL_LEFT_OUT;
  double around = time_around(&s->tuner.base, trial, choices);
  for (uint32_t i = 0; i < s->layer_count; i++) {
    Layer *l = &s->layers[i];
    const TuningEntry *entry = tuning_find(choices, l->key);
    if (!entry) continue;
    const Node *node = node_with_key(s, trial->graph, l->key);
    TuningEntry done = *entry;
    if (node && !done.tile.m) done.tile = node->tile;
    if (node && all_can_have(s, trial->graph, l->key, done.engine, &done.tile))
      consider(s, l, &done, time_of_key(trial, l->key) + around);
  }
  return true;
}

/* --- tiles of an engine --- */

static uint32_t most_tiles(const Search *s) {
  return s->tuner.options->tune_candidates ? s->tuner.options->tune_candidates : USUAL_CANDIDATES;
}

/* The best by estimate that all layers with the key can have, as the graph's layouts stand. */
static void list_candidates(const Search *s, const Graph *g, const Layer *l, Engine engine, TileList *out) {
  const Node *node = node_with_key(s, g, l->key);
  TileList list = {.most = most_tiles(s)};
  *out = (TileList){.most = MOST_TILES};
  if (!node || node->engine != engine) return;
  list_tiles(g, node, pass_options(s), &list);
  for (uint32_t i = 0; i < list.count; i++)
    if (all_can_have(s, g, l->key, engine, &list.tiles[i])) tile_list_add(out, list.tiles[i], list.microseconds[i]);
}

static bool try_tiles(Search *s) {
  TileList *lists = ARENA_NEW(s->tuner.context, TileList, s->layer_count);
  for (uint32_t i = 0; i < s->layer_count; i++)
    list_candidates(s, s->tuner.base.graph, &s->layers[i], s->layers[i].base.engine, &lists[i]);
  bool good = true;
  for (uint32_t r = 0; good && r < MOST_TILES; r++) {
    Tuning *choices = tuning_new(s->tuner.context);
    for (uint32_t i = 0; i < s->layer_count; i++) {
      if (r >= lists[i].count || tile_equal(&lists[i].tiles[r], &s->layers[i].base.tile)) continue;
      TuningEntry entry = entry_of(s, s->layers[i].key, s->layers[i].base.engine, &lists[i].tiles[r]);
      tuning_set(choices, &entry);
    }
    Trial trial = {0};
    if (choices->count) good = try_choices(s, choices, &trial);
    trial_free(&trial);
  }
  return good;
}

/* --- other engines --- */

static bool try_entry(Search *s, const TuningEntry *entry, Trial *trial) {
  Tuning *choices = tuning_new(s->tuner.context);
  tuning_set(choices, entry);
  return try_choices(s, choices, trial);
}

/* With the model's tile first, which settles the layouts, then with others. */
static bool try_engine(Search *s, const Layer *l, Engine engine) {
  Trial trial;
  TileList list = {0};
  TuningEntry entry = entry_of(s, l->key, engine, &(Tile){0});
  bool good = try_entry(s, &entry, &trial);
  Tile first = {0};
  if (good && trial.launches) {
    const Node *node = node_with_key(s, trial.graph, l->key);
    if (node) first = node->tile;
    list_candidates(s, trial.graph, l, engine, &list);
  }
  trial_free(&trial);
  for (uint32_t i = 0; good && i < list.count; i++) {
    if (tile_equal(&list.tiles[i], &first)) continue;
    entry = entry_of(s, l->key, engine, &list.tiles[i]);
    good = try_entry(s, &entry, &trial);
    trial_free(&trial);
  }
  return good;
}

static bool try_engines(Search *s) {
  const Graph *g = s->tuner.base.graph;
  for (uint32_t i = 0; i < s->layer_count; i++) {
    const Node *node = node_with_key(s, g, s->layers[i].key);
    EngineList list;
    list_engines(g, node, pass_options(s)->target, g->max_batch, &list);
    for (uint32_t e = 0; e < list.count; e++)
      if ((s->layers[i].mixed || list.engines[e] != s->layers[i].base.engine) &&
          !try_engine(s, &s->layers[i], list.engines[e]))
        return false;
  }
  return true;
}

/* --- the result --- */

typedef enum Set { SET_BASE, SET_TILED, SET_BEST, SET_COUNT } Set;

static const TuningEntry *entry_in(const Layer *l, Set set) {
  return set == SET_BASE ? &l->base : set == SET_TILED ? &l->tiled : &l->best;
}

static double time_in(const Layer *l, Set set) {
  return set == SET_BASE ? l->base_us : set == SET_TILED ? l->tiled_us : l->best_us;
}

static bool sets_differ(const Search *s, Set a, Set b) {
  for (uint32_t i = 0; i < s->layer_count; i++) {
    const TuningEntry *x = entry_in(&s->layers[i], a), *y = entry_in(&s->layers[i], b);
    if (x->engine != y->engine || !tile_equal(&x->tile, &y->tile)) return true;
  }
  return false;
}

/* The whole network with one choice of each layer. Negative where it does not compile; false when tuning has to end. */
static bool time_whole(Search *s, const Tuning *choices, double *us) {
  Trial trial;
  TrialResult result = trial_run(&s->tuner, choices, true, &trial);
  *us = trial.whole_us;
  trial_free(&trial);
  return result != TRIAL_FAILED;
}

/* The choice of each layer; none where the model has several. */
static Tuning *choices_of(const Search *s, Set set) {
  Tuning *choices = tuning_new(s->tuner.context);
  for (uint32_t i = 0; i < s->layer_count; i++) {
    const Layer *l = &s->layers[i];
    TuningEntry entry = *entry_in(l, set);
    if (l->mixed && time_in(l, set) >= l->base_us) continue;
    entry.note = arena_printf(s->tuner.context, "%.2f us, without tuning %.2f us", time_in(l, set) / l->count,
                              l->base_us / l->count);
    tuning_set(choices, &entry);
  }
  return choices;
}

/* The fastest of three plans, all timed now that the device is warm, as choices of every layer. NULL when tuning has to
 * end. */
static Tuning *fastest(Search *s) {
  double times[SET_COUNT] = {-1, -1, -1};
  Set best = SET_BASE;
  for (Set set = SET_BASE; set < SET_COUNT; set++) {
    bool seen = set > SET_BASE && !sets_differ(s, set, set - 1);
    if (!seen && !time_whole(s, choices_of(s, set), &times[set])) return NULL;
    if (times[set] >= 0 && times[set] < times[best]) best = set;
  }
  fprintf(stderr, "apnnc: whole network: %.2f us, without tuning %.2f us\n", times[best], times[SET_BASE]);
  return choices_of(s, best);
}

static bool write_result(Search *s, Tuning *file, const Tuning *choices) {
  for (uint32_t i = 0; i < choices->count; i++) tuning_set(file, &choices->entries[i]);
  Text text = tuning_text(file);
  return write_file_atomically(s->tuner.context, s->tuner.options->tune, text.data, text.length);
}

/* Whether the device is a GPU, for which PTX is assembled. */
static bool ask_device(Tuner *tuner) {
  char text[512];
  ErrorText error = apnn_error_text(text, sizeof text);
  ApnnDevice device = {0};
  if (apnn_device_open(&device, tuner->options->device, &error) != APNN_OK) {
    diag(tuner->context, DIAG_TUNING_FAILED, (SourceLoc){0}, text);
    return false;
  }
  tuner->assemble = !device.driver.is_cpu;
  fprintf(stderr, "apnnc: tuning for %s on %s\n", tuner->options->passes.target->name, device.model);
  apnn_device_close(&device);
  return true;
}

static bool search(Search *s, Tuning *file) {
  TrialResult base = trial_run(&s->tuner, NULL, false, &s->tuner.base);
  if (base == TRIAL_LEFT_OUT)
    diag(s->tuner.context, DIAG_TUNING_FAILED, (SourceLoc){0}, "the network does not compile");
  if (base != TRIAL_GOOD) return false;
  list_layers(s);
  const Tuning *choices = try_tiles(s) && try_engines(s) ? fastest(s) : NULL;
  return choices && write_result(s, file, choices);
}

bool tune_network(Context *c, const Options *o) {
  Search s = {.tuner = {.context = c, .options = o}};
  const Tuning *before = tuning_new(c);
  if (!access(o->tune, F_OK) && !(before = load_tuning(c, o->tune))) return false;
  Tuning file = *before;
  bool good = ask_device(&s.tuner) && search(&s, &file);
  trial_free(&s.tuner.base);
  return good;
}
