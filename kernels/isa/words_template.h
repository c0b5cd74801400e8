/* Products of bfloat16 or int8 whose instructions take several consecutive entries of k at once, a 32-bit word of them.
 *
 * A is packed by rows and B by rows of words, a word of B holding entries of one column; then the broadcast kernel runs
 * over words as over floats. Included by a file that has defined what tile_template.h asks for with TILE_WORDS, and
 *   WORD_ENTRIES             2 or 4
 *   word_entry, source_entry the type of an entry inside a word, and of an element of A and B
 *   A_ENTRY(x), B_ENTRY(x)   an element as an entry
 *   WORD_A_AS_B              where both are packed alike, so that columns of A may be contiguous in place of its rows
 *   WORD_OFFSET              where A_ENTRY adds a constant to make an entry unsigned: that constant; else undefined
 *   T(activate)              of the float table, unless TILE_INTEGERS */

#include "tile_template.h"
#include "gemm_template.h"
#include "words.h"

static int64_t T(packed_bytes)(const lpb_gemm *g) {
    return (words_of(g->k) + 1) * lpb_round_up(g->n, LPB_ALIGN) * (int64_t)sizeof(int32_t); /* + 1: the corrections */
}

static int64_t T(words_scratch)(const lpb_gemm *g) {
    return words_of(g->k) * lpb_round_up(g->m, LPB_ALIGN) * (int64_t)sizeof(int32_t) + T(packed_bytes)(g);
}

static void T(pack_a)(const lpb_gemm *g, const source_entry *a, word_entry *out) {
    const int64_t padded = words_of(g->k) * WORD_ENTRIES;
    for (int64_t i = 0; i < g->m; i++, a += g->a_row, out += padded) {
        if (g->a_col == 1)
            for (int64_t p = 0; p < g->k; p++) out[p] = A_ENTRY(a[p]);
        else
            for (int64_t p = 0; p < g->k; p++) out[p] = A_ENTRY(a[p * g->a_col]);
        for (int64_t p = g->k; p < padded; p++) out[p] = 0;
    }
}

/* B, then one word per column that takes back what WORD_OFFSET adds. */
static void T(pack_b)(const lpb_gemm *g, const source_entry *b, word_entry *packed) {
    const int64_t ld = lpb_round_up(g->n, LPB_ALIGN), words = words_of(g->k);
    word_entry *out = packed;
    for (int64_t w = 0; w < words; w++, b += WORD_ENTRIES * g->b_row, out += ld * WORD_ENTRIES) {
        const int64_t left = g->k - w * WORD_ENTRIES;
        memset(out + WORD_ENTRIES * g->n, 0, (size_t)((ld - g->n) * WORD_ENTRIES) * sizeof *out);
        if (g->b_col == 1 && left >= WORD_ENTRIES) {
            interleave(b, g->b_row, g->n, out);
            continue;
        }
        for (int64_t e = 0; e < WORD_ENTRIES; e++)
            for (int64_t j = 0; j < g->n; j++)
                out[WORD_ENTRIES * j + e] = e < left ? B_ENTRY(b[e * g->b_row + j * g->b_col]) : 0;
    }
#ifdef WORD_OFFSET
    const uint32_t offset = WORD_OFFSET * 0x01010101u;
    for (int64_t j = 0; j < ld; j += VL) {
        const float *column = (const float *)(void *)packed + j;
        vf added = V_ZERO;
        for (int64_t w = 0; w < words; w++) added = V_DOT(W_SPLAT(&offset), W_LOAD(column + w * ld), added);
        V_STORE((float *)(void *)out + j, V_ZERO - added);
    }
#endif
}

static void T(pack)(const lpb_gemm *g, void *packed) { T(pack_b)(g, g->b, packed); }

static bool T(by_columns)(const lpb_gemm *g) {
#ifdef WORD_A_AS_B
    return g->a_row == 1 && g->a_col != 1;
#else
    (void)g;
    return false;
#endif
}

/* The product of words in scratch, A before B. */
static lpb_gemm T(of_words)(const lpb_gemm *g, int32_t *a) {
    const int64_t words = words_of(g->k), height = lpb_round_up(g->m, LPB_ALIGN);
    const bool by_columns = T(by_columns)(g);
    lpb_gemm w = *g;
    w.k = words;
    w.a = a, w.a_row = by_columns ? 1 : words, w.a_col = by_columns ? height : 1;
    w.b = g->b_packed ? g->b_packed : a + words * height, w.b_row = lpb_round_up(g->n, LPB_ALIGN), w.b_col = 1;
    return w;
}

static void T(words_gemm)(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    int32_t *a = scratch, *b = a + words_of(g->k) * lpb_round_up(g->m, LPB_ALIGN);
    const lpb_gemm columns = {.k = g->k, .n = g->m, .b_row = g->a_col, .b_col = 1};
    lpb_gemm w = T(of_words)(g, a);
#ifdef WORD_OFFSET
    w.bias_axis = LPB_COLUMN_BIAS;
    w.bias = (const float *)w.b + w.k * w.b_row;
#endif
    for (int64_t item = first; item < last; item++) {
        if (item == first || g->a_batch != 0) {
            const source_entry *from = (const source_entry *)g->a + item * g->a_batch;
            if (T(by_columns)(g))
                T(pack_b)(&columns, from, (void *)a);
            else
                T(pack_a)(g, from, (void *)a);
        }
        if (!g->b_packed && (item == first || g->b_batch != 0))
            T(pack_b)(g, (const source_entry *)g->b + item * g->b_batch, (void *)b);
        w.c = (char *)g->c + item * g->c_batch * 4;
#ifndef WORD_OFFSET
        if (g->bias) w.bias = g->bias + item * g->bias_batch;
#endif
        T(gemm)(&w, 0, 1, NULL);
    }
}

/* Without it the compiler sees that all accumulators do the same. */
#if defined(__x86_64__)
#define OPAQUE(v) __asm__ volatile("" : "+x"(v))
#elif defined(__powerpc64__)
#define OPAQUE(v) __asm__ volatile("" : "+v"(v))
#else
#define OPAQUE(v) __asm__ volatile("" : "+m"(v))
#endif

static double T(peak)(int64_t rounds) {
    float words[LPB_ALIGN] __attribute__((aligned(64)));
    memset(words, 1, sizeof words);
    vw x = W_LOAD(words);
    const vw y = x;
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define START(i)                                                                                                       \
    vf s##i = V_ZERO;                                                                                                  \
    OPAQUE(s##i);
#define NEXT(i)                                                                                                        \
    OPAQUE(x);                                                                                                         \
    s##i = V_DOT(x, y, s##i);
#define ADD(i) +s##i
    EACH(START)
    for (int64_t r = 0; r < rounds; r++) {
        EACH(NEXT) EACH(NEXT)
    }
    const vf total = V_ZERO EACH(ADD);
#undef ADD
#undef NEXT
#undef START
#undef EACH
    V_STORE(words, total);
    volatile float kept = words[0];
    (void)kept;
    return (double)rounds * 24.0 * 2.0 * VL * WORD_ENTRIES;
}

#define WORDS_ENTRIES                                                                                                  \
    .gemm = T(words_gemm), .scratch = T(words_scratch), .packed_bytes = T(packed_bytes), .pack = T(pack),              \
    .peak = T(peak)
