/* Arena, recovery, and how diagnostics look. */
#include "ir_sample.h"

/* --- memory --- */

static bool fill_arena(void *user) {
  Context *c = user;
  unsigned char *pieces[200];
  for (size_t i = 0; i < COUNT(pieces); i++) {
    size_t size = i * i * 7 % 9000;
    pieces[i] = arena_alloc(c, size);
    if ((uintptr_t)pieces[i] % 16) return false;
    for (size_t k = 0; k < size; k++)
      if (pieces[i][k]) return false;
    memset(pieces[i], (int)i + 1, size);
  }
  for (size_t i = 0; i < COUNT(pieces); i++) /* none overlaps another */
    for (size_t k = 0; k < i * i * 7 % 9000; k++)
      if (pieces[i][k] != (unsigned char)(i + 1)) return false;
  void *block = context_alloc(c, 100000), *other = context_alloc(c, 10);
  context_release(c, block);
  context_release(c, other);
  return context_alloc(c, 77) != NULL; /* not released: goes with the context */
}

static void test_arena_pieces(void **state) {
  (void)state;
  Counter counter = {.left = -1};
  Context *c = context_new(&(Allocator){counted, &counter});
  assert_true(context_try(c, fill_arena, c));
  context_free(c);
  assert_int_equal(counter.blocks, 0);
  assert_int_equal(counter.bytes, 0);
}

static void test_arena_grows(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  uint32_t *numbers = NULL;
  for (uint32_t n = 0; n < 5000; n++) {
    if (n % 97 == 0) arena_alloc(c, 3); /* something in the way */
    numbers = arena_grow(c, numbers, n * sizeof *numbers, (n + 1) * sizeof *numbers);
    assert_int_equal(numbers[n], 0);
    numbers[n] = n;
  }
  for (uint32_t n = 0; n < 5000; n++) assert_int_equal(numbers[n], n);
  context_free(c);
}

static void test_text(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  Text t = {.context = c};
  for (int i = 0; i < 1000; i++) text_add(&t, "%d,", i);
  text_add_bytes(&t, "a\0b", 3);
  assert_int_equal(t.length, 3893);
  assert_memory_equal(t.data, "0,1,2,3,4,", 10);
  assert_memory_equal(t.data + t.length - 7, "999,a\0b", 8);
  assert_string_equal(arena_printf(c, "%s-%d", "x", 7), "x-7");
  assert_string_equal(arena_strndup(c, "abcdef", 3), "abc");
  context_free(c);
}

/* Every allocation fails once; nothing leaks and the failure is one report. */
static void test_every_allocation_may_fail(void **state) {
  (void)state;
  for (long left = 0;; left++) {
    Counter counter = {.left = left};
    Context *c = context_new(&(Allocator){counted, &counter});
    if (!c) {
      assert_int_equal(left, 0);
      continue;
    }
    bool ok = context_try(c, fill_arena, c);
    if (!ok) {
      assert_int_equal(diag_error_count(c), 1);
      assert_reported(c, "error[E0101]: out of memory");
    }
    context_free(c);
    assert_int_equal(counter.blocks, 0);
    if (ok) return;
  }
}

typedef struct Nested {
  Context *c;
  Counter *counter;
  bool inner_failed;
} Nested;

static bool exhaust(void *user) {
  Nested *n = user;
  n->counter->left = 0;
  context_alloc(n->c, 1000);
  return true; /* never reached */
}

static bool outer(void *user) {
  Nested *n = user;
  char *kept = context_alloc(n->c, 50);
  memset(kept, 'k', 50);
  n->inner_failed = !context_try(n->c, exhaust, n);
  n->counter->left = -1;
  bool alive = kept[49] == 'k';
  context_release(n->c, kept);
  return alive && arena_alloc(n->c, 100) != NULL;
}

static void test_recovery_nests(void **state) {
  (void)state;
  Counter counter = {.left = -1};
  Nested n = {.c = context_new(&(Allocator){counted, &counter}), .counter = &counter};
  assert_true(context_try(n.c, outer, &n));
  assert_true(n.inner_failed);
  context_free(n.c);
  assert_int_equal(counter.blocks, 0);
}

static void append_one(void *user) {
  strcat(user, "1");
}
static void append_two(void *user) {
  strcat(user, "2");
}

