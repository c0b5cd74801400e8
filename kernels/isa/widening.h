/* bfloat16 products by the float kernel of a table, F32_KERNEL: the operands are widened, which is exact. */
static const lpb_kernel T(f32_kernel) = F32_KERNEL;

static void T(bf16)(const lpb_gemm *g, int64_t first, int64_t last, void *scratch) {
    lpb_bf16_by_f32(&T(f32_kernel), g, first, last, scratch);
}

static int64_t T(bf16_scratch)(const lpb_gemm *g) { return lpb_bf16_by_f32_scratch(&T(f32_kernel), g); }

static const lpb_kernel T(bf16_kernel) = {.name = "widened to float",
                                          .gemm = T(bf16),
                                          .scratch = T(bf16_scratch),
                                          .packed_bytes = lpb_bf16_by_f32_packed_bytes,
                                          .pack = lpb_bf16_by_f32_pack,
                                          .peak = T(peak_f32)};
