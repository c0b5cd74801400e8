/* Scoring as a plan of steps. Blocks of rows go through all steps while they are in cache.
 *
 * In a block a value is feature-major, as in chain.c: feature j of row r is at [j * ld + r], ld being the rows rounded
 * up. Sums over features then need no horizontal step and nothing is padded. Of a few rows, which would not fill a
 * block, and of any number in a plan over patches of pixels, a value is row-major, its rows padded to LPB_ALIGN. Every
 * value has its place in one piece of memory, which another takes once it is not needed. */
#define _POSIX_C_SOURCE 200809L
#include "plan.h"

#include <math.h>

#include "blocks.h"
#include "memory.h"

enum {
    FEW_ROWS = 12,       /* up to so many are row-major */
    TERMS = 1024,        /* of a product of rows that are row-major */
    STACK_BYTES = 16384, /* of values and scratch that live on the stack */
};

typedef struct {
    const plan_step *step;
    int64_t rows, ld; /* ld 1: row-major */
    char *memory;
    void *scratch;
    int threads; /* that a step may use */
} frame;

static void *place(const lpb_plan *plan, const frame *f, int64_t v) {
    return f->memory + (f->ld == 1 ? plan->values[v].row_place * f->rows : plan->values[v].block_place);
}

/* From one row to the next of a value that is row-major. */
static int64_t padded(int64_t features) { return lpb_round_up(features, LPB_ALIGN); }

/* Numbers of a value, which are worked on at once when nothing differs by feature. */
static int64_t extent(const frame *f, int64_t features) {
    return f->ld == 1 ? padded(features) * f->rows : features * f->ld;
}

#define REAL float
#define P(name) float_##name
#define TABLE(plan) (plan)->isa->reals
#include "plan_steps_template.h"

#define REAL double
#define P(name) double_##name
#define TABLE(plan) (plan)->isa->wide
#include "plan_steps_template.h"

/* The rows side by side, `padded` floats apart: where they are, or turned into scratch. */
static const float *turned(const lpb_plan *plan, const frame *f, const float *x, int64_t features) {
    if (f->ld == 1) return x;
    plan->isa->transpose(x, f->ld, features, f->ld, f->scratch, padded(features));
    return f->scratch;
}

/* One number per row to where a value of one feature has it. */
static void spread(const frame *f, const float *numbers, float *out) {
    const int64_t step = f->ld == 1 ? LPB_ALIGN : 1;
    for (int64_t r = 0; r < f->rows; r++) out[r * step] = numbers[r];
    for (int64_t r = f->rows; r < f->ld; r++) out[r] = 0.0f;
}

/* The products of a few rows by all panels, over so many features at a time that what is read of the rows and a panel
 * stay in the second-level cache; the whole panels are the items of one product. */
static void multiply_few(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    const plan_step *s = f->step;
    const int64_t whole = s->weight_row / s->panel;
    for (int64_t begin = 0; begin < s->features; begin += TERMS) {
        const int64_t left = s->features - begin, terms = left < TERMS ? left : TERMS;
        for (int64_t first = 0; first < s->outputs; first += (first || !whole ? 1 : whole) * s->panel) {
            const plan_panel panel = plan_panel_at(s, first);
            lpb_gemm product = plan_few_product(s, &panel, x + begin, f->rows, out);
            product.b = panel.weight + begin * panel.row;
            product.k = terms;
            product.batch = first || !whole ? 1 : whole;
            product.b_batch = s->panel * s->features;
            product.c_batch = product.bias_batch = s->panel;
            if (begin) product.beta = 1.0f, product.bias = NULL, product.bias_axis = LPB_NO_BIAS;
            if (terms < left) product.activation = LPB_IDENTITY;
            plan->isa->f32.gemm(&product, 0, product.batch, f->scratch);
        }
    }
}

