/* A recurrent trunk in training: rows through layers of an LSTM and an attention of the last step, forward and back.
 *
 * Rows of a time step lie together, and steps one behind the other: what all steps read is multiplied in one product,
 * and so are the gradients of weights, over all steps. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "classifier_trainer.h"
#include "memory.h"

static int64_t hidden_row(const lpb_classifier_trainer *t, int64_t l) {
    return lpb_odd_lines(t->net.directions * lpb_net_padded(t->sizes[l]));
}

/* The layer of the inputs, or with `hidden` of hidden values. */
static const net_layer *layer_of(const lpb_classifier_trainer *t, int64_t l, int64_t direction, int hidden) {
    return t->layer + (l * t->net.directions + direction) * 2 + hidden;
}

static int64_t gates_row(const lpb_classifier_trainer *t, int64_t l) {
    const net_side *gates = &layer_of(t, l, 0, 0)->outputs;
    return lpb_odd_lines(gates->count * gates->room);
}

static int64_t tokens_of(const net_hand *w) { return w->t->net.steps * w->rows; }

static net_rows read_by(const net_hand *w, int64_t l) {
    if (!l) return (net_rows){w->x, lpb_odd_lines(w->t->net.features)};
    return (net_rows){w->kept[l - 1].passed, hidden_row(w->t, l - 1)};
}

/* The values of a time step. */
static net_rows step_of(const net_hand *w, net_rows x, int64_t step) {
    return (net_rows){x.at + step * w->rows * x.row, x.row};
}

static net_rows of_direction(const net_hand *w, net_rows x, int64_t l, int64_t direction) {
    return (net_rows){x.at + direction * lpb_net_padded(w->t->sizes[l]), x.row};
}

/* The time step that a direction comes to `index`-th. */
static int64_t step_at(const net_hand *w, int64_t direction, int64_t index) {
    return direction ? w->t->net.steps - 1 - index : index;
}

static lpb_lstm_pass pass_at(const net_hand *w, int64_t l, int64_t direction, int64_t index) {
    const lpb_classifier_trainer *t = w->t;
    const net_kept *k = w->kept + l;
    const net_side *gates = &layer_of(t, l, direction, 0)->outputs;
    const int64_t step = step_at(w, direction, index), row = gates_row(t, l), wide = hidden_row(t, l);
    const int64_t cells = step * w->rows * gates->room, hidden = step * w->rows * wide + direction * gates->room;
    const int64_t before = index ? step_at(w, direction, index - 1) * w->rows * gates->room : 0;
    return (lpb_lstm_pass){
        .rows = w->rows,
        .count = gates->room,
        .gate_count = gates->count,
        .part = gates->room,
        .gates_row = row,
        .cell_row = gates->room,
        .hidden_row = wide,
        .gates = k->gates[direction] + step * w->rows * row,
        .before = index ? k->cells[direction] + before : NULL,
        .cell = k->cells[direction] + cells,
        .seen = k->seen[direction] + cells,
        .hidden = k->hidden + hidden,
        .of_hidden = w->of_hidden + hidden,
        .of_cell = w->of_cells,
    };
}

static void forward_direction(net_hand *w, int64_t l, int64_t direction) {
    const lpb_classifier_trainer *t = w->t;
    const net_layer *inputs = layer_of(t, l, direction, 0), *recurrent = layer_of(t, l, direction, 1);
    const net_rows gates = {w->kept[l].gates[direction], gates_row(t, l)};
    const net_rows hidden = of_direction(w, (net_rows){w->kept[l].hidden, hidden_row(t, l)}, l, direction);
    lpb_net_forward(w, inputs, 0, inputs->outputs.count, read_by(w, l), tokens_of(w), gates, false);
    for (int64_t i = 0; i < t->net.steps; i++) {
        const int64_t step = step_at(w, direction, i);
        if (i)
            lpb_net_forward(w, recurrent, 0, recurrent->outputs.count, step_of(w, hidden, step_at(w, direction, i - 1)),
                            w->rows, step_of(w, gates, step), true);
        const lpb_lstm_pass pass = pass_at(w, l, direction, i);
        t->isa->lstm_forward(&pass);
    }
}

/* Numbers of a row that a layer passes on, over all steps. */
static int64_t passed_of(const lpb_classifier_trainer *t, int64_t l) {
    return t->net.steps * t->net.directions * lpb_net_padded(t->sizes[l]);
}

