/* tile: block and warp shape of every tensor-core layer.
 *
 * Guarantees: a tile that the kernel of the layer's engine computes, the one with the least estimated time at the
 * largest batch (tile_sync.c, tile_patch.c, tile_wgmma.c). A layer for which no tile of wgmma fits shared memory goes to mma.sync,
 * which reads the same layouts.
 */
#include "tile.h"

static Engine without_wgmma(Engine engine) {
  return engine == ENGINE_WGMMA_B1 ? ENGINE_MMA_B1 : ENGINE_MMA_S8;
}

double tile_microseconds(const Graph *g, const Node *node, const PassOptions *options) {
  if (node->engine == ENGINE_PATCH_S8) return patch_microseconds(g, node, &node->tile, options);
  return (engine_uses_wgmma(node->engine) ? wgmma_microseconds : sync_microseconds)(g, node, &node->tile, options);
}

/* The tile that the options ask for, where the layer can have it. */
static Tile forced_tile(const Graph *g, const Node *node, const PassOptions *options) {
  const Tile *tile = options->force_tile;
  bool fits = tile && (engine_uses_wgmma(node->engine) ? wgmma_tile_fits : sync_tile_fits)(g, node, tile, options->target);
  return fits ? *tile : (Tile){0};
}

bool pass_tile(Graph *g, const PassOptions *options) {
  for (NodeId n = 0; n < g->node_count; n++) {
    Node *node = &g->nodes[n];
    node->tile = (Tile){0};
    if (node->engine == ENGINE_PATCH_S8) {
      node->tile = patch_tile(g, node, options);
      continue;
    }
    if (engine_uses_tensor_cores(node->engine)) node->tile = forced_tile(g, node, options);
    if (engine_uses_wgmma(node->engine) && !node->tile.m) {
      node->tile = wgmma_tile(g, node, options);
      if (!node->tile.m) node->engine = without_wgmma(node->engine);
    }
    if (engine_uses_tensor_cores(node->engine) && !node->tile.m) node->tile = sync_tile(g, node, options);
  }
  return true;
}
