/* A lane's run of numbers of a few bits, side by side in words, and the same run as bit planes.
 *
 * A run has 8, 16 or 32 numbers, a slot of 1, 2, 4 or 8 bits each. A bit's address in it is 32 * word + place, and
 * reads in slots as (slot, bit of the number), in planes as (bit of the number, position in the run):
 *
 *     slots     s4 s3 s2 s1 s0 | k1 k0         32 numbers of 4 bits in 4 words
 *     planes    k1 k0 | i4 i3 i2 i1 i0
 *
 * An exchange of two digits of the address, of the last with that of k0's place in planes, of the next to last with
 * k1's, turns one into the other and back. What it costs: two instructions a word where one of the digits numbers
 * words, four where both are places in one. The other digits stay where they are, which says what slot a position has.
 */
#ifndef BACKEND_MMA_SLOTS_H
#define BACKEND_MMA_SLOTS_H

#include "ptx.h"

enum { MOST_SLOT_WORDS = 8, MOST_SLOT_DIGITS = 3 };

typedef struct Slots {
  int digits, run_digits; /* log2 of a slot's bits; of the numbers in the run */
  int bits;               /* of a number, at most a slot's */
  /* [0] as they are filled; [n] after n exchanges, made where they are asked for. */
  PtxValue words[MOST_SLOT_DIGITS + 1][MOST_SLOT_WORDS];
  bool has[MOST_SLOT_DIGITS + 1][MOST_SLOT_WORDS];
} Slots;

Slots slots_new(int bits, int run);
/* Puts number + bias, which is below 2^bits, in the slot of a position in the run. The bias is that of all numbers. */
void slots_put(Ptx *p, Slots *s, int position, PtxValue number, int32_t bias);
/* A plane of the run in the lower bits; unless `clean` any bits may stand above. */
PtxValue slots_plane(Ptx *p, Slots *s, int plane, bool clean);
/* Slots that hold the numbers of a run of planes, which have zeros above. */
Slots slots_of_planes(Ptx *p, int bits, int run, const PtxValue *planes);
/* The number at a position of these, times 2^*low. */
PtxValue slots_get(Ptx *p, Slots *s, int position, int *low);

#endif
