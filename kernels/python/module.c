/* The Python module harness.linalg._native (one binary for CPython 3.10 and later): products and probes of the roof. */
#include "arrays.h"

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
    if (dtype < 0 || dtype >= LPB_DTYPES || !lpb_isa_kernel(isa, (lpb_dtype)dtype)) {
        PyErr_Format(PyExc_ValueError, "dtype %ld has no kernel for %s", dtype, lpb_isa_name(isa));
        return NULL;
    }
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
    if (activation < 0 || activation >= LPB_ACTIVATIONS) return failure(LPB_BAD_ARGUMENT);
    lpb_status status;
    Py_BEGIN_ALLOW_THREADS
    status = lpb_gemm_run(isa, (lpb_dtype)dtype, &g, (int)threads);
    Py_END_ALLOW_THREADS
    if (status != LPB_OK) return failure(status);
    Py_RETURN_NONE;
}

/* peak_ops(isa, dtype, seconds) */
static PyObject *peak_ops(PyObject *self, PyObject *args) {
    (void)self;
    long isa_index, dtype;
    double seconds, rate;
    if (!PyArg_ParseTuple(args, "lld", &isa_index, &dtype, &seconds)) return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    if (!isa) return NULL;
    if (dtype < 0 || dtype >= LPB_DTYPES) return failure(LPB_BAD_ARGUMENT);
    Py_BEGIN_ALLOW_THREADS
    rate = lpb_peak_ops(isa, (lpb_dtype)dtype, seconds);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(rate);
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
    double seconds, rate;
    if (!PyArg_ParseTuple(args, "OOOd", objects, objects + 1, objects + 2, &seconds)) return NULL;
    for (int i = 0; i < 3; i++)
        if (!(memory[i] = need_memory(objects[i], i ? 0 : ARRAY_WRITEABLE, "array"))) return NULL;
    if (memory[0]->shape[0] != memory[1]->shape[0] || memory[0]->shape[0] != memory[2]->shape[0])
        return failure(LPB_BAD_ARGUMENT);
    Py_BEGIN_ALLOW_THREADS
    rate = lpb_triad_bandwidth((float *)memory[0]->data, (const float *)memory[1]->data, (const float *)memory[2]->data,
                               memory[0]->shape[0] * 4, seconds);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(rate);
}

/* read_bandwidth(a, seconds) */
static PyObject *read_bandwidth(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    double seconds, rate;
    if (!PyArg_ParseTuple(args, "Od", &object, &seconds)) return NULL;
    const array *memory = need_memory(object, 0, "array");
    if (!memory) return NULL;
    Py_BEGIN_ALLOW_THREADS
    rate = lpb_read_bandwidth((const float *)memory->data, memory->shape[0] * 4, seconds);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(rate);
}

/* load_latency(memory, seconds) */
static PyObject *load_latency(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *object;
    double seconds, latency;
    if (!PyArg_ParseTuple(args, "Od", &object, &seconds)) return NULL;
    const array *memory = need_memory(object, ARRAY_WRITEABLE, "memory");
    if (!memory) return NULL;
    Py_BEGIN_ALLOW_THREADS
    latency = lpb_load_latency(memory->data, memory->shape[0] * 4, seconds);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(latency);
}

/* The words that Python has for the numbers of lparbench_kernels.h. */
static const char *const dtypes[LPB_DTYPES] = {
    [LPB_FLOAT32] = "float32", [LPB_BFLOAT16] = "bfloat16", [LPB_INT8] = "int8"};
static const char *const activations[LPB_ACTIVATIONS] = {[LPB_IDENTITY] = "identity",
                                                         [LPB_RELU] = "relu",
                                                         [LPB_LEAKY_RELU] = "leaky_relu",
                                                         [LPB_TANH] = "tanh",
                                                         [LPB_SIGMOID] = "sigmoid"};
static const char *const bias_axes[] = {[LPB_NO_BIAS] = "none", [LPB_ROW_BIAS] = "row", [LPB_COLUMN_BIAS] = "column"};
static const char *const heads[] = {[LPB_HEAD_NONE] = "none", [LPB_HEAD_LOGIT] = "logit", [LPB_HEAD_MSE] = "mse"};
static const char *const losses[LPB_LOSSES] = {[LPB_LOSS_BCE] = "bce",
                                               [LPB_LOSS_MSE] = "mse",
                                               [LPB_LOSS_GAUSSIAN] = "gaussian",
                                               [LPB_LOSS_BERNOULLI] = "bernoulli"};

static const struct {
    const char *name;
    const char *const *words;
    size_t count;
} vocabulary[] = {
    {"DTYPES", dtypes, LPB_DTYPES},
    {"ACTIVATIONS", activations, LPB_ACTIVATIONS},
    {"BIAS_AXES", bias_axes, sizeof bias_axes / sizeof *bias_axes},
    {"HEADS", heads, sizeof heads / sizeof *heads},
    {"LOSSES", losses, LPB_LOSSES},
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
    {"triad_bandwidth", triad_bandwidth, METH_VARARGS, NULL},
    {"read_bandwidth", read_bandwidth, METH_VARARGS, NULL},
    {"load_latency", load_latency, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    if (!lpb_arrays_init()) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    PyObject *chain = lpb_chain_type(), *trainer = lpb_trainer_type();
    if (!chain || !trainer || PyModule_AddObjectRef(module, "Chain", chain) ||
        PyModule_AddObjectRef(module, "Trainer", trainer) || !add_vocabulary(module))
        Py_CLEAR(module);
    Py_XDECREF(chain);
    return module;
}
