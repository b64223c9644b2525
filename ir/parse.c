/* Reads the text form. Statements stand one a line; after an error reading goes on with the next line, so that one run
 * reports all it can. What is returned has passed the verifier.
 *
 * Types and constants are read in parse_value.c.
 */
#include "parse.h"
#include "attrs.h"
#include "verify.h"
#include <string.h>

static Op find_op(const char *name) {
  for (int op = OP_NONE + 1; op < OP_COUNT; op++)
    if (!strcmp(op_info[op].name, name)) return (Op)op;
  return OP_NONE;
}

static bool unknown(Parser *p, SourceLoc loc, const char *what, const char *name) {
  diag(p->context, DIAG_IR_UNKNOWN, loc, what, name);
  return false;
}

static bool duplicate(Parser *p, SourceLoc loc, const char *what, const char *name) {
  diag(p->context, DIAG_IR_DUPLICATE, loc, what, name);
  return false;
}

/* --- operations --- */

bool parse_value_name(Parser *p, ValueId *out) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *name = reader_name(&p->reader, '%', "a value, %name");
  if (!name) return false;
  *out = graph_find(p->graph, name);
  return *out != NO_VALUE || unknown(p, loc, "value", name);
}

/* "(%a, %b)", or nothing. The list grows in the arena. */
static bool parse_operands(Parser *p, ValueId **out, uint32_t *count) {
  *out = NULL;
  *count = 0;
  if (!reader_take(&p->reader, '(')) return true;
  do {
    ValueId v;
    if (!parse_value_name(p, &v)) return false;
    *out = arena_grow(p->context, *out, sizeof v * *count, sizeof v * ((size_t)*count + 1));
    (*out)[(*count)++] = v;
  } while (reader_take(&p->reader, ','));
  return reader_expect(&p->reader, ')', "or ',' after an operand");
}

static bool parse_op(Parser *p, Op *out) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *name = reader_word(&p->reader, "an operation");
  if (!name) return false;
  *out = find_op(name);
  return *out != OP_NONE || unknown(p, loc, "operation", name);
}

static bool parse_bool(Parser *p, bool *out) {
  const char *word = reader_word(&p->reader, "true or false");
  if (!word) return false;
  *out = !strcmp(word, "true");
  return *out || !strcmp(word, "false") || reader_fail(&p->reader, "true or false before it");
}

static bool parse_attr(Parser *p, const AttrInfo *info, Attrs *attrs) {
  char *field = (char *)attrs + info->offset;
  if (info->form == ATTR_F32) return reader_float(&p->reader, (float *)field);
  if (info->form == ATTR_BOOL) return parse_bool(p, (bool *)field);
  for (int i = 0; i < attr_int_count(info->form); i++) {
    int64_t value;
    if (i && !reader_expect(&p->reader, ',', "between the numbers of an attribute")) return false;
    if (!reader_int(&p->reader, INT32_MIN, INT32_MAX, info->name, &value)) return false;
    ((int32_t *)field)[i] = (int32_t)value;
  }
  return true;
}

static bool parse_engine(Parser *p, Node *node) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *name = reader_word(&p->reader, "an engine");
  if (!name) return false;
  for (int i = 0; i < ENGINE_COUNT; i++)
    if (!strcmp(engine_name[i], name)) {
      node->engine = (Engine)i;
      return true;
    }
  return unknown(p, loc, "engine", name);
}

static bool parse_tile(Parser *p, Node *node) {
  return reader_tile(&p->reader, &node->tile);
}

static bool parse_launch(Parser *p, Node *node) {
  uint64_t n[6];
  for (int i = 0; i < 6; i++) {
    if (i && !reader_expect(&p->reader, ',', "between a launch's six numbers")) return false;
    if (!reader_unsigned(&p->reader, UINT32_MAX, "a number of the launch", &n[i])) return false;
  }
  node->launch =
      (Launch){(uint32_t)n[0], (uint32_t)n[1], (uint32_t)n[2], (uint32_t)n[3], (uint32_t)n[4], (uint32_t)n[5]};
  return true;
}

static bool parse_offset(Parser *p, Node *node) {
  return reader_unsigned(&p->reader, UINT64_MAX - 1, "offset", &graph_value(p->graph, node->result)->arena_offset);
}

