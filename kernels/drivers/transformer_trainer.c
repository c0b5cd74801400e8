/* Training of a transformer: its parameters, steps of Adam, and the rows of a batch divided among threads. */
#define _POSIX_C_SOURCE 200809L
#include "transformer_trainer.h"

#include "memory.h"
#include "pool.h"

enum {
    MOST_ROWS = 8,       /* together */
    MOST_TOGETHER = 600, /* tokens that they may have */
    MOST_TOKENS = 1 << 15,
    MOST_WIDTH = 1 << 13,
    MOST_BLOCKS = 1 << 10,
    MOST_CODES = 1 << 20,
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Parameters in their order; with `sizes` their number must be as given. */
typedef struct {
    lpb_transformer_trainer *t;
    const int64_t *sizes, *decays;
    int64_t count, number;
    bool fits;
} reader;

static int64_t next_parameter(reader *r, int64_t floats, bool learns) {
    r->fits = r->fits && r->number < r->count && r->sizes[r->number] == floats;
    if (!r->fits) return 0;
    lpb_transformer_trainer *t = r->t;
    t->parameter[r->number] = (former_parameter){t->floats, padded(floats), r->decays[r->number] == 1, learns};
    t->floats += padded(floats);
    return r->number++;
}

static int64_t next_norm(reader *r, bool learns) {
    const int64_t width = r->t->net.width, first = next_parameter(r, width, learns);
    next_parameter(r, width, learns);
    return first;
}

static former_layer next_layer(reader *r, int64_t inputs, int64_t outputs, bool learns) {
    former_layer l = {.inputs = inputs, .outputs = outputs};
    l.weight = next_parameter(r, inputs * outputs, learns);
    l.bias = next_parameter(r, outputs, learns);
    l.turned_row = lpb_odd_lines(outputs), l.plain_row = lpb_odd_lines(inputs);
    l.ranges = (lpb_ranges){.outputs = outputs, .terms = inputs, .columns = inputs};
    return l;
}

/* Of a block over the first tokens only: queries, and keys and values of each head where these are seen through it. */
static void divide(lpb_transformer_trainer *t, former_layer *projection) {
    const int64_t width = t->net.width;
    projection->ranges.split = width;
    projection->ranges.part = t->net.attention_dropout == 0.0 ? t->size : 2 * width;
}

/* In the order of torch.nn.Module.named_parameters: of a module its own before those of the modules in it. */
static bool read_parameters(lpb_transformer_trainer *t, const int64_t *sizes, const int64_t *decays, int64_t count) {
    reader r = {.t = t, .sizes = sizes, .decays = decays, .count = count, .fits = true};
    const int64_t width = t->net.width, numbers = t->numbers, codes = t->codes;
    const bool masked = t->net.masked, published = t->net.published;
    t->number_weight = next_parameter(&r, numbers * width, true);
    t->number_bias = next_parameter(&r, numbers * width, true);
    t->cls = next_parameter(&r, width, true);
    if (codes) t->code_bias = next_parameter(&r, codes * width, true);
    t->embedding = r.number;
    for (int64_t c = 0; c < codes; c++) next_parameter(&r, t->columns[2 * (numbers + c) + 1] * width, true);
    for (int64_t b = 0; b < t->net.blocks; b++) {
        former_block *block = t->block + b;
        block->norm_attention = published && !b ? -1 : next_norm(&r, true);
        block->projection = next_layer(&r, width, 3 * width, true);
        if (!masked && b == t->net.blocks - 1) divide(t, &block->projection);
        block->out = next_layer(&r, width, width, true);
        block->norm_inner = next_norm(&r, true);
        block->up = next_layer(&r, width, t->net.inner * (published ? 2 : 1), true);
        block->down = next_layer(&r, t->net.inner, width, true);
    }
    if (!published) t->norm = next_norm(&r, true);
    t->head_norm = next_norm(&r, !masked);
    if (!published) t->head = next_layer(&r, width, width, !masked);
    t->classes = next_layer(&r, width, 2, !masked);
    t->parameters = count;
    if (published) return r.fits && r.number == count;
    t->mask = next_parameter(&r, width, masked);
    t->mask_weight = next_parameter(&r, numbers * width, masked);
    t->mask_bias = next_parameter(&r, numbers, masked);
    if (codes) t->mask_code_weight = next_parameter(&r, codes * t->most_codes * width, masked);
    if (codes) t->mask_code_bias = next_parameter(&r, codes * t->most_codes, masked);
    t->trunk = next_layer(&r, width, width, masked);
    return r.fits && r.number == count;
}

static bool is_share(double x) { return x >= 0.0 && x < 1.0; }

/* Whether sizes and columns are those of a net; counts the tokens. */
static bool net_fits(lpb_transformer_trainer *t, const lpb_transformer_net *net) {
    if (net->features < 1 || net->tokens < 1 || net->tokens >= MOST_TOKENS || net->width < 1 ||
        net->width > MOST_WIDTH || net->width % LPB_ALIGN || net->inner < 1 || net->inner > MOST_WIDTH ||
        net->inner % LPB_ALIGN || net->heads < 1 || net->width % net->heads || net->blocks < 1 ||
        net->blocks > MOST_BLOCKS || (net->published && net->masked) || !is_share(net->attention_dropout) ||
        !is_share(net->inner_dropout))
        return false;
    for (int64_t q = 0; q < net->tokens; q++) {
        const int64_t column = net->columns[2 * q], codes = net->columns[2 * q + 1];
        if (column < 0 || column >= net->features || codes < 0 || codes > MOST_CODES) return false;
        if (!codes && t->codes) return false; /* numbers come first */
        *(codes ? &t->codes : &t->numbers) += 1;
        t->most_codes = most(t->most_codes, codes);
    }
    return true;
}

/* The layers one by one; NULL beyond. */
static former_layer *layer_at(const lpb_transformer_trainer *t, int64_t index) {
    if (index < 4 * t->net.blocks) {
        former_block *b = t->block + index / 4;
        former_layer *of_block[] = {&b->projection, &b->out, &b->up, &b->down};
        return of_block[index % 4];
    }
    lpb_transformer_trainer *own = (lpb_transformer_trainer *)t;
    former_layer *others[] = {&own->head, &own->classes, &own->trunk};
    return index < 4 * t->net.blocks + 3 ? others[index - 4 * t->net.blocks] : NULL;
}

/* The weights of a layer as its products want them; false without memory. */
static bool lay_out(const lpb_transformer_trainer *t, former_layer *l) {
    const float *weight = t->value + t->parameter[l->weight].at;
    t->isa->transpose(weight, l->inputs, l->outputs, l->inputs, l->turned, l->turned_row);
    for (int64_t o = 0; o < l->outputs; o++)
        memcpy(l->plain + o * l->plain_row, weight + o * l->inputs, (size_t)l->inputs * sizeof *weight);
    return lpb_pack_ranges(t->rounded, l->turned, l->turned_row, l->plain, l->plain_row, &l->ranges);
}

static bool reserve(lpb_transformer_trainer *t, const float *values) {
    t->value = lpb_new_zeros(t->floats);
    t->mean = lpb_new_zeros(t->floats);
    t->square = lpb_new_zeros(t->floats);
    if (!t->value || !t->mean || !t->square) return false;
    memcpy(t->value, values, (size_t)t->floats * sizeof *values);
    former_layer *l;
    for (int64_t i = 0; (l = layer_at(t, i)); i++) {
        l->turned = lpb_new_zeros(l->inputs * l->turned_row);
        l->plain = lpb_new_zeros(l->outputs * l->plain_row);
        if (!l->turned || !l->plain || !lay_out(t, l)) return false;
    }
    return true;
}

lpb_status lpb_transformer_trainer_new(const lpb_isa *isa, const lpb_transformer_net *net, const int64_t *sizes,
                                       const int64_t *decays, int64_t count, const float *parameters,
                                       lpb_transformer_trainer **trainer) {
    lpb_transformer_trainer *t = calloc(1, sizeof *t);
    if (!t) return LPB_NO_MEMORY;
    t->isa = isa;
    t->net = *net;
    t->net.columns = NULL;
    const bool fits = net_fits(t, net) && lpb_rounded_kernel(isa, net->products, &t->rounded);
    lpb_status status = fits ? LPB_NO_MEMORY : LPB_BAD_ARGUMENT;
    if (status == LPB_NO_MEMORY) {
        t->size = net->width / net->heads;
        t->tokens = net->tokens + 1;
        t->together = most(1, least(MOST_ROWS, MOST_TOGETHER / t->tokens));
        t->columns = calloc((size_t)(2 * net->tokens), sizeof *t->columns);
        t->block = calloc((size_t)net->blocks, sizeof *t->block);
        t->parameter = calloc((size_t)count + 1, sizeof *t->parameter);
        if (t->columns && t->block && t->parameter) {
            memcpy(t->columns, net->columns, (size_t)(2 * net->tokens) * sizeof *t->columns);
            if (!read_parameters(t, sizes, decays, count))
                status = LPB_BAD_ARGUMENT;
            else if (reserve(t, parameters))
                status = LPB_OK;
        }
    }
    if (status == LPB_OK)
        *trainer = t;
    else
        lpb_transformer_trainer_free(t);
    return status;
}

static bool new_hand(former_hand *w, const lpb_transformer_trainer *t) {
    w->t = t;
    w->room.rounded = t->rounded;
    w->kept = calloc((size_t)t->net.blocks, sizeof *w->kept);
    if (!w->kept) return false;
    w->memory = lpb_new_zeros(lpb_former_place(w, NULL));
    if (!w->memory) return false;
    lpb_former_place(w, w->memory);
    return true;
}

static void free_hand(former_hand *w) {
    if (!w) return;
    free(w->kept);
    lpb_free_room(&w->room);
    free(w->memory);
    free(w);
}

/* As many threads as a step has; they are kept for the next one. */
static bool need_hands(lpb_transformer_trainer *t, int64_t count) {
    if (count <= t->hand_count) return true;
    former_hand **hands = realloc(t->hands, (size_t)count * sizeof *hands);
    if (!hands) return false;
    t->hands = hands;
    for (; t->hand_count < count; t->hand_count++) {
        former_hand *w = calloc(1, sizeof *w);
        if (!w || !new_hand(w, t)) {
            free_hand(w);
            return false;
        }
        t->hands[t->hand_count] = w;
    }
    return true;
}

void lpb_transformer_trainer_free(lpb_transformer_trainer *t) {
    if (!t) return;
    for (int64_t i = 0; i < t->hand_count; i++) free_hand(t->hands[i]);
    free(t->hands);
    former_layer *l;
    for (int64_t i = 0; t->block && (l = layer_at(t, i)); i++) {
        free(l->turned), free(l->plain);
        lpb_free_ranges(&l->ranges);
    }
    free(t->columns);
    free(t->block);
    free(t->parameter);
    free(t->value);
    free(t->mean);
    free(t->square);
    free(t);
}

int64_t lpb_transformer_trainer_floats(const lpb_transformer_trainer *t) { return t->floats; }
const float *lpb_transformer_trainer_values(const lpb_transformer_trainer *t) { return t->value; }

/* A step, and what its threads have. */
typedef struct {
    lpb_transformer_trainer *t;
    const lpb_transformer_batch *batch;
    int64_t count, groups; /* threads, and rows that are taken together */
    float share;           /* of a hidden feature */
    lpb_adam_step adam;
    float kept; /* of a parameter that decays */
    bool moves;
} job;

static void run_shares(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) {
        former_hand *w = j->t->hands[i];
        w->batch = j->batch;
        w->loss = 0, w->room.failed = false;
        memset(w->gradient, 0, (size_t)j->t->floats * sizeof *w->gradient);
        const int64_t begin = j->groups * i / j->count, end = j->groups * (i + 1) / j->count;
        for (int64_t g = begin; g < end; g++) {
            const int64_t from = g * j->t->together;
            lpb_former_pass(w, from, least(j->t->together, j->batch->rows - from), j->share);
        }
    }
}

