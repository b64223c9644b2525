/* Sources and diagnostics: kept while compiling, written in source order with the line and a caret.
 *
 * Messages stand in diag.def. At most MAX_REPORTS errors are kept; further ones are counted.
 */
#include "context_state.h"
#include <stdlib.h>
#include <string.h>

typedef struct Message {
  const char *code, *format;
  Severity severity;
} Message;

static const Message messages[DIAG_COUNT] = {
#define DIAG(ENUM, code, severity, format) {code, format, SEVERITY_##severity},
#include "diag.def"
#undef DIAG
};
static const char *const severity_name[] = {"error", "warning"};

uint32_t context_add_source(Context *c, const char *name, const char *text, size_t length) {
  if (c->source_count == c->source_capacity) {
    uint32_t capacity = c->source_capacity ? c->source_capacity * 2 : 4;
    Source *sources = arena_grow(c, c->sources, sizeof(Source) * c->source_capacity, sizeof(Source) * (size_t)capacity);
    if (!sources) return 0;
    c->sources = sources;
    c->source_capacity = capacity;
  }
  c->sources[c->source_count] = (Source){arena_strdup(c, name), text, length};
  return ++c->source_count;
}

static char *format_text(Context *c, const char *format, va_list args) {
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, again);
  va_end(again);
  char *s = arena_alloc(c, n < 0 ? 1 : (size_t)n + 1);
  if (s && n > 0) vsnprintf(s, (size_t)n + 1, format, args);
  return s;
}

static Report *add_report(Context *c, DiagCode code, SourceLoc loc) {
  if (c->report_count == c->report_capacity) {
    uint32_t capacity = c->report_capacity ? c->report_capacity * 2 : 16;
    Report **reports =
        arena_grow(c, c->reports, sizeof(Report *) * c->report_capacity, sizeof(Report *) * (size_t)capacity);
    if (!reports) return NULL;
    c->reports = reports;
    c->report_capacity = capacity;
  }
  Report *r = ARENA_NEW(c, Report, 1);
  if (!r) return NULL;
  *r = (Report){.code = code, .loc = loc, .serial = ++c->report_serial};
  return r;
}

void diag(Context *c, DiagCode code, SourceLoc loc, ...) {
  c->latest = NULL;
  if (messages[code].severity == SEVERITY_ERROR) c->error_count++;
  if (code == DIAG_OUT_OF_MEMORY) {
    c->out_of_memory = true;
    return;
  }
  if (c->report_count >= MAX_REPORTS) {
    if (messages[code].severity == SEVERITY_ERROR) c->dropped++;
    return;
  }
  Report *r = add_report(c, code, loc);
  if (!r) return;
  va_list args;
  va_start(args, loc);
  r->text = format_text(c, messages[code].format, args);
  va_end(args);
  if (r->text) c->reports[c->report_count++] = c->latest = r;
}

static void add_line(Context *c, const char *label, SourceLoc loc, const char *format, va_list args) {
  if (!c->latest) return;
  ReportLine *line = ARENA_NEW(c, ReportLine, 1);
  if (!line) return;
  *line = (ReportLine){.label = label, .loc = loc, .text = format_text(c, format, args)};
  if (!line->text) return;
  if (c->latest->last)
    c->latest->last->next = line;
  else
    c->latest->first = line;
  c->latest->last = line;
}

#define ADD_LINE(label, loc)                                                                                           \
  do {                                                                                                                 \
    va_list args;                                                                                                      \
    va_start(args, format);                                                                                            \
    add_line(c, label, loc, format, args);                                                                             \
    va_end(args);                                                                                                      \
  } while (0)

void diag_expected(Context *c, const char *format, ...) {
  ADD_LINE("expected", (SourceLoc){0});
}
void diag_seen(Context *c, const char *format, ...) {
  ADD_LINE("seen", (SourceLoc){0});
}
void diag_hint(Context *c, const char *format, ...) {
  ADD_LINE("hint", (SourceLoc){0});
}
void diag_note(Context *c, SourceLoc loc, const char *format, ...) {
  ADD_LINE(NULL, loc);
}

bool diag_is_kept(const Context *c) {
  return c->latest != NULL;
}

uint32_t diag_error_count(const Context *c) {
  return c->error_count;
}

/* --- writing --- */

enum { SHOWN_BEFORE = 80, SHOWN = 160 }; /* bytes of a long line shown before the caret and in all */

static const Source *source_of(const Context *c, SourceLoc loc) {
  return loc.file && loc.file <= c->source_count ? &c->sources[loc.file - 1] : NULL;
}

static void print_place(const Context *c, SourceLoc loc, FILE *out) {
  const Source *s = source_of(c, loc);
  if (s) fprintf(out, "%s:%u:%u: ", s->name ? s->name : "?", loc.line, loc.column);
}

