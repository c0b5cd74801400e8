/* Training of a chain of dense layers by mini-batches: forward, backward and Adam in one call per epoch.
 *
 * Everything is row-major, rows of data outermost. Weights are stored as their transpose (inputs x outputs), so that
 *   forward    H' = act(H Wt + b)      both operands as stored
 *   weights    dWt = H^T G             both operands as stored, H^T by its strides
 *   backward   G = G' W                needs W: a copy, transposed after each update
 * Row lengths are the outputs rounded up to LPB_ALIGN. The padding of weights, gradients and moments is zero and stays
 * zero: it takes part in Adam as parameters without gradient. A layer with a single output keeps its weights as a
 * plain vector, where W and Wt are the same, and its activations as one number per row. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"
#include "memory.h"
#include "pool.h"

typedef struct {
    int64_t inputs, outputs;
    int64_t ld;           /* row length of weights and activations; 1 for a single output */
    int64_t weight, bias; /* offsets into the flat parameters */
    float *transposed; /* W, outputs x (row length of the layer below); NULL for the first layer and single outputs */
    lpb_activation activation;
    float slope;
    float *output, *gradient; /* of the current batch: rows x ld */
    /* What the layer above reads, and its gradient: the outputs, or the codes drawn from them. */
    int64_t passed_width, passed_ld;
    float *passed, *passed_gradient;
} layer;

struct lpb_trainer {
    const lpb_isa *isa;
    lpb_loss loss;
    lpb_sampling sampling;
    const float *noise; /* of the current batch, with sampling */
    lpb_adam adam;
    int64_t step, count, parameters, latent; /* the last: numbers of noise per row */
    float *value, *gradient, *mean, *square; /* flat, `parameters` floats each */
    int64_t capacity;                        /* rows that the buffers below and in the layers hold */
    int64_t input_ld;
    float *input, *target;
    int64_t scratch_bytes; /* the most that any product of the current capacity needs */
    void *scratch;
    layer layers[];
};

/* Columns of a product over a padded operand: whole half-lines, so that no kernel needs a partial vector. */
static int64_t padded_columns(int64_t columns) { return lpb_round_up(columns, 8); }

static void refresh_transposed(lpb_trainer *t) {
    for (int64_t l = 1; l < t->count; l++) {
        const layer *k = t->layers + l;
        if (k->transposed)
            t->isa->transpose(t->value + k->weight, k->ld, k->inputs, k->outputs, k->transposed, k[-1].passed_ld);
    }
}

lpb_trainer *lpb_trainer_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_loss loss,
                             const lpb_sampling *sampling, const lpb_adam *adam) {
    lpb_trainer *t = calloc(1, sizeof *t + (size_t)count * sizeof *t->layers);
    if (!t) return NULL;
    t->isa = isa;
    t->loss = loss;
    t->sampling = sampling ? *sampling : (lpb_sampling){.layer = -1};
    t->adam = *adam;
    t->count = count;
    t->input_ld = lpb_round_up(layers[0].inputs, LPB_ALIGN);
    for (int64_t l = 0; l < count; l++) {
        layer *k = t->layers + l;
        k->inputs = layers[l].inputs;
        k->outputs = layers[l].outputs;
        /* the last output is compared with the padded input */
        const bool single = k->outputs == 1 && !(l == count - 1 && loss != LPB_LOSS_BCE);
        k->ld = single ? 1 : lpb_round_up(k->outputs, LPB_ALIGN);
        k->passed_width = k->outputs;
        k->passed_ld = k->ld;
        if (l == t->sampling.layer) {
            t->latent = k->passed_width = k->outputs / 2;
            k->passed_ld = lpb_round_up(k->passed_width, LPB_ALIGN);
        }
        k->activation = layers[l].activation;
        k->slope = layers[l].slope;
        k->weight = t->parameters;
        k->bias = k->weight + lpb_round_up(k->inputs * k->ld, LPB_ALIGN);
        t->parameters = k->bias + lpb_round_up(k->outputs, LPB_ALIGN);
    }
    t->value = lpb_new_zeros(t->parameters);
    t->gradient = lpb_new_zeros(t->parameters);
    t->mean = lpb_new_zeros(t->parameters);
    t->square = lpb_new_zeros(t->parameters);
    bool complete = t->value && t->gradient && t->mean && t->square;
    for (int64_t l = 0; l < count && complete; l++) {
        layer *k = t->layers + l;
        for (int64_t j = 0; j < k->outputs; j++)
            for (int64_t i = 0; i < k->inputs; i++)
                t->value[k->weight + i * k->ld + j] = layers[l].weight[j * k->inputs + i];
        if (layers[l].bias) memcpy(t->value + k->bias, layers[l].bias, (size_t)k->outputs * sizeof(float));
        if (l > 0 && k->ld > 1 && k[-1].passed_ld > 1) {
            k->transposed = lpb_new_zeros(k->outputs * k[-1].passed_ld);
            complete = k->transposed != NULL;
        }
    }
    if (!complete) {
        lpb_trainer_free(t);
        return NULL;
    }
    refresh_transposed(t);
    return t;
}

