/* Gradients of trainings whose products are of operands rounded to bfloat16. Included by kernel_check.c. */
static const lpb_isa *portable_isa(void) {
    int last = 0;
    while (lpb_isa_at(last + 1)) last++;
    return lpb_isa_at(last);
}

/* Of a table they are those of the portable one, but for a sum that rounds to its other neighbour, 2^-8 off; of all but
 * a net and a sixteenth of the nets they are off by a quarter at most of those in floats: in few nets, of 100 at most
 * one was seen, a rectified unit near zero turns by a rounding. `floats` is NULL for a net that normalises over its few
 * rows, which magnifies roundings without a bound that is known here. Tests in Python hold all to autograd's. */
static int64_t nets, nets_off; /* of a table */

static void compare_rounded(const lpb_isa *isa, const char *what, const float *rounded, const float *portable,
                            const float *floats, int64_t count) {
    double apart = 0, whole = 0, off = 0;
    for (int64_t i = 0; i < count; i++) {
        apart += pow((double)rounded[i] - (double)portable[i], 2);
        off += floats ? pow((double)rounded[i] - (double)floats[i], 2) : 0;
        whole += pow((double)portable[i], 2);
    }
    if (!(sqrt(apart) <= 0x1p-8 * sqrt(whole))) fail(isa, what, sqrt(apart), 0x1p-8 * sqrt(whole));
    nets += floats != NULL;
    nets_off += !(sqrt(off) <= 0.25 * sqrt(whole));
}

static void hold_rounded(const lpb_isa *isa) {
    if (nets_off > 1 + nets / 16)
        fail(isa, "rounded gradients of so many nets", (double)nets_off, 1.0 + (double)nets / 16);
    nets = nets_off = 0;
}

/* Products of floats that are rounded as they are packed are those of floats rounded before, bit by bit, whether B is
 * packed before or not; rows of A may overlap. */
static void check_rounded_product(const lpb_isa *isa) {
    const lpb_kernel *kernel = lpb_kernel_of(isa, LPB_BFLOAT16);
    if (!kernel || !kernel->round_gemm) return;
    const int64_t m = 2 + below(40), n = 1 + below(70), k = 1 + below(70), b_row = n + below(5);
    const bool by_columns = below(2);
    const int64_t rows = by_columns ? k : m, columns = by_columns ? m : k;
    const int64_t a_row = by_columns || below(2) ? columns + below(5) : 1 + below(columns);
    float *a = numbers((rows - 1) * a_row + columns), *b = numbers((k - 1) * b_row + n), *bias = numbers(n);
    uint16_t *low_a = block((size_t)(2 * rows * columns)), *low_b = block((size_t)(2 * k * n));
    float *c[3] = {numbers(m * n), block((size_t)(4 * m * n)), block((size_t)(4 * m * n))};
    for (int i = 1; i < 3; i++) memcpy(c[i], c[0], (size_t)(4 * m * n));
    for (int64_t r = 0; r < rows; r++) isa->round_rows(a + r * a_row, columns, 1, columns, low_a + r * columns);
    for (int64_t r = 0; r < k; r++) isa->round_rows(b + r * b_row, n, 1, n, low_b + r * n);
    lpb_gemm low = {.batch = 1, .m = m, .n = n, .k = k, .b_row = n, .b_col = 1, .c_row = n, .alpha = 1};
    low.beta = (float)below(2), low.bias = below(2) ? bias : NULL;
    low.bias_axis = low.bias ? LPB_COLUMN_BIAS : LPB_NO_BIAS;
    low.a = low_a, low.b = low_b, low.c = c[0];
    low.a_row = by_columns ? 1 : columns, low.a_col = by_columns ? columns : 1;
    lpb_gemm whole = low;
    whole.a = a, whole.b = b, whole.b_row = b_row;
    *(by_columns ? &whole.a_col : &whole.a_row) = a_row;
    void *scratch = aligned_alloc(64, (size_t)lpb_round_up(kernel->scratch(&low), 64));
    void *packed = aligned_alloc(64, (size_t)lpb_round_up(kernel->packed_bytes(&low), 64));
    kernel->gemm(&low, 0, 1, scratch);
    whole.c = c[1];
    kernel->round_gemm(&whole, scratch);
    kernel->round_pack(&whole, packed);
    whole.c = c[2], whole.b = NULL, whole.b_packed = packed;
    kernel->round_gemm(&whole, scratch);
    for (int64_t i = 0; i < m * n; i++)
        for (int q = 1; q < 3; q++)
            if (c[q][i] != c[0][i]) fail(isa, "product of floats rounded on the way", c[q][i], c[0][i]);
    free(a), free(b), free(bias), free(low_a), free(low_b), free(scratch), free(packed);
    for (int i = 0; i < 3; i++) free(c[i]);
}
