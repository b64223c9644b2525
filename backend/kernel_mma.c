/* The engines on mma.sync: convolution and matrix product, without im2col in memory.
 *
 * A block computes tile.m output pixels by tile.n output channels. The reduction runs over pairs of a weight plane and
 * an input plane, from the most significant pair down, and over chunks of tile.k words of (tap, channel word). There is
 * one set of accumulators, shifted left by one each time the significance drops (APNN-TC section 4.1: a virtual batch
 * of planes whose combination stays in registers). Bytes are the case of one plane each. Chunks are copied to stages of
 * shared memory (mma_stage.c, mma_copy.c) while earlier ones are multiplied (mma_sync.c). What the sums lack to be sums
 * of levels, and the layer's epilogue, follow at the end (mma_finish.c).
 */
#include "mma_kernel.h"

#include <string.h>

enum {
  SELECTED_PAIRS = 4, /* with no more of them, selecting one is faster than loading it */
  PAIRS_AHEAD = 2     /* behind the last, which are loaded ahead and not used */
};

PtxValue mma_pair_word(Mma *m, PtxValue pair) {
  Ptx *p = &m->k->ptx;
  if (m->pair_count > SELECTED_PAIRS)
    return ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->pairs, pair, 4), 0);
  PtxValue word = ptx_int(m->pair_list[0]);
  for (int i = 1; i < m->pair_count; i++)
    word = ptx_select(p, ptx_setp(p, "lt.u32", pair, ptx_int(i)), word, ptx_int(m->pair_list[i]));
  return word;
}

/* All pairs by falling significance; the first of each significance but the greatest asks for a shift. */
static void list_pairs(Mma *m) {
  int weight_planes = m->w.planes, input_planes = layout_plane_count(&m->in.type);
  uint32_t *pairs = ARENA_NEW(m->k->graph->context, uint32_t, weight_planes * input_planes + PAIRS_AHEAD);
  m->pair_count = 0;
  for (int s = weight_planes + input_planes - 2; s >= 0; s--)
    for (int i = 0, first = 1; i < weight_planes; i++) {
      int j = s - i;
      if (j < 0 || j >= input_planes) continue;
      bool shift = first && m->pair_count > 0;
      pairs[m->pair_count++] = (uint32_t)i | (uint32_t)j << 8 | (shift ? PAIR_SHIFTS : 0u);
      first = 0;
    }
  m->pair_list = pairs;
}

void mma_bind(Mma *m) {
  Emitter *e = m->k->emitter;
  if (strcmp(m->instruction->ptx_version, e->ptx_version) > 0) e->ptx_version = m->instruction->ptx_version;
  Kernel *k = m->k;
  m->weights = kernel_constant(k, m->w.data, m->w.bytes);
  list_pairs(m);
  if (m->pair_count > SELECTED_PAIRS)
    m->pairs = kernel_constant(k, m->pair_list, ((size_t)m->pair_count + PAIRS_AHEAD) * 4);
  if (m->w.border) {
    Image out = type_image(&m->node->main_type);
    m->border = kernel_constant(k, m->w.border, (size_t)m->w.class_count * (size_t)m->w.rows * 4);
    if (m->w.class_count > 1) {
      m->row_class = kernel_constant(k, m->w.row_class, (size_t)out.height * 4);
      m->column_class = kernel_constant(k, m->w.column_class, (size_t)out.width * 4);
    }
  }
  m->signs = mma_signs_bind(m);
  if (m->signs) return;
  epilogue_begin(&m->epilogue, k);
  m->table.global = epilogue_rows(&m->epilogue, &m->table.tile_bytes);
  m->table.tile_bytes *= m->tile.n;
}

void mma_place_lane(Mma *m) {
  Ptx *p = &m->k->ptx;
  m->thread = ptx_special(p, "%tid.x");
  m->lane = ptx_and(p, m->thread, ptx_int(31));
  m->group = ptx_shr(p, m->lane, 2);
  m->quad = ptx_and(p, m->lane, ptx_int(3));
  m->shared = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mov.u32 %s, smem;", ptx_text(p, m->shared));
}

RowPlace mma_place(Mma *m, PtxValue row) {
  Ptx *p = &m->k->ptx;
  PtxValue position = ptx_add(p, m->first_position, row);
  PtxValue exists = ptx_setp(p, "lt.u32", position, m->total_positions);
  return (RowPlace){position, exists, place_of_position(p, &m->grid, position)};
}

/* Where a launch has blocks without a tile too, its x runs over the tiles of channels of each tile of positions. */
static uint32_t columns_of_x(const Mma *m) {
  return m->k->node->launch.x_most ? tile_count_of_channels(&m->tile, &m->out.type) : 1;
}

