/* A few rows through a transformer in training, forward and back. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include "memory.h"
#include "transformer_trainer.h"

static int64_t padded(int64_t count) { return lpb_round_up(count, LPB_ALIGN); }

static const float *value_of(const former_hand *w, int64_t parameter) {
    return w->t->value + w->t->parameter[parameter].at;
}
static float *gradient_of(const former_hand *w, int64_t parameter) {
    return w->gradient + w->t->parameter[parameter].at;
}

static void multiply(former_hand *w, const lpb_factors *f) { lpb_multiply(w->t->isa, f, &w->room); }

/* Rows of tokens: where, and how far they are apart. */
typedef struct {
    float *at;
    int64_t row;
} rows_of;

/* y = x W^T + b for the outputs [first, first + count) of a layer, or it is added to y. */
static void forward(former_hand *w, const former_layer *l, int64_t first, int64_t count, rows_of x, int64_t m,
                    rows_of y, bool adds) {
    multiply(w, &(lpb_factors){.a = x.at,
                               .a_row = x.row,
                               .a_col = 1,
                               .b = l->turned + first,
                               .b_row = l->turned_row,
                               .c = y.at,
                               .c_row = y.row,
                               .m = m,
                               .n = count,
                               .k = l->inputs,
                               .adds = adds,
                               .bias = value_of(w, l->bias) + first,
                               .packed = lpb_range_of(&l->ranges, l->ranges.forward, first, count)});
}

/* The gradient by x of what forward made of it, from that by y; those of weights and bias are added to. */
static void back(former_hand *w, const former_layer *l, int64_t first, int64_t count, rows_of x, int64_t m, rows_of g,
                 rows_of to, bool adds) {
    multiply(w, &(lpb_factors){.a = g.at,
                               .a_row = g.row,
                               .a_col = 1,
                               .b = l->plain + first * l->plain_row,
                               .b_row = l->plain_row,
                               .c = to.at,
                               .c_row = to.row,
                               .m = m,
                               .n = l->inputs,
                               .k = count,
                               .adds = adds,
                               .packed = lpb_range_of(&l->ranges, l->ranges.back, first, count)});
    multiply(w, &(lpb_factors){.a = g.at,
                               .a_row = 1,
                               .a_col = g.row,
                               .b = x.at,
                               .b_row = x.row,
                               .c = gradient_of(w, l->weight) + first * l->inputs,
                               .c_row = l->inputs,
                               .m = count,
                               .n = l->inputs,
                               .k = m,
                               .adds = true});
    w->t->isa->add_column_sums(g.at, m, g.row, count, gradient_of(w, l->bias) + first);
}

static lpb_row_norm norm_of(const former_hand *w, int64_t parameter, int64_t rows, int64_t x_row, int64_t y_row,
                            float *mean, float *scale) {
    return (lpb_row_norm){
        .rows = rows,
        .columns = w->t->net.width,
        .x_row = x_row,
        .y_row = y_row,
        .weight = value_of(w, parameter),
        .bias = value_of(w, parameter + 1),
        .mean = mean,
        .scale = scale,
        .weight_gradient = gradient_of(w, parameter),
        .bias_gradient = gradient_of(w, parameter + 1),
    };
}

static void copy_rows(const float *from, int64_t from_row, int64_t rows, int64_t columns, float *to, int64_t to_row) {
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_row, from + r * from_row, (size_t)columns * sizeof *to);
}

static void add_scaled_row(float *restrict to, const float *restrict from, float factor, int64_t count) {
    for (int64_t j = 0; j < count; j++) to[j] += factor * from[j];
}

static void scale_rows(const lpb_isa *isa, float *x, int64_t row, int64_t rows, int64_t columns, float factor) {
    for (int64_t r = 0; r < rows; r++, x += row) isa->reals->combine_constants(LPB_MULTIPLY, x, &factor, 1, columns, x);
}

static int64_t code_of(float given, int64_t codes) {
    return given > -1.0f && given < (float)codes ? (int64_t)given : codes - 1;
}

static bool is_hidden(const former_hand *w, int64_t r, int64_t token) {
    const lpb_transformer_batch *b = w->batch;
    return b->hidden && token && b->hidden[(w->first + r) * (w->t->tokens - 1) + token - 1];
}

/* The embedding's parameter and row of a token of codes; the parameter's number is `numbers` past those before. */
static int64_t embedding_at(const former_hand *w, int64_t r, int64_t token) {
    const lpb_transformer_trainer *t = w->t;
    const float *x = w->batch->x + (w->first + r) * w->batch->x_row;
    const int64_t codes = t->columns[2 * (token - 1) + 1];
    return t->parameter[t->embedding + token - 1 - t->numbers].at +
           code_of(x[t->columns[2 * (token - 1)]], codes) * t->net.width;
}

