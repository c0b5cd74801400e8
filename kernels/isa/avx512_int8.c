/* int8 products by AVX-512 VNNI, which multiplies unsigned by signed bytes: 128 is added to A's and taken back. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#define T(name) avx512_i8_##name
#define VL 16
#define TILE_VECTORS 2
#define TILE_ROWS_1 16
#define TILE_ROWS_2 14
#define TILE_TAILS_ARE_FREE 1
#define TILE_WORDS
#define TILE_INTEGERS
typedef int32_t vf __attribute__((vector_size(64)));
typedef __m512i vw;
typedef __mmask16 vtail;
typedef int32_t word __attribute__((may_alias));
#define V_TAIL(n) ((__mmask16)(0xffffu >> (16 - (n))))
#define V_LOAD(p) ((vf)_mm512_loadu_si512(p))
#define V_STORE(p, v) _mm512_storeu_si512(p, (__m512i)(v))
#define V_LOAD_TAIL(p, tail) ((vf)_mm512_maskz_loadu_epi32(tail, p))
#define V_STORE_TAIL(p, v, tail) _mm512_mask_storeu_epi32(p, tail, (__m512i)(v))
#define V_ZERO ((vf)_mm512_setzero_si512())
#define V_SPLAT(p) ((vf)_mm512_set1_epi32(*(const word *)(p)))
#define W_LOAD(p) _mm512_loadu_si512(p)
#define W_SPLAT(p) _mm512_set1_epi32(*(const word *)(p))
#define V_DOT(a, b, c) ((vf)_mm512_dpbusd_epi32((__m512i)(c), a, b))

#define WORD_ENTRIES 4
#define WORD_OFFSET 128
typedef uint8_t word_entry;
typedef int8_t source_entry;
#define A_ENTRY(x) ((uint8_t)((x) + 128))
#define B_ENTRY(x) ((uint8_t)(x))
#include "words_template.h"

static bool supported(void) { return __builtin_cpu_supports("avx512vnni"); }

const lpb_kernel lpb_avx512_i8 = {.name = "vpdpbusd 14x32", .supported = supported, WORDS_ENTRIES};
#else
typedef int lpb_no_avx512_i8;
#endif
