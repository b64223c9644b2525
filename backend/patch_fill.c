/* Layers on patches, the copies: the input pixels of a tile on their way to shared memory, as words of four channels.
 *
 * Pixels of whole words are copied by cp.async. Others, as the three bytes of an image's pixel, are loaded in groups of
 * four and cut apart, or byte by byte and put together (../ir/patch.h says which); where a thread has few of them, the
 * loads are under way while it multiplies.
 *
 * A thread keeps to its column, so that its elements are known distances apart in the image and in the patch.
 */
#include "patch_kernel.h"

static int threads_of(const PatchKernel *k) {
  return 32 * k->m.tile.warps_m;
}

static bool has_whole_rows(const PatchKernel *k) {
  return (int)k->s.row_elements <= threads_of(k);
}

void patch_place_fill(PatchKernel *k) {
  Ptx *p = &k->m.k->ptx;
  k->async = k->m.in.type.layout.pitch % 4 == 0;
  k->held = has_whole_rows(k) && k->s.passes <= HELD_ELEMENTS;
  k->thread_row = has_whole_rows(k) ? ptx_div(p, k->m.thread, ptx_int(k->s.row_elements)) : ptx_int(0);
  PtxValue before = ptx_mul(p, k->thread_row, ptx_int(k->s.row_elements));
  k->thread_column = ptx_sub(p, k->m.thread, before);
}

/* --- places --- */

/* The input pixel of the patch's first row and column. */
typedef struct Origin {
  PtxValue image, y, x; /* image: its first pixel */
} Origin;

