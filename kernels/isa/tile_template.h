/* The register tile of the broadcast kernels: C[rows x vectors*VL] from broadcast elements of A and vectors of B.
 *
 * Included by a file that has defined, for its instruction set:
 *   T(name)                  the name with the instruction set's prefix
 *   vf, VL                   the vector of accumulators and its lanes
 *   vtail, V_TAIL(n)         whatever selects the first n lanes, 1 <= n <= VL
 *   V_LOAD, V_STORE          unaligned; V_LOAD_TAIL(p, tail) reads zeros beyond, V_STORE_TAIL(p, v, tail)
 *   V_ZERO, V_SET1(x)        constants; V_SPLAT(p) broadcasts *p
 *   V_FMA(a, b, c)           a * b + c
 *   V_RELU(v), V_LEAKY(v, s) as in lparbench_kernels.h, slope a vector
 *   TILE_VECTORS             widest tile, 1 to 4 vectors
 *   TILE_ROWS_1 .. _4        tallest tile of that many vectors, at most 16: what the register file holds
 *   TILE_TAILS_ARE_FREE      1 when masked loads and stores cost no more than whole ones
 * and includes it once per prefix. It may also define, for all prefixes,
 *   TILE_ITEMS               a tile is called once for all items that are a single tile each
 *   TILE_FETCH(p)            fetches p into the second-level cache, whether it is memory or not
 * For operands that are not of the accumulators' type it also defines
 *   TILE_WORDS               an element of A or B is a 32-bit word of several entries, B is padded to whole vectors
 *   vw, W_LOAD, W_SPLAT      the vector of words
 *   V_DOT(a, b, c)           c plus the products of the entries of each word
 *   TILE_INTEGERS            accumulators and biases are int32_t, and there is no activation
 *
 * Accumulators are named variables, not an array: compilers keep the former in registers at every optimisation level.
 * A's rows are reached from one address per three rows plus 0, 1 or 2 row strides, so that 16 rows of any layout need
 * six address registers. */

#ifndef LPB_TILE
#define LPB_TILE
typedef struct {
    int64_t k;
    const char *a;
    ptrdiff_t a_row, a_step; /* bytes; a step is one column of A */
    const char *b;
    ptrdiff_t b_step; /* bytes from one row of B to the next */
#ifdef TILE_FETCH
    ptrdiff_t b_ahead; /* bytes from a row of B to what is fetched with it */
#endif
    char *c;
    ptrdiff_t c_row;
    float beta;
    const float *row_bias;     /* NULL, or one per row of the tile */
    const float *column_bias;  /* NULL, or one per column */
    int last;                  /* lanes in use in the last vector */
    lpb_activation activation; /* IDENTITY, RELU or LEAKY_RELU */
    float slope;
#ifdef TILE_ITEMS
    int64_t items;                    /* as many tiles, of as many items */
    ptrdiff_t a_item, b_item, c_item; /* bytes from an item to the next */
#endif
} lpb_tile;

typedef void (*lpb_tile_fn)(const lpb_tile *);

/* Builds under sanitizers set it lower: instrumented, the tall tiles take a minute to compile. */
#ifndef LPB_TALLEST_TILE
#define LPB_TALLEST_TILE 16
#endif
#define LPB_TALLEST(rows) ((rows) < LPB_TALLEST_TILE ? (rows) : LPB_TALLEST_TILE)

/* clang-format off */
/* X(row, group of three, row within the group) */
#define LPB_TILE_ROWS(X)                                                                                               \
    X(0, 0, 0) X(1, 0, 1) X(2, 0, 2) X(3, 1, 0) X(4, 1, 1) X(5, 1, 2) X(6, 2, 0) X(7, 2, 1)                            \
    X(8, 2, 2) X(9, 3, 0) X(10, 3, 1) X(11, 3, 2) X(12, 4, 0) X(13, 4, 1) X(14, 4, 2) X(15, 5, 0)
/* clang-format on */
#endif

#ifdef TILE_WORDS
#define LOAD_B(p, last) W_LOAD(p)
#else
#define vw vf
#define W_SPLAT(p) V_SPLAT(p)
#define V_DOT(a, b, c) V_FMA(a, b, c)
#define LOAD_B(p, last) ((last) ? LOAD_LAST(p) : V_LOAD(p))
#endif

#ifdef TILE_ITEMS /* of the item that the loop is at */
#define OPERANDS , const char *at_a, const char *at_b, char *at_c
#define AT(operand) at_##operand
#else
#define OPERANDS
#define AT(operand) t->operand
#endif

