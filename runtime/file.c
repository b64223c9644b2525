/* From the bytes of a .cubin or .ptx file to checked tables: finds the payload (behind the ELF image by the trailer, in
 * PTX as comment lines of base64), then checks magic, version, sizes, checksums and sections, in this order, so that
 * the first thing wrong is the one reported. */
#define _GNU_SOURCE /* memmem */
#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "compiled networks are little-endian and are read in place"
#endif

#define DAMAGED ": the file is truncated or was altered"

static uint64_t fnv(uint64_t hash, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * APNN_FNV_PRIME;
  return hash;
}

static uint64_t align_up(uint64_t value) {
  return (value + APNN_FILE_ALIGN - 1) / APNN_FILE_ALIGN * APNN_FILE_ALIGN;
}

/* --- .cubin: ELF image, padding, payload, trailer --- */

/* The parts of a 64-bit ELF header that say how far the file reaches. */
typedef struct ElfExtent {
  uint64_t table_offset;
  uint16_t entry_bytes, entries;
} ElfExtent;

static bool extent_fits(ElfExtent e, uint64_t bytes) {
  return e.table_offset <= bytes && (uint64_t)e.entry_bytes * e.entries <= bytes - e.table_offset;
}

static bool elf_fits(const uint8_t *image, uint64_t bytes) {
  enum { ELF_HEADER_BYTES = 64 };
  if (bytes < ELF_HEADER_BYTES || image[4] != 2 || image[5] != 1) /* 64 bits, little-endian */
    return false;
  ElfExtent program, section;
  memcpy(&program.table_offset, image + 32, 8);
  memcpy(&section.table_offset, image + 40, 8);
  memcpy(&program.entry_bytes, image + 54, 2);
  memcpy(&program.entries, image + 56, 2);
  memcpy(&section.entry_bytes, image + 58, 2);
  memcpy(&section.entries, image + 60, 2);
  return extent_fits(program, bytes) && extent_fits(section, bytes);
}

static ApnnStatus copy_payload(ApnnFile *file, const uint8_t *payload, size_t bytes, ErrorText *error) {
  file->payload = malloc(bytes);
  if (!file->payload) return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for %zu bytes of the file", bytes);
  memcpy(file->payload, payload, bytes);
  return APNN_OK;
}

static ApnnStatus find_in_cubin(ApnnFile *file, const uint8_t *bytes, size_t size, size_t *payload_bytes,
                                ErrorText *error) {
  ApnnFileTrailer trailer;
  if (size < sizeof trailer + sizeof(ApnnFileHeader))
    return apnn_fail(error, APNN_ERROR_FORMAT, "%zu bytes are too few for a compiled network" DAMAGED, size);
  size_t end = size - sizeof trailer;
  memcpy(&trailer, bytes + end, sizeof trailer);
  if (memcmp(trailer.magic, APNN_TRAILER_MAGIC, sizeof trailer.magic) != 0)
    return apnn_fail(error, APNN_ERROR_FORMAT,
                     "the cubin does not end in %s: it was not written by apnnc, or is truncated", APNN_TRAILER_MAGIC);
  if (trailer.reserved != 0 || trailer.payload_offset > end || trailer.payload_offset % APNN_FILE_ALIGN ||
      trailer.payload_bytes != end - trailer.payload_offset || trailer.payload_bytes < sizeof(ApnnFileHeader))
    return apnn_fail(error, APNN_ERROR_FORMAT, "the trailer does not describe a file of %zu bytes" DAMAGED, size);
  *payload_bytes = trailer.payload_bytes;
  return copy_payload(file, bytes + trailer.payload_offset, trailer.payload_bytes, error);
}

static ApnnStatus check_cubin_image(const ApnnFile *file, size_t size, size_t payload_bytes, ErrorText *error) {
  uint64_t payload_offset = size - sizeof(ApnnFileTrailer) - payload_bytes, image_bytes = file->header.image_bytes;
  if (image_bytes > payload_offset || align_up(image_bytes) != payload_offset || !elf_fits(file->image, image_bytes))
    return apnn_fail(error, APNN_ERROR_FORMAT, "the cubin image does not fill its place before the payload" DAMAGED);
  for (uint64_t i = image_bytes; i < payload_offset; i++)
    if (file->image[i]) return apnn_fail(error, APNN_ERROR_FORMAT, "the padding behind the cubin is not zero" DAMAGED);
  return APNN_OK;
}

/* --- .ptx: text, then "//!apnn " lines --- */

