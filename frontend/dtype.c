/* Numbers of parameter files: little-endian, of any alignment, row-major or column-major. */
#include "param_file.h"
#include <math.h>
#include <string.h>

const DtypeInfo dtype_info[DTYPE_COUNT] = {
#define DTYPE(ENUM, name, bytes, integer, npy) {name, bytes, integer, npy},
#include "dtypes.def"
#undef DTYPE
};

/* Where element i of the row-major order stands in a column-major tensor. */
static int64_t column_major_place(const ParamTensor *t, int64_t i) {
  int64_t place = 0;
  for (int d = t->rank - 1; d >= 0; d--) {
    int64_t stride = 1;
    for (int k = 0; k < d; k++) stride *= t->dim[k];
    place += i % t->dim[d] * stride;
    i /= t->dim[d];
  }
  return place;
}

uint64_t param_bits(const ParamTensor *t, int64_t i) {
  uint32_t bytes = dtype_info[t->dtype].bytes;
  const uint8_t *p = t->data + (t->column_major ? column_major_place(t, i) : i) * bytes;
  uint64_t bits = 0;
  for (uint32_t k = 0; k < bytes; k++) bits |= (uint64_t)p[k] << (8 * k);
  return bits;
}

static double from_f32(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return (double)f;
}

static double from_f64(uint64_t bits) {
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}

/* binary16: 5 bits of exponent, 10 of fraction. */
static double from_f16(uint32_t bits) {
  uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = exponent == 0    ? ldexp((double)fraction, -24)
                     : exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                                      : ldexp((double)(1024 + fraction), (int)exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

double param_number(const ParamTensor *t, int64_t i) {
  uint64_t bits = param_bits(t, i);
  switch (t->dtype) {
  case DTYPE_F32:
    return from_f32((uint32_t)bits);
  case DTYPE_F64:
    return from_f64(bits);
  case DTYPE_F16:
    return from_f16((uint32_t)bits);
  case DTYPE_BF16:
    return from_f32((uint32_t)bits << 16);
  default:
    return (double)param_integer(t, i);
  }
}

int64_t param_integer(const ParamTensor *t, int64_t i) {
  uint64_t bits = param_bits(t, i);
  switch (t->dtype) {
  case DTYPE_I8:
    return (int8_t)bits;
  case DTYPE_I16:
    return (int16_t)bits;
  case DTYPE_I32:
    return (int32_t)bits;
  case DTYPE_BOOL:
    return bits != 0;
  default:
    return (int64_t)bits; /* I64, and unsigned types of up to 32 bits */
  }
}
