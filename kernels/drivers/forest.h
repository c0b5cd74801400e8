/* Decision trees: the sum of the leaf values that rows reach. */
#ifndef LPARBENCH_FOREST_H
#define LPARBENCH_FOREST_H

#include "isa/isa.h"

typedef struct lpb_forest lpb_forest;

/* From the arrays of LPB_STEP_TREES. LPB_BAD_ARGUMENT: arrays that do not fit each other, features or children that are
 * not there, or nodes that are no tree. */
lpb_status lpb_forest_new(const lpb_array *arrays, int64_t features, lpb_forest **forest);
void lpb_forest_free(lpb_forest *forest);
/* Nodes on the longest ways through all trees. */
int64_t lpb_forest_visits(const lpb_forest *forest);
/* sums[r] of x[r * x_row + feature] for r < rows. */
void lpb_forest_sums(const lpb_forest *forest, const float *x, int64_t rows, int64_t x_row, double *sums);

#endif
