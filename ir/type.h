/* Types of values: element, shape, quantization and memory layout.
 *
 * One rule covers every quantized element type:
 *
 *     value = scale * (q - zero_point)
 *
 * q is an unsigned or two's complement integer of 1 to 8 bits and zero_point a multiple of one half. Kernels and the
 * evaluator work on the exact integer *level* of a number:
 *
 *     level = mult * q - offset,   value = step * level
 *
 * with mult 1 and offset = zero_point where the zero point is whole, mult 2 and offset = 2 * zero_point where it is
 * not; step = scale / mult. Bipolar (-1, +1) is u1 with zero point 1/2 and scale 2: level = 2q - 1, step = 1.
 */
#ifndef IR_TYPE_H
#define IR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t ValueId;
#define NO_VALUE UINT32_MAX

enum { MAX_RANK = 4 };

typedef enum ElemKind {
  ELEM_NONE,
  ELEM_UINT,    /* u1 .. u8: q in 0 .. 2^bits - 1 */
  ELEM_INT,     /* i2 .. i8: q in -2^(bits-1) .. 2^(bits-1) - 1 */
  ELEM_TERNARY, /* q in -1, 0, 1; two bits */
  ELEM_I32,     /* accumulators and indices; value = scale * q, zero point 0 */
  ELEM_F32      /* IEEE binary32; scale and zero point unused */
} ElemKind;

/* Where the elements of a tensor lie in memory, in one of two orders.
 *
 * Pixel after pixel: the batch is outermost, then pixels in row-major order; what differs is the inside of a pixel.
 *
 * Pieces: planes outermost, then blocks of channels, then positions of 16 bytes each: 128 channels of a plane, or 16
 * channels of bytes. Pixel (image, row, column) is position image * image_pitch + row * row_pitch + column. Positions
 * that are no pixel hold zeros, so that a filter's tap is one offset for all pixels and finds the padding there; the
 * columns behind a row also serve as those before the next. Eight positions of a piece are a core matrix of wgmma.
 *
 * LAYOUT_NONE: not chosen; the evaluator and files for users always use dense row-major order
 * (one byte an element of up to 8 bits, four bytes otherwise), which is LAYOUT_BYTES / LAYOUT_WORDS with pitch = C.
 */
typedef enum LayoutKind {
  LAYOUT_NONE,
  LAYOUT_WORDS, /* four bytes an element (i32, f32); pitch = C */
  LAYOUT_BYTES, /* one byte an element, holding q; pitch channels a pixel, those past C are zero */
  LAYOUT_PLANES /* bit planes: [pixel][plane][pitch/32] words, or pieces; see Layout */
} LayoutKind;

/* LAYOUT_PLANES stores q as an unsigned number in offset binary (q + 2^(bits-1) for ELEM_INT and ELEM_TERNARY, q
 * otherwise), plane 0 the least significant. `pitch` channels (a multiple of `block`) are kept a plane and pixel; bits
 * of channels past C are zero. Inside each block of `block` = 8*J channels (J = 4, 8 or 16) the channels stand in the
 * order in which an mma accumulator fragment holds them, so that an epilogue packs without moving bits between lanes:
 * channel c of the block is bit
 *
 *     (c % 8 / 2) * 2J + (c / 8) * 2 + c % 2
 *
 * of the block; bit i of the block is bit i % 32 of word i / 32. Consumers' weights are packed in the same order. Bytes
 * in pieces stand in that order too, byte for bit, so that a lane's bytes are neighbours: J = 2, 4, 8 or 16, as large
 * as whole blocks make up the pitch.
 */
typedef struct Layout {
  LayoutKind kind;
  uint16_t block;     /* LAYOUT_PLANES: 32, 64 or 128, pieces 128; LAYOUT_BYTES: pieces 16 to 128, otherwise 0 */
  uint32_t pitch;     /* channels kept a pixel (and plane), >= C */
  uint32_t positions; /* pieces: of the largest batch; 0: pixel after pixel */
  uint32_t row_pitch, image_pitch; /* pieces: positions between rows and between images; otherwise 0 */
} Layout;

enum { PIECE_BYTES = 16 };

/* Bytes between neighbours. A pixel after pixel layout of bytes or words is one block. */
typedef struct Strides {
  uint64_t position, block, plane;
  uint32_t block_channels;
} Strides;

