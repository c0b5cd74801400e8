/* All that is not a product, on whole vectors: activations, losses, Adam, transposition, matrix by vector.
 *
 * Included before gemm_template.h by a file that has defined what tile_template.h asks for, and
 *   vi                      the vector of int32_t with as many lanes
 *   V_SQRT(v)
 *   T(transpose_4)(x, x_row, out, out_row)   out[j * out_row + r] = x[r * x_row + j] for r < VL, j < 4
 * and may have defined
 *   V_ROUND(p, to)          2 VL floats at p as bfloat16
 *   V_NO_LESS(v, least), V_NO_MORE(v, most)   which let NaN pass
 *   V_LARGER(a, b)          whatever that makes of NaN
 *   V_LOOKUP(table, at)     of 16 lanes, each the one of the table that the low four bits of `at` number
 */

#include <math.h>

#define REAL float
#define R(name) T(name)
#define R_TABLE lpb_float_reals
#define vr vf
#define vri vi
#define RL VL
#define R_LOAD(p) V_LOAD(p)
#define R_STORE(p, v) V_STORE(p, v)
#define R_ZERO V_ZERO
#define R_SET1(x) V_SET1((float)(x))
#define R_SPLAT(p) V_SPLAT(p)
#define R_FMA(a, b, c) V_FMA(a, b, c)
#define R_RELU(v) V_RELU(v)
#define R_LEAKY(v, s) V_LEAKY(v, s)
#define R_ROUND 12582912.0f
#define R_EXP_LEAST -104.0f
#define R_EXP_MOST 89.0f
#define R_EXP_NORMAL -87.0f
#define R_LN2_HIGH 0.693359375f
#define R_LN2_LOW -2.12194440e-4f
#define R_BIAS 127
#define R_MANTISSA 23
#define R_SIGN INT32_MIN
#define R_MAGNITUDE INT32_MAX
#define R_EXP_TERMS 7  /* error < 2^-27 */
#define R_LOG_TERMS 15 /* error < 2^-29 */
#define R_TANH_ONE 10.0f
#define R_GELU_STEP 0.4f
#define R_GELU_TERMS 11 /* error < 2^-27 */
#define R_GELU_ZERO 13.0f
#include "reals_template.h"

/* Doubles in the compiler's own notation, half as many in the same registers; it fuses the multiply-adds. */
typedef double T(wide_vector) __attribute__((vector_size(VL * sizeof(float))));
typedef double T(wide_unaligned) __attribute__((vector_size(VL * sizeof(float)), aligned(8), may_alias));
typedef int64_t T(wide_integers) __attribute__((vector_size(VL * sizeof(float))));
#define WIDE_LOAD(p) ((T(wide_vector)) * (const T(wide_unaligned) *)(p))
#define WIDE_STORE(p, v) (*(T(wide_unaligned) *)(p) = (v))

#ifndef V_NO_LESS
#define V_NO_LESS(v, least) T(no_less)(v, least)
#define V_NO_MORE(v, most) T(select)((v) > V_SET1(most), V_SET1(most), v)
#endif
#ifndef V_LARGER
#define V_LARGER(a, b) T(select)((a) > (b), a, b)
#endif

#define REAL double
#define R(name) T(wide_##name)
#define R_TABLE lpb_double_reals
#define vr T(wide_vector)
#define vri T(wide_integers)
#define RL (VL / 2)
#define R_LOAD(p) WIDE_LOAD(p)
#define R_STORE(p, v) WIDE_STORE(p, v)
#define R_ZERO ((T(wide_vector)){0})
#define R_SET1(x) (R_ZERO + (double)(x))
#define R_SPLAT(p) (R_ZERO + *(p))
#define R_FMA(a, b, c) ((a) * (b) + (c))
#define R_RELU(v) ((T(wide_vector))(~((v) < R_ZERO) & (T(wide_integers))(v)))
#define R_LEAKY(v, s) T(wide_select)((v) < R_ZERO, (v) * (s), v)
#define R_ROUND 6755399441055744.0
#define R_EXP_LEAST -746.0
#define R_EXP_MOST 710.0
#define R_EXP_NORMAL -708.0
#define R_LN2_HIGH 0.693145751953125
#define R_LN2_LOW 1.42860682030941723212e-6
#define R_BIAS 1023
#define R_MANTISSA 52
#define R_SIGN INT64_MIN
#define R_MAGNITUDE INT64_MAX
#define R_EXP_TERMS 13 /* error < 2^-57 */
#define R_LOG_TERMS 33 /* error < 2^-55 */
#define R_TANH_ONE 20.0
#define R_GELU_STEP 0.25
#define R_GELU_TERMS 23 /* error < 2^-55 */
#define R_GELU_ZERO 37.0
#include "reals_template.h"