static void make_tokens(former_hand *w, float *to) {
    const lpb_transformer_trainer *t = w->t;
    const int64_t width = t->net.width;
    const size_t bytes = (size_t)width * sizeof(float);
    for (int64_t r = 0; r < w->rows; r++) {
        const float *x = w->batch->x + (w->first + r) * w->batch->x_row;
        for (int64_t q = 0; q < t->tokens; q++, to += w->wide) {
            if (!q) {
                memcpy(to, value_of(w, t->cls), bytes);
            } else if (is_hidden(w, r, q)) {
                memcpy(to, value_of(w, t->mask), bytes);
            } else if (q <= t->numbers) {
                memcpy(to, value_of(w, t->number_bias) + (q - 1) * width, bytes);
                add_scaled_row(to, value_of(w, t->number_weight) + (q - 1) * width, x[t->columns[2 * (q - 1)]], width);
            } else {
                memcpy(to, value_of(w, t->code_bias) + (q - 1 - t->numbers) * width, bytes);
                add_scaled_row(to, t->value + embedding_at(w, r, q), 1.0f, width);
            }
        }
    }
}

static void learn_tokens(former_hand *w, const float *g) {
    const lpb_transformer_trainer *t = w->t;
    const int64_t width = t->net.width;
    for (int64_t r = 0; r < w->rows; r++) {
        const float *x = w->batch->x + (w->first + r) * w->batch->x_row;
        for (int64_t q = 0; q < t->tokens; q++, g += w->wide) {
            if (!q) {
                add_scaled_row(gradient_of(w, t->cls), g, 1.0f, width);
            } else if (is_hidden(w, r, q)) {
                add_scaled_row(gradient_of(w, t->mask), g, 1.0f, width);
            } else if (q <= t->numbers) {
                add_scaled_row(gradient_of(w, t->number_bias) + (q - 1) * width, g, 1.0f, width);
                add_scaled_row(gradient_of(w, t->number_weight) + (q - 1) * width, g, x[t->columns[2 * (q - 1)]],
                               width);
            } else {
                add_scaled_row(gradient_of(w, t->code_bias) + (q - 1 - t->numbers) * width, g, 1.0f, width);
                add_scaled_row(w->gradient + embedding_at(w, r, q), g, 1.0f, width);
            }
        }
    }
}

/* The attention of a row in a head: `asking` tokens, the first ones, ask all. Shares are of the asked in the rows, of
 * the asking in the columns. */
typedef struct {
    int64_t row, stream; /* of its random bits */
    int64_t asking, columns;
    float *queries, *keys, *values, *most, *parts, *mixed;
    int64_t mixed_row;
} attention;

static attention attention_at(const former_hand *w, const former_kept *k, int64_t r, int64_t head, bool first_only) {
    const int64_t tokens = w->t->tokens, size = w->t->size, width = w->t->net.width;
    const int64_t asking = first_only ? 1 : tokens, columns = padded(asking);
    float *queries = k->asked + r * tokens * w->triple + head * size;
    return (attention){
        .row = w->first + r,
        .stream = (k - w->kept) * (w->t->net.heads + 1) + head,
        .asking = asking,
        .columns = columns,
        .queries = queries,
        .keys = queries + width,
        .values = queries + 2 * width,
        .most = k->most + (r * w->t->net.heads + head) * columns,
        .parts = k->parts + (r * w->t->net.heads + head) * columns,
        .mixed = k->mixed + r * asking * w->wide + head * size,
        .mixed_row = w->wide,
    };
}

/* Bits for `count` numbers, drawn for a row of the batch: of a head, or of the inner net of a block. */
static void draw_bits(former_hand *w, int64_t stream, int64_t row, int64_t count) {
    const lpb_draw draw = {w->t->net.seed, (uint64_t)stream, (uint64_t)row, (uint64_t)w->t->steps};
    lpb_draw_bits(&draw, 0, count, w->bits);
}

static void drop(const former_hand *w, float *x, const uint16_t *bits, int64_t count, double share) {
    lpb_drop(w->t->isa, x, bits, count, share);
}

/* The shares that values are weighted by: some are dropped. */
static const float *kept_shares(former_hand *w, const attention *a) {
    const double share = w->t->net.attention_dropout;
    const int64_t count = w->t->tokens * a->columns;
    if (share == 0.0) return w->shares;
    draw_bits(w, a->stream, a->row, count);
    memcpy(w->dropped, w->shares, (size_t)count * sizeof *w->dropped);
    drop(w, w->dropped, w->bits, count, share);
    return w->dropped;
}

/* Inner values of the rows: some are dropped. */
static void drop_inner(former_hand *w, int64_t block, int64_t asking, float *x) {
    const double share = w->t->net.inner_dropout;
    const int64_t inner = w->t->net.inner;
    for (int64_t r = 0; r < w->rows && share != 0.0; r++) {
        draw_bits(w, block * (w->t->net.heads + 1) + w->t->net.heads, w->first + r, asking * inner);
        for (int64_t q = 0; q < asking; q++)
            drop(w, x + (r * asking + q) * w->inner, w->bits + q * inner, inner, share);
    }
}

