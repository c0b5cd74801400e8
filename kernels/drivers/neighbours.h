/* Euclidean distance of rows to the k-th nearest of a sample. */
#ifndef LPARBENCH_NEIGHBOURS_H
#define LPARBENCH_NEIGHBOURS_H

#include "isa/isa.h"

typedef struct lpb_neighbours lpb_neighbours;

/* `sample` is count x features; 1 <= k <= count. NULL when memory is short. */
lpb_neighbours *lpb_neighbours_new(const lpb_isa *isa, const float *sample, int64_t count, int64_t features, int64_t k);
void lpb_neighbours_free(lpb_neighbours *neighbours);
/* Bytes that lpb_neighbours_distances needs, aligned to 64, for up to LPB_BLOCK_ROWS rows. */
int64_t lpb_neighbours_scratch(const lpb_neighbours *neighbours);
/* distances[r] of x[r * x_row], r < rows <= LPB_BLOCK_ROWS. */
void lpb_neighbours_distances(const lpb_neighbours *neighbours, const float *x, int64_t rows, int64_t x_row,
                              float *distances, void *scratch);

#endif
