/* From a planned graph to a module: one kernel a distinct layer, one launch a layer, constants packed, tables filled.
 */
#include "emit.h"

#include <inttypes.h>
#include <string.h>

enum { CONSTANT_ALIGN = 256 };

/* Device constants, each aligned for any access. */
static uint64_t add_constant(Emitter *e, const void *data, size_t bytes) {
  Text *all = &e->module->constants;
  static const char zeros[CONSTANT_ALIGN];
  text_add_bytes(all, zeros, (CONSTANT_ALIGN - all->length % CONSTANT_ALIGN) % CONSTANT_ALIGN);
  uint64_t offset = all->length;
  text_add_bytes(all, data, bytes);
  return offset;
}

static uint32_t add_string(Module *m, const char *s) {
  uint32_t offset = (uint32_t)m->strings.length;
  for (uint32_t at = 0; at < offset; at += (uint32_t)strlen(m->strings.data + at) + 1)
    if (strcmp(m->strings.data + at, s) == 0) return at;
  text_add_bytes(&m->strings, s, strlen(s) + 1);
  return offset;
}

static void add_param(Kernel *k, ApnnFileParam param, PtxValue value) {
  if (k->param_count == k->param_capacity) {
    uint32_t capacity = k->param_capacity ? 2 * k->param_capacity : 16;
    k->params =
        arena_grow(k->graph->context, k->params, sizeof *k->params * k->param_capacity, sizeof *k->params * capacity);
    k->param_capacity = capacity;
  }
  k->params[k->param_count++] = (KernelParam){param, value};
}

PtxValue kernel_pointer(Kernel *k, ApnnFileParam param) {
  for (uint32_t i = 0; i < k->param_count; i++)
    if (k->params[i].param.kind == param.kind && k->params[i].param.value == param.value) return k->params[i].value;
  add_param(k, param, ptx_param_pointer(&k->ptx));
  return k->params[k->param_count - 1].value;
}

const int32_t *constant_row(const Value *v, int32_t row) {
  int width = v->type.rank == 2 ? v->type.dim[1] : 1;
  return (const int32_t *)v->data + (v->type.dim[0] == 1 ? 0 : (int64_t)row * width);
}

PtxValue kernel_constant(Kernel *k, const void *data, size_t bytes) {
  return kernel_pointer(k, (ApnnFileParam){APNN_PARAM_CONSTANT, 0, add_constant(k->emitter, data, bytes)});
}

/* The value whose memory a value shares: views are followed to what they view. */
static ValueId storage_of(const Graph *g, ValueId value) {
  NodeId definition = graph_definition(g, value);
  while (definition != NO_NODE && g->nodes[definition].engine == ENGINE_VIEW) {
    value = g->nodes[definition].inputs[0];
    definition = graph_definition(g, value);
  }
  return value;
}

static uint32_t index_of(const ValueId *ids, uint32_t count, ValueId value) {
  uint32_t i = 0;
  while (i < count && ids[i] != value) i++;
  return i;
}

PtxValue kernel_value_pointer(Kernel *k, ValueId value) {
  const Graph *g = k->graph;
  ValueId storage = storage_of(g, value);
  uint32_t input = index_of(g->inputs, g->input_count, storage);
  if (input < g->input_count) return kernel_pointer(k, (ApnnFileParam){APNN_PARAM_TENSOR, 0, input});
  uint32_t output = index_of(g->outputs, g->output_count, storage);
  if (output < g->output_count)
    return kernel_pointer(k, (ApnnFileParam){APNN_PARAM_TENSOR, 0, g->input_count + output});
  return kernel_pointer(k, (ApnnFileParam){APNN_PARAM_ARENA, 0, graph_value(g, storage)->arena_offset});
}

PtxValue kernel_thread(Kernel *k, int64_t per_image) {
  Ptx *p = &k->ptx;
  PtxValue block = ptx_special(p, "%ctaid.x");
  PtxValue thread = ptx_mad(p, block, ptx_int(k->node->launch.threads), ptx_special(p, "%tid.x"));
  PtxValue total = ptx_mul(p, k->batch, ptx_int(per_image));
  ptx_wait_for_launch(p);
  ptx_return_unless(p, ptx_setp(p, "lt.u32", thread, total));
  return thread;
}

typedef bool (*KernelOf)(Kernel *k);
static const KernelOf kernel_of[ENGINE_COUNT] = {
    [ENGINE_MMA_B1] = kernel_mma,       [ENGINE_MMA_S8] = kernel_mma,     [ENGINE_PATCH_S8] = kernel_patch,
    [ENGINE_STRIP_S8] = kernel_strip,   [ENGINE_WGMMA_B1] = kernel_wgmma, [ENGINE_WGMMA_S8] = kernel_wgmma,
    [ENGINE_SKINNY_B1] = kernel_skinny, [ENGINE_GEMV_B1] = kernel_gemv,   [ENGINE_GEMV_S8] = kernel_gemv,
    [ENGINE_DIRECT] = kernel_direct,    [ENGINE_POOL] = kernel_pool,      [ENGINE_ROW] = kernel_row,
};

