/* The pass manager: which passes run, in which order, and what is checked between them.
 *
 * The order is that of passes.def, or the options' own; every plug-in pass follows the built-in one it names, unless
 * the options' order names it. What a graph has gone through at the start is read off the graph, so the text form of
 * any stage can be taken up again. Guarantees: no pass runs on a graph that lacks what it needs; the graph is verified
 * after every pass; a pass that fails leaves a report.
 */
#include "plan.h"
#include <dlfcn.h>
#include <string.h>

static const Pass built_in[] = {
#define PASS(name, needs, gives, drops, about) {#name, about, needs, gives, drops, pass_##name},
#include "passes.def"
#undef PASS
};
enum { BUILT_IN_COUNT = sizeof built_in / sizeof built_in[0] };

const Pass *pass_at(uint32_t index) {
  return index < BUILT_IN_COUNT ? &built_in[index] : NULL;
}

const Pass *pass_find(const char *name) {
  for (uint32_t i = 0; i < BUILT_IN_COUNT; i++)
    if (strcmp(built_in[i].name, name) == 0) return &built_in[i];
  return NULL;
}

void passes_list(FILE *out) {
  for (uint32_t i = 0; i < BUILT_IN_COUNT; i++) fprintf(out, "%-14s %s\n", built_in[i].name, built_in[i].about);
}

/* --- properties --- */

static const struct {
  uint32_t property;
  const char *words;
} property_words[] = {
    {PROP_FOLDED, "free of batchnorm"},
    {PROP_THRESHOLDS, "with thresholds"},
    {PROP_FUSED, "fused"},
    {PROP_ENGINES, "with an engine for every layer"},
    {PROP_LAYOUTS, "laid out"},
    {PROP_TILES, "tiled"},
    {PROP_MEMORY, "with memory planned"},
    {PROP_LAUNCHES, "with launches"},
};

/* Properties that a node lacks. */
static uint32_t lacking(const Graph *g, const Node *node) {
  const Value *result = graph_value(g, node->result);
  bool tensor_cores = engine_uses_tensor_cores(node->engine);
  bool in_arena = result->kind == VALUE_RESULT && !graph_is_output(g, node->result);
  uint32_t lacks = 0;
  if (node->op == OP_BATCHNORM) lacks |= PROP_FOLDED;
  for (uint32_t s = 0; s < node->step_count; s++)
    if (node->steps[s].op == OP_BATCHNORM) lacks |= PROP_FOLDED;
  if (!(op_info[node->op].flags & F_MAIN)) lacks |= PROP_FUSED;
  if (node->engine == ENGINE_NONE) lacks |= PROP_ENGINES;
  if (result->type.layout.kind == LAYOUT_NONE) lacks |= PROP_LAYOUTS;
  if (tensor_cores && !node->tile.m) lacks |= PROP_TILES;
  if (in_arena && result->arena_offset == NO_OFFSET) lacks |= PROP_MEMORY;
  if (node->engine != ENGINE_VIEW && !node->launch.x_div) lacks |= PROP_LAUNCHES;
  return lacks;
}

/* What the graph has gone through, as far as one can see it; thresholds leave no trace of having been sought. */
static uint32_t properties_of(const Graph *g) {
  uint32_t lacks = PROP_THRESHOLDS;
  for (NodeId n = 0; n < g->node_count; n++) lacks |= lacking(g, &g->nodes[n]);
  if (!g->max_batch) lacks |= PROP_MEMORY;
  if (lacks & PROP_ENGINES) lacks |= PROP_LAYOUTS | PROP_TILES | PROP_MEMORY | PROP_LAUNCHES;
  return ~lacks & 0xff;
}

static const Pass *giver_of(uint32_t property) {
  for (uint32_t i = 0; i < BUILT_IN_COUNT; i++)
    if (built_in[i].gives & property) return &built_in[i];
  return NULL;
}

static bool check_needs(Graph *g, const Pass *pass, uint32_t properties) {
  uint32_t missing = pass->needs & ~properties;
  if (!missing) return true;
  diag(g->context, DIAG_PASS_NEEDS, (SourceLoc){0}, pass->name);
  for (size_t i = 0; i < sizeof property_words / sizeof property_words[0]; i++) {
    if (!(missing & property_words[i].property)) continue;
    diag_expected(g->context, "a graph %s", property_words[i].words);
    const Pass *giver = giver_of(property_words[i].property);
    if (giver) diag_hint(g->context, "run pass '%s' before it", giver->name);
  }
  return false;
}

