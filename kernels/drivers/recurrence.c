/* A layer of an LSTM over all time steps of rows.
 *
 * The gates of UNITS units lie together, in the order input, output, candidate, forget: their product is followed at
 * once by the cells and hidden values of these units, while it is in the first-level cache. The first step has no
 * hidden values to multiply and no forget gate; a layer of a single step holds no weights of either. Of a block, and of
 * a few rows, a step is one product over what it reads and the hidden values before it. Of a single row the inputs of
 * all steps are multiplied in one product, and the hidden values by the vector, which reads their weights once. */
#define _POSIX_C_SOURCE 200809L
#include "recurrence.h"

#include "memory.h"

enum {
    UNITS = LPB_ALIGN,
    GATES = 4,
    GATES_FIRST = 3,
    MOST_STEPS = 1 << 20,
    MOST_UNITS = 1 << 13,
    MOST_INPUTS = 1 << 20
};

struct lpb_recurrence {
    const lpb_isa *isa;
    int64_t steps, inputs, units;
    bool backwards;
    int64_t terms;         /* inputs, and units unless there is a single step */
    int64_t row;           /* gates of a group, UNITS each */
    float *weights, *bias; /* of every group: terms x row, and row */
    lpb_gemm now, earlier; /* of a group's gates over open windows, without operands */
    int64_t product_bytes; /* scratch memory of the products */
};

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t groups(const lpb_recurrence *r) { return (r->units + UNITS - 1) / UNITS; }

static const float *weights_of(const lpb_recurrence *r, int64_t group) {
    return r->weights + group * r->terms * r->row;
}

/* The time step that comes `index`-th. */
static int64_t at(const lpb_recurrence *r, int64_t index) { return r->backwards ? r->steps - 1 - index : index; }

/* The gates of a group of a block, `count` of them over `terms` of what is side by side at x. */
static lpb_gemm block_product(const lpb_recurrence *r, int64_t group, int64_t count, int64_t terms, const float *x,
                              int64_t ld, float *gates) {
    return (lpb_gemm){
        .batch = 1,
        .m = count,
        .n = ld,
        .k = terms,
        .a = weights_of(r, group),
        .a_row = 1,
        .a_col = r->row,
        .b = x,
        .b_row = ld,
        .b_col = 1,
        .c = gates,
        .c_row = ld,
        .alpha = 1.0f,
        .bias = r->bias + group * r->row,
        .bias_axis = LPB_ROW_BIAS,
    };
}

/* The same of rows, or of the time steps of a row. */
static lpb_gemm row_product(const lpb_recurrence *r, int64_t group, int64_t count, int64_t terms, const float *x,
                            int64_t rows, int64_t x_row, float *gates, int64_t gates_row) {
    return (lpb_gemm){
        .batch = 1,
        .m = rows,
        .n = count,
        .k = terms,
        .a = x,
        .a_row = x_row,
        .a_col = 1,
        .b = weights_of(r, group),
        .b_row = r->row,
        .b_col = 1,
        .c = gates,
        .c_row = gates_row,
        .alpha = 1.0f,
        .bias = r->bias + group * r->row,
        .bias_axis = LPB_COLUMN_BIAS,
    };
}

void lpb_recurrence_run_block(const lpb_recurrence *r, const float *x, int64_t ld, float *out, void *scratch) {
    float *joined = scratch, *gates = joined + r->terms * ld, *cell = gates + r->row * ld;
    void *rest = cell + padded(r->units) * ld;
    const size_t of_inputs = (size_t)(r->inputs * ld), of_units = (size_t)(r->units * ld);
    const float *before = NULL;
    for (int64_t index = 0; index < r->steps; index++) {
        const float *now = x + at(r, index) * r->inputs * ld;
        float *hidden = out + at(r, index) * r->units * ld;
        if (before) {
            memcpy(joined, now, of_inputs * sizeof *joined);
            memcpy(joined + of_inputs, before, of_units * sizeof *joined);
            now = joined;
        }
        for (int64_t g = 0; g < groups(r); g++) {
            const int64_t first = g * UNITS, units = least(UNITS, r->units - first);
            const lpb_gemm product = block_product(r, g, UNITS * (before ? GATES : GATES_FIRST),
                                                   before ? r->terms : r->inputs, now, ld, gates);
            r->isa->f32.gemm(&product, 0, 1, rest);
            const lpb_lstm_step step = {
                .gates = gates,
                .step = UNITS * ld,
                .cell = cell + first * ld,
                .hidden = hidden + first * ld,
                .rows = 1,
                .count = units * ld,
                .first = !before,
            };
            r->isa->lstm(&step);
        }
        before = hidden;
    }
}

