/* Convolutions along the positions of a row, one after the other, and the largest of every channel over them. */
#ifndef LPARBENCH_CONVOLUTION_H
#define LPARBENCH_CONVOLUTION_H

#include "isa/isa.h"

typedef struct lpb_convolution lpb_convolution;

/* `step` is of LPB_STEP_CONVOLUTION over `features`; its arrays are packed. LPB_BAD_ARGUMENT: they do not fit. */
lpb_status lpb_convolution_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_convolution **made);
void lpb_convolution_free(lpb_convolution *c);
/* Channels that it makes of a row. */
int64_t lpb_convolution_outputs(const lpb_convolution *c);
/* Multiply-adds per row, about. */
int64_t lpb_convolution_work(const lpb_convolution *c);
/* Bytes of the scratch memory of a run, aligned to 64. */
int64_t lpb_convolution_scratch(const lpb_convolution *c);
/* Channel j of row r goes to out[r * out_row + j * out_column]. */
void lpb_convolution_run(const lpb_convolution *c, const float *x, int64_t rows, int64_t x_row, float *out,
                         int64_t out_row, int64_t out_column, void *scratch);

#endif