static int base64_value(uint8_t c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One line of base64 groups: bytes written to `out`, or -1. Padding may end the line (only the last one has it). */
static int decode_line(const uint8_t *text, size_t length, uint8_t *out) {
  int written = 0;
  for (size_t i = 0; i + 4 <= length; i += 4) {
    int pad = text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
    uint32_t group = 0;
    if (pad && i + 4 != length) return -1;
    for (int k = 0; k < 4; k++) {
      int value = k >= 4 - pad ? 0 : base64_value(text[i + k]);
      if (value < 0) return -1;
      group = group << 6 | (uint32_t)value;
    }
    if (group & ((1u << (8 * pad)) - 1)) return -1; /* bits that the padding leaves over are zero */
    for (int k = 0; k < 3 - pad; k++) out[written++] = (uint8_t)(group >> (16 - 8 * k));
  }
  return length % 4 || !length ? -1 : written;
}

static const uint8_t *find_comment(const uint8_t *bytes, size_t size) {
  static const char mark[] = "\n" APNN_PTX_COMMENT;
  return memmem(bytes, size, mark, sizeof mark - 1);
}

/* All of bytes[0..size) must be comment lines; their decoded bytes to `out`, the count to `total`. */
static bool decode_comments(const uint8_t *bytes, size_t size, uint8_t *out, size_t *total) {
  enum { MARK = sizeof APNN_PTX_COMMENT - 1, LINE = 96 };
  size_t used = 0;
  bool last = false;
  for (size_t at = 0; at < size;) {
    const uint8_t *line = bytes + at, *end = memchr(line, '\n', size - at);
    size_t length = end ? (size_t)(end - line) : 0;
    if (last || length <= MARK || length > MARK + LINE || memcmp(line, APNN_PTX_COMMENT, MARK) != 0) return false;
    int count = decode_line(line + MARK, length - MARK, out + used);
    if (count < 0) return false;
    used += (size_t)count;
    last = count != LINE / 4 * 3;
    at += length + 1;
  }
  *total = used;
  return true;
}

static ApnnStatus find_in_ptx(ApnnFile *file, const uint8_t *bytes, size_t size, size_t *payload_bytes,
                              ErrorText *error) {
  const uint8_t *newline = find_comment(bytes, size);
  if (!newline)
    return apnn_fail(error, APNN_ERROR_FORMAT,
                     "neither a cubin nor PTX with \"" APNN_PTX_COMMENT "\" lines: not written by apnnc, or truncated");
  file->is_ptx = true;
  size_t image_bytes = (size_t)(newline - bytes) + 1;
  file->payload = malloc((size - image_bytes) / 4 * 3 + 3);
  if (!file->payload) return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for %zu bytes of the file", size);
  if (memchr(bytes, 0, image_bytes) ||
      !decode_comments(bytes + image_bytes, size - image_bytes, file->payload, payload_bytes))
    return apnn_fail(error, APNN_ERROR_FORMAT, "the \"" APNN_PTX_COMMENT "\" lines are not whole base64" DAMAGED);
  if (*payload_bytes < sizeof(ApnnFileHeader))
    return apnn_fail(error, APNN_ERROR_FORMAT, "%zu bytes are too few for a payload" DAMAGED, *payload_bytes);
  return APNN_OK;
}

static ApnnStatus check_ptx_image(const ApnnFile *file, const uint8_t *newline, ErrorText *error) {
  uint64_t image_bytes = (uint64_t)(newline - file->image) + 1;
  if (file->header.image_bytes != image_bytes)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the PTX text has %llu bytes, the payload says %llu" DAMAGED,
                     (unsigned long long)image_bytes, (unsigned long long)file->header.image_bytes);
  return APNN_OK;
}

/* --- the payload's header and sections --- */

static ApnnStatus check_header(const ApnnFile *file, size_t payload_bytes, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  if (memcmp(h->magic, APNN_FILE_MAGIC, sizeof h->magic) != 0)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the payload does not begin with %s" DAMAGED, APNN_FILE_MAGIC);
  if (h->version != APNN_FILE_VERSION)
    return apnn_fail(error, APNN_ERROR_VERSION, "the file has format version %u, this libapnn reads version %d: %s",
                     h->version, APNN_FILE_VERSION,
                     h->version > APNN_FILE_VERSION ? "use a newer libapnn" : "compile the network again");
  if (h->header_bytes != sizeof *h || h->payload_bytes != payload_bytes)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the payload has %zu bytes, its header says %llu" DAMAGED, payload_bytes,
                     (unsigned long long)h->payload_bytes);
  return APNN_OK;
}

static ApnnStatus check_sums(const ApnnFile *file, ErrorText *error) {
  ApnnFileHeader zeroed = file->header;
  zeroed.payload_checksum = 0;
  uint64_t sum = fnv(APNN_FNV_BASIS, (const uint8_t *)&zeroed, sizeof zeroed);
  sum = fnv(sum, (const uint8_t *)file->payload + sizeof zeroed, file->header.payload_bytes - sizeof zeroed);
  if (sum != file->header.payload_checksum)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the payload's checksum is %016llx, its header says %016llx" DAMAGED,
                     (unsigned long long)sum, (unsigned long long)file->header.payload_checksum);
  sum = fnv(APNN_FNV_BASIS, file->image, file->header.image_bytes);
  if (sum != file->header.image_checksum)
    return apnn_fail(error, APNN_ERROR_FORMAT, "the image's checksum is %016llx, the payload says %016llx" DAMAGED,
                     (unsigned long long)sum, (unsigned long long)file->header.image_checksum);
  return APNN_OK;
}

