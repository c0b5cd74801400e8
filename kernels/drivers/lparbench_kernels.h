/* Public C interface of the kernels: everything another C program, the Python module and the tests may call.
 *
 * Conventions, everywhere:
 *   - matrices are described by a base address and strides counted in elements, never in bytes;
 *   - sizes and strides are int64_t, so no product of two sizes overflows before it is checked;
 *   - outputs never overlap inputs, and the last dimension of an output is contiguous;
 *   - addresses need only the alignment of their element type; 64 bytes is the fast case;
 *   - a function that can fail returns a lpb_status; all others are total.
 */
#ifndef LPARBENCH_KERNELS_H
#define LPARBENCH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { LPB_OK = 0, LPB_NO_MEMORY, LPB_BAD_ARGUMENT } lpb_status;

/* Element types of A and B. C is float for FLOAT32 and BFLOAT16, int32_t for INT8. AVX-512's instruction for BFLOAT16
 * takes denormal operands and results as zero; all other kernels keep them. */
typedef enum { LPB_FLOAT32 = 0, LPB_BFLOAT16 = 1, LPB_INT8 = 2 } lpb_dtype;
enum { LPB_DTYPES = 3 };

typedef enum {
    LPB_IDENTITY = 0,
    LPB_RELU,       /* x < 0 ? 0 : x, so NaN stays NaN */
    LPB_LEAKY_RELU, /* x < 0 ? slope * x : x */
    LPB_TANH,
    LPB_SIGMOID,
    LPB_SOFTPLUS, /* from here on in plans only */
    LPB_EXP,
    LPB_ABS,
    LPB_GELU, /* x times the normal distribution's function */
} lpb_activation;
enum { LPB_ACTIVATIONS = 5, LPB_PLAN_ACTIVATIONS = 9 };

typedef enum { LPB_NO_BIAS = 0, LPB_ROW_BIAS, LPB_COLUMN_BIAS } lpb_bias_axis;

/* One batched product: for every item, C = act(alpha * A B + beta * C + bias).
 *
 * A is m x k, B is k x n, C is m x n. Transposition is a matter of strides. A batch stride of 0 shares the operand.
 * With beta 0 the old C is never read. The bias has m entries (LPB_ROW_BIAS) or n (LPB_COLUMN_BIAS).
 * For LPB_INT8, alpha is 1, beta 0 or 1, and there is neither bias nor activation; sums wrap as int32_t does. */
typedef struct {
    int64_t batch, m, n, k;
    const void *a;
    int64_t a_batch, a_row, a_col;
    const void *b;
    int64_t b_batch, b_row, b_col;
    void *c;
    int64_t c_batch, c_row;
    float alpha, beta;
    const float *bias;
    int64_t bias_batch;
    lpb_bias_axis bias_axis;
    lpb_activation activation;
    float slope;
    int32_t b_next;       /* entries from `b` to what is multiplied next, to be fetched meanwhile; 0: nothing */
    const void *b_packed; /* a shared B in the kernel's own layout, instead of `b`; NULL for any other */
} lpb_gemm;

/* An instruction set: the kernels compiled for it. Opaque; see isa/isa.h. */
typedef struct lpb_isa lpb_isa;

/* The i-th instruction set compiled in, best first; NULL past the end. */
const lpb_isa *lpb_isa_at(int index);
/* Whether this CPU, in the mode the system runs it, has the instructions. */
bool lpb_isa_supported(const lpb_isa *isa);
/* The best supported one; never NULL, because the portable one always is. */
const lpb_isa *lpb_isa_best(void);
const char *lpb_isa_name(const lpb_isa *isa);
/* The name of the kernel that a product of this type runs on. */
const char *lpb_isa_kernel(const lpb_isa *isa, lpb_dtype dtype);

/* The products, spread over at most `threads` threads of this process (by item, or by rows of C when items are few).
 * Threads run on the CPUs of the calling one, and leave it the one that it is on where these are enough. */
lpb_status lpb_gemm_run(const lpb_isa *isa, lpb_dtype dtype, const lpb_gemm *gemm, int threads);

/* A chain of dense layers y = act(W x + b), each a (out, in) matrix. */
typedef enum {
    LPB_HEAD_NONE = 0, /* the last layer's outputs, rows x outputs */
    LPB_HEAD_LOGIT,    /* the single output of the last layer, one per row */
    LPB_HEAD_MSE,      /* mean over features of (output - input)^2, one per row */
} lpb_head;

