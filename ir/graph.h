/* The graph: nodes over values.
 *
 * A node is a main operation and a list of epilogue steps; before fusion the lists are empty. Its one result is a
 * value. Values are graph inputs, constants or results; they are named by 32-bit ids that stay valid while the graph
 * lives. Nodes stand in an order in which every operand is defined before its use, at all times.
 */
#ifndef IR_GRAPH_H
#define IR_GRAPH_H

#include "context.h"
#include "lines.h"
#include "type.h"

typedef enum Op {
  OP_NONE, /* a deleted node; graph_compact removes it */
#define OP(ENUM, name, least, most, attrs, flags) OP_##ENUM,
#include "ops.def"
#undef OP
  OP_COUNT
} Op;

enum {
#define ATTR(BIT, field, form) ATTR_INDEX_##BIT,
#include "attrs.def"
#undef ATTR
  ATTR_COUNT
};
enum {
#define ATTR(BIT, field, form) A_##BIT = 1u << ATTR_INDEX_##BIT,
#include "attrs.def"
#undef ATTR
  A_WINDOW = A_KERNEL | A_STRIDE | A_PAD,
  A_RANGE = A_RANGE_LO | A_RANGE_HI
};

enum OpFlags { F_MAIN = 1, F_STEP = 2, F_REAL = 4, F_MONO = 8, F_VIEW = 16 };

typedef struct OpInfo {
  const char *name;
  int least_inputs, most_inputs; /* most -1: any number */
  uint32_t attrs, flags;
} OpInfo;
extern const OpInfo op_info[OP_COUNT];

/* Defaults: kernel, stride, dilation, factor, groups 1; pad, pad_level, axis 0; eps 1e-5; alpha 0.01; lo -1, hi 1. */
typedef struct Attrs {
  int32_t kernel[2], stride[2], pad[4], dilation[2], groups, pad_level;
  float eps, alpha, lo, hi;
  int32_t axis, factor[2];
  bool chw;
} Attrs;
Attrs attrs_default(void);

/* Operand i of an operation is an activation; others are constants. */
bool operand_is_activation(Op op, uint32_t i);

/* One epilogue step: op applied to what the main operation and the steps before it gave. `args` are the operands after
 * the first. `type` is the step's result. */
typedef struct Step {
  Op op;
  Attrs attrs;
  Type type;
  uint32_t arg_count;
  ValueId args[4];
} Step;
/* The activation among a step's args; NO_VALUE if there is none. */
ValueId step_operand(const Step *step);

/* The unit that computes a layer; chosen by the engine pass, see plan.h. */
typedef enum Engine {
#define ENGINE(ENUM, name, operand, order, instructions, about) ENGINE_##ENUM,
#include "engines.def"
#undef ENGINE
  ENGINE_COUNT
} Engine;
typedef enum OperandOrder { ORDER_ANY, ORDER_PIXELS, ORDER_PIECES } OperandOrder;
extern const char *const engine_name[ENGINE_COUNT], *const engine_about[ENGINE_COUNT];
extern const LayoutKind engine_operand[ENGINE_COUNT]; /* layout of the first operand; LAYOUT_NONE: any */
extern const OperandOrder engine_order[ENGINE_COUNT];
extern const Engine engine_instructions[ENGINE_COUNT];

/* Those between which convolutions and fully connected layers have a choice; their names, a blank in front of each. */
enum {
  PRODUCT_ENGINES = 0
#define ENGINE(ENUM, name, operand, order, instructions, about)
#define PRODUCTS(ENUM, name, operand, order, instructions, about) +1
#include "engines.def"
#undef ENGINE
};
extern const Engine product_engines[PRODUCT_ENGINES];
extern const char product_engine_names[];
Engine product_engine_find(const char *name); /* ENGINE_NONE if none of them has the name */

