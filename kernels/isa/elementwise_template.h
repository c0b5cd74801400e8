/* All that is not a product, on whole vectors: activations, losses, Adam, transposition, matrix by vector.
 *
 * Included before gemm_template.h by a file that has defined what tile_template.h asks for, and
 *   vi                      the vector of int32_t with as many lanes
 *   V_SQRT(v)
 *   T(transpose_4)(x, x_row, out, out_row)   out[j * out_row + r] = x[r * x_row + j] for r < VL, j < 4
 */

static inline __attribute__((always_inline)) vf T(select)(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline float T(sum)(vf v) {
    float lane[VL] __attribute__((aligned(64)));
    V_STORE(lane, v);
    for (int step = VL / 2; step; step /= 2)
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    return lane[0];
}

/* The parts of exp(x) = 2^n (1 + q): q = exp(r) - 1 for |r| <= ln(2) / 2, by its Taylor series to r^7 (error < 2^-27).
 * 2^n is given as two factors, so that n may reach both ends of the format. x is cut to where exp is 0 or infinite. */
static inline __attribute__((always_inline)) void T(exp_parts)(vf x, vf *q, vf *low, vf *high) {
    const vf round = V_SET1(12582912.0f); /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    x = T(select)(x > V_SET1(89.0f), V_SET1(89.0f), x);
    x = T(select)(x < V_SET1(-104.0f), V_SET1(-104.0f), x);
    const vf shifted = V_FMA(x, V_SET1(1.44269504f), round);
    const vf n = shifted - round;
    vf r = V_FMA(n, V_SET1(-0.693359375f), x);
    r = V_FMA(n, V_SET1(2.12194440e-4f), r); /* 0.693359375 - ln(2) */
    vf s = V_FMA(r, V_SET1(1.0f / 5040), V_SET1(1.0f / 720));
    s = V_FMA(r, s, V_SET1(1.0f / 120));
    s = V_FMA(r, s, V_SET1(1.0f / 24));
    s = V_FMA(r, s, V_SET1(1.0f / 6));
    s = V_FMA(r, s, V_SET1(0.5f));
    *q = V_FMA(r * r, s, r);
    const vi exponent = (vi)shifted - (vi)round;
    const vi half = exponent >> 1;
    *low = (vf)((half + 127) << 23);
    *high = (vf)((exponent - half + 127) << 23);
}

static inline __attribute__((always_inline)) vf T(exp)(vf x) {
    vf q, low, high;
    T(exp_parts)(x, &q, &low, &high);
    return (V_SET1(1.0f) + q) * low * high;
}

static inline __attribute__((always_inline)) vf T(sigmoid)(vf x) { return V_SET1(1.0f) / (V_SET1(1.0f) + T(exp)(-x)); }

/* tanh(|x|) = e / (e + 2) with e = exp(2 |x|) - 1 free of cancellation; 1 to rounding from |x| = 10. */
static inline __attribute__((always_inline)) vf T(tanh)(vf x) {
    const vi sign = (vi)x & INT32_MIN;
    const vf magnitude = (vf)((vi)x & INT32_MAX);
    const vf y = T(select)(magnitude > V_SET1(10.0f), V_SET1(20.0f), magnitude + magnitude);
    vf q, low, high;
    T(exp_parts)(y, &q, &low, &high);
    const vf power = low * high;
    const vf e = V_FMA(power, q, power - V_SET1(1.0f));
    return (vf)((vi)(e / (e + V_SET1(2.0f))) | sign);
}

/* log(1 + e) for 0 <= e <= 1: 2 artanh(e / (2 + e)) by its series (error < 2^-29). */
static inline __attribute__((always_inline)) vf T(log1p)(vf e) {
    const vf s = e / (V_SET1(2.0f) + e), s2 = s * s;
    vf p = V_FMA(s2, V_SET1(1.0f / 15), V_SET1(1.0f / 13));
    p = V_FMA(s2, p, V_SET1(1.0f / 11));
    p = V_FMA(s2, p, V_SET1(1.0f / 9));
    p = V_FMA(s2, p, V_SET1(1.0f / 7));
    p = V_FMA(s2, p, V_SET1(1.0f / 5));
    p = V_FMA(s2, p, V_SET1(1.0f / 3));
    return V_SET1(2.0f) * V_FMA(s * s2, p, s);
}

static inline __attribute__((always_inline)) vf T(act)(vf v, lpb_activation act, vf slope) {
    switch (act) {
    case LPB_IDENTITY:
        return v;
    case LPB_RELU:
        return V_RELU(v);
    case LPB_LEAKY_RELU:
        return V_LEAKY(v, slope);
    case LPB_TANH:
        return T(tanh)(v);
    case LPB_SIGMOID:
        return T(sigmoid)(v);
    }
    return v;
}

static void T(activate)(float *x, int64_t count, lpb_activation act, float slope) {
    const vf s = V_SET1(slope);
    if (act == LPB_IDENTITY) return;
    for (int64_t i = 0; i < count; i += VL) V_STORE(x + i, T(act)(V_LOAD(x + i), act, s));
}

static void T(activation_gradient)(float *g, const float *h, int64_t count, lpb_activation act, float slope) {
    const vf zero = V_ZERO, one = V_SET1(1.0f), s = V_SET1(slope);
    switch (act) {
    case LPB_IDENTITY:
        return;
    case LPB_RELU:
        for (int64_t i = 0; i < count; i += VL) V_STORE(g + i, T(select)(V_LOAD(h + i) > zero, V_LOAD(g + i), zero));
        return;
    case LPB_LEAKY_RELU: /* the slope is positive, so h has the sign of z */
        for (int64_t i = 0; i < count; i += VL)
            V_STORE(g + i, T(select)(V_LOAD(h + i) > zero, V_LOAD(g + i), V_LOAD(g + i) * s));
        return;
    case LPB_TANH:
        for (int64_t i = 0; i < count; i += VL) {
            const vf v = V_LOAD(h + i);
            V_STORE(g + i, V_LOAD(g + i) * (one - v * v));
        }
        return;
    case LPB_SIGMOID:
        for (int64_t i = 0; i < count; i += VL) {
            const vf v = V_LOAD(h + i);
            V_STORE(g + i, V_LOAD(g + i) * (v * (one - v)));
        }
        return;
    }
}

static void T(transpose)(const float *x, int64_t x_row, int64_t rows, int64_t columns, float *out, int64_t out_row) {
    const int64_t whole = columns / 4 * 4;
    for (int64_t r = 0; r < rows; r += VL) {
        const float *from = x + r * x_row;
        const int64_t here = rows - r < VL ? rows - r : VL;
        for (int64_t j = 0; j < whole; j += 4) {
            if (here == VL) {
                T(transpose_4)(from + j, x_row, out + j * out_row + r, out_row);
            } else {
                float copy[4 * VL] = {0.0f};
                for (int64_t i = 0; i < here; i++) memcpy(copy + 4 * i, from + i * x_row + j, 4 * sizeof(float));
                T(transpose_4)(copy, 4, out + j * out_row + r, out_row);
            }
        }
        for (int64_t j = whole; j < columns; j++)
            for (int64_t i = 0; i < here; i++) out[j * out_row + r + i] = from[i * x_row + j];
    }
}

static void T(mean_square)(const float *x, const float *y, int64_t features, int64_t ld, int64_t count, float *out) {
    const vf scale = V_SET1(1.0f / (float)features);
    for (int64_t r = 0; r < count; r += VL) {
        vf even = V_ZERO, odd = V_ZERO;
        int64_t j = 0;
        for (; j + 1 < features; j += 2) {
            const vf d = V_LOAD(y + j * ld + r) - V_LOAD(x + j * ld + r);
            const vf e = V_LOAD(y + (j + 1) * ld + r) - V_LOAD(x + (j + 1) * ld + r);
            even = V_FMA(d, d, even);
            odd = V_FMA(e, e, odd);
        }
        if (j < features) {
            const vf d = V_LOAD(y + j * ld + r) - V_LOAD(x + j * ld + r);
            even = V_FMA(d, d, even);
        }
        V_STORE(out + r, (even + odd) * scale);
    }
}

/* `vectors` (1, 2 or 4) vectors of outputs, with as many steps of k in flight as give eight independent sums. */
static inline __attribute__((always_inline)) void T(gemv_panel)(int64_t k, int64_t n, const float *x, const float *wt,
                                                                const float *bias, lpb_activation act, vf slope,
                                                                float *y, const int vectors) {
    const int steps = 8 / vectors;
    vf s0 = V_ZERO, s1 = V_ZERO, s2 = V_ZERO, s3 = V_ZERO, s4 = V_ZERO, s5 = V_ZERO, s6 = V_ZERO, s7 = V_ZERO;
    int64_t p = 0;
#define SUM(q) s##q = V_FMA(V_SPLAT(x + p + q / vectors), V_LOAD(wt + (p + q / vectors) * n + q % vectors * VL), s##q);
    for (; p + steps <= k; p += steps) {
        SUM(0) SUM(1) SUM(2) SUM(3) SUM(4) SUM(5) SUM(6) SUM(7)
    }
    for (; p < k; p++) {
        SUM(0)
        if (vectors > 1) {
            SUM(1)
        }
        if (vectors > 2) {
            SUM(2) SUM(3)
        }
    }
#undef SUM
    s0 += s4, s1 += s5, s2 += s6, s3 += s7;
    if (vectors < 4) s0 += s2, s1 += s3;
    if (vectors < 2) s0 += s1;
    V_STORE(y, T(act)(s0 + V_LOAD(bias), act, slope));
    if (vectors > 1) V_STORE(y + VL, T(act)(s1 + V_LOAD(bias + VL), act, slope));
    if (vectors > 2) V_STORE(y + 2 * VL, T(act)(s2 + V_LOAD(bias + 2 * VL), act, slope));
    if (vectors > 2) V_STORE(y + 3 * VL, T(act)(s3 + V_LOAD(bias + 3 * VL), act, slope));
}

static void T(gemv)(int64_t k, int64_t n, const float *x, const float *wt, const float *bias, lpb_activation act,
                    float slope, float *y) {
    const vf s = V_SET1(slope);
    int64_t j = 0;
    for (; n - j >= 4 * VL; j += 4 * VL) T(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 4);
    for (; n - j >= 2 * VL; j += 2 * VL) T(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 2);
    for (; n - j >= VL; j += VL) T(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 1);
}

static void T(column_sums)(const float *g, int64_t rows, int64_t ld, float *sums) {
    for (int64_t j = 0; j < ld; j += VL) {
        vf even = V_ZERO, odd = V_ZERO;
        int64_t r = 0;
        for (; r + 1 < rows; r += 2) {
            even += V_LOAD(g + r * ld + j);
            odd += V_LOAD(g + (r + 1) * ld + j);
        }
        if (r < rows) even += V_LOAD(g + r * ld + j);
        V_STORE(sums + j, even + odd);
    }
}

static void T(row_dots)(const float *h, int64_t rows, int64_t ld, int64_t columns, const float *w, float bias,
                        float *out) {
    const int64_t whole = columns / VL * VL;
    for (int64_t r = 0; r < rows; r++, h += ld) {
        vf s = V_ZERO;
        for (int64_t j = 0; j < whole; j += VL) s = V_FMA(V_LOAD(h + j), V_LOAD(w + j), s);
        if (whole < columns) {
            const vtail tail = V_TAIL(columns - whole);
            s = V_FMA(V_LOAD_TAIL(h + whole, tail), V_LOAD_TAIL(w + whole, tail), s);
        }
        out[r] = T(sum)(s) + bias;
    }
}

static float T(squared_distance)(const float *x, const float *y, int64_t count) {
    const int64_t whole = count / VL * VL;
    vf s = V_ZERO;
    for (int64_t j = 0; j < whole; j += VL) {
        const vf d = V_LOAD(y + j) - V_LOAD(x + j);
        s = V_FMA(d, d, s);
    }
    if (whole < count) {
        const vtail tail = V_TAIL(count - whole);
        const vf d = V_LOAD_TAIL(y + whole, tail) - V_LOAD_TAIL(x + whole, tail);
        s = V_FMA(d, d, s);
    }
    return T(sum)(s);
}

/* The sum of the first `count` lanes. */
static inline double T(sum_of_first)(vf v, int64_t count) {
    float lane[VL] __attribute__((aligned(64)));
    double sum = 0.0;
    V_STORE(lane, v);
    for (int64_t i = 0; i < count; i++) sum += lane[i];
    return sum;
}

static double T(logit_loss)(const float *z, const float *y, int64_t count, float scale, float *g) {
    const vf zero = V_ZERO, one = V_SET1(1.0f), s = V_SET1(scale);
    double loss = 0.0;
    for (int64_t r = 0; r < count; r += VL) {
        const vf logit = V_LOAD(z + r), target = V_LOAD(y + r);
        const vf e = T(exp)((vf)((vi)logit | INT32_MIN)); /* exp(-|z|) */
        const vf positive = T(select)(logit < zero, zero, logit);
        const vf part = positive - logit * target + T(log1p)(e);
        const vf sigmoid = T(select)(logit < zero, e, one) / (one + e);
        V_STORE(g + r, (sigmoid - target) * s);
        loss += T(sum_of_first)(part, count - r < VL ? count - r : VL);
    }
    return loss;
}

static double T(square_loss)(const float *y, const float *x, int64_t count, float scale, float *g) {
    const vf s = V_SET1(scale);
    vf even = V_ZERO, odd = V_ZERO;
    int64_t i = 0;
    for (; i + 2 * VL <= count; i += 2 * VL) {
        const vf d = V_LOAD(y + i) - V_LOAD(x + i), e = V_LOAD(y + i + VL) - V_LOAD(x + i + VL);
        V_STORE(g + i, d * s);
        V_STORE(g + i + VL, e * s);
        even = V_FMA(d, d, even);
        odd = V_FMA(e, e, odd);
    }
    for (; i < count; i += VL) {
        const vf d = V_LOAD(y + i) - V_LOAD(x + i);
        V_STORE(g + i, d * s);
        even = V_FMA(d, d, even);
    }
    return (double)T(sum)(even + odd);
}

/* A vector of codes drawn from means and log-variances; adds twice their divergence from the standard normal. */
static inline __attribute__((always_inline)) vf T(drawn)(vf mean, vf log_variance, vf noise, vf *divergence) {
    const vf deviation = T(exp)(V_SET1(0.5f) * log_variance);
    *divergence += V_FMA(mean, mean, V_FMA(deviation, deviation, -log_variance)) - V_SET1(1.0f);
    return V_FMA(deviation, noise, mean);
}

static double T(sample)(const float *h, int64_t ld, const float *noise, int64_t rows, int64_t latent, float *code,
                        int64_t code_ld) {
    const int64_t whole = latent / VL * VL;
    vf sum = V_ZERO;
    for (int64_t r = 0; r < rows; r++, h += ld, noise += latent, code += code_ld) {
        for (int64_t j = 0; j < whole; j += VL)
            V_STORE(code + j, T(drawn)(V_LOAD(h + j), V_LOAD(h + latent + j), V_LOAD(noise + j), &sum));
        if (whole < latent) { /* lanes beyond are of mean 0 and variance 1: no divergence, and a code of 0 */
            const vtail tail = V_TAIL(latent - whole);
            const vf log_variance = V_LOAD_TAIL(h + latent + whole, tail);
            V_STORE(code + whole,
                    T(drawn)(V_LOAD_TAIL(h + whole, tail), log_variance, V_LOAD_TAIL(noise + whole, tail), &sum));
        }
    }
    return 0.5 * (double)T(sum)(sum);
}

static inline __attribute__((always_inline)) vf T(log_variance_gradient)(vf log_variance, vf noise, vf g, vf weight) {
    const vf deviation = T(exp)(V_SET1(0.5f) * log_variance);
    return V_SET1(0.5f) * V_FMA(weight, V_FMA(deviation, deviation, V_SET1(-1.0f)), g * noise * deviation);
}

static void T(sample_gradient)(const float *h, int64_t ld, const float *noise, int64_t rows, int64_t latent,
                               const float *code_gradient, int64_t code_ld, float weight, float *g) {
    const int64_t whole = latent / VL * VL;
    const vf w = V_SET1(weight);
    for (int64_t r = 0; r < rows; r++, h += ld, g += ld, noise += latent, code_gradient += code_ld) {
        for (int64_t j = 0; j < whole; j += VL) {
            const vf of_code = V_LOAD(code_gradient + j), log_variance = V_LOAD(h + latent + j);
            V_STORE(g + j, V_FMA(w, V_LOAD(h + j), of_code));
            V_STORE(g + latent + j, T(log_variance_gradient)(log_variance, V_LOAD(noise + j), of_code, w));
        }
        if (whole < latent) {
            const vtail tail = V_TAIL(latent - whole);
            const vf of_code = V_LOAD_TAIL(code_gradient + whole, tail), drawn = V_LOAD_TAIL(noise + whole, tail);
            const vf mean = V_LOAD_TAIL(h + whole, tail), log_variance = V_LOAD_TAIL(h + latent + whole, tail);
            V_STORE_TAIL(g + whole, V_FMA(w, mean, of_code), tail);
            V_STORE_TAIL(g + latent + whole, T(log_variance_gradient)(log_variance, drawn, of_code, w), tail);
        }
    }
}

static double T(sum_of_squares)(const float *x, int64_t count) {
    vf s = V_ZERO;
    for (int64_t i = 0; i < count; i += VL) s = V_FMA(V_LOAD(x + i), V_LOAD(x + i), s);
    return (double)T(sum)(s);
}

static void T(adam)(float *parameter, const float *gradient, float *mean, float *square, int64_t count,
                    const lpb_adam_step *step) {
    const vf w1 = V_SET1(step->one_minus_beta1), b2 = V_SET1(step->beta2), w2 = V_SET1(step->one_minus_beta2);
    const vf size = V_SET1(step->step_size), root = V_SET1(step->inverse_root_correction);
    const vf epsilon = V_SET1(step->epsilon), scale = V_SET1(step->gradient_scale);
    for (int64_t i = 0; i < count; i += VL) {
        const vf g = V_LOAD(gradient + i) * scale;
        vf m = V_LOAD(mean + i), v = V_LOAD(square + i);
        m = V_FMA(w1, g - m, m);
        v = V_FMA(w2 * g, g, b2 * v);
        V_STORE(mean + i, m);
        V_STORE(square + i, v);
        const vf denominator = V_FMA(V_SQRT(v), root, epsilon);
        V_STORE(parameter + i, V_LOAD(parameter + i) - size * m / denominator);
    }
}

/* Fourteen independent chains of multiply-adds cover latency times units of every core in sysconfig/cpus. */
static __attribute__((unused)) double T(peak_f32)(int64_t rounds) {
    const vf x = V_SET1(0.999f), y = V_SET1(0.001f);
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define START(i) vf s##i = V_SET1(0.5f + 0.01f * i);
#define NEXT(i) s##i = V_FMA(s##i, x, y);
#define ADD(i) +s##i
    EACH(START)
    for (int64_t r = 0; r < rounds; r++) {
        EACH(NEXT) EACH(NEXT)
    }
    const vf total = V_ZERO EACH(ADD);
#undef ADD
#undef NEXT
#undef START
#undef EACH
    volatile float kept = T(sum)(total);
    (void)kept;
    return (double)rounds * 24.0 * 2.0 * VL;
}

#define ELEMENTWISE_ENTRIES                                                                                            \
    .gemv = T(gemv), .transpose = T(transpose), .mean_square = T(mean_square), .activate = T(activate),                \
    .activation_gradient = T(activation_gradient), .column_sums = T(column_sums), .row_dots = T(row_dots),             \
    .squared_distance = T(squared_distance), .logit_loss = T(logit_loss), .square_loss = T(square_loss),               \
    .sample = T(sample), .sample_gradient = T(sample_gradient), .sum_of_squares = T(sum_of_squares), .adam = T(adam)
