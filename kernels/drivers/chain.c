/* Inference of a chain of dense layers: blocks of rows go through all layers while they are in cache.
 *
 * Inside a block the data is feature-major: activation j of row r is at [j * LPB_BLOCK_ROWS + r]. A layer is then the
 * product W H with the rows of data along the vectors: no layer width needs padding, the reconstruction error needs no
 * horizontal sums, and each output is the next layer's right-hand operand as it is. The weights are stored as their
 * transpose, row length `ld`, which is at once the contiguous left-hand operand of that product and the right-hand
 * operand of the matrix-vector product that a few rows use instead. */
#define _POSIX_C_SOURCE 200809L
#include "blocks.h"
#include "low_chain.h"
#include "memory.h"

enum {
    GEMV_ROWS = 8,       /* up to so many rows, one matrix-vector product per row and layer is faster */
    STACK_FLOATS = 1024, /* widest layer whose matrix-vector buffers live on the stack */
};

typedef struct {
    int64_t inputs, outputs, ld;
    float *weight; /* inputs x outputs, row length ld: outputs rounded up, or 1 for a single output */
    float *bias;   /* zeros beyond outputs */
    lpb_activation activation;
    float slope;
} packed_layer;

struct lpb_chain {
    lpb_low_chain *low; /* of bfloat16 or int8; then nothing below is used */
    const lpb_isa *isa;
    lpb_head head;
    int64_t count, widest; /* widest: of all outputs, rounded up */
    int64_t scratch;       /* floats that any layer's product needs */
    packed_layer layers[];
};

static void run_row(const lpb_chain *chain, const float *x, float *out, float *buffers) {
    const lpb_isa *isa = chain->isa;
    const float *h = x;
    for (int64_t l = 0; l < chain->count; l++) {
        const packed_layer *layer = chain->layers + l;
        float *to = buffers + (l & 1) * chain->widest;
        if (layer->ld == 1) {
            float y[LPB_ALIGN] __attribute__((aligned(64))) = {0.0f};
            isa->row_dots(h, 1, 0, layer->inputs, layer->weight, layer->bias[0], y);
            isa->reals->activate(y, LPB_ALIGN, layer->activation, layer->slope);
            to[0] = y[0];
        } else {
            isa->reals->gemv(layer->inputs, layer->ld, h, layer->weight, layer->bias, layer->activation, layer->slope,
                             to);
        }
        h = to;
    }
    const int64_t outputs = chain->layers[chain->count - 1].outputs;
    if (chain->head == LPB_HEAD_MSE)
        *out = isa->squared_distance(x, h, outputs) / (float)outputs;
    else
        memcpy(out, h, (size_t)outputs * sizeof(float));
}

/* The product of one layer over a block: `h` is its input, feature-major; the output goes to `to`, feature-major too,
 * or for the last layer of a chain without reconstruction error to `out`, row-major and in its final place. */
static lpb_gemm layer_product(const lpb_chain *chain, const packed_layer *layer, const float *h, int64_t rows,
                              float *to, float *out) {
    const int64_t ld = LPB_BLOCK_ROWS;
    const lpb_gemm common = {
        .batch = 1,
        .k = layer->inputs,
        .b_col = 1,
        .alpha = 1.0f,
        .bias = layer->bias,
        .activation = layer->activation,
        .slope = layer->slope,
    };
    lpb_gemm product = common;
    const bool last = layer == chain->layers + chain->count - 1 && chain->head != LPB_HEAD_MSE;
    if (last && layer->outputs > 1) { /* H^T W^T */
        product.m = rows, product.n = layer->outputs;
        product.a = h, product.a_row = 1, product.a_col = ld;
        product.b = layer->weight, product.b_row = layer->ld;
        product.c = out, product.c_row = layer->outputs;
        product.bias_axis = LPB_COLUMN_BIAS;
    } else { /* W H; one output per row is row-major as it is */
        product.m = layer->outputs, product.n = last ? rows : lpb_round_up(rows, LPB_ALIGN);
        product.a = layer->weight, product.a_row = 1, product.a_col = layer->ld;
        product.b = h, product.b_row = ld;
        product.c = last ? out : to, product.c_row = ld;
        product.bias_axis = LPB_ROW_BIAS;
    }
    return product;
}

void lpb_chain_free(lpb_chain *chain) {
    if (!chain) return;
    lpb_low_chain_free(chain->low);
    for (int64_t l = 0; l < chain->count; l++) {
        free(chain->layers[l].weight);
        free(chain->layers[l].bias);
    }
    free(chain);
}

