/* Products in double for values that later steps would magnify the rounding errors of. Included by
 * elementwise_template.h. Tiles of six outputs and two vectors of data rows: twelve accumulators, as many as sixteen
 * registers hold with what is read. With WIDE_TALL, of an instruction set with more registers, twelve outputs. */
/* clang-format off */
#define WIDE_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
/* clang-format on */

static inline __attribute__((always_inline)) void T(wide_tile)(const lpb_wide_product *g, int64_t i, int64_t r,
                                                               const int rows) {
    const double *wt = g->wt + i, *h = g->h + r;
    double *c = g->c + i * g->ld + r;
#define START(q)                                                                                                       \
    T(wide_vector) a##q = {0}, b##q = {0};                                                                             \
    if (q < rows) a##q += g->bias[i + q], b##q += g->bias[i + q];
    WIDE_ROWS(START)
#undef START
    for (int64_t p = g->k; p > 0; p--, wt += g->wt_row, h += g->ld) {
        const T(wide_vector) x = WIDE_LOAD(h), y = WIDE_LOAD(h + VL / 2);
#define STEP(q)                                                                                                        \
    if (q < rows) a##q += wt[q] * x, b##q += wt[q] * y;
        WIDE_ROWS(STEP)
#undef STEP
    }
#define STORE(q)                                                                                                       \
    if (q < rows) {                                                                                                    \
        WIDE_STORE(c + q * g->ld, a##q);                                                                               \
        WIDE_STORE(c + q * g->ld + VL / 2, b##q);                                                                      \
    }
    WIDE_ROWS(STORE)
#undef STORE
}

static void T(wide_product)(const lpb_wide_product *g) {
#define TILES(rows)                                                                                                    \
    case rows:                                                                                                         \
        for (int64_t r = 0; r < g->ld; r += VL) T(wide_tile)(g, i, r, rows);                                           \
        break;
    int64_t i = 0;
#ifdef WIDE_TALL
    for (; i + 12 <= g->m; i += 12)
        for (int64_t r = 0; r < g->ld; r += VL) T(wide_tile)(g, i, r, 12);
#endif
    for (; i < g->m; i += 6) switch (g->m - i < 6 ? g->m - i : 6) {
            TILES(1)
            TILES(2)
            TILES(3)
            TILES(4)
            TILES(5)
            TILES(6)
        }
#undef TILES
}
#undef WIDE_ROWS
#undef WIDE_LOAD
#undef WIDE_STORE