/* Parameters [first, last): the sum of their gradients, in the first thread's, and with a rate a step of Adam. */
static void move_parameters(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    lpb_transformer_trainer *t = j->t;
    for (int64_t p = first; p < last; p++) {
        const former_parameter *own = t->parameter + p;
        float *gradient = t->hands[0]->gradient + own->at, *value = t->value + own->at;
        for (int64_t i = 1; i < j->count; i++)
            t->isa->reals->combine(LPB_ADD, gradient, 0, t->hands[i]->gradient + own->at, 0, 1, own->count, gradient);
        if (!own->learns || !j->moves) continue;
        if (own->decays) t->isa->reals->combine_constants(LPB_MULTIPLY, value, &j->kept, 1, own->count, value);
        t->isa->adam(value, gradient, t->mean + own->at, t->square + own->at, own->count, &j->adam);
    }
}

static void lay_out_layers(void *argument, int64_t first, int64_t last) {
    const job *j = argument;
    for (int64_t i = first; i < last; i++) lay_out(j->t, layer_at(j->t, i));
}

/* What one over the number of hidden features is. */
static float share_of(const lpb_transformer_trainer *t, const lpb_transformer_batch *batch) {
    int64_t hidden = 0;
    for (int64_t i = 0; batch->hidden && i < batch->rows * t->net.tokens; i++) hidden += batch->hidden[i] != 0;
    return (float)(1.0 / (double)most(hidden, 1));
}