lpb_chain *lpb_chain_new(const lpb_isa *isa, const lpb_layer *layers, int64_t count, lpb_head head, lpb_dtype dtype) {
    lpb_chain *chain = calloc(1, sizeof *chain + (size_t)count * sizeof *chain->layers);
    if (!chain) return NULL;
    if (dtype != LPB_FLOAT32) {
        chain->low = lpb_low_chain_new(isa, layers, count, head, dtype);
        if (chain->low) return chain;
        free(chain);
        return NULL;
    }
    chain->isa = isa;
    chain->head = head;
    chain->count = count;
    for (int64_t l = 0; l < count; l++) {
        const lpb_layer *from = layers + l;
        packed_layer *to = chain->layers + l;
        const int64_t padded = lpb_round_up(from->outputs, LPB_ALIGN);
        to->inputs = from->inputs;
        to->outputs = from->outputs;
        to->ld = from->outputs == 1 ? 1 : padded;
        to->activation = from->activation;
        to->slope = from->slope;
        to->weight = lpb_new_zeros(lpb_round_up(from->inputs, LPB_ALIGN) * to->ld);
        to->bias = lpb_new_zeros(padded);
        if (!to->weight || !to->bias) {
            lpb_chain_free(chain);
            return NULL;
        }
        for (int64_t j = 0; j < from->outputs; j++)
            for (int64_t i = 0; i < from->inputs; i++) to->weight[i * to->ld + j] = from->weight[j * from->inputs + i];
        if (from->bias) memcpy(to->bias, from->bias, (size_t)from->outputs * sizeof(float));
        if (padded > chain->widest) chain->widest = padded;
    }
    for (int64_t l = 0; l < count; l++) {
        const lpb_gemm product = layer_product(chain, chain->layers + l, NULL, LPB_BLOCK_ROWS, NULL, NULL);
        const int64_t needed = isa->f32.scratch(&product) / (int64_t)sizeof(float);
        if (needed > chain->scratch) chain->scratch = needed;
    }
    return chain;
}

/* `memory` holds the transposed input, two activations and the scratch. */
static lpb_status run_block(const void *argument, const float *x, int64_t rows, int64_t x_row, float *out,
                            void *memory) {
    const lpb_chain *chain = argument;
    const lpb_isa *isa = chain->isa;
    const int64_t ld = LPB_BLOCK_ROWS, padded = lpb_round_up(rows, LPB_ALIGN);
    float *input = memory, *activation[2];
    activation[0] = input + chain->layers[0].inputs * ld;
    activation[1] = activation[0] + chain->widest * ld;
    float *scratch = activation[1] + chain->widest * ld;
    if (rows < padded) memset(input, 0, (size_t)(chain->layers[0].inputs * ld) * sizeof(float));
    isa->transpose(x, x_row, rows, chain->layers[0].inputs, input, ld);
    const float *h = input;
    for (int64_t l = 0; l < chain->count; l++) {
        const lpb_gemm product = layer_product(chain, chain->layers + l, h, rows, activation[l & 1], out);
        isa->f32.gemm(&product, 0, 1, scratch);
        h = activation[l & 1];
    }
    if (chain->head == LPB_HEAD_MSE) {
        float error[LPB_BLOCK_ROWS] __attribute__((aligned(64)));
        isa->mean_square(input, h, chain->layers[0].inputs, ld, padded, error);
        memcpy(out, error, (size_t)rows * sizeof(float));
    }
    return LPB_OK;
}

lpb_status lpb_chain_run(const lpb_chain *chain, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    if (chain->low) return lpb_low_chain_run(chain->low, x, rows, x_row, out, threads);
    const int64_t out_row = chain->head == LPB_HEAD_NONE ? chain->layers[chain->count - 1].outputs : 1;
    if (rows <= GEMV_ROWS) {
        float local[2 * STACK_FLOATS] __attribute__((aligned(64)));
        float *buffers =
            chain->widest <= STACK_FLOATS ? local : lpb_new_memory(2 * chain->widest * (int64_t)sizeof(float));
        if (!buffers) return LPB_NO_MEMORY;
        for (int64_t r = 0; r < rows; r++) run_row(chain, x + r * x_row, out + r * out_row, buffers);
        if (buffers != local) free(buffers);
        return LPB_OK;
    }
    const int64_t floats = (chain->layers[0].inputs + 2 * chain->widest) * LPB_BLOCK_ROWS + chain->scratch;
    const lpb_blocks blocks = {run_block, chain, floats * (int64_t)sizeof(float), x, rows, x_row, out, out_row};
    return lpb_blocks_run(&blocks, threads);
}
