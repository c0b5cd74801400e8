/* Random transformers against a walk in double precision, token by token. Included by kernel_check.c. */
typedef struct {
    int64_t tokens, width, heads, inner, blocks, form;
    const int64_t *columns;
    const float *tables, *parameters, *last;
} drawn_net;

/* y (rows x outputs) = x (rows x inputs) W^T + b; where the parameters go on is returned. */
static const float *walk_layer(const double *x, int64_t rows, int64_t inputs, int64_t outputs, const float *w,
                               double *y) {
    const float *bias = w + inputs * outputs;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < outputs; j++) {
            double sum = (double)bias[j];
            for (int64_t i = 0; i < inputs; i++) sum += (double)w[j * inputs + i] * x[r * inputs + i];
            y[r * outputs + j] = sum;
        }
    return bias + outputs;
}

static void walk_normal(const double *x, int64_t rows, int64_t width, bool plain, double *y) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        double mean = 0, square = LPB_NORMAL_EPSILON;
        for (int64_t i = 0; i < width; i++) mean += x[i] / (double)width;
        for (int64_t i = 0; i < width; i++) square += (x[i] - mean) * (x[i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++) y[i] = plain ? x[i] : (x[i] - mean) / sqrt(square);
    }
}

/* out (width) = the rows of v weighted by the softmax of `scores`. */
static void walk_mean(const double *scores, const double *v, int64_t v_row, int64_t rows, int64_t width, double *out) {
    double high = scores[0], sum = 0;
    for (int64_t r = 0; r < rows; r++) high = fmax(high, scores[r]);
    for (int64_t r = 0; r < rows; r++) sum += exp(scores[r] - high);
    for (int64_t i = 0; i < width; i++) {
        out[i] = 0;
        for (int64_t r = 0; r < rows; r++) out[i] += exp(scores[r] - high) / sum * v[r * v_row + i];
    }
}

/* The features of one row. */
static void walk_net(const drawn_net *n, const float *x, double *out) {
    const int64_t tokens = n->tokens, width = n->width, size = width / n->heads, up = n->inner * (1 + n->form % 2);
    double *h = block((size_t)(tokens * (6 * width + up) + tokens) * sizeof *h), *normal = h + tokens * width,
           *parts = normal + tokens * width, *mixed = parts + 3 * tokens * width, *hidden = mixed + tokens * width,
           *scores = hidden + tokens * up;
    const float *codes = n->tables + 2 * tokens * width, *w = n->parameters;
    for (int64_t q = 0; q < tokens; q++) {
        const int64_t column = n->columns[2 * q], count = n->columns[2 * q + 1];
        const double given = column < 0 ? 0 : (double)x[column];
        const int64_t code = given > -1 && given < (double)count ? (int64_t)given : count - 1;
        for (int64_t f = 0; f < width; f++)
            h[q * width + f] = (double)n->tables[(tokens + q) * width + f] +
                               (count ? (double)codes[code * width + f] : given * (double)n->tables[q * width + f]);
        codes += count * width;
    }
    for (int64_t b = 0; b < n->blocks; b++) {
        walk_normal(h, tokens, width, b == 0 && n->form >= LPB_FORM_PLAIN_FIRST, normal);
        w = walk_layer(normal, tokens, width, 3 * width, w, parts);
        for (int64_t q = 0; q < tokens; q++)
            for (int64_t first = 0; first < width; first += size) {
                for (int64_t k = 0; k < tokens; k++) {
                    scores[k] = 0;
                    for (int64_t i = first; i < first + size; i++)
                        scores[k] += parts[q * 3 * width + i] * parts[(k * 3 + 1) * width + i];
                }
                walk_mean(scores, parts + 2 * width + first, 3 * width, tokens, size, mixed + q * width + first);
            }
        w = walk_layer(mixed, tokens, width, width, w, normal);
        for (int64_t i = 0; i < tokens * width; i++) h[i] += normal[i];
        walk_normal(h, tokens, width, false, normal);
        w = walk_layer(normal, tokens, width, up, w, hidden);
        for (int64_t q = 0; q < tokens; q++)
            for (int64_t i = 0; i < n->inner; i++) {
                const double a = hidden[q * up + i];
                const double gate = n->form % 2 ? fmax(hidden[q * up + n->inner + i], 0) : erfc(-a / sqrt(2)) / 2;
                hidden[q * n->inner + i] = a * gate; /* not before it is read: n->inner <= up */
            }
        w = walk_layer(hidden, tokens, n->inner, width, w, normal);
        for (int64_t i = 0; i < tokens * width; i++) h[i] += normal[i];
    }
    walk_normal(h, tokens, width, n->blocks == 0 && n->form >= LPB_FORM_PLAIN_FIRST, normal);
    const float *keys = walk_layer(normal, 1, width, width, n->last, mixed);
    memcpy(out, h, (size_t)width * sizeof *out);
    for (int64_t first = 0; first < width; first += size) {
        for (int64_t k = 0; k < tokens; k++) {
            scores[k] = 0;
            for (int64_t i = first; i < first + size; i++)
                for (int64_t f = 0; f < width; f++)
                    scores[k] += mixed[i] * (double)keys[i * width + f] * normal[k * width + f];
        }
        walk_mean(scores, normal, width, tokens, width, out + width + first / size * width);
    }
    free(h);
}

