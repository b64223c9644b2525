#include "mutate.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EDITS = 6, LARGEST_PIECE = 40 };

Bytes bytes_copy(const void *data, size_t size) {
  Bytes b = {malloc(size + 1), size};
  if (!b.data) abort();
  if (size > 0) memcpy(b.data, data, size);
  return b;
}

static size_t random_place(RandomSource *r, size_t size) {
  return size == 0 ? 0 : random_bits(r) % size;
}

/* Replaces `removed` bytes at `at`. */
static void splice(Bytes *b, size_t at, size_t removed, const void *piece, size_t length) {
  if (removed > b->size - at) removed = b->size - at;
  uint8_t *data = malloc(b->size - removed + length + 1);
  if (!data) abort();
  memcpy(data, b->data, at);
  if (length > 0) memcpy(data + at, piece, length);
  memcpy(data + at + length, b->data + at + removed, b->size - at - removed);
  free(b->data);
  b->data = data;
  b->size = b->size - removed + length;
}

static void flip_bit(Bytes *b, const Bytes *other, RandomSource *r) {
  (void)other;
  if (b->size > 0) b->data[random_place(r, b->size)] ^= (uint8_t)(1u << random_in(r, 0, 7));
}

static void set_byte(Bytes *b, const Bytes *other, RandomSource *r) {
  static const uint8_t telling[] = {0,   1,   0x7f, 0x80, 0xff, ' ', '\n', '"', '(',
                                    ')', '[', ']',  '{',  '}',  ',', '=',  '-', '0'};
  (void)other;
  if (b->size > 0) b->data[random_place(r, b->size)] = RANDOM_OF(r, telling);
}

static void cut(Bytes *b, const Bytes *other, RandomSource *r) {
  (void)other;
  splice(b, random_place(r, b->size), (size_t)random_in(r, 1, LARGEST_PIECE), NULL, 0);
}

static void truncate_tail(Bytes *b, const Bytes *other, RandomSource *r) {
  (void)other;
  b->size = random_place(r, b->size + 1);
}

static void repeat(Bytes *b, const Bytes *other, RandomSource *r) {
  (void)other;
  size_t at = random_place(r, b->size), length = (size_t)random_in(r, 1, LARGEST_PIECE);
  if (length > b->size - at) length = b->size - at;
  Bytes piece = bytes_copy(b->data + at, length);
  for (int times = random_chance(r, 5) ? 1000 : 1; times > 0; times--) splice(b, at, 0, piece.data, piece.size);
  free(piece.data);
}

static void borrow(Bytes *b, const Bytes *other, RandomSource *r) {
  size_t from = random_place(r, other->size), length = (size_t)random_in(r, 1, LARGEST_PIECE);
  if (length > other->size - from) length = other->size - from;
  splice(b, random_place(r, b->size + 1), (size_t)random_in(r, 0, LARGEST_PIECE), other->data + from, length);
}

/* Four bytes become a number that readers of binary files tend to trust. */
static void set_number(Bytes *b, const Bytes *other, RandomSource *r) {
  static const uint32_t telling[] = {0, 1, 2, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
  (void)other;
  uint32_t n = RANDOM_OF(r, telling);
  if (b->size >= 4) memcpy(b->data + random_place(r, b->size - 3), &n, sizeof n);
}

/* A number written in digits becomes another. */
static void set_digits(Bytes *b, const Bytes *other, RandomSource *r) {
  static const char *const telling[] = {"0",
                                        "1",
                                        "-1",
                                        "2",
                                        "7",
                                        "8",
                                        "9",
                                        "33",
                                        "255",
                                        "256",
                                        "65536",
                                        "2147483647",
                                        "2147483648",
                                        "4294967296",
                                        "9223372036854775807",
                                        "99999999999999999999",
                                        "1e38",
                                        "1e-45",
                                        "0.5",
                                        "1e999",
                                        "0x"};
  (void)other;
  size_t at = random_place(r, b->size), length = 0;
  while (at < b->size && !isdigit(b->data[at])) at++;
  while (at + length < b->size && isdigit(b->data[at + length])) length++;
  const char *digits = RANDOM_OF(r, telling);
  if (length > 0) splice(b, at, length, digits, strlen(digits));
}

/* Two words of a text change places, or one becomes the other. */
static void swap_words(Bytes *b, const Bytes *other, RandomSource *r) {
  size_t place[2], length[2] = {0, 0};
  (void)other;
  for (int i = 0; i < 2; i++) {
    place[i] = random_place(r, b->size);
    while (place[i] < b->size && !isalnum(b->data[place[i]])) place[i]++;
    while (place[i] > 0 && isalnum(b->data[place[i] - 1])) place[i]--;
    while (place[i] + length[i] < b->size && isalnum(b->data[place[i] + length[i]])) length[i]++;
  }
  if (length[0] == 0 || length[1] == 0) return;
  Bytes word = bytes_copy(b->data + place[1], length[1]);
  splice(b, place[0], length[0], word.data, word.size);
  free(word.data);
}

static void (*const edits[])(Bytes *b, const Bytes *other, RandomSource *r) = {
    flip_bit, set_byte, cut, truncate_tail, repeat, borrow, set_number, set_digits, set_digits, swap_words, swap_words,
};

Bytes mutate(const Bytes *corpus, uint32_t count, RandomSource *random) {
  const Bytes *base = &corpus[random_place(random, count)];
  Bytes b = bytes_copy(base->data, base->size);
  for (int i = random_in(random, 1, MOST_EDITS); i > 0; i--)
    RANDOM_OF(random, edits)(&b, &corpus[random_place(random, count)], random);
  b.data[b.size] = 0;
  return b;
}
