/* A tape: the operations of a training step, one behind the other, over matrices in one block of memory.
 *
 * Who makes the tape has written out its gradients; here is nothing but the operations, so that a step of several nets
 * with losses of their own is one call. Rows of matrices are `ld` floats apart, a multiple of LPB_ALIGN; operations on
 * whole rows work on what is beyond their columns too, and products neither read nor write it. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "isa/isa.h"
#include "memory.h"
#include "mixture.h"

struct lpb_tape {
    const lpb_isa *isa;
    float *memory;
    lpb_tape_sizes sizes;
    int64_t operations, values, widest;
    lpb_tape_value *value;
    lpb_tape_operation *operation;
    lpb_tape_table *table;
    int64_t tables;
    int64_t *entry;
    uint8_t *place; /* of an entry that is the number of a block of c: whether it is the first or the last */
    int64_t *made;  /* steps that each operation has made, of Adam */
    float *targets; /* zeros and then ones, as many as the longest logits */
    float *sums;
    void *scratch;
    double *doubles; /* of mixtures */
};

enum { TURNED = 1, ADDED = 2 }; /* bits of `number` of a product or of sums */
enum { FIRST = 1, LAST = 2 };   /* of the products that are added to a block */
enum { TOGETHER = 64 };         /* columns of a block of c that a product makes at a time, so that they stay in cache */

static int64_t end_of(const lpb_tape_value *v) { return v->offset + (v->rows - 1) * v->ld + v->columns; }
static int64_t whole_end(const lpb_tape_value *v) { return v->offset + v->rows * v->ld; }

static bool value_fits(const lpb_tape_value *v, int64_t floats) {
    const int64_t most = INT32_MAX; /* so that no product below overflows */
    return v->offset >= 0 && v->rows >= 1 && v->columns >= 1 && v->ld >= v->columns && v->offset <= most &&
           v->rows <= most && v->ld <= most && v->ld % LPB_ALIGN == 0 && end_of(v) <= floats;
}

/* What the operands of an operation must be. */
static bool same_shape(const lpb_tape_value *a, const lpb_tape_value *b) {
    return a && b && a->rows == b->rows && a->columns == b->columns && a->ld == b->ld;
}

static bool row_of(const lpb_tape_value *v, int64_t columns) { return v && v->rows == 1 && v->columns == columns; }

static bool product_fits(const lpb_tape_operation *o, const lpb_tape_value *a, const lpb_tape_value *b,
                         const lpb_tape_value *c, const lpb_tape_value *d) {
    const bool turned = o->number & TURNED;
    return a && b && c && (turned ? a->columns : a->rows) == c->rows && (turned ? a->rows : a->columns) == b->rows &&
           b->columns == c->columns && (!d || row_of(d, c->columns)) && o->word >= 0 && o->word < LPB_ACTIVATIONS &&
           o->number >= 0 && o->number <= (TURNED | ADDED);
}

/* The eight values from `number` on: running mean and variance, mean, scale, two of scratch, and two gradients. */
enum { NORM_VALUES = 8 };

static bool norm_fits(const lpb_tape *t, const lpb_tape_operation *o, const lpb_tape_value *a, const lpb_tape_value *b,
                      const lpb_tape_value *c, const lpb_tape_value *d) {
    if (!same_shape(a, c) || !row_of(b, a->columns) || !row_of(d, a->columns) || o->number < 0 ||
        o->number > t->values - NORM_VALUES)
        return false;
    for (int64_t i = 0; i < NORM_VALUES; i++)
        if (!row_of(t->value + o->number + i, a->columns)) return false;
    return true;
}

static bool whole(const lpb_tape *t, const lpb_tape_value *v) { return v && whole_end(v) <= t->sizes.floats; }

static bool all_alike(const lpb_tape *t, const lpb_tape_value *a, const lpb_tape_value *b, const lpb_tape_value *c) {
    return same_shape(a, b) && same_shape(a, c) && whole(t, a) && whole(t, b) && whole(t, c);
}

static const lpb_tape_table *table_of(const lpb_tape *t, int64_t number) {
    return number < 0 || number >= t->tables ? NULL : t->table + number;
}