/* The products of keys and queries, into the shares of the hand. */
static void compare(former_hand *w, const attention *a) {
    const int64_t tokens = w->t->tokens, size = w->t->size;
    w->t->isa->transpose(a->queries, w->triple, a->asking, size, w->turned, a->columns);
    multiply(w, &(lpb_factors){.a = a->keys,
                               .a_row = w->triple,
                               .a_col = 1,
                               .b = w->turned,
                               .b_row = a->columns,
                               .c = w->shares,
                               .c_row = a->columns,
                               .m = tokens,
                               .n = a->columns,
                               .k = size});
}

static void attend(former_hand *w, const attention *a) {
    compare(w, a);
    w->t->isa->softmax_parts(w->shares, w->t->tokens, a->columns, a->most, a->parts);
    multiply(w, &(lpb_factors){.a = kept_shares(w, a),
                               .a_row = 1,
                               .a_col = a->columns,
                               .b = a->values,
                               .b_row = w->triple,
                               .c = a->mixed,
                               .c_row = a->mixed_row,
                               .m = a->asking,
                               .n = w->t->size,
                               .k = w->t->tokens});
}

/* `to` is where the gradients of queries are; those of keys and values follow as these do. */
static void attend_back(former_hand *w, const attention *a, const float *of_mixed, float *to) {
    const lpb_isa *isa = w->t->isa;
    const int64_t tokens = w->t->tokens, size = w->t->size, width = w->t->net.width, row = w->triple;
    compare(w, a);
    isa->softmax_again(w->shares, tokens, a->columns, a->most, a->parts);
    isa->transpose(of_mixed, w->wide, a->asking, size, w->turned, a->columns);
    multiply(w, &(lpb_factors){.a = a->values,
                               .a_row = row,
                               .a_col = 1,
                               .b = w->turned,
                               .b_row = a->columns,
                               .c = w->of_shares,
                               .c_row = a->columns,
                               .m = tokens,
                               .n = a->columns,
                               .k = size});
    multiply(w, &(lpb_factors){.a = kept_shares(w, a),
                               .a_row = a->columns,
                               .a_col = 1,
                               .b = of_mixed,
                               .b_row = w->wide,
                               .c = to + 2 * width,
                               .c_row = row,
                               .m = tokens,
                               .n = size,
                               .k = a->asking});
    if (w->t->net.attention_dropout != 0.0)
        drop(w, w->of_shares, w->bits, tokens * a->columns, w->t->net.attention_dropout);
    isa->softmax_gradient(w->shares, w->of_shares, tokens, a->columns);
    multiply(w, &(lpb_factors){.a = w->of_shares,
                               .a_row = 1,
                               .a_col = a->columns,
                               .b = a->keys,
                               .b_row = row,
                               .c = to,
                               .c_row = row,
                               .m = a->asking,
                               .n = size,
                               .k = tokens});
    multiply(w, &(lpb_factors){.a = w->of_shares,
                               .a_row = a->columns,
                               .a_col = 1,
                               .b = a->queries,
                               .b_row = row,
                               .c = to + width,
                               .c_row = row,
                               .m = tokens,
                               .n = size,
                               .k = a->asking});
}

/* Rows of tokens that a block is over: of all tokens, or of the first ones as they lie among all. */
typedef struct {
    bool first_only, seen;    /* seen: by attend_first */
    int64_t all, count;       /* tokens, and those that it gives on */
    int64_t x_row, asked_row; /* from one of the latter to the next */
} extent;

static extent extent_of(const former_hand *w, int64_t block) {
    const bool first_only = !w->t->net.masked && block == w->t->net.blocks - 1;
    const int64_t step = first_only ? w->t->tokens : 1, all = w->rows * w->t->tokens;
    return (extent){first_only,
                    first_only && w->t->net.attention_dropout == 0.0,
                    all,
                    first_only ? w->rows : all,
                    step * w->wide,
                    step * w->triple};
}

/* The attention of the first tokens in all heads, by their queries seen through the keys' layer: no key and no value of
 * any other token is made. Of rows and heads, `seen` is that, `taken` the mean of tokens that is taken in. A bias of
 * keys changes no share, and that of values is added once. */
typedef struct {
    const former_layer *projection;
    int64_t heads, columns, row; /* floats from a row of data to the next, of `seen` and `taken` */
    float *queries, *mixed;
    int64_t query_row;
} first_attention;

static first_attention first_of(const former_hand *w, int64_t b, float *queries, float *mixed) {
    const int64_t heads = w->t->net.heads;
    return (first_attention){.projection = &w->t->block[b].projection,
                             .heads = heads,
                             .columns = padded(heads),
                             .row = heads * w->wide,
                             .queries = queries,
                             .mixed = mixed,
                             .query_row = w->t->tokens * w->triple};
}

/* Of head h and all rows: to (rows x width) = x (rows x size, at the head's features) times the head's part of a layer,
 * 1 of keys and 2 of values. */
