/* The training of a transformer: its gradients against differences of a loss in double, and its steps against Adam in
 * double. Included by kernel_check.c. */
enum { FORMER_WIDTH = 16, FORMER_MOST = 40, FORMER_TOKENS = 6, FORMER_INNER = 32, FORMER_ROWS = 12 };

/* A net of one or two blocks, of 16 or 32 features; `value` has its parameters one behind the other. */
typedef struct {
    lpb_transformer_net net;
    int64_t columns[2 * FORMER_TOKENS];
    int64_t sizes[80], decays[80], count, floats;
    double *value;
    int64_t at; /* the next parameter to be read, in floats; and its number */
    int64_t number;
} former;

static void add_parameter(former *f, int64_t size) {
    f->decays[f->count] = below(2);
    f->sizes[f->count++] = size;
    f->floats += lpb_round_up(size, LPB_ALIGN);
}

static int64_t numbers_of(const former *f) {
    int64_t count = 0;
    for (int64_t q = 0; q < f->net.tokens; q++) count += !f->columns[2 * q + 1];
    return count;
}

static int64_t most_codes(const former *f) {
    int64_t codes = 0;
    for (int64_t q = 0; q < f->net.tokens; q++)
        if (f->columns[2 * q + 1] > codes) codes = f->columns[2 * q + 1];
    return codes;
}

static void draw_former(former *f, bool masked) {
    const int64_t width = FORMER_WIDTH * (1 + below(2)), inner = FORMER_INNER;
    *f = (former){.net = {.features = FORMER_TOKENS + 1,
                          .width = width,
                          .heads = 1 << below(4),
                          .blocks = 1 + below(2),
                          .inner = inner,
                          .tokens = 1 + below(FORMER_TOKENS),
                          .masked = masked,
                          .published = !masked && below(2)}};
    const int64_t up = inner * (f->net.published ? 2 : 1);
    const int64_t codes = below(f->net.tokens), numbers = f->net.tokens - codes;
    for (int64_t q = 0; q < f->net.tokens; q++) {
        f->columns[2 * q] = q + 1;
        f->columns[2 * q + 1] = q < numbers ? 0 : 2 + below(3);
    }
    f->net.columns = f->columns;
    add_parameter(f, numbers * width), add_parameter(f, numbers * width), add_parameter(f, width);
    if (codes) add_parameter(f, codes * width);
    for (int64_t q = numbers; q < f->net.tokens; q++) add_parameter(f, f->columns[2 * q + 1] * width);
    for (int64_t b = 0; b < f->net.blocks; b++) {
        if (b || !f->net.published) add_parameter(f, width), add_parameter(f, width);
        add_parameter(f, 3 * width * width), add_parameter(f, 3 * width);
        add_parameter(f, width * width), add_parameter(f, width);
        add_parameter(f, width), add_parameter(f, width);
        add_parameter(f, up * width), add_parameter(f, up);
        add_parameter(f, inner * width), add_parameter(f, width);
    }
    add_parameter(f, width), add_parameter(f, width);
    if (f->net.published) {
        add_parameter(f, 2 * width), add_parameter(f, 2);
        return;
    }
    add_parameter(f, width), add_parameter(f, width), add_parameter(f, width * width), add_parameter(f, width);
    add_parameter(f, 2 * width), add_parameter(f, 2);
    add_parameter(f, width), add_parameter(f, numbers * width), add_parameter(f, numbers);
    if (codes) add_parameter(f, codes * most_codes(f) * width), add_parameter(f, codes * most_codes(f));
    add_parameter(f, width * width), add_parameter(f, width);
}

static const double *take_parameter(former *f) {
    const double *value = f->value + f->at;
    f->at += lpb_round_up(f->sizes[f->number++], LPB_ALIGN);
    return value;
}

typedef double former_rows[FORMER_TOKENS + 1][4 * FORMER_MOST];

