/* Runs of numbers in slots and in planes (mma_slots.h). */
#include "mma_slots.h"

static int log2_up(int x) {
  int log = 0;
  while (1 << log < x) log++;
  return log;
}

Slots slots_new(int bits, int run) {
  return (Slots){.digits = log2_up(bits), .run_digits = log2_up(run), .bits = bits};
}

/* Address of the first bit of a position's slot: its digits that are exchanged for those of bits come first. */
static int slot_address(const Slots *s, int position) {
  int moved = position & ((1 << s->digits) - 1);
  int slot = position >> s->digits | moved << (s->run_digits - s->digits);
  return slot << s->digits;
}

/* --- exchanges of digits --- */

/* Places whose number has a bit of this weight. */
static uint32_t places_with(int digit) {
  static const uint32_t places[] = {0xaaaaaaaa, 0xcccccccc, 0xf0f0f0f0, 0xff00ff00, 0xffff0000};
  return places[digit];
}

/* Bits of x where the mask has ones, of y elsewhere. */
static PtxValue merged(Ptx *p, PtxValue x, PtxValue y, uint32_t mask) {
  if (ptx_is_int(x, 0)) return ptx_and(p, y, ptx_int((int32_t)~mask));
  if (ptx_is_int(y, 0)) return ptx_and(p, x, ptx_int((int32_t)mask));
  PtxValue d = ptx_new(p, CLASS_B32);
  ptx_raw(p, "lop3.b32 %s, %s, %s, 0x%08x, 0xe4;", ptx_text(p, d), ptx_text(p, x), ptx_text(p, y), mask);
  return d;
}

/* The same word after an exchange of its places' digits a and b, a < b. */
static PtxValue exchange_in_word(Ptx *p, PtxValue word, int a, int b) {
  uint32_t up = places_with(a) & ~places_with(b), down = places_with(b) & ~places_with(a);
  int distance = (1 << b) - (1 << a);
  PtxValue from_above = ptx_shr(p, word, distance), from_below = ptx_shl(p, word, distance);
  return merged(p, from_below, merged(p, from_above, word, up), down);
}

/* Word `number` after so many exchanges. */
static PtxValue word_after(Ptx *p, Slots *s, int exchanges, int number) {
  PtxValue *word = &s->words[exchanges][number];
  bool *has = &s->has[exchanges][number];
  if (*has || !exchanges) return *has ? *word : ptx_int(0);
  int low = exchanges - 1, high = s->run_digits + low;
  if (high < 5) {
    *word = exchange_in_word(p, word_after(p, s, low, number), low, high);
  } else {
    int distance = 1 << (high - 5);
    PtxValue first = word_after(p, s, low, number & ~distance), second = word_after(p, s, low, number | distance);
    if (number & distance)
      *word = merged(p, second, ptx_shr(p, first, 1 << low), places_with(low));
    else
      *word = merged(p, ptx_shl(p, second, 1 << low), first, places_with(low));
  }
  *has = true;
  return *word;
}

/* --- numbers to planes --- */

/* The biases of all slots of a word. */
static int32_t bias_of_word(const Slots *s, int32_t bias) {
  int places = 1 << (s->digits + s->run_digits);
  uint32_t all = 0;
  for (int at = 0; at < 32 && at < places; at += 1 << s->digits) all += (uint32_t)bias << at;
  return (int32_t)all;
}

void slots_put(Ptx *p, Slots *s, int position, PtxValue number, int32_t bias) {
  int address = slot_address(s, position), word = address / 32;
  PtxValue before = s->has[0][word] ? s->words[0][word] : ptx_int(bias_of_word(s, bias));
  s->words[0][word] = ptx_mad(p, number, ptx_int((int32_t)(1u << address % 32)), before);
  s->has[0][word] = true;
}

PtxValue slots_plane(Ptx *p, Slots *s, int plane, bool clean) {
  int address = plane << s->run_digits, run = 1 << s->run_digits, above = 32 - address % 32 - run;
  PtxValue word = ptx_shr(p, word_after(p, s, s->digits, address / 32), address % 32);
  bool has_others = above > 0 && plane + 1 < 1 << s->digits;
  return clean && has_others ? ptx_and(p, word, ptx_int((INT64_C(1) << run) - 1)) : word;
}

/* --- planes to numbers --- */

Slots slots_of_planes(Ptx *p, int bits, int run, const PtxValue *planes) {
  Slots s = slots_new(bits, run);
  for (int plane = 0; plane < bits; plane++) {
    int address = plane << s.run_digits, word = address / 32;
    PtxValue before = s.has[0][word] ? s.words[0][word] : ptx_int(0);
    s.words[0][word] = ptx_mad(p, planes[plane], ptx_int((int32_t)(1u << address % 32)), before);
    s.has[0][word] = true;
  }
  return s;
}

PtxValue slots_get(Ptx *p, Slots *s, int position, int *low) {
  int address = slot_address(s, position);
  PtxValue word = word_after(p, s, s->digits, address / 32);
  *low = address % 32;
  return ptx_and(p, word, ptx_int((int32_t)(((1u << s->bits) - 1) << *low)));
}
