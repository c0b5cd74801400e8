/* Convolutions of one row at a time, each a product over all positions.
 *
 * A value has the channels of a position side by side, and zeros before the first position and behind the last. What a
 * convolution reads at a position is then contiguous, and a row of the product's A, whose rows overlap: nothing is
 * copied, and weights stay in the first-level cache for all positions. A layer of many channels is done two positions
 * at a time, by four products of less work together (lpb_pair_inputs), which read what is made for them. */
#define _POSIX_C_SOURCE 200809L
#include "convolution.h"

#include "memory.h"
#include "plan.h"

enum { MOST_POSITIONS = 1 << 20, MOST_CHANNELS = 1 << 13, MOST_TAPS = 1 << 10, LAYERS = LPB_STEP_ARRAYS / 2 };
enum { PARTS = 4, LEAST_POSITIONS = 4 }; /* products of a layer in pairs, which shorter rows are not worth */

typedef struct {
    int64_t inputs, taps;
    plan_step dense; /* of a layer in pairs its sizes alone */
    bool in_pairs;
    plan_step parts[PARTS];
    int64_t begins; /* of what it reads, in scratch */
} layer;

struct lpb_convolution {
    const lpb_isa *isa;
    int64_t positions, count;
    int64_t ld;            /* of the last one's values, rows padded */
    int64_t values, sums;  /* in scratch: where those begin, and their largest */
    int64_t pairs, floats; /* and what pairs are done in, and the products' own */
    layer layers[LAYERS];
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }

/* Zeros on either side of what a layer reads. */
static int64_t margin(const layer *l) { return l->taps / 2 * l->inputs; }

static int64_t pairs_of(const lpb_convolution *c) { return (c->positions + 1) / 2; }

/* A panel's channels of a product of pairs, from what is read for it. */
static lpb_gemm part_product(const lpb_convolution *c, const plan_step *part, const plan_panel *panel, const float *x,
                             float *made) {
    lpb_gemm g = plan_few_product(part, panel, x, pairs_of(c), made);
    g.a_row = part->features;
    g.n = panel->count;
    g.c_row = part->outputs;
    return g;
}

/* All positions of a layer in pairs, or of the last layer the largest of every channel. */
static void run_pairs(const lpb_convolution *c, const layer *l, float *memory, float *out) {
    const float *x = memory + l->begins;
    void *rest = memory + c->floats;
    memory += c->pairs;
    const int64_t pairs = pairs_of(c), outputs = l->dense.outputs;
    lpb_pair_inputs inputs = {.pairs = pairs, .channels = l->inputs, .taps = l->taps, .x = x};
    const float *made[PARTS];
    for (int i = 0; i < PARTS; i++) {
        inputs.out[i] = memory, inputs.row[i] = l->parts[i].features;
        memory += pairs * l->parts[i].features;
    }
    c->isa->pair_inputs(&inputs);
    for (int i = 0; i < PARTS; i++, memory += pairs * outputs) {
        for (int64_t first = 0; first < outputs; first += PANEL_COLUMNS) {
            const plan_panel panel = plan_panel_at(l->parts + i, first);
            const lpb_gemm g = part_product(c, l->parts + i, &panel, inputs.out[i], memory);
            c->isa->f32.gemm(&g, 0, 1, rest);
        }
        made[i] = memory;
    }
    const bool last = l + 1 == c->layers + c->count;
    (last ? c->isa->pair_largest : c->isa->pair_outputs)(made, c->positions, outputs, out);
}

/* Floats that a layer in pairs works in. */
static int64_t pair_floats(const lpb_convolution *c, const layer *l) {
    int64_t of_pair = PARTS * l->dense.outputs;
    for (int i = 0; i < PARTS; i++) of_pair += l->parts[i].features;
    return pairs_of(c) * of_pair;
}

/* A panel's channels at all positions; of the last layer with those that round them up. */
static lpb_gemm layer_product(const lpb_convolution *c, int64_t i, const plan_panel *panel, const float *x,
                              float *out) {
    const layer *l = c->layers + i;
    const bool last = i + 1 == c->count;
    lpb_gemm g = plan_few_product(&l->dense, panel, x, c->positions, out);
    g.a_row = l->inputs;
    g.n = last ? panel->row : panel->count;
    g.c_row = last ? c->ld : l->dense.outputs;
    return g;
}