static void place_thread(Mma *m) {
  Ptx *p = &m->k->ptx;
  const Tile *t = &m->tile;
  mma_place_lane(m);
  PtxValue row_tile = ptx_special(p, "%ctaid.x"), columns = ptx_int((int)columns_of_x(m)), column_tile = ptx_int(0);
  if (m->k->node->launch.y > 1) column_tile = ptx_special(p, "%ctaid.y");
  if (columns_of_x(m) > 1) {
    column_tile = ptx_rem(p, row_tile, columns);
    row_tile = ptx_div(p, row_tile, columns);
  }
  m->first_position = ptx_mul(p, row_tile, ptx_int(t->m));
  m->first_channel = ptx_mul(p, column_tile, ptx_int(t->n));
  m->grid = grid_of(&m->out.type);
  m->total_positions = ptx_mul(p, m->k->batch, ptx_int(m->grid.image_pitch));
  PtxValue warp = ptx_shr(p, m->thread, 5);
  m->warp_row = ptx_mul(p, ptx_rem(p, warp, ptx_int(t->warps_m)), ptx_int(t->m / t->warps_m));
  m->warp_column = ptx_mul(p, ptx_div(p, warp, ptx_int(t->warps_m)), ptx_int(t->n / t->warps_n));
}

/* --- accumulators --- */

static bool sums_beside(const Mma *m) {
  return m->w.sum_scale && !engine_uses_wgmma(m->node->engine);
}

static void for_each_accumulator(Mma *m, int row_tile, void (*visit)(Ptx *p, PtxValue r)) {
  Ptx *p = &m->k->ptx;
  for (int j = 0; j < m->column_tiles + m->sum_tiles; j++)
    for (int r = 0; r < 4; r++) visit(p, m->accumulators[row_tile][j][r]);
  if (sums_beside(m))
    for (int h = 0; h < 2; h++) visit(p, m->sums[row_tile][h]);
}

static void set_zero(Ptx *p, PtxValue r) {
  ptx_assign(p, r, ptx_int(0));
}

static void shift_left(Ptx *p, PtxValue r) {
  ptx_raw(p, "shl.b32 %s, %s, 1;", ptx_text(p, r), ptx_text(p, r));
}

void mma_make_accumulators(Mma *m) {
  Ptx *p = &m->k->ptx;
  for (int i = 0; i < m->row_tiles; i++) {
    for (int j = 0; j < m->column_tiles + m->sum_tiles; j++)
      for (int r = 0; r < 4; r++) m->accumulators[i][j][r] = ptx_new(p, CLASS_B32);
    for (int h = 0; h < 2; h++) m->sums[i][h] = ptx_new(p, CLASS_B32);
  }
  for (int i = 0; i < m->row_tiles; i++) for_each_accumulator(m, i, set_zero);
}

void mma_shift(Mma *m, int row_tile) {
  for_each_accumulator(m, row_tile, shift_left);
}

void mma_shift_if(Mma *m, PtxValue due) {
  Ptx *p = &m->k->ptx;
  ptx_if(p, due);
  for (int i = 0; i < m->row_tiles; i++) mma_shift(m, i);
  ptx_end_if(p);
}

PtxValue mma_pair_shifts(Mma *m, PtxValue pair) {
  return ptx_setp(&m->k->ptx, "ge.u32", pair, ptx_int(PAIR_SHIFTS));
}

PtxValue mma_pair_is_first(Mma *m, PtxValue pair) {
  Ptx *p = &m->k->ptx;
  return ptx_setp(p, "eq.s32", ptx_and(p, pair, ptx_int(255)), ptx_int(0));
}

/* --- places in the reduction --- */

Position mma_position_start(Mma *m) {
  Ptx *p = &m->k->ptx;
  Position at;
  at.chunk = ptx_variable(p, ptx_int(0));
  at.word = ptx_int((int32_t)m->pair_list[0]);
  if (m->pair_count == 1) return at;
  at.word = ptx_variable(p, at.word);
  at.pair = ptx_variable(p, ptx_int(1));
  at.after = ptx_variable(p, mma_pair_word(m, at.pair));
  return at;
}

/* The word of the pair after this one is loaded long before it is needed. */
void mma_position_next(Mma *m, Position at) {
  Ptx *p = &m->k->ptx;
  PtxValue next = ptx_add(p, at.chunk, ptx_int(1));
  PtxValue wrap = ptx_setp(p, "eq.s32", next, ptx_int(m->chunks));
  ptx_assign(p, at.chunk, ptx_select(p, wrap, ptx_int(0), next));
  if (m->pair_count == 1) return;
  ptx_assign(p, at.word, ptx_select(p, wrap, at.after, at.word));
  ptx_assign(p, at.pair, ptx_add(p, at.pair, ptx_select(p, wrap, ptx_int(1), ptx_int(0))));
  ptx_assign(p, at.after, mma_pair_word(m, at.pair));
}

/* --- the kernel --- */

