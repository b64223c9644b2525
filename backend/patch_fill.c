/* Layers on patches, the copies: the input pixels of a tile on their way to shared memory, as words of four channels.
 *
 * Pixels of whole words are copied by cp.async. Others, as the three bytes of an image's pixel, are loaded byte by byte
 * and put together; where a thread has few of them, the loads are under way while it does something else.
 */
#include "patch_kernel.h"

void patch_place_fill(PatchKernel *k) {
  const Patch *s = &k->s;
  uint32_t kept = k->m.in.type.layout.pitch;
  k->threads = 32 * k->m.tile.warps_m;
  k->async = kept % 4 == 0;
  k->vector = kept == 4 * s->words ? (int)s->words : 1;
  k->row_elements = (int)s->pitch / k->vector;
  k->elements = k->row_elements * (int)s->height;
  k->per_thread = (k->elements + k->threads - 1) / k->threads;
}

/* The input pixel of the patch's first column and row. */
typedef struct Origin {
  PtxValue image, y, x; /* image: its first pixel */
} Origin;

static Origin origin_of(PatchKernel *k, PtxValue tile) {
  Ptx *p = &k->m.k->ptx;
  const Attrs *a = &k->m.node->attrs;
  Image in = k->m.in.image;
  TilePlace place = patch_tile_place(k, tile);
  PtxValue y = ptx_add(p, ptx_mul(p, place.y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  PtxValue exists = ptx_setp(p, "lt.u32", tile, k->tile_count);
  Origin o = {.y = ptx_select(p, exists, y, ptx_int(-(1 << 30)))};
  o.x = ptx_add(p, ptx_mul(p, place.x, ptx_int(a->stride[1])), ptx_int(-a->pad[1]));
  o.image = ptx_mul(p, place.image, ptx_int((int64_t)in.height * in.width));
  return o;
}

/* Where an element comes from. */
typedef struct Source {
  PtxValue inside; /* predicate: a pixel of the image */
  PtxValue at;     /* its address, or that of pixel 0 */
  PtxValue word;   /* of the pixel */
} Source;

static PatchElement place_element(PatchKernel *k, const Origin *o, PtxValue number, bool all_there, Source *from) {
  Ptx *p = &k->m.k->ptx;
  const Tensor *in = &k->m.in;
  int per_pixel = (int)k->s.words / k->vector;
  PtxValue row = ptx_div(p, number, ptx_int(k->row_elements));
  PtxValue in_row = ptx_sub(p, number, ptx_mul(p, row, ptx_int(k->row_elements)));
  PtxValue y = ptx_add(p, o->y, row), x = ptx_add(p, o->x, ptx_div(p, in_row, ptx_int(per_pixel)));
  PatchElement e = {.in_patch = ptx_int(1)};
  from->word = per_pixel == 1 ? ptx_int(0) : ptx_rem(p, in_row, ptx_int(per_pixel));
  from->inside = inside_image(p, in->image, y, x);
  if (!all_there) {
    e.in_patch = ptx_setp(p, "lt.u32", number, ptx_int(k->elements));
    from->inside = ptx_pred_and(p, from->inside, e.in_patch);
  }
  PtxValue pixel = ptx_add(p, o->image, ptx_mad(p, y, ptx_int(in->image.width), x));
  pixel = ptx_select(p, from->inside, pixel, ptx_int(0));
  from->at = ptx_address(p, ptx_address(p, in->base, pixel, in->type.layout.pitch), from->word, 4);
  PtxValue patch = ptx_add(p, k->m.shared, ptx_int(k->s.weight_bytes));
  e.to = ptx_mad(p, number, ptx_int(4 * k->vector), patch);
  return e;
}

static const char *guard(Ptx *p, PtxValue pred) {
  return ptx_is_int(pred, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, pred));
}

/* Words that the tensor does not keep (the fourth of pixels of 12 bytes) are zeros like pixels outside. */
static void copy_element(PatchKernel *k, const PatchElement *e, const Source *from) {
  Ptx *p = &k->m.k->ptx;
  PtxValue read = from->inside;
  int kept = (int)k->m.in.type.layout.pitch / 4;
  if (kept < (int)k->s.words) read = ptx_pred_and(p, read, ptx_setp(p, "lt.u32", from->word, ptx_int(kept)));
  PtxValue at = ptx_new(p, CLASS_B64);
  ptx_raw(p, "selp.b64 %s, %s, %s, %s;", ptx_text(p, at), ptx_text(p, from->at), ptx_text(p, k->m.in.base),
          ptx_text(p, read));
  PtxValue bytes = ptx_select(p, read, ptx_int(4 * k->vector), ptx_int(0));
  ptx_raw(p, "%scp.async.%s.shared.global [%s], [%s], %d, %s;", guard(p, e->in_patch), k->vector == 4 ? "cg" : "ca",
          ptx_text(p, e->to), ptx_text(p, at), 4 * k->vector, ptx_text(p, bytes));
}

/* Channels past the last are zeros. */
static void load_element_bytes(PatchKernel *k, PatchElement *e, const Source *from) {
  Ptx *p = &k->m.k->ptx;
  int channels = k->m.in.image.channels, bytes = channels < 4 ? channels : 4;
  for (int b = 0; b < 4; b++) {
    e->bytes[b] = ptx_int(0);
    if (b >= bytes) continue;
    PtxValue read = from->inside;
    if (channels > 4) {
      PtxValue channel = ptx_add(p, ptx_shl(p, from->word, 2), ptx_int(b));
      read = ptx_pred_and(p, read, ptx_setp(p, "lt.u32", channel, ptx_int(channels)));
    }
    e->bytes[b] = ptx_variable(p, ptx_int(0));
    ptx_raw(p, "%sld.global.nc.u8 %s, %s;", guard(p, read), ptx_text(p, e->bytes[b]), ptx_at(p, from->at, b));
  }
}

static void store_element_bytes(PatchKernel *k, const PatchElement *e) {
  Ptx *p = &k->m.k->ptx;
  PtxValue word = e->bytes[3];
  for (int b = 2; b >= 0; b--) word = ptx_mad(p, word, ptx_int(256), e->bytes[b]);
  ptx_store_if(p, e->in_patch, "shared.b32", e->to, 0, word);
}

/* Elements first, first + threads, ... of the thread. */
static void start_elements(PatchKernel *k, const Origin *o, PtxValue first, int count, bool all_there) {
  Ptx *p = &k->m.k->ptx;
  for (int i = 0; i < count; i++) {
    Source from;
    PtxValue number = ptx_add(p, first, ptx_int(i * k->threads));
    bool there = all_there || (k->per_thread <= HELD_ELEMENTS && (i + 1) * k->threads <= k->elements);
    PatchElement *e = &k->held[i];
    *e = place_element(k, o, number, there, &from);
    if (k->async)
      copy_element(k, e, &from);
    else
      load_element_bytes(k, e, &from);
  }
}

static void store_elements(PatchKernel *k, int count) {
  for (int i = 0; i < count && !k->async; i++) store_element_bytes(k, &k->held[i]);
}

void patch_fill_begin(PatchKernel *k, PtxValue tile) {
  Ptx *p = &k->m.k->ptx;
  Origin o = origin_of(k, tile);
  if (k->per_thread <= HELD_ELEMENTS) {
    start_elements(k, &o, k->m.thread, k->per_thread, false);
  } else {
    int step = HELD_ELEMENTS * k->threads;
    PtxValue first = ptx_for(p, k->m.thread, ptx_int(k->elements), ptx_int(step));
    start_elements(k, &o, first, HELD_ELEMENTS, k->elements % step == 0);
    store_elements(k, HELD_ELEMENTS);
    ptx_end_for(p);
  }
  if (k->async) ptx_raw(p, "cp.async.commit_group;");
}

void patch_fill_end(PatchKernel *k) {
  if (k->per_thread <= HELD_ELEMENTS) store_elements(k, k->per_thread);
}