static Origin origin_of(PatchKernel *k, PtxValue tile) {
  Ptx *p = &k->m.k->ptx;
  const Attrs *a = &k->m.node->attrs;
  Image in = k->m.in.image;
  TilePlace place = rectangle_place(p, &k->rectangles, tile);
  PtxValue y = ptx_add(p, ptx_mul(p, place.y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  PtxValue exists = ptx_setp(p, "lt.u32", tile, k->rectangles.count);
  Origin o = {.y = ptx_select(p, exists, y, ptx_int(-(1 << 30)))};
  int64_t before = a->pad[1] + (int64_t)k->s.lead;
  o.x = ptx_add(p, ptx_mul(p, place.x, ptx_int(a->stride[1])), ptx_int(-before));
  o.image = ptx_mul(p, place.image, ptx_int((int64_t)in.height * in.width));
  return o;
}

/* Elements of a column of the patch; the first may lie outside of the image, and then its address outside of memory. */
static PatchFill place_column(PatchKernel *k, const Origin *o, PtxValue column) {
  Ptx *p = &k->m.k->ptx;
  const Tensor *in = &k->m.in;
  PtxValue per_pixel = ptx_int(k->s.group == 4 ? 1 : k->s.words / k->s.vector);
  PatchFill f = {.row = k->thread_row, .word = ptx_int(0)};
  if (per_pixel.value > 1) f.word = ptx_rem(p, column, per_pixel);
  f.y = ptx_add(p, o->y, f.row);
  PtxValue x = ptx_mad(p, ptx_div(p, column, per_pixel), ptx_int(k->s.group), o->x);
  f.in_patch = has_whole_rows(k) ? ptx_setp(p, "lt.u32", f.row, ptx_int(k->s.pass_rows))
                                 : ptx_setp(p, "lt.u32", column, ptx_int(k->s.row_elements));
  f.inside = ptx_pred_and(p, ptx_setp(p, "lt.u32", x, ptx_int(in->image.width)), f.in_patch);
  int64_t pixel_bytes = in->type.layout.pitch;
  f.from = ptx_address(p, in->base, o->image, pixel_bytes);
  f.from = ptx_signed_address(p, f.from, f.y, in->image.width * pixel_bytes);
  f.from = ptx_signed_address(p, f.from, x, pixel_bytes);
  f.from = ptx_address(p, f.from, f.word, 4);
  PtxValue element = ptx_mad(p, f.row, ptx_int(k->s.row_elements), column);
  f.to = ptx_mad(p, element, ptx_int(4 * k->s.vector), k->rectangles.next);
  return f;
}

/* Rows between a thread's elements, as bytes of the image and of the patch. */
static int64_t image_bytes_apart(const PatchKernel *k) {
  return (int64_t)k->s.pass_rows * k->m.in.image.width * k->m.in.type.layout.pitch;
}

static int64_t patch_bytes_apart(const PatchKernel *k) {
  return 4 * (int64_t)k->s.pass_rows * k->s.pitch;
}

/* Predicate: element i of the thread is in the patch. counted: from the first pass on. */
static PtxValue in_patch(PatchKernel *k, const PatchFill *f, int i, bool counted) {
  Ptx *p = &k->m.k->ptx;
  if (counted && (uint32_t)(i + 1) * k->s.pass_rows <= k->s.height) return f->in_patch;
  PtxValue row = ptx_add(p, f->row, ptx_int((int64_t)i * k->s.pass_rows));
  return ptx_pred_and(p, ptx_setp(p, "lt.u32", row, ptx_int(k->s.height)), f->in_patch);
}

static PtxValue in_image(PatchKernel *k, const PatchFill *f, int i) {
  Ptx *p = &k->m.k->ptx;
  PtxValue y = ptx_add(p, f->y, ptx_int((int64_t)i * k->s.pass_rows));
  return ptx_pred_and(p, ptx_setp(p, "lt.u32", y, ptx_int(k->m.in.image.height)), f->inside);
}

static PtxValue source(PatchKernel *k, const PatchFill *f, int i) {
  return ptx_address(&k->m.k->ptx, f->from, ptx_int(1), i * image_bytes_apart(k));
}

/* --- copies of whole words --- */

/* Words that the tensor does not keep (the fourth of pixels of 12 bytes) are zeros like pixels outside. */
static void copy_element(PatchKernel *k, const PatchFill *f, int i, PtxValue stored) {
  Ptx *p = &k->m.k->ptx;
  PtxValue read = in_image(k, f, i), at = ptx_new(p, CLASS_B64), from = source(k, f, i);
  int kept = (int)k->m.in.type.layout.pitch / 4, bytes = 4 * (int)k->s.vector;
  if (kept < (int)k->s.words) read = ptx_pred_and(p, read, ptx_setp(p, "lt.u32", f->word, ptx_int(kept)));
  ptx_raw(p, "selp.b64 %s, %s, %s, %s;", ptx_text(p, at), ptx_text(p, from), ptx_text(p, k->m.in.base),
          ptx_text(p, read));
  PtxValue read_bytes = ptx_select(p, read, ptx_int(bytes), ptx_int(0));
  const char *to = ptx_at(p, f->to, i * patch_bytes_apart(k));
  ptx_raw(p, "@%s cp.async.%s.shared.global %s, [%s], %d, %s;", ptx_text(p, stored), bytes == 16 ? "cg" : "ca", to,
          ptx_text(p, at), bytes, ptx_text(p, read_bytes));
}

/* --- words put together --- */

/* Channels past the last are zeros. */
static void load_bytes(PatchKernel *k, const PatchFill *f, int i, PtxValue bytes[4]) {
  Ptx *p = &k->m.k->ptx;
  int channels = k->m.in.image.channels;
  PtxValue read = in_image(k, f, i), from = source(k, f, i);
  for (int b = 0; b < 4; b++) {
    bytes[b] = ptx_int(0);
    if (b >= channels) continue;
    PtxValue exists = read;
    if (channels > 4) {
      PtxValue channel = ptx_add(p, ptx_shl(p, f->word, 2), ptx_int(b));
      exists = ptx_pred_and(p, read, ptx_setp(p, "lt.u32", channel, ptx_int(channels)));
    }
    bytes[b] = ptx_variable(p, ptx_int(0));
    ptx_raw(p, "@%s ld.%s %s, %s;", ptx_text(p, exists), ptx_written(p, "u8"), ptx_text(p, bytes[b]),
            ptx_at(p, from, b));
  }
}

static void store_bytes(PatchKernel *k, const PatchFill *f, int i, PtxValue stored, const PtxValue bytes[4]) {
  Ptx *p = &k->m.k->ptx;
  PtxValue word = bytes[3];
  for (int b = 2; b >= 0; b--) word = ptx_mad(p, word, ptx_int(256), bytes[b]);
  ptx_store_if(p, stored, "shared.b32", f->to, i * patch_bytes_apart(k), word);
}

/* --- groups of four pixels --- */

static void load_group(PatchKernel *k, const PatchFill *f, int i, PtxValue words[4]) {
  Ptx *p = &k->m.k->ptx;
  PtxValue read = in_image(k, f, i), from = source(k, f, i);
  for (int w = 0; w < k->m.in.image.channels; w++) {
    words[w] = ptx_variable(p, ptx_int(0));
    ptx_raw(p, "@%s ld.%s %s, %s;", ptx_text(p, read), ptx_written(p, "b32"), ptx_text(p, words[w]),
            ptx_at(p, from, 4 * w));
  }
}

/* The word that begins with a pixel's bytes. */
static PtxValue cut_pixel(PatchKernel *k, const PtxValue words[4], int pixel) {
  Ptx *p = &k->m.k->ptx;
  int channels = k->m.in.image.channels, word = pixel * channels / 4, shift = pixel * channels % 4 * 8;
  if (shift + 8 * channels <= 32) return ptx_shr(p, words[word], shift);
  return ptx_3(p, "shf.r.wrap.b32", words[word], words[word + 1], ptx_int(shift));
}

static void store_group(PatchKernel *k, const PatchFill *f, int i, PtxValue stored, const PtxValue words[4]) {
  Ptx *p = &k->m.k->ptx;
  PtxValue pixels[4];
  for (int pixel = 0; pixel < 4; pixel++) pixels[pixel] = cut_pixel(k, words, pixel);
  ptx_raw(p, "@%s st.shared.v4.b32 %s, {%s, %s, %s, %s};", ptx_text(p, stored),
          ptx_at(p, f->to, i * patch_bytes_apart(k)), ptx_text(p, pixels[0]), ptx_text(p, pixels[1]),
          ptx_text(p, pixels[2]), ptx_text(p, pixels[3]));
}

/* --- the fill --- */

static void start(PatchKernel *k, const PatchFill *f, int count, bool counted) {
  for (int i = 0; i < count; i++) {
    if (k->async)
      copy_element(k, f, i, in_patch(k, f, i, counted));
    else
      (k->s.group == 4 ? load_group : load_bytes)(k, f, i, k->loaded[i]);
  }
}

static void store(PatchKernel *k, const PatchFill *f, int count, bool counted) {
  for (int i = 0; i < count && !k->async; i++)
    (k->s.group == 4 ? store_group : store_bytes)(k, f, i, in_patch(k, f, i, counted), k->loaded[i]);
}

/* All elements of a column, HELD_ELEMENTS at a time. */
static void fill_column(PatchKernel *k, const PatchFill *column) {
  Ptx *p = &k->m.k->ptx;
  PatchFill f = *column;
  f.y = ptx_variable(p, f.y);
  f.from = ptx_variable(p, f.from);
  f.to = ptx_variable(p, f.to);
  int rows = HELD_ELEMENTS * (int)k->s.pass_rows;
  f.row = ptx_for(p, column->row, ptx_int(k->s.height), ptx_int(rows));
  start(k, &f, HELD_ELEMENTS, false);
  store(k, &f, HELD_ELEMENTS, false);
  ptx_assign(p, f.y, ptx_add(p, f.y, ptx_int(rows)));
  ptx_assign(p, f.from, ptx_address(p, f.from, ptx_int(1), HELD_ELEMENTS * image_bytes_apart(k)));
  ptx_assign(p, f.to, ptx_add(p, f.to, ptx_int(HELD_ELEMENTS * patch_bytes_apart(k))));
  ptx_end_for(p);
}

/* Every thread's columns, one where rows have no more elements than there are threads. */
static void fill_columns(PatchKernel *k, const Origin *o) {
  Ptx *p = &k->m.k->ptx;
  PatchFill f;
  if (has_whole_rows(k)) {
    f = place_column(k, o, k->thread_column);
    fill_column(k, &f);
    return;
  }
  PtxValue column = ptx_for(p, k->thread_column, ptx_int(k->s.row_elements), ptx_int(threads_of(k)));
  f = place_column(k, o, column);
  fill_column(k, &f);
  ptx_end_for(p);
}

void patch_fill_begin(PatchKernel *k, PtxValue tile) {
  Origin o = origin_of(k, tile);
  if (k->held) {
    k->fill = place_column(k, &o, k->thread_column);
    start(k, &k->fill, (int)k->s.passes, true);
  } else {
    fill_columns(k, &o);
  }
  if (k->async) ptx_raw(&k->m.k->ptx, "cp.async.commit_group;");
}

void patch_fill_end(PatchKernel *k) {
  if (k->held) store(k, &k->fill, (int)k->s.passes, true);
}
