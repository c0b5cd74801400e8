/* The head of a classifier in training: from what the trunk makes of rows to their loss, and back. */
#ifndef LPARBENCH_CLASSIFIER_HEAD_H
#define LPARBENCH_CLASSIFIER_HEAD_H

#include "classifier_trainer.h"

/* Rows [first, first + rows) of the batch: `of_pooled` is made of `pooled`; losses and gradients of the head are added
 * to the hand's. With `moves` running statistics move. */
void lpb_net_head(net_hand *w, int64_t first, int64_t rows, bool moves);
/* Floats that as many rows need in the trainer; with memory, its pieces are set. */
int64_t lpb_net_head_place(lpb_classifier_trainer *t, int64_t rows, float *memory);

#endif
