/* tile: block and warp shape of every tensor-core layer.
 *
 * Guarantees: a tile that the kernel of the layer's engine computes: the one that the tuning file names where it fits
 * (tuning.c), else the one with the least estimated time at the largest batch (tile_sync.c, tile_patch.c,
 * tile_strip.c, tile_wgmma.c, tile_skinny.c, tile_gemv.c). A layer for which no tile over pieces fits goes to MMA_B1 or
 * MMA_S8, which reads the same layouts.
 */
#include "tile.h"
#include "tuning.h"

/* What the file of each kind of kernel knows. */
typedef struct Kind {
  void (*list)(const Graph *g, const Node *node, const PassOptions *options, TileList *out);
  bool (*fits)(const Graph *g, const Node *node, const Tile *tile, const Target *target);
  double (*microseconds)(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
} Kind;

static const Kind sync_kind = {sync_tiles, sync_tile_fits, sync_microseconds};
static const Kind wgmma_kind = {wgmma_tiles, wgmma_tile_fits, wgmma_microseconds};
static const Kind patch_kind = {patch_tiles, patch_tile_fits, patch_microseconds};
static const Kind strip_kind = {strip_tiles, strip_tile_fits, strip_microseconds};
static const Kind skinny_kind = {skinny_tiles, skinny_tile_fits, skinny_microseconds};
static const Kind gemv_kind = {gemv_tiles, gemv_tile_fits, gemv_microseconds};

static const Kind *const kind_of[ENGINE_COUNT] = {
    [ENGINE_MMA_B1] = &sync_kind,      [ENGINE_MMA_S8] = &sync_kind,    [ENGINE_PATCH_S8] = &patch_kind,
    [ENGINE_STRIP_S8] = &strip_kind,   [ENGINE_WGMMA_B1] = &wgmma_kind, [ENGINE_WGMMA_S8] = &wgmma_kind,
    [ENGINE_SKINNY_B1] = &skinny_kind, [ENGINE_GEMV_B1] = &gemv_kind,   [ENGINE_GEMV_S8] = &gemv_kind,
};

void tile_list_add(TileList *list, Tile tile, double microseconds) {
  if (list->count == list->most && microseconds >= list->microseconds[list->count - 1]) return;
  if (list->count < list->most) list->count++;
  uint32_t at = list->count - 1;
  for (; at && microseconds < list->microseconds[at - 1]; at--) {
    list->tiles[at] = list->tiles[at - 1];
    list->microseconds[at] = list->microseconds[at - 1];
  }
  list->tiles[at] = tile;
  list->microseconds[at] = microseconds;
}

bool tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target) {
  const Kind *kind = kind_of[node->engine];
  if (!kind || (kind == &sync_kind && !sync_tile_is_listed(tile))) return false;
  return kind->fits(g, node, tile, target);
}

void list_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  if (kind_of[node->engine]) kind_of[node->engine]->list(g, node, options, out);
}

Tile best_tile(const Graph *g, const Node *node, const PassOptions *options) {
  TileList list = {.most = 1};
  list_tiles(g, node, options, &list);
  return list.tiles[0];
}

static Engine on_mma_sync(Engine engine) {
  return engine_uses_planes(engine) ? ENGINE_MMA_B1 : ENGINE_MMA_S8;
}

double tile_microseconds(const Graph *g, const Node *node, const PassOptions *options) {
  return kind_of[node->engine]->microseconds(g, node, &node->tile, options);
}

/* The tile that the options or the tuning file ask for, where the layer can have it. */
static Tile wanted_tile(const Graph *g, const Node *node, const PassOptions *options) {
  const Tile *forced = options->force_tile;
  if (forced && kind_of[node->engine]->fits(g, node, forced, options->target)) return *forced;
  const TuningEntry *entry = tuning_of_node(g, node, options);
  if (!entry || entry->engine != node->engine || !entry->tile.m) return (Tile){0};
  if (tile_fits(g, node, &entry->tile, options->target)) return entry->tile;
  tuning_warn(g, node, entry, "its tile does not fit the layer");
  return (Tile){0};
}

bool pass_tile(Graph *g, const PassOptions *options) {
  for (NodeId n = 0; n < g->node_count; n++) {
    Node *node = &g->nodes[n];
    node->tile = (Tile){0};
    if (!engine_uses_tensor_cores(node->engine)) continue;
    node->tile = wanted_tile(g, node, options);
    if (!node->tile.m) node->tile = best_tile(g, node, options);
    if (node->tile.m || !engine_reads_pieces(node->engine)) continue;
    node->engine = on_mma_sync(node->engine);
    node->tile = best_tile(g, node, options);
  }
  return true;
}
