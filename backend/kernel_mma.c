/* The MMA_B1 and MMA_S8 engines: convolution and matrix product on mma.sync, without im2col in memory.
 *
 * A block computes tile.m output pixels by tile.n output channels. The reduction runs over pairs of a weight plane and
 * an input plane, from the most significant pair down, and over chunks of tile.k words of (tap, channel word). There is
 * one set of accumulators, shifted left by one each time the significance drops (APNN-TC section 4.1: a virtual batch
 * of planes whose combination stays in registers). Bytes are the case of one plane each. Every chunk is copied to one
 * of two stages of shared memory (mma_copy.c) while the products of the one before are under way. What the sums lack to
 * be sums of levels, and the layer's epilogue, follow at the end (mma_finish.c).
 *
 * Word order: the instruction wants words t and t + 4 of eight from lane t; both operands are read as words 2t and 2t +
 * 1 instead, one 8-byte load, which permutes the reduction and changes nothing.
 */
#include "mma_kernel.h"

static PtxValue stage_bytes(const Mma *m) {
  return ptx_int(4 * (m->tile.m + m->tile.n) * m->pitch);
}

PtxValue mma_stage(Mma *m, PtxValue stage) {
  return ptx_mad(&m->k->ptx, stage, stage_bytes(m), m->shared);
}

PtxValue mma_pair_word(Mma *m, PtxValue pair) {
  Ptx *p = &m->k->ptx;
  if (m->pair_count == 1) return ptx_int(0);
  return ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->pairs, pair, 4), 0);
}

/* All pairs by falling significance; the first of each significance but the greatest asks for a shift. */
static uint32_t *plane_pairs(Mma *m) {
  int weight_planes = m->w.planes, input_planes = layout_plane_count(&m->in.type);
  uint32_t *pairs = ARENA_NEW(m->k->graph->context, uint32_t, weight_planes * input_planes);
  m->pair_count = 0;
  for (int s = weight_planes + input_planes - 2; s >= 0; s--)
    for (int i = 0, first = 1; i < weight_planes; i++) {
      int j = s - i;
      if (j < 0 || j >= input_planes) continue;
      bool shift = first && m->pair_count > 0;
      pairs[m->pair_count++] = (uint32_t)i | (uint32_t)j << 8 | (uint32_t)shift << 16;
      first = 0;
    }
  return pairs;
}

static void bind(Mma *m) {
  Kernel *k = m->k;
  m->chunks = m->w.row_words / m->tile.k;
  m->weights = kernel_constant(k, m->w.data, m->w.bytes);
  uint32_t *pairs = plane_pairs(m);
  if (m->pair_count > 1) m->pairs = kernel_constant(k, pairs, (size_t)m->pair_count * 4);
  if (m->w.border) {
    Image out = type_image(&m->node->main_type);
    m->border = kernel_constant(k, m->w.border, (size_t)m->w.class_count * (size_t)m->w.rows * 4);
    if (m->w.class_count > 1) {
      m->row_class = kernel_constant(k, m->w.row_class, (size_t)out.height * 4);
      m->column_class = kernel_constant(k, m->w.column_class, (size_t)out.width * 4);
    }
  }
  epilogue_begin(&m->epilogue, k);
}

static void place_thread(Mma *m) {
  Ptx *p = &m->k->ptx;
  const Tile *t = &m->tile;
  m->thread = ptx_special(p, "%tid.x");
  m->lane = ptx_and(p, m->thread, ptx_int(31));
  m->group = ptx_shr(p, m->lane, 2);
  m->quad = ptx_and(p, m->lane, ptx_int(3));
  m->first_pixel = ptx_mul(p, ptx_special(p, "%ctaid.x"), ptx_int(t->m));
  m->first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(t->n));
  Image out = m->out.image;
  m->total_pixels = ptx_mul(p, m->k->batch, ptx_int(out.height * out.width));
  PtxValue warp = ptx_shr(p, m->thread, 5);
  m->warp_row = ptx_mul(p, ptx_rem(p, warp, ptx_int(t->warps_m)), ptx_int(t->m / t->warps_m));
  m->warp_column = ptx_mul(p, ptx_div(p, warp, ptx_int(t->warps_m)), ptx_int(t->n / t->warps_n));
  m->shared = ptx_new(p, CLASS_B32);
  ptx_raw(p, "mov.u32 %s, smem;", ptx_text(p, m->shared));
}

/* --- accumulators --- */

static void for_each_accumulator(Mma *m, void (*visit)(Ptx *p, PtxValue r)) {
  Ptx *p = &m->k->ptx;
  for (int i = 0; i < m->row_tiles; i++) {
    for (int j = 0; j < m->column_tiles; j++)
      for (int r = 0; r < 4; r++) visit(p, m->accumulators[i][j][r]);
    if (m->w.sum_scale)
      for (int h = 0; h < 2; h++) visit(p, m->sums[i][h]);
  }
}