static void widen(former_hand *w, const first_attention *f, int part, int64_t h, rows_of x, float *to) {
    const int64_t size = w->t->size, width = w->t->net.width;
    multiply(w, &(lpb_factors){.a = x.at + h * size,
                               .a_row = x.row,
                               .a_col = 1,
                               .b = f->projection->plain + (part * width + h * size) * f->projection->plain_row,
                               .b_row = f->projection->plain_row,
                               .c = to + h * w->wide,
                               .c_row = f->row,
                               .m = w->rows,
                               .n = width,
                               .k = size,
                               .packed = lpb_range_of(&f->projection->ranges, f->projection->ranges.back,
                                                      part * width + h * size, size)});
}

/* The other way: to (rows x size, at the head's features) of x (rows x width). */
static void narrow(former_hand *w, const first_attention *f, int part, int64_t h, const float *x, const float *bias,
                   rows_of to) {
    const int64_t size = w->t->size, width = w->t->net.width;
    multiply(w, &(lpb_factors){.a = x + h * w->wide,
                               .a_row = f->row,
                               .a_col = 1,
                               .b = f->projection->turned + part * width + h * size,
                               .b_row = f->projection->turned_row,
                               .c = to.at + h * size,
                               .c_row = to.row,
                               .m = w->rows,
                               .n = size,
                               .k = width,
                               .bias = bias ? bias + part * width + h * size : NULL,
                               .packed = lpb_range_of(&f->projection->ranges, f->projection->ranges.forward,
                                                      part * width + h * size, size)});
}

/* The gradient of the head's part of the weights: g (rows x size, at the head's features) by x (rows x width). */
static void learn_part(former_hand *w, const first_attention *f, int part, int64_t h, rows_of g, const float *x) {
    const int64_t size = w->t->size, width = w->t->net.width;
    multiply(w, &(lpb_factors){.a = g.at + h * size,
                               .a_row = 1,
                               .a_col = g.row,
                               .b = x + h * w->wide,
                               .b_row = f->row,
                               .c = gradient_of(w, f->projection->weight) + (part * width + h * size) * width,
                               .c_row = width,
                               .m = size,
                               .n = width,
                               .k = w->rows,
                               .adds = true});
}

/* out (tokens x heads) = tokens by what there is for each head. */
static void by_tokens(former_hand *w, const first_attention *f, const float *normal, const float *of_heads,
                      float *out) {
    const int64_t width = w->t->net.width;
    w->t->isa->transpose(of_heads, w->wide, f->heads, width, w->turned_heads, f->columns);
    multiply(w, &(lpb_factors){.a = normal,
                               .a_row = w->wide,
                               .a_col = 1,
                               .b = w->turned_heads,
                               .b_row = f->columns,
                               .c = out,
                               .c_row = f->columns,
                               .m = w->t->tokens,
                               .n = f->columns,
                               .k = width});
}

/* out (heads x width) = tokens weighted by shares (tokens x heads). */
static void weighted(former_hand *w, const first_attention *f, const float *shares, const float *normal, float *out) {
    multiply(w, &(lpb_factors){.a = shares,
                               .a_row = 1,
                               .a_col = f->columns,
                               .b = normal,
                               .b_row = w->wide,
                               .c = out,
                               .c_row = w->wide,
                               .m = f->heads,
                               .n = w->t->net.width,
                               .k = w->t->tokens});
}

/* out (tokens x width) = shares (tokens x heads) by what there is for each head, or it is added. */
static void spread(former_hand *w, const first_attention *f, const float *shares, const float *of_heads, float *out,
                   bool adds) {
    multiply(w, &(lpb_factors){.a = shares,
                               .a_row = f->columns,
                               .a_col = 1,
                               .b = of_heads,
                               .b_row = w->wide,
                               .c = out,
                               .c_row = w->wide,
                               .m = w->t->tokens,
                               .n = w->t->net.width,
                               .k = f->heads,
                               .adds = adds});
}

static void attend_first(former_hand *w, int64_t b, const float *normal) {
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const first_attention f = first_of(w, b, k->asked, k->mixed);
    const int64_t tokens = w->t->tokens;
    for (int64_t h = 0; h < f.heads; h++) widen(w, &f, 1, h, (rows_of){f.queries, f.query_row}, w->seen);
    for (int64_t r = 0; r < w->rows; r++) {
        float *shares = w->first_shares + r * tokens * f.columns;
        const float *own = normal + r * tokens * w->wide;
        by_tokens(w, &f, own, w->seen + r * f.row, shares);
        isa->softmax_parts(shares, tokens, f.columns, w->of_heads, w->of_heads + f.columns);
        weighted(w, &f, shares, own, w->taken + r * f.row);
    }
    const float *bias = value_of(w, f.projection->bias);
    for (int64_t h = 0; h < f.heads; h++) narrow(w, &f, 2, h, w->taken, bias, (rows_of){f.mixed, w->wide});
}

