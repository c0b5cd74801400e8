/* int8 products by VSX, as pairs of 16-bit integers: POWER8 and later. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power8")
#include "isa.h"

#include <altivec.h>
#undef vector
#undef pixel
#undef bool
#define bool _Bool /* altivec.h has redefined it */
#include <string.h>

#define T(name) vsx_i8_##name
#define VL 4
#define TILE_VECTORS 4
#define TILE_ROWS_1 8
#define TILE_ROWS_2 8
#define TILE_ROWS_3 8
#define TILE_ROWS_4 8
#define TILE_TAILS_ARE_FREE 0
#define TILE_WORDS
#define TILE_INTEGERS
typedef __vector unsigned int vf;
typedef __vector unsigned int vw;
typedef size_t vtail; /* bytes */
typedef unsigned int word __attribute__((may_alias));

static inline vf load_bytes(const float *p, size_t bytes) {
    vf v = {0, 0, 0, 0};
    memcpy(&v, p, bytes);
    return v;
}
static inline void store_bytes(float *p, vf v, size_t bytes) { memcpy(p, &v, bytes); }

#define V_TAIL(n) ((size_t)(n) * sizeof(float))
#define V_LOAD(p) vec_xl(0, (word *)(p))
#define V_STORE(p, v) vec_xst(v, 0, (word *)(p))
#define V_LOAD_TAIL(p, tail) load_bytes(p, tail)
#define V_STORE_TAIL(p, v, tail) store_bytes(p, v, tail)
#define V_ZERO ((vf){0, 0, 0, 0})
#define V_SPLAT(p) vec_splats((unsigned int)*(const word *)(p))
#define W_LOAD(p) V_LOAD(p)
#define W_SPLAT(p) V_SPLAT(p)
#define V_DOT(a, b, c) ((vf)vec_msum((__vector signed short)(a), (__vector signed short)(b), (__vector signed int)(c)))

#define WORD_ENTRIES 2
typedef int16_t word_entry;
typedef int8_t source_entry;
#define A_ENTRY(x) (x)
#define B_ENTRY(x) (x)
#include "words_template.h"

const lpb_kernel lpb_vsx_i8 = {.name = "vmsumshm 8x16", WORDS_ENTRIES};
#else
typedef int lpb_no_vsx_i8;
#endif
