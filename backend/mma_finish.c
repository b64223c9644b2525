/* Tensor-core layers, the end: from accumulators to the stored result.
 *
 * A lane holds, of every instruction tile, columns 2 * quad and 2 * quad + 1 of rows group and group + 8. They become
 * exact sums of level products (weights.h), go through the epilogue and are stored. Results in bit planes are packed
 * without moving bits between lanes: over the J tiles of a block of 8J channels a lane holds the 2J channels that the
 * layout (ir/type.h) makes neighbours, one store a plane. Second activations of steps are read the same way.
 */
#include "mma_kernel.h"

/* The activation that a step reads, as a lane sees it. Neither: load_element reads it. */
typedef struct Other {
  bool is_run;                   /* the runs of a block's bits in planes */
  bool is_row;                   /* elements at fixed distances from an address */
  int first_tile;                /* is_run: of the block that `words` holds, or -1 */
  PtxValue at[MAX_ROW_TILES][2]; /* position (is_run); address of the pixel's lane_channel (is_row) */
  PtxValue words[MAX_ROW_TILES][2][8];
} Other;

typedef struct Results {
  Mma *m;
  MmaRow rows[MAX_ROW_TILES][2];
  PtxValue words[MAX_ROW_TILES][2][8]; /* the bits of a run of channels, a plane each */
  PtxValue lane_channel;               /* of the lane's first column */
  Other *others;                       /* of each step that reads an activation */
  int i, h, j, e;                      /* the element under way: row tile, half, column tile, column of the two */
} Results;

/* The exact sum of products of levels for one element. */
static PtxValue corrected(Mma *m, PtxValue accumulator, PtxValue sum, const MmaRow *row, int offset) {
  Ptx *p = &m->k->ptx;
  PtxValue x = ptx_mul(p, accumulator, ptx_int(m->w.product_scale));
  if (m->w.sum_scale) x = ptx_add(p, x, sum);
  if (m->w.border) x = ptx_add(p, x, ptx_load(p, "global.nc.b32", CLASS_B32, row->border, 4LL * offset));
  return x;
}

/* --- second activations --- */

/* Decides how each is read. The short ways need every channel of the tile to exist. */
static void place_others(Results *r) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  int warp_n = m->tile.n / m->tile.warps_n;
  for (uint32_t s = 0; s < m->node->step_count; s++) {
    if (step_operand(&m->node->steps[s]) == NO_VALUE) continue;
    const Tensor *t = &m->epilogue.steps[s].other;
    Layout l = t->type.layout;
    Other *o = &r->others[s];
    if (mma_has_more_columns(m)) continue;
    o->is_run = l.kind == LAYOUT_PLANES && (warp_n % l.block == 0 || l.block % warp_n == 0) && warp_n % 32 == 0;
    o->is_row = l.kind != LAYOUT_PLANES && !layout_is_pieces(l);
    Grid grid = grid_of(&t->type);
    o->first_tile = -1;
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++) {
        PtxValue pixel = r->rows[i][h].pixel;
        if (o->is_run) o->at[i][h] = position_of_pixel(p, &grid, pixel);
        if (o->is_row) o->at[i][h] = unit_address(p, t, pixel, r->lane_channel, l.kind == LAYOUT_BYTES ? 1 : 4);
      }
  }
}

/* The lane's runs of a block of channels: one load a row and plane. */
static void load_runs(Results *r, Other *o, const Tensor *t, int first_tile) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  Layout l = t->type.layout;
  int run_bytes = mma_run_tiles(m, l) / 4;
  const char *load = ptx_written(p, run_bytes == 4 ? "b32" : run_bytes == 2 ? "u16" : "u8");
  PtxValue first = mma_tile_channel(m, first_tile), start = mma_run_start(m, l, first);
  PtxValue block = ptx_div(p, first, ptx_int(l.block));
  int64_t plane_bytes = (int64_t)layout_strides(&t->type).plane;
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue at = ptx_address(p, block_address(p, t, o->at[i][h], block), ptx_shr(p, start, 3), 1);
      for (int plane = 0; plane < t->type.bits; plane++)
        o->words[i][h][plane] = ptx_load(p, load, CLASS_B32, at, plane * plane_bytes);
    }
  o->first_tile = first_tile;
}

static Flow read_run(Results *r, Other *o, const Tensor *t) {
  Ptx *p = &r->m->k->ptx;
  int tiles = mma_run_tiles(r->m, t->type.layout), first_tile = r->j / tiles * tiles;
  if (o->first_tile != first_tile) load_runs(r, o, t, first_tile);
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
    const char *load = ptx_written(p, t->type.kind == ELEM_UINT ? "u8" : "s8");
    return (Flow){t->type, ptx_load(p, load, CLASS_B32, at, offset), 0};
  }
  bool real = t->type.kind == ELEM_F32;
  PtxValue x = ptx_load(p, ptx_written(p, real ? "f32" : "b32"), real ? CLASS_F32 : CLASS_B32, at, 4 * offset);
  return (Flow){t->type, x, 0};
}

static Flow read_other(void *user, uint32_t step, PtxValue pixel, PtxValue channel) {
  Results *r = user;
  Other *o = &r->others[step];
  const Tensor *t = &r->m->epilogue.steps[step].other;
  if (o->is_run) return read_run(r, o, t);
  if (o->is_row) return read_row(r, o, t);
  return load_element(&r->m->k->ptx, t, pixel, channel);
}

