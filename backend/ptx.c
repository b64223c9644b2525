/* The PTX builder: registers, instructions, memory, control flow. Integer folding is in ptx_arith.c. */
#include "ptx.h"

#include <inttypes.h>
#include <string.h>

static const char *const class_prefix[CLASS_COUNT] = {"%p", "%r", "%f", "%d"};
static const char *const class_type[CLASS_COUNT] = {".pred", ".b32", ".f32", ".b64"};

void ptx_begin(Ptx *p, Context *c) {
  memset(p, 0, sizeof *p);
  p->context = c;
  p->params.context = c;
  p->body.context = c;
}

bool ptx_finish(Ptx *p, Text *module, const char *name, uint32_t threads) {
  if (p->depth && !p->error) p->error = "a block of control flow was not closed";
  if (p->overlaps && !p->waited && !p->error) p->error = "a kernel does not wait for the launch before it";
  if (p->error) {
    diag(p->context, DIAG_INTERNAL, (SourceLoc){0}, p->error);
    diag_seen(p->context, "kernel %s", name);
    return false;
  }
  text_add(module, "\n.visible .entry %s(%s)\n.maxntid %" PRIu32 ", 1, 1\n", name, p->params.data ? p->params.data : "",
           threads);
  if (p->blocks_of_sm) text_add(module, ".minnctapersm %" PRIu32 "\n", p->blocks_of_sm);
  if (p->cluster) text_add(module, ".explicitcluster\n.reqnctapercluster %" PRIu32 ", 1, 1\n", p->cluster);
  text_add(module, "{\n");
  for (int class = 0; class < CLASS_COUNT; class ++)
    if (p->reg_count[class])
      text_add(module, "\t.reg %s %s<%" PRIu32 ">;\n", class_type[class], class_prefix[class], p->reg_count[class]);
  text_add_bytes(module, p->body.data, p->body.length);
  text_add(module, "\tret;\n}\n");
  return true;
}

static void misuse(Ptx *p, const char *what, const char *mnemonic) {
  if (!p->error) p->error = arena_printf(p->context, "%s in PTX instruction %s", what, mnemonic);
}

PtxValue ptx_int(int64_t value) {
  return (PtxValue){OPERAND_IMMEDIATE, CLASS_B32, 0, (int32_t)(uint32_t)value};
}

PtxValue ptx_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (PtxValue){OPERAND_IMMEDIATE, CLASS_F32, 0, bits};
}

PtxValue ptx_new(Ptx *p, RegClass class) {
  return (PtxValue){OPERAND_REG, class, p->reg_count[class]++, 0};
}

PtxValue ptx_variable(Ptx *p, PtxValue start) {
  PtxValue v = ptx_new(p, start.class);
  ptx_assign(p, v, start);
  return v;
}

bool ptx_is_int(PtxValue o, int64_t value) {
  return o.kind == OPERAND_IMMEDIATE && o.class != CLASS_F32 && o.value == value;
}

const char *ptx_text(Ptx *p, PtxValue o) {
  if (o.kind == OPERAND_REG) return arena_printf(p->context, "%s%" PRIu32, class_prefix[o.class], o.id);
  if (o.class == CLASS_F32) return arena_printf(p->context, "0f%08" PRIX32, (uint32_t)o.value);
  return arena_printf(p->context, "%" PRId64, o.value);
}

void ptx_raw(Ptx *p, const char *format, ...) {
  char line[2048];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (length < 0 || (size_t)length >= sizeof line) {
    misuse(p, "too long a line", "raw");
    return;
  }
  text_add(&p->body, "\t%s\n", line);
}

/* The class that a type suffix such as ".s32" asks for. */
static RegClass class_of_suffix(const char *mnemonic) {
  const char *dot = strrchr(mnemonic, '.');
  if (!dot) return CLASS_COUNT;
  if (strcmp(dot, ".pred") == 0) return CLASS_PRED;
  if (strcmp(dot, ".f32") == 0) return CLASS_F32;
  if (strstr(dot, "64")) return CLASS_B64;
  return CLASS_B32;
}

