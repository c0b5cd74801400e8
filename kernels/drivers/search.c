/* The search for the code of each row, in double: Adam down the gradient of what the generated row differs by.
 *
 * Data is feature-major, as in a chain: number j of row r is at [j * ld + r]. A block of rows makes all its steps while
 * its numbers are in cache. No number of a row is made of those of another, nor in an order that depends on how many
 * rows there are: a row has the same score in any company. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "blocks.h"
#include "memory.h"

typedef struct {
    int64_t inputs, outputs;
    double *turned; /* weights, inputs x outputs, for the way forward */
    double *weight; /* outputs x inputs, for the way back */
    double *bias;
    lpb_activation activation;
    double slope;
} wide_layer;

struct lpb_search {
    const lpb_isa *isa;
    lpb_search_term term;
    double weight;
    int64_t steps, generator, count, widest; /* count: of all layers, those of the generator first */
    double *start, *zeros;                   /* the code that every row begins with; zeros instead of biases */
    lpb_wide_adam_step *adam;                /* of each step */
    wide_layer layers[];
};

static double *new_doubles(int64_t count) { return lpb_new_memory(count * (int64_t)sizeof(double)); }

void lpb_search_free(lpb_search *search) {
    if (!search) return;
    for (int64_t l = 0; l < search->count; l++) {
        free(search->layers[l].turned);
        free(search->layers[l].weight);
        free(search->layers[l].bias);
    }
    free(search->start);
    free(search->zeros);
    free(search->adam);
    free(search);
}

static bool take_layer(wide_layer *to, const lpb_layer *from) {
    const int64_t count = from->inputs * from->outputs;
    *to = (wide_layer){.inputs = from->inputs, .outputs = from->outputs, .activation = from->activation};
    to->slope = from->activation == LPB_LEAKY_RELU ? (double)from->slope : 0.0;
    to->turned = new_doubles(count);
    to->weight = new_doubles(count);
    to->bias = new_doubles(from->outputs);
    if (!to->turned || !to->weight || !to->bias) return false;
    for (int64_t j = 0; j < from->outputs; j++) {
        to->bias[j] = from->bias ? (double)from->bias[j] : 0.0;
        for (int64_t i = 0; i < from->inputs; i++)
            to->turned[i * from->outputs + j] = to->weight[j * from->inputs + i] =
                (double)from->weight[j * from->inputs + i];
    }
    return true;
}

static bool take_steps(lpb_search *search, const lpb_search_steps *steps) {
    search->adam = lpb_new_memory(steps->count * (int64_t)sizeof *search->adam);
    for (int64_t s = 0; search->adam && s < steps->count; s++) {
        const double made = (double)(s + 1);
        search->adam[s] = (lpb_wide_adam_step){
            .beta1 = steps->beta1,
            .beta2 = steps->beta2,
            .step_size = steps->rates[s] / (1.0 - pow(steps->beta1, made)),
            .root_correction = sqrt(1.0 - pow(steps->beta2, made)),
            .epsilon = steps->epsilon,
        };
    }
    return search->adam != NULL;
}

lpb_search *lpb_search_new(const lpb_isa *isa, const lpb_layer *generator, int64_t generator_count,
                           const lpb_layer *judge, int64_t judge_count, lpb_search_term term, double weight,
                           const lpb_search_steps *steps) {
    const int64_t count = generator_count + judge_count, latent = generator[0].inputs;
    lpb_search *search = calloc(1, sizeof *search + (size_t)count * sizeof *search->layers);
    if (!search) return NULL;
    search->isa = isa;
    search->term = term;
    search->weight = weight;
    search->steps = steps->count;
    search->generator = generator_count;
    search->count = count;
    search->widest = latent;
    bool complete = take_steps(search, steps) && (search->start = new_doubles(latent));
    for (int64_t l = 0; l < count && complete; l++) {
        const lpb_layer *from = l < generator_count ? generator + l : judge + (l - generator_count);
        complete = take_layer(search->layers + l, from);
        if (from->outputs > search->widest) search->widest = from->outputs;
    }
    complete = complete && (search->zeros = new_doubles(search->widest));
    if (!complete) {
        lpb_search_free(search);
        return NULL;
    }
    for (int64_t i = 0; i < latent; i++) search->start[i] = steps->start[i];
    for (int64_t i = 0; i < search->widest; i++) search->zeros[i] = 0.0;
    return search;
}