/* Gradients of queries, at `to`, and of the normalised tokens. */
static void attend_first_back(former_hand *w, int64_t b, const float *normal, float *to) {
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const first_attention f = first_of(w, b, k->asked, k->mixed);
    const int64_t tokens = w->t->tokens, width = w->t->net.width;
    const rows_of of_mixed = {w->of_mixed, w->wide};
    for (int64_t h = 0; h < f.heads; h++) {
        widen(w, &f, 2, h, of_mixed, w->of_taken);
        learn_part(w, &f, 2, h, of_mixed, w->taken);
    }
    isa->add_column_sums(w->of_mixed, w->rows, w->wide, width, gradient_of(w, f.projection->bias) + 2 * width);
    for (int64_t r = 0; r < w->rows; r++) {
        const float *shares = w->first_shares + r * tokens * f.columns, *own = normal + r * tokens * w->wide;
        float *of_normal = w->of_normal + r * tokens * w->wide;
        by_tokens(w, &f, own, w->of_taken + r * f.row, w->of_shares);
        isa->softmax_gradient(shares, w->of_shares, tokens, f.columns);
        spread(w, &f, shares, w->of_taken + r * f.row, of_normal, false);
        spread(w, &f, w->of_shares, w->seen + r * f.row, of_normal, true);
        weighted(w, &f, w->of_shares, own, w->of_seen + r * f.row);
    }
    for (int64_t h = 0; h < f.heads; h++) {
        narrow(w, &f, 1, h, w->of_seen, NULL, (rows_of){to, f.query_row});
        learn_part(w, &f, 1, h, (rows_of){f.queries, f.query_row}, w->of_seen);
    }
}

static float query_factor(const former_hand *w) { return (float)(1.0 / sqrt((double)w->t->size)); }

/* What attention is over: normalised tokens, or in the first block of a published net the tokens themselves. */
static rows_of attended(const former_hand *w, int64_t b, int64_t row) {
    return (rows_of){w->t->block[b].norm_attention < 0 ? w->kept[b].x : w->kept[b].normal, row};
}

static void forward_inner(former_hand *w, int64_t b, const extent *e, float *next) {
    const former_block *block = w->t->block + b;
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const int64_t width = w->t->net.width;
    float *hidden = k->hidden;
    const lpb_row_norm between =
        norm_of(w, block->norm_inner, e->count, w->wide, w->wide, k->inner_mean, k->inner_scale);
    isa->normalise_rows(&between, k->middle, k->inner);
    forward(w, &block->up, 0, block->up.outputs, (rows_of){k->inner, w->wide}, e->count, (rows_of){k->hidden, w->inner},
            false);
    if (w->t->net.published) {
        hidden = k->slope;
        isa->reglu(k->hidden, e->count, w->inner, w->t->net.inner, hidden);
        drop_inner(w, b, e->count / w->rows, hidden);
    } else {
        isa->gelu_slope(k->hidden, e->count * w->inner, k->slope);
    }
    copy_rows(k->middle, w->wide, e->count, width, next, w->wide);
    forward(w, &block->down, 0, width, (rows_of){hidden, w->inner}, e->count, (rows_of){next, w->wide}, true);
}

static void forward_block(former_hand *w, int64_t b, float *next) {
    const former_block *block = w->t->block + b;
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const int64_t width = w->t->net.width;
    const extent e = extent_of(w, b);
    const rows_of normal = attended(w, b, w->wide);
    if (block->norm_attention >= 0) {
        const lpb_row_norm before = norm_of(w, block->norm_attention, e.all, w->wide, w->wide, k->mean, k->scale);
        isa->normalise_rows(&before, k->x, k->normal);
    }
    if (e.first_only) {
        forward(w, &block->projection, 0, width, attended(w, b, e.x_row), e.count, (rows_of){k->asked, e.asked_row},
                false);
        if (!e.seen)
            forward(w, &block->projection, width, 2 * width, normal, e.all, (rows_of){k->asked + width, w->triple},
                    false);
    } else {
        forward(w, &block->projection, 0, 3 * width, normal, e.all, (rows_of){k->asked, w->triple}, false);
    }
    scale_rows(isa, k->asked, e.asked_row, e.count, width, query_factor(w));
    if (e.seen) attend_first(w, b, normal.at);
    for (int64_t r = 0; r < w->rows && !e.seen; r++)
        for (int64_t h = 0; h < w->t->net.heads; h++) {
            const attention a = attention_at(w, k, r, h, e.first_only);
            attend(w, &a);
        }
    copy_rows(k->x, e.x_row, e.count, width, k->middle, w->wide);
    forward(w, &block->out, 0, width, (rows_of){k->mixed, w->wide}, e.count, (rows_of){k->middle, w->wide}, true);
    forward_inner(w, b, &e, next);
}

static void back_inner(former_hand *w, int64_t b, const extent *e) {
    const former_block *block = w->t->block + b;
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const int64_t width = w->t->net.width, inner = w->t->net.inner, outputs = block->up.outputs;
    const bool published = w->t->net.published;
    const rows_of g = {w->g, w->wide}, of_hidden = {w->of_hidden, w->inner}, of_normal = {w->of_normal, w->wide};
    back(w, &block->down, 0, width, (rows_of){published ? k->slope : k->hidden, w->inner}, e->count, g, of_hidden,
         false);
    if (published) {
        drop_inner(w, b, e->count / w->rows, w->of_hidden);
        isa->reglu_gradient(k->hidden, e->count, w->inner, inner, w->of_hidden);
    } else {
        isa->reals->combine(LPB_MULTIPLY, w->of_hidden, w->inner, k->slope, w->inner, e->count, w->inner, w->of_hidden);
    }
    back(w, &block->up, 0, outputs, (rows_of){k->inner, w->wide}, e->count, of_hidden, of_normal, false);
    const lpb_row_norm between =
        norm_of(w, block->norm_inner, e->count, w->wide, w->wide, k->inner_mean, k->inner_scale);
    isa->normalise_rows_gradient(&between, k->middle, w->of_normal, w->g, w->wide);
}

