/* A plan as plan_build.c makes it and plan.c runs it. */
#ifndef LPARBENCH_PLAN_H
#define LPARBENCH_PLAN_H

#include "convolution.h"
#include "forest.h"
#include "low_chain.h"
#include "neighbours.h"
#include "patches.h"
#include "recurrence.h"
#include "transformer.h"

/* A value's features, its precision, and where it lies, in bytes: per row where rows are few, and in a block. */
typedef struct {
    int64_t features;
    bool wide; /* double */
    int64_t row_place, block_place;
} plan_value;

/* Outputs of a dense step whose weights lie together, so that they stay in the first-level cache while all rows of a
 * block are multiplied, and do not fall into a few of its sets. Where outputs are in the columns of products only,
 * widths of tiles divide them, else heights. Weights that may be read from memory are as wide as the widest tile, so
 * that they are read in the order in which they lie. */
enum { PANEL_OUTPUTS = 48, PANEL_COLUMNS = 64, PANEL_STREAMED = 32 };

typedef struct {
    lpb_step_kind kind;
    int64_t word;
    int64_t *inputs, input_count, output; /* values */
    int64_t features, outputs;            /* of the first input, and of the output */
    float slope;
    int64_t panel;      /* outputs of a panel */
    int64_t weight_row; /* of a dense step: outputs rounded up, or 1 for a single output in float */
    void *weight;       /* see plan_panel; of doubles features x weight_row; or the constants, padded to LPB_ALIGN */
    void *bias;         /* padded to LPB_ALIGN */
    int64_t *numbers;   /* of columns */
    lpb_low_chain *low;
    bool borrows; /* weight and low are another step's */
    lpb_forest *forest;
    lpb_neighbours *neighbours;
    lpb_transformer *transformer;
    lpb_convolution *convolution;
    lpb_recurrence *recurrence;
    lpb_patches *patches;
} plan_step;

struct lpb_plan {
    const lpb_isa *isa;
    int64_t count;
    int64_t row_bytes, block_bytes, scratch_bytes;
    int64_t work;
    bool row_major;     /* however many rows a block has: a step makes its values so */
    plan_value *values; /* count + 1 */
    plan_step steps[];
};

/* Outputs [first, first + count) of a dense step over floats, count <= panel, and their weights, features x
 * row.
 */
typedef struct {
    int64_t first, count, row;
    const float *weight, *bias;
} plan_panel;
plan_panel plan_panel_at(const plan_step *step, int64_t first);

/* Packs the biases of a dense step whose sizes are set, and unless it borrows them the weights (outputs x features);
 * false when memory is short, what there is being freed with the step. */
bool plan_pack(plan_step *step, const void *weight, const void *bias, bool wide);

/* The products of a panel, of a block and of a few rows; an activation that the kernel cannot do in registers is left
 * out. */
lpb_gemm plan_product(const plan_step *step, const plan_panel *panel, const float *x, int64_t ld, float *out);
lpb_gemm plan_few_product(const plan_step *step, const plan_panel *panel, const float *x, int64_t rows, float *out);

#endif
