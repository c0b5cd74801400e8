/* What an instruction set provides to the drivers (kernels/drivers).
 *
 * Each .c file of this folder defines one or more of these tables; drivers/dispatch.c lists them. A driver never asks
 * which one it has. Rows of matrices owned by a driver start at multiples of LPB_ALIGN floats and are padded with
 * zeros, so that elementwise functions may work on whole vectors: `count` is then a multiple of LPB_ALIGN. */
#ifndef LPARBENCH_ISA_H
#define LPARBENCH_ISA_H

#include "drivers/lparbench_kernels.h"

enum { LPB_ALIGN = 16 };      /* floats per alignment unit: 64 bytes, the widest vector of any table */
enum { LPB_LOW_KERNELS = 3 }; /* of a type of a table, at most */
enum { LPB_BLOCK_ROWS = 64 }; /* rows of data that a chain carries through all its layers at a time */

static inline int64_t lpb_round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/* Adam's constants for one step, already combined. */
typedef struct {
    float beta1, beta2, one_minus_beta1, one_minus_beta2;
    float step_size;               /* learning rate / (1 - beta1^t) */
    float inverse_root_correction; /* 1 / sqrt(1 - beta2^t) */
    float epsilon;
    float gradient_scale; /* from clipping; 1 otherwise */
} lpb_adam_step;

typedef void (*lpb_activate_fn)(float *x, int64_t count, lpb_activation act, float slope);

/* The products of one element type. */
typedef struct {
    const char *name;
    bool (*supported)(void); /* NULL: wherever the instruction set is */
    /* Products of items [first, last). `scratch` has the bytes that scratch() says, aligned to 64. */
    void (*gemm)(const lpb_gemm *gemm, int64_t first, int64_t last, void *scratch);
    int64_t (*scratch)(const lpb_gemm *gemm);
    /* For operands that are packed in any case (bfloat16, int8): B as this kernel wants it in lpb_gemm.b_packed. */
    int64_t (*packed_bytes)(const lpb_gemm *gemm);
    void (*pack)(const lpb_gemm *gemm, void *packed);
    /* Of bfloat16, NULL where there is none: the same of floats, which are rounded to it (nearest, ties to even) as
     * they are packed. One item, contiguous rows of B, contiguous rows or columns of A. */
    void (*round_gemm)(const lpb_gemm *gemm, void *scratch);
    void (*round_pack)(const lpb_gemm *gemm, void *packed);
    bool finishes_apart; /* a bias or an activation is dearer in its product than in a pass of its own */
    /* `rounds` rounds of independent multiply-adds in registers; returns operations done. */
    double (*peak)(int64_t rounds);
} lpb_kernel;

/* What floats and doubles have alike. `ld`, `n` and `count` are multiples of LPB_ALIGN. */
#define LPB_REALS(REAL)                                                                                                \
    struct {                                                                                                           \
        void (*activate)(REAL * x, int64_t count, lpb_activation act, REAL slope);                                     \
        /* y[j] = act(bias[j] + sum_p x[p] wt[p * n + j]) for j < n; wt and y aligned. */                              \
        void (*gemv)(int64_t k, int64_t n, const REAL *x, const REAL *wt, const REAL *bias, lpb_activation act,        \
                     REAL slope, REAL *y);                                                                             \
        /* out[j * ld + r] = a[j * a_step + r] op b[j * b_step + r] for j < features, r < ld. */                       \
        void (*combine)(lpb_operator op, const REAL *a, int64_t a_step, const REAL *b, int64_t b_step,                 \
                        int64_t features, int64_t ld, REAL *out);                                                      \
        /* out[j * ld + r] = a[j * ld + r] op constants[j]. */                                                         \
        void (*combine_constants)(lpb_operator op, const REAL *a, const REAL *constants, int64_t features, int64_t ld, \
                                  REAL *out);                                                                          \
        /* out[r] = the reduction of x[j * ld + r] over j < features, for r < ld. */                                   \
        void (*reduce)(lpb_reduction by, const REAL *x, int64_t features, int64_t ld, REAL *out);                      \
        /* *out = the reduction of x[j]; x is padded to a multiple of LPB_ALIGN with anything. */                      \
        void (*reduce_row)(lpb_reduction by, const REAL *x, int64_t features, REAL *out);                              \
    }
typedef LPB_REALS(float) lpb_float_reals;
typedef LPB_REALS(double) lpb_double_reals;

/* Normalisation of each column over the rows of a batch; rows are `ld` floats apart. The gradient needs mean, scale (1
 * / deviation) and x as the way forward left them. */
typedef struct {
    int64_t rows, columns, ld;
    float momentum, epsilon;
    const float *weight, *bias;
    float *running_mean, *running_variance, *mean, *scale;
    float *weight_gradient, *bias_gradient; /* added to; NULL: not wanted */
    float *sums, *products;                 /* scratch of a number per column */
} lpb_batch_norm;