/* exp(scale x) = 2^n (1 + f p(f)) for `count` vectors side by side, whose chains overlap: a single step of reduction
 * and a minimax polynomial of (2^f - 1) / f for |f| <= 1/2, with an error below 2^-25 of 2^n. The low bits of `whole`
 * are n.
 */
typedef struct {
    vf whole, f, p;
} T(octaves);

static inline __attribute__((always_inline)) void T(in_octaves)(const vf *x, const float *scale, const int count,
                                                                T(octaves) * of) {
    const float terms[] = {0.0001540351223f, 0.001339073526f, 0.009618237615f,
                           0.05550357327f,   0.2402264923f,   0.6931471825f};
    const vf round = V_SET1(12582912.0f);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) of[i].whole = V_FMA(x[i], V_SET1(1.44269504f * scale[i]), round);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++)
        of[i].f = V_FMA(x[i], V_SET1(1.44269504f * scale[i]), -(of[i].whole - round)), of[i].p = V_SET1(terms[0]);
#pragma GCC unroll 8
    for (int j = 1; j < 6; j++) {
        const vf term = V_SET1(terms[j]);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) of[i].p = V_FMA(of[i].f, of[i].p, term);
    }
}

/* exp(scale x) = *power (1 + q), q being returned, where the largest of what is added to it is about 1; exp_parts keeps
 * the last digits of small exponentials, too. The power is that of a normal number. */
static inline __attribute__((always_inline)) vf T(short_power)(vf x, float scale, vf *power) {
    T(octaves) of;
    T(in_octaves)(&x, &scale, 1, &of);
    *power = T(power)(of.whole);
    return of.f * of.p;
}

#include "wide_template.h"
#include "search_template.h"
#include "train_template.h"
#include "attention_template.h"
#include "pairs_template.h"