/* Whether every entry of a column of the table, or with -1 of all of them, is at least `least` and below `end`. */
static bool entries_fit(const lpb_tape *t, const lpb_tape_table *table, int64_t column, int64_t least, int64_t end) {
    const int64_t step = column < 0 ? 1 : table->columns;
    for (int64_t i = column < 0 ? 0 : column; i < table->rows * table->columns; i += step)
        if (t->entry[table->start + i] < least || t->entry[table->start + i] >= end) return false;
    return true;
}

/* Rows of c, and terms, of a product of blocks. */
static int64_t block_rows(const lpb_tape_operation *o, const lpb_tape_value *a, const lpb_tape_table *table) {
    return o->number & TURNED ? a->columns : table->block;
}

static int64_t block_terms(const lpb_tape_operation *o, const lpb_tape_value *a, const lpb_tape_table *table) {
    return o->number & TURNED ? table->block : a->columns;
}

static bool blocks_fit(const lpb_tape *t, const lpb_tape_operation *o, const lpb_tape_value *a, const lpb_tape_value *b,
                       const lpb_tape_value *c, const lpb_tape_value *d) {
    const lpb_tape_table *table = table_of(t, o->number < 0 ? -1 : o->number / 4);
    return a && b && c && table && table->columns == 3 && table->block >= 1 && (o->number & 3) <= (TURNED | ADDED) &&
           b->columns == c->columns && (!d || d->columns == c->columns) && o->word >= 0 && o->word < LPB_ACTIVATIONS &&
           (!d || d->rows == 1 || d->rows >= c->rows / block_rows(o, a, table)) &&
           entries_fit(t, table, 0, 0, c->rows / block_rows(o, a, table)) &&
           entries_fit(t, table, 1, 0, a->rows / table->block) &&
           entries_fit(t, table, 2, 0, b->rows / block_terms(o, a, table));
}

static bool operation_fits(const lpb_tape *t, const lpb_tape_operation *o) {
    const int64_t ids[] = {o->a, o->b, o->c, o->d};
    const lpb_tape_value *v[4];
    for (int i = 0; i < 4; i++) {
        if (ids[i] < -1 || ids[i] >= t->values) return false;
        v[i] = ids[i] < 0 ? NULL : t->value + ids[i];
    }
    const lpb_tape_value *a = v[0], *b = v[1], *c = v[2], *d = v[3];
    const bool rectified = o->word >= 0 && o->word < LPB_ACTIVATIONS;
    const lpb_tape_table *table = table_of(t, o->number);
    switch (o->kind) {
    case LPB_TAPE_GATHER:
        return c && c->columns == t->sizes.features && c->rows == t->sizes.batch && o->number >= 0 &&
               o->number < t->sizes.orders;
    case LPB_TAPE_NORMAL:
        return c && o->number >= 0 && o->number <= t->sizes.normals - c->rows * c->columns;
    case LPB_TAPE_PRODUCT:
        return product_fits(o, a, b, c, d);
    case LPB_TAPE_DOTS:
        return a && row_of(b, a->columns) && row_of(c, a->rows) && row_of(d, 1) &&
               c->offset + lpb_round_up(a->rows, LPB_ALIGN) <= t->sizes.floats;
    case LPB_TAPE_ACTIVATE:
        return whole(t, c) && rectified;
    case LPB_TAPE_GATE:
        return same_shape(a, c) && whole(t, a) && whole(t, c) && rectified;
    case LPB_TAPE_DROP:
        return c && o->number >= 0 && o->number <= 4 * t->sizes.words - c->rows * c->columns && o->real[0] >= 0 &&
               o->real[0] < 1;
    case LPB_TAPE_SUMS:
        return whole(t, a) && (row_of(c, a->columns) || (a->rows == 1 && row_of(c, 1)));
    case LPB_TAPE_PAIR:
        return a && (o->word || a->columns % 2 == 0) && row_of(a, a->columns) && row_of(c, a->columns) &&
               a->ld == c->ld && a->columns / 2 + lpb_round_up(a->columns / 2, LPB_ALIGN) <= a->ld && whole(t, a) &&
               whole(t, c) && o->number >= 0 && o->number <= t->sizes.losses - (o->word ? 1 : 2);
    case LPB_TAPE_ADAM:
        return same_shape(a, b) && same_shape(a, c) && same_shape(a, d) && row_of(a, a->ld);
    case LPB_TAPE_FOLLOW:
        return same_shape(a, c) && row_of(a, a->ld);
    case LPB_TAPE_TURN:
        return a && c && a->rows == c->columns && a->columns == c->rows && whole(t, c) &&
               c->ld >= lpb_round_up(a->rows, LPB_ALIGN);
    case LPB_TAPE_CLEAR:
        return whole(t, c);
    case LPB_TAPE_NORM:
    case LPB_TAPE_NORM_GRADIENT:
        return norm_fits(t, o, a, b, c, d);
    case LPB_TAPE_ADD:
    case LPB_TAPE_MULTIPLY:
        return all_alike(t, a, b, c);
    case LPB_TAPE_SOFT:
        return all_alike(t, a, c, d);
    case LPB_TAPE_BEND:
        return all_alike(t, a, c, d) && (!b || all_alike(t, a, b, b));
    case LPB_TAPE_FEATURES:
        return same_shape(a, b) && c && c->rows == a->rows && c->columns >= 2;
    case LPB_TAPE_FEATURES_GRADIENT:
        return same_shape(a, b) && same_shape(a, c) && d && d->rows == a->rows && d->columns >= 2 && o->number >= 0 &&
               o->number < t->sizes.losses;
    case LPB_TAPE_MIXTURE:
        return same_shape(a, c) && same_shape(b, d) && a->rows == b->rows && a->columns <= LPB_MIXTURE_WIDTH &&
               b->columns <= LPB_MIXTURE_COMPONENTS && o->number >= 0 && o->number <= t->sizes.losses - 2;
    case LPB_TAPE_SQUARE:
        return all_alike(t, a, b, c) && o->number >= 0 && o->number < t->sizes.losses;
    case LPB_TAPE_BLOCKS:
        return blocks_fit(t, o, a, b, c, d);
    case LPB_TAPE_PICK:
        return a && c && table && a->columns == c->columns && table->rows == c->rows && table->columns == 1 &&
               entries_fit(t, table, -1, -1, a->rows);
    case LPB_TAPE_COLLECT:
        return a && c && table && (!d || row_of(d, 1)) && table->rows == c->rows &&
               entries_fit(t, table, -1, -1, a->rows / c->columns * a->columns);
    }
    return false;
}

