/* Gemv layers, the products: 32 rows of weights by all columns of the input, over the units of a warp.
 *
 * Weight planes come from the most significant down and the accumulators double between them. Where a plane has few
 * products two sets of accumulators take planes by turns, so that they need not wait for each other. A stage is loaded
 * again as soon as its products are emitted; those behind a pass begin the next one, whichever tile it belongs to.
 */
#include "gemv_kernel.h"

/* Fragments of the input in the order in which products take them: unit after unit, groups inside. Those that do not
 * stay in registers are loaded some ahead. */
typedef struct InputTurns {
  GemvKernel *s;
  uint32_t count, loaded, taken;
  Fragment ring[GEMV_INPUT_AHEAD];
} InputTurns;

static void load_ahead(InputTurns *t) {
  GemvKernel *s = t->s;
  if (s->s.keeps_input || t->loaded == t->count) return;
  uint32_t unit = t->loaded / s->s.groups % s->s.units, group = t->loaded % s->s.groups;
  if (!unit && !group) gemv_load_input_anew(s);
  t->ring[t->loaded++ % GEMV_INPUT_AHEAD] = gemv_load_input(s, unit, group);
}

static InputTurns begin_turns(GemvKernel *s, uint32_t units) {
  InputTurns t = {.s = s, .count = units * s->s.groups};
  for (uint32_t i = 0; i < GEMV_INPUT_AHEAD; i++) load_ahead(&t);
  return t;
}

/* The next fragment; where others are loaded, one to come takes its place behind its products. */
static const Fragment *take(InputTurns *t) {
  const GemvKernel *s = t->s;
  uint32_t i = t->taken++;
  return s->s.keeps_input ? &s->input[i % (s->s.groups * s->s.units)] : &t->ring[i % GEMV_INPUT_AHEAD];
}

static void multiply(GemvKernel *s, const PtxValue d[4], const Fragment *a, const Fragment *b, int half) {
  Ptx *p = &s->k->ptx;
  const char *registers = arena_printf(p->context, "{%s, %s, %s, %s}", ptx_text(p, d[0]), ptx_text(p, d[1]),
                                       ptx_text(p, d[2]), ptx_text(p, d[3]));
  ptx_raw(p, "%s %s, {%s, %s, %s, %s}, {%s, %s}, %s;", s->instruction->mnemonic, registers, ptx_text(p, a->words[0]),
          ptx_text(p, a->words[1]), ptx_text(p, a->words[2]), ptx_text(p, a->words[3]), ptx_text(p, b->words[2 * half]),
          ptx_text(p, b->words[2 * half + 1]), registers);
}

static void clear(GemvKernel *s, PtxValue (*groups)[4]) {
  for (uint32_t group = 0; group < s->s.groups; group++)
    for (int i = 0; i < 4; i++) groups[group][i] = ptx_variable(&s->k->ptx, ptx_int(0));
}

/* What a set has summed up, for planes a number of places further down. */
static void shift_set(GemvKernel *s, uint32_t set, uint32_t places) {
  Ptx *p = &s->k->ptx;
  for (int tile = 0; tile < GEMV_ROW_TILES; tile++)
    for (uint32_t group = 0; group < s->s.groups; group++)
      for (int i = 0; i < 4; i++) {
        const char *r = ptx_text(p, s->accumulators[set][tile][group][i]);
        ptx_raw(p, "shl.b32 %s, %s, %u;", r, r, places);
      }
}

/* Of two sets the one that did not have the last plane counts twice. */
static void add_sets(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  uint32_t last = (s->s.weight_planes - 1) % s->s.sets;
  if (s->s.sets == 1) return;
  for (int tile = 0; tile < GEMV_ROW_TILES; tile++)
    for (uint32_t group = 0; group < s->s.groups; group++)
      for (int i = 0; i < 4; i++) {
        PtxValue once = s->accumulators[last][tile][group][i], twice = s->accumulators[1 - last][tile][group][i];
        s->accumulators[0][tile][group][i] = ptx_mad(p, twice, ptx_int(2), once);
      }
}

static void keep_sums(GemvKernel *s, PtxValue (*const groups)[4]) {
  Ptx *p = &s->k->ptx;
  bool whole = s->tile.n >= 8;
  for (uint32_t i = 0; i < (whole ? gemv_position_groups(s) : s->s.groups); i++)
    for (int e = 0; e < 2; e++) {
      PtxValue sum = whole ? gemv_add_planes(s, groups, i, e) : groups[i][e];
      s->sums[i][e] = ptx_mul(p, sum, ptx_int(-(int64_t)s->w.sum_scale));
    }
}

