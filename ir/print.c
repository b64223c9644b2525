/* The text form of a graph (README.md gives it by example). What is written here, parse.c reads back to an equal graph,
 * which prints to the same text: constants in use first, those without per-channel scales before those with, then
 * inputs, nodes in order, outputs.
 */
#include "print.h"
#include "attrs.h"
#include "eval.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_ELEMENTS = 64 };

bool is_name_character(char ch) {
  return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '.' ||
         ch == '$' || ch == '/' || ch == '-';
}

/* --- hashes of contents --- */

static const uint64_t primes[] = {UINT64_C(0x9e3779b185ebca87), UINT64_C(0xc2b2ae3d27d4eb4f)};

static uint64_t rotated(uint64_t x, int left) {
  return x << left | x >> (64 - left);
}

/* Multiplications carry upwards only; the turn brings the high bits of a word, and so signs, back down. */
static uint64_t mixed(uint64_t hash, uint64_t word) {
  return rotated(hash + word * primes[1], 31) * primes[0];
}

static uint64_t word_at(const unsigned char *at, size_t bytes) {
  uint64_t word = 0;
  memcpy(&word, at, bytes); /* byte 0 is the lowest: hosts are little-endian */
  return word;
}

/* Four hashes side by side, word i in number i % 4: multiplications that do not wait for each other, for weights of
 * hundreds of megabytes. A last word that is not whole has zeros above; the length tells them from bytes. */
uint64_t content_hash(const void *data, size_t bytes) {
  const unsigned char *at = data;
  uint64_t lane[] = {primes[0], primes[1], 0, ~primes[0]}, hash = bytes;
  size_t left = bytes;
  for (; left >= 32; left -= 32, at += 32)
    for (int i = 0; i < 4; i++) lane[i] = mixed(lane[i], word_at(at + 8 * i, 8));
  for (int i = 0; left; i++) {
    size_t next = left < 8 ? left : 8;
    lane[i] = mixed(lane[i], word_at(at, next));
    left -= next;
    at += next;
  }
  for (int i = 0; i < 4; i++) hash = mixed(hash, lane[i]);
  return hash ^ hash >> 32;
}

static void add_quoted(Text *out, const char *name) {
  text_add(out, "\"");
  for (; *name; name++) {
    unsigned char byte = (unsigned char)*name;
    if (byte < 32 || byte == 127 || byte == '"' || byte == '\\')
      text_add(out, "\\x%02x", byte);
    else
      text_add_bytes(out, name, 1);
  }
  text_add(out, "\"");
}

static void add_name(Text *out, char mark, const char *name) {
  const char *end = name;
  while (is_name_character(*end)) end++;
  text_add_bytes(out, &mark, 1);
  if (end > name && !*end)
    text_add(out, "%s", name);
  else
    add_quoted(out, name);
}

static void add_value_name(Text *out, const Graph *g, ValueId v) {
  add_name(out, '%', g->values[v].name);
}

static void add_float(Text *out, float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (isnan(f))
    text_add(out, "nan:%08x", (unsigned)bits);
  else
    text_add(out, "%a", (double)f);
}

/* --- types --- */

static void add_layout(Text *out, const Layout *l) {
  static const char *const name[] = {"none", "words", "bytes", "planes"};
  text_add(out, "layout=%s", name[l->kind]);
  if (l->kind == LAYOUT_PLANES) text_add(out, ":%u", l->block);
  text_add(out, ":%u", l->pitch);
  if (layout_is_pieces(*l)) text_add(out, ":%u:%u:%u", l->row_pitch, l->image_pitch, l->positions);
}

/* "scale=..", "zero=..", "layout=.." in braces; what has its usual value is left out. */
static void add_details(Text *out, const Graph *g, const Type *t) {
  const char *separator = "{";
  if (type_is_integer(t) && (t->scales != NO_VALUE || t->scale != 1.0f)) {
    text_add(out, "%sscale=", separator);
    separator = ",";
    if (t->scales != NO_VALUE)
      add_value_name(out, g, t->scales);
    else
      add_float(out, t->scale);
  }
  if (type_is_quantized(t) && t->zero2) {
    text_add(out, t->zero2 & 1 ? "%szero=%d/2" : "%szero=%d", separator, t->zero2 & 1 ? t->zero2 : t->zero2 / 2);
    separator = ",";
  }
  if (t->layout.kind != LAYOUT_NONE) {
    text_add(out, "%s", separator);
    separator = ",";
    add_layout(out, &t->layout);
  }
  if (*separator == ',') text_add(out, "}");
}

