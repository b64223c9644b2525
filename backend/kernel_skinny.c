/* The engine skinny_b1: fully connected layers of few images, bound by the stream of packed weights.
 *
 * Groups of four warps walk over tiles of 64 channels, each by itself. One thread starts bulk copies of their weights,
 * which lie in memory in the order in which they are read (skinny_load.c); a group multiplies them with the input,
 * which stays in the block's shared memory (skinny_multiply.c). The same groups of the blocks of a cluster have the
 * same tiles, and each sums up a part of the reduction; the parts meet in shared memory, across the cluster, where they
 * are finished (parts_finish.c) when the next tile has been multiplied.
 */
#include "skinny_kernel.h"

#include "mma_kernel.h"

#include <string.h>

/* --- shared memory --- */

PtxValue skinny_stage(SkinnyKernel *s, PtxValue chunk) {
  return ptx_and(&s->k->ptx, chunk, ptx_int(s->tile.stages - 1));
}

PtxValue skinny_round(SkinnyKernel *s, PtxValue chunk) {
  Ptx *p = &s->k->ptx;
  return ptx_and(p, ptx_shr(p, chunk, __builtin_ctz(s->tile.stages)), ptx_int(1));
}

PtxValue skinny_stage_address(SkinnyKernel *s, PtxValue stage) {
  return ptx_mad(&s->k->ptx, stage, ptx_int(s->s.chunk_bytes), s->stages);
}

static PtxValue barrier(SkinnyKernel *s, PtxValue number, uint32_t first) {
  Ptx *p = &s->k->ptx;
  return ptx_mad(p, number, ptx_int(8), ptx_add(p, s->barriers, ptx_int(8 * first)));
}

PtxValue skinny_full(SkinnyKernel *s, PtxValue stage) {
  return barrier(s, stage, 0);
}

PtxValue skinny_empty(SkinnyKernel *s, PtxValue stage) {
  return barrier(s, stage, s->tile.stages);
}

static PtxValue parts_barrier(SkinnyKernel *s, PtxValue number) {
  return barrier(s, number, 2 * s->tile.stages);
}

PtxValue skinny_parts_barrier(SkinnyKernel *s, PtxValue turn) {
  return parts_barrier(s, ptx_and(&s->k->ptx, turn, ptx_int(1)));
}

PtxValue skinny_parts(SkinnyKernel *s, PtxValue turn) {
  Ptx *p = &s->k->ptx;
  return ptx_mad(p, ptx_and(p, turn, ptx_int(1)), ptx_int(s->s.parts_bytes), s->parts);
}

static void clear_sums(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue at = ptx_mad(p, s->thread, ptx_int(4), ptx_add(p, s->shared, ptx_int(s->s.sums_at)));
  ptx_store_if(p, ptx_setp(p, "lt.u32", s->thread, ptx_int(s->tile.n)), "shared.b32", at, 0, ptx_int(0));
}

/* A stage is given back by the four warps of the group. Parts are bytes that come, across a cluster, or are stored by
 * the four. */
static void init_barriers(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  uint32_t senders = s->tile.split_k > 1 ? 1 : 4;
  ptx_if(p, ptx_pred_and(p, s->leads, s->multiplies));
  for (int stage = 0; stage < s->tile.stages; stage++) {
    ptx_barrier_init(p, skinny_full(s, ptx_int(stage)), 1);
    ptx_barrier_init(p, skinny_empty(s, ptx_int(stage)), 4);
  }
  for (int i = 0; i < 2; i++) ptx_barrier_init(p, parts_barrier(s, ptx_int(i)), senders);
  ptx_barrier_init_fence(p);
  ptx_end_if(p);
  if (s->w.sum_scale) clear_sums(s);
  ptx_raw(p, "bar.sync 0;");
}

/* --- the cluster: its blocks may write to each other once all have their barriers, which are fenced --- */

static void arrive_at_cluster(SkinnyKernel *s) {
  if (s->tile.split_k > 1) ptx_raw(&s->k->ptx, "barrier.cluster.arrive.relaxed;");
}

static void wait_for_cluster(SkinnyKernel *s) {
  if (s->tile.split_k > 1) ptx_raw(&s->k->ptx, "barrier.cluster.wait.acquire;");
}

/* --- the kernel --- */

static bool is_power_of_two(uint32_t x) {
  return x && !(x & (x - 1));
}

