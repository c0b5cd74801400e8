/* Random streams of an LSTM's windows against a walk through every window in double precision. Included by
 * kernel_check.c. */
enum { MOST_LAYERS = 3, MOST_UNITS = 40 };

/* hidden and cell (units each) of a layer after x (inputs). */
static void walk_cell(const lpb_step *s, const double *x, double *hidden, double *cell) {
    const int64_t inputs = s->arrays[0].columns, units = s->arrays[1].columns;
    double gates[4 * MOST_UNITS];
    for (int64_t j = 0; j < 4 * units; j++) {
        gates[j] = entry(s->arrays + 2, j);
        for (int64_t i = 0; i < inputs; i++) gates[j] += entry(s->arrays, j * inputs + i) * x[i];
        for (int64_t i = 0; i < units; i++) gates[j] += entry(s->arrays + 1, j * units + i) * hidden[i];
    }
    for (int64_t i = 0; i < units; i++) {
        cell[i] = activated(gates[units + i], LPB_SIGMOID, 0) * cell[i] +
                  activated(gates[i], LPB_SIGMOID, 0) * tanh(gates[2 * units + i]);
        hidden[i] = activated(gates[3 * units + i], LPB_SIGMOID, 0) * tanh(cell[i]);
    }
}

/* The score of the window whose rows begin at x. */
static double walk_window(const lpb_step *layers, int64_t count, int64_t steps, const float *x, const float *weight,
                          double bias) {
    double hidden[MOST_LAYERS][MOST_UNITS] = {{0}}, cell[MOST_LAYERS][MOST_UNITS] = {{0}}, input[MOST_UNITS];
    const int64_t features = layers[0].arrays[0].columns;
    for (int64_t t = 0; t < steps; t++, x += features) {
        for (int64_t i = 0; i < features; i++) input[i] = (double)x[i];
        for (int64_t l = 0; l < count; l++) walk_cell(layers + l, l ? hidden[l - 1] : input, hidden[l], cell[l]);
    }
    for (int64_t i = 0; i < layers[count - 1].arrays[1].columns; i++) bias += (double)weight[i] * hidden[count - 1][i];
    return bias;
}

static void check_stream(const lpb_isa *isa) {
    const int64_t steps = 1 + below(9), count = 1 + below(MOST_LAYERS), features = 1 + below(MOST_UNITS);
    const int64_t streams = 1 + below(3), rows = below(40);
    lpb_step layers[MOST_LAYERS];
    int64_t units = 0, terms = 0;
    for (int64_t l = 0; l < count; l++) {
        const int64_t inputs = l ? units : features;
        units = 1 + below(MOST_UNITS), terms += inputs + units + 40;
        layers[l] = (lpb_step){.kind = LPB_STEP_LSTM, .array_count = 3, .number = steps};
        const int64_t columns[] = {inputs, units, 4 * units};
        for (int i = 0; i < 3; i++) { /* so small that no step magnifies rounding errors */
            layers[l].arrays[i] = array_of(LPB_ARRAY_FLOAT, i < 2 ? 4 * units : 1, columns[i]);
            float *entries = (float *)layers[l].arrays[i].data;
            for (int64_t j = 0; j < (i < 2 ? 4 * units * columns[i] : 4 * units); j++) entries[j] /= (float)columns[i];
        }
    }
    float *weight = numbers(units), *out = block((size_t)rows * sizeof *out);
    lpb_stream *stream = NULL;
    if (lpb_stream_new(isa, layers, count, weight, units, 0.5f, &stream) != LPB_OK) fail(isa, "stream refused", 1, 0);
    const int64_t state = lpb_stream_state(stream);
    float *states = block((size_t)(streams * state) * sizeof *states), *x = numbers(rows * features);
    float *history = block((size_t)(streams * rows * features) * sizeof *history);
    int64_t seen[3] = {0}, past[3] = {0}, *of = block((size_t)rows * sizeof *of);
    memset(states, 0, (size_t)(streams * state) * sizeof *states);
    for (int64_t r = 0; r < rows; r++) of[r] = below(streams);
    for (int64_t r = 0, some; r < rows; r += some) {
        some = 1 + below(rows - r);
        if (lpb_stream_run(stream, states, seen, of + r, x + r * features, features, some, out + r) != LPB_OK)
            fail(isa, "stream status", 1, 0);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *own = history + of[r] * rows * features;
        memcpy(own + past[of[r]]++ * features, x + r * features, (size_t)features * sizeof *own);
        if (past[of[r]] < steps) {
            if (!isnan(out[r])) fail(isa, "score of no whole window", out[r], NAN);
            continue;
        }
        const double exact = walk_window(layers, count, steps, own + (past[of[r]] - steps) * features, weight, 0.5);
        if (!(fabs(out[r] - exact) <= (double)(steps * terms * units) * 6e-8)) fail(isa, "stream", out[r], exact);
    }
    lpb_stream_free(stream);
    for (int64_t l = 0; l < count; l++)
        for (int i = 0; i < 3; i++) free((void *)(uintptr_t)layers[l].arrays[i].data);
    free(weight), free(out), free(states), free(x), free(history), free(of);
}
