/* The tree of an entry to instructions of the machine. Guarantees: every instruction has a handler whose operands have
 * the widths it reads; branch targets lie in the code, which ends with an exit. */
#include "decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const OpRow op_rows[] = {
#define PLAIN INST_PLAIN
#define BRANCH INST_BRANCH
#define EXIT INST_EXIT
#define SWITCH INST_SWITCH
#define OP(name, operands, handler, kind) {name, operands, kind},
#include "ptx_ops.def"
};

const uint32_t op_row_count = sizeof op_rows / sizeof *op_rows;

static ExecFn *const *exec_table(void) {
#if defined(APNN_CPU_HAS_V3)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma")) {
    return exec_table_v3;
  }
#endif
  return exec_table_base;
}

void decode_fail(Decoder *d, uint32_t line, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = snprintf(d->message, d->message_size, "PTX line %u: ", line);
  if (n > 0 && (size_t)n < d->message_size) vsnprintf(d->message + n, d->message_size - (size_t)n, format, arguments);
  va_end(arguments);
  longjmp(d->escape, 2);
}

/* ---- shared variables ---- */

static void place_shared(Decoder *d, Variable *v) {
  if (v->placed_in == d->function) return;
  v->placed_in = d->function;
  v->address = parser_align_up(d->kernel->shared_static, v->align);
  if (v->address + v->bytes > MAX_SHARED_BYTES) {
    decode_fail(d, v->line, "\"%s\" takes entry \"%s\" past %d bytes of shared memory", v->name, d->function->name,
                MAX_SHARED_BYTES);
  }
  d->kernel->shared_static = (uint32_t)(v->address + v->bytes);
}

static void visit_variables(Decoder *d, Operand *operand, bool externs) {
  for (uint32_t i = 0; i < operand->count; i++) visit_variables(d, &operand->items[i], externs);
  Variable *v = operand->kind == OPERAND_VARIABLE ? operand->variable : NULL;
  if (!v || v->space != SPACE_SHARED || v->is_extern != externs) return;
  if (!externs) {
    place_shared(d, v);
    return;
  }
  uint64_t align = v->align > 16 ? v->align : 16;
  v->address = parser_align_up(d->kernel->shared_static, align);
}

/* Static variables first, the dynamic ones behind them. */
static void layout_shared(Decoder *d) {
  for (Variable *v = d->function->variables; v; v = v->next) place_shared(d, v);
  for (int externs = 0; externs < 2; externs++)
    for (size_t s = 0; s < d->function->statement_count; s++)
      for (uint32_t i = 0; i < d->function->statements[s].count; i++)
        visit_variables(d, &d->function->statements[s].operands[i], externs);
  d->kernel->shared_static = (uint32_t)parser_align_up(d->kernel->shared_static, 16);
}

/* ---- instructions ---- */

/* The line of the source as it stands there, without the blanks around it. */
static int source_line(const Decoder *d, uint32_t line, const char **start) {
  const char *at = d->kernel->text, *end = at + d->kernel->text_length;
  for (uint32_t i = 1; i < line && at < end; at++) i += *at == '\n';
  const char *stop = memchr(at, '\n', (size_t)(end - at));
  if (!stop) stop = end;
  while (at < stop && (*at == ' ' || *at == '\t')) at++;
  while (stop > at && (stop[-1] == ' ' || stop[-1] == '\r' || stop[-1] == '\t')) stop--;
  *start = at;
  return stop - at < 160 ? (int)(stop - at) : 160;
}

