/* Every weight type with every activation type, for conv2d and linear: small layers of odd sizes. */
#include "element.h"
#include "generate.h"
#include <stdio.h>
#include <stdlib.h>

enum { FORMS = 2 }; /* conv2d, linear */

/* The type's usual zero point; for every third pair of an unsigned type the middle of its range. */
static ElementChoice choice_of(int index, int turn) {
  const Element *e = &elements[index];
  bool is_wide = e->q_min == 0 && e->q_max > 1;
  return element_with_zero(e, is_wide && turn % 3 == 0 ? e->q_max : e->zero2);
}

static void write_input(FILE *out, const char *shape, const ElementChoice *x) {
  fprintf(out, "  input x : %s[%s]", x->element->name, shape);
  if (x->zero2 != x->element->zero2) fprintf(out, "(zero=%d/2)", x->zero2);
  fprintf(out, "\n");
}

static void write_conv2d(FILE *out, const ElementChoice *x, const ElementChoice *w, int turn) {
  int channels = 3 + turn * 7 % 41, outputs = 2 + turn * 5 % 23;
  char shape[32];
  snprintf(shape, sizeof shape, "5, 6, %d", channels);
  write_input(out, shape, x);
  fprintf(out, "  y = conv2d(x, %d, kernel=3, pad=1, w=%s", outputs, w->text);
  if (!element_has_zero(x)) fprintf(out, ", pad_value=%d", turn % 2 ? 1 : -1);
  fprintf(out, ")\n");
}

static void write_linear(FILE *out, const ElementChoice *x, const ElementChoice *w, int turn) {
  char shape[32];
  snprintf(shape, sizeof shape, "%d", 5 + turn * 37 % 300);
  write_input(out, shape, x);
  fprintf(out, "  y = linear(x, %d, w=%s)\n", 1 + turn * 11 % 29, w->text);
}

char *generate_pair(uint32_t index) {
  if (index >= FORMS * ELEMENT_COUNT * ELEMENT_COUNT) return NULL;
  int turn = (int)(index / FORMS);
  ElementChoice w = choice_of(turn % ELEMENT_COUNT, turn), x = choice_of(turn / ELEMENT_COUNT, turn + 1);
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  fprintf(out, "network pair {\n");
  if (index % FORMS == 0)
    write_conv2d(out, &x, &w, turn);
  else
    write_linear(out, &x, &w, turn);
  fprintf(out, "  output sums = y\n  output z = y | batchnorm | relu | quantize(u3)\n}\n");
  fclose(out);
  return text;
}
