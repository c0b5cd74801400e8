/* Training of a classifier: its parameters, steps of Adam, and the rows of a batch divided among threads. */
#define _POSIX_C_SOURCE 200809L
#include "classifier_trainer.h"

#include <math.h>

#include "classifier_head.h"
#include "memory.h"
#include "pool.h"

enum {
    MOST_TOGETHER = 640, /* time steps of rows that are taken together */
    MOST_CONVOLVED = 16, /* rows */
    MOST_STEPS = 1 << 15,
    MOST_WIDTH = 1 << 13,
    MOST_LAYERS = 1 << 10,
    MOST_TAPS = 1 << 10,
    GATES = 4,
};

/* Gates as the parameters have them, in the order input, forget, candidate, output, by their place in a pass. */
static const int64_t gate_order[GATES] = {0, 3, 2, 1};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static bool convolves(const lpb_classifier_trainer *t) { return t->net.trunk == LPB_TRUNK_CONVOLUTIONS; }
static net_side side_of(int64_t count, int64_t size) { return (net_side){count, size, lpb_net_padded(size)}; }

/* Parameters in their order; with `sizes` their number must be as given. */
typedef struct {
    lpb_classifier_trainer *t;
    const int64_t *sizes, *learns;
    int64_t count, number;
    bool fits;
} reader;

static int64_t next_parameter(reader *r, int64_t floats) {
    r->fits = r->fits && r->number < r->count && r->sizes[r->number] == floats;
    if (!r->fits) return 0;
    lpb_classifier_trainer *t = r->t;
    t->parameter[r->number] = (net_parameter){t->floats, floats, r->learns[r->number] == 1};
    t->floats += lpb_net_padded(floats);
    return r->number++;
}

static net_layer next_layer(reader *r, net_side inputs, net_side outputs) {
    net_layer l = {.second_bias = -1, .inputs = inputs, .outputs = outputs};
    l.weight = next_parameter(r, inputs.count * inputs.size * outputs.count * outputs.size);
    l.bias = next_parameter(r, outputs.count * outputs.size);
    return l;
}

/* A direction of a recurrent layer: that of its inputs, and that of its hidden values, which have no bias. A single
 * step has neither of the latter nor a gate that forgets. */
static void next_direction(reader *r, net_side inputs, int64_t units, net_layer *of_inputs, net_layer *of_hidden) {
    const bool single = r->t->net.steps == 1;
    const net_side gates = side_of(single ? GATES - 1 : GATES, units);
    *of_inputs = (net_layer){.inputs = inputs, .outputs = gates, .order = gate_order};
    *of_hidden = (net_layer){.inputs = side_of(1, units), .outputs = gates, .order = gate_order};
    of_inputs->weight = next_parameter(r, GATES * units * inputs.count * inputs.size);
    of_hidden->weight = next_parameter(r, GATES * units * units);
    of_inputs->bias = next_parameter(r, GATES * units);
    of_inputs->second_bias = next_parameter(r, GATES * units);
    of_hidden->bias = of_hidden->second_bias = -1;
    if (single) of_hidden->weight = -1;
}

/* The two convolutions of a branch. */
static void next_branch(reader *r, int64_t taps, net_layer *first) {
    const int64_t channels = r->t->net.channels;
    first[0] = next_layer(r, side_of(1, taps), side_of(1, channels));
    first[1] = next_layer(r, side_of(1, taps * channels), side_of(1, 2 * channels));
    first[0].taps = first[1].taps = taps;
}

static void next_recurrence(reader *r) {
    const lpb_classifier_net *net = &r->t->net;
    net_side inputs = side_of(1, net->features);
    for (int64_t l = 0; l < net->count; l++) {
        for (int64_t d = 0; d < net->directions; d++) {
            net_layer *first = r->t->layer + (l * net->directions + d) * 2;
            next_direction(r, inputs, net->sizes[l], first, first + 1);
            first->first = !l;
        }
        inputs = side_of(net->directions, net->sizes[l]);
    }
    if (!net->heads) return;
    r->t->projection = next_layer(r, inputs, side_of(3, r->t->width));
    r->t->out = next_layer(r, side_of(1, r->t->width), side_of(1, r->t->width));
}

