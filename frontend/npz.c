/* Reads npz: a zip archive of npy arrays, stored or deflated; members of other kinds are passed over.
 *
 * Goes by the central directory at the archive's end. zip64's longer numbers are understood; encryption, archives in
 * several parts and other compressions are refused. Guarantees: every array lies inside the archive or was unpacked to
 * exactly its stated size, and its CRC is right.
 */
#include "param_file.h"
#include <string.h>
#include <zlib.h>

enum {
  END_BYTES = 22,
  END64_BYTES = 56,
  LOCATOR_BYTES = 20,
  CENTRAL_BYTES = 46,
  LOCAL_BYTES = 30,
  MOST_COMMENT = 65535,
  MOST_EXPANSION = 1100 /* deflate makes at most 1032 bytes of one */
};

typedef struct Archive {
  Context *context;
  ParamFile *file;
  const uint8_t *data;
  size_t size;
} Archive;

typedef struct Member {
  const char *name;
  uint32_t method, flags, crc;
  uint64_t packed, unpacked, local; /* sizes, and where its local header stands */
} Member;

static uint64_t number(const uint8_t *p, int bytes) {
  uint64_t n = 0;
  for (int i = 0; i < bytes; i++) n |= (uint64_t)p[i] << (8 * i);
  return n;
}

/* The end record, behind which stands only the archive's comment. NULL if there is none. */
static const uint8_t *find_end(const Archive *a) {
  for (size_t comment = 0; comment <= MOST_COMMENT && a->size >= END_BYTES + comment; comment++) {
    const uint8_t *p = a->data + a->size - END_BYTES - comment;
    if (number(p, 4) == 0x06054b50 && number(p + 20, 2) == comment) return p;
  }
  return NULL;
}

typedef struct Directory {
  uint64_t count, bytes, offset;
} Directory;

static bool read_end64(const Archive *a, const uint8_t *end, Directory *d) {
  size_t before = (size_t)(end - a->data);
  if (before < LOCATOR_BYTES || number(end - LOCATOR_BYTES, 4) != 0x07064b50)
    return param_file_damaged(a->context, a->file, "its zip64 directory is missing");
  uint64_t at = number(end - LOCATOR_BYTES + 8, 8);
  if (a->size < END64_BYTES || at > a->size - END64_BYTES || number(a->data + at, 4) != 0x06064b50)
    return param_file_damaged(a->context, a->file, "its zip64 directory is missing");
  *d = (Directory){number(a->data + at + 32, 8), number(a->data + at + 40, 8), number(a->data + at + 48, 8)};
  return true;
}

static bool read_end(const Archive *a, Directory *d) {
  const uint8_t *end = find_end(a);
  if (!end) return param_file_damaged(a->context, a->file, "it is no zip archive, or its end is cut off");
  *d = (Directory){number(end + 10, 2), number(end + 12, 4), number(end + 16, 4)};
  if (number(end + 4, 2) != number(end + 6, 2))
    return param_file_damaged(a->context, a->file, "it is one of several parts");
  bool long_numbers = d->count == 0xffff || d->bytes == 0xffffffff || d->offset == 0xffffffff;
  if (long_numbers && !read_end64(a, end, d)) return false;
  if (d->offset > a->size || d->bytes > a->size - d->offset)
    return param_file_damaged(a->context, a->file, "its directory lies outside the file");
  return true;
}

/* zip64's extra field replaces the numbers that are all ones, in this order. */
static bool read_extra(const uint8_t *extra, size_t size, Member *m) {
  uint64_t *const fields[] = {&m->unpacked, &m->packed, &m->local};
  while (size >= 4) {
    size_t bytes = (size_t)number(extra + 2, 2);
    if (bytes > size - 4) return false;
    const uint8_t *p = extra + 4, *end = p + bytes;
    for (int i = 0; number(extra, 2) == 1 && i < 3; i++) {
      if (*fields[i] != 0xffffffff) continue;
      if (end - p < 8) return false;
      *fields[i] = number(p, 8);
      p += 8;
    }
    extra += 4 + bytes;
    size -= 4 + bytes;
  }
  return true;
}

/* One row of the central directory; returns its bytes, 0 after reporting. */
static size_t read_central(const Archive *a, const uint8_t *p, size_t left, Member *m) {
  if (left < CENTRAL_BYTES || number(p, 4) != 0x02014b50)
    return param_file_damaged(a->context, a->file, "its directory is damaged"), 0;
  size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2), comment = (size_t)number(p + 32, 2);
  if (name + extra + comment > left - CENTRAL_BYTES)
    return param_file_damaged(a->context, a->file, "its directory is cut short"), 0;
  *m = (Member){.name = arena_strndup(a->context, (const char *)p + CENTRAL_BYTES, name),
                .flags = (uint32_t)number(p + 8, 2),
                .method = (uint32_t)number(p + 10, 2),
                .crc = (uint32_t)number(p + 16, 4),
                .packed = number(p + 20, 4),
                .unpacked = number(p + 24, 4),
                .local = number(p + 42, 4)};
  if (!read_extra(p + CENTRAL_BYTES + name, extra, m))
    return param_file_damaged(a->context, a->file, "member '%.200s' has a damaged extra field", m->name), 0;
  return CENTRAL_BYTES + name + extra + comment;
}

