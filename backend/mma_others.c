/* Second activations of steps (mma_others.h): a run of neighbours is loaded at once where the layout has one, and taken
 * apart in registers.
 */
#include "mma_others.h"

/* Whether a number is kept for every column of the tiles, so that none needs to be left out: past the last channel
 * zeros, which in the planes of ternary ones are none. */
static bool has_all_columns(const Mma *m, const Type *t) {
  uint32_t columns = tile_count_of_channels(&m->tile, &m->out.type) * m->tile.n;
  return columns <= (t->kind == ELEM_TERNARY ? (uint32_t)type_channels(t) : t->layout.pitch);
}

static void choose_kind(const Mma *m, Other *o, const Type *t) {
  Layout l = t->layout;
  int warp_n = m->tile.n / m->tile.warps_n;
  if (!has_all_columns(m, t)) return;
  if (layout_orders_channels(l)) {
    bool whole = warp_n % l.block == 0 || (warp_n % 32 == 0 && l.block % warp_n == 0);
    if (whole) o->kind = l.kind == LAYOUT_PLANES ? OTHER_PLANES : OTHER_BYTES;
  } else {
    o->kind = OTHER_ROW;
  }
}

static int element_bytes(const Tensor *t) {
  return t->type.layout.kind == LAYOUT_BYTES ? 1 : 4;
}

/* The row's position in a second activation: its own where that has the result's positions. There are zeros in the gaps
 * too, though of ternary ones they are no numbers. */
static PtxValue position_in(Mma *m, const Tensor *t, const MmaRow *row) {
  Ptx *p = &m->k->ptx;
  Grid grid = grid_of(&t->type), own = grid_of(&m->out.type);
  bool same = grid.row_pitch == own.row_pitch && grid.image_pitch == own.image_pitch;
  if (same && t->type.kind != ELEM_TERNARY) return ptx_2(p, "max.s32", row->position, ptx_int(0));
  return position_of_pixel(p, &grid, row->pixel);
}

Other *mma_place_others(Mma *m, MmaRow rows[][2], PtxValue lane_channel) {
  Ptx *p = &m->k->ptx;
  Other *others = ARENA_NEW(p->context, Other, m->node->step_count);
  for (uint32_t s = 0; s < m->node->step_count; s++) {
    if (step_operand(&m->node->steps[s]) == NO_VALUE) continue;
    const Tensor *t = &m->epilogue.steps[s].other;
    Other *o = &others[s];
    choose_kind(m, o, &t->type);
    o->first_tile = -1;
    for (int i = 0; i < m->row_tiles && o->kind != OTHER_ELEMENTS; i++)
      for (int h = 0; h < 2; h++)
        o->at[i][h] = o->kind == OTHER_ROW ? unit_address(p, t, rows[i][h].pixel, lane_channel, element_bytes(t))
                                           : position_in(m, t, &rows[i][h]);
  }
  return others;
}

/* --- runs --- */

static Slots load_planes(Mma *m, const Tensor *t, PtxValue position, PtxValue first, int tiles) {
  static const char *const load[] = {[4] = "u8", [8] = "u16", [16] = "b32"};
  Ptx *p = &m->k->ptx;
  Layout l = t->type.layout;
  PtxValue planes[8], start = mma_run_start(m, l, first), block = ptx_div(p, first, ptx_int(l.block));
  PtxValue at = ptx_address(p, block_address(p, t, position, block), ptx_shr(p, start, 3), 1);
  int64_t apart = (int64_t)layout_strides(&t->type).plane;
  for (int plane = 0; plane < t->type.bits; plane++)
    planes[plane] = ptx_load(p, ptx_written(p, load[tiles]), CLASS_B32, at, plane * apart);
  return slots_of_planes(p, t->type.bits, 2 * tiles, planes);
}

