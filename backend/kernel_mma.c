/* The MMA_B1 and MMA_S8 engines: convolution and matrix product on mma.sync, without im2col in memory.
 *
 * A block computes tile.m output pixels by tile.n output channels. The reduction runs over pairs of a weight plane and an
 * input plane, from the most significant pair down, and over chunks of tile.k words of (tap, channel word). There is one
 * set of accumulators, shifted left by one each time the significance drops (APNN-TC section 4.1: a virtual batch of
 * planes whose combination stays in registers). Bytes are the case of one plane each. Every chunk of input pixels and
 * of weights is copied to shared memory by cp.async, one chunk ahead of the products; pixels outside the image are
 * filled with zeros, and weights_pack's border table corrects for what a zero means.
 *
 * Word order: the instruction wants words t and t + 4 of eight from lane t; both operands are read as words 2t and 2t + 1
 * instead, one 8-byte load, which permutes the reduction and changes nothing.
 */
#include "emit.h"
#include "mma.h"
#include "weights.h"

enum { MAX_ROW_TILES = 2, MAX_COLUMN_TILES = 16, MAX_COPY_ROWS = 64 };

typedef struct Mma {
  Kernel *k;
  const Node *node;
  const MmaInstruction *instruction;
  PackedWeights w;
  Tensor in, out;
  Epilogue epilogue;
  Tile tile;
  PtxValue weights, pairs, border, row_class, column_class; /* device constants */
  PtxValue thread, lane, group, quad; /* lane = 4 * group + quad */
  PtxValue first_pixel, first_channel; /* of the block's tile */
  PtxValue total_pixels;
  PtxValue warp_row, warp_column; /* the warp's first row and channel in the tile */
  int row_tiles, column_tiles;   /* instruction tiles a warp */
  int pair_count, chunks;
  int pitch; /* words between rows of shared memory */
  /* copying the input: a thread copies `vector` words at one place of each of its rows */
  int vector, vectors_per_row, copy_rows;
  PtxValue copy_word;                    /* word in a chunk */
  PtxValue row_image[MAX_COPY_ROWS];     /* first pixel of the row's image */
  PtxValue row_y[MAX_COPY_ROWS], row_x[MAX_COPY_ROWS]; /* window origin; far outside for rows past the last pixel */
  PtxValue copy_row;                     /* first of the thread's rows */
  int rows_apart;
  PtxValue accumulators[MAX_ROW_TILES][MAX_COLUMN_TILES][4];
  PtxValue sums[MAX_ROW_TILES][2];       /* S2 of rows group and group + 8 */
  PtxValue shared;
} Mma;

static int stage_words(const Mma *m) { return (m->tile.m + m->tile.n) * m->pitch; }

/* Pairs of planes by falling significance, one word each: weight plane | input plane << 8 | shift before it << 16. */
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
  m->in = tensor_of(k, m->node->inputs[0]);
  m->out = tensor_of(k, m->node->result);
  m->w = weights_pack(k->graph, m->node);
  m->instruction = mma_for(m->node->engine, m->in.type.kind != ELEM_UINT, m->w.is_signed);
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

/* The rows of input pixels that this thread copies, and where their windows begin. */
static void place_copies(Mma *m) {
  Ptx *p = &m->k->ptx;
  const Attrs *a = &m->node->attrs;
  Image in = m->in.image, out = type_image(&m->node->main_type);
  int threads = 32 * m->tile.warps_m * m->tile.warps_n;
  m->vector = m->w.words % 4 == 0 ? 4 : m->w.words % 2 == 0 ? 2 : 1;
  m->vectors_per_row = m->tile.k / m->vector;
  m->rows_apart = threads / m->vectors_per_row;
  m->copy_rows = (m->tile.m + m->rows_apart - 1) / m->rows_apart;
  m->copy_word = ptx_mul(p, ptx_rem(p, m->thread, ptx_int(m->vectors_per_row)), ptx_int(m->vector));
  m->copy_row = ptx_div(p, m->thread, ptx_int(m->vectors_per_row));
  for (int i = 0; i < m->copy_rows; i++) {
    PtxValue pixel = ptx_add(p, m->first_pixel, ptx_add(p, m->copy_row, ptx_int(i * m->rows_apart)));
    PtxValue image = ptx_div(p, pixel, ptx_int(out.height * out.width));
    PtxValue local = ptx_rem(p, pixel, ptx_int(out.height * out.width));
    PtxValue y = ptx_div(p, local, ptx_int(out.width)), x = ptx_rem(p, local, ptx_int(out.width));
    PtxValue exists = ptx_setp(p, "lt.u32", pixel, m->total_pixels);
    y = ptx_add(p, ptx_mul(p, y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
    m->row_y[i] = ptx_select(p, exists, y, ptx_int(-(1 << 30)));
    m->row_x[i] = ptx_add(p, ptx_mul(p, x, ptx_int(a->stride[1])), ptx_int(-a->pad[1]));
    m->row_image[i] = ptx_mul(p, image, ptx_int(in.height * in.width));
  }
}

/* Where a copy goes: registers that advance as the reduction does. */
typedef struct Position {
  PtxValue pair, chunk;
} Position;

static PtxValue pair_word(Mma *m, PtxValue pair) {
  Ptx *p = &m->k->ptx;
  if (m->pair_count == 1) return ptx_int(0);
  return ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->pairs, pair, 4), 0);
}

