/* Shrinks a network as text: whatever the edit, the caller's test says whether the result still shows the failure, so
 * an edit may well give a text that does not compile. */
#define _GNU_SOURCE
#include "shrink.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Shrink {
  char *text;
  bool (*still_fails)(void *user, const char *text);
  void *user;
  int attempts_left;
} Shrink;

/* Takes `candidate` (from malloc) over if it still fails, otherwise frees it. */
static bool try_text(Shrink *s, char *candidate) {
  bool accepted = candidate && s->attempts_left > 0 && strcmp(candidate, s->text) != 0;
  if (accepted) {
    s->attempts_left--;
    accepted = s->still_fails(s->user, candidate);
  }
  free(accepted ? s->text : candidate);
  if (accepted) s->text = candidate;
  return accepted;
}

/* The text with `removed` bytes at `at` replaced. */
static char *spliced(const char *text, size_t at, size_t removed, const char *replacement) {
  char *out = NULL;
  if (asprintf(&out, "%.*s%s%s", (int)at, text, replacement, text + at + removed) < 0) return NULL;
  return out;
}

static bool is_word(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static size_t word_length(const char *s) {
  size_t n = 0;
  while (is_word(s[n])) n++;
  return n;
}

/* Every word `name` of the text becomes `other`. */
static char *renamed(const char *text, const char *name, const char *other) {
  char *out = NULL;
  size_t size;
  FILE *f = open_memstream(&out, &size);
  for (const char *p = text; *p;) {
    size_t n = word_length(p);
    if (n == strlen(name) && strncmp(p, name, n) == 0)
      fputs(other, f);
    else
      fprintf(f, "%.*s", (int)(n > 0 ? n : 1), p);
    p += n > 0 ? n : 1;
  }
  fclose(f);
  return out;
}

/* The line at `line` goes. Where it is `name = ...`, each word of it may take the place of the name. */
static bool drop_line(Shrink *s, size_t line) {
  const char *start = s->text + line;
  size_t length = strcspn(start, "\n"), indent = strspn(start, " ");
  char *name = strndup(start + indent, word_length(start + indent)), *content = strndup(start, length);
  char *without = spliced(s->text, line, length + (start[length] == '\n'), "");
  bool accepted = try_text(s, strdup(without));
  const char *equals = strchr(content, '=');
  for (const char *p = equals; p && *p && !accepted; p++) {
    size_t n = word_length(p);
    if (n == 0) continue;
    char *other = strndup(p, n);
    if (isalpha((unsigned char)p[0]) && p[n] != '(' && p[n] != '=')
      accepted = try_text(s, renamed(without, name, other));
    free(other);
    p += n - 1;
  }
  free(without);
  free(content);
  free(name);
  return accepted;
}

/* From `block` or another opening line to its closing brace. */
static bool drop_braces(Shrink *s, size_t line) {
  const char *start = s->text + line, *end = strstr(start, "\n}\n");
  if (strncmp(start, "block ", 6) != 0 || !end) return false;
  return try_text(s, spliced(s->text, line, (size_t)(end + 3 - start), ""));
}

static bool drop_lines(Shrink *s) {
  bool changed = false;
  for (size_t line = 0; s->text[line];) {
    if (drop_braces(s, line) || drop_line(s, line))
      changed = true;
    else
      line += strcspn(s->text + line, "\n") + 1;
    if (line > strlen(s->text)) break;
  }
  return changed;
}

/* End of the part that begins at `at`: the next separator outside parentheses. */
static size_t part_length(const char *at, const char *separators) {
  int depth = 0;
  size_t n = 0;
  for (; at[n] && at[n] != '\n'; n++) {
    if (depth == 0 && n > 0 && strchr(separators, at[n])) break;
    if (strchr("([", at[n])) depth++;
    if (strchr(")]", at[n]) && --depth < 0) break;
  }
  return n;
}

/* `| step` and `, argument`. */
static bool drop_parts(Shrink *s) {
  bool changed = false;
  for (size_t at = 0; s->text[at]; at++)
    while (s->text[at] == '|' || s->text[at] == ',') {
      size_t n = part_length(s->text + at, s->text[at] == '|' ? "|," : ",");
      if (!try_text(s, spliced(s->text, at, n, ""))) break;
      changed = true;
    }
  return changed;
}

static bool shrink_number(Shrink *s, size_t at) {
  long old = strtol(s->text + at, NULL, 10);
  size_t n = strspn(s->text + at, "0123456789");
  const long tries[] = {0, 1, 2, old / 2, old - 1};
  for (int i = 0; i < 5; i++) {
    char digits[24];
    if (tries[i] < 0 || tries[i] >= old) continue;
    snprintf(digits, sizeof digits, "%ld", tries[i]);
    if (try_text(s, spliced(s->text, at, n, digits))) return true;
  }
  return false;
}

static bool shrink_numbers(Shrink *s) {
  bool changed = false;
  for (size_t at = 1; s->text[at]; at++) {
    if (!isdigit((unsigned char)s->text[at]) || is_word(s->text[at - 1])) continue;
    while (shrink_number(s, at)) changed = true;
  }
  return changed;
}

char *shrink_network(const char *text, bool (*still_fails)(void *user, const char *text), void *user,
                     int most_attempts) {
  Shrink s = {.text = strdup(text), .still_fails = still_fails, .user = user, .attempts_left = most_attempts};
  bool changed = true;
  while (changed && s.attempts_left > 0) {
    changed = drop_lines(&s);
    changed = drop_parts(&s) || changed;
    changed = shrink_numbers(&s) || changed;
  }
  return s.text;
}