/* The bytes of a line, without its end. False where the source has no such line. */
static bool find_line(const Source *s, uint32_t line, const char **start, size_t *length) {
  const char *p = s->text, *end = s->text + s->length;
  for (uint32_t n = 1; n < line; n++) {
    p = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    if (!p) return false;
    p++;
  }
  if (!s->text || !line) return false;
  const char *stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
  *start = p;
  *length = (size_t)((stop ? stop : end) - p);
  if (*length && p[*length - 1] == '\r') (*length)--;
  return true;
}

static bool continues_character(char byte) {
  return ((unsigned char)byte & 0xc0) == 0x80;
}

/* A blank for every character of the text, so that the caret stands under its own. */
static void print_blanks(const char *text, size_t n, FILE *out) {
  for (size_t i = 0; i < n; i++)
    if (text[i] == '\t')
      fputc('\t', out);
    else if (!continues_character(text[i]))
      fputc(' ', out);
}

static void print_printable(const char *text, size_t n, FILE *out) {
  for (size_t i = 0; i < n; i++) {
    unsigned char b = (unsigned char)text[i];
    fputc((b < 32 && b != '\t') || b == 127 ? '?' : b, out);
  }
}

/* The source line and the caret; returns the indent of the lines that follow. */
static int print_excerpt(const Context *c, SourceLoc loc, FILE *out) {
  const Source *s = source_of(c, loc);
  const char *text;
  size_t length;
  if (!s || !find_line(s, loc.line, &text, &length)) return 2;
  size_t column = loc.column ? loc.column - 1 : 0;
  if (column > length) column = length;
  size_t from = length > SHOWN && column > SHOWN_BEFORE ? column - SHOWN_BEFORE : 0;
  while (from < column && continues_character(text[from])) from++;
  size_t to = length - from > SHOWN ? from + SHOWN : length;
  const char *dots = from ? "..." : "";
  int indent = fprintf(out, "  %u ", loc.line);
  fprintf(out, "| %s", dots);
  print_printable(text + from, to - from, out);
  fprintf(out, "%s\n%*s| %*s", to < length ? "..." : "", indent, "", (int)strlen(dots), "");
  print_blanks(text + from, column - from, out);
  fputc('^', out);
  size_t marked = loc.length ? loc.length : 1;
  for (size_t i = column + 1; i < column + marked && i < to; i++)
    if (!continues_character(text[i])) fputc('~', out);
  fputc('\n', out);
  return indent;
}

static void print_report(const Context *c, const Report *r, FILE *out) {
  print_place(c, r->loc, out);
  const Message *m = &messages[r->code];
  fprintf(out, "%s[%s]: %s\n", severity_name[m->severity], m->code, r->text);
  int indent = print_excerpt(c, r->loc, out);
  for (const ReportLine *l = r->first; l; l = l->next)
    if (l->label) fprintf(out, "%*s%s: %s\n", indent, "", l->label, l->text);
  for (const ReportLine *l = r->first; l; l = l->next) {
    if (l->label) continue;
    print_place(c, l->loc, out);
    fprintf(out, "note: %s\n", l->text);
    print_excerpt(c, l->loc, out);
  }
}

static int compare_numbers(uint32_t a, uint32_t b) {
  return (a > b) - (a < b);
}

/* By file, line and column; reports without a place come last; otherwise in the order of reporting. */
static int compare_reports(const void *left, const void *right) {
  const Report *a = *(const Report *const *)left, *b = *(const Report *const *)right;
  int order = compare_numbers(a->loc.file - 1, b->loc.file - 1);
  if (!order) order = compare_numbers(a->loc.line, b->loc.line);
  if (!order) order = compare_numbers(a->loc.column, b->loc.column);
  return order ? order : compare_numbers(a->serial, b->serial);
}

static bool same_report(const Report *a, const Report *b) {
  return a->code == b->code && a->loc.file == b->loc.file && a->loc.line == b->loc.line &&
         a->loc.column == b->loc.column && !strcmp(a->text, b->text);
}

/* Whether a report at the same place already said the same. */
static bool repeated(const Context *c, uint32_t index) {
  for (uint32_t i = index; i-- > 0;) {
    if (c->reports[i]->loc.line != c->reports[index]->loc.line) return false;
    if (same_report(c->reports[i], c->reports[index])) return true;
  }
  return false;
}

void diag_flush(Context *c, FILE *out) {
  if (c->report_count > 1) qsort(c->reports, c->report_count, sizeof *c->reports, compare_reports);
  for (uint32_t i = 0; i < c->report_count; i++)
    if (!repeated(c, i)) print_report(c, c->reports[i], out);
  if (c->out_of_memory) {
    const Message *m = &messages[DIAG_OUT_OF_MEMORY];
    fprintf(out, "%s[%s]: %s\n", severity_name[m->severity], m->code, m->format);
  }
  if (c->dropped) fprintf(out, "%u further error%s not shown\n", c->dropped, c->dropped == 1 ? " is" : "s are");
  c->report_count = c->dropped = 0;
  c->latest = NULL;
  c->out_of_memory = false;
}
