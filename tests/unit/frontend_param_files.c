/* Readers of parameter files: what sound files hold, and thousands of damaged ones, none of which may crash. */
#include "frontend_sample.h"
#include <zlib.h>

typedef bool (*ReadFile)(Context *c, ParamFile *f, const uint8_t *data, size_t size);

typedef struct Bytes {
  uint8_t data[4096];
  size_t size;
} Bytes;

static void put(Bytes *b, const void *data, size_t size) {
  if (!size) return;
  assert_true(b->size + size <= sizeof b->data);
  memcpy(b->data + b->size, data, size);
  b->size += size;
}

static void put_number(Bytes *b, uint64_t n, int bytes) {
  for (int i = 0; i < bytes; i++) put(b, &(uint8_t){(uint8_t)(n >> (8 * i))}, 1);
}

/* --- making files --- */

static void make_safetensors(Bytes *b, const char *header, const void *data, size_t size) {
  b->size = 0;
  put_number(b, strlen(header), 8);
  put(b, header, strlen(header));
  put(b, data, size);
}

static void make_npy(Bytes *b, int version, const char *header, const void *data, size_t size) {
  b->size = 0;
  put(b, "\x93NUMPY", 6);
  put_number(b, (uint64_t)version, 2);
  put_number(b, strlen(header), version == 1 ? 2 : 4);
  put(b, header, strlen(header));
  put(b, data, size);
}

typedef struct ZipMember {
  const char *name;
  const Bytes *content;
  bool deflated, zip64; /* zip64: sizes stand in the extra field */
} ZipMember;

static size_t deflate_raw(const Bytes *in, uint8_t *out, size_t room) {
  z_stream z = {0};
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = (Bytef *)(uintptr_t)in->data;
  z.avail_in = (uInt)in->size;
  z.next_out = out;
  z.avail_out = (uInt)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return z.total_out;
}

static void put_sizes(Bytes *b, const ZipMember *m, uint64_t packed) {
  put_number(b, crc32(0, m->content->data, (uInt)m->content->size), 4);
  put_number(b, m->zip64 ? 0xffffffff : packed, 4);
  put_number(b, m->zip64 ? 0xffffffff : m->content->size, 4);
}

static void put_extra(Bytes *b, const ZipMember *m, uint64_t packed) {
  if (!m->zip64) return;
  put_number(b, 1, 2);
  put_number(b, 16, 2);
  put_number(b, m->content->size, 8);
  put_number(b, packed, 8);
}

static void put_local(Bytes *b, const ZipMember *m, const uint8_t *packed, size_t packed_size) {
  put_number(b, 0x04034b50, 4);
  put_number(b, 20, 4); /* version, flags */
  put_number(b, m->deflated ? 8 : 0, 2);
  put_number(b, 0, 4); /* time */
  put_sizes(b, m, packed_size);
  put_number(b, strlen(m->name), 2);
  put_number(b, m->zip64 ? 20 : 0, 2);
  put(b, m->name, strlen(m->name));
  put_extra(b, m, packed_size);
  put(b, packed, packed_size);
}

static void put_central(Bytes *b, const ZipMember *m, size_t packed_size, size_t local) {
  put_number(b, 0x02014b50, 4);
  put_number(b, 0x140014, 4);
  put_number(b, 0, 2);
  put_number(b, m->deflated ? 8 : 0, 2);
  put_number(b, 0, 4);
  put_sizes(b, m, packed_size);
  put_number(b, strlen(m->name), 2);
  put_number(b, m->zip64 ? 20 : 0, 2);
  put_number(b, 0, 2); /* comment */
  put_number(b, 0, 8); /* disk, attributes */
  put_number(b, local, 4);
  put(b, m->name, strlen(m->name));
  put_extra(b, m, packed_size);
}

static void make_zip(Bytes *b, const ZipMember *members, int count) {
  size_t locals[8], sizes[8];
  b->size = 0;
  for (int i = 0; i < count; i++) {
    uint8_t packed[2048];
    const Bytes *content = members[i].content;
    sizes[i] = members[i].deflated ? deflate_raw(content, packed, sizeof packed) : content->size;
    if (!members[i].deflated) memcpy(packed, content->data, content->size);
    locals[i] = b->size;
    put_local(b, &members[i], packed, sizes[i]);
  }
  size_t directory = b->size;
  for (int i = 0; i < count; i++) put_central(b, &members[i], sizes[i], locals[i]);
  size_t bytes = b->size - directory;
  put_number(b, 0x06054b50, 4);
  put_number(b, 0, 4);
  put_number(b, (uint64_t)count, 2);
  put_number(b, (uint64_t)count, 2);
  put_number(b, bytes, 4);
  put_number(b, directory, 4);
  put_number(b, 3, 2);
  put(b, "end", 3); /* a comment */
}

/* --- reading them --- */

typedef struct Reading {
  Context *context;
  ReadFile read;
  const uint8_t *data;
  size_t size;
  ParamFile file;
} Reading;