static void drop_values(const net_hand *w, int64_t l, float *x) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t row = hidden_row(t, l), count = passed_of(t, l) / t->net.steps;
    for (int64_t s = 0; s < t->net.steps; s++)
        for (int64_t r = 0; r < w->rows; r++)
            lpb_drop(t->isa, x + (s * w->rows + r) * row, w->kept[l].bits + (r * t->net.steps + s) * count, count,
                     t->dropout[l]);
}

/* What the next layer reads of the hidden values: some are dropped. */
static void pass_on(net_hand *w, int64_t l) {
    const lpb_classifier_trainer *t = w->t;
    const net_kept *k = w->kept + l;
    const int64_t count = passed_of(t, l);
    if (t->dropout[l] == 0.0) return; /* it reads them where they are */
    for (int64_t r = 0; r < w->rows; r++) {
        const lpb_draw draw = {t->net.seed, (uint64_t)l, (uint64_t)(w->first + r), (uint64_t)t->steps};
        lpb_draw_bits(&draw, 0, count, k->bits + r * count);
    }
    memcpy(k->passed, k->hidden, (size_t)(tokens_of(w) * hidden_row(t, l)) * sizeof *k->passed);
    drop_values(w, l, k->passed);
}

/* What a head of the attention has of row r: queries of the last step, and keys and values of all. */
typedef struct {
    float *query, *asked, *mixed, *shares;
    int64_t asked_row, values, size; /* floats from a step to the next; from keys to values; of the head */
} share_of;

static int64_t asked_row(const lpb_classifier_trainer *t) { return lpb_odd_lines(2 * t->projection.outputs.room); }

static share_of share_at(const net_hand *w, int64_t r, int64_t head, float *query, float *asked, float *mixed) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t size = t->width / t->net.heads, row = asked_row(t);
    return (share_of){
        .query = query + r * t->row + head * size,
        .asked = asked + r * row + head * size,
        .mixed = mixed + r * t->row + head * size,
        .shares = w->shares + (r * t->net.heads + head) * t->net.steps,
        .asked_row = w->rows * row,
        .values = t->projection.outputs.room,
        .size = size,
    };
}

static double dot(const float *a, const float *b, int64_t count) {
    float sum = 0.0f;
    for (int64_t j = 0; j < count; j++) sum += a[j] * b[j];
    return sum;
}

static void add_scaled(float *restrict to, const float *restrict from, float factor, int64_t count) {
    for (int64_t j = 0; j < count; j++) to[j] += factor * from[j];
}

/* The values of all steps, weighted by the softmax of their keys' products with the query. */
static void mix(const share_of *s, int64_t steps) {
    const float factor = (float)(1.0 / sqrt((double)s->size));
    float most = -INFINITY, sum = 0.0f;
    for (int64_t i = 0; i < steps && steps > 1; i++) {
        s->shares[i] = factor * (float)dot(s->query, s->asked + i * s->asked_row, s->size);
        most = fmaxf(most, s->shares[i]);
    }
    for (int64_t i = 0; i < steps; i++) sum += s->shares[i] = steps > 1 ? expf(s->shares[i] - most) : 1.0f;
    memset(s->mixed, 0, (size_t)s->size * sizeof *s->mixed);
    for (int64_t i = 0; i < steps; i++) {
        s->shares[i] /= sum;
        add_scaled(s->mixed, s->asked + i * s->asked_row + s->values, s->shares[i], s->size);
    }
}

/* Gradients by query, keys and values, from that by `mixed` in `of`. */
static void mix_back(const share_of *s, const share_of *of, int64_t steps) {
    const float factor = (float)(1.0 / sqrt((double)s->size));
    double mean = 0;
    for (int64_t i = 0; i < steps; i++) {
        float *of_value = of->asked + i * s->asked_row + s->values;
        mean += s->shares[i] * dot(of->mixed, s->asked + i * s->asked_row + s->values, s->size);
        for (int64_t j = 0; j < s->size; j++) of_value[j] = s->shares[i] * of->mixed[j];
    }
    if (steps == 1) return; /* there is nothing to choose from */
    memset(of->query, 0, (size_t)s->size * sizeof *of->query);
    for (int64_t i = 0; i < steps; i++) {
        const float *key = s->asked + i * s->asked_row;
        const double of_share = dot(of->mixed, key + s->values, s->size);
        const float slope = factor * (float)(s->shares[i] * (of_share - mean));
        add_scaled(of->query, key, slope, s->size);
        for (int64_t j = 0; j < s->size; j++) of->asked[i * s->asked_row + j] = slope * s->query[j];
    }
}

