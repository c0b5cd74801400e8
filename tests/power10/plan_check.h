/* Random plans against a walk through their steps in double precision, which carries a bound of the rounding of every
 * number along. Included by kernel_check.c. */
enum { MOST_STEPS = 9, MOST_WIDTH = 160 };

/* A number and the most that rounding may have moved it. */
typedef struct {
    double x, error;
} bounded;

typedef struct {
    lpb_step steps[MOST_STEPS];
    int64_t inputs[MOST_STEPS][3];
    int64_t width[MOST_STEPS + 1];
    bool wide[MOST_STEPS + 1];
    int64_t count;
} drawn_plan;

static lpb_array array_of(lpb_array_type type, int64_t rows, int64_t columns) {
    static const size_t sizes[] = {4, 8, 4, 8};
    const int64_t count = rows * columns;
    void *data = block((size_t)count * sizes[type]);
    for (int64_t i = 0; i < count; i++) {
        if (type == LPB_ARRAY_FLOAT) ((float *)data)[i] = number();
        if (type == LPB_ARRAY_DOUBLE) ((double *)data)[i] = (double)number() + 1e-9 * (double)number();
    }
    return (lpb_array){data, type, rows, columns};
}

static double entry(const lpb_array *a, int64_t i) {
    return a->type == LPB_ARRAY_DOUBLE ? ((const double *)a->data)[i] : (double)((const float *)a->data)[i];
}

/* Trees of random shape: a node's children come behind it, and what is left over is nobody's child. */
static void draw_trees(lpb_step *s, int64_t features) {
    static const lpb_array_type types[] = {LPB_ARRAY_INT32, LPB_ARRAY_FLOAT, LPB_ARRAY_INT32, LPB_ARRAY_INT32,
                                           LPB_ARRAY_FLOAT};
    const int64_t trees = 1 + below(20), nodes = 1 + 2 * below(12);
    for (int i = 0; i < 5; i++) s->arrays[i] = array_of(types[i], trees, nodes);
    s->array_count = 5;
    int32_t *feature = (int32_t *)s->arrays[0].data, *left = (int32_t *)s->arrays[2].data,
            *right = (int32_t *)s->arrays[3].data;
    for (int64_t t = 0; t < trees; t++) {
        int32_t next = 1;
        for (int32_t n = 0; n < nodes; n++) {
            const int64_t at = t * nodes + n;
            const bool inner = n < next && next + 2 <= nodes && below(4);
            feature[at] = inner ? (int32_t)below(features) : 0;
            left[at] = inner ? next : n, right[at] = inner ? next + 1 : n;
            if (inner) next += 2;
        }
    }
}

