/* Inference of a chain in bfloat16 or int8: activations are floats between the layers, rounded before each product.
 *
 * bfloat16 rounds to nearest even. int8 is symmetric: every output of a layer has the scale of its largest weight,
 * every row of data that of its largest value at this layer, so that no calibration data is needed. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "blocks.h"
#include "low_chain.h"
#include "memory.h"

typedef struct {
    int64_t inputs, outputs, ld; /* ld: outputs rounded up */
    void *packed;                /* the weights as the kernel wants them */
    float *bias, *scales;        /* ld each; scales of int8 only */
    lpb_activation activation;
    float slope;
} low_layer;

struct lpb_low_chain {
    const lpb_isa *isa;
    const lpb_kernel *kernel;
    lpb_dtype dtype;
    lpb_head head;
    int64_t count, widest; /* of all inputs and outputs, rounded up */
    int64_t scratch;       /* bytes that any layer's product needs */
    low_layer layers[];
};

static void round_row(const float *x, int64_t count, uint16_t *out) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
        out[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded); /* NaN stays NaN */
    }
}

/* Whole numbers from -127 to 127 with x about scale * out; the scale, NaN when x is not finite. */
static float quantise(const float *x, int64_t count, int8_t *out) {
    if (count <= 0) return 0.0f;
    int32_t largest = 0; /* bits of magnitudes order as the magnitudes do, and NaN comes last */
    for (int64_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT32_MAX;
        largest = bits > largest ? bits : largest;
    }
    float magnitude;
    memcpy(&magnitude, &largest, sizeof magnitude);
    if (!(magnitude > 1e-35f) || !(magnitude <= 3.4e38f)) {
        memset(out, 0, (size_t)count);
        return magnitude <= 1e-35f ? 0.0f : NAN;
    }
    const float inverse = 127.0f / magnitude;
    for (int64_t i = 0; i < count; i++) {
        const float shifted = x[i] * inverse + 12582912.0f; /* 1.5 * 2^23: the nearest integer is in the low bits */
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        out[i] = (int8_t)bits;
    }
    return magnitude / 127.0f;
}

static lpb_gemm layer_product(const lpb_low_chain *chain, const low_layer *layer, const void *h, int64_t rows,
                              void *to) {
    lpb_gemm product = {
        .batch = 1,
        .m = rows,
        .n = layer->outputs,
        .k = layer->inputs,
        .a = h,
        .a_row = layer->inputs,
        .a_col = 1,
        .b_packed = layer->packed,
        .c = to,
        .c_row = layer->ld,
        .alpha = 1.0f,
    };
    if (chain->dtype == LPB_BFLOAT16 && !chain->kernel->finishes_apart) {
        product.bias = layer->bias, product.bias_axis = LPB_COLUMN_BIAS;
        product.activation = layer->activation, product.slope = layer->slope;
    }
    return product;
}

void lpb_low_chain_free(lpb_low_chain *chain) {
    if (!chain) return;
    for (int64_t l = 0; l < chain->count; l++) {
        free(chain->layers[l].packed);
        free(chain->layers[l].bias);
        free(chain->layers[l].scales);
    }
    free(chain);
}

/* Fills `to` from the layer as it was given; false when memory is short. */
static bool pack_layer(const lpb_low_chain *chain, const lpb_layer *from, low_layer *to) {
    to->inputs = from->inputs, to->outputs = from->outputs;
    to->ld = lpb_round_up(from->outputs, LPB_ALIGN);
    to->activation = from->activation, to->slope = from->slope;
    to->bias = lpb_new_memory(to->ld * (int64_t)sizeof(float));
    to->scales = lpb_new_memory(to->ld * (int64_t)sizeof(float));
    uint16_t *rounded = lpb_new_memory(from->inputs * from->outputs * (int64_t)sizeof *rounded);
    const lpb_gemm weights = {.n = from->outputs, .k = from->inputs, .b = rounded, .b_row = 1, .b_col = from->inputs};
    to->packed = lpb_new_memory(chain->kernel->packed_bytes(&weights));
    const bool enough = to->bias && to->scales && rounded && to->packed;
    if (enough) {
        memset(to->bias, 0, (size_t)to->ld * sizeof(float));
        memset(to->scales, 0, (size_t)to->ld * sizeof(float));
        if (from->bias) memcpy(to->bias, from->bias, (size_t)from->outputs * sizeof(float));
        for (int64_t j = 0; j < from->outputs; j++) {
            const float *row = from->weight + j * from->inputs;
            if (chain->dtype == LPB_BFLOAT16)
                round_row(row, from->inputs, rounded + j * from->inputs);
            else
                to->scales[j] = quantise(row, from->inputs, (int8_t *)rounded + j * from->inputs);
        }
        chain->kernel->pack(&weights, to->packed);
    }
    free(rounded);
    return enough;
}

