/* A transformer, a few rows at a time from their tokens to the last attention.
 *
 * Values are feature-major: feature f of token t of row r is at [f * ld + r * tokens + t]. Normalisation and softmax
 * then go down the columns, with a token in every lane, and no product has an operand to turn. A head's queries, keys
 * and values are made, compared and summed while they are in cache; the hidden values of an inner net too, for a strip
 * of tokens. Rows are taken together where that fills vectors which the tokens of a single one would not. */
#define _POSIX_C_SOURCE 200809L
#include "transformer.h"

#include "crew.h"
#include "memory.h"
#include "plan.h"
#include "pool.h"

enum {
    MOST_ROWS = 8,      /* together */
    MOST_COLUMNS = 320, /* that they may have */
    STRIP = 96,         /* columns of scores, or of hidden values, at a time */
    MOST_TERMS = 128,   /* of a product before its sums are stored: what it reads of B stays in the first-level cache */
    MOST_TOKENS = 1 << 15,
    MOST_WIDTH = 1 << 13,
    LAYERS = 3, /* of a block, after its heads: output, up, down */
};

/* The pieces of scratch memory: of all threads, and from HEAD on of each. HEAD has queries, keys and values of a head,
 * and later what the last attention asks; SUM is of values, for a strip. */
enum { TOKENS, NORMAL, MIXED, HIDDEN, HEAD, SCORES, SUM, GEMM, PIECES };

/* Multiply-adds from which on waking other threads takes less time than it saves. */
#ifndef LPB_SHARED_WORK
#define LPB_SHARED_WORK (1 << 20)
#endif

struct lpb_transformer {
    const lpb_isa *isa;
    int64_t tokens, width, heads, size, inner, blocks;
    bool gated, plain_first;
    int64_t *columns;   /* tokens x 2: the column, -1 for none; and the codes that it may have, 0 for a number */
    float *tables;      /* what a token adds per unit of its number, and what it has in any case, width x tokens
                           each; then an embedding of `width` for every code, in the order of the tokens */
    plan_step *layers;  /* blocks x (heads + LAYERS) */
    float *query, *key; /* of the last attention, rows padded: width + 1 of them with the bias, and width */
    int64_t rows;       /* together at most */
    int64_t begins[PIECES + 1]; /* in floats */
};

/* A run, and how its columns are divided: `layer` columns at a time go through a layer onto the tokens, `inner` through
 * the inner net. */
typedef struct {
    const lpb_transformer *t;
    const float *rows;
    int64_t count, x_row;
    float *out;
    int64_t out_row, out_column;
    int threads;
    int64_t ld; /* from one feature to the next */
    float *x, *normal, *mixed, *hidden;
    float *own, *others; /* pieces of the first thread, and of the others */
    lpb_crew crew;
} job;

/* A thread of it, and where it is. */
typedef struct {
    job *j;
    lpb_member member;
    float *head, *scores, *sum, *gemm;
    int64_t first, rows, n; /* rows that are taken together, and their columns */
    const plan_step *layers;
    const float *attended;       /* what attention reads: the tokens as they are, or normalised */
    int64_t layer, inner, strip; /* columns at a time, and the first strip that is in `hidden` */
} hand;

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }

/* From one row of a matrix to the next, an odd number of cache lines apart: rows then fall into all sets. */
static int64_t odd_lines(int64_t count) { return padded(count) | LPB_ALIGN; }

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* From one feature to the next where so many rows are together. */
static int64_t ld_of(const lpb_transformer *t, int64_t rows) {
    return odd_lines((rows - 1) * t->tokens + padded(t->tokens));
}

/* Keys by queries: the scores of all tokens in the rows, of a strip of queries in the columns. */
static lpb_gemm scores_product(const lpb_transformer *t, int64_t ld, const float *keys, const float *queries,
                               int64_t ld_of_queries, int64_t terms, int64_t columns, float *scores) {
    return (lpb_gemm){
        .batch = 1,
        .m = t->tokens,
        .n = columns,
        .k = terms,
        .a = keys,
        .a_row = 1,
        .a_col = ld,
        .b = queries,
        .b_row = ld_of_queries,
        .b_col = 1,
        .c = scores,
        .c_row = columns,
        .alpha = 1.0f,
    };
}

