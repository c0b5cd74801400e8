/* Steps of a search in double, one number at a time in source: the compiler makes vectors of them. Included by
 * elementwise_template.h. */

static void T(wide_gate)(double *restrict g, const double *restrict h, int64_t count, double slope) {
    for (int64_t i = 0; i < count; i++) {
        const double below = slope * g[i];
        g[i] = h[i] > 0.0 ? g[i] : below;
    }
}

static void T(wide_sign)(const double *restrict a, const double *restrict b, int64_t count, double scale, bool add,
                         double *restrict out) {
    for (int64_t i = 0; i < count; i++) {
        const double difference = a[i] - b[i];
        const double sign = difference > 0.0 ? scale : difference < 0.0 ? -scale : 0.0;
        out[i] = add ? out[i] + sign : sign;
    }
}

static void T(wide_adam)(double *restrict parameter, const double *restrict gradient, double *restrict mean,
                         double *restrict square, int64_t count, const lpb_wide_adam_step *step) {
    const double w1 = 1.0 - step->beta1, b2 = step->beta2, w2 = 1.0 - step->beta2, size = step->step_size;
    const double root = 1.0 / step->root_correction, epsilon = step->epsilon;
    for (int64_t i = 0; i < count; i++) {
        const double g = gradient[i], m = mean[i] + w1 * (g - mean[i]), v = b2 * square[i] + w2 * g * g;
        mean[i] = m;
        square[i] = v;
        parameter[i] -= size * m / (sqrt(v) * root + epsilon);
    }
}
