/* Planning: the work of a layer, which engines can do it and what each would cost. Shared by the passes from engine on.
 */
#ifndef PASSES_PLAN_H
#define PASSES_PLAN_H

#include "rewrite.h"

/* cost.c */
int64_t multiply_adds(const Graph *g, const Node *node); /* of one image; one a result element for data movement */
/* The layout in which an engine reads its first operand (tensor cores) or would have a tensor lie (CUDA cores: the one
 * with the fewest bytes). */
Layout preferred_layout(const Type *t, Engine engine);
/* 32-bit words of the reduction of a conv2d or linear node on a tensor-core engine: taps times the words that one pixel
 * of the first operand keeps (a plane, for MMA_B1). `x` is the operand's type with its layout. */
uint32_t reduction_words(const Graph *g, const Node *node, const Type *x);
/* One-bit products for each product of numbers: planes of weights times planes of activations. 1 on bytes. */
int plane_pairs(const Graph *g, const Node *node, Engine engine);
double engine_tera_ops(const Target *target, Engine engine); /* of the best native instruction; 0 if there is none */

/* engine.c */
bool engine_can_compute(const Graph *g, const Node *node, Engine engine, const Target *target, const char **why);
/* The engines of a layer that are worth measuring, in the order of the enum: those whose estimate is at most three
 * times the best one's. */
typedef struct EngineList {
  Engine engines[ENGINE_COUNT];
  double microseconds[ENGINE_COUNT];
  uint32_t count;
} EngineList;
void list_engines(const Graph *g, const Node *node, const Target *target, uint32_t batch, EngineList *out);

/* layout.c: bytes of one image that a node reads from memory besides constants, and writes, as the layouts stand. */
uint64_t bytes_read(const Graph *g, const Node *node);
uint64_t bytes_written(const Graph *g, const Node *node);

/* pieces.c: by value, the positions of a row and the rows of an image under a layout of pieces (type.h). */
typedef struct Pitches {
  uint32_t row, rows;
} Pitches;
Pitches *pitches_of_pieces(const Graph *g);
Pitches pitches_of_operand(const Node *node, const Type *operand); /* what a layer on wgmma needs by itself */

/* trial.c: estimate for a product on an engine of tensor cores, in the layouts that suit it and with its best tile;
 * negative where no tile fits. */
double trial_microseconds(const Graph *g, const Node *node, Engine engine, const PassOptions *options);

/* tile_sync.c: blocks of a layer on mma.sync that an SM has room for: at most so many, 0 as many as there are.
 * all_start: on every SM half of them are of one launch, also blocks without a tile. */
typedef struct SyncBlocks {
  uint32_t of_sm;
  bool all_start;
} SyncBlocks;
SyncBlocks sync_blocks(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);

/* tile_patch.c */
bool patch_fits(const Graph *g, const Node *node, const Target *target); /* a tile of patches in shared memory */
int patch_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target);

/* tile_strip.c */
bool strip_fits(const Graph *g, const Node *node, const Target *target); /* a tile of strips in shared memory */
int strip_blocks_at_once(const Graph *g, const Node *node, const Tile *tile, const Target *target);

/* tile.c */
/* Whether the tile is one that the passes choose for layers of the node's engine, and fits it as the layouts stand. */
bool tile_fits(const Graph *g, const Node *node, const Tile *tile, const Target *target);
/* Blocks of a layer on wgmma that an SM runs side by side: at most so many of a launch, and so many in all, where the
 * next launch begins early. all_start: as many as there may be, also blocks without a tile. */
typedef struct WgmmaBlocks {
  uint32_t of_launch, of_sm;
  bool all_start;
} WgmmaBlocks;
WgmmaBlocks wgmma_blocks(const Graph *g, const Node *node, const Tile *tile, const PassOptions *options);
struct Skinny;
uint32_t skinny_clusters(const struct Skinny *s, const Tile *tile, const Target *target); /* that work side by side */
struct Gemv;
uint32_t gemv_blocks_at_once(const struct Gemv *s, const Tile *tile, const Target *target); /* of an SM */
double tile_microseconds(const Graph *g, const Node *node, const PassOptions *options);     /* with its tile */

#endif