static void T(activation_gradient)(float *g, const float *h, int64_t count, lpb_activation act, float slope) {
    const vf zero = V_ZERO, one = V_SET1(1.0f), s = V_SET1(slope);
    switch (act) {
    default: /* of what a trainer does not take */
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

static void T(normalise)(const float *x, int64_t features, int64_t ld, int64_t count, float *out) {
    const vf one = V_SET1(1.0f), share = V_SET1(1.0f / (float)features), epsilon = V_SET1(LPB_NORMAL_EPSILON);
    for (int64_t r = 0; r < count; r += VL) {
        vf even = V_ZERO, odd = V_ZERO;
        int64_t j = 0;
        for (; j + 1 < features; j += 2) {
            even += V_LOAD(x + j * ld + r);
            odd += V_LOAD(x + (j + 1) * ld + r);
        }
        if (j < features) even += V_LOAD(x + j * ld + r);
        const vf mean = (even + odd) * share;
        even = odd = V_ZERO;
        for (j = 0; j + 1 < features; j += 2) {
            const vf d = V_LOAD(x + j * ld + r) - mean, e = V_LOAD(x + (j + 1) * ld + r) - mean;
            even = V_FMA(d, d, even);
            odd = V_FMA(e, e, odd);
        }
        if (j < features) {
            const vf d = V_LOAD(x + j * ld + r) - mean;
            even = V_FMA(d, d, even);
        }
        const vf root = V_FMA(even + odd, share, epsilon), scale = one / V_SQRT(root);
        for (j = 0; j < features; j++) V_STORE(out + j * ld + r, (V_LOAD(x + j * ld + r) - mean) * scale);
    }
}

static void T(softmax)(float *x, int64_t rows, int64_t ld, float *sums) {
    vf largest;
    for (int64_t r = 0; r < ld; r += VL) V_STORE(sums + r, T(powers)(x + r, rows, ld, &largest));
}

static inline __attribute__((always_inline)) vf T(next_cell)(vf input, vf forget, vf candidate, vf before) {
    return V_FMA(T(sigmoid)(forget), before, T(sigmoid)(input) * T(tanh)(candidate));
}

static void T(cell)(const float *gates, int64_t step, const float *before, int64_t count, float *out) {
    const float *forget = gates + step, *candidate = gates + 3 * step;
    const int64_t whole = count / VL * VL;
    for (int64_t i = 0; i < whole && before; i += VL)
        V_STORE(out + i,
                T(next_cell)(V_LOAD(gates + i), V_LOAD(forget + i), V_LOAD(candidate + i), V_LOAD(before + i)));
    for (int64_t i = 0; i < whole && !before; i += VL)
        V_STORE(out + i, T(sigmoid)(V_LOAD(gates + i)) * T(tanh)(V_LOAD(candidate + i)));
    if (whole == count) return;
    const vtail tail = V_TAIL(count - whole);
    const vf kept = before ? V_LOAD_TAIL(before + whole, tail) : V_ZERO;
    V_STORE_TAIL(out + whole,
                 T(next_cell)(V_LOAD_TAIL(gates + whole, tail), V_LOAD_TAIL(forget + whole, tail),
                              V_LOAD_TAIL(candidate + whole, tail), kept),
                 tail);
}

static void T(hidden)(const float *gate, const float *cell, int64_t count, float *out) {
    const int64_t whole = count / VL * VL;
    for (int64_t i = 0; i < whole; i += VL) V_STORE(out + i, T(sigmoid)(V_LOAD(gate + i)) * T(tanh)(V_LOAD(cell + i)));
    if (whole == count) return;
    const vtail tail = V_TAIL(count - whole);
    const vf of_gate = V_LOAD_TAIL(gate + whole, tail), of_cell = V_LOAD_TAIL(cell + whole, tail);
    V_STORE_TAIL(out + whole, T(sigmoid)(of_gate) * T(tanh)(of_cell), tail);
}

/* x cut to +-most, where a gate is open or shut to rounding. */
static inline __attribute__((always_inline)) vf T(cut)(vf x, float most) {
    return V_NO_MORE(V_NO_LESS(x, -most), most);
}

#ifdef V_LOOKUP
/* As in_octaves, in sixteenths of an octave whose powers are looked up, so that three terms of p are enough; `whole` is
 * made the power itself. */
static inline __attribute__((always_inline)) void T(gate_powers)(const vf *x, const float *scale, const int count,
                                                                 T(octaves) * of) {
    static const float powers[VL] __attribute__((aligned(64))) = {
        1.0f,        1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f, 1.29683955f, 1.35425555f,
        1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f, 1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f,
    };
    const vf round = V_SET1(786432.0f), table = V_LOAD(powers);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) of[i].whole = V_FMA(x[i], V_SET1(1.44269504f * scale[i]), round);
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) of[i].f = V_FMA(x[i], V_SET1(1.44269504f * scale[i]), -(of[i].whole - round));
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) of[i].p = V_FMA(of[i].f, V_SET1(0.0555041f), V_SET1(0.2402265f));
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        const vi at = (vi)of[i].whole;
        of[i].p = V_FMA(of[i].f, of[i].p, V_SET1(0.69314718f));
        of[i].whole = (vf)((vi)V_LOOKUP(table, at) + ((at << 19) & (INT32_MIN >> 8)));
    }
}

static inline __attribute__((always_inline)) vf T(gate_power)(T(octaves) of) { return of.whole; }

static inline __attribute__((always_inline)) vf T(gate_exp)(T(octaves) of) {
    return V_FMA(of.whole * of.f, of.p, of.whole);
}
#else
static inline __attribute__((always_inline)) void T(gate_powers)(const vf *x, const float *scale, const int count,
                                                                 T(octaves) * of) {
    T(in_octaves)(x, scale, count, of);
}

static inline __attribute__((always_inline)) vf T(gate_power)(T(octaves) of) { return T(power)(of.whole); }