/* Touches every element of what was read. */
static bool read_all(void *user) {
  Reading *r = user;
  r->file = (ParamFile){.name = "file"};
  if (!r->read(r->context, &r->file, r->data, r->size)) return false;
  volatile double sum = 0;
  for (uint32_t i = 0; i < r->file.count; i++) {
    const ParamTensor *t = &r->file.tensors[i];
    for (int64_t k = 0; t->dtype && k < t->count; k++) sum = sum + param_number(t, k);
    if (param_file_find(&r->file, t->name) != t) return false;
  }
  return true;
}

/* True where the file was taken; otherwise an error must have been reported. The bytes are copied to a block of exactly
 * their size, so that a sanitizer sees every read outside. */
static bool try_file(ReadFile read, const uint8_t *data, size_t size) {
  uint8_t *exact = malloc(size ? size : 1);
  memcpy(exact, data, size);
  Reading r = {.context = context_new(NULL), .read = read, .data = exact, .size = size};
  bool good = context_try(r.context, read_all, &r);
  assert_int_equal(good, !diag_error_count(r.context));
  context_free(r.context);
  free(exact);
  return good;
}

/* Every length, and bits and bytes changed at random. */
static void damage(ReadFile read, const Bytes *whole, uint64_t seed, int mutations) {
  assert_true(try_file(read, whole->data, whole->size));
  for (size_t n = 0; n < whole->size; n++) try_file(read, whole->data, n);
  for (int i = 0; i < mutations; i++) {
    Bytes b = *whole;
    for (uint64_t k = random_number(&seed) % 4; k < 4; k++) {
      size_t at = random_number(&seed) % b.size;
      uint64_t how = random_number(&seed);
      b.data[at] = how & 1 ? b.data[at] ^ (uint8_t)(1 << (how >> 8) % 8) : how & 2 ? (uint8_t)(how >> 8) : 0xff;
    }
    try_file(read, b.data, b.size);
  }
}

static const char sound_header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                   "\"f32\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                   "\"f64\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[8,16]},"
                                   "\"f16\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[16,24]},"
                                   "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[24,26]},"
                                   "\"i\\u0038\":{\"shape\":[2],\"data_offsets\":[26,28],\"dtype\":\"I8\"},"
                                   "\"i16\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[28,30]},"
                                   "\"i32\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[30,34]},"
                                   "\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[34,42]},"
                                   "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[42,44]},"
                                   "\"u8\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[44,46]}, "
                                   "\"none\":{\"dtype\":\"F8_E5M2\",\"shape\":[3],\"data_offsets\":[46,49]}}  ";

static void make_sound(Bytes *b) {
  static const float f32[] = {1.5f, -0.0f};
  static const double f64 = 0.1;
  Bytes data = {.size = 0};
  put(&data, f32, 8);
  put(&data, &f64, 8);
  put_number(&data, UINT64_C(0x7bff0001c2003c00), 8); /* 1, -3, 2^-24, 65504 */
  put_number(&data, 0xc049, 2);                       /* -3.140625 */
  put_number(&data, 0x80ff, 2);                       /* -1, -128 */
  put_number(&data, 0xfffe, 2);
  put_number(&data, UINT64_C(0x80000000), 4);
  put_number(&data, UINT64_C(0xfffffffffffffffd), 8);
  put_number(&data, 0x0100, 2);
  put_number(&data, 0xff80, 2);
  put_number(&data, 0, 3);
  make_safetensors(b, sound_header, data.data, data.size);
}

static void test_safetensors_numbers(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t index;
    double number;
  } expected[] = {{"f32", 0, 1.5},        {"f64", 0, 0.1},   {"f16", 0, 1},  {"f16", 1, -3},
                  {"f16", 2, 0x1p-24},    {"f16", 3, 65504}, {"i8", 0, -1},  {"i8", 1, -128},
                  {"bf16", 0, -3.140625}, {"i16", 0, -2},    {"i64", 0, -3}, {"i32", 0, -2147483648.0},
                  {"bool", 0, 0},         {"bool", 1, 1},    {"u8", 0, 128}, {"u8", 1, 255}};
  Bytes b;
  make_sound(&b);
  Reading r = {.context = context_new(NULL), .read = safetensors_read, .data = b.data, .size = b.size};
  assert_true(context_try(r.context, read_all, &r));
  assert_int_equal(r.file.count, 11);
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const ParamTensor *t = param_file_find(&r.file, expected[i].name);
    assert_non_null(t);
    assert_true(param_number(t, expected[i].index) == expected[i].number);
    if (dtype_info[t->dtype].integer) assert_true((double)param_integer(t, expected[i].index) == expected[i].number);
  }
  assert_null(param_file_find(&r.file, "f3"));
  assert_int_equal(param_file_find(&r.file, "none")->dtype, DTYPE_OTHER);
  context_free(r.context);
}

static void test_safetensors_damage(void **state) {
  (void)state;
  Bytes b;
  make_sound(&b);
  damage(safetensors_read, &b, 1, 20000);
}

