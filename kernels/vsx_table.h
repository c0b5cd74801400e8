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

static bool supported(void) { return VSX_SUPPORTED; }

const lpb_isa T(table) = {
    .name = VSX_NAME,
    .supported = supported,
    .kernel = {[LPB_F32] = "fma 8x16"},
    .gemm = {[LPB_F32] = T(gemm)},
    .gemm_scratch = {[LPB_F32] = T(gemm_scratch)},
    ELEMENTWISE_ENTRIES,
    .peak = {[LPB_F32] = T(peak_f32)},
};
