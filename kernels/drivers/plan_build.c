/* Checks the steps of a plan against each other, packs their arrays, and finds a place for every value. */
#define _POSIX_C_SOURCE 200809L
#include "memory.h"
#include "plan.h"

enum { MOST_FEATURES = 1 << 24 };

typedef struct {
    lpb_plan *plan;
    const lpb_step *steps, *from; /* all, and the one that is added */
    plan_step *to;
    const plan_value *first; /* the first input */
    lpb_dtype dtype;
} building;

static bool in_words(const lpb_step *s, int64_t words) { return s->word >= 0 && s->word < words; }

/* Whether step i reads values that there are, of one precision. */
static bool inputs_fit(const lpb_plan *plan, const lpb_step *s, int64_t i) {
    const bool several = s->kind == LPB_STEP_CONCAT || s->kind == LPB_STEP_ELEMENTWISE || s->kind == LPB_STEP_CELL ||
                         s->kind == LPB_STEP_HIDDEN;
    if (s->input_count < 1 || (s->input_count > 1 && !several)) return false;
    for (int64_t q = 0; q < s->input_count; q++)
        if (s->inputs[q] < 0 || s->inputs[q] > i || plan->values[s->inputs[q]].wide != plan->values[s->inputs[0]].wide)
            return false;
    return true;
}

static bool same_array(const lpb_array *a, const lpb_array *b) {
    const size_t size = a->type == LPB_ARRAY_DOUBLE ? sizeof(double) : sizeof(float);
    return a->type == b->type && a->rows == b->rows && a->columns == b->columns &&
           (a->data == b->data || !memcmp(a->data, b->data, (size_t)(a->rows * a->columns) * size));
}

/* A dense step before this one of the same weights, whose packed ones it may use, and if packed together the same
 * biases and activation. */
static const plan_step *same_weights(const building *b) {
    const lpb_step *s = b->from;
    for (const lpb_step *before = b->steps; before < s; before++)
        if (before->kind == LPB_STEP_DENSE && same_array(before->arrays, s->arrays) &&
            (b->dtype == LPB_FLOAT32 ||
             (same_array(before->arrays + 1, s->arrays + 1) && before->word == s->word && before->slope == s->slope)))
            return b->plan->steps + (before - b->steps);
    return NULL;
}

static lpb_status build_dense(building *b) {
    const lpb_step *s = b->from;
    plan_step *to = b->to;
    const bool wide = b->first->wide;
    const lpb_array_type type = wide ? LPB_ARRAY_DOUBLE : LPB_ARRAY_FLOAT;
    const lpb_array *w = s->arrays, *bias = s->arrays + 1;
    if (s->array_count != 2 || !in_words(s, LPB_PLAN_ACTIVATIONS) || w->type != type || bias->type != type ||
        w->columns != b->first->features || w->rows < 1 || w->rows > MOST_FEATURES || bias->rows != 1 ||
        bias->columns != w->rows)
        return LPB_BAD_ARGUMENT;
    to->outputs = w->rows;
    b->plan->work += w->rows * w->columns;
    if (b->dtype != LPB_FLOAT32 && (wide || s->word >= LPB_ACTIVATIONS)) return LPB_BAD_ARGUMENT;
    const plan_step *same = same_weights(b);
    to->borrows = same != NULL;
    if (same)
        to->low = same->low, to->weight = same->weight, to->weight_row = same->weight_row, to->panel = same->panel;
    if (same && same->low) return LPB_OK;
    if (b->dtype != LPB_FLOAT32) {
        const lpb_layer layer = {w->columns, w->rows, w->data, bias->data, (lpb_activation)s->word, s->slope};
        to->low = lpb_low_chain_new(b->plan->isa, &layer, 1, LPB_HEAD_NONE, b->dtype);
        return to->low ? LPB_OK : LPB_NO_MEMORY;
    }
    return plan_pack(to, w->data, bias->data, wide) ? LPB_OK : LPB_NO_MEMORY;
}

