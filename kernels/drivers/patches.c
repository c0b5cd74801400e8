/* A layer over patches of pixels, one row at a time: what some patches read is gathered and multiplied at once. */
#define _POSIX_C_SOURCE 200809L
#include "patches.h"

#include "memory.h"
#include "plan.h"

enum { TOGETHER = 64, MOST = 1 << 24 }; /* patches of a product, and of any size */

struct lpb_patches {
    const lpb_isa *isa;
    int64_t count, taps, channels;
    int64_t *places; /* count x taps: where the pixel begins in a row, -1 for zeros */
    plan_step layer;
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }
static int64_t row_of(const lpb_patches *p) { return padded(p->layer.features); }
static int64_t gathered_floats(const lpb_patches *p) { return TOGETHER * row_of(p); }

/* Taps from the first on that read neighbours, or nothing. */
static int64_t run_length(const int64_t *place, int64_t most, int64_t channels) {
    const int64_t step = place[0] < 0 ? 0 : channels;
    int64_t run = 1;
    while (run < most && place[run] == place[0] + run * step) run++;
    return run;
}

/* What patches [first, first + count) read, each in a row of its own, whose padding is left as it is. */
static void gather(const lpb_patches *p, const float *x, int64_t first, int64_t count, float *to) {
    const int64_t *place = p->places + first * p->taps;
    for (int64_t q = 0; q < count; q++, to += row_of(p), place += p->taps) {
        for (int64_t t = 0; p->channels == 1 && t < p->taps; t++) to[t] = place[t] < 0 ? 0.0f : x[place[t]];
        for (int64_t t = 0, run; p->channels > 1 && t < p->taps; t += run) {
            run = run_length(place + t, p->taps - t, p->channels);
            float *at = to + t * p->channels;
            const size_t bytes = (size_t)(run * p->channels) * sizeof *at;
            if (place[t] < 0)
                memset(at, 0, bytes);
            else
                memcpy(at, x + place[t], bytes);
        }
    }
}

static lpb_gemm product(const lpb_patches *p, const plan_panel *panel, const float *a, int64_t count, float *out) {
    lpb_gemm g = plan_few_product(&p->layer, panel, a, count, out);
    g.n = panel->count;
    g.c_row = p->layer.outputs;
    return g;
}

static void multiply(const lpb_patches *p, const float *a, int64_t count, float *out, void *rest) {
    const plan_step *l = &p->layer;
    if (l->weight_row == 1) {
        p->isa->row_dots(a, count, row_of(p), l->features, l->weight, *(const float *)l->bias, out);
        return;
    }
    for (int64_t first = 0; first < l->outputs; first += l->panel) {
        const plan_panel panel = plan_panel_at(l, first);
        const lpb_gemm g = product(p, &panel, a, count, out);
        p->isa->f32.gemm(&g, 0, 1, rest);
    }
}

void lpb_patches_run(const lpb_patches *p, const float *x, int64_t rows, int64_t x_row, float *out, int64_t out_row,
                     void *scratch) {
    const plan_step *l = &p->layer;
    float *gathered = scratch, *rest = gathered + gathered_floats(p);
    const int64_t outputs = lpb_patches_outputs(p);
    const bool activates = l->weight_row == 1 || l->word > LPB_LEAKY_RELU; /* else its products do */
    memset(gathered, 0, (size_t)gathered_floats(p) * sizeof *gathered);
    for (int64_t r = 0; r < rows; r++, x += x_row, out += out_row) {
        for (int64_t first = 0; first < p->count; first += TOGETHER) {
            const int64_t count = p->count - first < TOGETHER ? p->count - first : TOGETHER;
            gather(p, x, first, count, gathered);
            multiply(p, gathered, count, out + first * l->outputs, rest);
        }
        memset(out + outputs, 0, (size_t)(padded(outputs) - outputs) * sizeof *out);
        if (activates) p->isa->reals->activate(out, padded(outputs), (lpb_activation)l->word, l->slope);
    }
}

int64_t lpb_patches_outputs(const lpb_patches *p) { return p->count * p->layer.outputs; }
int64_t lpb_patches_work(const lpb_patches *p) { return p->count * p->layer.features * p->layer.outputs; }

int64_t lpb_patches_scratch(const lpb_patches *p) {
    int64_t most = 0;
    for (int64_t first = 0; first < p->layer.outputs && p->layer.weight_row > 1; first += p->layer.panel) {
        const plan_panel panel = plan_panel_at(&p->layer, first);
        const lpb_gemm g = product(p, &panel, NULL, TOGETHER, NULL);
        const int64_t bytes = p->isa->f32.scratch(&g);
        if (bytes > most) most = bytes;
    }
    return gathered_floats(p) * (int64_t)sizeof(float) + most;
}

void lpb_patches_free(lpb_patches *p) {
    if (!p) return;
    free(p->places);
    free(p->layer.weight);
    free(p->layer.bias);
    free(p);
}

static bool is_size(int64_t count) { return count >= 1 && count <= MOST; }

/* Whether weight, bias and pixels fit each other and a row of features. */
static bool fits(const lpb_step *step, int64_t features) {
    const lpb_array *weight = step->arrays, *bias = weight + 1, *pixels = weight + 2;
    const int64_t channels = step->number;
    return step->array_count == 3 && step->word >= 0 && step->word < LPB_PLAN_ACTIVATIONS && is_size(channels) &&
           features % channels == 0 && weight->type == LPB_ARRAY_FLOAT && bias->type == LPB_ARRAY_FLOAT &&
           pixels->type == LPB_ARRAY_INT64 && is_size(weight->rows) && bias->rows == 1 &&
           bias->columns == weight->rows && is_size(pixels->rows) && is_size(pixels->columns) &&
           weight->columns == pixels->columns * channels;
}

/* False where a pixel is none of the row. */
static bool set_places(lpb_patches *p, const int64_t *pixels, int64_t features) {
    for (int64_t i = 0; i < p->count * p->taps; i++) {
        if (pixels[i] < -1 || pixels[i] >= features / p->channels) return false;
        p->places[i] = pixels[i] < 0 ? -1 : pixels[i] * p->channels;
    }
    return true;
}

lpb_status lpb_patches_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_patches **made) {
    if (!fits(step, features)) return LPB_BAD_ARGUMENT;
    const lpb_array *weight = step->arrays, *pixels = weight + 2;
    lpb_patches *p = calloc(1, sizeof *p);
    if (!p) return LPB_NO_MEMORY;
    *p = (lpb_patches){.isa = isa, .count = pixels->rows, .taps = pixels->columns, .channels = step->number};
    p->layer = (plan_step){.kind = LPB_STEP_DENSE,
                           .word = step->word,
                           .slope = step->slope,
                           .features = weight->columns,
                           .outputs = weight->rows,
                           .panel = PANEL_COLUMNS};
    p->places = lpb_new_memory(p->count * p->taps * (int64_t)sizeof *p->places);
    lpb_status status = LPB_OK;
    if (!p->places || !plan_pack(&p->layer, weight->data, weight[1].data, false))
        status = LPB_NO_MEMORY;
    else if (!set_places(p, pixels->data, features))
        status = LPB_BAD_ARGUMENT;
    if (status == LPB_OK)
        *made = p;
    else
        lpb_patches_free(p);
    return status;
}
