/* int8 products on any processor, as pairs of 16-bit integers in 32-bit words. */
#include "isa.h"

#define T(name) portable_i8_##name
#define TILE_VECTORS 2
#define TILE_ROWS_1 4
#define TILE_ROWS_2 4
#define TILE_TAILS_ARE_FREE 0
#define TILE_WORDS
#define TILE_INTEGERS
typedef uint32_t vw __attribute__((vector_size(16)));
typedef uint32_t word __attribute__((may_alias));
typedef int32_t signed_words __attribute__((vector_size(16)));

#define LANE uint32_t
#include "portable_vectors.h"

/* The sum of the two products, modulo 2^32 as all arithmetic here. */
static inline vf dot(vw a, vw b, vf c) {
    const signed_words a_high = (signed_words)a >> 16, b_high = (signed_words)b >> 16;
    const signed_words a_low = (signed_words)(a << 16) >> 16, b_low = (signed_words)(b << 16) >> 16;
    return c + (vf)a_low * (vf)b_low + (vf)a_high * (vf)b_high;
}

#define W_LOAD(p) load_bytes(p, sizeof(vf))
#define W_SPLAT(p) ((vw){*(const word *)(p), *(const word *)(p), *(const word *)(p), *(const word *)(p)})
#define V_SPLAT(p) W_SPLAT(p)
#define V_DOT(a, b, c) dot(a, b, c)

#define WORD_ENTRIES 2
typedef int16_t word_entry;
typedef int8_t source_entry;
#define A_ENTRY(x) (x)
#define B_ENTRY(x) (x)
#include "words_template.h"

const lpb_kernel lpb_portable_i8 = {.name = "c 4x8", WORDS_ENTRIES};