static inline __attribute__((always_inline)) vf T(gate_exp)(T(octaves) of) {
    const vf mantissa = V_FMA(of.f, of.p, V_SET1(1.0f));
    return (vf)((vi)mantissa + ((vi)of.whole << 23));
}
#endif

/* 1 / sigmoid(x) where exp(-x) is `of`. */
static inline __attribute__((always_inline)) vf T(gate_bottom)(T(octaves) of) { return T(gate_exp)(of) + V_SET1(1.0f); }

/* -tanh(x) as a quotient where exp(-2 x) is `of`. */
static inline __attribute__((always_inline)) T(ratio) T(gate_tanh)(T(octaves) of) {
    const vf power = T(gate_power)(of), e = V_FMA(power * of.f, of.p, power - V_SET1(1.0f));
    return (T(ratio)){e, e + V_SET1(2.0f)};
}

/* The next cell of an LSTM in one division: that of its two terms, brought to a common divisor, which stays below
 * 2^103.
 */
static inline __attribute__((always_inline)) vf T(cell_of)(vf input, vf candidate, vf forget, vf before, bool first) {
    const vf x[] = {T(cut)(candidate, 10.0f), T(cut)(input, 25.0f), T(cut)(forget, 25.0f)};
    T(octaves) of[3];
    T(gate_powers)(x, (const float[]){-2.0f, -1.0f, -1.0f}, first ? 2 : 3, of);
    const T(ratio) seen = T(gate_tanh)(of[0]);
    const vf bottom = T(gate_bottom)(of[1]) * seen.bottom;
    if (first) return -seen.top / bottom;
    const vf kept = T(gate_bottom)(of[2]);
    return V_FMA(before, bottom, -(seen.top * kept)) / (bottom * kept);
}

static inline __attribute__((always_inline)) vf T(hidden_of)(vf output, vf cell) {
    const vf x[] = {T(cut)(cell, 10.0f), T(cut)(output, 25.0f)};
    T(octaves) of[2];
    T(gate_powers)(x, (const float[]){-2.0f, -1.0f}, 2, of);
    const T(ratio) seen = T(gate_tanh)(of[0]);
    return -seen.top / (T(gate_bottom)(of[1]) * seen.bottom);
}

/* All cells of a row before its hidden values: chains of both in one loop would be too long to overlap with the next.
 */
static inline __attribute__((always_inline)) void T(lstm_rows)(const lpb_lstm_step *s, const bool first) {
    const int64_t whole = s->count / VL * VL;
    for (int64_t r = 0; r < s->rows; r++) {
        const float *input = s->gates + r * s->gates_row, *output = input + s->step, *candidate = output + s->step,
                    *forget = candidate + s->step;
        float *cell = s->cell + r * s->cell_row, *hidden = s->hidden + r * s->hidden_row;
        for (int64_t i = 0; i < whole; i += VL)
            V_STORE(cell + i, T(cell_of)(V_LOAD(input + i), V_LOAD(candidate + i), first ? V_ZERO : V_LOAD(forget + i),
                                         first ? V_ZERO : V_LOAD(cell + i), first));
        for (int64_t i = 0; i < whole; i += VL) V_STORE(hidden + i, T(hidden_of)(V_LOAD(output + i), V_LOAD(cell + i)));
        if (whole == s->count) continue;
        const vtail tail = V_TAIL(s->count - whole);
        const vf forgets = first ? V_ZERO : V_LOAD_TAIL(forget + whole, tail);
        const vf before = first ? V_ZERO : V_LOAD_TAIL(cell + whole, tail);
        const vf made =
            T(cell_of)(V_LOAD_TAIL(input + whole, tail), V_LOAD_TAIL(candidate + whole, tail), forgets, before, first);
        V_STORE_TAIL(cell + whole, made, tail);
        V_STORE_TAIL(hidden + whole, T(hidden_of)(V_LOAD_TAIL(output + whole, tail), made), tail);
    }
}

