/* A grid over the pool: every worker takes the next cluster until none is left. Blocks keep their storage from launch
 * to launch. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

/* Blocks that no launch uses at the moment. */
typedef struct SpareBlocks {
  pthread_mutex_t lock;
  Block *blocks[64];
  uint32_t count;
} SpareBlocks;

static SpareBlocks spare = {.lock = PTHREAD_MUTEX_INITIALIZER};

static Block *take_block(void) {
  pthread_mutex_lock(&spare.lock);
  Block *block = spare.count ? spare.blocks[--spare.count] : NULL;
  pthread_mutex_unlock(&spare.lock);
  return block ? block : calloc(1, sizeof *block);
}

static void return_block(Block *block) {
  pthread_mutex_lock(&spare.lock);
  bool kept = spare.count < sizeof spare.blocks / sizeof *spare.blocks;
  if (kept) spare.blocks[spare.count++] = block;
  pthread_mutex_unlock(&spare.lock);
  if (!kept) block_release(block);
}

__attribute__((destructor(200))) static void release_spare(void) {
  while (spare.count) block_release(spare.blocks[--spare.count]);
}

static void fail_without_memory(Launch *launch) {
  pthread_mutex_lock(&launch->lock);
  launch->stop = true;
  if (launch->fault == FAULT_NONE) {
    launch->fault = FAULT_MEMORY;
    strcpy(launch->text, "no memory for the registers of a block");
  }
  pthread_mutex_unlock(&launch->lock);
}

static bool prepare(Cluster *cluster, Launch *launch) {
  for (uint32_t i = 0; i < cluster->size; i++)
    if (!cluster->blocks[i] || !block_prepare(cluster->blocks[i], launch)) return false;
  cluster_prepare(cluster);
  return true;
}

static void work(void *data) {
  Launch *launch = data;
  Cluster cluster = {.size = launch->cluster_size};
  for (uint32_t i = 0; i < cluster.size; i++) cluster.blocks[i] = take_block();
  if (!prepare(&cluster, launch)) {
    fail_without_memory(launch);
  } else {
    while (!__atomic_load_n(&launch->stop, __ATOMIC_RELAXED)) {
      uint64_t number = __atomic_fetch_add(&launch->next_cluster, 1, __ATOMIC_RELAXED);
      if (number >= launch->cluster_count) break;
      cluster_run(&cluster, number);
    }
  }
  for (uint32_t i = 0; i < cluster.size; i++)
    if (cluster.blocks[i]) return_block(cluster.blocks[i]);
}

void launch_run(Launch *launch) {
  Options options = options_now();
  uint32_t stated = launch->kernel->function->cluster;
  launch->cluster_size = stated ? stated : 1;
  launch->cluster_count = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2] / launch->cluster_size;
  launch->overlaps = launch->overlaps && options.check;
  launch->check = options.check;
  launch->check_race = options.check_race;
  launch->limit = options.limit;
  uint64_t helpers = options.threads - 1;
  if (helpers > launch->cluster_count - 1) helpers = launch->cluster_count - 1;
  pool_run(work, launch, (uint32_t)helpers);
}