static void copy_input(Mma *m, PtxValue chunk, PtxValue plane, PtxValue stage_base) {
  Ptx *p = &m->k->ptx;
  const Attrs *a = &m->node->attrs;
  Image in = m->in.image;
  PtxValue word = ptx_mad(p, chunk, ptx_int(m->tile.k), m->copy_word);
  PtxValue tap = ptx_div(p, word, ptx_int(m->w.words)), rest = ptx_rem(p, word, ptx_int(m->w.words));
  PtxValue kh = ptx_div(p, tap, ptx_int(a->kernel[1])), kw = ptx_rem(p, tap, ptx_int(a->kernel[1]));
  PtxValue dy = ptx_mul(p, kh, ptx_int(a->dilation[0])), dx = ptx_mul(p, kw, ptx_int(a->dilation[1]));
  PtxValue in_filter = ptx_setp(p, "lt.u32", tap, ptx_int(m->w.taps));
  PtxValue inside_pixel = ptx_mad(p, plane, ptx_int(m->w.words), rest);
  PtxValue channel_base = ptx_address(p, m->in.base, inside_pixel, 4);
  int64_t pixel_bytes = (int64_t)layout_pixel_bytes(&m->in.type);
  for (int i = 0; i < m->copy_rows; i++) {
    PtxValue row = ptx_add(p, m->copy_row, ptx_int(i * m->rows_apart));
    PtxValue y = ptx_add(p, m->row_y[i], dy), x = ptx_add(p, m->row_x[i], dx);
    PtxValue inside = ptx_pred_and(p, ptx_setp(p, "lt.u32", y, ptx_int(in.height)),
                                  ptx_setp(p, "lt.u32", x, ptx_int(in.width)));
    inside = ptx_pred_and(p, inside, in_filter);
    PtxValue pixel = ptx_add(p, m->row_image[i], ptx_mad(p, y, ptx_int(in.width), x));
    pixel = ptx_select(p, inside, pixel, ptx_int(0));
    PtxValue bytes = ptx_select(p, inside, ptx_int(4 * m->vector), ptx_int(0));
    PtxValue from = ptx_address(p, channel_base, pixel, pixel_bytes);
    PtxValue to = ptx_add(p, stage_base, ptx_shl(p, ptx_mad(p, row, ptx_int(m->pitch), m->copy_word), 2));
    const char *guard = "";
    if (m->copy_rows * m->rows_apart > m->tile.m)
      guard = arena_printf(p->context, "@%s ", ptx_text(p, ptx_setp(p, "lt.u32", row, ptx_int(m->tile.m))));
    ptx_raw(p, "%scp.async.%s.shared.global [%s], [%s], %d, %s;", guard, m->vector == 4 ? "cg" : "ca",
            ptx_text(p, to), ptx_text(p, from), 4 * m->vector, ptx_text(p, bytes));
  }
}

