/* Batched products: shapes that need no kernel, products that merge into one, and the split over threads. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"
#include "pool.h"

enum { STACK_SCRATCH = 16384, ROWS_PER_PART = 64 };

typedef struct {
    const lpb_kernel *kernel;
    lpb_dtype dtype;
    const lpb_gemm *gemm;
    int64_t scratch_bytes;
    int64_t parts_per_item; /* 1, or the row blocks that every item is cut into */
    lpb_status status;      /* set to LPB_NO_MEMORY by any part; never reset */
} job;

/* Rows [row, row + rows) of item `item`, as a product of its own. */
static lpb_gemm rows_of(const lpb_gemm *g, lpb_dtype dtype, int64_t item, int64_t row, int64_t rows) {
    const int64_t in = dtype == LPB_FLOAT32 ? 4 : dtype == LPB_BFLOAT16 ? 2 : 1;
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
        j->kernel->gemm(j->gemm, first, last, scratch);
    } else {
        for (int64_t q = first; q < last; q++) {
            const int64_t item = q / j->parts_per_item, block = q % j->parts_per_item;
            const int64_t from = j->gemm->m * block / j->parts_per_item;
            const int64_t to = j->gemm->m * (block + 1) / j->parts_per_item;
            const lpb_gemm cut = rows_of(j->gemm, j->dtype, item, from, to - from);
            j->kernel->gemm(&cut, 0, 1, scratch);
        }
    }
    if (scratch != local) free(scratch);
}

void lpb_finish(const lpb_gemm *g, lpb_activate_fn activate, const float *raw, int64_t width, char *c,
                const float *row_bias, const float *column_bias, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++, c += g->c_row * (int64_t)sizeof(float), raw += width) {
        float row[LPB_BLOCK_ROWS] __attribute__((aligned(64))) = {0.0f};
        float *to = (float *)c;
        for (int64_t j = 0; j < columns; j++) row[j] = g->alpha * raw[j];
        if (g->beta != 0.0f)
            for (int64_t j = 0; j < columns; j++) row[j] += g->beta * to[j];
        if (row_bias)
            for (int64_t j = 0; j < columns; j++) row[j] += row_bias[i];
        if (column_bias)
            for (int64_t j = 0; j < columns; j++) row[j] += column_bias[j];
        activate(row, lpb_round_up(columns, LPB_ALIGN), g->activation, g->slope);
        memcpy(to, row, (size_t)columns * sizeof(float));
    }
}

/* bfloat16 is the upper half of a float, so both operands become floats exactly. */
static void widen(const uint16_t *from, int64_t rows, int64_t columns, int64_t row, int64_t column,
                  float *restrict to) {
    for (int64_t i = 0; i < rows; i++, from += row, to += columns)
        for (int64_t j = 0; j < columns; j++) {
            const uint32_t bits = (uint32_t)from[j * column] << 16;
            memcpy(to + j, &bits, sizeof bits);
        }
}

/* One item as floats, contiguous. */
static lpb_gemm widened(const lpb_gemm *g, const float *a, const float *b) {
    lpb_gemm f = *g;
    f.batch = 1;
    f.a = a, f.a_row = g->k, f.a_col = 1;
    f.b = b, f.b_row = g->n, f.b_col = 1;
    f.b_packed = NULL;
    return f;
}

int64_t lpb_bf16_by_f32_packed_bytes(const lpb_gemm *g) { return g->k * g->n * (int64_t)sizeof(float); }

void lpb_bf16_by_f32_pack(const lpb_gemm *g, void *packed) { widen(g->b, g->k, g->n, g->b_row, g->b_col, packed); }

int64_t lpb_bf16_by_f32_scratch(const lpb_kernel *f32, const lpb_gemm *g) {
    const lpb_gemm f = widened(g, NULL, NULL);
    const int64_t floats = lpb_round_up(g->m * g->k, LPB_ALIGN) + lpb_round_up(g->k * g->n, LPB_ALIGN);
    return floats * (int64_t)sizeof(float) + f32->scratch(&f);
}

void lpb_bf16_by_f32(const lpb_kernel *f32, const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    float *a = scratch, *b = a + lpb_round_up(g->m * g->k, LPB_ALIGN);
    lpb_gemm f = widened(g, a, g->b_packed ? g->b_packed : b);
    for (int64_t item = first; item < last; item++) {
        if (item == first || g->a_batch != 0)
            widen((const uint16_t *)g->a + item * g->a_batch, g->m, g->k, g->a_row, g->a_col, a);
        if (!g->b_packed && (item == first || g->b_batch != 0))
            widen((const uint16_t *)g->b + item * g->b_batch, g->k, g->n, g->b_row, g->b_col, b);
        f.c = (float *)g->c + item * g->c_batch;
        if (g->bias) f.bias = g->bias + item * g->bias_batch;
        f32->gemm(&f, 0, 1, b + lpb_round_up(g->k * g->n, LPB_ALIGN));
    }
}

lpb_status lpb_gemm_run(const lpb_isa *isa, lpb_dtype dtype, const lpb_gemm *gemm, int threads) {
    lpb_gemm g = *gemm;
    const lpb_kernel *kernel = lpb_kernel_of(isa, dtype);
    if (!kernel) return LPB_BAD_ARGUMENT;
    if (g.batch < 0 || g.m < 0 || g.n < 0 || g.k < 0) return LPB_BAD_ARGUMENT;
    if (dtype == LPB_INT8 && (g.alpha != 1.0f || (g.beta != 0.0f && g.beta != 1.0f) || g.bias_axis != LPB_NO_BIAS ||
                              g.activation != LPB_IDENTITY))
        return LPB_BAD_ARGUMENT;
    if (g.batch == 0 || g.m == 0 || g.n == 0) return LPB_OK;
    if (g.bias_axis == LPB_NO_BIAS) g.bias = NULL;

    /* items that share B and lie one behind the other are one taller item */
    if (g.batch > 1 && g.b_batch == 0 && g.a_batch == g.m * g.a_row && g.c_batch == g.m * g.c_row &&
        (g.bias_axis == LPB_NO_BIAS || (g.bias_axis == LPB_COLUMN_BIAS && g.bias_batch == 0))) {
        g.m *= g.batch;
        g.batch = 1;
    }
    job j = {.kernel = kernel, .dtype = dtype, .gemm = &g, .parts_per_item = 1};
    if (g.batch < threads) {
        const int64_t wanted = (threads + g.batch - 1) / g.batch, possible = (g.m + ROWS_PER_PART - 1) / ROWS_PER_PART;
        j.parts_per_item = wanted < possible ? wanted : possible;
    }
    j.scratch_bytes = kernel->scratch(&g);
    lpb_parallel(part, &j, g.batch * j.parts_per_item, threads);
    return j.status;
}