static void set_zero(Ptx *p, PtxValue r) {
  ptx_assign(p, r, ptx_int(0));
}

static void shift_left(Ptx *p, PtxValue r) {
  ptx_raw(p, "shl.b32 %s, %s, 1;", ptx_text(p, r), ptx_text(p, r));
}

static void make_accumulators(Mma *m) {
  Ptx *p = &m->k->ptx;
  for (int i = 0; i < m->row_tiles; i++) {
    for (int j = 0; j < m->column_tiles; j++)
      for (int r = 0; r < 4; r++) m->accumulators[i][j][r] = ptx_new(p, CLASS_B32);
    for (int h = 0; h < 2; h++) m->sums[i][h] = ptx_new(p, CLASS_B32);
  }
  for_each_accumulator(m, set_zero);
}

/* --- products of a chunk --- */

/* Adds the stored numbers in one register of the input to a sum; `mask` is zero but with weight plane 0. */
static void add_sum(Mma *m, PtxValue sum, PtxValue word, PtxValue mask) {
  Ptx *p = &m->k->ptx;
  if (m->node->engine == ENGINE_MMA_B1) {
    PtxValue count = ptx_1(p, "popc.b32", ptx_and(p, word, mask));
    ptx_raw(p, "add.s32 %s, %s, %s;", ptx_text(p, sum), ptx_text(p, sum), ptx_text(p, count));
  } else {
    const char *mnemonic = m->in.type.kind == ELEM_UINT ? "dp4a.u32.u32" : "dp4a.s32.u32";
    ptx_raw(p, "%s %s, %s, 0x01010101, %s;", mnemonic, ptx_text(p, sum), ptx_text(p, word), ptx_text(p, sum));
  }
}

static void multiply_step(Mma *m, PtxValue a_base, PtxValue b_base, int step, PtxValue mask) {
  Ptx *p = &m->k->ptx;
  PtxValue a[MAX_ROW_TILES][2][2]; /* [tile][half][word] */
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      ptx_load_pair(p, "shared.v2.b32", a_base, 4LL * ((16 * i + 8 * h) * m->pitch + 8 * step), a[i][h]);
      if (m->w.sum_scale)
        for (int w = 0; w < 2; w++) add_sum(m, m->sums[i][h], a[i][h][w], mask);
    }
  for (int j = 0; j < m->column_tiles; j++) {
    PtxValue b[2];
    ptx_load_pair(p, "shared.v2.b32", b_base, 4LL * (8 * j * m->pitch + 8 * step), b);
    for (int i = 0; i < m->row_tiles; i++) {
      const PtxValue *d = m->accumulators[i][j];
      const char *registers = arena_printf(p->context, "{%s, %s, %s, %s}", ptx_text(p, d[0]), ptx_text(p, d[1]),
                                           ptx_text(p, d[2]), ptx_text(p, d[3]));
      ptx_raw(p, "%s %s, {%s, %s, %s, %s}, {%s, %s}, %s;", m->instruction->mnemonic, registers, ptx_text(p, a[i][0][0]),
              ptx_text(p, a[i][1][0]), ptx_text(p, a[i][0][1]), ptx_text(p, a[i][1][1]), ptx_text(p, b[0]),
              ptx_text(p, b[1]), registers);
    }
  }
}

/* Before the first chunk of a pair of lower significance, the accumulators double. */
static void shift_for_pair(Mma *m, Position at, PtxValue pair) {
  if (m->pair_count == 1) return;
  Ptx *p = &m->k->ptx;
  PtxValue begins = ptx_setp(p, "eq.s32", at.chunk, ptx_int(0));
  PtxValue shifts = ptx_setp(p, "ge.u32", pair, ptx_int(1 << 16));
  ptx_if(p, ptx_pred_and(p, begins, shifts));
  for_each_accumulator(m, shift_left);
  ptx_end_if(p);
}

static void multiply_chunk(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue pair = mma_pair_word(m, at.pair);
  shift_for_pair(m, at, pair);
  PtxValue mask = ptx_int(-1); /* S2 counts each input plane once: with weight plane 0 */
  if (m->w.sum_scale && m->pair_count > 1) {
    PtxValue first = ptx_setp(p, "eq.s32", ptx_and(p, pair, ptx_int(255)), ptx_int(0));
    mask = ptx_select(p, first, ptx_int(-1), ptx_int(0));
  }
  PtxValue base = mma_stage(m, stage);
  PtxValue a_row = ptx_add(p, m->warp_row, m->group);
  PtxValue b_row = ptx_add(p, ptx_add(p, m->warp_column, m->group), ptx_int(m->tile.m));
  PtxValue words = ptx_shl(p, m->quad, 1);
  PtxValue a_base = ptx_add(p, base, ptx_shl(p, ptx_mad(p, a_row, ptx_int(m->pitch), words), 2));
  PtxValue b_base = ptx_add(p, base, ptx_shl(p, ptx_mad(p, b_row, ptx_int(m->pitch), words), 2));
  for (int step = 0; step < m->tile.k / 8; step++) multiply_step(m, a_base, b_base, step, mask);
}

