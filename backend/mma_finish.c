/* Tensor-core layers, the end: from accumulators to the stored result.
 *
 * A lane holds, of every instruction tile, columns 2 * quad and 2 * quad + 1 of rows group and group + 8. They become
 * exact sums of level products (weights.h), go through the epilogue and are stored. Results in bit planes are packed
 * without moving bits between lanes: over the J tiles of a block of 8J channels a lane holds the 2J channels that the
 * layout (ir/type.h) makes neighbours, one store a plane. Second activations of steps are read the same way.
 */
#include "mma_others.h"

typedef struct Results {
  Mma *m;
  MmaRow rows[MAX_ROW_TILES][2];
  Slots slots[MAX_ROW_TILES][2];       /* results in planes: the numbers of the run under way */
  PtxValue words[MAX_ROW_TILES][2][8]; /* a plane each, or four bytes each */
  PtxValue lane_channel;               /* of the lane's first column */
  Other *others;                       /* of each step that reads an activation */
  Lines lines;                         /* where channels keep their order */
  LaneElement at;                      /* the element under way */
} Results;

/* What the border adds to a column, where it is the same for all rows. */
static PtxValue one_border(Mma *m, const Results *r, int offset) {
  if (!m->w.border || m->w.class_count > 1) return ptx_int(0);
  return ptx_load(&m->k->ptx, "global.nc.b32", CLASS_B32, r->rows[0][0].border, 4LL * offset);
}

/* The exact sum of products of levels for one element. */
static PtxValue corrected(Mma *m, PtxValue accumulator, PtxValue sum, PtxValue border, const MmaRow *row, int offset) {
  Ptx *p = &m->k->ptx;
  if (m->w.border && m->w.class_count > 1) border = ptx_load(p, "global.nc.b32", CLASS_B32, row->border, 4LL * offset);
  PtxValue rest = m->w.sum_scale ? ptx_add(p, sum, border) : border;
  return ptx_mad(p, accumulator, ptx_int(m->w.product_scale), rest);
}

static Flow read_other(void *user, uint32_t step, PtxValue pixel, PtxValue channel) {
  Results *r = user;
  return mma_read_other(r->m, &r->others[step], &r->m->epilogue.steps[step].other, r->at, pixel, channel);
}

/* --- results --- */

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

/* The bits to be stored; zeros of a quantized channel that there is not. Of bytes only the lower 8 bits count. */
static PtxValue stored_bits(Mma *m, Flow f, PtxValue valid) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  bool as_it_is = t->layout.kind == LAYOUT_BYTES && f.bias % 256 == 0 && f.low == 0;
  PtxValue stored = as_it_is ? f.reg : flow_stored(p, f, t);
  return type_is_quantized(t) ? ptx_select(p, valid, stored, ptx_int(0)) : stored;
}

/* Puts a result among its run's, or those of its line. */
static void put(Mma *m, Results *r, Flow f, PtxValue valid) {
  Ptx *p = &m->k->ptx;
  const Type *t = &m->out.type;
  LaneElement at = r->at;
  if (!layout_orders_channels(t->layout)) {
    mma_lines_keep(m, &r->lines, at.i, at.h, at.j, at.e, stored_bits(m, f, valid));
    return;
  }
  int tiles = mma_run_tiles(m, t->layout), position = at.j % tiles * 2 + at.e;
  if (t->layout.kind == LAYOUT_BYTES) {
    pack_byte(m, r, at.i, at.h, position, stored_bits(m, f, valid));
    return;
  }
  Slots *s = &r->slots[at.i][at.h];
  int32_t bias = f.bias + stored_bias(t);
  if (position == 0) *s = slots_new(t->bits, 2 * tiles);
  slots_put(p, s, position, ptx_select(p, valid, f.reg, ptx_int(-bias)), bias);
}

/* Results of a column in all rows of the lane. */
static void finish_column(Mma *m, Results *r, int j, int e) {
  Ptx *p = &m->k->ptx;
  int offset = 8 * j + e;
  PtxValue channel = ptx_add(p, r->lane_channel, ptx_int(offset)), valid = ptx_int(1);
  if (mma_has_more_columns(m)) valid = ptx_setp(p, "lt.u32", channel, ptx_int(m->out.image.channels));
  PtxValue read_channel = ptx_select(p, valid, channel, ptx_int(0)), border = one_border(m, r, offset);
  epilogue_take(&m->epilogue, e);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      const MmaRow *row = &r->rows[i][h];
      r->at = (LaneElement){i, h, j, e};
      PtxValue exact = corrected(m, m->accumulators[i][j][2 * h + e], m->sums[i][h], border, row, offset);
      Flow f = {.type = m->node->main_type, .reg = exact};
      put(m, r, epilogue_apply(&m->epilogue, f, row->pixel, read_channel), valid);
    }
}

/* The run of planes or bytes whose last instruction tile is j. */
static void store_run(Mma *m, Results *r, int j) {
  Ptx *p = &m->k->ptx;
  if (m->out.type.layout.kind == LAYOUT_BYTES) {
    mma_store_bytes(m, r->rows, r->words, j);
    return;
  }
  bool clean = tile_is_single(&m->tile, &m->out.type);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++)
      for (int plane = 0; plane < m->out.type.bits; plane++)
        r->words[i][h][plane] = slots_plane(p, &r->slots[i][h], plane, clean);
  mma_store_run(m, r->rows, r->words, j);
}

static bool reads_activations(const Mma *m) {
  for (uint32_t s = 0; s < m->node->step_count; s++)
    if (step_operand(&m->node->steps[s]) != NO_VALUE) return true;
  return false;
}

/* Constants in shared memory do not change, so that the assembler would load those of many columns at once and run out
 * of registers while most of them hold accumulators: it moves no load over a barrier. */
static void hold_back_loads(Mma *m, int j) {
  enum { MOST_ACCUMULATORS = 64, COLUMNS_AT_ONCE = 8 };
  bool crowded = m->table.is_shared && 4 * m->row_tiles * m->column_tiles > MOST_ACCUMULATORS;
  if (crowded && j && j % COLUMNS_AT_ONCE == 0) ptx_raw(&m->k->ptx, "bar.warp.sync -1;");
}

void mma_finish(Mma *m) {
  Ptx *p = &m->k->ptx;
  Results r = {.m = m};
  r.lane_channel = mma_tile_channel(m, 0);
  r.lane_channel = ptx_add(p, r.lane_channel, ptx_shl(p, m->quad, 1));
  PtxValue places = mma_place_rows(m, r.rows, r.lane_channel, reads_activations(m));
  r.others = mma_place_others(m, r.rows, r.lane_channel);
  m->epilogue.read_other = read_other;
  m->epilogue.user = &r;
  epilogue_at(&m->epilogue, r.lane_channel);
  if (m->table.is_shared) epilogue_set_rows(&m->epilogue, m->table.shared, m->quad);
  bool lines = mma_has_lines(m);
  if (lines) r.lines = mma_lines_begin(m, places);
  int tiles = lines ? mma_line_tiles(m) : mma_run_tiles(m, m->out.type.layout);
  for (int j = 0; j < m->column_tiles; j++) {
    hold_back_loads(m, j);
    epilogue_load_pair(&m->epilogue, 8 * j);
    for (int e = 0; e < 2; e++) finish_column(m, &r, j, e);
    if (j % tiles < tiles - 1) continue;
    if (lines)
      mma_lines_store(m, &r.lines, j);
    else
      store_run(m, &r, j);
  }
}