static void check_class(Ptx *p, const char *mnemonic, RegClass class, PtxValue o) {
  if (o.class != class && !(o.kind == OPERAND_IMMEDIATE && o.class == CLASS_B32 && class != CLASS_F32))
    misuse(p, "an operand of the wrong class", mnemonic);
}

static PtxValue emit(Ptx *p, const char *mnemonic, int count, const PtxValue *operands) {
  RegClass class = class_of_suffix(mnemonic);
  if (class == CLASS_COUNT) {
    misuse(p, "no type suffix", mnemonic);
    class = CLASS_B32;
  }
  PtxValue d = ptx_new(p, class);
  text_add(&p->body, "\t%s %s", mnemonic, ptx_text(p, d));
  for (int i = 0; i < count; i++) {
    check_class(p, mnemonic, class, operands[i]);
    text_add(&p->body, ", %s", ptx_text(p, operands[i]));
  }
  text_add(&p->body, ";\n");
  return d;
}

PtxValue ptx_1(Ptx *p, const char *mnemonic, PtxValue a) {
  return emit(p, mnemonic, 1, (PtxValue[]){a});
}
PtxValue ptx_2(Ptx *p, const char *mnemonic, PtxValue a, PtxValue b) {
  return emit(p, mnemonic, 2, (PtxValue[]){a, b});
}
PtxValue ptx_3(Ptx *p, const char *mnemonic, PtxValue a, PtxValue b, PtxValue c) {
  return emit(p, mnemonic, 3, (PtxValue[]){a, b, c});
}

PtxValue ptx_convert(Ptx *p, const char *mnemonic, RegClass to, PtxValue a) {
  PtxValue d = ptx_new(p, to);
  ptx_raw(p, "%s %s, %s;", mnemonic, ptx_text(p, d), ptx_text(p, a));
  return d;
}

void ptx_assign(Ptx *p, PtxValue to, PtxValue from) {
  static const char *const move[CLASS_COUNT] = {"mov.pred", "mov.b32", "mov.f32", "mov.b64"};
  if (to.kind != OPERAND_REG) misuse(p, "an immediate as destination", "mov");
  check_class(p, "mov", to.class, from);
  ptx_raw(p, "%s %s, %s;", move[to.class], ptx_text(p, to), ptx_text(p, from));
}

static uint32_t add_param(Ptx *p, const char *type) {
  text_add(&p->params, "%s\n\t.param %s p%" PRIu32, p->param_count ? "," : "", type, p->param_count);
  return p->param_count++;
}

PtxValue ptx_param_pointer(Ptx *p) {
  uint32_t index = add_param(p, ".u64");
  PtxValue generic = ptx_new(p, CLASS_B64), global = ptx_new(p, CLASS_B64);
  ptx_raw(p, "ld.param.u64 %s, [p%" PRIu32 "];", ptx_text(p, generic), index);
  ptx_raw(p, "cvta.to.global.u64 %s, %s;", ptx_text(p, global), ptx_text(p, generic));
  return global;
}

PtxValue ptx_param_u32(Ptx *p) {
  uint32_t index = add_param(p, ".u32");
  PtxValue d = ptx_new(p, CLASS_B32);
  ptx_raw(p, "ld.param.u32 %s, [p%" PRIu32 "];", ptx_text(p, d), index);
  return d;
}

PtxValue ptx_special(Ptx *p, const char *name) {
  PtxValue d = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mov.u32 %s, %s;", ptx_text(p, d), name);
  return d;
}

PtxValue ptx_uniform(Ptx *p, PtxValue of_warp) {
  PtxValue first = ptx_new(p, CLASS_B32);
  ptx_raw(p, "shfl.sync.idx.b32 %s, %s, 0, 31, -1;", ptx_text(p, first), ptx_text(p, of_warp));
  return first;
}