/* Values weighted by scores: `features` by `columns`. */
static lpb_gemm values_product(const lpb_transformer *t, int64_t ld, const float *values, int64_t features,
                               const float *scores, int64_t columns, float *out) {
    return (lpb_gemm){
        .batch = 1,
        .m = features,
        .n = columns,
        .k = t->tokens,
        .a = values,
        .a_row = ld,
        .a_col = 1,
        .b = scores,
        .b_row = columns,
        .b_col = 1,
        .c = out,
        .c_row = columns,
        .alpha = 1.0f,
    };
}

/* Columns [0, n) of a layer's panel, of its inputs from `first` on; what came before is in `out`. */
static lpb_gemm layer_product(const plan_step *s, const plan_panel *panel, int64_t first, const float *x, int64_t ld,
                              int64_t n, float *out, int64_t out_ld) {
    lpb_gemm g = plan_product(s, panel, x, ld, out);
    g.n = n;
    g.c = out ? out + panel->first * out_ld : NULL;
    g.c_row = out_ld;
    g.k = least(MOST_TERMS, s->features - first);
    g.a = (const float *)g.a + first * panel->row;
    g.b = x ? x + first * ld : NULL;
    if (first) {
        g.bias = NULL;
        g.bias_axis = LPB_NO_BIAS;
        g.beta = 1.0f;
    }
    return g;
}

/* A panel of out = act(W x + b), or out += W x + b, over n columns; the activation while it is in cache. */
static void run_panel(const lpb_isa *isa, const plan_step *s, int64_t first, const float *x, int64_t ld, int64_t n,
                      bool adds, float *out, int64_t out_ld, void *scratch) {
    const plan_panel panel = plan_panel_at(s, first);
    for (int64_t from = 0; from < s->features; from += MOST_TERMS) {
        lpb_gemm g = layer_product(s, &panel, from, x, ld, n, out, out_ld);
        if (adds) g.beta = 1.0f;
        isa->f32.gemm(&g, 0, 1, scratch);
    }
    if (s->word) isa->reals->activate(out + first * out_ld, panel.count * out_ld, (lpb_activation)s->word, 0.0f);
}

static int64_t panels(const plan_step *s) { return (s->outputs + s->panel - 1) / s->panel; }

/* Below, tasks of the phases of a run: of a row, of a head, of a strip of columns, or of a panel of a layer's outputs
 * for a strip. */

static void make_tokens(void *context, int64_t r) {
    const hand *w = context;
    const lpb_transformer *t = w->j->t;
    const int64_t tokens = t->tokens, width = t->width, ld = w->j->ld;
    const float *x = w->j->rows + (w->first + r) * w->j->x_row;
    const float *weight = t->tables, *bias = weight + width * tokens, *embedded = bias + width * tokens;
    float *numbers = w->scores, *to = w->j->x + r * tokens;
    for (int64_t q = 0; q < tokens; q++) {
        const int64_t column = t->columns[2 * q];
        numbers[q] = column < 0 || t->columns[2 * q + 1] ? 0.0f : x[column];
    }
    for (int64_t f = 0; f < width; f++)
        for (int64_t q = 0; q < tokens; q++)
            to[f * ld + q] = bias[f * tokens + q] + numbers[q] * weight[f * tokens + q];
    const float *table = embedded;
    for (int64_t q = 0; q < tokens; q++) {
        const int64_t codes = t->columns[2 * q + 1];
        if (!codes) continue;
        const float given = x[t->columns[2 * q]];
        const int64_t code = given > -1.0f && given < (float)codes ? (int64_t)given : codes - 1;
        for (int64_t f = 0; f < width; f++) to[f * ld + q] += table[code * width + f];
        table += codes * width;
    }
}

