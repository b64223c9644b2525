/* The element types of the language as the generators choose them. */
#ifndef TESTS_RANDOM_ELEMENT_H
#define TESTS_RANDOM_ELEMENT_H

#include "random_source.h"

typedef struct Element {
  const char *name;
  int q_min, q_max, zero2; /* zero2: twice the zero point that the name alone gives */
} Element;

enum { ELEMENT_COUNT = 17 };
extern const Element elements[ELEMENT_COUNT];

/* An element type with the zero point written in its text, if it is not the usual one. */
typedef struct ElementChoice {
  const Element *element;
  int zero2;
  char text[48];
} ElementChoice;

ElementChoice element_choose(RandomSource *r);
ElementChoice element_with_zero(const Element *element, int zero2);
bool element_has_zero(const ElementChoice *e);
int element_random_level(const ElementChoice *e, RandomSource *r);

#endif
