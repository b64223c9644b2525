/* A parameter file as a table of named tensors; picks the reader by the file's extension. */
#include "param_file.h"
#include <stdarg.h>
#include <string.h>

bool param_file_damaged(Context *c, const ParamFile *f, const char *format, ...) {
  char words[512];
  va_list args;
  va_start(args, format);
  vsnprintf(words, sizeof words, format, args);
  va_end(args);
  diag(c, DIAG_PARAM_FILE_DAMAGED, f->loc, f->name, words);
  return false;
}

static uint32_t hash_name(const char *name) {
  uint32_t hash = 2166136261u;
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

static uint32_t *find_slot(const ParamFile *f, const char *name) {
  uint32_t i = hash_name(name) & (f->slot_count - 1);
  while (f->slots[i] && strcmp(f->tensors[f->slots[i] - 1].name, name)) i = (i + 1) & (f->slot_count - 1);
  return &f->slots[i];
}

ParamTensor *param_file_find(const ParamFile *f, const char *name) {
  uint32_t slot = f->slot_count ? *find_slot(f, name) : 0;
  return slot ? &f->tensors[slot - 1] : NULL;
}

static void grow(Context *c, ParamFile *f) {
  uint32_t capacity = f->capacity ? f->capacity * 2 : 16;
  f->tensors = arena_grow(c, f->tensors, sizeof(ParamTensor) * f->capacity, sizeof(ParamTensor) * (size_t)capacity);
  f->capacity = capacity;
  f->slot_count = 2 * capacity;
  f->slots = ARENA_NEW(c, uint32_t, f->slot_count);
  for (uint32_t i = 0; i < f->count; i++) *find_slot(f, f->tensors[i].name) = i + 1;
}

bool param_file_add(Context *c, ParamFile *f, ParamTensor t) {
  for (const char *p = t.name; *p; p++)
    if ((unsigned char)*p < 32 || *p == 127)
      return param_file_damaged(c, f, "a tensor's name holds a control character");
  if (f->count == f->capacity) grow(c, f);
  uint32_t *slot = find_slot(f, t.name);
  if (*slot) return param_file_damaged(c, f, "it holds two tensors named '%.200s'", t.name);
  t.file = f->name;
  f->tensors[f->count++] = t;
  *slot = f->count;
  return true;
}

bool param_tensor_bytes(ParamTensor *t, int64_t *bytes) {
  t->count = 1;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] < 0 || __builtin_mul_overflow(t->count, t->dim[i], &t->count)) return false;
  return !__builtin_mul_overflow(t->count, (int64_t)dtype_info[t->dtype].bytes, bytes);
}

typedef struct Reader {
  const char *extension;
  bool (*read)(Context *c, ParamFile *f, const uint8_t *data, size_t size);
} Reader;

static const Reader readers[] = {{".safetensors", safetensors_read}, {".npz", npz_read}};

static const Reader *reader_for(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
    size_t n = strlen(readers[i].extension);
    if (length >= n && !strcmp(name + length - n, readers[i].extension)) return &readers[i];
  }
  return NULL;
}

ParamFile *param_file_open(Context *c, const char *name, const char *path, SourceLoc loc) {
  ParamFile *f = ARENA_NEW(c, ParamFile, 1);
  *f = (ParamFile){.name = name, .loc = loc};
  const Reader *reader = reader_for(name);
  if (!reader) {
    diag(c, DIAG_PARAM_FILE_KIND, loc, name);
    diag_expected(c, "a file that ends in .safetensors or .npz");
    return NULL;
  }
  const uint8_t *data;
  size_t size;
  const char *problem;
  if (!map_file(c, path, &data, &size, &problem)) {
    diag(c, DIAG_CANNOT_READ, loc, path, problem);
    return NULL;
  }
  return reader->read(c, f, data, size) ? f : NULL;
}