/* Cells and hidden values of a group from its gates. */
static void step_rows(const lpb_recurrence *r, int64_t group, const float *gates, bool is_first, int64_t rows,
                      float *cell, float *hidden, int64_t hidden_row) {
    const int64_t first = group * UNITS;
    const lpb_lstm_step step = {
        .gates = gates,
        .step = UNITS,
        .gates_row = r->row,
        .cell = cell + first,
        .cell_row = padded(r->units),
        .hidden = hidden + first,
        .hidden_row = hidden_row,
        .rows = rows,
        .count = least(UNITS, r->units - first),
        .first = is_first,
    };
    r->isa->lstm(&step);
}

/* The same of a single row for all groups, whose units follow each other as rows would: their chains overlap. */
static void step_single(const lpb_recurrence *r, const float *gates, bool is_first, float *cell, float *hidden) {
    const int64_t whole = r->units / UNITS;
    const lpb_lstm_step step = {
        .gates = gates,
        .step = UNITS,
        .gates_row = r->row,
        .cell = cell,
        .cell_row = UNITS,
        .hidden = hidden,
        .hidden_row = UNITS,
        .rows = whole,
        .count = UNITS,
        .first = is_first,
    };
    r->isa->lstm(&step);
    if (whole < groups(r)) step_rows(r, whole, gates + whole * r->row, is_first, 1, cell, hidden, 0);
}

static void run_single(const lpb_recurrence *r, const float *x, float *out, float *cell, float *rest) {
    const int64_t all = groups(r) * r->row;
    float *of_inputs = rest, *gates = of_inputs + r->steps * all; /* the former of every time step */
    rest = gates + all;
    for (int64_t g = 0; g < groups(r); g++) {
        float *to = of_inputs + g * r->row;
        if (r->steps == 1) {
            r->isa->reals->gemv(r->inputs, r->row, x, weights_of(r, g), r->bias + g * r->row, LPB_IDENTITY, 0.0f, to);
            continue;
        }
        const lpb_gemm product = row_product(r, g, r->row, r->inputs, x, r->steps, r->inputs, to, all);
        r->isa->f32.gemm(&product, 0, 1, rest);
    }
    const float *before = NULL;
    for (int64_t index = 0; index < r->steps; index++) {
        const float *now = of_inputs + at(r, index) * all;
        float *hidden = out + at(r, index) * r->units;
        for (int64_t i = 0; i < groups(r) && before; i++) {
            /* there and back: what was read last is still in the first-level cache */
            const int64_t g = index % 2 ? i : groups(r) - 1 - i;
            r->isa->reals->gemv(r->units, r->row, before, weights_of(r, g) + r->inputs * r->row, now + g * r->row,
                                LPB_IDENTITY, 0.0f, gates + g * r->row);
        }
        step_single(r, before ? gates : now, !before, cell, hidden);
        before = hidden;
    }
}

