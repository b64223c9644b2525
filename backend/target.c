/* Finds the targets of targets.def by name, by index and by what a GPU can run. */
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

const char target_names[] =
#define TARGET(name) " " #name
#include "targets.def"
#undef TARGET
    ;

enum { TARGET_COUNT = sizeof targets / sizeof targets[0] };

const Target *target_at(uint32_t index) {
  return index < TARGET_COUNT ? targets[index] : NULL;
}

const Target *target_find(const char *name) {
  for (uint32_t i = 0; i < TARGET_COUNT; i++)
    if (strcmp(targets[i]->name, name) == 0) return targets[i];
  return NULL;
}

/* Code for an architecture runs on later ones of the same major version, that for sm_90a on 9.0 alone. */
static bool runs_on(const Target *t, int capability) {
  if (t->arch / 10 != capability / 10) return false;
  return t->arch >= 90 ? t->arch == capability : t->arch <= capability;
}

const Target *target_for_capability(int capability) {
  const Target *best = NULL;
  for (uint32_t i = 0; i < TARGET_COUNT; i++)
    if (runs_on(targets[i], capability) && (!best || targets[i]->arch > best->arch)) best = targets[i];
  return best;
}
