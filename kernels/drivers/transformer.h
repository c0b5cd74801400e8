/* A transformer over tokens of the features of a row, up to what its last attention takes in for the first token. */
#ifndef LPARBENCH_TRANSFORMER_H
#define LPARBENCH_TRANSFORMER_H

#include "isa/isa.h"

typedef struct lpb_transformer lpb_transformer;

/* `step` is of LPB_STEP_TRANSFORMER over `features`; its arrays are packed. LPB_BAD_ARGUMENT: they do not fit. */
lpb_status lpb_transformer_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_transformer **made);
void lpb_transformer_free(lpb_transformer *t);
/* Features that it makes of a row. */
int64_t lpb_transformer_outputs(const lpb_transformer *t);
/* Multiply-adds per row, about. */
int64_t lpb_transformer_work(const lpb_transformer *t);
/* Bytes of the scratch memory of a run, aligned to 64. */
int64_t lpb_transformer_scratch(const lpb_transformer *t);
/* Feature j of row r goes to out[r * out_row + j * out_column]. Heads, strips of tokens and panels of outputs are
 * spread over at most `threads` threads where there is work enough for them; the sums are those of one. Where memory is
 * short it is one. */
void lpb_transformer_run(const lpb_transformer *t, const float *x, int64_t rows, int64_t x_row, float *out,
                         int64_t out_row, int64_t out_column, void *scratch, int threads);

#endif