typedef struct {
    int64_t inputs, outputs;
    const float *weight; /* outputs x inputs, rows contiguous */
    const float *bias;   /* outputs, or NULL */
    lpb_activation activation;
    float slope;
} lpb_layer;

typedef struct lpb_chain lpb_chain;

/* Packs the weights; the layers may be freed afterwards. NULL when memory is short. The layers fit each other
 * (checked by the caller), as does the head: one output for LOGIT, as many as inputs for MSE. */
lpb_chain *lpb_chain_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_head head, lpb_dtype dtype);
void lpb_chain_free(lpb_chain *chain);
/* x: rows x inputs with row stride `x_row`; out: rows (LOGIT, MSE) or rows x outputs, contiguous.
 * Reentrant: the scratch memory is the caller's thread's own. */
lpb_status lpb_chain_run(const lpb_chain *chain, const float *x, int64_t rows, int64_t x_row, float *out, int threads);

/* A plan: the scoring of a detector as steps over named values, run in one call. A value is a matrix of one row per row
 * of data; value 0 is x, value i + 1 is what step i makes. The last has one feature, the score. A value is of float, or
 * of double after LPB_STEP_CONVERT; the inputs of a step are of one precision. */
typedef enum {
    LPB_STEP_DENSE = 0,  /* act(x W^T + b): arrays W (outputs x inputs) and b; W and b of double for values of double */
    LPB_STEP_ACTIVATION, /* word: the activation */
    LPB_STEP_ELEMENTWISE, /* two inputs; one of one feature is repeated over the other's. word: the operator */
    LPB_STEP_CONSTANT,    /* x op array (features, or 1), of float or double */
    LPB_STEP_REDUCE,      /* one number per row; word: the reduction */
    LPB_STEP_CONCAT,      /* any number of inputs */
    LPB_STEP_COLUMNS,     /* features by their numbers, an array of int64_t */
    LPB_STEP_CONVERT,     /* word 1: to double, 0: to float */
    LPB_STEP_TREES,       /* sum of leaf values: arrays feature (int32_t), threshold, left, right (int32_t), value, each
                             trees x nodes. Left where the feature is at most the threshold; the child of a leaf is itself */
    LPB_STEP_NEIGHBOUR,   /* distance to the number-th nearest row of the array (m x features) */
    LPB_STEP_NORMALISE,   /* (x - mean) / sqrt(variance + LPB_NORMAL_EPSILON) over the features of a row */
    LPB_STEP_TRANSFORMER, /* see lpb_form */
    LPB_STEP_CELL, /* of an LSTM: sigmoid(f) c + sigmoid(i) tanh(g), of i, f, o and g in one value, and c unless it is 0
                    */
    LPB_STEP_HIDDEN,      /* of an LSTM: sigmoid(o) tanh(c), of i, f, o and g in one value, and c */
    LPB_STEP_CONVOLUTION, /* number: positions, whose channels are side by side; channels out: the largest over
                             positions. Arrays: weight (outputs x taps * inputs) and bias of up to four convolutions
                             with ReLU, padded with zeros to as many positions; taps are odd in number */
    LPB_STEP_LSTM,    /* a layer of h units over `number` time steps, which lie side by side, as its hidden values after
                         each do; word 1: from the last step to the first. Arrays: weights of the inputs (4 h x inputs) and
                         of the hidden values (4 h x h), and bias, of the gates input, forget, candidate, output */
    LPB_STEP_PATCHES, /* a layer over patches of pixels, `number` channels each, side by side; outputs of a patch are
                         side by side. word: the activation. Arrays: weight (outputs x taps * channels), bias, and the
                         pixels that each patch reads (patches x taps, int64_t), -1 for zeros */
} lpb_step_kind;
enum { LPB_STEP_KINDS = 17 };
#define LPB_NORMAL_EPSILON 1e-5f