static void free_batch(lpb_trainer *t) {
    free(t->input);
    free(t->target);
    free(t->scratch);
    t->input = t->target = t->scratch = NULL;
    for (int64_t l = 0; l < t->count; l++) {
        layer *k = t->layers + l;
        if (l == t->sampling.layer) free(k->passed), free(k->passed_gradient);
        free(k->output);
        free(k->gradient);
        k->output = k->gradient = k->passed = k->passed_gradient = NULL;
    }
    t->capacity = 0;
}

void lpb_trainer_free(lpb_trainer *t) {
    if (!t) return;
    free_batch(t);
    for (int64_t l = 0; l < t->count; l++) free(t->layers[l].transposed);
    free(t->value);
    free(t->gradient);
    free(t->mean);
    free(t->square);
    free(t);
}

void lpb_trainer_shape(const lpb_trainer *t, int64_t l, int64_t *inputs, int64_t *outputs) {
    *inputs = t->layers[l].inputs;
    *outputs = t->layers[l].outputs;
}

/* A product of one item without alpha, whose operands are filled in below. */
static lpb_gemm forward_product(const lpb_trainer *t, int64_t l, int64_t rows) {
    const layer *k = t->layers + l;
    return (lpb_gemm){
        .batch = 1,
        .alpha = 1.0f,
        .m = rows,
        /* the padding of the last output must stay zero: it enters the loss */
        .n = l == t->count - 1 || k->ld == 1 ? k->outputs : padded_columns(k->outputs),
        .k = k->inputs,
        .a = l ? k[-1].passed : t->input,
        .a_row = l ? k[-1].passed_ld : t->input_ld,
        .a_col = 1,
        .b = t->value + k->weight,
        .b_row = k->ld,
        .b_col = 1,
        .c = k->output,
        .c_row = k->ld,
        .bias = t->value + k->bias,
        .bias_axis = LPB_COLUMN_BIAS,
        .activation = k->activation,
        .slope = k->slope,
    };
}

static lpb_gemm weight_product(const lpb_trainer *t, int64_t l, int64_t rows) {
    const layer *k = t->layers + l;
    const float *below = l ? k[-1].passed : t->input;
    const int64_t below_ld = l ? k[-1].passed_ld : t->input_ld;
    lpb_gemm g = {.batch = 1, .alpha = 1.0f, .k = rows, .b_col = 1, .c = t->gradient + k->weight};
    if (k->ld == 1) { /* one row: the output's gradient times the layer's input */
        g.m = 1, g.n = k->inputs;
        g.a = k->gradient, g.a_row = 0, g.a_col = 1;
        g.b = below, g.b_row = below_ld;
        g.c_row = k->inputs;
    } else {
        g.m = k->inputs, g.n = padded_columns(k->outputs);
        g.a = below, g.a_row = 1, g.a_col = below_ld;
        g.b = k->gradient, g.b_row = k->ld;
        g.c_row = k->ld;
    }
    return g;
}

/* The gradient by what layer l - 1 passes on. */
static lpb_gemm input_product(const lpb_trainer *t, int64_t l, int64_t rows) {
    const layer *k = t->layers + l, *down = k - 1;
    return (lpb_gemm){
        .batch = 1,
        .alpha = 1.0f,
        .m = rows,
        .n = down->passed_ld == 1 ? 1 : padded_columns(down->passed_width),
        .k = k->outputs,
        .a = k->gradient,
        .a_row = k->ld,
        .a_col = 1,
        .b = k->transposed ? k->transposed : t->value + k->weight,
        .b_row = down->passed_ld,
        .b_col = 1,
        .c = down->passed_gradient,
        .c_row = down->passed_ld,
    };
}

static void run_product(const lpb_trainer *t, lpb_gemm g) { t->isa->f32.gemm(&g, 0, 1, t->scratch); }

