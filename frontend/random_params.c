/* Parameters drawn from a seed, for networks without a file of them: tests, benchmarks, a first look at a design.
 *
 * The numbers of a parameter depend on the seed and its name alone, and on the spread of the values that it meets: they
 * are fitted so that activations fill the levels of their quantizers and neither saturate nor die. Only operations that
 * IEEE 754 rounds correctly are used: the same network and seed give the same parameters on every machine.
 */
#include "lower.h"
#include <float.h>
#include <math.h>

typedef struct Generator {
  uint64_t state;
} Generator;

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(Generator *g) {
  uint64_t z = g->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static Generator generator(uint64_t seed, const char *name) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
  Generator g = {seed};
  g.state = next(&g) ^ hash;
  return g;
}

static double uniform(Generator *g, double low, double high) {
  return low + (high - low) * ((double)(next(g) >> 11) * 0x1p-53);
}

void random_weights(uint64_t seed, const char *name, const Type *type, uint8_t *q, int64_t count) {
  Generator g = generator(seed, name);
  int32_t low = type_q_min(type);
  uint64_t levels = (uint64_t)(type_q_max(type) - low + 1);
  for (int64_t i = 0; i < count; i++) q[i] = (uint8_t)(low + (int32_t)((next(&g) >> 32) * levels >> 32));
}

/* Weights of about 1 / sqrt(fan in), so that sums spread as their inputs do; other scales in every channel. */
void random_weight_scales(uint64_t seed, const char *name, const Type *type, int64_t fan_in, int32_t out,
                          float *scales) {
  Generator g = generator(~seed, name);
  LevelMap map = type_level_map(type);
  double squares = 0, count = 0;
  for (int32_t q = type_q_min(type); q <= type_q_max(type); q++, count++) {
    double level = map.mult * q - map.offset;
    squares += level * level;
  }
  double step = 1 / sqrt((double)fan_in * squares / count);
  for (int32_t i = 0; i < out; i++) scales[i] = (float)(map.mult * step * uniform(&g, 0.5, 1.5));
}

/* One element. Batchnorm and affine bring a channel to mean 0 and deviation 1, more or less; one gamma in eight is
 * negative. */
static double draw(Generator *g, ParamRole role, double mean, double deviation) {
  switch (role) {
  case ROLE_GAMMA:
    return uniform(g, 0.7, 1.3) * (next(g) >> 61 ? 1 : -1);
  case ROLE_BETA:
    return uniform(g, -0.3, 0.3);
  case ROLE_MEAN:
    return mean + deviation * uniform(g, -0.2, 0.2);
  case ROLE_VARIANCE:
    return deviation * deviation * uniform(g, 0.7, 1.4);
  case ROLE_FACTOR:
    return uniform(g, 0.9, 1.1) / deviation;
  case ROLE_OFFSET:
    return uniform(g, -0.3, 0.3) - mean / deviation;
  case ROLE_BIAS:
    return deviation * uniform(g, -0.5, 0.5);
  case ROLE_SLOPE:
    return uniform(g, 0.05, 0.4);
  default:
    return uniform(g, 0.5, 1.5);
  }
}

void random_vector(uint64_t seed, const char *name, ParamRole role, const Spread *input, int32_t channels, float *out) {
  Generator g = generator(seed, name);
  for (int32_t i = 0; i < channels; i++) {
    Moments m = spread_moments(input, i);
    if (!(m.deviation > 1e-18)) m.deviation = 1; /* a channel that never changes */
    out[i] = (float)draw(&g, role, m.mean, m.deviation);
  }
}

float random_quantize_scale(const Spread *input, const Type *type) {
  LevelMap map = type_level_map(type);
  if (type->kind == ELEM_UINT && type->bits == 1 && map.mult == 2) return 2; /* bipolar: -1 and +1 */
  int32_t highest = type_level_max(type), lowest = type_level_min(type);
  Moments m = spread_joined(input);
  double reach = (lowest < 0 ? fabs(m.mean) : m.mean) + 2 * m.deviation, most = spread_most(input);
  if (most > 0 && reach > most) reach = most;
  double scale = map.mult * reach / (highest > 0 ? highest : -lowest);
  return scale > 1e-30 && scale < 1e30 ? (float)scale : (float)map.mult;
}