/* Takes off the graph what a pass makes void. */
static void forget(Graph *g, uint32_t properties) {
  for (ValueId v = 0; v < g->value_count; v++) {
    if (properties & PROP_LAYOUTS) graph_type(g, v)->layout = (Layout){0};
    if (properties & PROP_MEMORY) graph_value(g, v)->arena_offset = NO_OFFSET;
  }
  for (NodeId n = 0; n < g->node_count; n++) {
    if (properties & PROP_ENGINES) g->nodes[n].engine = ENGINE_NONE;
    if (properties & PROP_TILES) g->nodes[n].tile = (Tile){0};
    if (properties & PROP_LAUNCHES) g->nodes[n].launch = (Launch){0};
  }
  if (properties & PROP_MEMORY) g->arena_bytes = 0;
}

/* --- plug-ins --- */

static void close_plugin(void *handle) {
  dlclose(handle);
}

static const char *plugin_problem(const ApnnPlugin *plugin, Context *c) {
  if (plugin->version != APNN_PLUGIN_VERSION)
    return arena_printf(c, "version %u of the plug-in interface, where this compiler has version %d", plugin->version,
                        APNN_PLUGIN_VERSION);
  if (!plugin->pass.name || !*plugin->pass.name || strpbrk(plugin->pass.name, ", "))
    return "a pass without a proper name";
  if (!plugin->pass.run) return "a pass without a function to run";
  if (pass_find(plugin->pass.name))
    return arena_printf(c, "a pass '%s', as a built-in one is called", plugin->pass.name);
  if (!plugin->after || !pass_find(plugin->after))
    return arena_printf(c, "a pass to run after '%s', which is no built-in pass", plugin->after ? plugin->after : "");
  return NULL;
}

static void reject_plugin(Context *c, const char *path, const char *problem) {
  diag(c, DIAG_PLUGIN_BAD, (SourceLoc){0}, path);
  diag_expected(c, "an exported 'const ApnnPlugin apnn_plugin' with a pass of its own (passes/passes.h)");
  diag_seen(c, "%s", problem);
}

static const ApnnPlugin *load_plugin(Context *c, const char *path) {
  const char *file = strchr(path, '/') ? path : arena_printf(c, "./%s", path);
  void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    diag(c, DIAG_PLUGIN_OPEN, (SourceLoc){0}, path, dlerror());
    return NULL;
  }
  context_on_close(c, close_plugin, handle);
  const ApnnPlugin *plugin = dlsym(handle, "apnn_plugin");
  const char *problem = plugin ? plugin_problem(plugin, c) : "no symbol 'apnn_plugin'";
  if (!problem) return plugin;
  reject_plugin(c, path, problem);
  return NULL;
}

/* --- the order --- */

typedef struct Pipeline {
  Context *context;
  const ApnnPlugin **plugins;
  uint32_t plugin_count;
  const Pass **passes;
  uint32_t count, capacity;
} Pipeline;

static void add_pass(Pipeline *p, const Pass *pass) {
  if (p->count == p->capacity) {
    uint32_t capacity = p->capacity ? 2 * p->capacity : 16;
    p->passes = arena_grow(p->context, p->passes, sizeof *p->passes * p->capacity, sizeof *p->passes * capacity);
    p->capacity = capacity;
  }
  p->passes[p->count++] = pass;
}

static const Pass *plugin_pass(const Pipeline *p, const char *name) {
  for (uint32_t i = 0; i < p->plugin_count; i++)
    if (strcmp(p->plugins[i]->pass.name, name) == 0) return &p->plugins[i]->pass;
  return NULL;
}

static bool load_plugins(Pipeline *p, const PassOptions *options) {
  p->plugins = ARENA_NEW(p->context, const ApnnPlugin *, options->plugin_count);
  for (uint32_t i = 0; i < options->plugin_count; i++) {
    const ApnnPlugin *plugin = load_plugin(p->context, options->plugins[i]);
    if (!plugin) continue;
    if (plugin_pass(p, plugin->pass.name))
      reject_plugin(p->context, options->plugins[i], arena_printf(p->context, "a second pass '%s'", plugin->pass.name));
    else
      p->plugins[p->plugin_count++] = plugin;
  }
  return p->plugin_count == options->plugin_count;
}

static const Pass *known_pass(const Pipeline *p, const char *name) {
  const Pass *pass = pass_find(name);
  return pass ? pass : plugin_pass(p, name);
}

