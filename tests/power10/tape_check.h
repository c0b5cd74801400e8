/* A training step on a tape against double precision, and tapes of which one number is wrong: they are refused, or stay
 * inside their memory. Included by kernel_check.c. */
enum { TAPE_VALUES = 48, TAPE_OPERATIONS = 40, TAPE_WIDTH = 24, LINKS = 5, PICKED = 6, COLLECTED = 4 };

typedef struct {
    lpb_tape_value value[TAPE_VALUES];
    lpb_tape_operation operation[TAPE_OPERATIONS];
    int64_t values, operations;
    lpb_tape_sizes sizes;
    lpb_tape_table table[3];
    int64_t entry[3 * LINKS + PICKED + 3 * COLLECTED];
} drawn_tape;

enum { ENTRIES = 3 * LINKS + PICKED + 3 * COLLECTED };

static int64_t add_value(drawn_tape *t, int64_t rows, int64_t columns, int64_t spare) {
    const int64_t ld = lpb_round_up(columns + spare, LPB_ALIGN);
    t->value[t->values] = (lpb_tape_value){t->sizes.floats, rows, columns, ld};
    t->sizes.floats += rows * ld;
    return t->values++;
}

static void add(drawn_tape *t, lpb_tape_kind kind, int64_t a, int64_t b, int64_t c, int64_t d, int64_t word,
                int64_t number, double real) {
    t->operation[t->operations++] = (lpb_tape_operation){kind, a, b, c, d, word, number, {real, 0.2, 0, 0}};
}

/* The numbers of values by what they are. */
typedef struct {
    int64_t x, z, weight, bias, plain, h, gamma, beta, norm, w, b, logits, g, gw, gb, gh, gweight, gbias, turned, gx,
        average, soft, gate, product, bent, sum, distance, linked, picked, collected;
} tape_parts;

enum { SHARE_DROPPED = 3 }; /* tenths */

/* Pairs of rows of x times the weights, added to two blocks; rows of x or none; numbers of every other row of x. */
static void draw_tables(drawn_tape *t, tape_parts *p, int64_t rows, int64_t inputs, int64_t width, lpb_activation act) {
    p->linked = add_value(t, 4, width, 0), p->picked = add_value(t, PICKED, inputs, 0);
    p->collected = add_value(t, COLLECTED, 2, 0);
    int64_t *entry = t->entry;
    for (int64_t i = 0; i < LINKS; i++, entry += 3) entry[0] = i % 2, entry[1] = below(rows / 2), entry[2] = 0;
    for (int64_t i = 0; i < PICKED; i++) *entry++ = below(rows + 1) - 1;
    for (int64_t i = 0; i < 3 * COLLECTED; i++) *entry++ = below(rows / 2 * inputs + 1) - 1;
    t->table[0] = (lpb_tape_table){0, LINKS, 3, 2};
    t->table[1] = (lpb_tape_table){3 * LINKS, PICKED, 1, 1};
    t->table[2] = (lpb_tape_table){3 * LINKS + PICKED, COLLECTED, 3, 1};
    add(t, LPB_TAPE_BLOCKS, p->x, p->weight, p->linked, p->bias, act, 0, 0.25);
    add(t, LPB_TAPE_PICK, p->x, -1, p->picked, -1, 0, 1, 0);
    add(t, LPB_TAPE_COLLECT, p->x, -1, p->collected, p->b, 0, 2, 0);
}

