/* Parameter files: named tensors of numbers, in safetensors or npz files, mapped into memory and read by name.
 *
 * Readers check everything that a file says before they use it: a damaged file gives a diagnostic, never a crash. They
 * work on bytes in memory and know nothing of networks.
 */
#ifndef FRONTEND_PARAM_FILE_H
#define FRONTEND_PARAM_FILE_H

#include "../ir/context.h"

typedef enum Dtype {
#define DTYPE(ENUM, name, bytes, integer, npy) DTYPE_##ENUM,
#include "dtypes.def"
#undef DTYPE
  DTYPE_COUNT
} Dtype;

typedef struct DtypeInfo {
  const char *name;
  uint32_t bytes;
  bool integer;
  const char *npy; /* descr without the byte order; "": none */
} DtypeInfo;
extern const DtypeInfo dtype_info[DTYPE_COUNT];

enum { PARAM_MAX_RANK = 8 };

typedef struct ParamTensor {
  const char *name;
  const char *file; /* as the network names it */
  Dtype dtype;
  const char *dtype_name; /* as the file spells it, where dtype is OTHER */
  int rank;
  int64_t dim[PARAM_MAX_RANK];
  int64_t count;       /* product of dims */
  bool column_major;   /* the first dimension varies fastest */
  const uint8_t *data; /* little-endian, not necessarily aligned */
  bool used;
} ParamTensor;

typedef struct ParamFile {
  const char *name;
  SourceLoc loc;        /* where the network names it */
  ParamTensor *tensors; /* in the order of the file */
  uint32_t count, capacity;
  uint32_t *slots; /* hash table from names: index + 1 */
  uint32_t slot_count;
  bool overlap_reported; /* that an earlier file holds a tensor of the same name */
} ParamFile;

/* param_file.c */
/* Maps and reads a file, by its extension. NULL after reporting. */
ParamFile *param_file_open(Context *c, const char *name, const char *path, SourceLoc loc);
ParamTensor *param_file_find(const ParamFile *f, const char *name);
/* For readers: reports what is wrong with the file and returns false. */
bool param_file_damaged(Context *c, const ParamFile *f, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For readers: adds a tensor; false after reporting a name that is taken. */
bool param_file_add(Context *c, ParamFile *f, ParamTensor t);
/* Product of dims times the size of an element; false if that passes int64. Sets t->count. */
bool param_tensor_bytes(ParamTensor *t, int64_t *bytes);

/* The readers. `data` is borrowed for as long as the context lives. */
bool safetensors_read(Context *c, ParamFile *f, const uint8_t *data, size_t size);
bool npz_read(Context *c, ParamFile *f, const uint8_t *data, size_t size);
/* npy.c: one array. *problem (a phrase) says what is wrong where it returns false. */
bool npy_read(Context *c, const uint8_t *data, size_t size, ParamTensor *t, const char **problem);
/* npy_write.c: writes a whole file or none (to a temporary file, renamed). `descr` as "<f4". */
bool npy_write(Context *c, const char *path, const char *descr, int rank, const int64_t *dim, const void *data,
               size_t bytes);

/* dtype.c: element i of a tensor in row-major order, as the file's order may be another. */
double param_number(const ParamTensor *t, int64_t i);
int64_t param_integer(const ParamTensor *t, int64_t i); /* integer dtypes */
uint64_t param_bits(const ParamTensor *t, int64_t i);   /* as they stand in the file, zeros above */

/* mapped_file.c: a whole file in memory until the context closes. False with errno's text in *problem. */
bool map_file(Context *c, const char *path, const uint8_t **data, size_t *size, const char **problem);

#endif