void text_add_type(Text *out, const Graph *g, const Type *t) {
  text_add_elem(out, t);
  text_add(out, "%s", shape_string(out->context, t));
  add_details(out, g, t);
}

/* --- constants and inputs --- */

static void add_elements(Text *out, const Value *v) {
  int64_t count = type_elements(&v->type);
  for (int64_t i = 0; i < count; i++) {
    text_add(out, i ? ", " : "[");
    if (v->type.kind == ELEM_F32)
      add_float(out, ((const float *)v->data)[i]);
    else
      text_add(out, "%d", dense_integer(&v->type, v->data, (size_t)i));
  }
  text_add(out, "]");
}

static void add_const(Text *out, const Graph *g, ValueId id, PrintMode mode) {
  const Value *v = &g->values[id];
  text_add(out, "  const ");
  add_value_name(out, g, id);
  text_add(out, " : ");
  text_add_type(out, g, &v->type);
  text_add(out, " = ");
  if (mode == PRINT_FULL || type_elements(&v->type) <= SHORT_ELEMENTS)
    add_elements(out, v);
  else
    text_add(out, "@%016llx", (unsigned long long)content_hash(v->data, type_dense_bytes(&v->type)));
  text_add(out, "\n");
}

static void mark(bool *used, ValueId v) {
  if (v != NO_VALUE) used[v] = true;
}

static void mark_type(bool *used, const Type *t) {
  if (type_is_integer(t)) mark(used, t->scales);
}

/* Which values the nodes and the network's inputs and outputs speak of. */
static bool *find_used(const Graph *g) {
  bool *used = ARENA_NEW(g->context, bool, g->value_count);
  for (NodeId n = 0; n < g->node_count; n++) {
    const Node *node = &g->nodes[n];
    if (node->op == OP_NONE) continue;
    mark(used, node->result);
    mark_type(used, &node->main_type);
    for (uint32_t i = 0; i < node->input_count; i++) mark(used, node->inputs[i]);
    for (uint32_t s = 0; s < node->step_count; s++) {
      mark_type(used, &node->steps[s].type);
      for (uint32_t i = 0; i < node->steps[s].arg_count; i++) mark(used, node->steps[s].args[i]);
    }
  }
  for (uint32_t i = 0; i < g->input_count; i++) mark(used, g->inputs[i]);
  for (ValueId v = 0; v < g->value_count; v++)
    if (used[v]) mark_type(used, &g->values[v].type);
  return used;
}

static void add_consts(Text *out, const Graph *g, PrintMode mode) {
  const bool *used = find_used(g);
  for (int with_scales = 0; with_scales < 2; with_scales++)
    for (ValueId v = 0; v < g->value_count; v++) {
      const Value *value = &g->values[v];
      bool has_scales = type_is_integer(&value->type) && value->type.scales != NO_VALUE;
      if (used[v] && value->kind == VALUE_CONST && has_scales == with_scales) add_const(out, g, v, mode);
    }
}

/* --- nodes --- */

static void add_attr(Text *out, const AttrInfo *info, const void *field) {
  text_add(out, " %s=", info->name);
  if (info->form == ATTR_BOOL)
    text_add(out, "%s", *(const bool *)field ? "true" : "false");
  else if (info->form == ATTR_F32)
    add_float(out, *(const float *)field);
  for (int i = 0; i < attr_int_count(info->form); i++) text_add(out, i ? ",%d" : "%d", ((const int32_t *)field)[i]);
}