static bool tile_fits(const SkinnyKernel *s) {
  const Tile *t = &s->tile;
  bool groups = t->m == SKINNY_ROWS && skinny_warps_fit(t) && !t->resident;
  bool positions = t->n % 8 == 0 && t->n <= 8 * MOST_POSITION_GROUPS && s->s.columns <= SKINNY_MOST_COLUMNS;
  bool split = is_power_of_two(t->split_k) && t->split_k <= SKINNY_MOST_SPLIT && t->n % t->split_k == 0;
  bool owners = split && (s->s.own % 8 == 0 || (s->s.own < 8 && is_power_of_two(s->s.own)));
  bool stages = is_power_of_two(t->stages) && t->stages >= SKINNY_LEAST_STAGES;
  if (groups && positions && owners && stages && t->k && t->k % 8 == 0) return true;
  return bad_plan(s->k->graph, s->node, "no skinny kernel has a tile of %u x %u x %u in %u warps, %u stages, split %u",
                  t->m, t->n, t->k, t->warps_m, t->stages, t->split_k);
}

/* Words sent to other blocks are newer than the instruction. */
static bool find_instruction(SkinnyKernel *s) {
  static const char sends[] = "8.1";
  Mma m = {.k = s->k, .node = s->node, .in = s->in, .w = s->w};
  if (!mma_find_instruction(&m)) return false;
  Emitter *e = s->k->emitter;
  s->instruction = m.instruction;
  if (strcmp(s->instruction->ptx_version, e->ptx_version) > 0) e->ptx_version = s->instruction->ptx_version;
  if (s->tile.split_k > 1 && strcmp(sends, e->ptx_version) > 0) e->ptx_version = sends;
  return true;
}

void skinny_place_group(SkinnyKernel *s, PtxValue group) {
  Ptx *p = &s->k->ptx;
  s->stages = ptx_mad(p, group, ptx_int(s->tile.stages * s->s.chunk_bytes), s->shared);
  s->parts = ptx_mad(p, group, ptx_int(2 * s->s.parts_bytes), ptx_add(p, s->shared, ptx_int(s->s.parts_at)));
  s->barriers = ptx_mad(p, group, ptx_int(8 * s->s.group_barriers), ptx_add(p, s->shared, ptx_int(s->s.barriers_at)));
}

static void place(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  int split = __builtin_ctz(s->tile.split_k);
  s->grid = grid_of(&s->in.type);
  s->grid.image = s->out.image;
  s->thread = ptx_special(p, "%tid.x");
  PtxValue warp = ptx_shr(p, s->thread, 5);
  s->warp = ptx_and(p, warp, ptx_int(3));
  s->lane = ptx_and(p, s->thread, ptx_int(31));
  s->group = s->s.groups > 1 ? ptx_uniform(p, ptx_shr(p, warp, 2)) : ptx_int(0);
  s->leads = ptx_setp(p, "eq.s32", ptx_and(p, s->thread, ptx_int(127)), ptx_int(0));
  s->multiplies = ptx_setp(p, "lt.u32", warp, ptx_int(s->tile.warps_m));
  s->shared = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mov.u32 %s, smem;", ptx_text(p, s->shared));
  skinny_place_group(s, s->group);
  s->rank = split ? ptx_special(p, "%cluster_ctarank") : ptx_int(0);
  s->cluster = ptx_shr(p, ptx_special(p, "%ctaid.x"), split);
  s->clusters = ptx_shr(p, ptx_special(p, "%nctaid.x"), split);
  s->first_tile = ptx_mad(p, s->group, s->clusters, s->cluster);
  s->tiles_apart = ptx_mul(p, s->clusters, ptx_int(s->s.groups));
  s->positions = ptx_mul(p, s->k->batch, ptx_int(s->grid.image_pitch));
  s->first_position = ptx_int(0);
  if (s->s.column_tiles > 1) s->first_position = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(s->tile.n));
}

/* Bytes behind a part's first number to those of a row's, which skinny_multiply.c sends: rows of a warp of wgmma, in it
 * rows of a lane, 8 apart. */
static PtxValue place_row(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  int number = (int)skinny_beside(&s->s) * 4;
  PtxValue warp = ptx_mad(p, parts_word(&s->finish), ptx_int(2), ptx_shr(p, s->lane, 4));
  PtxValue lane = ptx_mad(p, warp, ptx_int(8), ptx_and(p, s->lane, ptx_int(7)));
  PtxValue half = ptx_and(p, ptx_shr(p, s->lane, 3), ptx_int(1));
  return ptx_mad(p, lane, ptx_int(2 * number), ptx_mul(p, half, ptx_int(number)));
}

/* A group finishes what the block owns of its tiles. */
static void begin_finish(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  s->finish = (PartsFinish){.k = s->k,
                            .out = &s->out,
                            .grid = &s->grid,
                            .epilogue = &s->epilogue,
                            .has_border = s->w.border,
                            .border_constant = s->border,
                            .rows = SKINNY_ROWS,
                            .row_tiles = s->s.row_tiles,
                            .parts = s->s.parts,
                            .own = s->s.own,
                            .pitch = SKINNY_ROWS,
                            .beside = skinny_beside(&s->s),
                            .most_constants = 32,
                            .warps = 4,
                            .warp = s->warp,
                            .lane = s->lane,
                            .positions = s->positions};
  s->finish.first_position = ptx_mad(p, s->rank, ptx_int(s->s.own), s->first_position);
  s->finish.row_at = place_row(s);
}

