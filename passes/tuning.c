/* Tuning files: keys of layers, the text, look-up.
 *
 * Guarantees: equal keys mean that one choice of engine and tile serves both layers alike; the text of the same entries
 * is the same bytes; a line that does not read is an error with its place.
 */
#include "tuning.h"
#include "../ir/print.h"
#include "../ir/reader.h"
#include <string.h>

static const char first_line[] = "apnnc tuning 1";

/* --- keys --- */

bool tuning_serves(const Node *node) {
  return node->op == OP_CONV2D || node->op == OP_LINEAR;
}

/* Scales and layouts are left out: no kernel's time depends on the first, and the second follow from the choice. */
static void add_key_type(Text *out, const Graph *g, const Type *t) {
  Type plain = *t;
  plain.scale = 1;
  plain.scales = NO_VALUE;
  plain.layout = (Layout){0};
  text_add_type(out, g, &plain);
}

/* A network's input or output has a layout that no layer chooses; copies that the layout pass makes of it do not count.
 */
static const char *place_in_network(const Graph *g, ValueId v) {
  NodeId n = graph_definition(g, v);
  while (n != NO_NODE && g->nodes[n].op == OP_COPY && !g->nodes[n].step_count && !graph_is_output(g, v)) {
    v = g->nodes[n].inputs[0];
    n = graph_definition(g, v);
  }
  return graph_value(g, v)->kind == VALUE_INPUT ? "input " : graph_is_output(g, v) ? "output " : "";
}

static void add_key_step(Text *out, const Graph *g, const Step *step) {
  ValueId operand = step_operand(step);
  text_add(out, " | %s", op_info[step->op].name);
  if (operand == NO_VALUE) return;
  text_add(out, "(");
  add_key_type(out, g, graph_type(g, operand));
  text_add(out, ")");
}

const char *tuning_key(const Graph *g, const Node *node, const PassOptions *options) {
  Text key = {.context = g->context};
  text_add(&key, "%s batch=%u %s(", options->target->name, options->max_batch, op_info[node->op].name);
  for (uint32_t i = 0; i < node->input_count; i++) {
    text_add(&key, i ? ", %s" : "%s", place_in_network(g, node->inputs[i]));
    add_key_type(&key, g, graph_type(g, node->inputs[i]));
  }
  text_add(&key, ")");
  text_add_attrs(&key, node->op, &node->attrs);
  for (uint32_t s = 0; s < node->step_count; s++) add_key_step(&key, g, &node->steps[s]);
  text_add(&key, graph_is_output(g, node->result) ? " -> output " : " -> ");
  add_key_type(&key, g, graph_type(g, node->result));
  return key.data;
}

/* --- look-up --- */

/* Where the key is, or would be. */
static uint32_t place_of(const Tuning *t, const char *key) {
  uint32_t first = 0, last = t->count;
  while (first < last) {
    uint32_t middle = first + (last - first) / 2;
    if (strcmp(t->entries[middle].key, key) < 0)
      first = middle + 1;
    else
      last = middle;
  }
  return first;
}

const TuningEntry *tuning_find(const Tuning *t, const char *key) {
  uint32_t at = place_of(t, key);
  return at < t->count && !strcmp(t->entries[at].key, key) ? &t->entries[at] : NULL;
}

const TuningEntry *tuning_of_node(const Graph *g, const Node *node, const PassOptions *options) {
  if (!options->tuning || !tuning_serves(node)) return NULL;
  return tuning_find(options->tuning, tuning_key(g, node, options));
}

void tuning_warn(const Graph *g, const Node *node, const TuningEntry *entry, const char *why) {
  diag(g->context, DIAG_TUNING_UNUSED, entry->loc, graph_value(g, node->result)->name, why);
  diag_hint(g->context, "the cost model chooses for it; tune again with --tune");
}

bool tile_equal(const Tile *a, const Tile *b) {
  return a->m == b->m && a->n == b->n && a->k == b->k && a->warps_m == b->warps_m && a->warps_n == b->warps_n &&
         a->stages == b->stages && a->split_k == b->split_k && a->resident == b->resident;
}

Tuning *tuning_new(Context *c) {
  Tuning *t = ARENA_NEW(c, Tuning, 1);
  t->context = c;
  return t;
}

void tuning_set(Tuning *t, const TuningEntry *entry) {
  uint32_t at = place_of(t, entry->key);
  if (at < t->count && !strcmp(t->entries[at].key, entry->key)) {
    t->entries[at] = *entry;
    return;
  }
  if (t->count == t->capacity) {
    uint32_t capacity = t->capacity ? 2 * t->capacity : 16;
    t->entries = arena_grow(t->context, t->entries, sizeof *entry * t->capacity, sizeof *entry * capacity);
    t->capacity = capacity;
  }
  memmove(&t->entries[at + 1], &t->entries[at], sizeof *entry * (t->count++ - at));
  t->entries[at] = *entry;
}

/* --- the text --- */

