/* The training of a classifier: its gradients against differences of a loss in double, and its steps against Adam in
 * double. Included by kernel_check.c. */
enum { NET_LAYERS = 2, NET_UNITS = 20, NET_STEPS = 3, NET_ROWS = 9, NET_FEATURES = 7, NET_CHANNELS = 10 };
enum { NET_WIDTH = 2 * NET_UNITS };

typedef double net_matrix[NET_STEPS][NET_WIDTH];

/* A net; `value` has its parameters one behind the other. */
typedef struct {
    lpb_classifier_net net;
    int64_t units[NET_LAYERS], sizes[40], learns[40], count, floats, width;
    double dropout[NET_LAYERS];
    double *value;
    int64_t at, number; /* of the next parameter to be read */
} sequence;

static void add_size(sequence *s, int64_t size, bool learns) {
    s->learns[s->count] = learns;
    s->sizes[s->count++] = size;
    s->floats += lpb_round_up(size, LPB_ALIGN);
}

static void draw_sequence(sequence *s) {
    *s = (sequence){.net = {.trunk = LPB_TRUNK_RECURRENT,
                            .features = 1 + below(NET_FEATURES),
                            .steps = 1 + below(NET_STEPS),
                            .directions = 1 + below(2),
                            .count = 1 + below(NET_LAYERS),
                            .normalised = below(2),
                            .hidden = below(2) * (1 + below(NET_UNITS)),
                            .gamma = (double)below(3) * 1.5,
                            .weights = {0.25, 1.5}}};
    s->net.sizes = s->units, s->net.dropout = s->dropout;
    int64_t inputs = s->net.features;
    if (below(3) == 0) {
        s->net.trunk = LPB_TRUNK_CONVOLUTIONS;
        s->net.steps = s->net.directions = 1;
        const int64_t channels = s->net.channels = 1 + below(NET_CHANNELS);
        inputs = 2 * channels * s->net.count;
        for (int64_t b = 0; b < s->net.count; b++) {
            const int64_t taps = s->units[b] = 1 + 2 * below(4);
            add_size(s, channels * taps, true), add_size(s, channels, true);
            add_size(s, 2 * channels * channels * taps, true), add_size(s, 2 * channels, true);
        }
    }
    for (int64_t l = 0; l < s->net.count && !s->net.channels; l++) {
        const int64_t units = s->units[l] = 1 + below(NET_UNITS);
        for (int64_t d = 0; d < s->net.directions; d++) {
            add_size(s, 4 * units * inputs, true), add_size(s, 4 * units * units, true);
            add_size(s, 4 * units, true), add_size(s, 4 * units, below(2));
        }
        inputs = units * s->net.directions;
    }
    s->width = inputs;
    s->net.heads = s->net.channels || below(2) ? 0 : inputs % 2 ? 1 : 2;
    if (s->net.heads) {
        add_size(s, 3 * inputs * inputs, true), add_size(s, 3 * inputs, true);
        add_size(s, inputs * inputs, true), add_size(s, inputs, true);
    }
    if (s->net.normalised) add_size(s, inputs, true), add_size(s, inputs, true);
    if (s->net.hidden) add_size(s, s->net.hidden * inputs, true), add_size(s, s->net.hidden, true);
    add_size(s, s->net.hidden ? s->net.hidden : inputs, true), add_size(s, 1, true);
    if (s->net.normalised) add_size(s, inputs, false), add_size(s, inputs, false);
}

static const double *take_values(sequence *s) {
    const double *from = s->value + s->at;
    s->at += lpb_round_up(s->sizes[s->number++], LPB_ALIGN);
    return from;
}

static double sigmoid_double(double x) { return 1 / (1 + exp(-x)); }

static double product_double(const double *weight, const double *x, int64_t count) {
    double sum = 0;
    for (int64_t j = 0; j < count; j++) sum += weight[j] * x[j];
    return sum;
}

/* A direction of a layer of `units` over the rows of x. */
static void direction_double(sequence *s, int64_t units, int64_t inputs, int64_t direction, net_matrix x,
                             net_matrix to) {
    const double *of_inputs = take_values(s), *of_hidden = take_values(s), *bias = take_values(s),
                 *second = take_values(s);
    double hidden[NET_UNITS] = {0}, cell[NET_UNITS] = {0}, gate[4 * NET_UNITS];
    for (int64_t i = 0; i < s->net.steps; i++) {
        const int64_t step = direction ? s->net.steps - 1 - i : i;
        for (int64_t g = 0; g < 4 * units; g++)
            gate[g] = bias[g] + second[g] + product_double(of_inputs + g * inputs, x[step], inputs) +
                      product_double(of_hidden + g * units, hidden, units);
        for (int64_t u = 0; u < units; u++) {
            cell[u] = sigmoid_double(gate[units + u]) * cell[u] + sigmoid_double(gate[u]) * tanh(gate[2 * units + u]);
            hidden[u] = sigmoid_double(gate[3 * units + u]) * tanh(cell[u]);
            to[step][direction * units + u] = hidden[u];
        }
    }
}

