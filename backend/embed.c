/* The bytes of net.cubin as C: an array (.c), its declarations and sizes (.h). embed_object.c writes the same as .o.
 * All symbols begin with the caller's prefix, so that networks link together. */
#include "embed.h"
#include "file_write.h"
#include <ctype.h>
#include <string.h>

const char *embed_prefix(Context *c, const Module *m, const char *wanted) {
  const char *prefix = wanted ? wanted : m->strings.data + m->network_name;
  bool good = isalpha((unsigned char)prefix[0]) || prefix[0] == '_';
  for (const char *p = prefix; *p; p++) good = good && (isalnum((unsigned char)*p) || *p == '_');
  if (good) return prefix;
  diag(c, DIAG_BAD_SYMBOL_PREFIX, (SourceLoc){0}, prefix);
  diag_expected(c, "a letter or _, then letters, digits and _");
  return NULL;
}

static const char opening[] = "/* Network '%s' as compiled by apnnc for %s. */\n";
static const char c_linkage_begin[] = "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n";
static const char c_linkage_end[] = "\n#ifdef __cplusplus\n}\n#endif\n";

static void declare(Text *t, const char *prefix) {
  text_add(t, "extern const unsigned char %s_data[]; /* aligned to 16; for apnn_load_memory */\n", prefix);
  text_add(t, "extern const size_t %s_size;\n", prefix);
}

/* Decimal bytes, 24 a line, written through a buffer: the text is several times the network. */
static void add_array(Text *t, const uint8_t *data, size_t size) {
  enum { BYTES_A_LINE = 24 };
  for (size_t line = 0; line < size; line += BYTES_A_LINE) {
    char buffer[BYTES_A_LINE * 4 + 2];
    size_t length = 0;
    for (size_t i = line; i < size && i < line + BYTES_A_LINE; i++) {
      unsigned byte = data[i];
      if (byte >= 100) buffer[length++] = (char)('0' + byte / 100);
      if (byte >= 10) buffer[length++] = (char)('0' + byte / 10 % 10);
      buffer[length++] = (char)('0' + byte % 10);
      buffer[length++] = ',';
    }
    buffer[length++] = '\n';
    text_add_bytes(t, buffer, length);
  }
}

bool backend_write_c(Context *c, const Module *m, const char *path, const char *symbol_prefix) {
  const char *prefix = embed_prefix(c, m, symbol_prefix);
  Text bytes;
  if (!prefix || !backend_cubin_bytes(c, m, &bytes)) return false;
  Text t = {.context = c};
  text_add(&t, opening, m->strings.data + m->network_name, m->target->name);
  text_add(&t, "#include <stddef.h>\n\n%s", c_linkage_begin);
  declare(&t, prefix);
  text_add(&t, "\nconst unsigned char %s_data[%zu] __attribute__((aligned(16))) = {\n", prefix, bytes.length);
  add_array(&t, (const uint8_t *)bytes.data, bytes.length);
  text_add(&t, "};\nconst size_t %s_size = sizeof %s_data;\n%s", prefix, prefix, c_linkage_end);
  return write_file_atomically(c, path, t.data, t.length);
}

/* --- the header --- */

static const char *const c_types[] = {
    [APNN_ELEM_UINT] = "uint8_t", [APNN_ELEM_INT] = "int8_t", [APNN_ELEM_I32] = "int32_t", [APNN_ELEM_F32] = "float"};

static char *upper_case(Context *c, const char *prefix) {
  char *upper = arena_strdup(c, prefix);
  for (char *p = upper; *p; p++) *p = (char)toupper((unsigned char)*p);
  return upper;
}

static void describe_tensor(Text *t, const Module *m, const ApnnFileTensor *tensor, const char *macro) {
  uint64_t elements = 1;
  text_add(t, "\n#define %s_NAME \"%s\"\n#define %s_TYPE %s\n", macro, m->strings.data + tensor->name, macro,
           c_types[tensor->elem]);
  text_add(t, "#define %s_RANK %u\n#define %s_SHAPE {", macro, tensor->rank, macro);
  for (uint32_t i = 0; i < tensor->rank; i++) {
    elements *= (uint64_t)tensor->dim[i];
    text_add(t, "%s%d", i > 0 ? ", " : "", tensor->dim[i]);
  }
  text_add(t, "}\n#define %s_ELEMENTS %llu\n", macro, (unsigned long long)elements);
  text_add(t, "#define %s_BYTES %llu\n", macro, (unsigned long long)tensor->image_bytes);
  if (tensor->elem != APNN_ELEM_F32) text_add(t, "#define %s_SCALE %af\n", macro, (double)tensor->scale);
  if (tensor->elem != APNN_ELEM_UINT && tensor->elem != APNN_ELEM_INT) return;
  text_add(t, "#define %s_ZERO (%d / 2.0f)\n", macro, tensor->zero2);
  text_add(t, "#define %s_MIN (%d)\n#define %s_MAX (%d)\n", macro, tensor->q_min, macro, tensor->q_max);
}

static void describe_tensors(Text *t, const Module *m, uint32_t role, const char *upper, const char *word) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < m->tensor_count; i++) count += m->tensors[i].role == role;
  text_add(t, "\n#define %s_%s_COUNT %u\n", upper, word, count);
  count = 0;
  for (uint32_t i = 0; i < m->tensor_count; i++)
    if (m->tensors[i].role == role)
      describe_tensor(t, m, &m->tensors[i], arena_printf(t->context, "%s_%s%u", upper, word, count++));
}

bool backend_write_header(Context *c, const Module *m, const char *path, const char *symbol_prefix) {
  const char *prefix = embed_prefix(c, m, symbol_prefix);
  if (!prefix) return false;
  const char *upper = upper_case(c, prefix);
  Text t = {.context = c};
  text_add(&t, opening, m->strings.data + m->network_name, m->target->name);
  text_add(&t, "#ifndef %s_NETWORK_H\n#define %s_NETWORK_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n", upper,
           upper);
  text_add(&t,
           "/* Arrays are dense and row-major, [batch] in front of SHAPE; BYTES are those of one image. The number an\n"
           " * element q stands for is SCALE * (q - ZERO), with MIN <= q <= MAX. */\n");
  text_add(&t, "#define %s_MAX_BATCH %u\n", upper, m->max_batch);
  text_add(&t, "#define %s_ARENA_BYTES %llu /* device memory of a session, arrays not counted */\n", upper,
           (unsigned long long)m->arena_bytes);
  describe_tensors(&t, m, APNN_TENSOR_INPUT, upper, "INPUT");
  describe_tensors(&t, m, APNN_TENSOR_OUTPUT, upper, "OUTPUT");
  text_add(&t, "\n%s", c_linkage_begin);
  declare(&t, prefix);
  text_add(&t, "%s\n#endif\n", c_linkage_end);
  return write_file_atomically(c, path, t.data, t.length);
}