static const struct {
  const char *name;
  bool (*parse)(Parser *p, Node *node);
} plan_items[] = {{"engine", parse_engine}, {"tile", parse_tile}, {"launch", parse_launch}, {"offset", parse_offset}};
enum { PLAN_ITEMS = sizeof plan_items / sizeof *plan_items };

/* One "name=value" of an operation, or of the plan where there is a node. */
static bool parse_property(Parser *p, Op op, Attrs *attrs, Node *node, const char *name, SourceLoc loc) {
  for (int i = 0; i < ATTR_COUNT; i++)
    if ((op_info[op].attrs & (1u << i)) && !strcmp(attr_info[i].name, name)) return parse_attr(p, &attr_info[i], attrs);
  for (int i = 0; node && i < PLAN_ITEMS; i++)
    if (!strcmp(plan_items[i].name, name)) return plan_items[i].parse(p, node);
  return unknown(p, loc, arena_printf(p->context, "property of %s", op_info[op].name), name);
}

/* Whether a word and '=' follow: a property, not the next statement. */
static bool property_follows(const Reader *now) {
  Reader ahead = *now;
  reader_skip_blanks(&ahead);
  const char *start = ahead.at;
  while (ahead.at < ahead.end && ((*ahead.at >= 'a' && *ahead.at <= 'z') || *ahead.at == '_')) ahead.at++;
  return ahead.at > start && ahead.at < ahead.end && *ahead.at == '=';
}

static bool parse_properties(Parser *p, Op op, Attrs *attrs, Node *node) {
  while (property_follows(&p->reader)) {
    SourceLoc loc = reader_loc(&p->reader);
    const char *name = reader_word(&p->reader, "a property");
    if (!name || !reader_expect(&p->reader, '=', "after a property's name")) return false;
    if (!parse_property(p, op, attrs, node, name, loc)) return false;
  }
  return true;
}

/* --- statements --- */

/* A new name and its type; the name is known from then on, so that later uses are no errors of their own. */
static bool parse_declared(Parser *p, const char **name, Type *type, SourceLoc *loc) {
  *loc = reader_loc(&p->reader);
  *name = reader_name(&p->reader, '%', "a name, %name");
  if (!*name) return false;
  if (graph_find(p->graph, *name) != NO_VALUE) return duplicate(p, *loc, "value", *name);
  loc->length = (uint32_t)strlen(*name) + 1;
  if (reader_expect(&p->reader, ':', "and a type after a name") && parse_type(p, type)) return true;
  graph_add_result(p->graph, *name, type_make(ELEM_F32, 32, true, 1, (int32_t[]){1}));
  return false;
}

static bool parse_input(Parser *p) {
  const char *name;
  Type type;
  SourceLoc loc;
  if (!parse_declared(p, &name, &type, &loc)) return false;
  graph_add_input(p->graph, name, type);
  return true;
}

static bool parse_const(Parser *p) {
  const char *name;
  Type type;
  SourceLoc loc;
  if (!parse_declared(p, &name, &type, &loc)) return false;
  ValueId v = graph_add_const(p->graph, name, type, NULL);
  if (!reader_expect(&p->reader, '=', "before a constant's elements")) return false;
  const void *data = parse_elements(p, name, &type, loc);
  graph_value(p->graph, v)->data = data;
  return data != NULL;
}

static bool parse_output(Parser *p) {
  ValueId v;
  if (!parse_value_name(p, &v)) return false;
  graph_add_output(p->graph, v);
  return true;
}

static bool parse_step(Parser *p, Node *node) {
  Step step = {.attrs = attrs_default()};
  ValueId *args;
  SourceLoc loc = reader_loc(&p->reader);
  if (!parse_op(p, &step.op) || !parse_operands(p, &args, &step.arg_count)) return false;
  if (step.arg_count > 4) {
    diag(p->context, DIAG_OPERAND_COUNT, loc, op_info[step.op].name, "at most 5 operands", step.arg_count + 1);
    return false;
  }
  if (step.arg_count) memcpy(step.args, args, sizeof *args * step.arg_count);
  if (!parse_properties(p, step.op, &step.attrs, NULL)) return false;
  if (!reader_expect(&p->reader, ':', "and a type after a step") || !parse_type(p, &step.type)) return false;
  node->steps =
      arena_grow(p->context, node->steps, sizeof step * node->step_count, sizeof step * ((size_t)node->step_count + 1));
  node->steps[node->step_count++] = step;
  return true;
}

