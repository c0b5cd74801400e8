/* bfloat16 products by the Matrix-Multiply Assist. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power10")
#include "isa.h"

extern const lpb_isa lpb_isa_mma_table;

#define T(name) mma_bf16_##name
#define MMA_GER "xvbf16ger2pp"
#define WORD_ENTRIES 2
typedef uint16_t source_entry;
#define B_ENTRY(x) (x)
#define WORD_A_AS_B
#define MMA_FLOAT_SUMS
#define ADD_SUMS(v, sums) (sums)
#define MMA_NOTHING_TO_FINISH(g)                                                                                       \
    ((g)->alpha == 1.0f && (g)->beta == 0.0f && (g)->bias_axis == LPB_NO_BIAS && (g)->activation == LPB_IDENTITY)
#define MMA_FINISH(g, raw, width, c, row_bias, column_bias, sums, rows, columns)                                       \
    ((void)(sums),                                                                                                     \
     lpb_finish(g, lpb_isa_mma_table.reals->activate, raw, width, c, row_bias, column_bias, rows, columns))
#include "mma_words_template.h"

/* Eight floats as words of two neighbours. */
static inline vf round_row(const float *x) {
    const mma_operand low = __builtin_vsx_xvcvspbf16((mma_operand)V_LOAD(x));
    const mma_operand high = __builtin_vsx_xvcvspbf16((mma_operand)V_LOAD(x + 4));
    return (vf)vec_pack((__vector unsigned int)low, (__vector unsigned int)high);
}

/* Four floats of each of two rows as words of one of either. */
static inline vf round_pair(const float *x, const float *y) {
    const mma_operand order = {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
    const mma_operand low = __builtin_vsx_xvcvspbf16((mma_operand)V_LOAD(x));
    const mma_operand high = __builtin_vsx_xvcvspbf16((mma_operand)V_LOAD(y));
    return (vf)vec_perm(low, high, order);
}

/* Entries of k by columns, a multiple of 4 of these, as words x `width`; of the last strip or panel as many as are. */
static inline __attribute__((always_inline)) void round_columns(const float *x, int64_t row, int64_t k, int64_t count,
                                                                const int width, float *out) {
    float pair[2 * PANEL_COLUMNS] __attribute__((aligned(16))) = {0.0f};
    for (; k > 0; k -= 2, x += 2 * row, out += width) {
        const float *upper = x, *lower = x + row;
        if (k == 1 || count < width) {
            memcpy(pair, x, (size_t)count * sizeof *x);
            if (k > 1) memcpy(pair + width, lower, (size_t)count * sizeof *x);
            if (k == 1) memset(pair + width, 0, (size_t)width * sizeof *x);
            upper = pair, lower = pair + width;
        }
        for (int j = 0; j < width; j += 4) V_STORE(out + j, round_pair(upper + j, lower + j));
    }
}

/* `count` <= 8 rows of A as words x PANEL_ROWS; in place of rows that are not there, the first. */
static void round_panel(const float *a, int64_t row, int64_t k, int64_t count, float *out) {
    const float *at[PANEL_ROWS];
    float last[PANEL_ROWS][8] __attribute__((aligned(16))) = {{0.0f}};
    for (int i = 0; i < PANEL_ROWS; i++) at[i] = i < count ? a + i * row : a;
    for (int64_t p = 0; p < k; p += 8, out += 4 * PANEL_ROWS) {
        vf upper[4], lower[4];
        const bool whole = k - p >= 8;
        for (int i = 0; i < PANEL_ROWS && !whole; i++) memcpy(last[i], at[i] + p, (size_t)(k - p) * sizeof *a);
#define ROW(i) round_row(whole ? at[i] + p : last[i])
        transpose_registers(ROW(0), ROW(1), ROW(2), ROW(3), upper);
        transpose_registers(ROW(4), ROW(5), ROW(6), ROW(7), lower);
#undef ROW
        for (int q = 0; q < 4 && p + 2 * q < k; q++) {
            V_STORE(out + q * PANEL_ROWS, upper[q]);
            V_STORE(out + q * PANEL_ROWS + 4, lower[q]);
        }
    }
}

static void round_b(const lpb_gemm *g, void *packed) {
    float *out = packed;
    for (int64_t j = 0; j < g->n; j += PANEL_COLUMNS, out += words_of(g->k) * PANEL_COLUMNS)
        round_columns((const float *)g->b + j, g->b_row, g->k, g->n - j < PANEL_COLUMNS ? g->n - j : PANEL_COLUMNS,
                      PANEL_COLUMNS, out);
}

static void round_gemm(const lpb_gemm *g, void *scratch) {
    const int64_t words = words_of(g->k), height = lpb_round_up(g->m, LPB_ALIGN);
    float *a = scratch, *b = a + height * words;
    const int32_t no_sums[PANEL_ROWS] = {0};
    for (int64_t i = 0; i < g->m; i += PANEL_ROWS) {
        const float *from = (const float *)g->a + i * g->a_row;
        const int64_t rows = g->m - i < PANEL_ROWS ? g->m - i : PANEL_ROWS;
        if (g->a_col == 1)
            round_panel(from, g->a_row, g->k, rows, a + i * words);
        else
            round_columns(from, g->a_col, g->k, rows, PANEL_ROWS, a + i * words);
    }
    if (!g->b_packed) round_b(g, b);
    run_item(g, g->c, g->bias, (const source_entry *)(const void *)a, g->b_packed ? g->b_packed : (const void *)b,
             no_sums);
}

const lpb_kernel lpb_mma_bf16 = {
    .name = "xvbf16ger2 8x16",
    .gemm = gemm,
    .scratch = scratch_bytes,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .round_gemm = round_gemm,
    .round_pack = round_b,
    .finishes_apart = true,
    .peak = peak,
};
#else
typedef int lpb_no_mma_bf16;
#endif
