/* Layers of an LSTM over the windows that a stream has open, all advanced by a row at once.
 *
 * Of a stream the states of windows are kept by their age, of every layer: hidden values and then cells, the window
 * that began with the newest row first. A row advances each into the place of the next older one; the oldest is
 * complete, scored and forgotten, so that a state has one window less than a window has steps. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "memory.h"
#include "recurrence.h"

enum { STACK_BYTES = 24576 }; /* of scratch memory that lives on the stack */

struct lpb_stream {
    const lpb_isa *isa;
    lpb_recurrence **layers;
    int64_t count, features, steps;
    int64_t units, widest; /* of the last layer, and padded of the widest */
    int64_t state;         /* floats */
    int64_t advance_bytes; /* scratch memory of a layer */
    float *weight, bias;   /* of the score; padded */
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

void lpb_stream_free(lpb_stream *s) {
    if (!s) return;
    for (int64_t i = 0; s->layers && i < s->count; i++) lpb_recurrence_free(s->layers[i]);
    free(s->layers);
    free(s->weight);
    free(s);
}

static lpb_status add_layers(lpb_stream *s, const lpb_step *layers) {
    for (int64_t i = 0; i < s->count; i++) {
        const lpb_step *layer = layers + i;
        const bool fits = layer->kind == LPB_STEP_LSTM && layer->word == 0 && layer->number == s->steps &&
                          layer->array_count == 3 && (i == 0 || layer->arrays[0].columns == s->units);
        if (!fits) return LPB_BAD_ARGUMENT;
        const lpb_status status = lpb_recurrence_new(s->isa, layer, s->steps * layer->arrays[0].columns, s->layers + i);
        if (status != LPB_OK) return status;
        s->units = layer->arrays[1].columns;
        s->widest = most(s->widest, padded(s->units));
        s->state += 2 * (s->steps - 1) * padded(s->units);
        s->advance_bytes = most(s->advance_bytes, lpb_recurrence_advance_scratch(s->layers[i]));
    }
    return LPB_OK;
}

lpb_status lpb_stream_new(const lpb_isa *isa, const lpb_step *layers, int64_t count, const float *weight,
                          int64_t inputs, float bias, lpb_stream **made) {
    if (count < 1) return LPB_BAD_ARGUMENT;
    lpb_stream *s = calloc(1, sizeof *s);
    if (!s) return LPB_NO_MEMORY;
    s->isa = isa, s->count = count, s->steps = layers[0].number, s->features = layers[0].arrays[0].columns;
    s->bias = bias;
    s->layers = calloc((size_t)count, sizeof *s->layers);
    lpb_status status = s->layers ? add_layers(s, layers) : LPB_NO_MEMORY;
    if (status == LPB_OK && inputs != s->units) status = LPB_BAD_ARGUMENT;
    if (status == LPB_OK && !(s->weight = lpb_new_zeros(padded(inputs)))) status = LPB_NO_MEMORY;
    if (status != LPB_OK) {
        lpb_stream_free(s);
        return status;
    }
    memcpy(s->weight, weight, (size_t)inputs * sizeof *weight);
    *made = s;
    return LPB_OK;
}

int64_t lpb_stream_features(const lpb_stream *s) { return s->features; }

int64_t lpb_stream_state(const lpb_stream *s) { return s->state; }

/* The score of the window that a row completes. */
static float advance(const lpb_stream *s, const float *x, float *state, float *memory) {
    const int64_t of_layer = s->steps * s->widest;
    float *made = memory, *other = made + of_layer, *scratch = other + of_layer, score;
    int64_t x_row = 0; /* all windows read the same */
    for (int64_t i = 0; i < s->count; i++) {
        state += lpb_recurrence_advance(s->layers[i], x, x_row, state, made, scratch);
        float *now = made;
        x = now, made = other, other = now;
        x_row = padded(lpb_recurrence_outputs(s->layers[i]) / s->steps);
    }
    s->isa->row_dots(x + (s->steps - 1) * x_row, 1, x_row, s->units, s->weight, s->bias, &score);
    return score;
}

lpb_status lpb_stream_run(const lpb_stream *s, float *states, int64_t *seen, const int64_t *streams, const float *x,
                          int64_t x_row, int64_t rows, float *out) {
    char local[STACK_BYTES] __attribute__((aligned(64)));
    const int64_t bytes = 2 * s->steps * s->widest * (int64_t)sizeof(float) + s->advance_bytes;
    void *memory = bytes <= STACK_BYTES ? local : lpb_new_memory(bytes);
    if (!memory) return LPB_NO_MEMORY;
    for (int64_t r = 0; r < rows; r++, x += x_row) {
        const float score = advance(s, x, states + streams[r] * s->state, memory);
        int64_t *met = seen + streams[r];
        *met += *met < INT64_MAX;
        out[r] = *met >= s->steps ? score : NAN;
    }
    if (memory != local) free(memory);
    return LPB_OK;
}
