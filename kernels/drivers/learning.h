/* What the trainers of whole nets share: products whose operands stay in cache, the constants of a step of Adam, and
 * the bits by which dropout takes numbers away. */
#ifndef LPARBENCH_LEARNING_H
#define LPARBENCH_LEARNING_H

#include "isa/isa.h"

/* A matrix of k x n rounded to bfloat16 and packed, once for many products; `memory` is NULL where it is not. */
typedef struct {
    int64_t k, n;
    void *memory;
} lpb_packed;

/* c (m x n) = a (m x k) b (k x n), or it is added to c; rows of b and c are contiguous, and rows or columns of a. */
typedef struct {
    const float *a;
    int64_t a_row, a_col;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row, m, n, k;
    bool adds;
    const float *bias;        /* a row, or NULL */
    const lpb_packed *packed; /* what b is, or NULL; unused in products of floats */
} lpb_factors;

/* Scratch memory of products, which grows; `failed` once there was none. With `rounded`, the kernel of bfloat16, their
 * operands are rounded to that when they are packed; sums are floats in any case. */
typedef struct {
    const lpb_kernel *rounded;
    void *memory;
    int64_t bytes;
    void *shared; /* what several products read, packed */
    int64_t shared_bytes;
    bool failed;
} lpb_room;

void lpb_multiply(const lpb_isa *isa, const lpb_factors *factors, lpb_room *room);
/* The weights of a layer packed for both ways, once a step, in ranges of its outputs: [0, split), then `part` each; or
 * one of all with split 0. The last `gap` of a range are zeros, which the way back leaves out; it has `columns`, 0
 * where there is none. */
typedef struct {
    int64_t outputs, split, part, gap, terms, columns;
    lpb_packed *forward, *back; /* NULL where the kernel does not round operands itself */
} lpb_ranges;
/* Packs anew what there is; false without memory. `turned` has a row for each term, `plain` for each output. */
bool lpb_pack_ranges(const lpb_kernel *rounded, const float *turned, int64_t turned_row, const float *plain,
                     int64_t plain_row, lpb_ranges *ranges);
/* Of either way, what outputs [first, first + count) are packed as; NULL where they are no range. */
const lpb_packed *lpb_range_of(const lpb_ranges *ranges, const lpb_packed *way, int64_t first, int64_t count);
void lpb_free_ranges(lpb_ranges *ranges);
/* Rows of b for the products that follow, until the next such call; without memory where they pack it themselves. */
lpb_packed lpb_share(lpb_room *room, const float *b, int64_t b_row, int64_t k, int64_t n);
void lpb_free_room(lpb_room *room);
/* What lpb_room.rounded is for products in a format; false where there are none. */
bool lpb_rounded_kernel(const lpb_isa *isa, lpb_dtype products, const lpb_kernel **rounded);

/* Of the step number `steps`, counted from 1. */
lpb_adam_step lpb_adam_step_at(const lpb_adam *adam, int64_t steps);

/* Sixteen bits for each of the numbers [first, first + count) of a stream, a row and a step; `first` is a multiple of
 * LPB_ALIGN, and memory for a multiple of it is written. */
typedef struct {
    uint64_t seed, stream, row, step;
} lpb_draw;
void lpb_draw_bits(const lpb_draw *draw, int64_t first, int64_t count, uint16_t *bits);
/* Each of x is dropped, or divided by the share that is kept. */
void lpb_drop(const lpb_isa *isa, float *x, const uint16_t *bits, int64_t count, double share);

/* From one row of a matrix to the next, an odd number of cache lines apart: rows then fall into all sets. */
static inline int64_t lpb_odd_lines(int64_t count) { return lpb_round_up(count, LPB_ALIGN) | LPB_ALIGN; }

#endif
