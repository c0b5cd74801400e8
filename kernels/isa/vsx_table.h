/* The kernels of VSX, for the file that has set its processor: T, VSX_NAME (the table's name), VSX_SUPPORTED. 64
 * registers hold 32 accumulators, four vectors of B and the broadcasts in flight. */
#include "isa.h"

#include "vsx_vectors.h"

#define TILE_VECTORS 4
#define TILE_ROWS_1 8
#define TILE_ROWS_2 8
#define TILE_ROWS_3 8
#define TILE_ROWS_4 8
#define TILE_TAILS_ARE_FREE 0

#include "elementwise_template.h"
#include "tile_template.h"
#include "gemm_template.h"

#define F32_KERNEL {.name = "fma 8x16", .gemm = T(gemm), .scratch = T(gemm_scratch), .peak = T(peak_f32)}
#include "widening.h"

static bool supported(void) { return VSX_SUPPORTED; }

extern const lpb_kernel lpb_vsx_i8;

const lpb_isa T(table) = {
    .name = VSX_NAME,
    .supported = supported,
    .f32 = F32_KERNEL,
    .low = {[LPB_BFLOAT16] = {&T(bf16_kernel)}, [LPB_INT8] = {&lpb_vsx_i8}},
    ELEMENTWISE_ENTRIES,
};
