/* Probes of the roof: arithmetic in registers, streaming bandwidth, load latency. Each keeps its best repetition,
 * because a roof is what the machine can do, and everything that disturbs a probe only lowers it. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "isa/isa.h"

enum { CHASE_LINE = 128 }; /* bytes between pointers: the longest cache line of the processors at hand */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double lpb_peak_ops(const lpb_isa *isa, lpb_dtype dtype, double seconds) {
    const lpb_kernel *kernel = lpb_kernel_of(isa, dtype);
    if (!kernel) return 0.0;
    int64_t rounds = 1000;
    double best = 0.0;
    /* samples of about a millisecond: short enough to fall between interruptions, long enough for the clock */
    const double end = now() + seconds;
    do {
        const double start = now();
        const double operations = kernel->peak(rounds);
        const double elapsed = now() - start;
        if (elapsed < 5e-4)
            rounds *= 2;
        else if (operations / elapsed > best)
            best = operations / elapsed;
    } while (best == 0.0 || now() < end); /* a processor that was away for all of `seconds` still gives a sample */
    return best;
}

double lpb_clock_hz(const lpb_isa *isa, lpb_dtype dtype, double seconds) {
#ifdef __x86_64__
    enum { ADDITIONS = 1 << 18, UNROLLED = 16 };
    const lpb_kernel *kernel = lpb_kernel_of(isa, dtype);
    if (!kernel) return 0.0;
    double best = 0.0;
    uint64_t sum = 1, step = 3;
    const double end = now() + seconds;
    do {
        kernel->peak(1000); /* wide instructions lower the clock of some processors for a while */
        const double start = now();
        for (int i = 0; i < ADDITIONS / UNROLLED; i++)
            __asm__ volatile(".rept %c2\n\tadd %1, %0\n\t.endr" : "+r"(sum) : "r"(step), "i"(UNROLLED));
        const double elapsed = now() - start;
        if (elapsed > 0.0 && ADDITIONS / elapsed > best) best = ADDITIONS / elapsed;
    } while (now() < end);
    return best;
#else
    (void)isa, (void)dtype, (void)seconds;
    return 0.0; /* the kernel's figure is that of the clock */
#endif
}

double lpb_triad_bandwidth(float *restrict a, const float *restrict b, const float *restrict c, int64_t bytes,
                           double seconds) {
    const int64_t count = bytes / (int64_t)sizeof(float);
    double best = 0.0;
    for (const double end = now() + seconds;;) {
        const double start = now();
        for (int64_t i = 0; i < count; i++) a[i] = b[i] + 3.0f * c[i];
        const double elapsed = now() - start;
        if (elapsed > 0.0 && 3.0 * (double)bytes / elapsed > best) best = 3.0 * (double)bytes / elapsed;
        if (now() >= end) return best;
    }
}

double lpb_read_bandwidth(const float *a, int64_t bytes, double seconds) {
    const int64_t count = bytes / (int64_t)sizeof(float) / 64 * 64;
    double best = 0.0;
    for (const double end = now() + seconds;;) {
        float sums[64] = {0.0f};
        const double start = now();
        for (int64_t i = 0; i < count; i += 64)
            for (int j = 0; j < 64; j++) sums[j] += a[i + j];
        const double elapsed = now() - start;
        float sum = 0.0f;
        for (int j = 0; j < 64; j++) sum += sums[j];
        volatile float kept = sum;
        (void)kept;
        if (elapsed > 0.0 && (double)(count * 4) / elapsed > best) best = (double)(count * 4) / elapsed;
        if (now() >= end) return best;
    }
}

/* float-aligned memory is enough: the allocator gives 16 bytes */
#define NEXT(base, i) (*(int64_t *)((char *)(base) + (i) * CHASE_LINE))

bool lpb_link_lines(void *memory, int64_t bytes) {
    const int64_t lines = bytes / CHASE_LINE;
    if (lines < 2) return false;
    /* Sattolo's shuffle gives one cycle through all lines, in an order that no prefetcher foresees */
    for (int64_t i = 0; i < lines; i++) NEXT(memory, i) = i;
    uint64_t random = 0x9e3779b97f4a7c15u;
    for (int64_t i = lines - 1; i > 0; i--) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const int64_t j = (int64_t)(random % (uint64_t)i), kept = NEXT(memory, i);
        NEXT(memory, i) = NEXT(memory, j);
        NEXT(memory, j) = kept;
    }
    return true;
}

double lpb_load_latency(const void *memory, int64_t bytes, double seconds) {
    const int64_t loads = 1 << 16;
    const uint64_t lines = (uint64_t)(bytes / CHASE_LINE);
    double best = 0.0;
    int64_t at = 0;
    for (const double end = now() + seconds;;) {
        const double start = now();
        for (int64_t i = 0; i < loads; i++) {
            at = NEXT(memory, at);
            if ((uint64_t)at >= lines) return 0.0; /* foreseen, so no load waits for it */
        }
        const double each = (now() - start) / (double)loads;
        if (best == 0.0 || each < best) best = each;
        volatile int64_t kept = at;
        (void)kept;
        if (now() >= end) return best;
    }
}