static inline __attribute__((always_inline)) void T(tile)(const lpb_tile *t OPERANDS, const int rows, const int vectors,
                                                          const int full) {
    const ptrdiff_t a_row = t->a_row, a_step = t->a_step, b_step = t->b_step;
#ifdef TILE_FETCH
    const ptrdiff_t b_ahead = t->b_ahead;
#endif
    const vtail tail = V_TAIL(t->last);

#define LOAD_LAST(p) (full ? V_LOAD(p) : V_LOAD_TAIL(p, tail))
#define DECLARE(i, g, r) vf c##i##_0 = V_ZERO, c##i##_1 = V_ZERO, c##i##_2 = V_ZERO, c##i##_3 = V_ZERO;
    LPB_TILE_ROWS(DECLARE)
#undef DECLARE
    if (t->row_bias) {
        const float *bias = t->row_bias;
#define INIT(i, g, r)                                                                                                  \
    if (i < rows) c##i##_0 = c##i##_1 = c##i##_2 = c##i##_3 = V_SPLAT(bias + i);
        LPB_TILE_ROWS(INIT)
#undef INIT
    } else if (t->column_bias) {
        const float *bias = t->column_bias;
        c0_0 = vectors == 1 ? LOAD_LAST(bias) : V_LOAD(bias);
        if (vectors > 1) c0_1 = vectors == 2 ? LOAD_LAST(bias + VL) : V_LOAD(bias + VL);
        if (vectors > 2) c0_2 = vectors == 3 ? LOAD_LAST(bias + 2 * VL) : V_LOAD(bias + 2 * VL);
        if (vectors > 3) c0_3 = LOAD_LAST(bias + 3 * VL);
#define INIT(i, g, r) c##i##_0 = c0_0, c##i##_1 = c0_1, c##i##_2 = c0_2, c##i##_3 = c0_3;
        LPB_TILE_ROWS(INIT)
#undef INIT
    }
    if (t->beta != 0.0f) {
#ifdef TILE_INTEGERS /* beta is 1 */
#define ADD_OLD(old, v) v += (old)
#else
        const vf beta = V_SET1(t->beta);
#define ADD_OLD(old, v) v = V_FMA(beta, old, v)
#endif
        const char *c = AT(c);
#define ADD(i, v)                                                                                                      \
    if (vectors > v)                                                                                                   \
        ADD_OLD(vectors == v + 1 ? LOAD_LAST((const float *)c + v * VL) : V_LOAD((const float *)c + v * VL),           \
                c##i##_##v);
#define INIT(i, g, r)                                                                                                  \
    if (i < rows) {                                                                                                    \
        ADD(i, 0) ADD(i, 1) ADD(i, 2) ADD(i, 3) c += t->c_row;                                                         \
    }
        LPB_TILE_ROWS(INIT)
#undef INIT
#undef ADD
#undef ADD_OLD
    }

    const char *a0 = AT(a), *a1 = a0 + 3 * a_row, *a2 = a1 + 3 * a_row, *a3 = a2 + 3 * a_row, *a4 = a3 + 3 * a_row,
               *a5 = a4 + 3 * a_row;
    const char *b = AT(b);
    for (int64_t p = t->k; p > 0; p--) {
        const float *bf = (const float *)b;
        const vw b0 = LOAD_B(bf, vectors == 1);
        const vw b1 = vectors < 2 ? b0 : LOAD_B(bf + VL, vectors == 2);
        const vw b2 = vectors < 3 ? b0 : LOAD_B(bf + 2 * VL, vectors == 3);
        const vw b3 = vectors < 4 ? b0 : LOAD_B(bf + 3 * VL, 1);
#define STEP(i, g, r)                                                                                                  \
    if (i < rows) {                                                                                                    \
        const vw s = W_SPLAT((const float *)(a##g + r * a_row));                                                       \
        c##i##_0 = V_DOT(s, b0, c##i##_0);                                                                             \
        if (vectors > 1) c##i##_1 = V_DOT(s, b1, c##i##_1);                                                            \
        if (vectors > 2) c##i##_2 = V_DOT(s, b2, c##i##_2);                                                            \
        if (vectors > 3) c##i##_3 = V_DOT(s, b3, c##i##_3);                                                            \
    }
        LPB_TILE_ROWS(STEP)
#undef STEP
#ifdef TILE_FETCH
        TILE_FETCH(b + b_ahead);
#endif
        a0 += a_step;
        if (rows > 3) a1 += a_step;
        if (rows > 6) a2 += a_step;
        if (rows > 9) a3 += a_step;
        if (rows > 12) a4 += a_step;
        if (rows > 15) a5 += a_step;
        b += b_step;
    }

    char *c = AT(c);
#define PUT(i, v, f)                                                                                                   \
    if (vectors > v) {                                                                                                 \
        float *to = (float *)c + v * VL;                                                                               \
        if (vectors > v + 1 || full)                                                                                   \
            V_STORE(to, f(c##i##_##v));                                                                                \
        else                                                                                                           \
            V_STORE_TAIL(to, f(c##i##_##v), tail);                                                                     \
    }
#define ROW(i, f)                                                                                                      \
    if (i < rows) {                                                                                                    \
        PUT(i, 0, f) PUT(i, 1, f) PUT(i, 2, f) PUT(i, 3, f) c += t->c_row;                                             \
    }
    if (t->activation == LPB_IDENTITY) {
#define PLAIN(v) v
#define STORE(i, g, r) ROW(i, PLAIN)
        LPB_TILE_ROWS(STORE)
#undef STORE
#undef PLAIN
#ifndef TILE_INTEGERS
    } else if (t->activation == LPB_RELU) {
#define STORE(i, g, r) ROW(i, V_RELU)
        LPB_TILE_ROWS(STORE)
#undef STORE
    } else {
        const vf slope = V_SET1(t->slope);
#define LEAKY(v) V_LEAKY(v, slope)
#define STORE(i, g, r) ROW(i, LEAKY)
        LPB_TILE_ROWS(STORE)
#undef STORE
#undef LEAKY
#endif
    }
#undef ROW
#undef PUT
#undef LOAD_LAST
}

/* One function per height and width that the registers hold; the others are empty and never called. */
#ifdef TILE_ITEMS
#define RUN(rows, vectors, full)                                                                                       \
    const char *a = t->a, *b = t->b;                                                                                   \
    char *c = t->c;                                                                                                    \
    for (int64_t left = t->items; left > 0; left--, a += t->a_item, b += t->b_item, c += t->c_item)                    \
        T(tile)(t, a, b, c, rows, vectors, full);
#else
#define RUN(rows, vectors, full) T(tile)(t, rows, vectors, full);
#endif
#define ONE(rows, vectors)                                                                                             \
    static __attribute__((noinline)) void T(tile_##rows##_##vectors)(const lpb_tile *t) {                              \
        if (rows > LPB_TALLEST(TILE_ROWS_##vectors)) return;                                                           \
        if (TILE_TAILS_ARE_FREE || t->last != VL) {                                                                    \
            RUN(rows, vectors, 0)                                                                                      \
        } else {                                                                                                       \
            RUN(rows, vectors, 1)                                                                                      \
        }                                                                                                              \
    }
/* clang-format off */
#define ALL(X, v)                                                                                                      \
    X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v) X(13, v)        \
    X(14, v) X(15, v) X(16, v)
/* clang-format on */
ALL(ONE, 1)
#if TILE_VECTORS > 1
ALL(ONE, 2)
#endif
#if TILE_VECTORS > 2
ALL(ONE, 3)
#endif
#if TILE_VECTORS > 3
ALL(ONE, 4)
#endif
#define ENTRY(rows, v) T(tile_##rows##_##v),
static const lpb_tile_fn T(tiles)[TILE_VECTORS][16] = {
    {ALL(ENTRY, 1)},
#if TILE_VECTORS > 1
    {ALL(ENTRY, 2)},
#endif
#if TILE_VECTORS > 2
    {ALL(ENTRY, 3)},
#endif
#if TILE_VECTORS > 3
    {ALL(ENTRY, 4)},
#endif
};
static const int T(tile_rows)[TILE_VECTORS] = {
    LPB_TALLEST(TILE_ROWS_1),
#if TILE_VECTORS > 1
    LPB_TALLEST(TILE_ROWS_2),
#endif
#if TILE_VECTORS > 2
    LPB_TALLEST(TILE_ROWS_3),
#endif
#if TILE_VECTORS > 3
    LPB_TALLEST(TILE_ROWS_4),
#endif
};
#undef ENTRY
#undef ALL
#undef ONE
#undef RUN
#undef OPERANDS
#undef AT
#undef LOAD_B
#ifndef TILE_WORDS
#undef vw
#undef W_SPLAT
#undef V_DOT
#endif
