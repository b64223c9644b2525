/* Networks around one layer, for `apnn-bench layer`: compiled in process, with the reference they must equal. */
#ifndef BENCH_LAYER_NETWORK_H
#define BENCH_LAYER_NETWORK_H

#include "../../passes/tile.h"

enum { PRECISION_NAME = 12, NETWORK_ERROR = 2000 };

/* One layer and its precisions, by the names of the language. A matrix product is a linear layer: M is its batch. */
typedef struct LayerSpec {
  bool conv;
  int32_t batch;                                                    /* M, or images */
  int32_t height, width, channels_in, channels_out, kernel, stride; /* of a product only the channels: K and N */
  char w[PRECISION_NAME], a[PRECISION_NAME], out[PRECISION_NAME];   /* "bipolar", "i4"; "u2"; "u2" or "i32" */
  const Target *target;
  Engine engine;       /* ENGINE_NONE: the cost model's choice */
  Tile tile;           /* all zero: the cost model's choice */
  bool assemble;       /* to a cubin, where ptxas is found; otherwise PTX */
  uint32_t candidates; /* tiles to list, up to MOST_TILES */
} LayerSpec;

/* "w1a2" (w1 is bipolar, wN is iN, aN is uN) or two names with an x between, "ternaryxu4". False where it is neither.
 */
bool precision_read(const char *text, LayerSpec *spec);
/* A type's name, for results: u1..u8, i2..i8, bipolar, ternary, i32. */
bool precision_is_result(const char *name);

int32_t spec_pad(const LayerSpec *spec);                 /* on every side */
int32_t spec_size_out(const LayerSpec *s, int32_t size); /* of a height or width; below 1: the window does not fit */

/* A layer that was compiled. The network's outputs are, first, the layer's result (with a few channels more behind it
 * where it is quantized), then that of a layer that reads it. */
typedef struct LayerNetwork {
  Context *context;
  Graph *reference;      /* as written; no pass has run */
  ValueId layer, result; /* of the reference: the sums, and what is made of them */
  Engine engine;
  LayoutKind reads, writes; /* how the layer's operand and its result lie in memory */
  Tile tile;
  int planes;         /* one-bit products for each product of numbers; 0 on engines that do not work on planes */
  double tera_ops;    /* the target's rate for the engine; 0 if it has none */
  EngineList engines; /* worth measuring; listed where there are candidates to list */
  TileList tiles;     /* of the engine, the best by estimate */
  bool assembled;     /* the file is a cubin */
  Text bytes;         /* the compiled file */
} LayerNetwork;

/* False with words in `error`. Free with layer_network_free in either case. */
bool layer_network_new(const LayerSpec *spec, LayerNetwork *out, char error[NETWORK_ERROR]);
void layer_network_free(LayerNetwork *network);
void layer_network_reports(const LayerNetwork *network, char error[NETWORK_ERROR]); /* what the compiler said */

/* layer_check.c: whether a run's outputs are the reference's, bit for bit. Large layers are sampled, and with
 * `sample` all are: some hundred elements or more, of random images and channels. False with words where the reference
 * cannot be computed. */
typedef enum Exactness { EXACT_NO, EXACT_ALL, EXACT_SAMPLED } Exactness;
bool layer_network_check(const LayerNetwork *network, uint32_t batch, bool sample, const void *const *inputs,
                         const void *const *outputs, Exactness *exact, char error[NETWORK_ERROR]);

#endif
