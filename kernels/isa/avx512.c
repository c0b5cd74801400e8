/* AVX-512 (F, VL, BW, DQ): Skylake-X, Zen 4 and later. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#define TILE_TAILS_ARE_FREE 0
#define TILE_ITEMS
#define TILE_FETCH(p) _mm_prefetch(p, _MM_HINT_T1)

/* Half-width tiles, for products of at most eight columns. */
#define T(name) half_##name
#define VL 8
#define TILE_VECTORS 1
#define TILE_ROWS_1 16
typedef __m256 half_vf;
#define vf half_vf
#define vtail __mmask8
#define V_TAIL(n) ((__mmask8)(0xffu >> (8 - (n))))
#define V_LOAD(p) _mm256_loadu_ps(p)
#define V_STORE(p, v) _mm256_storeu_ps(p, v)
#define V_LOAD_TAIL(p, tail) _mm256_maskz_loadu_ps(tail, p)
#define V_STORE_TAIL(p, v, tail) _mm256_mask_storeu_ps(p, tail, v)
#define V_ZERO _mm256_setzero_ps()
#define V_SET1(x) _mm256_set1_ps(x)
#define V_SPLAT(p) _mm256_set1_ps(*(p))
#define V_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define V_RELU(v) _mm256_max_ps(_mm256_setzero_ps(), v)
#define V_LEAKY(v, s) _mm256_mask_mul_ps(v, _mm256_cmp_ps_mask(v, _mm256_setzero_ps(), _CMP_LT_OQ), v, s)
#include "tile_template.h"
#undef T
#undef VL
#undef TILE_VECTORS
#undef TILE_ROWS_1
#undef vf
#undef vtail
#undef V_TAIL
#undef V_LOAD
#undef V_STORE
#undef V_LOAD_TAIL
#undef V_STORE_TAIL
#undef V_ZERO
#undef V_SET1
#undef V_SPLAT
#undef V_FMA
#undef V_RELU
#undef V_LEAKY

/* Whole width: 28 accumulators, two vectors of B, broadcasts folded into the multiply-adds. */
#define T(name) avx512_##name
#define TILE_VECTORS 2
#define TILE_ROWS_1 16
#define TILE_ROWS_2 14
#define WIDE_TALL
#define NARROW_LANES 8
#define NARROW_TILES half_tiles[0]
#define NARROW_ROWS half_tile_rows[0]
typedef int vi __attribute__((vector_size(64)));
#include "avx512_vectors.h"
#define V_SQRT(v) _mm512_sqrt_ps(v)

/* Four 4x4 transpositions at once: lane L of each vector holds rows 4L to 4L + 3. */
static inline void T(transpose_4)(const float *x, int64_t x_row, float *out, int64_t out_row) {
#define PAIR(i, j)                                                                                                     \
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + (i) * x_row)), _mm_loadu_ps(x + (j) * x_row), 1)
#define ROWS(i) _mm512_insertf32x8(_mm512_castps256_ps512(PAIR(i, i + 4)), PAIR(i + 8, i + 12), 1)
    const __m512 r0 = ROWS(0), r1 = ROWS(1), r2 = ROWS(2), r3 = ROWS(3);
#undef ROWS
#undef PAIR
    const __m512d ab = (__m512d)_mm512_unpacklo_ps(r0, r1), cd = (__m512d)_mm512_unpacklo_ps(r2, r3);
    const __m512d ef = (__m512d)_mm512_unpackhi_ps(r0, r1), gh = (__m512d)_mm512_unpackhi_ps(r2, r3);
    _mm512_storeu_ps(out, (__m512)_mm512_unpacklo_pd(ab, cd));
    _mm512_storeu_ps(out + out_row, (__m512)_mm512_unpackhi_pd(ab, cd));
    _mm512_storeu_ps(out + 2 * out_row, (__m512)_mm512_unpacklo_pd(ef, gh));
    _mm512_storeu_ps(out + 3 * out_row, (__m512)_mm512_unpackhi_pd(ef, gh));
}

#include "elementwise_template.h"
#include "tile_template.h"
#include "gemm_template.h"

#define F32_KERNEL {.name = "fma 14x32", .gemm = T(gemm), .scratch = T(gemm_scratch), .peak = T(peak_f32)}
#include "widening.h"

static bool supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
}

extern const lpb_kernel lpb_amx_bf16, lpb_amx_i8, lpb_avx512_bf16, lpb_avx512_i8, lpb_avx2_i8;

const lpb_isa lpb_isa_avx512 = {
    .name = "avx512",
    .supported = supported,
    .f32 = F32_KERNEL,
    .low = {[LPB_BFLOAT16] = {&lpb_amx_bf16, &lpb_avx512_bf16, &T(bf16_kernel)},
            [LPB_INT8] = {&lpb_amx_i8, &lpb_avx512_i8, &lpb_avx2_i8}},
    ELEMENTWISE_ENTRIES,
};
#else
typedef int lpb_no_avx512;
#endif
