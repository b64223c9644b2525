/* Error texts: a caller's buffer that may be absent, filled by whoever finds the error. */
#ifndef RUNTIME_ERROR_H
#define RUNTIME_ERROR_H

#include "apnn.h"

#include <stdarg.h>
#include <stddef.h>

typedef struct ErrorText {
  char *buffer; /* NULL: the text is not wanted */
  size_t bytes; /* of the buffer, terminating zero included */
} ErrorText;

/* A text over a caller's buffer, empty until an error is written. */
ErrorText apnn_error_text(char *buffer, size_t bytes);

/* Write the text (cut to the buffer, always terminated) and return `status`. */
ApnnStatus apnn_fail(ErrorText *error, ApnnStatus status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
ApnnStatus apnn_fail_list(ErrorText *error, ApnnStatus status, const char *format, va_list arguments);

/* Write "subject: " and return the rest of the buffer, for the error that may follow. */
ErrorText apnn_error_prefix(ErrorText *error, const char *subject);

/* Add to the text that stands there. */
void apnn_error_append(ErrorText *error, const char *text);

#endif
