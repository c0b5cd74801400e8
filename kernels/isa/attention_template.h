/* What the training of a transformer does between products: normalisation of rows and its gradient, that of softmax,
 * and GELU with its slope. Included by elementwise_template.h. Columns are multiples of LPB_ALIGN. */

static void T(normalise_rows)(const lpb_row_norm *n, const float *x, float *y) {
    const float share = 1.0f / (float)n->columns;
    for (int64_t r = 0; r < n->rows; r++, x += n->x_row, y += n->y_row) {
        vf sum = V_ZERO, squares = V_ZERO;
        for (int64_t j = 0; j < n->columns; j += VL) sum += V_LOAD(x + j);
        const float mean = T(sum)(sum) * share;
        const vf centre = V_SET1(mean);
        for (int64_t j = 0; j < n->columns; j += VL) {
            const vf d = V_LOAD(x + j) - centre;
            squares = V_FMA(d, d, squares);
        }
        const float scale = 1.0f / sqrtf(T(sum)(squares) * share + LPB_NORMAL_EPSILON);
        const vf factor = V_SET1(scale);
        n->mean[r] = mean, n->scale[r] = scale;
        for (int64_t j = 0; j < n->columns; j += VL)
            V_STORE(y + j, V_FMA((V_LOAD(x + j) - centre) * factor, V_LOAD(n->weight + j), V_LOAD(n->bias + j)));
    }
}

/* g by y; that by x is added to `to`, and those of weight and bias to their gradients. */
static void T(normalise_rows_gradient)(const lpb_row_norm *n, const float *x, const float *g, float *to,
                                       int64_t to_row) {
    const float share = 1.0f / (float)n->columns;
    for (int64_t r = 0; r < n->rows; r++, x += n->x_row, g += n->y_row, to += to_row) {
        const vf mean = V_SET1(n->mean[r]), scale = V_SET1(n->scale[r]);
        vf sum = V_ZERO, products = V_ZERO;
        for (int64_t j = 0; j < n->columns; j += VL) {
            const vf normal = (V_LOAD(x + j) - mean) * scale, of_y = V_LOAD(g + j);
            const vf of_normal = of_y * V_LOAD(n->weight + j);
            sum += of_normal;
            products = V_FMA(of_normal, normal, products);
            V_STORE(n->weight_gradient + j, V_FMA(of_y, normal, V_LOAD(n->weight_gradient + j)));
            V_STORE(n->bias_gradient + j, V_LOAD(n->bias_gradient + j) + of_y);
        }
        const vf shift = V_SET1(T(sum)(sum) * share), slope = V_SET1(T(sum)(products) * share);
        for (int64_t j = 0; j < n->columns; j += VL) {
            const vf normal = (V_LOAD(x + j) - mean) * scale;
            const vf inner = V_LOAD(g + j) * V_LOAD(n->weight + j) - shift - normal * slope;
            V_STORE(to + j, V_FMA(scale, inner, V_LOAD(to + j)));
        }
    }
}

/* exp(x) for x <= 0, of which the largest is 0. */
static inline __attribute__((always_inline)) vf T(weight)(vf x) {
    vf power;
    const vf q = T(short_power)(V_NO_LESS(x, -87.0f), 1.0f, &power);
    return V_FMA(power, q, power);
}

/* A vector of columns of x: their powers relative to the largest, which is given too; returns the sums. */
static inline __attribute__((always_inline)) vf T(powers)(float *x, int64_t rows, int64_t ld, vf *largest) {
    vf most = V_LOAD(x), other = most, sum = V_ZERO;
    int64_t p = 1;
    for (; p + 1 < rows; p += 2) { /* NaN need not be found: it makes the sum NaN */
        most = V_LARGER(V_LOAD(x + p * ld), most);
        other = V_LARGER(V_LOAD(x + (p + 1) * ld), other);
    }
    if (p < rows) most = V_LARGER(V_LOAD(x + p * ld), most);
    most = V_LARGER(other, most);
    for (int64_t j = 0; j < rows; j++) {
        const vf power = T(weight)(V_LOAD(x + j * ld) - most);
        V_STORE(x + j * ld, power);
        sum += power;
    }
    *largest = most;
    return sum;
}

