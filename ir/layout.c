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
  return (Layout){LAYOUT_PLANES, (uint16_t)block, round_up((uint32_t)type_channels(t), (uint32_t)block)};
}

Layout layout_bytes(const Type *t, int multiple) {
  return (Layout){.kind = LAYOUT_BYTES, .pitch = round_up((uint32_t)type_channels(t), (uint32_t)multiple)};
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
