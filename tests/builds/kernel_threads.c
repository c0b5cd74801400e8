/* The thread pool and what runs on it, for ThreadSanitizer: several callers at once, each asking for several threads,
 * with jobs of few and of many parts, while the placement of a caller changes. Every result must equal that of one
 * thread, bit by bit. Prints "same" at the end; exits 1 at the first difference. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/lparbench_kernels.h"

enum { CALLERS = 3, ROUNDS = 12, THREADS = 4, ROWS = 300, WIDTH = 21, TRAINERS = 3, BATCH = 32, STEPS = 3 };
enum { FEW = 8, BLOCK = 20 }; /* rows of a transformer whose heads and layers threads share */
enum { LOSSES = (ROWS + BATCH - 1) / BATCH };

static float x[ROWS * WIDTH], weights[2][WIDTH * WIDTH], biases[2][WIDTH];
static int64_t order[ROWS];
static lpb_chain *chains[LPB_DTYPES];
static lpb_plan *plans[LPB_DTYPES], *shared;

/* What one round computes. */
typedef struct {
    float few[ROWS * WIDTH], many[ROWS * WIDTH];
    float scores[LPB_DTYPES][ROWS], planned[LPB_DTYPES][ROWS];
    float few_shared[FEW], block_shared[BLOCK];
    float losses[TRAINERS][LOSSES];
    float trained[TRAINERS][2][WIDTH * WIDTH];
    double steps[STEPS], recurrent_steps[2][STEPS], convolved_steps[STEPS];
} results;

static void need(bool condition, const char *what) {
    if (condition) return;
    printf("%s\n", what);
    exit(1);
}

static lpb_layer layer(int l) {
    const lpb_activation activation = l ? LPB_IDENTITY : LPB_TANH;
    return (lpb_layer){
        .inputs = WIDTH, .outputs = WIDTH, .weight = weights[l], .bias = biases[l], .activation = activation};
}

static lpb_gemm product(int64_t batch, float *out) {
    const int64_t rows = ROWS / batch;
    return (lpb_gemm){
        .batch = batch,
        .m = rows,
        .n = WIDTH,
        .k = WIDTH,
        .a = x,
        .a_batch = rows * WIDTH,
        .a_row = WIDTH,
        .a_col = 1,
        .b = weights[0],
        .b_row = WIDTH,
        .b_col = 1,
        .c = out,
        .c_batch = rows * WIDTH,
        .c_row = WIDTH,
        .alpha = 0.5f,
        .activation = LPB_SIGMOID,
    };
}

static void train(results *r, int threads) {
    const lpb_layer layers[] = {layer(0), layer(1)};
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, 1.0};
    lpb_trainer *trainers[TRAINERS];
    const int64_t *orders[TRAINERS];
    const float *noises[TRAINERS] = {NULL};
    float *losses[TRAINERS];
    for (int t = 0; t < TRAINERS; t++) {
        trainers[t] = lpb_trainer_new(lpb_isa_best(), layers, 2, LPB_LOSS_MSE, NULL, &adam);
        orders[t] = order;
        losses[t] = r->losses[t];
        need(trainers[t], "no trainer");
        lpb_trainer_set_learning_rate(trainers[t], 1e-3 * (t + 1));
    }
    need(lpb_trainer_epoch_many(trainers, TRAINERS, x, WIDTH, NULL, orders, noises, ROWS, BATCH, losses, threads) ==
             LPB_OK,
         "training failed");
    for (int t = 0; t < TRAINERS; t++) {
        float bias[2][WIDTH];
        lpb_trainer_read(trainers[t], (float *[]){r->trained[t][0], r->trained[t][1]}, (float *[]){bias[0], bias[1]});
        lpb_trainer_free(trainers[t]);
    }
}