/* A head over all tokens of the rows. */
static void attend(void *context, int64_t h) {
    const hand *w = context;
    const lpb_transformer *t = w->j->t;
    const lpb_isa *isa = t->isa;
    const plan_step *layer = w->layers + h;
    const int64_t ld = w->j->ld, size = t->size, tokens = t->tokens;
    for (int64_t first = 0; first < layer->outputs; first += layer->panel)
        run_panel(isa, layer, first, w->attended, ld, w->n, false, w->head, ld, w->gemm);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t q = 0; q < tokens; q += STRIP) {
            const int64_t count = least(STRIP, tokens - q), columns = padded(count);
            const float *queries = w->head + r * tokens, *keys = queries + size * ld, *values = keys + size * ld;
            const lpb_gemm scores = scores_product(t, ld, keys, queries + q, ld, size, columns, w->scores);
            isa->f32.gemm(&scores, 0, 1, w->gemm);
            float sums[STRIP] __attribute__((aligned(64)));
            isa->softmax(w->scores, tokens, columns, sums);
            const lpb_gemm mix = values_product(t, ld, values, size, w->scores, columns, w->sum);
            isa->f32.gemm(&mix, 0, 1, w->gemm);
            float *mixed = w->j->mixed + h * size * ld + r * tokens + q;
            isa->divide_columns(w->sum, size, columns, sums, count, mixed, ld);
        }
}

static int64_t strips(const hand *w, int64_t width) { return (w->n + width - 1) / width; }

/* What the heads give, through the output layer, onto the tokens. */
static void put_out(void *context, int64_t task) {
    const hand *w = context;
    const job *j = w->j;
    const plan_step *s = w->layers + j->t->heads;
    const int64_t across = strips(w, w->layer), first = task % across * w->layer;
    run_panel(j->t->isa, s, task / across * s->panel, j->mixed + first, j->ld, least(w->layer, w->n - first), true,
              j->x + first, j->ld, w->gemm);
}

static void normalise(void *context, int64_t strip) {
    const hand *w = context;
    const job *j = w->j;
    const int64_t first = strip * w->layer;
    j->t->isa->normalise(j->x + first, j->t->width, j->ld, least(w->layer, w->n - first), j->normal + first);
}

/* A strip of the inner net: its first column, how many there are, and where its hidden values are. */
typedef struct {
    int64_t first, columns, ld;
    float *hidden;
} inner_strip;

static inner_strip strip_at(const hand *w, int64_t index) {
    const lpb_transformer *t = w->j->t;
    const int64_t first = (w->strip + index) * w->inner, columns = least(w->inner, w->n - first);
    const int64_t whole = t->inner * (t->gated ? 2 : 1) * odd_lines(w->inner);
    return (inner_strip){first, columns, odd_lines(columns), w->j->hidden + index * whole};
}

/* Strips whose hidden values are there at once. */
static int64_t together(const hand *w) { return w->j->threads > 1 ? strips(w, w->inner) : 1; }

static void widen(void *context, int64_t task) {
    const hand *w = context;
    const plan_step *s = w->layers + w->j->t->heads + 1;
    const inner_strip at = strip_at(w, task % together(w));
    run_panel(w->j->t->isa, s, task / together(w) * s->panel, w->j->normal + at.first, w->j->ld, at.columns, false,
              at.hidden, at.ld, w->gemm);
}

static void gate(void *context, int64_t strip) {
    const hand *w = context;
    const lpb_transformer *t = w->j->t;
    const inner_strip at = strip_at(w, strip);
    float *gates = at.hidden + t->inner * at.ld;
    t->isa->reals->activate(gates, t->inner * at.ld, LPB_RELU, 0.0f);
    t->isa->reals->combine(LPB_MULTIPLY, at.hidden, at.ld, gates, at.ld, t->inner, at.ld, at.hidden);
}

static void narrow(void *context, int64_t task) {
    const hand *w = context;
    const plan_step *s = w->layers + w->j->t->heads + 2;
    const inner_strip at = strip_at(w, task % together(w));
    run_panel(w->j->t->isa, s, task / together(w) * s->panel, at.hidden, at.ld, at.columns, true, w->j->x + at.first,
              w->j->ld, w->gemm);
}

/* What the last attention takes in for the first token, head by head, before any layer of values: by the first token's
 * query, seen through the keys' layer, so that no key and no value of any other token is made. */
