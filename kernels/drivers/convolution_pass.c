/* A convolutional trunk in training: branches of two convolutions along the features of a row, forward and back.
 *
 * The channels of a position lie side by side, and zeros before the first position and behind the last, so that what a
 * convolution reads at a position is a row of a product whose rows overlap. Of the second convolution's values only the
 * largest of each channel goes on: its way back passes through these positions alone, and is a few sums, no product. */
#define _POSIX_C_SOURCE 200809L
#include "classifier_trainer.h"
#include "memory.h"

static const net_layer *layer_of(const lpb_classifier_trainer *t, int64_t branch, int second) {
    return t->layer + 2 * branch + second;
}

static int64_t channels_of(const lpb_classifier_trainer *t) { return 2 * t->net.channels; } /* that go on */

/* Zeros on either side of the features, for the widest branch. */
static int64_t margin_of(const lpb_classifier_trainer *t) {
    int64_t most = 0;
    for (int64_t b = 0; b < t->net.count; b++) most = t->sizes[b] / 2 > most ? t->sizes[b] / 2 : most;
    return most;
}

static int64_t given_row(const lpb_classifier_trainer *t) { return lpb_net_padded(t->net.features + 2 * margin_of(t)); }

/* Floats of a row's values between the convolutions. */
static int64_t middle_row(const lpb_classifier_trainer *t, int64_t branch) {
    return lpb_net_padded((t->net.features + t->sizes[branch] - 1) * t->net.channels);
}

static int64_t values_row(const lpb_classifier_trainer *t) { return t->net.features * lpb_net_padded(channels_of(t)); }

/* What branch b reads of row r, from the first tap of the first position on. */
static float *given_at(const net_hand *w, int64_t r, int64_t b) {
    return w->x + r * given_row(w->t) + margin_of(w->t) - w->t->sizes[b] / 2;
}

static void convolve(net_hand *w, const net_layer *l, const float *x, int64_t step, float *to, int64_t row,
                     int64_t columns) {
    lpb_multiply(w->t->isa,
                 &(lpb_factors){.a = x,
                                .a_row = step,
                                .a_col = 1,
                                .b = l->turned,
                                .b_row = l->turned_row,
                                .c = to,
                                .c_row = row,
                                .m = w->t->net.features,
                                .n = columns,
                                .k = l->inputs.size,
                                .bias = l->biases,
                                .packed = lpb_range_of(&l->ranges, l->ranges.forward, 0, columns)},
                 &w->room);
}

static void forward_branch(net_hand *w, int64_t r, int64_t b) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t channels = t->net.channels, made = channels_of(t), room = lpb_net_padded(made);
    const net_branch *k = w->branch + b;
    float *middle = k->middle + r * middle_row(t, b), *values = k->values + r * values_row(t);
    convolve(w, layer_of(t, b, 0), given_at(w, r, b), 1, middle + t->sizes[b] / 2 * channels, channels, channels);
    t->isa->reals->activate(middle, middle_row(t, b), LPB_RELU, 0.0f);
    convolve(w, layer_of(t, b, 1), middle, channels, values, room, room);
    float *most = k->most + r * room, *pooled = t->pooled + (w->first + r) * t->row + b * made;
    t->isa->largest(values, t->net.features, room, room, most, k->ties + r * room, k->where + r * room);
    for (int64_t j = 0; j < made; j++) pooled[j] = most[j] < 0.0f ? 0.0f : most[j];
}

void lpb_convolution_forward(net_hand *w) {
    const lpb_classifier_trainer *t = w->t;
    for (int64_t r = 0; r < w->rows; r++) {
        memcpy(w->x + r * given_row(t) + margin_of(t), w->batch->x + (w->first + r) * w->batch->x_row,
               (size_t)t->net.features * sizeof *w->x);
        for (int64_t b = 0; b < t->net.count; b++) forward_branch(w, r, b);
    }
}

