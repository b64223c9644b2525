/* What apnn-run and apnn-bench share: exit codes, messages, and how a tensor is printed. */
#ifndef RUNTIME_TOOL_H
#define RUNTIME_TOOL_H

#include "apnn.h"

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_GOOD = 0, EXIT_BAD_INPUT = 1, EXIT_USAGE = 2 };

/* "apnn-run: text" to stderr; returns `code`. */
int tool_fail(int code, const char *tool, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A text to stdout as a JSON string, quotes included. */
void tool_print_json_string(const char *text);

/* A decimal integer in low..high. */
bool tool_integer(const char *text, long low, long high, long *value);

/* A tensor's type, "u4[8, 8, 1](scale=0.25, zero=1/2)". */
void tool_type_text(const ApnnTensorInfo *info, char *text, size_t bytes);

size_t tool_elements(const ApnnTensorInfo *info); /* of one image */

#endif