typedef struct Section {
  const char *name;
  uint64_t offset, count, item_bytes;
} Section;

static ApnnStatus check_sections(const ApnnFile *file, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  const Section sections[] = {
      {"constants", h->constants_offset, h->constants_bytes, 1},
      {"PTX", h->ptx_offset, h->ptx_bytes, 1},
      {"strings", h->strings_offset, h->strings_bytes, 1},
      {"tensors", h->tensors_offset, h->tensor_count, sizeof(ApnnFileTensor)},
      {"kernels", h->kernels_offset, h->kernel_count, sizeof(ApnnFileKernel)},
      {"launches", h->launches_offset, h->launch_count, sizeof(ApnnFileLaunch)},
      {"parameters", h->params_offset, h->param_count, sizeof(ApnnFileParam)},
  };
  for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
    const Section *s = &sections[i];
    bool fits = s->offset <= h->payload_bytes && s->count <= (h->payload_bytes - s->offset) / s->item_bytes;
    if (!fits || (s->count && (s->offset < sizeof *h || s->offset % APNN_FILE_ALIGN)))
      return apnn_fail(error, APNN_ERROR_FORMAT, "the table of %s (offset %llu, %llu items) does not fit the payload",
                       s->name, (unsigned long long)s->offset, (unsigned long long)s->count);
  }
  return APNN_OK;
}

static void set_tables(ApnnFile *file) {
  const ApnnFileHeader *h = &file->header;
  const uint8_t *payload = file->payload;
  file->constants = payload + h->constants_offset;
  file->ptx = h->ptx_bytes ? (const char *)payload + h->ptx_offset : NULL;
  file->strings = (const char *)payload + h->strings_offset;
  file->tensors = (const void *)(payload + h->tensors_offset);
  file->kernels = (const void *)(payload + h->kernels_offset);
  file->launches = (const void *)(payload + h->launches_offset);
  file->params = (const void *)(payload + h->params_offset);
}

static ApnnStatus parse(ApnnFile *file, const uint8_t *bytes, size_t size, ErrorText *error) {
  size_t payload_bytes = 0;
  bool is_elf = size >= 4 && memcmp(bytes, "\177ELF", 4) == 0;
  ApnnStatus status = is_elf ? find_in_cubin(file, bytes, size, &payload_bytes, error)
                             : find_in_ptx(file, bytes, size, &payload_bytes, error);
  if (status != APNN_OK) return status;
  file->image = bytes;
  memcpy(&file->header, file->payload, sizeof file->header);
  status = check_header(file, payload_bytes, error);
  if (status == APNN_OK)
    status = is_elf ? check_cubin_image(file, size, payload_bytes, error)
                    : check_ptx_image(file, find_comment(bytes, size), error);
  if (status == APNN_OK) status = check_sums(file, error);
  if (status == APNN_OK) status = check_sections(file, error);
  if (status != APNN_OK) return status;
  set_tables(file);
  return apnn_file_check_tables(file, error);
}

ApnnStatus apnn_file_parse(const void *bytes, size_t size, ApnnFile *file, ErrorText *error) {
  memset(file, 0, sizeof *file);
  ApnnStatus status = parse(file, bytes, size, error);
  if (status != APNN_OK) apnn_file_free(file);
  return status;
}

/* Append a table to `block` and give its place there. */
static const void *move_table(uint8_t *block, size_t *used, const void *table, size_t bytes) {
  uint8_t *place = block + *used;
  memcpy(place, table, bytes);
  *used += align_up(bytes);
  return place;
}

ApnnStatus apnn_file_compact(ApnnFile *file, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  size_t tensors = h->tensor_count * sizeof *file->tensors, kernels = h->kernel_count * sizeof *file->kernels;
  size_t launches = h->launch_count * sizeof *file->launches, params = h->param_count * sizeof *file->params;
  size_t used = 0;
  size_t total =
      align_up(tensors) + align_up(kernels) + align_up(launches) + align_up(params) + align_up(h->strings_bytes);
  uint8_t *block = malloc(total);
  if (!block) return apnn_fail(error, APNN_ERROR_MEMORY, "out of memory for %zu bytes of tables", total);
  file->tensors = move_table(block, &used, file->tensors, tensors);
  file->kernels = move_table(block, &used, file->kernels, kernels);
  file->launches = move_table(block, &used, file->launches, launches);
  file->params = move_table(block, &used, file->params, params);
  file->strings = move_table(block, &used, file->strings, h->strings_bytes);
  free(file->payload);
  file->payload = block;
  file->image = file->constants = NULL;
  file->ptx = NULL;
  return APNN_OK;
}

void apnn_file_free(ApnnFile *file) {
  free(file->payload);
  memset(file, 0, sizeof *file);
}