static void back_branch(net_hand *w, int64_t r, int64_t b) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t channels = t->net.channels, made = channels_of(t), room = lpb_net_padded(made);
    const net_layer *first = layer_of(t, b, 0), *second = layer_of(t, b, 1);
    const net_branch *k = w->branch + b;
    const float *middle = k->middle + r * middle_row(t, b);
    memset(w->of_middle, 0, (size_t)middle_row(t, b) * sizeof *w->of_middle);
    const lpb_largest_pass pass = {
        .columns = made,
        .rows = t->net.features,
        .ld = room,
        .x = k->values + r * values_row(t),
        .most = k->most + r * room,
        .ties = k->ties + r * room,
        .where = k->where + r * room,
        .g = t->of_pooled + (w->first + r) * t->row + b * made,
        .terms = second->inputs.size,
        .step = channels,
        .read = middle,
        .weight = second->plain,
        .weight_row = second->plain_row,
        .of_weight = k->of_weight,
        .of_read = w->of_middle,
        .of_bias = lpb_net_gradient(w, second->bias),
    };
    t->isa->largest_back(&pass);
    /* margins are no values of the first convolution: they are 0, and so is their slope */
    t->isa->activation_gradient(w->of_middle, middle, middle_row(t, b), LPB_RELU, 0.0f);
    const float *g = w->of_middle + t->sizes[b] / 2 * channels;
    lpb_multiply(t->isa,
                 &(lpb_factors){.a = g,
                                .a_row = 1,
                                .a_col = channels,
                                .b = given_at(w, r, b),
                                .b_row = 1,
                                .c = lpb_net_gradient(w, first->weight),
                                .c_row = t->sizes[b],
                                .m = channels,
                                .n = t->sizes[b],
                                .k = t->net.features,
                                .adds = true},
                 &w->room);
    t->isa->add_column_sums(g, t->net.features, channels, channels, lpb_net_gradient(w, first->bias));
}

void lpb_convolution_back(net_hand *w) {
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t b = 0; b < w->t->net.count; b++) back_branch(w, r, b);
}

/* Gradients of the second convolutions, with the channels of a tap side by side, to where their parameters are. */
void lpb_convolution_finish(net_hand *w) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t channels = t->net.channels;
    for (int64_t b = 0; b < t->net.count; b++) {
        const net_layer *l = layer_of(t, b, 1);
        float *to = lpb_net_gradient(w, l->weight), *from = w->branch[b].of_weight;
        for (int64_t o = 0; o < channels_of(t); o++, from += l->plain_row, to += l->inputs.size)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t tap = 0; tap < t->sizes[b]; tap++) to[c * t->sizes[b] + tap] = from[tap * channels + c];
        memset(w->branch[b].of_weight, 0, (size_t)(channels_of(t) * l->plain_row) * sizeof *from);
    }
}

int64_t lpb_convolution_place(net_hand *w, float *memory) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t rows = w->most_rows, room = lpb_net_padded(channels_of(t));
    int64_t taken = 0, most = 0;
    w->x = lpb_net_piece(memory, &taken, rows * given_row(t));
    for (int64_t b = 0; b < t->net.count; b++) {
        net_branch *k = w->branch + b;
        const int64_t middle = middle_row(t, b);
        most = middle > most ? middle : most;
        k->middle = lpb_net_piece(memory, &taken, rows * middle);
        k->values = lpb_net_piece(memory, &taken, rows * values_row(t));
        k->most = lpb_net_piece(memory, &taken, rows * room);
        k->ties = lpb_net_piece(memory, &taken, rows * room);
        k->where = (int32_t *)lpb_net_piece(memory, &taken, rows * room);
        k->of_weight = lpb_net_piece(memory, &taken, channels_of(t) * layer_of(t, b, 1)->plain_row);
    }
    w->of_middle = lpb_net_piece(memory, &taken, most);
    return taken;
}
