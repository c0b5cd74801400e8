/* What is written alike for float and for double: exponentials, activations, matrix by vector, and the steps of a plan
 * that lie between products. Included twice by elementwise_template.h, which defines before
 *   REAL, R(name)            the type, and the name with the prefixes of instruction set and type
 *   vr, vri, RL              the vector, that of integers with as many lanes, and the lanes
 *   R_LOAD, R_STORE          unaligned; R_ZERO, R_SET1(x), R_SPLAT(p), R_FMA(a, b, c), R_RELU(v), R_LEAKY(v, s)
 *   R_ROUND                  1.5 * 2^(bits of the mantissa): adding it leaves the nearest integer in the low bits
 *   R_EXP_LEAST, R_EXP_MOST  where exp is 0 or infinite
 *   R_EXP_NORMAL             from where on exp is no normal number
 *   R_LN2_HIGH, R_LN2_LOW    a high part of few bits, and what is missing
 *   R_BIAS, R_MANTISSA       of the exponent, and bits of the mantissa
 *   R_SIGN, R_MAGNITUDE      the bits of a lane
 *   R_EXP_TERMS              the series of exp for |r| <= ln(2) / 2 ends with r to that power
 *   R_LOG_TERMS              the last odd power of the series of artanh up to 1/3
 *   R_TANH_ONE               from where on tanh is 1 to rounding
 *   R_GELU_STEP, R_GELU_TERMS, R_GELU_ZERO   see gelu; and from where on the normal distribution is 0 */

static inline __attribute__((always_inline)) vr R(select)(vri mask, vr yes, vr no) {
    return (vr)((mask & (vri)yes) | (~mask & (vri)no));
}

static inline REAL R(sum)(vr v) {
    REAL lane[RL] __attribute__((aligned(64)));
    R_STORE(lane, v);
    for (int step = RL / 2; step; step /= 2)
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    return lane[0];
}

/* exp(x) = 2^n (1 + q): n in the low bits of the result, and q = exp(r) - 1 for |r| <= ln(2) / 2, by its Taylor series.
 */
static inline __attribute__((always_inline)) vr R(exp_parts)(vr x, vr *q) {
    static const REAL inverse_factorial[] = {
        1,
        1,
        (REAL)(1.0 / 2),
        (REAL)(1.0 / 6),
        (REAL)(1.0 / 24),
        (REAL)(1.0 / 120),
        (REAL)(1.0 / 720),
        (REAL)(1.0 / 5040),
        (REAL)(1.0 / 40320),
        (REAL)(1.0 / 362880),
        (REAL)(1.0 / 3628800),
        (REAL)(1.0 / 39916800),
        (REAL)(1.0 / 479001600),
        (REAL)(1.0 / 6227020800),
    };
    const vr round = R_SET1(R_ROUND);
    const vr shifted = R_FMA(x, R_SET1(1.4426950408889634), round);
    const vr n = shifted - round;
    vr r = R_FMA(n, R_SET1(-R_LN2_HIGH), x);
    r = R_FMA(n, R_SET1(-R_LN2_LOW), r);
    vr s = R_SET1(inverse_factorial[R_EXP_TERMS]);
#pragma GCC unroll 16
    for (int i = R_EXP_TERMS - 1; i > 1; i--) s = R_FMA(r, s, R_SET1(inverse_factorial[i]));
    *q = R_FMA(r * r, s, r);
    return shifted;
}

/* x is cut to where exp is 0 or infinite, and 2^n given as two factors, so that n may reach both ends of the format. */
static inline __attribute__((always_inline)) vr R(exp)(vr x) {
    vr q;
    x = R(select)(x > R_SET1(R_EXP_MOST), R_SET1(R_EXP_MOST), x);
    x = R(select)(x < R_SET1(R_EXP_LEAST), R_SET1(R_EXP_LEAST), x);
    const vri exponent = (vri)R(exp_parts)(x, &q) - (vri)R_SET1(R_ROUND);
    const vri half = exponent >> 1;
    const vr low = (vr)((half + R_BIAS) << R_MANTISSA), high = (vr)((exponent - half + R_BIAS) << R_MANTISSA);
    return (R_SET1(1) + q) * low * high;
}