static void normalise_double(former *f, int64_t rows, former_rows x, former_rows y) {
    const double *weight = take_parameter(f), *bias = take_parameter(f);
    const int64_t width = f->net.width;
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int64_t j = 0; j < width; j++) mean += x[r][j] / (double)width;
        for (int64_t j = 0; j < width; j++) variance += (x[r][j] - mean) * (x[r][j] - mean) / (double)width;
        for (int64_t j = 0; j < width; j++) y[r][j] = (x[r][j] - mean) / sqrt(variance + 1e-5) * weight[j] + bias[j];
    }
}

static void layer_double(former *f, int64_t rows, former_rows x, int64_t inputs, int64_t outputs, former_rows y) {
    const double *weight = take_parameter(f), *bias = take_parameter(f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < outputs; o++) {
            y[r][o] = bias[o];
            for (int64_t i = 0; i < inputs; i++) y[r][o] += weight[o * inputs + i] * x[r][i];
        }
}

static void gelu_double(int64_t rows, int64_t columns, former_rows x) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) x[r][j] *= 0.5 * erfc(-x[r][j] / sqrt(2));
}

static void attend_double(const former *f, former_rows asked, former_rows mixed) {
    const int64_t width = f->net.width, size = width / f->net.heads, tokens = f->net.tokens + 1;
    for (int64_t h = 0; h < f->net.heads; h++)
        for (int64_t q = 0; q < tokens; q++) {
            double share[FORMER_TOKENS + 1], sum = 0;
            for (int64_t p = 0; p < tokens; p++) {
                double score = 0;
                for (int64_t j = h * size; j < (h + 1) * size; j++) score += asked[q][j] * asked[p][width + j];
                sum += share[p] = exp(score / sqrt((double)size));
            }
            for (int64_t j = h * size; j < (h + 1) * size; j++) {
                mixed[q][j] = 0;
                for (int64_t p = 0; p < tokens; p++) mixed[q][j] += share[p] / sum * asked[p][2 * width + j];
            }
        }
}

static int64_t code_double(float given, int64_t codes) {
    return given > -1 && given < (float)codes ? (int64_t)given : codes - 1;
}

static void tokens_double(former *f, const float *x, const int8_t *hidden, const double *mask, former_rows to) {
    const int64_t width = f->net.width, numbers = numbers_of(f);
    const double *weight = take_parameter(f), *bias = take_parameter(f), *cls = take_parameter(f);
    const double *code_bias = numbers < f->net.tokens ? take_parameter(f) : NULL;
    memcpy(to[0], cls, (size_t)width * sizeof *cls);
    for (int64_t q = 0; q < f->net.tokens; q++) {
        const int64_t codes = f->columns[2 * q + 1];
        const float given = x[f->columns[2 * q]];
        const double *table = codes ? take_parameter(f) + code_double(given, codes) * width : NULL;
        for (int64_t j = 0; j < width; j++)
            to[q + 1][j] = hidden && hidden[q] ? mask[j]
                           : codes             ? table[j] + code_bias[(q - numbers) * width + j]
                                               : (double)given * weight[q * width + j] + bias[q * width + j];
    }
}

/* What hidden features of a row cost, from the trunk's outputs. */
static double restored_double(const former *f, const float *x, const int8_t *hidden, former_rows made,
                              const double *parameter[4]) {
    const int64_t width = f->net.width, numbers = numbers_of(f), most = most_codes(f);
    double loss = 0;
    for (int64_t q = 0; q < f->net.tokens; q++) {
        const int64_t codes = f->columns[2 * q + 1];
        const float given = x[f->columns[2 * q]];
        if (!hidden[q]) continue;
        double logit[8], sum = 0;
        for (int64_t c = 0; c < (codes ? codes : 1); c++) {
            const int64_t row = codes ? (q - numbers) * most + c : q;
            logit[c] = parameter[codes ? 3 : 1][row];
            for (int64_t j = 0; j < width; j++) logit[c] += made[q + 1][j] * parameter[codes ? 2 : 0][row * width + j];
            sum += exp(logit[c]);
        }
        loss += codes ? log(sum) - logit[code_double(given, codes)] : (logit[0] - given) * (logit[0] - given);
    }
    return loss;
}

