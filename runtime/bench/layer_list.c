/* Commands from a file, a line each, for `apnn-bench layer --list`: one process, which makes the device's context once,
 * does them all. Words are separated by blanks; '#' begins a comment. */
#define _GNU_SOURCE
#include "../tool.h"
#include "layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORDS = 64 };

/* Words 1 on; 0 where there are too many. */
static int split(char *line, char *words[MOST_WORDS + 1]) {
  static const char blanks[] = " \t\r\n";
  int count = 1;
  char *rest = NULL;
  line[strcspn(line, "#")] = 0;
  for (char *word = strtok_r(line, blanks, &rest); word; word = strtok_r(NULL, blanks, &rest)) {
    if (count == MOST_WORDS) return 0;
    words[count++] = word;
  }
  words[count] = NULL;
  return count;
}

int bench_list(const char *path, const char *tool, BenchCommand run, void *user) {
  char name[] = "layer", *words[MOST_WORDS + 1] = {name}, *line = NULL;
  size_t capacity = 0;
  int worst = EXIT_GOOD;
  FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
  if (!f) return tool_fail(EXIT_BAD_INPUT, tool, "%s: %s", path, strerror(errno));
  for (int number = 1; getline(&line, &capacity, f) >= 0; number++) {
    int count = split(line, words);
    int code = count > 1   ? run(user, count, words)
               : count < 1 ? tool_fail(EXIT_USAGE, tool, "%s:%d: more than %d words", path, number, MOST_WORDS)
                           : EXIT_GOOD;
    if (code > worst) worst = code;
    fflush(stdout); /* who writes the list may wait for what comes of a line */
  }
  if (ferror(f)) worst = tool_fail(EXIT_BAD_INPUT, tool, "%s: %s", path, strerror(errno));
  free(line);
  if (f != stdin) fclose(f);
  return worst;
}