static void copy_weights(Mma *m, PtxValue chunk, PtxValue plane, PtxValue stage_base) {
  Ptx *p = &m->k->ptx;
  int threads = 32 * m->tile.warps_m * m->tile.warps_n, per_row = m->tile.k / 4;
  int apart = threads / per_row;
  PtxValue word = ptx_shl(p, ptx_rem(p, m->thread, ptx_int(per_row)), 2);
  PtxValue first = ptx_div(p, m->thread, ptx_int(per_row));
  PtxValue line = ptx_add(p, ptx_mad(p, plane, ptx_int(m->w.rows), m->first_channel), first);
  PtxValue base = ptx_address(p, m->weights, line, 4LL * m->w.row_words);
  base = ptx_address(p, base, ptx_mad(p, chunk, ptx_int(m->tile.k), word), 4);
  PtxValue to = ptx_mad(p, ptx_add(p, first, ptx_int(m->tile.m)), ptx_int(m->pitch), word);
  to = ptx_add(p, stage_base, ptx_shl(p, to, 2));
  for (int row = 0; row < m->tile.n; row += apart) {
    const char *guard = "";
    if (row + apart > m->tile.n)
      guard = arena_printf(p->context, "@%s ", ptx_text(p, ptx_setp(p, "lt.u32", first, ptx_int(m->tile.n - row))));
    ptx_raw(p, "%scp.async.cg.shared.global [%s+%d], [%s+%lld], 16;", guard, ptx_text(p, to), 4 * row * m->pitch,
            ptx_text(p, base), 4LL * row * m->w.row_words);
  }
}

static PtxValue stage_base(Mma *m, PtxValue stage) {
  return ptx_mad(&m->k->ptx, stage, ptx_int(4 * stage_words(m)), m->shared);
}

static void copy_chunk(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue word = pair_word(m, at.pair);
  PtxValue base = stage_base(m, stage);
  copy_input(m, at.chunk, ptx_and(p, ptx_shr(p, word, 8), ptx_int(255)), base);
  copy_weights(m, at.chunk, ptx_and(p, word, ptx_int(255)), base);
}

static Position position_start(Mma *m) {
  Ptx *p = &m->k->ptx;
  Position at = {ptx_new(p, CLASS_B32), ptx_new(p, CLASS_B32)};
  ptx_assign(p, at.pair, ptx_int(0));
  ptx_assign(p, at.chunk, ptx_int(0));
  return at;
}

static void position_next(Mma *m, Position at) {
  Ptx *p = &m->k->ptx;
  PtxValue next = ptx_add(p, at.chunk, ptx_int(1));
  PtxValue wrap = ptx_setp(p, "eq.s32", next, ptx_int(m->chunks));
  ptx_assign(p, at.chunk, ptx_select(p, wrap, ptx_int(0), next));
  ptx_assign(p, at.pair, ptx_add(p, at.pair, ptx_select(p, wrap, ptx_int(1), ptx_int(0))));
}

static void for_each_accumulator(Mma *m, void (*visit)(Ptx *p, PtxValue r)) {
  Ptx *p = &m->k->ptx;
  for (int i = 0; i < m->row_tiles; i++) {
    for (int j = 0; j < m->column_tiles; j++)
      for (int r = 0; r < 4; r++) visit(p, m->accumulators[i][j][r]);
    if (m->w.sum_scale)
      for (int h = 0; h < 2; h++) visit(p, m->sums[i][h]);
  }
}

static void set_zero(Ptx *p, PtxValue r) { ptx_assign(p, r, ptx_int(0)); }
static void shift_left(Ptx *p, PtxValue r) { ptx_raw(p, "shl.b32 %s, %s, 1;", ptx_text(p, r), ptx_text(p, r)); }

static void make_accumulators(Mma *m) {
  Ptx *p = &m->k->ptx;
  for (int i = 0; i < m->row_tiles; i++) {
    for (int j = 0; j < m->column_tiles; j++)
      for (int r = 0; r < 4; r++) m->accumulators[i][j][r] = ptx_new(p, CLASS_B32);
    for (int h = 0; h < 2; h++) m->sums[i][h] = ptx_new(p, CLASS_B32);
  }
  for_each_accumulator(m, set_zero);
}

/* Adds the stored numbers of one register of the input to a sum; `mask` is zero but for one weight plane. */
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
      ptx_raw(p, "%s %s, {%s, %s, %s, %s}, {%s, %s}, %s;", m->instruction->mnemonic, registers,
              ptx_text(p, a[i][0][0]), ptx_text(p, a[i][1][0]), ptx_text(p, a[i][0][1]), ptx_text(p, a[i][1][1]),
              ptx_text(p, b[0]), ptx_text(p, b[1]), registers);
    }
  }
}

