/* Steps of training that are plain in source: the compiler makes vectors of them. Included by elementwise_template.h.
 */

static void T(drop)(float *restrict x, const uint16_t *restrict bits, int64_t count, int32_t least, float scale) {
    for (int64_t i = 0; i < count; i++) {
        const float kept = x[i] * scale;
        x[i] = bits[i] >= least ? kept : 0.0f;
    }
}

static void T(follow)(float *restrict average, const float *restrict value, int64_t count, float share) {
    for (int64_t i = 0; i < count; i++) average[i] += share * (value[i] - average[i]);
}

static void T(add_scaled)(const float *restrict a, const float *restrict b, int64_t count, float scale,
                          float *restrict out) {
    for (int64_t i = 0; i < count; i++) out[i] = a[i] + scale * b[i];
}

static void T(soft)(const float *x, int64_t count, float *softplus, float *sigmoid) {
    for (int64_t i = 0; i < count; i += VL) {
        const vf v = V_LOAD(x + i);
        const vf e = T(exp_down)(T(no_less)((vf)((vi)v | INT32_MIN), -87.0f)); /* exp(-|x|) */
        V_STORE(softplus + i, T(select)(v < V_ZERO, V_ZERO, v) + T(log1p)(e));
        V_STORE(sigmoid + i, T(select)(v < V_ZERO, e, V_SET1(1.0f)) / (V_SET1(1.0f) + e));
    }
}

static void T(bend)(const float *restrict a, const float *restrict b, const float *restrict sigmoid, int64_t count,
                    float *restrict g) {
    if (b)
        for (int64_t i = 0; i < count; i++) g[i] = sigmoid[i] * (g[i] + a[i] * b[i] * (1.0f - sigmoid[i]));
    else
        for (int64_t i = 0; i < count; i++) g[i] = sigmoid[i] * (g[i] + a[i] * (1.0f - sigmoid[i]));
}

static void T(normalise_batch)(const lpb_batch_norm *n, const float *restrict x, float *restrict y) {
    float *restrict mean = n->mean, *restrict scale = n->scale;
    const float share = 1.0f / (float)n->rows;
    for (int64_t j = 0; j < n->columns; j++) mean[j] = scale[j] = 0.0f;
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t j = 0; j < n->columns; j++) mean[j] += x[r * n->ld + j];
    for (int64_t j = 0; j < n->columns; j++) mean[j] *= share;
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t j = 0; j < n->columns; j++) {
            const float d = x[r * n->ld + j] - mean[j];
            scale[j] += d * d;
        }
    const float unbiased = 1.0f / (float)(n->rows > 1 ? n->rows - 1 : 1);
    for (int64_t j = 0; j < n->columns; j++) {
        n->running_mean[j] += n->momentum * (mean[j] - n->running_mean[j]);
        n->running_variance[j] += n->momentum * (scale[j] * unbiased - n->running_variance[j]);
        scale[j] = 1.0f / sqrtf(scale[j] * share + n->epsilon);
    }
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t j = 0; j < n->columns; j++)
            y[r * n->ld + j] = (x[r * n->ld + j] - mean[j]) * scale[j] * n->weight[j] + n->bias[j];
}

/* g by y becomes that by x; those of weight and bias are added to their gradients where there are any. */
static void T(normalise_batch_gradient)(const lpb_batch_norm *n, const float *restrict x, float *restrict g) {
    const float *restrict mean = n->mean, *restrict scale = n->scale, *restrict weight = n->weight;
    float *restrict sums = n->sums, *restrict products = n->products;
    const float share = 1.0f / (float)n->rows;
    for (int64_t j = 0; j < n->columns; j++) sums[j] = products[j] = 0.0f;
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t j = 0; j < n->columns; j++) {
            sums[j] += g[r * n->ld + j];
            products[j] += g[r * n->ld + j] * ((x[r * n->ld + j] - mean[j]) * scale[j]);
        }
    for (int64_t j = 0; n->weight_gradient && j < n->columns; j++) {
        n->weight_gradient[j] += products[j];
        n->bias_gradient[j] += sums[j];
    }
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t j = 0; j < n->columns; j++) {
            const float normal = (x[r * n->ld + j] - mean[j]) * scale[j];
            g[r * n->ld + j] = (g[r * n->ld + j] - share * (sums[j] + normal * products[j])) * scale[j] * weight[j];
        }
}