/* g, the gradient by what the block gives on, becomes that by all tokens which it is given. */
static void back_block(former_hand *w, int64_t b) {
    const former_block *block = w->t->block + b;
    const former_kept *k = w->kept + b;
    const lpb_isa *isa = w->t->isa;
    const int64_t width = w->t->net.width, tokens = w->t->tokens;
    const extent e = extent_of(w, b);
    back_inner(w, b, &e);
    const rows_of g = {w->g, w->wide}, of_normal = {w->of_normal, w->wide};
    back(w, &block->out, 0, width, (rows_of){k->mixed, w->wide}, e.count, g, (rows_of){w->of_mixed, w->wide}, false);
    if (e.seen) attend_first_back(w, b, attended(w, b, w->wide).at, w->of_asked);
    for (int64_t r = 0; r < w->rows && !e.seen; r++)
        for (int64_t h = 0; h < w->t->net.heads; h++) {
            const attention a = attention_at(w, k, r, h, e.first_only);
            attend_back(w, &a, w->of_mixed + (a.mixed - k->mixed), w->of_asked + (a.queries - k->asked));
        }
    scale_rows(isa, w->of_asked, e.asked_row, e.count, width, query_factor(w));
    const rows_of normal = attended(w, b, w->wide), of_all = {w->of_asked, w->triple};
    if (e.first_only) {
        if (!e.seen)
            back(w, &block->projection, width, 2 * width, normal, e.all, (rows_of){w->of_asked + width, w->triple},
                 of_normal, false);
        back(w, &block->projection, 0, width, attended(w, b, e.x_row), e.count, (rows_of){w->of_asked, e.asked_row},
             (rows_of){w->of_normal, e.x_row}, true);
        copy_rows(w->g, w->wide, e.count, width, w->of_mixed, w->wide);
        memset(w->g, 0, (size_t)(e.all * w->wide) * sizeof *w->g);
        copy_rows(w->of_mixed, w->wide, e.count, width, w->g, tokens * w->wide);
    } else {
        back(w, &block->projection, 0, 3 * width, normal, e.all, of_all, of_normal, false);
    }
    if (block->norm_attention < 0) {
        isa->reals->combine(LPB_ADD, w->g, w->wide, w->of_normal, w->wide, e.all, w->wide, w->g);
        return;
    }
    const lpb_row_norm before = norm_of(w, block->norm_attention, e.all, w->wide, w->wide, k->mean, k->scale);
    isa->normalise_rows_gradient(&before, k->x, w->of_normal, w->g, w->wide);
}

/* Loss of the logits, which become its gradient. */
static void weigh_logits(former_hand *w) {
    const lpb_transformer_batch *b = w->batch;
    for (int64_t r = 0; r < w->rows; r++) {
        float *z = w->logits + r * LPB_ALIGN;
        const int64_t label = b->labels[w->first + r];
        const double weight = b->weights[w->first + r], apart = (double)z[1 - label] - (double)z[label];
        w->loss += weight * (fmax(apart, 0.0) + log1p(exp(-fabs(apart))));
        const float slope = (float)(weight / (1.0 + exp(-apart)));
        z[label] = -slope, z[1 - label] = slope;
    }
}

/* Forward and back through the class head of a published net, over the first tokens: g is the gradient by them. */
static void classify_published(former_hand *w) {
    const lpb_transformer_trainer *t = w->t;
    const rows_of hidden = {w->hidden, w->wide}, logits = {w->logits, LPB_ALIGN}, of_hidden = {w->of_normal, w->wide};
    const int64_t count = w->rows * w->wide;
    const lpb_row_norm own = norm_of(w, t->head_norm, w->rows, w->wide, w->wide, w->head_mean, w->head_scale);
    t->isa->normalise_rows(&own, w->x, w->hidden);
    t->isa->reals->activate(w->hidden, count, LPB_RELU, 0.0f);
    forward(w, &t->classes, 0, 2, hidden, w->rows, logits, false);
    weigh_logits(w);
    back(w, &t->classes, 0, 2, hidden, w->rows, logits, of_hidden, false);
    t->isa->activation_gradient(w->of_normal, w->hidden, count, LPB_RELU, 0.0f);
    memset(w->g, 0, (size_t)count * sizeof *w->g);
    t->isa->normalise_rows_gradient(&own, w->x, w->of_normal, w->g, w->wide);
}

