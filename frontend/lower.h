/* From the syntax tree to the graph: what the lowering files share.
 *
 *   lower.c         networks and their statements
 *   scope.c         names and what they stand for; suggest.c: the nearest known name
 *   expression.c    expressions and numbers
 *   element_type.c  u2, bipolar(scale=0.5), ...
 *   block.c         calls of blocks, expanded in place
 *   arguments.c     the arguments of an operation against its row in operations.c
 *   operations.c    the table of operations; build_*.c: one function an operation
 *   parameters.c    names of parameters, their files, vectors; weights.c: weight tensors
 *
 * An Item of kind ITEM_NONE stands for something wrong that has been reported: whoever meets it keeps silent.
 */
#ifndef FRONTEND_LOWER_H
#define FRONTEND_LOWER_H

#include "ast.h"
#include "frontend.h"
#include "param_file.h"

typedef enum ItemKind {
  ITEM_NONE,
  ITEM_INTEGER,
  ITEM_REAL,
  ITEM_TRUTH, /* integer 0 or 1 */
  ITEM_STRING,
  ITEM_LIST,
  ITEM_TYPE,   /* element type, without a shape */
  ITEM_TENSOR, /* a value of the graph */
  ITEM_SEVERAL /* what a block returned, where that is not one item */
} ItemKind;

typedef struct Item Item;
struct Item {
  ItemKind kind;
  SourceLoc loc; /* where it was written */
  int64_t integer;
  double real;
  const char *text;
  Type type;        /* TYPE: kind, bits, zero2, scale */
  bool scale_given; /* TYPE */
  ValueId value;    /* TENSOR */
  Item *items;      /* LIST and SEVERAL */
  uint32_t count;
};

/* --- scope.c: names of one block or network; the outer scope holds the file's constants --- */
typedef struct Binding {
  const char *name;
  Item item;
  SourceLoc loc;
  bool used, may_be_unused;
} Binding;

typedef struct Scope {
  const struct Scope *outer;
  Binding **slots; /* hash table */
  uint32_t slot_count, count;
} Scope;

Scope *scope_new(Context *c, const Scope *outer);
Binding *scope_find(const Scope *s, const char *name);  /* outer scopes too; NULL if unknown */
Binding *scope_local(const Scope *s, const char *name); /* this scope alone */
/* Reports a name that is taken or reserved, and returns NULL then. */
Binding *scope_bind(Context *c, Scope *s, Name name, Item item);
void scope_warn_unused(Context *c, const Scope *s);

/* --- suggest.c --- */
typedef struct Suggestion {
  const char *wanted, *best;
  uint32_t distance;
} Suggestion;
Suggestion suggestion_for(const char *wanted);
void suggestion_offer(Suggestion *s, const char *candidate);
void suggestion_hint(Context *c, const Suggestion *s); /* adds "did you mean 'x'?" to the latest report */

/* A block call or an operation in the chain that gives parameters their names. */
typedef struct Frame {
  const struct Frame *parent;
  const char *path; /* "layer1.0.c1"; "" for the network */
  bool named;       /* its own part was given by name= */
  uint32_t depth;
  const Block *block; /* NULL: the network or an operation */
  SourceLoc loc;      /* of the call */
} Frame;

/* Where an expression is evaluated. */
typedef struct Place {
  const Frame *frame;
  Scope *scope;
  const char *own; /* the assignment's name; "" behind return */
} Place;

/* How the real numbers of a value are distributed: what random parameters are fitted to. See spread.c. */
enum { SPREAD_SAMPLES = 32 };
typedef struct Spread {
  int32_t channels; /* channel c of the value is channel c % channels here */
  double *samples;  /* [channels][SPREAD_SAMPLES]; NULL where parameters are not random */
} Spread;
typedef struct Moments {
  double mean, deviation;
} Moments;

typedef struct ParamSet ParamSet;
typedef struct BlockState {
  bool called;
  bool failed; /* an expansion reported an error of the language: it is not expanded again */
} BlockState;

typedef struct Lower {
  Context *context;
  Graph *graph;
  const SyntaxTree *tree;
  const Network *network;
  const FrontendOptions *options;
  Scope *globals;
  ParamSet *params;
  Scope *blocks; /* names of blocks: their index in the tree */
  BlockState *block_states;
  uint32_t depth, expansions, errors_before;
  uint32_t errors_noted; /* errors when the chain of calls was last added to a report */
  bool input_seen, output_seen;
  bool expansion_reported, depth_reported;
  uint32_t param_errors; /* errors of parameters, which differ from call to call of a block */
  Spread *spreads;       /* one a value of the graph; random parameters only */
  uint32_t spread_capacity;
} Lower;

