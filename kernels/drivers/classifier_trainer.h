/* What the files of a classifier's training share: its layers and parameters, and what a thread keeps of the rows that
 * it takes forward and back together.
 *
 * A trunk, recurrent or convolutional, makes a row of `width` numbers of every row of data, and a head makes a logit of
 * it. Rows are padded, and so is every run of units in them, with zeros throughout: weights are laid out for that. */
#ifndef LPARBENCH_CLASSIFIER_TRAINER_H
#define LPARBENCH_CLASSIFIER_TRAINER_H

#include "learning.h"

/* `count` floats at `at` of the parameters, of their gradients and of their moments. */
typedef struct {
    int64_t at, count;
    bool learns;
} net_parameter;

/* What a layer reads or makes: `count` runs of `size` numbers, each with room for `room`. */
typedef struct {
    int64_t count, size, room;
} net_side;

/* A linear layer: the numbers of its parameters, -1 for none, and its weights as products want them. */
typedef struct {
    int64_t weight, bias, second_bias; /* the sum of both biases is added */
    net_side inputs, outputs;
    const int64_t *order; /* which run of the parameters' is each of the outputs; NULL: as they are */
    int64_t taps; /* of a convolution: the parameter has the taps of an input side by side, the products its inputs of a
                     tap; else 0 */
    int64_t turned_row, plain_row;
    float *turned; /* inputs x outputs */
    float *plain;  /* outputs x inputs */
    float *biases; /* of the outputs; NULL without */
    bool first;    /* nothing asks for the gradient by what it reads */
    lpb_ranges ranges;
} net_layer;

struct lpb_classifier_trainer {
    const lpb_isa *isa;
    lpb_classifier_net net; /* its arrays are copies of the trainer's own */
    int64_t *sizes;
    double *dropout;
    int64_t width; /* of what the trunk gives the head; rows are `row` apart */
    int64_t row, inner_row;
    const lpb_kernel *rounded; /* of products in a format narrower than floats; else NULL */
    int64_t parameters, floats;
    net_parameter *parameter;
    float *value, *mean, *square;
    net_layer *layer; /* of the trunk: of a layer's directions, of inputs and of hidden values; or two of each branch */
    int64_t layers;
    net_layer projection, out, hidden, output;
    int64_t norm, running; /* the first of two parameters each, -1 for none */
    int64_t steps;
    /* of the rows of a batch */
    float *pooled, *of_pooled, *normal, *inner, *of_inner, *logits;
    float *norm_memory;
    uint16_t *inner_bits;
    float *row_memory;
    int64_t row_room;
    struct net_hand **hands; /* of threads, kept from step to step */
    int64_t hand_count;
};

/* Rows of numbers: where, and how far they are apart. */
typedef struct {
    float *at;
    int64_t row;
} net_rows;

/* What a recurrent layer leaves for the way back: hidden values, those that the next layer reads, and of each
 * direction gates, cells and what tanh makes of these; rows of a time step lie together. */
typedef struct {
    float *hidden, *passed;
    float *gates[2], *cells[2], *seen[2];
    uint16_t *bits;
} net_kept;

/* What a branch of convolutions leaves for the way back, of every row; see convolution_pass.c. */
typedef struct {
    float *middle, *values, *most, *ties;
    int32_t *where;
    float *of_weight; /* the second convolution's gradient, laid out as its weights are */
} net_branch;

/* A thread. */
typedef struct net_hand {
    const lpb_classifier_trainer *t;
    const lpb_classifier_batch *batch;
    int64_t most_rows, first, rows; /* that there is memory for, and those of the batch that are taken together */
    float *x;
    net_kept *kept; /* of each layer */
    float *queries, *asked, *mixed, *shares, *of_mixed, *of_queries, *of_asked;
    float *of_hidden, *of_before, *of_cells;
    net_branch *branch; /* of convolutions */
    float *of_middle;
    float *gradient, *memory;
    lpb_room room;
    double loss;
} net_hand;

/* Part of every trunk's interface: rows of the batch forward into `pooled`; back from `of_pooled`, gradients added to;
 * the floats that a hand needs, and with memory, which is zero, its pieces set. */
void lpb_recurrent_forward(net_hand *w);
void lpb_recurrent_back(net_hand *w);
int64_t lpb_recurrent_place(net_hand *w, float *memory);
void lpb_convolution_forward(net_hand *w);
void lpb_convolution_back(net_hand *w);
int64_t lpb_convolution_place(net_hand *w, float *memory);
/* After the last rows of a step. */
void lpb_convolution_finish(net_hand *w);

/* y = x W^T + b for the runs [first, first + count) of the outputs, or it is added to y. */
void lpb_net_forward(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows x, int64_t rows,
                     net_rows y, bool adds);
/* The gradient by x of such a product, from that by y, where y has the first of these runs. */
void lpb_net_back(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows g, int64_t rows, net_rows to,
                  bool adds);
/* The gradients of weights and biases of these runs are added to. */
void lpb_net_learn(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows x, int64_t rows, net_rows g);

static inline int64_t lpb_net_padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }
/* Entries of a side without what the last run lacks of its room, whose weights are 0. */
static inline int64_t lpb_net_span(const net_side *s) { return (s->count - 1) * s->room + s->size; }
static inline const float *lpb_net_value(const net_hand *w, int64_t parameter) {
    return w->t->value + w->t->parameter[parameter].at;
}
static inline float *lpb_net_gradient(const net_hand *w, int64_t parameter) {
    return w->gradient + w->t->parameter[parameter].at;
}
/* The next `count` floats of a memory that may not be there yet. */
static inline float *lpb_net_piece(float *memory, int64_t *taken, int64_t count) {
    float *at = memory ? memory + *taken : NULL;
    *taken += lpb_net_padded(count);
    return at;
}

#endif
