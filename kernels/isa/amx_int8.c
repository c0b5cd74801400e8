/* int8 products by tiles: signed bytes by signed bytes. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#include "isa.h"

static void take(const lpb_gemm *g, const void *raw, int64_t width, char *c, int64_t rows, int64_t columns) {
    const uint32_t *from = raw;
    for (int64_t i = 0; i < rows; i++, from += width, c += g->c_row * 4) {
        uint32_t *to = (uint32_t *)(void *)c;
        const uint32_t kept = g->beta != 0.0f;
        for (int64_t j = 0; j < columns; j++) to[j] = from[j] + (kept ? to[j] : 0);
    }
}

#define WORD_ENTRIES 4
typedef int8_t source_entry;
typedef int8_t word_entry;
#define B_ENTRY(x) (x)
#define TILE_PRODUCT(c, a, b) AMX_INT8(c, a, b)
#define TILE_PLAIN(g) true
#define TILE_FINISH(g, raw, width, c, row_bias, column_bias, rows, columns)                                            \
    ((void)(row_bias), (void)(column_bias), take(g, raw, width, c, rows, columns))
#include "amx_template.h"

const lpb_kernel lpb_amx_i8 = {.name = "tdpbssd 32x32", AMX_ENTRIES};
#else
typedef int lpb_no_amx_i8;
#endif
