/* Layers on mma.sync, results in a layout that keeps channels in their order: through shared memory to lines of memory.
 *
 * A lane holds two neighbours of a row, which stored by themselves are a few bytes of a sector of memory. So a warp
 * puts its rows of up to 32 words next to each other, in the stages of the reduction that is over, and lanes store
 * words that follow each other. Rows lie so far apart that the lanes of half a warp write to banks of their own.
 */
#include "mma_kernel.h"

enum { LANES = 32, ROWS_OF_TILE = 16, TILE_COLUMNS = 8 };

static int element_bytes(const Mma *m) {
  return m->out.type.layout.kind == LAYOUT_BYTES ? 1 : 4;
}

/* Instruction tiles of a row that are put together: 32 words, or all bytes. */
int mma_line_tiles(const Mma *m) {
  return element_bytes(m) == 1 ? m->column_tiles : LANES / TILE_COLUMNS;
}

static int line_words(const Mma *m) {
  return mma_line_tiles(m) * TILE_COLUMNS * element_bytes(m) / 4;
}

static int words_apart(const Mma *m) {
  return line_words(m) + (element_bytes(m) == 1 ? 2 : 8);
}

bool mma_has_lines(const Mma *m) {
  Layout l = m->out.type.layout;
  bool on_sync = m->node->engine == ENGINE_MMA_B1 || m->node->engine == ENGINE_MMA_S8;
  bool whole = l.pitch * (uint32_t)element_bytes(m) % 4 == 0 && m->column_tiles % (LANES / TILE_COLUMNS) == 0;
  return on_sync && !layout_orders_channels(l) && whole;
}

/* Where the lane puts its elements, and which words of the lines it stores. All warps have multiplied. */
Lines mma_lines_begin(Mma *m) {
  Ptx *p = &m->k->ptx;
  int size = element_bytes(m), words = line_words(m), row_bytes = 4 * words_apart(m);
  Lines l;
  ptx_raw(p, "bar.sync 0;");
  PtxValue warp = ptx_shr(p, m->thread, 5);
  PtxValue base = ptx_mad(p, warp, ptx_int(m->row_tiles * ROWS_OF_TILE * row_bytes), m->shared);
  l.put = ptx_add(p, ptx_mad(p, m->group, ptx_int(row_bytes), base), ptx_mul(p, m->quad, ptx_int(2 * size)));
  PtxValue row = ptx_div(p, m->lane, ptx_int(words)), word = ptx_rem(p, m->lane, ptx_int(words));
  l.take = ptx_add(p, ptx_mad(p, row, ptx_int(row_bytes), base), ptx_shl(p, word, 2));
  PtxValue position = ptx_add(p, ptx_add(p, m->first_position, m->warp_row), row);
  l.rows_left = ptx_sub(p, m->total_positions, position);
  l.channel = ptx_add(p, mma_tile_channel(m, 0), ptx_mul(p, word, ptx_int(4 / size)));
  l.to = unit_address(p, &m->out, position, l.channel, size);
  return l;
}

/* The lane's elements of instruction tile column_tile, words[row tile][half][column]. */
void mma_lines_put(Mma *m, const Lines *l, PtxValue words[][2][8], int column_tile) {
  Ptx *p = &m->k->ptx;
  int size = element_bytes(m), column = column_tile % mma_line_tiles(m) * TILE_COLUMNS;
  for (int row = 0; row < 2 * m->row_tiles; row++) {
    const PtxValue *pair = words[row / 2][row % 2];
    const char *at = ptx_at(p, l->put, (int64_t)8 * row * 4 * words_apart(m) + column * size);
    if (size == 1) {
      PtxValue half = ptx_new(p, CLASS_B32);
      ptx_raw(p, "prmt.b32 %s, %s, %s, 0x3340;", ptx_text(p, half), ptx_text(p, pair[0]), ptx_text(p, pair[1]));
      ptx_raw(p, "st.shared.u16 %s, %s;", at, ptx_text(p, half));
    } else {
      const char *type = m->out.type.kind == ELEM_F32 ? "f32" : "b32";
      ptx_raw(p, "st.shared.v2.%s %s, {%s, %s};", type, at, ptx_text(p, pair[0]), ptx_text(p, pair[1]));
    }
  }
}

/* The lines whose last instruction tile is column_tile. */
void mma_lines_store(Mma *m, const Lines *l, int column_tile) {
  Ptx *p = &m->k->ptx;
  int size = element_bytes(m), words = line_words(m), rows_at_once = LANES / words;
  int first = column_tile / mma_line_tiles(m) * mma_line_tiles(m) * TILE_COLUMNS;
  int32_t pitch = (int32_t)m->out.type.layout.pitch;
  PtxValue kept = ptx_int(1);
  if (pitch % m->tile.n) kept = ptx_setp(p, "lt.u32", ptx_add(p, l->channel, ptx_int(first)), ptx_int(pitch));
  ptx_raw(p, "bar.warp.sync -1;");
  for (int row = 0; row < ROWS_OF_TILE * m->row_tiles; row += rows_at_once) {
    PtxValue word = ptx_load(p, "shared.b32", CLASS_B32, l->take, (int64_t)row * 4 * words_apart(m));
    PtxValue exists = ptx_setp(p, "gt.s32", l->rows_left, ptx_int(row));
    int64_t offset = ((int64_t)row * pitch + first) * size;
    ptx_store_if(p, ptx_pred_and(p, kept, exists), "global.b32", l->to, offset, word);
  }
  if (column_tile < m->column_tiles - 1) ptx_raw(p, "bar.warp.sync -1;");
}
