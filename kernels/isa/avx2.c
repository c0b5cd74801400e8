/* AVX2 with FMA: Haswell, Zen and later. Sixteen registers: 12 accumulators, two vectors of B, one broadcast. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#define T(name) avx2_##name
#define VL 8
#define TILE_VECTORS 2
#define TILE_ROWS_1 12
#define TILE_ROWS_2 6
#define TILE_TAILS_ARE_FREE 0
#define TILE_ITEMS
typedef __m256 vf;
typedef int vi __attribute__((vector_size(32)));
typedef __m256i vtail;

static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

#define V_TAIL(n) _mm256_loadu_si256((const __m256i *)(lanes + 8 - (n)))
#define V_LOAD(p) _mm256_loadu_ps(p)
#define V_STORE(p, v) _mm256_storeu_ps(p, v)
#define V_LOAD_TAIL(p, tail) _mm256_maskload_ps(p, tail)
#define V_STORE_TAIL(p, v, tail) _mm256_maskstore_ps(p, tail, v)
#define V_ZERO _mm256_setzero_ps()
#define V_SET1(x) _mm256_set1_ps(x)
#define V_SPLAT(p) _mm256_broadcast_ss(p)
#define V_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
/* max and min return their second operand when either is NaN; blendv looks at the sign bit alone */
#define V_RELU(v) _mm256_max_ps(_mm256_setzero_ps(), v)
#define V_NO_LESS(v, least) _mm256_max_ps(_mm256_set1_ps(least), v)
#define V_NO_MORE(v, most) _mm256_min_ps(_mm256_set1_ps(most), v)
#define V_LARGER(a, b) _mm256_max_ps(a, b)
#define V_LEAKY(v, s) _mm256_blendv_ps(v, _mm256_mul_ps(v, s), v)
#define V_SQRT(v) _mm256_sqrt_ps(v)

/* Two 4x4 transpositions at once: the lower lanes hold rows 0 to 3, the upper rows 4 to 7. */
static inline void T(transpose_4)(const float *x, int64_t x_row, float *out, int64_t out_row) {
#define ROWS(i)                                                                                                        \
    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x + (i) * x_row)), _mm_loadu_ps(x + (4 + i) * x_row), 1)
    const __m256 r0 = ROWS(0), r1 = ROWS(1), r2 = ROWS(2), r3 = ROWS(3);
#undef ROWS
    const __m256d ab = (__m256d)_mm256_unpacklo_ps(r0, r1), cd = (__m256d)_mm256_unpacklo_ps(r2, r3);
    const __m256d ef = (__m256d)_mm256_unpackhi_ps(r0, r1), gh = (__m256d)_mm256_unpackhi_ps(r2, r3);
    _mm256_storeu_ps(out, (__m256)_mm256_unpacklo_pd(ab, cd));
    _mm256_storeu_ps(out + out_row, (__m256)_mm256_unpackhi_pd(ab, cd));
    _mm256_storeu_ps(out + 2 * out_row, (__m256)_mm256_unpacklo_pd(ef, gh));
    _mm256_storeu_ps(out + 3 * out_row, (__m256)_mm256_unpackhi_pd(ef, gh));
}

#include "elementwise_template.h"
#include "tile_template.h"
#include "gemm_template.h"

#define F32_KERNEL {.name = "fma 6x16", .gemm = T(gemm), .scratch = T(gemm_scratch), .peak = T(peak_f32)}
#include "widening.h"

static bool supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

extern const lpb_kernel lpb_avx2_i8;

const lpb_isa lpb_isa_avx2 = {
    .name = "avx2",
    .supported = supported,
    .f32 = F32_KERNEL,
    .low = {[LPB_BFLOAT16] = {&T(bf16_kernel)}, [LPB_INT8] = {&lpb_avx2_i8}},
    ELEMENTWISE_ENTRIES,
};
#else
typedef int lpb_no_avx2;
#endif