/* The operands of a product, of their first places and without what is done to the sums. */
static lpb_gemm operands_of(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_value *a = t->value + o->a, *b = t->value + o->b, *c = t->value + o->c;
    const bool turned = o->number & TURNED;
    return (lpb_gemm){
        .batch = 1,
        .m = c->rows,
        .n = c->columns,
        .k = b->rows,
        .a = t->memory + a->offset,
        .a_row = turned ? 1 : a->ld,
        .a_col = turned ? a->ld : 1,
        .b = t->memory + b->offset,
        .b_row = b->ld,
        .b_col = 1,
        .c = t->memory + c->offset,
        .c_row = c->ld,
        .alpha = 1.0f,
        .slope = (float)o->real[0],
    };
}

static lpb_gemm product_of(const lpb_tape *t, const lpb_tape_operation *o) {
    lpb_gemm g = operands_of(t, o);
    g.beta = o->number & ADDED ? 1.0f : 0.0f;
    g.bias = o->d < 0 ? NULL : t->memory + t->value[o->d].offset;
    g.bias_axis = o->d < 0 ? LPB_NO_BIAS : LPB_COLUMN_BIAS;
    g.activation = (lpb_activation)o->word;
    return g;
}

/* What the products of blocks have in common, for the first columns. */
static lpb_gemm blocks_of(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_table *table = t->table + o->number / 4;
    lpb_gemm g = operands_of(t, o);
    g.m = block_rows(o, t->value + o->a, table);
    g.k = block_terms(o, t->value + o->a, table);
    if (g.n > TOGETHER) g.n = TOGETHER;
    return g;
}

void lpb_tape_free(lpb_tape *t) {
    if (!t) return;
    free(t->value);
    free(t->table);
    free(t->entry);
    free(t->place);
    free(t->operation);
    free(t->made);
    free(t->targets);
    free(t->sums);
    free(t->scratch);
    free(t->doubles);
    free(t);
}

