/* Operands of a statement against the operand string of a row, and the layout of the register file. Guarantees: a
 * slot's width is what the handler of the row reads, so no text can make a handler touch another register. */
#include "decode.h"

#include <string.h>

/* ---- slots ---- */

static uint32_t new_slot(Decoder *d, RegisterClass class) {
  uint32_t bytes = class == REGISTER_64 ? 256 : 128, slot;
  if (class != REGISTER_PREDICATE) {
    slot = d->next_slot;
    d->next_slot += bytes;
    return slot;
  }
  if (d->next_predicate % 128 == 0) {
    d->next_predicate = d->next_slot;
    d->next_slot += 128;
  }
  slot = d->next_predicate;
  d->next_predicate += 4;
  return slot;
}

uint32_t operands_register_slot(Decoder *d, Register *reg) {
  if (reg->slot == NO_OPERAND) reg->slot = new_slot(d, reg->class);
  return reg->slot;
}

uint32_t operands_special_slot(Decoder *d, int special) {
  uint32_t *slot = &d->kernel->special_slot[special];
  if (*slot == NO_OPERAND) *slot = new_slot(d, special_registers[special].class);
  return *slot;
}

static uint32_t slot_of_constant(Decoder *d, RegisterClass class, uint64_t value, bool is_shared) {
  if (class == REGISTER_PREDICATE) value = value ? FULL_MASK : 0;
  if (class == REGISTER_16) value &= 0xffff;
  if (class == REGISTER_32) value &= UINT32_MAX;
  uint64_t hash = (value ^ value >> 32) * 0x9e3779b97f4a7c15u + class;
  ConstantEntry **bucket = &d->constants[hash >> 56];
  for (ConstantEntry *e = *bucket; e; e = e->next)
    if (e->constant.value == value && e->constant.class == class && e->constant.is_shared == is_shared)
      return e->constant.slot;
  ConstantEntry *entry = arena_take(d->arena, sizeof *entry);
  entry->constant = (Constant){.value = value, .slot = new_slot(d, class), .class = class, .is_shared = is_shared};
  entry->next = *bucket;
  *bucket = entry;
  d->constant_count++;
  return entry->constant.slot;
}

static uint32_t constant_slot(Decoder *d, RegisterClass class, uint64_t value) {
  return slot_of_constant(d, class, value, false);
}

static uint32_t sink_slot(Decoder *d, RegisterClass class) {
  if (d->sinks[class] == NO_OPERAND) d->sinks[class] = new_slot(d, class);
  return d->sinks[class];
}

/* ---- operand strings ---- */

typedef struct Item {
  bool pair, optional, written;
  char letter;
  uint32_t count; /* 0: one operand; otherwise a list of so many, or MANY */
} Item;

enum { MANY = 0x7fffffff };

static bool next_item(const char **at, Item *item) {
  if (!**at) return false;
  *item = (Item){.pair = **at == '|'};
  if (**at == '|' || **at == ',') (*at)++;
  if (**at == '?') item->optional = true, (*at)++;
  if (**at == '=') item->written = true, (*at)++;
  item->letter = *(*at)++;
  if (**at == '+') item->count = MANY, (*at)++;
  while (**at >= '0' && **at <= '9') item->count = item->count * 10 + (uint32_t)(*(*at)++ - '0');
  return true;
}

typedef struct Matcher {
  Decoder *d;
  Inst *in;
  uint32_t count;     /* of o */
  uint32_t addresses; /* of address */
  bool param;         /* the row reads parameters */
  bool source;        /* an x operand was seen: the next is the source */
} Matcher;

static bool push(Matcher *m, uint32_t slot, bool written) {
  if (m->count == OPERAND_SLOTS) return false;
  if (slot != NO_OPERAND && written) m->in->defines |= (uint16_t)(1u << m->count);
  if (slot != NO_OPERAND && !written) m->in->uses |= (uint16_t)(1u << m->count);
  m->in->o[m->count++] = slot;
  return true;
}

/* The class that a letter stands for; false for letters of no class. */
static bool class_of_letter(char letter, RegisterClass *class) {
  switch (letter) {
  case 'p':
    *class = REGISTER_PREDICATE;
    return true;
  case 'h':
    *class = REGISTER_16;
    return true;
  case 'r':
  case 'f':
    *class = REGISTER_32;
    return true;
  case 'l':
  case 'd':
    *class = REGISTER_64;
    return true;
  default:
    return false;
  }
}

