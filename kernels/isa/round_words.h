/* Floats as words of two bfloat16, by AVX-512 BF16 (nearest, ties to even). What is included after words.h. */

static __mmask16 first_of(int64_t count) { return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xffff); }

/* Rows of A, `row` words apart, each as whole words; a denormal becomes zero, as which a product would take it. */
static void round_a(const lpb_gemm *g, int64_t row, int32_t *out) {
    const int64_t words = words_of(g->k);
    const float *a = g->a;
    for (int64_t i = 0; i < g->m; i++, a += g->a_row, out += row)
        for (int64_t w = 0; w < words; w += 16) {
            const int64_t left = g->k - 2 * w;
            const __m512 low = _mm512_maskz_loadu_ps(first_of(left), a + 2 * w);
            const __m512 high =
                left > 16 ? _mm512_maskz_loadu_ps(first_of(left - 16), a + 2 * w + 16) : _mm512_setzero_ps();
            _mm512_mask_storeu_epi32(out + w, first_of(words - w), (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
}

/* Two rows as words of one of either, `count` of them and zeros up to `row`. */
static void round_words(const float *x, int64_t x_row, int64_t k, int64_t count, int64_t row, int32_t *out) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (; k > 0; k -= 2, x += 2 * x_row, out += row)
        for (int64_t j = 0; j < row; j += 16) {
            const __mmask16 these = first_of(count - j);
            const __m512 low = _mm512_maskz_loadu_ps(these, x + j);
            const __m512 high = k > 1 ? _mm512_maskz_loadu_ps(these, x + x_row + j) : _mm512_setzero_ps();
            _mm512_storeu_si512(out + j, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low)));
        }
}