/* Notes which of the products that are added to a block is the first, and which the last. */
static bool mark_places(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_table *table = t->table + o->number / 4;
    const int64_t count = table->rows * table->columns;
    const int64_t *entry = t->entry + table->start;
    uint8_t *place = t->place + table->start;
    uint8_t *seen = calloc((size_t)(t->value[o->c].rows / block_rows(o, t->value + o->a, table)), 1);
    if (!seen) return false;
    for (int64_t i = 0; i < count; i += table->columns) {
        place[i] = seen[entry[i]] ? 0 : FIRST;
        seen[entry[i]] = 1;
    }
    for (int64_t i = count - table->columns; i >= 0; i -= table->columns) {
        if (seen[entry[i]]) place[i] |= LAST;
        seen[entry[i]] = 0;
    }
    free(seen);
    return true;
}

/* Copies of the tables; LPB_BAD_ARGUMENT where one is not within the entries. */
static lpb_status copy_tables(lpb_tape *t, const lpb_tape_tables *tables) {
    t->tables = tables->count;
    t->table = lpb_new_memory(tables->count * (int64_t)sizeof *t->table);
    t->entry = lpb_new_memory(tables->entries * (int64_t)sizeof *t->entry);
    t->place = calloc((size_t)tables->entries + 1, 1);
    if (!t->table || !t->entry || !t->place) return LPB_NO_MEMORY;
    if (tables->count) memcpy(t->table, tables->table, (size_t)tables->count * sizeof *t->table);
    if (tables->entries) memcpy(t->entry, tables->entry, (size_t)tables->entries * sizeof *t->entry);
    for (int64_t i = 0; i < tables->count; i++) {
        const lpb_tape_table *table = t->table + i;
        const int64_t most = tables->entries;
        if (table->start < 0 || table->start > most || table->rows < 1 || table->columns < 1 || table->rows > most ||
            table->columns > most / table->rows || table->rows * table->columns > most - table->start)
            return LPB_BAD_ARGUMENT;
    }
    return LPB_OK;
}

/* Room for what operations need beyond their values. */
static bool reserve(lpb_tape *t) {
    int64_t scratch = 0, widest = LPB_ALIGN;
    int64_t doubles = 0;
    for (int64_t i = 0; i < t->operations; i++) {
        const lpb_tape_operation *o = t->operation + i;
        if ((o->kind == LPB_TAPE_SUMS || o->kind == LPB_TAPE_PAIR) && t->value[o->a].ld > widest)
            widest = t->value[o->a].ld;
        if (o->kind == LPB_TAPE_BLOCKS && !mark_places(t, o)) return false;
        if (o->kind == LPB_TAPE_MIXTURE) {
            const int64_t needed = lpb_mixture_doubles(t->value[o->b].rows, t->value[o->b].columns);
            if (needed > doubles) doubles = needed;
        }
        if (o->kind != LPB_TAPE_PRODUCT && o->kind != LPB_TAPE_BLOCKS) continue;
        const lpb_gemm g = o->kind == LPB_TAPE_PRODUCT ? product_of(t, o) : blocks_of(t, o);
        const int64_t needed = t->isa->f32.scratch(&g);
        if (needed > scratch) scratch = needed;
    }
    t->doubles = lpb_new_memory(doubles * (int64_t)sizeof(double));
    t->widest = widest;
    t->scratch = lpb_new_memory(scratch);
    t->sums = lpb_new_zeros(widest);
    t->targets = lpb_new_zeros(2 * widest);
    for (int64_t i = 0; t->targets && i < widest; i++) t->targets[widest + i] = 1.0f;
    return t->scratch && t->sums && t->targets && t->doubles;
}

