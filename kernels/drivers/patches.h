/* A layer over patches of pixels, each of which reads some pixels of a row: a convolution, or a transposed one. */
#ifndef LPARBENCH_PATCHES_H
#define LPARBENCH_PATCHES_H

#include "isa/isa.h"

typedef struct lpb_patches lpb_patches;

/* `step` is of LPB_STEP_PATCHES over `features`; its arrays are packed. LPB_BAD_ARGUMENT: they do not fit. */
lpb_status lpb_patches_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_patches **made);
void lpb_patches_free(lpb_patches *p);
/* Outputs of all patches of a row. */
int64_t lpb_patches_outputs(const lpb_patches *p);
/* Multiply-adds per row. */
int64_t lpb_patches_work(const lpb_patches *p);
/* Bytes of the scratch memory of a run, aligned to 64. */
int64_t lpb_patches_scratch(const lpb_patches *p);
/* Row r of the outputs is at out + r * out_row, its end up to a multiple of LPB_ALIGN is set. */
void lpb_patches_run(const lpb_patches *p, const float *x, int64_t rows, int64_t x_row, float *out, int64_t out_row,
                     void *scratch);

#endif