/* Bits of a real constant in the width of the class. */
static bool real_constant(const Operand *operand, RegisterClass class, uint64_t *bits) {
  *bits = operand->value;
  if (operand->kind == OPERAND_SINGLE) return class == REGISTER_32;
  if (class == REGISTER_64) return true;
  double wide;
  memcpy(&wide, &operand->value, sizeof wide);
  float narrow = (float)wide;
  uint32_t narrow_bits;
  memcpy(&narrow_bits, &narrow, sizeof narrow_bits);
  *bits = narrow_bits;
  return class == REGISTER_32;
}

/* Offset of a shared variable, address of a global one, generic address of a parameter. */
static bool variable_address(const Operand *operand, RegisterClass class, uint64_t *value) {
  const Variable *v = operand->variable;
  *value = v->address + operand->value;
  if (v->space == SPACE_SHARED) return class == REGISTER_32 || class == REGISTER_64;
  if (v->space == SPACE_PARAM) *value |= PARAM_WINDOW;
  return class == REGISTER_64;
}

static bool is_clock(int special) {
  return special >= SPECIAL_CLOCK;
}

/* The slot of a scalar operand of this class, or NO_OPERAND where it does not fit. */
static uint32_t scalar_slot(Decoder *d, const Operand *operand, RegisterClass class, bool written) {
  uint64_t value;
  switch (operand->kind) {
  case OPERAND_REGISTER:
    return operand->reg->class == class ? operands_register_slot(d, operand->reg) : NO_OPERAND;
  case OPERAND_SINK:
    return written ? sink_slot(d, class) : NO_OPERAND;
  default:
    break;
  }
  if (written) return NO_OPERAND;
  switch (operand->kind) {
  case OPERAND_SPECIAL:
    if (is_clock(operand->special) || special_registers[operand->special].class != class) return NO_OPERAND;
    return operands_special_slot(d, operand->special);
  case OPERAND_INTEGER:
    return constant_slot(d, class, operand->value);
  case OPERAND_SINGLE:
  case OPERAND_DOUBLE:
    return real_constant(operand, class, &value) ? constant_slot(d, class, value) : NO_OPERAND;
  case OPERAND_VARIABLE:
    if (!variable_address(operand, class, &value)) return NO_OPERAND;
    return slot_of_constant(d, class, value, operand->variable->space == SPACE_SHARED);
  default:
    return NO_OPERAND;
  }
}

static bool match_scalar(Matcher *m, const Operand *operand, RegisterClass class, bool written) {
  if (operand->negated) {
    if (class != REGISTER_PREDICATE || written) return false;
    m->in->flip |= (uint8_t)(1u << m->count);
  }
  uint32_t slot = scalar_slot(m->d, operand, class, written);
  return slot != NO_OPERAND && push(m, slot, written);
}

/* ---- operands of any width ---- */

static uint8_t class_bytes(RegisterClass class) {
  static const uint8_t bytes[] = {[REGISTER_PREDICATE] = 0, [REGISTER_16] = 2, [REGISTER_32] = 4, [REGISTER_64] = 8};
  return bytes[class];
}

/* The class of the registers in the list; of constants alone, what the type needs. */
static bool common_class(const Operand *items, uint32_t count, uint8_t type_bytes, RegisterClass *class) {
  *class = type_bytes == 8 ? REGISTER_64 : REGISTER_32;
  for (uint32_t i = 0; i < count; i++) {
    if (items[i].kind == OPERAND_REGISTER)
      *class = items[i].reg->class;
    else if (items[i].kind == OPERAND_SPECIAL)
      *class = special_registers[items[i].special].class;
    else
      continue;
    return class_bytes(*class) >= type_bytes;
  }
  return true;
}

static bool match_any_width(Matcher *m, const Operand *items, uint32_t count, bool written) {
  RegisterClass class;
  uint8_t type = m->in->mod[!written && m->in->mod[MOD_TYPE2] != MOD_NONE ? MOD_TYPE2 : MOD_TYPE];
  if (!common_class(items, count, type == MOD_NONE ? 0 : ptx_types[type].bytes, &class)) return false;
  if (class == REGISTER_PREDICATE) return false;
  if (m->source)
    m->in->source_class = (uint8_t) class;
  else
    m->in->data_class = (uint8_t) class, m->in->source_class = (uint8_t) class;
  m->source = true;
  for (uint32_t i = 0; i < count; i++)
    if (!match_scalar(m, &items[i], class, written)) return false;
  return true;
}

/* ---- lists ---- */