/* Appends a step of this kind over values of the given precision; false when it would not fit. */
static bool draw_step(drawn_plan *p, lpb_step_kind kind, bool low) {
    lpb_step *s = p->steps + p->count;
    int64_t *in = p->inputs[p->count], out;
    const bool of_rows = kind == LPB_STEP_TREES || kind == LPB_STEP_NEIGHBOUR; /* where rounding cannot decide */
    *s = (lpb_step){.kind = kind, .inputs = in, .input_count = 1, .slope = 0.25f};
    in[0] = of_rows ? 0 : below(p->count + 1);
    const int64_t width = p->width[in[0]];
    const bool wide = p->wide[in[0]];
    out = width;
    switch (kind) {
    case LPB_STEP_DENSE: {
        if (low && wide) return false;
        const lpb_array_type type = wide ? LPB_ARRAY_DOUBLE : LPB_ARRAY_FLOAT;
        out = below(3) ? 1 + below(40) : 1;
        s->word = below(low ? LPB_ACTIVATIONS : LPB_EXP);
        s->arrays[0] = array_of(type, out, width), s->arrays[1] = array_of(type, 1, out);
        s->array_count = 2;
        break;
    }
    case LPB_STEP_ACTIVATION:
        s->word = below(LPB_PLAN_ACTIVATIONS);
        break;
    case LPB_STEP_ELEMENTWISE:
        in[1] = below(p->count + 1);
        s->input_count = 2;
        s->word = below(LPB_DIVIDE);
        if (p->wide[in[1]] != wide || (p->width[in[1]] != width && p->width[in[1]] != 1 && width != 1)) return false;
        if (p->width[in[1]] > out) out = p->width[in[1]];
        break;
    case LPB_STEP_CONSTANT:
        s->word = below(LPB_OPERATORS);
        s->arrays[0] = array_of(below(2) ? LPB_ARRAY_FLOAT : LPB_ARRAY_DOUBLE, 1, below(2) ? width : 1);
        for (int64_t i = 0; i < s->arrays[0].columns; i++) { /* nothing near zero to divide by */
            if (s->arrays[0].type == LPB_ARRAY_FLOAT) ((float *)s->arrays[0].data)[i] += 3.0f;
            if (s->arrays[0].type == LPB_ARRAY_DOUBLE) ((double *)s->arrays[0].data)[i] += 3.0;
        }
        s->array_count = 1;
        break;
    case LPB_STEP_REDUCE:
        s->word = below(LPB_REDUCTIONS);
        out = 1;
        break;
    case LPB_STEP_CONCAT:
        s->input_count = 1 + below(3);
        for (int64_t i = 1; i < s->input_count; i++) {
            in[i] = below(p->count + 1);
            if (p->wide[in[i]] != wide) return false;
            out += p->width[in[i]];
        }
        break;
    case LPB_STEP_COLUMNS:
        out = 1 + below(30);
        s->arrays[0] = array_of(LPB_ARRAY_INT64, 1, out);
        for (int64_t i = 0; i < out; i++) ((int64_t *)s->arrays[0].data)[i] = below(width);
        s->array_count = 1;
        break;
    case LPB_STEP_CONVERT:
        s->word = low ? 0 : below(2);
        break;
    case LPB_STEP_TREES:
        draw_trees(s, width);
        out = 1;
        break;
    case LPB_STEP_NEIGHBOUR:
        s->arrays[0] = array_of(LPB_ARRAY_FLOAT, 1 + below(below(2) ? 20 : 600), width);
        s->array_count = 1;
        s->number = 1 + below(s->arrays[0].rows < 7 ? s->arrays[0].rows : 7);
        out = 1;
        break;
    case LPB_STEP_NORMALISE:
        if (wide) return false;
        break;
    case LPB_STEP_TRANSFORMER: /* transformer_check.h */
        return false;
    case LPB_STEP_CONVOLUTION: {
        int64_t divisor = 1 + below(4);
        if (wide || low || width % divisor) return false;
        s->number = width / divisor;
        for (int64_t q = 0, count = 1 + below(2); q < count; q++) {
            const int64_t outputs = 1 + below(MOST_WIDTH / s->number < 20 ? MOST_WIDTH / s->number : 20);
            s->arrays[2 * q] = array_of(LPB_ARRAY_FLOAT, outputs, divisor * (1 + 2 * below(4)));
            s->arrays[2 * q + 1] = array_of(LPB_ARRAY_FLOAT, 1, outputs);
            s->array_count = 2 * (q + 1);
            out = divisor = outputs;
        }
        break;
    }
    case LPB_STEP_PATCHES: {
        const int64_t channels = 1 + below(4), patches = 1 + below(below(4) ? 5 : 70), taps = 1 + below(5);
        const int64_t most = MOST_WIDTH / patches, outputs = 1 + below(most < 40 ? most : 40);
        if (wide || low || width % channels) return false;
        s->number = channels;
        s->word = below(LPB_EXP);
        s->arrays[0] = array_of(LPB_ARRAY_FLOAT, outputs, taps * channels);
        s->arrays[1] = array_of(LPB_ARRAY_FLOAT, 1, outputs);
        s->arrays[2] = array_of(LPB_ARRAY_INT64, patches, taps);
        s->array_count = 3;
        for (int64_t i = 0; i < patches * taps; i++)
            ((int64_t *)s->arrays[2].data)[i] = below(width / channels + 1) - 1;
        out = patches * outputs;
        break;
    }
    case LPB_STEP_LSTM: {
        s->number = 1 + below(4);
        const int64_t inputs = width / s->number, most = MOST_WIDTH / s->number;
        if (wide || low || width % s->number) return false;
        const int64_t units = 1 + below(most < 40 ? most : 40);
        s->word = below(2);
        s->arrays[0] = array_of(LPB_ARRAY_FLOAT, 4 * units, inputs);
        s->arrays[1] = array_of(LPB_ARRAY_FLOAT, 4 * units, units);
        s->arrays[2] = array_of(LPB_ARRAY_FLOAT, 1, 4 * units);
        s->array_count = 3;
        out = s->number * units;
        break;
    }
    case LPB_STEP_CELL:
    case LPB_STEP_HIDDEN:
        if (wide || width % 4) return false;
        out = width / 4;
        for (int64_t v = p->count; v >= 0 && s->input_count < 2; v--)
            if (p->width[v] == out && !p->wide[v] && (kind == LPB_STEP_HIDDEN || below(2))) in[s->input_count++] = v;
        if (kind == LPB_STEP_HIDDEN && s->input_count < 2) return false;
        break;
    }
    p->count++;
    p->width[p->count] = out;
    p->wide[p->count] = kind == LPB_STEP_CONVERT ? s->word == 1 : wide;
    return out <= MOST_WIDTH;
}