/* In the order of torch.nn.Module.named_parameters. */
static bool read_parameters(lpb_classifier_trainer *t, const int64_t *sizes, const int64_t *learns, int64_t count) {
    reader r = {.t = t, .sizes = sizes, .learns = learns, .count = count, .fits = true};
    const lpb_classifier_net *net = &t->net;
    const net_side row = side_of(1, t->width);
    for (int64_t b = 0; b < net->count && convolves(t); b++) next_branch(&r, t->sizes[b], t->layer + 2 * b);
    if (!convolves(t)) next_recurrence(&r);
    t->norm = net->normalised ? next_parameter(&r, t->width) : -1;
    if (net->normalised) next_parameter(&r, t->width);
    if (net->hidden) t->hidden = next_layer(&r, row, side_of(1, net->hidden));
    t->output = next_layer(&r, net->hidden ? side_of(1, net->hidden) : row, side_of(1, 1));
    t->running = net->normalised ? next_parameter(&r, t->width) : -1;
    if (net->normalised) next_parameter(&r, t->width);
    t->parameters = count;
    return r.fits && r.number == count;
}

static bool is_share(double x) { return x >= 0.0 && x < 1.0; }

static bool size_fits(int64_t size, int64_t limit) { return size >= 1 && size <= limit; }

/* Whether sizes are those of a net. */
static bool net_fits(const lpb_classifier_net *net) {
    const bool convolves = net->trunk == LPB_TRUNK_CONVOLUTIONS;
    if (!size_fits(net->features, INT16_MAX) || !size_fits(net->steps, MOST_STEPS) || !size_fits(net->directions, 2) ||
        !size_fits(net->count, MOST_LAYERS) || net->hidden < 0 || net->hidden > MOST_WIDTH ||
        !is_share(net->hidden_dropout) || !(net->gamma >= 0.0) || net->heads < 0)
        return false;
    for (int64_t l = 0; l < net->count; l++)
        if (!size_fits(net->sizes[l], convolves ? MOST_TAPS : MOST_WIDTH) || !is_share(net->dropout[l]) ||
            (convolves && net->sizes[l] % 2 == 0))
            return false;
    if (convolves)
        return net->steps == 1 && net->directions == 1 && !net->heads && size_fits(net->channels, MOST_WIDTH);
    const int64_t width = net->directions * net->sizes[net->count - 1];
    return !net->heads || (net->heads <= width && width % net->heads == 0);
}

/* The layers one by one; NULL beyond. */
static net_layer *layer_at(const lpb_classifier_trainer *t, int64_t index) {
    if (index < t->layers) return t->layer + index;
    lpb_classifier_trainer *own = (lpb_classifier_trainer *)t;
    net_layer *others[] = {&own->projection, &own->out, &own->hidden, &own->output};
    return index < t->layers + 4 ? others[index - t->layers] : NULL;
}

static int64_t room_of(const net_side *s) { return s->count * s->room; }
static bool is_used(const net_layer *l) { return l->inputs.count && l->weight >= 0; }

/* The weights of a layer as its products want them; false without memory. */
static bool lay_out(const lpb_classifier_trainer *t, net_layer *l) {
    const net_side *in = &l->inputs, *out = &l->outputs;
    const int64_t inputs = in->count * in->size;
    if (!is_used(l)) return true;
    for (int64_t i = 0; i < out->count; i++) {
        const int64_t run = (l->order ? l->order[i] : i) * out->size;
        const float *weight = t->value + t->parameter[l->weight].at + run * inputs;
        for (int64_t o = 0; o < out->size && l->taps; o++)
            for (int64_t j = 0; j < in->size; j++) {
                const int64_t of_tap = in->size / l->taps, from = j % of_tap * l->taps + j / of_tap;
                l->turned[j * l->turned_row + o] = l->plain[o * l->plain_row + j] = weight[o * in->size + from];
            }
        for (int64_t j = 0; j < in->count && !l->taps; j++) {
            t->isa->transpose(weight + j * in->size, inputs, out->size, in->size,
                              l->turned + j * in->room * l->turned_row + i * out->room, l->turned_row);
            for (int64_t o = 0; o < out->size; o++)
                memcpy(l->plain + (i * out->room + o) * l->plain_row + j * in->room, weight + o * inputs + j * in->size,
                       (size_t)in->size * sizeof *weight);
        }
        if (l->bias < 0) continue;
        const float *bias = t->value + t->parameter[l->bias].at + run;
        memcpy(l->biases + i * out->room, bias, (size_t)out->size * sizeof *bias);
        if (l->second_bias < 0) continue;
        const float *second = t->value + t->parameter[l->second_bias].at + run;
        for (int64_t o = 0; o < out->size; o++) l->biases[i * out->room + o] += second[o];
    }
    return lpb_pack_ranges(t->rounded, l->turned, l->turned_row, l->plain, l->plain_row, &l->ranges);
}

