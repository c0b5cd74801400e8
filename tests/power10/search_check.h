/* Searches against a walk in double precision, one row and one unit at a time. Included by kernel_check.c. */
enum { SEARCH_LAYERS = 8, SEARCH_WIDTH = 64 };

/* Random layers from `inputs` to `outputs` features. */
static void draw_rectifiers(lpb_layer *layers, int64_t count, int64_t inputs, int64_t outputs) {
    for (int64_t l = 0; l < count; l++) {
        const int64_t made = l == count - 1 ? outputs : 1 + below(40);
        float *weight = numbers(made * inputs);
        for (int64_t i = 0; i < made * inputs; i++) weight[i] /= sqrtf((float)inputs);
        layers[l] = (lpb_layer){inputs, made, weight, numbers(made), (lpb_activation)below(3), 0.25f};
        inputs = made;
    }
}

/* h[0] is the input and h[l + 1] what layer l makes. */
static void walk_forwards(const lpb_layer *layers, int64_t count, double h[][SEARCH_WIDTH]) {
    for (int64_t l = 0; l < count; l++)
        for (int64_t j = 0; j < layers[l].outputs; j++) {
            double sum = layers[l].bias[j];
            for (int64_t i = 0; i < layers[l].inputs; i++) sum += layers[l].weight[j * layers[l].inputs + i] * h[l][i];
            h[l + 1][j] = activated(sum, layers[l].activation, layers[l].slope);
        }
}

static void walk_back(const lpb_layer *layers, int64_t count, double h[][SEARCH_WIDTH], double *g) {
    for (int64_t l = count - 1; l >= 0; l--) {
        const lpb_layer *k = layers + l;
        double below_g[SEARCH_WIDTH] = {0};
        for (int64_t j = 0; j < k->outputs; j++) {
            const double slope = k->activation == LPB_IDENTITY ? 1 : k->activation == LPB_RELU ? 0 : k->slope;
            if (!(h[l + 1][j] > 0)) g[j] *= slope;
            for (int64_t i = 0; i < k->inputs; i++) below_g[i] += g[j] * k->weight[j * k->inputs + i];
        }
        memcpy(g, below_g, sizeof below_g);
    }
}

static double sign_of(double x) { return (x > 0) - (x < 0); }

/* The loss of h[0] for a row and its features, and its gradient in g. */
static double search_loss(const lpb_layer *layers, int64_t generator, int64_t count, lpb_search_term term,
                          const float *row, const double *features, double h[][SEARCH_WIDTH], double *g) {
    const double weight = 0.3;
    const int64_t width = layers[count - 1].outputs, rows = layers[generator - 1].outputs;
    double distance = 0, judged = 0;
    walk_forwards(layers, count, h);
    for (int64_t j = 0; j < width; j++) {
        const double z = h[count][j];
        judged += term == LPB_TERM_LOGIT ? log1p(exp(-fabs(z))) + fmax(-z, 0) : fabs(z - features[j]);
        g[j] = weight * (term == LPB_TERM_LOGIT ? -1 / (1 + exp(z)) : sign_of(z - features[j]));
    }
    walk_back(layers + generator, count - generator, h + generator, g);
    for (int64_t j = 0; j < rows; j++) {
        distance += fabs(h[generator][j] - row[j]);
        g[j] += (1 - weight) * sign_of(h[generator][j] - row[j]);
    }
    walk_back(layers, generator, h, g);
    return (1 - weight) * distance + weight * judged;
}

static void check_search(const lpb_isa *isa) {
    const lpb_search_term term = (lpb_search_term)below(LPB_SEARCH_TERMS);
    const int64_t generator = 1 + below(3), judge = 1 + below(3), count = generator + judge, latent = 1 + below(20);
    const int64_t features = 1 + below(40), rows = below(3) ? below(20) : below(150), x_row = features + below(3);
    lpb_layer layers[SEARCH_LAYERS];
    draw_rectifiers(layers, generator, latent, features);
    draw_rectifiers(layers + generator, judge, features, term == LPB_TERM_LOGIT ? 1 : 1 + below(40));
    double start[SEARCH_WIDTH], rates[] = {0.1, 0.1, 0.05, 0.02};
    for (int64_t i = 0; i < latent; i++) start[i] = (double)number();
    const lpb_search_steps steps = {start, rates, below(5), 0.9, 0.999, 1e-8};
    float *x = numbers(rows * x_row), *out = block((size_t)rows * sizeof *out);
    lpb_search *search = lpb_search_new(isa, layers, generator, layers + generator, judge, term, 0.3, &steps);
    if (!search || lpb_search_run(search, x, rows, x_row, out, 1 + (int)below(2)) != LPB_OK)
        fail(isa, "search status", 1, 0);
    for (int64_t r = 0; r < rows; r++) {
        double h[SEARCH_LAYERS][SEARCH_WIDTH], wanted[SEARCH_LAYERS][SEARCH_WIDTH], g[SEARCH_WIDTH];
        double code[SEARCH_WIDTH], mean[SEARCH_WIDTH] = {0}, square[SEARCH_WIDTH] = {0};
        const float *row = x + r * x_row;
        for (int64_t j = 0; j < features; j++) wanted[0][j] = row[j];
        walk_forwards(layers + generator, judge, wanted);
        memcpy(code, start, sizeof code);
        for (int64_t s = 0; s < steps.count; s++) {
            memcpy(h[0], code, sizeof code);
            search_loss(layers, generator, count, term, row, wanted[judge], h, g);
            for (int64_t i = 0; i < latent; i++) {
                mean[i] = 0.9 * mean[i] + 0.1 * g[i], square[i] = 0.999 * square[i] + 0.001 * g[i] * g[i];
                const double m = mean[i] / (1 - pow(0.9, (double)s + 1));
                code[i] -= rates[s] * m / (sqrt(square[i] / (1 - pow(0.999, (double)s + 1))) + 1e-8);
            }
        }
        memcpy(h[0], code, sizeof code);
        const double loss = search_loss(layers, generator, count, term, row, wanted[judge], h, g);
        if (!(fabs(out[r] - loss) <= 1e-6 * (1 + fabs(loss)))) fail(isa, "search", out[r], loss);
    }
    lpb_search_free(search);
    free(x), free(out);
    for (int64_t l = 0; l < count; l++) free((void *)layers[l].weight), free((void *)layers[l].bias);
}