static void free_arrays(const lpb_step *s) {
    for (int i = 0; i < LPB_STEP_ARRAYS; i++) free((void *)s->arrays[i].data);
}

static bounded combined(lpb_operator op, bounded a, bounded b, double u) {
    const double across = fabs(a.x) * b.error + fabs(b.x) * a.error + a.error * b.error;
    bounded y = {0, a.error + b.error};
    switch (op) {
    case LPB_ADD:
        y.x = a.x + b.x;
        break;
    case LPB_SUBTRACT:
        y.x = a.x - b.x;
        break;
    case LPB_MULTIPLY:
        y = (bounded){a.x * b.x, across};
        break;
    case LPB_DIVIDE: /* by constants */
        y = (bounded){a.x / b.x, a.error / fabs(b.x) + fabs(a.x / b.x) * 2 * b.error};
        break;
    }
    y.error += 2 * u * fabs(y.x);
    return y;
}

static bounded activated_within(bounded a, int64_t act, double slope, double u) {
    bounded y = {activated(a.x, act < LPB_ACTIVATIONS ? (lpb_activation)act : LPB_IDENTITY, slope), a.error};
    if (act == LPB_SOFTPLUS) y.x = fmax(a.x, 0) + log1p(exp(-fabs(a.x)));
    if (act == LPB_ABS) y.x = fabs(a.x);
    if (act == LPB_EXP) y = (bounded){exp(a.x), exp(a.x) * (expm1(a.error) + 8 * u * (1 + fabs(a.x)))};
    if (act == LPB_GELU) y = (bounded){a.x * erfc(-a.x / sqrt(2)) / 2, 1.13 * a.error + 8 * u * fabs(a.x)};
    y.error += 16 * u * (fabs(y.x) + 1e-30);
    return y;
}

/* Of an LSTM: entry j of h, of gates in the order input, forget, output, candidate; `c` is its cell, if it has one. */
static bounded next_state(lpb_step_kind kind, const bounded *gates, int64_t h, int64_t j, const bounded *c, double u) {
    const bounded open = activated_within(gates[(kind == LPB_STEP_CELL ? 0 : 2) * h + j], LPB_SIGMOID, 0, u);
    const bounded seen = activated_within(kind == LPB_STEP_CELL ? gates[3 * h + j] : *c, LPB_TANH, 0, u);
    const bounded made = combined(LPB_MULTIPLY, open, seen, u);
    if (kind == LPB_STEP_HIDDEN || !c) return made;
    const bounded kept = combined(LPB_MULTIPLY, activated_within(gates[h + j], LPB_SIGMOID, 0, u), *c, u);
    return combined(LPB_ADD, kept, made, u);
}

