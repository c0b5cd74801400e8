/* The Matrix-Multiply Assist of POWER10 and 11: products by outer products of 4x4 into eight accumulators, everything
 * else by VSX.
 *
 * A step of k multiplies a vector of four entries of a column of A with one of four entries of a row of B. Rows of B
 * are contiguous and read where they are. A column of A is contiguous only when A is stored by columns (a_row 1);
 * otherwise blocks of 4x4 are transposed: in registers while multiplying when C has few columns, else once per item
 * into scratch, as panels of eight rows, because every strip of C would do it again.
 *
 * Accumulators are eight named variables. An array of them is spilled around every step by GCC 12. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power10")
#define T(name) power10_##name
#include "isa.h"

#include "vsx_vectors.h"

/* Eight floats as bfloat16; the instruction leaves them in the lower halves of words. */
#define V_ROUND(p, to)                                                                                                 \
    do {                                                                                                               \
        const __vector unsigned char low = __builtin_vsx_xvcvspbf16((__vector unsigned char)V_LOAD(p));                \
        const __vector unsigned char high = __builtin_vsx_xvcvspbf16((__vector unsigned char)V_LOAD((p) + 4));         \
        vec_xst(vec_pack((__vector unsigned int)low, (__vector unsigned int)high), 0, to);                             \
    } while (0)

#include "elementwise_template.h"
#include "gemm_parts_template.h"
#define MMA_GER "xvf32gerpp"
#include "mma_tile.h"

enum {
    PANEL_ROWS = 8,
    PANEL_COLUMNS = 16,
    TURNED_COLUMNS = 32, /* up to so many, A is transposed once per strip: with two, no dearer than packing it */
};

static int64_t panels(int64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }

/* Floats of scratch: packed A, packed B when it is transposed, and B's last columns padded to a whole vector. */
static int64_t packed_a(const lpb_gemm *g) { return panels(g->m) * PANEL_ROWS * g->k; }
static int64_t packed_b(const lpb_gemm *g) { return g->b_col == 1 ? 0 : g->k * lpb_round_up(g->n, LPB_ALIGN); }

static int64_t mma_scratch(const lpb_gemm *g) {
    return (lpb_round_up(packed_a(g), LPB_ALIGN) + packed_b(g) + 4 * g->k) * (int64_t)sizeof(float);
}

/* `rows` <= 8 rows of A as k x 8, zeros in the missing rows. */
static void pack_panel(const lpb_gemm *g, const float *a, int64_t rows, float *restrict out) {
    const int64_t k = g->k, row = g->a_row, column = g->a_col;
    int64_t p = 0;
    if (rows == PANEL_ROWS && column == 1) {
        for (; p + 4 <= k; p += 4, out += 4 * PANEL_ROWS) {
            const float *from = a + p;
            vf upper[4], lower[4];
            transpose_registers(V_LOAD(from), V_LOAD(from + row), V_LOAD(from + 2 * row), V_LOAD(from + 3 * row),
                                upper);
            transpose_registers(V_LOAD(from + 4 * row), V_LOAD(from + 5 * row), V_LOAD(from + 6 * row),
                                V_LOAD(from + 7 * row), lower);
            for (int q = 0; q < 4; q++) {
                V_STORE(out + PANEL_ROWS * q, upper[q]);
                V_STORE(out + PANEL_ROWS * q + 4, lower[q]);
            }
        }
    }
    for (; p < k; p++, out += PANEL_ROWS)
        for (int64_t i = 0; i < PANEL_ROWS; i++) out[i] = i < rows ? a[i * row + p * column] : 0.0f;
}

/* How the rows of an item's A reach the accumulators. */
typedef enum { BY_COLUMNS, TURNED, PACKED } reading;

typedef struct {
    const lpb_gemm *g;
    reading reading;
    bool in_registers; /* what follows the product needs no pass of its own */
    int64_t whole;     /* rows in whole panels */
    float *a_packed, *b_packed, *b_tail;
} plan;

