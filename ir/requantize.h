/* Thresholds as a line: a count of evenly spaced thresholds, in a few rounded products.
 *
 * A row of rising thresholds t[1] <= ... <= t[L] counts how many of them an integer x reaches. Where it stems from an
 * affine map and a quantization the thresholds are nearly evenly spaced, and so are the rows that a second activation's
 * numbers r = 0, 1, ... choose among nearly equally far apart. Then numbers slope, of_other, offset, gain and lift
 * exist such that
 *
 *     b    = rn(of_other * r + offset)
 *     v    = rn(slope * rn(x) + b)                          rn: to the nearest binary32, ties to even
 *     y    = min(1, max(0, rn(gain * v + lift)))
 *     q(x) = rn(L * y + (1.5 * 2^23 + first)) - 1.5 * 2^23
 *
 * is `first` plus the count for every x that occurs. The last rounding is to an integer, as numbers near 1.5 * 2^23 lie
 * one apart.
 *
 * A plain requantizer has gain 1 and lift 0, so that y is v between 0 and 1 and no operation is spent on it. v is then
 * as good as exact, and what it counts are thresholds on a line. Those of a chain of rounded operations are so only
 * nearly: where a boundary falls on an integer, or as near as the chain's error, the integer may be counted on either
 * side. An error of like size in v, whose offset keeps it away from 0 and whose rounding therefore is coarse, can put
 * it on the same. Other slopes round otherwise; gain and lift bring v back to the line.
 *
 * Theorem. Let least <= x <= most, gain >= 0, and slope >= 0 where the count rises with x, slope <= 0 where it falls. q
 * is right at every x iff for every row r and every i
 *
 *     the count of q at the first x that reaches t[i], if one does, is at least i, and
 *     at the last x that does not, if there is one, less than i.
 *
 * Proof. Every rounding is monotone and so is q, in the direction of the count. Let x be counted c. It lies at or
 * beyond the first that reaches t[c] (where c > 0), so q - first >= c; and at or before the last that does not reach
 * t[c + 1] (where c < L), so q - first < c + 1. The converse is plain: these x are counted i or more, and less than i.
 *
 * The search maximizes the distance in height of the line slope * x + of_other * r + offset from all of these corners,
 * rounds it to binary32 and tries the corners; neighbouring numbers too where a rounding spoils it. Where no plain
 * requantizer is found it draws slopes and offsets of v, and looks for the line gain * v + lift in the same way.
 */
#ifndef IR_REQUANTIZE_H
#define IR_REQUANTIZE_H

#include <stdbool.h>
#include <stdint.h>

/* The thresholds of a channel. x reaches t where (x ^ flip) >= t; flip is 0 or -1, which turns the sense. */
typedef struct ThresholdRows {
  const int32_t *t;    /* [numbers][levels] */
  int numbers, levels; /* of the second activation, 1 without; thresholds a row */
  int32_t flip;
  int32_t first;       /* q of the count 0 */
  int32_t least, most; /* x that occur */
} ThresholdRows;

typedef struct Requantizer {
  float slope, offset, of_other;
  float gain, lift;
} Requantizer;

bool requantizer_is_plain(const Requantizer *q); /* gain 1, lift 0 */

/* 1.5 * 2^23 as a number and as the bits of one. */
#define REQUANTIZE_MAGIC 0x1.8p23f
#define REQUANTIZE_MAGIC_BITS INT32_C(0x4b400000)

/* q(x) of the second activation's r-th number; `first` within 2^20. */
int32_t requantize(const Requantizer *q, int levels, int32_t first, int32_t x, int32_t r);

/* A requantizer that is right at every x; false where none is found: uneven, unordered or too widely spaced rows, or
 * more than MOST_REQUANTIZED thresholds. */
enum { MOST_REQUANTIZED = 256 };
bool requantizer_find(const ThresholdRows *rows, Requantizer *out);

#endif