/* Normalisation of each row over its columns, a multiple of LPB_ALIGN; x and y have rows x_row and y_row floats apart.
 * Mean and scale (1 / deviation) of the rows are left for the gradient. */
typedef struct {
    int64_t rows, columns, x_row, y_row;
    const float *weight, *bias;
    float *mean, *scale;
    float *weight_gradient, *bias_gradient; /* added to */
} lpb_row_norm;

/* c[i * ld + r] = bias[i] + sum_p wt[p * wt_row + i] h[p * ld + r] for i < m, r < ld, in double. */
typedef struct {
    int64_t m, k, ld, wt_row;
    const double *wt, *bias, *h;
    double *c;
} lpb_wide_product;

/* Adam's constants for one step in double. */
typedef struct {
    double beta1, beta2;
    double step_size;       /* learning rate / (1 - beta1^t) */
    double root_correction; /* sqrt(1 - beta2^t) */
    double epsilon;
} lpb_wide_adam_step;

/* A time step of an LSTM for `rows` rows of `count` units, any number, each at its row's distance from the row before.
 * The gates are at gates + q * step, q = 0 input, 1 output, 2 candidate, 3 forget. */
typedef struct {
    const float *gates;
    int64_t step, gates_row;
    float *cell, *hidden;
    int64_t cell_row, hidden_row;
    int64_t rows, count;
    bool first; /* there is neither a forget gate nor a cell before */
} lpb_lstm_step;

/* A time step of an LSTM in training, of `rows` rows of `count` units, a multiple of LPB_ALIGN. The gates of a row lie
 * `part` apart in the order input, output, candidate, forget; there are four, or without the last, three. Forward they
 * become what they let through, of which back makes the gradients by their sums; `seen` is tanh of the cells. `before`
 * are the cells of the step before, NULL at the first, which then forgets nothing. `of_cell` is the gradient by the
 * cells through what comes later, and becomes that by `before`. */
typedef struct {
    int64_t rows, count, gate_count, part, gates_row, cell_row, hidden_row;
    float *gates;
    const float *before;
    float *cell, *seen;
    float *hidden; /* of forward */
    const float *of_hidden;
    float *of_cell;
} lpb_lstm_pass;

/* The way back from the largest number of each of `columns` columns of x, unless it is below 0: what made x[r * ld + j]
 * are the `terms` numbers from read + r * step on, times weight j. g is the gradient by the largest numbers; those by
 * what is read, by weights and biases are added to. */
typedef struct {
    int64_t columns, rows, ld;
    const float *x, *most, *ties; /* as largest leaves them */
    const int32_t *where;
    const float *g;
    int64_t terms, step, weight_row;
    const float *read, *weight;
    float *of_weight, *of_read, *of_bias;
} lpb_largest_pass;

/* A convolution of stride 1 two outputs at a time, by Winograd's F(2, 3) (S. Winograd, Arithmetic Complexity of
 * Computations, 1980): three taps of both take four products where they would take six. Of every four taps the first
 * three are such a block, and what is left is multiplied as it is. With inputs d0 to d3 and taps g0 to g2 the products
 * are (d0 - d2) g0, (d1 + d2) (g0 + g1 + g2) / 2, (d2 - d1) (g0 - g1 + g2) / 2 and (d3 - d1) g2; the even output is the
 * sum of the first three, the odd that of the second and fourth less the third. */
static inline int64_t lpb_pair_blocks(int64_t taps) { return (taps + 1) / 4; }
static inline bool lpb_in_pair_block(int64_t tap, int64_t blocks) { return tap / 4 < blocks && tap % 4 < 3; }

/* What the four products read, for `pairs` pairs of outputs: of a pair, row[i] floats apart in out[i], the sums of
 * every block, and then in the first and the fourth what the other taps read for the even and the odd output. x has the
 * channels, a multiple of LPB_ALIGN, of a position side by side, and begins with what the first output reads. */
typedef struct {
    int64_t pairs, channels, taps;
    const float *x;
    float *out[4];
    int64_t row[4];
} lpb_pair_inputs;

struct lpb_isa {
    const char *name;
    bool (*supported)(void);
    lpb_kernel f32;
    const lpb_kernel *low[LPB_DTYPES][LPB_LOW_KERNELS]; /* of bfloat16 and int8, best first, NULL beyond */

