/* The POOL engine: maxima and sums over windows of quantized numbers, many channels at once. ir/pooling.h says what a
 * thread has; here it finds its window and walks over the taps, unrolled where they are few. Threads that share a
 * window put together what they have seen by shuffles.
 *
 * Every number is exact: maxima compare stored numbers (offset binary in planes, two's complement in bytes), sums count
 * modulo 2^32.
 */
#include "pool_kernel.h"

enum { MOST_UNROLLED = 16, TAPS_A_ROUND = 4 };

/* --- memory --- */

int pool_vector(uint32_t words) {
  return words % 4 == 0 ? 4 : words % 2 == 0 ? 2 : 1;
}

/* "{a, b}", or "a" alone. */
static const char *list_of(Ptx *p, const PtxValue *words, int count) {
  const char *text = ptx_text(p, words[0]);
  for (int i = 1; i < count; i++) text = arena_printf(p->context, "%s, %s", text, ptx_text(p, words[i]));
  return count == 1 ? text : arena_printf(p->context, "{%s}", text);
}

static const char *vector_of(int count) {
  return count == 4 ? "v4.b32" : count == 2 ? "v2.b32" : "b32";
}

static const char *guard_of(Ptx *p, PtxValue pred) {
  return ptx_is_int(pred, 1) ? "" : arena_printf(p->context, "@%s ", ptx_text(p, pred));
}

void pool_load(Ptx *p, PtxValue inside, PtxValue address, int64_t offset, int count, int32_t other, PtxValue *words) {
  for (int i = 0; i < count; i++) words[i] = ptx_is_int(inside, 0) ? ptx_int(other) : ptx_new(p, CLASS_B32);
  if (ptx_is_int(inside, 0)) return;
  for (int i = 0; i < count && !ptx_is_int(inside, 1); i++) ptx_assign(p, words[i], ptx_int(other));
  ptx_raw(p, "%sld.%s %s, %s;", guard_of(p, inside), ptx_written(p, vector_of(count)), list_of(p, words, count),
          ptx_at(p, address, offset));
}

void pool_store(Ptx *p, PtxValue inside, PtxValue address, int64_t offset, int count, const PtxValue *words) {
  if (ptx_is_int(inside, 0)) return;
  PtxValue in_registers[4];
  for (int i = 0; i < count; i++) in_registers[i] = words[i].kind == OPERAND_REG ? words[i] : ptx_variable(p, words[i]);
  ptx_raw(p, "%sst.global.%s %s, %s;", guard_of(p, inside), vector_of(count), ptx_at(p, address, offset),
          list_of(p, in_registers, count));
}

PtxValue pool_permute(Ptx *p, PtxValue a, PtxValue b, int selector) {
  return ptx_3(p, "prmt.b32", a, b, ptx_int(selector));
}

PtxValue pool_exchange(Ptx *p, PtxValue word, int distance) {
  if (word.kind == OPERAND_IMMEDIATE) return word;
  PtxValue other = ptx_new(p, CLASS_B32);
  ptx_raw(p, "shfl.sync.bfly.b32 %s, %s, %d, 31, -1;", ptx_text(p, other), ptx_text(p, word), distance);
  return other;
}

PtxValue pool_is_first(Pool *pool) {
  return pool->plan.shares == 1 ? ptx_int(1) : ptx_setp(&pool->k->ptx, "eq.u32", pool->share, ptx_int(0));
}

PtxValue pool_both(Ptx *p, PtxValue a, PtxValue b) {
  return ptx_is_int(a, 0) || ptx_is_int(b, 0) ? ptx_int(0) : ptx_pred_and(p, a, b);
}

/* --- the window --- */

static bool is_padded(const Attrs *a) {
  return a->pad[0] || a->pad[1] || a->pad[2] || a->pad[3];
}

/* Predicates of which immediates are known: the window of a single position is. */
static PtxValue below(Ptx *p, PtxValue number, int32_t bound) {
  if (number.kind == OPERAND_IMMEDIATE) return ptx_int((uint32_t)number.value < (uint32_t)bound);
  return ptx_setp(p, "lt.u32", number, ptx_int(bound));
}

static Tap tap_at(Pool *pool, PtxValue tap, bool may_end) {
  Ptx *p = &pool->k->ptx;
  const Attrs *a = &pool->k->node->attrs;
  Grid grid = grid_of(&pool->in.type);
  PtxValue in_row = ptx_div(p, tap, ptx_int(a->kernel[1])), in_column = ptx_rem(p, tap, ptx_int(a->kernel[1]));
  PtxValue row = ptx_add(p, pool->origin_row, in_row), column = ptx_add(p, pool->origin_column, in_column);
  Tap t = {.inside = pool->place.is_pixel};
  if (is_padded(a)) {
    t.inside = pool_both(p, t.inside, below(p, row, grid.image.height));
    t.inside = pool_both(p, t.inside, below(p, column, grid.image.width));
  }
  if (may_end) t.inside = pool_both(p, t.inside, below(p, tap, a->kernel[0] * a->kernel[1]));
  t.position = position_of(p, &grid, pool->place.image, row, column);
  return t;
}

