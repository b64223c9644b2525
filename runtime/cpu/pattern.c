/* Names of instructions against the patterns of ptx_ops.def. Guarantees: no backtracking; a part of the name is
 * consumed by the first part of the pattern that takes it. */
#include "decode.h"

#include <string.h>

typedef struct ModifierRow {
  const char *class, *word;
  uint8_t modifier, value;
} ModifierRow;

static const ModifierRow modifier_rows[] = {
#define MODIFIER(class, word, modifier, value) {#class, word, modifier, value},
#include "modifiers.def"
};

typedef struct Part {
  const char *text;
  size_t length;
} Part;

/* The part up to the next dot; moves `at` behind it. */
static Part next_part(const char **at) {
  Part part = {*at, strcspn(*at, ".")};
  *at += part.length;
  if (**at == '.') (*at)++;
  return part;
}

static bool same(Part part, const char *text, size_t length) {
  return part.length == length && !memcmp(part.text, text, length);
}

static void remember(Inst *in, uint8_t modifier, uint8_t value) {
  if (modifier == MOD_COUNT) return;
  if (modifier == MOD_VECTOR) in->vector = value;
  if ((modifier == MOD_TYPE || modifier == MOD_SPACE) && in->mod[modifier] != MOD_NONE) modifier++;
  in->mod[modifier] = value;
}

static bool take_class(Part want, Part seen, Inst *in) {
  for (size_t i = 0; i < sizeof modifier_rows / sizeof *modifier_rows; i++) {
    const ModifierRow *row = &modifier_rows[i];
    if (!same(want, row->class, strlen(row->class)) || !same(seen, row->word, strlen(row->word))) continue;
    remember(in, row->modifier, row->value);
    return true;
  }
  return false;
}

static bool take_literal(Part want, Part seen) {
  const char *at = want.text, *end = want.text + want.length;
  while (at <= end) {
    const char *bar = memchr(at, '|', (size_t)(end - at));
    const char *stop = bar ? bar : end;
    if (same(seen, at, (size_t)(stop - at))) return true;
    at = stop + 1;
  }
  return false;
}

static bool take(Part want, Part seen, Inst *in) {
  if (*want.text != '<') return take_literal(want, seen);
  return take_class((Part){want.text + 1, want.length - 2}, seen, in);
}

bool pattern_matches(const char *pattern, const char *mnemonic, Inst *in) {
  memset(in->mod, MOD_NONE, sizeof in->mod);
  in->vector = 1;
  while (*pattern) {
    Part want = next_part(&pattern);
    bool optional = *want.text == '?', many = *want.text == '*';
    if (optional || many) want.text++, want.length--;
    bool taken;
    do {
      const char *rest = mnemonic;
      Part seen = next_part(&rest);
      taken = seen.length && take(want, seen, in);
      if (taken) mnemonic = rest;
    } while (taken && many);
    if (!taken && !optional && !many) return false;
  }
  return !*mnemonic;
}