lpb_low_chain *lpb_low_chain_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_head head,
                                 lpb_dtype dtype) {
    lpb_low_chain *chain = calloc(1, sizeof *chain + (size_t)count * sizeof *chain->layers);
    if (!chain) return NULL;
    chain->isa = isa;
    chain->kernel = lpb_kernel_of(isa, dtype);
    chain->dtype = dtype;
    chain->head = head;
    chain->count = count;
    chain->widest = lpb_round_up(layers[0].inputs, LPB_ALIGN);
    for (int64_t l = 0; l < count; l++) {
        low_layer *layer = chain->layers + l;
        if (!pack_layer(chain, layers + l, layer)) {
            lpb_low_chain_free(chain);
            return NULL;
        }
        const lpb_gemm product = layer_product(chain, layer, NULL, LPB_BLOCK_ROWS, NULL);
        const int64_t needed = chain->kernel->scratch(&product);
        if (needed > chain->scratch) chain->scratch = needed;
        if (layer->ld > chain->widest) chain->widest = layer->ld;
    }
    return chain;
}

/* The buffers of one thread: activations, their products in int8, rounded activations, and the kernel's scratch. */
typedef struct {
    float *h[2];
    int32_t *raw;
    uint16_t *rounded;
    void *scratch;
} buffers;

static int64_t buffer_bytes(const lpb_low_chain *chain) {
    return 4 * chain->widest * LPB_BLOCK_ROWS * (int64_t)sizeof(float) + chain->scratch;
}

static buffers cut(const lpb_low_chain *chain, float *memory) {
    const int64_t floats = chain->widest * LPB_BLOCK_ROWS;
    return (buffers){
        .h = {memory, memory + floats},
        .raw = (int32_t *)(memory + 2 * floats),
        .rounded = (uint16_t *)(memory + 3 * floats),
        .scratch = memory + 4 * floats,
    };
}

/* One layer of int8: quantise the rows, multiply, and scale the sums back. */
static void run_int8(const lpb_low_chain *chain, const low_layer *layer, const float *h, int64_t h_row, int64_t rows,
                     float *to, const buffers *b) {
    float scales[LPB_BLOCK_ROWS];
    int8_t *rounded = (int8_t *)b->rounded;
    for (int64_t r = 0; r < rows; r++) scales[r] = quantise(h + r * h_row, layer->inputs, rounded + r * layer->inputs);
    const lpb_gemm product = layer_product(chain, layer, rounded, rows, b->raw);
    chain->kernel->gemm(&product, 0, 1, b->scratch);
    for (int64_t r = 0; r < rows; r++) {
        const int32_t *raw = b->raw + r * layer->ld;
        float *out = to + r * layer->ld;
        for (int64_t j = 0; j < layer->outputs; j++)
            out[j] = (float)raw[j] * (scales[r] * layer->scales[j]) + layer->bias[j];
        memset(out + layer->outputs, 0, (size_t)(layer->ld - layer->outputs) * sizeof *out);
    }
    chain->isa->reals->activate(to, rows * layer->ld, layer->activation, layer->slope);
}

static void run_bf16(const lpb_low_chain *chain, const low_layer *layer, const float *h, int64_t h_row, int64_t rows,
                     float *to, const buffers *b) {
    for (int64_t r = 0; r < rows; r++) round_row(h + r * h_row, layer->inputs, b->rounded + r * layer->inputs);
    const lpb_gemm product = layer_product(chain, layer, b->rounded, rows, to);
    chain->kernel->gemm(&product, 0, 1, b->scratch);
    if (!chain->kernel->finishes_apart) return;
    const lpb_float_reals *reals = chain->isa->reals;
    for (int64_t r = 0; r < rows; r++)
        memset(to + r * layer->ld + layer->outputs, 0, (size_t)(layer->ld - layer->outputs) * sizeof *to);
    reals->combine(LPB_ADD, to, layer->ld, layer->bias, 0, rows, layer->ld, to);
    reals->activate(to, rows * layer->ld, layer->activation, layer->slope);
}

static lpb_status run_block(const void *argument, const float *x, int64_t rows, int64_t x_row, float *out,
                            void *memory) {
    const lpb_low_chain *chain = argument;
    const buffers b = cut(chain, memory);
    const float *h = x;
    int64_t h_row = x_row;
    for (int64_t l = 0; l < chain->count; l++) {
        const low_layer *layer = chain->layers + l;
        (chain->dtype == LPB_BFLOAT16 ? run_bf16 : run_int8)(chain, layer, h, h_row, rows, b.h[l & 1], &b);
        h = b.h[l & 1];
        h_row = layer->ld;
    }
    const int64_t outputs = chain->layers[chain->count - 1].outputs;
    for (int64_t r = 0; r < rows; r++) {
        if (chain->head == LPB_HEAD_MSE)
            out[r] = chain->isa->squared_distance(x + r * x_row, h + r * h_row, outputs) / (float)outputs;
        else
            memcpy(out + r * outputs, h + r * h_row, (size_t)outputs * sizeof *out);
    }
    return LPB_OK;
}

lpb_status lpb_low_chain_run(const lpb_low_chain *chain, const float *x, int64_t rows, int64_t x_row, float *out,
                             int threads) {
    const int64_t out_row = chain->head == LPB_HEAD_NONE ? chain->layers[chain->count - 1].outputs : 1;
    const lpb_blocks blocks = {run_block, chain, buffer_bytes(chain), x, rows, x_row, out, out_row};
    return lpb_blocks_run(&blocks, threads);
}