/* Before the first chunk of a pair of lower significance, the accumulators double. */
static void shift_for_pair(Mma *m, Position at, PtxValue word) {
  if (m->pair_count == 1) return;
  Ptx *p = &m->k->ptx;
  PtxValue due = ptx_pred_and(p, ptx_setp(p, "eq.s32", at.chunk, ptx_int(0)),
                             ptx_setp(p, "ge.u32", word, ptx_int(1 << 16)));
  ptx_if(p, due);
  for_each_accumulator(m, shift_left);
  ptx_end_if(p);
}

static void multiply_chunk(Mma *m, Position at, PtxValue stage) {
  Ptx *p = &m->k->ptx;
  PtxValue word = pair_word(m, at.pair);
  shift_for_pair(m, at, word);
  /* S2 counts each input plane once: with weight plane 0 */
  PtxValue mask = ptx_int(-1);
  if (m->w.sum_scale && m->pair_count > 1) {
    PtxValue first = ptx_setp(p, "eq.s32", ptx_and(p, word, ptx_int(255)), ptx_int(0));
    mask = ptx_select(p, first, ptx_int(-1), ptx_int(0));
  }
  PtxValue base = stage_base(m, stage);
  PtxValue a_row = ptx_add(p, m->warp_row, m->group);
  PtxValue b_row = ptx_add(p, ptx_add(p, m->warp_column, m->group), ptx_int(m->tile.m));
  PtxValue words = ptx_shl(p, m->quad, 1);
  PtxValue a_base = ptx_add(p, base, ptx_shl(p, ptx_mad(p, a_row, ptx_int(m->pitch), words), 2));
  PtxValue b_base = ptx_add(p, base, ptx_shl(p, ptx_mad(p, b_row, ptx_int(m->pitch), words), 2));
  for (int step = 0; step < m->tile.k / 8; step++) multiply_step(m, a_base, b_base, step, mask);
}

static void reduce(Mma *m) {
  Ptx *p = &m->k->ptx;
  int total = m->pair_count * m->chunks;
  Position copy = position_start(m), at = position_start(m);
  copy_chunk(m, copy, ptx_int(0));
  ptx_raw(p, "cp.async.commit_group;");
  PtxValue i = ptx_for(p, ptx_int(0), ptx_int(total), ptx_int(1));
  position_next(m, copy);
  PtxValue stage = ptx_and(p, i, ptx_int(1));
  ptx_if(p, ptx_setp(p, "lt.s32", i, ptx_int(total - 1)));
  copy_chunk(m, copy, ptx_2(p, "xor.b32", stage, ptx_int(1)));
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

/* The four lanes of a quad hold parts of a row's sum. */
static void finish_sums(Mma *m) {
  Ptx *p = &m->k->ptx;
  if (!m->w.sum_scale) return;
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue sum = m->sums[i][h];
      for (int distance = 1; distance <= 2; distance *= 2) {
        PtxValue other = ptx_new(p, CLASS_B32);
        ptx_raw(p, "shfl.sync.bfly.b32 %s, %s, %d, 31, -1;", ptx_text(p, other), ptx_text(p, sum), distance);
        sum = ptx_add(p, sum, other);
      }
      m->sums[i][h] = ptx_mul(p, sum, ptx_int(-m->w.sum_scale));
    }
}

/* One row of the warp's results: a pixel. */
typedef struct Row {
  PtxValue pixel, exists, border, out;
} Row;

static Row place_row(Mma *m, int tile, int half, PtxValue lane_channel) {
  Ptx *p = &m->k->ptx;
  Image image = m->out.image;
  Row row;
  row.pixel = ptx_add(p, ptx_add(p, m->first_pixel, m->warp_row), ptx_add(p, m->group, ptx_int(16 * tile + 8 * half)));
  row.exists = ptx_setp(p, "lt.u32", row.pixel, m->total_pixels);
  row.pixel = ptx_select(p, row.exists, row.pixel, ptx_int(0));
  row.border = ptx_int(0);
  if (m->w.border) {
    PtxValue class = ptx_int(0);
    if (m->w.class_count > 1) {
      PtxValue local = ptx_rem(p, row.pixel, ptx_int(image.height * image.width));
      PtxValue y = ptx_div(p, local, ptx_int(image.width)), x = ptx_rem(p, local, ptx_int(image.width));
      PtxValue row_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->row_class, y, 4), 0);
      PtxValue column_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->column_class, x, 4), 0);
      class = ptx_mad(p, row_class, ptx_int(m->w.column_classes), column_class);
    }
    row.border = ptx_address(p, m->border, ptx_mad(p, class, ptx_int(m->w.rows), lane_channel), 4);
  }
  row.out = ptx_address(p, m->out.base, row.pixel, (int64_t)layout_pixel_bytes(&m->out.type));
  return row;
}

