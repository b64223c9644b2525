/* Weights and tables of a tensor-core layer, packed for kernel_mma.c, kernel_patch.c or kernel_wgmma.c. */
#ifndef BACKEND_WEIGHTS_H
#define BACKEND_WEIGHTS_H

#include "emit.h"

/* The arithmetic of one layer. With S1 = sum of stored_w * stored_x and S2 = sum of stored_x over the taps inside the
 * image (padding is stored as zeros):
 *
 *     accumulator = product_scale * S1 - sum_scale * S2 + border[class][o]
 *
 * which is sum of level_w * level_x, the levels being mult * stored - offset on either side:
 * product_scale = mult_w * mult_x, sum_scale = offset_w * mult_x, and border[class][o] = - offset_x * (sum of level_w
 * over inside taps) + pad_level * (sum of level_w over outside taps). A class is a set of taps that lie inside.
 */
typedef struct PackedWeights {
  int planes;          /* of the weights: bits, or 1 for bytes */
  bool is_signed;      /* bytes: s8 rather than u8 */
  int32_t taps, words; /* taps of the filter; 32-bit words a tap, plane and pixel of the input */
  int32_t row_words;   /* weights_pack: words a filter row, a multiple of the tile's k; the rest is zero */
  int32_t rows;        /* output channels, padded to CHANNEL_PADDING with zeros */
  int32_t product_scale, sum_scale;
  uint32_t *data; /* weights_pack: [plane][row][row_words]; weights_pack_pieces: see ../ir/staging.h;
                     weights_pack_stream: [tile of channels][block of the cluster][plane, the most significant
                     first][chunk][block of channels][row] of 16 bytes (../ir/skinny.h);
                     weights_pack_steps: see ../ir/gemv.h;
                     weights_pack_strips: [tile of channels][group of 8 rows][unit][row] of 16 bytes;
                     weights_pack_fragments: [tile of channels][step][pair of 8 columns][lane][columns][unit] */
  size_t bytes;
  int32_t *border; /* [class][row], NULL if all zero */
  int32_t class_count, column_classes;
  uint32_t *row_class, *column_class; /* [OH], [OW]: class = row_class * column_classes + column_class */
} PackedWeights;

PackedWeights weights_pack(const Graph *g, const Node *node);           /* rows, for mma.sync */
PackedWeights weights_pack_fragments(const Graph *g, const Node *node); /* for patches (../ir/patch.h) */
PackedWeights weights_pack_strips(const Graph *g, const Node *node);    /* for strips (../ir/strip.h) */
PackedWeights weights_pack_stream(const Graph *g, const Node *node);    /* in the order of skinny stages */
PackedWeights weights_pack_steps(const Graph *g, const Node *node);     /* in the order of gemv steps */
PackedWeights weights_pack_pieces(const Graph *g, const Node *node);    /* pieces, for wgmma */

#endif