bool mma_bad_tile(const Mma *m) {
  const Tile *t = &m->tile;
  return bad_plan(m->k->graph, m->node, "no kernel has a tile of %u x %u x %u in %u x %u warps, %u stages, split %u",
                  t->m, t->n, t->k, t->warps_m, t->warps_n, t->stages, t->split_k);
}

/* A tile that the code of this engine computes: whole warps of instruction tiles, whole blocks of packed results, and
 * copies in which the threads of a block share rows evenly. */
static bool tile_fits(const Mma *m) {
  const Tile *t = &m->tile;
  int threads = 32 * t->warps_m * t->warps_n;
  int block = layout_orders_channels(m->out.type.layout) ? m->out.type.layout.block : 8;
  bool warps = t->m == 16 * m->row_tiles * t->warps_m && t->n == 8 * m->column_tiles * t->warps_n &&
               m->row_tiles <= MAX_ROW_TILES && m->column_tiles <= MAX_COLUMN_TILES;
  int warp_n = t->n / t->warps_n;
  bool whole = (warp_n % block == 0 || (warp_n % 32 == 0 && block % warp_n == 0)) && CHANNEL_PADDING % t->n == 0;
  bool copies = t->k % 8 == 0 && threads % t->k == 0 && t->split_k == 1;
  bool staged = t->stages >= 2 && t->stages <= MOST_SYNC_STAGES && !t->resident;
  return (m->row_tiles && m->column_tiles && warps && whole && copies && staged) || mma_bad_tile(m);
}

/* The instruction is one that the target has, of the shape that fragments are laid out for. */
const MmaInstruction *mma_instruction_for(Kernel *k, bool a_signed, bool b_signed) {
  const Target *target = k->emitter->target;
  Engine engine = engine_of_instructions(k->node->engine);
  const MmaInstruction *i = mma_for(engine, a_signed, b_signed);
  uint32_t rows = engine_uses_wgmma(engine) ? 64 : 16;
  for (uint32_t r = 0; i && r < target->mma_count; r++) {
    if (!target->mma[r].native || mma_find(target->mma[r].name) != i) continue;
    if (i->m == rows && i->k_words == 8) return i;
    bad_plan(k->graph, k->node, "no kernel uses %s", i->name);
    return NULL;
  }
  bad_plan(k->graph, k->node, "%s has no %s", target->name, i ? i->name : "instruction for its operands");
  return NULL;
}

bool mma_find_instruction(Mma *m) {
  m->instruction = mma_instruction_for(m->k, m->in.type.kind != ELEM_UINT, m->w.is_signed);
  return m->instruction != NULL;
}

void mma_group_multiply(Mma *m, int row_tile, uint32_t columns, const char *a, PtxValue b, PtxValue adds) {
  Ptx *p = &m->k->ptx;
  Text line = {.context = p->context};
  const char *mnemonic = m->instruction->mnemonic, *width = strchr(mnemonic, '%');
  text_add(&line, "%.*s%u%s", (int)(width - mnemonic), mnemonic, columns, width + 2);
  for (int j = 0; j < m->column_tiles + m->sum_tiles; j++)
    for (int r = 0; r < 4; r++)
      text_add(&line, "%s%s", j || r ? ", " : " {", ptx_text(p, m->accumulators[row_tile][j][r]));
  ptx_raw(p, "%s}, %s, %s, %s;", line.data, a, ptx_text(p, b), ptx_text(p, adds));
}

void mma_share_registers(Mma *m) {
  const Target *target = m->k->emitter->target;
  m->k->ptx.blocks_of_sm = target->sm_shared_bytes / (m->node->launch.shared_bytes + BLOCK_SHARED_BYTES);
}

bool kernel_mma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Mma m = {.k = k, .node = k->node, .tile = *t, .row_tile_rows = 16, .place = mma_place};
  m.row_bytes = mma_row_bytes(&m);
  m.row_tiles = t->m / t->warps_m / 16;
  m.column_tiles = t->n / t->warps_n / 8;
  m.in = tensor_of(k, k->node->inputs[0]);
  m.out = tensor_of(k, k->node->result);
  if (!tile_fits(&m)) return false;
  m.w = weights_pack(k->graph, k->node);
  if (!mma_find_instruction(&m)) return false;
  m.chunks = m.w.row_words / m.tile.k;
  mma_bind(&m);
  place_thread(&m);
  mma_place_copies(&m);
  mma_make_accumulators(&m);
  mma_reduce_sync(&m);
  mma_finish_sums(&m, -m.w.sum_scale);
  if (mma_has_lines(&m)) {
    ptx_raw(&k->ptx, "bar.sync 0;"); /* all warps have multiplied: lines take the place of the stages */
    mma_lines_place(&m, m.shared, m.row_tiles);
  }
  (m.signs ? mma_signs_finish : mma_finish)(&m);
  return true;
}
