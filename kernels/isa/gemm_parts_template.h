/* Packing a B whose rows are not contiguous. Included after elementwise_template.h. */

/* out (k x n, row length ld, a multiple of LPB_ALIGN) = the item's B, whose rows are not contiguous. */
static void T(pack_b)(const lpb_gemm *g, const float *b, float *out, int64_t ld) {
    if (g->b_row == 1) {
        T(transpose)(b, g->b_col, g->n, g->k, out, ld);
        return;
    }
    for (int64_t p = 0; p < g->k; p++)
        for (int64_t j = 0; j < g->n; j++) out[p * ld + j] = b[p * g->b_row + j * g->b_col];
}
