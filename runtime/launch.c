/* One kernel launch from its row in the file: the grid for a batch, and the parameters from arena, constants and the
 * run's tensors. */
#include "session.h"

static uint64_t parameter_value(const ApnnSession *s, const ApnnFileParam *p, int batch) {
  switch (p->kind) {
  case APNN_PARAM_ARENA:
    return s->arena + p->value;
  case APNN_PARAM_CONSTANT:
    return s->network->constants + p->value;
  case APNN_PARAM_TENSOR:
    return s->pointers[p->value];
  default: /* APNN_PARAM_BATCH: the kernel reads the low four bytes */
    return (uint64_t)batch;
  }
}

/* A kernel that waits by itself may be launched before the one before it has ended (programmatic dependent launch).
 * Elsewhere, behind copies and what the caller put on the stream, the stream's order is kept as it is. */
static bool may_overlap(const ApnnSession *s, const ApnnFileKernel *k, LaunchPlace place) {
  bool waits = k->flags & APNN_KERNEL_WAITS;
  return waits && place == LAUNCH_BEHIND_LAUNCH && !s->no_overlap && s->network->device.driver.launch_kernel_ex;
}

static CuResult launch_overlapping(ApnnSession *s, CuFunction function, const CuLaunchConfig *launch) {
  CuLaunchAttribute attribute = {.id = CU_LAUNCH_PROGRAMMATIC_SERIALIZATION, .value.allowed = 1};
  CuLaunchConfig config = *launch;
  config.attributes = &attribute;
  config.attribute_count = 1;
  return s->network->device.driver.launch_kernel_ex(&config, function, s->parameters, NULL);
}

static CuResult launch_in_order(ApnnSession *s, CuFunction function, const CuLaunchConfig *c) {
  return s->network->device.driver.launch_kernel(function, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1],
                                                 c->block[2], c->shared_bytes, c->stream, s->parameters, NULL);
}

ApnnStatus apnn_launch_one(ApnnSession *s, uint32_t index, int batch, LaunchPlace place, CuStream stream) {
  const ApnnFile *file = &s->network->file;
  const ApnnFileLaunch *l = &file->launches[index];
  const ApnnFileKernel *k = &file->kernels[l->kernel];
  for (uint32_t i = 0; i < l->param_count; i++)
    s->values[i] = parameter_value(s, &file->params[l->first_param + i], batch);
  uint64_t blocks = ((uint64_t)batch * l->x_mul + l->x_div - 1) / l->x_div;
  if (l->x_most && blocks > l->x_most) blocks = l->x_most;
  CuLaunchConfig launch = {.grid = {(unsigned)blocks, l->y, 1},
                           .block = {k->threads, 1, 1},
                           .shared_bytes = k->shared_bytes,
                           .stream = stream};
  bool overlaps = may_overlap(s, k, place);
  CuResult result = (overlaps ? launch_overlapping : launch_in_order)(s, s->network->functions[l->kernel], &launch);
  return apnn_driver_check(&s->network->device.driver, result, &s->error, "layer %s: cuLaunchKernel%s(%s)",
                           apnn_file_name(file, l->layer_name), overlaps ? "Ex" : "", apnn_file_name(file, k->name));
}

ApnnStatus apnn_launch_all(ApnnSession *s, int batch, CuStream stream) {
  ApnnStatus status = APNN_OK;
  for (uint32_t i = 0; status == APNN_OK && i < s->network->file.header.launch_count; i++)
    status = apnn_launch_one(s, i, batch, i > 0 ? LAUNCH_BEHIND_LAUNCH : LAUNCH_FIRST, stream);
  return status;
}