lpb_status lpb_tape_new(const lpb_isa *isa, float *memory, const lpb_tape_sizes *sizes, const lpb_tape_value *values,
                        int64_t value_count, const lpb_tape_operation *operations, int64_t operation_count,
                        const lpb_tape_tables *tables, lpb_tape **tape, int64_t *wrong) {
    lpb_tape *t = calloc(1, sizeof *t);
    *wrong = -1;
    if (!t) return LPB_NO_MEMORY;
    t->isa = isa;
    t->memory = memory;
    t->sizes = *sizes;
    t->operations = operation_count;
    t->values = value_count;
    t->value = lpb_new_memory(value_count * (int64_t)sizeof *t->value);
    t->operation = lpb_new_memory(operation_count * (int64_t)sizeof *t->operation);
    t->made = calloc((size_t)operation_count + 1, sizeof *t->made);
    const lpb_status copied = t->value && t->operation && t->made ? copy_tables(t, tables) : LPB_NO_MEMORY;
    if (copied != LPB_OK) {
        lpb_tape_free(t);
        return copied;
    }
    memcpy(t->value, values, (size_t)value_count * sizeof *values);
    memcpy(t->operation, operations, (size_t)operation_count * sizeof *operations);
    bool fits = true;
    for (int64_t v = 0; v < value_count && fits; v++) fits = value_fits(values + v, sizes->floats);
    for (int64_t i = 0; i < operation_count && fits; i++) {
        *wrong = i;
        fits = operation_fits(t, operations + i);
    }
    const bool complete = fits && reserve(t);
    if (complete) {
        *tape = t;
        return LPB_OK;
    }
    lpb_tape_free(t);
    return fits ? LPB_NO_MEMORY : LPB_BAD_ARGUMENT;
}

/* Losses of both halves of the logits, of which the first should say real[0] and the second the opposite; or of all. */
static void pair_loss(const lpb_tape *t, const lpb_tape_operation *o, float *losses) {
    const lpb_tape_value *a = t->value + o->a, *c = t->value + o->c;
    const int64_t count = o->word ? a->columns : a->columns / 2;
    for (int side = 0; side < (o->word ? 1 : 2); side++) {
        const bool genuine = (o->real[0] > 0.5) == (side == 0);
        const double sum =
            t->isa->logit_loss(t->memory + a->offset + side * count, t->targets + (genuine ? t->widest : 0), count,
                               1.0f / (float)count, t->memory + c->offset + side * count);
        losses[o->number + side] = (float)(sum / (double)count);
    }
}

static void sum_columns(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_value *a = t->value + o->a, *c = t->value + o->c;
    float *to = t->memory + c->offset;
    const float *x = t->memory + a->offset;
    if (c->columns == 1 && a->rows == 1) {
        float sum = o->number & ADDED ? to[0] : 0.0f;
        for (int64_t j = 0; j < a->columns; j++) sum += x[j];
        to[0] = sum;
        return;
    }
    t->isa->column_sums(x, a->rows, a->ld, t->sums);
    for (int64_t j = 0; j < c->columns; j++) to[j] = o->number & ADDED ? to[j] + t->sums[j] : t->sums[j];
}

static void adam_step(lpb_tape *t, int64_t index) {
    const lpb_tape_operation *o = t->operation + index;
    const double count = (double)++t->made[index], rate = o->real[0], beta1 = o->real[1], beta2 = o->real[2];
    const lpb_adam_step step = {
        .beta1 = (float)beta1,
        .beta2 = (float)beta2,
        .one_minus_beta1 = (float)(1.0 - beta1),
        .one_minus_beta2 = (float)(1.0 - beta2),
        .step_size = (float)(rate / (1.0 - pow(beta1, count))),
        .inverse_root_correction = (float)(1.0 / sqrt(1.0 - pow(beta2, count))),
        .epsilon = (float)o->real[3],
        .gradient_scale = 1.0f,
    };
    float *m = t->memory;
    t->isa->adam(m + t->value[o->a].offset, m + t->value[o->b].offset, m + t->value[o->c].offset,
                 m + t->value[o->d].offset, t->value[o->a].columns, &step);
}

static void normalise(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_value *a = t->value + o->a, *v = t->value + o->number;
    float *m = t->memory;
    const bool learns = o->kind == LPB_TAPE_NORM_GRADIENT && o->word;
    const lpb_batch_norm norm = {
        .rows = a->rows,
        .columns = a->columns,
        .ld = a->ld,
        .momentum = (float)o->real[0],
        .epsilon = (float)o->real[1],
        .weight = m + t->value[o->b].offset,
        .bias = m + t->value[o->d].offset,
        .running_mean = m + v[0].offset,
        .running_variance = m + v[1].offset,
        .mean = m + v[2].offset,
        .scale = m + v[3].offset,
        .sums = m + v[4].offset,
        .products = m + v[5].offset,
        .weight_gradient = learns ? m + v[6].offset : NULL,
        .bias_gradient = learns ? m + v[7].offset : NULL,
    };
    if (o->kind == LPB_TAPE_NORM)
        t->isa->normalise_batch(&norm, m + a->offset, m + t->value[o->c].offset);
    else
        t->isa->normalise_batch_gradient(&norm, m + a->offset, m + t->value[o->c].offset);
}