/* 2^n of what exp_parts gives, n being that of a normal number. */
static inline __attribute__((always_inline)) vr R(power)(vr shifted) {
    return (vr)(((vri)shifted - (vri)R_SET1(R_ROUND) + R_BIAS) << R_MANTISSA);
}

/* exp(x) for x <= 0 that R_EXP_NORMAL is no larger than; cheaper. */
static inline __attribute__((always_inline)) vr R(exp_down)(vr x) {
    vr q;
    const vr power = R(power)(R(exp_parts)(x, &q));
    return R_FMA(power, q, power);
}

static inline __attribute__((always_inline)) vr R(no_less)(vr x, REAL least) {
    return R(select)(x < R_SET1(least), R_SET1(least), x);
}

/* A quotient that is not taken yet; its divisor is from 1 to 2. */
typedef struct {
    vr top, bottom;
} R(ratio);

/* 1 / (1 + exp(-x)), by exp(-|x|). */
static inline __attribute__((always_inline)) R(ratio) R(sigmoid_ratio)(vr x) {
    const vr e = R(exp_down)(R(no_less)((vr)((vri)x | R_SIGN), R_EXP_NORMAL));
    return (R(ratio)){R(select)(x < R_ZERO, e, R_SET1(1)), R_SET1(1) + e};
}

static inline __attribute__((always_inline)) vr R(sigmoid)(vr x) {
    const R(ratio) r = R(sigmoid_ratio)(x);
    return r.top / r.bottom;
}

/* tanh(|x|) = -e / (e + 2) with e = exp(-2 |x|) - 1 free of cancellation. */
static inline __attribute__((always_inline)) R(ratio) R(tanh_ratio)(vr x) {
    vr q;
    const vr y = R(no_less)((vr)((vri)(x + x) | R_SIGN), -2 * R_TANH_ONE);
    const vr power = R(power)(R(exp_parts)(y, &q));
    const vr e = R_FMA(power, q, power - R_SET1(1));
    return (R(ratio)){(vr)(((vri)e & R_MAGNITUDE) | ((vri)x & R_SIGN)), e + R_SET1(2)};
}

static inline __attribute__((always_inline)) vr R(tanh)(vr x) {
    const R(ratio) r = R(tanh_ratio)(x);
    return r.top / r.bottom;
}

/* log(1 + e) for 0 <= e <= 1: 2 artanh(e / (2 + e)) by its series. */
static inline __attribute__((always_inline)) vr R(log1p)(vr e) {
    const vr s = e / (R_SET1(2) + e), s2 = s * s;
    vr p = R_SET1((REAL)(1.0 / R_LOG_TERMS));
#pragma GCC unroll 16
    for (int i = R_LOG_TERMS - 2; i > 1; i -= 2) p = R_FMA(s2, p, R_SET1((REAL)1 / (REAL)i));
    return R_SET1(2) * R_FMA(s * s2, p, s);
}

