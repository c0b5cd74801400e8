/* Loops of the broadcast kernels over items, panels of columns and tiles of rows. Included after tile_template.h, and
 * after elementwise_template.h unless TILE_WORDS is defined (words_template.h), by a file that may also have defined
 *   NARROW_LANES, NARROW_TILES, NARROW_ROWS   tiles of a shorter vector, for panels of at most that many columns.
 *
 * A is read where it is, in any layout: its elements are broadcast. B's rows must be contiguous; a transposed B is
 * copied into scratch first, once per item, or once for all when it is shared. */

#ifndef TILE_WORDS
#include "gemm_parts_template.h"

static int64_t T(gemm_scratch)(const lpb_gemm *g) {
    return g->b_col == 1 ? 0 : g->k * lpb_round_up(g->n, LPB_ALIGN) * (int64_t)sizeof(float);
}
#endif

typedef struct {
    int64_t tiles, height, taller; /* the first `taller` tiles have one row more */
} T(split);

static T(split) T(split_rows)(int64_t m, int64_t most) {
    const int64_t tiles = (m + most - 1) / most;
    return (T(split)){tiles, tiles ? m / tiles : 0, tiles ? m % tiles : 0};
}

#ifdef TILE_ITEMS
/* Whether every item is a single tile with B where it is and the bias of the first. */
static bool T(one_tile_each)(const lpb_gemm *g) {
    const int64_t vectors = (g->n + VL - 1) / VL;
    if (g->b_col != 1 || vectors > TILE_VECTORS || (g->bias_axis != LPB_NO_BIAS && g->bias_batch)) return false;
#ifdef NARROW_LANES
    if (g->n <= NARROW_LANES) return g->m <= NARROW_ROWS;
#endif
    return g->m <= T(tile_rows)[vectors - 1];
}
#endif

static void T(gemm)(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    const bool in_registers = g->alpha == 1.0f && g->activation <= LPB_LEAKY_RELU;
#ifdef TILE_WORDS
    (void)scratch;
#else
    const int64_t packed_ld = lpb_round_up(g->n, LPB_ALIGN);
#endif
    const int64_t c_row = g->c_row * (int64_t)sizeof(float);
    T(split) split[TILE_VECTORS];
    for (int v = 0; v < TILE_VECTORS; v++) split[v] = T(split_rows)(g->m, T(tile_rows)[v]);
#ifdef NARROW_LANES
    const T(split) narrow_split = T(split_rows)(g->m, NARROW_ROWS);
#endif
    lpb_tile t = {
        .k = g->k,
        .a_row = g->a_row * (int64_t)sizeof(float),
        .a_step = g->a_col * (int64_t)sizeof(float),
        .activation = in_registers ? g->activation : LPB_IDENTITY,
        .slope = g->slope,
    };
#ifdef TILE_ITEMS
    t.items = 1;
    if (in_registers && T(one_tile_each)(g)) {
        t.items = last - first;
        t.a_item = g->a_batch * (int64_t)sizeof(float);
        t.b_item = g->b_batch * (int64_t)sizeof(float);
        t.c_item = g->c_batch * (int64_t)sizeof(float);
        if (last > first) last = first + 1;
    }
#endif

    for (int64_t item = first; item < last; item++) {
        const char *a = (const char *)((const float *)g->a + item * g->a_batch);
        const float *b = (const float *)g->b + item * g->b_batch;
        char *c = (char *)((float *)g->c + item * g->c_batch);
        const float *bias = g->bias_axis == LPB_NO_BIAS ? NULL : g->bias + item * g->bias_batch;
        t.b_step = g->b_row * (int64_t)sizeof(float);
#ifndef TILE_WORDS
        if (g->b_col != 1) {
            if (item == first || g->b_batch != 0) T(pack_b)(g, b, scratch, packed_ld);
            b = scratch;
            t.b_step = packed_ld * (int64_t)sizeof(float);
        }
#endif

        for (int64_t j = 0, columns; j < g->n; j += columns) {
            columns = g->n - j < TILE_VECTORS * VL ? g->n - j : TILE_VECTORS * VL;
            const int64_t vectors = (columns + VL - 1) / VL;
            const lpb_tile_fn *tiles = T(tiles)[vectors - 1];
            T(split) rows = split[vectors - 1];
            int64_t width = vectors * VL;
            t.last = (int)(columns - (vectors - 1) * VL);
#ifdef NARROW_LANES
            if (columns <= NARROW_LANES) {
                tiles = NARROW_TILES;
                rows = narrow_split;
                width = NARROW_LANES;
            }
#endif
            t.b = (const char *)(b + j);
            t.a = a;
            t.c = c + j * (int64_t)sizeof(float);
            for (int64_t q = 0, i = 0; q < rows.tiles; q++) {
                const int64_t height = rows.height + (q < rows.taller);
#ifdef TILE_FETCH /* of the next item, or product, a line of each row by one tile */
                const int64_t next = item + 1 < last ? g->b_batch : g->b_next;
                t.b_ahead = next && q * LPB_ALIGN < columns ? (next + q * LPB_ALIGN) * (int64_t)sizeof(float) : 0;
#endif
                const float *row_bias = g->bias_axis == LPB_ROW_BIAS ? bias + i : NULL;
                const float *column_bias = g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL;
                if (__builtin_expect(in_registers, 1)) {
                    t.c_row = c_row;
                    t.beta = g->beta;
                    t.row_bias = row_bias;
                    t.column_bias = column_bias;
                    tiles[height - 1](&t);
                } else {
#ifdef TILE_INTEGERS
                    (void)width; /* nothing follows a product of integers */
#else
                    float raw[16 * TILE_VECTORS * VL] __attribute__((aligned(64)));
                    lpb_tile bare = t;
                    bare.c = (char *)raw;
                    bare.c_row = width * (int64_t)sizeof(float);
                    bare.beta = 0.0f;
                    bare.row_bias = bare.column_bias = NULL;
                    tiles[height - 1](&bare);
                    lpb_finish(g, T(activate), raw, width, t.c, row_bias, column_bias, height, columns);
#endif
                }
                t.a += height * t.a_row;
                t.c += height * c_row;
                i += height;
            }
        }
    }
}