/* Rows into a value: those of x by their numbers, or numbers that lie one behind the other. */
static void take_rows(const lpb_tape *t, const lpb_tape_operation *o, const lpb_tape_data *data, int64_t step) {
    const lpb_tape_value *c = t->value + o->c;
    float *to = t->memory + c->offset;
    const size_t bytes = (size_t)c->columns * sizeof(float);
    if (o->kind == LPB_TAPE_GATHER) {
        const int64_t *order = data->orders[o->number] + step * t->sizes.batch;
        for (int64_t r = 0; r < c->rows; r++) memcpy(to + r * c->ld, data->x + order[r] * data->x_row, bytes);
    } else {
        const float *from = data->normals + step * t->sizes.normals + o->number;
        for (int64_t r = 0; r < c->rows; r++) memcpy(to + r * c->ld, from + r * c->columns, bytes);
    }
}

static void drop(const lpb_tape *t, const lpb_tape_operation *o, const lpb_tape_data *data, int64_t step) {
    const lpb_tape_value *c = t->value + o->c;
    const uint16_t *bits = data->words + 4 * step * t->sizes.words + o->number;
    const int32_t least = (int32_t)nearbyint(o->real[0] * 65536.0);
    const float scale = (float)(1.0 / (1.0 - o->real[0]));
    float *x = t->memory + c->offset;
    if (c->ld == c->columns) {
        t->isa->drop(x, bits, c->rows * c->columns, least, scale);
        return;
    }
    for (int64_t r = 0; r < c->rows; r++) t->isa->drop(x + r * c->ld, bits + r * c->columns, c->columns, least, scale);
}

/* What is done number by number, padding included. */
static void run_elementwise(const lpb_tape *t, const lpb_tape_operation *o, const lpb_tape_data *data, int64_t step) {
    const lpb_tape_value *like = t->value + o->a;
    const int64_t count = like->rows * like->ld;
    float *a = t->memory + like->offset, *c = t->memory + t->value[o->c].offset;
    const float *b = o->b < 0 ? NULL : t->memory + t->value[o->b].offset;
    float *d = o->d < 0 ? NULL : t->memory + t->value[o->d].offset;
    switch (o->kind) {
    case LPB_TAPE_ADD:
        t->isa->add_scaled(a, b, count, (float)o->real[0], c);
        return;
    case LPB_TAPE_MULTIPLY:
        t->isa->reals->combine(LPB_MULTIPLY, a, count, b, count, 1, count, c);
        return;
    case LPB_TAPE_SOFT:
        t->isa->soft(a, count, c, d);
        return;
    case LPB_TAPE_BEND:
        t->isa->bend(a, b, d, count, c);
        return;
    default:
        data->losses[step * t->sizes.losses + o->number] =
            (float)(o->real[0] * t->isa->square_loss(a, b, count, (float)(2.0 * o->real[0]), c));
        return;
    }
}

/* Of each pair of rows: distance and cosine, or the gradient by the second through them; see harness.detectors.mixture.
 */