void text_add_attrs(Text *out, Op op, const Attrs *attrs) {
  Attrs usual = attrs_default();
  for (int i = 0; i < ATTR_COUNT; i++) {
    const AttrInfo *info = &attr_info[i];
    const char *field = (const char *)attrs + info->offset, *other = (const char *)&usual + info->offset;
    if ((op_info[op].attrs & (1u << i)) && memcmp(field, other, info->size)) add_attr(out, info, field);
  }
}

static void add_operands(Text *out, const Graph *g, const ValueId *values, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    text_add(out, i ? ", " : "(");
    add_value_name(out, g, values[i]);
  }
  text_add(out, count ? ")" : "");
}

const char *tile_text(const Tile *t, char text[TILE_TEXT]) {
  snprintf(text, TILE_TEXT, "%u,%u,%u,%u,%u,%u,%u,%u", t->m, t->n, t->k, t->warps_m, t->warps_n, t->stages, t->split_k,
           t->resident);
  return text;
}

static void add_plan(Text *out, const Graph *g, const Node *node) {
  const Tile *t = &node->tile;
  const Launch *l = &node->launch;
  char tile[TILE_TEXT];
  if (node->engine != ENGINE_NONE) text_add(out, " engine=%s", engine_name[node->engine]);
  if (t->m || t->n || t->k || t->warps_m || t->warps_n || t->stages || t->split_k)
    text_add(out, " tile=%s", tile_text(t, tile));
  if (l->x_mul || l->x_div || l->y || l->threads || l->shared_bytes || l->x_most)
    text_add(out, " launch=%u,%u,%u,%u,%u,%u", l->x_mul, l->x_div, l->y, l->threads, l->shared_bytes, l->x_most);
  uint64_t offset = g->values[node->result].arena_offset;
  if (offset != NO_OFFSET) text_add(out, " offset=%llu", (unsigned long long)offset);
}

static void add_node(Text *out, const Graph *g, const Node *node) {
  text_add(out, "  ");
  add_value_name(out, g, node->result);
  text_add(out, " : ");
  text_add_type(out, g, graph_type(g, node->result));
  text_add(out, " = %s", op_info[node->op].name);
  add_operands(out, g, node->inputs, node->input_count);
  text_add_attrs(out, node->op, &node->attrs);
  add_plan(out, g, node);
  if (node->step_count || node->main_type.layout.kind != LAYOUT_NONE) {
    text_add(out, " : ");
    text_add_type(out, g, &node->main_type);
  }
  text_add(out, "\n");
  for (uint32_t s = 0; s < node->step_count; s++) {
    const Step *step = &node->steps[s];
    text_add(out, "    | %s", op_info[step->op].name);
    add_operands(out, g, step->args, step->arg_count);
    text_add_attrs(out, step->op, &step->attrs);
    text_add(out, " : ");
    text_add_type(out, g, &step->type);
    text_add(out, "\n");
  }
}

/* --- the graph --- */

char *graph_print_string(const Graph *g, PrintMode mode) {
  Text out = {.context = g->context};
  text_add(&out, "graph ");
  add_name(&out, '@', g->name);
  if (g->max_batch) text_add(&out, " batch=%u", g->max_batch);
  if (g->arena_bytes) text_add(&out, " arena=%llu", (unsigned long long)g->arena_bytes);
  text_add(&out, " {\n");
  add_consts(&out, g, mode);
  for (uint32_t i = 0; i < g->input_count; i++) {
    text_add(&out, "  input ");
    add_value_name(&out, g, g->inputs[i]);
    text_add(&out, " : ");
    text_add_type(&out, g, graph_type(g, g->inputs[i]));
    text_add(&out, "\n");
  }
  for (NodeId n = 0; n < g->node_count; n++)
    if (g->nodes[n].op != OP_NONE) add_node(&out, g, &g->nodes[n]);
  for (uint32_t i = 0; i < g->output_count; i++) {
    text_add(&out, "  output ");
    add_value_name(&out, g, g->outputs[i]);
    text_add(&out, "\n");
  }
  text_add(&out, "}\n");
  return out.data;
}

void graph_print(const Graph *g, PrintMode mode, FILE *out) {
  const char *text = graph_print_string(g, mode);
  fwrite(text, 1, strlen(text), out);
}
