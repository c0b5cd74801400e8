/* Convolutions of one row at a time, each a product over all positions.
 *
 * A value has the channels of a position side by side, and zeros before the first position and behind the last. What a
 * convolution reads at a position is then contiguous, and a row of the product's A, whose rows overlap: nothing is
 * copied, and weights stay in the first-level cache for all positions. */
#define _POSIX_C_SOURCE 200809L
#include "convolution.h"

#include "memory.h"
#include "plan.h"

enum { MOST_POSITIONS = 1 << 20, MOST_CHANNELS = 1 << 13, MOST_TAPS = 1 << 10, LAYERS = LPB_STEP_ARRAYS / 2 };

typedef struct {
    int64_t inputs, taps;
    plan_step dense;
    int64_t begins; /* of what it reads, in scratch */
} layer;

struct lpb_convolution {
    const lpb_isa *isa;
    int64_t positions, count;
    int64_t ld;                   /* of the last one's values, rows padded */
    int64_t values, sums, floats; /* in scratch: where those begin, and their largest, and the products' own */
    layer layers[LAYERS];
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }

/* Zeros on either side of what a layer reads. */
static int64_t margin(const layer *l) { return l->taps / 2 * l->inputs; }

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
    memset(behind, 0, bytes);
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
            for (int64_t first = 0; first < l->dense.outputs; first += PANEL_COLUMNS) {
                const plan_panel panel = plan_panel_at(&l->dense, first);
                const lpb_gemm g = layer_product(c, i, &panel, memory + l->begins, to);
                c->isa->f32.gemm(&g, 0, 1, rest);
            }
        }
        c->isa->reals->reduce(LPB_MAX, values, c->positions, c->ld, sums);
        for (int64_t j = 0; j < outputs; j++) out[j * out_column] = sums[j];
    }
}

int64_t lpb_convolution_outputs(const lpb_convolution *c) { return c->layers[c->count - 1].dense.outputs; }

int64_t lpb_convolution_work(const lpb_convolution *c) {
    int64_t work = 0;
    for (int64_t i = 0; i < c->count; i++) work += c->layers[i].dense.features * c->layers[i].dense.outputs;
    return work * c->positions;
}

int64_t lpb_convolution_scratch(const lpb_convolution *c) {
    int64_t most = 0;
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t first = 0; first < c->layers[i].dense.outputs; first += PANEL_COLUMNS) {
            const plan_panel panel = plan_panel_at(&c->layers[i].dense, first);
            const lpb_gemm g = layer_product(c, i, &panel, NULL, NULL);
            const int64_t bytes = c->isa->f32.scratch(&g);
            if (bytes > most) most = bytes;
        }
    return c->floats * (int64_t)sizeof(float) + most;
}

void lpb_convolution_free(lpb_convolution *c) {
    if (!c) return;
    for (int64_t i = 0; i < c->count; i++) {
        free(c->layers[i].dense.weight);
        free(c->layers[i].dense.bias);
    }
    free(c);
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
        else if (!plan_pack(&l->dense, step->arrays[2 * i].data, step->arrays[2 * i + 1].data, false))
            status = LPB_NO_MEMORY;
        l->begins = c->floats;
        c->floats += padded(positions * inputs + 2 * margin(l));
        inputs = l->dense.outputs;
    }
    if (status != LPB_OK) {
        lpb_convolution_free(c);
        return status;
    }
    c->ld = padded(inputs);
    c->values = c->floats;
    c->sums = c->values + positions * c->ld;
    c->floats = c->sums + c->ld;
    *made = c;
    return LPB_OK;
}
