/* What a layer on wgmma keeps in shared memory, derived from its types and its tile. The tile pass counts with it, the
 * kernel is written after it.
 *
 * The input lies in pieces (type.h). Of a plane and a block of channels a tile of m positions sees one window: its own
 * positions and a halo, so that every tap of the filter is the same rows further on. A stage of the pipeline holds the
 * windows of chunk_blocks blocks, and of the weights the rows that go with them:
 *
 *     streaming   one input plane; weights of one weight plane, copied with it
 *     resident    all input planes; the weights of all planes lie beside the stages and are copied once
 *
 * The reduction of a chunk runs over pieces of 16 bytes, block after block and in each tap after tap, taps in the order
 * of their inputs in the window: wgmma takes two pieces at a time and reads the second at a distance from the first
 * that cannot be negative. Their number is even and the last may be zeros. Weights lie in groups of eight rows, in
 * each piece after piece.
 *
 * Few channels leave most of a piece empty: of 64, the upper half of each word. With resident weights, planes and a
 * filter of several columns, neighbouring taps of a row then share a piece. Once a window has come, its warps join into
 * each position's empty parts what stands in the positions under the next taps (../backend/wgmma_join.c), and the
 * reduction has only as many pieces as there are groups of taps.
 *
 * Gathered rows, with resident weights too, are the pixels of the result alone: a tile's window reaches from its first
 * pixel's position to its last one's, and lanes load the rows of a product from where they are, as the first operand of
 * wgmma in registers. Two pieces are then permuted: of their words 0 to 3 and 4 to 7 the even ones, then the odd ones.
 *
 * Resident weights lie in parts of the reduction, as many pieces each, and so do the windows that come first: products
 * of the first part need not wait for the others.
 *
 * Where the sum of the input is needed (level maps with an offset), there are two ways. Behind the groups of the tile's
 * n rows, of each part, stand SUM_ROWS more: one of ones, the others zero, as instructions have multiples of 16
 * columns; these are written once and not copied. Or each group of four warps adds up every position that its rows
 * read, while the tensor cores multiply: where that takes long enough.
 */
#ifndef IR_STAGING_H
#define IR_STAGING_H

#include "graph.h"

enum { SUM_ROWS = 16, MOST_PARTS = 4, MOST_GATHERED_PRODUCTS = 160, GROUP_THREADS = 128 /* of four warps */ };

typedef struct Staging {
  uint32_t taps, blocks;                /* of the filter; of the input's channels */
  uint32_t joined, join_shift;          /* taps that share a piece, 1: none; positions from one to the next */
  uint32_t row_pieces, filter_pieces;   /* of a block: of a row of the filter, of all of it */
  uint32_t weight_planes, input_planes; /* 1 each for bytes */
  uint32_t chunk_blocks, chunks;
  uint32_t pieces;         /* of a chunk, even */
  uint32_t real_pieces;    /* without a last one of zeros */
  uint32_t parts;          /* of a chunk: 1 where weights are streamed */
  uint32_t part_pieces;    /* of a part, even */
  uint32_t shift, halo;    /* positions from the window's first to the tile's first; window minus tile */
  uint32_t input_rows;     /* of a window: positions of a tile, and halo */
  uint32_t weight_rows;    /* n, and SUM_ROWS where these sum the input */
  uint32_t chunk_bytes;    /* of the weights of one plane, in shared memory; a part of it as many as any other */
  uint32_t packed_bytes;   /* the same as it is copied: without SUM_ROWS */
  uint32_t window_bytes;   /* of a chunk of one plane of the input */
  uint32_t stage_bytes;    /* input windows, then streamed weights */
  uint32_t resident_bytes; /* of weights beside the stages, behind them; 0 where they are streamed */
  uint32_t table_bytes;    /* of the epilogue's constants for the tile's channels; 0: none are kept */
  uint32_t tables;         /* that lie behind the weights: one with resident weights, else two, filled in turn */
  uint32_t fulls;          /* barriers of a stage's copies: with resident weights one a plane and part of the input */
  uint32_t lines_bytes;    /* of all warps' rows of results (lines.h), behind the tables */
  uint32_t walks;          /* over tiles, each with stages and barriers of its own */
  uint32_t barrier_bytes;  /* behind the lines: of stages, streamed tables, and planes and parts of resident weights */
  uint32_t summed;         /* positions that a group of warps sums up; 0 where none does */
  uint32_t sums_bytes;     /* 32 bits for each of them and group, behind all; so many for each stage where weights are
                              resident */
  uint64_t shared_bytes;   /* all of it */
} Staging;