/* The word of LPB_STEP_TRANSFORMER; its `number` is of heads. A row becomes tokens of `width` features, which go
 * through blocks of attention and an inner net, each over normalised tokens and added to them. The output is the first
 * token, and for every head of one more attention what the first token takes in: normalised tokens, weighted. Arrays:
 *   tokens      rows of `width` floats: a token's per unit of its number for every token, what it has in any case for
 *               every token, and an embedding for every code of every token of codes
 *   columns     int64_t, tokens x 2: the column of a token, or -1; and how many codes it has, 0 for a number. A code
 *               that is none of them counts as the last
 *   blocks      a row per block: weights and biases of queries, keys and values (3 width), output, up (the inner width,
 *               or twice as much), down; a weight is outputs x inputs
 *   query, key  of the last attention, in one row: weight and bias of queries, and weight of keys
 * Queries have the factor of the scores, and all weights those of the normalisation before them. */
typedef enum {
    LPB_FORM_GELU = 0,
    LPB_FORM_REGLU = 1,       /* the first half of up's outputs times ReLU of the second */
    LPB_FORM_PLAIN_FIRST = 2, /* added to either: the first attention reads tokens that are not normalised */
} lpb_form;
enum { LPB_FORMS = 4 };

typedef enum { LPB_ADD = 0, LPB_SUBTRACT, LPB_MULTIPLY, LPB_DIVIDE } lpb_operator;
enum { LPB_OPERATORS = 4 };

typedef enum {
    LPB_MEAN = 0,
    LPB_SUM,
    LPB_ABS_SUM,
    LPB_SQUARE_SUM,
    LPB_SQUARE_MEAN,
    LPB_L2,
    LPB_MIN,
    LPB_MAX,
    LPB_LOG_SUM_EXP,
} lpb_reduction;
enum { LPB_REDUCTIONS = 9 };

typedef enum { LPB_ARRAY_FLOAT = 0, LPB_ARRAY_DOUBLE, LPB_ARRAY_INT32, LPB_ARRAY_INT64 } lpb_array_type;

/* A contiguous matrix; a vector has one row. */
typedef struct {
    const void *data;
    lpb_array_type type;
    int64_t rows, columns;
} lpb_array;
enum { LPB_STEP_ARRAYS = 8 }; /* that a step has at most */

typedef struct {
    lpb_step_kind kind;
    int64_t word; /* activation, operator, reduction or precision */
    const int64_t *inputs;
    int64_t input_count;
    lpb_array arrays[LPB_STEP_ARRAYS];
    int64_t array_count;
    float slope;    /* of leaky ReLU */
    int64_t number; /* of the neighbour, of heads, of positions, or of time steps */
} lpb_step;

typedef struct lpb_plan lpb_plan;

/* Checks and packs the steps; they may be freed afterwards. `dtype` is that of the dense products over floats.
 * LPB_BAD_ARGUMENT: step `*wrong` does not fit what it is given; `*wrong` is `count` when the last is no score. */
lpb_status lpb_plan_new(const lpb_isa *isa, int64_t features, const lpb_step *steps, int64_t count, lpb_dtype dtype,
                        lpb_plan **plan, int64_t *wrong);
void lpb_plan_free(lpb_plan *plan);
/* Operations per row, about: multiply-adds, nodes and numbers touched. */
int64_t lpb_plan_work(const lpb_plan *plan);
/* x as for a chain; out: one score per row. Reentrant. */
lpb_status lpb_plan_run(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out, int threads);

/* The search of codes: of every row, the code is looked for whose generated row is nearest. The loss of a code is
 * 1 - weight times the L1 distance of the generated row, plus weight times a term of what the judge makes of it. All is
 * in double. */
typedef enum {
    LPB_TERM_MATCHING = 0, /* L1 distance of the judge's outputs for the row and for the generated one */
    LPB_TERM_LOGIT,        /* softplus of minus the judge's single output */
} lpb_search_term;
enum { LPB_SEARCH_TERMS = 2 };

/* Steps of Adam, each with its rate, from one code for all rows. */
typedef struct {
    const double *start, *rates;
    int64_t count;
    double beta1, beta2, epsilon;
} lpb_search_steps;

typedef struct lpb_search lpb_search;

/* Copies everything. Layers fit each other, the generator's outputs are the judge's inputs, and activations are
 * LPB_IDENTITY, LPB_RELU and LPB_LEAKY_RELU (checked by the caller). NULL when memory is short. */
lpb_search *lpb_search_new(const lpb_isa *isa, const lpb_layer *generator, int64_t generator_count,
                           const lpb_layer *judge, int64_t judge_count, lpb_search_term term, double weight,
                           const lpb_search_steps *steps);