/* The exact sum of products of levels for one element. */
static PtxValue corrected(Mma *m, PtxValue accumulator, PtxValue sum, const Row *row, int offset) {
  Ptx *p = &m->k->ptx;
  PtxValue x = ptx_mul(p, accumulator, ptx_int(m->w.product_scale));
  if (m->w.sum_scale) x = ptx_add(p, x, sum);
  if (m->w.border) x = ptx_add(p, x, ptx_load(p, "global.nc.b32", CLASS_B32, row->border, 4LL * offset));
  return x;
}

/* The second operand of an add, as a lane sees it: the run of a block's bits in planes, or an address. */
typedef struct Other {
  bool is_run, is_row;
  int block_tile;                     /* is_run: the first column tile of the block that `words` holds, or -1 */
  PtxValue at[MAX_ROW_TILES][2];      /* the pixel (is_run), or the pixel's lane_channel (is_row) */
  PtxValue words[MAX_ROW_TILES][2][8];
} Other;

typedef struct Results {
  Mma *m;
  Row rows[MAX_ROW_TILES][2];
  PtxValue words[MAX_ROW_TILES][2][8]; /* the bits of a run of channels, a plane each */
  PtxValue lane_channel;               /* first_channel + warp_column + 2 * quad */
  Other others[MAX_STEPS];
  int i, h, j, e;                      /* the element under way: row tile, half, column tile, column parity */
} Results;

static PtxValue block_channel(Mma *m, int column_tile) {
  Ptx *p = &m->k->ptx;
  return ptx_add(p, ptx_add(p, m->first_channel, m->warp_column), ptx_int(8 * column_tile));
}

/* Decides how each second operand is read. The short ways need every channel of the tile to exist. */
static void place_others(Results *r) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  int warp_n = m->tile.n / m->tile.warps_n;
  for (uint32_t s = 0; s < m->node->step_count; s++) {
    if (m->node->steps[s].op != OP_ADD) continue;
    const Tensor *t = &m->epilogue.others[s];
    Layout l = t->type.layout;
    Other *o = &r->others[s];
    if (t->image.channels % m->tile.n) continue;
    o->is_run = l.kind == LAYOUT_PLANES && warp_n % l.block == 0;
    o->is_row = l.kind != LAYOUT_PLANES;
    o->block_tile = -1;
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        o->at[i][h] = ptx_address(p, t->base, r->rows[i][h].pixel, (int64_t)layout_pixel_bytes(&t->type));
        if (o->is_row) o->at[i][h] = ptx_address(p, o->at[i][h], r->lane_channel, l.kind == LAYOUT_BYTES ? 1 : 4);
      }
  }
}

/* The lane's runs of a block of channels: one load a row and plane. */
static void load_runs(Results *r, Other *o, const Tensor *t, int first_tile) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  int run_bytes = t->type.layout.block / 32;
  const char *load = run_bytes == 4 ? "global.nc.b32" : run_bytes == 2 ? "global.nc.u16" : "global.nc.u8";
  PtxValue in_pixel = ptx_mad(p, m->quad, ptx_int(run_bytes), ptx_shr(p, block_channel(m, first_tile), 3));
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue at = ptx_address(p, o->at[i][h], in_pixel, 1);
      for (int plane = 0; plane < t->type.bits; plane++)
        o->words[i][h][plane] = ptx_load(p, load, CLASS_B32, at, (int64_t)plane * t->type.layout.pitch / 8);
    }
  o->block_tile = first_tile;
}

