/* bfloat16 and int8 products by the outer products that take a 32-bit word of several consecutive entries of k.
 *
 * A is packed in panels of eight rows, B in strips of sixteen columns, both padded with zeros. Included by a file that
 * has defined T(name), MMA_GER, and
 *   WORD_ENTRIES             2 or 4
 *   source_entry             the type of an element of A and B
 *   B_ENTRY(x)               an element of B as the instruction wants it
 *   WORD_A_AS_B              where A's entries are as B's and nobody needs sums: A's columns may be contiguous
 *   ADD_SUMS(v, sums)        the sums of the entries of each word of v, plus `sums`; or `sums` where nobody needs them
 *   MMA_FLOAT_SUMS           where accumulators are floats, which may be finished in registers
 *   MMA_NOTHING_TO_FINISH(g) whether C is what the accumulators hold
 *   MMA_FINISH(g, raw, width, c, row_bias, column_bias, sums, rows, columns)
 *                            from `raw`, `width` entries per row, to C; `sums` are those of the rows of A */
#include "isa.h"

#include "vsx_vectors.h"

#define MMA_PLAIN_ONLY
#include "mma_tile.h"

enum { PANEL_ROWS = 8, PANEL_COLUMNS = 16 };
typedef __vector signed int word_sums;
typedef source_entry word_entry;
#include "words.h"

static int64_t packed_bytes(const lpb_gemm *g) {
    return words_of(g->k) * lpb_round_up(g->n, PANEL_COLUMNS) * (int64_t)sizeof(int32_t);
}

static int64_t scratch_bytes(const lpb_gemm *g) { /* + 1: the sums */
    return (words_of(g->k) + 1) * lpb_round_up(g->m, LPB_ALIGN) * (int64_t)sizeof(int32_t) + packed_bytes(g);
}

/* `rows` of A as words x PANEL_ROWS, and their sums. */
static void pack_panel(const lpb_gemm *g, const source_entry *a, int64_t rows, source_entry *out, int32_t *sums) {
    enum { STEP = 4 * WORD_ENTRIES };
    const int64_t row = g->a_row;
    int64_t p = 0;
    memset(sums, 0, PANEL_ROWS * sizeof *sums);
    if (rows == PANEL_ROWS && g->a_col == 1) { /* a word is moved as a float would be */
        vf upper[4], lower[4];
        word_sums upper_sums = {0}, lower_sums = {0};
#define ROW(i) V_LOAD((const float *)(const void *)(a + p + (i) * row))
        for (; p + STEP <= g->k; p += STEP) {
            transpose_registers(ROW(0), ROW(1), ROW(2), ROW(3), upper);
            transpose_registers(ROW(4), ROW(5), ROW(6), ROW(7), lower);
            for (int q = 0; q < 4; q++) {
                float *to = (float *)(void *)(out + p * PANEL_ROWS) + q * PANEL_ROWS;
                V_STORE(to, upper[q]);
                V_STORE(to + 4, lower[q]);
                upper_sums = ADD_SUMS(upper[q], upper_sums);
                lower_sums = ADD_SUMS(lower[q], lower_sums);
            }
        }
#undef ROW
        for (int i = 0; i < 4; i++) sums[i] = upper_sums[i], sums[i + 4] = lower_sums[i];
    }
#ifdef WORD_A_AS_B
    if (rows == PANEL_ROWS && g->a_row == 1)
        for (; p + WORD_ENTRIES <= g->k; p += WORD_ENTRIES)
            interleave(a + p * g->a_col, g->a_col, PANEL_ROWS, out + p * PANEL_ROWS);
#endif
    const int64_t padded = words_of(g->k) * WORD_ENTRIES;
    memset(out + p * PANEL_ROWS, 0, (size_t)((padded - p) * PANEL_ROWS) * sizeof *out);
    for (int64_t i = 0; i < rows; i++, a += row)
        for (int64_t q = p; q < g->k; q++) {
            const source_entry x = a[q * g->a_col];
            out[(q / WORD_ENTRIES * PANEL_ROWS + i) * WORD_ENTRIES + q % WORD_ENTRIES] = x;
            sums[i] += x;
        }
}