static NameEntry *name_entry(Decoder *d, const char *mnemonic) {
  uint32_t hash = 2166136261u;
  for (const char *c = mnemonic; *c; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
  return &d->names[hash % NAME_BUCKETS];
}

/* The first row whose name fits; the search begins at a row known from an earlier statement of the same name. */
static void match_statement(Decoder *d, const Statement *s, Inst *in) {
  NameEntry *known = name_entry(d, s->mnemonic);
  const char *line, *last_operands = NULL;
  bool seen = known->mnemonic && !strcmp(known->mnemonic, s->mnemonic);
  for (uint32_t row = seen ? known->row : 0; row < op_row_count; row++) {
    if (!pattern_matches(op_rows[row].pattern, s->mnemonic, in)) continue;
    if (!last_operands) *known = (NameEntry){s->mnemonic, row};
    last_operands = op_rows[row].operands;
    if (!operands_match(d, &op_rows[row], s, in)) continue;
    in->kind = op_rows[row].kind;
    in->exec = exec_table()[row];
    return;
  }
  int length = source_line(d, s->line, &line);
  if (last_operands) {
    decode_fail(d, s->line, "operands do not fit \"%s\", which takes (%s): %.*s", s->mnemonic, last_operands, length,
                line);
  }
  decode_fail(d, s->line, "the CPU device does not know \"%s\": %.*s", s->mnemonic, length, line);
}

static void decode_statement(Decoder *d, const Statement *s, Inst *in) {
  in->line = s->line;
  in->layer = s->layer;
  in->guard = s->guard ? operands_register_slot(d, s->guard) : NO_OPERAND;
  in->guard_flip = s->guard_negated ? FULL_MASK : 0;
  match_statement(d, s, in);
  in->cache = d->kernel->cache_count;
  d->kernel->cache_count += 3;
}

static void append_exit(Decoder *d, Inst *in) {
  Statement last = {.mnemonic = "exit"};
  size_t count = d->function->statement_count;
  if (count) last.line = d->function->statements[count - 1].line, last.layer = d->function->statements[count - 1].layer;
  decode_statement(d, &last, in);
}

static void keep_constants(Decoder *d) {
  Constant *constants = arena_take(d->arena, d->constant_count * sizeof *constants);
  uint32_t n = 0;
  for (int i = 0; i < CONSTANT_BUCKETS; i++)
    for (ConstantEntry *e = d->constants[i]; e; e = e->next) constants[n++] = e->constant;
  d->kernel->constants = constants;
  d->kernel->constant_count = n;
}

static void decode_body(Decoder *d) {
  Kernel *k = d->kernel;
  Function *f = d->function;
  layout_shared(d);
  for (size_t i = 0; i < f->register_count; i++) f->registers[i]->slot = NO_OPERAND;
  k->count = (uint32_t)f->statement_count + 1;
  k->code = arena_take(d->arena, k->count * sizeof *k->code);
  for (uint32_t i = 0; i + 1 < k->count; i++) decode_statement(d, &f->statements[i], &k->code[i]);
  append_exit(d, &k->code[k->count - 1]);
  keep_constants(d);
  k->register_bytes = d->next_slot;
  assignment_analyse(d->arena, k);
}

static void start_decoder(Decoder *d, PtxModule *module, Function *function) {
  d->arena = module->arena;
  d->function = function;
  for (int i = 0; i < 4; i++) d->sinks[i] = NO_OPERAND;
  d->kernel = arena_take(d->arena, sizeof *d->kernel);
  *d->kernel = (Kernel){.name = function->name,
                        .function = function,
                        .text = module->text,
                        .text_length = module->length,
                        .shared_dynamic_limit = 48 * 1024};
  for (int i = 0; i < SPECIAL_COUNT; i++) d->kernel->special_slot[i] = NO_OPERAND;
  decode_body(d);
}

Kernel *decode_function(PtxModule *module, Function *function, char *message, size_t message_size,
                        bool *out_of_memory) {
  Decoder decoder = {.message = message, .message_size = message_size};
  jmp_buf *outer = module->arena->escape;
  module->arena->escape = &decoder.escape;
  int failure = setjmp(decoder.escape);
  if (!failure) start_decoder(&decoder, module, function);
  module->arena->escape = outer;
  *out_of_memory = failure == 1;
  return failure ? NULL : decoder.kernel;
}
