/* Layers on wgmma whose rows are gathered (../ir/staging.h): the pixels of the result, without the positions between
 * them. Of every two pieces of the reduction a lane loads from the window what its rows have of them, 8 bytes each, and
 * multiplies from registers: lane 4g + t has rows g and g + 8 of its warp's, of piece t / 2 the words 2 (t % 2) and the
 * next, which are the instruction's words t and t + 4 (PTX ISA, "wgmma.mma_async", register fragments of A).
 *
 * What the next products read is loaded while the ones before are under way. The result's positions between pixels,
 * which nothing is computed for, get their zeros from the tile that has the pixels before them.
 */
#include "wgmma_kernel.h"

enum { MOST_UNITS = 3, MOST_DISTANCES = 16 };

/* --- where rows are --- */

/* Addresses of a lane's rows in the stage's first window, for units whose second piece lies as far behind the first. */
typedef struct RowsAt {
  uint32_t apart; /* pieces */
  PtxValue at[MAX_ROW_TILES][2];
} RowsAt;

typedef struct Gather {
  Wgmma *w;
  PtxValue rows[MAX_ROW_TILES][2], upper; /* addresses of lower pieces; 1 in lanes that load of the upper one */
  RowsAt known[MOST_DISTANCES];
  int known_count;
  PtxValue fragments[2][MOST_UNITS][MAX_ROW_TILES][4]; /* of the products under way and of the next */
} Gather;

/* Rows behind the last pixel repeat it. */
static void place_rows(Gather *x) {
  Wgmma *w = x->w;
  Mma *m = &w->m;
  Ptx *p = &m->k->ptx;
  PtxValue stage = wgmma_stage(w, w->ring.stage), last = ptx_sub(p, m->total_positions, ptx_int(1));
  w->tile_position = position_of_pixel(p, &w->positions, m->first_position);
  PtxValue start = ptx_mad(p, ptx_and(p, m->quad, ptx_int(1)), ptx_int(8), stage);
  x->upper = ptx_shr(p, m->quad, 1);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      PtxValue row = ptx_add(p, ptx_add(p, m->warp_row, m->group), ptx_int(64 * i + 8 * h));
      PtxValue pixel = ptx_2(p, "min.u32", ptx_add(p, m->first_position, row), last);
      w->row_positions[i][h] = ptx_sub(p, position_of_pixel(p, &w->positions, pixel), w->tile_position);
      x->rows[i][h] = ptx_mad(p, w->row_positions[i][h], ptx_int(PIECE_BYTES), start);
    }
}

static const RowsAt *rows_apart(Gather *x, uint32_t apart) {
  Ptx *p = &x->w->m.k->ptx;
  int n = 0;
  while (n < x->known_count && x->known[n].apart != apart) n++;
  if (n == MOST_DISTANCES) x->known_count = n = 0;
  RowsAt *rows = &x->known[n];
  if (n < x->known_count) return rows;
  x->known_count++;
  rows->apart = apart;
  for (int i = 0; i < x->w->m.row_tiles; i++)
    for (int h = 0; h < 2; h++)
      rows->at[i][h] = ptx_mad(p, x->upper, ptx_int((int64_t)apart * PIECE_BYTES), x->rows[i][h]);
  return rows;
}

/* --- products --- */

/* Units of two pieces that are multiplied together, of all row tiles: of one part, and several, as one would be over
 * before the next are loaded. */
typedef struct Products {
  int pair;
  uint32_t first, end; /* units of the chunk */
} Products;

static uint32_t units_of_part(const Wgmma *w) {
  return w->s.part_pieces / 2;
}

static uint32_t end_of_products(const Wgmma *w, uint32_t first) {
  uint32_t of_part = units_of_part(w), end = (first / of_part + 1) * of_part;
  return end - first > MOST_UNITS ? first + MOST_UNITS : end;
}

