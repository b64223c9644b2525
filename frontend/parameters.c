/* Parameters by name: which file holds them, whether shape, element type and numbers are right.
 *
 * A parameter's name is the path of its operation and a leaf: "layer1.0.c1" and "weight". Whatever is wrong with one is
 * reported with the file, what was expected and what was seen; a stand-in takes its place, so that the rest of the
 * network is checked as well.
 */
#include "lower.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct Read { /* who read a parameter first */
  const char *name;
  const Call *call;
} Read;

struct ParamSet {
  const char *folder;
  bool random;
  bool incomplete; /* a file could not be read: what is missing may be in there */
  bool absence_reported;
  ParamFile **files;
  uint32_t file_count, file_capacity;
  const Call *conflicting; /* reads what another operation reads: whatever else is wrong with it follows from that */
  Read *reads;             /* hash table */
  uint32_t read_count, read_slots;
};

typedef struct RoleInfo {
  const char *leaf;
  bool one;
  double least;
  const char *about;
} RoleInfo;

static const RoleInfo role_info[ROLE_COUNT] = {
#define PARAM_ROLE(ENUM, leaf, one, least, about) {leaf, one, (double)(least), about},
#include "param_roles.def"
#undef PARAM_ROLE
};

/* --- files --- */

ParamSet *params_new(Context *c, const char *folder, const FrontendOptions *options) {
  ParamSet *set = ARENA_NEW(c, ParamSet, 1);
  set->folder = folder;
  set->random = options->random_params;
  return set;
}

bool params_random(const Lower *l) {
  return l->params->random;
}

void params_add_file(Lower *l, const char *name, SourceLoc loc) {
  ParamSet *set = l->params;
  Context *c = l->context;
  if (set->random) return;
  const char *path = name[0] == '/' ? name : arena_printf(c, "%s%s", set->folder, name);
  ParamFile *f = param_file_open(c, name, path, loc);
  if (!f) {
    set->incomplete = true;
    l->param_errors++;
    return;
  }
  if (set->file_count == set->file_capacity) {
    uint32_t capacity = set->file_capacity ? set->file_capacity * 2 : 4;
    set->files =
        arena_grow(c, set->files, sizeof *set->files * set->file_capacity, sizeof *set->files * (size_t)capacity);
    set->file_capacity = capacity;
  }
  set->files[set->file_count++] = f;
}

void params_warn_unused(Lower *l) {
  for (uint32_t i = 0; i < l->params->file_count; i++) {
    const ParamFile *f = l->params->files[i];
    for (uint32_t k = 0; k < f->count; k++)
      if (!f->tensors[k].used) diag(l->context, DIAG_PARAM_UNUSED, f->loc, f->tensors[k].name, f->name);
  }
}

static const char *file_words(const Lower *l) {
  Text t = {.context = l->context};
  for (uint32_t i = 0; i < l->params->file_count; i++)
    text_add(&t, "%s'%s'", !i ? "" : i + 1 == l->params->file_count ? " or " : ", ", l->params->files[i]->name);
  return t.data ? t.data : "no file";
}

/* --- names --- */

const char *param_path(Lower *l, const Call *call, const char *leaf) {
  return path_join(l->context, call->site.path, leaf);
}

static Read *find_read(Read *reads, uint32_t slots, const char *name) {
  uint32_t hash = 2166136261u;
  for (const char *p = name; *p; p++) hash = (hash ^ (unsigned char)*p) * 16777619u;
  uint32_t i = hash & (slots - 1);
  while (reads[i].name && strcmp(reads[i].name, name)) i = (i + 1) & (slots - 1);
  return &reads[i];
}

static void grow_reads(Context *c, ParamSet *set) {
  uint32_t slots = set->read_slots ? set->read_slots * 2 : 64;
  Read *reads = ARENA_NEW(c, Read, slots);
  for (uint32_t i = 0; i < set->read_slots; i++)
    if (set->reads[i].name) *find_read(reads, slots, set->reads[i].name) = set->reads[i];
  set->reads = reads;
  set->read_slots = slots;
}

/* Two operations share a parameter on purpose where, at the point where their chains of names part, name= was written.
 * Otherwise returns the second one's link of the chain at that point. */
