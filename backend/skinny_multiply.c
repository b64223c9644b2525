/* Skinny layers, the products: 64 rows of weights by all columns of the input, two blocks of channels an instruction.
 *
 * Weight planes come from the most significant down and the accumulators double between them. A lane's accumulators of
 * a position hold its input planes, which shifts put together. Chunks belong to the groups of four warps in turn; one
 * is given back when the products that read it are done, one chunk after they were started.
 */
#include "skinny_kernel.h"

#include <string.h>

void skinny_make_accumulators(SkinnyKernel *s) {
  for (uint32_t i = 0; i < s->s.columns / 2; i++) s->accumulators[i] = ptx_new(&s->k->ptx, CLASS_B32);
}

static void clear(SkinnyKernel *s) {
  for (uint32_t i = 0; i < s->s.columns / 2; i++) ptx_assign(&s->k->ptx, s->accumulators[i], ptx_int(0));
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

static void multiply(SkinnyKernel *s, const char *a, const char *b) {
  Ptx *p = &s->k->ptx;
  Text line = {.context = p->context};
  const char *mnemonic = s->instruction->mnemonic, *columns = strchr(mnemonic, '%');
  text_add(&line, "%.*s%u%s", (int)(columns - mnemonic), mnemonic, s->s.columns, columns + 2);
  for (uint32_t i = 0; i < s->s.columns / 2; i++)
    text_add(&line, "%s%s", i ? ", " : " {", ptx_text(p, s->accumulators[i]));
  ptx_raw(p, "%s}, %s, %s, 1;", line.data, a, b);
}

/* The products of a chunk with weights at an address in pieces; `ones` instead where it is not NULL. */
static void multiply_chunk(SkinnyKernel *s, PtxValue chunk, PtxValue weights, const char *ones) {
  Ptx *p = &s->k->ptx;
  PtxValue first = ptx_descriptor_address(p, ptx_add(p, s->shared, ptx_int(s->s.input_at)));
  PtxValue input = ptx_mad(p, chunk, ptx_int(s->s.chunk_blocks * s->s.columns), first);
  ptx_raw(p, "wgmma.fence.sync.aligned;");
  for (uint32_t block = 0; block < s->s.chunk_blocks; block += 2) {
    const char *a = ones ? ones : descriptor(p, weights, block * SKINNY_ROWS, SKINNY_ROWS);
    multiply(s, a, descriptor(p, input, block * s->s.columns, s->s.columns));
  }
  ptx_raw(p, "wgmma.commit_group.sync.aligned;");
}

static void wait_for_products(SkinnyKernel *s, int but) {
  ptx_raw(&s->k->ptx, "wgmma.wait_group.sync.aligned %d;", but);
}

static void give_back(SkinnyKernel *s, PtxValue pred, PtxValue stage) {
  Ptx *p = &s->k->ptx;
  PtxValue one = ptx_pred_and(p, pred, ptx_setp(p, "eq.s32", s->lane, ptx_int(0)));
  ptx_barrier_arrive_if(p, one, skinny_empty(s, stage));
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

/* Weights of ones, which are registers, sum up the input in every row. */
void skinny_sum_input(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  const char *one = ptx_text(p, ptx_variable(p, ptx_int(-1)));
  const char *ones = arena_printf(p->context, "{%s, %s, %s, %s}", one, one, one, one);
  clear(s);
  PtxValue chunk = ptx_for(p, s->group, ptx_int(s->s.chunks), ptx_int(s->s.groups));
  multiply_chunk(s, chunk, ptx_int(0), ones);
  ptx_end_for(p);
  wait_for_products(s, 0);
  for (uint32_t i = 0; i < s->tile.n / 8u; i++)
    for (int e = 0; e < 2; e++)
      s->sums[i][e] = ptx_variable(p, ptx_mul(p, put_planes_together(s, i, e), ptx_int(-(int64_t)s->w.sum_scale)));
}

/* The group's first chunk of a plane. Chunks go to the groups by their running number, of which s->over are behind: as
 * stages are even in number, a stage always has the same group, which so has waited for each phase of its barrier. */
static PtxValue first_chunk_of_group(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  if (s->s.groups == 1 || s->s.chunks % 2 == 0) return s->group;
  return ptx_2(p, "xor.b32", s->group, ptx_and(p, s->over, ptx_int(1)));
}

static void multiply_plane(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue before = ptx_variable(p, ptx_int(0)); /* stage of the group's chunk before */
  PtxValue first = first_chunk_of_group(s);
  PtxValue chunk = ptx_for(p, first, ptx_int(s->s.chunks), ptx_int(s->s.groups));
  PtxValue number = ptx_add(p, s->over, chunk), stage = skinny_stage(s, number);
  ptx_barrier_wait(p, skinny_full(s, stage), skinny_round(s, number));
  multiply_chunk(s, chunk, ptx_descriptor_address(p, skinny_stage_address(s, stage)), NULL);
  wait_for_products(s, 1);
  give_back(s, ptx_setp(p, "gt.s32", chunk, first), before);
  ptx_assign(p, before, stage);
  ptx_end_for(p);
  wait_for_products(s, 0);
  PtxValue had = s->s.groups > s->s.chunks ? ptx_setp(p, "lt.s32", first, ptx_int(s->s.chunks)) : ptx_int(1);
  give_back(s, had, before);
  ptx_assign(p, s->over, ptx_add(p, s->over, ptx_int(s->s.chunks)));
}

void skinny_multiply_tile(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  clear(s);
  if (s->s.weight_planes == 1) {
    multiply_plane(s);
    return;
  }
  ptx_for(p, ptx_int(0), ptx_int(s->s.weight_planes), ptx_int(1));
  double_accumulators(s); /* zeros, before the first */
  multiply_plane(s);
  ptx_end_for(p);
}

/* --- parts --- */

/* Where a lane's numbers go: the parts of its block's owner, at the lane's row. */
typedef struct Mail {
  PtxValue row; /* of the group's part at position 0, in this block */
  PtxValue quad;
} Mail;

static Mail address_parts(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue part = ptx_mad(p, s->rank, ptx_int(s->s.groups), s->group);
  PtxValue row = ptx_mad(p, ptx_and(p, s->warp, ptx_int(3)), ptx_int(16), ptx_shr(p, s->lane, 2));
  PtxValue base = ptx_mad(p, part, ptx_int(s->s.own * SKINNY_ROW_PITCH * 4), skinny_parts(s, s->turn));
  return (Mail){ptx_mad(p, row, ptx_int(4), base), ptx_and(p, s->lane, ptx_int(3))};
}

/* The address, in its owner's memory, of position 8 * i + 2 * quad + e of the tile. */
static PtxValue address_position(SkinnyKernel *s, const Mail *m, uint32_t i, int e) {
  Ptx *p = &s->k->ptx;
  uint32_t own = s->s.own, whole = own < 8 ? 0 : 8 * i % own;
  PtxValue of_eight = ptx_add(p, ptx_shl(p, m->quad, 1), ptx_int(e));
  PtxValue local = ptx_add(p, ptx_rem(p, of_eight, ptx_int(own < 8 ? own : 8)), ptx_int(whole));
  PtxValue at = ptx_mad(p, local, ptx_int(SKINNY_ROW_PITCH * 4), m->row);
  if (s->tile.split_k == 1) return at;
  PtxValue owner = own < 8 ? ptx_div(p, of_eight, ptx_int(own)) : ptx_int(0);
  return ptx_in_block(p, at, ptx_add(p, owner, ptx_int(8 * i / own)));
}

static void send_position(SkinnyKernel *s, const Mail *m, uint32_t i, int e) {
  Ptx *p = &s->k->ptx;
  PtxValue at = address_position(s, m, i, e);
  for (int half = 0; half < 2; half++) {
    PtxValue x = ptx_mul(p, put_planes_together(s, i, 2 * half + e), ptx_int(s->w.product_scale));
    if (s->w.sum_scale) x = ptx_add(p, x, s->sums[i][e]);
    ptx_store(p, s->tile.split_k == 1 ? "shared.b32" : "shared::cluster.b32", at, 32 * half, x);
  }
}

/* Every warp says so to every block of the cluster. */
void skinny_send_parts(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  Mail m = address_parts(s);
  for (uint32_t i = 0; i < s->tile.n / 8u; i++)
    for (int e = 0; e < 2; e++) send_position(s, &m, i, e);
  if (s->tile.split_k > 1) ptx_raw(p, "fence.acq_rel.cluster;"); /* each lane's own stores: one lane arrives for all */
  ptx_raw(p, "bar.warp.sync -1;");
  PtxValue done = skinny_parts_barrier(s, s->turn);
  PtxValue arrives = ptx_setp(p, "lt.u32", s->lane, ptx_int(s->tile.split_k));
  if (s->tile.split_k == 1) {
    ptx_barrier_arrive_if(p, arrives, done);
    return;
  }
  PtxValue block = ptx_and(p, s->lane, ptx_int(s->tile.split_k - 1));
  ptx_barrier_arrive_remote_if(p, arrives, ptx_in_block(p, done, block));
}
