/* Gemv layers, from accumulators to parts: a result's planes are put together, in the lane that holds them where a
 * group is 8 positions of one plane, else over the lanes of a quad, which hold other columns of the same rows.
 */
#include "gemv_kernel.h"

uint32_t gemv_position_groups(const GemvKernel *s) {
  return s->tile.n < 8 ? 1 : s->tile.n / 8u;
}

int gemv_positions_of_lane(const GemvKernel *s) {
  return s->tile.n == 1 ? 1 : 2;
}

static PtxValue add_of_lane(Ptx *p, PtxValue x, int apart) {
  PtxValue other = ptx_new(p, CLASS_B32);
  ptx_raw(p, "shfl.sync.bfly.b32 %s, %s, %d, 31, -1;", ptx_text(p, other), ptx_text(p, x), apart);
  return ptx_add(p, x, other);
}

/* Columns 2 * quad and 2 * quad + 1 are positions of the plane that the quad's place says, or with one position two
 * planes. */
static PtxValue add_planes_of_quad(GemvKernel *s, PtxValue x) {
  Ptx *p = &s->k->ptx;
  uint32_t n = s->tile.n;
  PtxValue plane = n == 4 ? ptx_shr(p, s->quad, 1) : n == 2 ? s->quad : ptx_shl(p, s->quad, 1);
  x = ptx_2(p, "shl.b32", x, plane);
  if (n < 4) x = add_of_lane(p, x, 1);
  return add_of_lane(p, x, 2);
}

PtxValue gemv_put_planes_together(GemvKernel *s, PtxValue (*const groups)[4], uint32_t i, int half, int e) {
  Ptx *p = &s->k->ptx;
  uint32_t apart = gemv_position_groups(s), planes = s->tile.n < 8 ? 8u / s->tile.n : 1;
  PtxValue sum = ptx_int(0);
  for (uint32_t group = i, plane = 0; group < s->s.groups; group += apart, plane += planes) {
    const PtxValue *d = &groups[group][2 * half];
    sum = ptx_mad(p, d[e], ptx_int(1 << plane), sum);
    if (s->tile.n == 1) sum = ptx_mad(p, d[1], ptx_int(2 << plane), sum);
  }
  return s->tile.n < 8 ? add_planes_of_quad(s, sum) : sum;
}

/* The address of the warp's part at the lane's first position and first row. */
static PtxValue address_part(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue at = ptx_mad(p, s->warp, ptx_int(s->tile.n * GEMV_ROW_PITCH * 4), s->parts);
  at = ptx_mad(p, s->group, ptx_int(4), at);
  if (s->tile.n < 4) return at;
  PtxValue pair = s->tile.n == 4 ? ptx_and(p, s->quad, ptx_int(1)) : s->quad;
  return ptx_mad(p, pair, ptx_int(2 * GEMV_ROW_PITCH * 4), at);
}

/* Of lanes that hold the same numbers the first stores them. */
static PtxValue lane_stores(GemvKernel *s) {
  if (s->tile.n >= 8) return ptx_int(1);
  return ptx_setp(&s->k->ptx, "lt.u32", s->quad, ptx_int(s->tile.n == 4 ? 2 : 1));
}

void gemv_send_parts(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue at = address_part(s), stores = lane_stores(s);
  for (uint32_t i = 0; i < gemv_position_groups(s); i++)
    for (int e = 0; e < gemv_positions_of_lane(s); e++)
      for (int row = 0; row < GEMV_ROWS; row += 8) {
        PtxValue x = gemv_put_planes_together(s, s->accumulators[row / 16], i, row % 16 / 8, e);
        x = ptx_mul(p, x, ptx_int(s->w.product_scale));
        if (s->w.sum_scale) x = ptx_add(p, x, s->sums[i][e]);
        ptx_store_if(p, stores, "shared.b32", at, ((int64_t)(8 * i) + e) * GEMV_ROW_PITCH * 4 + row * 4, x);
      }
}
