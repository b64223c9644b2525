/* Every network of examples/, for two targets, after every pass: what is printed reads back to an equal graph, which
 * prints to the same text.
 *
 * Equal is compared field by field, so that something the printer leaves out is seen too. Graphs of up to
 * MOST_ELEMENTS constant elements are printed in full; in larger ones long constants stand as hashes of their content,
 * as --print-after shows them, and are found in the graph that was printed. */
#include "frontend_sample.h"
#include "ir/attrs.h"
#include <glob.h>

enum { MOST_ELEMENTS = 2000000, LEAST_EXAMPLES = 5 };

typedef struct Example {
  const char *path, *text, *network;
  size_t length;
} Example;

/* What is under test, for messages. */
typedef struct Place {
  const Example *example;
  const char *target, *pass;
} Place;

static void differs(const Place *place, const char *what, const char *of) {
  fail_msg("%s, network %s, %s, after %s: %s of %s does not come back", place->example->path, place->example->network,
           place->target, place->pass, what, of);
}

/* --- equal graphs --- */

static bool same_constant(const Value *a, const Value *b) {
  return a->data == b->data || memcmp(a->data, b->data, type_dense_bytes(&a->type)) == 0;
}

static bool same_scales(const Graph *g, const Type *a, const Graph *h, const Type *b) {
  if (a->scales == NO_VALUE || b->scales == NO_VALUE) return a->scales == b->scales && a->scale == b->scale;
  const Value *left = graph_value(g, a->scales), *right = graph_value(h, b->scales);
  return strcmp(left->name, right->name) == 0 && type_equal(&left->type, &right->type) && same_constant(left, right);
}

static bool same_type(const Graph *g, const Type *a, const Graph *h, const Type *b) {
  Type left = *a, right = *b;
  left.scales = right.scales = NO_VALUE;
  left.scale = right.scale = 1;
  return type_equal(&left, &right) && (!type_is_integer(a) || same_scales(g, a, h, b));
}

static bool same_attrs(Op op, const Attrs *a, const Attrs *b) {
  for (int i = 0; i < ATTR_COUNT; i++) {
    const AttrInfo *info = &attr_info[i];
    bool used = op_info[op].attrs & (1u << i);
    if (used && memcmp((const char *)a + info->offset, (const char *)b + info->offset, info->size) != 0) return false;
  }
  return true;
}

static bool same_steps(const Graph *g, const Node *a, const Graph *h, const Node *b) {
  for (uint32_t i = 0; a->step_count == b->step_count && i < a->step_count; i++) {
    const Step *s = &a->steps[i], *t = &b->steps[i];
    if (s->op != t->op || !same_attrs(s->op, &s->attrs, &t->attrs)) return false;
    if (!same_type(g, &s->type, h, &t->type)) return false;
  }
  return a->step_count == b->step_count;
}

static bool same_plan(const Node *a, const Node *b) {
  const Tile *s = &a->tile, *t = &b->tile;
  return a->engine == b->engine && memcmp(&a->launch, &b->launch, sizeof a->launch) == 0 && s->m == t->m &&
         s->n == t->n && s->k == t->k && s->warps_m == t->warps_m && s->warps_n == t->warps_n &&
         s->stages == t->stages && s->split_k == t->split_k;
}

/* A value, and the elements of a constant. */
static void expect_same_value(const Place *place, const Graph *g, ValueId a, const Graph *h, ValueId b) {
  const Value *left = graph_value(g, a), *right = graph_value(h, b);
  if (strcmp(left->name, right->name) != 0 || left->kind != right->kind) differs(place, "a name", left->name);
  if (!same_type(g, &left->type, h, &right->type)) differs(place, "the type", left->name);
  if (left->arena_offset != right->arena_offset) differs(place, "the offset", left->name);
  if (left->kind == VALUE_CONST && !same_constant(left, right)) differs(place, "an element", left->name);
}

static void expect_same_operands(const Place *place, const Graph *g, const ValueId *a, uint32_t count, const Graph *h,
                                 const ValueId *b, uint32_t other_count) {
  if (count != other_count) differs(place, "the number of operands", g->name);
  for (uint32_t i = 0; i < count; i++) expect_same_value(place, g, a[i], h, b[i]);
}

static void expect_same_node(const Place *place, const Graph *g, const Node *a, const Graph *h, const Node *b) {
  const char *name = graph_value(g, a->result)->name;
  expect_same_value(place, g, a->result, h, b->result);
  expect_same_operands(place, g, a->inputs, a->input_count, h, b->inputs, b->input_count);
  if (a->op != b->op || !same_attrs(a->op, &a->attrs, &b->attrs)) differs(place, "the operation", name);
  if (!same_type(g, &a->main_type, h, &b->main_type)) differs(place, "the main type", name);
  if (!same_steps(g, a, h, b)) differs(place, "a step", name);
  for (uint32_t s = 0; s < a->step_count; s++) /* as many as b has, now */
    expect_same_operands(place, g, a->steps[s].args, a->steps[s].arg_count, h, b->steps[s].args, b->steps[s].arg_count);
  if (!same_plan(a, b)) differs(place, "the plan", name);
}

