/* Random bits by number, in any order: Philox 4x64 with ten rounds (Salmon, Moraes, Dror and Shaw, SC 2011). */
#ifndef LPARBENCH_PHILOX_H
#define LPARBENCH_PHILOX_H

#include <stdint.h>

static inline uint64_t lpb_high_product(uint64_t a, uint64_t b, uint64_t *low) {
    const unsigned __int128 product = (unsigned __int128)a * b;
    *low = (uint64_t)product;
    return (uint64_t)(product >> 64);
}

/* The 256 bits of a counter, which is overwritten by them. */
static inline void lpb_philox(uint64_t counter[4], uint64_t key, uint64_t second_key) {
    uint64_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t low_a, low_c;
        const uint64_t high_a = lpb_high_product(0xd2e7470ee14c6c93u, a, &low_a);
        const uint64_t high_c = lpb_high_product(0xca5a826395121157u, c, &low_c);
        a = high_c ^ b ^ key, b = low_c;
        c = high_a ^ d ^ second_key, d = low_a;
        key += 0x9e3779b97f4a7c15u, second_key += 0xbb67ae8584caa73bu;
    }
    counter[0] = a, counter[1] = b, counter[2] = c, counter[3] = d;
}

#endif