static bool match_list(Matcher *m, const Operand *operand, const Item *item, uint32_t count) {
  RegisterClass class;
  const Operand *items = operand;
  if (operand->kind == OPERAND_VECTOR) items = operand->items;
  if ((operand->kind == OPERAND_VECTOR ? operand->count : 1) != count || !class_of_letter(item->letter, &class)) {
    return false;
  }
  for (uint32_t i = 0; i < count; i++)
    if (!match_scalar(m, &items[i], class, item->written)) return false;
  return true;
}

static bool match_long_list(Matcher *m, const Operand *operand) {
  if (operand->kind != OPERAND_VECTOR) return false;
  uint32_t *slots = arena_take(m->d->arena, operand->count * sizeof *slots);
  for (uint32_t i = 0; i < operand->count; i++) {
    slots[i] = operand->items[i].kind == OPERAND_REGISTER ? scalar_slot(m->d, &operand->items[i], REGISTER_32, true)
                                                          : NO_OPERAND;
    if (slots[i] == NO_OPERAND) return false;
  }
  m->in->list = slots;
  m->in->list_count = operand->count;
  return true;
}

/* ---- memory ---- */

static bool match_memory(Matcher *m, const Operand *operand, bool with_vector) {
  if (operand->kind != OPERAND_MEMORY || operand->count != (with_vector ? 2u : 1u) || m->addresses == 3) return false;
  const Operand *base = &operand->items[0];
  bool is_param = base->kind == OPERAND_VARIABLE && base->variable->space == SPACE_PARAM;
  Address *address = &m->in->address[m->addresses++];
  if (base->negated || (m->param && !is_param)) return false;
  address->displacement = (int64_t)operand->value;
  address->wide = true;
  if (m->param) {
    address->base = constant_slot(m->d, REGISTER_64, 0);
    address->displacement = (int64_t)(operand->value + base->value + base->variable->address);
    return true;
  }
  if (base->kind == OPERAND_REGISTER && base->reg->class == REGISTER_32) address->wide = false;
  address->base = scalar_slot(m->d, base, address->wide ? REGISTER_64 : REGISTER_32, false);
  if (address->base == NO_OPERAND) return false;
  if (!with_vector) return true;
  Item item = {.letter = 'r'};
  return operand->items[1].kind == OPERAND_VECTOR && match_list(m, &operand->items[1], &item, m->in->vector);
}

/* ---- rows ---- */

static bool match_item(Matcher *m, const Operand *operand, const Item *item) {
  RegisterClass class;
  switch (item->letter) {
  case 'm':
    return match_memory(m, operand, false);
  case 't':
    return match_memory(m, operand, true);
  case 'C':
    return operand->kind == OPERAND_SPECIAL && operand->special == SPECIAL_CLOCK;
  case 'D':
    return operand->kind == OPERAND_SPECIAL && operand->special > SPECIAL_CLOCK;
  case '@':
    m->in->target = (uint32_t)operand->value;
    return operand->kind == OPERAND_LABEL;
  case 'x':
    return match_any_width(m, operand, 1, item->written);
  case 'V':
    return match_list(m, operand, &(Item){.letter = 'r', .written = item->written}, m->in->vector);
  case 'X': {
    bool list = operand->kind == OPERAND_VECTOR;
    if ((list ? operand->count : 1) != m->in->vector) return false;
    return match_any_width(m, list ? operand->items : operand, m->in->vector, item->written);
  }
  default:
    break;
  }
  if (item->count == MANY) return match_long_list(m, operand);
  if (item->count) return match_list(m, operand, item, item->count);
  return class_of_letter(item->letter, &class) && match_scalar(m, operand, class, item->written);
}

/* An optional item that does not fit the next operand is left out; the operand is then tried with the next item. */
bool operands_match(Decoder *d, const OpRow *row, const Statement *statement, Inst *in) {
  Matcher m = {.d = d, .in = in, .param = !strncmp(row->pattern, "ld.param", 8)};
  const char *at = row->operands;
  const Operand *previous = NULL;
  uint32_t next = 0, pairs = 0, seen_pairs = 0;
  Item item;
  in->defines = in->uses = 0;
  in->flip = 0;
  in->list_count = 0;
  while (next_item(&at, &item)) {
    const Operand *operand = item.pair                 ? previous ? previous->pair : NULL
                             : next < statement->count ? &statement->operands[next]
                                                       : NULL;
    uint32_t before = m.count;
    if (operand && match_item(&m, operand, &item)) {
      if (item.pair)
        pairs++;
      else
        previous = operand, next++, seen_pairs += operand->pair != NULL;
      continue;
    }
    m.count = before;
    if (!item.optional || !push(&m, NO_OPERAND, item.written)) return false;
  }
  in->address_count = (uint8_t)m.addresses;
  return next == statement->count && pairs == seen_pairs;
}
