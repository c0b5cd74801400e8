/* int8 products by the Matrix-Multiply Assist, which multiplies signed by unsigned bytes: 128 is added to B's, and 128
 * times the sums of A's rows is taken back. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power10")
#include "isa.h"

#define T(name) mma_i8_##name
#define MMA_GER "xvi8ger4pp"
#define WORD_ENTRIES 4
typedef int8_t source_entry;
#define B_ENTRY(x) ((int8_t)((uint8_t)(x) ^ 0x80u))
#define ADD_SUMS(v, sums) vec_msum((__vector signed char)(v), vec_splats((unsigned char)1), sums)
#define MMA_NOTHING_TO_FINISH(g) false
#define MMA_FINISH(g, raw, width, c, row_bias, column_bias, sums, rows, columns)                                       \
    ((void)(row_bias), (void)(column_bias), take_back(g, raw, width, c, sums, rows, columns))

static inline void take_back(const lpb_gemm *g, const void *raw, int64_t width, char *c, const int32_t *sums,
                             int64_t rows, int64_t columns) {
    const int32_t *from = raw;
    for (int64_t i = 0; i < rows; i++, from += width, c += g->c_row * 4) {
        uint32_t *to = (uint32_t *)(void *)c;
        const uint32_t added = 128u * (uint32_t)sums[i];
        if (g->beta != 0.0f)
            for (int64_t j = 0; j < columns; j++) to[j] += (uint32_t)from[j] - added;
        else
            for (int64_t j = 0; j < columns; j++) to[j] = (uint32_t)from[j] - added;
    }
}

#include "mma_words_template.h"

const lpb_kernel lpb_mma_i8 = {
    .name = "xvi8ger4 8x16",
    .gemm = gemm,
    .scratch = scratch_bytes,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .peak = peak,
};
#else
typedef int lpb_no_mma_i8;
#endif