void lpb_search_free(lpb_search *search);
/* x as for a chain, with as many features as the generator has outputs; out: the loss of the last code of each row.
 * Reentrant. */
lpb_status lpb_search_run(const lpb_search *search, const float *x, int64_t rows, int64_t x_row, float *out,
                          int threads);

/* Layers of an LSTM over streams of rows, such as the transactions of cards. A window is of as many rows as the layers
 * have time steps; with every row of a stream one window begins, and the oldest that is open is complete and scored. */
typedef struct lpb_stream lpb_stream;

/* `layers` are LPB_STEP_LSTM of word 0 and equal `number`, whose inputs do not matter; the score is the last hidden
 * values times `weight`, as many as `inputs`, plus the bias. All are packed. LPB_BAD_ARGUMENT: they do not fit. */
lpb_status lpb_stream_new(const lpb_isa *isa, const lpb_step *layers, int64_t count, const float *weight,
                          int64_t inputs, float bias, lpb_stream **stream);
void lpb_stream_free(lpb_stream *stream);
int64_t lpb_stream_features(const lpb_stream *stream);
/* Floats of the state of one stream; they are 0 at first. */
int64_t lpb_stream_state(const lpb_stream *stream);
/* Row r is the next one of stream streams[r], in order; out: one score per row, NaN before a window of its stream is
 * complete. `states` has those of all streams, `seen` how many rows of each there were; both are updated. */
lpb_status lpb_stream_run(const lpb_stream *stream, float *states, int64_t *seen, const int64_t *streams,
                          const float *x, int64_t x_row, int64_t rows, float *out);

/* Training of a chain by mini-batches with Adam. The losses are means over the rows of a batch. */
typedef enum {
    LPB_LOSS_BCE = 0,   /* binary cross entropy of the single output, a logit, and the target */
    LPB_LOSS_MSE,       /* squared error of the outputs to the inputs, mean over features */
    LPB_LOSS_GAUSSIAN,  /* its sum over features */
    LPB_LOSS_BERNOULLI, /* cross entropy of the outputs, logits, and the inputs, in [0, 1]; summed over features */
} lpb_loss;
enum { LPB_LOSSES = 4 };

/* Of a variational autoencoder: the outputs of layer `layer`, linear, even in number and not the last, are means and
 * then log-variances of normal numbers; those, drawn for every row, are the inputs of the next layer. `weight` times
 * the divergence of their distribution from the standard normal is added to the loss. */
typedef struct {
    int64_t layer;
    double weight;
} lpb_sampling;

typedef struct {
    double learning_rate, beta1, beta2, epsilon;
    double max_grad_norm; /* global L2 norm to clip to; 0 means no clipping */
} lpb_adam;

typedef struct lpb_trainer lpb_trainer;

/* `sampling` is NULL for a plain chain. */
lpb_trainer *lpb_trainer_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_loss loss,
                             const lpb_sampling *sampling, const lpb_adam *adam);
void lpb_trainer_free(lpb_trainer *trainer);
/* The sizes of layer l. */
void lpb_trainer_shape(const lpb_trainer *trainer, int64_t l, int64_t *inputs, int64_t *outputs);
/* One pass over `order` (row numbers of x, each within the matrix: the caller's duty) in batches of `batch` rows, the
 * last one possibly smaller. `losses` receives the loss of every batch; with sampling each is followed by its part
 * without the divergence. y is NULL unless the loss has a target. `noise` has the standard normal numbers of every row
 * in the order of `order`; NULL without sampling. */
lpb_status lpb_trainer_epoch(lpb_trainer *trainer, const float *x, int64_t x_row, const float *y, const int64_t *order,
                             const float *noise, int64_t rows, int64_t batch, float *losses);
/* The same for several trainers, each with its own order, noise and losses, spread over threads. */
lpb_status lpb_trainer_epoch_many(lpb_trainer **trainers, int64_t count, const float *x, int64_t x_row, const float *y,
                                  const int64_t *const *orders, const float *const *noises, int64_t rows, int64_t batch,
                                  float *const *losses, int threads);
/* Loss and unclipped gradients of one batch, without an update; gradients are laid out as lpb_trainer_read's. */
lpb_status lpb_trainer_gradients(lpb_trainer *trainer, const float *x, int64_t x_row, const float *y,
                                 const float *noise, int64_t rows, float *loss, float *const *weights,
                                 float *const *biases);
