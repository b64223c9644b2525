/* The graph's structure: values, nodes, names, uses. Keeps operands defined before their uses and names unique. */
#include "ir.h"
#include <string.h>

const OpInfo op_info[OP_COUNT] = {
    [OP_NONE] = {"none", 0, 0, 0, 0},
#define OP(ENUM, name, least, most, attrs, flags) [OP_##ENUM] = {#name, least, most, attrs, flags},
#include "ops.def"
#undef OP
};

bool operand_is_activation(Op op, uint32_t i) {
  return i == 0 || op == OP_ADD || op == OP_CONCAT || (op == OP_THRESHOLDS && i == 3);
}

ValueId step_operand(const Step *step) {
  for (uint32_t i = 0; i < step->arg_count; i++)
    if (operand_is_activation(step->op, i + 1)) return step->args[i];
  return NO_VALUE;
}

const char *const engine_name[ENGINE_COUNT] = {
#define ENGINE(ENUM, name, operand, order, instructions, about) #name,
#include "engines.def"
#undef ENGINE
};
const char *const engine_about[ENGINE_COUNT] = {
#define ENGINE(ENUM, name, operand, order, instructions, about) about,
#include "engines.def"
#undef ENGINE
};
const LayoutKind engine_operand[ENGINE_COUNT] = {
#define ENGINE(ENUM, name, operand, order, instructions, about) LAYOUT_##operand,
#include "engines.def"
#undef ENGINE
};
const OperandOrder engine_order[ENGINE_COUNT] = {
#define ENGINE(ENUM, name, operand, order, instructions, about) ORDER_##order,
#include "engines.def"
#undef ENGINE
};
const Engine engine_instructions[ENGINE_COUNT] = {
#define ENGINE(ENUM, name, operand, order, instructions, about) ENGINE_##instructions,
#include "engines.def"
#undef ENGINE
};

const Engine product_engines[PRODUCT_ENGINES] = {
#define ENGINE(ENUM, name, operand, order, instructions, about)
#define PRODUCTS(ENUM, name, operand, order, instructions, about) ENGINE_##ENUM,
#include "engines.def"
#undef ENGINE
};
const char product_engine_names[] =
#define ENGINE(ENUM, name, operand, order, instructions, about)
#define PRODUCTS(ENUM, name, operand, order, instructions, about) " " #name
#include "engines.def"
#undef ENGINE
    ;

Engine product_engine_find(const char *name) {
  for (int i = 0; i < PRODUCT_ENGINES; i++)
    if (!strcmp(engine_name[product_engines[i]], name)) return product_engines[i];
  return ENGINE_NONE;
}

Attrs attrs_default(void) {
  return (Attrs){.kernel = {1, 1},
                 .stride = {1, 1},
                 .dilation = {1, 1},
                 .factor = {1, 1},
                 .groups = 1,
                 .eps = 1e-5f,
                 .alpha = 0.01f,
                 .lo = -1.0f,
                 .hi = 1.0f};
}

Graph *graph_new(Context *context, const char *name) {
  Graph *g = ARENA_NEW(context, Graph, 1);
  g->context = context;
  g->name = arena_strdup(context, name);
  return g;
}

/* A power of two of at least 8 that holds `count` items; 0 for none. */
static size_t capacity_for(size_t count) {
  size_t capacity = count ? 8 : 0;
  while (capacity < count) capacity *= 2;
  return capacity;
}

static void *grow_items(Graph *g, void *items, size_t size, size_t count, size_t wanted) {
  return arena_grow(g->context, items, size * capacity_for(count), size * capacity_for(wanted));
}

/* --- names --- */

static uint32_t hash_name(const char *name) {
  uint32_t hash = 2166136261u;
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

ValueId graph_find(const Graph *g, const char *name) {
  if (!g->name_slots) return NO_VALUE;
  for (uint32_t slot = hash_name(name) & (g->name_slots - 1);; slot = (slot + 1) & (g->name_slots - 1)) {
    ValueId v = g->name_table[slot];
    if (v == NO_VALUE || !strcmp(g->values[v].name, name)) return v;
  }
}

static void enter_name(Graph *g, ValueId v) {
  uint32_t slot = hash_name(g->values[v].name) & (g->name_slots - 1);
  while (g->name_table[slot] != NO_VALUE) slot = (slot + 1) & (g->name_slots - 1);
  g->name_table[slot] = v;
}

/* The names of the first `count` values, in a table at most half full after one more. */
static void rebuild_names(Graph *g, uint32_t count, uint32_t slots) {
  if (slots > g->name_slots) g->name_table = ARENA_NEW(g->context, ValueId, slots);
  g->name_slots = slots;
  memset(g->name_table, 0xff, sizeof(ValueId) * slots);
  for (ValueId v = 0; v < count; v++) enter_name(g, v);
}

static bool is_taken(Graph *g, const char *stem, uint32_t number) {
  return graph_find(g, arena_printf(g->context, "%s.%u", stem, number)) != NO_VALUE;
}

/* The name itself, or the stem with a free number: the least one where the taken numbers have no gaps. It is found by
 * doubling and halving, so that a stem which thousands of values share does not take quadratic time. */
static const char *unique_name(Graph *g, const char *name) {
  if (name && graph_find(g, name) == NO_VALUE) return arena_strdup(g->context, name);
  const char *stem = name ? name : "v";
  uint32_t low = name ? 2 : g->value_count, high = low;
  for (; high < UINT32_MAX / 4 && is_taken(g, stem, high); high = 2 * high + 1) low = high + 1;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (is_taken(g, stem, middle))
      low = middle + 1;
    else
      high = middle;
  }
  while (is_taken(g, stem, low)) low++;
  return arena_printf(g->context, "%s.%u", stem, low);
}

