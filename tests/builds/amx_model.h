/* Tiles in C, for processors without them: what the instructions do and when they fault, by the Intel 64 and IA-32
 * Architectures Software Developer's Manual, volume 2, so that a kernel written for them runs anywhere. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    amx_shapes shapes; /* palette 0: not configured */
    uint8_t data[8][AMX_ROWS][AMX_ROW_BYTES];
} amx_model;

static _Thread_local amx_model amx_tiles_of_thread;

static inline void amx_need(bool holds, const char *rule) {
    if (holds) return;
    fprintf(stderr, "the processor would fault: %s\n", rule);
    abort();
}

static inline void amx_configure(const amx_shapes *s) {
    static const uint8_t zeros[14];
    amx_need(s->palette == 1, "palette 1 is the only one");
    amx_need(s->start_row == 0 && !memcmp(s->reserved, zeros, sizeof zeros), "reserved bytes are zero");
    for (int t = 0; t < 16; t++) {
        amx_need(t < 8 || (!s->rows[t] && !s->row_bytes[t]), "there are eight tiles");
        amx_need(s->rows[t] <= 16 && s->row_bytes[t] <= 64, "a tile has 16 rows of 64 bytes at most");
        amx_need(!s->rows[t] == !s->row_bytes[t], "a tile has rows and columns, or neither");
    }
    memset(&amx_tiles_of_thread, 0, sizeof amx_tiles_of_thread);
    amx_tiles_of_thread.shapes = *s;
}

static inline int amx_rows(int t) {
    amx_need(amx_tiles_of_thread.shapes.palette == 1 && amx_tiles_of_thread.shapes.rows[t], "the tile is configured");
    return amx_tiles_of_thread.shapes.rows[t];
}

static inline size_t amx_row_bytes(int t) { return amx_tiles_of_thread.shapes.row_bytes[t]; }

static inline void amx_load(int t, const void *from, int64_t row_bytes) {
    const int rows = amx_rows(t);
    memset(amx_tiles_of_thread.data[t], 0, sizeof amx_tiles_of_thread.data[t]);
    for (int i = 0; i < rows; i++)
        memcpy(amx_tiles_of_thread.data[t][i], (const char *)from + i * row_bytes, amx_row_bytes(t));
}

static inline void amx_store(int t, void *to, int64_t row_bytes) {
    for (int i = 0; i < amx_rows(t); i++)
        memcpy((char *)to + i * row_bytes, amx_tiles_of_thread.data[t][i], amx_row_bytes(t));
}

/* A denormal is zero of its sign. */
static inline float amx_flushed(float x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0f, x) : x; }

static inline float amx_widened(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return amx_flushed(wide);
}

static inline void amx_product(int c, int a, int b, bool integers) {
    amx_model *m = &amx_tiles_of_thread;
    const int rows = amx_rows(c), depth = amx_rows(b);
    amx_need(c != a && c != b && a != b, "the tiles differ");
    amx_need(amx_rows(a) == rows && amx_row_bytes(a) == 4 * (size_t)depth && amx_row_bytes(b) == amx_row_bytes(c),
             "the tiles fit each other");
    for (int i = 0; i < rows; i++)
        for (int p = 0; p < depth; p++)
            for (size_t j = 0; j < amx_row_bytes(c); j += 4) {
                const uint8_t *x = m->data[a][i] + 4 * p, *y = m->data[b][p] + j;
                if (integers) {
                    uint32_t sum;
                    memcpy(&sum, m->data[c][i] + j, sizeof sum);
                    for (int e = 0; e < 4; e++) sum += (uint32_t)((int8_t)x[e] * (int8_t)y[e]);
                    memcpy(m->data[c][i] + j, &sum, sizeof sum);
                } else {
                    uint16_t of_x[2], of_y[2];
                    float sum;
                    memcpy(of_x, x, sizeof of_x);
                    memcpy(of_y, y, sizeof of_y);
                    memcpy(&sum, m->data[c][i] + j, sizeof sum);
                    for (int e = 0; e < 2; e++)
                        sum = amx_flushed(fmaf(amx_widened(of_x[e]), amx_widened(of_y[e]), amx_flushed(sum)));
                    memcpy(m->data[c][i] + j, &sum, sizeof sum);
                }
            }
}

#define AMX_SHAPES(shapes) amx_configure(shapes)
#define AMX_RELEASE() memset(&amx_tiles_of_thread, 0, sizeof amx_tiles_of_thread)
#define AMX_ZERO(t) memset(amx_tiles_of_thread.data[t], 0, (size_t)amx_rows(t) * AMX_ROW_BYTES)
#define AMX_LOAD(t, from, row_bytes) amx_load(t, from, row_bytes)
#define AMX_STORE(t, to, row_bytes) amx_store(t, to, row_bytes)
#define AMX_BF16(c, a, b) amx_product(c, a, b, false)
#define AMX_INT8(c, a, b) amx_product(c, a, b, true)