/* p(2 t - 1) for t = 1 / (1 + R_GELU_STEP z): erfc(z) = exp(-z^2) t p(2 t - 1), p a Chebyshev interpolation. */
static inline __attribute__((always_inline)) vr R(tail_series)(vr z, vr *t) {
    static const REAL of_float[] = {
        (REAL)0.4216127281,    (REAL)0.3218607736,    (REAL)0.1815656999,    (REAL)0.06849976746,
        (REAL)0.01134354684,   (REAL)-0.003353155286, (REAL)-0.001921382043, (REAL)0.0001654415199,
        (REAL)0.0002664883181, (REAL)-1.074623665e-5, (REAL)-2.916858251e-5,
    };
    static const REAL of_double[] = {
        (REAL)0.2739989152501227798,     (REAL)0.2441371822702206098,     (REAL)0.1933021755663090081,
        (REAL)0.1352134578282991304,     (REAL)0.08271289696952584815,    (REAL)0.04350273431022892283,
        (REAL)0.01909537872675215945,    (REAL)0.00659251333223748609,    (REAL)0.001528013920528801156,
        (REAL)0.00007023973429864022336, (REAL)-0.0001137632123762233323, (REAL)-0.00004420327118929923513,
        (REAL)-9.086395093590861703e-7,  (REAL)4.715370444493941061e-6,   (REAL)1.173260949829166609e-6,
        (REAL)-3.562393200959624981e-7,  (REAL)-2.111103784628306737e-7,  (REAL)1.899440218726525237e-8,
        (REAL)3.077901855639742908e-8,   (REAL)-2.069121903405474478e-10, (REAL)-3.880515697903128011e-9,
        (REAL)-6.617942512486172994e-11, (REAL)3.13042307052945504e-10,
    };
    const REAL *terms = sizeof(REAL) == sizeof(float) ? of_float : of_double;
    *t = R_SET1(1) / R_FMA(R_SET1(R_GELU_STEP), z, R_SET1(1));
    const vr s = *t + *t - R_SET1(1);
    vr p = R_SET1(terms[R_GELU_TERMS - 1]);
#pragma GCC unroll 24
    for (int i = R_GELU_TERMS - 2; i >= 0; i--) p = R_FMA(s, p, R_SET1(terms[i]));
    return p;
}

/* x times the normal distribution's function: max(x, 0) - |x| erfc(z) / 2 with z = |x| / sqrt(2). */
static inline __attribute__((always_inline)) vr R(gelu)(vr x) {
    const vr magnitude = (vr)((vri)x & R_MAGNITUDE);
    const vr y = R(select)(magnitude > R_SET1(R_GELU_ZERO), R_SET1(R_GELU_ZERO), magnitude);
    const vr z = y * R_SET1(0.70710678118654752440);
    vr t;
    const vr p = R(tail_series)(z, &t);
    return R_RELU(x) - R_SET1(0.5) * y * t * p * R(exp_down)(-z * z);
}

static inline __attribute__((always_inline)) vr R(act)(vr v, lpb_activation act, vr slope) {
    switch (act) {
    case LPB_IDENTITY:
        return v;
    case LPB_RELU:
        return R_RELU(v);
    case LPB_LEAKY_RELU:
        return R_LEAKY(v, slope);
    case LPB_TANH:
        return R(tanh)(v);
    case LPB_SIGMOID:
        return R(sigmoid)(v);
    case LPB_SOFTPLUS:
        return R_RELU(v) + R(log1p)(R(exp_down)(R(no_less)((vr)((vri)v | R_SIGN), R_EXP_NORMAL)));
    case LPB_EXP:
        return R(exp)(v);
    case LPB_ABS:
        return (vr)((vri)v & R_MAGNITUDE);
    case LPB_GELU:
        return R(gelu)(v);
    }
    return v;
}

static void R(activate)(REAL *x, int64_t count, lpb_activation act, REAL slope) {
    const vr s = R_SET1(slope);
#define EACH(ACT)                                                                                                      \
    for (int64_t i = 0; i < count; i += RL) R_STORE(x + i, R(act)(R_LOAD(x + i), ACT, s));                             \
    return;
    switch (act) {
    case LPB_IDENTITY:
        return;
    case LPB_RELU:
        EACH(LPB_RELU)
    case LPB_LEAKY_RELU:
        EACH(LPB_LEAKY_RELU)
    case LPB_TANH:
        EACH(LPB_TANH)
    case LPB_SIGMOID:
        EACH(LPB_SIGMOID)
    case LPB_SOFTPLUS:
        EACH(LPB_SOFTPLUS)
    case LPB_EXP:
        EACH(LPB_EXP)
    case LPB_ABS:
        EACH(LPB_ABS)
    case LPB_GELU:
        EACH(LPB_GELU)
    }
#undef EACH
}