static const Frame *shared_by_accident(const Frame *a, const Frame *b) {
  while (a->depth > b->depth) a = a->parent;
  while (b->depth > a->depth) b = b->parent;
  while (a->parent != b->parent) {
    a = a->parent;
    b = b->parent;
  }
  return a != b && (a->named || b->named) ? NULL : b;
}

void param_register(Lower *l, const Call *call, const char *name) {
  ParamSet *set = l->params;
  if (2 * set->read_count >= set->read_slots) grow_reads(l->context, set);
  Read *read = find_read(set->reads, set->read_slots, name);
  if (!read->name) {
    *read = (Read){name, call};
    set->read_count++;
    return;
  }
  if (read->call == call || set->conflicting == call) return;
  const Frame *frame = shared_by_accident(&read->call->site, &call->site);
  if (!frame) return;
  set->conflicting = call;
  diag(l->context, DIAG_PARAM_READ_TWICE, call->loc, name);
  diag_note(l->context, read->call->loc, "the first operation that reads it is here");
  diag_hint(l->context, "tell them apart: %s(..., name=\"...\")",
            frame->block ? frame->block->name.text : call->operation->name);
  l->param_errors++;
}

const ParamTensor *param_find(Lower *l, const Call *call, const char *name) {
  const ParamSet *set = l->params;
  ParamTensor *found = NULL;
  for (uint32_t i = 0; i < set->file_count; i++) {
    ParamTensor *t = param_file_find(set->files[i], name);
    if (!t) continue;
    if (found && !t->used && !set->files[i]->overlap_reported) {
      diag(l->context, DIAG_PARAM_IN_TWO_FILES, set->files[i]->loc, name);
      diag_seen(l->context, "'%s' and '%s'", found->file, t->file);
      l->param_errors++;
      set->files[i]->overlap_reported = true;
    }
    t->used = true;
    if (!found) found = t;
  }
  if (found) param_register(l, call, name);
  return found;
}

static void report_absence(Lower *l, const Call *call) {
  if (l->params->absence_reported) return;
  l->params->absence_reported = true;
  diag(l->context, DIAG_NO_PARAM_FILE, call->loc, l->network->name.text);
  diag_expected(l->context, "a line such as: params \"%s.safetensors\"", l->network->name.text);
  diag_hint(l->context, "--random-params SEED compiles with parameters drawn from a seed");
}

void param_missing(Lower *l, const Call *call, const char *name, const char *expected) {
  const ParamSet *set = l->params;
  param_register(l, call, name);
  l->param_errors++;
  if (set->incomplete || set->conflicting == call) return;
  if (!set->file_count) {
    report_absence(l, call);
    return;
  }
  diag(l->context, DIAG_PARAM_MISSING, call->loc, name);
  if (!diag_is_kept(l->context)) return;
  diag_expected(l->context, "%s in %s", expected, file_words(l));
  Suggestion s = suggestion_for(name);
  for (uint32_t i = 0; i < set->file_count; i++)
    for (uint32_t k = 0; k < set->files[i]->count; k++) suggestion_offer(&s, set->files[i]->tensors[k].name);
  suggestion_hint(l->context, &s);
}

/* --- words --- */

const char *dims_words(Context *c, const int64_t *dim, int rank) {
  Text t = {.context = c};
  text_add(&t, "[");
  for (int i = 0; i < rank; i++) text_add(&t, i ? ",%lld" : "%lld", (long long)dim[i]);
  text_add(&t, "]");
  return t.data;
}

static const char *param_shape_words(Context *c, const ParamTensor *t) {
  return dims_words(c, t->dim, t->rank);
}

static const char *param_index_words(Context *c, const ParamTensor *t, int64_t index) {
  int64_t at[PARAM_MAX_RANK];
  for (int i = t->rank - 1; i >= 0; i--) {
    at[i] = index % t->dim[i];
    index /= t->dim[i];
  }
  return dims_words(c, at, t->rank);
}

void param_report_shape(Lower *l, const Call *call, const ParamTensor *t, const char *expected) {
  if (l->params->conflicting == call) return;
  diag(l->context, DIAG_PARAM_SHAPE, call->loc, t->name);
  diag_expected(l->context, "%s", expected);
  diag_seen(l->context, "%s in '%s'", param_shape_words(l->context, t), t->file);
  l->param_errors++;
}