static void wait_for_parts(SkinnyKernel *s, PtxValue turn) {
  Ptx *p = &s->k->ptx;
  PtxValue parity = ptx_and(p, ptx_shr(p, turn, 1), ptx_int(1)), done = skinny_parts_barrier(s, turn);
  ptx_barrier_wait(p, done, parity);
}

/* The lane's channel of the tile before, whose constants begin to be loaded. */
static void place_last_tile(SkinnyKernel *s) {
  parts_place(&s->finish, ptx_sub(&s->k->ptx, s->row_tile, s->tiles_apart));
  parts_load(&s->finish, false);
}

static void finish_last_tile(SkinnyKernel *s) {
  PtxValue turn = ptx_sub(&s->k->ptx, s->turn, ptx_int(1)), parts = skinny_parts(s, turn);
  wait_for_parts(s, turn);
  parts_finish(&s->finish, parts);
}

/* A tile is finished when the next one has been multiplied: meanwhile its parts come. It is finished before the parts
 * of the next are sent, so that who has all parts of a tile knows that those of the tile before have been read, and may
 * send the next to their place.
 */
static void walk_over_tiles(SkinnyKernel *s) {
  enum { MOST_COLUMNS_BESIDE_CONSTANTS = 128 }; /* registers for both */
  Ptx *p = &s->k->ptx;
  bool loads_early = s->s.columns <= MOST_COLUMNS_BESIDE_CONSTANTS;
  PtxValue bound = ptx_add(p, s->tiles_apart, ptx_int(s->s.row_tiles));
  s->row_tile = ptx_for(p, s->first_tile, bound, s->tiles_apart);
  PtxValue exists = ptx_setp(p, "lt.s32", s->row_tile, ptx_int(s->s.row_tiles));
  PtxValue has_last = ptx_setp(p, "gt.s32", s->turn, ptx_int(0));
  if (loads_early) {
    ptx_if(p, has_last);
    place_last_tile(s);
    ptx_end_if(p);
  }
  ptx_if(p, exists);
  skinny_multiply_tile(s);
  ptx_end_if(p);
  ptx_if(p, has_last);
  if (!loads_early) place_last_tile(s);
  finish_last_tile(s);
  ptx_end_if(p);
  ptx_if(p, exists);
  skinny_send_parts(s);
  ptx_end_if(p);
  ptx_assign(p, s->turn, ptx_add(p, s->turn, ptx_int(1)));
  ptx_end_for(p);
}

/* The first thread of the last warp. */
static void load(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue loads = ptx_setp(p, "eq.s32", s->thread, ptx_int(32 * s->tile.warps_m));
  if (s->s.column_tiles > 1) loads = ptx_pred_and(p, loads, ptx_setp(p, "lt.u32", s->first_position, s->positions));
  ptx_if(p, loads);
  skinny_load_all(s);
  ptx_end_if(p);
  skinny_place_group(s, s->group);
}

static void emit(SkinnyKernel *s) {
  Ptx *p = &s->k->ptx;
  init_barriers(s);
  arrive_at_cluster(s);
  load(s);
  wait_for_cluster(s);
  ptx_wait_for_launch(p);
  ptx_return_unless(p, s->multiplies);
  if (s->s.column_tiles > 1) ptx_return_unless(p, ptx_setp(p, "lt.u32", s->first_position, s->positions));
  skinny_copy_input(s);
  skinny_make_accumulators(s);
  if (s->w.sum_scale) skinny_take_sums(s);
  s->turn = ptx_variable(p, ptx_int(0));
  s->over = ptx_variable(p, ptx_int(0));
  begin_finish(s);
  walk_over_tiles(s);
}

bool kernel_skinny(Kernel *k) {
  SkinnyKernel s = {.k = k, .node = k->node, .tile = k->node->tile};
  s.in = tensor_of(k, k->node->inputs[0]);
  s.out = tensor_of(k, k->node->result);
  s.s = skinny_of(k->graph, k->node, &s.tile);
  if (!tile_fits(&s) || !same_positions(k->graph, k->node)) return false;
  s.w = weights_pack_stream(k->graph, k->node);
  if (!find_instruction(&s)) return false;
  s.weights = kernel_constant(k, s.w.data, s.w.bytes);
  if (s.w.border) s.border = kernel_constant(k, s.w.border, (size_t)s.w.rows * 4);
  epilogue_begin(&s.epilogue, k);
  if (s.tile.split_k > 1) k->ptx.cluster = s.tile.split_k;
  place(&s);
  emit(&s);
  return true;
}