/* Which products of packed weights there are. The attention of the last step has its queries alone. */
static lpb_ranges ranges_of(const lpb_classifier_trainer *t, const net_layer *l) {
    const net_side *in = &l->inputs, *out = &l->outputs;
    lpb_ranges r = {.outputs = room_of(out), .terms = lpb_net_span(in), .gap = out->room - out->size};
    if (!l->first && !l->taps) r.columns = room_of(in);
    if (l == &t->projection) {
        r.split = (t->net.steps > 1 ? 1 : 2) * out->room;
        r.part = r.outputs - r.split;
    }
    return r;
}

static bool reserve(lpb_classifier_trainer *t, const float *values) {
    t->value = lpb_new_zeros(t->floats);
    t->mean = lpb_new_zeros(t->floats);
    t->square = lpb_new_zeros(t->floats);
    if (!t->value || !t->mean || !t->square) return false;
    memcpy(t->value, values, (size_t)t->floats * sizeof *values);
    net_layer *l;
    for (int64_t i = 0; (l = layer_at(t, i)); i++) {
        if (!is_used(l)) continue;
        l->turned_row = lpb_odd_lines(room_of(&l->outputs)), l->plain_row = lpb_odd_lines(room_of(&l->inputs));
        l->turned = lpb_new_zeros(room_of(&l->inputs) * l->turned_row);
        l->plain = lpb_new_zeros(room_of(&l->outputs) * l->plain_row);
        if (!l->turned || !l->plain) return false;
        if (l->bias >= 0 && !(l->biases = lpb_new_zeros(room_of(&l->outputs)))) return false;
        l->ranges = ranges_of(t, l);
        if (!lay_out(t, l)) return false;
    }
    return true;
}

static bool take_arrays(lpb_classifier_trainer *t, const lpb_classifier_net *net, int64_t parameters) {
    t->layers = 2 * net->directions * net->count; /* as many of branches */
    t->sizes = calloc((size_t)net->count, sizeof *t->sizes);
    t->dropout = calloc((size_t)net->count, sizeof *t->dropout);
    t->layer = calloc((size_t)t->layers, sizeof *t->layer);
    t->parameter = calloc((size_t)parameters + 1, sizeof *t->parameter);
    if (!t->sizes || !t->dropout || !t->layer || !t->parameter) return false;
    memcpy(t->sizes, net->sizes, (size_t)net->count * sizeof *t->sizes);
    memcpy(t->dropout, net->dropout, (size_t)net->count * sizeof *t->dropout);
    t->net.sizes = t->sizes, t->net.dropout = t->dropout;
    t->width = convolves(t) ? 2 * net->channels * net->count : net->directions * net->sizes[net->count - 1];
    t->row = lpb_odd_lines(t->width), t->inner_row = lpb_odd_lines(net->hidden);
    return true;
}

lpb_status lpb_classifier_trainer_new(const lpb_isa *isa, const lpb_classifier_net *net, const int64_t *sizes,
                                      const int64_t *learns, int64_t count, const float *parameters,
                                      lpb_classifier_trainer **trainer) {
    if (!net_fits(net)) return LPB_BAD_ARGUMENT;
    lpb_classifier_trainer *t = calloc(1, sizeof *t);
    if (!t) return LPB_NO_MEMORY;
    t->isa = isa;
    t->net = *net;
    lpb_status status = LPB_NO_MEMORY;
    if (take_arrays(t, net, count)) {
        if (!lpb_rounded_kernel(isa, net->products, &t->rounded) || !read_parameters(t, sizes, learns, count))
            status = LPB_BAD_ARGUMENT;
        else if (reserve(t, parameters))
            status = LPB_OK;
    }
    if (status == LPB_OK)
        *trainer = t;
    else
        lpb_classifier_trainer_free(t);
    return status;
}

static void free_hand(net_hand *w) {
    if (!w) return;
    free(w->kept);
    free(w->branch);
    lpb_free_room(&w->room);
    free(w->memory);
    free(w);
}

static int64_t place(net_hand *w, float *memory) {
    return convolves(w->t) ? lpb_convolution_place(w, memory) : lpb_recurrent_place(w, memory);
}