void lpb_recurrence_run_rows(const lpb_recurrence *r, const float *x, int64_t rows, int64_t x_row, float *out,
                             int64_t out_row, void *scratch) {
    float *cell = scratch, *rest = cell + padded(r->units) * rows;
    if (rows == 1) {
        run_single(r, x, out, cell, rest);
        return;
    }
    const int64_t row = padded(r->terms);
    float *joined = rest, *gates = joined + row * rows;
    rest = gates + r->row * rows;
    for (int64_t index = 0; index < r->steps; index++) {
        const float *now = x + at(r, index) * r->inputs;
        const float *before = index ? out + at(r, index - 1) * r->units : NULL;
        for (int64_t q = 0; q < rows && before; q++) {
            memcpy(joined + q * row, now + q * x_row, (size_t)r->inputs * sizeof *joined);
            memcpy(joined + q * row + r->inputs, before + q * out_row, (size_t)r->units * sizeof *joined);
        }
        for (int64_t g = 0; g < groups(r); g++) {
            const lpb_gemm product =
                before ? row_product(r, g, r->row, r->terms, joined, rows, row, gates, r->row)
                       : row_product(r, g, UNITS * GATES_FIRST, r->inputs, now, rows, x_row, gates, r->row);
            r->isa->f32.gemm(&product, 0, 1, rest);
            step_rows(r, g, gates, !before, rows, cell, out + at(r, index) * r->units, out_row);
        }
    }
}

/* A group's gates over what windows read now, and those over what all but the newest hold, added to them. */
static void set_window_products(lpb_recurrence *r) {
    r->now = row_product(r, 0, r->row, r->inputs, NULL, r->steps, padded(r->inputs), NULL, r->row);
    r->earlier = row_product(r, 0, r->row, r->units, NULL, r->steps - 1, padded(r->units), NULL, r->row);
}

int64_t lpb_recurrence_advance(const lpb_recurrence *r, const float *x, int64_t x_row, float *state, float *out,
                               void *scratch) {
    const int64_t row = padded(r->units), before = r->steps - 1;
    const size_t kept = (size_t)(before * row) * sizeof *state;
    float *hidden = state, *cell = hidden + before * row;
    float *cells = scratch, *gates = cells + r->steps * row, *rest = gates + r->steps * r->row;
    memset(cells, 0, (size_t)row * sizeof *cells); /* of the newest, which then forgets nothing */
    memcpy(cells + row, cell, kept);
    lpb_gemm now = r->now, earlier = r->earlier; /* made before: what was just written in parts is slow to copy whole */
    now.a = x, now.a_row = x_row, now.c = gates;
    earlier.a = hidden, earlier.c = gates + r->row;
    if (x_row)
        earlier.beta = 1.0f, earlier.bias_axis = LPB_NO_BIAS;
    else
        earlier.bias = gates; /* of the newest: all read the same */
    for (int64_t g = 0; g < groups(r); g++) {
        const float *weights = weights_of(r, g), *bias = r->bias + g * r->row;
        if (x_row) {
            now.b = weights, now.bias = bias;
            r->isa->f32.gemm(&now, 0, 1, rest);
        } else {
            r->isa->reals->gemv(r->inputs, r->row, x, weights, bias, LPB_IDENTITY, 0.0f, gates);
        }
        if (before) {
            earlier.b = weights + r->inputs * r->row;
            r->isa->f32.gemm(&earlier, 0, 1, rest);
        }
        step_rows(r, g, gates, !before, r->steps, cells, out, row);
    }
    memcpy(hidden, out, kept);
    memcpy(cell, cells, kept);
    return 2 * before * row;
}

int64_t lpb_recurrence_advance_scratch(const lpb_recurrence *r) {
    return r->steps * (padded(r->units) + r->row) * (int64_t)sizeof(float) + r->product_bytes;
}

int64_t lpb_recurrence_outputs(const lpb_recurrence *r) { return r->steps * r->units; }

int64_t lpb_recurrence_work(const lpb_recurrence *r) {
    return r->row / UNITS * r->units * (r->inputs * r->steps + r->units * (r->steps - 1));
}

int64_t lpb_recurrence_scratch(const lpb_recurrence *r) {
    const int64_t of_row = padded(r->terms) + r->row + padded(r->units),
                  of_single = (r->steps + 1) * groups(r) * r->row;
    const int64_t rows = of_row * LPB_BLOCK_ROWS, single = padded(r->units) + of_single;
    return (rows > single ? rows : single) * (int64_t)sizeof(float) + r->product_bytes;
}