static void compare_rows(const lpb_tape *t, const lpb_tape_operation *o, float *losses) {
    const lpb_tape_value *a = t->value + o->a, *c = t->value + o->c;
    const bool back = o->kind == LPB_TAPE_FEATURES_GRADIENT;
    const lpb_tape_value *columns = back ? t->value + o->d : c;
    const double tiny = 1e-12, rows = (double)a->rows;
    double sum = 0;
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = t->memory + a->offset + r * a->ld, *y = t->memory + t->value[o->b].offset + r * a->ld;
        float *last = t->memory + columns->offset + r * columns->ld + columns->columns - 2, own, other, product;
        t->isa->row_dots(x, 1, a->ld, a->columns, x, 0.0f, &own);
        t->isa->row_dots(y, 1, a->ld, a->columns, y, 0.0f, &other);
        t->isa->row_dots(x, 1, a->ld, a->columns, y, 0.0f, &product);
        const double square = t->isa->squared_distance(x, y, a->columns), distance = sqrt(square);
        const double x_norm = sqrt((double)own) + tiny, y_norm = sqrt((double)other) + tiny;
        if (!back) {
            last[0] = (float)(distance / x_norm);
            last[1] = (float)(product / (x_norm * y_norm));
            continue;
        }
        sum += square;
        const double of_distance = distance > 0 ? last[0] / (distance * x_norm) : 0.0;
        const double of_product = last[1] / (x_norm * y_norm);
        const double of_norm = other > 0 ? -of_product * product / (y_norm * sqrt((double)other)) : 0.0;
        const float apart = (float)(2 / rows + of_distance), by_x = (float)of_product, by_y = (float)of_norm;
        float *g = t->memory + c->offset + r * c->ld;
        for (int64_t j = 0; j < a->columns; j++) g[j] = apart * (y[j] - x[j]) + by_x * x[j] + by_y * y[j];
    }
    if (back) losses[o->number] = (float)(sum / rows);
}

static void run_mixture(const lpb_tape *t, const lpb_tape_operation *o, float *losses) {
    const lpb_tape_value *a = t->value + o->a, *b = t->value + o->b, *c = t->value + o->c, *d = t->value + o->d;
    const lpb_mixture mixture = {
        .rows = a->rows,
        .width = a->columns,
        .components = b->columns,
        .z = t->memory + a->offset,
        .logits = t->memory + b->offset,
        .z_ld = a->ld,
        .logits_ld = b->ld,
        .of_z = t->memory + c->offset,
        .of_logits = t->memory + d->offset,
        .of_z_ld = c->ld,
        .of_logits_ld = d->ld,
        .bound = o->word,
        .energy_weight = o->real[0],
        .covariance_weight = o->real[1],
        .floor = o->real[2],
    };
    lpb_mixture_gradient(&mixture, t->doubles, losses + o->number, losses + o->number + 1);
}

static void multiply_blocks(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_table *table = t->table + o->number / 4;
    const lpb_gemm whole = blocks_of(t, o);
    const lpb_tape_value *a = t->value + o->a, *b = t->value + o->b, *c = t->value + o->c;
    const lpb_tape_value *d = o->d < 0 ? NULL : t->value + o->d;
    const float *bias = d ? t->memory + d->offset : NULL;
    const int64_t bias_row = d && d->rows > 1 ? d->ld : 0, end = table->start + 3 * table->rows;
    const float replaced = o->number & ADDED ? 1.0f : 0.0f;
    for (int64_t j = 0; j < c->columns; j += whole.n) {
        lpb_gemm g = whole;
        if (c->columns - j < g.n) g.n = c->columns - j;
        for (int64_t i = table->start; i < end; i += 3) {
            const int64_t *entry = t->entry + i;
            const bool first = t->place[i] & FIRST, last = t->place[i] & LAST;
            g.c = (float *)whole.c + entry[0] * whole.m * c->ld + j;
            g.a = (const float *)whole.a + entry[1] * table->block * a->ld;
            g.b = (const float *)whole.b + entry[2] * whole.k * b->ld + j;
            g.b_next = i + 3 < end ? (int32_t)((entry[5] - entry[2]) * whole.k * b->ld) : 0;
            g.beta = first ? replaced : 1.0f;
            g.bias = bias && first ? bias + entry[0] * bias_row + j : NULL;
            g.bias_axis = g.bias ? LPB_COLUMN_BIAS : LPB_NO_BIAS;
            g.activation = last ? (lpb_activation)o->word : LPB_IDENTITY;
            t->isa->f32.gemm(&g, 0, 1, t->scratch);
        }
    }
}

static void pick_rows(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_value *a = t->value + o->a, *c = t->value + o->c;
    const int64_t *entry = t->entry + t->table[o->number].start;
    const size_t bytes = (size_t)c->columns * sizeof(float);
    for (int64_t r = 0; r < c->rows; r++) {
        float *to = t->memory + c->offset + r * c->ld;
        if (entry[r] < 0)
            memset(to, 0, bytes);
        else
            memcpy(to, t->memory + a->offset + entry[r] * a->ld, bytes);
    }
}