static mma_job new_job(const plan *p, const float *b, ptrdiff_t b_step, bool packed) {
    const lpb_gemm *g = p->g;
    const ptrdiff_t a_row = g->a_row * (ptrdiff_t)sizeof(float);
    mma_job job = {
        .first.b = (const char *)b,
        .k = g->k,
        .a_row = a_row,
        .b_step = b_step,
        .a_step = packed ? (ptrdiff_t)(PANEL_ROWS * sizeof(float)) : g->a_col * (ptrdiff_t)sizeof(float),
        .c_row = g->c_row * (ptrdiff_t)sizeof(float),
        .tiles = 1,
        .strips = 1,
        .items = 1,
        .activation = LPB_IDENTITY,
        .slope = g->slope,
    };
    job.a_tile = packed ? g->k * job.a_step : PANEL_ROWS * a_row;
    return job;
}

/* Lets a job finish what it computes, from C's entry (i, j) of an item on. */
static void finish_in_registers(const plan *p, mma_job *job, int64_t item, int64_t i, int64_t j) {
    const lpb_gemm *g = p->g;
    const float *bias = g->bias_axis == LPB_NO_BIAS ? NULL : g->bias + item * g->bias_batch;
    job->beta = g->beta;
    job->activation = g->activation;
    job->first.row_bias = g->bias_axis == LPB_ROW_BIAS ? bias + i : NULL;
    job->first.column_bias = g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL;
}

/* Up to 16 columns of up to 8 rows through a buffer, for everything that no loop of whole tiles can finish. */
static void run_panel(const plan *p, mma_job *job, int64_t item, int64_t i, int64_t j, int64_t rows, int64_t columns,
                      mma_shape shape) {
    const lpb_gemm *g = p->g;
    const float *bias = g->bias_axis == LPB_NO_BIAS ? NULL : g->bias + item * g->bias_batch;
    float raw[PANEL_ROWS * PANEL_COLUMNS] __attribute__((aligned(64))) = {0.0f};
    job->first.c = (char *)raw;
    job->c_row = PANEL_COLUMNS * sizeof(float);
    mma_run(job, columns < 4 ? 4 : columns, shape);
    lpb_finish(g, T(activate), raw, PANEL_COLUMNS, (char *)((float *)g->c + item * g->c_batch + i * g->c_row + j),
               g->bias_axis == LPB_ROW_BIAS ? bias + i : NULL, g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL, rows,
               columns);
}

/* Columns [j, j + columns) of an item: as many strips of 16 as there are, or one narrower panel. */
static void run_columns(const plan *p, int64_t item, const float *a, const float *b, ptrdiff_t b_step, int64_t j,
                        int64_t columns) {
    const lpb_gemm *g = p->g;
    const int64_t width = columns < PANEL_COLUMNS ? columns : PANEL_COLUMNS;
    const bool packed = p->reading == PACKED;
    int64_t i = 0;
    if (p->in_registers && width >= 4 && p->whole) {
        mma_job job = new_job(p, b, b_step, packed);
        job.first.a = (const char *)(packed ? p->a_packed : a);
        job.first.c = (char *)((float *)g->c + item * g->c_batch + j);
        job.tiles = panels(p->whole);
        job.strips = columns / width;
        finish_in_registers(p, &job, item, 0, j);
        mma_run(&job, width, p->reading == TURNED ? MMA_TURNED : MMA_TALL);
        i = p->whole;
    }
    for (; i < g->m; i += PANEL_ROWS) {
        const int64_t rows = g->m - i < PANEL_ROWS ? g->m - i : PANEL_ROWS;
        const bool here = packed || i >= p->whole;
        for (int64_t q = 0; q < columns; q += width) {
            mma_job job = new_job(p, b + q, b_step, here);
            job.first.a = (const char *)(here ? p->a_packed + i * g->k : a + i * g->a_row);
            run_panel(p, &job, item, i, j + q, rows, width,
                      !here && p->reading == TURNED ? MMA_TURNED
                      : rows <= 4                   ? MMA_SHORT
                                                    : MMA_TALL);
        }
    }
}

static void run_item(const plan *p, int64_t item, const float *a, const float *b, int64_t b_row) {
    const lpb_gemm *g = p->g;
    for (int64_t j = 0, columns; j < g->n; j += columns) {
        const int64_t left = g->n - j;
        ptrdiff_t b_step = b_row * (ptrdiff_t)sizeof(float);
        const float *from = b + j;
        columns = left >= 16 ? left / 16 * 16 : left >= 8 ? 8 : left >= 4 ? 4 : left;
        if (columns < 4) {
            for (int64_t q = 0; q < g->k; q++)
                for (int64_t r = 0; r < 4; r++) p->b_tail[4 * q + r] = r < columns ? from[q * b_row + r] : 0.0f;
            from = p->b_tail;
            b_step = 4 * sizeof(float);
        }
        run_columns(p, item, a, from, b_step, j, columns);
    }
}