const char *graph_rename(Graph *g, ValueId value, const char *name) {
  if (!strcmp(g->values[value].name, name)) return g->values[value].name;
  g->values[value].name = unique_name(g, name);
  rebuild_names(g, g->value_count, g->name_slots);
  return g->values[value].name;
}

/* --- values --- */

static ValueId add_value(Graph *g, const char *name, Value value) {
  if (g->name_slots < 2 * (g->value_count + 1)) {
    uint32_t slots = g->name_slots ? g->name_slots * 2 : 16;
    rebuild_names(g, g->value_count, slots);
  }
  value.name = unique_name(g, name);
  if (g->value_count == g->value_capacity) {
    uint32_t capacity = g->value_capacity ? g->value_capacity * 2 : 16;
    g->values = arena_grow(g->context, g->values, sizeof(Value) * g->value_capacity, sizeof(Value) * (size_t)capacity);
    g->value_capacity = capacity;
  }
  ValueId v = g->value_count++;
  g->values[v] = value;
  enter_name(g, v);
  return v;
}

static ValueId add_typed(Graph *g, const char *name, ValueKind kind, Type type, const void *data) {
  return add_value(g, name,
                   (Value){.kind = kind, .type = type, .data = data, .definition = NO_NODE, .arena_offset = NO_OFFSET});
}

ValueId graph_add_input(Graph *g, const char *name, Type type) {
  ValueId v = add_typed(g, name, VALUE_INPUT, type, NULL);
  g->inputs = grow_items(g, g->inputs, sizeof(ValueId), g->input_count, g->input_count + 1);
  g->inputs[g->input_count++] = v;
  return v;
}

ValueId graph_add_const(Graph *g, const char *name, Type type, const void *data) {
  return add_typed(g, name, VALUE_CONST, type, data);
}

ValueId graph_add_result(Graph *g, const char *name, Type type) {
  return add_typed(g, name, VALUE_RESULT, type, NULL);
}

void graph_add_output(Graph *g, ValueId value) {
  g->outputs = grow_items(g, g->outputs, sizeof(ValueId), g->output_count, g->output_count + 1);
  g->outputs[g->output_count++] = value;
  g->values[value].uses++;
}

/* --- definitions and uses --- */

/* Adds `change`, 1 or -1, to the uses of every operand of a node. */
static void count_operands(Graph *g, const Node *node, int change) {
  for (uint32_t i = 0; i < node->input_count; i++) g->values[node->inputs[i]].uses += (uint32_t)change;
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++) g->values[node->steps[s].args[i]].uses += (uint32_t)change;
}

/* Notes where the nodes from `first` on stand. */
static void note_definitions(Graph *g, NodeId first) {
  for (NodeId n = first; n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE) g->values[g->nodes[n].result].definition = n;
}

void graph_index(Graph *g) {
  for (ValueId v = 0; v < g->value_count; v++) {
    g->values[v].definition = NO_NODE;
    g->values[v].uses = 0;
  }
  for (NodeId n = 0; n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE) count_operands(g, &g->nodes[n], 1);
  for (uint32_t i = 0; i < g->output_count; i++) g->values[g->outputs[i]].uses++;
  note_definitions(g, 0);
}

NodeId graph_definition(const Graph *g, ValueId value) {
  return g->values[value].definition;
}

uint32_t graph_use_count(const Graph *g, ValueId value) {
  return g->values[value].uses;
}

/* --- nodes --- */

static Node *open_node(Graph *g, NodeId position) {
  if (g->node_count == g->node_capacity) {
    uint32_t capacity = g->node_capacity ? g->node_capacity * 2 : 16;
    g->nodes = arena_grow(g->context, g->nodes, sizeof(Node) * g->node_capacity, sizeof(Node) * (size_t)capacity);
    g->node_capacity = capacity;
  }
  Node *node = &g->nodes[position];
  memmove(node + 1, node, sizeof(Node) * (g->node_count - position));
  g->node_count++;
  *node = (Node){.op = OP_NONE, .result = NO_VALUE};
  note_definitions(g, position + 1);
  return node;
}