/* Memory of a hand for so many rows, in place of what it has. */
static bool make_room(net_hand *w, int64_t rows) {
    const lpb_classifier_trainer *t = w->t;
    if (rows <= w->most_rows) return true;
    free(w->memory);
    w->most_rows = rows;
    const int64_t own = place(w, NULL);
    w->memory = lpb_new_zeros(own + t->floats);
    if (!w->memory) {
        w->most_rows = 0;
        return false;
    }
    place(w, w->memory);
    w->gradient = w->memory + own;
    return true;
}

/* As many threads as a step has, with memory for as many rows; they are kept for the next one. */
static bool need_hands(lpb_classifier_trainer *t, int64_t count, int64_t rows) {
    if (count > t->hand_count) {
        net_hand **hands = realloc(t->hands, (size_t)count * sizeof *hands);
        if (!hands) return false;
        t->hands = hands;
    }
    for (; t->hand_count < count; t->hand_count++) {
        net_hand *w = calloc(1, sizeof *w);
        if (w) w->kept = calloc((size_t)t->net.count, sizeof *w->kept);
        if (w) w->branch = calloc((size_t)t->net.count, sizeof *w->branch);
        if (!w || !w->kept || !w->branch) {
            free_hand(w);
            return false;
        }
        w->t = t;
        w->room.rounded = t->rounded;
        t->hands[t->hand_count] = w;
    }
    for (int64_t i = 0; i < count; i++)
        if (!make_room(t->hands[i], rows)) return false;
    return true;
}

static bool need_rows(lpb_classifier_trainer *t, int64_t rows) {
    if (rows <= t->row_room) return true;
    free(t->row_memory);
    t->row_room = 0;
    t->row_memory = lpb_new_zeros(lpb_net_head_place(t, rows, NULL));
    if (!t->row_memory) return false;
    lpb_net_head_place(t, rows, t->row_memory);
    t->row_room = rows;
    return true;
}

void lpb_classifier_trainer_free(lpb_classifier_trainer *t) {
    if (!t) return;
    for (int64_t i = 0; i < t->hand_count; i++) free_hand(t->hands[i]);
    free(t->hands);
    net_layer *l;
    for (int64_t i = 0; t->layer && (l = layer_at(t, i)); i++) {
        free(l->turned), free(l->plain), free(l->biases);
        lpb_free_ranges(&l->ranges);
    }
    free(t->layer);
    free(t->sizes);
    free(t->dropout);
    free(t->parameter);
    free(t->value);
    free(t->mean);
    free(t->square);
    free(t->row_memory);
    free(t);
}

int64_t lpb_classifier_trainer_floats(const lpb_classifier_trainer *t) { return t->floats; }
const float *lpb_classifier_trainer_values(const lpb_classifier_trainer *t) { return t->value; }

/* A step, and what its threads have. */
typedef struct {
    lpb_classifier_trainer *t;
    const lpb_classifier_batch *batch;
    int64_t count, together; /* threads, and rows that they take together */
    double *squares;         /* of the gradient of each parameter */
    lpb_adam_step adam;
    float kept; /* of a parameter that learns */
    bool moves;
} job;

static void begin(const job *j, net_hand *w) {
    w->batch = j->batch;
    w->loss = 0, w->room.failed = false;
    memset(w->gradient, 0, (size_t)j->t->floats * sizeof *w->gradient);
}

/* The rows of thread i; of a net that is normalised they are taken together. */
static void share_of(const job *j, int64_t i, int64_t *begins, int64_t *ends) {
    *begins = j->batch->rows * i / j->count, *ends = j->batch->rows * (i + 1) / j->count;
}

static void forward(net_hand *w) {
    if (convolves(w->t))
        lpb_convolution_forward(w);
    else
        lpb_recurrent_forward(w);
}

static void back(net_hand *w) {
    if (convolves(w->t))
        lpb_convolution_back(w);
    else
        lpb_recurrent_back(w);
}

static void finish(net_hand *w) {
    if (convolves(w->t)) lpb_convolution_finish(w);
}

static void run_forward(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) {
        net_hand *w = j->t->hands[i];
        int64_t ends;
        begin(j, w);
        share_of(j, i, &w->first, &ends);
        w->rows = ends - w->first;
        forward(w);
    }
}

static void run_back(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) {
        back(j->t->hands[i]);
        finish(j->t->hands[i]);
    }
}

