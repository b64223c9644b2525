/* Tensor-core layers, the end: from accumulators to the stored result.
 *
 * A lane holds, of every instruction tile, columns 2 * quad and 2 * quad + 1 of rows group and group + 8. They become
 * exact sums of level products (weights.h), go through the epilogue and are stored. Results in bit planes are packed
 * without moving bits between lanes: over the J tiles of a block of 8J channels a lane holds the 2J channels that the
 * layout (ir/type.h) makes neighbours, one store a plane. Second operands of an addition are read the same way.
 */
#include "mma_kernel.h"

/* One row of the warp's results: a position. Where it is no pixel (is_pixel), pixel 0 is read and zeros are stored. Past
 * the last position (exists) nothing is. */
typedef struct Row {
  PtxValue pixel, is_pixel;
  PtxValue position, exists; /* of the result */
  PtxValue border;           /* address of the correction of the lane's first channel */
} Row;

/* The second operand of an addition, as a lane sees it. Neither: load_element reads it. */
typedef struct Other {
  bool is_run;                   /* the runs of a block's bits in planes */
  bool is_row;                   /* elements at fixed distances from an address */
  int first_tile;                /* is_run: of the block that `words` holds, or -1 */
  PtxValue at[MAX_ROW_TILES][2]; /* position (is_run); address of the pixel's lane_channel (is_row) */
  PtxValue words[MAX_ROW_TILES][2][8];
} Other;

typedef struct Results {
  Mma *m;
  Row rows[MAX_ROW_TILES][2];
  PtxValue words[MAX_ROW_TILES][2][8]; /* the bits of a run of channels, a plane each */
  PtxValue lane_channel;               /* of the lane's first column */
  Other *others;                       /* of each step that is an addition */
  int i, h, j, e;                      /* the element under way: row tile, half, column tile, column of the two */
} Results;

/* The four lanes of a quad hold parts of a row's sum of inputs. */
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

static PtxValue border_class(Mma *m, PtxValue y, PtxValue x) {
  Ptx *p = &m->k->ptx;
  if (m->w.class_count == 1) return ptx_int(0);
  PtxValue row_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->row_class, y, 4), 0);
  PtxValue column_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->column_class, x, 4), 0);
  return ptx_mad(p, row_class, ptx_int(m->w.column_classes), column_class);
}

