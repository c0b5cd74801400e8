/* What the files of the transformer's training share: its layers and parameters, and what a thread keeps of the rows
 * that it takes forward and back together.
 *
 * Tokens lie in rows, those of a row of data one behind the other: weights are then the only operands of products that
 * are ever turned, once a step. Rows of data are few enough at a time that what the way back needs of them stays in
 * cache; the gradients of the parameters are added up over all of them. */
#ifndef LPARBENCH_TRANSFORMER_TRAINER_H
#define LPARBENCH_TRANSFORMER_TRAINER_H

#include "learning.h"

/* `count` floats at `at` of the parameters, of their gradients and of their moments. */
typedef struct {
    int64_t at, count;
    bool decays, learns;
} former_parameter;

/* A linear layer: the numbers of its parameters, and its weights as products want them. */
typedef struct {
    int64_t weight, bias; /* parameters; the bias follows the weight */
    int64_t inputs, outputs, turned_row, plain_row;
    float *turned; /* inputs x outputs */
    float *plain;  /* outputs x inputs */
    lpb_ranges ranges;
} former_layer;

/* Layers, and the first of the two parameters of each normalisation, -1 for none. */
typedef struct {
    int64_t norm_attention, norm_inner;
    former_layer projection, out, up, down;
} former_block;

struct lpb_transformer_trainer {
    const lpb_isa *isa;
    lpb_transformer_net net;        /* without its columns */
    int64_t tokens, numbers, codes; /* tokens of a row, with that of the class; and how many are of each kind */
    int64_t *columns;               /* of the tokens but the first, and their codes */
    int64_t size, most_codes;
    int64_t together;          /* rows */
    const lpb_kernel *rounded; /* of products in a format narrower than floats; else NULL */
    int64_t parameters, floats;
    former_parameter *parameter;
    float *value, *mean, *square;
    /* the numbers of parameters */
    int64_t cls, number_weight, number_bias, code_bias, embedding, norm, head_norm, mask, mask_weight, mask_bias,
        mask_code_weight, mask_code_bias;
    former_block *block;
    former_layer head, classes, trunk;
    int64_t steps;
    struct former_hand **hands; /* of threads, kept from step to step */
    int64_t hand_count;
};

/* What a block leaves for the way back. Rows are as far apart as `rows_of` says. */
typedef struct {
    float *x, *normal, *asked, *most, *parts, *mixed, *middle, *inner, *hidden,
        *slope;                                     /* slope: of GELU, or ReGLU's output */
    float *mean, *scale, *inner_mean, *inner_scale; /* of the normalisations */
} former_kept;

/* A thread. */
typedef struct former_hand {
    const lpb_transformer_trainer *t;
    const lpb_transformer_batch *batch;
    int64_t first, rows; /* of the batch, taken together */
    int64_t wide, triple,
        inner;         /* floats from a row of tokens to the next: of features, of projections, of what goes up
                        */
    former_kept *kept; /* of each block */
    float *x;          /* what the last block makes of the tokens */
    float *normal, *head_normal, *mean, *scale, *head_mean, *head_scale; /* of the end */
    float *hidden, *slope, *logits;
    float *g, *of_normal, *of_asked, *of_hidden, *of_mixed;                            /* gradients */
    float *turned, *shares, *of_shares, *dropped;                                      /* of a head */
    float *seen, *taken, *of_seen, *of_taken, *first_shares, *turned_heads, *of_heads; /* see attend_first */
    uint16_t *bits;                                                                    /* drawn for dropout */
    float *gradient;
    lpb_room room;
    float *memory;
    double loss;
} former_hand;

/* Rows [first, first + rows) of the batch of a hand forward and back; loss and gradients are added to. `share` is what
 * a hidden feature weighs. */
void lpb_former_pass(former_hand *w, int64_t first, int64_t rows, float share);
/* Floats that a hand needs; with memory, which is zero, its pieces are set. */
int64_t lpb_former_place(former_hand *w, float *memory);

#endif