static Flow read_run(Results *r, Other *o, const Tensor *t) {
  Ptx *p = &r->m->k->ptx;
  int tiles = t->type.layout.block / 8, first_tile = r->j / tiles * tiles;
  if (o->block_tile != first_tile) load_runs(r, o, t, first_tile);
  int position = r->j % tiles * 2 + r->e;
  PtxValue q = ptx_int(0);
  for (int plane = 0; plane < t->type.bits; plane++) {
    PtxValue word = o->words[r->i][r->h][plane];
    PtxValue bit = ptx_new(p, CLASS_B32);
    ptx_raw(p, "bfe.u32 %s, %s, %d, 1;", ptx_text(p, bit), ptx_text(p, word), position);
    q = ptx_mad(p, bit, ptx_int(1 << plane), q);
  }
  return (Flow){t->type, q, -stored_bias(&t->type)};
}

static Flow read_row(Results *r, Other *o, const Tensor *t) {
  Ptx *p = &r->m->k->ptx;
  int offset = 8 * r->j + r->e;
  PtxValue at = o->at[r->i][r->h];
  if (t->type.layout.kind == LAYOUT_BYTES) {
    const char *load = t->type.kind == ELEM_UINT ? "global.nc.u8" : "global.nc.s8";
    return (Flow){t->type, ptx_load(p, load, CLASS_B32, at, offset), 0};
  }
  bool real = t->type.kind == ELEM_F32;
  PtxValue x = ptx_load(p, real ? "global.nc.f32" : "global.nc.b32", real ? CLASS_F32 : CLASS_B32, at, 4 * offset);
  return (Flow){t->type, x, 0};
}

static Flow read_other(void *user, uint32_t step, PtxValue pixel, PtxValue channel) {
  Results *r = user;
  Other *o = &r->others[step];
  const Tensor *t = &r->m->epilogue.others[step];
  if (o->is_run) return read_run(r, o, t);
  if (o->is_row) return read_row(r, o, t);
  return load_element(&r->m->k->ptx, t, pixel, channel);
}

/* A run: the 2J bits of one block of channels that this lane holds. */
static void store_run(Mma *m, Results *r, int column_tile) {
  Ptx *p = &m->k->ptx;
  Layout l = m->out.type.layout;
  int tiles = l.block / 8, run_bytes = 2 * tiles / 8;
  PtxValue first = block_channel(m, column_tile / tiles * tiles);
  PtxValue kept = ptx_int(1);
  if (l.pitch % m->tile.n) kept = ptx_setp(p, "lt.u32", first, ptx_int(l.pitch));
  const char *store = run_bytes == 4 ? "global.b32" : run_bytes == 2 ? "global.u16" : "global.u8";
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue in_pixel = ptx_mad(p, m->quad, ptx_int(run_bytes), ptx_shr(p, first, 3));
      PtxValue at = ptx_address(p, r->rows[i][h].out, in_pixel, 1);
      for (int plane = 0; plane < m->out.type.bits; plane++) {
        PtxValue word = r->words[i][h][plane];
        ptx_store_if(p, ptx_pred_and(p, kept, r->rows[i][h].exists), store, at, (int64_t)plane * l.pitch / 8, word);
      }
    }
}

static void pack_bit(Mma *m, Results *r, int i, int h, int position, PtxValue stored) {
  Ptx *p = &m->k->ptx;
  for (int plane = 0; plane < m->out.type.bits; plane++) {
    PtxValue bit = ptx_shr(p, stored, plane);
    if (bit.kind == OPERAND_IMMEDIATE || position == 0) bit = ptx_and(p, bit, ptx_int(1));
    PtxValue *word = &r->words[i][h][plane];
    if (position == 0) *word = bit;
    else {
      PtxValue next = ptx_new(p, CLASS_B32);
      ptx_raw(p, "bfi.b32 %s, %s, %s, %d, 1;", ptx_text(p, next), ptx_text(p, bit), ptx_text(p, *word), position);
      *word = next;
    }
  }
}

static void store_element(Mma *m, Results *r, int i, int h, PtxValue channel, PtxValue stored) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  PtxValue kept = r->rows[i][h].exists;
  int32_t limit = (int32_t)t->layout.pitch;
  if (limit % m->tile.n) kept = ptx_pred_and(p, kept, ptx_setp(p, "lt.u32", channel, ptx_int(limit)));
  bool bytes = t->layout.kind == LAYOUT_BYTES;
  PtxValue at = ptx_address(p, r->rows[i][h].out, channel, bytes ? 1 : 4);
  ptx_store_if(p, kept, bytes ? "global.u8" : stored.class == CLASS_F32 ? "global.f32" : "global.b32", at, 0, stored);
}