/* Gate j of an LSTM at a time step; `before` is NULL at the first. */
static bounded gate_of(const lpb_step *s, int64_t j, const bounded *x, const bounded *before, double u) {
    bounded sum = {entry(s->arrays + 2, j), 0};
    double size = fabs(sum.x);
    int64_t terms = 0;
    for (int side = 0; side < (before ? 2 : 1); side++) {
        const lpb_array *weight = s->arrays + side;
        const bounded *v = side ? before : x;
        terms += weight->columns;
        for (int64_t q = 0; q < weight->columns; q++) {
            const double w = entry(weight, j * weight->columns + q);
            sum.x += w * v[q].x, sum.error += fabs(w) * v[q].error, size += fabs(w * v[q].x);
        }
    }
    sum.error += (double)(terms + 8) * u * size;
    return sum;
}

/* A layer of an LSTM over all its time steps. */
static void recurred(const lpb_step *s, const bounded *a, double u, bounded *y) {
    static const int64_t order[4] = {0, 1, 3, 2}; /* of gates, as next_state takes them */
    const int64_t units = s->arrays[1].columns, inputs = s->arrays[0].columns;
    bounded gates[4 * MOST_WIDTH], cell[MOST_WIDTH];
    const bounded *before = NULL;
    for (int64_t index = 0; index < s->number; index++) {
        const int64_t at = s->word ? s->number - 1 - index : index;
        for (int64_t q = 0; q < 4 * units; q++)
            gates[q] = gate_of(s, order[q / units] * units + q % units, a + at * inputs, before, u);
        for (int64_t j = 0; j < units; j++) {
            cell[j] = next_state(LPB_STEP_CELL, gates, units, j, before ? cell + j : NULL, u);
            y[at * units + j] = next_state(LPB_STEP_HIDDEN, gates, units, j, cell + j, u);
        }
        before = y + at * units;
    }
}

static bounded reduced(lpb_reduction by, const bounded *v, int64_t count, double u) {
    const double n = (double)count;
    double sum = 0, size = 0, squares = 0, of_squares = 0, errors = 0, worst = 0, low = v[0].x, high = v[0].x,
           powers = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += v[i].x, size += fabs(v[i].x), squares += v[i].x * v[i].x, errors += v[i].error;
        of_squares += (2 * fabs(v[i].x) + v[i].error) * v[i].error;
        worst = fmax(worst, v[i].error), low = fmin(low, v[i].x), high = fmax(high, v[i].x);
    }
    for (int64_t i = 0; i < count; i++) powers += exp(v[i].x - high);
    const double of_sum = errors + (n + 2) * u * size, of_square = of_squares + (n + 2) * u * squares;
    switch (by) {
    case LPB_MEAN:
        return (bounded){sum / n, of_sum / n};
    case LPB_SUM:
        return (bounded){sum, of_sum};
    case LPB_ABS_SUM:
        return (bounded){size, of_sum};
    case LPB_SQUARE_SUM:
        return (bounded){squares, of_square};
    case LPB_SQUARE_MEAN:
        return (bounded){squares / n, of_square / n};
    case LPB_L2:
        return (bounded){sqrt(squares),
                         fmin(sqrt(of_square), of_square / (sqrt(squares) + 1e-300)) + u * sqrt(squares)};
    case LPB_MIN:
        return (bounded){low, worst};
    case LPB_MAX:
        return (bounded){high, worst};
    case LPB_LOG_SUM_EXP:
        return (bounded){high + log(powers), worst + (n + 16) * u * (1 + fabs(high) + log(powers))};
    }
    return (bounded){0, 0};
}

static void normalised(const bounded *v, int64_t count, double u, bounded *y) {
    const double n = (double)count;
    double mean = 0, size = 0, error = 0, variance = LPB_NORMAL_EPSILON, of_variance = 0;
    for (int64_t i = 0; i < count; i++) mean += v[i].x / n, size += fabs(v[i].x) / n, error += v[i].error / n;
    error += (n + 3) * u * size;
    for (int64_t i = 0; i < count; i++) {
        y[i] = (bounded){v[i].x - mean, v[i].error + error + u * fabs(v[i].x)};
        variance += y[i].x * y[i].x / n;
        of_variance += (2 * fabs(y[i].x) + y[i].error) * y[i].error / n;
    }
    of_variance += (n + 4) * u * variance;
    const double least = fmax(variance - of_variance, LPB_NORMAL_EPSILON), steep = sqrt(variance / least) - 1 + 4 * u;
    for (int64_t i = 0; i < count; i++) {
        const double x = y[i].x / sqrt(variance);
        y[i] = (bounded){x, y[i].error / sqrt(least) + fabs(x) * steep};
    }
}

