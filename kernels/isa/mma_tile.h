/* The accumulator tile of the MMA kernels, C[4 or 8 rows x 4, 8 or 16 columns] in one, two, four or eight accumulators,
 * and the loops around it. The loops are inside the function because entering it saves every register that the
 * accumulators cover.
 *
 * The outer products and the final stores are written as assembly, because GCC 12 copies every half of a register pair
 * and every row of an accumulator to another register before it uses it. Where assembly names a half of a pair or a row
 * of an accumulator, it lets the assembler add to the register's number; in little-endian mode the first half, and
 * row 0, have the highest.
 *
 * Included by a file that has defined MMA_GER, the outer product that accumulates: of floats, or of 32-bit words of
 * several entries; and MMA_PLAIN_ONLY for tiles of 8 rows without transposition and with nothing after the product, but
 * with MMA_FLOAT_SUMS what floats may have, of 16 columns. */

typedef struct {
    const char *a; /* by columns: step p has its rows at a + p * a_step; else by rows: `turn` */
    const char *b; /* step p has its columns at b + p * b_step */
    char *c;
    const float *row_bias, *column_bias; /* NULL, or one per row or column of C */
} mma_operands;

typedef struct {
    mma_operands first;
    int64_t k;
    ptrdiff_t a_row, a_step; /* bytes, as all strides here; a_row matters when turning only */
    ptrdiff_t b_step, c_row;
    int64_t tiles;    /* tiles below each other */
    ptrdiff_t a_tile; /* from one tile's A to the next */
    int64_t strips;   /* strips of tiles next to each other */
    int64_t items;
    ptrdiff_t a_item, b_item, c_item, row_bias_item, column_bias_item;
    float beta;
    lpb_activation activation; /* IDENTITY, RELU or LEAKY_RELU */
    float slope;
} mma_job;

typedef __vector unsigned char mma_operand;

/* a: a vector, or with _PAIR the half r of a pair; b: the half s of a pair. */
#define MMA_OUTER(acc, a, b, s) __asm__ volatile(MMA_GER " %A0,%x1,%x2+%3" : "+d"(acc) : "v"(a), "v"(b), "i"(1 - (s)))
#define MMA_OUTER_PAIR(acc, a, r, b, s)                                                                                \
    __asm__ volatile(MMA_GER " %A0,%x1+%3,%x2+%4" : "+d"(acc) : "v"(a), "v"(b), "i"(1 - (r)), "i"(1 - (s)))
/* Moves four rows out of an accumulator and stores them at four addresses plus a constant. */
#define MMA_STORE(acc, c0, c1, c2, c3, offset)                                                                         \
    __asm__ volatile("xxmfacc %A0\n\tstxv %A0*4+3,%5(%1)\n\tstxv %A0*4+2,%5(%2)\n\t"                                   \
                     "stxv %A0*4+1,%5(%3)\n\tstxv %A0*4,%5(%4)"                                                        \
                     : "+d"(acc)                                                                                       \
                     : "b"(c0), "b"(c1), "b"(c2), "b"(c3), "i"(offset)                                                 \
                     : "memory")

/* X(row group, column group, pair of column groups, half of it) of four each */
#define MMA_TILES(X)                                                                                                   \
    X(0, 0, 0, 0) X(0, 1, 0, 1) X(0, 2, 1, 0) X(0, 3, 1, 1) X(1, 0, 0, 0) X(1, 1, 0, 1) X(1, 2, 1, 0) X(1, 3, 1, 1)

/* Beta, bias and activation of four rows of row group r and column group s, then their store. */
static inline __attribute__((always_inline)) void mma_finish(const mma_job *t, const mma_operands *at, int r, int s,
                                                             vf v[4]) {
    float *c[4];
    for (int i = 0; i < 4; i++) c[i] = (float *)(at->c + (4 * r + i) * t->c_row) + 4 * s;
    if (t->beta != 0.0f) {
        const vf beta = V_SET1(t->beta);
        for (int i = 0; i < 4; i++) v[i] = V_FMA(beta, V_LOAD(c[i]), v[i]);
    }
    if (at->row_bias) {
        for (int i = 0; i < 4; i++) v[i] += V_SPLAT(at->row_bias + 4 * r + i);
    } else if (at->column_bias) {
        for (int i = 0; i < 4; i++) v[i] += V_LOAD(at->column_bias + 4 * s);
    }
    if (t->activation == LPB_RELU) {
        for (int i = 0; i < 4; i++) v[i] = V_RELU(v[i]);
    } else if (t->activation == LPB_LEAKY_RELU) {
        const vf slope = V_SET1(t->slope);
        for (int i = 0; i < 4; i++) v[i] = V_LEAKY(v[i], slope);
    }
    for (int i = 0; i < 4; i++) V_STORE(c[i], v[i]);
}

