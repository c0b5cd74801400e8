/* Runs pieces of work of the kernels, once to warm up and once between marks for the plugin that counts instructions.
 *
 * count FILE: FILE holds the pieces as harness/roofline/pieces.py writes them, numbers of 64 bits in the byte order of
 * little-endian machines, each after its length. Exits 1 at the first piece that cannot be run. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/lparbench_kernels.h"
#include "mark.h"

enum { PRODUCT, CHAIN, TRAINING, PLAN };
enum { LAYERS = 32, STEPS = 4096, ALIGNMENT = 64 };

static const char *start, *at, *end;

static void need(bool holds) {
    if (!holds) exit(1);
}

static const void *bytes(int64_t count) {
    const char *here = at;
    need(count >= 0 && count <= end - at);
    at += count;
    return here;
}

static int64_t number(void) {
    int64_t value;
    memcpy(&value, bytes(sizeof value), sizeof value);
    return value;
}

static double real(void) {
    double value;
    memcpy(&value, bytes(sizeof value), sizeof value);
    return value;
}

static void skip_to(int64_t multiple) { bytes((multiple - (at - start) % multiple) % multiple); }

static lpb_array matrix(void) {
    static const int64_t size[] = {4, 8, 4, 8};
    const int64_t type = number(), rows = number(), columns = number();
    need(type >= 0 && type < 4);
    skip_to(ALIGNMENT);
    const lpb_array read = {bytes(rows * columns * size[type]), (lpb_array_type)type, rows, columns};
    skip_to(sizeof(int64_t));
    return read;
}

static void *room(int64_t count) {
    void *memory = aligned_alloc(ALIGNMENT, (size_t)((count + ALIGNMENT) / ALIGNMENT * ALIGNMENT));
    need(memory != NULL);
    memset(memory, 0, (size_t)count);
    return memory;
}

static const lpb_isa *isa_of(const char *name) {
    for (int i = 0; lpb_isa_at(i); i++)
        if (!strcmp(lpb_isa_name(lpb_isa_at(i)), name) && lpb_isa_supported(lpb_isa_at(i))) return lpb_isa_at(i);
    return NULL;
}

static int64_t layers_of(lpb_layer *layers) {
    const int64_t count = number();
    need(count > 0 && count <= LAYERS);
    for (int64_t l = 0; l < count; l++) {
        const int64_t activation = number();
        const double slope = real();
        const lpb_array weight = matrix(), bias = matrix();
        layers[l] =
            (lpb_layer){weight.columns, weight.rows, weight.data, bias.data, (lpb_activation)activation, (float)slope};
    }
    return count;
}

#define COUNTED(call)                                                                                                  \
    do {                                                                                                               \
        need((call) == LPB_OK);                                                                                        \
        syscall(LPB_COUNT_BEGIN);                                                                                      \
        const lpb_status status = (call);                                                                              \
        syscall(LPB_COUNT_END);                                                                                        \
        need(status == LPB_OK);                                                                                        \
    } while (0)

static void product(const lpb_isa *isa, lpb_dtype dtype) {
    lpb_gemm g = {.batch = number(), .alpha = 1.0f};
    g.m = number(), g.k = number(), g.n = number();
    const lpb_array a = matrix(), b = matrix(); /* of float: other formats take what bytes are there */
    g.a = a.data, g.a_batch = g.m * g.k, g.a_row = g.k, g.a_col = 1;
    g.b = b.data, g.b_batch = g.k * g.n, g.b_row = g.n, g.b_col = 1;
    g.c = room(g.batch * g.m * g.n * 4), g.c_batch = g.m * g.n, g.c_row = g.n;
    COUNTED(lpb_gemm_run(isa, dtype, &g, 1));
    free(g.c);
}

static void chain(const lpb_isa *isa, lpb_dtype dtype) {
    lpb_layer layers[LAYERS];
    const int64_t head = number(), count = layers_of(layers);
    const lpb_array x = matrix();
    lpb_chain *made = lpb_chain_new(isa, layers, count, (lpb_head)head, dtype);
    need(made != NULL);
    float *out = room(x.rows * layers[count - 1].outputs * 4);
    COUNTED(lpb_chain_run(made, x.data, x.rows, x.columns, out, 1));
    lpb_chain_free(made);
    free(out);
}

static void training(const lpb_isa *isa) {
    lpb_layer layers[LAYERS];
    const lpb_adam adam = {1e-3, 0.9, 0.999, 1e-8, 0.0};
    const int64_t loss = number(), count = layers_of(layers);
    const lpb_array x = matrix();
    lpb_trainer *made = lpb_trainer_new(isa, layers, count, (lpb_loss)loss, NULL, &adam);
    need(made != NULL);
    float *y = room(x.rows * 4), *losses = room(x.rows * 4);
    int64_t *order = room(x.rows * 8);
    for (int64_t r = 0; r < x.rows; r++) order[r] = r, y[r] = (float)(r % 2);
    COUNTED(lpb_trainer_epoch(made, x.data, x.columns, y, order, NULL, x.rows, x.rows, losses));
    lpb_trainer_free(made);
    free(y), free(losses), free(order);
}

static void plan(const lpb_isa *isa, lpb_dtype dtype) {
    static lpb_step steps[STEPS];
    const int64_t features = number(), count = number();
    need(count > 0 && count <= STEPS);
    for (int64_t i = 0; i < count; i++) {
        lpb_step *step = steps + i;
        step->kind = (lpb_step_kind)number(), step->word = number(), step->number = number();
        step->slope = (float)real();
        step->input_count = number();
        step->inputs = bytes(8 * step->input_count);
        step->array_count = number();
        need(step->array_count >= 0 && step->array_count <= LPB_STEP_ARRAYS);
        for (int64_t a = 0; a < step->array_count; a++) step->arrays[a] = matrix();
    }
    const lpb_array x = matrix();
    lpb_plan *made;
    int64_t wrong;
    need(lpb_plan_new(isa, features, steps, count, dtype, &made, &wrong) == LPB_OK);
    float *out = room(x.rows * 4);
    COUNTED(lpb_plan_run(made, x.data, x.rows, x.columns, out, 1));
    lpb_plan_free(made);
    free(out);
}

static void run(void) {
    const int64_t kind = number();
    const lpb_isa *isa = isa_of(bytes(16));
    const lpb_dtype dtype = (lpb_dtype)number();
    need(isa && lpb_isa_kernel(isa, dtype));
    need(kind >= PRODUCT && kind <= PLAN);
    if (kind == PRODUCT) product(isa, dtype);
    if (kind == CHAIN) chain(isa, dtype);
    if (kind == TRAINING) training(isa);
    if (kind == PLAN) plan(isa, dtype);
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    need(file && !fseek(file, 0, SEEK_END));
    const long size = ftell(file);
    char *memory = room(size);
    need(!fseek(file, 0, SEEK_SET) && fread(memory, 1, (size_t)size, file) == (size_t)size);
    fclose(file);
    start = at = memory, end = memory + size;
    while (at < end) {
        const int64_t length = number(); /* a child for each, so that none finds the memory as another left it */
        const char *piece = bytes(length);
        const pid_t child = fork();
        need(child >= 0);
        if (child == 0) {
            at = piece, end = piece + length;
            run();
            _exit(0);
        }
        int status;
        need(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    free(memory);
    return 0;
}
