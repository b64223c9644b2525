/* Status codes by name, and the writing of error texts into buffers that may be short or absent. */
#include "error.h"

#include <stdio.h>
#include <string.h>

const char *apnn_error_name(ApnnStatus status) {
  static const char *const names[] = {
      [APNN_OK] = "ok",
      [APNN_ERROR_ARGUMENT] = "bad argument",
      [APNN_ERROR_FILE] = "file cannot be read",
      [APNN_ERROR_FORMAT] = "not a compiled network, or damaged",
      [APNN_ERROR_VERSION] = "unknown format version",
      [APNN_ERROR_TARGET] = "compiled for another GPU",
      [APNN_ERROR_DRIVER] = "no usable driver",
      [APNN_ERROR_DEVICE] = "device error",
      [APNN_ERROR_MEMORY] = "out of memory",
  };
  size_t index = (size_t)status;
  return index < sizeof names / sizeof *names ? names[index] : "unknown status";
}

ErrorText apnn_error_text(char *buffer, size_t bytes) {
  ErrorText text = {bytes ? buffer : NULL, bytes};
  if (text.buffer) text.buffer[0] = 0;
  return text;
}

ApnnStatus apnn_fail_list(ErrorText *error, ApnnStatus status, const char *format, va_list arguments) {
  if (error->buffer) vsnprintf(error->buffer, error->bytes, format, arguments);
  return status;
}

ApnnStatus apnn_fail(ErrorText *error, ApnnStatus status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  apnn_fail_list(error, status, format, arguments);
  va_end(arguments);
  return status;
}

ErrorText apnn_error_prefix(ErrorText *error, const char *subject) {
  if (!error->buffer) return *error;
  snprintf(error->buffer, error->bytes, "%s: ", subject);
  size_t used = strlen(error->buffer);
  return (ErrorText){error->buffer + used, error->bytes - used};
}

void apnn_error_append(ErrorText *error, const char *text) {
  if (!error->buffer) return;
  size_t used = strlen(error->buffer);
  snprintf(error->buffer + used, error->bytes - used, "%s", text);
}