static lpb_status build_elementwise(building *b) {
    const lpb_step *s = b->from;
    if (s->array_count || s->input_count != 2 || !in_words(s, LPB_OPERATORS)) return LPB_BAD_ARGUMENT;
    const int64_t x = b->first->features, y = b->plan->values[s->inputs[1]].features;
    b->to->outputs = x > y ? x : y;
    return x == y || x == 1 || y == 1 ? LPB_OK : LPB_BAD_ARGUMENT;
}

static lpb_status build_constant(building *b) {
    const lpb_step *s = b->from;
    const lpb_array *c = s->arrays;
    const bool wide = b->first->wide;
    const int64_t features = b->first->features;
    if (s->array_count != 1 || !in_words(s, LPB_OPERATORS) || c->type > LPB_ARRAY_DOUBLE || c->rows != 1 ||
        (c->columns != features && c->columns != 1))
        return LPB_BAD_ARGUMENT;
    b->to->outputs = features;
    b->to->weight = lpb_new_zeros(lpb_round_up(features, LPB_ALIGN) * (wide ? 2 : 1));
    if (!b->to->weight) return LPB_NO_MEMORY;
    for (int64_t j = 0; j < features; j++) {
        const int64_t at = c->columns == 1 ? 0 : j;
        const double number =
            c->type == LPB_ARRAY_DOUBLE ? ((const double *)c->data)[at] : (double)((const float *)c->data)[at];
        if (wide)
            ((double *)b->to->weight)[j] = number;
        else
            ((float *)b->to->weight)[j] = (float)number;
    }
    return LPB_OK;
}

static lpb_status build_concat(building *b) {
    const lpb_step *s = b->from;
    for (int64_t i = 0; i < s->input_count; i++) {
        b->to->outputs += b->plan->values[s->inputs[i]].features;
        if (b->to->outputs > MOST_FEATURES) return LPB_BAD_ARGUMENT;
    }
    return s->array_count ? LPB_BAD_ARGUMENT : LPB_OK;
}

static lpb_status build_columns(building *b) {
    const lpb_array *c = b->from->arrays;
    if (b->from->array_count != 1 || c->type != LPB_ARRAY_INT64 || c->rows != 1 || c->columns < 1 ||
        c->columns > MOST_FEATURES)
        return LPB_BAD_ARGUMENT;
    const int64_t *numbers = c->data;
    for (int64_t j = 0; j < c->columns; j++)
        if (numbers[j] < 0 || numbers[j] >= b->first->features) return LPB_BAD_ARGUMENT;
    b->to->outputs = c->columns;
    b->to->numbers = lpb_new_memory(c->columns * (int64_t)sizeof *numbers);
    if (!b->to->numbers) return LPB_NO_MEMORY;
    memcpy(b->to->numbers, numbers, (size_t)c->columns * sizeof *numbers);
    return LPB_OK;
}

static lpb_status build_trees(building *b) {
    if (b->from->array_count != 5 || b->first->wide) return LPB_BAD_ARGUMENT;
    b->to->outputs = 1;
    const lpb_status status = lpb_forest_new(b->from->arrays, b->first->features, &b->to->forest);
    if (status == LPB_OK) b->plan->work += 8 * lpb_forest_visits(b->to->forest);
    return status;
}

static lpb_status build_neighbour(building *b) {
    const lpb_array *sample = b->from->arrays;
    const int64_t features = b->first->features;
    if (b->from->array_count != 1 || b->first->wide || sample->type != LPB_ARRAY_FLOAT || sample->columns != features ||
        sample->rows < 1 || sample->rows > INT32_MAX || b->from->number < 1 || b->from->number > sample->rows)
        return LPB_BAD_ARGUMENT;
    b->to->outputs = 1;
    b->plan->work += sample->rows * features;
    b->to->neighbours = lpb_neighbours_new(b->plan->isa, sample->data, sample->rows, features, b->from->number);
    return b->to->neighbours ? LPB_OK : LPB_NO_MEMORY;
}

static lpb_status build_cell(building *b) {
    const lpb_step *s = b->from;
    b->to->outputs = b->first->features / 4;
    const bool fits = s->array_count == 0 && !b->first->wide && b->first->features % 4 == 0 && s->input_count <= 2 &&
                      (s->input_count == 2 || s->kind == LPB_STEP_CELL) &&
                      (s->input_count == 1 || b->plan->values[s->inputs[1]].features == b->to->outputs);
    return fits ? LPB_OK : LPB_BAD_ARGUMENT;
}

