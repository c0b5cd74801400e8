/* Any processor: four-lane vectors in the compiler's own notation, which become SSE2, NEON, or whatever the baseline
 * has. It is what the other tables are compared with in tests, and the table that is always supported. */
#include <math.h>

#include "isa.h"

#define T(name) portable_##name
#define TILE_VECTORS 2
#define TILE_ROWS_1 8
#define TILE_ROWS_2 6
#define TILE_TAILS_ARE_FREE 0
typedef int vi __attribute__((vector_size(16)));

#define LANE float
#include "portable_vectors.h"
#define V_SET1(x) ((vf){x, x, x, x})
#define V_SPLAT(p) ((vf){*(p), *(p), *(p), *(p)})
#define V_FMA(a, b, c) ((a) * (b) + (c))
#define V_RELU(v) ((vf)(~((v) < V_ZERO) & (vi)(v)))
#define V_LEAKY(v, s) T(select)((v) < V_ZERO, (v) * (s), v)
#define V_SQRT(v) ((vf){sqrtf((v)[0]), sqrtf((v)[1]), sqrtf((v)[2]), sqrtf((v)[3])})

static inline void T(transpose_4)(const float *x, int64_t x_row, float *out, int64_t out_row) {
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < VL; r++) out[j * out_row + r] = x[r * x_row + j];
}

#include "elementwise_template.h"
#include "tile_template.h"
#include "gemm_template.h"

#define F32_KERNEL {.name = "c 6x8", .gemm = T(gemm), .scratch = T(gemm_scratch), .peak = T(peak_f32)}
#include "widening.h"

static bool supported(void) { return true; }

extern const lpb_kernel lpb_portable_i8;

const lpb_isa lpb_isa_portable = {
    .name = "portable",
    .supported = supported,
    .f32 = F32_KERNEL,
    .low = {[LPB_BFLOAT16] = {&T(bf16_kernel)}, [LPB_INT8] = {&lpb_portable_i8}},
    ELEMENTWISE_ENTRIES,
};