static void gate_double(int64_t rows, int64_t inner, former_rows x) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < inner; j++) x[r][j] *= fmax(x[r][inner + j], 0);
}

static double weighed_double(const lpb_transformer_batch *batch, int64_t r, const double *logits) {
    const double apart = logits[1 - batch->labels[r]] - logits[batch->labels[r]];
    return batch->weights[r] * (fmax(apart, 0) + log1p(exp(-fabs(apart))));
}

/* The loss of a batch, whose rows weigh `weights` or, of hidden features, `share` each. */
static double loss_double(former *f, const lpb_transformer_batch *batch, double share) {
    static former_rows x, normal, asked, mixed;
    const int64_t width = f->net.width, tokens = f->net.tokens + 1;
    double loss = 0;
    int64_t mask = 0, own = f->count - 5 - (numbers_of(f) < f->net.tokens ? 2 : 0);
    for (int64_t p = 0; p < own && batch->hidden; p++) mask += lpb_round_up(f->sizes[p], LPB_ALIGN);
    for (int64_t r = 0; r < batch->rows; r++) {
        const int8_t *hidden = batch->hidden ? batch->hidden + r * f->net.tokens : NULL;
        const float *given = batch->x + r * batch->x_row;
        f->at = f->number = 0;
        tokens_double(f, given, hidden, f->value + mask, x);
        for (int64_t b = 0; b < f->net.blocks; b++) {
            const bool plain = f->net.published && !b;
            if (!plain) normalise_double(f, tokens, x, normal);
            layer_double(f, tokens, plain ? x : normal, width, 3 * width, asked);
            attend_double(f, asked, mixed);
            layer_double(f, tokens, mixed, width, width, normal);
            for (int64_t q = 0; q < tokens; q++)
                for (int64_t j = 0; j < width; j++) x[q][j] += normal[q][j];
            normalise_double(f, tokens, x, normal);
            layer_double(f, tokens, normal, width, f->net.inner * (f->net.published ? 2 : 1), asked);
            if (f->net.published)
                gate_double(tokens, f->net.inner, asked);
            else
                gelu_double(tokens, f->net.inner, asked);
            layer_double(f, tokens, asked, f->net.inner, width, normal);
            for (int64_t q = 0; q < tokens; q++)
                for (int64_t j = 0; j < width; j++) x[q][j] += normal[q][j];
        }
        normalise_double(f, tokens, x, normal);
        if (f->net.published) {
            for (int64_t j = 0; j < width; j++) normal[0][j] = fmax(normal[0][j], 0);
            layer_double(f, 1, normal, width, 2, mixed);
            loss += weighed_double(batch, r, mixed[0]);
        } else if (batch->hidden) {
            for (int i = 0; i < 6; i++) take_parameter(f); /* of the class head */
            take_parameter(f);                             /* the mask */
            const double *parameter[4] = {take_parameter(f)};
            parameter[1] = take_parameter(f);
            if (numbers_of(f) < f->net.tokens) parameter[2] = take_parameter(f), parameter[3] = take_parameter(f);
            layer_double(f, tokens, normal, width, width, asked);
            gelu_double(tokens, width, asked);
            loss += share * restored_double(f, given, hidden, asked, parameter);
        } else {
            normalise_double(f, 1, normal, x);
            layer_double(f, 1, x, width, width, asked);
            gelu_double(1, width, asked);
            layer_double(f, 1, asked, width, 2, mixed);
            loss += weighed_double(batch, r, mixed[0]);
        }
    }
    return loss;
}

