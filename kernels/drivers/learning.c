/* Products, steps and draws of the trainers of whole nets. */
#define _POSIX_C_SOURCE 200809L
#include "learning.h"

#include <math.h>

#include "memory.h"
#include "philox.h"

enum { MOST_TERMS = 320 }; /* of a product before its sums are stored: what it reads of B stays in cache */

static bool need_bytes(lpb_room *room, void **memory, int64_t *has, int64_t bytes) {
    if (bytes <= *has) return true;
    free(*memory);
    *memory = lpb_new_memory(bytes);
    *has = *memory ? bytes : 0;
    room->failed |= !*memory;
    return *memory != NULL;
}

static bool need_room(lpb_room *room, int64_t bytes) { return need_bytes(room, &room->memory, &room->bytes, bytes); }

void lpb_free_room(lpb_room *room) {
    free(room->memory);
    free(room->shared);
}

/* Rows as bfloat16, and how far they are apart: those that overlap, as a convolution's do, lie as before. */
static int64_t round_matrix(const lpb_isa *isa, const float *x, int64_t x_row, int64_t rows, int64_t columns,
                            uint16_t *out) {
    const bool overlap = x_row < columns;
    isa->round_rows(x, x_row, overlap ? 1 : rows, overlap ? (rows - 1) * x_row + columns : columns, out);
    return overlap ? x_row : columns;
}

/* The same product of its operands as bfloat16, in the memory. */
static void multiply_rounded(const lpb_isa *isa, const lpb_gemm *g, lpb_room *room) {
    if (room->rounded->round_gemm) {
        if (need_room(room, room->rounded->scratch(g))) room->rounded->round_gemm(g, room->memory);
        return;
    }
    const bool by_rows = g->a_col == 1;
    const int64_t of_a = lpb_round_up(g->m * g->k, 2 * LPB_ALIGN), of_b = lpb_round_up(g->k * g->n, 2 * LPB_ALIGN);
    lpb_gemm low = *g;
    if (!need_room(room, (of_a + of_b) * (int64_t)sizeof(uint16_t) + room->rounded->scratch(g))) return;
    uint16_t *a = room->memory, *b = a + of_a;
    if (by_rows)
        low.a_row = round_matrix(isa, g->a, g->a_row, g->m, g->k, a);
    else
        low.a_col = round_matrix(isa, g->a, g->a_col, g->k, g->m, a);
    low.b_row = round_matrix(isa, g->b, g->b_row, g->k, g->n, b);
    low.a = a, low.b = b;
    room->rounded->gemm(&low, 0, 1, b + of_b);
}

/* How many terms of a product are summed at once. */
static int64_t terms_of(int64_t k, bool rounded) {
    const int64_t most = rounded ? 2 * MOST_TERMS : MOST_TERMS; /* of half the bytes */
    const int64_t pieces = (k + most - 1) / most;
    return (k + pieces - 1) / pieces;
}

/* Rows [from, from + k) of b, and the bytes that they are packed in. */
static lpb_gemm rows_at(const lpb_packed *p, const float *b, int64_t b_row, int64_t from) {
    const int64_t terms = terms_of(p->k, true);
    return (lpb_gemm){.k = terms < p->k - from ? terms : p->k - from, .n = p->n, .b = b + from * b_row, .b_row = b_row};
}

static int64_t packed_bytes(const lpb_kernel *rounded, int64_t k, int64_t n) {
    return lpb_round_up(rounded->packed_bytes(&(lpb_gemm){.k = k, .n = n}), LPB_ALIGN * (int64_t)sizeof(float));
}

static int64_t all_bytes(const lpb_kernel *rounded, const lpb_packed *p) {
    const int64_t terms = terms_of(p->k, true);
    return (p->k + terms - 1) / terms * packed_bytes(rounded, terms, p->n);
}

static void fill(const lpb_kernel *rounded, const float *b, int64_t b_row, const lpb_packed *p) {
    const int64_t terms = terms_of(p->k, true), bytes = packed_bytes(rounded, terms, p->n);
    char *to = p->memory;
    for (int64_t from = 0; from < p->k; from += terms, to += bytes) {
        const lpb_gemm rows = rows_at(p, b, b_row, from);
        rounded->round_pack(&rows, to);
    }
}

static bool pack(const lpb_kernel *rounded, const float *b, int64_t b_row, lpb_packed *p) {
    if (!p->memory) p->memory = lpb_new_memory(all_bytes(rounded, p));
    if (p->memory) fill(rounded, b, b_row, p);
    return p->memory != NULL;
}

lpb_packed lpb_share(lpb_room *room, const float *b, int64_t b_row, int64_t k, int64_t n) {
    lpb_packed p = {.k = k, .n = n};
    if (!k || !room->rounded || !room->rounded->round_pack) return p;
    if (!need_bytes(room, &room->shared, &room->shared_bytes, all_bytes(room->rounded, &p))) return p;
    p.memory = room->shared;
    fill(room->rounded, b, b_row, &p);
    return p;
}

