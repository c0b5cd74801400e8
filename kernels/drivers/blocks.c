#define _POSIX_C_SOURCE 200809L
#include "blocks.h"

#include "memory.h"
#include "pool.h"

typedef struct {
    const lpb_blocks *blocks;
    lpb_status status; /* set by any part that fails; never reset */
} job;

/* Blocks [first, last). */
static void part(void *argument, int64_t first, int64_t last) {
    job *j = argument;
    const lpb_blocks *b = j->blocks;
    void *memory = lpb_new_memory(b->memory_bytes);
    if (!memory) {
        __atomic_store_n(&j->status, LPB_NO_MEMORY, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t block = first; block < last; block++) {
        const int64_t row = block * LPB_BLOCK_ROWS, left = b->rows - row;
        const lpb_status status = b->run(b->chain, b->x + row * b->x_row, left < LPB_BLOCK_ROWS ? left : LPB_BLOCK_ROWS,
                                         b->x_row, b->out + row * b->out_row, memory);
        if (status != LPB_OK) __atomic_store_n(&j->status, status, __ATOMIC_RELAXED);
    }
    free(memory);
}

lpb_status lpb_blocks_run(const lpb_blocks *blocks, int threads) {
    job j = {blocks, LPB_OK};
    lpb_parallel(part, &j, (blocks->rows + LPB_BLOCK_ROWS - 1) / LPB_BLOCK_ROWS, threads);
    return j.status;
}