/* Rows and drawn numbers through a normalised layer with dropout to a logit, and all the way back. */
static tape_parts draw_tape(drawn_tape *t, int64_t rows, int64_t inputs, int64_t width, lpb_activation act) {
    const double dropped = SHARE_DROPPED / 10.0;
    tape_parts p;
    p.x = add_value(t, rows, inputs, 0), p.z = add_value(t, rows, inputs, 0);
    p.weight = add_value(t, inputs, width, 0), p.bias = add_value(t, 1, width, 0);
    p.plain = add_value(t, rows, width, 0), p.h = add_value(t, rows, width, 0);
    p.gamma = add_value(t, 1, width, 0), p.beta = add_value(t, 1, width, 0);
    p.norm = add_value(t, 1, width, 0);
    for (int i = 1; i < 8; i++) add_value(t, 1, width, 0);
    p.w = add_value(t, 1, width, 0), p.b = add_value(t, 1, 1, 0);
    p.logits = add_value(t, 1, rows, 16), p.g = add_value(t, 1, rows, 16);
    p.gw = add_value(t, 1, width, 0), p.gb = add_value(t, 1, 1, 0), p.gh = add_value(t, rows, width, 0);
    p.gweight = add_value(t, inputs, width, 0), p.gbias = add_value(t, 1, width, 0);
    p.turned = add_value(t, width, inputs, 0), p.gx = add_value(t, rows, inputs, 0);
    p.average = add_value(t, 1, lpb_round_up(width, LPB_ALIGN), 0);
    int64_t *elementwise[] = {&p.soft, &p.gate, &p.product, &p.bent, &p.sum, &p.distance};
    for (int i = 0; i < 6; i++) *elementwise[i] = add_value(t, rows, width, 0);
    add(t, LPB_TAPE_GATHER, -1, -1, p.x, -1, 0, 0, 0);
    add(t, LPB_TAPE_NORMAL, -1, -1, p.z, -1, 0, 0, 0);
    add(t, LPB_TAPE_PRODUCT, p.x, p.weight, p.plain, -1, 0, 0, 0);
    add(t, LPB_TAPE_PRODUCT, p.z, p.weight, p.plain, p.bias, 0, 2, 0);
    add(t, LPB_TAPE_NORM, p.plain, p.gamma, p.h, p.beta, 0, p.norm, 0.1);
    add(t, LPB_TAPE_ACTIVATE, -1, -1, p.h, -1, act, 0, 0.25);
    add(t, LPB_TAPE_DROP, -1, -1, p.h, -1, 0, 4, dropped);
    add(t, LPB_TAPE_DOTS, p.h, p.w, p.logits, p.b, 0, 0, 0);
    add(t, LPB_TAPE_PAIR, p.logits, -1, p.g, -1, rows % 2, 1, 1.0);
    add(t, LPB_TAPE_PRODUCT, p.g, p.h, p.gw, -1, 0, 0, 0);
    add(t, LPB_TAPE_CLEAR, -1, -1, p.gb, -1, 0, 0, 0);
    add(t, LPB_TAPE_SUMS, p.g, -1, p.gb, -1, 0, 2, 0);
    add(t, LPB_TAPE_PRODUCT, p.g, p.w, p.gh, -1, 0, 1, 0);
    add(t, LPB_TAPE_DROP, -1, -1, p.gh, -1, 0, 4, dropped);
    add(t, LPB_TAPE_GATE, p.h, -1, p.gh, -1, act, 0, 0.25);
    add(t, LPB_TAPE_CLEAR, -1, -1, p.norm + 6, -1, 0, 0, 0);
    add(t, LPB_TAPE_CLEAR, -1, -1, p.norm + 7, -1, 0, 0, 0);
    add(t, LPB_TAPE_NORM_GRADIENT, p.plain, p.gamma, p.gh, p.beta, 1, p.norm, 0.1);
    add(t, LPB_TAPE_PRODUCT, p.x, p.gh, p.gweight, -1, 0, 1, 0);
    add(t, LPB_TAPE_PRODUCT, p.z, p.gh, p.gweight, -1, 0, 3, 0);
    add(t, LPB_TAPE_SUMS, p.gh, -1, p.gbias, -1, 0, 0, 0);
    add(t, LPB_TAPE_TURN, p.weight, -1, p.turned, -1, 0, 0, 0);
    add(t, LPB_TAPE_PRODUCT, p.gh, p.turned, p.gx, -1, 0, 0, 0);
    add(t, LPB_TAPE_FOLLOW, p.average, -1, p.average, -1, 0, 0, 0.5);
    add(t, LPB_TAPE_SOFT, p.plain, -1, p.soft, p.gate, 0, 0, 0);
    add(t, LPB_TAPE_MULTIPLY, p.soft, p.gate, p.product, -1, 0, 0, 0);
    add(t, LPB_TAPE_ADD, p.soft, p.gate, p.bent, -1, 0, 0, -0.5);
    add(t, LPB_TAPE_ADD, p.soft, p.gate, p.sum, -1, 0, 0, -0.5);
    add(t, LPB_TAPE_BEND, p.soft, rows % 3 ? p.product : -1, p.bent, p.gate, 0, 0, 0);
    add(t, LPB_TAPE_SQUARE, p.soft, p.gate, p.distance, -1, 0, 0, 0.25);
    draw_tables(t, &p, rows, inputs, width, act);
    t->sizes.features = inputs, t->sizes.batch = rows, t->sizes.orders = 1, t->sizes.losses = 3;
    t->sizes.normals = rows * inputs, t->sizes.words = 1 + (rows * width + 3) / 4;
    return p;
}