/* Loads what is multiplied next. */
static void load_rows(Gather *x, const Products *s, int set) {
  Wgmma *w = x->w;
  Mma *m = &w->m;
  Ptx *p = &m->k->ptx;
  int64_t window = (int64_t)(m->pair_list[s->pair] >> 8 & 255) * w->s.window_bytes;
  for (uint32_t unit = s->first; unit < s->end; unit++) {
    uint32_t lower = wgmma_input_piece(w, 2 * unit), upper = wgmma_input_piece(w, 2 * unit + 1);
    const RowsAt *rows = rows_apart(x, upper - lower);
    for (int i = 0; i < m->row_tiles; i++) {
      PtxValue *a = x->fragments[set][unit - s->first][i];
      for (int h = 0; h < 2; h++)
        ptx_raw(p, "ld.shared.v2.b32 {%s, %s}, %s;", ptx_text(p, a[h]), ptx_text(p, a[h + 2]),
                ptx_at(p, rows->at[i][h], window + (int64_t)lower * PIECE_BYTES));
    }
  }
}

static void multiply(Gather *x, const Products *s, int set) {
  Wgmma *w = x->w;
  Ptx *p = &w->m.k->ptx;
  uint32_t plane = w->m.pair_list[s->pair] & 255, count = units_of_part(w);
  PtxValue weights = ptx_descriptor_address(p, wgmma_resident(w));
  wgmma_begin_products(w);
  for (uint32_t unit = s->first; unit < s->end; unit++) {
    uint32_t part = unit / count, apart = w->s.chunk_bytes / w->s.parts / PIECE_BYTES;
    uint32_t at = plane * (w->s.chunk_bytes / PIECE_BYTES) + part * apart + unit % count * 2 * DESCRIPTOR_ROWS;
    PtxValue b = ptx_descriptor(p, weights, at, DESCRIPTOR_ROWS, w->s.part_pieces * DESCRIPTOR_ROWS);
    for (int i = 0; i < w->m.row_tiles; i++) {
      const PtxValue *a = x->fragments[set][unit - s->first][i];
      const char *fragment = arena_printf(p->context, "{%s, %s, %s, %s}", ptx_text(p, a[0]), ptx_text(p, a[1]),
                                          ptx_text(p, a[2]), ptx_text(p, a[3]));
      mma_group_multiply(&w->m, i, w->s.weight_rows, fragment, b, ptx_int(s->pair > 0 || unit > 0));
    }
  }
  wgmma_commit_products(w);
}

/* Those behind; false behind the last. */
static bool next_products(const Wgmma *w, Products *s) {
  uint32_t units = w->s.pieces / 2;
  s->first = s->end;
  if (s->first == units) {
    s->first = 0;
    s->pair++;
  }
  s->end = end_of_products(w, s->first);
  return s->pair < w->m.pair_count;
}

static void sum_inputs(Wgmma *w, Arrived *arrived) {
  if (!w->s.summed) return;
  wgmma_wait_for_all_windows(w, w->ring, arrived);
  wgmma_sum_positions(w);
}

void wgmma_multiply_gathered(Wgmma *w, Arrived *arrived) {
  Mma *m = &w->m;
  Gather *x = ARENA_NEW(m->k->graph->context, Gather, 1);
  x->w = w;
  for (int set = 0; set < 2; set++)
    for (int unit = 0; unit < MOST_UNITS; unit++)
      for (int i = 0; i < m->row_tiles; i++)
        for (int r = 0; r < 4; r++) x->fragments[set][unit][i][r] = ptx_new(&m->k->ptx, CLASS_B32);
  place_rows(x);
  Products now = {.end = end_of_products(w, 0)};
  wgmma_wait_for_part(w, arrived, m->pair_list[0], 0);
  load_rows(x, &now, 0);
  for (int set = 0, more = 1, number = 0; more; set = !set, number++) {
    multiply(x, &now, set);
    Products next = now;
    more = next_products(w, &next);
    if (!more) break;
    if (number > 0) wgmma_wait_for_products(w, 1); /* those that read the registers that are loaded now */
    if (next.first == 0 && next.pair == 1) sum_inputs(w, arrived);
    if (next.first == 0 && m->pair_list[next.pair] >= PAIR_SHIFTS) {
      wgmma_wait_for_products(w, 0);
      for (int i = 0; i < m->row_tiles; i++) mma_shift(m, i);
    }
    wgmma_wait_for_part(w, arrived, m->pair_list[next.pair], next.first / units_of_part(w));
    load_rows(x, &next, !set);
    now = next;
  }
  if (m->pair_count == 1) sum_inputs(w, arrived);
  wgmma_sum_rows(w);
  wgmma_wait_for_products(w, 0);
}

/* --- between pixels --- */

/* Positions of an image that are no pixel: those behind its rows, then those behind all of them. */
typedef struct Gaps {
  int32_t of_row, of_rows, of_image;
} Gaps;

