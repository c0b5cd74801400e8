/* A plan as plan_build.c makes it and plan.c runs it. */
#ifndef LPARBENCH_PLAN_H
#define LPARBENCH_PLAN_H

#include "forest.h"
#include "low_chain.h"
#include "neighbours.h"

/* A value's features, its precision, and where it lies, in bytes: of a single row, and of a block of rows. */
typedef struct {
    int64_t features;
    bool wide; /* double */
    int64_t row_place, block_place;
} plan_value;

typedef struct {
    lpb_step_kind kind;
    int64_t word;
    int64_t *inputs, input_count, output; /* values */
    int64_t features, outputs;            /* of the first input, and of the output */
    float slope;
    int64_t weight_row; /* of a dense step: outputs rounded up, or 1 for a single output in float */
    void *weight;       /* features x weight_row; or the constants, padded to LPB_ALIGN */
    void *bias;         /* padded to LPB_ALIGN */
    int64_t *numbers;   /* of columns */
    lpb_low_chain *low;
    lpb_forest *forest;
    lpb_neighbours *neighbours;
} plan_step;

struct lpb_plan {
    const lpb_isa *isa;
    int64_t count;
    int64_t row_bytes, block_bytes, scratch_bytes;
    int64_t work;
    plan_value *values; /* count + 1 */
    plan_step steps[];
};

/* The product of a dense step over floats in a block; what the kernel cannot do in registers is left out. */
lpb_gemm plan_product(const lpb_plan *plan, const plan_step *step, const float *x, int64_t ld, float *out);

#endif
