/* bfloat16 products by AVX-512 BF16: two products and sums per lane; denormal operands and results count as zero. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#include "avx512_vectors.h"

extern const lpb_isa lpb_isa_avx512;

#define T(name) avx512_bf16_##name
#define TILE_VECTORS 2
#define TILE_ROWS_1 16
#define TILE_ROWS_2 14
#define TILE_TAILS_ARE_FREE 1
#define TILE_WORDS
typedef __m512i vw;
typedef int32_t word __attribute__((may_alias));
#define W_LOAD(p) _mm512_loadu_si512(p)
#define W_SPLAT(p) _mm512_set1_epi32(*(const word *)(p))
#define V_DOT(a, b, c) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))

#define WORD_ENTRIES 2
typedef uint16_t word_entry;
typedef uint16_t source_entry;
#define A_ENTRY(x) (x)
#define B_ENTRY(x) (x)
#define WORD_A_AS_B
static void T(activate)(float *x, int64_t count, lpb_activation act, float slope) {
    lpb_isa_avx512.reals->activate(x, count, act, slope);
}
#include "words_template.h"
#include "round_words.h"

static void round_b(const lpb_gemm *g, void *packed) {
    round_words(g->b, g->b_row, g->k, g->n, lpb_round_up(g->n, LPB_ALIGN), packed);
}

static void round_gemm(const lpb_gemm *g, void *scratch) {
    const lpb_gemm w = T(of_words)(g, scratch);
    if (T(by_columns)(g))
        round_words(g->a, g->a_col, g->k, g->m, lpb_round_up(g->m, LPB_ALIGN), scratch);
    else
        round_a(g, w.k, scratch);
    if (!g->b_packed) round_b(g, (int32_t *)scratch + w.k * lpb_round_up(g->m, LPB_ALIGN));
    T(gemm)(&w, 0, 1, NULL);
}

static bool supported(void) { return __builtin_cpu_supports("avx512bf16"); }

const lpb_kernel lpb_avx512_bf16 = {
    .name = "vdpbf16ps 14x32", .supported = supported, .round_gemm = round_gemm, .round_pack = round_b, WORDS_ENTRIES};
#else
typedef int lpb_no_avx512_bf16;
#endif