static inline bool engine_uses_tensor_cores(Engine e) {
  return engine_operand[e] != LAYOUT_NONE;
}
static inline bool engine_uses_planes(Engine e) {
  return engine_operand[e] == LAYOUT_PLANES;
}
/* The engine under whose name the instructions are listed (target.h, backend/mma.def). */
static inline Engine engine_of_instructions(Engine e) {
  return engine_instructions[e];
}
static inline bool engine_uses_wgmma(Engine e) {
  return engine_instructions[e] == ENGINE_WGMMA_B1 || engine_instructions[e] == ENGINE_WGMMA_S8;
}
/* Every target has it, and it computes what any other on tensor cores does. */
static inline bool engine_is_portable(Engine e) {
  return e == ENGINE_MMA_B1 || e == ENGINE_MMA_S8;
}
/* Reads its first operand in pieces (type.h). */
static inline bool engine_reads_pieces(Engine e) {
  return engine_order[e] == ORDER_PIECES;
}
/* Streams weights past one to some images (gemv.h). */
static inline bool engine_is_gemv(Engine e) {
  return e == ENGINE_GEMV_B1 || e == ENGINE_GEMV_S8;
}

/* Block tile of a tensor-core layer: m output positions by n output channels, computed by warps_m x warps_n warps; each
 * warp m/warps_m x n/warps_n. k: 32-bit words of the reduction staged at a time; on wgmma those of each tap; on patches
 * and strips those of a step (patch.h, strip.h). Skinny layers have their channels along m and positions along n, and
 * as many blocks as split_k says share a reduction; groups of four warps have stages and tiles of their own (skinny.h).
 * So have gemv layers, whose warps share it: k is a unit
 * of it, stages are loads ahead (gemv.h). resident: on wgmma, whether a block keeps its weights in shared memory; its
 * groups of four warps then go through tiles of their own where m has less than 16 rows a warp, and where it is
 * GATHERED (staging.h). */
typedef struct Tile {
  uint16_t m, n, k;
  uint8_t warps_m, warps_n, stages, split_k, resident;
} Tile;
enum { STREAMED, RESIDENT, GATHERED }; /* Tile.resident */

static inline uint32_t ceil_div(uint32_t a, uint32_t b) {
  return (a + b - 1) / b;
}

/* Tiles along the channels: together they write whole blocks of the result, zeros behind its last channel. The one warp
 * along the channels of a single tile writes all of a block itself. */
static inline bool tile_is_single(const Tile *t, const Type *result) {
  return t->warps_n == 1 && type_channels(result) <= t->n;
}
static inline uint32_t tile_count_of_channels(const Tile *t, const Type *result) {
  uint32_t written = result->layout.block ? result->layout.pitch : (uint32_t)type_channels(result);
  return tile_is_single(t, result) ? 1 : ceil_div(written, t->n);
}

/* Constant arrays indexed by channel are padded to a multiple of this, so that whole tiles can read them. */
enum { CHANNEL_PADDING = 128 };
static inline bool tile_within_padding(const Tile *t, const Type *result) {
  uint32_t channels = (uint32_t)type_channels(result);
  return t->n <= CHANNEL_PADDING || ceil_div(channels, CHANNEL_PADDING) * CHANNEL_PADDING % t->n == 0;
}

/* Shared memory of a layer on mma.sync. The m + n rows of a stage lie tile_row_words apart, such that the 8-byte loads
 * of half a warp touch every bank once. Rows of results take their place (lines.h). That of wgmma stands in staging.h.
 */
static inline uint32_t tile_row_words(const Tile *t) {
  return t->k == 8 ? 8 : t->k + 8u;
}
static inline uint32_t tile_stage_bytes(const Tile *t) {
  return 4u * ((uint32_t)t->m + t->n) * tile_row_words(t);
}
static inline uint32_t tile_shared_bytes(const Tile *t) {
  uint32_t stages = t->stages * tile_stage_bytes(t), lines = MOST_LINE_PITCH * (uint32_t)t->m * t->warps_n;
  return stages > lines ? stages : lines;
}

/* Grid: x = ceil(batch * x_mul / x_div), no more than x_most where that is not 0; y constant. */
typedef struct Launch {
  uint32_t x_mul, x_div, y, threads, shared_bytes, x_most;
} Launch;

typedef struct Node {
  Op op;
  Attrs attrs;
  Type main_type; /* result of the main operation, before the steps */
  ValueId *inputs;
  uint32_t input_count;
  Step *steps;
  uint32_t step_count;
  ValueId result; /* its type is that of the last step, or main_type */
  SourceLoc loc;
  Engine engine; /* ENGINE_NONE until chosen */
  Tile tile;     /* zeros until chosen */
  Launch launch; /* zeros until chosen */
} Node;

typedef enum ValueKind { VALUE_INPUT, VALUE_CONST, VALUE_RESULT } ValueKind;