/* "%name : type = op(operands) properties : main type", and the steps that follow. */
static bool parse_node(Parser *p) {
  const char *name;
  Type type;
  SourceLoc loc;
  if (!parse_declared(p, &name, &type, &loc)) return false;
  ValueId *inputs;
  uint32_t count;
  Op op;
  bool known = reader_expect(&p->reader, '=', "and an operation after a type") && parse_op(p, &op) &&
               parse_operands(p, &inputs, &count);
  ValueId result = graph_add_result(p->graph, name, type);
  if (!known) return false;
  Node *node = graph_add_bare_node(p->graph, op, result, loc);
  node->inputs = inputs;
  node->input_count = count;
  node->main_type = type;
  node->main_type.layout = (Layout){0};
  if (!parse_properties(p, op, &node->attrs, node)) return false;
  if (reader_take(&p->reader, ':') && !parse_type(p, &node->main_type)) return false;
  while (reader_take(&p->reader, '|'))
    if (!parse_step(p, node)) return false;
  return true;
}

static bool parse_statement(Parser *p) {
  reader_skip_blanks(&p->reader);
  if (p->reader.at < p->reader.end && *p->reader.at == '%') return parse_node(p);
  SourceLoc loc = reader_loc(&p->reader);
  const char *word = reader_word(&p->reader, "const, input, output, %name or '}'");
  if (!word) return false;
  if (!strcmp(word, "const")) return parse_const(p);
  if (!strcmp(word, "input")) return parse_input(p);
  if (!strcmp(word, "output")) return parse_output(p);
  diag(p->context, DIAG_IR_SYNTAX, loc, arena_printf(p->context, "'%.40s'", word));
  diag_expected(p->context, "const, input, output, %%name or '}'");
  return false;
}

/* Steps of a statement that failed are skipped with it. */
static void skip_statement(Parser *p) {
  do {
    reader_skip_line(&p->reader);
    reader_skip_blanks(&p->reader);
  } while (p->reader.at < p->reader.end && *p->reader.at == '|');
}

/* " batch=8 arena=1024". */
static bool parse_graph_properties(Parser *p) {
  while (property_follows(&p->reader)) {
    SourceLoc loc = reader_loc(&p->reader);
    const char *name = reader_word(&p->reader, "a property");
    uint64_t value;
    if (!name || !reader_expect(&p->reader, '=', "after a property's name")) return false;
    bool batch = !strcmp(name, "batch");
    if (!batch && strcmp(name, "arena")) return unknown(p, loc, "property of graph", name);
    if (!reader_unsigned(&p->reader, batch ? UINT32_MAX : UINT64_MAX, name, &value)) return false;
    if (batch)
      p->graph->max_batch = (uint32_t)value;
    else
      p->graph->arena_bytes = value;
  }
  return true;
}

static bool parse_header(Parser *p) {
  SourceLoc loc = reader_loc(&p->reader);
  const char *word = reader_word(&p->reader, "graph @name {");
  if (!word) return false;
  if (strcmp(word, "graph")) {
    diag(p->context, DIAG_IR_SYNTAX, loc, arena_printf(p->context, "'%.40s'", word));
    diag_expected(p->context, "graph @name {");
    return false;
  }
  const char *name = reader_name(&p->reader, '@', "the graph's name, @name");
  if (!name) return false;
  p->graph = graph_new(p->context, name);
  return parse_graph_properties(p) && reader_expect(&p->reader, '{', "before the graph's statements");
}

static bool parse_graph(void *user) {
  Parser *p = user;
  uint32_t errors = diag_error_count(p->context);
  if (!parse_header(p)) return false;
  while (!reader_take(&p->reader, '}')) {
    if (reader_at_end(&p->reader)) return reader_fail(&p->reader, "'}' after the graph's statements");
    if (!parse_statement(p)) skip_statement(p);
  }
  if (!reader_at_end(&p->reader)) return reader_fail(&p->reader, "nothing after '}'");
  if (diag_error_count(p->context) != errors) return false;
  graph_index(p->graph);
  return verify_graph(p->graph, DIAG_IR_RULE);
}

Graph *graph_parse(Context *c, const char *file_name, const char *text, const Graph *pool) {
  size_t length = strlen(text);
  Parser p = {.context = c, .pool = pool};
  p.reader = reader_new(c, context_add_source(c, file_name, text, length), text, length);
  return context_try(c, parse_graph, &p) ? p.graph : NULL;
}