static void clear_margins(const layer *l, int64_t positions, float *memory) {
    float *before = memory + l->begins, *behind = before + margin(l) + positions * l->inputs;
    const size_t bytes = (size_t)margin(l) * sizeof *memory;
    memset(before, 0, bytes);
    memset(behind, 0, bytes + (size_t)l->inputs * sizeof *memory); /* and of the last of an odd number of positions */
}

void lpb_convolution_run(const lpb_convolution *c, const float *x, int64_t rows, int64_t x_row, float *out,
                         int64_t out_row, int64_t out_column, void *scratch) {
    float *memory = scratch, *sums = memory + c->sums, *values = memory + c->values, *rest = memory + c->floats;
    for (int64_t i = 0; i < c->count; i++) clear_margins(c->layers + i, c->positions, memory);
    const int64_t features = c->positions * c->layers[0].inputs, outputs = lpb_convolution_outputs(c);
    for (int64_t r = 0; r < rows; r++, x += x_row, out += out_row) {
        memcpy(memory + margin(c->layers), x, (size_t)features * sizeof *x);
        for (int64_t i = 0; i < c->count; i++) {
            const layer *l = c->layers + i;
            float *to = i + 1 < c->count ? memory + l[1].begins + margin(l + 1) : values;
            if (l->in_pairs) {
                run_pairs(c, l, memory, to == values ? sums : to);
                continue;
            }
            for (int64_t first = 0; first < l->dense.outputs; first += PANEL_COLUMNS) {
                const plan_panel panel = plan_panel_at(&l->dense, first);
                const lpb_gemm g = layer_product(c, i, &panel, memory + l->begins, to);
                c->isa->f32.gemm(&g, 0, 1, rest);
            }
        }
        if (!c->layers[c->count - 1].in_pairs) c->isa->reals->reduce(LPB_MAX, values, c->positions, c->ld, sums);
        for (int64_t j = 0; j < outputs; j++) out[j * out_column] = sums[j];
    }
}

int64_t lpb_convolution_outputs(const lpb_convolution *c) { return c->layers[c->count - 1].dense.outputs; }

int64_t lpb_convolution_work(const lpb_convolution *c) {
    int64_t work = 0;
    for (int64_t i = 0; i < c->count; i++) work += c->layers[i].dense.features * c->layers[i].dense.outputs;
    return work * c->positions;
}

/* The products' own scratch memory, of a layer. */
static int64_t product_bytes(const lpb_convolution *c, int64_t i) {
    const layer *l = c->layers + i;
    int64_t most = 0;
    for (int64_t first = 0; first < l->dense.outputs; first += PANEL_COLUMNS)
        for (int q = 0; q < (l->in_pairs ? PARTS : 1); q++) {
            const plan_panel panel = plan_panel_at(l->in_pairs ? l->parts + q : &l->dense, first);
            const lpb_gemm g = l->in_pairs ? part_product(c, l->parts + q, &panel, NULL, NULL)
                                           : layer_product(c, i, &panel, NULL, NULL);
            const int64_t bytes = c->isa->f32.scratch(&g);
            if (bytes > most) most = bytes;
        }
    return most;
}

int64_t lpb_convolution_scratch(const lpb_convolution *c) {
    int64_t most = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const int64_t bytes = product_bytes(c, i);
        if (bytes > most) most = bytes;
    }
    return c->floats * (int64_t)sizeof(float) + most;
}

void lpb_convolution_free(lpb_convolution *c) {
    if (!c) return;
    for (int64_t i = 0; i < c->count; i++) {
        layer *l = c->layers + i;
        free(l->dense.weight);
        free(l->dense.bias);
        for (int q = 0; q < PARTS; q++) {
            free(l->parts[q].weight);
            free(l->parts[q].bias);
        }
    }
    free(c);
}

/* Weights of the products of pairs for an output, from those of its taps. */
static void part_weights(const layer *l, const float *taps, float *const to[PARTS]) {
    const int64_t n = l->inputs, blocks = lpb_pair_blocks(l->taps);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t c = 0; c < n; c++) {
            const float *g = taps + 4 * b * n + c;
            const double ends = (double)g[0] + (double)g[2 * n], middle = g[n];
            const int64_t at = b * n + c;
            to[0][at] = g[0];
            to[1][at] = (float)((ends + middle) / 2);
            to[2][at] = (float)((ends - middle) / 2);
            to[3][at] = g[2 * n];
        }
    for (int64_t t = 0, at = blocks * n; t < l->taps; t++) {
        if (lpb_in_pair_block(t, blocks)) continue;
        memcpy(to[0] + at, taps + t * n, (size_t)n * sizeof *taps);
        memcpy(to[3] + at, taps + t * n, (size_t)n * sizeof *taps);
        at += n;
    }
}