static void take_in(void *context, int64_t r) {
    const hand *w = context;
    const job *j = w->j;
    const lpb_transformer *t = j->t;
    const lpb_isa *isa = t->isa;
    const int64_t width = t->width, row = padded(width), heads = padded(t->heads), column = j->out_column;
    float *seen = w->head, *first = seen + width * heads, *query = first + row, *of_head = query + row;
    float *out = j->out + (w->first + r) * j->out_row;
    memset(seen, 0, (size_t)(width * heads) * sizeof *seen);
    const float *own = w->attended + r * t->tokens;
    for (int64_t f = 0; f < width; f++) first[f] = own[f * j->ld];
    isa->reals->gemv(width, row, first, t->query, t->query + width * row, LPB_IDENTITY, 0.0f, query);
    memset(first, 0, (size_t)row * sizeof *first); /* a bias of none */
    for (int64_t h = 0; h < t->heads; h++) {
        isa->reals->gemv(t->size, row, query + h * t->size, t->key + h * t->size * row, first, LPB_IDENTITY, 0.0f,
                         of_head);
        for (int64_t f = 0; f < width; f++) seen[f * heads + h] = of_head[f];
    }
    float *sums = of_head;
    const lpb_gemm scores = scores_product(t, j->ld, own, seen, heads, width, heads, w->scores);
    isa->f32.gemm(&scores, 0, 1, w->gemm);
    isa->softmax(w->scores, t->tokens, heads, sums);
    const lpb_gemm mix = values_product(t, j->ld, own, width, w->scores, heads, w->sum);
    isa->f32.gemm(&mix, 0, 1, w->gemm);
    for (int64_t f = 0; f < width; f++) out[f * column] = j->x[f * j->ld + r * t->tokens];
    for (int64_t h = 0; h < t->heads; h++)
        for (int64_t f = 0; f < width; f++) out[((h + 1) * width + f) * column] = w->sum[f * heads + h] / sums[h];
}

static void share(hand *w, lpb_task task, int64_t count) { lpb_crew_phase(&w->member, count, task, w); }

/* Sets what the attention of a block reads. */
static void prepare(hand *w, int64_t block) {
    const bool plain = block == 0 && w->j->t->plain_first;
    if (!plain) share(w, normalise, strips(w, w->layer));
    w->attended = plain ? w->j->x : w->j->normal;
}

static void run_block(hand *w, int64_t block) {
    const lpb_transformer *t = w->j->t;
    prepare(w, block);
    w->layers = t->layers + block * (t->heads + LAYERS);
    const plan_step *out = w->layers + t->heads;
    share(w, attend, t->heads);
    share(w, put_out, panels(out) * strips(w, w->layer));
    share(w, normalise, strips(w, w->layer));
    for (w->strip = 0; w->strip < strips(w, w->inner); w->strip += together(w)) {
        share(w, widen, panels(out + 1) * together(w));
        if (t->gated) share(w, gate, together(w));
        share(w, narrow, panels(out + 2) * together(w));
    }
}

/* How many columns of n several threads take at a time: whole widths of tiles for each, as far as there are so many. */
static int64_t strip_width(int64_t n, int threads) {
    const int64_t parts = most((n + STRIP - 1) / STRIP, threads > 1 ? least(threads, (n + 31) / 32) : 1);
    return padded((n + parts - 1) / parts);
}

/* All rows, as the thread whose pieces are the index-th. */
static void run_rows(void *argument, int64_t index, int64_t end) {
    (void)end; /* where fewer threads are there than were asked for */
    job *j = argument;
    const lpb_transformer *t = j->t;
    const int64_t *b = t->begins, size = b[PIECES] - b[HEAD];
    float *own = index ? j->others + (index - 1) * size : j->own;
    hand w = {
        .j = j,
        .member = lpb_crew_member(j->threads > 1 ? &j->crew : NULL),
        .head = own,
        .scores = own + b[SCORES] - b[HEAD],
        .sum = own + b[SUM] - b[HEAD],
        .gemm = own + b[GEMM] - b[HEAD],
    };
    memset(w.head, 0, (size_t)(3 * t->size * j->ld) * sizeof *w.head);
    for (w.first = 0; w.first < j->count; w.first += w.rows) {
        w.rows = least(t->rows, j->count - w.first);
        w.n = padded(w.rows * t->tokens);
        w.inner = strip_width(w.n, j->threads);
        w.layer = j->threads > 1 ? w.inner : w.n;
        share(&w, make_tokens, w.rows);
        for (int64_t block = 0; block < t->blocks; block++) run_block(&w, block);
        prepare(&w, t->blocks);
        share(&w, take_in, w.rows);
    }
}