static void test_close_actions(void **state) {
  (void)state;
  char order[8] = "";
  Context *c = context_new(NULL);
  context_on_close(c, append_one, order);
  context_on_close(c, append_two, order);
  assert_string_equal(order, "");
  context_free(c);
  assert_string_equal(order, "21");

  char failed[8] = "";
  Counter counter = {.left = 1}; /* the context itself, nothing else */
  c = context_new(&(Allocator){counted, &counter});
  context_on_close(c, append_one, failed);
  assert_string_equal(failed, "1"); /* could not be registered: done at once */
  context_free(c);
  assert_string_equal(failed, "1");
}

/* --- diagnostics --- */

static void test_reports_in_source_order(void **state) {
  (void)state;
  static const char text[] = "one = 1\na1 = c2 | relu\n\tb = \xc3\xa4 + c\r\n";
  Context *c = context_new(NULL);
  uint32_t file = context_add_source(c, "net.apnn", text, strlen(text));
  diag(c, DIAG_INTERNAL, (SourceLoc){0}, "nowhere");
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 3, 11, 1}, "last");
  diag_note(c, (SourceLoc){file, 1, 1, 3}, "one is here");
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 2, 6, 2}, "unknown name 'c2'");
  diag_expected(c, "a %s", "name");
  diag_seen(c, "'c2'");
  diag_hint(c, "did you mean 'c1'?");
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 2, 6, 2}, "unknown name 'c2'"); /* the same again: shown once */
  assert_int_equal(diag_error_count(c), 4);
  char *out = flushed(c);
  assert_string_equal(out, "net.apnn:2:6: error[E0901]: internal error: unknown name 'c2'\n"
                           "  2 | a1 = c2 | relu\n"
                           "    |      ^~\n"
                           "    expected: a name\n"
                           "    seen: 'c2'\n"
                           "    hint: did you mean 'c1'?\n"
                           "net.apnn:3:11: error[E0901]: internal error: last\n"
                           "  3 | \tb = \xc3\xa4 + c\n"
                           "    | \t        ^\n"
                           "net.apnn:1:1: note: one is here\n"
                           "  1 | one = 1\n"
                           "    | ^~~\n"
                           "error[E0901]: internal error: nowhere\n");
  free(out);
  assert_no_reports(c);
  context_free(c);
}

static void test_places_outside_the_source(void **state) {
  (void)state;
  static const char text[] = "ab";
  Context *c = context_new(NULL);
  uint32_t file = context_add_source(c, "f", text, 2);
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 9, 1, 1}, "no such line");
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 1, 90, 50}, "no such column");
  diag(c, DIAG_INTERNAL, (SourceLoc){file + 7, 1, 1, 1}, "no such file");
  char *out = flushed(c);
  assert_string_equal(out, "f:1:90: error[E0901]: internal error: no such column\n"
                           "  1 | ab\n"
                           "    |   ^\n"
                           "f:9:1: error[E0901]: internal error: no such line\n"
                           "error[E0901]: internal error: no such file\n");
  free(out);
  context_free(c);
}

static void test_long_lines_are_cut(void **state) {
  (void)state;
  char *text = malloc(100001);
  memset(text, 'x', 100000);
  text[100000] = 0;
  text[50000] = 'Y';
  Context *c = context_new(NULL);
  uint32_t file = context_add_source(c, "f", text, 100000);
  diag(c, DIAG_INTERNAL, (SourceLoc){file, 1, 50001, 1}, "far right");
  char *out = flushed(c);
  char *line = strchr(out, '\n') + 1, *caret = strchr(line, '\n') + 1;
  assert_true(strlen(out) < 600);
  assert_int_equal(strchr(line, 'Y') - line, strchr(caret, '^') - caret);
  free(out);
  free(text);
  context_free(c);
}

static void test_many_errors_are_counted(void **state) {
  (void)state;
  Context *c = context_new(NULL);
  for (int i = 0; i < 250; i++) diag(c, DIAG_INTERNAL, (SourceLoc){0}, arena_printf(c, "number %d", i));
  assert_int_equal(diag_error_count(c), 250);
  char *out = flushed(c);
  int lines = 0;
  for (const char *p = out; *p; p++) lines += *p == '\n';
  assert_int_equal(lines, MAX_REPORTS + 1);
  assert_non_null(strstr(out, "150 further errors are not shown\n"));
  free(out);
  context_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_arena_pieces),
      cmocka_unit_test(test_arena_grows),
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_every_allocation_may_fail),
      cmocka_unit_test(test_recovery_nests),
      cmocka_unit_test(test_close_actions),
      cmocka_unit_test(test_reports_in_source_order),
      cmocka_unit_test(test_places_outside_the_source),
      cmocka_unit_test(test_long_lines_are_cut),
      cmocka_unit_test(test_many_errors_are_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
