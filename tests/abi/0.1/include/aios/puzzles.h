/* puzzles.h: sets of puzzles: Sudoku and mazes that are made, tasks of ARC-AGI, and the folders of the public HRM reference.
 *
 * A set is rows of tokens: an example has `length` inputs and as many labels, each under vocabulary_size.  Examples belong to puzzles,
 * puzzles to groups (a puzzle and its augmentations), in the layout of the reference (github.com/sapientinc/HRM):
 *
 *   FOLDER/SPLIT/dataset.json                       pad_id, ignore_label_id, blank_identifier_id, vocab_size, seq_len, …, sets ["all"]
 *   FOLDER/SPLIT/all__inputs.npy, all__labels.npy   (examples, length) integers
 *   FOLDER/SPLIT/all__puzzle_identifiers.npy        (puzzles): the row of the puzzle's embedding
 *   FOLDER/SPLIT/all__puzzle_indices.npy            (puzzles + 1): its examples
 *   FOLDER/SPLIT/all__group_indices.npy             (groups + 1): the group's puzzles
 *
 * Everything drawn comes from a seed and is the same on every machine.  A set is immutable: readable from several threads. */
#ifndef AIOS_PUZZLES_H
#define AIOS_PUZZLES_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_puzzles aios_puzzles;

enum { AIOS_PUZZLE_OTHER = 0, AIOS_PUZZLE_SUDOKU = 1, AIOS_PUZZLE_MAZE = 2, AIOS_PUZZLE_ARC = 3 };