/* `vectors` (1 to 4) vectors of outputs, with as many steps of k in flight as give eight independent sums, or six. */
static inline __attribute__((always_inline)) void R(gemv_panel)(int64_t k, int64_t n, const REAL *x, const REAL *wt,
                                                                const REAL *bias, lpb_activation act, vr slope, REAL *y,
                                                                const int vectors) {
    const int steps = 8 / vectors;
    vr s0 = R_ZERO, s1 = R_ZERO, s2 = R_ZERO, s3 = R_ZERO, s4 = R_ZERO, s5 = R_ZERO, s6 = R_ZERO, s7 = R_ZERO;
    int64_t p = 0;
#define SUM(q) s##q = R_FMA(R_SPLAT(x + p + q / vectors), R_LOAD(wt + (p + q / vectors) * n + q % vectors * RL), s##q);
    for (; p + steps <= k; p += steps) {
        SUM(0) SUM(1) SUM(2) SUM(3) SUM(4) SUM(5) if (vectors != 3) { SUM(6) SUM(7) }
    }
    for (; p < k; p++) {
        SUM(0)
        if (vectors > 1) {
            SUM(1)
        }
        if (vectors > 2) {
            SUM(2)
        }
        if (vectors > 3) {
            SUM(3)
        }
    }
#undef SUM
    if (vectors == 3)
        s0 += s3, s1 += s4, s2 += s5;
    else
        s0 += s4, s1 += s5, s2 += s6, s3 += s7;
    if (vectors < 3) s0 += s2, s1 += s3;
    if (vectors < 2) s0 += s1;
    R_STORE(y, R(act)(s0 + R_LOAD(bias), act, slope));
    if (vectors > 1) R_STORE(y + RL, R(act)(s1 + R_LOAD(bias + RL), act, slope));
    if (vectors > 2) R_STORE(y + 2 * RL, R(act)(s2 + R_LOAD(bias + 2 * RL), act, slope));
    if (vectors > 3) R_STORE(y + 3 * RL, R(act)(s3 + R_LOAD(bias + 3 * RL), act, slope));
}

static void R(gemv)(int64_t k, int64_t n, const REAL *x, const REAL *wt, const REAL *bias, lpb_activation act,
                    REAL slope, REAL *y) {
    const vr s = R_SET1(slope);
    int64_t j = 0;
    for (; n - j >= 4 * RL; j += 4 * RL) R(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 4);
    if (RL == LPB_ALIGN && n - j == 3 * RL) { /* which no table of shorter vectors compiles */
        R(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 3);
        return;
    }
    for (; n - j >= 2 * RL; j += 2 * RL) R(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 2);
    for (; n - j >= RL; j += RL) R(gemv_panel)(k, n, x, wt + j, bias + j, act, s, y + j, 1);
}

/* out[j * ld + r] = a op b; a step of 0 repeats one feature. */
static void R(combine)(lpb_operator op, const REAL *a, int64_t a_step, const REAL *b, int64_t b_step, int64_t features,
                       int64_t ld, REAL *out) {
#define EACH(op)                                                                                                       \
    for (int64_t j = 0; j < features; j++, a += a_step, b += b_step, out += ld)                                        \
        for (int64_t r = 0; r < ld; r += RL) R_STORE(out + r, R_LOAD(a + r) op R_LOAD(b + r));                         \
    return;
    switch (op) {
    case LPB_ADD:
        EACH(+)
    case LPB_SUBTRACT:
        EACH(-)
    case LPB_MULTIPLY:
        EACH(*)
    case LPB_DIVIDE:
        EACH(/)
    }
#undef EACH
}

/* The same with a number per feature. */
static void R(combine_constants)(lpb_operator op, const REAL *a, const REAL *constants, int64_t features, int64_t ld,
                                 REAL *out) {
#define EACH(op)                                                                                                       \
    for (int64_t j = 0; j < features; j++, a += ld, out += ld) {                                                       \
        const vr c = R_SET1(constants[j]);                                                                             \
        for (int64_t r = 0; r < ld; r += RL) R_STORE(out + r, R_LOAD(a + r) op c);                                     \
    }                                                                                                                  \
    return;
    switch (op) {
    case LPB_ADD:
        EACH(+)
    case LPB_SUBTRACT:
        EACH(-)
    case LPB_MULTIPLY:
        EACH(*)
    case LPB_DIVIDE:
        EACH(/)
    }
#undef EACH
}

