/* tile: block and warp shape of every tensor-core layer.
 *
 * Guarantees: a tile that the kernel of the layer's engine computes: the one that the tuning file names where it fits
 * (tuning.c), else that with the least estimated time at the largest batch (tile_sync.c, tile_wgmma.c). A layer for which no tile of wgmma fits shared memory goes to mma.sync,
 * which reads the same layouts.
 */
#include "tile.h"
#include "tuning.h"

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
  if (!engine_uses_tensor_cores(node->engine)) return false;
  return (engine_uses_wgmma(node->engine) ? wgmma_tile_fits : sync_tile_fits)(g, node, tile, target);
}

void list_tiles(const Graph *g, const Node *node, const PassOptions *options, TileList *out) {
  if (!engine_uses_tensor_cores(node->engine)) return;
  (engine_uses_wgmma(node->engine) ? wgmma_tiles : sync_tiles)(g, node, options, out);
}

static Engine without_wgmma(Engine engine) {
  return engine == ENGINE_WGMMA_B1 ? ENGINE_MMA_B1 : ENGINE_MMA_S8;
}

double tile_microseconds(const Graph *g, const Node *node, const PassOptions *options) {
  return (engine_uses_wgmma(node->engine) ? wgmma_microseconds : sync_microseconds)(g, node, &node->tile, options);
}

/* The tile that the options or the tuning file ask for, where the layer can have it. */
static Tile wanted_tile(const Graph *g, const Node *node, const PassOptions *options) {
  if (options->force_tile && tile_fits(g, node, options->force_tile, options->target)) return *options->force_tile;
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
    if (engine_uses_tensor_cores(node->engine)) node->tile = wanted_tile(g, node, options);
    if (engine_uses_wgmma(node->engine) && !node->tile.m) {
      node->tile = wgmma_tile(g, node, options);
      if (!node->tile.m) node->engine = without_wgmma(node->engine);
    }
    if (engine_uses_tensor_cores(node->engine) && !node->tile.m) node->tile = sync_tile(g, node, options);
  }
  return true;
}
