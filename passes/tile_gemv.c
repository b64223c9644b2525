/* Tiles of gemv layers (../ir/gemv.h): how many positions a block takes, and how many warps share a reduction.
 *
 * The estimate is that of a multiprocessor. On planes it takes the longest of its weights on their way, of what passes
 * through its L1 (weights, and the input once a weight plane where registers do not hold it), and of its products. Then
 * come the ends of tiles, which overlap where several blocks share it. On bytes products and ends of its one block
 * follow each other, beside the weights.
 */
#include "../ir/gemv.h"
#include "tile.h"

static const uint8_t positions[] = {1, 2, 4, 8, 16};

enum { MOST_COLUMN_TILES = 8 }; /* with more of them other engines reuse weights better */

/* In cycles of an SM of an H200. */
static const double cycles_a_second = 1.755e9;
static const double start_seconds = 0.5e-6; /* until weights are asked for, where a launch waits for the one before */
static const double l2_bytes = 30e6, l2_gb_per_s = 5000; /* weights that stay in L2 come at this rate */
static const double sm_bytes_a_cycle = 48, l1_bytes_a_cycle = 64;
static const double l1_bytes = 1e5, input_bytes_a_cycle = 24; /* of an input that L1 does not hold, or not yet */
static const double load_cycles = 900;                        /* from a load to its bytes */
static const double first_cycles = 400;    /* until the input comes; weights are on their way before */
static const double step_cycles = 24;      /* of a step in a warp, besides its products */
static const double fragment_cycles = 500; /* from loads of the input to their bytes */
static const double tile_cycles = 300;     /* of a tile's ends: parts sent, added up, stored */
static const double spill_factor = 1.1;
static const double widen_cycles = 8;                                     /* of a unit's weights, on bytes */
static const double first_bytes_a_cycle = 190, ahead_bytes_a_cycle = 100; /* on bytes: of what comes first */
static const double memory_load_cycles = 1900;                   /* load_cycles where weights are not in L2, on bytes */
static const double byte_l2_gb_per_s = 7400, byte_overlap = 0.9; /* of what is shorter */
static const double part_cycles = 4, result_cycles = 60, epilogue_step_cycles = 40; /* of a position in a warp */

uint32_t gemv_blocks_at_once(const Gemv *s, const Tile *tile, const Target *target) {
  uint32_t blocks = gemv_blocks_of_sm(s, tile),
           shared = target->sm_shared_bytes / (s->shared_bytes + BLOCK_SHARED_BYTES);
  return blocks < shared ? blocks : shared;
}

static double greatest(double a, double b, double c) {
  return greater(a, greater(b, c));
}

static double product_cycles(const Target *target, Engine engine) {
  double rate = engine_tera_ops(target, engine) * 1e12 / target->sm_count / cycles_a_second;
  return 2.0 * 16 * 8 * 2 * PIECE_BYTES * (engine_uses_planes(engine) ? 8 : 1) / rate;
}

/* Of a tile: positions of the largest batch, 32 channels a warp. */
static double end_cycles(const Graph *g, const Node *node, const Tile *tile) {
  double taken = lesser(tile->n, graph_type(g, node->inputs[0])->layout.positions);
  double of_position = part_cycles * tile->warps_m + result_cycles + epilogue_step_cycles * node->step_count;
  return tile_cycles + divide_up(taken, tile->warps_m) * of_position;
}

/* Bytes of weights that come in a cycle to one of the SMs at work. */
static double stream_rate(const Gemv *s, const Tile *tile, const Target *target, double blocks_of_sm) {
  double bytes = (double)s->row_tiles * tile->warps_m * s->warp_bytes;
  double from_l2 = s->planes ? l2_gb_per_s : byte_l2_gb_per_s;
  double all = (bytes < l2_bytes ? from_l2 : target->copy_gb_per_s * 0.93) * 1e9 / cycles_a_second;
  double wait = s->planes || bytes < l2_bytes ? load_cycles : memory_load_cycles;
  double in_flight = blocks_of_sm * tile->warps_m * tile->stages * s->step_loads * GEMV_FRAGMENT_BYTES / wait;
  double sms = lesser((double)s->row_tiles * s->column_tiles, target->sm_count);
  return lesser(lesser(all / sms, sm_bytes_a_cycle), in_flight);
}

/* What a kernel of either kind does, of a multiprocessor. */
typedef struct Work {
  double tiles, blocks;            /* in all, and that work side by side */
  double weights, input, products; /* bytes of a tile, bytes of a block's input, cycles of a tile */
  double ahead;                    /* bytes of weights that are loaded before the input comes */
  double stream_rate;              /* bytes of weights in a cycle */
} Work;

