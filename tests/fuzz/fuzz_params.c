/* Readers of parameter files, on bytes in memory. */
#include "../../frontend/param_file.h"
#include "fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* --- sound files --- */

static void add_safetensors(Corpus *corpus, const char *header, size_t data_bytes) {
  Bytes file = {malloc(8 + strlen(header) + data_bytes), 8 + strlen(header) + data_bytes};
  uint64_t length = strlen(header);
  memcpy(file.data, &length, 8);
  memcpy(file.data + 8, header, length);
  for (size_t i = 0; i < data_bytes; i++) file.data[8 + length + i] = (uint8_t)(i * 37);
  corpus_add(corpus, file.data, file.size);
  free(file.data);
}

bool fuzz_prepare_safetensors(Corpus *corpus) {
  add_safetensors(corpus, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24);
  add_safetensors(corpus,
                  "{\"__metadata__\":{\"format\":\"pt\",\"x\\u00e9\\n\":\"y\"},"
                  "\"layer1.0.weight\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                  "\"b\":{\"shape\":[],\"data_offsets\":[4,8],\"dtype\":\"F32\"},"
                  "\"c\":{\"dtype\":\"BF16\",\"shape\":[1,1,2,1],\"data_offsets\":[8,12]},"
                  "\"d\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[12,12]}}   ",
                  12);
  add_safetensors(corpus, "{}", 0);
  return true;
}

/* An npy file in `out`; its size. */
static size_t make_npy(uint8_t *out, int major, const char *dictionary, size_t data_bytes) {
  size_t prefix = major == 1 ? 10 : 12, header = (prefix + strlen(dictionary) + 64) / 64 * 64 - prefix;
  memcpy(out, "\x93NUMPY", 6);
  out[6] = (uint8_t)major;
  out[7] = 0;
  uint32_t length = (uint32_t)header;
  memcpy(out + 8, &length, prefix - 8);
  memset(out + prefix, ' ', header);
  memcpy(out + prefix, dictionary, strlen(dictionary));
  out[prefix + header - 1] = '\n';
  for (size_t i = 0; i < data_bytes; i++) out[prefix + header + i] = (uint8_t)(i * 91);
  return prefix + header + data_bytes;
}

static const struct NpySample {
  int major;
  const char *dictionary;
  size_t data_bytes;
} npy_samples[] = {
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24},
    {1, "{'descr': '|i1', 'fortran_order': True, 'shape': (5,), }", 5},
    {2, "{'shape': (), 'descr': '<i8', 'fortran_order': False}", 8},
    {3, "{'descr': '<f8', 'fortran_order': True, 'shape': (1, 2, 1, 2), }", 32},
    {1, "{'descr': '<f2', 'fortran_order': False, 'shape': (0, 7), }", 0},
};
enum { NPY_SAMPLES = sizeof npy_samples / sizeof npy_samples[0], MOST_NPY = 512 };

static size_t make_sample(uint8_t *out, int index) {
  const struct NpySample *s = &npy_samples[index];
  return make_npy(out, s->major, s->dictionary, s->data_bytes);
}

bool fuzz_prepare_npy(Corpus *corpus) {
  for (int i = 0; i < NPY_SAMPLES; i++) {
    uint8_t file[MOST_NPY];
    corpus_add(corpus, file, make_sample(file, i));
  }
  return true;
}

static size_t put(uint8_t *out, uint32_t value, size_t bytes) {
  memcpy(out, &value, bytes);
  return bytes;
}

static size_t deflate_raw(const uint8_t *data, size_t size, uint8_t *out, size_t room) {
  z_stream z = {.next_in = (uint8_t *)data, .avail_in = (uInt)size, .next_out = out, .avail_out = (uInt)room};
  if (deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) abort();
  size_t length = room - z.avail_out;
  deflateEnd(&z);
  return length;
}

typedef struct ZipMember {
  char name[24];
  uint32_t method, crc, packed, size, offset;
} ZipMember;

/* From version and flags to the lengths of name and extra field, which both kinds of headers hold. */
static size_t put_member(uint8_t *out, const ZipMember *m) {
  size_t n = put(out, 20, 2);
  n += put(out + n, 0, 2);
  n += put(out + n, m->method, 2);
  n += put(out + n, 0, 4);
  n += put(out + n, m->crc, 4);
  n += put(out + n, m->packed, 4);
  n += put(out + n, m->size, 4);
  n += put(out + n, (uint32_t)strlen(m->name), 2);
  return n + put(out + n, 0, 2);
}

