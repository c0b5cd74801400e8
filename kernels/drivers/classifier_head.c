/* Layers of a classifier in training, and its head. */
#define _POSIX_C_SOURCE 200809L
#include "classifier_head.h"

#include <math.h>

#include "memory.h"

static int64_t order_of(const net_layer *l, int64_t run) { return l->order ? l->order[run] : run; }

void lpb_net_forward(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows x, int64_t rows,
                     net_rows y, bool adds) {
    const int64_t room = l->outputs.room;
    lpb_multiply(w->t->isa,
                 &(lpb_factors){.a = x.at,
                                .a_row = x.row,
                                .a_col = 1,
                                .b = l->turned + first * room,
                                .b_row = l->turned_row,
                                .c = y.at,
                                .c_row = y.row,
                                .m = rows,
                                .n = count * room,
                                .k = lpb_net_span(&l->inputs),
                                .adds = adds,
                                .bias = l->biases ? l->biases + first * room : NULL,
                                .packed = lpb_range_of(&l->ranges, l->ranges.forward, first * room, count * room)},
                 &w->room);
}

void lpb_net_back(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows g, int64_t rows, net_rows to,
                  bool adds) {
    const int64_t room = l->outputs.room;
    lpb_multiply(w->t->isa,
                 &(lpb_factors){.a = g.at,
                                .a_row = g.row,
                                .a_col = 1,
                                .b = l->plain + first * room * l->plain_row,
                                .b_row = l->plain_row,
                                .c = to.at,
                                .c_row = to.row,
                                .m = rows,
                                .n = l->inputs.count * l->inputs.room,
                                .k = (count - 1) * room + l->outputs.size,
                                .adds = adds,
                                .packed = lpb_range_of(&l->ranges, l->ranges.back, first * room, count * room)},
                 &w->room);
}

void lpb_net_learn(net_hand *w, const net_layer *l, int64_t first, int64_t count, net_rows x, int64_t rows,
                   net_rows g) {
    const net_side *in = &l->inputs, *out = &l->outputs;
    const int64_t inputs = in->count * in->size;
    const bool whole = in->size == in->room; /* runs of the inputs lie as the parameters' do */
    const int64_t runs = whole ? 1 : in->count, size = whole ? inputs : in->size;
    for (int64_t j = 0; j < runs; j++) {
        const float *read = x.at + j * in->room;
        const lpb_packed packed = lpb_share(&w->room, read, x.row, rows, size);
        for (int64_t i = 0; i < count; i++)
            lpb_multiply(w->t->isa,
                         &(lpb_factors){.a = g.at + i * out->room,
                                        .a_row = 1,
                                        .a_col = g.row,
                                        .b = read,
                                        .b_row = x.row,
                                        .c = lpb_net_gradient(w, l->weight) +
                                             order_of(l, first + i) * out->size * inputs + j * in->size,
                                        .c_row = inputs,
                                        .m = out->size,
                                        .n = size,
                                        .k = rows,
                                        .adds = true,
                                        .packed = &packed},
                         &w->room);
    }
    for (int64_t i = 0; i < count && l->bias >= 0; i++)
        w->t->isa->add_column_sums(g.at + i * out->room, rows, g.row, out->size,
                                   lpb_net_gradient(w, l->bias) + order_of(l, first + i) * out->size);
    if (l->second_bias < 0 || !w->t->parameter[l->second_bias].learns) return;
    for (int64_t i = 0; i < count; i++)
        w->t->isa->add_column_sums(g.at + i * out->room, rows, g.row, out->size,
                                   lpb_net_gradient(w, l->second_bias) + order_of(l, first + i) * out->size);
}

/* Losses of logits, which become the gradient of their mean over the batch. */
static void weigh_logits(net_hand *w, int64_t first, int64_t rows) {
    const lpb_classifier_net *net = &w->t->net;
    const double share = 1.0 / (double)w->batch->rows;
    for (int64_t r = first; r < first + rows; r++) {
        float *z = w->t->logits + r * LPB_ALIGN;
        const int64_t label = w->batch->labels[r];
        const double sign = label ? 1.0 : -1.0, away = -sign * (double)*z, weight = net->weights[label];
        const double cost = fmax(away, 0.0) + log1p(exp(-fabs(away))); /* -log p */
        const double wrong = -expm1(-cost), focus = net->gamma == 0.0 ? 1.0 : pow(wrong, net->gamma);
        w->loss += share * weight * focus * cost;
        *z = (float)(-sign * share * weight * focus * (net->gamma * exp(-cost) * cost + wrong));
    }
}