enum { MAX_EVALUATION_DEPTH = 600, MAX_BLOCK_DEPTH = 64, MAX_EXPANSIONS = 100000, MAX_DIMENSION = 1 << 24 };

/* --- expression.c --- */
Item evaluate(Lower *l, const Place *place, const Expression *e, bool outermost);
Item item_none(void);
Item item_tensor(ValueId value, SourceLoc loc);
bool item_is_number(const Item *item);
double item_number(const Item *item);
const char *item_words(const Lower *l, const Item *item); /* "the number 3", "a tensor u2[N,8,8,16]", ... */
const char *path_join(Context *c, const char *path, const char *part);

/* --- element_type.c --- */
bool type_by_name(const char *name, Item *out);
void suggest_types(Suggestion *s);
bool number_to_scale(double number, float *scale); /* positive, finite, normal, and so is its half */
Item type_refine(Lower *l, const Place *place, Item base, const Expression *call);

/* --- block.c --- */
const Block *block_by_name(const Lower *l, const char *name);
Item block_call(Lower *l, const Place *place, const Block *block, const Expression *call);
void run_constant(Lower *l, const Place *place, const Statement *s);
void run_assignment(Lower *l, const Place *place, const Statement *s);
/* Fills l->blocks; what is wrong with a block whatever it is called with. */
void check_blocks(Lower *l);
/* Blocks that nobody calls, run with arguments of which nothing is known, so that their names are checked. */
void check_uncalled_blocks(Lower *l, const Frame *top);

/* --- arguments.c and operations.c --- */
typedef enum ArgKind {
  ARG_END,
  ARG_TENSOR,
  ARG_TENSORS, /* all further positional arguments; call->tensors */
  ARG_COUNT,   /* an integer of at least 1 */
  ARG_INTEGER,
  ARG_REAL,
  ARG_SCALE, /* a positive number */
  ARG_TRUTH,
  ARG_TYPE,
  ARG_PAIR,  /* a count, or a list of two: vertical, horizontal */
  ARG_PAD,   /* an integer of at least 0, a list of two or four, or "same" */
  ARG_SHAPE, /* a list of 1 to 4 counts */
  ARG_ORDER  /* "hwc" or "chw" */
} ArgKind;

typedef struct ArgSpec {
  const char *name;
  ArgKind kind;
  bool required;
} ArgSpec;

enum { MAX_ARGUMENTS = 12 };

typedef struct Call Call;
typedef struct Operation {
  const char *name;
  bool parameters; /* takes name= */
  Op op;           /* what simple operations become */
  Item (*build)(Lower *l, Call *call);
  ArgSpec args[MAX_ARGUMENTS]; /* ends with ARG_END */
} Operation;

struct Call {
  const Operation *operation;
  SourceLoc loc;
  const char *result_name;  /* of its last value */
  Frame site;               /* its place in the chain of names */
  Item args[MAX_ARGUMENTS]; /* as in operation->args; ITEM_NONE: not given */
  ValueId *tensors;
  uint32_t tensor_count;
};

const Operation *operation_by_name(const char *name);
void suggest_operations(Suggestion *s);
Item operation_call(Lower *l, const Place *place, const Operation *operation, const Expression *call,
                    const char *result_name);
/* Evaluates and checks all arguments; false after reporting. */
bool arguments_bind(Lower *l, const Place *place, const Expression *e, Call *call);
/* The value of name= among a call's arguments, or NULL. False after reporting. */
bool argument_name(Lower *l, const Place *place, const Expression *call, const char **name);
const Item *call_argument(const Call *call, const char *name); /* NULL where it was not given */
ValueId call_tensor(const Call *call);                         /* its first tensor */
int32_t call_integer(const Call *call, const char *name, int32_t absent);
bool call_truth(const Call *call, const char *name);
float call_real(const Call *call, const char *name, float absent);
void call_pair(const Call *call, const char *name, int32_t pair[2]); /* unchanged where it was not given */

/* Adds a node. `last`: it gives the call's result; otherwise its name says which part. ITEM_NONE after an error. */
Item emit(Lower *l, const Call *call, bool last, Op op, const Attrs *attrs, const ValueId *inputs, uint32_t input_count,
          Type wanted);
