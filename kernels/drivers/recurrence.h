/* A layer of an LSTM over all time steps of a row. */
#ifndef LPARBENCH_RECURRENCE_H
#define LPARBENCH_RECURRENCE_H

#include "isa/isa.h"

typedef struct lpb_recurrence lpb_recurrence;

/* `step` is of LPB_STEP_LSTM over `features`; its arrays are packed. LPB_BAD_ARGUMENT: they do not fit. */
lpb_status lpb_recurrence_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_recurrence **made);
void lpb_recurrence_free(lpb_recurrence *r);
/* Hidden values of all time steps. */
int64_t lpb_recurrence_outputs(const lpb_recurrence *r);
/* Multiply-adds per row, about. */
int64_t lpb_recurrence_work(const lpb_recurrence *r);
/* Bytes of the scratch memory of either run, aligned to 64. */
int64_t lpb_recurrence_scratch(const lpb_recurrence *r);
/* Of a block: feature j of row q is at x[j * ld + q], hidden value j at out[j * ld + q]; ld <= LPB_BLOCK_ROWS. */
void lpb_recurrence_run_block(const lpb_recurrence *r, const float *x, int64_t ld, float *out, void *scratch);
/* Of at most LPB_BLOCK_ROWS rows that are x_row and out_row apart. */
void lpb_recurrence_run_rows(const lpb_recurrence *r, const float *x, int64_t rows, int64_t x_row, float *out,
                             int64_t out_row, void *scratch);
/* One row of a stream for all windows that are open, their ages 0 to steps - 1: window i reads x[i * x_row], all the
 * same where x_row is 0, and its hidden values go to row i of out, rows padded to LPB_ALIGN. The state is of all
 * windows but the oldest, before and after: hidden values, then cells, in padded rows; the floats that it has are
 * returned. x and out are aligned to 64 bytes unless x_row is 0. */
int64_t lpb_recurrence_advance(const lpb_recurrence *r, const float *x, int64_t x_row, float *state, float *out,
                               void *scratch);
int64_t lpb_recurrence_advance_scratch(const lpb_recurrence *r);

#endif
