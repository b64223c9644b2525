/* Networks: from a syntax tree to a verified graph. Whatever is wrong is reported, as much of it as can be found. */
#include "lower.h"
#include <string.h>

/* --- statements --- */

static bool read_dims(Lower *l, const Place *place, const Statement *s, int32_t dim[MAX_RANK]) {
  bool good = s->dims.count <= MAX_RANK;
  SourceLoc loc = s->dims.count ? expression_span(s->dims.items[0].value) : s->loc;
  const char *seen = arena_printf(l->context, "%u dimensions", s->dims.count);
  for (uint32_t i = 0; i < s->dims.count; i++) {
    Item item = evaluate(l, place, s->dims.items[i].value, false);
    if (item.kind == ITEM_NONE) return false;
    if (item.kind == ITEM_INTEGER && item.integer >= 1 && item.integer <= MAX_DIMENSION) {
      if (i < MAX_RANK) dim[i] = (int32_t)item.integer;
      continue;
    }
    if (good) {
      loc = expression_span(s->dims.items[i].value);
      seen = item_words(l, &item);
    }
    good = false;
  }
  if (good) return true;
  diag(l->context, DIAG_BAD_DIMENSION, loc, MAX_DIMENSION);
  diag_expected(l->context, "[height, width, channels] or [channels], the batch not counted");
  diag_seen(l->context, "%s", seen);
  return false;
}

static bool read_element(Lower *l, const Place *place, const Expression *e, Item *type) {
  *type = evaluate(l, place, e, false);
  if (type->kind == ITEM_NONE) return false;
  if (type->kind == ITEM_TYPE) return true;
  diag(l->context, DIAG_NOT_A_TYPE, e->loc, e->text);
  diag_expected(l->context, "u1..u8, i2..i8, bipolar, ternary, i32 or f32");
  diag_seen(l->context, "%s", item_words(l, type));
  return false;
}

static void run_input(Lower *l, const Place *place, const Statement *s) {
  Item type, item = item_none();
  int32_t dim[MAX_RANK];
  bool good = read_element(l, place, s->element, &type);
  good = read_dims(l, place, s, dim) && good;
  if (good) {
    Type t = type_make(type.type.kind, type.type.bits, true, (int)s->dims.count, dim);
    t.zero2 = type.type.zero2;
    t.scale = type.type.scale;
    const char *problem = type_problem(l->graph, &t);
    if (problem) {
      diag(l->context, DIAG_BAD_TYPE, s->element->loc, type_string(l->context, l->graph, &t), problem);
      good = false;
    } else {
      item = item_tensor(graph_add_input(l->graph, s->names.items[0].text, t), s->loc);
      spread_of_input(l, item.value);
    }
  }
  l->input_seen = true;
  scope_bind(l->context, place->scope, s->names.items[0], item);
}

/* The name of an output is the name of its value. Inputs, constants and values that are outputs already are copied; the
 * copy of input x is x.output. */
static void add_output(Lower *l, Name name, ValueId value) {
  Graph *g = l->graph;
  ValueId holder = graph_find(g, name.text);
  if (graph_value(g, value)->kind != VALUE_RESULT || graph_is_output(g, value)) {
    Call call = {.loc = name.loc, .result_name = arena_printf(l->context, "%s.copy", name.text)};
    Item copy = emit(l, &call, true, OP_COPY, NULL, &value, 1, (Type){0});
    if (copy.kind == ITEM_NONE) return;
    value = copy.value;
  }
  bool names_input = holder != NO_VALUE && graph_value(g, holder)->kind == VALUE_INPUT;
  if (holder != NO_VALUE && holder != value && !names_input)
    graph_rename(g, holder, arena_printf(l->context, "%s.value", name.text));
  graph_rename(g, value, names_input ? arena_printf(l->context, "%s.output", name.text) : name.text);
  graph_add_output(g, value);
}

static void output_value(Lower *l, Name name, const Item *item) {
  if (item->kind == ITEM_TENSOR) {
    add_output(l, name, item->value);
  } else if (item->kind != ITEM_NONE) {
    diag(l->context, DIAG_NOT_A_VALUE, name.loc, "output");
    diag_seen(l->context, "%s", item_words(l, item));
  }
}

/* `output a = x` defines a name as well; one that could not be defined is no output. */
static void run_output(Lower *l, const Place *place, const Statement *s) {
  l->output_seen = true;
  if (s->values.count) run_assignment(l, place, s);
  for (uint32_t i = 0; i < s->names.count; i++) {
    Name name = s->names.items[i];
    const Binding *b = scope_local(place->scope, name.text);
    bool own = b && b->loc.line == name.loc.line && b->loc.column == name.loc.column;
    if (s->values.count && !own) continue;
    Expression e = {.kind = EXPRESSION_NAME, .loc = name.loc, .text = name.text, .depth = 1};
    Item item = evaluate(l, place, &e, false);
    output_value(l, name, &item);
  }
}

static void run_statement(Lower *l, const Place *place, const Statement *s) {
  switch (s->kind) {
  case STATEMENT_CONST:
    run_constant(l, place, s);
    break;
  case STATEMENT_PARAMS:
    params_add_file(l, s->names.items[0].text, s->loc);
    break;
  case STATEMENT_INPUT:
    run_input(l, place, s);
    break;
  case STATEMENT_OUTPUT:
    run_output(l, place, s);
    break;
  case STATEMENT_ASSIGN:
    run_assignment(l, place, s);
    break;
  case STATEMENT_RETURN:
    diag(l->context, DIAG_WRONG_PLACE, s->loc, "return", "network");
    diag_hint(l->context, "a network gives its results with output");
    break;
  }
}

