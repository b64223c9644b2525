/* Layers on wgmma, the taps that share a piece (../ir/staging.h): a window's lines of 16 bytes hold few channels each,
 * in the lower bits of their words, and get into the upper ones what the lines under the next taps hold.
 *
 * All lines of a stage, a few a thread: read together with the next ones, then, when every warp has read, written. The
 * tensor cores see what was written when a fence has made it visible and the warps have met again.
 */
#include "wgmma_kernel.h"

enum { MOST_LINES = 4 }; /* of a thread at a time */

bool wgmma_joins(const Wgmma *w) {
  return w->s.joined > 1;
}

static uint32_t lines_of_stage(const Wgmma *w) {
  return w->s.input_planes * w->s.input_rows;
}

/* Lines past the window's end meet weights of zero: any other does. */
static void load_line(Wgmma *w, PtxValue windows, PtxValue line, PtxValue words[4]) {
  Ptx *p = &w->m.k->ptx;
  line = ptx_2(p, "min.u32", line, ptx_variable(p, ptx_int(lines_of_stage(w) - 1)));
  ptx_load_four(p, "shared.v4.b32", ptx_mad(p, line, ptx_int(PIECE_BYTES), windows), 0, words);
}

static PtxValue permute(Ptx *p, PtxValue low, PtxValue high, const char *bytes) {
  PtxValue out = ptx_new(p, CLASS_B32);
  ptx_raw(p, "prmt.b32 %s, %s, %s, %s;", ptx_text(p, out), ptx_text(p, low), ptx_text(p, high), bytes);
  return out;
}

/* The lower halves, or quarters, of the words of as many lines. */
static void join_line(Wgmma *w, PtxValue windows, PtxValue line, PtxValue words[4]) {
  Ptx *p = &w->m.k->ptx;
  PtxValue parts[4][4];
  for (uint32_t i = 0; i < w->s.joined; i++)
    load_line(w, windows, ptx_add(p, line, ptx_int((int64_t)i * w->s.join_shift)), parts[i]);
  for (int i = 0; i < 4; i++) {
    if (w->s.joined == 2) {
      words[i] = permute(p, parts[0][i], parts[1][i], "0x5410");
      continue;
    }
    PtxValue low = permute(p, parts[0][i], parts[1][i], "0x0040");
    words[i] = permute(p, low, permute(p, parts[2][i], parts[3][i], "0x0040"), "0x5410");
  }
}

void wgmma_join(Wgmma *w, PtxValue stage) {
  Ptx *p = &w->m.k->ptx;
  uint32_t lines = lines_of_stage(w), threads = 32 * (uint32_t)w->walk_warps, count = ceil_div(lines, threads);
  if (count > MOST_LINES) count = MOST_LINES;
  PtxValue windows = wgmma_stage(w, stage), words[MOST_LINES][4], own[MOST_LINES];
  PtxValue thread = ptx_rem(p, w->m.thread, ptx_int(threads));
  PtxValue first = ptx_for(p, ptx_int(0), ptx_int(lines), ptx_int((int64_t)threads * count));
  for (uint32_t i = 0; i < count; i++) {
    own[i] = ptx_add(p, ptx_add(p, first, thread), ptx_int((int64_t)i * threads));
    join_line(w, windows, own[i], words[i]);
  }
  wgmma_meet(w, w->walk, w->walk_warps);
  for (uint32_t i = 0; i < count; i++)
    ptx_raw(p, "@%s st.shared.v4.b32 %s, {%s, %s, %s, %s};", ptx_text(p, ptx_setp(p, "lt.u32", own[i], ptx_int(lines))),
            ptx_at(p, ptx_mad(p, own[i], ptx_int(PIECE_BYTES), windows), 0), ptx_text(p, words[i][0]),
            ptx_text(p, words[i][1]), ptx_text(p, words[i][2]), ptx_text(p, words[i][3]));
  ptx_raw(p, "fence.proxy.async.shared::cta;");
  wgmma_meet(w, w->walk, w->walk_warps);
  ptx_end_for(p);
}