/* What the last step takes in is added to its values, `row`. */
static void attend_double_last(sequence *s, net_matrix x, double *row) {
    const int64_t width = s->width, steps = s->net.steps, size = width / s->net.heads;
    const double *weight = take_values(s), *bias = take_values(s), *out = take_values(s), *out_bias = take_values(s);
    double asked[NET_STEPS][3 * NET_WIDTH], mixed[NET_WIDTH] = {0};
    for (int64_t i = 0; i < steps; i++)
        for (int64_t j = 0; j < 3 * width; j++) asked[i][j] = bias[j] + product_double(weight + j * width, x[i], width);
    for (int64_t first = 0; first < width; first += size) {
        double share[NET_STEPS], sum = 0;
        for (int64_t i = 0; i < steps; i++) {
            const double score = product_double(asked[steps - 1] + first, asked[i] + width + first, size);
            sum += share[i] = exp(score / sqrt((double)size));
        }
        for (int64_t i = 0; i < steps; i++)
            for (int64_t j = first; j < first + size; j++) mixed[j] += share[i] / sum * asked[i][2 * width + j];
    }
    for (int64_t j = 0; j < width; j++)
        row[j] = x[steps - 1][j] + out_bias[j] + product_double(out + j * width, mixed, width);
}

/* A branch: two convolutions with ReLU, and the largest of each channel. */
static void branch_double(sequence *s, int64_t taps, const float *given, double *to) {
    const double *first = take_values(s), *bias = take_values(s), *second = take_values(s), *last = take_values(s);
    const int64_t positions = s->net.features, channels = s->net.channels;
    double middle[NET_FEATURES][NET_CHANNELS];
    for (int64_t p = 0; p < positions; p++)
        for (int64_t c = 0; c < channels; c++) {
            double sum = bias[c];
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t from = p + tap - taps / 2;
                if (from >= 0 && from < positions) sum += first[c * taps + tap] * given[from];
            }
            middle[p][c] = fmax(sum, 0);
        }
    for (int64_t o = 0; o < 2 * channels; o++) {
        to[o] = 0;
        for (int64_t p = 0; p < positions; p++) {
            double sum = last[o];
            for (int64_t j = 0; j < channels * taps; j++) {
                const int64_t from = p + j % taps - taps / 2;
                if (from >= 0 && from < positions) sum += second[o * channels * taps + j] * middle[from][j / taps];
            }
            to[o] = fmax(to[o], sum);
        }
    }
}

static void trunk_double(sequence *s, const float *given, double *row) {
    for (int64_t b = 0; b < s->net.count && s->net.channels; b++)
        branch_double(s, s->units[b], given, row + 2 * b * s->net.channels);
    if (s->net.channels) return;
    net_matrix x, to;
    int64_t inputs = s->net.features;
    for (int64_t i = 0; i < s->net.steps; i++)
        for (int64_t j = 0; j < inputs; j++) x[i][j] = given[i * inputs + j];
    for (int64_t l = 0; l < s->net.count; l++) {
        for (int64_t d = 0; d < s->net.directions; d++) direction_double(s, s->units[l], inputs, d, x, to);
        inputs = s->units[l] * s->net.directions;
        memcpy(x, to, sizeof x);
    }
    memcpy(row, x[s->net.steps - 1], (size_t)inputs * sizeof *row);
    if (s->net.heads) attend_double_last(s, x, row);
}

static void normalise_columns_double(sequence *s, int64_t rows, double x[][NET_WIDTH]) {
    const double *weight = take_values(s), *bias = take_values(s);
    for (int64_t j = 0; j < s->width; j++) {
        double mean = 0, square = 0;
        for (int64_t r = 0; r < rows; r++) mean += x[r][j] / (double)rows;
        for (int64_t r = 0; r < rows; r++) square += (x[r][j] - mean) * (x[r][j] - mean) / (double)rows;
        for (int64_t r = 0; r < rows; r++)
            x[r][j] = (x[r][j] - mean) / sqrt(square + (double)LPB_NORMAL_EPSILON) * weight[j] + bias[j];
    }
}