/* --- networks --- */

static void check_ends(Lower *l) {
  if (!l->input_seen) {
    diag(l->context, DIAG_NO_INPUT, l->network->name.loc, l->network->name.text, "input");
    diag_expected(l->context, "a statement such as: input image : u8[28, 28, 1]");
  }
  if (!l->output_seen) {
    diag(l->context, DIAG_NO_INPUT, l->network->name.loc, l->network->name.text, "output");
    diag_expected(l->context, "a statement such as: output logits = ...");
  }
}

/* Parameter files first, wherever they are named. */
static void run_network(Lower *l) {
  Frame *top = ARENA_NEW(l->context, Frame, 1);
  top->path = "";
  Place place = {top, scope_new(l->context, l->globals), ""};
  const StatementList *body = &l->network->body;
  for (uint32_t i = 0; i < body->count; i++)
    if (body->items[i]->kind == STATEMENT_PARAMS) run_statement(l, &place, body->items[i]);
  for (uint32_t i = 0; i < body->count; i++)
    if (body->items[i]->kind != STATEMENT_PARAMS) run_statement(l, &place, body->items[i]);
  check_ends(l);
  check_uncalled_blocks(l, top);
  if (diag_error_count(l->context) == l->errors_before) scope_warn_unused(l->context, place.scope);
}

static void run_constants(Lower *l) {
  Frame top = {.path = ""};
  l->globals = scope_new(l->context, NULL);
  Place place = {&top, l->globals, ""};
  for (uint32_t i = 0; i < l->tree->constants.count; i++) run_constant(l, &place, l->tree->constants.items[i]);
}

static bool check_network_names(Lower *l) {
  Scope *names = scope_new(l->context, NULL);
  bool good = true;
  for (uint32_t i = 0; i < l->tree->network_count; i++)
    if (!scope_bind(l->context, names, l->tree->networks[i]->name, item_none())) good = false;
  return good;
}

static const char *network_words(const Lower *l) {
  Text t = {.context = l->context};
  for (uint32_t i = 0; i < l->tree->network_count; i++)
    text_add(&t, "%s%s", i ? ", " : "", l->tree->networks[i]->name.text);
  return t.data;
}

static const Network *choose_network(Lower *l, uint32_t file) {
  const SyntaxTree *tree = l->tree;
  const char *wanted = l->options->network;
  SourceLoc start = {file, 1, 1, 1};
  if (!tree->network_count) {
    diag(l->context, DIAG_NO_NETWORK, start);
    diag_expected(l->context, "network name { ... }");
    return NULL;
  }
  if (!check_network_names(l)) return NULL;
  if (!wanted && tree->network_count == 1) return tree->networks[0];
  start = tree->networks[0]->name.loc;
  Suggestion s = suggestion_for(wanted ? wanted : "");
  for (uint32_t i = 0; wanted && i < tree->network_count; i++) {
    if (!strcmp(tree->networks[i]->name.text, wanted)) return tree->networks[i];
    suggestion_offer(&s, tree->networks[i]->name.text);
  }
  if (wanted)
    diag(l->context, DIAG_UNKNOWN_NETWORK, start, wanted);
  else
    diag(l->context, DIAG_WHICH_NETWORK, start);
  diag_seen(l->context, "%s", network_words(l));
  if (wanted)
    suggestion_hint(l->context, &s);
  else
    diag_hint(l->context, "choose one with --network NAME");
  return NULL;
}

typedef struct Load {
  Context *context;
  const char *file_name, *text;
  size_t length;
  const FrontendOptions *options;
  Graph *graph;
} Load;

static const char *folder_of(Context *c, const char *file_name) {
  const char *slash = strrchr(file_name, '/');
  return slash ? arena_strndup(c, file_name, (size_t)(slash - file_name) + 1) : "";
}

static bool finish(Lower *l) {
  if (diag_error_count(l->context) != l->errors_before) return false;
  graph_compact(l->graph);
  if (!graph_verify(l->graph)) return false;
  if (l->options->warn_unused_params) params_warn_unused(l);
  return true;
}

static bool load(void *user) {
  Load *load = user;
  Context *c = load->context;
  Lower *l = ARENA_NEW(c, Lower, 1);
  uint32_t errors = diag_error_count(c), file = context_add_source(c, load->file_name, load->text, load->length);
  *l = (Lower){.context = c, .options = load->options, .errors_before = errors};
  l->tree = parse_source(c, file, load->text, load->length);
  if (diag_error_count(c) != errors) return false;
  l->network = choose_network(l, file);
  l->params = params_new(c, folder_of(c, load->file_name), load->options);
  l->graph = graph_new(c, l->network ? l->network->name.text : "none");
  l->block_states = ARENA_NEW(c, BlockState, l->tree->block_count);
  run_constants(l);
  check_blocks(l);
  if (!l->network) return false;
  run_network(l);
  load->graph = l->graph;
  return finish(l);
}

Graph *frontend_load(Context *c, const char *file_name, const char *text, size_t length,
                     const FrontendOptions *options) {
  Load request = {c, file_name, text, length, options, NULL};
  return context_try(c, load, &request) ? request.graph : NULL;
}
