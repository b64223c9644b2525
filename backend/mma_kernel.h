/* A tensor-core layer's kernel under construction: what kernel_mma.c, the mma_*.c files and those of wgmma share. The
 * picture of the whole stands in README.md.
 *
 * Each function emits code where it is called; PtxValues of this struct are registers of the kernel, ints are known
 * while compiling. A warp is seen as lane = 4 * group + quad, as mma.def has it.
 */
#ifndef BACKEND_MMA_KERNEL_H
#define BACKEND_MMA_KERNEL_H

#include "../ir/lines.h"
#include "../ir/staging.h"
#include "emit.h"
#include "mma.h"
#include "weights.h"

/* Instruction tiles of 16 x 8 a warp; on wgmma SUM_TILES more may hold columns that sum the input. */
enum { MAX_ROW_TILES = 2, MAX_COLUMN_TILES = 32, SUM_TILES = SUM_ROWS / 8 };

/* A row of the input tile that a thread copies: a pixel of the result, seen as the window of input pixels that it sums.
 */
typedef struct CopyRow {
  PtxValue image; /* first position of its image */
  PtxValue y, x;  /* input pixel of the window's first tap; y is far outside for rows past the last pixel */
} CopyRow;

/* How the threads share the copy of an input chunk: each copies `vector` words at one place of every rows_apart-th row.
 */
typedef struct InputCopy {
  int vector, vectors_per_row, rows_apart, row_count;
  PtxValue word, first_row;
  CopyRow *rows;
} InputCopy;

/* A row of the block's tile: its position in the grid of rows, whether there is one, and the pixel there. */
typedef struct RowPlace {
  PtxValue position, exists;
  Place at;
} RowPlace;

/* Constants of the epilogue, so many bytes for each tile of channels: all of them in device memory, or those of the
 * block's tile in shared memory, where the kernel has copied them. */
typedef struct Table {
  bool is_shared;
  PtxValue global, shared; /* addresses */
  uint32_t tile_bytes;     /* of a tile of channels; 0 where nothing is to be copied */
} Table;

typedef struct Mma {
  Kernel *k;
  const Node *node;
  const MmaInstruction *instruction;
  PackedWeights w;
  Tensor in, out;
  Epilogue epilogue;
  bool signs;          /* the epilogue is thresholds alone, done by mma_signs.c */
  bool sign_pairs;     /* two results at a time */
  int sign_width;      /* words of a row of the table: 1, or a multiple of 4 */
  int64_t sign_bound;  /* |sum| at most */
  Table table;         /* thresholds as mma_signs_*.c read them */
  PtxValue sign_flips; /* device constant: bits of channels that fall; the immediate 0 where none does */
  PtxValue sign_mask;  /* the same: bits of channels that exist; the immediate -1 where all do */
  Tile tile;
  int row_tiles, column_tiles; /* instruction tiles a warp */
  int row_tile_rows;           /* rows between a lane's instruction tiles */
  int row_bytes;               /* mma_row_bytes */
  int pair_count, chunks;      /* of the reduction: pairs of planes, chunks of tile.k words in each */
  const uint32_t *pair_list;   /* as mma_pair_word gives them */
  PtxValue weights, pairs, border, row_class, column_class; /* device constants */
  PtxValue thread, lane, group, quad;
  PtxValue first_position, first_channel;         /* of the block's tile */
  PtxValue warp_row, warp_column;                 /* of the warp in the tile */
  Grid grid;                                      /* the rows of tiles are its positions: those of the result */
  RowPlace (*place)(struct Mma *m, PtxValue row); /* of the tile */
  PtxValue total_positions;                       /* of the batch */
  PtxValue shared;
  PtxValue lines;     /* address of the warp's rows of results, where these are stored as lines; */
  int line_row_tiles; /* row tiles that lie there together */
  InputCopy copy;
  PtxValue accumulators[MAX_ROW_TILES][MAX_COLUMN_TILES + SUM_TILES][4];
  int sum_tiles;                   /* behind column_tiles: SUM_TILES or none */
  PtxValue sums[MAX_ROW_TILES][2]; /* S2 (weights.h) of rows group and group + 8 of each row tile; if w.sum_scale */
} Mma;

/* A place in the reduction: registers that advance with it. `word` is that of its pair (below), `after` that of the
 * next pair, number `pair`. */
typedef struct Position {
  PtxValue chunk, word, after, pair;
} Position;

/* kernel_mma.c: the parts of a kernel that wgmma has too. */
RowPlace mma_place(Mma *m, PtxValue row); /* rows are positions from first_position on */
/* One that the target has, by the signedness of its operands; NULL after a report. */
const MmaInstruction *mma_instruction_for(Kernel *k, bool a_signed, bool b_signed);
bool mma_find_instruction(Mma *m); /* m->instruction: the input is A */
/* On wgmma: a product of a, as text a descriptor or the registers of a fragment, and of descriptor b, `columns` wide,
 * into the accumulators of a row tile; `adds`: to what they hold (PTX ISA, "wgmma.mma_async"). */
void mma_group_multiply(Mma *m, int row_tile, uint32_t columns, const char *a, PtxValue b, PtxValue adds);
/* As many blocks share a multiprocessor as its shared memory is planned for, so registers have to be shared too. */
void mma_share_registers(Mma *m);
bool mma_bad_tile(const Mma *m); /* reports it; false */
void mma_bind(Mma *m);           /* constants and pairs of planes; m->w is packed */
void mma_place_lane(Mma *m);     /* thread, lane, group, quad, shared */
void mma_make_accumulators(Mma *m);

