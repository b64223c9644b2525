/* apnnc --eval: arrays in, the reference evaluator, arrays out. Arrays are npy, dense, the batch in front. */
#include "options.h"
#include "param_file.h"
#include <string.h>

typedef struct Evaluation {
  Context *context;
  const Graph *graph;
  int64_t batch; /* 0: not known yet */
} Evaluation;

static bool refuse(Evaluation *e, const char *path, ValueId input, const char *problem) {
  diag(e->context, DIAG_ARRAY, (SourceLoc){0}, path, graph_value(e->graph, input)->name, problem);
  diag_expected(e->context, "%s", type_string(e->context, e->graph, graph_type(e->graph, input)));
  return false;
}

static bool read_array(Evaluation *e, const char *path, ValueId input, ParamTensor *t) {
  const uint8_t *data;
  size_t size;
  const char *problem;
  if (!map_file(e->context, path, &data, &size, &problem)) {
    diag(e->context, DIAG_CANNOT_READ, (SourceLoc){0}, path, problem);
    return false;
  }
  return npy_read(e->context, data, size, t, &problem) || refuse(e, path, input, problem);
}

static const char *dims_text(Context *c, const ParamTensor *t) {
  Text text = {.context = c};
  text_add(&text, "[");
  for (int i = 0; i < t->rank; i++) text_add(&text, i ? ",%lld" : "%lld", (long long)t->dim[i]);
  text_add(&text, "]");
  return text.data;
}

static bool check_shape(Evaluation *e, const char *path, ValueId input, const ParamTensor *t) {
  const Type *type = graph_type(e->graph, input);
  bool fits = t->rank == type->rank + 1 && t->dim[0] >= 1 && t->dim[0] <= UINT32_MAX;
  for (int i = 0; fits && i < type->rank; i++) fits = t->dim[i + 1] == type->dim[i];
  if (!fits) {
    refuse(e, path, input, "the shape is another");
    diag_seen(e->context, "%s; the batch is the first dimension", dims_text(e->context, t));
    return false;
  }
  if (e->batch && e->batch != t->dim[0]) {
    refuse(e, path, input, "the batch is another than that of the first input");
    diag_seen(e->context, "%lld and %lld", (long long)e->batch, (long long)t->dim[0]);
    return false;
  }
  e->batch = t->dim[0];
  return true;
}

static bool out_of_range(Evaluation *e, const char *path, ValueId input, int64_t index, int64_t seen, int64_t low,
                         int64_t high) {
  refuse(e, path, input, "an element is out of range");
  diag_expected(e->context, "q from %lld to %lld", (long long)low, (long long)high);
  diag_seen(e->context, "%lld at element %lld", (long long)seen, (long long)index);
  return false;
}

/* The elements as the evaluator takes them: a byte q, or four bytes. */
static bool convert(Evaluation *e, const char *path, ValueId input, const ParamTensor *t, void *out) {
  const Type *type = graph_type(e->graph, input);
  bool real = type->kind == ELEM_F32, bytes = type_is_quantized(type);
  if (t->dtype == DTYPE_OTHER || (real ? t->dtype != DTYPE_F32 : !dtype_info[t->dtype].integer)) {
    refuse(e, path, input, "the element type is another");
    diag_seen(e->context, "%s", t->dtype ? dtype_info[t->dtype].name : t->dtype_name);
    return false;
  }
  int64_t low = bytes ? type_q_min(type) : INT32_MIN, high = bytes ? type_q_max(type) : INT32_MAX;
  for (int64_t i = 0; i < t->count; i++) {
    if (real) {
      ((uint32_t *)out)[i] = (uint32_t)param_bits(t, i); /* a conversion would change signalling NaNs */
      continue;
    }
    int64_t q = param_integer(t, i);
    if (q < low || q > high) return out_of_range(e, path, input, i, q, low, high);
    if (bytes)
      ((uint8_t *)out)[i] = (uint8_t)q;
    else
      ((int32_t *)out)[i] = (int32_t)q;
  }
  return true;
}

static bool read_inputs(Evaluation *e, const Options *o, const void **inputs) {
  bool good = true;
  for (uint32_t i = 0; i < e->graph->input_count; i++) {
    ValueId input = e->graph->inputs[i];
    ParamTensor t = {0};
    if (!read_array(e, o->arrays[i], input, &t) || !check_shape(e, o->arrays[i], input, &t)) {
      good = false;
      continue;
    }
    void *data = arena_alloc(e->context, type_dense_bytes(graph_type(e->graph, input)) * (size_t)e->batch);
    if (!convert(e, o->arrays[i], input, &t, data)) good = false;
    inputs[i] = data;
  }
  return good;
}

static bool write_output(Evaluation *e, const char *path, ValueId output, const void *data) {
  const Type *t = graph_type(e->graph, output);
  const char *descr = t->kind == ELEM_F32 ? "<f4" : t->kind == ELEM_I32 ? "<i4" : t->kind == ELEM_UINT ? "|u1" : "|i1";
  int64_t dim[MAX_RANK + 1] = {e->batch};
  for (int i = 0; i < t->rank; i++) dim[i + 1] = t->dim[i];
  return npy_write(e->context, path, descr, t->rank + 1, dim, data, type_dense_bytes(t) * (size_t)e->batch);
}

static bool check_count(Context *c, const char *what, uint32_t has, uint32_t given) {
  if (has == given) return true;
  diag(c, DIAG_OPTION, (SourceLoc){0},
       arena_printf(c, "the network has %u %s%s, %u arrays are named", has, what, has == 1 ? "" : "s", given));
  return false;
}

bool evaluate_network(Context *c, const Graph *g, const Options *o) {
  Evaluation e = {c, g, 0};
  const char *paths[MAX_FILES];
  uint32_t path_count = 0;
  for (uint32_t i = 0; i < o->output_count; i++)
    if (o->outputs[i].kind == OUTPUT_NPY) paths[path_count++] = o->outputs[i].path;
  bool counts = check_count(c, "input", g->input_count, o->array_count);
  if (!check_count(c, "output", g->output_count, path_count) || !counts) return false;
  const void **inputs = ARENA_NEW(c, const void *, g->input_count);
  void **outputs = ARENA_NEW(c, void *, g->output_count);
  if (!read_inputs(&e, o, inputs)) return false;
  for (uint32_t i = 0; i < g->output_count; i++)
    outputs[i] = arena_alloc(c, type_dense_bytes(graph_type(g, g->outputs[i])) * (size_t)e.batch);
  if (!graph_eval(g, (uint32_t)e.batch, inputs, outputs)) return false;
  for (uint32_t i = 0; i < g->output_count; i++)
    if (!write_output(&e, paths[i], g->outputs[i], outputs[i])) return false;
  return true;
}
