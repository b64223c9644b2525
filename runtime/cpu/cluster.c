/* A cluster: its blocks in turn, round after round. Guarantees: blocks that all wait end with a fault that says who is
 * missing where. A kernel without clusters runs in clusters of one block. */
#include "machine.h"

#include <string.h>

static const uint64_t WARP_QUANTUM = 1 << 20;

/* Rounds in which every warp only waited, until it counts as a deadlock. */
static const uint32_t IDLE_ROUNDS = 1000;

void cluster_prepare(Cluster *cluster) {
  for (uint32_t rank = 0; rank < cluster->size; rank++) {
    Block *block = cluster->blocks[rank];
    block->cluster = cluster;
    block->rank = rank;
    cluster->windows[rank] = block->shared;
    cluster->windows[rank].start |= (uint64_t)(rank + 1) << CLUSTER_SHIFT;
    block_tag_shared(block, cluster->size > 1 ? (uint64_t)(rank + 1) << CLUSTER_SHIFT : 0);
  }
}

static uint64_t progress_of(const Cluster *cluster) {
  uint64_t progress = 0;
  for (uint32_t i = 0; i < cluster->size; i++) progress += cluster->blocks[i]->progress;
  return progress;
}

static bool run_round(Cluster *cluster, uint64_t quantum, Round *round) {
  *round = (Round){0};
  for (uint32_t i = 0; i < cluster->size; i++) {
    Block *block = cluster->blocks[i];
    if (!block_run_round(block, quantum, round) || block_over_limit(block)) return false;
  }
  return true;
}

/* The first block in which a warp is left. */
static Block *unfinished(const Cluster *cluster) {
  for (uint32_t i = 0; i < cluster->size; i++)
    for (uint32_t w = 0; w < cluster->blocks[i]->warp_count; w++)
      if (cluster->blocks[i]->warps[w].live) return cluster->blocks[i];
  return cluster->blocks[0];
}

static void report_spinning(const Cluster *cluster) {
  for (uint32_t i = 0; i < cluster->size; i++) block_report_spinning(cluster->blocks[i]);
}

void cluster_run(Cluster *cluster, uint64_t number) {
  uint64_t limit = cluster->blocks[0]->launch->limit, quantum = limit && limit < WARP_QUANTUM ? limit : WARP_QUANTUM;
  uint32_t idle = 0, warps = cluster->size * cluster->blocks[0]->warp_count;
  Round round;
  for (uint32_t i = 0; i < cluster->size; i++) block_start(cluster->blocks[i], number * cluster->size + i);
  for (uint64_t progress = progress_of(cluster);; progress = progress_of(cluster)) {
    if (!run_round(cluster, quantum, &round) || round.done == warps) return;
    if (!round.ran) {
      block_report_stuck(unfinished(cluster));
      return;
    }
    idle = round.yielded == round.ran && progress == progress_of(cluster) ? idle + 1 : 0;
    if (idle > IDLE_ROUNDS) {
      report_spinning(cluster);
      return;
    }
  }
}