/* The numbers of a block; what has one row per unit has `ld` doubles per row. */
typedef struct {
    int64_t ld;
    double *rows, *wanted;        /* the rows, and their features, which those of the generated rows shall match */
    double *code, *mean, *square; /* of Adam */
    double *gradient, *other;     /* one is made from the other, layer by layer */
    double *values;               /* outputs of all layers, one layer behind the other */
} block;

static int64_t doubles_per_row(const lpb_search *search) {
    int64_t doubles = 3 * search->layers[0].inputs + 2 * search->widest +
                      search->layers[search->generator - 1].outputs + search->layers[search->count - 1].outputs;
    for (int64_t l = 0; l < search->count; l++) doubles += search->layers[l].outputs;
    return doubles;
}

static block block_in(const lpb_search *search, int64_t ld, double *memory) {
    const int64_t latent = search->layers[0].inputs * ld, widest = search->widest * ld;
    block b = {.ld = ld, .rows = memory};
    b.wanted = b.rows + search->layers[search->generator - 1].outputs * ld;
    b.code = b.wanted + search->layers[search->count - 1].outputs * ld;
    b.mean = b.code + latent;
    b.square = b.mean + latent;
    b.gradient = b.square + latent;
    b.other = b.gradient + widest;
    b.values = b.other + widest;
    return b;
}

/* Through the layers [first, last); their outputs are put at `to`, and those of the last layer returned. */
static double *forward(const lpb_search *search, int64_t first, int64_t last, const double *x, double *to, int64_t ld) {
    for (int64_t l = first; l < last; l++) {
        const wide_layer *k = search->layers + l;
        const lpb_wide_product product = {k->outputs, k->inputs, ld, k->outputs, k->turned, k->bias, x, to};
        search->isa->wide_product(&product);
        search->isa->wide->activate(to, k->outputs * ld, k->activation, k->slope);
        x = to;
        to += k->outputs * ld;
    }
    return to - search->layers[last - 1].outputs * ld;
}

/* Back through the layers [first, last), the outputs of the last of which are at `values`: the gradient by their inputs
 * takes the place of that by their outputs. */
static void backward(const lpb_search *search, block *b, int64_t first, int64_t last, const double *values) {
    for (int64_t l = last - 1; l >= first; l--) {
        const wide_layer *k = search->layers + l;
        if (k->activation != LPB_IDENTITY) search->isa->wide_gate(b->gradient, values, k->outputs * b->ld, k->slope);
        const lpb_wide_product product = {k->inputs, k->outputs,    b->ld,       k->inputs,
                                          k->weight, search->zeros, b->gradient, b->other};
        search->isa->wide_product(&product);
        double *made = b->other;
        b->other = b->gradient;
        b->gradient = made;
        if (l > first) values -= search->layers[l - 1].outputs * b->ld;
    }
}

/* The generated rows of the block's codes, and in *judged what the judge makes of them. */
static double *generate(const lpb_search *search, const block *b, double **judged) {
    double *made = forward(search, 0, search->generator, b->code, b->values, b->ld);
    double *behind = made + search->layers[search->generator - 1].outputs * b->ld;
    *judged = forward(search, search->generator, search->count, made, behind, b->ld);
    return made;
}