/* The same of the other form: normalised twice, a layer with GELU, and the classes. */
static void classify(former_hand *w) {
    const lpb_transformer_trainer *t = w->t;
    const lpb_isa *isa = t->isa;
    const int64_t width = t->net.width, count = w->rows * w->wide;
    const rows_of head_normal = {w->head_normal, w->wide}, hidden = {w->hidden, w->wide};
    const rows_of logits = {w->logits, LPB_ALIGN}, of_hidden = {w->of_hidden, w->wide};
    const lpb_row_norm last = norm_of(w, t->norm, w->rows, w->wide, w->wide, w->mean, w->scale);
    const lpb_row_norm own = norm_of(w, t->head_norm, w->rows, w->wide, w->wide, w->head_mean, w->head_scale);
    isa->normalise_rows(&last, w->x, w->normal);
    isa->normalise_rows(&own, w->normal, w->head_normal);
    forward(w, &t->head, 0, width, head_normal, w->rows, hidden, false);
    isa->gelu_slope(w->hidden, count, w->slope);
    forward(w, &t->classes, 0, 2, hidden, w->rows, logits, false);
    weigh_logits(w);
    back(w, &t->classes, 0, 2, hidden, w->rows, logits, of_hidden, false);
    isa->reals->combine(LPB_MULTIPLY, w->of_hidden, w->wide, w->slope, w->wide, w->rows, w->wide, w->of_hidden);
    back(w, &t->head, 0, width, head_normal, w->rows, of_hidden, (rows_of){w->of_normal, w->wide}, false);
    memset(w->of_mixed, 0, (size_t)count * sizeof *w->of_mixed);
    isa->normalise_rows_gradient(&own, w->normal, w->of_normal, w->of_mixed, w->wide);
    memset(w->g, 0, (size_t)count * sizeof *w->g);
    isa->normalise_rows_gradient(&last, w->x, w->of_mixed, w->g, w->wide);
}

/* A hidden number, from the hidden values of its token; `of_hidden` is their gradient. */
static void restore_number(former_hand *w, int64_t r, int64_t token, float share, float *of_hidden) {
    const lpb_transformer_trainer *t = w->t;
    const int64_t width = t->net.width, feature = token - 1, row = (r * t->tokens + token) * w->wide;
    const float *weight = value_of(w, t->mask_weight) + feature * width;
    const float wanted = w->batch->x[(w->first + r) * w->batch->x_row + t->columns[2 * feature]];
    float made;
    t->isa->row_dots(w->hidden + row, 1, w->wide, width, weight, value_of(w, t->mask_bias)[feature], &made);
    const double error = (double)made - (double)wanted;
    const float slope = (float)(2.0 * error) * share;
    w->loss += (double)share * error * error;
    gradient_of(w, t->mask_bias)[feature] += slope;
    add_scaled_row(gradient_of(w, t->mask_weight) + feature * width, w->hidden + row, slope, width);
    add_scaled_row(of_hidden + row, weight, slope, width);
}

/* A hidden code: cross-entropy of as many logits as there are codes of it. */
static void restore_code(former_hand *w, int64_t r, int64_t token, float share, float *of_hidden) {
    const lpb_transformer_trainer *t = w->t;
    const int64_t width = t->net.width, own = token - 1 - t->numbers, row = (r * t->tokens + token) * w->wide;
    const int64_t codes = t->columns[2 * (token - 1) + 1], first = own * t->most_codes;
    const float *x = w->batch->x + (w->first + r) * w->batch->x_row, *hidden = w->hidden + row;
    const int64_t wanted = code_of(x[t->columns[2 * (token - 1)]], codes);
    const float *weight = value_of(w, t->mask_code_weight) + first * width;
    float *logits = w->logits, most = -INFINITY;
    for (int64_t c = 0; c < codes; c++) {
        t->isa->row_dots(hidden, 1, w->wide, width, weight + c * width, value_of(w, t->mask_code_bias)[first + c],
                         logits + c);
        most = fmaxf(most, logits[c]);
    }
    double sum = 0;
    for (int64_t c = 0; c < codes; c++) sum += exp((double)logits[c] - (double)most);
    w->loss += (double)share * (log(sum) + (double)most - (double)logits[wanted]);
    for (int64_t c = 0; c < codes; c++) {
        const float slope = share * (float)(exp((double)logits[c] - (double)most) / sum - (c == wanted ? 1.0 : 0.0));
        gradient_of(w, t->mask_code_bias)[first + c] += slope;
        add_scaled_row(gradient_of(w, t->mask_code_weight) + (first + c) * width, hidden, slope, width);
        add_scaled_row(of_hidden + row, weight + c * width, slope, width);
    }
}