static const uint8_t *packed_bytes(const Archive *a, const Member *m) {
  const char *problem = NULL;
  if (a->size < LOCAL_BYTES || m->local > a->size - LOCAL_BYTES || number(a->data + m->local, 4) != 0x04034b50) {
    problem = "has no header in the file";
  } else {
    uint64_t start = m->local + LOCAL_BYTES + number(a->data + m->local + 26, 2) + number(a->data + m->local + 28, 2);
    if (start <= a->size && m->packed <= a->size - start) return a->data + start;
    problem = "reaches past the end of the file";
  }
  param_file_damaged(a->context, a->file, "member '%.200s' %s", m->name, problem);
  return NULL;
}

/* Raw deflate; the result must have exactly `unpacked` bytes. */
static bool inflate_all(const uint8_t *packed, uint64_t packed_size, uint8_t *out, uint64_t unpacked) {
  z_stream z = {0};
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
  int state = Z_OK;
  uint64_t in_left = packed_size, out_left = unpacked;
  z.next_in = (z_const Bytef *)(uintptr_t)packed;
  z.next_out = out;
  while (state == Z_OK) {
    uInt in = in_left > 1 << 30 ? 1 << 30 : (uInt)in_left, room = out_left > 1 << 30 ? 1 << 30 : (uInt)out_left;
    z.avail_in = in;
    z.avail_out = room;
    state = inflate(&z, Z_NO_FLUSH);
    in_left -= in - z.avail_in;
    out_left -= room - z.avail_out;
    if (z.avail_in == in && z.avail_out == room && state == Z_OK) break; /* no progress */
  }
  inflateEnd(&z);
  return state == Z_STREAM_END && !in_left && !out_left;
}

static const uint8_t *unpack(const Archive *a, const Member *m) {
  const uint8_t *packed = packed_bytes(a, m);
  if (!packed) return NULL;
  const char *problem = m->flags & 1                                 ? "is encrypted"
                        : m->method != 0 && m->method != 8           ? "is compressed by other means than deflate"
                        : m->method == 0 && m->packed != m->unpacked ? "has two different sizes"
                        : m->unpacked / MOST_EXPANSION > m->packed   ? "is too small for what it is said to hold"
                                                                     : NULL;
  const uint8_t *bytes = packed;
  if (!problem && m->method == 8) {
    uint8_t *out = arena_alloc(a->context, (size_t)m->unpacked + 1);
    if (!inflate_all(packed, m->packed, out, m->unpacked)) problem = "does not unpack";
    bytes = out;
  }
  if (!problem && crc32_z(0, bytes, (z_size_t)m->unpacked) != m->crc) problem = "has a wrong checksum";
  if (!problem) return bytes;
  param_file_damaged(a->context, a->file, "member '%.200s' %s", m->name, problem);
  return NULL;
}

static bool add_member(const Archive *a, Member *m) {
  size_t length = strlen(m->name);
  if (length < 4 || strcmp(m->name + length - 4, ".npy")) return true;
  const uint8_t *bytes = unpack(a, m);
  if (!bytes) return false;
  ParamTensor t = {.name = arena_strndup(a->context, m->name, length - 4)};
  const char *problem;
  if (!npy_read(a->context, bytes, (size_t)m->unpacked, &t, &problem))
    return param_file_damaged(a->context, a->file, "member '%.200s': %s", m->name, problem);
  return param_file_add(a->context, a->file, t);
}

bool npz_read(Context *c, ParamFile *f, const uint8_t *data, size_t size) {
  Archive a = {c, f, data, size};
  Directory d = {0};
  if (!read_end(&a, &d)) return false;
  const uint8_t *p = data + d.offset;
  size_t left = (size_t)d.bytes;
  uint64_t packed = 0; /* of all members: past the archive's size they overlap, and could unpack to anything */
  for (uint64_t i = 0; i < d.count; i++) {
    Member m;
    size_t bytes = read_central(&a, p, left, &m);
    if (!bytes) return false;
    if (__builtin_add_overflow(packed, m.packed, &packed) || packed > size)
      return param_file_damaged(c, f, "its members overlap");
    if (!add_member(&a, &m)) return false;
    p += bytes;
    left -= bytes;
  }
  return true;
}