static int64_t ranges_of(const lpb_ranges *r) { return r->split ? 1 + (r->outputs - r->split) / r->part : 1; }

bool lpb_pack_ranges(const lpb_kernel *rounded, const float *turned, int64_t turned_row, const float *plain,
                     int64_t plain_row, lpb_ranges *r) {
    if (!rounded || !rounded->round_pack || !r->outputs) return true;
    const int64_t ranges = ranges_of(r);
    if (!r->forward) r->forward = calloc((size_t)ranges, sizeof *r->forward);
    if (!r->back) r->back = calloc((size_t)ranges, sizeof *r->back);
    if (!r->forward || !r->back) return false;
    for (int64_t i = 0, first = 0; i < ranges; i++) {
        const int64_t count = !r->split ? r->outputs : i ? r->part : r->split;
        lpb_packed *forward = r->forward + i, *back = r->back + i;
        forward->k = r->terms, forward->n = count;
        back->k = count - r->gap, back->n = r->columns;
        if (!pack(rounded, turned + first, turned_row, forward)) return false;
        if (r->columns && !pack(rounded, plain + first * plain_row, plain_row, back)) return false;
        first += count;
    }
    return true;
}

const lpb_packed *lpb_range_of(const lpb_ranges *r, const lpb_packed *way, int64_t first, int64_t count) {
    if (!way) return NULL;
    if (!first) return count == (r->split ? r->split : r->outputs) ? way : NULL;
    if (!r->split || first < r->split || (first - r->split) % r->part || count != r->part) return NULL;
    return way + 1 + (first - r->split) / r->part;
}

void lpb_free_ranges(lpb_ranges *r) {
    for (int64_t i = 0; r->forward && i < ranges_of(r); i++) free(r->forward[i].memory);
    for (int64_t i = 0; r->back && i < ranges_of(r); i++) free(r->back[i].memory);
    free(r->forward);
    free(r->back);
}

void lpb_multiply(const lpb_isa *isa, const lpb_factors *f, lpb_room *room) {
    const int64_t terms = terms_of(f->k, room->rounded != NULL);
    const char *packed = room->rounded && f->packed ? f->packed->memory : NULL;
    const int64_t bytes = packed ? packed_bytes(room->rounded, terms, f->n) : 0;
    for (int64_t from = 0; from < f->k; from += terms) {
        const lpb_gemm g = {
            .batch = 1,
            .m = f->m,
            .n = f->n,
            .k = terms < f->k - from ? terms : f->k - from,
            .a = f->a + from * f->a_col,
            .a_row = f->a_row,
            .a_col = f->a_col,
            .b = f->b + from * f->b_row,
            .b_row = f->b_row,
            .b_col = 1,
            .c = f->c,
            .c_row = f->c_row,
            .alpha = 1.0f,
            .beta = from || f->adds ? 1.0f : 0.0f,
            .bias = from ? NULL : f->bias,
            .bias_axis = from || !f->bias ? LPB_NO_BIAS : LPB_COLUMN_BIAS,
            .b_packed = packed ? packed + from / terms * bytes : NULL,
        };
        if (room->rounded)
            multiply_rounded(isa, &g, room);
        else if (need_room(room, isa->f32.scratch(&g)))
            isa->f32.gemm(&g, 0, 1, room->memory);
        if (room->failed) return;
    }
}

bool lpb_rounded_kernel(const lpb_isa *isa, lpb_dtype products, const lpb_kernel **rounded) {
    *rounded = products == LPB_BFLOAT16 ? lpb_kernel_of(isa, products) : NULL;
    return products == LPB_FLOAT32 || *rounded;
}

lpb_adam_step lpb_adam_step_at(const lpb_adam *adam, int64_t steps) {
    return (lpb_adam_step){
        .beta1 = (float)adam->beta1,
        .beta2 = (float)adam->beta2,
        .one_minus_beta1 = (float)(1.0 - adam->beta1),
        .one_minus_beta2 = (float)(1.0 - adam->beta2),
        .step_size = (float)(adam->learning_rate / (1.0 - pow(adam->beta1, (double)steps))),
        .inverse_root_correction = (float)(1.0 / sqrt(1.0 - pow(adam->beta2, (double)steps))),
        .epsilon = (float)adam->epsilon,
        .gradient_scale = 1.0f,
    };
}

void lpb_draw_bits(const lpb_draw *draw, int64_t first, int64_t count, uint16_t *bits) {
    for (int64_t i = 0; i * LPB_ALIGN < count; i++) {
        uint64_t words[4] = {(uint64_t)(first / LPB_ALIGN + i + 1), draw->stream, draw->row, draw->step};
        lpb_philox(words, draw->seed, 0);
        memcpy(bits + i * LPB_ALIGN, words, sizeof words);
    }
}

void lpb_drop(const lpb_isa *isa, float *x, const uint16_t *bits, int64_t count, double share) {
    isa->drop(x, bits, count, (int32_t)nearbyint(share * 65536.0), (float)(1.0 / (1.0 - share)));
}
