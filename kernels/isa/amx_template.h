/* Products of bfloat16 or int8 by tiles of Intel's Advanced Matrix Extensions.
 *
 * k is cut into steps of equally many words, at most 16. A is packed by rows and B in strips of sixteen columns, whose
 * rows hold a word of each, both padded with zeros to whole steps. Included by a file that has defined T(name) and
 *   WORD_ENTRIES              2 or 4
 *   source_entry, word_entry  the type of an element of A and B, and of an entry inside a word
 *   B_ENTRY(x)                an element of B as an entry
 *   TILE_PRODUCT(c, a, b)     the instruction, AMX_BF16 or AMX_INT8
 *   TILE_FINISH(g, raw, width, c, row_bias, column_bias, rows, columns)
 *                             from `raw`, `width` entries per row, to C
 *   TILE_PLAIN(g)             whether C is what the tiles hold, or that is added to it */
#include <immintrin.h>
#include <string.h>

#include "isa.h"

#include "amx_tiles.h"
#include "words.h"

enum { BLOCK_ROWS = 2 * AMX_ROWS, BLOCK_COLUMNS = 2 * AMX_WORDS };

/* How k is cut. */
typedef struct {
    int64_t steps, depth, words; /* `words` are those of all steps */
    int64_t a_row;               /* words from one row of A to the next */
} cut;

static cut cut_of(int64_t k) {
    const int64_t words = words_of(k), steps = (words + AMX_WORDS - 1) / AMX_WORDS;
    const int64_t depth = steps ? (words + steps - 1) / steps : 0;
    return (cut){steps, depth, steps * depth, lpb_round_up(words, LPB_ALIGN)};
}

static int64_t packed_bytes(const lpb_gemm *g) {
    return cut_of(g->k).words * lpb_round_up(g->n, AMX_WORDS) * (int64_t)sizeof(int32_t);
}

static int64_t a_bytes(const lpb_gemm *g) {
    return cut_of(g->k).a_row * lpb_round_up(g->m, LPB_ALIGN) * (int64_t)sizeof(int32_t);
}

/* A twice, because its columns may be contiguous and are turned. */
static int64_t scratch_bytes(const lpb_gemm *g) { return 2 * a_bytes(g) + packed_bytes(g); }

static void pack_a(const lpb_gemm *g, const source_entry *a, source_entry *out) {
    const cut s = cut_of(g->k);
    for (int64_t i = 0; i < g->m; i++, a += g->a_row, out += s.a_row * WORD_ENTRIES) {
        if (g->a_col == 1)
            memcpy(out, a, (size_t)g->k * sizeof *a);
        else
            for (int64_t p = 0; p < g->k; p++) out[p] = a[p * g->a_col];
        memset(out + g->k, 0, (size_t)(s.words * WORD_ENTRIES - g->k) * sizeof *out);
    }
}

static void pack_b(const lpb_gemm *g, const source_entry *b, word_entry *out) {
    const cut s = cut_of(g->k);
    for (int64_t j = 0; j < g->n; j += AMX_WORDS)
        for (int64_t w = 0; w < s.words; w++, out += AMX_WORDS * WORD_ENTRIES) {
            const source_entry *from = b + w * WORD_ENTRIES * g->b_row + j * g->b_col;
            const int64_t rows = g->k - w * WORD_ENTRIES, columns = g->n - j;
            if (g->b_col == 1 && rows >= WORD_ENTRIES && columns >= AMX_WORDS) {
                interleave(from, g->b_row, AMX_WORDS, out);
                continue;
            }
            memset(out, 0, AMX_WORDS * sizeof(int32_t));
            for (int64_t q = 0; q < AMX_WORDS && q < columns; q++)
                for (int64_t e = 0; e < WORD_ENTRIES && e < rows; e++)
                    out[q * WORD_ENTRIES + e] = B_ENTRY(from[e * g->b_row + q * g->b_col]);
        }
}

static void pack(const lpb_gemm *g, void *packed) { pack_b(g, g->b, packed); }

/* `high` x `wide` tiles of sums, from `c` on when they are added to, and to `c`, whose rows are c_row bytes apart. */
static inline __attribute__((always_inline)) void tiles(const cut *s, const char *a, const char *b, const int high,
                                                        const int wide, const bool added, char *c, int64_t c_row) {
    const int64_t a_row = 4 * s->a_row, a_tile = AMX_ROWS * a_row, strip = s->words * AMX_ROW_BYTES;
    char *below = c + AMX_ROWS * c_row;
#define EACH_SUM(DO)                                                                                                   \
    do {                                                                                                               \
        DO(0, c);                                                                                                      \
        if (wide > 1) DO(1, c + AMX_ROW_BYTES);                                                                        \
        if (high > 1) DO(2, below);                                                                                    \
        if (high > 1 && wide > 1) DO(3, below + AMX_ROW_BYTES);                                                        \
    } while (0)
#define FETCH(t, at) AMX_LOAD(t, at, c_row)
#define CLEAR(t, at) AMX_ZERO(t)
#define KEEP(t, at) AMX_STORE(t, at, c_row)
    if (added)
        EACH_SUM(FETCH);
    else
        EACH_SUM(CLEAR);
    for (int64_t step = 0; step < s->steps; step++, a += 4 * s->depth, b += s->depth * AMX_ROW_BYTES) {
        AMX_LOAD(6, b, AMX_ROW_BYTES);
        AMX_LOAD(4, a, a_row);
        TILE_PRODUCT(0, 4, 6);
        if (wide > 1) {
            AMX_LOAD(7, b + strip, AMX_ROW_BYTES);
            TILE_PRODUCT(1, 4, 7);
        }
        if (high > 1) {
            AMX_LOAD(5, a + a_tile, a_row);
            TILE_PRODUCT(2, 5, 6);
        }
        if (high > 1 && wide > 1) TILE_PRODUCT(3, 5, 7);
    }
    EACH_SUM(KEEP);
#undef KEEP
#undef CLEAR
#undef FETCH
#undef EACH_SUM
}

