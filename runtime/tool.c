/* Messages, numbers and tensor types of the tools. */
#include "tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int tool_fail(int code, const char *tool, const char *format, ...) {
  va_list arguments;
  fprintf(stderr, "%s: ", tool);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  return code;
}

void tool_print_json_string(const char *text) {
  putchar('"');
  for (; *text; text++)
    if ((unsigned char)*text < ' ')
      printf("\\u%04x", *text);
    else
      printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  putchar('"');
}

bool tool_integer(const char *text, long low, long high, long *value) {
  char *end;
  errno = 0;
  *value = strtol(text, &end, 10);
  return end != text && !*end && !errno && *value >= low && *value <= high;
}

void tool_type_text(const ApnnTensorInfo *info, char *text, size_t bytes) {
  static const char *const prefix[] = {[APNN_UINT] = "u", [APNN_INT] = "i", [APNN_I32] = "i", [APNN_F32] = "f"};
  int used = snprintf(text, bytes, "%s%d[", prefix[info->elem], info->bits);
  for (int i = 0; i < info->rank; i++)
    used += snprintf(text + used, bytes - (size_t)used, "%s%d", i ? ", " : "", info->dims[i]);
  used += snprintf(text + used, bytes - (size_t)used, "]");
  if (info->elem == APNN_F32) return;
  used += snprintf(text + used, bytes - (size_t)used, "(scale=%.9g", (double)info->scale);
  if (info->zero2)
    used += snprintf(text + used, bytes - (size_t)used, info->zero2 % 2 ? ", zero=%d/2" : ", zero=%d",
                     info->zero2 % 2 ? info->zero2 : info->zero2 / 2);
  snprintf(text + used, bytes - (size_t)used, ")");
}

static size_t element_bytes(const ApnnTensorInfo *info) {
  return info->elem == APNN_I32 || info->elem == APNN_F32 ? 4 : 1;
}

size_t tool_elements(const ApnnTensorInfo *info) {
  return info->image_bytes / element_bytes(info);
}