/* After a step products take the weights that it made, not those rounded before: as in a new trainer of these. */
static void stepped_transformer(const lpb_isa *isa, const former *f, const lpb_transformer_net *net,
                                const lpb_transformer_batch *batch, lpb_transformer_trainer *t) {
    const lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    float *moved = numbers(f->floats), *fresh = numbers(f->floats);
    lpb_transformer_trainer *anew;
    double loss;
    if (lpb_transformer_trainer_step(t, batch, &adam, 0.1, 2, NULL, &loss) != LPB_OK ||
        lpb_transformer_trainer_new(isa, net, f->sizes, f->decays, f->count, lpb_transformer_trainer_values(t),
                                    &anew) != LPB_OK ||
        lpb_transformer_trainer_step(t, batch, &adam, 0.1, 2, moved, &loss) != LPB_OK ||
        lpb_transformer_trainer_step(anew, batch, &adam, 0.1, 2, fresh, &loss) != LPB_OK)
        fail(isa, "status", 1, 0);
    for (int64_t i = 0; i < f->floats; i++)
        if (moved[i] != fresh[i]) fail(isa, "transformer's rounded gradient after a step", moved[i], fresh[i]);
    lpb_transformer_trainer_free(anew);
    free(moved), free(fresh);
}

/* Gradients of rounded products, next to those of floats. */
static void round_former(const lpb_isa *isa, const former *f, const lpb_transformer_batch *batch, const float *value,
                         const float *gradient) {
    lpb_transformer_net net = f->net;
    net.products = LPB_BFLOAT16;
    const lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    const lpb_isa *const tables[] = {isa, portable_isa()};
    float *const found[] = {numbers(f->floats), numbers(f->floats)};
    double loss;
    for (int i = 0; i < 2; i++) {
        lpb_transformer_trainer *t;
        if (lpb_transformer_trainer_new(tables[i], &net, f->sizes, f->decays, f->count, value, &t) != LPB_OK ||
            lpb_transformer_trainer_step(t, batch, &adam, 0.1, 2, found[i], &loss) != LPB_OK)
            fail(isa, "status", 1, 0);
        if (!i) stepped_transformer(isa, f, &net, batch, t);
        lpb_transformer_trainer_free(t);
    }
    compare_rounded(isa, "transformer's rounded gradient", found[0], found[1], gradient, f->floats);
    free(found[0]), free(found[1]);
}

/* Some gradients of every parameter against differences; a step, and with three threads the same by rounding. */
static void compare_former(const lpb_isa *isa, former *f, const lpb_transformer_batch *batch, double share) {
    const lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    float *value = numbers(f->floats), *gradient = numbers(f->floats), *shared = numbers(f->floats);
    int64_t at = 0;
    for (int64_t p = 0; p < f->count; at += lpb_round_up(f->sizes[p++], LPB_ALIGN))
        for (int64_t i = f->sizes[p]; i < lpb_round_up(f->sizes[p], LPB_ALIGN); i++) value[at + i] = 0;
    for (int64_t i = 0; i < f->floats; i++) f->value[i] = value[i] *= 0.4f;
    lpb_transformer_trainer *t;
    if (lpb_transformer_trainer_new(isa, &f->net, f->sizes, f->decays, f->count, value, &t) != LPB_OK)
        fail(isa, "transformer refused", 1, 0);
    double loss, again;
    if (lpb_transformer_trainer_step(t, batch, &adam, 0.1, 1, gradient, &loss) != LPB_OK ||
        lpb_transformer_trainer_step(t, batch, &adam, 0.1, 3, shared, &again) != LPB_OK)
        fail(isa, "status", 1, 0);
    hold(isa, "transformer's loss", loss, loss_double(f, batch, share));
    hold(isa, "transformer's loss of three threads", again, loss);
    double largest = 0;
    for (int64_t i = 0; i < f->floats; i++) largest = fmax(largest, fabs(gradient[i]));
    at = 0;
    for (int64_t p = 0; p < f->count; at += lpb_round_up(f->sizes[p++], LPB_ALIGN))
        for (int times = 0; times < 2 && f->sizes[p]; times++) {
            const int64_t i = at + below(f->sizes[p]);
            const double step = 1e-5, kept = f->value[i];
            f->value[i] = kept + step;
            const double up = loss_double(f, batch, share);
            f->value[i] = kept - step;
            const double expected = (up - loss_double(f, batch, share)) / (2 * step);
            f->value[i] = kept;
            if (!(fabs(gradient[i] - expected) <= 2e-5 * (largest + 1))) fail(isa, "gradient", gradient[i], expected);
            if (!(fabs(shared[i] - gradient[i]) <= 2e-5 * (largest + 1)))
                fail(isa, "gradient of three threads", shared[i], gradient[i]);
        }
    round_former(isa, f, batch, value, gradient);
    if (lpb_transformer_trainer_step(t, batch, &adam, 0.1, 2, NULL, &loss) != LPB_OK) fail(isa, "status", 1, 0);
    const float *moved = lpb_transformer_trainer_values(t);
    at = 0;
    for (int64_t p = 0; p < f->count; at += lpb_round_up(f->sizes[p++], LPB_ALIGN))
        for (int64_t i = at; i < at + f->sizes[p]; i++) {
            const double g = shared[i], shrunk = value[i] * (f->decays[p] ? 1 - 0.001 : 1);
            if (fabs(g) < 1e-4 * (largest + 1)) continue; /* the direction of what is nearly 0 is that of rounding */
            if (!(fabs(moved[i] - (shrunk - 0.01 * g / (fabs(g) + 1e-8))) <= 1e-6))
                fail(isa, "transformer's step", moved[i], shrunk - 0.01 * g / (fabs(g) + 1e-8));
        }
    lpb_transformer_trainer_free(t);
    free(value), free(gradient), free(shared);
}