typedef struct aios_puzzles_info {
    uint32_t struct_size;
    int32_t vocabulary_size;
    int32_t length;              /* tokens of an input and of its labels */
    int32_t pad_id;              /* what fills an input */
    int32_t ignore_label_id;     /* labels of this value don't count; -1: there is none */
    int32_t blank_identifier_id; /* the identifier that stands for no puzzle */
    int32_t identifier_count;    /* rows of the embedding of puzzles */
    int32_t kind;                /* AIOS_PUZZLE_…; OTHER where a folder does not tell */
    uint64_t examples, puzzles, groups;
} aios_puzzles_info;
#define AIOS_PUZZLES_INFO_INIT                                                                                                             \
    {                                                                                                                                      \
        sizeof(aios_puzzles_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                            \
    }

/* ---- sets -------------------------------------------------------------------------------------------------------- */

/* Reads FOLDER/SPLIT; every number of it is checked.  Errors: NOT_FOUND, CORRUPT (file, value, what would be right), UNSUPPORTED (a
 * vocabulary above 256, more than one set), OUT_OF_MEMORY. */
AIOS_API aios_status aios_puzzles_open(aios_context *context, const char *folder, const char *split, aios_puzzles **puzzles);
/* Writes FOLDER/SPLIT, dataset.json last.  Errors: IO. */
AIOS_API aios_status aios_puzzles_save(const aios_puzzles *puzzles, const char *folder, const char *split);
AIOS_API void aios_puzzles_destroy(aios_puzzles *puzzles); /* NULL is fine */
AIOS_API aios_status aios_puzzles_get_info(const aios_puzzles *puzzles, aios_puzzles_info *info);
/* `length` tokens each; identifier may be NULL.  Ignored labels are -100.  Errors: OUT_OF_RANGE. */
AIOS_API aios_status aios_puzzles_example(const aios_puzzles *puzzles, uint64_t index, int32_t *inputs, int32_t *labels,
                                          int32_t *identifier);

/* Where a training pass stands; zero at first.  Two numbers to save. */
typedef struct aios_puzzles_position {
    uint64_t epoch, visit; /* visit: groups of this epoch that were seen */
} aios_puzzles_position;
/* The next `batch` examples: inputs and labels (batch, length), identifiers (batch).  Each epoch visits every group once in an
 * order of its own; a visit takes one puzzle of the group, and its examples in any order as far as the batch has room. */
AIOS_API aios_status aios_puzzles_draw(const aios_puzzles *puzzles, uint64_t seed, aios_puzzles_position *position, int32_t batch,
                                       int32_t *inputs, int32_t *labels, int32_t *identifiers);

/* ---- Sudoku ------------------------------------------------------------------------------------------------------ */

/* size 4 (boxes 2 x 2), 6 (2 rows x 3 columns) or 9 (3 x 3); cells row by row, 0 for a blank.  Counts solutions up to `most` and keeps the
 * first; backtracks: wrong guesses on the way, after what follows by itself was filled in (only value of a cell, only cell of a value);
 * NULL is fine.  Errors: OUT_OF_RANGE (size, a digit). */
AIOS_API aios_status aios_sudoku_solve(int32_t size, const uint8_t *cells, int32_t most, uint8_t *solution, int32_t *solutions,
                                       int64_t *backtracks);

typedef struct aios_sudoku_options {
    uint32_t struct_size;
    int32_t size;           /* 4, 6 or 9 */
    int32_t clues;          /* clues are taken away in any order as long as one solution is left, down to this many; 0: as far as it goes */
    int32_t min_backtracks; /* easier puzzles are thrown away */
    int32_t augmentations;  /* further puzzles per puzzle: digits, bands, rows, stacks, columns permuted, transposed */
    int32_t reserved;
    uint64_t count, seed;
} aios_sudoku_options;
#define AIOS_SUDOKU_OPTIONS_INIT                                                                                                           \
    {                                                                                                                                      \
        sizeof(aios_sudoku_options), 9, 0, 0, 0, 0, 1000, 0                                                                                \
    }
/* Different puzzles of one solution each.  other (or NULL): a set of which none may occur.  Tokens: 0 pad, 1 blank, d + 1.
 * Errors: OUT_OF_RANGE; NOT_FOUND where `count` different ones were not found in many tries. */
AIOS_API aios_status aios_puzzles_make_sudoku(aios_context *context, const aios_sudoku_options *options, const aios_puzzles *other,
                                              aios_puzzles **puzzles);
/* The public Sudoku-Extreme layout: a heading "source,question,answer,rating", then lines; blanks are '.' or '0'.  The first `most` lines
 * (0: all) whose rating is at least min_rating.  Errors: CORRUPT with the line. */
AIOS_API aios_status aios_puzzles_read_sudoku_csv(aios_context *context, const char *path, uint64_t most, double min_rating,
                                                  int32_t augmentations, uint64_t seed, aios_puzzles **puzzles);

/* ---- mazes ------------------------------------------------------------------------------------------------------- */

typedef struct aios_maze_options {
    uint32_t struct_size;
    int32_t size;       /* side of the square, walls included: 5 to 256 */
    int32_t min_length; /* steps of the path at the least */
    int32_t openings;   /* walls that are broken, so that there are other ways */
    int32_t dihedral;   /* 1: with the seven turned and mirrored forms */
    int32_t reserved;
    uint64_t count, seed;
} aios_maze_options;
#define AIOS_MAZE_OPTIONS_INIT                                                                                                             \
    {                                                                                                                                      \
        sizeof(aios_maze_options), 30, 0, 0, 0, 0, 1000, 0                                                                                 \
    }
/* Mazes with one shortest path each.  Tokens 1 … 5: wall '#', floor ' ', 'S', 'G', path 'o' (in the labels).  other as above. */
AIOS_API aios_status aios_puzzles_make_mazes(aios_context *context, const aios_maze_options *options, const aios_puzzles *other,
                                             aios_puzzles **puzzles);

/* ---- ARC-AGI ----------------------------------------------------------------------------------------------------- */

/* Tasks of a folder (NAME.json: {"train": [{"input": grid, "output": grid}, …], "test": […]}) as the reference lays them out: grids in
 * 30 x 30, tokens 0 pad, 1 end, colour + 2; an identifier per task and augmentation, from 1.  The train set gets every pair of
 * `training` and the "train" pairs of `evaluation`, the test set the "test" pairs of `evaluation`; either folder may be NULL.
 * augmentations: further forms per task (one of 8 turns and mirrorings, colours 1 to 9 permuted); train grids stand anywhere in the 30
 * x 30. A test set without evaluation tasks is NULL.  Errors: NOT_FOUND, CORRUPT (file and what). */
AIOS_API aios_status aios_puzzles_read_arc(aios_context *context, const char *training, const char *evaluation, int32_t augmentations,
                                           uint64_t seed, aios_puzzles **train, aios_puzzles **test);

#ifdef __cplusplus
}
#endif
#endif