/* Three steps of a transformer of four numbers and a category; rows are always divided among as many threads. */
static void train_transformer(results *r) {
    static const int64_t columns[] = {0, 0, 1, 0, 2, 0, 3, 0, 4, 3};
    static const int64_t sizes[] = {64, 64, 16, 16, 48, 16,  16, 768, 48, 256, 16, 16, 16, 256, 16,  256,
                                    16, 16, 16, 16, 16, 256, 16, 32,  2,  16,  64, 4,  48, 3,   256, 16};
    enum { PARAMETERS = sizeof sizes / sizeof *sizes, TRAINED = 30 };
    static const int64_t decays[PARAMETERS] = {1, 0, 1};
    const lpb_transformer_net net = {
        .features = WIDTH, .width = 16, .heads = 4, .blocks = 1, .inner = 16, .tokens = 5, .columns = columns};
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, 0};
    int64_t labels[TRAINED];
    float shares[TRAINED];
    for (int i = 0; i < TRAINED; i++) labels[i] = i % 2, shares[i] = 1.0f / TRAINED;
    const lpb_transformer_batch batch = {x, WIDTH, TRAINED, labels, shares, NULL};
    lpb_transformer_trainer *t;
    need(lpb_transformer_trainer_new(lpb_isa_best(), &net, sizes, decays, PARAMETERS, x, &t) == LPB_OK,
         "no transformer");
    for (int step = 0; step < STEPS; step++)
        need(lpb_transformer_trainer_step(t, &batch, &adam, 0.1, THREADS, NULL, r->steps + step) == LPB_OK, "no step");
    lpb_transformer_trainer_free(t);
}

/* Three steps of two layers of an LSTM over windows, or of one in both directions whose head normalises. */
static void train_recurrent(results *r, bool normalised) {
    enum { FEATURES = 7, TRAINED = 30 };
    static const int64_t plain[] = {448, 1024, 64, 64, 1024, 1024, 64, 64, 16, 1};
    static const int64_t both[] = {448,  1024, 64, 64, 448, 1024, 64, 64, 3072, 96,
                                   1024, 32,   32, 32, 256, 8,    8,  1,  32,   32};
    static const int64_t learns[sizeof both / sizeof *both] = {1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const int64_t units[] = {16, 16};
    static const double dropout[] = {0.25, 0.5};
    const lpb_classifier_net net = {.features = FEATURES,
                                    .steps = WIDTH / FEATURES,
                                    .directions = normalised ? 2 : 1,
                                    .count = normalised ? 1 : 2,
                                    .sizes = units,
                                    .dropout = dropout,
                                    .heads = normalised ? 4 : 0,
                                    .hidden = normalised ? 8 : 0,
                                    .normalised = normalised,
                                    .gamma = 2,
                                    .weights = {0.25, 0.75}};
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, 1};
    float start[8192];
    for (int64_t i = 0; i < 8192; i++) start[i] = 0.1f * x[i % (ROWS * WIDTH)];
    int64_t labels[TRAINED];
    for (int i = 0; i < TRAINED; i++) labels[i] = i % 2;
    const lpb_classifier_batch batch = {x, WIDTH, TRAINED, labels};
    const int64_t *sizes = normalised ? both : plain;
    const int64_t count = (int64_t)(normalised ? sizeof both / sizeof *both : sizeof plain / sizeof *plain);
    lpb_classifier_trainer *t;
    need(lpb_classifier_trainer_new(lpb_isa_best(), &net, sizes, learns, count, start, &t) == LPB_OK, "no classifier");
    for (int step = 0; step < STEPS; step++)
        need(lpb_classifier_trainer_step(t, &batch, &adam, 0.1, THREADS, NULL, r->recurrent_steps[normalised] + step) ==
                 LPB_OK,
             "no step");
    lpb_classifier_trainer_free(t);
}

