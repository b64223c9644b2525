/* Tensor-core layers, results in a layout that keeps channels in their order: through shared memory to lines of memory.
 *
 * A lane holds two neighbours of a row, which stored by themselves are a few bytes of a sector of memory. So a warp
 * puts 16 rows of up to 128 bytes next to each other (../ir/lines.h), and its lanes store units that follow each other:
 * as wide as every row's address is a multiple of, up to 16 bytes.
 *
 * Rows of words of which not all begin with a sector are stored in windows that do. A window begins before its line,
 * by as much as the row begins behind a sector, with the end of the line before; what is left of the last line is a
 * window too. Of a single line the first window has room for what is left.
 *
 *     sectors   |.......|.......|.......|.......|.......|
 *     lines         |<--- 0 ----->|<--- 1 ----->|              (of two sectors here)
 *     windows   |<----- 0 ----->|<----- 1 ----->|<-2->
 */
#include "mma_kernel.h"

#include <string.h>

enum { LANES = 32, TILE_COLUMNS = 8, MOST_UNIT = 16 };

static int warp_columns(const Mma *m) {
  return TILE_COLUMNS * m->column_tiles;
}

static int element_bytes(const Mma *m) {
  return line_element_bytes(&m->out.type);
}

/* Of a line. */
static int whole_bytes(const Mma *m) {
  return line_bytes(&m->out.type, warp_columns(m));
}

/* From row to row of shared memory. */
static int bytes_apart(const Mma *m) {
  return line_pitch(&m->out.type, warp_columns(m));
}

bool mma_has_lines(const Mma *m) {
  return !layout_orders_channels(m->out.type.layout);
}

int mma_line_tiles(const Mma *m) {
  return whole_bytes(m) / element_bytes(m) / TILE_COLUMNS;
}

void mma_lines_place(Mma *m, PtxValue first, int row_tiles) {
  Ptx *p = &m->k->ptx;
  int bytes = row_tiles * (int)lines_of_warp(&m->out.type, warp_columns(m));
  m->lines = ptx_mad(p, ptx_shr(p, m->thread, 5), ptx_int(bytes), first);
  m->line_row_tiles = row_tiles;
}

static int row_bytes(const Mma *m) {
  return (int)m->out.type.layout.pitch * element_bytes(m);
}

/* Whether rows of words begin within sectors. Then pixels end within tiles. */
static bool begins_within(const Mma *m) {
  return element_bytes(m) == 4 && row_bytes(m) % SECTOR_BYTES != 0;
}

/* Bytes of the line before that stand in front of a line: those of an instruction tile. */
static int front_bytes(const Mma *m) {
  return begins_within(m) && m->column_tiles > mma_line_tiles(m) ? SECTOR_BYTES : 0;
}

/* Bytes that a lane stores at once: there are two lanes for each of 16 rows. */
static int unit_bytes(const Mma *m) {
  int line = whole_bytes(m), unit = MOST_UNIT;
  while (row_bytes(m) % unit || line % (2 * unit)) unit /= 2;
  return unit;
}

/* Whether pixels end within tiles. */
static bool ends_within(const Mma *m) {
  return m->out.type.layout.pitch % m->tile.n != 0;
}

/* Bytes from the warp's first channel to the end of the pixel, or of its columns. */
static PtxValue bytes_left(Mma *m) {
  Ptx *p = &m->k->ptx;
  int size = element_bytes(m), most = warp_columns(m) * size;
  if (!ends_within(m)) return ptx_int(most);
  if (m->tile.warps_n == 1 && row_bytes(m) <= most) return ptx_int(row_bytes(m)); /* a single tile */
  PtxValue first = ptx_mul(p, mma_tile_channel(m, 0), ptx_int(size));
  PtxValue left = ptx_2(p, "max.s32", ptx_sub(p, ptx_int(row_bytes(m)), first), ptx_int(0));
  return ptx_2(p, "min.s32", left, ptx_int(most));
}

Lines mma_lines_begin(Mma *m, PtxValue places) {
  Ptx *p = &m->k->ptx;
  int size = element_bytes(m);
  bool follow = m->place == mma_place && !grid_has_gaps(&m->grid);
  Lines l = {.places = places, .follow = follow, .left = bytes_left(m)};
  l.put = ptx_mad(p, m->group, ptx_int(bytes_apart(m)), m->lines);
  l.put = ptx_add(p, l.put, ptx_mul(p, m->quad, ptx_int(2 * size)));
  l.to = ptx_address(p, m->out.base, mma_tile_channel(m, 0), size);
  return l;
}

/* Where rows of a row tile begin among those that lie in shared memory together. */
static int64_t rows_at(const Mma *m, int row_tile) {
  return (int64_t)(row_tile % m->line_row_tiles) * LINE_ROWS * bytes_apart(m);
}

