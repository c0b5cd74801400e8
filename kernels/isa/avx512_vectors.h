/* Sixteen floats by AVX-512, as tile_template.h asks for them. */
typedef __m512 vf;
typedef __mmask16 vtail;
#define VL 16
#define V_TAIL(n) ((__mmask16)(0xffffu >> (16 - (n))))
#define V_LOAD(p) _mm512_loadu_ps(p)
#define V_STORE(p, v) _mm512_storeu_ps(p, v)
#define V_LOAD_TAIL(p, tail) _mm512_maskz_loadu_ps(tail, p)
#define V_STORE_TAIL(p, v, tail) _mm512_mask_storeu_ps(p, tail, v)
#define V_ZERO _mm512_setzero_ps()
#define V_SET1(x) _mm512_set1_ps(x)
#define V_SPLAT(p) _mm512_set1_ps(*(p))
#define V_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
/* max and min return their second operand when either is NaN */
#define V_RELU(v) _mm512_max_ps(_mm512_setzero_ps(), v)
#define V_NO_LESS(v, least) _mm512_max_ps(_mm512_set1_ps(least), v)
#define V_NO_MORE(v, most) _mm512_min_ps(_mm512_set1_ps(most), v)
#define V_LARGER(a, b) _mm512_max_ps(a, b)
#define V_LEAKY(v, s) _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, s)
#define V_LOOKUP(table, at) _mm512_permutexvar_ps((__m512i)(at), table)