void lpb_recurrence_free(lpb_recurrence *r) {
    if (!r) return;
    free(r->weights);
    free(r->bias);
    free(r);
}

/* Gates as the arrays have them, in the order input, forget, candidate, output, by their place in a group. */
static const int64_t origin[GATES] = {0, 3, 2, 1};

static bool pack(lpb_recurrence *r, const float *of_inputs, const float *of_units, const float *bias) {
    const int64_t size = groups(r) * r->row;
    r->weights = lpb_new_zeros(size * r->terms);
    r->bias = lpb_new_zeros(size);
    if (!r->weights || !r->bias) return false;
    for (int64_t unit = 0; unit < r->units; unit++) {
        const int64_t group = unit / UNITS;
        float *weights = r->weights + group * r->terms * r->row + unit % UNITS;
        for (int64_t q = 0; q < r->row / UNITS; q++) {
            const int64_t from = origin[q] * r->units + unit;
            for (int64_t p = 0; p < r->inputs; p++) weights[p * r->row + q * UNITS] = of_inputs[from * r->inputs + p];
            for (int64_t p = r->inputs; p < r->terms; p++)
                weights[p * r->row + q * UNITS] = of_units[from * r->units + p - r->inputs];
            r->bias[group * r->row + q * UNITS + unit % UNITS] = bias[from];
        }
    }
    return true;
}

static void grow(lpb_recurrence *r, const lpb_gemm *product) {
    const int64_t bytes = r->isa->f32.scratch(product);
    if (bytes > r->product_bytes) r->product_bytes = bytes;
}

static bool sizes_fit(lpb_recurrence *r, const lpb_step *s, int64_t features) {
    const lpb_array *of_inputs = s->arrays, *of_units = of_inputs + 1, *bias = of_inputs + 2;
    for (int64_t i = 0; i < 3; i++)
        if (s->array_count != 3 || s->arrays[i].type != LPB_ARRAY_FLOAT) return false;
    r->steps = s->number, r->backwards = s->word == 1, r->inputs = of_inputs->columns, r->units = of_units->columns;
    return (s->word == 0 || s->word == 1) && r->steps >= 1 && r->steps <= MOST_STEPS && r->inputs >= 1 &&
           r->inputs <= MOST_INPUTS && features == r->steps * r->inputs && r->units >= 1 && r->units <= MOST_UNITS &&
           of_inputs->rows == GATES * r->units && of_units->rows == GATES * r->units && bias->rows == 1 &&
           bias->columns == GATES * r->units;
}

lpb_status lpb_recurrence_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_recurrence **made) {
    lpb_recurrence sizes = {.isa = isa};
    if (!sizes_fit(&sizes, step, features)) return LPB_BAD_ARGUMENT;
    lpb_recurrence *r = malloc(sizeof *r);
    if (!r) return LPB_NO_MEMORY;
    *r = sizes;
    r->terms = r->inputs + (r->steps > 1 ? r->units : 0);
    r->row = UNITS * (r->steps > 1 ? GATES : GATES_FIRST);
    if (!pack(r, step->arrays[0].data, step->arrays[1].data, step->arrays[2].data)) {
        lpb_recurrence_free(r);
        return LPB_NO_MEMORY;
    }
    const lpb_gemm block = block_product(r, 0, r->row, r->terms, NULL, LPB_BLOCK_ROWS, NULL);
    const lpb_gemm rows = row_product(r, 0, r->row, r->terms, NULL, LPB_BLOCK_ROWS, padded(r->terms), NULL, r->row);
    const lpb_gemm single = row_product(r, 0, r->row, r->inputs, NULL, r->steps, r->inputs, NULL, groups(r) * r->row);
    grow(r, &block);
    grow(r, &rows);
    grow(r, &single);
    set_window_products(r);
    grow(r, &r->now);
    grow(r, &r->earlier);
    *made = r;
    return LPB_OK;
}
