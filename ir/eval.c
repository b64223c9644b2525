/* The reference evaluator: what a network means. Nodes in order, on dense row-major arrays, without tricks.
 *
 * Layouts, engines, tiles and arena offsets have no influence. A value's memory goes after its last use.
 */
#include "eval.h"

typedef void (*Evaluate)(const Eval *e);
static const Evaluate evaluates[OP_COUNT] = {
#define OP(ENUM, name, least, most, attrs, flags) [OP_##ENUM] = eval_##name,
#include "ops.def"
#undef OP
};

typedef struct Run {
  const Graph *graph;
  uint32_t batch;
  const void *const *inputs;
  void *const *outputs;
  const void **data; /* of every value while it lives */
  void **owned;      /* what has to be released with it, or NULL */
  NodeId *last_use;  /* of every value */
} Run;

static void *new_array(const Run *run, const Type *t) {
  return context_alloc(run->graph->context, type_dense_bytes(t) * image_count(t, run->batch));
}

/* One operation on `first` and further operands. */
static void *evaluate(const Run *run, Op op, const Attrs *attrs, Operand first, const ValueId *others, uint32_t count,
                      const Type *type) {
  const Graph *g = run->graph;
  Operand *in = context_alloc(g->context, sizeof(Operand) * ((size_t)count + 1));
  in[0] = first;
  for (uint32_t i = 0; i < count; i++) in[i + 1] = (Operand){graph_type(g, others[i]), run->data[others[i]]};
  void *out = new_array(run, type);
  evaluates[op](&(Eval){g, attrs, run->batch, in, count + 1, type, out});
  context_release(g->context, in);
  return out;
}

static void run_node(Run *run, NodeId id) {
  const Graph *g = run->graph;
  const Node *node = &g->nodes[id];
  ValueId x = node->inputs[0];
  Operand first = {graph_type(g, x), run->data[x]};
  void *out = evaluate(run, node->op, &node->attrs, first, node->inputs + 1, node->input_count - 1, &node->main_type);
  const Type *type = &node->main_type;
  for (uint32_t s = 0; s < node->step_count; s++) {
    const Step *step = &node->steps[s];
    void *next = evaluate(run, step->op, &step->attrs, (Operand){type, out}, step->args, step->arg_count, &step->type);
    context_release(g->context, out);
    out = next;
    type = &step->type;
  }
  run->data[node->result] = run->owned[node->result] = out;
}

static void note_use(Run *run, const ValueId *values, uint32_t count, NodeId node) {
  for (uint32_t i = 0; i < count; i++) run->last_use[values[i]] = node;
}

static void find_last_uses(Run *run) {
  const Graph *g = run->graph;
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_NONE) continue;
    run->last_use[node->result] = n;
    note_use(run, node->inputs, node->input_count, n);
    for (uint32_t s = 0; s < node->step_count; s++) note_use(run, node->steps[s].args, node->steps[s].arg_count, n);
  }
  note_use(run, g->outputs, g->output_count, NO_NODE);
}

static void release_after(Run *run, const ValueId *values, uint32_t count, NodeId node) {
  for (uint32_t i = 0; i < count; i++) {
    if (run->last_use[values[i]] != node) continue;
    context_release(run->graph->context, run->owned[values[i]]);
    run->owned[values[i]] = NULL;
  }
}

static void release_dead(Run *run, NodeId id) {
  const Node *node = &run->graph->nodes[id];
  release_after(run, node->inputs, node->input_count, id);
  for (uint32_t s = 0; s < node->step_count; s++) release_after(run, node->steps[s].args, node->steps[s].arg_count, id);
  release_after(run, &node->result, 1, id);
}

/* Elements of an input must be q of its type. */
static bool check_input(const Run *run, uint32_t index) {
  const Graph *g = run->graph;
  const Value *v = graph_value(g, g->inputs[index]);
  size_t total = (size_t)type_elements(&v->type) * image_count(&v->type, run->batch);
  if (!type_is_quantized(&v->type)) return true;
  int32_t least = type_q_min(&v->type), most = type_q_max(&v->type);
  for (size_t i = 0; i < total; i++) {
    int32_t q = dense_integer(&v->type, run->inputs[index], i);
    if (q >= least && q <= most) continue;
    diag(g->context, DIAG_INPUT_RANGE, (SourceLoc){0}, v->name, q, i);
    diag_expected(g->context, "%d .. %d, for %s", least, most, type_string(g->context, g, &v->type));
    return false;
  }
  return true;
}

static void *value_array(const Run *run, size_t size) {
  return context_alloc(run->graph->context, size * run->graph->value_count);
}

static bool run_nodes(Run *run) {
  const Graph *g = run->graph;
  for (uint32_t i = 0; i < g->input_count; i++) {
    if (!check_input(run, i)) return false;
    run->data[g->inputs[i]] = run->inputs[i];
  }
  for (ValueId v = 0; v < g->value_count; v++)
    if (g->values[v].kind == VALUE_CONST) run->data[v] = g->values[v].data;
  find_last_uses(run);
  for (NodeId n = 0; n < g->node_count; n++) {
    if (g->nodes[n].op == OP_NONE) continue;
    run_node(run, n);
    release_dead(run, n);
  }
  for (uint32_t i = 0; i < g->output_count; i++) {
    const Type *t = graph_type(g, g->outputs[i]);
    memcpy(run->outputs[i], run->data[g->outputs[i]], type_dense_bytes(t) * image_count(t, run->batch));
  }
  return true;
}

static bool run_graph(void *user) {
  Run *run = user;
  const Graph *g = run->graph;
  if (!graph_verify(g)) return false;
  run->data = value_array(run, sizeof *run->data);
  run->owned = value_array(run, sizeof *run->owned);
  run->last_use = value_array(run, sizeof *run->last_use);
  bool ok = run_nodes(run);
  for (ValueId v = 0; v < g->value_count; v++) context_release(g->context, run->owned[v]);
  context_release(g->context, run->last_use);
  context_release(g->context, run->owned);
  context_release(g->context, run->data);
  return ok;
}

bool graph_eval(const Graph *g, uint32_t batch, const void *const *inputs, void *const *outputs) {
  Run run = {.graph = g, .batch = batch, .inputs = inputs, .outputs = outputs};
  return context_try(g->context, run_graph, &run);
}

typedef struct Single {
  Op op;
  Eval eval;
} Single;

static bool run_single(void *user) {
  const Single *single = user;
  evaluates[single->op](&single->eval);
  return true;
}

bool eval_op(const Graph *g, Op op, const Attrs *attrs, uint32_t batch, const Operand *operands, uint32_t operand_count,
             const Type *result_type, void *result) {
  Attrs defaults = attrs_default();
  Single single = {op, {g, attrs ? attrs : &defaults, batch, operands, operand_count, result_type, result}};
  return context_try(g->context, run_single, &single);
}