static size_t put_local(uint8_t *out, ZipMember *m, const uint8_t *npy, size_t size, uint32_t offset) {
  uint8_t packed[2 * MOST_NPY];
  m->crc = (uint32_t)crc32(0, npy, (uInt)size);
  m->size = m->packed = (uint32_t)size;
  m->offset = offset;
  if (m->method == 8)
    m->packed = (uint32_t)deflate_raw(npy, size, packed, sizeof packed);
  else
    memcpy(packed, npy, size);
  size_t n = put(out, 0x04034b50, 4);
  n += put_member(out + n, m);
  memcpy(out + n, m->name, strlen(m->name));
  n += strlen(m->name);
  memcpy(out + n, packed, m->packed);
  return n + m->packed;
}

static size_t put_central(uint8_t *out, const ZipMember *m) {
  size_t n = put(out, 0x02014b50, 4);
  n += put(out + n, 20, 2);
  n += put_member(out + n, m);
  n += put(out + n, 0, 2); /* comment length */
  n += put(out + n, 0, 4); /* disk, internal attributes */
  n += put(out + n, 0, 4);
  n += put(out + n, m->offset, 4);
  memcpy(out + n, m->name, strlen(m->name));
  return n + strlen(m->name);
}

static size_t put_end(uint8_t *out, uint32_t members, uint32_t bytes, uint32_t offset) {
  size_t n = put(out, 0x06054b50, 4);
  n += put(out + n, 0, 4);
  n += put(out + n, members, 2);
  n += put(out + n, members, 2);
  n += put(out + n, bytes, 4);
  n += put(out + n, offset, 4);
  return n + put(out + n, 0, 2);
}

static void add_npz(Corpus *corpus, uint32_t method) {
  uint8_t file[8 * MOST_NPY], npy[MOST_NPY];
  ZipMember members[NPY_SAMPLES];
  size_t n = 0;
  for (int i = 0; i < NPY_SAMPLES; i++) {
    members[i] = (ZipMember){.method = method};
    snprintf(members[i].name, sizeof members[i].name, "layer.%d.npy", i);
    n += put_local(file + n, &members[i], npy, make_sample(npy, i), (uint32_t)n);
  }
  size_t central = n;
  for (int i = 0; i < NPY_SAMPLES; i++) n += put_central(file + n, &members[i]);
  n += put_end(file + n, NPY_SAMPLES, (uint32_t)(n - central), (uint32_t)central);
  corpus_add(corpus, file, n);
}

bool fuzz_prepare_npz(Corpus *corpus) {
  add_npz(corpus, 0);
  add_npz(corpus, 8);
  return true;
}

/* --- reading --- */

typedef struct Reading {
  Context *context;
  const uint8_t *data;
  size_t size;
  bool (*read)(Context *c, ParamFile *f, const uint8_t *data, size_t size);
  double sum; /* so that every element is touched */
  const char *wrong;
} Reading;

/* Elements of other types are not read. */
static void touch(Reading *r, const ParamTensor *t) {
  for (int64_t i = 0; t->dtype != DTYPE_OTHER && i < t->count; i++) r->sum += param_number(t, i);
}

static bool read_file(void *user) {
  Reading *r = user;
  ParamFile file = {.name = "fuzz"};
  bool good = r->read(r->context, &file, r->data, r->size);
  if (!good && diag_error_count(r->context) == 0) r->wrong = "refused without an error";
  for (uint32_t i = 0; good && i < file.count; i++) {
    touch(r, &file.tensors[i]);
    if (!param_file_find(&file, file.tensors[i].name)) r->wrong = "a tensor is not found by its name";
  }
  return good;
}

static bool read_npy(void *user) {
  Reading *r = user;
  ParamTensor t = {0};
  const char *problem = NULL;
  bool good = npy_read(r->context, r->data, r->size, &t, &problem);
  if (!good && !problem) r->wrong = "refused without a reason";
  if (good) touch(r, &t);
  return good;
}

static const char *read_with(bool (*body)(void *user), Reading reading) {
  LimitedContext limited;
  limited_context_open(&limited);
  reading.context = limited.context;
  context_try(limited.context, body, &reading);
  const char *left = limited_context_close(&limited);
  return reading.wrong ? reading.wrong : left;
}

const char *fuzz_read_safetensors(const uint8_t *data, size_t size) {
  return read_with(read_file, (Reading){.data = data, .size = size, .read = safetensors_read});
}

const char *fuzz_read_npz(const uint8_t *data, size_t size) {
  return read_with(read_file, (Reading){.data = data, .size = size, .read = npz_read});
}

const char *fuzz_read_npy(const uint8_t *data, size_t size) {
  return read_with(read_npy, (Reading){.data = data, .size = size});
}
