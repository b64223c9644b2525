/* The graph's structure, and what the verifier refuses. */
#include "ir_sample.h"

static int setup(void **state) {
  return (*state = context_new(NULL)) ? 0 : -1;
}
static int teardown(void **state) {
  context_free(*state);
  return 0;
}

static const float ones[] = {1, 1, 1, 1};

/* x -> relu a -> bias b -> add(b, a) s; output s. */
typedef struct Small {
  Graph *g;
  ValueId x, k, a, b, s;
} Small;

static ValueId append(Graph *g, Op op, const ValueId *in, uint32_t count, const char *name) {
  return graph_insert_node(g, g->node_count, op, NULL, in, count, (Type){0}, name, (SourceLoc){0});
}

static Small small_graph(Context *c) {
  Small m = {.g = graph_new(c, "small")};
  m.x = graph_add_input(m.g, "x", type_make(ELEM_F32, 32, true, 3, DIMS(2, 2, 4)));
  m.k = graph_add_const(m.g, "k", type_make(ELEM_F32, 32, false, 1, DIMS(4)), ones);
  m.a = append(m.g, OP_RELU, &m.x, 1, "a");
  m.b = append(m.g, OP_BIAS, (ValueId[]){m.a, m.k}, 2, "b");
  m.s = append(m.g, OP_ADD, (ValueId[]){m.b, m.a}, 2, "s");
  graph_add_output(m.g, m.s);
  return m;
}

static void test_uses_and_definitions(void **state) {
  Small m = small_graph(*state);
  assert_true(graph_verify(m.g));
  assert_int_equal(graph_definition(m.g, m.b), 1);
  assert_int_equal(graph_definition(m.g, m.x), NO_NODE);
  assert_int_equal(graph_use_count(m.g, m.a), 2);
  assert_int_equal(graph_use_count(m.g, m.s), 1);
  assert_true(graph_is_output(m.g, m.s) && !graph_is_output(m.g, m.a));
  graph_replace_uses(m.g, m.b, m.a);
  assert_int_equal(graph_use_count(m.g, m.b), 0);
  assert_int_equal(graph_use_count(m.g, m.a), 3);
  graph_compact(m.g); /* bias has no use left */
  assert_int_equal(m.g->node_count, 2);
  assert_int_equal(m.g->nodes[1].op, OP_ADD);
  assert_true(graph_verify(m.g));
}

/* relu, bias, add, where add's result becomes that of the bias. */
static void test_take_result_and_set_inputs(void **state) {
  Small m = small_graph(*state);
  graph_take_result(m.g, 1, 2);
  assert_int_equal(m.g->nodes[2].op, OP_NONE);
  assert_int_equal(graph_definition(m.g, m.s), 1);
  assert_int_equal(graph_definition(m.g, m.b), NO_NODE);
  assert_int_equal(graph_use_count(m.g, m.b), 0);
  assert_int_equal(graph_use_count(m.g, m.a), 1);
  assert_true(graph_verify(m.g));
  graph_set_inputs(m.g, 1, (ValueId[]){m.x, m.k}, 2);
  assert_int_equal(graph_use_count(m.g, m.a), 0);
  assert_int_equal(graph_use_count(m.g, m.x), 2);
  assert_true(graph_verify(m.g));
  graph_compact(m.g);
  assert_int_equal(m.g->node_count, 1);
  assert_int_equal(graph_definition(m.g, m.a), NO_NODE);
  assert_int_equal(graph_definition(m.g, m.s), 0);
}

static void test_insert_in_the_middle(void **state) {
  Small m = small_graph(*state);
  ValueId c = graph_insert_node(m.g, 1, OP_SIGN, NULL, &m.a, 1, (Type){0}, NULL, (SourceLoc){0});
  assert_int_equal(graph_definition(m.g, c), 1);
  assert_int_equal(graph_definition(m.g, m.b), 2);
  graph_set_input(m.g, 2, 0, c);
  assert_int_equal(graph_use_count(m.g, c), 1);
  assert_int_equal(graph_use_count(m.g, m.a), 2);
  assert_true(graph_verify(m.g));
  graph_delete_node(m.g, 1);
  assert_false(graph_verify(m.g));
  assert_reported(*state, "an operand of layer 'b' is not defined before it");
}