typedef struct Type {
  ElemKind kind;
  uint8_t bits;          /* 1..8; 32 for I32 and F32 */
  uint8_t rank;          /* dimensions, the batch not counted */
  bool batched;          /* has the symbolic batch dimension N in front (activations); constants do not */
  int32_t dim[MAX_RANK]; /* activations: [H, W, C] or [C]; weights: conv2d [O, KH, KW, I/groups], linear [O, K] */
  int16_t zero2;         /* twice the zero point; -512 .. 512, so that levels fit 16 bits */
  float scale;    /* per tensor; meaningful where scales == NO_VALUE. Positive, finite and normal, scale / 2 too */
  ValueId scales; /* per-channel scales: an f32 constant [C] (channel = last dim; first dim for weights), or NO_VALUE */
  Layout layout;
} Type;

/* level = mult * q - offset. */
typedef struct LevelMap {
  int32_t mult, offset;
} LevelMap;

/* Activations are seen by kernels as an image of pixels x channels: rank 1 [C] is 1 x 1 x C; rank 2 [W, C] is 1 x W x
 * C; rank 4 [D, H, W, C] is (D*H) x W x C. */
typedef struct Image {
  int32_t height, width, channels;
} Image;

Type type_make(ElemKind kind, int bits, bool batched, int rank, const int32_t *dim); /* scale 1, zero 0, no layout */
bool type_is_quantized(const Type *t);                                               /* UINT, INT or TERNARY */
bool type_is_integer(const Type *t);                                                 /* quantized or I32 */
int32_t type_q_min(const Type *t); /* least and greatest q of a quantized type */
int32_t type_q_max(const Type *t);
LevelMap type_level_map(const Type *t); /* I32: {1, 0} */
int32_t type_level_min(const Type *t);
int32_t type_level_max(const Type *t);
bool type_has_zero(const Type *t);        /* some q has value zero: whole zero point within q's range */
int64_t type_elements(const Type *t);     /* product of dims, the batch not counted */
size_t type_element_bytes(const Type *t); /* of a dense element: 1 or 4 */
size_t type_dense_bytes(const Type *t);   /* dense bytes of one image (or of a constant) */
Image type_image(const Type *t);
int32_t type_channels(const Type *t); /* last dimension */
bool type_same_shape(const Type *a, const Type *b);
bool type_same_quant(const Type *a, const Type *b); /* same element kind, bits, zero point and scale(s) */
bool type_equal(const Type *a, const Type *b);      /* everything, layout included */

/* Layout arithmetic. */
Layout layout_dense(const Type *t);               /* the users' order: BYTES or WORDS with pitch = C */
Layout layout_planes(const Type *t, int block);   /* pitch = C rounded up to the block */
Layout layout_bytes(const Type *t, int multiple); /* pitch = C rounded up */
/* Pieces of planes (b1) or bytes for a largest batch; pitches at least the image's width and pixels. */
Layout layout_pieces(const Type *t, LayoutKind kind, uint32_t row_pitch, uint32_t image_pitch, uint32_t batch);
uint16_t layout_byte_block(uint32_t pitch); /* of bytes in pieces, whose pitch is a multiple of 16 */
bool layout_orders_channels(Layout l);      /* layout_bit_of_channel, bits or bytes; otherwise channel after channel */
uint32_t layout_piece_channels(Layout l);   /* in the 16 bytes of a piece: 128 of a plane, 16 of bytes */
bool layout_equal(Layout a, Layout b);
bool layout_is_pieces(Layout l);
Strides layout_strides(const Type *t);          /* under t->layout, which is not LAYOUT_NONE */
uint64_t layout_image_positions(const Type *t); /* positions of one image: its pixels, or its image_pitch */
size_t layout_pixel_bytes(const Type *t);       /* bytes of one pixel under t->layout */
size_t layout_image_bytes(const Type *t);       /* bytes of one image under t->layout */
int layout_plane_count(const Type *t);          /* t->bits for PLANES, 1 otherwise */
/* Position of channel c inside a row of `pitch` bits of one plane (PLANES), or of bytes (pieces). */
uint32_t layout_bit_of_channel(Layout layout, uint32_t channel);
uint32_t layout_channel_of_bit(Layout layout, uint32_t bit); /* the inverse */
/* q as stored: offset binary for PLANES, the two's complement byte for BYTES. */
uint32_t layout_stored_q(const Type *t, int32_t q);

#endif