/* --- the reduction --- */

static Position position_start(Mma *m) {
  Ptx *p = &m->k->ptx;
  Position at;
  at.pair = ptx_variable(p, ptx_int(0));
  at.chunk = ptx_variable(p, ptx_int(0));
  return at;
}

static void position_next(Mma *m, Position at) {
  Ptx *p = &m->k->ptx;
  PtxValue next = ptx_add(p, at.chunk, ptx_int(1));
  PtxValue wrap = ptx_setp(p, "eq.s32", next, ptx_int(m->chunks));
  ptx_assign(p, at.chunk, ptx_select(p, wrap, ptx_int(0), next));
  ptx_assign(p, at.pair, ptx_add(p, at.pair, ptx_select(p, wrap, ptx_int(1), ptx_int(0))));
}

static void reduce(Mma *m) {
  Ptx *p = &m->k->ptx;
  int total = m->pair_count * m->chunks;
  Position copy = position_start(m), at = position_start(m);
  mma_copy_chunk(m, copy, ptx_int(0));
  ptx_raw(p, "cp.async.commit_group;");
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(total), ptx_int(1));
  position_next(m, copy);
  PtxValue stage = ptx_and(p, i, ptx_int(1));
  ptx_if(p, ptx_setp(p, "lt.s32", i, ptx_int(total - 1)));
  mma_copy_chunk(m, copy, ptx_2(p, "xor.b32", stage, ptx_int(1)));
  ptx_end_if(p);
  ptx_raw(p, "cp.async.commit_group;");
  ptx_raw(p, "cp.async.wait_group 1;");
  ptx_raw(p, "bar.sync 0;");
  multiply_chunk(m, at, stage);
  position_next(m, at);
  ptx_raw(p, "bar.sync 0;");
  ptx_end_for(p);
  ptx_raw(p, "cp.async.wait_group 0;");
}

/* --- the kernel --- */

/* A tile that the code above computes: whole warps of instruction tiles, whole blocks of packed results, and copies in
 * which the threads of a block share rows evenly. */
static bool tile_fits(const Mma *m) {
  const Tile *t = &m->tile;
  int threads = 32 * t->warps_m * t->warps_n;
  int block = m->out.type.layout.kind == LAYOUT_PLANES ? m->out.type.layout.block : 8;
  bool warps = t->m == 16 * m->row_tiles * t->warps_m && t->n == 8 * m->column_tiles * t->warps_n &&
               m->row_tiles <= MAX_ROW_TILES && m->column_tiles <= MAX_COLUMN_TILES;
  bool whole = t->n / t->warps_n % block == 0 && CHANNEL_PADDING % t->n == 0;
  bool copies = t->k % 8 == 0 && threads % t->k == 0 && t->stages == 2 && t->split_k == 1;
  if (m->row_tiles && m->column_tiles && warps && whole && copies) return true;
  return bad_plan(m->k->graph, m->node, "no kernel has a tile of %u x %u x %u in %u x %u warps, %u stages, split %u",
                  t->m, t->n, t->k, t->warps_m, t->warps_n, t->stages, t->split_k);
}

/* The instruction is one that the target has, of the shape that fragments are laid out for. */
static bool find_instruction(Mma *m) {
  const Target *target = m->k->emitter->target;
  const MmaInstruction *i = mma_for(m->node->engine, m->in.type.kind != ELEM_UINT, m->w.is_signed);
  m->instruction = i;
  for (uint32_t r = 0; i && r < target->mma_count; r++)
    if (target->mma[r].native && mma_find(target->mma[r].name) == i)
      return (i->m == 16 && i->n == 8 && i->k_words == 8) ||
             bad_plan(m->k->graph, m->node, "no kernel uses %s", i->name);
  return bad_plan(m->k->graph, m->node, "%s has no %s", target->name, i ? i->name : "instruction for its operands");
}

bool kernel_mma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Mma m = {.k = k, .node = k->node, .tile = *t, .pitch = (int)tile_row_words(t)};
  m.row_tiles = t->m / t->warps_m / 16;
  m.column_tiles = t->n / t->warps_n / 8;
  m.in = tensor_of(k, k->node->inputs[0]);
  m.out = tensor_of(k, k->node->result);
  if (!tile_fits(&m)) return false;
  m.w = weights_pack(k->graph, k->node);
  if (!find_instruction(&m)) return false;
  bind(&m);
  place_thread(&m);
  mma_place_copies(&m);
  make_accumulators(&m);
  reduce(&m);
  mma_finish(&m);
  return true;
}