static double batch_loss_double(sequence *s, const lpb_classifier_batch *batch) {
    static double row[NET_ROWS][NET_WIDTH];
    double loss = 0;
    for (int64_t r = 0; r < batch->rows; r++) {
        s->at = s->number = 0;
        trunk_double(s, batch->x + r * batch->x_row, row[r]);
    }
    if (s->net.normalised) normalise_columns_double(s, batch->rows, row);
    const double *hidden = s->net.hidden ? take_values(s) : NULL, *bias = hidden ? take_values(s) : NULL;
    const double *output = take_values(s), *last = take_values(s);
    for (int64_t r = 0; r < batch->rows; r++) {
        double inner[NET_UNITS];
        for (int64_t j = 0; j < s->net.hidden; j++)
            inner[j] = fmax(bias[j] + product_double(hidden + j * s->width, row[r], s->width), 0);
        const double z = *last + product_double(output, hidden ? inner : row[r], hidden ? s->net.hidden : s->width);
        const double p = sigmoid_double(batch->labels[r] ? z : -z);
        loss -= s->net.weights[batch->labels[r]] * pow(1 - p, s->net.gamma) * log(p) / (double)batch->rows;
    }
    return loss;
}

/* After a step products take the weights that it made, not those rounded before: as in a new trainer of these. */
static void stepped_classifier(const lpb_isa *isa, const sequence *s, const lpb_classifier_net *net,
                               const lpb_classifier_batch *batch, lpb_classifier_trainer *t) {
    const lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    float *moved = numbers(s->floats), *fresh = numbers(s->floats);
    lpb_classifier_trainer *anew;
    double loss;
    if (lpb_classifier_trainer_step(t, batch, &adam, 0.1, 2, NULL, &loss) != LPB_OK ||
        lpb_classifier_trainer_new(isa, net, s->sizes, s->learns, s->count, lpb_classifier_trainer_values(t), &anew) !=
            LPB_OK ||
        lpb_classifier_trainer_step(t, batch, &adam, 0.1, 2, moved, &loss) != LPB_OK ||
        lpb_classifier_trainer_step(anew, batch, &adam, 0.1, 2, fresh, &loss) != LPB_OK)
        fail(isa, "status", 1, 0);
    for (int64_t i = 0; i < s->floats; i++)
        if (moved[i] != fresh[i]) fail(isa, "classifier's rounded gradient after a step", moved[i], fresh[i]);
    lpb_classifier_trainer_free(anew);
    free(moved), free(fresh);
}

/* Gradients of rounded products, next to those of floats. */
static void round_sequence(const lpb_isa *isa, const sequence *s, const lpb_classifier_batch *batch, const float *value,
                           const float *gradient) {
    lpb_classifier_net net = s->net;
    net.products = LPB_BFLOAT16;
    const lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    const lpb_isa *const tables[] = {isa, portable_isa()};
    float *const found[] = {numbers(s->floats), numbers(s->floats)};
    double loss;
    for (int i = 0; i < 2; i++) {
        lpb_classifier_trainer *t;
        if (lpb_classifier_trainer_new(tables[i], &net, s->sizes, s->learns, s->count, value, &t) != LPB_OK ||
            lpb_classifier_trainer_step(t, batch, &adam, 0.1, 2, found[i], &loss) != LPB_OK)
            fail(isa, "status", 1, 0);
        if (!i) stepped_classifier(isa, s, &net, batch, t);
        lpb_classifier_trainer_free(t);
    }
    compare_rounded(isa, "classifier's rounded gradient", found[0], found[1], s->net.normalised ? NULL : gradient,
                    s->floats);
    free(found[0]), free(found[1]);
}

