/* Batched products: shapes that need no kernel, products that merge into one, and the split over threads. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>

#include "isa.h"
#include "pool.h"

enum { STACK_SCRATCH = 16384, ROWS_PER_PART = 64 };

typedef struct {
    const lpb_isa *isa;
    lpb_dtype dtype;
    const lpb_gemm *gemm;
    int64_t scratch_bytes;
    int64_t parts_per_item; /* 1, or the row blocks that every item is cut into */
    lpb_status status;      /* set to LPB_NO_MEMORY by any part; never reset */
} job;

static void run_items(job *j, const lpb_gemm *gemm, int64_t first, int64_t last, void *scratch) {
    j->isa->gemm[j->dtype](gemm, first, last, scratch);
}

/* Rows [row, row + rows) of item `item`, as a product of its own. */
static lpb_gemm rows_of(const lpb_gemm *g, lpb_dtype dtype, int64_t item, int64_t row, int64_t rows) {
    const int64_t in = dtype == LPB_F32 ? 4 : dtype == LPB_BF16 ? 2 : 1;
    lpb_gemm cut = *g;
    cut.batch = 1;
    cut.m = rows;
    cut.a = (const char *)g->a + (item * g->a_batch + row * g->a_row) * in;
    cut.b = (const char *)g->b + item * g->b_batch * in;
    cut.c = (char *)g->c + (item * g->c_batch + row * g->c_row) * 4;
    if (g->bias) cut.bias = g->bias + item * g->bias_batch + (g->bias_axis == LPB_ROW_BIAS ? row : 0);
    return cut;
}

static void part(void *argument, int64_t first, int64_t last) {
    job *j = argument;
    char local[STACK_SCRATCH] __attribute__((aligned(64)));
    void *scratch = local;
    if (j->scratch_bytes > STACK_SCRATCH) {
        scratch = NULL;
        if (posix_memalign(&scratch, 64, (size_t)j->scratch_bytes)) {
            __atomic_store_n(&j->status, LPB_NO_MEMORY, __ATOMIC_RELAXED);
            return;
        }
    }
    if (j->parts_per_item == 1) {
        run_items(j, j->gemm, first, last, scratch);
    } else {
        for (int64_t q = first; q < last; q++) {
            const int64_t item = q / j->parts_per_item, block = q % j->parts_per_item;
            const int64_t from = j->gemm->m * block / j->parts_per_item;
            const int64_t to = j->gemm->m * (block + 1) / j->parts_per_item;
            const lpb_gemm cut = rows_of(j->gemm, j->dtype, item, from, to - from);
            run_items(j, &cut, 0, 1, scratch);
        }
    }
    if (scratch != local) free(scratch);
}

lpb_status lpb_gemm_run(const lpb_isa *isa, lpb_dtype dtype, const lpb_gemm *gemm, int threads) {
    lpb_gemm g = *gemm;
    if (g.batch < 0 || g.m < 0 || g.n < 0 || g.k < 0) return LPB_BAD_ARGUMENT;
    if (dtype == LPB_I8 && (g.alpha != 1.0f || (g.beta != 0.0f && g.beta != 1.0f) || g.bias_axis != LPB_NO_BIAS ||
                            g.activation != LPB_LINEAR))
        return LPB_BAD_ARGUMENT;
    if (g.batch == 0 || g.m == 0 || g.n == 0) return LPB_OK;
    if (g.bias_axis == LPB_NO_BIAS) g.bias = NULL;

    /* items that share B and lie one behind the other are one taller item */
    if (g.batch > 1 && g.b_batch == 0 && g.a_batch == g.m * g.a_row && g.c_batch == g.m * g.c_row &&
        (g.bias_axis == LPB_NO_BIAS || (g.bias_axis == LPB_COLUMN_BIAS && g.bias_batch == 0))) {
        g.m *= g.batch;
        g.batch = 1;
    }
    job j = {.isa = isa, .dtype = dtype, .gemm = &g, .parts_per_item = 1};
    if (g.batch < threads) {
        const int64_t wanted = (threads + g.batch - 1) / g.batch, possible = (g.m + ROWS_PER_PART - 1) / ROWS_PER_PART;
        j.parts_per_item = wanted < possible ? wanted : possible;
    }
    j.scratch_bytes = isa->gemm_scratch[dtype](&g);
    lpb_parallel(part, &j, g.batch * j.parts_per_item, threads);
    return j.status;
}
