/* Tensor-core layers: which rows and channels of the result a lane holds, and how a run of its bits is stored.
 *
 * A lane holds, of every instruction tile, columns 2 * quad and 2 * quad + 1 of rows group and group + 8.
 */
#include "mma_kernel.h"

/* The four lanes of a quad hold parts of a row's sum of inputs. */
void mma_finish_sums(Mma *m, int32_t factor) {
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
      m->sums[i][h] = ptx_mul(p, sum, ptx_int(factor));
    }
}

static PtxValue border_class(Mma *m, PtxValue y, PtxValue x) {
  Ptx *p = &m->k->ptx;
  if (m->w.class_count == 1) return ptx_int(0);
  PtxValue row_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->row_class, y, 4), 0);
  PtxValue column_class = ptx_load(p, "global.nc.b32", CLASS_B32, ptx_address(p, m->column_class, x, 4), 0);
  return ptx_mad(p, row_class, ptx_int(m->w.column_classes), column_class);
}

/* What a lane works out of one row and hands to the lanes that hold results of it. */
typedef struct OwnRow {
  PtxValue place;    /* the result's position, negative where there is none */
  PtxValue pixel;    /* 0 in gaps */
  PtxValue is_pixel; /* predicate, or the immediate 1 */
  PtxValue border;   /* number of its border class's first correction */
} OwnRow;

/* Lane 16i + r of a warp: row r of row tile i. */
static OwnRow place_own_row(Mma *m) {
  Ptx *p = &m->k->ptx;
  Grid out = grid_of(&m->out.type);
  PtxValue of_tile = ptx_and(p, m->lane, ptx_int(15));
  if (m->row_tiles > 1) of_tile = ptx_mad(p, ptx_shr(p, m->lane, 4), ptx_int(m->row_tile_rows), of_tile);
  RowPlace row = m->place(m, ptx_add(p, m->warp_row, of_tile));
  PtxValue real = ptx_pred_and(p, row.exists, row.at.is_pixel);
  OwnRow own = {.pixel = ptx_select(p, real, row.at.pixel, ptx_int(0)), .is_pixel = row.at.is_pixel};
  own.place = ptx_select(p, row.exists, row.position, ptx_int(-1));
  bool apart = out.row_pitch != m->grid.row_pitch || out.image_pitch != m->grid.image_pitch;
  if (grid_has_gaps(&out) && apart) { /* rows are pixels, the result's positions others */
    PtxValue position = position_of(p, &out, row.at.image, row.at.y, row.at.x);
    own.place = ptx_select(p, real, position, ptx_int(-1));
    own.is_pixel = ptx_int(1);
  }
  if (!grid_has_gaps(&out)) { /* every pixel is a position of its own, and no other is stored */
    own.place = ptx_select(p, real, own.pixel, ptx_int(-1));
    own.is_pixel = ptx_int(1);
  }
  own.border = ptx_int(0);
  if (m->w.border) {
    PtxValue y = ptx_select(p, real, row.at.y, ptx_int(0)), x = ptx_select(p, real, row.at.x, ptx_int(0));
    own.border = ptx_mul(p, border_class(m, y, x), ptx_int(m->w.rows));
  }
  return own;
}

/* The register of the lane whose row this is. */
PtxValue mma_of_row(Mma *m, PtxValue own, PtxValue source) {
  Ptx *p = &m->k->ptx;
  if (own.kind == OPERAND_IMMEDIATE) return own;
  PtxValue there = ptx_new(p, CLASS_B32);
  ptx_raw(p, "shfl.sync.idx.b32 %s, %s, %s, 31, -1;", ptx_text(p, there), ptx_text(p, own), ptx_text(p, source));
  return there;
}

static PtxValue bit_per_lane(Ptx *p, PtxValue pred) {
  PtxValue bits = ptx_new(p, CLASS_B32);
  ptx_raw(p, "vote.sync.ballot.b32 %s, %s, -1;", ptx_text(p, bits), ptx_text(p, pred));
  return bits;
}

/* Taking a position apart costs divisions, and the four lanes of a quad hold the same rows: each lane does it once. */
PtxValue mma_place_rows(Mma *m, MmaRow rows[][2], PtxValue lane_channel, bool pixels) {
  Ptx *p = &m->k->ptx;
  OwnRow own = place_own_row(m);
  bool gaps = own.is_pixel.kind != OPERAND_IMMEDIATE;
  PtxValue is_pixel = gaps ? bit_per_lane(p, own.is_pixel) : ptx_int(-1);
  PtxValue group_bit = gaps ? ptx_2(p, "shl.b32", ptx_variable(p, ptx_int(1)), m->group) : ptx_int(0);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      int first = 16 * i + 8 * h;
      PtxValue source = ptx_add(p, m->group, ptx_int(first));
      MmaRow row = {.pixel = ptx_int(0), .is_pixel = ptx_int(1), .border = ptx_int(0)};
      row.position = mma_of_row(m, own.place, source);
      row.exists = ptx_setp(p, "ge.s32", row.position, ptx_int(0));
      if (gaps) {
        PtxValue bit = ptx_2(p, "and.b32", ptx_shr(p, is_pixel, first), group_bit);
        row.is_pixel = ptx_setp(p, "ne.s32", bit, ptx_int(0));
      }
      if (pixels) row.pixel = mma_of_row(m, own.pixel, source);
      if (m->w.border) {
        PtxValue number = ptx_add(p, mma_of_row(m, own.border, source), lane_channel);
        row.border = ptx_address(p, m->border, number, 4);
      }
      rows[i][h] = row;
    }
  return own.place;
}

