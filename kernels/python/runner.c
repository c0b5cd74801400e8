/* Rows in, scores out: what compiled chains and plans have alike. */
#include "runner.h"

#include <string.h>

enum { RELEASE_ROWS = 64 }; /* fewer rows are done sooner than the interpreter lock is released and taken */
static const int64_t release_work = 1 << 18; /* unless they are as much work as this */

void runner_dealloc(PyObject *object) {
    runner *self = (runner *)object;
    if (self->compiled) self->release(self->compiled);
    Py_XDECREF(self->shape.args);
    free_object(object);
}

/* Whether `object` can take the output of so many rows; sets the exception. */
static const array *need_output(const runner *self, PyObject *object, Py_ssize_t rows) {
    const array *out = need_array(object, float32_descr, self->per_row ? 1 : 2, ARRAY_WRITEABLE, "out");
    if (!out) return NULL;
    if (out->shape[0] == rows && (self->per_row || out->shape[1] == self->outputs) && contiguous_from(out, 0))
        return out;
    PyErr_Format(PyExc_ValueError, "out: expected %zd contiguous rows of %lld", rows,
                 self->per_row ? 1LL : (long long)self->outputs);
    return NULL;
}

/* Runs into a new array, or into `out_object` unless that is NULL; an output that overlaps x is written when
 * x is not needed any more. */
static PyObject *run_into(runner *self, const array *x, PyObject *out_object) {
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
    PyObject *result =
        out_object ? Py_NewRef(out_object) : new_rows(&self->shape, rows, self->per_row ? 0 : self->outputs);
    if (!result) return NULL;
    if (!aside) to = (float *)((const array *)result)->data;
    const float *from = (const float *)x->data;
    const int64_t x_row = x->strides[0] / (Py_ssize_t)sizeof(float);
    lpb_status status;
    if (rows < RELEASE_ROWS && rows * self->work < release_work) {
        status = self->run(self->compiled, from, rows, x_row, to, 1);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = self->run(self->compiled, from, rows, x_row, to, self->threads);
        Py_END_ALLOW_THREADS
    }
    if (aside && status == LPB_OK) memcpy(out->data, aside, bytes);
    PyMem_Free(aside);
    if (status == LPB_OK) return result;
    Py_DECREF(result);
    return failure(status);
}

PyObject *runner_run(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    runner *self = (runner *)object;
    if (count < 1 || count > 2) {
        PyErr_SetString(PyExc_TypeError, "expected x, or x and out");
        return NULL;
    }
    PyObject *x = need_rows(args[0]);
    PyObject *result = x ? run_into(self, (const array *)x, count == 2 ? args[1] : NULL) : NULL;
    Py_XDECREF(x);
    return result;
}
