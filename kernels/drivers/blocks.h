/* Rows of data in blocks that go through a whole chain while they are in cache, spread over threads. */
#ifndef LPARBENCH_BLOCKS_H
#define LPARBENCH_BLOCKS_H

#include "isa/isa.h"

/* One block, at most LPB_BLOCK_ROWS rows, in `memory` of the calling thread's own. */
typedef lpb_status (*lpb_block)(const void *chain, const float *x, int64_t rows, int64_t x_row, float *out,
                                void *memory);

typedef struct {
    lpb_block run;
    const void *chain;
    int64_t memory_bytes; /* that `run` needs */
    const float *x;
    int64_t rows, x_row;
    float *out;
    int64_t out_row;
} lpb_blocks;

lpb_status lpb_blocks_run(const lpb_blocks *blocks, int threads);

#endif