/* Rows of at most a vector: all cells before the hidden values, as above. */
static inline __attribute__((always_inline)) void T(lstm_vectors)(const lpb_lstm_step *s, const bool first) {
    const vtail tail = V_TAIL(s->count);
    for (int64_t r = 0; r < s->rows; r++) {
        const float *input = s->gates + r * s->gates_row, *candidate = input + 2 * s->step,
                    *forget = candidate + s->step;
        float *cell = s->cell + r * s->cell_row;
        const vf forgets = first ? V_ZERO : V_LOAD_TAIL(forget, tail),
                 before = first ? V_ZERO : V_LOAD_TAIL(cell, tail);
        const vf of_input = V_LOAD_TAIL(input, tail), of_candidate = V_LOAD_TAIL(candidate, tail);
        V_STORE_TAIL(cell, T(cell_of)(of_input, of_candidate, forgets, before, first), tail);
    }
    for (int64_t r = 0; r < s->rows; r++) {
        const vf of_output = V_LOAD_TAIL(s->gates + r * s->gates_row + s->step, tail);
        const vf of_cell = V_LOAD_TAIL(s->cell + r * s->cell_row, tail);
        V_STORE_TAIL(s->hidden + r * s->hidden_row, T(hidden_of)(of_output, of_cell), tail);
    }
}

static void T(lstm)(const lpb_lstm_step *s) {
    if (VL == LPB_ALIGN && s->count <= VL) { /* which no table of shorter vectors compiles */
        if (s->first)
            T(lstm_vectors)(s, true);
        else
            T(lstm_vectors)(s, false);
        return;
    }
    if (s->first)
        T(lstm_rows)(s, true);
    else
        T(lstm_rows)(s, false);
}

static void T(divide_columns)(const float *x, int64_t rows, int64_t ld, const float *sums, int64_t count, float *out,
                              int64_t out_ld) {
    for (int64_t r = 0; r < count; r += VL) {
        const vf share = V_SET1(1.0f) / V_LOAD(sums + r);
        if (count - r >= VL) {
            for (int64_t j = 0; j < rows; j++) V_STORE(out + j * out_ld + r, V_LOAD(x + j * ld + r) * share);
        } else {
            const vtail tail = V_TAIL(count - r);
            for (int64_t j = 0; j < rows; j++) V_STORE_TAIL(out + j * out_ld + r, V_LOAD(x + j * ld + r) * share, tail);
        }
    }
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
    .reals = &T(reals), .wide = &T(wide_reals), .wide_product = T(wide_product), .wide_gate = T(wide_gate),            \
    .wide_sign = T(wide_sign), .wide_adam = T(wide_adam), .transpose = T(transpose), .mean_square = T(mean_square),    \
    .activation_gradient = T(activation_gradient), .column_sums = T(column_sums), .normalise = T(normalise),           \
    .softmax = T(softmax), .divide_columns = T(divide_columns), .cell = T(cell), .hidden = T(hidden), .lstm = T(lstm), \
    .row_dots = T(row_dots), .squared_distance = T(squared_distance), .logit_loss = T(logit_loss),                     \
    .square_loss = T(square_loss), .sample = T(sample), .sample_gradient = T(sample_gradient),                         \
    .sum_of_squares = T(sum_of_squares), .adam = T(adam), .drop = T(drop), .follow = T(follow),                        \
    .add_scaled = T(add_scaled), .soft = T(soft), .bend = T(bend), .normalise_batch = T(normalise_batch),              \
    .normalise_batch_gradient = T(normalise_batch_gradient), .normalise_rows = T(normalise_rows),                      \
    .normalise_rows_gradient = T(normalise_rows_gradient), .softmax_gradient = T(softmax_gradient),                    \
    .gelu_slope = T(gelu_slope), .add_column_sums = T(add_column_sums), .softmax_parts = T(softmax_parts),             \
    .softmax_again = T(softmax_again), .reglu = T(reglu), .reglu_gradient = T(reglu_gradient),                         \
    .lstm_forward = T(lstm_forward), .lstm_back = T(lstm_back), .round_rows = T(round_rows), .largest = T(largest),    \
    .pair_inputs = T(pair_inputs), .pair_outputs = T(pair_outputs), .pair_largest = T(pair_largest),                   \
    .largest_back = T(largest_back)
