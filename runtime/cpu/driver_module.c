/* Modules: PTX text in, kernels and variables out. Guarantees: a module that does not load leaves nothing behind; its
 * text is checked whole, so that a launch never meets an unknown instruction. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CUjit_option numbers, and CUfunction_attribute. */
enum { JIT_INFO_SIZE = 4, JIT_ERROR_BUFFER = 5, JIT_ERROR_SIZE = 6 };
enum {
  FUNCTION_MAX_THREADS = 0,
  FUNCTION_SHARED_BYTES = 1,
  FUNCTION_CONST_BYTES = 2,
  FUNCTION_LOCAL_BYTES = 3,
  FUNCTION_REGISTERS = 4,
  FUNCTION_PTX_VERSION = 5,
  FUNCTION_BINARY_VERSION = 6,
  FUNCTION_MAX_DYNAMIC_SHARED = 8,
  FUNCTION_CARVEOUT = 9,
  FUNCTION_LAST = 15
};

/* ---- loading ---- */

static void release_variables(struct Module *module) {
  for (const Variable *v = module->ptx.variables; v; v = v->next)
    if (v->space != SPACE_SHARED && v->address) memory_release(v->address, REGION_VARIABLE);
}

static void destroy_module(struct Module *module) {
  release_variables(module);
  arena_release(&module->arena);
  free(module);
}

void module_retain(struct Module *module) {
  __atomic_fetch_add(&module->references, 1, __ATOMIC_RELAXED);
}

void module_drop(struct Module *module) {
  if (__atomic_sub_fetch(&module->references, 1, __ATOMIC_ACQ_REL) == 0) destroy_module(module);
}

static bool place_variables(struct Module *module) {
  for (Variable *v = module->ptx.variables; v; v = v->next) {
    if (v->space == SPACE_SHARED) continue;
    Region *region = memory_allocate(v->bytes ? v->bytes : 1, REGION_VARIABLE, true);
    if (!region) return false;
    if (v->initial)
      memcpy(region->bytes, v->initial, v->bytes);
    else
      memset(region->bytes, 0, v->bytes);
    region->read_only = v->space == SPACE_CONST;
    v->address = region->start;
  }
  return true;
}

static CUresult decode_functions(struct Module *module, char *message, size_t size) {
  bool out_of_memory = false;
  for (Function *f = module->ptx.functions; f; f = f->next) {
    Kernel *kernel = decode_function(&module->ptx, f, message, size, &out_of_memory);
    if (!kernel) return out_of_memory ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
    module->functions[module->function_count++] = (struct DeviceFunction){module, kernel};
  }
  return CUDA_SUCCESS;
}

static CUresult build_module(struct Module *module, const char *image, char *message, size_t size) {
  jmp_buf escape;
  bool out_of_memory = false;
  size_t length = strlen(image);
  module->arena.escape = &escape;
  if (setjmp(escape)) return CUDA_ERROR_OUT_OF_MEMORY;
  const char *text = arena_copy_text(&module->arena, image, length);
  module->ptx.arena = &module->arena;
  if (!ptx_parse(&module->ptx, text, length, message, size, &out_of_memory)) {
    return out_of_memory ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_PTX;
  }
  size_t count = 0;
  for (const Function *f = module->ptx.functions; f; f = f->next) count++;
  module->functions = arena_take(&module->arena, count * sizeof *module->functions);
  if (!place_variables(module)) return CUDA_ERROR_OUT_OF_MEMORY;
  return decode_functions(module, message, size);
}

static void forget_functions(struct Module *module, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) object_remove(OBJECT_FUNCTION, &module->functions[i]);
}

static bool announce(struct Module *module) {
  uint32_t known = 0;
  while (known < module->function_count && object_add(OBJECT_FUNCTION, &module->functions[known])) known++;
  if (known == module->function_count && object_add(OBJECT_MODULE, module)) return true;
  forget_functions(module, known);
  return false;
}