static void pack_b(const lpb_gemm *g, const source_entry *b, source_entry *out) {
    const int64_t words = words_of(g->k);
    for (int64_t j = 0; j < g->n; j += PANEL_COLUMNS)
        for (int64_t w = 0; w < words; w++, out += PANEL_COLUMNS * WORD_ENTRIES) {
            const source_entry *from = b + w * WORD_ENTRIES * g->b_row + j * g->b_col;
            const int64_t rows = g->k - w * WORD_ENTRIES, columns = g->n - j;
            if (g->b_col == 1 && rows >= WORD_ENTRIES && columns >= PANEL_COLUMNS) {
                interleave(from, g->b_row, PANEL_COLUMNS, out);
                continue;
            }
            for (int64_t q = 0; q < PANEL_COLUMNS; q++)
                for (int64_t e = 0; e < WORD_ENTRIES; e++)
                    out[q * WORD_ENTRIES + e] =
                        q < columns && e < rows ? B_ENTRY(from[e * g->b_row + q * g->b_col]) : 0;
        }
}

static void pack(const lpb_gemm *g, void *packed) { pack_b(g, g->b, packed); }

/* The rows of a strip of C, at `c`, that are in whole panels, where nothing is left to do afterwards; how many. */
static int64_t run_whole(const lpb_gemm *g, mma_job job, char *c, const float *bias, int64_t j, const source_entry *a) {
    job.tiles = g->m / PANEL_ROWS;
    job.a_tile = job.k * job.a_step;
    job.first.a = (const char *)a;
    job.first.c = c, job.c_row = g->c_row * 4;
    if (MMA_NOTHING_TO_FINISH(g)) {
        mma_plain_8x16(&job);
        return job.tiles * PANEL_ROWS;
    }
#ifdef MMA_FLOAT_SUMS
    if (g->alpha == 1.0f && g->activation <= LPB_LEAKY_RELU) {
        job.beta = g->beta;
        job.activation = g->activation, job.slope = g->slope;
        job.first.row_bias = g->bias_axis == LPB_ROW_BIAS ? bias : NULL;
        job.first.column_bias = g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL;
        mma_finished_8x16(&job);
        return job.tiles * PANEL_ROWS;
    }
#else
    (void)bias, (void)j;
#endif
    return 0;
}

static void run_item(const lpb_gemm *g, char *c, const float *bias, const source_entry *a, const source_entry *b,
                     const int32_t *sums) {
    const int64_t words = words_of(g->k);
    for (int64_t j = 0; j < g->n; j += PANEL_COLUMNS) {
        const int64_t columns = g->n - j < PANEL_COLUMNS ? g->n - j : PANEL_COLUMNS;
        mma_job job = {
            .first.b = (const char *)(b + j * words * WORD_ENTRIES),
            .k = words,
            .a_step = PANEL_ROWS * 4,
            .b_step = PANEL_COLUMNS * 4,
            .tiles = 1,
            .strips = 1,
            .items = 1,
        };
        int64_t i = columns < PANEL_COLUMNS ? 0 : run_whole(g, job, c + j * 4, bias, j, a);
        for (; i < g->m; i += PANEL_ROWS) {
            float raw[PANEL_ROWS * PANEL_COLUMNS] __attribute__((aligned(64)));
            job.first.a = (const char *)(a + i * words * WORD_ENTRIES);
            job.first.c = (char *)raw, job.c_row = PANEL_COLUMNS * 4;
            (columns > 8 ? mma_plain_8x16 : columns > 4 ? mma_plain_8x8 : mma_plain_8x4)(&job);
            MMA_FINISH(g, raw, PANEL_COLUMNS, c + (i * g->c_row + j) * 4,
                       g->bias_axis == LPB_ROW_BIAS ? bias + i : NULL,
                       g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL, sums + i,
                       g->m - i < PANEL_ROWS ? g->m - i : PANEL_ROWS, columns);
        }
    }
}

static void gemm(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    const int64_t words = words_of(g->k), height = lpb_round_up(g->m, LPB_ALIGN);
    source_entry *a = scratch, *b = a + height * words * WORD_ENTRIES;
    int32_t *sums = (int32_t *)(void *)((char *)b + packed_bytes(g));
    for (int64_t item = first; item < last; item++) {
        if (item == first || g->a_batch != 0)
            for (int64_t i = 0; i < g->m; i += PANEL_ROWS)
                pack_panel(g, (const source_entry *)g->a + item * g->a_batch + i * g->a_row,
                           g->m - i < PANEL_ROWS ? g->m - i : PANEL_ROWS, a + i * words * WORD_ENTRIES, sums + i);
        if (!g->b_packed && (item == first || g->b_batch != 0))
            pack_b(g, (const source_entry *)g->b + item * g->b_batch, b);
        run_item(g, (char *)g->c + item * g->c_batch * 4, g->bias ? g->bias + item * g->bias_batch : NULL, a,
                 g->b_packed ? g->b_packed : b, sums);
    }
}

static double peak(int64_t rounds) { return mma_peak(rounds, 2.0 * 16.0 * WORD_ENTRIES); }
