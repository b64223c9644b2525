/* What went wrong, in words: kernel, line and text of the instruction, the layer it came from, thread and block.
 * Guarantees: the first fault of a launch is the one that is told. */
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct Writer {
  char *text;
  size_t used;
} Writer;

static void put_list(Writer *out, const char *format, va_list arguments) {
  size_t room = FAULT_TEXT - out->used;
  int n = vsnprintf(out->text + out->used, room, format, arguments);
  if (n > 0) out->used += (size_t)n < room ? (size_t)n : room - 1;
}

static __attribute__((format(printf, 2, 3))) void put(Writer *out, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  put_list(out, format, arguments);
  va_end(arguments);
}

static void put_source(Writer *out, const Kernel *k, uint32_t line) {
  const char *at = k->text, *end = at + k->text_length;
  for (uint32_t i = 1; i < line && at < end; at++) i += *at == '\n';
  const char *stop = memchr(at, '\n', (size_t)(end - at));
  if (!stop) stop = end;
  while (at < stop && (*at == ' ' || *at == '\t')) at++;
  while (stop > at && (stop[-1] == ' ' || stop[-1] == '\r')) stop--;
  put(out, ", PTX line %u: `%.*s`", line, stop - at < 160 ? (int)(stop - at) : 160, at);
}

static void put_place(Writer *out, const Launch *launch, const Inst *in) {
  put(out, "kernel %s", launch->kernel->name);
  if (in) put_source(out, launch->kernel, in->line);
  if (in && in->layer) put(out, ", layer %s", in->layer);
  put(out, ": ");
}

static void put_block(Writer *out, const Block *block) {
  put(out, " (block %u,%u,%u", block->index[0], block->index[1], block->index[2]);
}

/* True for the first fault, with the lock held. */
static bool begin(Launch *launch, FaultCode code) {
  pthread_mutex_lock(&launch->lock);
  __atomic_store_n(&launch->stop, true, __ATOMIC_RELAXED);
  if (launch->fault != FAULT_NONE) {
    pthread_mutex_unlock(&launch->lock);
    return false;
  }
  launch->fault = code;
  return true;
}

void fault_raise(Warp *w, const Inst *in, uint32_t lane, FaultCode code, const char *format, ...) {
  Launch *launch = w->block->launch;
  Writer out = {.text = launch->text};
  w->stopped = true;
  if (!begin(launch, code)) return;
  va_list arguments;
  put_place(&out, launch, in);
  va_start(arguments, format);
  put_list(&out, format, arguments);
  va_end(arguments);
  put_block(&out, w->block);
  uint32_t thread = w->index * LANES + lane, *size = launch->block;
  put(&out, ", thread %u,%u,%u)", thread % size[0], thread / size[0] % size[1], thread / size[0] / size[1]);
  pthread_mutex_unlock(&launch->lock);
}

void fault_raise_block(Block *block, const Inst *in, FaultCode code, const char *format, ...) {
  Launch *launch = block->launch;
  Writer out = {.text = launch->text};
  if (!begin(launch, code)) return;
  va_list arguments;
  put_place(&out, launch, in);
  va_start(arguments, format);
  put_list(&out, format, arguments);
  va_end(arguments);
  put_block(&out, block);
  put(&out, ")");
  pthread_mutex_unlock(&launch->lock);
}