/* Floats of the hidden values of all strips at once. */
static int64_t all_hidden(const lpb_transformer *t, int64_t rows, int threads) {
    const int64_t n = padded(rows * t->tokens), width = strip_width(n, threads);
    return t->inner * (t->gated ? 2 : 1) * odd_lines(width) * ((n + width - 1) / width);
}

void lpb_transformer_run(const lpb_transformer *t, const float *x, int64_t rows, int64_t x_row, float *out,
                         int64_t out_row, int64_t out_column, void *scratch, int threads) {
    const int64_t *b = t->begins, count = least(rows, t->rows);
    float *memory = scratch, *more = NULL;
    job j = {
        .t = t,
        .rows = x,
        .count = rows,
        .x_row = x_row,
        .out = out,
        .out_row = out_row,
        .out_column = out_column,
        .threads = 1,
        .ld = ld_of(t, count),
        .x = memory + b[TOKENS],
        .normal = memory + b[NORMAL],
        .mixed = memory + b[MIXED],
        .hidden = memory + b[HIDDEN],
        .own = memory + b[HEAD],
    };
    if (threads > 1 && rows * lpb_transformer_work(t) >= LPB_SHARED_WORK) {
        /* strips of several widths, by how many rows are together: of those that there are most */
        int64_t hidden = 0;
        for (int64_t r = 1; r <= count; r++) hidden = most(hidden, all_hidden(t, r, threads));
        more = lpb_new_memory((padded(hidden) + (threads - 1) * (b[PIECES] - b[HEAD])) * (int64_t)sizeof *more);
        if (more) j.threads = threads, j.hidden = more, j.others = more + padded(hidden);
    }
    /* where something is computed of what lies between the columns */
    memset(j.x, 0, (size_t)(t->width * j.ld) * sizeof *j.x);
    memset(j.mixed, 0, (size_t)(t->width * j.ld) * sizeof *j.mixed);
    if (j.threads > 1)
        lpb_parallel(run_rows, &j, threads, threads);
    else
        run_rows(&j, 0, 1);
    free(more);
}

int64_t lpb_transformer_outputs(const lpb_transformer *t) { return t->width * (t->heads + 1); }

int64_t lpb_transformer_work(const lpb_transformer *t) {
    const int64_t inner = t->width * t->inner * (t->gated ? 3 : 2), attention = 2 * t->tokens * t->width;
    const int64_t last = t->width * (2 * t->width + 2 * t->heads * t->tokens);
    return t->blocks * t->tokens * (4 * t->width * t->width + inner + attention) + last;
}

int64_t lpb_transformer_scratch(const lpb_transformer *t) { return t->begins[PIECES] * (int64_t)sizeof(float); }

void lpb_transformer_free(lpb_transformer *t) {
    if (!t) return;
    for (int64_t i = 0; t->layers && i < t->blocks * (t->heads + LAYERS); i++) {
        free(t->layers[i].weight);
        free(t->layers[i].bias);
    }
    free(t->layers);
    free(t->columns);
    free(t->tables);
    free(t->query);
    free(t->key);
    free(t);
}

/* How many rows are taken together: those that leave the smallest share of the last vectors empty. */
static int64_t rows_together(int64_t tokens) {
    int64_t best = 1;
    for (int64_t r = 2; r <= MOST_ROWS && r * tokens <= MOST_COLUMNS; r++)
        if (padded(r * tokens) * best < padded(best * tokens) * r) best = r;
    return best;
}

static void grow(int64_t *bytes, const lpb_isa *isa, const lpb_gemm *g) { *bytes = most(*bytes, isa->f32.scratch(g)); }