static void run_both(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) {
        net_hand *w = j->t->hands[i];
        int64_t from, ends;
        begin(j, w);
        for (share_of(j, i, &from, &ends); from < ends; from += w->rows) {
            w->first = from, w->rows = least(j->together, ends - from);
            forward(w);
            lpb_net_head(w, w->first, w->rows, j->moves);
            back(w);
        }
        finish(w);
    }
}

/* Parameters [first, last): the sums of their gradients, in the first thread's, and of their squares. */
static void sum_gradients(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    const lpb_classifier_trainer *t = j->t;
    for (int64_t p = first; p < last; p++) {
        const net_parameter *own = t->parameter + p;
        const int64_t count = lpb_net_padded(own->count);
        float *gradient = t->hands[0]->gradient + own->at;
        for (int64_t i = 1; i < j->count; i++)
            t->isa->reals->combine(LPB_ADD, gradient, 0, t->hands[i]->gradient + own->at, 0, 1, count, gradient);
        j->squares[p] = own->learns ? t->isa->sum_of_squares(gradient, count) : 0.0;
    }
}

static void move_parameters(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    lpb_classifier_trainer *t = j->t;
    for (int64_t p = first; p < last; p++) {
        const net_parameter *own = t->parameter + p;
        const int64_t count = lpb_net_padded(own->count);
        float *value = t->value + own->at;
        if (!own->learns) continue;
        if (j->kept != 1.0f) t->isa->reals->combine_constants(LPB_MULTIPLY, value, &j->kept, 1, count, value);
        t->isa->adam(value, t->hands[0]->gradient + own->at, t->mean + own->at, t->square + own->at, count, &j->adam);
    }
}

static void lay_out_layers(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) lay_out(j->t, layer_at(j->t, i));
}

/* What a gradient of these squares is scaled by, as torch.nn.utils.clip_grad_norm_ does. */
static float clipped(const job *j, double longest) {
    double sum = 0;
    for (int64_t p = 0; p < j->t->parameters; p++) sum += j->squares[p];
    const double scale = longest / (sqrt(sum) + 1e-6);
    return longest > 0.0 && scale < 1.0 ? (float)scale : 1.0f;
}

static lpb_status run_step(job *j, const lpb_adam *adam, double weight_decay, float *gradient, double *loss) {
    lpb_classifier_trainer *t = j->t;
    const int threads = (int)j->count;
    if (t->net.normalised) {
        lpb_parallel(run_forward, j, j->count, threads);
        lpb_net_head(t->hands[0], 0, j->batch->rows, j->moves);
        lpb_parallel(run_back, j, j->count, threads);
    } else {
        lpb_parallel(run_both, j, j->count, threads);
    }
    *loss = 0;
    for (int64_t i = 0; i < j->count; i++) {
        *loss += t->hands[i]->loss;
        if (t->hands[i]->room.failed) return LPB_NO_MEMORY;
    }
    lpb_parallel(sum_gradients, j, t->parameters, threads);
    if (gradient) {
        memcpy(gradient, t->hands[0]->gradient, (size_t)t->floats * sizeof *gradient);
        return LPB_OK;
    }
    j->adam = lpb_adam_step_at(adam, ++t->steps);
    j->adam.gradient_scale = clipped(j, adam->max_grad_norm);
    j->kept = (float)(1.0 - adam->learning_rate * weight_decay);
    lpb_parallel(move_parameters, j, t->parameters, threads);
    lpb_parallel(lay_out_layers, j, t->layers + 4, threads);
    return LPB_OK;
}

lpb_status lpb_classifier_trainer_step(lpb_classifier_trainer *t, const lpb_classifier_batch *batch,
                                       const lpb_adam *adam, double weight_decay, int threads, float *gradient,
                                       double *loss) {
    const int64_t count = most(1, least(threads, batch->rows)), share = (batch->rows + count - 1) / count;
    const int64_t limit = convolves(t) ? MOST_CONVOLVED : most(1, MOST_TOGETHER / t->net.steps);
    const int64_t together = t->net.normalised ? share : least(share, limit);
    job j = {.t = t, .batch = batch, .count = count, .together = together, .moves = !gradient};
    if (!need_hands(t, count, together) || !need_rows(t, batch->rows)) return LPB_NO_MEMORY;
    j.squares = calloc((size_t)t->parameters, sizeof *j.squares);
    if (!j.squares) return LPB_NO_MEMORY;
    const lpb_status status = run_step(&j, adam, weight_decay, gradient, loss);
    free(j.squares);
    return status;
}