#define NO_OFFSET UINT64_MAX
typedef struct Value {
  ValueKind kind;
  Type type;
  const char *name; /* unique in the graph; never NULL */
  const void *data; /* VALUE_CONST: dense row-major elements as in type.h; borrowed (mapped file or arena), aligned to
                       its element size */
  uint32_t definition;   /* NodeId of the node that gives it, see graph_definition; kept by the functions below */
  uint32_t uses;         /* see graph_use_count; kept by the functions below */
  uint64_t arena_offset; /* VALUE_RESULT: bytes from the arena's start at the largest batch; NO_OFFSET until chosen, and
                            for network outputs, which have memory of their own */
} Value;

typedef uint32_t NodeId; /* index into nodes; valid until nodes are inserted or compacted */
#define NO_NODE UINT32_MAX

typedef struct Graph {
  Context *context;
  const char *name;
  Value *values;
  uint32_t value_count, value_capacity;
  Node *nodes;
  uint32_t node_count, node_capacity;
  ValueId *inputs, *outputs; /* outputs are results (never inputs or constants: the frontend puts copy in between) */
  uint32_t input_count, output_count;
  uint32_t max_batch;   /* largest batch; 0 until chosen */
  uint64_t arena_bytes; /* for max_batch images; 0 until planned */
  ValueId *name_table;  /* graph.c: hash table from names to values */
  uint32_t name_slots;
} Graph;

Graph *graph_new(Context *context, const char *name);
/* Names of any value: NULL gives a fresh one, a taken one gets a suffix. */
ValueId graph_add_input(Graph *g, const char *name, Type type);
ValueId graph_add_const(Graph *g, const char *name, Type type, const void *data); /* data is borrowed */
ValueId graph_add_result(Graph *g, const char *name, Type type);
void graph_add_output(Graph *g, ValueId value);
/* Adds a node at the end (position = g->node_count) or before another. Copies `inputs`. Result type must be set in
 * `type` for operations whose type is not implied (quantize, reshape, thresholds); elsewhere it is inferred, here, and
 * `type` gives the layout only (callers that have no type pass (Type){0}). What is wrong is reported at loc. attrs
 * NULL: the defaults. name NULL: a fresh one. Returns its result value. */
ValueId graph_insert_node(Graph *g, NodeId position, Op op, const Attrs *attrs, const ValueId *inputs,
                          uint32_t input_count, Type type, const char *name, SourceLoc loc);
/* Adds a step and infers its type and the result's (whose layout is kept). */
void graph_append_step(Graph *g, NodeId node, Op op, const Attrs *attrs, const ValueId *args, uint32_t arg_count,
                       Type type);
/* A node at the end whose result value exists and whose operands, steps and types the caller fills in; nothing is
 * inferred. For readers of graphs, who call graph_index when all nodes are filled. */
Node *graph_add_bare_node(Graph *g, Op op, ValueId result, SourceLoc loc);
void graph_index(Graph *g); /* finds definitions and counts uses anew */
/* Operands and results of nodes are changed by these alone, which keep definitions and uses. The inputs are copied. */
void graph_set_inputs(Graph *g, NodeId node, const ValueId *inputs, uint32_t input_count);
void graph_set_input(Graph *g, NodeId node, uint32_t index, ValueId value);
void graph_take_result(Graph *g, NodeId node, NodeId from); /* deletes `from`, whose result becomes this node's */
void graph_delete_node(Graph *g, NodeId node);              /* op becomes OP_NONE */
void graph_compact(Graph *g);                            /* drops deleted nodes and nodes whose results nobody uses */
NodeId graph_definition(const Graph *g, ValueId value);  /* node that defines it, NO_NODE for inputs and constants */
uint32_t graph_use_count(const Graph *g, ValueId value); /* operands of nodes and steps, and network outputs */
void graph_replace_uses(Graph *g, ValueId old_value, ValueId new_value); /* in nodes, steps and outputs */
bool graph_is_output(const Graph *g, ValueId value);
ValueId graph_find(const Graph *g, const char *name);                /* NO_VALUE if there is none */
const char *graph_rename(Graph *g, ValueId value, const char *name); /* a taken name gets a suffix; returns the name */

static inline Value *graph_value(const Graph *g, ValueId v) {
  return &g->values[v];
}
static inline Type *graph_type(const Graph *g, ValueId v) {
  return &g->values[v].type;
}

#endif
