#include "element.h"
#include <stdio.h>

const Element elements[ELEMENT_COUNT] = {
    {"bipolar", 0, 1, 1}, {"ternary", -1, 1, 0}, {"u1", 0, 1, 0},  {"u2", 0, 3, 0},    {"u3", 0, 7, 0},
    {"u4", 0, 15, 0},     {"u5", 0, 31, 0},      {"u6", 0, 63, 0}, {"u7", 0, 127, 0},  {"u8", 0, 255, 0},
    {"i2", -2, 1, 0},     {"i3", -4, 3, 0},      {"i4", -8, 7, 0}, {"i5", -16, 15, 0}, {"i6", -32, 31, 0},
    {"i7", -64, 63, 0},   {"i8", -128, 127, 0},
};

ElementChoice element_with_zero(const Element *element, int zero2) {
  ElementChoice e = {.element = element, .zero2 = zero2};
  if (zero2 == element->zero2)
    snprintf(e.text, sizeof e.text, "%s", element->name);
  else if (zero2 % 2 == 0)
    snprintf(e.text, sizeof e.text, "%s(zero=%d)", element->name, zero2 / 2);
  else
    snprintf(e.text, sizeof e.text, "%s(zero=%d/2)", element->name, zero2);
  return e;
}

/* Mostly the plain type or, for unsigned ones, levels symmetric around zero; seldom any zero point near the range. */
ElementChoice element_choose(RandomSource *r) {
  enum { MOST_ZERO2 = 512 }; /* that the language takes */
  const Element *element = &RANDOM_OF(r, elements);
  int zero2 = element->zero2, most = 2 * element->q_max + 5;
  bool may_shift = zero2 == 0 && element->q_max > 1 - element->q_min;
  if (may_shift && random_chance(r, 25))
    zero2 = element->q_min + element->q_max;
  else if (may_shift && random_chance(r, 15))
    zero2 = 2 * random_in(r, element->q_min, element->q_max);
  else if (may_shift && random_chance(r, 8))
    zero2 = random_in(r, 2 * element->q_min - 5, most < MOST_ZERO2 ? most : MOST_ZERO2);
  return element_with_zero(element, zero2);
}

bool element_has_zero(const ElementChoice *e) {
  return e->zero2 % 2 == 0 && e->zero2 >= 2 * e->element->q_min && e->zero2 <= 2 * e->element->q_max;
}

int element_random_level(const ElementChoice *e, RandomSource *r) {
  int q = random_in(r, e->element->q_min, e->element->q_max);
  return e->zero2 % 2 == 0 ? q - e->zero2 / 2 : 2 * q - e->zero2;
}