lpb_status lpb_transformer_trainer_step(lpb_transformer_trainer *t, const lpb_transformer_batch *batch,
                                        const lpb_adam *adam, double weight_decay, int threads, float *gradient,
                                        double *loss) {
    const int64_t groups = (batch->rows + t->together - 1) / t->together, count = most(1, least(threads, groups));
    job j = {.t = t, .batch = batch, .count = count, .groups = groups, .share = share_of(t, batch)};
    if (!need_hands(t, count)) return LPB_NO_MEMORY;
    lpb_parallel(run_shares, &j, count, (int)count);
    *loss = 0;
    for (int64_t i = 0; i < count; i++) {
        *loss += t->hands[i]->loss;
        if (t->hands[i]->room.failed) return LPB_NO_MEMORY;
    }
    if (!gradient) {
        j.adam = lpb_adam_step_at(adam, ++t->steps);
        j.kept = (float)(1.0 - adam->learning_rate * weight_decay);
    }
    j.moves = !gradient;
    lpb_parallel(move_parameters, &j, t->parameters, (int)count);
    if (gradient)
        memcpy(gradient, t->hands[0]->gradient, (size_t)t->floats * sizeof *gradient);
    else
        lpb_parallel(lay_out_layers, &j, 4 * t->net.blocks + 3, (int)count);
    return LPB_OK;
}
