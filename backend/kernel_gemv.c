/* The engines gemv_b1 and gemv_s8: fully connected layers of one to some images, bound by the weights that are read and
 * by what comes before and behind that.
 *
 * Blocks of threads walk over tiles of 32 channels. The warps of a block share the reduction. Each loads its weights,
 * which lie in memory in the order in which it reads them, from there to registers (gemv_load.c), the first of them and
 * the constants of the epilogue before the input is there; multiplies them with the input (gemv_multiply.c), and leaves
 * its part of the sums in shared memory (gemv_send.c), where all warps finish the tile (parts_finish.c) while weights
 * of the next are on their way.
 */
#include "gemv_kernel.h"

#include "mma_kernel.h"
#include "ptx_async.h"

#include <string.h>

static bool tile_fits(const GemvKernel *s) {
  const Tile *t = &s->tile;
  bool fits = gemv_shape_fits(s->node->engine, t) && gemv_share_fits(&s->s, t);
  if (fits && gemv_blocks_of_sm(&s->s, t)) return true;
  return bad_plan(s->k->graph, s->node, "no gemv kernel has a tile of %u x %u x %u in %u warps, %u stages", t->m, t->n,
                  t->k, t->warps_m, t->stages);
}

/* Loads that pass L1 by are newer than the instruction. */
static bool find_instruction(GemvKernel *s) {
  static const char loads[] = "7.4";
  s->instruction = mma_instruction_for(s->k, s->w.is_signed, s->in.type.kind != ELEM_UINT);
  if (!s->instruction) return false;
  Emitter *e = s->k->emitter;
  if (strcmp(loads, e->ptx_version) > 0) e->ptx_version = loads;
  return true;
}

static void place(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  s->grid = grid_of(&s->in.type);
  s->grid.image = s->out.image;
  PtxValue thread = ptx_special(p, "%tid.x");
  s->warp = ptx_uniform(p, ptx_shr(p, thread, 5));
  s->lane = ptx_and(p, thread, ptx_int(31));
  s->group = ptx_shr(p, s->lane, 2);
  s->quad = ptx_and(p, s->lane, ptx_int(3));
  s->shared = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mov.u32 %s, smem;", ptx_text(p, s->shared));
  s->first_tile = ptx_special(p, "%ctaid.x");
  s->tiles_apart = ptx_special(p, "%nctaid.x");
  s->positions = ptx_mul(p, s->k->batch, ptx_int(s->grid.image_pitch));
  s->first_position = ptx_int(0);
  if (s->s.column_tiles > 1) s->first_position = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(s->tile.n));
}

/* Some are counted among the registers of all kernels. */
static int most_constants(const GemvKernel *s) {
  enum { COUNTED = 4, MOST = 16 };
  uint32_t most = COUNTED + gemv_spare_registers(&s->s, &s->tile);
  return most < MOST ? (int)most : MOST;
}

static void begin_finish(GemvKernel *s) {
  s->finish = (PartsFinish){.k = s->k,
                            .out = &s->out,
                            .grid = &s->grid,
                            .epilogue = &s->epilogue,
                            .has_border = s->w.border,
                            .border_constant = s->border,
                            .rows = GEMV_ROWS,
                            .row_tiles = s->s.row_tiles,
                            .parts = s->tile.warps_m,
                            .own = s->tile.n,
                            .pitch = GEMV_ROW_PITCH,
                            .beside = 1,
                            .row_at = ptx_shl(&s->k->ptx, s->lane, 2),
                            .most_constants = most_constants(s),
                            .warps = s->tile.warps_m,
                            .warp = s->warp,
                            .lane = s->lane,
                            .first_position = s->first_position,
                            .positions = s->positions};
  parts_place(&s->finish, s->first_tile);
  parts_load(&s->finish, false);
}

/* The block's part of shared memory of a turn, 0 or 1. */
static PtxValue parts_of(GemvKernel *s, PtxValue turn) {
  return ptx_mad(&s->k->ptx, turn, ptx_int(s->s.parts_bytes), s->shared);
}

static void begin_tile(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  s->next_tile = ptx_add(p, s->row_tile, s->tiles_apart);
  s->has_next = ptx_setp(p, "lt.s32", s->next_tile, ptx_int(s->s.row_tiles));
  s->next_weights = gemv_weights_behind(s, s->tile_weights, s->tiles_apart);
  gemv_multiply_tile(s);
  ptx_assign(p, s->tile_weights, s->next_weights);
}

static void load_constants_of(GemvKernel *s, PtxValue row_tile) {
  parts_place(&s->finish, row_tile);
  parts_load(&s->finish, true);
}