ValueId graph_insert_node(Graph *g, NodeId position, Op op, const Attrs *attrs, const ValueId *inputs,
                          uint32_t input_count, Type type, const char *name, SourceLoc loc) {
  ValueId *copy = ARENA_NEW(g->context, ValueId, input_count);
  if (input_count) memcpy(copy, inputs, sizeof(ValueId) * input_count);
  if (type.kind == ELEM_NONE) type.scales = NO_VALUE;
  ValueId result = graph_add_result(g, name, type);
  Node *node = open_node(g, position);
  node->op = op;
  node->attrs = attrs ? *attrs : attrs_default();
  node->main_type = type;
  node->main_type.layout = (Layout){0};
  node->inputs = copy;
  node->input_count = input_count;
  node->result = result;
  node->loc = loc;
  g->values[result].definition = position;
  count_operands(g, node, 1);
  infer_node(g, position);
  return result;
}

Node *graph_add_bare_node(Graph *g, Op op, ValueId result, SourceLoc loc) {
  Node *node = open_node(g, g->node_count);
  *node = (Node){.op = op, .attrs = attrs_default(), .result = result, .loc = loc};
  g->values[result].definition = g->node_count - 1;
  return node;
}

void graph_append_step(Graph *g, NodeId id, Op op, const Attrs *attrs, const ValueId *args, uint32_t arg_count,
                       Type type) {
  Node *node = &g->nodes[id];
  node->steps = arena_grow(g->context, node->steps, sizeof(Step) * node->step_count,
                           sizeof(Step) * ((size_t)node->step_count + 1));
  if (type.kind == ELEM_NONE) type.scales = NO_VALUE;
  Step *step = &node->steps[node->step_count++];
  *step = (Step){.op = op, .attrs = attrs ? *attrs : attrs_default(), .type = type};
  step->type.layout = (Layout){0};
  for (; step->arg_count < arg_count && step->arg_count < 4; step->arg_count++)
    g->values[step->args[step->arg_count] = args[step->arg_count]].uses++;
  infer_node(g, id);
}

void graph_set_inputs(Graph *g, NodeId id, const ValueId *inputs, uint32_t input_count) {
  Node *node = &g->nodes[id];
  ValueId *copy = ARENA_NEW(g->context, ValueId, input_count);
  if (input_count) memcpy(copy, inputs, sizeof(ValueId) * input_count);
  count_operands(g, node, -1);
  node->inputs = copy;
  node->input_count = input_count;
  count_operands(g, node, 1);
}

void graph_set_input(Graph *g, NodeId node, uint32_t index, ValueId value) {
  ValueId *input = &g->nodes[node].inputs[index];
  g->values[*input].uses--;
  g->values[ *input = value].uses++;
}

void graph_delete_node(Graph *g, NodeId id) {
  Node *node = &g->nodes[id];
  if (node->op == OP_NONE) return;
  count_operands(g, node, -1);
  g->values[node->result].definition = NO_NODE;
  node->op = OP_NONE;
}

void graph_take_result(Graph *g, NodeId node, NodeId from) {
  ValueId result = g->nodes[from].result;
  graph_delete_node(g, from);
  g->values[g->nodes[node].result].definition = NO_NODE;
  g->nodes[node].result = result;
  g->values[result].definition = node;
}

void graph_compact(Graph *g) {
  for (NodeId n = g->node_count; n-- > 0;)
    if (g->nodes[n].op != OP_NONE && !g->values[g->nodes[n].result].uses) graph_delete_node(g, n);
  uint32_t kept = 0;
  for (NodeId n = 0; n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE) g->nodes[kept++] = g->nodes[n];
  g->node_count = kept;
  note_definitions(g, 0);
}

static void replace_in(ValueId *ids, uint32_t count, ValueId old_value, ValueId new_value) {
  for (uint32_t i = 0; i < count; i++)
    if (ids[i] == old_value) ids[i] = new_value;
}

void graph_replace_uses(Graph *g, ValueId old_value, ValueId new_value) {
  if (old_value == new_value || !g->values[old_value].uses) return;
  for (NodeId n = 0; n < g->node_count; n++) {
    Node *node = &g->nodes[n];
    replace_in(node->inputs, node->input_count, old_value, new_value);
    for (uint32_t s = 0; s < node->step_count; s++)
      replace_in(node->steps[s].args, node->steps[s].arg_count, old_value, new_value);
  }
  replace_in(g->outputs, g->output_count, old_value, new_value);
  g->values[new_value].uses += g->values[old_value].uses;
  g->values[old_value].uses = 0;
}

bool graph_is_output(const Graph *g, ValueId value) {
  for (uint32_t i = 0; i < g->output_count; i++)
    if (g->outputs[i] == value) return true;
  return false;
}
