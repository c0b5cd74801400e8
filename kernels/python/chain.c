/* harness.linalg._native.Chain: a packed chain of dense layers. */
#include "arrays.h"

#include <string.h>

enum { RELEASE_ROWS = 64 }; /* fewer rows are done sooner than the interpreter lock is released and taken */

typedef struct {
    PyObject_HEAD
    lpb_chain *chain;
    int64_t inputs, outputs;
    bool per_row; /* one number per row, rather than a row of outputs */
    int threads;
    Py_ssize_t rows;      /* of the last call, whose arguments to numpy.empty are kept: */
    PyObject *empty_args; /* (shape, float32) */
} chain_object;

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
    chain_object *self = layers && head_fits(head, layers, count) ? new_object(type) : NULL;
    if (self) {
        self->inputs = layers[0].inputs;
        self->outputs = layers[count - 1].outputs;
        self->per_row = head != LPB_HEAD_NONE;
        self->threads = threads;
        self->rows = -1;
        self->chain = lpb_chain_new(isa, layers, count, (lpb_head)head, (lpb_dtype)dtype);
        if (!self->chain) {
            Py_DECREF((PyObject *)self);
            self = (chain_object *)PyErr_NoMemory();
        }
    }
    PyMem_Free(layers);
    Py_XDECREF(items);
    return (PyObject *)self;
}

static void chain_dealloc(PyObject *object) {
    chain_object *self = (chain_object *)object;
    lpb_chain_free(self->chain);
    Py_XDECREF(self->empty_args);
    free_object(object);
}

static PyObject *new_output(chain_object *self, Py_ssize_t rows) {
    if (rows != self->rows) {
        PyObject *made = self->per_row ? Py_BuildValue("((n)O)", rows, float32_type)
                                       : Py_BuildValue("((nL)O)", rows, (long long)self->outputs, float32_type);
        if (!made) return NULL;
        PyObject *old = self->empty_args;
        self->empty_args = made;
        self->rows = rows;
        Py_XDECREF(old);
    }
    return PyObject_CallObject(numpy_empty, self->empty_args);
}

/* Whether `object` can take the output of so many rows; sets the exception. */
static const array *need_output(const chain_object *self, PyObject *object, Py_ssize_t rows) {
    const array *out = need_array(object, float32_descr, self->per_row ? 1 : 2, ARRAY_WRITEABLE, "out");
    if (!out) return NULL;
    if (out->shape[0] == rows && (self->per_row || out->shape[1] == self->outputs) && contiguous_from(out, 0))
        return out;
    PyErr_Format(PyExc_ValueError, "out: expected %zd contiguous rows of %lld", rows,
                 self->per_row ? 1LL : (long long)self->outputs);
    return NULL;
}

/* Runs the chain into a new array, or into `out_object` unless that is NULL; an output that overlaps x is written when
 * x is not needed any more. */
static PyObject *run_into(chain_object *self, const array *x, PyObject *out_object) {
    if (x->shape[1] != self->inputs) {
        PyErr_Format(PyExc_ValueError, "x: expected %lld features, got %zd", (long long)self->inputs, x->shape[1]);
        return NULL;
    }
    const Py_ssize_t rows = x->shape[0];
    const array *out = out_object ? need_output(self, out_object, rows) : NULL;
    if (out_object && !out) return NULL;
    float *aside = NULL, *to;
    const size_t bytes = (size_t)rows * (size_t)(self->per_row ? 1 : self->outputs) * sizeof(float);
    if (out && may_overlap(out, x)) {
        if (!(aside = PyMem_Malloc(bytes))) return PyErr_NoMemory();
        to = aside;
    }
    PyObject *result = out_object ? Py_NewRef(out_object) : new_output(self, rows);
    if (!result) return NULL;
    if (!aside) to = (float *)((const array *)result)->data;
    const float *from = (const float *)x->data;
    const int64_t x_row = x->strides[0] / (Py_ssize_t)sizeof(float);
    lpb_status status;
    if (rows < RELEASE_ROWS) {
        status = lpb_chain_run(self->chain, from, rows, x_row, to, 1);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = lpb_chain_run(self->chain, from, rows, x_row, to, self->threads);
        Py_END_ALLOW_THREADS
    }
    if (aside && status == LPB_OK) memcpy(out->data, aside, bytes);
    PyMem_Free(aside);
    if (status == LPB_OK) return result;
    Py_DECREF(result);
    return failure(status);
}

/* run(x), run(x, out): x (rows, inputs), read where it is when it is float32 with contiguous rows and else converted;
 * returns out. */
static PyObject *chain_run(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    chain_object *self = (chain_object *)object;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "expected x, or x and out");
        return NULL;
    }
    PyObject *out = count == 2 ? args[1] : NULL;
    if (is_array(args[0], float32_descr, 2) && rows_are_contiguous((const array *)args[0]))
        return run_into(self, (const array *)args[0], out);
    PyObject *converted = PyObject_CallFunction(numpy_require, "OOs", args[0], float32_type, "CA");
    if (!converted) return NULL;
    const array *x = need_array(converted, float32_descr, 2, 0, "x");
    PyObject *result = x ? run_into(self, x, out) : NULL;
    Py_DECREF(converted);
    return result;
}

static PyMethodDef chain_methods[] = {
    {"run", (PyCFunction)(void (*)(void))chain_run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot chain_slots[] = {
    {Py_tp_new, chain_new}, {Py_tp_dealloc, chain_dealloc}, {Py_tp_methods, chain_methods}, {0, NULL}};
static PyType_Spec chain_spec = {"harness.linalg._native.Chain", sizeof(chain_object), 0, Py_TPFLAGS_DEFAULT,
                                 chain_slots};

PyObject *lpb_chain_type(void) { return PyType_FromSpec(&chain_spec); }