PtxValue ptx_setp(Ptx *p, const char *compare, PtxValue a, PtxValue b) {
  char mnemonic[32];
  snprintf(mnemonic, sizeof mnemonic, "setp.%s", compare);
  RegClass class = class_of_suffix(mnemonic);
  check_class(p, mnemonic, class, a);
  check_class(p, mnemonic, class, b);
  PtxValue d = ptx_new(p, CLASS_PRED);
  ptx_raw(p, "%s %s, %s, %s;", mnemonic, ptx_text(p, d), ptx_text(p, a), ptx_text(p, b));
  return d;
}

PtxValue ptx_pred_and(Ptx *p, PtxValue a, PtxValue b) {
  if (ptx_is_int(a, 1)) return b;
  if (ptx_is_int(b, 1)) return a;
  return ptx_2(p, "and.pred", a, b);
}

PtxValue ptx_select(Ptx *p, PtxValue pred, PtxValue yes, PtxValue no) {
  if (pred.kind == OPERAND_IMMEDIATE) return pred.value ? yes : no;
  RegClass class = yes.class;
  check_class(p, "selp", class, no);
  check_class(p, "selp", CLASS_PRED, pred);
  PtxValue d = ptx_new(p, class);
  ptx_raw(p, "selp%s %s, %s, %s, %s;", class_type[class], ptx_text(p, d), ptx_text(p, yes), ptx_text(p, no),
          ptx_text(p, pred));
  return d;
}

/* The offset in an instruction has 32 bits. */
const char *ptx_at(Ptx *p, PtxValue address, int64_t offset) {
  if (offset != (int32_t)offset) {
    PtxValue base = address;
    address = ptx_new(p, CLASS_B64);
    ptx_raw(p, "add.s64 %s, %s, %" PRId64 ";", ptx_text(p, address), ptx_text(p, base), offset);
    offset = 0;
  }
  if (!offset) return arena_printf(p->context, "[%s]", ptx_text(p, address));
  return arena_printf(p->context, "[%s+%" PRId64 "]", ptx_text(p, address), offset);
}

PtxValue ptx_load(Ptx *p, const char *space_type, RegClass class, PtxValue address, int64_t offset) {
  PtxValue d = ptx_new(p, class);
  ptx_raw(p, "ld.%s %s, %s;", space_type, ptx_text(p, d), ptx_at(p, address, offset));
  return d;
}

void ptx_load_pair(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue out[2]) {
  for (int i = 0; i < 2; i++) out[i] = ptx_new(p, CLASS_B32);
  ptx_raw(p, "ld.%s {%s, %s}, %s;", space_type, ptx_text(p, out[0]), ptx_text(p, out[1]), ptx_at(p, address, offset));
}

void ptx_load_four(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue out[4]) {
  for (int i = 0; i < 4; i++) out[i] = ptx_new(p, CLASS_B32);
  ptx_raw(p, "ld.%s {%s, %s, %s, %s}, %s;", space_type, ptx_text(p, out[0]), ptx_text(p, out[1]), ptx_text(p, out[2]),
          ptx_text(p, out[3]), ptx_at(p, address, offset));
}

/* ptxas takes no immediates in stores of some types, so a store's value is put into a register. */
static PtxValue in_register(Ptx *p, PtxValue o) {
  if (o.kind == OPERAND_REG) return o;
  PtxValue r = ptx_new(p, o.class);
  ptx_assign(p, r, o);
  return r;
}

void ptx_store(Ptx *p, const char *space_type, PtxValue address, int64_t offset, PtxValue value) {
  ptx_store_if(p, ptx_int(1), space_type, address, offset, value);
}

