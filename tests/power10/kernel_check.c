/* The kernels against double precision, without Python: run natively under the sanitizers, and emulated as POWER8, 9
 * and 10 from one binary. Every operand is a heap block of exactly its size, so that a sanitizer sees any access
 * beyond it. Prints one line per instruction set; exits 1 at the first wrong result.
 *
 * kernel_check [CASES]   random products, chains, plans and trainers on every supported instruction set
 * kernel_check isa       the name of the instruction set chosen for this processor */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

static uint64_t state = 88172645463325252u;

static uint64_t bits(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state * 0x2545f4914f6cdd1du;
}

static int64_t below(int64_t limit) { return (int64_t)((bits() >> 33) % (uint64_t)limit); }

static float number(void) { return (float)((double)(bits() >> 40) / (double)(1 << 24) * 2.0 - 1.0); }

static void *block(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) abort();
    return memory;
}

static float *numbers(int64_t count) {
    float *x = block((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = number();
    return x;
}

static void fail(const lpb_isa *isa, const char *what, double found, double expected) {
    printf("%s: %s: found %.9g, expected %.9g\n", lpb_isa_name(isa), what, found, expected);
    exit(1);
}

static double activated(double x, lpb_activation act, double slope) {
    switch (act) {
    case LPB_IDENTITY:
        return x;
    case LPB_RELU:
        return x < 0 ? 0 : x;
    case LPB_LEAKY_RELU:
        return x < 0 ? slope * x : x;
    case LPB_TANH:
        return tanh(x);
    case LPB_SIGMOID:
        return 1 / (1 + exp(-x));
    default: /* of plans: plan_check.h */
        return x;
    }
}

/* Elements of the three types: stored in a float, bfloat16 or int8 block; read back exactly. */
static int64_t size_of(lpb_dtype dtype) { return dtype == LPB_FLOAT32 ? 4 : dtype == LPB_BFLOAT16 ? 2 : 1; }

static void store(void *to, int64_t index, lpb_dtype dtype) {
    const float x = number();
    uint32_t word;
    memcpy(&word, &x, 4);
    if (dtype == LPB_FLOAT32) ((float *)to)[index] = x;
    if (dtype == LPB_BFLOAT16) ((uint16_t *)to)[index] = (uint16_t)(word >> 16);
    if (dtype == LPB_INT8) ((int8_t *)to)[index] = (int8_t)bits();
}

static double value(const void *from, int64_t index, lpb_dtype dtype) {
    if (dtype == LPB_FLOAT32) return (double)((const float *)from)[index];
    if (dtype == LPB_INT8) return (double)((const int8_t *)from)[index];
    const uint32_t word = (uint32_t)((const uint16_t *)from)[index] << 16;
    float x;
    memcpy(&x, &word, 4);
    return (double)x;
}

static void *operand(lpb_dtype dtype, int64_t count) {
    void *x = block((size_t)(count * size_of(dtype)));
    for (int64_t i = 0; i < count; i++) store(x, i, dtype);
    return x;
}

static int64_t length(void) { return below(4) ? below(36) : 8 * (1 + below(9)); }

static void check_product(const lpb_isa *isa, lpb_dtype dtype) {
    lpb_gemm g = {.batch = below(4), .m = length(), .n = length(), .k = length(), .alpha = 1.0f};
    const bool a_shared = below(2), b_shared = below(2), a_turned = below(2), b_turned = below(2);
    const int64_t pad = below(2) ? below(6) : 0;
    g.a_batch = a_shared ? 0 : g.m * g.k + pad;
    g.b_batch = b_shared ? 0 : g.k * g.n;
    g.a_row = a_turned ? 1 : g.k, g.a_col = a_turned ? g.m : 1;
    g.b_row = b_turned ? 1 : g.n, g.b_col = b_turned ? g.k : 1;
    g.c_row = g.n + pad, g.c_batch = g.m * g.c_row;
    g.slope = 0.25f;
    if (dtype == LPB_INT8) {
        g.beta = (float)below(2);
    } else {
        g.alpha = below(3) ? 1.0f : -0.5f;
        g.beta = below(2) ? 0.0f : below(2) ? 1.0f : 0.75f;
        g.activation = (lpb_activation)below(LPB_ACTIVATIONS);
        g.bias_axis = (lpb_bias_axis)below(3);
        const int64_t entries = g.bias_axis == LPB_ROW_BIAS ? g.m : g.n;
        g.bias_batch = below(2) ? 0 : entries;
        if (g.bias_axis != LPB_NO_BIAS) g.bias = numbers(g.bias_batch ? g.batch * entries : entries);
    }
    void *a = operand(dtype, (a_shared ? 1 : g.batch) * (g.m * g.k + pad));
    void *b = operand(dtype, (b_shared ? 1 : g.batch) * g.k * g.n);
    const int64_t c_count = g.batch * g.m * g.c_row;
    float *old = numbers(c_count), *c = block((size_t)c_count * 4);
    if (dtype == LPB_INT8)
        for (int64_t i = 0; i < c_count; i++) ((int32_t *)old)[i] = (int32_t)below(1000);
    memcpy(c, old, (size_t)c_count * 4);
    if (g.beta == 0.0f && dtype != LPB_INT8)
        for (int64_t i = 0; i < c_count; i++)
            if (i % g.c_row < g.n) c[i] = NAN;
    g.a = a, g.b = b, g.c = c;
    if (lpb_gemm_run(isa, dtype, &g, 1 + (int)below(3)) != LPB_OK) fail(isa, "status", 1, 0);
    for (int64_t item = 0; item < g.batch; item++)
        for (int64_t i = 0; i < g.m; i++)
            for (int64_t j = 0; j < g.c_row; j++) {
                const int64_t at = item * g.c_batch + i * g.c_row + j;
                if (j >= g.n) {
                    if (memcmp(c + at, old + at, 4)) fail(isa, "padding of C overwritten", 1, 0);
                    continue;
                }
                double sum = 0, magnitude = 1;
                for (int64_t p = 0; p < g.k; p++) {
                    const double term = value(a, item * g.a_batch + i * g.a_row + p * g.a_col, dtype) *
                                        value(b, item * g.b_batch + p * g.b_row + j * g.b_col, dtype);
                    sum += term, magnitude += fabs(term);
                }
                if (dtype == LPB_INT8) {
                    sum += g.beta * ((int32_t *)old)[at];
                    if (((int32_t *)c)[at] != (int32_t)sum) fail(isa, "int8 product", ((int32_t *)c)[at], sum);
                    continue;
                }
                sum = g.alpha * sum + (g.beta != 0.0f ? g.beta * (double)old[at] : 0.0);
                if (g.bias) sum += g.bias[item * g.bias_batch + (g.bias_axis == LPB_ROW_BIAS ? i : j)];
                sum = activated(sum, g.activation, g.slope);
                if (!(fabs(c[at] - sum) <= 6e-8 * (double)(g.k + 12) * (magnitude + 2)))
                    fail(isa, "product", c[at], sum);
            }
    free(a), free(b), free(c), free(old), free((void *)g.bias);
}

typedef struct {
    int64_t count;
    lpb_layer layers[4];
    lpb_sampling sampling; /* layer -1: none */
} net;

typedef enum { ANY_OUTPUTS, ONE_OUTPUT, AS_MANY_AS_INPUTS } end;

/* Random layers, of which the last has these outputs and is linear if it must be. Where codes are drawn, the layer is
 * linear and the next one takes half of its outputs. */
static net new_net(end outputs_of_last, bool linear_last, bool sampled) {
    net n = {.count = 1 + below(4), .sampling = {.layer = -1, .weight = 0.7}};
    if (sampled && n.count > 1) n.sampling.layer = below(n.count - 1);
    const int64_t inputs = 1 + below(50);
    int64_t width = inputs;
    for (int64_t l = 0; l < n.count; l++) {
        const bool last = l == n.count - 1, codes = l == n.sampling.layer;
        int64_t outputs = codes ? 2 * (1 + below(25)) : 1 + below(50);
        if (last && outputs_of_last != ANY_OUTPUTS) outputs = outputs_of_last == ONE_OUTPUT ? 1 : inputs;
        const bool linear = codes || (last && linear_last);
        const lpb_activation act = linear ? LPB_IDENTITY : (lpb_activation)below(LPB_ACTIVATIONS);
        float *weight = numbers(width * outputs);
        for (int64_t i = 0; i < width * outputs; i++) weight[i] /= sqrtf((float)width);
        n.layers[l] = (lpb_layer){width, outputs, weight, numbers(outputs), act, 0.25f};
        width = codes ? outputs / 2 : outputs;
    }
    return n;
}

/* Numbers of noise per row. */
static int64_t latent_of(const net *n) { return n->sampling.layer < 0 ? 0 : n->layers[n->sampling.layer].outputs / 2; }

static void free_net(const net *n) {
    for (int64_t l = 0; l < n->count; l++) free((void *)n->layers[l].weight), free((void *)n->layers[l].bias);
}

/* What every layer reads for one row, in `h`, and its outputs, which that is but for codes, in `out`; the last outputs.
 */
static const double *propagate(const net *n, const float *x, const float *noise, double h[5][64], double out[5][64]) {
    for (int64_t i = 0; i < n->layers[0].inputs; i++) h[0][i] = x[i];
    for (int64_t l = 0; l < n->count; l++) {
        const lpb_layer *k = n->layers + l;
        const int64_t latent = k->outputs / 2;
        for (int64_t j = 0; j < k->outputs; j++) {
            double sum = k->bias[j];
            for (int64_t i = 0; i < k->inputs; i++) sum += k->weight[j * k->inputs + i] * h[l][i];
            h[l + 1][j] = out[l][j] = activated(sum, k->activation, k->slope);
        }
        for (int64_t j = 0; l == n->sampling.layer && j < latent; j++)
            h[l + 1][j] = out[l][j] + exp(out[l][latent + j] / 2) * noise[j];
    }
    return out[n->count - 1];
}

static void check_chain(const lpb_isa *isa, lpb_dtype dtype) {
    const lpb_head head = (lpb_head)below(3);
    const net n = new_net(head == LPB_HEAD_LOGIT ? ONE_OUTPUT
                          : head == LPB_HEAD_MSE ? AS_MANY_AS_INPUTS
                                                 : ANY_OUTPUTS,
                          false, false);
    const int64_t rows = below(3) ? below(20) : below(200), inputs = n.layers[0].inputs, x_row = inputs + below(3);
    const int64_t outputs = head == LPB_HEAD_NONE ? n.layers[n.count - 1].outputs : 1;
    float *x = numbers(rows * x_row), *out = block((size_t)(rows * outputs) * sizeof *out);
    lpb_chain *chain = lpb_chain_new(isa, n.layers, n.count, head, dtype);
    if (!chain || lpb_chain_run(chain, x, rows, x_row, out, 1 + (int)below(2)) != LPB_OK)
        fail(isa, "chain status", 1, 0);
    for (int64_t r = 0; r < rows; r++) {
        double h[5][64], out_of[5][64];
        const double *y = propagate(&n, x + r * x_row, NULL, h, out_of);
        double error = 0;
        for (int64_t i = 0; head == LPB_HEAD_MSE && i < inputs; i++)
            error += (y[i] - h[0][i]) * (y[i] - h[0][i]) / (double)inputs;
        for (int64_t j = 0; j < outputs; j++) {
            const double expected = head == LPB_HEAD_MSE ? error : y[j];
            if (!(fabs(out[r * outputs + j] - expected) <= (dtype == LPB_FLOAT32 ? 3e-6 : 0.3)))
                fail(isa, "chain", out[r * outputs + j], expected);
        }
    }
    lpb_chain_free(chain);
    free(x), free(out), free_net(&n);
}

/* Backpropagation in double precision, one row at a time. */
static void check_trainer(const lpb_isa *isa) {
    const lpb_loss kind = (lpb_loss)below(LPB_LOSSES);
    const bool of_logits = kind == LPB_LOSS_BCE || kind == LPB_LOSS_BERNOULLI;
    const net n = new_net(kind == LPB_LOSS_BCE ? ONE_OUTPUT : AS_MANY_AS_INPUTS, of_logits, below(2));
    const int64_t rows = 1 + below(70), inputs = n.layers[0].inputs, latent = latent_of(&n);
    const lpb_sampling *sampling = latent ? &n.sampling : NULL;
    /* sums over features, and divergences over codes, are that much larger than the means, and their rounding with them
     */
    const double size = kind == LPB_LOSS_BCE || kind == LPB_LOSS_MSE ? 1.0 + (double)latent : (double)(inputs + latent);
    float *x = numbers(rows * inputs), *noise = numbers(rows * latent), *y = block((size_t)rows * sizeof *y), loss[2];
    for (int64_t r = 0; r < rows; r++) y[r] = (float)below(2);
    float *weights[4], *biases[4];
    double *exact[4], total = 0, divergence = 0, squares = 0;
    for (int64_t l = 0; l < n.count; l++) {
        const lpb_layer *k = n.layers + l;
        weights[l] = block((size_t)(k->inputs * k->outputs) * sizeof(float));
        biases[l] = block((size_t)k->outputs * sizeof(float));
        exact[l] = calloc((size_t)((k->inputs + 1) * k->outputs), sizeof(double));
    }
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, below(2) ? 0.1 : 0.0};
    lpb_trainer *trainer = lpb_trainer_new(isa, n.layers, n.count, kind, sampling, &adam);
    if (!trainer || lpb_trainer_gradients(trainer, x, inputs, y, noise, rows, loss, weights, biases) != LPB_OK)
        fail(isa, "trainer status", 1, 0);
    for (int64_t r = 0; r < rows; r++) {
        double h[5][64], outs[5][64], g[64], below_g[64];
        const float *drawn = noise + r * latent;
        const double *out = propagate(&n, x + r * inputs, drawn, h, outs);
        const double share = 1.0 / (double)(kind == LPB_LOSS_MSE ? rows * inputs : rows);
        for (int64_t i = 0; i < n.layers[n.count - 1].outputs; i++) {
            const double target = kind == LPB_LOSS_BCE ? y[r] : h[0][i];
            if (of_logits) {
                total += share * (fmax(out[i], 0) - out[i] * target + log1p(exp(-fabs(out[i]))));
                g[i] = share * (1 / (1 + exp(-out[i])) - target);
            } else {
                total += share * (out[i] - target) * (out[i] - target);
                g[i] = share * 2 * (out[i] - target);
            }
        }
        for (int64_t l = n.count - 1; l >= 0; l--) {
            const lpb_layer *k = n.layers + l;
            memset(below_g, 0, sizeof below_g);
            const double weight = n.sampling.weight / (double)rows;
            for (int64_t j = 0; l == n.sampling.layer && j < latent; j++) {
                const double mean = outs[l][j], log_variance = outs[l][latent + j], variance = exp(log_variance);
                divergence += (mean * mean + variance - log_variance - 1) / 2 * weight;
                g[latent + j] = g[j] * drawn[j] * sqrt(variance) / 2 + (variance - 1) / 2 * weight;
                g[j] += mean * weight;
            }
            for (int64_t j = 0; j < k->outputs; j++) {
                const double v = outs[l][j];
                if (k->activation == LPB_RELU && v <= 0) g[j] = 0;
                if (k->activation == LPB_LEAKY_RELU && v <= 0) g[j] *= k->slope;
                if (k->activation == LPB_TANH) g[j] *= 1 - v * v;
                if (k->activation == LPB_SIGMOID) g[j] *= v * (1 - v);
                for (int64_t i = 0; i < k->inputs; i++) {
                    exact[l][j * k->inputs + i] += g[j] * h[l][i];
                    below_g[i] += g[j] * k->weight[j * k->inputs + i];
                }
                exact[l][k->outputs * k->inputs + j] += g[j];
            }
            memcpy(g, below_g, sizeof g);
        }
    }
    if (!(fabs(loss[0] - total - divergence) <= 1e-5 * (1 + total + divergence)))
        fail(isa, "loss", loss[0], total + divergence);
    for (int64_t l = 0; l < n.count; l++) {
        const int64_t count = n.layers[l].inputs * n.layers[l].outputs;
        for (int64_t i = 0; i < count + n.layers[l].outputs; i++) squares += exact[l][i] * exact[l][i];
        for (int64_t i = 0; i < count; i++)
            if (!(fabs(weights[l][i] - exact[l][i]) <= 2e-6 * size))
                fail(isa, "weight gradient", weights[l][i], exact[l][i]);
        for (int64_t j = 0; j < n.layers[l].outputs; j++)
            if (!(fabs(biases[l][j] - exact[l][count + j]) <= 4e-6 * size))
                fail(isa, "bias gradient", biases[l][j], exact[l][count + j]);
    }
    /* Adam's first step goes by the learning rate against the sign of every gradient that is not tiny, when clipped too
     */
    const double clipped = adam.max_grad_norm > 0 ? fmin(1, adam.max_grad_norm / sqrt(squares)) : 1;
    int64_t order[70];
    for (int64_t r = 0; r < rows; r++) order[r] = rows - 1 - r;
    float *noise_in_order = block((size_t)(rows * latent) * sizeof(float));
    for (int64_t r = 0; r < rows; r++)
        memcpy(noise_in_order + r * latent, noise + order[r] * latent, (size_t)latent * sizeof(float));
    if (lpb_trainer_epoch(trainer, x, inputs, y, order, noise_in_order, rows, 100, loss) != LPB_OK)
        fail(isa, "epoch status", 1, 0);
    if (!(fabs(loss[0] - total - divergence) <= 1e-5 * (1 + total + divergence)))
        fail(isa, "epoch loss", loss[0], total + divergence);
    if (latent && !(fabs(loss[1] - total) <= 1e-5 * (1 + total))) fail(isa, "loss without divergence", loss[1], total);
    lpb_trainer_read(trainer, weights, biases);
    for (int64_t l = 0; l < n.count; l++)
        for (int64_t i = 0; i < n.layers[l].inputs * n.layers[l].outputs; i++) {
            const double step = exact[l][i] > 0 ? -1e-3 : 1e-3, expected = n.layers[l].weight[i] + step;
            if (fabs(exact[l][i]) > 1e-3 && fabs(exact[l][i]) * clipped > 2e-5 &&
                !(fabs(weights[l][i] - expected) <= 2e-6))
                fail(isa, "weight after a step", weights[l][i], expected);
        }
    /* batches of other sizes, for the sanitizers */
    float losses[20];
    if (lpb_trainer_epoch(trainer, x, inputs, y, order, noise, rows, 8, losses) != LPB_OK)
        fail(isa, "epoch status", 1, 0);
    for (int64_t l = 0; l < n.count; l++) free(weights[l]), free(biases[l]), free(exact[l]);
    lpb_trainer_free(trainer);
    free(x), free(y), free(noise), free(noise_in_order), free_net(&n);
}

#include "plan_check.h"
#include "stream_check.h"
#include "transformer_check.h"
#include "search_check.h"
#include "tape_check.h"
#include "rounded_check.h"
#include "former_check.h"
#include "classifier_check.h"

static int check(int64_t cases) {
    const lpb_isa *isa;
    for (int i = 0; (isa = lpb_isa_at(i)); i++) {
        if (!lpb_isa_supported(isa)) continue;
        int types = 0;
        for (int dtype = 0; dtype < LPB_DTYPES; dtype++) {
            if (!lpb_isa_kernel(isa, (lpb_dtype)dtype)) continue;
            types++;
            for (int64_t c = 0; c < cases; c++) check_product(isa, (lpb_dtype)dtype);
            for (int64_t c = 0; c < cases / 4; c++) check_chain(isa, (lpb_dtype)dtype);
            for (int64_t c = 0; c < (dtype ? cases / 8 : 2 * cases); c++) check_plan(isa, (lpb_dtype)dtype);
        }
        for (int64_t c = 0; c < cases / 4; c++) check_trainer(isa);
        for (int64_t c = 0; c < cases / 4; c++) check_transformer(isa);
        for (int64_t c = 0; c < cases / 4; c++) check_search(isa);
        for (int64_t c = 0; c < cases; c++) check_tape(isa);
        for (int64_t c = 0; c < cases; c++) check_rounded_product(isa);
        for (int64_t c = 0; c < cases / 8; c++) check_former(isa);
        for (int64_t c = 0; c < cases / 4; c++) check_classifier(isa);
        hold_rounded(isa);
        for (int64_t c = 0; c < cases / 4; c++) check_stream(isa);
        const uint64_t before = state;
        for (int64_t c = 0; c < cases / 4; c++) check_pairs(isa);
        state = before; /* so that what tables after this one are given is what it was */
        if (!(lpb_peak_ops(isa, LPB_FLOAT32, 1e-3) > 0)) fail(isa, "peak", 0, 1);
        printf("%s: right in %d types\n", lpb_isa_name(isa), types);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "isa")) return puts(lpb_isa_name(lpb_isa_best())) < 0;
    return check(argc > 1 ? atoll(argv[1]) : 200);
}