static float at(const drawn_tape *t, const float *memory, int64_t value, int64_t r, int64_t j) {
    return memory[t->value[value].offset + r * t->value[value].ld + j];
}

static void hold(const lpb_isa *isa, const char *what, double found, double expected) {
    if (!(fabs(found - expected) <= 1e-4 * (1 + fabs(expected)))) fail(isa, what, found, expected);
}

static bool keeps(const lpb_tape_data *data, int64_t entry) { return data->words[4 + entry] >= 19661; }

/* The same step in double; what the tape has left in `memory` is compared with it. */
static void compare_tape(const lpb_isa *isa, const drawn_tape *t, const tape_parts *p, const float *memory,
                         const lpb_tape_data *data, lpb_activation act) {
    const int64_t rows = t->sizes.batch, inputs = t->sizes.features, width = t->value[p->bias].columns;
    static double in[40][TAPE_WIDTH], normal[40][TAPE_WIDTH], h[40][TAPE_WIDTH], gh[40][TAPE_WIDTH];
    double g[40], scale[TAPE_WIDTH], loss[2] = {0, 0};
    const int64_t half = rows % 2 ? rows : rows / 2;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < inputs; i++)
            in[r][i] = (double)data->x[data->orders[0][r] * data->x_row + i] + data->normals[r * inputs + i];
    for (int64_t j = 0; j < width; j++) {
        double mean = 0, variance = 0, plain[40];
        for (int64_t r = 0; r < rows; r++) {
            plain[r] = at(t, memory, p->bias, 0, j);
            for (int64_t i = 0; i < inputs; i++) plain[r] += in[r][i] * at(t, memory, p->weight, i, j);
            mean += plain[r] / (double)rows;
        }
        for (int64_t r = 0; r < rows; r++) variance += (plain[r] - mean) * (plain[r] - mean) / (double)rows;
        scale[j] = 1 / sqrt(variance + 0.2);
        for (int64_t r = 0; r < rows; r++) {
            normal[r][j] = (plain[r] - mean) * scale[j];
            h[r][j] = activated(normal[r][j] * at(t, memory, p->gamma, 0, j) + at(t, memory, p->beta, 0, j), act, 0.25);
            h[r][j] *= keeps(data, r * width + j) ? 1 / 0.7 : 0;
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        double z = at(t, memory, p->b, 0, 0);
        for (int64_t j = 0; j < width; j++) z += h[r][j] * at(t, memory, p->w, 0, j);
        const double target = r < half ? 1 : 0;
        loss[r >= half] += (fmax(z, 0) - z * target + log1p(exp(-fabs(z)))) / (double)half;
        g[r] = (1 / (1 + exp(-z)) - target) / (double)half;
    }
    hold(isa, "tape loss", data->losses[1], loss[0]);
    if (half < rows) hold(isa, "tape second loss", data->losses[2], loss[1]);
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) sum += g[r];
    hold(isa, "tape logit bias", at(t, memory, p->gb, 0, 0), sum);
    for (int64_t j = 0; j < width; j++) {
        double of_w = 0, sums = 0, products = 0;
        for (int64_t r = 0; r < rows; r++) {
            const double v = h[r][j] * 0.7, slope = act == LPB_RELU ? 0 : 0.25;
            of_w += g[r] * h[r][j];
            gh[r][j] = g[r] * at(t, memory, p->w, 0, j) * (keeps(data, r * width + j) ? 1 / 0.7 : 0);
            if (act != LPB_IDENTITY && !(v > 0)) gh[r][j] *= slope;
            sums += gh[r][j], products += gh[r][j] * normal[r][j];
        }
        hold(isa, "tape logit weight", at(t, memory, p->gw, 0, j), of_w);
        hold(isa, "tape norm bias", at(t, memory, p->norm + 7, 0, j), sums);
        hold(isa, "tape norm weight", at(t, memory, p->norm + 6, 0, j), products);
        for (int64_t r = 0; r < rows; r++)
            gh[r][j] =
                (gh[r][j] - (sums + normal[r][j] * products) / (double)rows) * scale[j] * at(t, memory, p->gamma, 0, j);
        for (int64_t i = 0; i < inputs; i++) {
            double of_weight = 0;
            for (int64_t r = 0; r < rows; r++) of_weight += in[r][i] * gh[r][j];
            hold(isa, "tape weight", at(t, memory, p->gweight, i, j), of_weight);
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < inputs; i++) {
            double of_x = 0;
            for (int64_t j = 0; j < width; j++) of_x += gh[r][j] * at(t, memory, p->weight, i, j);
            hold(isa, "tape input", at(t, memory, p->gx, r, i), of_x);
        }
}

