/* Skinny layers, the products: 64 rows of weights by all columns of the input, two blocks of channels an instruction.
 *
 * Weight planes come from the most significant down and the accumulators double between them. A lane's accumulators of
 * a position hold its input planes, which shifts put together. A chunk's stage is given back when the products that
 * read it are done, one chunk after they were started.
 */
#include "skinny_kernel.h"

#include <string.h>

void skinny_make_accumulators(SkinnyKernel *s) {
  for (uint32_t i = 0; i < s->s.columns / 2; i++) s->accumulators[i] = ptx_variable(&s->k->ptx, ptx_int(0));
}

static void double_accumulators(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  for (uint32_t i = 0; i < s->s.columns / 2; i++) {
    const char *r = ptx_text(p, s->accumulators[i]);
    ptx_raw(p, "shl.b32 %s, %s, 1;", r, r);
  }
}

/* Of row 0 of the first of two blocks of channels; the second lies `apart` behind it. */
static const char *descriptor(Ptx *p, PtxValue address, uint32_t offset, uint32_t apart) {
  return ptx_text(p, ptx_descriptor(p, address, offset, apart, DESCRIPTOR_ROWS));
}

/* Adds to the accumulators, or, where `adds` is false, begins them anew. */
static void multiply(SkinnyKernel *s, const char *a, const char *b, PtxValue adds) {
  Ptx *p = &s->k->ptx;
  Text line = {.context = p->context};
  const char *mnemonic = s->instruction->mnemonic, *columns = strchr(mnemonic, '%');
  text_add(&line, "%.*s%u%s", (int)(columns - mnemonic), mnemonic, s->s.columns, columns + 2);
  for (uint32_t i = 0; i < s->s.columns / 2; i++)
    text_add(&line, "%s%s", i ? ", " : " {", ptx_text(p, s->accumulators[i]));
  ptx_raw(p, "%s}, %s, %s, %s;", line.data, a, b, ptx_text(p, adds));
}

/* The products of a chunk with weights at an address in pieces; `adds`: to those before. */
static void multiply_chunk(SkinnyKernel *s, PtxValue chunk, PtxValue weights, PtxValue adds) {
  Ptx *p = &s->k->ptx;
  PtxValue first = ptx_descriptor_address(p, ptx_add(p, s->shared, ptx_int(s->s.input_at)));
  PtxValue input = ptx_mad(p, chunk, ptx_int(s->s.chunk_blocks * s->s.columns), first);
  ptx_raw(p, "wgmma.fence.sync.aligned;");
  for (uint32_t block = 0; block < s->s.chunk_blocks; block += 2)
    multiply(s, descriptor(p, weights, block * SKINNY_ROWS, SKINNY_ROWS),
             descriptor(p, input, block * s->s.columns, s->s.columns), block ? ptx_int(1) : adds);
  ptx_raw(p, "wgmma.commit_group.sync.aligned;");
}

static void wait_for_products(SkinnyKernel *s, int but) {
  ptx_raw(&s->k->ptx, "wgmma.wait_group.sync.aligned %d;", but);
}

static void give_back(SkinnyKernel *s, PtxValue pred, PtxValue number) {
  Ptx *p = &s->k->ptx;
  PtxValue one = ptx_pred_and(p, pred, ptx_setp(p, "eq.s32", s->lane, ptx_int(0)));
  ptx_barrier_arrive_if(p, one, skinny_empty(s, skinny_stage(s, number)));
}

/* A position's number: accumulator r of instruction tile `i` of each plane. */
static PtxValue put_planes_together(SkinnyKernel *s, uint32_t i, int r) {
  Ptx *p = &s->k->ptx;
  uint32_t plane_tiles = s->tile.n / 8u;
  PtxValue sum = s->accumulators[4 * i + (uint32_t)r];
  for (uint32_t plane = 1; plane < s->s.input_planes; plane++)
    sum = ptx_mad(p, s->accumulators[4 * (plane * plane_tiles + i) + (uint32_t)r], ptx_int(1 << plane), sum);
  return sum;
}

/* Of the lane's positions. */
void skinny_take_sums(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue first = ptx_add(p, s->shared, ptx_int(s->s.sums_at));
  PtxValue at = ptx_mad(p, ptx_and(p, s->lane, ptx_int(3)), ptx_int(8), first);
  for (uint32_t i = 0; i < s->tile.n / 8u; i++)
    for (int e = 0; e < 2; e++) {
      PtxValue sum = ptx_load(p, "shared.b32", CLASS_B32, at, 32 * i + 4 * e);
      s->sums[i][e] = ptx_variable(p, ptx_mul(p, sum, ptx_int(-(int64_t)s->w.sum_scale)));
    }
}

