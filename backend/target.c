/* Finds the targets of targets.def by name and by index. */
#include "../ir/target.h"
#include <stddef.h>
#include <string.h>

#define TARGET(name) extern const Target target_##name;
#include "targets.def"
#undef TARGET

static const Target *const targets[] = {
#define TARGET(name) &target_##name,
#include "targets.def"
#undef TARGET
};

enum { TARGET_COUNT = sizeof targets / sizeof targets[0] };

const Target *target_at(uint32_t index) {
  return index < TARGET_COUNT ? targets[index] : NULL;
}

const Target *target_find(const char *name) {
  for (uint32_t i = 0; i < TARGET_COUNT; i++)
    if (strcmp(targets[i]->name, name) == 0) return targets[i];
  return NULL;
}