static void run_dense(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    const plan_step *s = f->step;
    const lpb_isa *isa = plan->isa;
    const lpb_activation act = (lpb_activation)s->word;
    if (f->ld == 1 && s->weight_row == 1) {
        float y[LPB_BLOCK_ROWS] __attribute__((aligned(64))) = {0.0f};
        isa->row_dots(x, f->rows, padded(s->features), s->features, s->weight, *(const float *)s->bias, y);
        isa->reals->activate(y, padded(f->rows), act, s->slope);
        spread(f, y, out);
        return;
    }
    if (f->ld == 1 && f->rows > 1) multiply_few(plan, f, x, out);
    for (int64_t first = 0; first < s->outputs && (f->ld > 1 || f->rows == 1); first += s->panel) {
        const plan_panel panel = plan_panel_at(s, first);
        if (f->ld == 1) {
            isa->reals->gemv(s->features, panel.row, x, panel.weight, panel.bias, act, s->slope, out + first);
            continue;
        }
        const lpb_gemm product = plan_product(s, &panel, x, f->ld, out);
        isa->f32.gemm(&product, 0, 1, f->scratch);
    }
    if ((f->ld > 1 || f->rows > 1) && act > LPB_LEAKY_RELU)
        isa->reals->activate(out, extent(f, s->outputs), act, s->slope);
}

static void run_wide_dense(const lpb_plan *plan, const frame *f, const double *x, double *out) {
    const plan_step *s = f->step;
    const lpb_activation act = (lpb_activation)s->word;
    if (f->ld == 1) {
        for (int64_t r = 0; r < f->rows; r++, x += padded(s->features), out += padded(s->outputs))
            plan->isa->wide->gemv(s->features, s->weight_row, x, s->weight, s->bias, act, s->slope, out);
        return;
    }
    const lpb_wide_product product = {
        .m = s->outputs,
        .k = s->features,
        .ld = f->ld,
        .wt_row = s->weight_row,
        .wt = s->weight,
        .bias = s->bias,
        .h = x,
        .c = out,
    };
    plan->isa->wide_product(&product);
    plan->isa->wide->activate(out, s->outputs * f->ld, act, s->slope);
}

/* Products of bfloat16 or int8 take rows side by side and give them so. */
static lpb_status run_low_dense(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    const plan_step *s = f->step;
    const int64_t row = padded(s->features);
    lpb_status status = LPB_OK;
    if (f->ld == 1) {
        for (int64_t r = 0; r < f->rows && status == LPB_OK; r++)
            status = lpb_low_chain_run(s->low, x + r * row, 1, row, out + r * padded(s->outputs), 1);
        return status;
    }
    float *made = (float *)f->scratch + row * LPB_BLOCK_ROWS;
    status = lpb_low_chain_run(s->low, turned(plan, f, x, s->features), f->ld, row, made, 1);
    if (status == LPB_OK) plan->isa->transpose(made, s->outputs, f->ld, s->outputs, out, f->ld);
    return status;
}

static void run_trees(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    double sums[LPB_BLOCK_ROWS];
    float numbers[LPB_BLOCK_ROWS];
    const int64_t features = f->step->features;
    lpb_forest_sums(f->step->forest, turned(plan, f, x, features), f->rows, padded(features), sums);
    for (int64_t r = 0; r < f->rows; r++) numbers[r] = (float)sums[r];
    spread(f, numbers, out);
}

static void run_neighbour(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    float distances[LPB_BLOCK_ROWS];
    const int64_t row = padded(f->step->features);
    float *rest = (float *)f->scratch + row * LPB_BLOCK_ROWS;
    lpb_neighbours_distances(f->step->neighbours, turned(plan, f, x, f->step->features), f->rows, row, distances, rest);
    spread(f, distances, out);
}

