/* Shares and registers of gemv layers (gemv.h). */
#include "gemv.h"

#include "skinny.h"
#include "staging.h"

enum {
  MOST_GROUPS_IN_SETS = 2, /* so few products would wait for those of the plane before */
  MOST_UNROLLED = 64,      /* steps of a pass times groups */
  OTHER_REGISTERS = 40,    /* of planes, besides fragments, accumulators and sums of the input */
  BYTE_REGISTERS = 24,     /* as OTHER_REGISTERS */
  TURN_REGISTERS = 16,     /* more of these where fragments of the input come and go */
  POSITIONS_A_BIT = 8,     /* with so many the products of weights take longer than their way from memory */
  MOST_PLANE_UNITS = 16,   /* of a warp, in each plane */
  SM_REGISTERS = 65536,
  SM_PARTS = 4, /* each has its share of the registers, and of the warps */
  THREAD_REGISTERS = 255,
  MOST_BLOCKS_OF_SM = 4,
  SM_THREADS = 1536 /* the fewest that a target has */
};

static uint32_t registers_of(const Gemv *s, const Tile *tile) {
  uint32_t fragments = s->keeps_input ? s->groups * s->units : GEMV_INPUT_AHEAD;
  uint32_t others = s->planes ? OTHER_REGISTERS : BYTE_REGISTERS;
  if (!s->keeps_input) others += TURN_REGISTERS;
  uint32_t sums = tile->n < 8 ? 2 * s->groups : tile->n / 4u;
  return 4 * s->step_loads * tile->stages + 4 * fragments + 8 * s->groups * s->sets + sums + others;
}

/* Of a thread, where a number of blocks share the SM. */
static uint32_t most_registers(const Tile *tile, uint32_t blocks) {
  uint32_t threads = 32 * SM_PARTS * ceil_div(tile->warps_m, SM_PARTS) * blocks;
  uint32_t most = SM_REGISTERS / threads / 8 * 8;
  return most < THREAD_REGISTERS ? most : THREAD_REGISTERS;
}

static void choose_registers(Gemv *s, const Tile *tile) {
  s->keeps_input = (uint64_t)s->groups * s->units <= GEMV_MOST_INPUT;
  s->registers = registers_of(s, tile);
  if (!s->keeps_input || s->registers <= most_registers(tile, 1)) return;
  s->keeps_input = false;
  s->registers = registers_of(s, tile);
}

GemvWeights gemv_weights(const Type *weights) {
  GemvWeights w = {.bits = weights->bits <= 2 ? weights->bits : weights->bits <= 4 ? 4 : 8, .map = {1, 0}};
  int32_t least = type_level_min(weights), most = type_level_max(weights), half = 1 << (w.bits - 1);
  bool fits;
  w.is_odd = w.bits < 8 && type_level_map(weights).mult == 2 && least >= 1 - 2 * half && most < 2 * half;
  w.is_signed = w.is_odd || (least >= -half && most < half);
  if (w.is_signed) return w;
  w.map = weight_storage(weights, w.bits < 8, &fits);
  w.is_signed = w.bits == 8 && weights->kind != ELEM_UINT;
  return w;
}

uint8_t gemv_weight_in_memory(const GemvWeights *w, int32_t level) {
  int32_t number = w->is_odd ? (level - 1) / 2 : (level + w->map.offset) / w->map.mult;
  return (uint8_t)(number & ((1 << w->bits) - 1));
}

/* Planes of both operands, or one of bytes, and what a step has. */
static Gemv begin(const Type *x, const Type *w, bool planes) {
  Gemv s = {.planes = planes, .weight_planes = 1, .input_planes = 1, .byte_bits = 8, .most_units = GEMV_MOST_UNITS};
  s.most_blocks = planes ? MOST_BLOCKS_OF_SM : 1;
  if (planes) {
    s.weight_planes = w->bits;
    s.input_planes = x->bits;
    s.most_units = MOST_PLANE_UNITS;
  } else {
    s.byte_bits = gemv_weights(w).bits;
  }
  s.step_units = s.byte_bits * GEMV_UNIT_FRAGMENTS < 8 ? 8 / (s.byte_bits * GEMV_UNIT_FRAGMENTS) : 1;
  s.step_loads = s.step_units * GEMV_UNIT_FRAGMENTS * s.byte_bits / 8;
  return s;
}

Gemv gemv_of(const Graph *g, const Node *node, const Tile *tile) {
  const Type *x = graph_type(g, node->inputs[0]), *w = graph_type(g, node->inputs[1]);
  Gemv s = begin(x, w, engine_uses_planes(node->engine));
  s.blocks = x->layout.pitch / layout_piece_channels(x->layout);
  s.units = ceil_div(ceil_div(s.blocks, GEMV_UNIT_BLOCKS * s.step_units), tile->warps_m) * s.step_units;
  s.groups = ceil_div(s.input_planes * tile->n, 8);
  s.row_tiles = ceil_div(skinny_rows(graph_type(g, node->result)), GEMV_ROWS);
  s.column_tiles = ceil_div(x->layout.positions, tile->n);
  bool unrolled = (uint64_t)s.units * s.weight_planes * s.groups <= MOST_UNROLLED;
  s.passes = unrolled ? 1 : s.weight_planes;
  s.steps = s.units / s.step_units * (unrolled ? s.weight_planes : 1);
  s.warp_bytes = s.passes * s.steps * s.step_loads * GEMV_FRAGMENT_BYTES;
  s.parts_bytes = (uint32_t)tile->warps_m * tile->n * GEMV_ROW_PITCH * 4;
  s.shared_bytes = 2 * s.parts_bytes + 8;
  s.sets = unrolled && s.weight_planes > 1 && s.groups <= MOST_GROUPS_IN_SETS ? GEMV_MOST_SETS : 1;
  s.one_behind = !s.planes && s.byte_bits * POSITIONS_A_BIT <= tile->n;
  choose_registers(&s, tile);
  return s;
}

uint32_t gemv_spare_registers(const Gemv *s, const Tile *tile) {
  return most_registers(tile, gemv_blocks_of_sm(s, tile)) - s->registers;
}

uint32_t gemv_blocks_of_sm(const Gemv *s, const Tile *tile) {
  uint32_t blocks = s->most_blocks, most = SM_THREADS / (32 * tile->warps_m);
  if (blocks > most) blocks = most;
  while (blocks && s->registers > most_registers(tile, blocks)) blocks--;
  return blocks;
}

/* Bytes fill the columns of an instruction with positions alone. */
bool gemv_shape_fits(Engine engine, const Tile *tile) {
  bool shape = tile->m == GEMV_ROWS && tile->k == GEMV_UNIT_WORDS && tile->warps_n == 1 && tile->split_k == 1;
  bool positions = tile->n && tile->n <= GEMV_MOST_POSITIONS && !(tile->n & (tile->n - 1)) && !tile->resident;
  return shape && positions && (engine_uses_planes(engine) || tile->n >= 8) && tile->warps_m &&
         tile->warps_m <= GEMV_MOST_WARPS;
}

bool gemv_share_fits(const Gemv *s, const Tile *tile) {
  bool ahead = tile->stages && tile->stages <= GEMV_MOST_STAGES && tile->stages <= s->steps &&
               tile->stages * s->step_loads <= GEMV_MOST_FRAGMENTS;
  return ahead && s->units <= s->most_units && s->groups <= GEMV_MOST_GROUPS;
}