void mma_lines_keep(Mma *m, Lines *l, int row_tile, int half, int column_tile, int column, PtxValue stored) {
  Ptx *p = &m->k->ptx;
  int tile = column_tile % mma_line_tiles(m);
  PtxValue *kept = l->kept[row_tile][half];
  if (element_bytes(m) == 4) {
    kept[2 * tile + column] = stored;
    return;
  }
  PtxValue first = kept[tile];
  kept[tile] = stored;
  if (column == 0) return;
  kept[tile] = ptx_new(p, CLASS_B32);
  ptx_raw(p, "prmt.b32 %s, %s, %s, 0x3340;", ptx_text(p, kept[tile]), ptx_text(p, first), ptx_text(p, stored));
}

/* The lane's elements of an instruction tile, in rows group and group + 8. */
static void put_tile(Mma *m, const Lines *l, PtxValue kept[2][MOST_KEPT], int tile, int64_t byte) {
  Ptx *p = &m->k->ptx;
  const char *type = m->out.type.kind == ELEM_F32 ? "f32" : "b32";
  for (int half = 0; half < 2; half++) {
    const char *at = ptx_at(p, l->put, 8 * half * bytes_apart(m) + byte);
    if (element_bytes(m) == 1) {
      ptx_raw(p, "st.shared.u16 %s, %s;", at, ptx_text(p, kept[half][tile]));
      continue;
    }
    const PtxValue *pair = &kept[half][2 * tile];
    ptx_raw(p, "st.shared.v2.%s %s, {%s, %s};", type, at, ptx_text(p, pair[0]), ptx_text(p, pair[1]));
  }
}

/* A line of a row tile, behind the end of the line before. */
static void put_line(Mma *m, Lines *l, int row_tile, bool is_first) {
  int tiles = mma_line_tiles(m), apart = TILE_COLUMNS * element_bytes(m);
  int64_t at = rows_at(m, row_tile), line = at + front_bytes(m);
  if (front_bytes(m) && !is_first) put_tile(m, l, l->before[row_tile], 0, at);
  for (int tile = 0; tile < tiles; tile++) put_tile(m, l, l->kept[row_tile], tile, line + tile * apart);
  for (int half = 0; half < 2 && front_bytes(m); half++)
    memcpy(l->before[row_tile][half], &l->kept[row_tile][half][2 * (tiles - 1)], 2 * sizeof(PtxValue));
}

/* Of a row tile's rows: bytes from `begin` on, counted from the warp's first channel, or the window that begins in
 * front of them; `at`: where they are in the rows of shared memory. */
typedef struct Window {
  int row_tile, begin, end, at;
} Window;

/* A row of a window that a lane has units of. */
typedef struct Row {
  PtxValue exists;
  PtxValue byte; /* of its first unit, counted from the window's `begin`; negative in front */
  PtxValue from; /* address of it in shared memory, where the row is one of the first row tile */
  PtxValue to;   /* and in memory, where the window begins at 0 */
} Row;

/* The position of a row of a row tile: that of the row before, plus one, or what a lane has placed. */
static PtxValue place_of_row(Mma *m, const Lines *l, int row_tile, PtxValue row) {
  Ptx *p = &m->k->ptx;
  if (!l->follow) return mma_of_row(m, l->places, ptx_add(p, row, ptx_int(LINE_ROWS * row_tile)));
  PtxValue first = ptx_add(p, m->first_position, m->warp_row);
  return ptx_add(p, ptx_add(p, first, ptx_int(m->row_tile_rows * row_tile)), row);
}

/* Row `first` of the window, or one of those behind it, `lanes` a row. */
static Row find_row(Mma *m, const Lines *l, const Window *w, PtxValue first, int lanes) {
  Ptx *p = &m->k->ptx;
  PtxValue number = ptx_add(p, ptx_div(p, m->lane, ptx_int(lanes)), first);
  PtxValue place = place_of_row(m, l, w->row_tile, number);
  Row r = {.byte = ptx_mul(p, ptx_rem(p, m->lane, ptx_int(lanes)), ptx_int(unit_bytes(m)))};
  if (begins_within(m)) {
    PtxValue in_sector = ptx_and(p, ptx_mul(p, place, ptx_int(row_bytes(m))), ptx_int(SECTOR_BYTES - 1));
    r.byte = ptx_sub(p, r.byte, in_sector);
    if (!front_bytes(m)) r.byte = ptx_and(p, r.byte, ptx_int(whole_bytes(m) - 1));
    r.to = ptx_signed_address(p, ptx_address(p, l->to, place, row_bytes(m)), r.byte, 1);
  } else {
    r.to = ptx_address(p, ptx_address(p, l->to, r.byte, 1), place, row_bytes(m));
  }
  r.exists = l->follow ? ptx_setp(p, "lt.u32", place, m->total_positions) : ptx_setp(p, "ge.s32", place, ptx_int(0));
  r.from = ptx_add(p, ptx_mad(p, number, ptx_int(bytes_apart(m)), m->lines), r.byte);
  return r;
}