Text tuning_text(const Tuning *t) {
  Text out = {.context = t->context};
  text_add(&out, "%s\n", first_line);
  for (uint32_t i = 0; i < t->count; i++) {
    const TuningEntry *e = &t->entries[i];
    char tile[TILE_TEXT];
    text_add(&out, "%s : engine=%s", e->key, engine_name[e->engine]);
    if (e->tile.m) text_add(&out, " tile=%s", tile_text(&e->tile, tile));
    text_add(&out, *e->note ? "  # %s\n" : "\n", e->note);
  }
  return out;
}

static bool is_blank(char ch) {
  return ch == ' ' || ch == '\t' || ch == '\r';
}

static const char *find(const char *start, const char *end, char ch) {
  const char *at = memchr(start, ch, (size_t)(end - start));
  return at ? at : end;
}

/* Up to a byte 0x00, if there is one, without the blanks around. */
static const char *trimmed(Context *c, const char *start, const char *end) {
  end = find(start, end, 0);
  while (start < end && is_blank(*start)) start++;
  while (start < end && is_blank(end[-1])) end--;
  return arena_strndup(c, start, (size_t)(end - start));
}

/* "name=" */
static bool parse_label(Reader *r, const char *name) {
  reader_skip_blanks(r);
  size_t length = strlen(name);
  bool found = (size_t)(r->end - r->at) >= length && !memcmp(r->at, name, length);
  if (!found) return reader_fail(r, arena_printf(r->context, "%s=", name));
  r->at += length;
  return reader_expect(r, '=', "behind it");
}

static bool parse_engine(Reader *r, Engine *out) {
  SourceLoc loc = reader_loc(r);
  const char *name = reader_word(r, "an engine");
  for (int e = ENGINE_NONE + 1; name && e < ENGINE_COUNT; e++)
    if (!strcmp(engine_name[e], name)) {
      *out = (Engine)e;
      return true;
    }
  if (!name) return false;
  diag(r->context, DIAG_IR_UNKNOWN, loc, "engine", name);
  Text names = {.context = r->context};
  for (int e = ENGINE_NONE + 1; e < ENGINE_COUNT; e++) text_add(&names, e > 1 ? ", %s" : "%s", engine_name[e]);
  diag_expected(r->context, "one of %s", names.data);
  return false;
}

static bool parse_tile(Reader *r, Tile *out) {
  SourceLoc loc = reader_loc(r);
  if (!reader_tile(r, out)) return false;
  if (!out->m) diag(r->context, DIAG_IR_NUMBER, loc, "the number of rows of the tile");
  return out->m > 0;
}

/* One line, up to r->end; *note begins behind its '#'. */
static bool parse_entry(Reader *r, const char *note, const char *note_end, Tuning *t) {
  Context *c = r->context;
  const char *colon = find(r->at, r->end, ':');
  TuningEntry e = {.key = trimmed(c, r->at, colon), .note = trimmed(c, note, note_end), .loc = reader_loc(r)};
  r->at = find(r->at, colon, 0);
  if (!*e.key || r->at < colon) return reader_fail(r, "a layer before ':'");
  if (!reader_expect(r, ':', "and an engine behind the layer") || !parse_label(r, "engine")) return false;
  if (!parse_engine(r, &e.engine)) return false;
  if (!reader_at_end(r) && (!parse_label(r, "tile") || !parse_tile(r, &e.tile))) return false;
  if (!reader_at_end(r)) return reader_fail(r, "the end of the line");
  const TuningEntry *before = tuning_find(t, e.key);
  if (before) diag(c, DIAG_TUNING_TWICE, e.loc);
  if (before) diag_note(c, before->loc, "the earlier line");
  if (!before) tuning_set(t, &e);
  return !before;
}

static bool parse_first_line(Reader *r) {
  const char *start = r->at;
  if (!strcmp(trimmed(r->context, start, r->end), first_line)) return true;
  size_t same = 0;
  while (start + same < r->end && first_line[same] && start[same] == first_line[same]) same++;
  r->at = start + same;
  return reader_fail(r, arena_printf(r->context, "'%s' as the first line", first_line));
}

Tuning *tuning_parse(Context *c, const char *file_name, const char *text, size_t length) {
  uint32_t file = context_add_source(c, file_name, text, length), line = 1;
  Tuning *t = tuning_new(c);
  bool good = true;
  for (const char *at = text, *end = text + length; at < end || line == 1; line++) {
    const char *line_end = find(at, end, '\n'), *hash = find(at, line_end, '#');
    Reader r = reader_new(c, file, at, (size_t)(hash - at));
    r.line = line;
    if (line == 1 && !parse_first_line(&r)) return NULL;
    if (line > 1 && !reader_at_end(&r))
      good = parse_entry(&r, hash < line_end ? hash + 1 : line_end, line_end, t) && good;
    at = line_end < end ? line_end + 1 : end;
  }
  return good ? t : NULL;
}