/* A name for the .entry: a number, and in letters, digits and _ the layer that first needed the kernel. */
static char *kernel_name(const Kernel *k, uint32_t number) {
  char *name = arena_printf(k->graph->context, "k%" PRIu32 "_%s_%.64s", number, op_info[k->node->op].name,
                            graph_value(k->graph, k->node->result)->name);
  for (char *s = name; *s; s++)
    if (!((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))) *s = '_';
  return name;
}

/* Any name as it can stand in a comment: printable ASCII, no backslash that would join the next line. */
static char *comment_name(Context *c, const char *any) {
  char *name = arena_strdup(c, any);
  for (char *s = name; *s; s++)
    if (*s < ' ' || *s > '~' || *s == '\\') *s = '?';
  return name;
}

/* Appends the kernel to the module unless one with the same body is there; returns its number, or UINT32_MAX. */
static uint32_t add_kernel(Emitter *e, Kernel *k) {
  Module *m = e->module;
  const Launch *launch = &k->node->launch;
  Text text = {.context = k->graph->context};
  if (!ptx_finish(&k->ptx, &text, "@", launch->threads)) return UINT32_MAX;
  for (uint32_t i = 0; i < m->kernel_count; i++)
    if (m->kernels[i].shared_bytes == launch->shared_bytes && e->kernel_texts[i].length == text.length &&
        memcmp(e->kernel_texts[i].data, text.data, text.length) == 0)
      return i;
  char *name = kernel_name(k, m->kernel_count);
  text_add(&m->ptx, "\n// layer: %s\n", comment_name(k->graph->context, graph_value(k->graph, k->node->result)->name));
  if (!ptx_finish(&k->ptx, &m->ptx, name, launch->threads)) return UINT32_MAX;
  e->kernel_texts[m->kernel_count] = text;
  m->kernels[m->kernel_count] = (ApnnFileKernel){.name = add_string(m, name),
                                                 .threads = launch->threads,
                                                 .shared_bytes = launch->shared_bytes,
                                                 .flags = k->ptx.overlaps ? APNN_KERNEL_WAITS : 0};
  return m->kernel_count++;
}

/* What the layer moves and computes, for benchmarks. */
static void count_work(const Graph *g, const Node *node, ApnnFileLaunch *launch) {
  launch->bytes_per_image = layout_image_bytes(graph_type(g, node->result));
  for (uint32_t i = 0; i < node->input_count; i++) {
    const Value *v = graph_value(g, node->inputs[i]);
    if (v->kind != VALUE_CONST)
      launch->bytes_per_image += layout_image_bytes(&v->type);
    else
      launch->bytes_constant += (uint64_t)type_elements(&v->type) * v->type.bits / 8;
  }
  for (uint32_t s = 0; s < node->step_count; s++)
    for (uint32_t i = 0; i < node->steps[s].arg_count; i++) {
      const Value *v = graph_value(g, node->steps[s].args[i]);
      if (v->kind != VALUE_CONST)
        launch->bytes_per_image += layout_image_bytes(&v->type);
      else
        launch->bytes_constant += type_dense_bytes(&v->type);
    }
  if (node->op != OP_CONV2D && node->op != OP_LINEAR) return;
  const Type *w = graph_type(g, node->inputs[1]);
  launch->ops_per_image = 2 * (uint64_t)type_elements(&node->main_type) * (uint64_t)(type_elements(w) / w->dim[0]);
}

static void copy_params(Emitter *e, const Kernel *k) {
  Module *m = e->module;
  uint32_t needed = m->param_count + k->param_count;
  if (needed > e->params_capacity) {
    uint32_t capacity = 2 * needed;
    m->params =
        arena_grow(e->graph->context, m->params, sizeof *m->params * m->param_count, sizeof *m->params * capacity);
    e->params_capacity = capacity;
  }
  for (uint32_t i = 0; i < k->param_count; i++) m->params[m->param_count++] = k->params[i].param;
}

static void add_launch(Emitter *e, const Kernel *k, uint32_t kernel) {
  Module *m = e->module;
  m->launches[m->launch_count++] = (ApnnFileLaunch){
      .kernel = kernel,
      .layer_name = add_string(m, graph_value(k->graph, k->node->result)->name),
      .engine_name = add_string(m, engine_name[k->node->engine]),
      .x_mul = k->node->launch.x_mul,
      .x_div = k->node->launch.x_div,
      .y = k->node->launch.y,
      .x_most = k->node->launch.x_most,
      .first_param = m->param_count,
      .param_count = k->param_count,
  };
  copy_params(e, k);
}