ValueId emit_real(Lower *l, const Call *call, ValueId value); /* dequantized where it is not f32; NO_VALUE: an error */
ValueId emit_one_scale(Lower *l, const Call *call, ValueId value);   /* dequantized where it has per-channel scales */
bool need_rank(Lower *l, const Call *call, ValueId value, int rank); /* 3 or 1; false after reporting */

#define BUILD(name) Item build_##name(Lower *l, Call *call)
BUILD(conv2d);
BUILD(depthwise_conv2d);
BUILD(linear);
BUILD(batchnorm);
BUILD(affine);
BUILD(bias);
BUILD(prelu);
BUILD(activation);
BUILD(leaky_relu);
BUILD(hardtanh);
BUILD(add);
BUILD(quantize);
BUILD(dequantize);
BUILD(pool);
BUILD(global_pool);
BUILD(concat);
BUILD(flatten);
BUILD(reshape);
BUILD(upsample);
BUILD(argmax);
BUILD(softmax);
#undef BUILD

/* The pad= argument as top, left, bottom, right. */
void call_pad(const Call *call, const Type *image, const Attrs *attrs, int32_t pad[4]);

/* --- parameters.c --- */
typedef enum ParamRole {
#define PARAM_ROLE(ENUM, leaf, one, least, about) ROLE_##ENUM,
#include "param_roles.def"
#undef PARAM_ROLE
  ROLE_COUNT
} ParamRole;

ParamSet *params_new(Context *c, const char *folder, const FrontendOptions *options);
void params_add_file(Lower *l, const char *path, SourceLoc loc);
void params_warn_unused(Lower *l);
bool params_random(const Lower *l);
const char *param_path(Lower *l, const Call *call, const char *leaf);
/* The tensor of a full name, marked as read by this call; NULL if it is absent. */
const ParamTensor *param_find(Lower *l, const Call *call, const char *name);
/* Notes that the call reads the parameter; reports where another one reads it by accident. param_find does it, too. */
void param_register(Lower *l, const Call *call, const char *name);
/* Reports a parameter that is missing. */
void param_missing(Lower *l, const Call *call, const char *name, const char *expected);
/* An f32 constant of `channels` elements (or of one, where the role allows it), checked. In place of a parameter that
 * is wrong stands one of zeros or ones, so that the rest is checked too. `input`: the spread that a random one is
 * fitted to. */
ValueId param_vector(Lower *l, const Call *call, ParamRole role, int32_t channels, const Spread *input);
/* All elements, row-major, finite; false after reporting. */
bool param_to_floats(Lower *l, const Call *call, const ParamTensor *t, float *out);
void param_report_shape(Lower *l, const Call *call, const ParamTensor *t, const char *expected);
void param_report_dtype(Lower *l, const Call *call, const ParamTensor *t, const char *expected);
void param_report_index(Lower *l, const Call *call, DiagCode code, const ParamTensor *t, int64_t index);
const char *dims_words(Context *c, const int64_t *dim, int rank);

/* --- weights.c: the weights of a convolution or linear layer, as a constant of its quantized type --- */
typedef struct WeightShape {
  int32_t out, height, width, in; /* in: input channels a group; linear: height and width are 0 */
} WeightShape;
ValueId weights_load(Lower *l, Call *call, const Item *type, WeightShape shape);

/* --- random_params.c: parameters drawn from a seed and their names --- */
void random_weights(uint64_t seed, const char *name, const Type *type, uint8_t *q, int64_t count);
void random_weight_scales(uint64_t seed, const char *name, const Type *type, int64_t fan_in, int32_t out,
                          float *scales);
void random_vector(uint64_t seed, const char *name, ParamRole role, const Spread *input, int32_t channels, float *out);
float random_quantize_scale(const Spread *input, const Type *type); /* so that the type's levels cover the input */

/* --- spread.c --- */
Spread spread_of(const Lower *l, ValueId value);
Moments spread_moments(const Spread *s, int32_t channel); /* mean 0 and deviation 1 where there is nothing to go by */
Moments spread_joined(const Spread *s);                   /* of all channels together */
double spread_most(const Spread *s);                      /* greatest magnitude */
void spread_after_node(Lower *l, NodeId node);            /* notes the spread of a new node's result */
void spread_of_input(Lower *l, ValueId input);

#endif