void lpb_trainer_set_learning_rate(lpb_trainer *trainer, double learning_rate);
/* Writes layer l's current weight (outputs x inputs) and bias to weights[l] and biases[l]. */
void lpb_trainer_read(const lpb_trainer *trainer, float *const *weights, float *const *biases);

/* Training of a transformer over tokens of the features of a row: harness.detectors.transformer.Transformer of the form
 * `encoder`, or `published`. The first token is that of the class; `columns` has for each of the others, numbers first,
 * its column and how many codes it may have, 0 for a number. A code that is none of them counts as the last. Width and
 * inner width are multiples of 16. It learns classes, or, if it is not published, to restore hidden features
 * (`masked`). Shares of attention and, of a published one, inner values are dropped by bits of Philox with `seed` as
 * its key, sixteen for each: of a row of the batch as its third word, and as many steps before as its fourth. */
typedef struct {
    int64_t features, width, heads, blocks, inner, tokens; /* tokens: without that of the class */
    const int64_t *columns;                                /* tokens x 2 */
    bool masked, published;
    double attention_dropout, inner_dropout;
    uint64_t seed;
    lpb_dtype
        products; /* LPB_FLOAT32; or LPB_BFLOAT16, to which operands of products are rounded. All else is floats */
} lpb_transformer_net;

/* Rows of a step. Of classes, `labels` are 0 or 1, and the loss is the sum of the rows' cross-entropies times their
 * `weights`. Of hidden features, `hidden` (rows x tokens) is not 0 where a token is hidden; the loss is the mean over
 * these. */
typedef struct {
    const float *x;
    int64_t x_row, rows;
    const int64_t *labels;
    const float *weights;
    const int8_t *hidden;
} lpb_transformer_batch;

typedef struct lpb_transformer_trainer lpb_transformer_trainer;

/* `parameters` are all of the net one behind the other, each padded to a multiple of 16: for every parameter its size,
 * and 1 in `decays` if it shrinks by the rate times `weight_decay` at each step. They are in the order of
 * torch.nn.Module.named_parameters. LPB_BAD_ARGUMENT: the net is none, or there are other parameters in it. */
lpb_status lpb_transformer_trainer_new(const lpb_isa *isa, const lpb_transformer_net *net, const int64_t *sizes,
                                       const int64_t *decays, int64_t count, const float *parameters,
                                       lpb_transformer_trainer **trainer);
void lpb_transformer_trainer_free(lpb_transformer_trainer *trainer);
/* Floats of all parameters with their padding. */
int64_t lpb_transformer_trainer_floats(const lpb_transformer_trainer *trainer);
const float *lpb_transformer_trainer_values(const lpb_transformer_trainer *trainer);
/* Loss of a batch and a step of Adam down its gradient; with `gradient` that is written there instead of the step. Rows
 * are divided among at most `threads` threads; the sums of several differ from those of a single one by rounding. */
lpb_status lpb_transformer_trainer_step(lpb_transformer_trainer *trainer, const lpb_transformer_batch *batch,
                                        const lpb_adam *adam, double weight_decay, int threads, float *gradient,
                                        double *loss);

/* Training of classifiers that end in a logit: harness.detectors.lstm_net.Layers, and RecurrentNet and ConvolutionalNet
 * of harness.detectors.flow_nets behind their features. */
typedef enum {
    LPB_TRUNK_RECURRENT = 0, /* layers of an LSTM over `steps`, of `sizes` units; the values of the last step */
    LPB_TRUNK_CONVOLUTIONS,  /* branches along the features: two convolutions with ReLU of as many taps as `sizes` says,
                                `channels` and then twice as many; the largest of each channel */
} lpb_trunk;
enum { LPB_TRUNKS = 2 };

/* `dropout` is of the values of each layer, an array as `sizes` is; with convolutions it is not looked at. With `heads`
 * what the last step attends to, over all, is added to its values. The head normalises over the batch (`normalised`),
 * has a layer of `hidden` units with ReLU of which some are dropped, unless it is 0, and the output. Numbers are
 * dropped by bits of Philox as a transformer's, `dropout`'s of layer i as stream i, the head's as the next. The loss is
 * the mean of weights[label] (1 - p)^gamma (-log p), p being the probability of the label. */
