/* What the tests of the frontend share: loading a network from text, and what is said of broken ones. */
#ifndef TESTS_FRONTEND_SAMPLE_H
#define TESTS_FRONTEND_SAMPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frontend/frontend.h"
#include "frontend/param_file.h"

/* splitmix64: the same numbers every run. */
static inline uint64_t random_number(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* All reports so far, in the context's arena. */
static inline const char *reports_of(Context *c) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  diag_flush(c, out);
  fclose(out);
  const char *copy = arena_strdup(c, text);
  free(text);
  return copy;
}

static inline Graph *load_random(Context *c, const char *text, uint64_t seed) {
  FrontendOptions options = {.random_params = true, .seed = seed};
  return frontend_load(c, "test.apnn", text, strlen(text), &options);
}

/* A network that must be right. */
static inline Graph *load_good(Context *c, const char *text) {
  Graph *g = load_random(c, text, 1);
  if (!g) fail_msg("%s", reports_of(c));
  return g;
}

static inline const Node *node_of(const Graph *g, const char *value) {
  ValueId v = graph_find(g, value);
  if (v == NO_VALUE) fail_msg("no value %s", value);
  NodeId n = graph_definition(g, v);
  if (n == NO_NODE) fail_msg("no node gives %s", value);
  return &g->nodes[n];
}

static inline const Type *type_of(const Graph *g, const char *value) {
  ValueId v = graph_find(g, value);
  if (v == NO_VALUE) fail_msg("no value %s", value);
  return graph_type(g, v);
}

#endif
