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

ApnnStatus apnn_launch_one(ApnnSession *s, uint32_t index, int batch, CuStream stream) {
  const ApnnFile *file = &s->network->file;
  const ApnnDriver *d = &s->network->device.driver;
  const ApnnFileLaunch *l = &file->launches[index];
  const ApnnFileKernel *k = &file->kernels[l->kernel];
  for (uint32_t i = 0; i < l->param_count; i++)
    s->values[i] = parameter_value(s, &file->params[l->first_param + i], batch);
  uint64_t blocks = ((uint64_t)batch * l->x_mul + l->x_div - 1) / l->x_div;
  if (l->x_most && blocks > l->x_most) blocks = l->x_most;
  CuResult result = d->launch_kernel(s->network->functions[l->kernel], (unsigned)blocks, l->y, 1, k->threads, 1, 1,
                                     k->shared_bytes, stream, s->parameters, NULL);
  return apnn_driver_check(d, result, &s->error, "layer %s: cuLaunchKernel(%s)", apnn_file_name(file, l->layer_name),
                           apnn_file_name(file, k->name));
}

ApnnStatus apnn_launch_all(ApnnSession *s, int batch, CuStream stream) {
  ApnnStatus status = APNN_OK;
  for (uint32_t i = 0; status == APNN_OK && i < s->network->file.header.launch_count; i++)
    status = apnn_launch_one(s, i, batch, stream);
  return status;
}