static lpb_status reserve(lpb_trainer *t, int64_t rows) {
    if (rows <= t->capacity) return LPB_OK;
    free_batch(t);
    const int64_t padded = lpb_round_up(rows, LPB_ALIGN);
    int64_t scratch = 0;
    t->input = lpb_new_zeros(padded * t->input_ld);
    t->target = lpb_new_zeros(padded);
    bool complete = t->input && t->target;
    for (int64_t l = 0; l < t->count && complete; l++) {
        layer *k = t->layers + l;
        k->output = lpb_new_zeros(padded * k->ld);
        k->gradient = lpb_new_zeros(padded * k->ld);
        k->passed = l == t->sampling.layer ? lpb_new_zeros(padded * k->passed_ld) : k->output;
        k->passed_gradient = l == t->sampling.layer ? lpb_new_zeros(padded * k->passed_ld) : k->gradient;
        complete = k->output && k->gradient && k->passed && k->passed_gradient;
        const lpb_gemm products[] = {forward_product(t, l, rows), weight_product(t, l, rows),
                                     l ? input_product(t, l, rows) : (lpb_gemm){.batch = 0}};
        for (int p = 0; p < (l ? 3 : 2); p++) {
            const int64_t needed = t->isa->f32.scratch(products + p);
            if (needed > scratch) scratch = needed;
        }
    }
    t->scratch = lpb_new_zeros(scratch / (int64_t)sizeof(float) + 1);
    if (!complete || !t->scratch) {
        free_batch(t);
        return LPB_NO_MEMORY;
    }
    t->capacity = rows;
    return LPB_OK;
}

/* Returns the divergence of the codes of all rows; 0 without sampling. */
static double forward(const lpb_trainer *t, int64_t rows) {
    double divergence = 0.0;
    for (int64_t l = 0; l < t->count; l++) {
        const layer *k = t->layers + l;
        const lpb_gemm g = forward_product(t, l, rows);
        if (k->ld == 1 && g.a_row > 1) {
            t->isa->row_dots(g.a, rows, g.a_row, k->inputs, g.b, g.bias[0], k->output);
            t->isa->reals->activate(k->output, lpb_round_up(rows, LPB_ALIGN), k->activation, k->slope);
        } else {
            run_product(t, g);
        }
        if (l == t->sampling.layer)
            divergence = t->isa->sample(k->output, k->ld, t->noise, rows, k->passed_width, k->passed, k->passed_ld);
    }
    return divergence;
}

/* Cross entropy of every output and input; what whole vectors write beyond a row is made zero again. */
static double entropy_and_gradient(const lpb_trainer *t, int64_t rows) {
    const layer *last = t->layers + t->count - 1;
    double sum = 0.0;
    for (int64_t r = 0; r < rows; r++) {
        float *g = last->gradient + r * last->ld;
        sum += t->isa->logit_loss(last->output + r * last->ld, t->input + r * t->input_ld, last->outputs,
                                  1.0f / (float)rows, g);
        memset(g + last->outputs, 0, (size_t)(last->ld - last->outputs) * sizeof(float));
    }
    return sum / (double)rows;
}

/* The mean loss, and its gradient by the last layer's pre-activations. */
static double loss_and_gradient(const lpb_trainer *t, int64_t rows) {
    const layer *last = t->layers + t->count - 1;
    if (t->loss == LPB_LOSS_BCE)
        return t->isa->logit_loss(last->output, t->target, rows, 1.0f / (float)rows, last->gradient) / (double)rows;
    if (t->loss == LPB_LOSS_BERNOULLI) return entropy_and_gradient(t, rows);
    const double elements = (double)rows * (t->loss == LPB_LOSS_MSE ? (double)last->outputs : 1.0);
    const double sum = t->isa->square_loss(last->output, t->input, lpb_round_up(rows * last->ld, LPB_ALIGN),
                                           (float)(2.0 / elements), last->gradient);
    t->isa->activation_gradient(last->gradient, last->output, lpb_round_up(rows * last->ld, LPB_ALIGN),
                                last->activation, last->slope);
    return sum / elements;
}

static void backward(const lpb_trainer *t, int64_t rows) {
    for (int64_t l = t->count - 1; l >= 0; l--) {
        const layer *k = t->layers + l;
        float *bias = t->gradient + k->bias;
        if (k->ld == 1) {
            float sum = 0.0f;
            for (int64_t r = 0; r < rows; r++) sum += k->gradient[r];
            bias[0] = sum;
        } else {
            t->isa->column_sums(k->gradient, rows, k->ld, bias);
        }
        run_product(t, weight_product(t, l, rows));
        if (l == 0) return;
        run_product(t, input_product(t, l, rows));
        const layer *down = k - 1;
        if (l - 1 == t->sampling.layer)
            t->isa->sample_gradient(down->output, down->ld, t->noise, rows, down->passed_width, down->passed_gradient,
                                    down->passed_ld, (float)(t->sampling.weight / (double)rows), down->gradient);
        t->isa->activation_gradient(down->gradient, down->output, lpb_round_up(rows * down->ld, LPB_ALIGN),
                                    down->activation, down->slope);
    }
}

/* The losses of the current batch, as for lpb_trainer_epoch, and its gradients; returns how many losses. */
static int64_t evaluate(const lpb_trainer *t, int64_t rows, float *losses) {
    const double divergence = forward(t, rows);
    const double error = loss_and_gradient(t, rows);
    backward(t, rows);
    losses[0] = (float)(error + t->sampling.weight * divergence / (double)rows);
    if (!t->latent) return 1;
    losses[1] = (float)error;
    return 2;
}