/* What is done number by number, padding included. */
static void compare_elementwise(const lpb_isa *isa, const drawn_tape *t, const tape_parts *p, const float *memory,
                                const lpb_tape_data *data) {
    const lpb_tape_value *v = t->value;
    double squares = 0;
    for (int64_t i = 0; i < v[p->plain].rows * v[p->plain].ld; i++) {
        const double x = memory[v[p->plain].offset + i], s = 1 / (1 + exp(-x)),
                     soft = log1p(exp(-fabs(x))) + fmax(x, 0);
        const double factor = t->sizes.batch % 3 ? soft * s : 1;
        squares += 0.25 * (soft - s) * (soft - s);
        hold(isa, "tape softplus", memory[v[p->soft].offset + i], soft);
        hold(isa, "tape sigmoid", memory[v[p->gate].offset + i], s);
        hold(isa, "tape multiply", memory[v[p->product].offset + i], soft * s);
        hold(isa, "tape add", memory[v[p->sum].offset + i], soft - 0.5 * s);
        hold(isa, "tape bend", memory[v[p->bent].offset + i], s * (soft - 0.5 * s + soft * factor * (1 - s)));
        hold(isa, "tape distance", memory[v[p->distance].offset + i], 0.5 * (soft - s));
    }
    hold(isa, "tape squares", data->losses[0], squares);
}