void param_report_dtype(Lower *l, const Call *call, const ParamTensor *t, const char *expected) {
  if (l->params->conflicting == call) return;
  diag(l->context, DIAG_PARAM_DTYPE, call->loc, t->name);
  diag_expected(l->context, "%s", expected);
  diag_seen(l->context, "%s in '%s'", t->dtype ? dtype_info[t->dtype].name : t->dtype_name, t->file);
  l->param_errors++;
}

void param_report_index(Lower *l, const Call *call, DiagCode code, const ParamTensor *t, int64_t index) {
  diag(l->context, code, call->loc, t->name, param_index_words(l->context, t, index));
  l->param_errors++;
}

/* --- numbers --- */

bool param_to_floats(Lower *l, const Call *call, const ParamTensor *t, float *out) {
  if (!t->dtype || dtype_info[t->dtype].integer) {
    param_report_dtype(l, call, t, "F32, F64, F16 or BF16");
    return false;
  }
  for (int64_t i = 0; i < t->count; i++) {
    double number = param_number(t, i);
    out[i] = (float)number;
    if (isfinite(out[i])) continue;
    param_report_index(l, call, DIAG_PARAM_NOT_FINITE, t, i);
    diag_expected(l->context, "a finite number within binary32");
    diag_seen(l->context, "%g in '%s'", number, t->file);
    return false;
  }
  return true;
}

static bool check_least(Lower *l, const Call *call, const ParamTensor *t, const float *data, double least) {
  for (int64_t i = 0; i < t->count; i++) {
    if ((double)data[i] >= least) continue;
    param_report_index(l, call, DIAG_PARAM_RANGE, t, i);
    diag_expected(l->context, least > 0 ? "a positive, normal number" : "a number of at least 0");
    diag_seen(l->context, "%g in '%s'", (double)data[i], t->file);
    return false;
  }
  return true;
}

static bool vector_shape_fits(const ParamTensor *t, bool one, int32_t channels) {
  if (t->rank == 1 && t->dim[0] == channels) return true;
  return one && t->count == 1 && t->rank <= 1;
}

static ValueId add_vector(Lower *l, const char *name, int32_t count, const float *data) {
  Type type = type_make(ELEM_F32, 32, false, 1, &count);
  return graph_add_const(l->graph, name, type, data);
}

/* What takes the place of a parameter that is wrong: anything that breaks no rule. */
static ValueId stand_in(Lower *l, const RoleInfo *info, const char *name, int32_t channels) {
  if (info->one) channels = 1;
  float *data = ARENA_NEW(l->context, float, channels);
  for (int32_t i = 0; i < channels; i++) data[i] = 1;
  return add_vector(l, name, channels, data);
}

ValueId param_vector(Lower *l, const Call *call, ParamRole role, int32_t channels, const Spread *input) {
  const RoleInfo *info = &role_info[role];
  const char *name = param_path(l, call, info->leaf);
  if (l->params->random) {
    float *data = ARENA_NEW(l->context, float, channels);
    param_register(l, call, name);
    random_vector(l->options->seed, name, role, input, channels, data);
    return add_vector(l, name, channels, data);
  }
  int64_t dim = channels;
  const char *shape =
      arena_printf(l->context, info->one ? "%s or a single element" : "%s", dims_words(l->context, &dim, 1));
  const ParamTensor *t = param_find(l, call, name);
  if (!t) {
    param_missing(l, call, name, arena_printf(l->context, "the %s, a float tensor %s,", info->about, shape));
    return stand_in(l, info, name, channels);
  }
  if (!vector_shape_fits(t, info->one, channels)) {
    param_report_shape(l, call, t, arena_printf(l->context, "the %s, %s", info->about, shape));
    return stand_in(l, info, name, channels);
  }
  float *data = ARENA_NEW(l->context, float, t->count);
  if (!param_to_floats(l, call, t, data) || !check_least(l, call, t, data, info->least))
    return stand_in(l, info, name, channels);
  return add_vector(l, name, (int32_t)t->count, data);
}
