/* Pieces of a product that every table needs: packing a transposed B, finishing what registers cannot hold. Included
 * after elementwise_template.h. */

/* out (k x n, row length ld, a multiple of LPB_ALIGN) = the item's B, whose rows are not contiguous. */
static void T(pack_b)(const lpb_gemm *g, const float *b, float *out, int64_t ld) {
    if (g->b_row == 1) {
        T(transpose)(b, g->b_col, g->n, g->k, out, ld);
        return;
    }
    for (int64_t p = 0; p < g->k; p++)
        for (int64_t j = 0; j < g->n; j++) out[p * ld + j] = b[p * g->b_row + j * g->b_col];
}

/* What a tile leaves undone when it cannot keep it in registers: alpha, and the transcendental activations.
 * `raw` holds A B for `rows` x `columns` of C at `c`, `width` floats per row; biases are those of these rows, columns. */
static void T(finish)(const lpb_gemm *g, const float *raw, int64_t width, char *c, const float *row_bias,
                      const float *column_bias, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++, c += g->c_row * (int64_t)sizeof(float), raw += width) {
        float row[LPB_BLOCK_ROWS] __attribute__((aligned(64))) = {0.0f};
        float *to = (float *)c;
        for (int64_t j = 0; j < columns; j++) row[j] = g->alpha * raw[j];
        if (g->beta != 0.0f)
            for (int64_t j = 0; j < columns; j++) row[j] += g->beta * to[j];
        if (row_bias)
            for (int64_t j = 0; j < columns; j++) row[j] += row_bias[i];
        if (column_bias)
            for (int64_t j = 0; j < columns; j++) row[j] += column_bias[j];
        T(activate)(row, lpb_round_up(columns, VL), g->activation, g->slope);
        memcpy(to, row, (size_t)columns * sizeof(float));
    }
}
