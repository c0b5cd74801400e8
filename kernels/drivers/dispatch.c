/* The instruction sets compiled into this library, best first, and the choice among them. Defining LPB_PORTABLE_ONLY
 * leaves all but one out, for builds that instrument the drivers. */
#include "isa/isa.h"

#if defined(LPB_PORTABLE_ONLY)
#elif defined(__x86_64__)
extern const lpb_isa lpb_isa_avx512, lpb_isa_avx2;
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
extern const lpb_isa lpb_isa_mma_table, lpb_isa_vsx9_table, lpb_isa_vsx8_table;
#endif
extern const lpb_isa lpb_isa_portable;

static const lpb_isa *const table[] = {
#if defined(LPB_PORTABLE_ONLY)
#elif defined(__x86_64__)
    &lpb_isa_avx512,
    &lpb_isa_avx2,
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
    &lpb_isa_mma_table,
    &lpb_isa_vsx9_table,
    &lpb_isa_vsx8_table,
#endif
    &lpb_isa_portable,
};

const lpb_isa *lpb_isa_at(int index) {
    return index >= 0 && (size_t)index < sizeof table / sizeof *table ? table[index] : NULL;
}

bool lpb_isa_supported(const lpb_isa *isa) { return isa->supported(); }

const lpb_isa *lpb_isa_best(void) {
    int index = 0;
    while (!table[index]->supported()) index++;
    return table[index];
}

const char *lpb_isa_name(const lpb_isa *isa) { return isa->name; }

const lpb_kernel *lpb_kernel_of(const lpb_isa *isa, lpb_dtype dtype) {
    if (dtype == LPB_FLOAT32) return &isa->f32;
    for (int i = 0; i < LPB_LOW_KERNELS; i++) {
        const lpb_kernel *kernel = isa->low[dtype][i];
        if (kernel && (!kernel->supported || kernel->supported())) return kernel;
    }
    return NULL;
}

const char *lpb_isa_kernel(const lpb_isa *isa, lpb_dtype dtype) {
    const lpb_kernel *kernel = lpb_kernel_of(isa, dtype);
    return kernel ? kernel->name : NULL;
}