static double tree_sum(const lpb_step *s, const float *x) {
    double sum = 0;
    for (int64_t t = 0; t < s->arrays[0].rows; t++) {
        const int64_t base = t * s->arrays[0].columns;
        for (int32_t n = 0, left, right;;
             n = x[((const int32_t *)s->arrays[0].data)[base + n]] <= ((const float *)s->arrays[1].data)[base + n]
                     ? left
                     : right) {
            left = ((const int32_t *)s->arrays[2].data)[base + n],
            right = ((const int32_t *)s->arrays[3].data)[base + n];
            if (left != n) continue;
            sum += (double)((const float *)s->arrays[4].data)[base + n];
            break;
        }
    }
    return sum;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double kth_distance(const lpb_step *s, const float *x) {
    const lpb_array *sample = s->arrays;
    double *distances = block((size_t)sample->rows * sizeof *distances);
    for (int64_t j = 0; j < sample->rows; j++) {
        distances[j] = 0;
        for (int64_t i = 0; i < sample->columns; i++) {
            const double d = (double)x[i] - entry(sample, j * sample->columns + i);
            distances[j] += d * d;
        }
    }
    qsort(distances, (size_t)sample->rows, sizeof *distances, ascending);
    const double kth = sqrt(distances[s->number - 1]);
    free(distances);
    return kth;
}

/* Output j of a layer (weight, then bias) of what lies from a[from] on; a has `count` numbers, and zeros beyond. */
static bounded linear(const lpb_array *layer, int64_t j, const bounded *a, int64_t from, int64_t count, double u) {
    const int64_t terms = layer->columns;
    bounded sum = {entry(layer + 1, j), 0};
    double size = fabs(sum.x);
    for (int64_t q = 0; q < terms; q++) {
        if (from + q < 0 || from + q >= count) continue;
        const bounded x = a[from + q];
        const double w = entry(layer, j * terms + q);
        sum.x += w * x.x, sum.error += fabs(w) * x.error, size += fabs(w * x.x);
    }
    sum.error += (double)(terms + 8) * u * size;
    return sum;
}

/* Convolutions with ReLU over positions, and the largest of every channel. */
static void convolved(const lpb_step *s, const bounded *a, int64_t width, double u, bounded *y) {
    bounded values[2][MOST_WIDTH];
    int64_t channels = width / s->number;
    for (int64_t i = 0; i < s->array_count; i += 2) {
        const lpb_array *layer = s->arrays + i;
        const int64_t half = layer->columns / channels / 2 * channels;
        for (int64_t p = 0; p < s->number; p++)
            for (int64_t j = 0; j < layer->rows; j++)
                values[i / 2 % 2][p * layer->rows + j] =
                    activated_within(linear(layer, j, a, p * channels - half, s->number * channels, u), LPB_RELU, 0, u);
        channels = layer->rows;
        a = values[i / 2 % 2];
    }
    for (int64_t j = 0; j < channels; j++) {
        y[j] = a[j];
        for (int64_t p = 1; p < s->number; p++)
            y[j] = (bounded){fmax(y[j].x, a[p * channels + j].x), fmax(y[j].error, a[p * channels + j].error)};
    }
}

/* A layer over patches of pixels. */
static void patched(const lpb_step *s, const bounded *a, double u, bounded *y) {
    const lpb_array *pixels = s->arrays + 2;
    const int64_t outputs = s->arrays[0].rows, channels = s->number;
    bounded read[MOST_WIDTH];
    for (int64_t p = 0; p < pixels->rows; p++) {
        for (int64_t t = 0; t < pixels->columns; t++) {
            const int64_t pixel = ((const int64_t *)pixels->data)[p * pixels->columns + t];
            for (int64_t c = 0; c < channels; c++)
                read[t * channels + c] = pixel < 0 ? (bounded){0, 0} : a[pixel * channels + c];
        }
        for (int64_t j = 0; j < outputs; j++)
            y[p * outputs + j] =
                activated_within(linear(s->arrays, j, read, 0, s->arrays[0].columns, u), s->word, s->slope, u);
    }
}

/* What a step makes of one row's values. */
static void walk_step(const drawn_plan *p, int64_t i, const float *x, bounded (*values)[MOST_WIDTH]) {
    const lpb_step *s = p->steps + i;
    const bounded *a = values[s->inputs[0]];
    bounded *y = values[i + 1];
    const int64_t width = p->width[s->inputs[0]], outputs = p->width[i + 1];
    const double u = p->wide[i + 1] && p->wide[s->inputs[0]] ? 1.2e-16 : 6e-8;
    int64_t filled = 0;
    switch (s->kind) {
    case LPB_STEP_DENSE:
        for (int64_t j = 0; j < outputs; j++)
            y[j] = activated_within(linear(s->arrays, j, a, 0, width, u), s->word, s->slope, u);
        return;
    case LPB_STEP_CONVOLUTION:
        convolved(s, a, width, u, y);
        return;
    case LPB_STEP_ACTIVATION:
        for (int64_t j = 0; j < outputs; j++) y[j] = activated_within(a[j], s->word, 0.0, u);
        return;
    case LPB_STEP_ELEMENTWISE: {
        const bounded *b = values[s->inputs[1]];
        for (int64_t j = 0; j < outputs; j++)
            y[j] = combined((lpb_operator)s->word, a[width == 1 ? 0 : j], b[p->width[s->inputs[1]] == 1 ? 0 : j], u);
        return;
    }
    case LPB_STEP_CONSTANT:
        for (int64_t j = 0; j < outputs; j++) {
            const double c = entry(s->arrays, s->arrays[0].columns == 1 ? 0 : j);
            y[j] = combined((lpb_operator)s->word, a[j], (bounded){c, u * fabs(c)}, u);
        }
        return;
    case LPB_STEP_REDUCE:
        y[0] = reduced((lpb_reduction)s->word, a, width, u);
        return;
    case LPB_STEP_CONCAT:
        for (int64_t q = 0; q < s->input_count; q++)
            for (int64_t j = 0; j < p->width[s->inputs[q]]; j++) y[filled++] = values[s->inputs[q]][j];
        return;
    case LPB_STEP_COLUMNS:
        for (int64_t j = 0; j < outputs; j++) y[j] = a[((const int64_t *)s->arrays[0].data)[j]];
        return;
    case LPB_STEP_CONVERT:
        for (int64_t j = 0; j < outputs; j++) y[j] = (bounded){a[j].x, a[j].error + u * fabs(a[j].x)};
        return;
    case LPB_STEP_TREES:
        y[0].x = tree_sum(s, x);
        y[0].error = u * fabs(y[0].x);
        return;
    case LPB_STEP_NEIGHBOUR:
        y[0].x = kth_distance(s, x);
        y[0].error = (double)(width + 4) * u * y[0].x + 1e-18;
        return;
    case LPB_STEP_NORMALISE:
        normalised(a, width, u, y);
        return;
    case LPB_STEP_TRANSFORMER:
        return;
    case LPB_STEP_LSTM:
        recurred(s, a, u, y);
        return;
    case LPB_STEP_PATCHES:
        patched(s, a, u, y);
        return;
    case LPB_STEP_CELL:
    case LPB_STEP_HIDDEN:
        for (int64_t j = 0; j < outputs; j++)
            y[j] = next_state(s->kind, a, outputs, j, s->input_count > 1 ? values[s->inputs[1]] + j : NULL, u);
        return;
    }
}

static drawn_plan draw_plan(bool low) {
    drawn_plan p = {.width = {1 + below(40)}};
    while (p.count == 0 || (p.count < MOST_STEPS - 2 && below(6))) {
        const int64_t before = p.count;
        if (draw_step(&p, (lpb_step_kind)below(LPB_STEP_KINDS), low)) continue;
        free_arrays(p.steps + before);
        p.count = before;
    }
    if (p.wide[p.count]) {
        p.inputs[p.count][0] = p.count;
        p.steps[p.count] = (lpb_step){.kind = LPB_STEP_CONVERT, .inputs = p.inputs[p.count], .input_count = 1};
        p.count++;
        p.width[p.count] = p.width[p.count - 1];
    }
    if (p.width[p.count] != 1) {
        p.inputs[p.count][0] = p.count;
        p.steps[p.count] = (lpb_step){
            .kind = LPB_STEP_REDUCE, .inputs = p.inputs[p.count], .input_count = 1, .word = below(LPB_REDUCTIONS)};
        p.count++;
        p.width[p.count] = 1;
    }
    /* the steps were copied with the plan */
    return p;
}

static void check_drawn(const lpb_isa *isa, lpb_dtype dtype, drawn_plan p) {
    for (int64_t i = 0; i < p.count; i++) p.steps[i].inputs = p.inputs[i];
    const int64_t rows = below(3) ? below(20) : below(200), x_row = p.width[0] + below(3);
    float *x = numbers(rows * x_row), *out = block((size_t)rows * sizeof *out);
    lpb_plan *plan = NULL;
    int64_t wrong = -1;
    const lpb_status status = lpb_plan_new(isa, p.width[0], p.steps, p.count, dtype, &plan, &wrong);
    if (status != LPB_OK) fail(isa, "plan refused, step", (double)wrong, (double)p.count);
    if (lpb_plan_run(plan, x, rows, x_row, out, 1 + (int)below(2)) != LPB_OK) fail(isa, "plan status", 1, 0);
    for (int64_t r = 0; r < rows && dtype == LPB_FLOAT32; r++) {
        bounded values[MOST_STEPS + 1][MOST_WIDTH];
        for (int64_t j = 0; j < p.width[0]; j++) values[0][j] = (bounded){x[r * x_row + j], 0};
        for (int64_t i = 0; i < p.count; i++) walk_step(&p, i, x + r * x_row, values);
        const bounded y = values[p.count][0];
        if (y.x - y.x != 0 || fabs(y.x) > 1e37 || y.error > 1e37) continue; /* beyond the format */
        if (!(fabs(out[r] - y.x) <= 2 * y.error + 1e-36)) {
            for (int64_t i = 0; i < p.count; i++)
                printf("step %d word %d width %d wide %d\n", (int)p.steps[i].kind, (int)p.steps[i].word,
                       (int)p.width[i + 1], (int)p.wide[i + 1]);
            fail(isa, "plan", out[r], y.x);
        }
    }
    lpb_plan_free(plan);
    for (int64_t i = 0; i < p.count; i++) free_arrays(p.steps + i);
    free(x), free(out);
}

static void check_plan(const lpb_isa *isa, lpb_dtype dtype) {
    check_drawn(isa, dtype, draw_plan(dtype != LPB_FLOAT32));
}

/* Two convolutions, of which the second has channels enough to be done in pairs of positions, and a sum. */
static void check_pairs(const lpb_isa *isa) {
    const int64_t channels = 1 + below(3), positions = 4 + below(7), outputs = 16;
    drawn_plan p = {.count = 2, .width = {channels * positions, outputs, 1}};
    lpb_step *s = p.steps;
    *s = (lpb_step){.kind = LPB_STEP_CONVOLUTION, .number = positions, .input_count = 1, .array_count = 4};
    s->arrays[0] = array_of(LPB_ARRAY_FLOAT, outputs, channels * (1 + 2 * below(4)));
    s->arrays[1] = array_of(LPB_ARRAY_FLOAT, 1, outputs);
    s->arrays[2] = array_of(LPB_ARRAY_FLOAT, outputs, outputs * (3 + 2 * below(5)));
    s->arrays[3] = array_of(LPB_ARRAY_FLOAT, 1, outputs);
    s[1] = (lpb_step){.kind = LPB_STEP_REDUCE, .word = LPB_SUM, .input_count = 1};
    p.inputs[1][0] = 1;
    check_drawn(isa, LPB_FLOAT32, p);
}