static void update(lpb_trainer *t) {
    const lpb_adam *a = &t->adam;
    float scale = 1.0f;
    if (a->max_grad_norm > 0.0) {
        const double norm = sqrt(t->isa->sum_of_squares(t->gradient, t->parameters));
        const double ratio = a->max_grad_norm / (norm + 1e-6);
        if (!(ratio > 1.0)) scale = (float)ratio; /* a NaN norm makes every gradient NaN */
    }
    t->step++;
    const lpb_adam_step step = {
        .beta1 = (float)a->beta1,
        .beta2 = (float)a->beta2,
        .one_minus_beta1 = (float)(1.0 - a->beta1),
        .one_minus_beta2 = (float)(1.0 - a->beta2),
        .step_size = (float)(a->learning_rate / (1.0 - pow(a->beta1, (double)t->step))),
        .inverse_root_correction = (float)(1.0 / sqrt(1.0 - pow(a->beta2, (double)t->step))),
        .epsilon = (float)a->epsilon,
        .gradient_scale = scale,
    };
    t->isa->adam(t->value, t->gradient, t->mean, t->square, t->parameters, &step);
    refresh_transposed(t);
}

lpb_status lpb_trainer_epoch(lpb_trainer *t, const float *x, int64_t x_row, const float *y, const int64_t *order,
                             const float *noise, int64_t rows, int64_t batch, float *losses) {
    const int64_t inputs = t->layers[0].inputs;
    const lpb_status status = reserve(t, batch < rows ? batch : rows);
    if (status != LPB_OK) return status;
    for (int64_t from = 0; from < rows; from += batch) {
        const int64_t here = rows - from < batch ? rows - from : batch;
        for (int64_t r = 0; r < here; r++) {
            const int64_t row = order[from + r];
            memcpy(t->input + r * t->input_ld, x + row * x_row, (size_t)inputs * sizeof(float));
            if (y) t->target[r] = y[row];
        }
        t->noise = noise ? noise + from * t->latent : NULL;
        losses += evaluate(t, here, losses);
        update(t);
    }
    return LPB_OK;
}

typedef struct {
    lpb_trainer **trainers;
    const float *x, *y;
    int64_t x_row, rows, batch;
    const int64_t *const *orders;
    const float *const *noises;
    float *const *losses;
    lpb_status status;
} job;

static void part(void *argument, int64_t first, int64_t last) {
    job *j = argument;
    for (int64_t i = first; i < last; i++)
        if (lpb_trainer_epoch(j->trainers[i], j->x, j->x_row, j->y, j->orders[i], j->noises[i], j->rows, j->batch,
                              j->losses[i]))
            __atomic_store_n(&j->status, LPB_NO_MEMORY, __ATOMIC_RELAXED);
}

lpb_status lpb_trainer_epoch_many(lpb_trainer **trainers, int64_t count, const float *x, int64_t x_row, const float *y,
                                  const int64_t *const *orders, const float *const *noises, int64_t rows, int64_t batch,
                                  float *const *losses, int threads) {
    job j = {trainers, x, y, x_row, rows, batch, orders, noises, losses, LPB_OK};
    lpb_parallel(part, &j, count, threads);
    return j.status;
}

static void copy_out(const lpb_trainer *t, const float *flat, float *const *weights, float *const *biases) {
    for (int64_t l = 0; l < t->count; l++) {
        const layer *k = t->layers + l;
        for (int64_t j = 0; j < k->outputs; j++)
            for (int64_t i = 0; i < k->inputs; i++) weights[l][j * k->inputs + i] = flat[k->weight + i * k->ld + j];
        memcpy(biases[l], flat + k->bias, (size_t)k->outputs * sizeof(float));
    }
}

lpb_status lpb_trainer_gradients(lpb_trainer *t, const float *x, int64_t x_row, const float *y, const float *noise,
                                 int64_t rows, float *loss, float *const *weights, float *const *biases) {
    const lpb_status status = reserve(t, rows);
    if (status != LPB_OK) return status;
    for (int64_t r = 0; r < rows; r++) {
        memcpy(t->input + r * t->input_ld, x + r * x_row, (size_t)t->layers[0].inputs * sizeof(float));
        if (y) t->target[r] = y[r];
    }
    float losses[2];
    t->noise = noise;
    evaluate(t, rows, losses);
    *loss = losses[0];
    copy_out(t, t->gradient, weights, biases);
    return LPB_OK;
}

void lpb_trainer_set_learning_rate(lpb_trainer *t, double learning_rate) { t->adam.learning_rate = learning_rate; }

void lpb_trainer_read(const lpb_trainer *t, float *const *weights, float *const *biases) {
    copy_out(t, t->value, weights, biases);
}