static void block(const cut *s, const char *a, const char *b, int high, int wide, bool added, char *c, int64_t c_row) {
#define FORM(h, w)                                                                                                     \
    if (high == (h) && wide == (w)) {                                                                                  \
        tiles(s, a, b, h, w, added, c, c_row);                                                                         \
        return;                                                                                                        \
    }
    FORM(2, 2)
    FORM(2, 1)
    FORM(1, 2)
    FORM(1, 1)
#undef FORM
}

static int tiles_for(int64_t left) { return left > AMX_ROWS ? 2 : 1; }

static void run_item(const lpb_gemm *g, char *c, const float *bias, const void *a, const void *b) {
    const cut s = cut_of(g->k);
    for (int64_t j = 0; j < g->n; j += BLOCK_COLUMNS) {
        const int64_t columns = g->n - j < BLOCK_COLUMNS ? g->n - j : BLOCK_COLUMNS;
        const char *strip = (const char *)b + j * s.words * 4;
        for (int64_t i = 0; i < g->m; i += BLOCK_ROWS) {
            const int64_t rows = g->m - i < BLOCK_ROWS ? g->m - i : BLOCK_ROWS;
            const int high = tiles_for(rows), wide = tiles_for(columns);
            const char *panel = (const char *)a + i * s.a_row * 4;
            char *to = c + (i * g->c_row + j) * 4;
            if (TILE_PLAIN(g) && rows % AMX_ROWS == 0 && columns % AMX_WORDS == 0) {
                block(&s, panel, strip, high, wide, g->beta != 0.0f, to, g->c_row * 4);
                continue;
            }
            char raw[BLOCK_ROWS * BLOCK_COLUMNS * 4] __attribute__((aligned(64)));
            block(&s, panel, strip, high, wide, false, raw, BLOCK_COLUMNS * 4);
            TILE_FINISH(g, (const void *)raw, BLOCK_COLUMNS, to, g->bias_axis == LPB_ROW_BIAS ? bias + i : NULL,
                        g->bias_axis == LPB_COLUMN_BIAS ? bias + j : NULL, rows, columns);
        }
    }
}

static void configure(int64_t k) {
    const amx_shapes shapes = amx_shapes_of(k > 0 ? cut_of(k).depth : AMX_WORDS);
    AMX_SHAPES(&shapes);
}

static void gemm(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    char *a = scratch, *b = a + 2 * a_bytes(g);
    configure(g->k);
    for (int64_t item = first; item < last; item++) {
        if (item == first || g->a_batch != 0)
            pack_a(g, (const source_entry *)g->a + item * g->a_batch, (source_entry *)(void *)a);
        if (!g->b_packed && (item == first || g->b_batch != 0))
            pack_b(g, (const source_entry *)g->b + item * g->b_batch, (word_entry *)(void *)b);
        run_item(g, (char *)g->c + item * g->c_batch * 4, g->bias ? g->bias + item * g->bias_batch : NULL, a,
                 g->b_packed ? g->b_packed : b);
    }
    AMX_RELEASE();
}

static double peak(int64_t rounds) {
    const char ones[AMX_ROWS * AMX_ROW_BYTES] __attribute__((aligned(64))) = {0};
    configure(0);
    AMX_ZERO(0);
    AMX_ZERO(1);
    AMX_ZERO(2);
    AMX_ZERO(3);
    AMX_ZERO(4);
    AMX_ZERO(5);
    AMX_LOAD(6, ones, AMX_ROW_BYTES);
    AMX_LOAD(7, ones, AMX_ROW_BYTES);
    for (int64_t r = 0; r < rounds; r++) {
        TILE_PRODUCT(0, 6, 7);
        TILE_PRODUCT(1, 6, 7);
        TILE_PRODUCT(2, 6, 7);
        TILE_PRODUCT(3, 6, 7);
        TILE_PRODUCT(4, 6, 7);
        TILE_PRODUCT(5, 6, 7);
    }
    AMX_RELEASE();
    return (double)rounds * 6.0 * 2.0 * AMX_ROWS * AMX_WORDS * AMX_WORDS * WORD_ENTRIES;
}

#define AMX_ENTRIES                                                                                                    \
    .supported = lpb_amx_supported, .gemm = gemm, .scratch = scratch_bytes, .packed_bytes = packed_bytes,              \
    .pack = pack, .finishes_apart = true, .peak = peak
