/* Layers on strips, the copies: the input pixels of a tile on their way to shared memory.
 *
 * Rows of the image are whole words, but a strip may begin at any byte of one: a thread loads the aligned words that
 * hold it and shifts. A word is inside of the image or not as a whole. A thread keeps to its column of the patch, so
 * that its strips are known distances apart in the image and in the patch; tiles begin at whole words.
 */
#include "strip_kernel.h"

/* Bytes between the strips of neighbouring positions in the image. */
static int64_t stride_bytes(const StripKernel *k) {
  return (int64_t)k->m.node->attrs.stride[1] * k->s.pixel_bytes;
}

void strip_place_fill(StripKernel *k) {
  Ptx *p = &k->m.k->ptx;
  PtxValue pitch = ptx_int(k->s.pitch);
  k->row = ptx_div(p, k->m.thread, pitch);
  PtxValue column = ptx_rem(p, k->m.thread, pitch);
  int64_t pad_bytes = (int64_t)k->m.node->attrs.pad[1] * k->s.pixel_bytes, pad_words = (pad_bytes + 3) / 4;
  PtxValue byte = ptx_mad(p, column, ptx_int(stride_bytes(k)), ptx_int(4 * pad_words - pad_bytes));
  k->word = ptx_sub(p, ptx_shr(p, byte, 2), ptx_int(pad_words));
  k->shift = k->s.aligned ? ptx_int(0) : ptx_shl(p, ptx_and(p, byte, ptx_int(3)), 3);
}

/* What a thread brings to the patch of a tile. */
typedef struct Fill {
  PtxValue y;                         /* input row of its first strip */
  PtxValue from;                      /* address of the word with which it begins; may be outside of memory */
  PtxValue inside[MOST_LOADED_WORDS]; /* predicates: its words are in the image's rows */
  PtxValue words[MOST_LOADED_WORDS];
} Fill;

static void place(StripKernel *k, PtxValue tile, Fill *f) {
  Ptx *p = &k->m.k->ptx;
  const Attrs *a = &k->m.node->attrs;
  const Tensor *in = &k->m.in;
  int64_t row_bytes = 4 * (int64_t)k->s.row_words;
  TilePlace at = rectangle_place(p, &k->rectangles, tile);
  PtxValue exists = ptx_setp(p, "lt.u32", tile, k->rectangles.count);
  PtxValue y = ptx_add(p, ptx_mul(p, at.y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  f->y = ptx_select(p, exists, ptx_add(p, y, k->row), ptx_int(-(1 << 30)));
  int64_t words_of_square = STRIP_SQUARE * stride_bytes(k) / 4;
  PtxValue word = ptx_mad(p, ptx_shr(p, at.x, 3), ptx_int(words_of_square), k->word);
  for (uint32_t w = 0; w < k->s.loaded; w++)
    f->inside[w] = ptx_setp(p, "lt.u32", ptx_add(p, word, ptx_int(w)), ptx_int(k->s.row_words));
  f->from = ptx_address(p, in->base, ptx_mul(p, at.image, ptx_int(in->image.height)), row_bytes);
  f->from = ptx_signed_address(p, f->from, f->y, row_bytes);
  f->from = ptx_signed_address(p, f->from, word, 4);
}

static void load(StripKernel *k, Fill *f, uint32_t pass) {
  Ptx *p = &k->m.k->ptx;
  int64_t rows = (int64_t)pass * k->s.pass_rows;
  PtxValue inside = ptx_setp(p, "lt.u32", ptx_add(p, f->y, ptx_int(rows)), ptx_int(k->m.in.image.height));
  for (uint32_t w = 0; w < k->s.loaded; w++) {
    f->words[w] = ptx_variable(p, ptx_int(0));
    PtxValue read = ptx_pred_and(p, inside, f->inside[w]);
    ptx_raw(p, "@%s ld.%s %s, %s;", ptx_text(p, read), ptx_written(p, "b32"), ptx_text(p, f->words[w]),
            ptx_at(p, f->from, rows * k->s.row_words * 4 + 4 * w));
  }
}

/* Word w of the strip. Its bytes behind the last pixel meet weights of zero. */
static PtxValue strip_word(StripKernel *k, const Fill *f, uint32_t w) {
  if (k->s.aligned) return f->words[w];
  uint32_t next = w + 1 < k->s.loaded ? w + 1 : w;
  return ptx_3(&k->m.k->ptx, "shf.r.wrap.b32", f->words[w], f->words[next], k->shift);
}

static void store(StripKernel *k, const Fill *f, uint32_t pass, PtxValue in_pass, PtxValue to) {
  Ptx *p = &k->m.k->ptx;
  PtxValue stored = in_pass, words[4];
  int64_t rows = (int64_t)pass * k->s.pass_rows;
  if (pass == k->s.passes - 1)
    stored = ptx_pred_and(p, in_pass, ptx_setp(p, "lt.u32", ptx_add(p, k->row, ptx_int(rows)), ptx_int(k->s.height)));
  for (uint32_t w = 0; w < 4; w++) words[w] = w && w >= k->s.words ? words[w - 1] : strip_word(k, f, w);
  ptx_raw(p, "@%s st.shared.v4.b32 %s, {%s, %s, %s, %s};", ptx_text(p, stored),
          ptx_at(p, to, rows * k->s.pitch * STRIP_BYTES), ptx_text(p, words[0]), ptx_text(p, words[1]),
          ptx_text(p, words[2]), ptx_text(p, words[3]));
}

/* All loads of some passes are under way before the first is waited for. The fence, without which the tensor cores
 * might not see the stores, is of shared memory alone: another would wait for results on their way to memory too. */
void strip_fill(StripKernel *k, PtxValue tile) {
  enum { HELD_PASSES = 4 };
  Ptx *p = &k->m.k->ptx;
  Fill f, passes[HELD_PASSES];
  place(k, tile, &f);
  PtxValue in_pass = ptx_setp(p, "lt.u32", k->row, ptx_int(k->s.pass_rows));
  PtxValue to = ptx_mad(p, k->m.thread, ptx_int(STRIP_BYTES), k->rectangles.next);
  for (uint32_t first = 0; first < k->s.passes; first += HELD_PASSES) {
    uint32_t count = k->s.passes - first < HELD_PASSES ? k->s.passes - first : HELD_PASSES;
    for (uint32_t i = 0; i < count; i++) {
      passes[i] = f;
      load(k, &passes[i], first + i);
    }
    for (uint32_t i = 0; i < count; i++) store(k, &passes[i], first + i, in_pass, to);
  }
  ptx_raw(p, "fence.proxy.async.shared::cta;");
}