static void check_former(const lpb_isa *isa) {
    former f;
    const bool masked = below(2);
    draw_former(&f, masked);
    const int64_t rows = 1 + below(FORMER_ROWS), row = f.net.features + below(3);
    float *x = numbers(rows * row), *weights = numbers(rows);
    int64_t *labels = block((size_t)rows * sizeof *labels), hidden_count = 0;
    int8_t *hidden = block((size_t)(rows * f.net.tokens));
    for (int64_t i = 0; i < rows * row; i++) x[i] *= 3;
    for (int64_t r = 0; r < rows; r++) labels[r] = below(2), weights[r] = fabsf(weights[r]);
    for (int64_t i = 0; i < rows * f.net.tokens; i++) hidden_count += hidden[i] = below(3) == 0;
    f.value = block((size_t)f.floats * sizeof *f.value);
    const lpb_transformer_batch batch = {
        x, row, rows, masked ? NULL : labels, masked ? NULL : weights, masked ? hidden : NULL};
    compare_former(isa, &f, &batch, 1.0 / (double)(hidden_count ? hidden_count : 1));
    free(f.value), free(x), free(weights), free(labels), free(hidden);
    /* whatever is wrong is refused, or stays in its memory */
    int64_t *fields[] = {&f.net.width,
                         &f.net.heads,
                         &f.net.blocks,
                         &f.net.inner,
                         &f.net.tokens,
                         &f.count,
                         f.sizes + below(f.count),
                         f.columns + below(2 * f.net.tokens)};
    const int64_t wrong[] = {-1, 0, 1, 3, 16, 48, 1 << 20, (int64_t)1 << 40};
    const int which = (int)below(8);
    const int64_t number = wrong[below(which == 5 ? 5 : 8)];
    if (number == *fields[which] || (which == 4 && number > FORMER_TOKENS)) return;
    *fields[which] = number;
    int64_t floats = 0;
    for (int64_t p = 0; p < f.count; p++)
        if (f.sizes[p] < 0 || (floats += lpb_round_up(f.sizes[p], LPB_ALIGN)) > 1 << 22) return;
    float *value = numbers(floats);
    lpb_transformer_trainer *t;
    if (lpb_transformer_trainer_new(isa, &f.net, f.sizes, f.decays, f.count, value, &t) == LPB_OK)
        lpb_transformer_trainer_free(t);
    free(value);
}