/* Where the pieces of scratch memory begin. */
static void place_pieces(lpb_transformer *t) {
    const int64_t heads = padded(t->heads), row = padded(t->width), up = t->inner * (t->gated ? 2 : 1);
    const int64_t columns = padded(t->rows * t->tokens), widest = most(STRIP, heads);
    const int64_t ld = ld_of(t, t->rows), whole = t->width * ld;
    int64_t bytes = 0;
    for (int64_t i = 0; i < t->blocks * (t->heads + LAYERS); i++)
        for (int64_t first = 0; first < t->layers[i].outputs; first += t->layers[i].panel) {
            const plan_panel panel = plan_panel_at(t->layers + i, first);
            const lpb_gemm g = layer_product(t->layers + i, &panel, 0, NULL, ld, columns, NULL, ld);
            grow(&bytes, t->isa, &g);
        }
    for (int q = 0; q < 2; q++) {
        const int64_t terms = q ? t->size : t->width, width = q ? STRIP : heads;
        const lpb_gemm scores = scores_product(t, ld, NULL, NULL, q ? ld : heads, terms, width, NULL);
        const lpb_gemm mix = values_product(t, ld, NULL, terms, NULL, width, NULL);
        grow(&bytes, t->isa, &scores);
        grow(&bytes, t->isa, &mix);
    }
    const int64_t sizes[PIECES] = {
        [TOKENS] = whole,
        [NORMAL] = whole,
        [MIXED] = whole,
        [HEAD] = most(3 * t->size * ld, t->width * heads + 2 * row + most(row, heads)),
        [SCORES] = t->tokens * widest,
        [SUM] = most(t->size * STRIP, t->width * heads),
        [HIDDEN] = up * odd_lines(STRIP),
        [GEMM] = bytes / (int64_t)sizeof(float) + 1,
    };
    for (int i = 0; i < PIECES; i++) t->begins[i + 1] = t->begins[i] + padded(sizes[i]);
}

/* Checks the columns, and counts the codes; -1: they do not fit. */
static int64_t codes_of(const lpb_array *columns, int64_t features) {
    const int64_t *entry = columns->data;
    int64_t codes = 0;
    for (int64_t q = 0; q < columns->rows; q++, entry += 2) {
        const bool fits = entry[0] >= -1 && entry[0] < features && entry[1] >= 0 && entry[1] <= 1 << 24 &&
                          (entry[0] >= 0 || entry[1] == 0);
        if (!fits) return -1;
        codes += entry[1];
    }
    return codes;
}

/* The sizes, as far as the arrays fit each other; `*up` is of the outputs of the widening layer. */
static bool sizes_fit(lpb_transformer *t, const lpb_step *s, int64_t features, int64_t *up) {
    const lpb_array *tokens = s->arrays, *columns = tokens + 1, *blocks = tokens + 2, *last = tokens + 3;
    if (s->array_count != 4 || s->word < 0 || s->word >= LPB_FORMS || tokens->type != LPB_ARRAY_FLOAT ||
        columns->type != LPB_ARRAY_INT64 || blocks->type != LPB_ARRAY_FLOAT || last->type != LPB_ARRAY_FLOAT)
        return false;
    const int64_t width = tokens->columns, heads = s->number;
    t->gated = s->word & LPB_FORM_REGLU, t->plain_first = s->word & LPB_FORM_PLAIN_FIRST;
    if (width < 1 || width > MOST_WIDTH || heads < 1 || heads > width || width % heads || columns->columns != 2 ||
        columns->rows < 1 || columns->rows > MOST_TOKENS || last->rows != 1 ||
        last->columns != 2 * width * width + width)
        return false;
    const int64_t codes = codes_of(columns, features), times = t->gated ? 2 : 1;
    if (codes < 0 || tokens->rows != 2 * columns->rows + codes) return false;
    t->tokens = columns->rows, t->width = width, t->heads = heads, t->size = width / heads, t->blocks = blocks->rows;
    if (t->blocks == 0) return true;
    const int64_t inner = blocks->columns - 4 * width * width - 5 * width, unit = times * (width + 1) + width;
    t->inner = inner / unit;
    *up = times * t->inner;
    return inner > 0 && inner % unit == 0;
}

static bool pack_layer(plan_step *to, int64_t features, int64_t outputs, lpb_activation act, const float **at) {
    *to = (plan_step){
        .kind = LPB_STEP_DENSE, .features = features, .outputs = outputs, .word = act, .panel = PANEL_OUTPUTS};
    const float *weight = *at, *bias = weight + features * outputs;
    *at = bias + outputs;
    return plan_pack(to, weight, bias, false);
}