/* The end of a net that restores hidden features. */
static void restore_hidden(former_hand *w, float share) {
    const lpb_transformer_trainer *t = w->t;
    const lpb_isa *isa = t->isa;
    const int64_t width = t->net.width, all = w->rows * t->tokens;
    const rows_of normal = {w->normal, w->wide}, of_hidden = {w->of_hidden, w->wide};
    const lpb_row_norm last = norm_of(w, t->norm, all, w->wide, w->wide, w->mean, w->scale);
    isa->normalise_rows(&last, w->x, w->normal);
    forward(w, &t->trunk, 0, width, normal, all, (rows_of){w->hidden, w->wide}, false);
    isa->gelu_slope(w->hidden, all * w->wide, w->slope);
    memset(w->of_hidden, 0, (size_t)(all * w->wide) * sizeof *w->of_hidden);
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t q = 1; q < t->tokens; q++) {
            if (!is_hidden(w, r, q)) continue;
            if (q <= t->numbers)
                restore_number(w, r, q, share, w->of_hidden);
            else
                restore_code(w, r, q, share, w->of_hidden);
        }
    isa->reals->combine(LPB_MULTIPLY, w->of_hidden, w->wide, w->slope, w->wide, all, w->wide, w->of_hidden);
    back(w, &t->trunk, 0, width, normal, all, of_hidden, (rows_of){w->of_normal, w->wide}, false);
    memset(w->g, 0, (size_t)(all * w->wide) * sizeof *w->g);
    isa->normalise_rows_gradient(&last, w->x, w->of_normal, w->g, w->wide);
}

void lpb_former_pass(former_hand *w, int64_t first, int64_t rows, float share) {
    const int64_t blocks = w->t->net.blocks;
    w->first = first, w->rows = rows;
    make_tokens(w, w->kept[0].x);
    for (int64_t b = 0; b < blocks; b++) forward_block(w, b, b + 1 < blocks ? w->kept[b + 1].x : w->x);
    if (w->t->net.masked)
        restore_hidden(w, share);
    else if (w->t->net.published)
        classify_published(w);
    else
        classify(w);
    for (int64_t b = blocks - 1; b >= 0; b--) back_block(w, b);
    learn_tokens(w, w->g);
}

/* The next `count` floats of the memory. */
static float *piece(float *memory, int64_t *taken, int64_t count) {
    float *at = memory ? memory + *taken : NULL;
    *taken += padded(count);
    return at;
}

int64_t lpb_former_place(former_hand *w, float *memory) {
    const lpb_transformer_trainer *t = w->t;
    const int64_t rows = t->together * t->tokens, columns = padded(t->tokens), heads = padded(t->net.heads);
    int64_t taken = 0;
    w->wide = lpb_odd_lines(t->net.width), w->triple = lpb_odd_lines(3 * t->net.width),
    w->inner = lpb_odd_lines(t->net.inner * (t->net.published ? 2 : 1));
    const int64_t whole = rows * w->wide, hidden = rows * (w->inner > w->wide ? w->inner : w->wide);
    for (int64_t b = 0; b < t->net.blocks; b++) {
        float **wide[] = {&w->kept[b].x, &w->kept[b].normal, &w->kept[b].mixed, &w->kept[b].middle, &w->kept[b].inner};
        float **single[] = {&w->kept[b].mean, &w->kept[b].scale, &w->kept[b].inner_mean, &w->kept[b].inner_scale};
        for (int i = 0; i < 5; i++) *wide[i] = piece(memory, &taken, whole);
        for (int i = 0; i < 4; i++) *single[i] = piece(memory, &taken, rows);
        w->kept[b].asked = piece(memory, &taken, rows * w->triple);
        w->kept[b].most = piece(memory, &taken, t->together * t->net.heads * columns);
        w->kept[b].parts = piece(memory, &taken, t->together * t->net.heads * columns);
        w->kept[b].hidden = piece(memory, &taken, rows * w->inner);
        w->kept[b].slope = piece(memory, &taken, rows * w->inner);
    }
    float **wide[] = {&w->x, &w->normal, &w->head_normal, &w->hidden, &w->slope, &w->g, &w->of_normal, &w->of_mixed};
    float **single[] = {&w->mean, &w->scale, &w->head_mean, &w->head_scale};
    for (int i = 0; i < 8; i++) *wide[i] = piece(memory, &taken, whole);
    for (int i = 0; i < 4; i++) *single[i] = piece(memory, &taken, rows);
    w->logits = piece(memory, &taken, t->together * LPB_ALIGN + t->most_codes);
    w->of_asked = piece(memory, &taken, rows * w->triple);
    w->of_hidden = piece(memory, &taken, hidden);
    w->turned = piece(memory, &taken, t->size * columns);
    w->of_shares = piece(memory, &taken, t->tokens * (columns > heads ? columns : heads));
    float **of_heads[] = {&w->seen, &w->taken, &w->of_seen, &w->of_taken};
    for (int i = 0; i < 4; i++) *of_heads[i] = piece(memory, &taken, t->together * t->net.heads * w->wide);
    w->first_shares = piece(memory, &taken, rows * heads);
    w->turned_heads = piece(memory, &taken, t->net.width * heads);
    w->of_heads = piece(memory, &taken, 2 * heads);
    w->shares = piece(memory, &taken, t->tokens * columns);
    w->dropped = piece(memory, &taken, t->tokens * columns);
    w->bits = (uint16_t *)piece(memory, &taken, t->tokens * (columns > t->net.inner ? columns : t->net.inner));
    w->gradient = piece(memory, &taken, t->floats);
    return taken;
}