/* A value folded into a reduction's state. */
static inline __attribute__((always_inline)) vr R(folded)(const lpb_reduction by, vr v, vr state) {
    switch (by) {
    case LPB_MEAN:
    case LPB_SUM:
        return state + v;
    case LPB_ABS_SUM:
        return state + (vr)((vri)v & R_MAGNITUDE);
    case LPB_SQUARE_SUM:
    case LPB_SQUARE_MEAN:
    case LPB_L2:
        return R_FMA(v, v, state);
    case LPB_MIN: /* NaN stays */
        return R(select)((v < state) | (v != v), v, state);
    case LPB_MAX:
    case LPB_LOG_SUM_EXP: /* its first pass */
        return R(select)((v > state) | (v != v), v, state);
    }
    return state;
}

static inline REAL R(neutral)(lpb_reduction by) {
    return by == LPB_MIN ? (REAL)INFINITY : by == LPB_MAX || by == LPB_LOG_SUM_EXP ? -(REAL)INFINITY : (REAL)0;
}

/* What is left to do when all values are folded; `exponentials` is the second pass of log_sum_exp. */
static inline REAL R(reduced)(lpb_reduction by, REAL state, REAL exponentials, int64_t features) {
    switch (by) {
    case LPB_MEAN:
    case LPB_SQUARE_MEAN:
        return state / (REAL)features;
    case LPB_L2:
        return (REAL)sqrt((double)state);
    case LPB_LOG_SUM_EXP:
        return state + (REAL)log((double)exponentials);
    default:
        return state;
    }
}