/* The runs of keys and values in the projection's outputs, or of values alone; and where they lie. */
static int64_t first_asked(const net_hand *w) { return w->t->net.steps > 1 ? 1 : 2; }
static net_rows asked_in(const net_hand *w, float *asked) {
    return (net_rows){asked + (first_asked(w) - 1) * w->t->projection.outputs.room, asked_row(w->t)};
}

static void attend(net_hand *w, net_rows top, net_rows pooled) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t first = first_asked(w), steps = t->net.steps;
    lpb_net_forward(w, &t->projection, first, 3 - first, top, tokens_of(w), asked_in(w, w->asked), false);
    if (steps > 1)
        lpb_net_forward(w, &t->projection, 0, 1, step_of(w, top, steps - 1), w->rows, (net_rows){w->queries, t->row},
                        false);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t h = 0; h < t->net.heads; h++) {
            const share_of s = share_at(w, r, h, w->queries, w->asked, w->mixed);
            mix(&s, steps);
        }
    lpb_net_forward(w, &t->out, 0, 1, (net_rows){w->mixed, t->row}, w->rows, pooled, true);
}

/* The gradient by the values of all steps, through what the last one takes in. */
static void attend_back(net_hand *w, net_rows top, net_rows of_pooled, net_rows to) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t first = first_asked(w), steps = t->net.steps;
    const net_rows of_asked = asked_in(w, w->of_asked), of_queries = {w->of_queries, t->row};
    lpb_net_learn(w, &t->out, 0, 1, (net_rows){w->mixed, t->row}, w->rows, of_pooled);
    lpb_net_back(w, &t->out, 0, 1, of_pooled, w->rows, (net_rows){w->of_mixed, t->row}, false);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t h = 0; h < t->net.heads; h++) {
            const share_of s = share_at(w, r, h, w->queries, w->asked, w->mixed);
            const share_of of = share_at(w, r, h, w->of_queries, w->of_asked, w->of_mixed);
            mix_back(&s, &of, steps);
        }
    lpb_net_learn(w, &t->projection, first, 3 - first, top, tokens_of(w), of_asked);
    lpb_net_back(w, &t->projection, first, 3 - first, of_asked, tokens_of(w), to, false);
    if (steps == 1) return;
    lpb_net_learn(w, &t->projection, 0, 1, step_of(w, top, steps - 1), w->rows, of_queries);
    lpb_net_back(w, &t->projection, 0, 1, of_queries, w->rows, step_of(w, to, steps - 1), true);
}

/* Between the padded runs of directions and rows without gaps. */
static void gather_last(const net_hand *w, net_rows last, net_rows pooled) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t size = t->sizes[t->net.count - 1], room = lpb_net_padded(size);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t d = 0; d < t->net.directions; d++)
            memcpy(pooled.at + r * pooled.row + d * size, last.at + r * last.row + d * room,
                   (size_t)size * sizeof *last.at);
}

static void scatter_last(const net_hand *w, net_rows of_pooled, net_rows last) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t size = t->sizes[t->net.count - 1], room = lpb_net_padded(size);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t d = 0; d < t->net.directions; d++)
            add_scaled(last.at + r * last.row + d * room, of_pooled.at + r * of_pooled.row + d * size, 1.0f, size);
}

void lpb_recurrent_forward(net_hand *w) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t features = t->net.features, steps = t->net.steps, layers = t->net.count;
    const net_rows x = read_by(w, 0);
    for (int64_t s = 0; s < steps; s++)
        for (int64_t r = 0; r < w->rows; r++)
            memcpy(x.at + (s * w->rows + r) * x.row, w->batch->x + (w->first + r) * w->batch->x_row + s * features,
                   (size_t)features * sizeof *x.at);
    for (int64_t l = 0; l < layers; l++) {
        for (int64_t d = 0; d < t->net.directions; d++) forward_direction(w, l, d);
        pass_on(w, l);
    }
    const net_rows top = read_by(w, layers), pooled = {t->pooled + w->first * t->row, t->row};
    gather_last(w, step_of(w, top, steps - 1), pooled);
    if (t->net.heads) attend(w, top, pooled);
}