/* Some gradients of every parameter against differences; a step, and with three threads the same by rounding. */
static void compare_sequence(const lpb_isa *isa, sequence *s, const lpb_classifier_batch *batch) {
    lpb_adam adam = {0.01, 0.9, 0.999, 1e-8, 0};
    float *value = numbers(s->floats), *gradient = numbers(s->floats), *shared = numbers(s->floats);
    int64_t at = 0;
    for (int64_t p = 0; p < s->count; at += lpb_round_up(s->sizes[p++], LPB_ALIGN))
        for (int64_t i = s->sizes[p]; i < lpb_round_up(s->sizes[p], LPB_ALIGN); i++) value[at + i] = 0;
    for (int64_t i = 0; i < s->floats; i++) s->value[i] = value[i];
    lpb_classifier_trainer *t;
    if (lpb_classifier_trainer_new(isa, &s->net, s->sizes, s->learns, s->count, value, &t) != LPB_OK)
        fail(isa, "classifier refused", 1, 0);
    double loss, again;
    if (lpb_classifier_trainer_step(t, batch, &adam, 0.1, 1, gradient, &loss) != LPB_OK ||
        lpb_classifier_trainer_step(t, batch, &adam, 0.1, 3, shared, &again) != LPB_OK)
        fail(isa, "status", 1, 0);
    hold(isa, "classifier's loss", loss, batch_loss_double(s, batch));
    hold(isa, "classifier's loss of three threads", again, loss);
    double largest = 0, squares = 0;
    for (int64_t i = 0; i < s->floats; i++) largest = fmax(largest, fabs(gradient[i]));
    const double bound = (s->net.normalised ? 1e-3 : 2e-5) * (largest + 1); /* columns of nearly equal numbers */
    at = 0;
    for (int64_t p = 0; p < s->count; at += lpb_round_up(s->sizes[p++], LPB_ALIGN)) {
        for (int64_t i = at; i < at + s->sizes[p] && s->learns[p]; i++) squares += (double)shared[i] * shared[i];
        for (int times = 0; times < 3 && s->learns[p]; times++) {
            const int64_t i = at + below(s->sizes[p]);
            const double step = 1e-5, kept = s->value[i];
            s->value[i] = kept + step;
            const double up = batch_loss_double(s, batch);
            s->value[i] = kept - step;
            const double expected = (up - batch_loss_double(s, batch)) / (2 * step);
            s->value[i] = kept;
            if (!(fabs(gradient[i] - expected) <= bound)) fail(isa, "classifier's gradient", gradient[i], expected);
            if (!(fabs(shared[i] - gradient[i]) <= bound))
                fail(isa, "classifier's gradient of three threads", shared[i], gradient[i]);
        }
    }
    round_sequence(isa, s, batch, value, gradient);
    adam.max_grad_norm = below(2) ? 0.5 * sqrt(squares) : 0;
    if (lpb_classifier_trainer_step(t, batch, &adam, 0.1, 2, NULL, &loss) != LPB_OK) fail(isa, "status", 1, 0);
    const float *moved = lpb_classifier_trainer_values(t);
    at = 0;
    for (int64_t p = 0; p < s->count; at += lpb_round_up(s->sizes[p++], LPB_ALIGN))
        for (int64_t i = at; i < at + s->sizes[p] && (s->learns[p] || p < s->count - 2); i++) {
            const double g = shared[i] * (adam.max_grad_norm > 0 ? 0.5 : 1);
            const double to = s->learns[p] ? value[i] * 0.999 - 0.01 * g / (fabs(g) + 1e-8) : value[i];
            if (s->learns[p] && fabs(g) < bound) continue; /* the direction of what is nearly 0 is that of rounding */
            if (!(fabs(moved[i] - to) <= 1e-5)) fail(isa, "classifier's step", moved[i], to);
        }
    lpb_classifier_trainer_free(t);
    free(value), free(gradient), free(shared);
}

static void check_classifier(const lpb_isa *isa) {
    sequence s;
    draw_sequence(&s);
    const int64_t rows = s.net.normalised ? NET_ROWS : 1 + below(NET_ROWS);
    const int64_t row = s.net.features * s.net.steps + below(3);
    float *x = numbers(rows * row);
    int64_t *labels = block((size_t)rows * sizeof *labels);
    for (int64_t i = 0; i < rows * row; i++) x[i] *= 3;
    for (int64_t r = 0; r < rows; r++) labels[r] = below(2);
    s.value = block((size_t)s.floats * sizeof *s.value);
    const lpb_classifier_batch batch = {x, row, rows, labels};
    compare_sequence(isa, &s, &batch);
    free(s.value), free(x), free(labels);
    /* whatever is wrong is refused, or stays in its memory */
    int64_t *fields[] = {&s.net.channels, &s.net.features, &s.net.steps, &s.net.directions, &s.net.count,
                         &s.net.heads,    &s.net.hidden,   s.units,      &s.count,          s.sizes + below(s.count)};
    const int64_t wrong[] = {-1, 0, 1, 2, 3, 16, 1 << 20, (int64_t)1 << 40};
    const int which = (int)below(10);
    const int64_t number = wrong[below(which == 4 || which == 8 ? 4 : 8)];
    if (number == *fields[which] || (which == 4 && number > NET_LAYERS)) return;
    *fields[which] = number;
    int64_t floats = 0;
    for (int64_t p = 0; p < s.count; p++)
        if (s.sizes[p] < 0 || (floats += lpb_round_up(s.sizes[p], LPB_ALIGN)) > 1 << 22) return;
    float *value = numbers(floats);
    lpb_classifier_trainer *t;
    if (lpb_classifier_trainer_new(isa, &s.net, s.sizes, s.learns, s.count, value, &t) == LPB_OK)
        lpb_classifier_trainer_free(t);
    free(value);
}