/* `before`: planes before this one. */
static void multiply_plane(SkinnyKernel *s, PtxValue before) {
  Ptx *p = &s->k->ptx;
  PtxValue chunk = ptx_for(p, ptx_int(0), ptx_int(s->s.chunks), ptx_int(1));
  PtxValue number = ptx_add(p, s->over, chunk), stage = skinny_stage(s, number);
  ptx_barrier_wait(p, skinny_full(s, stage), skinny_round(s, number));
  multiply_chunk(s, chunk, ptx_descriptor_address(p, skinny_stage_address(s, stage)),
                 ptx_setp(p, "ne.s32", ptx_add(p, before, chunk), ptx_int(0)));
  if (s->s.chunks > 1) {
    wait_for_products(s, 1);
    give_back(s, ptx_setp(p, "gt.s32", chunk, ptx_int(0)), ptx_sub(p, number, ptx_int(1)));
  }
  ptx_end_for(p);
  wait_for_products(s, 0);
  ptx_assign(p, s->over, ptx_add(p, s->over, ptx_int(s->s.chunks)));
  give_back(s, ptx_int(1), ptx_sub(p, s->over, ptx_int(1)));
}

void skinny_multiply_tile(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  if (s->s.weight_planes == 1) {
    multiply_plane(s, ptx_int(0));
    return;
  }
  PtxValue plane = ptx_for(p, ptx_int(0), ptx_int(s->s.weight_planes), ptx_int(1));
  double_accumulators(s); /* those of the tile before, before the first */
  multiply_plane(s, plane);
  ptx_end_for(p);
}

/* --- parts --- */

/* The lane's numbers of position 8 * i + 2 * quad + e, in both of its rows. */
static void numbers_of(SkinnyKernel *s, uint32_t i, int e, PtxValue numbers[2]) {
  Ptx *p = &s->k->ptx;
  for (int half = 0; half < 2; half++) {
    PtxValue sum = put_planes_together(s, i, 2 * half + e), rest = s->w.sum_scale ? s->sums[i][e] : ptx_int(0);
    numbers[half] = ptx_mad(p, sum, ptx_int(s->w.product_scale), rest);
  }
}

/* Stores words to a place in the parts of the block `owner`. */
static void send_words(SkinnyKernel *s, PtxValue at, PtxValue owner, const PtxValue *words, int count) {
  Ptx *p = &s->k->ptx;
  if (s->tile.split_k > 1) {
    PtxValue done = ptx_in_block(p, skinny_parts_barrier(s, s->turn), owner);
    ptx_send_words(p, ptx_in_block(p, at, owner), words, count, done);
    return;
  }
  for (int i = 0; i < count; i++) ptx_store(p, "shared.b32", at, 4 * i, words[i]);
}

/* Where a lane's numbers of an owner's positions 0 and 1 go. */
static PtxValue address_lane(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue part = ptx_mad(p, s->rank, ptx_int(s->s.own * SKINNY_ROWS * 4), skinny_parts(s, s->turn));
  PtxValue row = ptx_mad(p, s->warp, ptx_int(8), ptx_shr(p, s->lane, 2));
  return ptx_mad(p, row, ptx_int(skinny_beside(&s->s) * 8), part);
}

/* The lane's two positions of eight. */
static void send_pair(SkinnyKernel *s, PtxValue lane_at, PtxValue quad, uint32_t i) {
  Ptx *p = &s->k->ptx;
  uint32_t own = s->s.own, pair_bytes = 2 * SKINNY_ROWS * 4;
  PtxValue x[2], y[2], pair = own < 8 ? ptx_rem(p, quad, ptx_int(own / 2)) : quad;
  PtxValue owner = own < 8 ? ptx_div(p, quad, ptx_int(own / 2)) : ptx_int(0);
  numbers_of(s, i, 0, x);
  numbers_of(s, i, 1, y);
  PtxValue at = ptx_mad(p, pair, ptx_int(pair_bytes), lane_at);
  at = ptx_add(p, at, ptx_int(own < 8 ? 0 : 8 * i % own / 2 * pair_bytes));
  send_words(s, at, ptx_add(p, owner, ptx_int(8 * i / own)), (PtxValue[]){x[0], y[0], x[1], y[1]}, 4);
}

/* The same where each has another owner. */
static void send_singles(SkinnyKernel *s, PtxValue lane_at, PtxValue quad, uint32_t i) {
  Ptx *p = &s->k->ptx;
  for (int e = 0; e < 2; e++) {
    PtxValue x[2];
    numbers_of(s, i, e, x);
    send_words(s, lane_at, ptx_add(p, ptx_shl(p, quad, 1), ptx_int(8 * i + e)), x, 2);
  }
}

void skinny_send_parts(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue lane_at = address_lane(s), quad = ptx_and(p, s->lane, ptx_int(3)), done = skinny_parts_barrier(s, s->turn);
  if (s->tile.split_k > 1) ptx_barrier_expect_if(p, s->leads, done, ptx_int(s->s.parts_bytes));
  for (uint32_t i = 0; i < s->tile.n / 8u; i++)
    (skinny_beside(&s->s) == 2 ? send_pair : send_singles)(s, lane_at, quad, i);
  if (s->tile.split_k > 1) return;
  ptx_raw(p, "bar.warp.sync -1;");
  ptx_barrier_arrive_if(p, ptx_setp(p, "eq.s32", s->lane, ptx_int(0)), done);
}
