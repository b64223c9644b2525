/* The table in runtime/cpu/README.md against ptx_ops.def: the same instructions with the same operands, in the same
 * order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const rows[][2] = {
#define OP(name, operands, handler, kind) {name, operands},
#include "runtime/cpu/ptx_ops.def"
};

/* In a table a bar is written with a backslash. */
static char *escaped(char *to, const char *from) {
  for (; *from; from++) {
    if (*from == '|') *to++ = '\\';
    *to++ = *from;
  }
  *to = 0;
  return to;
}

static void table_line(char *line, const char *name, const char *operands) {
  line += sprintf(line, "| `");
  line = escaped(line, name);
  line += sprintf(line, *operands ? "` | `" : "` |");
  line = escaped(line, operands);
  sprintf(line, *operands ? "` |\n" : " |\n");
}

static void test_table(void **state) {
  (void)state;
  FILE *file = fopen(SOURCE_DIR "/runtime/cpu/README.md", "r");
  char line[512], want[512];
  size_t next = 0;
  bool in_table = false;
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    in_table |= !strcmp(line, "## What it executes\n");
    if (!in_table || strncmp(line, "| `", 3)) continue;
    assert_true(next < sizeof rows / sizeof *rows);
    table_line(want, rows[next][0], rows[next][1]);
    assert_string_equal(line, want);
    next++;
  }
  fclose(file);
  assert_int_equal(next, sizeof rows / sizeof *rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