static Gaps gaps_of(const Grid *g) {
  int32_t of_row = g->row_pitch - g->image.width, of_rows = of_row * g->image.height;
  return (Gaps){of_row, of_rows, g->image_pitch - g->image.width * g->image.height};
}

/* How many stand before a pixel of the batch; all, behind the last. */
static PtxValue gaps_before(Ptx *p, const Grid *g, PtxValue pixel) {
  Gaps gaps = gaps_of(g);
  int32_t pixels = g->image.width * g->image.height;
  PtxValue row = ptx_div(p, ptx_rem(p, pixel, ptx_int(pixels)), ptx_int(g->image.width));
  return ptx_mad(p, ptx_div(p, pixel, ptx_int(pixels)), ptx_int(gaps.of_image), ptx_mul(p, row, ptx_int(gaps.of_row)));
}

static PtxValue position_of_gap(Ptx *p, const Grid *g, PtxValue gap) {
  Gaps gaps = gaps_of(g);
  PtxValue in_image = ptx_rem(p, gap, ptx_int(gaps.of_image)), behind = in_image;
  behind = ptx_add(p, behind, ptx_int((int64_t)g->image.height * g->row_pitch - gaps.of_rows));
  if (gaps.of_row) {
    PtxValue row = ptx_div(p, in_image, ptx_int(gaps.of_row)), in_row = ptx_rem(p, in_image, ptx_int(gaps.of_row));
    PtxValue at = ptx_add(p, ptx_mad(p, row, ptx_int(g->row_pitch), in_row), ptx_int(g->image.width));
    behind = ptx_select(p, ptx_setp(p, "lt.u32", in_image, ptx_int(gaps.of_rows)), at, behind);
  }
  return ptx_mad(p, ptx_div(p, gap, ptx_int(gaps.of_image)), ptx_int(g->image_pitch), behind);
}

/* A piece of every plane; those of channels that several tiles share, from the tile where they begin. */
void wgmma_clear_gaps(Wgmma *w) {
  Mma *m = &w->m;
  Ptx *p = &m->k->ptx;
  Grid out = grid_of(&m->out.type);
  if (!grid_has_gaps(&out)) return;
  int channels = (int)layout_piece_channels(m->out.type.layout), all = (int)m->out.type.layout.pitch / channels;
  int planes = layout_plane_count(&m->out.type), of_tile = (m->tile.n + channels - 1) / channels;
  PtxValue end = ptx_2(p, "min.u32", ptx_add(p, m->first_position, ptx_int(m->tile.m)), m->total_positions);
  PtxValue gap = gaps_before(p, &out, m->first_position);
  PtxValue count = ptx_sub(p, gaps_before(p, &out, end), gap);
  count = ptx_mul(p, count, ptx_int(planes * of_tile));
  if (channels > m->tile.n) {
    PtxValue begins = ptx_setp(p, "eq.s32", ptx_rem(p, m->first_channel, ptx_int(channels)), ptx_int(0));
    count = ptx_select(p, begins, count, ptx_int(0));
  }
  PtxValue first_piece = ptx_div(p, m->first_channel, ptx_int(channels));
  PtxValue thread = ptx_rem(p, m->thread, ptx_int(GROUP_THREADS));
  PtxValue i = ptx_for(p, thread, count, ptx_int(GROUP_THREADS));
  PtxValue at = position_of_gap(p, &out, ptx_add(p, gap, ptx_div(p, i, ptx_int(planes * of_tile))));
  PtxValue which = ptx_rem(p, i, ptx_int(planes * of_tile));
  PtxValue piece = ptx_add(p, first_piece, ptx_rem(p, which, ptx_int(of_tile)));
  PtxValue to = block_address(p, &m->out, at, piece);
  to = ptx_address(p, to, ptx_div(p, which, ptx_int(of_tile)), (int64_t)layout_strides(&m->out.type).plane);
  PtxValue exists = ptx_setp(p, "lt.u32", piece, ptx_int(all));
  const char *zero = ptx_text(p, ptx_variable(p, ptx_int(0)));
  ptx_raw(p, "@%s st.global.v4.b32 [%s], {%s, %s, %s, %s};", ptx_text(p, exists), ptx_text(p, to), zero, zero, zero,
          zero);
  ptx_end_for(p);
  ptx_raw(p, "bar.warp.sync -1;");
}