/* Weights of ones, which are registers, sum up the input in every row. */
void gemv_sum_input(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue one = ptx_variable(p, ptx_int(engine_uses_planes(s->node->engine) ? -1 : 0x01010101)),
           groups[GEMV_MOST_GROUPS][4];
  Fragment ones = {{one, one, one, one}};
  clear(s, groups);
  InputTurns turns = begin_turns(s, s->s.units);
  for (uint32_t unit = 0; unit < s->s.units; unit++)
    for (uint32_t group = 0; group < s->s.groups; group++) {
      const Fragment *input = take(&turns);
      for (int half = 0; half < 2; half++) multiply(s, groups[group], &ones, input, half);
      load_ahead(&turns);
    }
  keep_sums(s, groups);
}

/* Planes: many columns a weight. */
static void multiply_planes_of(GemvKernel *s, uint32_t set, uint32_t stage, InputTurns *turns) {
  for (uint32_t group = 0; group < s->s.groups; group++) {
    const Fragment *input = take(turns);
    for (int half = 0; half < 2; half++)
      for (int tile = 0; tile < GEMV_ROW_TILES; tile++)
        multiply(s, s->accumulators[set][tile][group], &s->stages[stage][2 * tile + half], input, half);
    load_ahead(turns);
  }
}

/* Bytes: few columns, so that a fragment of weights is widened for all of them and gone. */
static void multiply_bytes_of(GemvKernel *s, uint32_t stage, InputTurns *turns) {
  for (uint32_t unit = 0; unit < s->s.step_units; unit++) {
    const Fragment *input[GEMV_POSITION_GROUPS];
    for (uint32_t group = 0; group < s->s.groups; group++) input[group] = take(turns);
    for (int half = 0; half < 2; half++)
      for (int tile = 0; tile < GEMV_ROW_TILES; tile++) {
        Fragment weights = gemv_widen(s, stage, unit, tile, half);
        for (uint32_t group = 0; group < s->s.groups; group++)
          multiply(s, s->accumulators[0][tile][group], &weights, input[group], half);
      }
    for (uint32_t group = 0; group < s->s.groups; group++) load_ahead(turns);
  }
}

static void multiply_step(GemvKernel *s, uint32_t set, uint32_t stage, InputTurns *turns) {
  if (engine_uses_planes(s->node->engine))
    multiply_planes_of(s, set, stage, turns);
  else
    multiply_bytes_of(s, stage, turns);
}

/* Of weights from an address on; behind them come others from `next` on, if `more`. */
static void multiply_pass(GemvKernel *s, PtxValue weights, PtxValue next, PtxValue more) {
  uint32_t stages = s->tile.stages;
  InputTurns turns = begin_turns(s, s->s.steps * s->s.step_units);
  for (uint32_t step = 0; step < s->s.steps; step++) {
    uint32_t stage = step % stages, plane = step * s->s.step_units / s->s.units, set = plane % s->s.sets;
    bool begins = step * s->s.step_units % s->s.units == 0;
    if (begins && (s->s.passes > 1 || plane >= s->s.sets)) shift_set(s, set, s->s.sets);
    multiply_step(s, set, stage, &turns);
    if (step + stages < s->s.steps)
      gemv_load_step(s, stage, weights, step + stages, ptx_int(1));
    else
      gemv_load_step(s, stage, next, stage, more);
  }
}

/* A pass a weight plane. */
static void multiply_planes(GemvKernel *s) {
  Ptx *p = &s->k->ptx;
  PtxValue weights = ptx_variable(p, s->tile_weights);
  PtxValue plane = ptx_for(p, ptx_int(0), ptx_int(s->s.passes), ptx_int(1));
  PtxValue has_plane = ptx_setp(p, "lt.s32", plane, ptx_int(s->s.passes - 1));
  PtxValue next =
      ptx_select(p, has_plane, ptx_address(p, weights, ptx_int(1), s->s.warp_bytes / s->s.passes), s->next_weights);
  multiply_pass(s, weights, next, ptx_2(p, "or.pred", has_plane, s->has_next));
  ptx_assign(p, weights, next);
  ptx_end_for(p);
}

void gemv_multiply_tile(GemvKernel *s) {
  for (uint32_t set = 0; set < s->s.sets; set++)
    for (int tile = 0; tile < GEMV_ROW_TILES; tile++) clear(s, s->accumulators[set][tile]);
  if (s->s.passes == 1)
    multiply_pass(s, s->tile_weights, s->next_weights, s->has_next);
  else
    multiply_planes(s);
  add_sets(s);
}