/* A transformer, convolutions or patches, which take rows one after the other. */
static void run_net(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    const plan_step *s = f->step;
    const int64_t row = padded(s->features), out_row = f->ld == 1 ? padded(s->outputs) : 1;
    float *rest = (float *)f->scratch + row * LPB_BLOCK_ROWS;
    if (s->patches) { /* values are row-major */
        lpb_patches_run(s->patches, x, f->rows, row, out, out_row, f->scratch);
        return;
    }
    x = turned(plan, f, x, s->features);
    if (s->transformer)
        lpb_transformer_run(s->transformer, x, f->rows, row, out, out_row, f->ld, rest, f->threads);
    else
        lpb_convolution_run(s->convolution, x, f->rows, row, out, out_row, f->ld, rest);
    for (int64_t j = 0; f->rows < f->ld && j < s->outputs; j++)
        memset(out + j * f->ld + f->rows, 0, (size_t)(f->ld - f->rows) * sizeof *out);
}

static void run_normalise(const lpb_plan *plan, const frame *f, const float *x, float *out) {
    const int64_t features = f->step->features, row = padded(features);
    if (f->ld > 1) {
        plan->isa->normalise(x, features, f->ld, f->ld, out);
        return;
    }
    for (int64_t r = 0; r < f->rows; r++, x += row, out += row) {
        float mean, square;
        plan->isa->reals->reduce_row(LPB_MEAN, x, features, &mean);
        for (int64_t j = 0; j < row; j++) out[j] = x[j] - mean;
        plan->isa->reals->reduce_row(LPB_SQUARE_MEAN, out, features, &square);
        const float scale = 1.0f / sqrtf(square + LPB_NORMAL_EPSILON);
        for (int64_t j = 0; j < row; j++) out[j] *= scale;
    }
}

/* A step of an LSTM, over all entries of a block at once, or row by row. */
static void run_cell(const lpb_plan *plan, const frame *f, const float *gates, float *out) {
    const plan_step *s = f->step;
    const float *cell = s->input_count > 1 ? place(plan, f, s->inputs[1]) : NULL;
    const bool block = f->ld > 1;
    const int64_t step = s->outputs * f->ld, row = padded(s->outputs), of_gates = padded(s->features);
    for (int64_t r = 0; r < (block ? 1 : f->rows); r++, gates += of_gates, out += row) {
        if (s->kind == LPB_STEP_CELL)
            plan->isa->cell(gates, step, cell, step, out);
        else
            plan->isa->hidden(gates + 2 * step, cell, step, out);
        if (cell) cell += row;
    }
}

static void run_lstm(const frame *f, const float *x, float *out) {
    const plan_step *s = f->step;
    if (f->ld > 1)
        lpb_recurrence_run_block(s->recurrence, x, f->ld, out, f->scratch);
    else
        lpb_recurrence_run_rows(s->recurrence, x, f->rows, padded(s->features), out, padded(s->outputs), f->scratch);
}

static void run_convert(const lpb_plan *plan, const frame *f, const void *x, void *out) {
    const int64_t count = extent(f, f->step->outputs);
    const bool from_wide = plan->values[f->step->inputs[0]].wide, to_wide = f->step->word;
    if (from_wide == to_wide)
        memcpy(out, x, (size_t)count * (to_wide ? sizeof(double) : sizeof(float)));
    else if (to_wide)
        for (int64_t i = 0; i < count; i++) ((double *)out)[i] = (double)((const float *)x)[i];
    else
        for (int64_t i = 0; i < count; i++) ((float *)out)[i] = (float)((const double *)x)[i];
}

