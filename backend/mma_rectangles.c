/* Layers whose tiles are rectangles of the result's positions (mma_rectangles.h). */
#include "mma_rectangles.h"

TilePlace rectangle_place(Ptx *p, const Rectangles *r, PtxValue tile) {
  PtxValue of_image = ptx_int((int64_t)r->across * r->down);
  PtxValue image = ptx_div(p, tile, of_image), local = ptx_rem(p, tile, of_image);
  PtxValue row = ptx_div(p, local, ptx_int(r->across)), column = ptx_rem(p, local, ptx_int(r->across));
  PtxValue y = ptx_mul(p, row, ptx_int(r->rows)), x = ptx_mul(p, column, ptx_int(r->columns));
  return (TilePlace){image, y, x};
}

PtxValue rectangle_count(Mma *m, const Rectangles *r) {
  return ptx_mul(&m->k->ptx, m->k->batch, ptx_int((int64_t)r->across * r->down));
}

RowPlace rectangle_row(Mma *m, const TilePlace *tile, PtxValue down, PtxValue across) {
  Ptx *p = &m->k->ptx;
  const Grid *g = &m->grid;
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