bool mma_has_more_columns(const Mma *m) {
  uint32_t columns = tile_count_of_channels(&m->tile, &m->out.type) * m->tile.n;
  return columns > (uint32_t)m->out.image.channels;
}

/* First channel of one of the warp's instruction tiles. */
PtxValue mma_tile_channel(Mma *m, int column_tile) {
  Ptx *p = &m->k->ptx;
  return ptx_add(p, ptx_add(p, m->first_channel, m->warp_column), ptx_int(8 * column_tile));
}

/* A block of 8J channels in planes (bytes in pieces) gives a lane a run of 2J bits (bytes). A warp with fewer columns
 * than a block has a part of it, of whole bytes: instruction tiles that a lane stores at once. */
int mma_run_tiles(const Mma *m, Layout l) {
  int warp_tiles = m->column_tiles, block_tiles = l.block / 8;
  return warp_tiles < block_tiles ? warp_tiles : block_tiles;
}

/* Where the run, or its part that begins at a channel, begins in the block: bits of planes, or bytes. */
PtxValue mma_run_start(Mma *m, Layout l, PtxValue channel) {
  Ptx *p = &m->k->ptx;
  PtxValue run = ptx_mul(p, m->quad, ptx_int(l.block / 4));
  if (mma_run_tiles(m, l) == l.block / 8) return run;
  return ptx_add(p, run, ptx_shl(p, ptx_shr(p, ptx_rem(p, channel, ptx_int(l.block)), 3), 1));
}

/* The same of bytes in pieces, in the row of all channels. */
PtxValue mma_run_byte(Mma *m, Layout l, PtxValue channel) {
  Ptx *p = &m->k->ptx;
  PtxValue start = mma_run_start(m, l, channel), block = ptx_div(p, channel, ptx_int(l.block));
  return ptx_mad(p, block, ptx_int(l.block), start);
}

/* Stores the lane's run of a block of channels, whose last instruction tile is column_tile. */
void mma_store_run(Mma *m, MmaRow rows[][2], PtxValue words[][2][8], int column_tile) {
  Ptx *p = &m->k->ptx;
  Layout l = m->out.type.layout;
  bool all = tile_is_single(&m->tile, &m->out.type); /* bits of channels past the last are zero in `words` */
  int tiles = mma_run_tiles(m, l), run_bytes = all ? l.block / 32 : tiles / 4;
  int64_t plane_bytes = (int64_t)layout_strides(&m->out.type).plane;
  PtxValue first = mma_tile_channel(m, column_tile / tiles * tiles), start = mma_run_start(m, l, first);
  PtxValue offset = ptx_shr(p, start, 3);
  PtxValue kept = ptx_int(1);
  if (l.pitch % m->tile.n) kept = ptx_setp(p, "lt.u32", first, ptx_int(l.pitch));
  const char *store = run_bytes == 4 ? "global.b32" : run_bytes == 2 ? "global.u16" : "global.u8";
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      const MmaRow *row = &rows[i][h];
      PtxValue at = block_address(p, &m->out, row->position, ptx_div(p, first, ptx_int(l.block)));
      at = ptx_address(p, at, offset, 1);
      for (int plane = 0; plane < m->out.type.bits; plane++) {
        PtxValue word = ptx_select(p, row->is_pixel, words[i][h][plane], ptx_int(0));
        ptx_store_if(p, ptx_pred_and(p, kept, row->exists), store, at, plane * plane_bytes, word);
      }
    }
}

/* The lane's run of a block of bytes in pieces: 4 to 32 neighbours, in words[row tile][half]. */
void mma_store_bytes(Mma *m, MmaRow rows[][2], PtxValue words[][2][8], int column_tile) {
  static const char *const store[] = {[1] = "st.global.b32", [2] = "st.global.v2.b32", [4] = "st.global.v4.b32"};
  enum { PIECE_WORDS = PIECE_BYTES / 4 };
  Ptx *p = &m->k->ptx;
  Layout l = m->out.type.layout;
  int tiles = mma_run_tiles(m, l), count = tiles / 2, at_once = count < PIECE_WORDS ? count : PIECE_WORDS;
  PtxValue first = mma_tile_channel(m, column_tile / tiles * tiles);
  PtxValue byte = mma_run_byte(m, l, first);
  PtxValue piece = ptx_shr(p, byte, 4), in_piece = ptx_and(p, byte, ptx_int(PIECE_BYTES - 1));
  PtxValue kept = l.pitch % m->tile.n ? ptx_setp(p, "lt.u32", first, ptx_int(l.pitch)) : ptx_int(1);
  for (int i = 0; i < m->row_tiles; i++)
    for (int h = 0; h < 2; h++) {
      const MmaRow *row = &rows[i][h];
      PtxValue at = ptx_address(p, block_address(p, &m->out, row->position, piece), in_piece, 1);
      PtxValue stored = ptx_pred_and(p, kept, row->exists);
      for (int k = 0; k < count; k += at_once) {
        Text list = {.context = p->context};
        for (int v = k; v < k + at_once; v++) {
          PtxValue word = ptx_select(p, row->is_pixel, words[i][h][v], ptx_int(0));
          text_add(&list, "%s%s", v > k ? ", " : "", ptx_text(p, word));
        }
        const char *to = ptx_at(p, at, (int64_t)(k / PIECE_WORDS) * (int64_t)layout_strides(&m->out.type).block);
        const char *guard = ptx_is_int(stored, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, stored));
        ptx_raw(p, at_once > 1 ? "%s%s %s, {%s};" : "%s%s %s, %s;", guard, store[at_once], to, list.data);
      }
    }
}
