/* Chains whose products are of bfloat16 or int8; chain.c hands those over. Declared as in lparbench_kernels.h. */
#ifndef LPARBENCH_LOW_CHAIN_H
#define LPARBENCH_LOW_CHAIN_H

#include "isa/isa.h"

typedef struct lpb_low_chain lpb_low_chain;

lpb_low_chain *lpb_low_chain_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_head head,
                                 lpb_dtype dtype);
void lpb_low_chain_free(lpb_low_chain *chain);
lpb_status lpb_low_chain_run(const lpb_low_chain *chain, const float *x, int64_t rows, int64_t x_row, float *out,
                             int threads);

#endif