static void walk_unrolled(Pool *pool, const PoolForm *form, int taps) {
  Ptx *p = &pool->k->ptx;
  int shares = (int)pool->plan.shares;
  for (int first = 0; first < taps; first += shares)
    form->take(pool, tap_at(pool, ptx_add(p, pool->share, ptx_int(first)), first + shares > taps));
}

static void walk_in_rounds(Pool *pool, const PoolForm *form, int taps) {
  Ptx *p = &pool->k->ptx;
  int shares = (int)pool->plan.shares;
  PtxValue kept[POOL_ACCUMULATORS];
  pool->most = UINT32_MAX;
  for (int i = 0; i < pool->acc_count; i++) kept[i] = ptx_variable(p, pool->acc[i]);
  PtxValue round = ptx_for(p, ptx_int(0), ptx_int(taps), ptx_int(TAPS_A_ROUND * shares));
  PtxValue first = ptx_add(p, round, pool->share);
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = kept[i];
  for (int i = 0; i < TAPS_A_ROUND; i++) form->take(pool, tap_at(pool, ptx_add(p, first, ptx_int(i * shares)), true));
  for (int i = 0; i < pool->acc_count; i++) ptx_assign(p, kept[i], pool->acc[i]);
  ptx_end_for(p);
  for (int i = 0; i < pool->acc_count; i++) pool->acc[i] = kept[i];
}

static void join_shares(Pool *pool, const PoolForm *form) {
  PtxValue other[POOL_ACCUMULATORS];
  for (int distance = 1; distance < (int)pool->plan.shares; distance *= 2) {
    for (int i = 0; i < pool->acc_count; i++) other[i] = pool_exchange(&pool->k->ptx, pool->acc[i], distance);
    form->join(pool, other);
  }
}

/* Taps inside the image along one dimension. */
static PtxValue taps_inside(Ptx *p, PtxValue origin, int32_t kernel, int32_t size) {
  if (origin.kind == OPERAND_IMMEDIATE) {
    int64_t end = origin.value + kernel < size ? origin.value + kernel : size;
    return ptx_int(end - (origin.value > 0 ? origin.value : 0));
  }
  PtxValue end = ptx_2(p, "min.s32", ptx_add(p, origin, ptx_int(kernel)), ptx_int(size));
  return ptx_sub(p, end, ptx_2(p, "max.s32", origin, ptx_int(0)));
}

PtxValue pool_level_sum(Pool *pool, PtxValue stored_sum) {
  Ptx *p = &pool->k->ptx;
  const Attrs *a = &pool->k->node->attrs;
  LevelMap map = type_level_map(&pool->in.type);
  int32_t offset = map.offset + map.mult * stored_bias(&pool->in.type);
  PtxValue taps = ptx_int((int64_t)a->kernel[0] * a->kernel[1]);
  if (offset && is_padded(a)) {
    PtxValue rows = taps_inside(p, pool->origin_row, a->kernel[0], pool->in.image.height);
    taps = ptx_mul(p, rows, taps_inside(p, pool->origin_column, a->kernel[1], pool->in.image.width));
  }
  PtxValue outside = ptx_mul(p, taps, ptx_int(-(int64_t)offset));
  return ptx_mad(p, stored_sum, ptx_int(map.mult), outside);
}

/* --- the kernel --- */

static const PoolForm *form_of(const Pool *pool) {
  bool max = pool->k->node->op == OP_MAXPOOL;
  if (!pool->plan.words) return max ? &pool_max_bytes : &pool_sum_bytes;
  if (pool->plan.straight) return &pool_max_planes;
  return max ? &pool_max_planes_steps : &pool_sum_planes;
}

static void locate(Pool *pool) {
  Ptx *p = &pool->k->ptx;
  const Attrs *a = &pool->k->node->attrs;
  uint32_t shares = pool->plan.shares, units = pool->plan.units;
  Grid grid = grid_of(&pool->out.type);
  PtxValue thread = kernel_thread(pool->k, (int64_t)layout_image_positions(&pool->out.type) * units * shares);
  PtxValue work = ptx_div(p, thread, ptx_int(shares));
  pool->share = ptx_rem(p, thread, ptx_int(shares));
  pool->position = ptx_div(p, work, ptx_int(units));
  pool->unit = ptx_rem(p, work, ptx_int(units));
  pool->place = place_of_position(p, &grid, pool->position);
  pool->origin_row = ptx_add(p, ptx_mul(p, pool->place.y, ptx_int(a->stride[0])), ptx_int(-a->pad[0]));
  pool->origin_column = ptx_add(p, ptx_mul(p, pool->place.x, ptx_int(a->stride[1])), ptx_int(-a->pad[1]));
}

bool kernel_pool(Kernel *k) {
  Pool pool = {.k = k, .in = tensor_of(k, k->node->inputs[0]), .out = tensor_of(k, k->node->result)};
  pooling_of(k->graph, k->node, &pool.plan);
  const PoolForm *form = form_of(&pool);
  epilogue_begin(&pool.epilogue, k);
  locate(&pool);
  form->begin(&pool);
  int taps = k->node->attrs.kernel[0] * k->node->attrs.kernel[1];
  if (taps <= MOST_UNROLLED * (int)pool.plan.shares)
    walk_unrolled(&pool, form, taps);
  else
    walk_in_rounds(&pool, form, taps);
  join_shares(&pool, form);
  form->finish(&pool);
  return true;
}