static CUresult load(CUmodule *result, const void *image, char *message, size_t size) {
  const unsigned char *bytes = image;
  bool elf = bytes[0] == 0x7f && bytes[1] == 'E' && bytes[2] == 'L' && bytes[3] == 'F';
  bool fat = bytes[0] == 0x50 && bytes[1] == 0xed && bytes[2] == 0x55 && bytes[3] == 0xba;
  if (elf || fat) {
    snprintf(message, size, "the CPU device runs PTX; this image is %s", elf ? "a cubin" : "a fat binary");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  struct Module *module = calloc(1, sizeof *module);
  if (!module) return CUDA_ERROR_OUT_OF_MEMORY;
  module->references = 1;
  CUresult code = build_module(module, image, message, size);
  if (!code && !announce(module)) code = CUDA_ERROR_OUT_OF_MEMORY;
  if (code)
    destroy_module(module);
  else
    *result = module;
  return code;
}

/* The error log that the caller asked for: a buffer and its size. */
static void write_log(unsigned int count, const int *options, void **values, const char *message) {
  char *buffer = NULL;
  size_t size = 0;
  for (unsigned int i = 0; i < count; i++) {
    if (options[i] == JIT_ERROR_BUFFER) buffer = values[i];
    if (options[i] == JIT_ERROR_SIZE) size = (uintptr_t)values[i], values[i] = (void *)(uintptr_t)strlen(message);
    if (options[i] == JIT_INFO_SIZE) values[i] = NULL;
  }
  if (buffer && size) snprintf(buffer, size, "%s", message);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int count, int *options, void **values) {
  char message[FAULT_TEXT] = "";
  CUresult result = driver_enter();
  if (result) return result;
  if (!module || !image || (count && (!options || !values))) return CUDA_ERROR_INVALID_VALUE;
  *module = NULL;
  result = load(module, image, message, sizeof message);
  if (count) write_log(count, options, values, message);
  return result ? driver_fail(result, "%s", *message ? message : "no memory for the module") : CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleUnload(CUmodule module) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!object_remove(OBJECT_MODULE, module)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a module");
  forget_functions(module, module->function_count);
  module_drop(module);
  return CUDA_SUCCESS;
}

/* ---- what is in it ---- */

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
  if (!object_known(OBJECT_MODULE, module)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a module");
  for (uint32_t i = 0; i < module->function_count; i++) {
    if (strcmp(module->functions[i].kernel->name, name)) continue;
    *function = &module->functions[i];
    return CUDA_SUCCESS;
  }
  return driver_fail(CUDA_ERROR_NOT_FOUND, "the module has no entry \"%s\"", name);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name) {
  CUresult result = driver_enter();
  if (result) return result;
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  if (!object_known(OBJECT_MODULE, module)) return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a module");
  for (const Variable *v = module->ptx.variables; v; v = v->next) {
    if (v->space == SPACE_SHARED || strcmp(v->name, name)) continue;
    if (address) *address = v->address;
    if (bytes) *bytes = v->bytes;
    return CUDA_SUCCESS;
  }
  return driver_fail(CUDA_ERROR_NOT_FOUND, "the module has no variable \"%s\"", name);
}

static CUresult check_function(CUfunction function) {
  CUresult result = driver_enter();
  if (result) return result;
  if (object_known(OBJECT_FUNCTION, function)) return CUDA_SUCCESS;
  return driver_fail(CUDA_ERROR_INVALID_HANDLE, "not a function");
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  CUresult result = check_function(function);
  if (result) return result;
  if (attribute < FUNCTION_MAX_DYNAMIC_SHARED || attribute > FUNCTION_LAST) return CUDA_ERROR_INVALID_VALUE;
  if (attribute != FUNCTION_MAX_DYNAMIC_SHARED) return CUDA_SUCCESS;
  int64_t total = (int64_t)function->kernel->shared_static + value;
  if (value < 0 || total > MAX_SHARED_BYTES) {
    return driver_fail(CUDA_ERROR_INVALID_VALUE, "%d bytes of dynamic shared memory and %u static ones pass %d", value,
                       function->kernel->shared_static, MAX_SHARED_BYTES);
  }
  function->kernel->shared_dynamic_limit = value;
  return CUDA_SUCCESS;
}

static uint32_t greatest_block(const Function *f) {
  const uint32_t *limit = f->required_threads[0] ? f->required_threads : f->max_threads;
  return limit[0] ? limit[0] * limit[1] * limit[2] : 1024;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function) {
  CUresult result = check_function(function);
  if (result) return result;
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  const Kernel *k = function->kernel;
  const PtxModule *ptx = &function->module->ptx;
  switch (attribute) {
  case FUNCTION_MAX_THREADS:
    *value = (int)greatest_block(k->function);
    break;
  case FUNCTION_SHARED_BYTES:
    *value = (int)k->shared_static;
    break;
  case FUNCTION_REGISTERS:
    *value = (int)k->function->register_count;
    break;
  case FUNCTION_PTX_VERSION:
    *value = (int)(ptx->version_major * 10 + ptx->version_minor);
    break;
  case FUNCTION_BINARY_VERSION:
    *value = 90;
    break;
  case FUNCTION_MAX_DYNAMIC_SHARED:
    *value = k->shared_dynamic_limit;
    break;
  case FUNCTION_CONST_BYTES:
  case FUNCTION_LOCAL_BYTES:
  case FUNCTION_CARVEOUT:
    *value = 0;
    break;
  default:
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