/* Columns of x: their softmax, and what it takes to make it again: the largest, and one over the sum of the powers. */
static void T(softmax_parts)(float *x, int64_t rows, int64_t ld, float *most, float *parts) {
    for (int64_t r = 0; r < ld; r += VL) {
        vf largest;
        const vf part = V_SET1(1.0f) / T(powers)(x + r, rows, ld, &largest);
        V_STORE(most + r, largest);
        V_STORE(parts + r, part);
        for (int64_t j = 0; j < rows; j++) V_STORE(x + j * ld + r, V_LOAD(x + j * ld + r) * part);
    }
}

static void T(softmax_again)(float *x, int64_t rows, int64_t ld, const float *most, const float *parts) {
    for (int64_t r = 0; r < ld; r += VL) {
        const vf largest = V_LOAD(most + r), part = V_LOAD(parts + r);
        for (int64_t j = 0; j < rows; j++) {
            const vf power = T(weight)(V_LOAD(x + j * ld + r) - largest);
            V_STORE(x + j * ld + r, power * part);
        }
    }
}

static void T(softmax_gradient)(const float *p, float *g, int64_t rows, int64_t ld) {
    for (int64_t r = 0; r < ld; r += VL) {
        vf even = V_ZERO, odd = V_ZERO;
        int64_t j = 0;
        for (; j + 1 < rows; j += 2) {
            even = V_FMA(V_LOAD(p + j * ld + r), V_LOAD(g + j * ld + r), even);
            odd = V_FMA(V_LOAD(p + (j + 1) * ld + r), V_LOAD(g + (j + 1) * ld + r), odd);
        }
        if (j < rows) even = V_FMA(V_LOAD(p + j * ld + r), V_LOAD(g + j * ld + r), even);
        const vf mean = even + odd;
        for (j = 0; j < rows; j++) V_STORE(g + j * ld + r, V_LOAD(p + j * ld + r) * (V_LOAD(g + j * ld + r) - mean));
    }
}

static void T(gelu_slope)(float *x, int64_t count, float *slope) {
    for (int64_t i = 0; i < count; i += VL) {
        const vf v = V_LOAD(x + i), magnitude = (vf)((vi)v & INT32_MAX), most = V_SET1(13.0f);
        const vf y = T(select)(magnitude > most, most, magnitude), z = y * V_SET1(0.70710678118654752440f);
        vf t;
        const vf p = T(tail_series)(z, &t), e = T(exp_down)(-z * z);
        const vf tail = V_SET1(0.5f) * t * p * e, cut = (vf)((vi)y | ((vi)v & INT32_MIN));
        const vf below = T(select)(v < V_ZERO, tail, V_SET1(1.0f) - tail);
        V_STORE(x + i, V_RELU(v) - y * tail);
        V_STORE(slope + i, V_FMA(cut * V_SET1(0.3989422804014327f), e, below));
    }
}

static void T(add_column_sums)(const float *restrict g, int64_t rows, int64_t ld, int64_t columns,
                               float *restrict sums) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) sums[j] += g[r * ld + j];
}

static void T(reglu)(const float *restrict x, int64_t rows, int64_t ld, int64_t inner, float *restrict out) {
    for (int64_t r = 0; r < rows; r++, x += ld, out += ld)
        for (int64_t j = 0; j < inner; j++) out[j] = x[inner + j] > 0.0f ? x[j] * x[inner + j] : 0.0f;
}

static void T(reglu_gradient)(const float *restrict x, int64_t rows, int64_t ld, int64_t inner, float *restrict g) {
    for (int64_t r = 0; r < rows; r++, x += ld, g += ld)
        for (int64_t j = 0; j < inner; j++) {
            const float of_product = x[inner + j] > 0.0f ? g[j] : 0.0f;
            g[inner + j] = of_product * x[j];
            g[j] = of_product * x[inner + j];
        }
}