    const lpb_float_reals *reals;
    const lpb_double_reals *wide;
    void (*wide_product)(const lpb_wide_product *product);
    /* g[i] is multiplied by the slope unless h[i] > 0: the gradient of a rectifier whose outputs are h. */
    void (*wide_gate)(double *g, const double *h, int64_t count, double slope);
    /* out[i] = scale * sign(a[i] - b[i]), or that is added to it. */
    void (*wide_sign)(const double *a, const double *b, int64_t count, double scale, bool add, double *out);
    void (*wide_adam)(double *parameter, const double *gradient, double *mean, double *square, int64_t count,
                      const lpb_wide_adam_step *step);
    /* out[r * columns + j] = the bfloat16 next to x[r * x_row + j], ties to even; NaN stays NaN. */
    void (*round_rows)(const float *x, int64_t x_row, int64_t rows, int64_t columns, uint16_t *out);
    /* out[j * out_row + r] = x[r * x_row + j] for r < rows, j < columns. out_row is a multiple of LPB_ALIGN; entries
     * from `rows` up to the next multiple of LPB_ALIGN may be set to zero. */
    void (*transpose)(const float *x, int64_t x_row, int64_t rows, int64_t columns, float *out, int64_t out_row);
    /* out[r] = mean_j (y[j * ld + r] - x[j * ld + r])^2 for r < count. */
    void (*mean_square)(const float *x, const float *y, int64_t features, int64_t ld, int64_t count, float *out);

    /* Columns r < count, a multiple of LPB_ALIGN, of x[j * ld + r]: (x - mean) / sqrt(variance + LPB_NORMAL_EPSILON).
     */
    void (*normalise)(const float *x, int64_t features, int64_t ld, int64_t count, float *out);
    /* x[j * ld + r] = exp(x[j * ld + r] - the largest of its column), and their sums over j < rows, for r < ld. */
    void (*softmax)(float *x, int64_t rows, int64_t ld, float *sums);
    /* out[j * out_ld + r] = x[j * ld + r] / sums[r] for j < rows, r < count, any number; sums are padded. */
    void (*divide_columns)(const float *x, int64_t rows, int64_t ld, const float *sums, int64_t count, float *out,
                           int64_t out_ld);
    /* Of an LSTM: out = sigmoid(forget) before + sigmoid(input) tanh(candidate) over any number of entries; the gates
     * are at gates + q * step, q = 0 input, 1 forget, 3 candidate. `before` is NULL at the first step. */
    void (*cell)(const float *gates, int64_t step, const float *before, int64_t count, float *out);
    /* out = sigmoid(gate) tanh(cell), over any number of entries. */
    void (*hidden)(const float *gate, const float *cell, int64_t count, float *out);
    /* cell = sigmoid(forget) cell + sigmoid(input) tanh(candidate), and hidden = sigmoid(output) tanh(cell). */
    void (*lstm)(const lpb_lstm_step *step);

    /* sum_j (y[j] - x[j])^2 over any number of elements. */
    float (*squared_distance)(const float *x, const float *y, int64_t count);

