/* The square |x - v|^2 = |x|^2 + |v|^2 - 2 x.v by one product with the sample says which neighbours cannot be among the
 * k nearest; the others are compared by their differences, which keep the digits of a small distance.
 *
 * With u = 2^-24, d features, x and v centred on the sample's mean, rounding changes the expanded square by less than
 * (4 d + 32) u (|x|^2 + |v|^2): a partial sum is at most |v|^2 + 2 sum |x v| <= 2 |v|^2 + |x|^2, and each of d products
 * and sums rounds that once; centring and the two squares are in the rest. Both squares are lowered by that share, so
 * that nothing nearer is left out. The square of differences that they are compared with is raised by as much for its
 * own rounding. */
#define _POSIX_C_SOURCE 200809L
#include "neighbours.h"

#include <math.h>

#include "memory.h"

enum { CHUNK = 256 }; /* neighbours whose products with a block of rows stay in the second-level cache */

struct lpb_neighbours {
    const lpb_isa *isa;
    int64_t count, features, row, k; /* row: floats from one row of the sample to the next */
    float slack;                     /* the share above */
    float *sample;
    float *centre;
    float *weight; /* by chunks, each features x CHUNK: -2 v, centred */
    float *bias;   /* |v|^2 lowered; infinite where a chunk has no neighbour */
};

void lpb_neighbours_free(lpb_neighbours *n) {
    if (!n) return;
    free(n->sample);
    free(n->centre);
    free(n->weight);
    free(n->bias);
    free(n);
}

static int64_t chunks(const lpb_neighbours *n) { return (n->count + CHUNK - 1) / CHUNK; }

lpb_neighbours *lpb_neighbours_new(const lpb_isa *isa, const float *sample, int64_t count, int64_t features,
                                   int64_t k) {
    lpb_neighbours *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    *n = (lpb_neighbours){.isa = isa, .count = count, .features = features, .k = k};
    n->row = lpb_round_up(features, LPB_ALIGN);
    n->slack = (float)(4 * features + 32) / 16777216.0f;
    n->sample = lpb_new_zeros(count * n->row);
    n->centre = lpb_new_zeros(n->row);
    n->weight = lpb_new_zeros(chunks(n) * features * CHUNK);
    n->bias = lpb_new_zeros(chunks(n) * CHUNK);
    if (!n->sample || !n->centre || !n->weight || !n->bias) {
        lpb_neighbours_free(n);
        return NULL;
    }
    for (int64_t i = 0; i < features; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < count; j++) sum += (double)sample[j * features + i];
        const float mean = (float)(sum / (double)count);
        n->centre[i] = mean - mean == 0.0f ? mean : 0.0f; /* not of a sample that is not finite */
    }
    for (int64_t j = 0; j < chunks(n) * CHUNK; j++) {
        if (j >= count) {
            n->bias[j] = INFINITY;
            continue;
        }
        double square = 0.0;
        for (int64_t i = 0; i < features; i++) {
            const float v = sample[j * features + i], centred = v - n->centre[i];
            n->sample[j * n->row + i] = v;
            n->weight[(j / CHUNK * features + i) * CHUNK + j % CHUNK] = -2.0f * centred;
            square += (double)centred * (double)centred;
        }
        n->bias[j] = (float)(square * (1.0 - (double)n->slack));
    }
    return n;
}

/* The product of a chunk with a block of rows: CHUNK x ld. */
static lpb_gemm chunk_product(const lpb_neighbours *n, int64_t chunk, const float *h, int64_t ld, float *out) {
    return (lpb_gemm){
        .batch = 1,
        .m = CHUNK,
        .n = ld,
        .k = n->features,
        .a = n->weight ? n->weight + chunk * n->features * CHUNK : NULL,
        .a_row = 1,
        .a_col = CHUNK,
        .b = h,
        .b_row = ld,
        .b_col = 1,
        .c = out,
        .c_row = ld,
        .alpha = 1.0f,
        .bias = n->bias + chunk * CHUNK,
        .bias_axis = LPB_ROW_BIAS,
    };
}

int64_t lpb_neighbours_scratch(const lpb_neighbours *n) {
    const lpb_gemm product = chunk_product(n, 0, NULL, LPB_BLOCK_ROWS, NULL);
    const int64_t floats = (n->features + n->row + CHUNK + n->k) * LPB_BLOCK_ROWS;
    return floats * (int64_t)sizeof(float) + n->isa->f32.scratch(&product);
}

/* What is known of a row: its k smallest squares so far in ascending order, and what an expanded square must not
 * exceed to be looked at. */
typedef struct {
    const float *x;
    float *squares;
    float lowered; /* |x|^2 */
} candidate_row;

static float limit_of(const lpb_neighbours *n, const candidate_row *row) {
    const float worst = row->squares[n->k - 1];
    return worst > 0.0f ? worst * (1.0f + n->slack) - row->lowered : -INFINITY;
}

