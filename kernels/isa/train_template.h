/* Steps of training that are plain in source: the compiler makes vectors of them. Included by elementwise_template.h.
 */

static void T(drop)(float *restrict x, const uint16_t *restrict bits, int64_t count, int32_t least, float scale) {
    for (int64_t i = 0; i < count; i++) {
        const float kept = x[i] * scale;
        x[i] = bits[i] >= least ? kept : 0.0f;
    }
}

typedef uint32_t T(bits) __attribute__((may_alias));

static void T(round_rows)(const float *x, int64_t x_row, int64_t rows, int64_t columns, uint16_t *restrict out) {
    if (x_row == columns) columns *= rows, rows = 1;
    for (int64_t r = 0; r < rows; r++, x += x_row, out += columns) {
        const T(bits) *restrict from = (const T(bits) *)x;
        int64_t j = 0;
#ifdef V_ROUND
        for (; j + 2 * VL <= columns; j += 2 * VL) V_ROUND(x + j, out + j);
#endif
        for (; j < columns; j++) {
            const uint32_t v = from[j], near = v + 0x7fff + (v >> 16 & 1);
            out[j] = (uint16_t)(((v & INT32_MAX) > 0x7f800000 ? v | 0x400000 : near) >> 16);
        }
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

static void T(lstm_forward)(const lpb_lstm_pass *p) {
    for (int64_t r = 0; r < p->rows; r++) {
        float *input = p->gates + r * p->gates_row, *output = input + p->part, *candidate = output + p->part,
              *forget = candidate + p->part;
        float *cell = p->cell + r * p->cell_row, *seen = p->seen + r * p->cell_row;
        float *hidden = p->hidden + r * p->hidden_row;
        const float *before = p->before ? p->before + r * p->cell_row : NULL;
        for (int64_t i = 0; i < p->count; i += VL) {
            const vf in = T(sigmoid)(V_LOAD(input + i)), offered = T(tanh)(V_LOAD(candidate + i));
            vf made = in * offered;
            if (before) {
                const vf kept = T(sigmoid)(V_LOAD(forget + i));
                made = V_FMA(kept, V_LOAD(before + i), made);
                V_STORE(forget + i, kept);
            }
            V_STORE(input + i, in);
            V_STORE(candidate + i, offered);
            V_STORE(cell + i, made);
        }
        for (int64_t i = 0; i < p->count; i += VL) {
            const vf out = T(sigmoid)(V_LOAD(output + i)), of_cell = T(tanh)(V_LOAD(cell + i));
            V_STORE(output + i, out);
            V_STORE(seen + i, of_cell);
            V_STORE(hidden + i, out * of_cell);
        }
    }
}

static void T(lstm_back)(const lpb_lstm_pass *p) {
    const vf one = V_SET1(1.0f);
    for (int64_t r = 0; r < p->rows; r++) {
        float *input = p->gates + r * p->gates_row, *output = input + p->part, *candidate = output + p->part,
              *forget = candidate + p->part;
        const float *seen = p->seen + r * p->cell_row, *of_hidden = p->of_hidden + r * p->hidden_row;
        const float *before = p->before ? p->before + r * p->cell_row : NULL;
        float *of_cell = p->of_cell + r * p->cell_row;
        for (int64_t i = 0; i < p->count; i += VL) {
            const vf g = V_LOAD(of_hidden + i), in = V_LOAD(input + i), out = V_LOAD(output + i);
            const vf offered = V_LOAD(candidate + i), s = V_LOAD(seen + i);
            const vf c = V_FMA(g * out, one - s * s, V_LOAD(of_cell + i));
            V_STORE(output + i, g * s * out * (one - out));
            V_STORE(input + i, c * offered * in * (one - in));
            V_STORE(candidate + i, c * in * (one - offered * offered));
            if (before) {
                const vf kept = V_LOAD(forget + i);
                V_STORE(forget + i, c * V_LOAD(before + i) * kept * (one - kept));
                V_STORE(of_cell + i, c * kept);
            } else if (p->gate_count > 3) {
                V_STORE(forget + i, V_ZERO);
            }
        }
    }
}

static void T(largest)(const float *restrict x, int64_t rows, int64_t ld, int64_t columns, float *restrict most,
                       float *restrict ties, int32_t *restrict where) {
    for (int64_t j = 0; j < columns; j++) most[j] = x[j], ties[j] = 1.0f, where[j] = 0;
    for (int64_t r = 1; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) {
            const float v = x[r * ld + j], m = most[j];
            ties[j] = v > m ? 1.0f : v == m ? ties[j] + 1.0f : ties[j];
            where[j] = v >= m ? (int32_t)r : where[j];
            most[j] = v > m ? v : m;
        }
}

/* The gradient of a column's largest number goes to all rows that have it, in equal parts. */
static void T(largest_back)(const lpb_largest_pass *p) {
    for (int64_t j = 0; j < p->columns; j++) {
        if (!(p->most[j] > 0.0f)) continue;
        const bool alone = p->ties[j] == 1.0f;
        const float g = p->g[j] / p->ties[j], *restrict weight = p->weight + j * p->weight_row;
        float *restrict of_weight = p->of_weight + j * p->weight_row;
        for (int64_t r = alone ? p->where[j] : 0; r < (alone ? p->where[j] + 1 : p->rows); r++) {
            if (p->x[r * p->ld + j] != p->most[j]) continue;
            const float *restrict read = p->read + r * p->step;
            float *restrict of_read = p->of_read + r * p->step;
            for (int64_t i = 0; i < p->terms; i++) {
                of_weight[i] += g * read[i];
                of_read[i] += g * weight[i];
            }
        }
        p->of_bias[j] += p->g[j];
    }
}