/* The reductions of `vectors` vectors of columns, 1 or 4, whose chains overlap. */
static inline __attribute__((always_inline)) void R(reduce_columns)(const lpb_reduction by, const REAL *x,
                                                                    int64_t features, int64_t ld, REAL *out,
                                                                    const int vectors) {
    const bool extreme = by == LPB_MIN || by == LPB_MAX || by == LPB_LOG_SUM_EXP;
    vr even[4], odd[4];
    for (int q = 0; q < vectors; q++) even[q] = odd[q] = R_SET1(R(neutral)(by));
    int64_t j = 0;
    for (; j + 1 < features; j += 2) {
#pragma GCC unroll 4
        for (int q = 0; q < vectors; q++) {
            even[q] = R(folded)(by, R_LOAD(x + j * ld + q * RL), even[q]);
            odd[q] = R(folded)(by, R_LOAD(x + (j + 1) * ld + q * RL), odd[q]);
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < vectors; q++) {
        if (j < features) even[q] = R(folded)(by, R_LOAD(x + j * ld + q * RL), even[q]);
        if (extreme)
            even[q] = R(folded)(by, odd[q], even[q]);
        else
            even[q] += odd[q];
        vr exponentials = R_ZERO;
        if (by == LPB_LOG_SUM_EXP)
            for (int64_t i = 0; i < features; i++) exponentials += R(exp)(R_LOAD(x + i * ld + q * RL) - even[q]);
        REAL state[RL] __attribute__((aligned(64))), sums[RL] __attribute__((aligned(64)));
        R_STORE(state, even[q]);
        R_STORE(sums, exponentials);
        for (int i = 0; i < RL; i++) out[q * RL + i] = R(reduced)(by, state[i], sums[i], features);
    }
}

/* out[r] = the reduction of x[j * ld + r] over j, for r < ld. */
static inline __attribute__((always_inline)) void R(reduce_by)(const lpb_reduction by, const REAL *x, int64_t features,
                                                               int64_t ld, REAL *out) {
    int64_t r = 0;
    for (; ld - r >= 4 * RL; r += 4 * RL) R(reduce_columns)(by, x + r, features, ld, out + r, 4);
    for (; r < ld; r += RL) R(reduce_columns)(by, x + r, features, ld, out + r, 1);
}

/* The same of one row, x[j]; what follows up to the next multiple of LPB_ALIGN may be anything. */
static inline __attribute__((always_inline)) void R(reduce_row_by)(const lpb_reduction by, const REAL *x,
                                                                   int64_t features, REAL *out) {
    const int64_t whole = features / RL * RL;
    const vr neutral = R_SET1(R(neutral)(by));
    vr state = neutral;
    REAL lane[RL] __attribute__((aligned(64)));
    for (int64_t j = 0; j < whole; j += RL) state = R(folded)(by, R_LOAD(x + j), state);
    if (whole < features) {
        R_STORE(lane, neutral);
        for (int64_t j = whole; j < features; j++) lane[j - whole] = x[j];
        state = R(folded)(by, R_LOAD(lane), state);
    }
    R_STORE(lane, state);
    REAL result = lane[0];
    for (int i = 1; i < RL; i++) {
        const bool sum = by != LPB_MIN && by != LPB_MAX && by != LPB_LOG_SUM_EXP;
        const bool further = lane[i] != lane[i] || (by == LPB_MIN ? lane[i] < result : lane[i] > result);
        result = sum ? result + lane[i] : further ? lane[i] : result;
    }
    REAL exponentials = 0;
    if (by == LPB_LOG_SUM_EXP)
        for (int64_t j = 0; j < features; j += RL) {
            R_STORE(lane, R(exp)(R_LOAD(x + j) - R_SET1(result)));
            for (int64_t i = 0; i < RL && j + i < features; i++) exponentials += lane[i];
        }
    *out = R(reduced)(by, result, exponentials, features);
}

#define EACH(REDUCE)                                                                                                   \
    switch (by) {                                                                                                      \
    case LPB_MEAN:                                                                                                     \
        REDUCE(LPB_MEAN);                                                                                              \
    case LPB_SUM:                                                                                                      \
        REDUCE(LPB_SUM);                                                                                               \
    case LPB_ABS_SUM:                                                                                                  \
        REDUCE(LPB_ABS_SUM);                                                                                           \
    case LPB_SQUARE_SUM:                                                                                               \
        REDUCE(LPB_SQUARE_SUM);                                                                                        \
    case LPB_SQUARE_MEAN:                                                                                              \
        REDUCE(LPB_SQUARE_MEAN);                                                                                       \
    case LPB_L2:                                                                                                       \
        REDUCE(LPB_L2);                                                                                                \
    case LPB_MIN:                                                                                                      \
        REDUCE(LPB_MIN);                                                                                               \
    case LPB_MAX:                                                                                                      \
        REDUCE(LPB_MAX);                                                                                               \
    case LPB_LOG_SUM_EXP:                                                                                              \
        REDUCE(LPB_LOG_SUM_EXP);                                                                                       \
    }
static void R(reduce)(lpb_reduction by, const REAL *x, int64_t features, int64_t ld, REAL *out) {
#define REDUCE(by) return R(reduce_by)(by, x, features, ld, out)
    EACH(REDUCE)
#undef REDUCE
}

static void R(reduce_row)(lpb_reduction by, const REAL *x, int64_t features, REAL *out){
#define REDUCE(by) return R(reduce_row_by)(by, x, features, out)
    EACH(REDUCE)
#undef REDUCE
}
#undef EACH

#define REALS_ENTRIES                                                                                                  \
    .activate = R(activate), .gemv = R(gemv), .combine = R(combine), .combine_constants = R(combine_constants),        \
    .reduce = R(reduce), .reduce_row = R(reduce_row)
static const R_TABLE R(reals) = {REALS_ENTRIES};
#undef REALS_ENTRIES
#undef REAL
#undef R
#undef vr
#undef vri
#undef RL
#undef R_LOAD
#undef R_STORE
#undef R_ZERO
#undef R_SET1
#undef R_SPLAT
#undef R_FMA
#undef R_RELU
#undef R_LEAKY
#undef R_ROUND
#undef R_EXP_LEAST
#undef R_EXP_MOST
#undef R_EXP_NORMAL
#undef R_LN2_HIGH
#undef R_LN2_LOW
#undef R_BIAS
#undef R_MANTISSA
#undef R_SIGN
#undef R_MAGNITUDE
#undef R_EXP_TERMS
#undef R_LOG_TERMS
#undef R_TANH_ONE
#undef R_GELU_STEP
#undef R_GELU_TERMS
#undef R_GELU_ZERO
#undef R_TABLE