static void test_names(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type t = type_make(ELEM_F32, 32, true, 1, DIMS(1));
  ValueId first = graph_add_input(g, "n", t), second = graph_add_result(g, "n", t), third = graph_add_result(g, "n", t);
  assert_string_equal(graph_value(g, first)->name, "n");
  assert_string_not_equal(graph_value(g, second)->name, graph_value(g, third)->name);
  for (int i = 0; i < 1000; i++) {
    ValueId v = graph_add_result(g, i % 2 ? "n" : NULL, t);
    assert_int_equal(graph_find(g, graph_value(g, v)->name), v);
  }
  assert_int_equal(graph_find(g, "n"), first);
  assert_int_equal(graph_find(g, "nowhere"), NO_VALUE);
  assert_string_equal(graph_rename(g, second, "new"), "new");
  assert_int_equal(graph_find(g, "new"), second);
  assert_string_not_equal(graph_rename(g, third, "new"), "new");
  for (ValueId v = 0; v < g->value_count; v++) assert_int_equal(graph_find(g, graph_value(g, v)->name), v);
}

/* Numbers behind a name count up without gaps, and a name that very many values share stays quick. */
static void test_names_of_many(void **state) {
  enum { MANY = 50000 };
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type t = type_make(ELEM_F32, 32, true, 1, DIMS(1));
  graph_add_input(g, "n", t);
  for (int i = 2; i < MANY; i++) {
    ValueId v = graph_add_result(g, "n", t);
    assert_string_equal(graph_value(g, v)->name, arena_printf(c, "n.%d", i));
  }
  /* Gaps where doubling looks: still a free name. */
  for (uint64_t i = 2; i < UINT32_MAX; i = 2 * i + 1) graph_add_result(g, arena_printf(c, "m.%u", (unsigned)i), t);
  graph_add_result(g, "m", t);
  for (int i = 0; i < 100; i++) {
    ValueId v = graph_add_result(g, "m", t);
    assert_int_equal(graph_find(g, graph_value(g, v)->name), v);
  }
}

static void test_steps_follow_the_type(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  Type u8 = type_make(ELEM_UINT, 8, true, 1, DIMS(4)), u2 = type_make(ELEM_UINT, 2, true, 1, DIMS(4));
  ValueId x = graph_add_input(g, "x", u8);
  ValueId y = graph_insert_node(g, 0, OP_COPY, NULL, &x, 1, (Type){0}, "y", (SourceLoc){0});
  graph_type(g, y)->layout = layout_bytes(&u8, 16);
  graph_append_step(g, 0, OP_DEQUANTIZE, NULL, NULL, 0, (Type){0});
  assert_int_equal(graph_type(g, y)->kind, ELEM_F32);
  graph_type(g, y)->layout = layout_planes(&u2, 32);
  graph_append_step(g, 0, OP_QUANTIZE, NULL, NULL, 0, u2);
  assert_true(type_same_quant(graph_type(g, y), &u2));
  assert_int_equal(graph_type(g, y)->layout.pitch, 32); /* kept */
  assert_int_equal(g->nodes[0].main_type.kind, ELEM_UINT);
  assert_true(graph_verify(g));
  graph_append_step(g, 0, OP_RELU, NULL, NULL, 0, (Type){0});
  assert_reported(c, "operand 1 of relu cannot be u2[N,4]");
}

/* --- the verifier --- */

