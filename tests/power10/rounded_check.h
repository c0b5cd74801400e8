/* Gradients of trainings whose products are of operands rounded to bfloat16. Included by kernel_check.c. */
static const lpb_isa *portable_isa(void) {
    int last = 0;
    while (lpb_isa_at(last + 1)) last++;
    return lpb_isa_at(last);
}

/* Of a table they are those of the portable one, but for a sum that rounds to its other neighbour, 2^-8 off; of those
 * in floats they are off by a quarter at most. `floats` is NULL for a net that normalises over its few rows, which
 * magnifies roundings without a bound that is known here. Tests in Python hold all to autograd's. */
static void compare_rounded(const lpb_isa *isa, const char *what, const float *rounded, const float *portable,
                            const float *floats, int64_t count) {
    double apart = 0, off = 0, whole = 0;
    for (int64_t i = 0; i < count; i++) {
        apart += pow((double)rounded[i] - (double)portable[i], 2);
        off += floats ? pow((double)rounded[i] - (double)floats[i], 2) : 0;
        whole += pow((double)portable[i], 2);
    }
    if (!(sqrt(apart) <= 0x1p-8 * sqrt(whole))) fail(isa, what, sqrt(apart), 0x1p-8 * sqrt(whole));
    if (!(sqrt(off) <= 0.25 * sqrt(whole))) fail(isa, what, sqrt(off), 0.25 * sqrt(whole));
}
