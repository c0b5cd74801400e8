/* Words of several consecutive entries of k, in the order in which all instructions on words take them. Included by a
 * file that has defined what words_template.h or mma_words_template.h asks for. */
static inline int64_t words_of(int64_t k) { return (k + WORD_ENTRIES - 1) / WORD_ENTRIES; }

/* out[WORD_ENTRIES * j + e] = entry j of row e; separate addresses and constant strides vectorise. */
static inline void interleave(const source_entry *restrict b, int64_t b_row, int64_t count, word_entry *restrict out) {
    const source_entry *restrict r0 = b, *restrict r1 = b + b_row;
#if WORD_ENTRIES == 2
    for (int64_t j = 0; j < count; j++) out[2 * j] = B_ENTRY(r0[j]), out[2 * j + 1] = B_ENTRY(r1[j]);
#else
    const source_entry *restrict r2 = r1 + b_row, *restrict r3 = r2 + b_row;
    for (int64_t j = 0; j < count; j++) {
        out[4 * j] = B_ENTRY(r0[j]), out[4 * j + 1] = B_ENTRY(r1[j]);
        out[4 * j + 2] = B_ENTRY(r2[j]), out[4 * j + 3] = B_ENTRY(r3[j]);
    }
#endif
}