/* Whether the lines have all units at `begin`, also in front of the first and behind the last. */
static bool has_units(const Mma *m, int begin) {
  int last = warp_columns(m) * element_bytes(m) - whole_bytes(m);
  return !front_bytes(m) || (begin > 0 && begin <= last);
}

/* A unit from shared memory to memory; of network outputs, which no kernel may read, past what L2 had better keep. What
 * the lines do not have is read elsewhere, as all registers are written: a load under a condition would keep them alive
 * before it. */
static void move_unit(Mma *m, const Lines *l, const Row *r, int64_t at, int begin) {
  static const char *const types[] = {[1] = "u8", [2] = "u16", [4] = "b32", [8] = "v2.b32", [16] = "v4.b32"};
  Ptx *p = &m->k->ptx;
  Text words = {.context = p->context};
  int unit = unit_bytes(m);
  PtxValue from = r->from, stored = r->exists;
  if (ends_within(m))
    stored = ptx_pred_and(p, stored, ptx_setp(p, "lt.u32", ptx_add(p, r->byte, ptx_int(begin)), l->left));
  if (!has_units(m, begin)) from = ptx_select(p, stored, from, ptx_add(p, m->lines, ptx_int(SECTOR_BYTES - at)));
  for (int i = 0; i < (unit < 4 ? 4 : unit); i += 4)
    text_add(&words, "%s%s", i ? ", " : unit > 4 ? "{" : "", ptx_text(p, ptx_new(p, CLASS_B32)));
  if (unit > 4) text_add(&words, "}");
  ptx_raw(p, "ld.shared.%s %s, %s;", types[unit], words.data, ptx_at(p, from, at));
  const char *hint = graph_is_output(m->k->graph, m->node->result) ? ".cs" : "";
  ptx_raw(p, "@%s st.global%s.%s %s, %s;", ptx_text(p, stored), hint, types[unit], ptx_at(p, r->to, begin), words.data);
}

/* The assembler would find all rows of a longer window at once, and run out of registers. */
static void take_window(Mma *m, const Lines *l, Window w) {
  enum { ROWS_AT_ONCE = 4 };
  Ptx *p = &m->k->ptx;
  int unit = unit_bytes(m), count = (w.end - w.begin) / unit, lanes = count < LANES ? count : LANES;
  int rows = LANES / lanes, steps = LINE_ROWS / rows < ROWS_AT_ONCE ? LINE_ROWS / rows : ROWS_AT_ONCE;
  bool loops = steps * rows < LINE_ROWS;
  PtxValue first = loops ? ptx_for(p, ptx_int(0), ptx_int(LINE_ROWS), ptx_int(steps * rows)) : ptx_int(0);
  if (loops) ptx_raw(p, ".pragma \"nounroll\";");
  for (int i = 0; i < steps; i++) {
    Row r = find_row(m, l, &w, ptx_add(p, first, ptx_int(i * rows)), lanes);
    for (int b = w.begin; b < w.end; b += lanes * unit)
      move_unit(m, l, &r, rows_at(m, w.row_tile) + w.at + b - w.begin, b);
  }
  if (loops) ptx_end_for(p);
}

/* So many row tiles, through shared memory. Behind the first barrier all lanes have read what was there before. */
static void store_rows(Mma *m, Lines *l, int row_tile, int column_tile) {
  int bytes = whole_bytes(m), begin = column_tile / mma_line_tiles(m) * bytes, end = begin + bytes;
  int front = front_bytes(m), after = row_tile + m->line_row_tiles;
  bool is_last = column_tile == m->column_tiles - 1;
  ptx_raw(&m->k->ptx, "bar.warp.sync -1;");
  for (int i = row_tile; i < after; i++) put_line(m, l, i, begin == 0);
  ptx_raw(&m->k->ptx, "bar.warp.sync -1;");
  for (int i = row_tile; i < after; i++) {
    take_window(m, l, (Window){i, begin, end, front});
    if (front && is_last) take_window(m, l, (Window){i, end, end + front, front + bytes});
  }
}

/* Behind the end of the pixel there is nothing to store. */
void mma_lines_store(Mma *m, Lines *l, int column_tile) {
  Ptx *p = &m->k->ptx;
  int begin = column_tile / mma_line_tiles(m) * whole_bytes(m), least = begin - front_bytes(m);
  bool is_known = l->left.kind == OPERAND_IMMEDIATE, some = begin > 0 && !is_known;
  if (is_known && l->left.value <= least) return;
  if (some) ptx_if(p, ptx_setp(p, "gt.s32", l->left, ptx_int(least)));
  for (int i = 0; i < m->row_tiles; i += m->line_row_tiles) store_rows(m, l, i, column_tile);
  if (some) ptx_end_if(p);
}