/* A head's queries, keys and values as one layer, out of those of all heads. */
static bool pack_head(const lpb_transformer *t, int64_t h, const float *weight, float *aside, plan_step *to) {
    const int64_t width = t->width, size = t->size;
    const float *bias = weight + 3 * width * width, *from = aside;
    for (int64_t q = 0; q < 3; q++) {
        const int64_t first = q * width + h * size;
        memcpy(aside + q * size * width, weight + first * width, (size_t)(size * width) * sizeof *aside);
        memcpy(aside + 3 * size * width + q * size, bias + first, (size_t)size * sizeof *aside);
    }
    return pack_layer(to, width, 3 * size, LPB_IDENTITY, &from);
}

static bool pack_blocks(lpb_transformer *t, const float *from, int64_t up) {
    const int64_t width = t->width;
    float *aside = lpb_new_memory(3 * t->size * (width + 1) * (int64_t)sizeof *aside);
    bool enough = aside;
    for (int64_t b = 0; b < t->blocks && enough; b++) {
        plan_step *to = t->layers + b * (t->heads + LAYERS);
        for (int64_t h = 0; h < t->heads && enough; h++) enough = pack_head(t, h, from, aside, to + h);
        from += 3 * width * (width + 1);
        to += t->heads;
        enough = enough && pack_layer(to, width, width, LPB_IDENTITY, &from) &&
                 pack_layer(to + 1, width, up, t->gated ? LPB_IDENTITY : LPB_GELU, &from) &&
                 pack_layer(to + 2, t->inner, width, LPB_IDENTITY, &from);
    }
    free(aside);
    return enough;
}

static bool pack_rest(lpb_transformer *t, const lpb_step *s) {
    const int64_t tokens = t->tokens, width = t->width, row = padded(width);
    const float *table = s->arrays[0].data, *query = s->arrays[3].data, *key = query + width * width + width;
    const int64_t numbers = 2 * tokens * width, all = s->arrays[0].rows * width;
    t->columns = lpb_new_memory(2 * tokens * (int64_t)sizeof *t->columns);
    t->tables = lpb_new_memory(all * (int64_t)sizeof *t->tables);
    t->query = lpb_new_zeros((width + 1) * row);
    t->key = lpb_new_zeros(width * row);
    if (!t->columns || !t->tables || !t->query || !t->key) return false;
    memcpy(t->columns, s->arrays[1].data, (size_t)(2 * tokens) * sizeof *t->columns);
    memcpy(t->tables + numbers, table + numbers, (size_t)(all - numbers) * sizeof *table);
    for (int64_t q = 0; q < 2 * tokens; q++)
        for (int64_t f = 0; f < width; f++)
            t->tables[q / tokens * width * tokens + f * tokens + q % tokens] = table[q * width + f];
    for (int64_t i = 0; i < width; i++) {
        for (int64_t j = 0; j < width; j++) t->query[j * row + i] = query[i * width + j];
        t->query[width * row + i] = query[width * width + i];
        memcpy(t->key + i * row, key + i * width, (size_t)width * sizeof *key);
    }
    return true;
}

lpb_status lpb_transformer_new(const lpb_isa *isa, const lpb_step *step, int64_t features, lpb_transformer **made) {
    lpb_transformer sizes = {.isa = isa};
    int64_t up = 0;
    if (!sizes_fit(&sizes, step, features, &up)) return LPB_BAD_ARGUMENT;
    lpb_transformer *t = malloc(sizeof *t);
    if (!t) return LPB_NO_MEMORY;
    *t = sizes;
    t->rows = rows_together(t->tokens);
    t->layers = calloc((size_t)(t->blocks * (t->heads + LAYERS)) + 1, sizeof *t->layers);
    if (!t->layers || !pack_blocks(t, step->arrays[2].data, up) || !pack_rest(t, step)) {
        lpb_transformer_free(t);
        return LPB_NO_MEMORY;
    }
    place_pieces(t);
    *made = t;
    return LPB_OK;
}