static const Pass *require_pass(const Pipeline *p, const char *name) {
  const Pass *pass = known_pass(p, name);
  if (pass) return pass;
  Text names = {.context = p->context};
  for (uint32_t i = 0; i < BUILT_IN_COUNT; i++) text_add(&names, "%s%s", i ? ", " : "", built_in[i].name);
  for (uint32_t i = 0; i < p->plugin_count; i++) text_add(&names, ", %s", p->plugins[i]->pass.name);
  diag(p->context, DIAG_UNKNOWN_PASS, (SourceLoc){0}, name);
  diag_expected(p->context, "one of %s", names.data);
  return NULL;
}

/* The next name of a comma-separated list, NULL at its end. */
static const char *next_name(Context *c, const char **list) {
  const char *start = *list + strspn(*list, ", ");
  size_t length = strcspn(start, ", ");
  *list = start + length;
  return length ? arena_strndup(c, start, length) : NULL;
}

static bool list_names(Context *c, const char *list, const char *name) {
  for (const char *next; list && (next = next_name(c, &list));)
    if (strcmp(next, name) == 0) return true;
  return false;
}

static void add_with_plugins(Pipeline *p, const Pass *pass, const char *explicit_order) {
  add_pass(p, pass);
  for (uint32_t i = 0; i < p->plugin_count; i++)
    if (strcmp(p->plugins[i]->after, pass->name) == 0 &&
        !list_names(p->context, explicit_order, p->plugins[i]->pass.name))
      add_pass(p, &p->plugins[i]->pass);
}

static bool build_pipeline(Pipeline *p, const PassOptions *options) {
  if (!load_plugins(p, options)) return false;
  if (!options->pipeline) {
    for (uint32_t i = 0; i < BUILT_IN_COUNT; i++) add_with_plugins(p, &built_in[i], NULL);
    return true;
  }
  bool known = true;
  const char *list = options->pipeline;
  for (const char *name; (name = next_name(p->context, &list));) {
    const Pass *pass = require_pass(p, name);
    if (pass) add_with_plugins(p, pass, options->pipeline);
    known = known && pass;
  }
  return known;
}

/* Names in print_after and stop_after must be passes. */
static bool check_names(const Pipeline *p, const PassOptions *options) {
  bool known = !options->stop_after || require_pass(p, options->stop_after);
  const char *list = options->print_after;
  for (const char *name; list && (name = next_name(p->context, &list));)
    if (strcmp(name, "all") != 0) known = require_pass(p, name) && known;
  return known;
}

/* --- running --- */

static bool run_pass(Graph *g, const Pass *pass, const PassOptions *options, uint32_t *properties) {
  Context *c = g->context;
  if (!check_needs(g, pass, *properties)) return false;
  forget(g, pass->drops);
  uint32_t errors = diag_error_count(c);
  if (!pass->run(g, options)) {
    if (diag_error_count(c) == errors) diag(c, DIAG_PASS_FAILED, (SourceLoc){0}, pass->name);
    return false;
  }
  *properties = (*properties & ~pass->drops) | pass->gives;
  if (diag_error_count(c) == errors && graph_verify(g)) return true;
  diag(c, DIAG_PASS_BROKE, (SourceLoc){0}, pass->name);
  return false;
}

static bool is_printed(Context *c, const Pass *pass, const char *list) {
  return list_names(c, list, "all") || list_names(c, list, pass->name);
}

static bool run_all(Graph *g, const Pipeline *p, const PassOptions *options, uint32_t *properties) {
  for (uint32_t i = 0; i < p->count; i++) {
    if (!run_pass(g, p->passes[i], options, properties)) return false;
    if (options->print_to && is_printed(g->context, p->passes[i], options->print_after))
      graph_print(g, PRINT_SHORT, options->print_to);
    if (options->stop_after && strcmp(options->stop_after, p->passes[i]->name) == 0) break;
  }
  return true;
}

bool passes_run(Graph *g, const PassOptions *options, uint32_t *properties) {
  PassOptions settled = *options;
  if (!settled.max_batch) settled.max_batch = g->max_batch ? g->max_batch : 1;
  Pipeline pipeline = {.context = g->context};
  uint32_t has = properties_of(g);
  bool done =
      build_pipeline(&pipeline, &settled) && check_names(&pipeline, &settled) && run_all(g, &pipeline, &settled, &has);
  if (properties) *properties = has;
  return done;
}