/* Packs a layer in pairs; biases, which both outputs have, go with what both have of the products. */
static bool pack_pairs(layer *l, const float *weight, const float *bias) {
    const int64_t outputs = l->dense.outputs, blocks = lpb_pair_blocks(l->taps);
    float *zeros = lpb_new_zeros(outputs), *made[PARTS] = {NULL};
    bool enough = zeros;
    for (int i = 0; i < PARTS; i++) {
        plan_step *part = l->parts + i;
        *part = (plan_step){.kind = LPB_STEP_DENSE, .word = LPB_IDENTITY, .outputs = outputs, .panel = PANEL_COLUMNS};
        part->features = (i == 0 || i == 3 ? l->taps - 2 * blocks : blocks) * l->inputs;
        made[i] = lpb_new_memory(outputs * part->features * (int64_t)sizeof(float));
        enough = enough && made[i];
    }
    for (int64_t j = 0; j < outputs && enough; j++) {
        float *to[PARTS];
        for (int i = 0; i < PARTS; i++) to[i] = made[i] + j * l->parts[i].features;
        part_weights(l, weight + j * l->dense.features, to);
    }
    for (int i = 0; i < PARTS; i++) {
        enough = enough && plan_pack(l->parts + i, made[i], i == 1 ? bias : zeros, false);
        free(made[i]);
    }
    free(zeros);
    return enough;
}

/* The sizes of a layer, as far as its arrays fit what it reads. */
static bool layer_fits(layer *l, const lpb_array *weight, int64_t inputs) {
    const lpb_array *bias = weight + 1;
    if (weight->type != LPB_ARRAY_FLOAT || bias->type != LPB_ARRAY_FLOAT || weight->rows < 1 ||
        weight->rows > MOST_CHANNELS || weight->columns < 1 || weight->columns % inputs || bias->rows != 1 ||
        bias->columns != weight->rows)
        return false;
    *l = (layer){.inputs = inputs, .taps = weight->columns / inputs};
    l->dense = (plan_step){.kind = LPB_STEP_DENSE,
                           .word = LPB_RELU,
                           .features = weight->columns,
                           .outputs = weight->rows,
                           .panel = PANEL_COLUMNS};
    return l->taps % 2 == 1 && l->taps <= MOST_TAPS;
}

static bool pack(const lpb_convolution *c, layer *l, const float *weight, const float *bias) {
    l->in_pairs = !c->isa->shuns_pairs && c->positions >= LEAST_POSITIONS && lpb_pair_blocks(l->taps) > 0 &&
                  l->inputs % LPB_ALIGN == 0 && l->dense.outputs % LPB_ALIGN == 0;
    return l->in_pairs ? pack_pairs(l, weight, bias) : plan_pack(&l->dense, weight, bias, false);
}

lpb_status lpb_convolution_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_convolution **made) {
    const int64_t count = step->array_count / 2, positions = step->number;
    if (count < 1 || step->array_count % 2 || positions < 1 || positions > MOST_POSITIONS || features % positions ||
        features / positions > MOST_CHANNELS)
        return LPB_BAD_ARGUMENT;
    lpb_convolution *c = calloc(1, sizeof *c);
    if (!c) return LPB_NO_MEMORY;
    c->isa = isa, c->positions = positions;
    int64_t inputs = features / positions;
    lpb_status status = LPB_OK;
    for (int64_t i = 0; i < count && status == LPB_OK; i++) {
        layer *l = c->layers + i;
        c->count = i + 1;
        if (!layer_fits(l, step->arrays + 2 * i, inputs))
            status = LPB_BAD_ARGUMENT;
        else if (!pack(c, l, step->arrays[2 * i].data, step->arrays[2 * i + 1].data))
            status = LPB_NO_MEMORY;
        l->begins = c->floats;
        c->floats += padded((positions + 1) * inputs + 2 * margin(l));
        inputs = l->dense.outputs;
    }
    if (status != LPB_OK) {
        lpb_convolution_free(c);
        return status;
    }
    c->ld = padded(inputs);
    c->values = c->floats;
    c->sums = c->values + positions * c->ld;
    c->pairs = c->sums + c->ld;
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t floats = c->layers[i].in_pairs ? pair_floats(c, c->layers + i) : 0;
        if (floats > most) most = floats;
    }
    c->floats = c->pairs + padded(most);
    *made = c;
    return LPB_OK;
}
