/* bfloat16 products by the Matrix-Multiply Assist. */
#if defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#pragma GCC target("cpu=power10")
#include "isa.h"

extern const lpb_isa lpb_isa_mma_table;

#define T(name) mma_bf16_##name
#define MMA_GER "xvbf16ger2pp"
#define WORD_ENTRIES 2
typedef uint16_t source_entry;
#define B_ENTRY(x) (x)
#define WORD_A_AS_B
#define MMA_FLOAT_SUMS
#define ADD_SUMS(v, sums) (sums)
#define MMA_NOTHING_TO_FINISH(g)                                                                                       \
    ((g)->alpha == 1.0f && (g)->beta == 0.0f && (g)->bias_axis == LPB_NO_BIAS && (g)->activation == LPB_IDENTITY)
#define MMA_FINISH(g, raw, width, c, row_bias, column_bias, sums, rows, columns)                                       \
    ((void)(sums),                                                                                                     \
     lpb_finish(g, lpb_isa_mma_table.reals->activate, raw, width, c, row_bias, column_bias, rows, columns))
#include "mma_words_template.h"

const lpb_kernel lpb_mma_bf16 = {
    .name = "xvbf16ger2 8x16",
    .gemm = gemm,
    .scratch = scratch_bytes,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .finishes_apart = true,
    .peak = peak,
};
#else
typedef int lpb_no_mma_bf16;
#endif