/* A pair of planes is a word: weight plane | input plane << 8 | shift before it << 16. */
enum { PAIR_SHIFTS = 1 << 16 };
PtxValue mma_pair_word(Mma *m, PtxValue pair);
PtxValue mma_pair_shifts(Mma *m, PtxValue pair);   /* predicate: of lower significance than the pair before */
PtxValue mma_pair_is_first(Mma *m, PtxValue pair); /* predicate: of weight plane 0, which S2 goes with */
void mma_shift(Mma *m, int row_tile);              /* its accumulators double */
void mma_shift_if(Mma *m, PtxValue due);           /* all of them, on a predicate */
Position mma_position_start(Mma *m);
void mma_position_next(Mma *m, Position at);

/* mma_stage.c: where things lie in shared memory. A stage holds tile.m input rows and tile.n weight rows of tile.k
 * words each. `word` is the place in a row, a multiple of the words that are copied at once. */
PtxValue mma_stage(Mma *m, PtxValue stage);
PtxValue mma_input_offset(Mma *m, PtxValue row, PtxValue word); /* bytes from the stage's start */
PtxValue mma_weight_offset(Mma *m, PtxValue row, PtxValue word);
int mma_row_bytes(const Mma *m); /* between rows of a stage, at the same place of each */

/* mma_sync.c: the reduction on mma.sync. */
enum { MOST_SYNC_STAGES = 4 };
void mma_reduce_sync(Mma *m);
/* One instruction: adds the product of fragments to the accumulators of row tile i and column tile j. */
void mma_multiply(Mma *m, int i, int j, const PtxValue a[4], const PtxValue b[2]);

/* mma_copy.c: global memory to a stage, asynchronously: a chunk's input and its weights. */
void mma_place_copies(Mma *m);
void mma_copy_input(Mma *m, Position at, PtxValue stage);
void mma_copy_weights(Mma *m, Position at, PtxValue stage);

/* One row of the warp's results: a position. Where it is no pixel (is_pixel), pixel 0 is read and zeros are stored.
 * Past the last position (exists) nothing is, and `position` is negative. */
typedef struct MmaRow {
  PtxValue pixel, is_pixel;
  PtxValue position, exists; /* of the result */
  PtxValue border;           /* address of the correction of the lane's first channel */
} MmaRow;

/* mma_signs.c: the address of a group of `channels` channels in the table, of the group that begins at an instruction
 * tile. */
PtxValue mma_table_at(Mma *m, int column_tile, int channels, int64_t bytes);

/* mma_rows.c */
/* m->sums: of the quad's four parts, times a factor, - sum_scale * S2 of whole rows; before the two that finish. */
void mma_finish_sums(Mma *m, int32_t factor);
bool mma_has_more_columns(const Mma *m); /* than channels: some columns of the tiles are none */
/* rows[row tile][half]; row.pixel only where asked for. Returns the position of the row that the lane itself has
 * placed, lane 16i + r that of row r of row tile i. */
PtxValue mma_place_rows(Mma *m, MmaRow rows[][2], PtxValue lane_channel, bool pixels);
PtxValue mma_of_row(Mma *m, PtxValue own, PtxValue source); /* `own` of the lane `source` */
PtxValue mma_tile_channel(Mma *m, int column_tile);         /* first channel of an instruction tile */
int mma_run_tiles(const Mma *m, Layout l);                  /* that share a run of bits of a lane */
PtxValue mma_run_start(Mma *m, Layout l, PtxValue channel); /* bit, or byte, in the block of channels */
PtxValue mma_run_byte(Mma *m, Layout l, PtxValue channel);  /* byte, in the row of all channels of a position */
/* Stores the lane's runs whose last instruction tile is column_tile: words[row tile][half][plane]. */
void mma_store_run(Mma *m, MmaRow rows[][2], PtxValue words[][2][8], int column_tile);
/* The same of bytes in pieces: words[row tile][half][word]. */
void mma_store_bytes(Mma *m, MmaRow rows[][2], PtxValue words[][2][8], int column_tile);

/* mma_lines.c: results in a layout that keeps channels in their order, as lines of memory that a warp puts together in
 * shared memory, m.lines. */
enum { MOST_KEPT = LINE_BYTES / 8 }; /* registers of a row of a line: words, or pairs of bytes */
typedef struct Lines {
  PtxValue places;                            /* as mma_place_rows gives them */
  bool follow;                                /* positions of rows follow each other */
  PtxValue left;                              /* bytes from the warp's first channel to its last or that of the pixel */
  PtxValue put;                               /* address in shared memory: of the lane's first elements */
  PtxValue to;                                /* address of the warp's first channel in position 0 */
  PtxValue kept[MAX_ROW_TILES][2][MOST_KEPT]; /* the lane's elements of the line under way */
  PtxValue before[MAX_ROW_TILES][2][MOST_KEPT]; /* words of the last instruction tile of the line before */
} Lines;
bool mma_has_lines(const Mma *m);
/* m.lines; `first`: where those of the block's first warp begin; the warp's lie there for so many row tiles together.
 */
void mma_lines_place(Mma *m, PtxValue first, int row_tiles);
int mma_line_tiles(const Mma *m); /* instruction tiles of a line */
Lines mma_lines_begin(Mma *m, PtxValue places);
/* An element of the lane, first of column 0, then of column 1 of an instruction tile. */
void mma_lines_keep(Mma *m, Lines *l, int row_tile, int half, int column_tile, int column, PtxValue stored);
/* The lines whose last instruction tile is column_tile. */
void mma_lines_store(Mma *m, Lines *l, int column_tile);

/* mma_signs.c: results that are thresholds alone, packed from the signs of differences. */
bool mma_signs_bind(Mma *m); /* false where the layer is of another kind; its constants otherwise */
void mma_signs_finish(Mma *m);

/* mma_finish.c: from accumulators to the stored result. */
void mma_finish(Mma *m);

#endif
