/* Layouts: bytes they take and where each bit lies (type.h). */
#include "type.h"

static uint32_t round_up(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

Layout layout_dense(const Type *t) {
  LayoutKind kind = type_element_bytes(t) == 4 ? LAYOUT_WORDS : LAYOUT_BYTES;
  return (Layout){.kind = kind, .pitch = (uint32_t)type_channels(t)};
}

Layout layout_planes(const Type *t, int block) {
  uint32_t pitch = round_up((uint32_t)type_channels(t), (uint32_t)block);
  return (Layout){.kind = LAYOUT_PLANES, .block = (uint16_t)block, .pitch = pitch};
}

Layout layout_bytes(const Type *t, int multiple) {
  return (Layout){.kind = LAYOUT_BYTES, .pitch = round_up((uint32_t)type_channels(t), (uint32_t)multiple)};
}

uint16_t layout_byte_block(uint32_t pitch) {
  uint32_t block = pitch & (0 - pitch);
  return (uint16_t)(block > 128 ? 128 : block);
}

bool layout_orders_channels(Layout l) {
  return l.kind == LAYOUT_PLANES || layout_is_pieces(l);
}

uint32_t layout_piece_channels(Layout l) {
  return l.kind == LAYOUT_PLANES ? 8 * PIECE_BYTES : PIECE_BYTES;
}

/* Bytes of many channels are padded to blocks that give a lane 8 of them or more. */
Layout layout_pieces(const Type *t, LayoutKind kind, uint32_t row_pitch, uint32_t image_pitch, uint32_t batch) {
  uint32_t channels = (uint32_t)type_channels(t);
  uint32_t multiple = kind == LAYOUT_PLANES ? 128 : channels <= 16 ? 16 : 32, pitch = round_up(channels, multiple);
  return (Layout){.kind = kind,
                  .block = kind == LAYOUT_PLANES ? 128 : layout_byte_block(pitch),
                  .pitch = pitch,
                  .positions = image_pitch * batch,
                  .row_pitch = row_pitch,
                  .image_pitch = image_pitch};
}

bool layout_equal(Layout a, Layout b) {
  return a.kind == b.kind && a.block == b.block && a.pitch == b.pitch && a.positions == b.positions &&
         a.row_pitch == b.row_pitch && a.image_pitch == b.image_pitch;
}

bool layout_is_pieces(Layout l) {
  return l.positions > 0;
}

Strides layout_strides(const Type *t) {
  Layout l = t->layout;
  if (layout_is_pieces(l)) {
    uint64_t block = (uint64_t)l.positions * PIECE_BYTES;
    uint32_t channels = layout_piece_channels(l);
    return (Strides){PIECE_BYTES, block, block * (l.pitch / channels), channels};
  }
  size_t pixel = layout_pixel_bytes(t);
  if (l.kind == LAYOUT_PLANES) return (Strides){pixel, l.block / 8u, l.pitch / 8, l.block};
  return (Strides){pixel, pixel, 0, l.pitch};
}

uint64_t layout_image_positions(const Type *t) {
  Image image = type_image(t);
  return layout_is_pieces(t->layout) ? t->layout.image_pitch : (uint64_t)image.height * (uint64_t)image.width;
}

int layout_plane_count(const Type *t) {
  return t->layout.kind == LAYOUT_PLANES ? t->bits : 1;
}

size_t layout_pixel_bytes(const Type *t) {
  size_t pitch = t->layout.pitch;
  switch (t->layout.kind) {
  case LAYOUT_WORDS:
    return pitch * 4;
  case LAYOUT_BYTES:
    return pitch;
  case LAYOUT_PLANES:
    return pitch / 8 * (size_t)t->bits;
  default:
    return (size_t)type_channels(t) * type_element_bytes(t);
  }
}

size_t layout_image_bytes(const Type *t) {
  int32_t channels = type_channels(t);
  if (layout_is_pieces(t->layout)) return t->layout.image_pitch * layout_pixel_bytes(t);
  return (size_t)(type_elements(t) / (channels ? channels : 1)) * layout_pixel_bytes(t);
}

/* Bit (c % 8 / 2) * 2J + (c / 8) * 2 + c % 2 of a block of 8J channels. */
uint32_t layout_bit_of_channel(Layout layout, uint32_t channel) {
  uint32_t block = layout.block, j2 = block / 4, c = channel % block;
  return channel - c + c % 8 / 2 * j2 + c / 8 * 2 + c % 2;
}

uint32_t layout_channel_of_bit(Layout layout, uint32_t bit) {
  uint32_t block = layout.block, j2 = block / 4, b = bit % block;
  return bit - b + b % j2 / 2 * 8 + b / j2 * 2 + b % 2;
}

uint32_t layout_stored_q(const Type *t, int32_t q) {
  if (t->layout.kind != LAYOUT_PLANES) return (uint32_t)q & 0xff;
  return t->kind == ELEM_UINT ? (uint32_t)q : (uint32_t)(q + (1 << (t->bits - 1)));
}