static void insert(const lpb_neighbours *n, const candidate_row *row, float square) {
    int64_t at = n->k - 1;
    if (!(square < row->squares[at])) return;
    for (; at > 0 && row->squares[at - 1] > square; at--) row->squares[at] = row->squares[at - 1];
    row->squares[at] = square;
}

/* Compares neighbour j; the new limit. */
static float compare(const lpb_neighbours *n, const candidate_row *row, int64_t j) {
    insert(n, row, n->isa->squared_distance(row->x, n->sample + j * n->row, n->features));
    return limit_of(n, row);
}

/* Compares the products `squares` of neighbours [first, first + count) with rows [r, r + rows), `ld` apart. */
static void compare_all(const lpb_neighbours *n, const candidate_row *row, float *limits, const float *squares,
                        int64_t first, int64_t count, int64_t rows, int64_t ld) {
    for (int64_t j = 0; j < count; j++)
        for (int64_t r = 0; r < rows; r++)
            if (!(squares[j * ld + r] > limits[r])) limits[r] = compare(n, row + r, first + j);
}

/* Whether any of the expanded squares is not above its limit; NaN is not. `step` 0: one limit for all. */
static inline bool any_below(const float *squares, const float *limits, const int64_t step, int64_t count) {
    int32_t any = 0;
    for (int64_t r = 0; r < count; r++) any |= !(squares[r] > limits[r * step]);
    return any;
}

/* The distance when its square is beyond the format: squares of the 2^-80th. */
static float far_distance(const lpb_neighbours *n, const candidate_row *row) {
    for (int64_t q = 0; q < n->k; q++) row->squares[q] = INFINITY;
    for (int64_t j = 0; j < n->count; j++) {
        double square = 0.0;
        for (int64_t i = 0; i < n->features; i++) {
            const double difference = 0x1p-80 * ((double)row->x[i] - (double)n->sample[j * n->row + i]);
            square += difference * difference;
        }
        insert(n, row, (float)square);
    }
    return (float)(0x1p80 * sqrt((double)row->squares[n->k - 1]));
}

void lpb_neighbours_distances(const lpb_neighbours *n, const float *x, int64_t rows, int64_t x_row, float *distances,
                              void *scratch) {
    const lpb_isa *isa = n->isa;
    const int64_t ld = rows == 1 ? 1 : lpb_round_up(rows, LPB_ALIGN);
    float *centred = scratch, *h = centred + n->row * LPB_BLOCK_ROWS, *product = h + n->features * LPB_BLOCK_ROWS;
    float *squares = product + CHUNK * LPB_BLOCK_ROWS, *rest = squares + n->k * LPB_BLOCK_ROWS;
    float limits[LPB_BLOCK_ROWS];
    candidate_row row[LPB_BLOCK_ROWS];
    for (int64_t r = 0; r < rows; r++) {
        double square = 0.0;
        for (int64_t i = 0; i < n->features; i++) {
            const float difference = x[r * x_row + i] - n->centre[i];
            centred[r * n->row + i] = difference;
            square += (double)difference * (double)difference;
        }
        row[r] = (candidate_row){x + r * x_row, squares + r * n->k, (float)(square * (1.0 - (double)n->slack))};
        for (int64_t q = 0; q < n->k; q++) row[r].squares[q] = INFINITY;
        limits[r] = INFINITY;
    }
    for (int64_t r = rows; r < ld; r++) limits[r] = -INFINITY;
    if (ld > 1) {
        if (rows < ld) memset(h, 0, (size_t)(n->features * ld) * sizeof *h);
        isa->transpose(centred, n->row, rows, n->features, h, ld);
    }
    for (int64_t chunk = 0; chunk < chunks(n); chunk++) {
        if (ld == 1) {
            isa->reals->gemv(n->features, CHUNK, centred, n->weight + chunk * n->features * CHUNK,
                             n->bias + chunk * CHUNK, LPB_IDENTITY, 0.0f, product);
        } else {
            const lpb_gemm g = chunk_product(n, chunk, h, ld, product);
            isa->f32.gemm(&g, 0, 1, rest);
        }
        const int64_t left = n->count - chunk * CHUNK, here = left < CHUNK ? left : CHUNK;
        const int64_t first = chunk * CHUNK, group = ld == 1 ? LPB_ALIGN : 1;
        for (int64_t j = 0; j < here; j += group) {
            const int64_t count = here - j < group ? here - j : group;
            const float *part = product + j * ld;
            if (ld == 1 ? any_below(part, limits, 0, LPB_ALIGN) : any_below(part, limits, 1, ld))
                compare_all(n, row, limits, part, first + j, count, rows, ld);
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        const float worst = row[r].squares[n->k - 1];
        distances[r] = row[r].lowered != row[r].lowered ? NAN
                       : worst == INFINITY              ? far_distance(n, row + r)
                                                        : sqrtf(worst);
    }
}
