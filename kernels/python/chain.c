/* harness.linalg._native.Chain: a packed chain of dense layers. */
#include "runner.h"

static lpb_status run(const void *chain, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    return lpb_chain_run(chain, x, rows, x_row, out, threads);
}

static void release(void *chain) { lpb_chain_free(chain); }

static bool head_fits(long head, const lpb_layer *layers, Py_ssize_t count) {
    const int64_t outputs = layers[count - 1].outputs;
    const bool fits = head == LPB_HEAD_NONE || (head == LPB_HEAD_LOGIT && outputs == 1) ||
                      (head == LPB_HEAD_MSE && outputs == layers[0].inputs);
    if (!fits) PyErr_Format(PyExc_ValueError, "head %ld does not fit %lld outputs", head, (long long)outputs);
    return fits;
}

/* Chain(isa, layers, head, dtype, threads) */
static PyObject *chain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index, head, dtype;
    int threads;
    PyObject *list;
    Py_ssize_t count;
    if (!no_keywords(kwargs) || !PyArg_ParseTuple(args, "lOlli", &isa_index, &list, &head, &dtype, &threads))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    PyObject *items = isa && need_kernel(isa, dtype) ? need_items(list, "layers") : NULL;
    lpb_layer *layers = items ? need_layers(items, -1, &count) : NULL;
    runner *self = layers && head_fits(head, layers, count) ? new_object(type) : NULL;
    if (self) {
        self->inputs = layers[0].inputs;
        self->outputs = layers[count - 1].outputs;
        self->per_row = head != LPB_HEAD_NONE;
        self->threads = threads;
        self->run = run, self->release = release;
        for (Py_ssize_t l = 0; l < count; l++) self->work += layers[l].inputs * layers[l].outputs;
        self->compiled = lpb_chain_new(isa, layers, count, (lpb_head)head, (lpb_dtype)dtype);
        if (!self->compiled) {
            Py_DECREF((PyObject *)self);
            self = (runner *)PyErr_NoMemory();
        }
    }
    PyMem_Free(layers);
    Py_XDECREF(items);
    return (PyObject *)self;
}

static PyMethodDef chain_methods[] = {
    {"run", (PyCFunction)(void (*)(void))runner_run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot chain_slots[] = {
    {Py_tp_new, chain_new}, {Py_tp_dealloc, runner_dealloc}, {Py_tp_methods, chain_methods}, {0, NULL}};
static PyType_Spec chain_spec = {"harness.linalg._native.Chain", sizeof(runner), 0, Py_TPFLAGS_DEFAULT, chain_slots};

PyObject *lpb_chain_type(void) { return PyType_FromSpec(&chain_spec); }