/* Floats of about 1 / sqrt(terms). */
static float *small_numbers(int64_t count, int64_t terms) {
    float *x = numbers(count);
    for (int64_t i = 0; i < count; i++) x[i] *= (float)sqrt(3.0 / (double)terms);
    return x;
}

static void check_transformer(const lpb_isa *isa) {
    const int64_t size = 1 + below(9), heads = 1 + below(4), width = size * heads, features = 1 + below(6);
    const int64_t tokens = below(5) ? 1 + below(40) : 90 + below(20), blocks = below(3), inner = 1 + below(70);
    drawn_net n = {tokens, width, heads, inner, blocks, below(LPB_FORMS), NULL, NULL, NULL, NULL};
    int64_t *columns = block((size_t)(2 * tokens) * sizeof *columns), codes = 0;
    for (int64_t q = 0; q < tokens; q++) {
        columns[2 * q] = below(features + 1) - 1;
        columns[2 * q + 1] = columns[2 * q] >= 0 && below(3) == 0 ? 1 + below(4) : 0;
        codes += columns[2 * q + 1];
    }
    const int64_t up = inner * (1 + n.form % 2);
    const int64_t row = 4 * width * width + 5 * width + up * (width + 1) + width * inner;
    float *tables = numbers((2 * tokens + codes) * width), *parameters = small_numbers(blocks * row, width);
    float *last = small_numbers(2 * width * width + width, width);
    n.columns = columns, n.tables = tables, n.parameters = parameters, n.last = last;

    const int64_t outputs = width * (heads + 1), chosen = below(outputs), input[2] = {0, 1};
    const lpb_step steps[2] = {{.kind = LPB_STEP_TRANSFORMER,
                                .word = n.form,
                                .inputs = input,
                                .input_count = 1,
                                .arrays = {{tables, LPB_ARRAY_FLOAT, 2 * tokens + codes, width},
                                           {columns, LPB_ARRAY_INT64, tokens, 2},
                                           {parameters, LPB_ARRAY_FLOAT, blocks, row},
                                           {last, LPB_ARRAY_FLOAT, 1, 2 * width * width + width}},
                                .array_count = 4,
                                .number = heads},
                               {.kind = LPB_STEP_COLUMNS,
                                .inputs = input + 1,
                                .input_count = 1,
                                .arrays = {{&chosen, LPB_ARRAY_INT64, 1, 1}},
                                .array_count = 1}};
    const int64_t rows = below(4) ? below(15) : 60 + below(10), x_row = features + below(3);
    float *x = numbers(rows * x_row), *out = block((size_t)rows * sizeof *out);
    for (int64_t i = 0; i < rows * x_row; i++) x[i] *= 4.0f;
    lpb_plan *plan = NULL;
    int64_t wrong = -1;
    if (lpb_plan_new(isa, features, steps, 2, LPB_FLOAT32, &plan, &wrong) != LPB_OK)
        fail(isa, "transformer refused, step", (double)wrong, 2);
    if (lpb_plan_run(plan, x, rows, x_row, out, 1 + (int)below(2)) != LPB_OK) fail(isa, "transformer status", 1, 0);
    double *exact = block((size_t)outputs * sizeof *exact);
    /* a normalisation of two or three features may divide by little, and enlarge what came before it */
    const double steep = width < 4 ? 30 : 1, terms = (double)(width + inner + tokens + 8) * (double)(3 * blocks + 2);
    for (int64_t r = 0; r < rows; r++) {
        walk_net(&n, x + r * x_row, exact);
        if (!(fabs(out[r] - exact[chosen]) <= terms * 6e-8 * steep * (4 + fabs(exact[chosen]))))
            fail(isa, "transformer", out[r], exact[chosen]);
    }
    lpb_plan_free(plan);
    free(columns), free(tables), free(parameters), free(last), free(x), free(out), free(exact);
}