static void compare_tables(const lpb_isa *isa, const drawn_tape *t, const tape_parts *p, const float *memory,
                           lpb_activation act) {
    const int64_t inputs = t->sizes.features, width = t->value[p->bias].columns;
    for (int64_t r = 0; r < 4; r++)
        for (int64_t j = 0; j < width; j++) {
            double sum = at(t, memory, p->bias, 0, j);
            for (int64_t i = r / 2; i < LINKS; i += 2)
                for (int64_t q = 0; q < inputs; q++)
                    sum += (double)at(t, memory, p->x, 2 * t->entry[3 * i + 1] + r % 2, q) *
                           at(t, memory, p->weight, q, j);
            hold(isa, "tape blocks", at(t, memory, p->linked, r, j), activated(sum, act, 0.25));
        }
    const int64_t *entry = t->entry + 3 * LINKS;
    for (int64_t r = 0; r < PICKED; r++, entry++)
        for (int64_t j = 0; j < inputs; j++)
            hold(isa, "tape pick", at(t, memory, p->picked, r, j), *entry < 0 ? 0 : at(t, memory, p->x, *entry, j));
    for (int64_t r = 0; r < COLLECTED; r++, entry += 3)
        for (int64_t j = 0; j < 2; j++) {
            double sum = at(t, memory, p->b, 0, 0);
            for (int64_t i = 0; i < 3; i++)
                if (entry[i] >= 0) sum += at(t, memory, p->x, entry[i] / inputs * 2 + j, entry[i] % inputs);
            hold(isa, "tape collect", at(t, memory, p->collected, r, j), sum);
        }
}

/* One number of one operation, value or table becomes another. */
static void spoil(drawn_tape *t) {
    const int64_t wrong[] = {-2, -1, 0, 1, 7, 15, 40, 1 << 20, INT64_MAX, INT64_MIN};
    const int64_t number = wrong[below(10)];
    const int64_t what = below(5);
    if (what < 2) {
        int64_t *fields = (int64_t *)(t->value + below(t->values));
        fields[below(4)] = number;
    } else if (what == 2) {
        int64_t *fields = (int64_t *)(t->table + below(3));
        *(below(2) ? fields + below(4) : t->entry + below(ENTRIES)) = number;
    } else {
        lpb_tape_operation *o = t->operation + below(t->operations);
        int64_t *fields[] = {&o->a, &o->b, &o->c, &o->d, &o->word, &o->number};
        *fields[below(6)] = number;
        if (below(3) == 0) o->kind = (lpb_tape_kind)below(LPB_TAPE_KINDS);
    }
}

static void check_tape(const lpb_isa *isa) {
    const lpb_activation act = (lpb_activation)below(LPB_TANH);
    const int64_t rows = 4 + below(30), inputs = 1 + below(TAPE_WIDTH), width = 2 + below(TAPE_WIDTH - 1);
    drawn_tape t = {.values = 0};
    const tape_parts p = draw_tape(&t, rows, inputs, width, act);
    float *memory = numbers(t.sizes.floats + 16), *x = numbers(50 * inputs), *normals = numbers(t.sizes.normals);
    uint16_t *words = block((size_t)t.sizes.words * 8);
    for (int64_t i = 0; i < 4 * t.sizes.words; i++) words[i] = (uint16_t)bits();
    int64_t order[40];
    for (int64_t r = 0; r < rows; r++) order[r] = below(50);
    const int64_t *orders[] = {order};
    float losses[3];
    const lpb_tape_data data = {x, inputs, orders, normals, words, losses};
    const lpb_tape_tables tables = {t.table, 3, t.entry, ENTRIES};
    lpb_tape *tape;
    int64_t wrong;
    if (lpb_tape_new(isa, memory, &t.sizes, t.value, t.values, t.operation, t.operations, &tables, &tape, &wrong) !=
        LPB_OK)
        fail(isa, "tape operation refused", (double)wrong, -1);
    lpb_tape_run(tape, &data, 1);
    compare_tape(isa, &t, &p, memory, &data, act);
    compare_elementwise(isa, &t, &p, memory, &data);
    compare_tables(isa, &t, &p, memory, act);
    lpb_tape_free(tape);
    spoil(&t);
    if (lpb_tape_new(isa, memory, &t.sizes, t.value, t.values, t.operation, t.operations, &tables, &tape, &wrong) ==
        LPB_OK) {
        lpb_tape_run(tape, &data, 1);
        lpb_tape_free(tape);
    }
    free(memory), free(x), free(normals), free(words);
}
