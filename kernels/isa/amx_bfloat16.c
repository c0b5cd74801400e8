/* bfloat16 products by tiles; denormal operands and results count as zero. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")
#include "isa.h"

extern const lpb_isa lpb_isa_avx512;

#define WORD_ENTRIES 2
typedef uint16_t source_entry;
typedef uint16_t word_entry;
#define B_ENTRY(x) (x)
#define TILE_PRODUCT(c, a, b) AMX_BF16(c, a, b)
#define TILE_PLAIN(g)                                                                                                  \
    ((g)->alpha == 1.0f && ((g)->beta == 0.0f || (g)->beta == 1.0f) && (g)->bias_axis == LPB_NO_BIAS &&                \
     (g)->activation == LPB_IDENTITY)
#define TILE_FINISH(g, raw, width, c, row_bias, column_bias, rows, columns)                                            \
    lpb_finish(g, lpb_isa_avx512.reals->activate, raw, width, c, row_bias, column_bias, rows, columns)
#include "amx_template.h"
#include "round_words.h"

static void round_b(const lpb_gemm *g, void *packed) {
    const cut s = cut_of(g->k);
    const int64_t words = words_of(g->k);
    int32_t *out = packed;
    for (int64_t j = 0; j < g->n; j += AMX_WORDS, out += s.words * AMX_WORDS) {
        round_words((const float *)g->b + j, g->b_row, g->k, g->n - j < AMX_WORDS ? g->n - j : AMX_WORDS, AMX_WORDS,
                    out);
        memset(out + words * AMX_WORDS, 0, (size_t)((s.words - words) * AMX_WORDS) * sizeof *out);
    }
}

static void round_rows_of_a(const lpb_gemm *g, const cut *s, int32_t *out) {
    const int64_t words = words_of(g->k);
    if (g->a_col == 1) {
        round_a(g, s->a_row, out);
    } else { /* words of columns, turned as if they were floats */
        const int64_t height = lpb_round_up(g->m, LPB_ALIGN);
        float *columns = (float *)(void *)((char *)out + a_bytes(g));
        round_words(g->a, g->a_col, g->k, g->m, height, (int32_t *)(void *)columns);
        lpb_isa_avx512.transpose(columns, height, words, g->m, (float *)(void *)out, s->a_row);
    }
    for (int64_t i = 0; i < g->m; i++) memset(out + i * s->a_row + words, 0, (size_t)(s->words - words) * sizeof *out);
}

static void round_gemm(const lpb_gemm *g, void *scratch) {
    const cut s = cut_of(g->k);
    char *b = (char *)scratch + 2 * a_bytes(g);
    configure(g->k);
    round_rows_of_a(g, &s, scratch);
    if (!g->b_packed) round_b(g, b);
    run_item(g, g->c, g->bias, scratch, g->b_packed ? g->b_packed : (const void *)b);
    AMX_RELEASE();
}

const lpb_kernel lpb_amx_bf16 = {
    .name = "tdpbf16ps 32x32", .round_gemm = round_gemm, .round_pack = round_b, AMX_ENTRIES};
#else
typedef int lpb_no_amx_bf16;
#endif