/* All warps have left their parts of a tile, and so have read those of the tile before: its place is free. */
static void walk_over_tiles(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue turn = ptx_variable(p, ptx_int(0));
  s->row_tile = ptx_for(p, s->first_tile, ptx_int(s->s.row_tiles), s->tiles_apart);
  begin_tile(s);
  s->parts = parts_of(s, turn);
  gemv_send_parts(s);
  ptx_raw(p, "bar.sync 0;");
  parts_place(&s->finish, s->row_tile);
  parts_finish(&s->finish, s->parts);
  ptx_if(p, s->has_next);
  load_constants_of(s, s->next_tile);
  ptx_end_if(p);
  ptx_assign(p, turn, ptx_sub(p, ptx_int(1), turn));
  ptx_end_for(p);
}

/* The same, but a tile is finished when the next one has been multiplied, which hides that some warps are behind: who
 * has all parts of a tile knows that those of the tile before have been read. */
static void finish_last_tile(GemvKernel *s, PtxValue turn) {
  Ptx *p = &s->k->ptx;
  PtxValue last = ptx_sub(p, ptx_int(1), turn);
  parts_place(&s->finish, ptx_sub(p, s->row_tile, s->tiles_apart));
  ptx_barrier_wait(p, s->barrier, last);
  parts_finish(&s->finish, parts_of(s, last));
}

static void walk_one_behind(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue turn = ptx_variable(p, ptx_int(0));
  PtxValue leads = ptx_setp(p, "eq.s32", s->lane, ptx_int(0));
  s->row_tile = ptx_for(p, s->first_tile, ptx_add(p, s->tiles_apart, ptx_int(s->s.row_tiles)), s->tiles_apart);
  PtxValue exists = ptx_setp(p, "lt.s32", s->row_tile, ptx_int(s->s.row_tiles));
  PtxValue has_last = ptx_setp(p, "ge.s32", s->row_tile, s->tiles_apart);
  ptx_if(p, exists);
  begin_tile(s);
  ptx_end_if(p);
  ptx_if(p, has_last);
  finish_last_tile(s, turn);
  ptx_if(p, exists);
  load_constants_of(s, s->row_tile);
  ptx_end_if(p);
  ptx_end_if(p);
  ptx_if(p, exists);
  s->parts = parts_of(s, turn);
  gemv_send_parts(s);
  ptx_raw(p, "bar.warp.sync -1;");
  ptx_barrier_arrive_if(p, leads, s->barrier);
  ptx_end_if(p);
  ptx_assign(p, turn, ptx_sub(p, ptx_int(1), turn));
  ptx_end_for(p);
}

static void init_barrier(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  s->barrier = ptx_add(p, s->shared, ptx_int(2 * s->s.parts_bytes));
  ptx_if(p, ptx_setp(p, "eq.s32", ptx_special(p, "%tid.x"), ptx_int(0)));
  ptx_barrier_init(p, s->barrier, s->tile.warps_m);
  ptx_end_if(p);
  ptx_raw(p, "bar.sync 0;");
}

static void emit(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  gemv_load_first_weights(s);
  begin_finish(s);
  gemv_place_input(s);
  bool behind = s->s.one_behind && s->k->ptx.overlaps && s->node->launch.x_most < s->s.row_tiles;
  if (behind) init_barrier(s);
  ptx_wait_for_launch(p);
  if (s->s.column_tiles > 1) ptx_return_unless(p, ptx_setp(p, "lt.u32", s->first_position, s->positions));
  if (s->s.keeps_input) gemv_keep_input(s);
  if (s->w.sum_scale) gemv_sum_input(s);
  (behind ? walk_one_behind : walk_over_tiles)(s);
}

bool kernel_gemv(Kernel *k) {
  GemvKernel s = {.k = k, .node = k->node, .tile = k->node->tile};
  s.in = tensor_of(k, k->node->inputs[0]);
  s.out = tensor_of(k, k->node->result);
  s.s = gemv_of(k->graph, k->node, &s.tile);
  if (!tile_fits(&s) || !same_positions(k->graph, k->node)) return false;
  s.w = weights_pack_steps(k->graph, k->node);
  s.in_memory = gemv_weights(graph_type(k->graph, k->node->inputs[1]));
  if (!find_instruction(&s)) return false;
  s.weights = kernel_constant(k, s.w.data, s.w.bytes);
  if (s.w.border) s.border = kernel_constant(k, s.w.border, (size_t)s.w.rows * 4);
  epilogue_begin(&s.epilogue, k);
  s.epilogue.loads_in_order = true;
  k->ptx.blocks_of_sm = gemv_blocks_of_sm(&s.s, &s.tile);
  place(&s);
  emit(&s);
  return true;
}