static void break_order(Small *m) {
  Node n = m->g->nodes[0];
  m->g->nodes[0] = m->g->nodes[1];
  m->g->nodes[1] = n;
}
static void break_operand_id(Small *m) {
  m->g->nodes[1].inputs[1] = 999;
}
static void break_result_id(Small *m) {
  m->g->nodes[1].result = 999;
}
static void break_two_definitions(Small *m) {
  m->g->nodes[1].result = m->a;
}
static void break_op(Small *m) {
  m->g->nodes[1].op = OP_COUNT;
}
static void break_engine(Small *m) {
  m->g->nodes[1].engine = ENGINE_COUNT;
}
static void break_main_type(Small *m) {
  m->g->nodes[1].main_type.dim[0] = 3;
}
static void break_result_type(Small *m) {
  graph_type(m->g, m->b)->kind = ELEM_I32;
}
static void break_shape(Small *m) {
  graph_type(m->g, m->x)->dim[2] = 0;
}
static void break_parameter(Small *m) {
  m->g->nodes[1].inputs[1] = m->x;
}
static void break_const_data(Small *m) {
  graph_value(m->g, m->k)->data = NULL;
}
static void break_const_alignment(Small *m) {
  graph_value(m->g, m->k)->data = (const char *)ones + 1;
}
static void break_const_batch(Small *m) {
  graph_type(m->g, m->k)->batched = true;
}
static void break_input_batch(Small *m) {
  graph_type(m->g, m->x)->batched = false;
}
static void break_inputs(Small *m) {
  m->g->input_count = 0;
}
static void break_output(Small *m) {
  m->g->outputs[0] = m->x;
}
static void break_output_id(Small *m) {
  m->g->outputs[0] = NO_VALUE;
}
static void break_name(Small *m) {
  graph_value(m->g, m->a)->name = "b";
}
static void break_no_name(Small *m) {
  graph_value(m->g, m->a)->name = NULL;
}
static void break_offset(Small *m) {
  graph_value(m->g, m->a)->arena_offset = 64;
}
static void break_offset_of_output(Small *m) {
  graph_value(m->g, m->s)->arena_offset = 0;
}
static void break_layout(Small *m) {
  graph_type(m->g, m->a)->layout = (Layout){.kind = LAYOUT_PLANES, .block = 32, .pitch = 32};
}
static void break_input_count(Small *m) {
  m->g->nodes[1].input_count = 1;
}
static void break_step(Small *m) {
  m->g->nodes[1].steps = ARENA_NEW(m->g->context, Step, 1);
  m->g->nodes[1].steps[0] = (Step){.op = OP_MAXPOOL, .attrs = attrs_default(), .type = m->g->nodes[1].main_type};
  m->g->nodes[1].step_count = 1;
}
static void break_own_step(Small *m) {
  break_step(m);
  m->g->nodes[1].steps[0].op = OP_ADD;
  m->g->nodes[1].steps[0].args[0] = m->b; /* the layer's own result */
  m->g->nodes[1].steps[0].arg_count = 1;
}
static void break_use_count(Small *m) {
  graph_value(m->g, m->k)->uses++;
}
static void break_operand_behind_its_back(Small *m) {
  m->g->nodes[2].inputs[0] = m->x;
}
static void break_definition(Small *m) {
  graph_value(m->g, m->b)->definition = 0;
}
static void break_lost_definition(Small *m) {
  m->g->values[m->k].definition = 1;
}
static void break_attribute(Small *m) {
  m->g->nodes[0].op = OP_LEAKY_RELU;
  m->g->nodes[0].attrs.alpha = float_of_bits(0x7fc00000);
}