typedef struct {
    lpb_trunk trunk;
    int64_t features, steps, directions, count; /* features of a step; one direction, or two */
    const int64_t *sizes;
    const double *dropout;
    int64_t heads, channels, hidden;
    double hidden_dropout;
    bool normalised;
    double gamma, weights[2];
    uint64_t seed;
    lpb_dtype products; /* as of a transformer */
} lpb_classifier_net;

/* Rows of a step, each the features of all time steps; labels are 0 or 1. */
typedef struct {
    const float *x;
    int64_t x_row, rows;
    const int64_t *labels;
} lpb_classifier_batch;

typedef struct lpb_classifier_trainer lpb_classifier_trainer;

/* `parameters` as for a transformer, each with 1 in `learns` if it moves; of a net that is normalised mean and variance
 * of its running statistics follow, which do not. LPB_BAD_ARGUMENT: the net is none, or there are other parameters in
 * it. */
lpb_status lpb_classifier_trainer_new(const lpb_isa *isa, const lpb_classifier_net *net, const int64_t *sizes,
                                      const int64_t *learns, int64_t count, const float *parameters,
                                      lpb_classifier_trainer **trainer);
void lpb_classifier_trainer_free(lpb_classifier_trainer *trainer);
int64_t lpb_classifier_trainer_floats(const lpb_classifier_trainer *trainer);
const float *lpb_classifier_trainer_values(const lpb_classifier_trainer *trainer);
/* As lpb_transformer_trainer_step. All parameters that learn shrink, and a gradient over all of them that is longer
 * than `max_grad_norm` is scaled to it. */
lpb_status lpb_classifier_trainer_step(lpb_classifier_trainer *trainer, const lpb_classifier_batch *batch,
                                       const lpb_adam *adam, double weight_decay, int threads, float *gradient,
                                       double *loss);

/* A tape: the operations of a training step, gradients written out, over values in memory that the caller owns. A value
 * is a matrix whose rows are `ld` floats apart, a multiple of 16; it may be a part of another. Values have 16 numbers
 * of memory beyond their last row. Operands are called a, b, c, d, -1 for none; c is what is written. */
typedef enum {
    LPB_TAPE_GATHER = 0, /* rows of x by the order `number` */
    LPB_TAPE_NORMAL,     /* numbers drawn for the step, from number `number` on */
    LPB_TAPE_PRODUCT,    /* c = act(a b + d), d a row; number: 1 a is transposed, 2 added to c; word, real[0] */
    LPB_TAPE_DOTS,       /* c[r] = row r of a times the row b, plus the number d; c is a row */
    LPB_TAPE_ACTIVATE,   /* c = act(c); word, real[0] as the slope */
    LPB_TAPE_GATE,       /* c is multiplied by the slope of the activation where its output is a */
    LPB_TAPE_DROP,       /* c is multiplied by a mask: bits from `number` on, real[0] the share that is dropped */
    LPB_TAPE_SUMS,       /* c = sums of the columns of a, or of all of a row; number: 2 added to c */
    LPB_TAPE_PAIR,       /* two cross entropies of the logits a, a row, and their gradient c: the first half should say
                            real[0], 0 or 1, and the second the opposite; losses `number` and the next, means. Word
                               1: all should say it, one loss */
    LPB_TAPE_ADAM,       /* parameters a, gradient b, moments c and d; real: rate, beta 1, beta 2, epsilon */
    LPB_TAPE_FOLLOW,     /* c moves towards a by the share real[0] */
    LPB_TAPE_TURN,       /* c = a transposed */
    LPB_TAPE_CLEAR,      /* c = 0 */
    LPB_TAPE_NORM,       /* c = a normalised over the batch by weight b and bias d; real: momentum, epsilon. From value
                            `number` on: running mean and variance, mean, scale, two of scratch, two gradients */
    LPB_TAPE_NORM_GRADIENT,     /* the gradient c by its output becomes that by its input a; word 1: it learns, too */
    LPB_TAPE_ADD,               /* c = a + real[0] b */
    LPB_TAPE_MULTIPLY,          /* c = a b, number by number */
    LPB_TAPE_SOFT,              /* c = softplus(a), and d = sigmoid(a) */
    LPB_TAPE_BEND,              /* c = d (c + a b (1 - d)), number by number; without b it is 1 */
    LPB_TAPE_SQUARE,            /* loss `number`: the squares of a - b, summed, times real[0]; c is its gradient by a */
    LPB_TAPE_FEATURES,          /* the last two columns of c: relative distance and cosine of the rows a and b */
    LPB_TAPE_FEATURES_GRADIENT, /* c, by b: of the mean squared distance, loss `number`, and by the last columns of d */
    LPB_TAPE_MIXTURE,           /* of rows a in a mixture by softmax of b: energy and inverse diagonals, losses `number`
                                   and the next; their gradients c by a and d by b. Word 1: the energy's bound. real:
                                   weights of both, what is added to the diagonals */
    LPB_TAPE_BLOCKS,  /* the product of a block of a and one of b, added to a block of c, for each row of a table:
                         numbers of these blocks in c, a and b. What is first added to a block replaces it, and
                         adds the row d; what is last activates it. number: four times that of the table, and
                         the bits of a product; word, real[0] */
    LPB_TAPE_PICK,    /* row r of c = the row of a that entry r of the table `number` says, zeros for -1 */
    LPB_TAPE_COLLECT, /* c[q, r] = the number d plus, for the entries e of row q of the table `number` but -1, a[p n
                         + r, j], where n are the columns of c, and e is p times the columns of a plus j */
} lpb_tape_kind;
enum { LPB_TAPE_KINDS = 26 };

