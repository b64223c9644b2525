/* Thresholds as signs of differences: what the mma_signs*.c files share. */
#ifndef BACKEND_MMA_SIGNS_H
#define BACKEND_MMA_SIGNS_H

#include "mma_kernel.h"

enum { MOST_SIGN_BITS = 4, MOST_SIGN_THRESHOLDS = (1 << MOST_SIGN_BITS) - 1 };

/* The results of a warp under way. */
typedef struct Signs {
  Mma *m;
  MmaRow rows[MAX_ROW_TILES][2];
  PtxValue words[MAX_ROW_TILES][2][8]; /* the lane's run of bits, a plane each */
} Signs;

/* Threshold i of the sum of a channel, within what sums can reach and just beyond. Of a falling channel the sense is
 * turned: its bits come out as complements. Past the last channel: never reached. */
int64_t mma_sign_threshold(const Mma *m, int32_t channel, int i);
void mma_load_sign_row(Ptx *p, PtxValue at, int64_t offset, int width, PtxValue *out);
/* A register with the sign of the exclusive or of every `apart`-th difference: an odd number of them. */
PtxValue mma_sign_of_bit(Ptx *p, const PtxValue *differences, int count, int apart);

/* Both ways: m->table; and the words of the run whose first instruction tile is first_tile. */
void mma_signs_bind_single(Mma *m);
void mma_signs_pack_single(Signs *s, int first_tile, int tiles);
void mma_signs_bind_pairs(Mma *m);
void mma_signs_pack_pairs(Signs *s, int first_tile, int tiles);

#endif