/* Results of one column of the fragment (an instruction tile and its column parity) in all rows of the lane. */
static void finish_column(Mma *m, Results *r, int j, int e) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  bool planes = t->layout.kind == LAYOUT_PLANES;
  int offset = 8 * j + e;
  PtxValue channel = ptx_add(p, r->lane_channel, ptx_int(offset));
  PtxValue valid = ptx_int(1);
  if (m->out.image.channels % m->tile.n) valid = ptx_setp(p, "lt.u32", channel, ptx_int(m->out.image.channels));
  PtxValue read_channel = ptx_select(p, valid, channel, ptx_int(0)); /* where second operands of add are read */
  epilogue_load(&m->epilogue, offset);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      Row *row = &r->rows[i][h];
      PtxValue sum = m->sums[i][h];
      r->i = i, r->h = h, r->j = j, r->e = e;
      Flow f = {m->node->main_type, corrected(m, m->accumulators[i][j][2 * h + e], sum, row, offset), 0};
      f = epilogue_apply(&m->epilogue, f, row->pixel, read_channel);
      PtxValue stored = flow_stored(p, f, t);
      if (type_is_quantized(t)) stored = ptx_select(p, valid, stored, ptx_int(0));
      if (planes) pack_bit(m, r, i, h, j % (t->layout.block / 8) * 2 + e, stored);
      else store_element(m, r, i, h, channel, stored);
    }
}

static void finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Results r = {.m = m};
  r.lane_channel = ptx_add(p, ptx_add(p, m->first_channel, m->warp_column), ptx_shl(p, m->quad, 1));
  finish_sums(m);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) r.rows[i][h] = place_row(m, i, h, r.lane_channel);
  place_others(&r);
  m->epilogue.read_other = read_other;
  m->epilogue.user = &r;
  epilogue_at(&m->epilogue, r.lane_channel);
  bool planes = m->out.type.layout.kind == LAYOUT_PLANES;
  int run_tiles = planes ? m->out.type.layout.block / 8 : 1;
  for (int j = 0; j < m->column_tiles; j++) {
    for (int e = 0; e < 2; e++) finish_column(m, &r, j, e);
    if (planes && j % run_tiles == run_tiles - 1) store_run(m, &r, j);
  }
}

static bool fits(Mma *m) {
  const Tile *t = &m->tile;
  int warp_n = t->warps_n ? t->n / t->warps_n : 0;
  int block = m->out.type.layout.kind == LAYOUT_PLANES ? m->out.type.layout.block : 8;
  bool shape = m->instruction && t->warps_m && t->warps_n && t->m / t->warps_m == 16 * m->row_tiles &&
               warp_n == 8 * m->column_tiles && warp_n % block == 0 && t->k % 8 == 0 && CHANNEL_PADDING % t->n == 0 && t->stages == 2;
  bool fitting = shape && m->row_tiles >= 1 && m->row_tiles <= MAX_ROW_TILES && m->column_tiles <= MAX_COLUMN_TILES &&
                 32 * t->warps_m * t->warps_n >= t->k && m->copy_rows <= MAX_COPY_ROWS;
  if (!fitting) {
    diag(m->k->graph->context, DIAG_INTERNAL, m->node->loc, "a tile that the mma kernel cannot compute");
    diag_seen(m->k->graph->context, "%ux%ux%u in %ux%u warps", t->m, t->n, t->k, t->warps_m, t->warps_n);
  }
  return fitting;
}

bool kernel_mma(Kernel *k) {
  const Tile *t = &k->node->tile;
  Mma m = {.k = k, .node = k->node, .tile = *t, .pitch = (int)tile_row_words(t)};
  m.row_tiles = t->warps_m ? t->m / t->warps_m / 16 : 0;
  m.column_tiles = t->warps_n ? t->n / t->warps_n / 8 : 0;
  if (!t->k) return fits(&m);
  bind(&m);
  if (!fits(&m)) return false;
  m.chunks = m.w.row_words / t->k;
  place_thread(&m);
  place_copies(&m);
  make_accumulators(&m);
  reduce(&m);
  finish(&m);
  return true;
}