static Work work_of(const Node *node, const Tile *tile, const Gemv *s, const Target *target) {
  Work w = {.tiles = divide_up((double)s->row_tiles * s->column_tiles, target->sm_count)};
  double units = (double)tile->warps_m * s->weight_planes * s->units;
  w.blocks = lesser(gemv_blocks_at_once(s, tile, target), w.tiles);
  w.weights = (double)tile->warps_m * s->warp_bytes;
  w.input = (double)tile->warps_m * s->units * s->groups * GEMV_FRAGMENT_BYTES;
  w.products = units * s->groups * 4 * product_cycles(target, node->engine);
  if (s->byte_bits < 8) w.products += units * widen_cycles;
  w.ahead = w.blocks * tile->warps_m * tile->stages * s->step_loads * GEMV_FRAGMENT_BYTES;
  w.stream_rate = stream_rate(s, tile, target, w.blocks);
  return w;
}

static double plane_cycles(const Graph *g, const Node *node, const Tile *tile, const Gemv *s, const Work *w) {
  double rounds = divide_up(w->tiles, w->blocks), loads = s->keeps_input ? w->blocks / w->tiles : s->weight_planes;
  double again = greater(w->tiles * loads - w->blocks, 0) * w->input; /* bytes of the input that come more than once */
  double l1 = w->tiles * w->weights / l1_bytes_a_cycle + w->blocks * w->input / input_bytes_a_cycle;
  l1 += again / (w->blocks * w->input < l1_bytes ? l1_bytes_a_cycle : input_bytes_a_cycle);
  double stream = (w->tiles * w->weights - w->ahead) / w->stream_rate;
  double busy = greatest(stream, l1, w->tiles * w->products), ends = rounds * end_cycles(g, node, tile);
  double fragments = (double)s->units * s->groups / GEMV_INPUT_AHEAD; /* of a warp, that come together */
  double latency = rounds * (s->weight_planes * s->units * step_cycles + fragments * fragment_cycles);
  return first_cycles + busy + ends + latency;
}

/* One block, whose tiles' ends no other hides; most of that and of the weights' way overlap. What is loaded ahead of
 * the input is in its way. */
static double byte_cycles(const Graph *g, const Node *node, const Tile *tile, const Gemv *s, const Work *w) {
  double of_tile = w->products + s->units * step_cycles + end_cycles(g, node, tile);
  if (!s->keeps_input) of_tile += w->input / input_bytes_a_cycle;
  double stream = w->tiles * w->weights / w->stream_rate, work = w->tiles * of_tile;
  double busy = greater(stream, work) + (1 - byte_overlap) * lesser(stream, work);
  return first_cycles + w->input / first_bytes_a_cycle + w->ahead / ahead_bytes_a_cycle + busy;
}

/* In a long run of steps of planes, or where stages have other steps from tile to tile, ptxas begins so many loads
 * early that it spills. */
static bool may_spill(const Gemv *s, const Tile *tile) {
  enum { MOST_STEPS = 8 };
  return s->planes && s->passes == 1 && (s->steps > MOST_STEPS || s->steps % tile->stages);
}

double gemv_microseconds(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options) {
  Gemv s = gemv_of(g, node, tile);
  Work w = work_of(node, tile, &s, options->target);
  double cycles = (s.planes ? plane_cycles : byte_cycles)(g, node, tile, &s, &w);
  if (may_spill(&s, tile)) cycles *= spill_factor;
  double start = options->target->overlaps_launches ? 0 : start_seconds;
  return (start + cycles / cycles_a_second) * 1e6;
}

bool gemv_tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  if (!gemv_shape_fits(node->engine, tile) || node->op != OP_LINEAR) return false;
  Gemv s = gemv_of(g, node, tile);
  if (!gemv_share_fits(&s, tile) || !gemv_blocks_at_once(&s, tile, target)) return false;
  return s.shared_bytes <= target->shared_bytes && s.column_tiles <= MOST_COLUMN_TILES;
}

/* A warp more is of no use where the units of each stay as many. */
static bool warps_pay(const Graph *g, const Node *node, Tile tile) {
  uint32_t units = gemv_of(g, node, &tile).units;
  if (tile.warps_m == 1) return true;
  tile.warps_m--;
  return gemv_of(g, node, &tile).units > units;
}

/* Whether a tile of half as many positions takes all of them. */
static bool fewer_serve(Engine engine, Tile tile, uint32_t most) {
  tile.n /= 2;
  return tile.n >= most && gemv_shape_fits(engine, &tile);
}

void gemv_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  uint32_t most = graph_type(g, node->inputs[0])->layout.positions;
  for (size_t i = 0; i < sizeof positions; i++)
    for (uint8_t warps = 1; warps <= GEMV_MOST_WARPS; warps++)
      for (uint8_t stages = GEMV_MOST_STAGES; stages; stages--) {
        Tile tile = {GEMV_ROWS, positions[i], GEMV_UNIT_WORDS, warps, 1, stages, 1, 0};
        if (fewer_serve(node->engine, tile, most) || !gemv_tile_fits(g, node, &tile, options->target)) continue;
        if (warps_pay(g, node, tile)) tile_list_add(out, tile, gemv_microseconds(g, node, &tile, options));
      }
}