static void collect(const lpb_tape *t, const lpb_tape_operation *o) {
    const lpb_tape_value *a = t->value + o->a, *c = t->value + o->c;
    const lpb_tape_table *table = t->table + o->number;
    const int64_t *entry = t->entry + table->start;
    const float start = o->d < 0 ? 0.0f : t->memory[t->value[o->d].offset];
    for (int64_t q = 0; q < c->rows; q++) {
        float *to = t->memory + c->offset + q * c->ld;
        for (int64_t r = 0; r < c->columns; r++) to[r] = start;
        for (int64_t i = 0; i < table->columns; i++, entry++) {
            if (*entry < 0) continue;
            const float *from = t->memory + a->offset + *entry / a->columns * c->columns * a->ld + *entry % a->columns;
            for (int64_t r = 0; r < c->columns; r++) to[r] += from[r * a->ld];
        }
    }
}

static void run_operation(lpb_tape *t, int64_t index, const lpb_tape_data *data, int64_t step) {
    const lpb_tape_operation *o = t->operation + index;
    const lpb_tape_value *a = o->a < 0 ? NULL : t->value + o->a, *c = o->c < 0 ? NULL : t->value + o->c;
    float *m = t->memory;
    switch (o->kind) {
    case LPB_TAPE_GATHER:
    case LPB_TAPE_NORMAL:
        take_rows(t, o, data, step);
        return;
    case LPB_TAPE_PRODUCT: {
        const lpb_gemm g = product_of(t, o);
        t->isa->f32.gemm(&g, 0, 1, t->scratch);
        return;
    }
    case LPB_TAPE_DOTS:
        t->isa->row_dots(m + a->offset, a->rows, a->ld, a->columns, m + t->value[o->b].offset, m[t->value[o->d].offset],
                         m + c->offset);
        return;
    case LPB_TAPE_ACTIVATE:
        t->isa->reals->activate(m + c->offset, c->rows * c->ld, (lpb_activation)o->word, (float)o->real[0]);
        return;
    case LPB_TAPE_GATE:
        t->isa->activation_gradient(m + c->offset, m + a->offset, c->rows * c->ld, (lpb_activation)o->word,
                                    (float)o->real[0]);
        return;
    case LPB_TAPE_DROP:
        drop(t, o, data, step);
        return;
    case LPB_TAPE_SUMS:
        sum_columns(t, o);
        return;
    case LPB_TAPE_PAIR:
        pair_loss(t, o, data->losses + step * t->sizes.losses);
        return;
    case LPB_TAPE_ADAM:
        adam_step(t, index);
        return;
    case LPB_TAPE_FOLLOW:
        t->isa->follow(m + c->offset, m + a->offset, c->columns, (float)o->real[0]);
        return;
    case LPB_TAPE_TURN:
        t->isa->transpose(m + a->offset, a->ld, a->rows, a->columns, m + c->offset, c->ld);
        return;
    case LPB_TAPE_CLEAR:
        memset(m + c->offset, 0, (size_t)(c->rows * c->ld) * sizeof(float));
        return;
    case LPB_TAPE_NORM:
    case LPB_TAPE_NORM_GRADIENT:
        normalise(t, o);
        return;
    case LPB_TAPE_ADD:
    case LPB_TAPE_MULTIPLY:
    case LPB_TAPE_SOFT:
    case LPB_TAPE_BEND:
    case LPB_TAPE_SQUARE:
        run_elementwise(t, o, data, step);
        return;
    case LPB_TAPE_FEATURES:
    case LPB_TAPE_FEATURES_GRADIENT:
        compare_rows(t, o, data->losses + step * t->sizes.losses);
        return;
    case LPB_TAPE_MIXTURE:
        run_mixture(t, o, data->losses + step * t->sizes.losses);
        return;
    case LPB_TAPE_BLOCKS:
        multiply_blocks(t, o);
        return;
    case LPB_TAPE_PICK:
        pick_rows(t, o);
        return;
    case LPB_TAPE_COLLECT:
        collect(t, o);
        return;
    }
}

void lpb_tape_run(lpb_tape *t, const lpb_tape_data *data, int64_t steps) {
    for (int64_t step = 0; step < steps; step++)
        for (int64_t i = 0; i < t->operations; i++) run_operation(t, i, data, step);
}