static lpb_status build_transformer(building *b) {
    if (b->first->wide || b->dtype != LPB_FLOAT32) return LPB_BAD_ARGUMENT;
    const lpb_status status = lpb_transformer_new(b->plan->isa, b->from, b->first->features, &b->to->transformer);
    if (status != LPB_OK) return status;
    b->to->outputs = lpb_transformer_outputs(b->to->transformer);
    b->plan->work += lpb_transformer_work(b->to->transformer);
    return LPB_OK;
}

static lpb_status build_convolution(building *b) {
    if (b->first->wide || b->dtype != LPB_FLOAT32) return LPB_BAD_ARGUMENT;
    const lpb_status status = lpb_convolution_new(b->plan->isa, b->from, b->first->features, &b->to->convolution);
    if (status != LPB_OK) return status;
    b->to->outputs = lpb_convolution_outputs(b->to->convolution);
    b->plan->work += lpb_convolution_work(b->to->convolution);
    return LPB_OK;
}

static lpb_status build_lstm(building *b) {
    if (b->first->wide || b->dtype != LPB_FLOAT32) return LPB_BAD_ARGUMENT;
    const lpb_status status = lpb_recurrence_new(b->plan->isa, b->from, b->first->features, &b->to->recurrence);
    if (status != LPB_OK) return status;
    b->to->outputs = lpb_recurrence_outputs(b->to->recurrence);
    b->plan->work += lpb_recurrence_work(b->to->recurrence);
    return b->to->outputs <= MOST_FEATURES ? LPB_OK : LPB_BAD_ARGUMENT;
}

static lpb_status build_patches(building *b) {
    if (b->first->wide || b->dtype != LPB_FLOAT32) return LPB_BAD_ARGUMENT;
    const lpb_status status = lpb_patches_new(b->plan->isa, b->from, b->first->features, &b->to->patches);
    if (status != LPB_OK) return status;
    b->to->outputs = lpb_patches_outputs(b->to->patches);
    b->plan->work += lpb_patches_work(b->to->patches);
    b->plan->row_major = true;
    return b->to->outputs <= MOST_FEATURES ? LPB_OK : LPB_BAD_ARGUMENT;
}

/* Fills in a step whose inputs fit; its output's features are set. */
static lpb_status build_step(building *b) {
    const lpb_step *s = b->from;
    b->to->outputs = b->first->features;
    switch (s->kind) {
    case LPB_STEP_DENSE:
        b->to->outputs = 0;
        return build_dense(b);
    case LPB_STEP_ACTIVATION:
        return s->array_count || !in_words(s, LPB_PLAN_ACTIVATIONS) ? LPB_BAD_ARGUMENT : LPB_OK;
    case LPB_STEP_ELEMENTWISE:
        return build_elementwise(b);
    case LPB_STEP_CONSTANT:
        return build_constant(b);
    case LPB_STEP_REDUCE:
        b->to->outputs = 1;
        return s->array_count || !in_words(s, LPB_REDUCTIONS) ? LPB_BAD_ARGUMENT : LPB_OK;
    case LPB_STEP_CONCAT:
        b->to->outputs = 0;
        return build_concat(b);
    case LPB_STEP_COLUMNS:
        return build_columns(b);
    case LPB_STEP_CONVERT:
        return s->array_count || !in_words(s, 2) ? LPB_BAD_ARGUMENT : LPB_OK;
    case LPB_STEP_TREES:
        return build_trees(b);
    case LPB_STEP_NEIGHBOUR:
        return build_neighbour(b);
    case LPB_STEP_NORMALISE:
        return s->array_count || b->first->wide ? LPB_BAD_ARGUMENT : LPB_OK;
    case LPB_STEP_TRANSFORMER:
        return build_transformer(b);
    case LPB_STEP_CONVOLUTION:
        return build_convolution(b);
    case LPB_STEP_LSTM:
        return build_lstm(b);
    case LPB_STEP_PATCHES:
        return build_patches(b);
    case LPB_STEP_CELL:
    case LPB_STEP_HIDDEN:
        return build_cell(b);
    }
    return LPB_BAD_ARGUMENT;
}