/* Three steps of two branches of convolutions. */
static void train_convolutions(results *r) {
    enum { TRAINED = 60 };
    static const int64_t sizes[] = {15, 5, 150, 10, 5, 5, 50, 10, 180, 9, 9, 1};
    static const int64_t taps[] = {3, 1}, learns[sizeof sizes / sizeof *sizes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const double dropout[] = {0, 0};
    const lpb_classifier_net net = {.trunk = LPB_TRUNK_CONVOLUTIONS,
                                    .features = WIDTH,
                                    .steps = 1,
                                    .directions = 1,
                                    .count = 2,
                                    .sizes = taps,
                                    .dropout = dropout,
                                    .channels = 5,
                                    .hidden = 9,
                                    .hidden_dropout = 0.4,
                                    .weights = {1, 1}};
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, 1};
    int64_t labels[TRAINED];
    for (int i = 0; i < TRAINED; i++) labels[i] = i % 2;
    const lpb_classifier_batch batch = {x, WIDTH, TRAINED, labels};
    lpb_classifier_trainer *t;
    need(lpb_classifier_trainer_new(lpb_isa_best(), &net, sizes, learns, 12, x, &t) == LPB_OK, "no convolutions");
    for (int step = 0; step < STEPS; step++)
        need(lpb_classifier_trainer_step(t, &batch, &adam, 0.1, THREADS, NULL, r->convolved_steps + step) == LPB_OK,
             "no step");
    lpb_classifier_trainer_free(t);
}

static void compute(results *r, int threads) {
    const lpb_gemm few = product(1, r->few), many = product(50, r->many);
    need(lpb_gemm_run(lpb_isa_best(), LPB_FLOAT32, &few, threads) == LPB_OK, "a product of few items failed");
    need(lpb_gemm_run(lpb_isa_best(), LPB_FLOAT32, &many, threads) == LPB_OK, "a product of many items failed");
    for (int dtype = 0; dtype < LPB_DTYPES; dtype++) {
        need(lpb_chain_run(chains[dtype], x, ROWS, WIDTH, r->scores[dtype], threads) == LPB_OK, "a chain failed");
        need(lpb_plan_run(plans[dtype], x, ROWS, WIDTH, r->planned[dtype], threads) == LPB_OK, "a plan failed");
    }
    need(lpb_plan_run(shared, x, FEW, WIDTH, r->few_shared, threads) == LPB_OK, "a shared plan failed");
    need(lpb_plan_run(shared, x, BLOCK, WIDTH, r->block_shared, threads) == LPB_OK, "a shared block failed");
    train(r, threads);
    train_transformer(r);
    train_recurrent(r, false);
    train_recurrent(r, true);
    train_convolutions(r);
}

/* A layer, a tree over its outputs, neighbours of the rows, and both together; in float32 a transformer of four tokens
 * and seven features too. */
static lpb_plan *new_plan(lpb_dtype dtype) {
    static const int32_t feature[] = {3, 0, 0}, left[] = {1, 1, 2}, right[] = {2, 1, 2};
    static const float threshold[] = {0.1f, 0, 0}, value[] = {0, 1, 2};
    static const int64_t values[] = {0, 1, 2, 3}, columns[] = {-1, 0, 0, 0, 5, 0, 20, 0}, sums[] = {4, 6};
    const lpb_step steps[] = {
        {.kind = LPB_STEP_DENSE,
         .word = LPB_TANH,
         .inputs = values,
         .input_count = 1,
         .arrays = {{weights[0], LPB_ARRAY_FLOAT, WIDTH, WIDTH}, {biases[0], LPB_ARRAY_FLOAT, 1, WIDTH}},
         .array_count = 2},
        {.kind = LPB_STEP_TREES,
         .inputs = values + 1,
         .input_count = 1,
         .arrays = {{feature, LPB_ARRAY_INT32, 1, 3},
                    {threshold, LPB_ARRAY_FLOAT, 1, 3},
                    {left, LPB_ARRAY_INT32, 1, 3},
                    {right, LPB_ARRAY_INT32, 1, 3},
                    {value, LPB_ARRAY_FLOAT, 1, 3}},
         .array_count = 5},
        {.kind = LPB_STEP_NEIGHBOUR,
         .inputs = values,
         .input_count = 1,
         .arrays = {{x, LPB_ARRAY_FLOAT, ROWS, WIDTH}},
         .array_count = 1,
         .number = 3},
        {.kind = LPB_STEP_ELEMENTWISE, .word = LPB_MULTIPLY, .inputs = values + 2, .input_count = 2},
        {.kind = LPB_STEP_TRANSFORMER,
         .inputs = values,
         .input_count = 1,
         .arrays = {{x, LPB_ARRAY_FLOAT, 8, 7},
                    {columns, LPB_ARRAY_INT64, 4, 2},
                    {weights[0], LPB_ARRAY_FLOAT, 1, 4 * 49 + 5 * 7 + 3 * 15},
                    {weights[1], LPB_ARRAY_FLOAT, 1, 2 * 49 + 7}},
         .array_count = 4,
         .number = 7},
        {.kind = LPB_STEP_REDUCE, .word = LPB_SUM, .inputs = (const int64_t[]){5}, .input_count = 1},
        {.kind = LPB_STEP_ELEMENTWISE, .word = LPB_ADD, .inputs = sums, .input_count = 2},
    };
    lpb_plan *plan = NULL;
    int64_t wrong;
    need(lpb_plan_new(lpb_isa_best(), WIDTH, steps, dtype ? 4 : 7, dtype, &plan, &wrong) == LPB_OK, "no plan");
    return plan;
}

