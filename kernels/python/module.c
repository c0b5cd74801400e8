/* The Python module harness.linalg._native (one binary for CPython 3.10 and later): products and probes of the roof. */
#define _POSIX_C_SOURCE 200809L
#include "arrays.h"

#include <stdlib.h>
#include <time.h>

static PyObject *isas(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    PyObject *list = PyList_New(0);
    const lpb_isa *isa;
    for (int i = 0; list && (isa = lpb_isa_at(i)); i++) {
        PyObject *entry = Py_BuildValue("(sO(zzz))", lpb_isa_name(isa), lpb_isa_supported(isa) ? Py_True : Py_False,
                                        lpb_isa_kernel(isa, LPB_FLOAT32), lpb_isa_kernel(isa, LPB_BFLOAT16),
                                        lpb_isa_kernel(isa, LPB_INT8));
        if (!entry || PyList_Append(list, entry)) Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

/* An operand of two or three dimensions; a missing or single batch is shared. */
typedef struct {
    const array *array;
    int64_t batch, rows, columns, batch_stride, row_stride, column_stride;
} operand;

static bool need_operand(operand *o, PyObject *object, PyObject *descr, int64_t size, int flags, const char *name) {
    const int dimensions = (PyObject *)Py_TYPE(object) == array_type && ((array *)object)->dimensions == 3 ? 3 : 2;
    const array *a = need_array(object, descr, dimensions, flags, name);
    if (!a) return false;
    const int r = dimensions - 2;
    bool empty = false; /* then strides mean nothing */
    for (int d = 0; d < dimensions; d++) empty |= a->shape[d] == 0;
    for (int d = 0; d < dimensions; d++)
        if (!empty && a->strides[d] % size && a->shape[d] > 1) {
            PyErr_Format(PyExc_ValueError, "%s: strides must be whole elements", name);
            return false;
        }
    *o = (operand){
        .array = a,
        .batch = dimensions == 3 ? a->shape[0] : 1,
        .rows = a->shape[r],
        .columns = a->shape[r + 1],
        .batch_stride = dimensions == 3 && a->shape[0] > 1 ? a->strides[0] / size : 0,
        .row_stride = a->shape[r] > 1 ? a->strides[r] / size : 0,
        .column_stride = a->shape[r + 1] > 1 && !empty ? a->strides[r + 1] / size : 1,
    };
    return true;
}

/* Whether no element of an output is written twice: rows within items, or items within rows, lie apart. */
static bool lies_apart(const operand *o) {
    const int64_t item = o->batch > 1 ? llabs(o->batch_stride) : INT64_MAX;
    const int64_t row = o->rows > 1 ? llabs(o->row_stride) : INT64_MAX;
    const int64_t rows = o->columns + (o->rows > 1 ? (o->rows - 1) * row : 0);
    const int64_t items = o->columns + (o->batch > 1 ? (o->batch - 1) * item : 0);
    return (row >= o->columns && item >= rows) || (item >= o->columns && row >= items);
}

/* Elements of an operand that a kernel copies; more than that is no memory's, whatever strides of 0 say. */
static bool fits_memory(const operand *o) {
    const int64_t most = (int64_t)1 << 48;
    return o->columns == 0 || o->rows <= most / o->columns;
}

/* Fills in the bias of a product whose sizes are set; false with an exception set when it does not fit. */
static bool need_bias(lpb_gemm *g, PyObject *object, long axis) {
    if (object == Py_None) return true;
    const bool per_item = is_array(object, float32_descr, 2);
    const array *bias = need_array(object, float32_descr, per_item ? 2 : 1, 0, "bias");
    if (!bias) return false;
    const Py_ssize_t entries = (Py_ssize_t)(axis == LPB_ROW_BIAS ? g->m : g->n);
    if (axis < LPB_ROW_BIAS || axis > LPB_COLUMN_BIAS || bias->shape[bias->dimensions - 1] != entries ||
        !contiguous_from(bias, 0) || (per_item && bias->shape[0] != g->batch)) {
        PyErr_Format(PyExc_ValueError, "bias: expected %zd contiguous entries", entries);
        return false;
    }
    g->bias = (const float *)bias->data;
    g->bias_batch = per_item ? entries : 0;
    g->bias_axis = (lpb_bias_axis)axis;
    return true;
}

static PyObject *overlapping(void) {
    PyErr_SetString(PyExc_ValueError, "out: it overlaps an operand or itself");
    return NULL;
}

/* gemm(isa, dtype, a, b, out, alpha, beta, bias, bias_axis, activation, slope, threads) */
static PyObject *gemm(PyObject *self, PyObject *args) {
    (void)self;
    long isa_index, dtype, axis, activation, threads;
    PyObject *a_object, *b_object, *c_object, *bias_object;
    float alpha, beta, slope;
    if (!PyArg_ParseTuple(args, "llOOOffOllfl", &isa_index, &dtype, &a_object, &b_object, &c_object, &alpha, &beta,
                          &bias_object, &axis, &activation, &slope, &threads))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    if (!isa) return NULL;
    if (!need_kernel(isa, dtype)) return NULL;
    if (activation < 0 || activation >= LPB_ACTIVATIONS) return failure(LPB_BAD_ARGUMENT);
    PyObject *in = dtype == LPB_FLOAT32 ? float32_descr : dtype == LPB_BFLOAT16 ? uint16_descr : int8_descr;
    const int64_t size = dtype == LPB_FLOAT32 ? 4 : dtype == LPB_BFLOAT16 ? 2 : 1;
    operand a, b, c;
    if (!need_operand(&a, a_object, in, size, 0, "a") || !need_operand(&b, b_object, in, size, 0, "b") ||
        !need_operand(&c, c_object, dtype == LPB_INT8 ? int32_descr : float32_descr, 4, ARRAY_WRITEABLE, "out"))
        return NULL;
    if (a.columns != b.rows || a.rows != c.rows || b.columns != c.columns || c.column_stride != 1 ||
        (a.batch != c.batch && a.batch != 1) || (b.batch != c.batch && b.batch != 1)) {
        PyErr_Format(PyExc_ValueError,
                     "shapes do not fit: (%lld) %lld x %lld times (%lld) %lld x %lld into (%lld) %lld x %lld with "
                     "contiguous rows",
                     (long long)a.batch, (long long)a.rows, (long long)a.columns, (long long)b.batch, (long long)b.rows,
                     (long long)b.columns, (long long)c.batch, (long long)c.rows, (long long)c.columns);
        return NULL;
    }
    if (!fits_memory(&a) || !fits_memory(&b)) return PyErr_NoMemory();
    if (may_overlap(c.array, a.array) || may_overlap(c.array, b.array) || !lies_apart(&c)) return overlapping();
    lpb_gemm g = {
        .batch = c.batch,
        .m = c.rows,
        .n = c.columns,
        .k = a.columns,
        .a = a.array->data,
        .a_batch = a.batch_stride,
        .a_row = a.row_stride,
        .a_col = a.column_stride,
        .b = b.array->data,
        .b_batch = b.batch_stride,
        .b_row = b.row_stride,
        .b_col = b.column_stride,
        .c = c.array->data,
        .c_batch = c.batch_stride,
        .c_row = c.row_stride,
        .alpha = alpha,
        .beta = beta,
        .activation = (lpb_activation)activation,
        .slope = slope,
    };
    if (!need_bias(&g, bias_object, axis)) return NULL;
    if (g.bias && may_overlap(c.array, (const array *)bias_object)) return overlapping();
    const int parts = threads < 1 ? 1 : threads > INT_MAX ? INT_MAX : (int)threads;
    lpb_status status;
    Py_BEGIN_ALLOW_THREADS
    status = lpb_gemm_run(isa, (lpb_dtype)dtype, &g, parts);
    Py_END_ALLOW_THREADS
    if (status != LPB_OK) return failure(status);
    Py_RETURN_NONE;
}

/* Probes run in slices; between two of them signals are heeded, and what another thread says by stop_probes. */
static const double slice_s = 0.05, longest_s = 3600.0;
static bool stopped; /* read and written under the interpreter lock */

typedef struct {
    const lpb_isa *isa;
    lpb_dtype dtype;
    float *a;
    const float *b, *c;
    int64_t bytes;
} probe_job;
typedef double (*probe)(const probe_job *job, double seconds);

static double probe_peak(const probe_job *j, double seconds) { return lpb_peak_ops(j->isa, j->dtype, seconds); }
static double probe_clock(const probe_job *j, double seconds) { return lpb_clock_hz(j->isa, j->dtype, seconds); }
static double probe_triad(const probe_job *j, double seconds) {
    return lpb_triad_bandwidth(j->a, j->b, j->c, j->bytes, seconds);
}
static double probe_read(const probe_job *j, double seconds) { return lpb_read_bandwidth(j->b, j->bytes, seconds); }
static double probe_latency(const probe_job *j, double seconds) { return lpb_load_latency(j->b, j->bytes, seconds); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool need_seconds(double seconds) {
    if (seconds >= 0.0 && seconds <= longest_s) return true; /* not of a NaN */
    PyErr_Format(PyExc_ValueError, "seconds: expected 0 to %d", (int)longest_s);
    return false;
}

/* The largest result of the slices, or the smallest. */
static PyObject *probed(probe run, const probe_job *job, double seconds, bool smallest) {
    double best = 0.0;
    for (const double end = now() + seconds;;) {
        const double left = end - now();
        double result;
        Py_BEGIN_ALLOW_THREADS
        result = run(job, left < slice_s ? left : slice_s);
        Py_END_ALLOW_THREADS
        if (best == 0.0 || (smallest ? result < best : result > best)) best = result;
        if (PyErr_CheckSignals()) return NULL;
        if (stopped) {
            PyErr_SetString(PyExc_RuntimeError, "the probe was stopped");
            return NULL;
        }
        if (now() >= end) return PyFloat_FromDouble(best);
    }
}

/* stop_probes(whether): ends those that run in other threads by RuntimeError, as well as those that begin, until it is
 * called with False. */
static PyObject *stop_probes(PyObject *self, PyObject *whether) {
    (void)self;
    const int truth = PyObject_IsTrue(whether);
    if (truth < 0) return NULL;
    stopped = truth;
    Py_RETURN_NONE;
}

/* (isa, dtype, seconds): a probe of the instructions of one number format. */
static PyObject *probe_format(PyObject *args, double (*probe)(const probe_job *, double)) {
    long isa_index, dtype;
    double seconds;
    if (!PyArg_ParseTuple(args, "lld", &isa_index, &dtype, &seconds) || !need_seconds(seconds)) return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    if (!isa) return NULL;
    if (dtype < 0 || dtype >= LPB_DTYPES) return failure(LPB_BAD_ARGUMENT);
    if (!lpb_isa_kernel(isa, (lpb_dtype)dtype)) return PyFloat_FromDouble(0.0);
    const probe_job job = {.isa = isa, .dtype = (lpb_dtype)dtype};
    return probed(probe, &job, seconds, false);
}

static PyObject *peak_ops(PyObject *self, PyObject *args) {
    (void)self;
    return probe_format(args, probe_peak);
}

static PyObject *clock_hz(PyObject *self, PyObject *args) {
    (void)self;
    return probe_format(args, probe_clock);
}

static const array *need_memory(PyObject *object, int flags, const char *name) {
    const array *memory = need_array(object, float32_descr, 1, flags, name);
    if (!memory || contiguous_from(memory, 0)) return memory;
    PyErr_Format(PyExc_ValueError, "%s: expected contiguous memory", name);
    return NULL;
}

/* triad_bandwidth(a, b, c, seconds) */
static PyObject *triad_bandwidth(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *objects[3];
    const array *memory[3];
    double seconds;
    if (!PyArg_ParseTuple(args, "OOOd", objects, objects + 1, objects + 2, &seconds) || !need_seconds(seconds))
        return NULL;
    for (int i = 0; i < 3; i++)
        if (!(memory[i] = need_memory(objects[i], i ? 0 : ARRAY_WRITEABLE, "array"))) return NULL;
    if (memory[0]->shape[0] != memory[1]->shape[0] || memory[0]->shape[0] != memory[2]->shape[0] ||
        may_overlap(memory[0], memory[1]) || may_overlap(memory[0], memory[2]))
        return failure(LPB_BAD_ARGUMENT);
    const probe_job job = {.a = (float *)memory[0]->data,
                           .b = (const float *)memory[1]->data,
                           .c = (const float *)memory[2]->data,
                           .bytes = memory[0]->shape[0] * 4};
    return probed(probe_triad, &job, seconds, false);
}

/* read_bandwidth(a, seconds) */
static PyObject *read_bandwidth(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    double seconds;
    if (!PyArg_ParseTuple(args, "Od", &object, &seconds) || !need_seconds(seconds)) return NULL;
    const array *memory = need_memory(object, 0, "array");
    if (!memory) return NULL;
    const probe_job job = {.b = (const float *)memory->data, .bytes = memory->shape[0] * 4};
    return probed(probe_read, &job, seconds, false);
}

/* load_latency(memory, seconds) */
static PyObject *load_latency(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    double seconds;
    bool linked;
    if (!PyArg_ParseTuple(args, "Od", &object, &seconds) || !need_seconds(seconds)) return NULL;
    const array *memory = need_memory(object, ARRAY_WRITEABLE, "memory");
    if (!memory) return NULL;
    const probe_job job = {.b = (const float *)memory->data, .bytes = memory->shape[0] * 4};
    Py_BEGIN_ALLOW_THREADS
    linked = lpb_link_lines((void *)(uintptr_t)job.b, job.bytes);
    Py_END_ALLOW_THREADS
    return linked ? probed(probe_latency, &job, seconds, true) : PyFloat_FromDouble(0.0);
}

/* The words that Python has for the numbers of lparbench_kernels.h. */
static const char *const dtypes[LPB_DTYPES] = {
    [LPB_FLOAT32] = "float32", [LPB_BFLOAT16] = "bfloat16", [LPB_INT8] = "int8"};
static const char *const activations[LPB_PLAN_ACTIVATIONS] = {
    [LPB_IDENTITY] = "identity", [LPB_RELU] = "relu",       [LPB_LEAKY_RELU] = "leaky_relu",
    [LPB_TANH] = "tanh",         [LPB_SIGMOID] = "sigmoid", [LPB_SOFTPLUS] = "softplus",
    [LPB_EXP] = "exp",           [LPB_ABS] = "abs",         [LPB_GELU] = "gelu"};
static const char *const bias_axes[] = {[LPB_NO_BIAS] = "none", [LPB_ROW_BIAS] = "row", [LPB_COLUMN_BIAS] = "column"};
static const char *const heads[] = {[LPB_HEAD_NONE] = "none", [LPB_HEAD_LOGIT] = "logit", [LPB_HEAD_MSE] = "mse"};
static const char *const losses[LPB_LOSSES] = {[LPB_LOSS_BCE] = "bce",
                                               [LPB_LOSS_MSE] = "mse",
                                               [LPB_LOSS_GAUSSIAN] = "gaussian",
                                               [LPB_LOSS_BERNOULLI] = "bernoulli"};
static const char *const steps[LPB_STEP_KINDS] = {
    [LPB_STEP_DENSE] = "dense",         [LPB_STEP_ACTIVATION] = "activation", [LPB_STEP_ELEMENTWISE] = "elementwise",
    [LPB_STEP_CONSTANT] = "constant",   [LPB_STEP_REDUCE] = "reduce",         [LPB_STEP_CONCAT] = "concat",
    [LPB_STEP_COLUMNS] = "columns",     [LPB_STEP_CONVERT] = "convert",       [LPB_STEP_TREES] = "trees",
    [LPB_STEP_NEIGHBOUR] = "neighbour", [LPB_STEP_NORMALISE] = "normalise",   [LPB_STEP_TRANSFORMER] = "transformer",
    [LPB_STEP_CELL] = "cell",           [LPB_STEP_HIDDEN] = "hidden",         [LPB_STEP_CONVOLUTION] = "convolution",
    [LPB_STEP_LSTM] = "lstm",           [LPB_STEP_PATCHES] = "patches"};
static const char *const operators[LPB_OPERATORS] = {
    [LPB_ADD] = "add", [LPB_SUBTRACT] = "subtract", [LPB_MULTIPLY] = "multiply", [LPB_DIVIDE] = "divide"};
static const char *const reductions[LPB_REDUCTIONS] = {
    [LPB_MEAN] = "mean",
    [LPB_SUM] = "sum",
    [LPB_ABS_SUM] = "abs_sum",
    [LPB_SQUARE_SUM] = "square_sum",
    [LPB_SQUARE_MEAN] = "square_mean",
    [LPB_L2] = "l2",
    [LPB_MIN] = "min",
    [LPB_MAX] = "max",
    [LPB_LOG_SUM_EXP] = "log_sum_exp",
};

static const char *const tape_kinds[LPB_TAPE_KINDS] = {[LPB_TAPE_GATHER] = "gather",
                                                       [LPB_TAPE_NORMAL] = "normal",
                                                       [LPB_TAPE_PRODUCT] = "product",
                                                       [LPB_TAPE_DOTS] = "dots",
                                                       [LPB_TAPE_ACTIVATE] = "activate",
                                                       [LPB_TAPE_GATE] = "gate",
                                                       [LPB_TAPE_DROP] = "drop",
                                                       [LPB_TAPE_SUMS] = "sums",
                                                       [LPB_TAPE_PAIR] = "pair",
                                                       [LPB_TAPE_ADAM] = "adam",
                                                       [LPB_TAPE_FOLLOW] = "follow",
                                                       [LPB_TAPE_TURN] = "turn",
                                                       [LPB_TAPE_CLEAR] = "clear",
                                                       [LPB_TAPE_NORM] = "norm",
                                                       [LPB_TAPE_NORM_GRADIENT] = "norm_gradient",
                                                       [LPB_TAPE_ADD] = "add",
                                                       [LPB_TAPE_MULTIPLY] = "multiply",
                                                       [LPB_TAPE_SOFT] = "soft",
                                                       [LPB_TAPE_BEND] = "bend",
                                                       [LPB_TAPE_SQUARE] = "square",
                                                       [LPB_TAPE_FEATURES] = "features",
                                                       [LPB_TAPE_FEATURES_GRADIENT] = "features_gradient",
                                                       [LPB_TAPE_MIXTURE] = "mixture",
                                                       [LPB_TAPE_BLOCKS] = "blocks",
                                                       [LPB_TAPE_PICK] = "pick",
                                                       [LPB_TAPE_COLLECT] = "collect"};
static const char *const search_terms[LPB_SEARCH_TERMS] = {[LPB_TERM_MATCHING] = "feature-matching",
                                                           [LPB_TERM_LOGIT] = "cross-entropy"};

static const struct {
    const char *name;
    const char *const *words;
    size_t count;
} vocabulary[] = {
    {"DTYPES", dtypes, LPB_DTYPES},
    {"ACTIVATIONS", activations, LPB_PLAN_ACTIVATIONS},
    {"BIAS_AXES", bias_axes, sizeof bias_axes / sizeof *bias_axes},
    {"HEADS", heads, sizeof heads / sizeof *heads},
    {"LOSSES", losses, LPB_LOSSES},
    {"STEPS", steps, LPB_STEP_KINDS},
    {"OPERATORS", operators, LPB_OPERATORS},
    {"REDUCTIONS", reductions, LPB_REDUCTIONS},
    {"SEARCH_TERMS", search_terms, LPB_SEARCH_TERMS},
    {"TAPE_KINDS", tape_kinds, LPB_TAPE_KINDS},
};

/* Dictionaries from word to number as attributes of the module; false with an exception set. */
static bool add_vocabulary(PyObject *module) {
    for (size_t v = 0; v < sizeof vocabulary / sizeof *vocabulary; v++) {
        PyObject *numbers = PyDict_New();
        for (size_t i = 0; numbers && i < vocabulary[v].count; i++) {
            PyObject *number = PyLong_FromSize_t(i);
            if (!number || PyDict_SetItemString(numbers, vocabulary[v].words[i], number)) Py_CLEAR(numbers);
            Py_XDECREF(number);
        }
        const bool added = numbers && !PyModule_AddObjectRef(module, vocabulary[v].name, numbers);
        Py_XDECREF(numbers);
        if (!added) return false;
    }
    return true;
}

static PyMethodDef functions[] = {
    {"isas", isas, METH_NOARGS, NULL},
    {"gemm", gemm, METH_VARARGS, NULL},
    {"epoch_many", lpb_epoch_many, METH_VARARGS, NULL},
    {"peak_ops", peak_ops, METH_VARARGS, NULL},
    {"clock_hz", clock_hz, METH_VARARGS, NULL},
    {"triad_bandwidth", triad_bandwidth, METH_VARARGS, NULL},
    {"read_bandwidth", read_bandwidth, METH_VARARGS, NULL},
    {"load_latency", load_latency, METH_VARARGS, NULL},
    {"stop_probes", stop_probes, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    if (!lpb_arrays_init()) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    static const struct {
        const char *name;
        PyObject *(*made)(void);
    } types[] = {{"Chain", lpb_chain_type},     {"ClassifierTrainer", lpb_classifier_trainer_type},
                 {"Plan", lpb_plan_type},       {"Search", lpb_search_type},
                 {"Stream", lpb_stream_type},   {"Tape", lpb_tape_type},
                 {"Trainer", lpb_trainer_type}, {"TransformerTrainer", lpb_transformer_trainer_type}};
    for (size_t i = 0; module && i < sizeof types / sizeof *types; i++) {
        PyObject *type = types[i].made();
        if (!type || PyModule_AddObjectRef(module, types[i].name, type)) Py_CLEAR(module);
        Py_XDECREF(type);
    }
    if (module && !add_vocabulary(module)) Py_CLEAR(module);
    return module;
}