static void test_safetensors_refused(void **state) {
  (void)state;
  static const char *const headers[] = {
      "",
      "[]",
      "{",
      "{}x",
      "{\"a\"}",
      "{\"a\":1}",
      "{\"a\":{}}",
      "{,}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[4,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
      "offsets\":[3,7]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_"
      "offsets\":[4,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[6,10]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"a\\u0007\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"\\u0000\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "{\"__metadata__\":{\"a\":1}}"};
  Bytes b;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    make_safetensors(&b, headers[i], "12345678", 8);
    if (try_file(safetensors_read, b.data, b.size)) fail_msg("accepted: %s", headers[i]);
  }
  make_safetensors(&b, "{}", NULL, 0);
  assert_true(try_file(safetensors_read, b.data, b.size));
}

static bool read_npy(Context *c, ParamFile *f, const uint8_t *data, size_t size) {
  ParamTensor t = {.name = "array"};
  const char *problem;
  if (!npy_read(c, data, size, &t, &problem)) return param_file_damaged(c, f, "%s", problem);
  return param_file_add(c, f, t);
}

static void test_npy_orders(void **state) {
  (void)state;
  static const int16_t numbers[] = {0, 1, 2, 3, 4, 5};
  static const int64_t c_order[] = {0, 1, 2, 3, 4, 5}, fortran_order[] = {0, 2, 4, 1, 3, 5};
  for (int version = 1; version <= 3; version++)
    for (int fortran = 0; fortran < 2; fortran++) {
      Bytes b;
      Context *c = context_new(NULL);
      ParamTensor t = {.name = "a"};
      const char *problem;
      make_npy(&b, version,
               fortran ? "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }\n"
                       : "{\"shape\": (2,3), 'descr': '<i2', 'fortran_order': False}   \n",
               numbers, sizeof numbers);
      assert_true(npy_read(c, b.data, b.size, &t, &problem));
      assert_int_equal(t.rank, 2);
      assert_int_equal(t.count, 6);
      for (int64_t i = 0; i < 6; i++) assert_int_equal(param_integer(&t, i), (fortran ? fortran_order : c_order)[i]);
      context_free(c);
    }
}

static void test_npy_refused(void **state) {
  (void)state;
  static const char *const headers[] = {"",
                                        "{}",
                                        "{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}",
                                        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
                                        "{'descr': '<f4', 'fortran_order': False, 'shape': (2)",
                                        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
                                        "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
                                        "{'descr': '<f4', 'fortran_order': False}",
                                        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
                                        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
                                        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
                                        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}"};
  Bytes b;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    make_npy(&b, 1, headers[i], "12345678", 8);
    if (try_file(read_npy, b.data, b.size)) fail_msg("accepted: %s", headers[i]);
  }
  make_npy(&b, 4, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "12345678", 8);
  assert_false(try_file(read_npy, b.data, b.size));
}

static void test_npy_damage(void **state) {
  (void)state;
  Bytes b;
  make_npy(&b, 1, "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 1, 2), }\n", "0123456789abcdef0123456789abcdef",
           32);
  damage(read_npy, &b, 2, 20000);
}

static void make_archive(Bytes *b) {
  static Bytes one, two, three;
  make_npy(&one, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }     \n", "0123456789ab", 12);
  make_npy(&two, 2, "{'descr': '|i1', 'fortran_order': True, 'shape': (2, 2), }\n", "\1\2\3\4", 4);
  make_npy(&three, 1, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", "\1", 1);
  const ZipMember members[] = {{"conv1.weight.npy", &one, true, false},
                               {"conv1.bias.npy", &two, false, true},
                               {"readme.txt", &one, false, false},
                               {"flag.npy", &three, true, true}};
  make_zip(b, members, 4);
}

static void test_npz(void **state) {
  (void)state;
  Bytes b;
  make_archive(&b);
  Reading r = {.context = context_new(NULL), .read = npz_read, .data = b.data, .size = b.size};
  assert_true(context_try(r.context, read_all, &r));
  assert_int_equal(r.file.count, 3);
  const ParamTensor *t = param_file_find(&r.file, "conv1.bias");
  assert_non_null(t);
  static const int64_t row_major[] = {1, 3, 2, 4};
  for (int64_t i = 0; i < 4; i++) assert_int_equal(param_integer(t, i), row_major[i]);
  assert_int_equal(param_integer(param_file_find(&r.file, "flag"), 0), 1);
  assert_non_null(param_file_find(&r.file, "conv1.weight"));
  context_free(r.context);
}

static void test_npz_damage(void **state) {
  (void)state;
  Bytes b;
  make_archive(&b);
  damage(npz_read, &b, 3, 20000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_safetensors_numbers),
      cmocka_unit_test(test_safetensors_refused),
      cmocka_unit_test(test_safetensors_damage),
      cmocka_unit_test(test_npy_orders),
      cmocka_unit_test(test_npy_refused),
      cmocka_unit_test(test_npy_damage),
      cmocka_unit_test(test_npz),
      cmocka_unit_test(test_npz_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