/* `rows` times `columns` entries from number `start` on. Blocks of a have `block` rows. */
typedef struct {
    int64_t start, rows, columns, block;
} lpb_tape_table;

typedef struct {
    const lpb_tape_table *table;
    int64_t count;
    const int64_t *entry;
    int64_t entries;
} lpb_tape_tables;

typedef struct {
    int64_t offset, rows, columns, ld;
} lpb_tape_value;

typedef struct {
    lpb_tape_kind kind;
    int64_t a, b, c, d, word, number;
    double real[4];
} lpb_tape_operation;

/* Floats of memory; features of x and rows of a batch; and per step: orders, numbers drawn, words of 64 bits, losses.
 */
typedef struct {
    int64_t floats, features, batch, orders, normals, words, losses;
} lpb_tape_sizes;

typedef struct {
    const float *x;
    int64_t x_row;
    const int64_t *const *orders; /* row numbers of x, each within the matrix: the caller's duty */
    const float *normals;
    const uint16_t *words;
    float *losses;
} lpb_tape_data;

typedef struct lpb_tape lpb_tape;

/* Checks and copies values, operations and tables; `memory` is kept. LPB_BAD_ARGUMENT: operation `*wrong` does not fit
 * its operands, or with -1 a value does not fit the memory, or a table the entries. */
lpb_status lpb_tape_new(const lpb_isa *isa, float *memory, const lpb_tape_sizes *sizes, const lpb_tape_value *values,
                        int64_t value_count, const lpb_tape_operation *operations, int64_t operation_count,
                        const lpb_tape_tables *tables, lpb_tape **tape, int64_t *wrong);
void lpb_tape_free(lpb_tape *tape);
/* Everything `steps` times; step s has the s-th part of the orders, numbers, words and losses. */
void lpb_tape_run(lpb_tape *tape, const lpb_tape_data *data, int64_t steps);

/* The roof. Every probe runs for about `seconds` and takes the best of its repetitions. */
/* Operations per second (a multiply-add counts two) of one thread with all operands in registers. */
double lpb_peak_ops(const lpb_isa *isa, lpb_dtype dtype, double seconds);
/* Cycles per second while such instructions run, by additions that wait for each other, one a cycle; 0 where the
 * kernel's own figure is that of the clock (Power). */
double lpb_clock_hz(const lpb_isa *isa, lpb_dtype dtype, double seconds);
/* Bytes per second of a[i] = b[i] + s * c[i] over three arrays of `bytes` each, read and write counted once. */
double lpb_triad_bandwidth(float *a, const float *b, const float *c, int64_t bytes, double seconds);
/* Bytes per second of summing an array. */
double lpb_read_bandwidth(const float *a, int64_t bytes, double seconds);
/* Builds a random cycle of one pointer per 128 bytes in `memory`; false when there is room for less than two. */
bool lpb_link_lines(void *memory, int64_t bytes);
/* Seconds per dependent load through the cycle in `memory`; 0 when somebody else has written there. */
double lpb_load_latency(const void *memory, int64_t bytes, double seconds);

#endif