void ptx_store_if(Ptx *p, PtxValue pred, const char *space_type, PtxValue address, int64_t offset, PtxValue value) {
  if (ptx_is_int(pred, 0)) return;
  value = in_register(p, value);
  const char *guard = ptx_is_int(pred, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, pred));
  ptx_raw(p, "%sst.%s %s, %s;", guard, space_type, ptx_at(p, address, offset), ptx_text(p, value));
}

void ptx_allow_next_launch(Ptx *p) {
  if (p->overlaps) ptx_raw(p, "griddepcontrol.launch_dependents;");
}

void ptx_wait_for_launch(Ptx *p) {
  if (!p->overlaps || p->waited) return;
  if (p->depth) misuse(p, "control flow around the first of them", "griddepcontrol.wait");
  ptx_raw(p, "griddepcontrol.wait;");
  p->waited = true;
}

const char *ptx_written(Ptx *p, const char *type) {
  return arena_printf(p->context, "global.%s%s", p->overlaps ? "" : "nc.", type);
}

static PtxBlock *push(Ptx *p, bool is_loop) {
  if (p->depth == PTX_MAX_DEPTH) {
    misuse(p, "control flow nested too deeply", "bra");
    p->depth = PTX_MAX_DEPTH - 1;
  }
  PtxBlock *b = &p->blocks[p->depth++];
  *b = (PtxBlock){.label = p->label_count++, .is_loop = is_loop};
  return b;
}

static PtxBlock pop(Ptx *p, bool is_loop) {
  if (!p->depth || p->blocks[p->depth - 1].is_loop != is_loop) {
    misuse(p, "control flow closed that was not open", "bra");
    return (PtxBlock){0};
  }
  return p->blocks[--p->depth];
}

PtxValue ptx_for(Ptx *p, PtxValue start, PtxValue bound, PtxValue step) {
  PtxBlock *b = push(p, true);
  b->index = ptx_new(p, CLASS_B32);
  b->bound = bound;
  b->step = step;
  ptx_assign(p, b->index, start);
  PtxValue done = ptx_setp(p, "ge.s32", b->index, bound);
  ptx_raw(p, "@%s bra $end%" PRIu32 ";", ptx_text(p, done), b->label);
  text_add(&p->body, "$loop%" PRIu32 ":\n", b->label);
  return b->index;
}

void ptx_end_for(Ptx *p) {
  PtxBlock b = pop(p, true);
  ptx_raw(p, "add.s32 %s, %s, %s;", ptx_text(p, b.index), ptx_text(p, b.index), ptx_text(p, b.step));
  PtxValue more = ptx_setp(p, "lt.s32", b.index, b.bound);
  ptx_raw(p, "@%s bra $loop%" PRIu32 ";", ptx_text(p, more), b.label);
  text_add(&p->body, "$end%" PRIu32 ":\n", b.label);
}

void ptx_if(Ptx *p, PtxValue pred) {
  PtxBlock *b = push(p, false);
  pred = in_register(p, pred);
  check_class(p, "bra", CLASS_PRED, pred);
  ptx_raw(p, "@!%s bra $else%" PRIu32 ";", ptx_text(p, pred), b->label);
}

void ptx_else(Ptx *p) {
  if (!p->depth || p->blocks[p->depth - 1].is_loop || p->blocks[p->depth - 1].has_else) {
    misuse(p, "else without if", "bra");
    return;
  }
  PtxBlock *b = &p->blocks[p->depth - 1];
  b->has_else = true;
  ptx_raw(p, "bra $end%" PRIu32 ";", b->label);
  text_add(&p->body, "$else%" PRIu32 ":\n", b->label);
}

void ptx_end_if(Ptx *p) {
  PtxBlock b = pop(p, false);
  text_add(&p->body, b.has_else ? "$end%" PRIu32 ":\n" : "$else%" PRIu32 ":\n", b.label);
}

void ptx_return_unless(Ptx *p, PtxValue pred) {
  ptx_raw(p, "@!%s ret;", ptx_text(p, pred));
}