/* rows and columns: groups of four. turn: A's rows are contiguous and transposed on the way; needs 8 rows and k to be a
 * multiple of 4. plain: C = A B. */
static inline __attribute__((always_inline)) void mma_tile(const mma_job *t, mma_operands at, const int rows,
                                                           const int columns, const int turn, const int plain) {
    __vector_quad acc00, acc01, acc02, acc03, acc10, acc11, acc12, acc13;
    const char *a = at.a, *b = at.b;
    int64_t k = t->k;

    /* Loads run one step ahead of the products that use them: they take longer than a step's products. The last step
     * loads nothing. */
/* B's row of a step, as pairs; of a single group of columns, the first half is used */
#define LOAD_B(b0, b1)                                                                                                 \
    do {                                                                                                               \
        if (columns == 1) {                                                                                            \
            const mma_operand low = (mma_operand)V_LOAD((const float *)b);                                             \
            __builtin_vsx_assemble_pair(&b0, low, low);                                                                \
        } else {                                                                                                       \
            b0 = __builtin_vsx_lxvp(0, (const void *)b);                                                               \
        }                                                                                                              \
        b1 = columns == 4 ? __builtin_vsx_lxvp(32, (const void *)b) : b0;                                              \
        b += t->b_step;                                                                                                \
    } while (0)
/* A's column of a step; of a single group of rows, the first half is used */
#define LOAD_A(a01)                                                                                                    \
    do {                                                                                                               \
        if (rows == 1) {                                                                                               \
            const mma_operand low = (mma_operand)V_LOAD((const float *)a);                                             \
            __builtin_vsx_assemble_pair(&a01, low, low);                                                               \
        } else {                                                                                                       \
            a01 = __builtin_vsx_lxvp(0, (const void *)a);                                                              \
        }                                                                                                              \
        a += t->a_step;                                                                                                \
    } while (0)
#define OUTER(r, s, pair, half)                                                                                        \
    if (r < rows && s < columns) MMA_OUTER(acc##r##s, a##r, b##pair, half);
#define OUTER_OF_PAIR(r, s, pair, half)                                                                                \
    if (r < rows && s < columns) MMA_OUTER_PAIR(acc##r##s, a01, r, b##pair, half);
#define VECTOR_PRODUCTS(upper, lower, p0, p1)                                                                          \
    do {                                                                                                               \
        const vf a0 = (upper), a1 = (lower);                                                                           \
        const __vector_pair b0 = p0, b1 = p1;                                                                          \
        MMA_TILES(OUTER)                                                                                               \
    } while (0)
#define PAIR_PRODUCTS(pa, p0, p1)                                                                                      \
    do {                                                                                                               \
        const __vector_pair a01 = pa, b0 = p0, b1 = p1;                                                                \
        MMA_TILES(OUTER_OF_PAIR)                                                                                       \
    } while (0)

#define CLEAR(r, s, pair, half)                                                                                        \
    if (r < rows && s < columns) __builtin_mma_xxsetaccz(&acc##r##s);
    MMA_TILES(CLEAR)
#undef CLEAR
    if (k == 0) {
        /* an empty sum */
    } else if (turn) {
        const ptrdiff_t a_row = t->a_row;
        vf x0, x1, x2, x3, x4, x5, x6, x7;
        __vector_pair p0, p1, q0, q1;
#define ROW(i) x##i = V_LOAD((const float *)(a + i * a_row));
#define LOAD_ROWS                                                                                                      \
    do {                                                                                                               \
        ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7) a += 4 * sizeof(float);                                \
    } while (0)
#define FOUR_STEPS(NEXT_ROWS, NEXT_B)                                                                                  \
    do {                                                                                                               \
        vf upper[4], lower[4];                                                                                         \
        transpose_registers(x0, x1, x2, x3, upper);                                                                    \
        transpose_registers(x4, x5, x6, x7, lower);                                                                    \
        NEXT_ROWS;                                                                                                     \
        LOAD_B(q0, q1);                                                                                                \
        VECTOR_PRODUCTS(upper[0], lower[0], p0, p1);                                                                   \
        LOAD_B(p0, p1);                                                                                                \
        VECTOR_PRODUCTS(upper[1], lower[1], q0, q1);                                                                   \
        LOAD_B(q0, q1);                                                                                                \
        VECTOR_PRODUCTS(upper[2], lower[2], p0, p1);                                                                   \
        NEXT_B;                                                                                                        \
        VECTOR_PRODUCTS(upper[3], lower[3], q0, q1);                                                                   \
    } while (0)
        LOAD_ROWS;
        LOAD_B(p0, p1);
        for (; k > 4; k -= 4) FOUR_STEPS(LOAD_ROWS, LOAD_B(p0, p1));
        FOUR_STEPS((void)0, (void)0);
#undef FOUR_STEPS
#undef LOAD_ROWS
#undef ROW
    } else {
        __vector_pair a0, p0, p1, a1, q0, q1;
        LOAD_A(a0);
        LOAD_B(p0, p1);
#define STEP(a, b0, b1, next_a, next_b0, next_b1)                                                                      \
    do {                                                                                                               \
        LOAD_A(next_a);                                                                                                \
        LOAD_B(next_b0, next_b1);                                                                                      \
        PAIR_PRODUCTS(a, b0, b1);                                                                                      \
    } while (0)
        for (; k > 4; k -= 4) {
            STEP(a0, p0, p1, a1, q0, q1);
            STEP(a1, q0, q1, a0, p0, p1);
            STEP(a0, p0, p1, a1, q0, q1);
            STEP(a1, q0, q1, a0, p0, p1);
        }
        if (k > 2) {
            STEP(a0, p0, p1, a1, q0, q1);
            STEP(a1, q0, q1, a0, p0, p1);
            k -= 2;
        }
        if (k > 1) {
            STEP(a0, p0, p1, a1, q0, q1);
            PAIR_PRODUCTS(a1, q0, q1);
        } else {
            PAIR_PRODUCTS(a0, p0, p1);
        }
#undef STEP
    }
#undef PAIR_PRODUCTS
#undef VECTOR_PRODUCTS
#undef OUTER_OF_PAIR
#undef OUTER
#undef LOAD_A
#undef LOAD_B

    /* the only moves out of the accumulators */
    if (plain) {
        char *const c0 = at.c, *const c1 = c0 + t->c_row, *const c2 = c1 + t->c_row, *const c3 = c2 + t->c_row;
        char *const d0 = c3 + t->c_row, *const d1 = d0 + t->c_row, *const d2 = d1 + t->c_row, *const d3 = d2 + t->c_row;
#define PUT(r, s, pair, half)                                                                                          \
    if (r == 0 && s < columns) MMA_STORE(acc##r##s, c0, c1, c2, c3, 16 * s);                                           \
    if (r == 1 && r < rows && s < columns) MMA_STORE(acc##r##s, d0, d1, d2, d3, 16 * s);
        MMA_TILES(PUT)
#undef PUT
    } else {
#define PUT(r, s, pair, half)                                                                                          \
    if (r < rows && s < columns) {                                                                                     \
        vf v[4];                                                                                                       \
        __builtin_mma_disassemble_acc(v, &acc##r##s);                                                                  \
        mma_finish(t, &at, r, s, v);                                                                                   \
    }
        MMA_TILES(PUT)
#undef PUT
    }
}

static inline __attribute__((always_inline)) void mma_loop(const mma_job *job, const int rows, const int columns,
                                                           const int turn, const int plain) {
    const mma_job copy = *job, *const t = &copy; /* which no store to C can change */
    mma_operands item = t->first;
    for (int64_t i = 0; i < t->items; i++) {
        mma_operands strip = item;
        for (int64_t j = 0; j < t->strips; j++) {
            mma_operands tile = strip;
            for (int64_t q = 0; q < t->tiles; q++) {
                mma_tile(t, tile, rows, columns, turn, plain);
                tile.a += t->a_tile;
                tile.c += 4 * rows * t->c_row;
                if (!plain && tile.row_bias) tile.row_bias += 4 * rows;
            }
            strip.b += 4 * columns * (ptrdiff_t)sizeof(float);
            strip.c += 4 * columns * (ptrdiff_t)sizeof(float);
            if (!plain && strip.column_bias) strip.column_bias += 4 * columns;
        }
        item.a += t->a_item, item.b += t->b_item, item.c += t->c_item;
        if (!plain && item.row_bias) item.row_bias += t->row_bias_item;
        if (!plain && item.column_bias) item.column_bias += t->column_bias_item;
    }
}

#define MMA_LOOP(name, rows, columns, turn, plain)                                                                     \
    static __attribute__((noinline)) void name(const mma_job *job) { mma_loop(job, rows, columns, turn, plain); }
MMA_LOOP(mma_plain_8x4, 2, 1, 0, 1)
MMA_LOOP(mma_plain_8x8, 2, 2, 0, 1)
MMA_LOOP(mma_plain_8x16, 2, 4, 0, 1)
#if !defined(MMA_PLAIN_ONLY) || defined(MMA_FLOAT_SUMS)
MMA_LOOP(mma_finished_8x16, 2, 4, 0, 0)
#endif
#ifndef MMA_PLAIN_ONLY
MMA_LOOP(mma_short_4x4, 1, 1, 0, 1)
MMA_LOOP(mma_short_4x8, 1, 2, 0, 1)
MMA_LOOP(mma_short_4x16, 1, 4, 0, 1)
MMA_LOOP(mma_finished_8x4, 2, 1, 0, 0)
MMA_LOOP(mma_finished_8x8, 2, 2, 0, 0)
MMA_LOOP(mma_plain_turned_8x4, 2, 1, 1, 1)
MMA_LOOP(mma_plain_turned_8x8, 2, 2, 1, 1)
MMA_LOOP(mma_plain_turned_8x16, 2, 4, 1, 1)
MMA_LOOP(mma_finished_turned_8x4, 2, 1, 1, 0)
MMA_LOOP(mma_finished_turned_8x8, 2, 2, 1, 0)
MMA_LOOP(mma_finished_turned_8x16, 2, 4, 1, 0)

/* Tiles of 4 rows (always plain), of 8 rows, or of 8 rows transposed on the way; of 4, 8 or 16 columns. */
typedef enum { MMA_SHORT, MMA_TALL, MMA_TURNED } mma_shape;

static void mma_run(const mma_job *job, int64_t columns, mma_shape shape) {
    static void (*const loops[3][2][3])(const mma_job *) = {
        [MMA_SHORT] = {{mma_short_4x4, mma_short_4x8, mma_short_4x16}},
        [MMA_TALL] = {{mma_finished_8x4, mma_finished_8x8, mma_finished_8x16},
                      {mma_plain_8x4, mma_plain_8x8, mma_plain_8x16}},
        [MMA_TURNED] = {{mma_finished_turned_8x4, mma_finished_turned_8x8, mma_finished_turned_8x16},
                        {mma_plain_turned_8x4, mma_plain_turned_8x8, mma_plain_turned_8x16}},
    };
    const bool plain =
        job->beta == 0.0f && !job->first.row_bias && !job->first.column_bias && job->activation == LPB_IDENTITY;
    loops[shape][shape != MMA_SHORT && plain][columns / 8](job);
}
#endif
#undef MMA_LOOP

/* The outer product on registers, on all eight accumulators; returns operations done. */
static double mma_peak(int64_t rounds, double operations) {
    const mma_operand x = (mma_operand)V_SET1(0.50073242f); /* no entry of any type is large */
    __vector_quad a0, a1, a2, a3, a4, a5, a6, a7;
    vf rows[4], total = V_ZERO;
#define EACH(X) X(a0) X(a1) X(a2) X(a3) X(a4) X(a5) X(a6) X(a7)
#define CLEAR(a) __builtin_mma_xxsetaccz(&a);
#define NEXT(a) __asm__ volatile(MMA_GER " %A0,%x1,%x1" : "+d"(a) : "v"(x));
#define ADD(a)                                                                                                         \
    __builtin_mma_disassemble_acc(rows, &a);                                                                           \
    total += rows[0] + rows[1] + rows[2] + rows[3];
    EACH(CLEAR)
    for (int64_t r = 0; r < rounds; r++) {
        EACH(NEXT) EACH(NEXT) EACH(NEXT) EACH(NEXT)
    }
    EACH(ADD)
#undef ADD
#undef NEXT
#undef CLEAR
#undef EACH
    volatile float kept = total[0];
    (void)kept;
    return (double)rounds * 32.0 * operations;
}