static lpb_batch_norm norm_of(net_hand *w, int64_t rows, bool moves) {
    const lpb_classifier_trainer *t = w->t;
    float *memory = t->norm_memory, *own = t->value + t->parameter[t->running].at;
    return (lpb_batch_norm){
        .rows = rows,
        .columns = t->width,
        .ld = t->row,
        .momentum = 0.1f,
        .epsilon = LPB_NORMAL_EPSILON,
        .weight = lpb_net_value(w, t->norm),
        .bias = lpb_net_value(w, t->norm + 1),
        .running_mean = moves ? own : memory + 4 * t->row,
        .running_variance = moves ? t->value + t->parameter[t->running + 1].at : memory + 5 * t->row,
        .mean = memory,
        .scale = memory + t->row,
        .sums = memory + 2 * t->row,
        .products = memory + 3 * t->row,
        .weight_gradient = lpb_net_gradient(w, t->norm),
        .bias_gradient = lpb_net_gradient(w, t->norm + 1),
    };
}

static void drop_inner(const net_hand *w, int64_t first, int64_t rows, float *x) {
    const lpb_classifier_trainer *t = w->t;
    for (int64_t r = 0; r < rows && t->net.hidden_dropout != 0.0; r++)
        lpb_drop(t->isa, x + r * t->inner_row, t->inner_bits + (first + r) * t->inner_row, t->net.hidden,
                 t->net.hidden_dropout);
}

static void draw_inner(const net_hand *w, int64_t first, int64_t rows) {
    const lpb_classifier_trainer *t = w->t;
    for (int64_t r = first; r < first + rows && t->net.hidden_dropout != 0.0; r++) {
        const lpb_draw draw = {t->net.seed, (uint64_t)t->net.count, (uint64_t)r, (uint64_t)t->steps};
        lpb_draw_bits(&draw, 0, t->net.hidden, t->inner_bits + r * t->inner_row);
    }
}

/* From the rows that it is given, a layer with ReLU and dropout and the output; of_given is made. */
static void infer(net_hand *w, int64_t first, int64_t rows, net_rows given, net_rows of_given) {
    const lpb_classifier_trainer *t = w->t;
    const net_rows logits = {t->logits + first * LPB_ALIGN, LPB_ALIGN};
    net_rows read = given, of_read = of_given;
    if (t->net.hidden) {
        read = (net_rows){t->inner + first * t->inner_row, t->inner_row};
        of_read = (net_rows){t->of_inner + first * t->inner_row, t->inner_row};
        lpb_net_forward(w, &t->hidden, 0, 1, given, rows, read, false);
        t->isa->reals->activate(read.at, rows * t->inner_row, LPB_RELU, 0.0f);
        draw_inner(w, first, rows);
        drop_inner(w, first, rows, read.at);
    }
    lpb_net_forward(w, &t->output, 0, 1, read, rows, logits, false);
    weigh_logits(w, first, rows);
    lpb_net_learn(w, &t->output, 0, 1, read, rows, logits);
    lpb_net_back(w, &t->output, 0, 1, logits, rows, of_read, false);
    if (!t->net.hidden) return;
    drop_inner(w, first, rows, of_read.at);
    t->isa->activation_gradient(of_read.at, read.at, rows * t->inner_row, LPB_RELU, 0.0f);
    lpb_net_learn(w, &t->hidden, 0, 1, given, rows, of_read);
    lpb_net_back(w, &t->hidden, 0, 1, of_read, rows, of_given, false);
}

void lpb_net_head(net_hand *w, int64_t first, int64_t rows, bool moves) {
    const lpb_classifier_trainer *t = w->t;
    const net_rows pooled = {t->pooled + first * t->row, t->row}, of_pooled = {t->of_pooled + first * t->row, t->row};
    if (!t->net.normalised) {
        infer(w, first, rows, pooled, of_pooled);
        return;
    }
    const lpb_batch_norm norm = norm_of(w, rows, moves);
    t->isa->normalise_batch(&norm, pooled.at, t->normal);
    infer(w, first, rows, (net_rows){t->normal, t->row}, of_pooled);
    t->isa->normalise_batch_gradient(&norm, pooled.at, of_pooled.at);
}

int64_t lpb_net_head_place(lpb_classifier_trainer *t, int64_t rows, float *memory) {
    int64_t taken = 0;
    t->pooled = lpb_net_piece(memory, &taken, rows * t->row);
    t->of_pooled = lpb_net_piece(memory, &taken, rows * t->row);
    t->normal = lpb_net_piece(memory, &taken, rows * t->row);
    t->inner = lpb_net_piece(memory, &taken, rows * t->inner_row);
    t->of_inner = lpb_net_piece(memory, &taken, rows * t->inner_row);
    t->logits = lpb_net_piece(memory, &taken, rows * LPB_ALIGN);
    t->norm_memory = lpb_net_piece(memory, &taken, 6 * t->row);
    t->inner_bits = (uint16_t *)lpb_net_piece(memory, &taken, (rows * t->inner_row + 1) / 2);
    return taken;
}