/* Through a direction of a layer; the gradient by what the layer reads goes `to`, unless it is the first. */
static void back_direction(net_hand *w, int64_t l, int64_t direction, net_rows to) {
    const lpb_classifier_trainer *t = w->t;
    const net_layer *inputs = layer_of(t, l, direction, 0), *recurrent = layer_of(t, l, direction, 1);
    const int64_t steps = t->net.steps, wide = hidden_row(t, l), count = inputs->outputs.count;
    const net_rows gates = {w->kept[l].gates[direction], gates_row(t, l)};
    const net_rows hidden = of_direction(w, (net_rows){w->kept[l].hidden, wide}, l, direction);
    const net_rows of_hidden = of_direction(w, (net_rows){w->of_hidden, wide}, l, direction);
    memset(w->of_cells, 0, (size_t)(w->rows * inputs->outputs.room) * sizeof *w->of_cells);
    for (int64_t i = steps - 1; i >= 0; i--) {
        const lpb_lstm_pass pass = pass_at(w, l, direction, i);
        t->isa->lstm_back(&pass);
        if (i)
            lpb_net_back(w, recurrent, 0, count, step_of(w, gates, step_at(w, direction, i)), w->rows,
                         step_of(w, of_hidden, step_at(w, direction, i - 1)), true);
    }
    lpb_net_learn(w, inputs, 0, count, read_by(w, l), tokens_of(w), gates);
    if (steps > 1)
        lpb_net_learn(w, recurrent, 0, count, step_of(w, hidden, direction), tokens_of(w) - w->rows,
                      step_of(w, gates, !direction));
    if (l) lpb_net_back(w, inputs, 0, count, gates, tokens_of(w), to, direction != 0);
}

void lpb_recurrent_back(net_hand *w) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t steps = t->net.steps, last = t->net.count - 1;
    const net_rows of_pooled = {t->of_pooled + w->first * t->row, t->row};
    net_rows of_top = {w->of_hidden, hidden_row(t, last)};
    if (t->net.heads)
        attend_back(w, read_by(w, last + 1), of_pooled, of_top);
    else
        memset(w->of_hidden, 0, (size_t)(tokens_of(w) * of_top.row) * sizeof *w->of_hidden);
    scatter_last(w, of_pooled, step_of(w, of_top, steps - 1));
    for (int64_t l = last; l >= 0; l--) {
        if (t->dropout[l] != 0.0) drop_values(w, l, w->of_hidden);
        const net_rows to = {w->of_before, l ? hidden_row(t, l - 1) : 0};
        for (int64_t d = 0; d < t->net.directions; d++) back_direction(w, l, d, to);
        float *const done = w->of_hidden;
        w->of_hidden = w->of_before, w->of_before = done;
    }
}

int64_t lpb_recurrent_place(net_hand *w, float *memory) {
    const lpb_classifier_trainer *t = w->t;
    const int64_t tokens = t->net.steps * w->most_rows;
    int64_t taken = 0, widest = 0, most = 0;
    w->x = lpb_net_piece(memory, &taken, tokens * lpb_odd_lines(t->net.features));
    for (int64_t l = 0; l < t->net.count; l++) {
        net_kept *k = w->kept + l;
        const int64_t wide = hidden_row(t, l), room = lpb_net_padded(t->sizes[l]);
        widest = wide > widest ? wide : widest, most = room > most ? room : most;
        k->passed = k->hidden = lpb_net_piece(memory, &taken, tokens * wide);
        for (int64_t d = 0; d < t->net.directions; d++) {
            k->gates[d] = lpb_net_piece(memory, &taken, tokens * gates_row(t, l));
            k->cells[d] = lpb_net_piece(memory, &taken, tokens * room);
            k->seen[d] = lpb_net_piece(memory, &taken, tokens * room);
        }
        if (t->dropout[l] == 0.0) continue;
        k->passed = lpb_net_piece(memory, &taken, tokens * wide);
        k->bits = (uint16_t *)lpb_net_piece(memory, &taken, (w->most_rows * passed_of(t, l) + 1) / 2);
    }
    w->of_hidden = lpb_net_piece(memory, &taken, tokens * widest);
    w->of_before = lpb_net_piece(memory, &taken, tokens * widest);
    w->of_cells = lpb_net_piece(memory, &taken, w->most_rows * most);
    if (!t->net.heads) return taken;
    float **single[] = {&w->queries, &w->mixed, &w->of_mixed, &w->of_queries};
    for (int i = 0; i < 4; i++) *single[i] = lpb_net_piece(memory, &taken, w->most_rows * t->row);
    w->asked = lpb_net_piece(memory, &taken, tokens * asked_row(t));
    w->of_asked = lpb_net_piece(memory, &taken, tokens * asked_row(t));
    w->shares = lpb_net_piece(memory, &taken, tokens * t->net.heads);
    return taken;
}