static lpb_status run_step(const lpb_plan *plan, const frame *f) {
    const plan_step *s = f->step;
    const void *x = place(plan, f, s->inputs[0]);
    void *out = place(plan, f, s->output);
    const bool wide = plan->values[s->inputs[0]].wide;
    switch (s->kind) {
    case LPB_STEP_DENSE:
        if (s->low) return run_low_dense(plan, f, x, out);
        if (wide)
            run_wide_dense(plan, f, x, out);
        else
            run_dense(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_TREES:
        run_trees(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_NEIGHBOUR:
        run_neighbour(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_CONVERT:
        run_convert(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_TRANSFORMER:
    case LPB_STEP_CONVOLUTION:
    case LPB_STEP_PATCHES:
        run_net(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_NORMALISE:
        run_normalise(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_CELL:
    case LPB_STEP_HIDDEN:
        run_cell(plan, f, x, out);
        return LPB_OK;
    case LPB_STEP_LSTM:
        run_lstm(f, x, out);
        return LPB_OK;
    default:
        (wide ? double_run : float_run)(plan, f, x, out);
        return LPB_OK;
    }
}

/* The scores of rows whose features are in place. */
static lpb_status run_steps(const lpb_plan *plan, frame *f, float *out) {
    lpb_status status = LPB_OK;
    for (int64_t i = 0; i < plan->count && status == LPB_OK; i++) {
        f->step = plan->steps + i;
        status = run_step(plan, f);
    }
    const float *scores = place(plan, f, plan->count);
    for (int64_t r = 0; r < f->rows && status == LPB_OK; r++) out[r] = scores[f->ld == 1 ? r * LPB_ALIGN : r];
    return status;
}

static lpb_status run_on(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out, void *memory,
                         int threads) {
    const int64_t ld = lpb_round_up(rows, LPB_ALIGN);
    frame f = {
        .rows = rows, .ld = ld, .memory = memory, .scratch = (char *)memory + plan->block_bytes, .threads = threads};
    float *input = place(plan, &f, 0);
    if (rows < ld) memset(input, 0, (size_t)(plan->values[0].features * ld) * sizeof *input);
    plan->isa->transpose(x, x_row, rows, plan->values[0].features, input, ld);
    return run_steps(plan, &f, out);
}

static lpb_status run_block(const void *plan, const float *x, int64_t rows, int64_t x_row, float *out, void *memory) {
    return run_on(plan, x, rows, x_row, out, memory, 1);
}

/* A single block, whose steps may use the threads that have no block of their own. */
static lpb_status run_alone(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out,
                            int threads) {
    void *memory = lpb_new_memory(plan->block_bytes + plan->scratch_bytes);
    if (!memory) return LPB_NO_MEMORY;
    const lpb_status status = run_on(plan, x, rows, x_row, out, memory, threads);
    free(memory);
    return status;
}

/* Rows whose values are row-major. */
static lpb_status run_rows(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out, char *memory,
                           int threads) {
    frame f = {.rows = rows, .ld = 1, .memory = memory, .scratch = memory + plan->row_bytes * rows, .threads = threads};
    const int64_t features = plan->values[0].features, row = padded(features);
    float *input = place(plan, &f, 0);
    for (int64_t r = 0; r < rows; r++, input += row) {
        memcpy(input, x + r * x_row, (size_t)features * sizeof *input);
        memset(input + features, 0, (size_t)(row - features) * sizeof *input);
    }
    return run_steps(plan, &f, out);
}

static lpb_status run_row_block(const void *plan, const float *x, int64_t rows, int64_t x_row, float *out,
                                void *memory) {
    return run_rows(plan, x, rows, x_row, out, memory, 1);
}

static lpb_status run_few(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    char local[STACK_BYTES] __attribute__((aligned(64)));
    const int64_t bytes = plan->row_bytes * rows + plan->scratch_bytes;
    char *memory = bytes <= STACK_BYTES ? local : lpb_new_memory(bytes);
    if (!memory) return LPB_NO_MEMORY;
    const lpb_status status = run_rows(plan, x, rows, x_row, out, memory, threads);
    if (memory != local) free(memory);
    return status;
}

lpb_status lpb_plan_run(const lpb_plan *plan, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    if (rows <= FEW_ROWS) return rows > 0 ? run_few(plan, x, rows, x_row, out, threads) : LPB_OK;
    if (rows <= LPB_BLOCK_ROWS && !plan->row_major) return run_alone(plan, x, rows, x_row, out, threads);
    const int64_t bytes = plan->row_major ? plan->row_bytes * LPB_BLOCK_ROWS : plan->block_bytes;
    const lpb_blocks blocks = {
        plan->row_major ? run_row_block : run_block, plan, bytes + plan->scratch_bytes, x, rows, x_row, out, 1};
    return lpb_blocks_run(&blocks, threads);
}