static int64_t scratch_of(const lpb_plan *plan, const plan_step *s) {
    const int64_t turned = lpb_round_up(s->features, LPB_ALIGN) * LPB_BLOCK_ROWS * (int64_t)sizeof(float);
    if (s->neighbours) return turned + lpb_neighbours_scratch(s->neighbours);
    if (s->low) return turned + s->outputs * LPB_BLOCK_ROWS * (int64_t)sizeof(float);
    if (s->forest) return turned;
    if (s->transformer) return turned + lpb_transformer_scratch(s->transformer);
    if (s->convolution) return turned + lpb_convolution_scratch(s->convolution);
    if (s->recurrence) return lpb_recurrence_scratch(s->recurrence);
    if (s->patches) return lpb_patches_scratch(s->patches);
    if (s->kind != LPB_STEP_DENSE || plan->values[s->inputs[0]].wide) return 0;
    const plan_panel panel = plan_panel_at(s, 0);
    const lpb_gemm block = plan_product(s, &panel, NULL, LPB_BLOCK_ROWS, NULL);
    const lpb_gemm few = plan_few_product(s, &panel, NULL, LPB_BLOCK_ROWS, NULL);
    const int64_t of_block = plan->isa->f32.scratch(&block), of_few = plan->isa->f32.scratch(&few);
    return of_block > of_few ? of_block : of_few;
}

/* A piece of memory that values take in turn. */
typedef struct {
    int64_t bytes, holder; /* the value in it, -1: none */
} slot;

/* Gives every value a slot from where it is made to where it is last used: the smallest that is free and large enough,
 * else the largest that is free, which grows. `places[v]` is first the slot and then where that begins; all bytes are
 * returned. */
static int64_t place_values(const int64_t *last_use, int64_t count, const int64_t *bytes, slot *slots,
                            int64_t *places) {
    int64_t used = 0, total = 0;
    for (int64_t v = 0; v < count; v++) {
        int64_t best = -1;
        for (int64_t q = 0; q < used; q++) {
            if (slots[q].holder >= 0 && last_use[slots[q].holder] >= v) continue;
            const bool fits = slots[q].bytes >= bytes[v], best_fits = best >= 0 && slots[best].bytes >= bytes[v];
            const bool smaller = best >= 0 && slots[q].bytes < slots[best].bytes;
            if (best < 0 || (fits ? !best_fits || smaller : !best_fits && !smaller)) best = q;
        }
        if (best < 0) slots[best = used++] = (slot){0, -1};
        if (slots[best].bytes < bytes[v]) slots[best].bytes = bytes[v];
        slots[best].holder = v;
        places[v] = best;
    }
    for (int64_t q = 0; q < used; q++) {
        slots[q].holder = total; /* now where it begins */
        total += slots[q].bytes;
    }
    for (int64_t v = 0; v < count; v++) places[v] = slots[places[v]].holder;
    return total;
}

static lpb_status place_all(lpb_plan *plan) {
    const int64_t count = plan->count + 1;
    int64_t *numbers = lpb_new_memory(3 * count * (int64_t)sizeof *numbers);
    slot *slots = lpb_new_memory(count * (int64_t)sizeof *slots);
    const bool enough = numbers && slots;
    if (enough) {
        int64_t *last_use = numbers, *bytes = numbers + count, *places = numbers + 2 * count;
        for (int64_t v = 0; v < count; v++) last_use[v] = v; /* also of one that is never used */
        last_use[plan->count] = count;
        for (int64_t i = 0; i < plan->count; i++) /* step i makes value i + 1, which lies beside what it is made of */
            for (int64_t q = 0; q < plan->steps[i].input_count; q++) last_use[plan->steps[i].inputs[q]] = i + 1;
        for (int block = 0; block < 2; block++) {
            for (int64_t v = 0; v < count; v++) {
                const plan_value *value = plan->values + v;
                const int64_t rows = block ? LPB_BLOCK_ROWS : 1, size = value->wide ? sizeof(double) : sizeof(float);
                bytes[v] = lpb_round_up(value->features * rows, LPB_ALIGN) * size;
            }
            *(block ? &plan->block_bytes : &plan->row_bytes) = place_values(last_use, count, bytes, slots, places);
            for (int64_t v = 0; v < count; v++)
                *(block ? &plan->values[v].block_place : &plan->values[v].row_place) = places[v];
        }
    }
    free(numbers);
    free(slots);
    return enough ? LPB_OK : LPB_NO_MEMORY;
}