/* All items in one loop, when nothing is to be packed between them. */
static bool run_at_once(const plan *p, int64_t first, int64_t last) {
    const lpb_gemm *g = p->g;
    const int64_t width = g->n < PANEL_COLUMNS ? g->n : PANEL_COLUMNS;
    const bool fits = p->in_registers && p->reading != PACKED && p->whole == g->m && g->b_col == 1 &&
                      (width == 4 || width == 8 || g->n % PANEL_COLUMNS == 0);
    if (!fits) return false;
    mma_job job = new_job(p, (const float *)g->b + first * g->b_batch, g->b_row * (ptrdiff_t)sizeof(float), false);
    job.first.a = (const char *)((const float *)g->a + first * g->a_batch);
    job.first.c = (char *)((float *)g->c + first * g->c_batch);
    job.tiles = panels(g->m);
    job.strips = g->n / width;
    job.items = last - first;
    job.a_item = g->a_batch * (ptrdiff_t)sizeof(float);
    job.b_item = g->b_batch * (ptrdiff_t)sizeof(float);
    job.c_item = g->c_batch * (ptrdiff_t)sizeof(float);
    job.row_bias_item = job.column_bias_item = g->bias_batch;
    finish_in_registers(p, &job, first, 0, 0);
    mma_run(&job, width, p->reading == TURNED ? MMA_TURNED : MMA_TALL);
    return true;
}

static void mma_gemm(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    plan p = {
        .g = g,
        .reading = g->a_row == 1 && g->m > 1                                  ? BY_COLUMNS
                   : g->a_col == 1 && g->n <= TURNED_COLUMNS && g->k % 4 == 0 ? TURNED
                                                                              : PACKED,
        .in_registers = g->alpha == 1.0f && g->activation <= LPB_LEAKY_RELU,
        .whole = g->m / PANEL_ROWS * PANEL_ROWS,
        .a_packed = scratch,
    };
    p.b_packed = p.a_packed + lpb_round_up(packed_a(g), LPB_ALIGN);
    p.b_tail = p.b_packed + packed_b(g);
    if (run_at_once(&p, first, last)) return;

    const int64_t packed_ld = lpb_round_up(g->n, LPB_ALIGN);
    for (int64_t item = first; item < last; item++) {
        const float *a = (const float *)g->a + item * g->a_batch;
        const float *b = (const float *)g->b + item * g->b_batch;
        int64_t b_row = g->b_row;
        if (g->b_col != 1) {
            if (item == first || g->b_batch != 0) T(pack_b)(g, b, p.b_packed, packed_ld);
            b = p.b_packed;
            b_row = packed_ld;
        }
        if (item == first || g->a_batch != 0) /* a last partial panel is packed in any case */
            for (int64_t i = p.reading == PACKED ? 0 : p.whole; i < g->m; i += PANEL_ROWS)
                pack_panel(g, a + i * g->a_row, g->m - i < PANEL_ROWS ? g->m - i : PANEL_ROWS, p.a_packed + i * g->k);
        run_item(&p, item, a, b, b_row);
    }
}

static double mma_f32_peak(int64_t rounds) { return mma_peak(rounds, 2.0 * 16.0); }

static bool supported(void) { return __builtin_cpu_supports("mma") && __builtin_cpu_supports("arch_3_1"); }

extern const lpb_kernel lpb_mma_bf16, lpb_mma_i8;

const lpb_isa lpb_isa_mma_table = {
    .name = "mma",
    .supported = supported,
    .f32 = {.name = "xvf32ger 8x16", .gemm = mma_gemm, .scratch = mma_scratch, .peak = mma_f32_peak},
    .low = {[LPB_BFLOAT16] = {&lpb_mma_bf16}, [LPB_INT8] = {&lpb_mma_i8}},
    .shuns_pairs = true,
    ELEMENTWISE_ENTRIES,
};
#else
typedef int lpb_no_mma;
#endif
