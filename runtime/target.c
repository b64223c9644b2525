/* Whether a file fits a GPU: the rule of the CUDA driver, applied before it is asked, so that a file that does not fit
 * is refused with what it has and what is needed. */
#include "network.h"

#include <stdio.h>

/* A cubin runs on the later capabilities of its major version, PTX on all later ones; one that is exact (sm_90a) on its
 * own capability alone. */
static bool cubin_fits(const ApnnFileHeader *h, int capability) {
  int arch = (int)h->arch;
  return h->arch_exact ? capability == arch : capability / 10 == arch / 10 && capability >= arch;
}

static bool ptx_fits(const ApnnFileHeader *h, int capability) {
  return h->arch_exact ? capability == (int)h->arch : capability >= (int)h->arch;
}

/* The best target of the compiler for a capability; NULL where there is none. */
static const char *target_name(int capability) {
  if (capability == 90) return "sm_90a";
  if (capability >= 89) return "sm_89";
  if (capability >= 86) return "sm_86";
  return capability >= 80 ? "sm_80" : NULL;
}

static ApnnStatus fail_target(const ApnnFile *file, const ApnnDevice *device, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  char has[64];
  if (h->arch_exact)
    snprintf(has, sizeof has, "sm_%ua alone", h->arch);
  else if (file->is_ptx || file->ptx)
    snprintf(has, sizeof has, "sm_%u and later", h->arch);
  else
    snprintf(has, sizeof has, "sm_%u to sm_%u9", h->arch, h->arch / 10);
  const char *target = target_name(device->capability);
  if (!target)
    return apnn_fail(error, APNN_ERROR_TARGET,
                     "compiled for %s, this GPU (%s) is sm_%d: use a GPU of sm_80 or later, "
                     "or the device cpu",
                     has, device->model, device->capability);
  return apnn_fail(error, APNN_ERROR_TARGET, "compiled for %s, this GPU (%s) is sm_%d: compile with --target %s", has,
                   device->model, device->capability, target);
}

static ApnnStatus check_shared(const ApnnFile *file, const ApnnDevice *device, ErrorText *error) {
  for (uint32_t i = 0; i < file->header.kernel_count; i++) {
    const ApnnFileKernel *k = &file->kernels[i];
    if (k->shared_bytes > (uint32_t)device->shared_bytes)
      return apnn_fail(error, APNN_ERROR_TARGET, "kernel %s needs %u bytes of shared memory, %s (%s) has %d a block",
                       apnn_file_name(file, k->name), k->shared_bytes, device->name, device->model,
                       device->shared_bytes);
  }
  return APNN_OK;
}

ApnnStatus apnn_choose_image(const ApnnFile *file, const ApnnDevice *device, ImageChoice *choice, ErrorText *error) {
  const ApnnFileHeader *h = &file->header;
  bool is_cpu = device->driver.is_cpu;
  if (file->is_ptx && (is_cpu || ptx_fits(h, device->capability)))
    *choice = IMAGE_PTX_FILE;
  else if (!file->is_ptx && !is_cpu && cubin_fits(h, device->capability))
    *choice = IMAGE_CUBIN;
  else if (file->ptx && (is_cpu || ptx_fits(h, device->capability)))
    *choice = IMAGE_PTX_BESIDE;
  else if (is_cpu)
    return apnn_fail(error, APNN_ERROR_TARGET, "the file has no PTX, which the device cpu executes: compile it again");
  else
    return fail_target(file, device, error);
  return check_shared(file, device, error);
}
