/* Layers whose tiles are rectangles of the result's positions (mma_rectangles.h). */
#include "mma_rectangles.h"

bool rectangle_tile_fits(const Mma *m) {
  const Tile *t = &m->tile;
  int block = layout_orders_channels(m->out.type.layout) ? m->out.type.layout.block : 8;
  bool columns = (t->n == 32 || t->n == 64) && (t->n % block == 0 || block % t->n == 0);
  return columns && t->warps_n == 1 && t->k == 8 && t->stages == 1 && t->split_k == 1 && !t->resident;
}

void rectangle_copy_constants(Mma *m, PtxValue constants, int64_t bytes, PtxValue to) {
  Ptx *p = &m->k->ptx;
  PtxValue from = ptx_address(p, constants, ptx_special(p, "%ctaid.y"), bytes);
  PtxValue at = ptx_for(p, ptx_shl(p, m->thread, 4), ptx_int(bytes), ptx_int(512 * m->tile.warps_m));
  PtxValue source = ptx_address(p, from, at, 1), there = ptx_add(p, to, at);
  ptx_raw(p, "cp.async.cg.shared.global [%s], [%s], 16;", ptx_text(p, there), ptx_text(p, source));
  ptx_end_for(p);
}

void rectangles_begin(Mma *m, Rectangles *r) {
  Ptx *p = &m->k->ptx;
  m->grid = grid_of(&m->out.type);
  m->warp_column = ptx_int(0);
  m->first_channel = ptx_mul(p, ptx_special(p, "%ctaid.y"), ptx_int(m->tile.n));
  r->count = ptx_mul(p, m->k->batch, ptx_int((int64_t)r->across * r->down));
}

void rectangles_place_patches(Mma *m, Rectangles *r, PtxValue first, int64_t patch_bytes) {
  Ptx *p = &m->k->ptx;
  r->next = ptx_variable(p, first);
  r->current = ptx_variable(p, ptx_add(p, first, ptx_int(patch_bytes)));
}

void rectangles_swap_patches(Mma *m, Rectangles *r) {
  Ptx *p = &m->k->ptx;
  PtxValue filled = ptx_variable(p, r->next);
  ptx_assign(p, r->next, r->current);
  ptx_assign(p, r->current, filled);
}

TilePlace rectangle_place(Ptx *p, const Rectangles *r, PtxValue tile) {
  PtxValue of_image = ptx_int((int64_t)r->across * r->down);
  PtxValue image = ptx_div(p, tile, of_image), local = ptx_rem(p, tile, of_image);
  PtxValue row = ptx_div(p, local, ptx_int(r->across)), column = ptx_rem(p, local, ptx_int(r->across));
  PtxValue y = ptx_mul(p, row, ptx_int(r->rows)), x = ptx_mul(p, column, ptx_int(r->columns));
  return (TilePlace){image, y, x};
}

RowPlace rectangle_row(Mma *m, const Rectangles *r, PtxValue down, PtxValue across) {
  Ptx *p = &m->k->ptx;
  const Grid *g = &m->grid;
  const TilePlace *tile = &r->tile;
  PtxValue y = ptx_add(p, tile->y, down), x = ptx_add(p, tile->x, across);
  RowPlace place = {.at = {.image = tile->image, .y = y, .x = x}};
  Image positions = {.height = g->image_pitch / g->row_pitch, .width = g->row_pitch};
  place.exists = inside_image(p, positions, y, x);
  place.position = position_of(p, g, tile->image, y, x);
  place.at.is_pixel = ptx_int(1);
  place.at.pixel = place.position;
  if (!grid_has_gaps(g)) return place;
  place.at.is_pixel = inside_image(p, g->image, y, x);
  PtxValue image_row = ptx_mad(p, tile->image, ptx_int(g->image.height), y);
  place.at.pixel = ptx_mad(p, image_row, ptx_int(g->image.width), x);
  return place;
}