/* --- results --- */

static void pack_bits(Mma *m, Results *r, int i, int h, int position, PtxValue stored) {
  Ptx *p = &m->k->ptx;
  for (int plane = 0; plane < m->out.type.bits; plane++) {
    PtxValue bit = ptx_shr(p, stored, plane);
    if (bit.kind == OPERAND_IMMEDIATE || position == 0) bit = ptx_and(p, bit, ptx_int(1));
    PtxValue *word = &r->words[i][h][plane];
    if (position == 0)
      *word = bit;
    else {
      PtxValue next = ptx_new(p, CLASS_B32);
      ptx_raw(p, "bfi.b32 %s, %s, %s, %d, 1;", ptx_text(p, next), ptx_text(p, bit), ptx_text(p, *word), position);
      *word = next;
    }
  }
}

/* Byte `position` of the lane's run. Those behind it come later. */
static void pack_byte(Mma *m, Results *r, int i, int h, int position, PtxValue stored) {
  static const char *const selector[] = {NULL, "0x3240", "0x3410", "0x4210"}; /* byte 0 of the second, at its place */
  Ptx *p = &m->k->ptx;
  PtxValue *word = &r->words[i][h][position / 4];
  if (position % 4 == 0) {
    *word = ptx_variable(p, stored);
    return;
  }
  PtxValue next = ptx_new(p, CLASS_B32);
  ptx_raw(p, "prmt.b32 %s, %s, %s, %s;", ptx_text(p, next), ptx_text(p, *word), ptx_text(p, stored),
          selector[position % 4]);
  *word = next;
}

static void store_element(Mma *m, Results *r, int i, int h, PtxValue channel, PtxValue stored) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  PtxValue kept = r->rows[i][h].exists;
  int32_t limit = (int32_t)t->layout.pitch;
  if (limit % m->tile.n) kept = ptx_pred_and(p, kept, ptx_setp(p, "lt.u32", channel, ptx_int(limit)));
  bool bytes = t->layout.kind == LAYOUT_BYTES;
  PtxValue at = unit_address(p, &m->out, r->rows[i][h].position, channel, bytes ? 1 : 4);
  stored = ptx_select(p, r->rows[i][h].is_pixel, stored, ptx_int(0));
  ptx_store_if(p, kept, bytes ? "global.u8" : stored.class == CLASS_F32 ? "global.f32" : "global.b32", at, 0, stored);
}

/* Results of one column of an instruction tile in all rows of the lane. */
static void finish_column(Mma *m, Results *r, int j, int e) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  int offset = 8 * j + e;
  PtxValue channel = ptx_add(p, r->lane_channel, ptx_int(offset));
  PtxValue valid = ptx_int(1);
  if (mma_has_more_columns(m)) valid = ptx_setp(p, "lt.u32", channel, ptx_int(m->out.image.channels));
  PtxValue read_channel = ptx_select(p, valid, channel, ptx_int(0));
  epilogue_load(&m->epilogue, offset);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      MmaRow *row = &r->rows[i][h];
      r->i = i, r->h = h, r->j = j, r->e = e;
      PtxValue exact = corrected(m, m->accumulators[i][j][2 * h + e], m->sums[i][h], row, offset);
      Flow f = epilogue_apply(&m->epilogue, (Flow){m->node->main_type, exact, 0}, row->pixel, read_channel);
      PtxValue stored = flow_stored(p, f, t);
      if (type_is_quantized(t)) stored = ptx_select(p, valid, stored, ptx_int(0));
      if (layout_orders_channels(t->layout))
        (t->layout.kind == LAYOUT_PLANES ? pack_bits : pack_byte)(m, r, i, h, j % mma_run_tiles(m, t->layout) * 2 + e,
                                                                  stored);
      else
        store_element(m, r, i, h, channel, stored);
    }
}

static bool reads_activations(const Mma *m) {
  for (uint32_t s = 0; s < m->node->step_count; s++)
    if (step_operand(&m->node->steps[s]) != NO_VALUE) return true;
  return false;
}

void mma_finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Results r = {.m = m};
  r.others = ARENA_NEW(p->context, Other, m->node->step_count);
  r.lane_channel = mma_tile_channel(m, 0);
  r.lane_channel = ptx_add(p, r.lane_channel, ptx_shl(p, m->quad, 1));
  mma_finish_sums(m);
  mma_place_rows(m, r.rows, r.lane_channel, reads_activations(m));
  place_others(&r);
  m->epilogue.read_other = read_other;
  m->epilogue.user = &r;
  epilogue_at(&m->epilogue, r.lane_channel);
  Layout l = m->out.type.layout;
  bool runs = layout_orders_channels(l);
  int tiles = runs ? mma_run_tiles(m, l) : 1;
  for (int j = 0; j < m->column_tiles; j++) {
    for (int e = 0; e < 2; e++) finish_column(m, &r, j, e);
    if (runs && j % tiles == tiles - 1)
      (l.kind == LAYOUT_PLANES ? mma_store_run : mma_store_bytes)(m, r.rows, r.words, j);
  }
}
