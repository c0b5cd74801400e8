/* The vectors of VSX for the templates: four floats. Included once, by each table of POWER8, 9 and 10. */
#include <altivec.h>
#undef vector
#undef pixel
#undef bool
#define bool _Bool /* altivec.h has redefined it */
#include <string.h>

#define VL 4
#define WIDE_TALL
typedef __vector float vf;
typedef __vector signed int vi;
typedef size_t vtail;

#define V_LOAD(p) vec_xl(0, (float *)(p))
#define V_STORE(p, v) vec_xst(v, 0, (float *)(p))
#define V_ZERO ((vf){0.0f, 0.0f, 0.0f, 0.0f})
#define V_SET1(x) vec_splats((float)(x))
#define V_SPLAT(p) vec_splats(*(p))
#define V_FMA(a, b, c) vec_madd(a, b, c)
/* clearing what compares below zero leaves NaN alone, which a maximum would not */
#define V_RELU(v) ((vf)vec_andc((vi)(v), (vi)vec_cmplt(v, V_ZERO)))
#define V_LEAKY(v, s) vec_sel(v, vec_mul(v, s), vec_cmplt(v, V_ZERO))
#define V_SQRT(v) vec_sqrt(v)
#define V_LARGER(a, b) vec_max(a, b)

#ifdef _ARCH_PWR9
/* vector loads and stores with a length in bytes */
#define V_TAIL(n) ((size_t)(n) * sizeof(float))
#define V_LOAD_TAIL(p, tail) ((vf)vec_xl_len((unsigned char *)(p), tail))
#define V_STORE_TAIL(p, v, tail) vec_xst_len((__vector unsigned char)(v), (unsigned char *)(p), tail)
#else
static inline vf load_bytes(const float *p, size_t bytes) {
    vf v = V_ZERO;
    memcpy(&v, p, bytes);
    return v;
}
static inline void store_bytes(float *p, vf v, size_t bytes) { memcpy(p, &v, bytes); }
#define V_TAIL(n) ((size_t)(n) * sizeof(float))
#define V_LOAD_TAIL(p, tail) load_bytes(p, tail)
#define V_STORE_TAIL(p, v, tail) store_bytes(p, v, tail)
#endif

/* out[j] = element j of the four rows: a 4x4 transposition. */
static inline __attribute__((always_inline)) void transpose_registers(vf r0, vf r1, vf r2, vf r3, vf out[4]) {
    /* words of rows 0 and 2 interleaved, and of rows 1 and 3; then the one with the other */
    const vf even_high = vec_mergeh(r0, r2), odd_high = vec_mergeh(r1, r3);
    const vf even_low = vec_mergel(r0, r2), odd_low = vec_mergel(r1, r3);
    out[0] = vec_mergeh(even_high, odd_high);
    out[1] = vec_mergel(even_high, odd_high);
    out[2] = vec_mergeh(even_low, odd_low);
    out[3] = vec_mergel(even_low, odd_low);
}

static inline void T(transpose_4)(const float *x, int64_t x_row, float *out, int64_t out_row) {
    vf columns[4];
    transpose_registers(V_LOAD(x), V_LOAD(x + x_row), V_LOAD(x + 2 * x_row), V_LOAD(x + 3 * x_row), columns);
    V_STORE(out, columns[0]);
    V_STORE(out + out_row, columns[1]);
    V_STORE(out + 2 * out_row, columns[2]);
    V_STORE(out + 3 * out_row, columns[3]);
}