static void step(const lpb_search *search, block *b, const lpb_wide_adam_step *adam) {
    const int64_t judged_count = search->layers[search->count - 1].outputs * b->ld;
    const int64_t made_count = search->layers[search->generator - 1].outputs * b->ld;
    double *judged, *made = generate(search, b, &judged);
    if (search->term == LPB_TERM_MATCHING) {
        search->isa->wide_sign(judged, b->wanted, judged_count, search->weight, false, b->gradient);
    } else { /* of softplus(-z): -sigmoid(-z) */
        for (int64_t r = 0; r < b->ld; r++) b->gradient[r] = -judged[r];
        search->isa->wide->activate(b->gradient, b->ld, LPB_SIGMOID, 0.0);
        for (int64_t r = 0; r < b->ld; r++) b->gradient[r] *= -search->weight;
    }
    backward(search, b, search->generator, search->count, judged);
    search->isa->wide_sign(made, b->rows, made_count, 1.0 - search->weight, true, b->gradient);
    backward(search, b, 0, search->generator, made);
    search->isa->wide_adam(b->code, b->gradient, b->mean, b->square, search->layers[0].inputs * b->ld, adam);
}

/* The loss of the block's codes; the numbers of Adam are not needed any more. */
static void score(const lpb_search *search, block *b, int64_t rows, float *out) {
    const lpb_double_reals *reals = search->isa->wide;
    const int64_t features = search->layers[search->generator - 1].outputs, ld = b->ld;
    const int64_t judged_width = search->layers[search->count - 1].outputs;
    double *judged, *made = generate(search, b, &judged), *distance = b->mean, *term = b->square;
    reals->combine(LPB_SUBTRACT, made, ld, b->rows, ld, features, ld, b->gradient);
    reals->reduce(LPB_ABS_SUM, b->gradient, features, ld, distance);
    if (search->term == LPB_TERM_MATCHING) {
        reals->combine(LPB_SUBTRACT, judged, ld, b->wanted, ld, judged_width, ld, b->gradient);
        reals->reduce(LPB_ABS_SUM, b->gradient, judged_width, ld, term);
    } else {
        for (int64_t r = 0; r < ld; r++) term[r] = -judged[r];
        reals->activate(term, ld, LPB_SOFTPLUS, 0.0);
    }
    for (int64_t r = 0; r < rows; r++)
        out[r] = (float)((1.0 - search->weight) * distance[r] + search->weight * term[r]);
}

static lpb_status run_block(const void *argument, const float *x, int64_t rows, int64_t x_row, float *out,
                            void *memory) {
    const lpb_search *search = argument;
    const int64_t ld = lpb_round_up(rows, LPB_ALIGN), latent = search->layers[0].inputs;
    const int64_t features = search->layers[search->generator - 1].outputs;
    block b = block_in(search, ld, memory);
    for (int64_t j = 0; j < features; j++)
        for (int64_t r = 0; r < ld; r++) b.rows[j * ld + r] = r < rows ? (double)x[r * x_row + j] : 0.0;
    if (search->term == LPB_TERM_MATCHING) {
        const int64_t width = search->layers[search->count - 1].outputs;
        const double *judged = forward(search, search->generator, search->count, b.rows, b.values, ld);
        memcpy(b.wanted, judged, (size_t)(width * ld) * sizeof(double));
    }
    for (int64_t j = 0; j < latent; j++)
        for (int64_t r = 0; r < ld; r++) {
            b.code[j * ld + r] = search->start[j];
            b.mean[j * ld + r] = b.square[j * ld + r] = 0.0;
        }
    for (int64_t s = 0; s < search->steps; s++) step(search, &b, search->adam + s);
    score(search, &b, rows, out);
    return LPB_OK;
}

lpb_status lpb_search_run(const lpb_search *search, const float *x, int64_t rows, int64_t x_row, float *out,
                          int threads) {
    const int64_t doubles = doubles_per_row(search) * LPB_BLOCK_ROWS;
    const lpb_blocks blocks = {run_block, search, doubles * (int64_t)sizeof(double), x, rows, x_row, out, 1};
    return lpb_blocks_run(&blocks, threads);
}