static void test_verifier_sees(void **state) {
  static const struct {
    void (*damage)(Small *m);
    const char *words;
  } rows[] = {
      {break_order, "operand of layer 'b' is not defined before it"},
      {break_operand_id, "operand of layer 'b' is not defined before it"},
      {break_result_id, "does not define a result of its own"},
      {break_two_definitions, "does not define a result of its own"},
      {break_op, "no known operation or engine"},
      {break_engine, "no known operation or engine"},
      {break_main_type, "bias in layer 'b' gives another type"},
      {break_result_type, "the type of 'b'"},
      {break_shape, "the type of 'x': every dimension must be at least 1"},
      {break_parameter, "operand 'x' of bias in layer 'b' is not a constant"},
      {break_const_data, "constant 'k' has no data"},
      {break_const_alignment, "constant 'k' are not aligned"},
      {break_const_batch, "constant 'k' has a batch dimension"},
      {break_input_batch, "input 'x' has no batch dimension"},
      {break_inputs, "an input is missing"},
      {break_output, "an output is not the result of a layer"},
      {break_output_id, "an output is not the result of a layer"},
      {break_name, "the name 'b' is not unique"},
      {break_no_name, "a value has no name"},
      {break_offset, "'a' does not lie in the arena"},
      {break_offset_of_output, "'s' has a place in the arena"},
      {break_layout, "do not lie in bit planes"},
      {break_input_count, "bias takes 2 operands, but has 1"},
      {break_step, "cannot be a step"},
      {break_own_step, "operand of layer 'b' is not defined before it"},
      {break_use_count, "counts 2 uses of 'k', but there are 1"},
      {break_operand_behind_its_back, "counts 1 uses of 'x', but there are 2"},
      {break_definition, "does not know that this node defines 'b'"},
      {break_lost_definition, "has a definition of 'k', but there is none"},
      {break_attribute, "alpha of leaky_relu"},
  };
  Context *c = *state;
  for (size_t i = 0; i < COUNT(rows); i++) {
    Small m = small_graph(c);
    assert_true(graph_verify(m.g));
    rows[i].damage(&m);
    assert_false(graph_verify(m.g));
    assert_reported(c, rows[i].words);
    float in[16] = {0}, out[16];
    assert_false(graph_eval(m.g, 1, (const void *[]){in}, (void *[]){out})); /* what does not verify is not run */
    free(flushed(c));
  }
}

static void test_elements_must_fit(void **state) {
  Context *c = *state;
  Graph *g = graph_new(c, "g");
  static const int8_t ternary[] = {-1, 0, 1, -2};
  graph_add_const(g, "w", type_make(ELEM_TERNARY, 2, false, 2, DIMS(2, 2)), ternary);
  assert_false(graph_verify(g));
  assert_reported(c, "constant 'w' has elements outside the range of its type");
}

/* Every byte, at every place of a constant whose elements are no multiple of a word. */
static void test_every_element_is_looked_at(void **state) {
  Context *c = *state;
  enum { ELEMENTS = 19 };
  static const Type types[] = {{.kind = ELEM_UINT, .bits = 1},   {.kind = ELEM_UINT, .bits = 7},
                               {.kind = ELEM_UINT, .bits = 8},   {.kind = ELEM_INT, .bits = 2},
                               {.kind = ELEM_INT, .bits = 7},    {.kind = ELEM_INT, .bits = 8},
                               {.kind = ELEM_TERNARY, .bits = 2}};
  for (size_t i = 0; i < COUNT(types); i++) {
    Type t = type_make(types[i].kind, types[i].bits, false, 1, DIMS(ELEMENTS));
    bool is_signed = t.kind != ELEM_UINT;
    uint8_t data[ELEMENTS];
    Graph *g = graph_new(c, "g");
    graph_add_const(g, "w", t, data);
    for (int byte = 0; byte < 256; byte++)
      for (int at = 0; at < ELEMENTS; at++) {
        int value = is_signed ? (int8_t)byte : byte;
        for (int k = 0; k < ELEMENTS; k++) data[k] = (uint8_t)(k % 2 ? type_q_min(&t) : type_q_max(&t));
        data[at] = (uint8_t)byte;
        assert_int_equal(graph_verify(g), value >= type_q_min(&t) && value <= type_q_max(&t));
      }
    free(flushed(c));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_uses_and_definitions, setup, teardown),
      cmocka_unit_test_setup_teardown(test_take_result_and_set_inputs, setup, teardown),
      cmocka_unit_test_setup_teardown(test_insert_in_the_middle, setup, teardown),
      cmocka_unit_test_setup_teardown(test_names, setup, teardown),
      cmocka_unit_test_setup_teardown(test_names_of_many, setup, teardown),
      cmocka_unit_test_setup_teardown(test_steps_follow_the_type, setup, teardown),
      cmocka_unit_test_setup_teardown(test_verifier_sees, setup, teardown),
      cmocka_unit_test_setup_teardown(test_elements_must_fit, setup, teardown),
      cmocka_unit_test_setup_teardown(test_every_element_is_looked_at, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