static NodeId next_node(const Graph *g, NodeId n) {
  while (n < g->node_count && g->nodes[n].op == OP_NONE) n++;
  return n;
}

static void expect_same_graph(const Place *place, const Graph *g, const Graph *h) {
  if (strcmp(g->name, h->name) != 0 || g->max_batch != h->max_batch || g->arena_bytes != h->arena_bytes)
    differs(place, "a property", g->name);
  expect_same_operands(place, g, g->inputs, g->input_count, h, h->inputs, h->input_count);
  expect_same_operands(place, g, g->outputs, g->output_count, h, h->outputs, h->output_count);
  NodeId a = next_node(g, 0), b = next_node(h, 0);
  for (; a < g->node_count && b < h->node_count; a = next_node(g, a + 1), b = next_node(h, b + 1))
    expect_same_node(place, g, &g->nodes[a], h, &h->nodes[b]);
  if (a < g->node_count || b < h->node_count) differs(place, "a node", g->name);
}

/* --- every pass of every network --- */

static int64_t constant_elements(const Graph *g) {
  int64_t sum = 0;
  for (ValueId v = 0; v < g->value_count; v++)
    if (graph_value(g, v)->kind == VALUE_CONST) sum += type_elements(graph_type(g, v));
  return sum;
}

static void expect_inverse(const Place *place, const Graph *g) {
  bool full = constant_elements(g) <= MOST_ELEMENTS;
  PrintMode mode = full ? PRINT_FULL : PRINT_SHORT;
  Context *c = context_new(NULL);
  const char *printed = graph_print_string(g, mode);
  Graph *parsed = graph_parse(c, "printed.ir", printed, full ? NULL : g);
  if (!parsed) fail_msg("%s after %s: %s", place->example->path, place->pass, reports_of(c));
  expect_same_graph(place, g, parsed);
  assert_string_equal(printed, graph_print_string(parsed, mode));
  context_free(c);
}

/* Parameters come from their file where it exists, otherwise from a seed. */
static Graph *load_example(Context *c, const Example *e) {
  bool has_file = strstr(e->path, "/digits/") != NULL;
  FrontendOptions options = {.random_params = !has_file, .seed = 1, .network = e->network};
  Graph *g = frontend_load(c, e->path, e->text, e->length, &options);
  if (!g) fail_msg("%s: %s", e->path, reports_of(c));
  return g;
}

static void check_network(const Example *e, const char *target) {
  Context *c = context_new(NULL);
  Graph *g = load_example(c, e);
  PassOptions options = {.target = target_find(target), .max_batch = 8};
  Place place = {e, target, "the frontend"};
  expect_inverse(&place, g);
  for (uint32_t i = 0; pass_at(i); i++) {
    place.pass = pass_at(i)->name;
    if (!pass_at(i)->run(g, &options) || !graph_verify(g)) fail_msg("pass %s: %s", place.pass, reports_of(c));
    expect_inverse(&place, g);
  }
  context_free(c);
}

/* --- the examples --- */

/* The network whose head stands at or behind `*at`; its name in the arena, NULL behind the last. */
static const char *next_network(Context *c, const char **at) {
  for (const char *line = *at; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, "network ", 8) != 0) continue;
    *at = line + 8;
    return arena_strndup(c, *at, strcspn(*at, " {\n"));
  }
  return NULL;
}

static uint32_t check_file(Context *c, const char *path, const char *target) {
  const uint8_t *data;
  const char *problem;
  Example e = {.path = path};
  uint32_t networks = 0;
  if (!map_file(c, path, &data, &e.length, &problem)) fail_msg("%s: %s", path, problem);
  e.text = arena_strndup(c, (const char *)data, e.length);
  for (const char *at = e.text; (e.network = next_network(c, &at)); networks++) check_network(&e, target);
  return networks;
}

static void check_examples(const char *target) {
  glob_t files;
  Context *c = context_new(NULL);
  assert_int_equal(glob(SOURCE_DIR "/examples/*.apnn", 0, NULL, &files), 0);
  assert_int_equal(glob(SOURCE_DIR "/examples/*/*.apnn", GLOB_APPEND, NULL, &files), 0);
  assert_true(files.gl_pathc >= LEAST_EXAMPLES);
  for (size_t i = 0; i < files.gl_pathc; i++) assert_true(check_file(c, files.gl_pathv[i], target) > 0);
  globfree(&files);
  context_free(c);
}

static void inverse_for_sm_80(void **state) {
  (void)state;
  check_examples("sm_80");
}

static void inverse_for_sm_90a(void **state) {
  (void)state;
  check_examples("sm_90a");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(inverse_for_sm_80), cmocka_unit_test(inverse_for_sm_90a)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