/* Words of four channels; signed numbers in offset binary, as in planes. */
static Slots load_bytes(Mma *m, const Tensor *t, PtxValue position, PtxValue first, int tiles) {
  static const char *const load[] = {[1] = "b32", [2] = "v2.b32", [4] = "v4.b32"};
  enum { PIECE_WORDS = PIECE_BYTES / 4 };
  Ptx *p = &m->k->ptx;
  int count = tiles / 2, at_once = count < PIECE_WORDS ? count : PIECE_WORDS;
  Slots s = {.bits = t->type.bits};
  PtxValue byte = mma_run_byte(m, t->type.layout, first);
  PtxValue at = ptx_address(p, block_address(p, t, position, ptx_shr(p, byte, 4)),
                            ptx_and(p, byte, ptx_int(PIECE_BYTES - 1)), 1);
  for (int k = 0; k < count; k += at_once) {
    Text list = {.context = p->context};
    for (int v = k; v < k + at_once; v++) {
      s.words[0][v] = ptx_new(p, CLASS_B32);
      text_add(&list, "%s%s", v > k ? ", " : "", ptx_text(p, s.words[0][v]));
    }
    const char *from = ptx_at(p, at, (int64_t)(k / PIECE_WORDS) * (int64_t)layout_strides(&t->type).block);
    ptx_raw(p, at_once > 1 ? "ld.%s {%s}, %s;" : "ld.%s %s, %s;", ptx_written(p, load[at_once]), list.data, from);
  }
  if (t->type.kind == ELEM_UINT) return s;
  int32_t bias = (int32_t)(UINT32_C(0x01010101) << (t->type.bits - 1));
  for (int k = 0; k < count; k++) s.words[0][k] = ptx_2(p, "xor.b32", s.words[0][k], ptx_int(bias));
  return s;
}

static Flow read_run(Mma *m, Other *o, const Tensor *t, LaneElement at) {
  Ptx *p = &m->k->ptx;
  int tiles = mma_run_tiles(m, t->type.layout), first_tile = at.j / tiles * tiles;
  if (o->first_tile != first_tile) {
    PtxValue first = mma_tile_channel(m, first_tile);
    for (int i = 0; i < m->row_tiles; i++)
      for (int h = 0; h < 2; h++)
        o->runs[i][h] = (o->kind == OTHER_PLANES ? load_planes : load_bytes)(m, t, o->at[i][h], first, tiles);
    o->first_tile = first_tile;
  }
  int position = at.j % tiles * 2 + at.e;
  Slots *s = &o->runs[at.i][at.h];
  Flow f = {.type = t->type, .bias = t->type.kind == ELEM_UINT ? 0 : -(1 << (t->type.bits - 1))};
  if (o->kind == OTHER_PLANES) {
    f.reg = slots_get(p, s, position, &f.low);
  } else {
    f.low = position % 4 * 8;
    f.reg = ptx_and(p, s->words[0][position / 4], ptx_int((int32_t)(((1u << s->bits) - 1) << f.low)));
  }
  return f;
}

/* --- elements at fixed distances --- */

static Flow read_row(Mma *m, Other *o, const Tensor *t, LaneElement at) {
  Ptx *p = &m->k->ptx;
  int offset = 8 * at.j;
  PtxValue row = o->at[at.i][at.h];
  if (t->type.layout.kind == LAYOUT_BYTES) {
    const char *load = ptx_written(p, t->type.kind == ELEM_UINT ? "u8" : "s8");
    return (Flow){t->type, ptx_load(p, load, CLASS_B32, row, offset + at.e), 0, 0};
  }
  PtxValue *pair = o->pair[at.i][at.h];
  bool real = t->type.kind == ELEM_F32;
  if (at.e == 0) {
    pair[0] = ptx_new(p, real ? CLASS_F32 : CLASS_B32);
    pair[1] = ptx_new(p, real ? CLASS_F32 : CLASS_B32);
    ptx_raw(p, "ld.%s {%s, %s}, %s;", ptx_written(p, real ? "v2.f32" : "v2.b32"), ptx_text(p, pair[0]),
            ptx_text(p, pair[1]), ptx_at(p, row, 4 * offset));
  }
  return (Flow){t->type, pair[at.e], 0, 0};
}

Flow mma_read_other(Mma *m, Other *o, const Tensor *t, LaneElement at, PtxValue pixel, PtxValue channel) {
  if (o->kind == OTHER_ELEMENTS) return load_element(&m->k->ptx, t, pixel, channel);
  return (o->kind == OTHER_ROW ? read_row : read_run)(m, o, t, at);
}
