/* Gemv layers, from accumulators to parts: the planes of a number are put together. Where a group of columns is 8
 * positions of one plane, one lane holds them all. Else the lanes of a quad hold other planes of the same numbers: they
 * exchange halves of them, so that each sums up its own.
 */
#include "gemv_kernel.h"

enum { QUAD_NUMBERS = GEMV_ROWS / 8 * 2 }; /* of a lane before the quad shares them out */

uint32_t gemv_position_groups(const GemvKernel *s) {
  return s->tile.n < 8 ? 1 : s->tile.n / 8u;
}

PtxValue gemv_add_planes(GemvKernel *s, PtxValue (*const groups)[4], uint32_t i, int d) {
  uint32_t apart = gemv_position_groups(s), plane = 0;
  PtxValue sum = ptx_int(0);
  for (uint32_t group = i; group < s->s.groups; group += apart, plane++)
    sum = ptx_mad(&s->k->ptx, groups[group][d], ptx_int(1 << plane), sum);
  return sum;
}

/* The warp's part of position 0, at row 0. */
static PtxValue address_part(GemvKernel *s) {
  return ptx_mad(&s->k->ptx, s->warp, ptx_int(s->tile.n * GEMV_ROW_PITCH * 4), s->parts);
}

static PtxValue at_row(GemvKernel *s, PtxValue at, PtxValue row) {
  return ptx_mad(&s->k->ptx, row, ptx_int(4), at);
}

static PtxValue at_position(GemvKernel *s, PtxValue at, PtxValue position) {
  return ptx_mad(&s->k->ptx, position, ptx_int(GEMV_ROW_PITCH * 4), at);
}

/* --- 8 positions or more: columns 2 * quad and 2 * quad + 1 --- */

static void send_of_lanes(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue at = at_row(s, address_part(s), s->group);
  at = at_position(s, at, ptx_shl(p, s->quad, 1));
  for (uint32_t i = 0; i < gemv_position_groups(s); i++)
    for (int e = 0; e < 2; e++)
      for (int row = 0; row < GEMV_ROWS; row += 8) {
        PtxValue x = gemv_narrow(s, gemv_add_planes(s, s->accumulators[0][row / 16], i, row % 16 / 8 * 2 + e));
        PtxValue rest = s->w.sum_scale ? s->sums[i][e] : ptx_int(0);
        x = ptx_mad(p, x, ptx_int(s->w.product_scale), rest);
        ptx_store(p, "shared.b32", at, ((int64_t)(8 * i) + e) * GEMV_ROW_PITCH * 4 + row * 4, x);
      }
}

/* --- fewer positions: a group has 8 / n planes --- */

/* Accumulator d of all groups, as if the lane's first column had plane 0. */
static PtxValue add_groups(GemvKernel *s, int tile, int d) {
  Ptx *p = &s->k->ptx;
  PtxValue sum = ptx_int(0);
  for (uint32_t group = 0; group < s->s.groups; group++) {
    PtxValue rest = s->w.sum_scale ? s->sums[group][d % 2] : ptx_int(0);
    PtxValue x = ptx_mad(p, s->accumulators[0][tile][group][d], ptx_int(s->w.product_scale), rest);
    sum = ptx_mad(p, x, ptx_int(INT64_C(1) << group * (8 / s->tile.n)), sum);
  }
  return sum;
}

/* What a lane adds to rows group, group + 8, ...: of both of its positions; with one position its columns are planes.
 */
static uint32_t numbers_of_lane(GemvKernel *s, PtxValue numbers[QUAD_NUMBERS]) {
  Ptx *p = &s->k->ptx;
  uint32_t count = 0, n = s->tile.n;
  PtxValue plane = n == 4 ? ptx_shr(p, s->quad, 1) : n == 2 ? s->quad : ptx_shl(p, s->quad, 1);
  for (int row = 0; row < GEMV_ROWS; row += 8) {
    int d = row % 16 / 8 * 2;
    PtxValue x[] = {add_groups(s, row / 16, d), ptx_int(0)};
    x[1] = add_groups(s, row / 16, d + 1);
    if (n == 1) x[0] = ptx_mad(p, x[1], ptx_int(2), x[0]);
    for (int e = 0; e < (n == 1 ? 1 : 2); e++) numbers[count++] = ptx_2(p, "shl.b32", x[e], plane);
  }
  return count;
}

/* Of two lanes the first gets the sums of the first half of the numbers. */
static uint32_t exchange_halves(GemvKernel *s, PtxValue *numbers, uint32_t count, int apart) {
  Ptx *p = &s->k->ptx;
  PtxValue second = ptx_setp(p, "ne.s32", ptx_and(p, s->quad, ptx_int(apart)), ptx_int(0));
  for (uint32_t i = 0; i < count / 2; i++) {
    PtxValue *low = &numbers[i], high = numbers[i + count / 2], other = ptx_new(p, CLASS_B32);
    PtxValue given = ptx_select(p, second, *low, high), kept = ptx_select(p, second, high, *low);
    ptx_raw(p, "shfl.sync.bfly.b32 %s, %s, %d, 31, -1;", ptx_text(p, other), ptx_text(p, given), apart);
    *low = ptx_add(p, kept, other);
  }
  return count / 2;
}

/* A lane of four has 8 rows of all positions, one of two 16 rows of two positions. */
static void send_of_quads(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue numbers[QUAD_NUMBERS], at = at_row(s, address_part(s), s->group);
  int positions = s->tile.n == 1 ? 1 : 2;
  uint32_t count = exchange_halves(s, numbers, numbers_of_lane(s, numbers), 2);
  if (s->tile.n < 4) {
    count = exchange_halves(s, numbers, count, 1);
    at = at_row(s, at, ptx_shl(p, s->quad, 3));
  } else {
    at = at_row(s, at, ptx_shl(p, ptx_shr(p, s->quad, 1), 4));
    at = at_position(s, at, ptx_shl(p, ptx_and(p, s->quad, ptx_int(1)), 1));
  }
  for (uint32_t i = 0; i < count; i++)
    ptx_store(p, "shared.b32", at, (int64_t)(i % positions * GEMV_ROW_PITCH + i / positions * 8) * 4, numbers[i]);
}

void gemv_send_parts(GemvKernel *s) {
  (s->tile.n < 8 ? send_of_quads : send_of_lanes)(s);
}