    /* For training; all in place over `count` padded elements. */
    /* g *= act'(z), expressed through h = act(z). */
    void (*activation_gradient)(float *g, const float *h, int64_t count, lpb_activation act, float slope);
    /* sums[j] = sum_r g[r * ld + j] for j < ld. */
    void (*column_sums)(const float *g, int64_t rows, int64_t ld, float *sums);
    /* out[r] = bias + sum_j h[r * ld + j] * w[j] over j < columns, any number of them. */
    void (*row_dots)(const float *h, int64_t rows, int64_t ld, int64_t columns, const float *w, float bias, float *out);
    /* g[r] = (sigmoid(z[r]) - y[r]) * scale, returns the sum of the losses; count is any number of rows. */
    double (*logit_loss)(const float *z, const float *y, int64_t count, float scale, float *g);
    /* g = (y - x) * scale, returns the sum of squares of (y - x). */
    double (*square_loss)(const float *y, const float *x, int64_t count, float scale, float *g);
    /* code[j] = mean + exp(log-variance / 2) noise, row by row: `latent` means and then as many log-variances in a row
     * of h, `latent` contiguous numbers of noise. Returns the divergence of all codes' distributions from the standard
     * normal. A code is padded with zeros up to the next multiple of LPB_ALIGN at most. */
    double (*sample)(const float *h, int64_t ld, const float *noise, int64_t rows, int64_t latent, float *code,
                     int64_t code_ld);
    /* g, laid out as h: the gradient of what code_gradient is the gradient of, plus `weight` times the divergence. */
    void (*sample_gradient)(const float *h, int64_t ld, const float *noise, int64_t rows, int64_t latent,
                            const float *code_gradient, int64_t code_ld, float weight, float *g);
    /* x[i] is multiplied by `scale` where bits[i] >= least, and zero elsewhere; any count. */
    void (*drop)(float *x, const uint16_t *bits, int64_t count, int32_t least, float scale);
    /* average[i] += share * (value[i] - average[i]). */
    void (*follow)(float *average, const float *value, int64_t count, float share);
    /* out[i] = a[i] + scale * b[i]. */
    void (*add_scaled)(const float *a, const float *b, int64_t count, float scale, float *out);
    void (*soft)(const float *x, int64_t count, float *softplus, float *sigmoid);
    /* g[i] = s (g[i] + a[i] b[i] (1 - s)) with s = sigmoid[i]; b may be NULL, for ones. The gradient by z where the
     * softplus of z has the gradient g, and its sigmoid was multiplied by b to what has the gradient a. */
    void (*bend)(const float *a, const float *b, const float *sigmoid, int64_t count, float *g);
    void (*normalise_batch)(const lpb_batch_norm *norm, const float *x, float *y);
    void (*normalise_batch_gradient)(const lpb_batch_norm *norm, const float *x, float *g);
    /* Rows of x normalised, times weight, plus bias. */
    void (*normalise_rows)(const lpb_row_norm *norm, const float *x, float *y);
    /* g is the gradient by y; that by x is added to `to`, and those of weight and bias to theirs. */
    void (*normalise_rows_gradient)(const lpb_row_norm *norm, const float *x, const float *g, float *to,
                                    int64_t to_row);
    /* x[j * ld + r] becomes the softmax of its column r < ld over j < rows; `most` and `parts` of the columns are what
     * the second needs to make it of the same x again. */
    void (*softmax_parts)(float *x, int64_t rows, int64_t ld, float *most, float *parts);
    void (*softmax_again)(float *x, int64_t rows, int64_t ld, const float *most, const float *parts);
    /* g[j * ld + r], by p[j * ld + r], the softmax of a column r < ld, becomes the gradient by what p is the softmax
     * of.
     */
    void (*softmax_gradient)(const float *p, float *g, int64_t rows, int64_t ld);
    /* slope = gelu'(x), and x = gelu(x). */
    void (*gelu_slope)(float *x, int64_t count, float *slope);
    /* Of rows of `inner` values and then as many gates: out = value * max(gate, 0), and the gradient g, of which there
     * is that by out in the first half, becomes that by values and gates. */
    void (*reglu)(const float *x, int64_t rows, int64_t ld, int64_t inner, float *out);
    void (*reglu_gradient)(const float *x, int64_t rows, int64_t ld, int64_t inner, float *g);
    /* sums[j] += sum_r g[r * ld + j] for j < columns, any number of them. */
    void (*add_column_sums)(const float *g, int64_t rows, int64_t ld, int64_t columns, float *sums);
    /* A time step of an LSTM in training, and its way back. */
    void (*lstm_forward)(const lpb_lstm_pass *pass);
    void (*lstm_back)(const lpb_lstm_pass *pass);
    /* Of rows of x, `ld` apart: the largest of each column, how many rows have it, and the last that does. */
    void (*largest)(const float *x, int64_t rows, int64_t ld, int64_t columns, float *most, float *ties,
                    int32_t *where);
    void (*largest_back)(const lpb_largest_pass *pass);
    bool shuns_pairs; /* products are so cheap that what the next three do is dearer than what it saves */
    void (*pair_inputs)(const lpb_pair_inputs *inputs);
    /* The outputs at `positions` positions, cut at 0, from the four products, `channels` numbers of every pair. */
    void (*pair_outputs)(const float *const made[4], int64_t positions, int64_t channels, float *out);
    /* Of these outputs the largest of every channel. */
    void (*pair_largest)(const float *const made[4], int64_t positions, int64_t channels, float *out);
    double (*sum_of_squares)(const float *x, int64_t count);
    void (*adam)(float *parameter, const float *gradient, float *mean, float *square, int64_t count,
                 const lpb_adam_step *step);
};

/* The best kernel for a type that this processor supports; NULL when there is none. */
const lpb_kernel *lpb_kernel_of(const lpb_isa *isa, lpb_dtype dtype);

/* For the kernels: what a tile leaves undone when it cannot keep it in registers, alpha and the transcendental
 * activations. `raw` holds A B for `rows` x `columns` <= LPB_BLOCK_ROWS of C at `c`, `width` floats per row; the biases
 * are those of these rows and columns. */
void lpb_finish(const lpb_gemm *gemm, lpb_activate_fn activate, const float *raw, int64_t width, char *c,
                const float *row_bias, const float *column_bias, int64_t rows, int64_t columns);
/* For tables without bfloat16 instructions: the product of widened operands. */
int64_t lpb_bf16_by_f32_packed_bytes(const lpb_gemm *gemm);
void lpb_bf16_by_f32_pack(const lpb_gemm *gemm, void *packed);
void lpb_bf16_by_f32(const lpb_kernel *f32, const lpb_gemm *gemm, int64_t first, int64_t last, void *scratch);
int64_t lpb_bf16_by_f32_scratch(const lpb_kernel *f32, const lpb_gemm *gemm);

#endif