/* Misuse of the builder is the compiler's fault; too many pointers are the layer's. */
static bool kernel_is_good(const Kernel *k) {
  Context *c = k->graph->context;
  const char *layer = graph_value(k->graph, k->node->result)->name;
  if (k->ptx.error) {
    diag(c, DIAG_INTERNAL, k->node->loc, k->ptx.error);
    diag_seen(c, "layer '%s'", layer);
  } else if (k->param_count > MAX_KERNEL_PARAMS) {
    diag(c, DIAG_LAYER_LIMIT, k->node->loc, layer, "pointers to tensors and constants");
    diag_expected(c, "at most %d", MAX_KERNEL_PARAMS - 1);
    diag_seen(c, "%" PRIu32, k->param_count - 1);
  } else {
    return true;
  }
  return false;
}

static bool emit_node(Emitter *e, const Node *node) {
  Kernel k = {.emitter = e, .graph = e->graph, .node = node};
  ptx_begin(&k.ptx, e->graph->context);
  k.ptx.overlaps = e->target->overlaps_launches;
  ptx_allow_next_launch(&k.ptx);
  k.batch = ptx_param_u32(&k.ptx);
  add_param(&k, (ApnnFileParam){.kind = APNN_PARAM_BATCH}, k.batch);
  if (!kernel_of[node->engine](&k)) return false;
  k.node = node;
  if (!kernel_is_good(&k)) return false;
  uint32_t kernel = add_kernel(e, &k);
  if (kernel == UINT32_MAX) return false;
  add_launch(e, &k, kernel);
  count_work(e->graph, node, &e->module->launches[e->module->launch_count - 1]);
  return true;
}

static ApnnFileTensor describe(Module *m, const Graph *g, ValueId value, uint32_t role) {
  static const uint32_t elem[] = {[ELEM_UINT] = APNN_ELEM_UINT,
                                  [ELEM_INT] = APNN_ELEM_INT,
                                  [ELEM_TERNARY] = APNN_ELEM_INT,
                                  [ELEM_I32] = APNN_ELEM_I32,
                                  [ELEM_F32] = APNN_ELEM_F32};
  const Value *v = graph_value(g, value);
  ApnnFileTensor t = {.name = add_string(m, v->name),
                      .role = role,
                      .elem = elem[v->type.kind],
                      .bits = v->type.bits,
                      .rank = v->type.rank,
                      .zero2 = v->type.zero2,
                      .scale = v->type.scale,
                      .image_bytes = type_dense_bytes(&v->type)};
  for (int i = 0; i < v->type.rank; i++) t.dim[i] = v->type.dim[i];
  if (type_is_quantized(&v->type)) {
    t.q_min = type_q_min(&v->type);
    t.q_max = type_q_max(&v->type);
  }
  return t;
}

static void begin_module(const Graph *g, const Target *target, Module *m) {
  Context *c = g->context;
  memset(m, 0, sizeof *m);
  m->target = target;
  m->ptx.context = m->strings.context = m->constants.context = c;
  add_string(m, "");
  m->network_name = add_string(m, g->name);
  m->max_batch = g->max_batch;
  m->arena_bytes = g->arena_bytes;
  m->tensors = ARENA_NEW(c, ApnnFileTensor, g->input_count + g->output_count);
  for (uint32_t i = 0; i < g->input_count; i++)
    m->tensors[m->tensor_count++] = describe(m, g, g->inputs[i], APNN_TENSOR_INPUT);
  for (uint32_t i = 0; i < g->output_count; i++)
    m->tensors[m->tensor_count++] = describe(m, g, g->outputs[i], APNN_TENSOR_OUTPUT);
  m->kernels = ARENA_NEW(c, ApnnFileKernel, g->node_count);
  m->launches = ARENA_NEW(c, ApnnFileLaunch, g->node_count);
}

/* The module's head goes in front once its kernels have said which PTX version they need. */
static void add_head(const Emitter *e) {
  Context *c = e->graph->context;
  Text all = {.context = c};
  text_add(&all, "// %s, compiled by apnnc\n.version %s\n.target %s\n.address_size 64\n",
           comment_name(c, e->graph->name), e->ptx_version, e->target->name);
  text_add(&all, "\n.extern .shared .align 16 .b8 smem[];\n");
  text_add_bytes(&all, e->module->ptx.data, e->module->ptx.length);
  e->module->ptx = all;
}

bool backend_emit(Graph *g, const Target *target, Module *out) {
  if (!check_plan(g, target)) return false;
  begin_module(g, target, out);
  Emitter e = {.graph = g, .target = target, .module = out, .ptx_version = target->ptx_version};
  e.kernel_texts = ARENA_NEW(g->context, Text, g->node_count);
  for (uint32_t i = 0; i < g->node_count; i++)
    if (g->nodes[i].engine != ENGINE_VIEW && !emit_node(&e, &g->nodes[i])) return false;
  add_head(&e);
  return true;
}
