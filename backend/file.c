/* Module -> bytes, as runtime/apnn_file.h describes them: net.cubin (image, payload, trailer) and net.ptx (PTX text and
 * the payload as comment lines). The same module gives the same bytes: every byte between tables is zero and nothing
 * depends on time, place or addresses. */
#include "backend.h"
#include "file_write.h"
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tables are written as the host holds them");

enum { BASE64_LINE = 96 };

static uint64_t align_up(uint64_t n) {
  return (n + APNN_FILE_ALIGN - 1) / APNN_FILE_ALIGN * APNN_FILE_ALIGN;
}

static uint64_t fnv1a(const uint8_t *data, uint64_t size) {
  uint64_t hash = APNN_FNV_BASIS;
  for (uint64_t i = 0; i < size; i++) hash = (hash ^ data[i]) * APNN_FNV_PRIME;
  return hash;
}

/* One table of the payload: where its offset stands in the header, and its bytes. */
typedef struct Section {
  uint64_t *offset;
  const void *data;
  uint64_t bytes;
} Section;

enum { SECTION_COUNT = 7 };

/* Architectures named with a suffix (sm_90a) run on that one alone. */
static bool is_exact(const Target *target) {
  return strchr("0123456789", target->name[strlen(target->name) - 1]) == NULL;
}

static ApnnFileHeader header_of(const Module *m, uint64_t image_bytes, uint64_t image_checksum, bool with_ptx) {
  return (ApnnFileHeader){.magic = APNN_FILE_MAGIC,
                          .version = APNN_FILE_VERSION,
                          .header_bytes = sizeof(ApnnFileHeader),
                          .image_bytes = image_bytes,
                          .image_checksum = image_checksum,
                          .arch = (uint32_t)m->target->arch,
                          .arch_exact = is_exact(m->target),
                          .max_batch = m->max_batch,
                          .arena_bytes = m->arena_bytes,
                          .constants_bytes = m->constants.length,
                          .ptx_bytes = with_ptx ? m->ptx.length + 1 : 0,
                          .strings_bytes = m->strings.length,
                          .tensor_count = m->tensor_count,
                          .kernel_count = m->kernel_count,
                          .launch_count = m->launch_count,
                          .param_count = m->param_count,
                          .network_name = m->network_name};
}

static void list_sections(const Module *m, ApnnFileHeader *h, Section out[SECTION_COUNT]) {
  const Section sections[SECTION_COUNT] = {
      {&h->strings_offset, m->strings.data, h->strings_bytes},
      {&h->tensors_offset, m->tensors, m->tensor_count * sizeof *m->tensors},
      {&h->kernels_offset, m->kernels, m->kernel_count * sizeof *m->kernels},
      {&h->launches_offset, m->launches, m->launch_count * sizeof *m->launches},
      {&h->params_offset, m->params, m->param_count * sizeof *m->params},
      {&h->constants_offset, m->constants.data, h->constants_bytes},
      {&h->ptx_offset, m->ptx.data, h->ptx_bytes}, /* the terminating zero of a Text included */
  };
  memcpy(out, sections, sizeof sections);
  uint64_t at = align_up(sizeof *h);
  for (int i = 0; i < SECTION_COUNT; i++) {
    *out[i].offset = out[i].bytes > 0 ? at : 0;
    at = align_up(at + out[i].bytes);
  }
  h->payload_bytes = at;
}

/* Writes the payload to `out`, zeroed memory of h->payload_bytes. */
static void write_payload(ApnnFileHeader *h, const Section sections[SECTION_COUNT], uint8_t *out) {
  for (int i = 0; i < SECTION_COUNT; i++)
    if (sections[i].bytes > 0) memcpy(out + *sections[i].offset, sections[i].data, sections[i].bytes);
  h->payload_checksum = 0;
  memcpy(out, h, sizeof *h);
  h->payload_checksum = fnv1a(out, h->payload_bytes);
  memcpy(out, h, sizeof *h);
}

bool backend_cubin_bytes(Context *c, const Module *m, Text *out) {
  Text image = {.context = c};
  if (!backend_assemble(c, m, &image)) return false;
  ApnnFileHeader header = header_of(m, image.length, fnv1a((uint8_t *)image.data, image.length), true);
  Section sections[SECTION_COUNT];
  list_sections(m, &header, sections);
  uint64_t payload_at = align_up(image.length);
  ApnnFileTrailer trailer = {
      .magic = APNN_TRAILER_MAGIC, .payload_offset = payload_at, .payload_bytes = header.payload_bytes};
  uint64_t total = payload_at + header.payload_bytes + sizeof trailer;
  uint8_t *bytes = arena_alloc(c, total);
  memcpy(bytes, image.data, image.length);
  write_payload(&header, sections, bytes + payload_at);
  memcpy(bytes + total - sizeof trailer, &trailer, sizeof trailer);
  *out = (Text){.context = c, .data = (char *)bytes, .length = total, .capacity = total};
  return true;
}

static void encode_three(const uint8_t *in, uint64_t count, char out[4]) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t word = (uint32_t)in[0] << 16 | (count > 1 ? (uint32_t)in[1] << 8 : 0) | (count > 2 ? in[2] : 0);
  out[0] = digits[word >> 18];
  out[1] = digits[word >> 12 & 63];
  out[2] = count > 1 ? digits[word >> 6 & 63] : '=';
  out[3] = count > 2 ? digits[word & 63] : '=';
}

static void add_comment_lines(Text *text, const uint8_t *data, uint64_t size) {
  for (uint64_t line = 0; line < size; line += BASE64_LINE / 4 * 3) {
    char digits[BASE64_LINE];
    size_t length = 0;
    for (uint64_t i = line; i < size && length < BASE64_LINE; i += 3, length += 4)
      encode_three(data + i, size - i, digits + length);
    text_add_bytes(text, APNN_PTX_COMMENT, strlen(APNN_PTX_COMMENT));
    text_add_bytes(text, digits, length);
    text_add_bytes(text, "\n", 1);
  }
}

void backend_ptx_bytes(Context *c, const Module *m, Text *out) {
  *out = (Text){.context = c};
  text_add_bytes(out, m->ptx.data, m->ptx.length);
  if (out->length == 0 || out->data[out->length - 1] != '\n') text_add_bytes(out, "\n", 1);
  ApnnFileHeader header = header_of(m, out->length, fnv1a((uint8_t *)out->data, out->length), false);
  Section sections[SECTION_COUNT];
  list_sections(m, &header, sections);
  uint8_t *payload = arena_alloc(c, header.payload_bytes);
  write_payload(&header, sections, payload);
  add_comment_lines(out, payload, header.payload_bytes);
}

bool backend_write_cubin(Context *c, const Module *m, const char *path) {
  Text bytes;
  return backend_cubin_bytes(c, m, &bytes) && write_file_atomically(c, path, bytes.data, bytes.length);
}

bool backend_write_ptx(Context *c, const Module *m, const char *path) {
  Text bytes;
  backend_ptx_bytes(c, m, &bytes);
  return write_file_atomically(c, path, bytes.data, bytes.length);
}