static Row place_row(Mma *m, int tile, int half, PtxValue lane_channel) {
  Ptx *p = &m->k->ptx;
  Row row = {.border = ptx_int(0)};
  Grid out = grid_of(&m->out.type);
  PtxValue of_tile = ptx_add(p, m->group, ptx_int(m->row_tile_rows * tile + 8 * half));
  RowPlace place = m->place_row(m, ptx_add(p, m->warp_row, of_tile));
  Place at = place.at;
  row.exists = place.exists;
  row.is_pixel = at.is_pixel;
  PtxValue real = ptx_pred_and(p, row.exists, at.is_pixel);
  row.pixel = ptx_select(p, real, at.pixel, ptx_int(0));
  row.position = place.position;
  if (!grid_has_gaps(&out)) { /* every pixel is a position of its own, and no other is stored */
    row.position = row.pixel;
    row.exists = real;
    row.is_pixel = ptx_int(1);
  }
  if (m->w.border) {
    PtxValue y = ptx_select(p, real, at.y, ptx_int(0)), x = ptx_select(p, real, at.x, ptx_int(0));
    PtxValue class = border_class(m, y, x);
    row.border = ptx_address(p, m->border, ptx_mad(p, class, ptx_int(m->w.rows), lane_channel), 4);
  }
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

/* First channel of one of the warp's instruction tiles. */
static PtxValue tile_channel(Mma *m, int column_tile) {
  Ptx *p = &m->k->ptx;
  return ptx_add(p, ptx_add(p, m->first_channel, m->warp_column), ptx_int(8 * column_tile));
}

/* --- second operands --- */

/* Decides how each is read. The short ways need every channel of the tile to exist. */
static void place_others(Results *r) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  int warp_n = m->tile.n / m->tile.warps_n;
  for (uint32_t s = 0; s < m->node->step_count; s++) {
    if (m->node->steps[s].op != OP_ADD) continue;
    const Tensor *t = &m->epilogue.steps[s].other;
    Layout l = t->type.layout;
    Other *o = &r->others[s];
    if (t->image.channels % m->tile.n) continue;
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

/* A block of 8J channels in planes gives a lane a run of 2J bits. A warp with fewer columns than a block has a part of
 * it, of whole bytes: instruction tiles whose bits a lane moves at once. */
static int run_tiles(const Mma *m, Layout l) {
  int warp_tiles = m->column_tiles, block_tiles = l.block / 8;
  return warp_tiles < block_tiles ? warp_tiles : block_tiles;
}

/* Offset of the run, or of its part that begins at a channel, in the lane's block. */
static PtxValue run_offset(Mma *m, Layout l, PtxValue channel) {
  Ptx *p = &m->k->ptx;
  PtxValue run = ptx_mul(p, m->quad, ptx_int(l.block / 32));
  if (run_tiles(m, l) == l.block / 8) return run;
  return ptx_add(p, run, ptx_shr(p, ptx_rem(p, channel, ptx_int(l.block)), 5));
}

/* The lane's runs of a block of channels: one load a row and plane. */
static void load_runs(Results *r, Other *o, const Tensor *t, int first_tile) {
  Mma *m = r->m;
  Ptx *p = &m->k->ptx;
  Layout l = t->type.layout;
  int run_bytes = run_tiles(m, l) / 4;
  const char *load = run_bytes == 4 ? "global.nc.b32" : run_bytes == 2 ? "global.nc.u16" : "global.nc.u8";
  PtxValue first = tile_channel(m, first_tile), offset = run_offset(m, l, first);
  PtxValue block = ptx_div(p, first, ptx_int(l.block));
  int64_t plane_bytes = (int64_t)layout_strides(&t->type).plane;
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue at = ptx_address(p, block_address(p, t, o->at[i][h], block), offset, 1);
      for (int plane = 0; plane < t->type.bits; plane++)
        o->words[i][h][plane] = ptx_load(p, load, CLASS_B32, at, plane * plane_bytes);
    }
  o->first_tile = first_tile;
}

static Flow read_run(Results *r, Other *o, const Tensor *t) {
  Ptx *p = &r->m->k->ptx;
  int tiles = run_tiles(r->m, t->type.layout), first_tile = r->j / tiles * tiles;
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
  const Tensor *t = &r->m->epilogue.steps[step].other;
  if (o->is_run) return read_run(r, o, t);
  if (o->is_row) return read_row(r, o, t);
  return load_element(&r->m->k->ptx, t, pixel, channel);
}

/* --- results --- */

/* Stores the lane's run of a block of channels, whose last instruction tile is column_tile. */
static void store_run(Mma *m, Results *r, int column_tile) {
  Ptx *p = &m->k->ptx;
  Layout l = m->out.type.layout;
  int tiles = run_tiles(m, l), run_bytes = tiles / 4;
  int64_t plane_bytes = (int64_t)layout_strides(&m->out.type).plane;
  PtxValue first = tile_channel(m, column_tile / tiles * tiles), offset = run_offset(m, l, first);
  PtxValue kept = ptx_int(1);
  if (l.pitch % m->tile.n) kept = ptx_setp(p, "lt.u32", first, ptx_int(l.pitch));
  const char *store = run_bytes == 4 ? "global.b32" : run_bytes == 2 ? "global.u16" : "global.u8";
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      const Row *row = &r->rows[i][h];
      PtxValue at = block_address(p, &m->out, row->position, ptx_div(p, first, ptx_int(l.block)));
      at = ptx_address(p, at, offset, 1);
      for (int plane = 0; plane < m->out.type.bits; plane++) {
        PtxValue word = ptx_select(p, row->is_pixel, r->words[i][h][plane], ptx_int(0));
        ptx_store_if(p, ptx_pred_and(p, kept, row->exists), store, at, plane * plane_bytes, word);
      }
    }
}

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
  if (m->out.image.channels % m->tile.n) valid = ptx_setp(p, "lt.u32", channel, ptx_int(m->out.image.channels));
  PtxValue read_channel = ptx_select(p, valid, channel, ptx_int(0));
  epilogue_load(&m->epilogue, offset);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      Row *row = &r->rows[i][h];
      r->i = i, r->h = h, r->j = j, r->e = e;
      PtxValue exact = corrected(m, m->accumulators[i][j][2 * h + e], m->sums[i][h], row, offset);
      Flow f = epilogue_apply(&m->epilogue, (Flow){m->node->main_type, exact, 0}, row->pixel, read_channel);
      PtxValue stored = flow_stored(p, f, t);
      if (type_is_quantized(t)) stored = ptx_select(p, valid, stored, ptx_int(0));
      if (t->layout.kind == LAYOUT_PLANES)
        pack_bits(m, r, i, h, j % run_tiles(m, t->layout) * 2 + e, stored);
      else
        store_element(m, r, i, h, channel, stored);
    }
}

void mma_finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Results r = {.m = m};
  r.others = ARENA_NEW(p->context, Other, m->node->step_count);
  r.lane_channel = tile_channel(m, 0);
  r.lane_channel = ptx_add(p, r.lane_channel, ptx_shl(p, m->quad, 1));
  finish_sums(m);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) r.rows[i][h] = place_row(m, i, h, r.lane_channel);
  place_others(&r);
  m->epilogue.read_other = read_other;
  m->epilogue.user = &r;
  epilogue_at(&m->epilogue, r.lane_channel);
  bool planes = m->out.type.layout.kind == LAYOUT_PLANES;
  int tiles = planes ? run_tiles(m, m->out.type.layout) : 1;
  for (int j = 0; j < m->column_tiles; j++) {
    for (int e = 0; e < 2; e++) finish_column(m, &r, j, e);
    if (planes && j % tiles == tiles - 1) store_run(m, &r, j);
  }
}