/* A transformer of 30 tokens, 21 features, seven heads and an inner net of 40. */
static lpb_plan *new_shared(void) {
    static int64_t columns[2 * 30];
    static const int64_t values[] = {0, 1};
    for (int64_t q = 0; q < 30; q++) columns[2 * q] = q % (WIDTH + 1) - 1;
    const float *tables = x, *blocks = tables + 60 * WIDTH, *last = blocks + 4 * 441 + 5 * 21 + 40 * 43;
    const lpb_step steps[] = {
        {.kind = LPB_STEP_TRANSFORMER,
         .inputs = values,
         .input_count = 1,
         .arrays = {{tables, LPB_ARRAY_FLOAT, 60, WIDTH},
                    {columns, LPB_ARRAY_INT64, 30, 2},
                    {blocks, LPB_ARRAY_FLOAT, 1, 4 * 441 + 5 * 21 + 40 * 43},
                    {last, LPB_ARRAY_FLOAT, 1, 2 * 441 + 21}},
         .array_count = 4,
         .number = 7},
        {.kind = LPB_STEP_REDUCE, .word = LPB_SUM, .inputs = values + 1, .input_count = 1},
    };
    lpb_plan *plan = NULL;
    int64_t wrong;
    need(lpb_plan_new(lpb_isa_best(), WIDTH, steps, 2, LPB_FLOAT32, &plan, &wrong) == LPB_OK, "no shared plan");
    return plan;
}

static results expected;

static void *caller(void *argument) {
    const int index = (int)(intptr_t)argument;
    results *r = calloc(1, sizeof *r);
    need(r, "no memory");
    cpu_set_t all, first;
    sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&first);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&first); cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &first);
    for (int round = 0; round < ROUNDS; round++) {
        sched_setaffinity(0, sizeof all, round % 3 == index ? &first : &all); /* of this thread */
        memset(r, 0, sizeof *r);
        compute(r, 1 + (round + index) % THREADS);
        need(!memcmp(r, &expected, sizeof expected), "threads changed a result");
    }
    free(r);
    return NULL;
}

int main(void) {
    uint32_t state = 1;
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)((state = state * 1664525u + 1013904223u) >> 8) / (1 << 24);
    for (int i = 0; i < WIDTH * WIDTH; i++)
        for (int l = 0; l < 2; l++)
            weights[l][i] = (float)((state = state * 1664525u + 1013904223u) >> 8) / (1 << 25) - 0.25f;
    for (int64_t r = 0; r < ROWS; r++) order[r] = ROWS - 1 - r;
    const lpb_layer layers[] = {layer(0), layer(1)};
    for (int dtype = 0; dtype < LPB_DTYPES; dtype++)
        need((plans[dtype] = new_plan((lpb_dtype)dtype)) &&
                 (chains[dtype] = lpb_chain_new(lpb_isa_best(), layers, 2, LPB_HEAD_MSE, (lpb_dtype)dtype)),
             "no chain");
    shared = new_shared();
    compute(&expected, 1);
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        need(!pthread_create(threads + i, NULL, caller, (void *)(intptr_t)i), "no thread");
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int dtype = 0; dtype < LPB_DTYPES; dtype++) lpb_chain_free(chains[dtype]), lpb_plan_free(plans[dtype]);
    lpb_plan_free(shared);
    puts("same");
    return 0;
}