/* node: conv2d or linear of stride 1 whose first operand lies in pieces. */
Staging staging_of(const Graph *g, const Node *node, const Tile *tile);
/* With resident weights a thread that multiplies starts the few copies of a tile too. Streamed ones come by a warp of
 * their own; where accumulators need more registers than an even share, by a group of four, which gives its registers
 * up. */
static inline bool staging_moves_registers(const Tile *tile) {
  return !tile->resident && tile->m / tile->warps_m * tile->n / 32 > 64;
}
static inline uint32_t staging_threads(const Tile *tile) {
  if (tile->resident) return 32u * tile->warps_m;
  return 32u * (tile->warps_m + (staging_moves_registers(tile) ? 4u : 1u));
}
/* Rows of tiles that are gone through column by column before the next: what the blocks at work read together, rows of
 * the input and columns of streamed weights, then fits the L2 cache many times. */
static inline int staging_band_rows(const Tile *tile) {
  enum { BAND_POSITIONS = 4096 };
  return BAND_POSITIONS / tile->m;
}
static inline bool staging_gathers(const Tile *tile) {
  return tile->resident == GATHERED;
}
/* Walks over tiles in a block. With gathered rows, or with resident weights and a tile of less than 16 rows a warp,
 * each group of four warps goes through tiles of its own, with stages of its own: all read the weights of the block.
 * Otherwise warps share tiles. */
static inline uint32_t staging_walks(const Tile *tile) {
  bool by_themselves = staging_gathers(tile) || (tile->resident && tile->m < 16u * tile->warps_m);
  return by_themselves && tile->warps_m >= 4 ? tile->warps_m / 4u : 1;
}
/* Rows of a tile that a group of four warps multiplies. */
static inline uint32_t staging_group_rows(const Tile *tile) {
  return tile->warps_m < 4 ? 0 : tile->m / (tile->warps_m / 4u / staging_walks(tile));
}
/* Rows of tiles that an image has: its pixels in the result, or all positions. */
uint64_t staging_image_rows(const Graph *g, const Node *node, const Tile *tile);
/* Products of a group of warps and a tile, two pieces each. */
static inline uint64_t staging_products(const Staging *s, const Tile *tile) {
  return (uint64_t)s->weight_planes * s->input_planes * s->chunks * (s->pieces / 2) * staging_group_rows(tile) / 64;
}
/* Blocks of the input that products of the parts before this one read. */
uint32_t staging_blocks_before(const Staging *s, uint32_t part);
/* Positions from tap 0's input to that of a tap. */
uint32_t staging_tap_shift(const Graph *g, const Node *node, uint32_t tap);
/* A tap's piece of a block, 0 to filter_pieces - 1: by its shift, as wide dilations let rows of the filter overlap; and
 * which of those that share the piece it is. */
uint32_t staging_tap_piece(const Graph *g, const Node *node, const Staging *s, uint32_t tap);
uint32_t staging_tap_slot(const Node *node, const Staging *s, uint32_t tap);
/* Numbers of a type as weights of a tensor-core layer are stored: level = mult * stored - offset. Planes hold offset
 * binary; bytes hold the level itself where that fits a signed byte. */
LevelMap weight_storage(const Type *t, bool planes, bool *as_level);

#endif
