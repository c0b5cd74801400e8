/* int8 products by AVX2, as pairs of 16-bit integers: bytes would saturate. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#define T(name) avx2_i8_##name
#define VL 8
#define TILE_VECTORS 2
#define TILE_ROWS_1 8
#define TILE_ROWS_2 6
#define TILE_TAILS_ARE_FREE 0
#define TILE_WORDS
#define TILE_INTEGERS
typedef uint32_t vf __attribute__((vector_size(32)));
typedef __m256i vw;
typedef __m256i vtail;
typedef int32_t word __attribute__((may_alias));
#define V_TAIL(n) _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define V_LOAD(p) ((vf)_mm256_loadu_si256((const __m256i *)(p)))
#define V_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), (__m256i)(v))
#define V_LOAD_TAIL(p, tail) ((vf)_mm256_maskload_epi32((const int *)(p), tail))
#define V_STORE_TAIL(p, v, tail) _mm256_maskstore_epi32((int *)(p), tail, (__m256i)(v))
#define V_ZERO ((vf)_mm256_setzero_si256())
#define V_SPLAT(p) ((vf)_mm256_set1_epi32(*(const word *)(p)))
#define W_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define W_SPLAT(p) _mm256_set1_epi32(*(const word *)(p))
#define V_DOT(a, b, c) ((c) + (vf)_mm256_madd_epi16(a, b))

#define WORD_ENTRIES 2
typedef int16_t word_entry;
typedef int8_t source_entry;
#define A_ENTRY(x) (x)
#define B_ENTRY(x) (x)
#include "words_template.h"

const lpb_kernel lpb_avx2_i8 = {.name = "vpmaddwd 6x16", WORDS_ENTRIES};
#else
typedef int lpb_no_avx2_i8;
#endif