void lpb_plan_free(lpb_plan *plan) {
    if (!plan) return;
    for (int64_t i = 0; i < plan->count; i++) {
        plan_step *s = plan->steps + i;
        free(s->inputs);
        free(s->numbers);
        if (!s->borrows) {
            free(s->weight);
            lpb_low_chain_free(s->low);
        }
        free(s->bias);
        lpb_forest_free(s->forest);
        lpb_neighbours_free(s->neighbours);
        lpb_transformer_free(s->transformer);
        lpb_convolution_free(s->convolution);
        lpb_recurrence_free(s->recurrence);
        lpb_patches_free(s->patches);
    }
    free(plan->values);
    free(plan);
}

static lpb_status add_step(lpb_plan *plan, const lpb_step *steps, int64_t i, lpb_dtype dtype) {
    const lpb_step *from = steps + i;
    if (!inputs_fit(plan, from, i)) return LPB_BAD_ARGUMENT;
    plan_step *to = plan->steps + i;
    const plan_value *first = plan->values + from->inputs[0];
    *to = (plan_step){.kind = from->kind, .word = from->word, .input_count = from->input_count, .output = i + 1};
    to->panel = plan->row_major ? PANEL_STREAMED : PANEL_OUTPUTS;
    to->features = first->features;
    to->slope = from->slope;
    to->inputs = lpb_new_memory(from->input_count * (int64_t)sizeof *to->inputs);
    if (!to->inputs) return LPB_NO_MEMORY;
    memcpy(to->inputs, from->inputs, (size_t)from->input_count * sizeof *to->inputs);
    building b = {.plan = plan, .steps = steps, .from = from, .to = to, .first = first, .dtype = dtype};
    const lpb_status status = build_step(&b);
    if (status != LPB_OK) return status;
    plan->values[i + 1].features = to->outputs;
    plan->values[i + 1].wide = from->kind == LPB_STEP_CONVERT ? from->word == 1 : first->wide;
    plan->work += to->outputs;
    const int64_t scratch = scratch_of(plan, to);
    if (scratch > plan->scratch_bytes) plan->scratch_bytes = scratch;
    return LPB_OK;
}

lpb_status lpb_plan_new(const lpb_isa *isa, int64_t features, const lpb_step *steps, int64_t count, lpb_dtype dtype,
                        lpb_plan **made, int64_t *wrong) {
    *wrong = count;
    if (count < 1 || features < 1 || features > MOST_FEATURES || !lpb_kernel_of(isa, dtype)) return LPB_BAD_ARGUMENT;
    lpb_plan *plan = calloc(1, sizeof *plan + (size_t)count * sizeof *plan->steps);
    plan_value *values = calloc((size_t)count + 1, sizeof *values);
    lpb_status status = plan && values ? LPB_OK : LPB_NO_MEMORY;
    if (status == LPB_OK) {
        plan->isa = isa;
        plan->values = values;
        values[0].features = features;
        for (int64_t i = 0; i < count && status == LPB_OK; i++) {
            plan->count = i + 1;
            status = add_step(plan, steps, i, dtype);
            if (status == LPB_BAD_ARGUMENT) *wrong = i;
        }
        if (status == LPB_OK && (values[count].features != 1 || values[count].wide)) status = LPB_BAD_ARGUMENT;
        if (status == LPB_OK) status = place_all(plan);
    }
    if (status == LPB_OK) {
        *made = plan;
        return LPB_OK;
    }
    if (plan && values)
        lpb_plan_free(plan);
    else
        free(plan), free(values);
    return status;
}

int64_t lpb_plan_work(const lpb_plan *plan) { return plan->work; }
