/* What Winograd's F(2, 3) does around its products, see lpb_pair_inputs. Included by
 * elementwise_template.h. */

static void T(pair_inputs)(const lpb_pair_inputs *p) {
    const int64_t channels = p->channels, blocks = lpb_pair_blocks(p->taps);
    for (int64_t j = 0; j < p->pairs; j++) {
        const float *x = p->x + 2 * j * channels;
        float *first = p->out[0] + j * p->row[0], *sum = p->out[1] + j * p->row[1],
              *difference = p->out[2] + j * p->row[2], *last = p->out[3] + j * p->row[3];
        for (int64_t b = 0; b < blocks; b++, x += 4 * channels)
            for (int64_t c = 0; c < channels; c += VL) {
                const vf d0 = V_LOAD(x + c), d1 = V_LOAD(x + channels + c), d2 = V_LOAD(x + 2 * channels + c),
                         d3 = V_LOAD(x + 3 * channels + c);
                const int64_t at = b * channels + c;
                V_STORE(first + at, d0 - d2);
                V_STORE(sum + at, d1 + d2);
                V_STORE(difference + at, d2 - d1);
                V_STORE(last + at, d3 - d1);
            }
        x = p->x + 2 * j * channels;
        int64_t at = blocks * channels;
        for (int64_t t = 0; t < p->taps; t++) {
            if (lpb_in_pair_block(t, blocks)) continue;
            for (int64_t c = 0; c < channels; c += VL) {
                V_STORE(first + at + c, V_LOAD(x + t * channels + c));
                V_STORE(last + at + c, V_LOAD(x + (t + 1) * channels + c));
            }
            at += channels;
        }
    }
}

/* The even and the odd output of a pair. */
static inline __attribute__((always_inline)) vf T(pair_of)(const float *const made[4], int64_t at, vf *odd) {
    const vf sum = V_LOAD(made[1] + at), difference = V_LOAD(made[2] + at);
    *odd = sum - difference + V_LOAD(made[3] + at);
    return V_LOAD(made[0] + at) + sum + difference;
}

static void T(pair_outputs)(const float *const made[4], int64_t positions, int64_t channels, float *out) {
    for (int64_t at = 0; positions > 0; positions -= 2, at += channels, out += 2 * channels)
        for (int64_t c = 0; c < channels; c += VL) {
            vf odd;
            const vf even = T(pair_of)(made, at + c, &odd);
            V_STORE(out + c, V_RELU(even));
            if (positions > 1) V_STORE(out + channels + c, V_RELU(odd));
        }
}

/* The largest of `vectors` vectors of channels, 1 or 2, whose chains overlap. */
static inline __attribute__((always_inline)) void T(largest_pairs)(const float *const made[4], int64_t positions,
                                                                   int64_t channels, int64_t c, float *out,
                                                                   const int vectors) {
    vf even[2] = {V_ZERO, V_ZERO}, odd[2] = {V_ZERO, V_ZERO}, second;
    for (int64_t at = c; positions > 0; positions -= 2, at += channels) {
#pragma GCC unroll 2
        for (int q = 0; q < vectors; q++) {
            even[q] = T(folded)(LPB_MAX, T(pair_of)(made, at + q * VL, &second), even[q]);
            if (positions > 1) odd[q] = T(folded)(LPB_MAX, second, odd[q]);
        }
    }
#pragma GCC unroll 2
    for (int q = 0; q < vectors; q++) V_STORE(out + c + q * VL, T(folded)(LPB_MAX, odd[q], even[q]));
}

static void T(pair_largest)(const float *const made[4], int64_t positions, int64_t channels, float *out) {
    int64_t c = 0;
    for (; c + 2 * VL <= channels; c += 2 * VL) T(largest_pairs)(made, positions, channels, c, out, 2);
    for (; c < channels; c += VL) T(largest_pairs)(made, positions, channels, c, out, 1);
}
