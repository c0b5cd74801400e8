/* harness.linalg._native.Stream: windows of an LSTM over streams of rows. */
#include "arrays.h"

#include <string.h>

enum { RELEASE_ROWS = 8 }; /* fewer rows are done sooner than the interpreter lock is released and taken */

typedef struct {
    PyObject_HEAD
    lpb_stream *stream;
} object;

/* The layer of a tuple (weights of inputs, weights of hidden values, bias). */
static bool need_layer(PyObject *tuple, int64_t steps, lpb_step *layer) {
    static const char *const names[] = {"weights of inputs", "weights of hidden values", "bias"};
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 3) {
        PyErr_SetString(PyExc_TypeError, "layer: expected a tuple of three arrays");
        return false;
    }
    *layer = (lpb_step){.kind = LPB_STEP_LSTM, .array_count = 3, .number = steps};
    for (int i = 0; i < 3; i++) {
        const int dimensions = i < 2 ? 2 : 1;
        const array *a = need_array(PyTuple_GetItem(tuple, i), float32_descr, dimensions, 0, names[i]);
        if (!a) return false;
        if (!contiguous_from(a, 0)) {
            PyErr_Format(PyExc_ValueError, "%s: expected contiguous memory", names[i]);
            return false;
        }
        layer->arrays[i] = (lpb_array){a->data, LPB_ARRAY_FLOAT, i < 2 ? a->shape[0] : 1, a->shape[dimensions - 1]};
    }
    return true;
}

static lpb_stream *made_of(const lpb_isa *isa, long long steps, PyObject *items, const array *weight, float bias) {
    const Py_ssize_t count = PyTuple_Size(items);
    lpb_step *layers = PyMem_Calloc((size_t)count + 1, sizeof *layers);
    if (!layers) return (lpb_stream *)PyErr_NoMemory();
    bool fits = true;
    for (Py_ssize_t i = 0; fits && i < count; i++) fits = need_layer(PyTuple_GetItem(items, i), steps, layers + i);
    lpb_stream *stream = NULL;
    if (fits) {
        const lpb_status status =
            lpb_stream_new(isa, layers, count, (const float *)weight->data, weight->shape[0], bias, &stream);
        if (status == LPB_NO_MEMORY)
            PyErr_NoMemory();
        else if (status != LPB_OK)
            PyErr_SetString(PyExc_ValueError, "the layers do not fit each other, the steps or the score's weights");
    }
    PyMem_Free(layers);
    return stream;
}

/* Stream(isa, steps, layers, weight, bias) */
static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index;
    long long steps;
    PyObject *list, *of_score;
    float bias;
    if (!no_keywords(kwargs) || !PyArg_ParseTuple(args, "lLOOf", &isa_index, &steps, &list, &of_score, &bias))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    const array *weight = isa ? need_array(of_score, float32_descr, 1, 0, "weight") : NULL;
    if (!weight) return NULL;
    if (!contiguous_from(weight, 0)) {
        PyErr_SetString(PyExc_ValueError, "weight: expected contiguous memory");
        return NULL;
    }
    PyObject *items = need_items(list, "layers");
    lpb_stream *stream = items ? made_of(isa, steps, items, weight, bias) : NULL;
    Py_XDECREF(items);
    if (!stream) return NULL;
    object *self = new_object(type);
    if (!self) {
        lpb_stream_free(stream);
        return NULL;
    }
    self->stream = stream;
    return (PyObject *)self;
}

static void stream_dealloc(PyObject *self) {
    lpb_stream_free(((object *)self)->stream);
    free_object(self);
}

static PyObject *stream_state(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLongLong(lpb_stream_state(((object *)self)->stream));
}

/* A copy of the numbers of streams, each below `most`, to be freed by PyMem_Free; NULL with an exception set. */
static int64_t *need_streams(const array *streams, Py_ssize_t most) {
    const Py_ssize_t rows = streams->shape[0];
    int64_t *copy = PyMem_Malloc((size_t)(rows ? rows : 1) * sizeof *copy);
    if (!copy) return (int64_t *)PyErr_NoMemory();
    memcpy(copy, streams->data, (size_t)rows * sizeof *copy);
    for (Py_ssize_t r = 0; r < rows; r++)
        if (copy[r] < 0 || copy[r] >= most) {
            PyErr_Format(PyExc_ValueError, "streams: %lld is not below %zd", (long long)copy[r], most);
            PyMem_Free(copy);
            return NULL;
        }
    return copy;
}

/* run(states, seen, streams, x, out): see lpb_stream_run; all arrays are contiguous. */
static PyObject *stream_run(PyObject *self, PyObject *args) {
    const lpb_stream *stream = ((object *)self)->stream;
    static const char *const names[] = {"states", "seen", "streams", "x", "out"};
    static const int dimensions[] = {2, 1, 1, 2, 1};
    PyObject *const types[] = {float32_descr, int64_descr, int64_descr, float32_descr, float32_descr};
    PyObject *objects[5];
    const array *a[5];
    if (!PyArg_ParseTuple(args, "OOOOO", objects, objects + 1, objects + 2, objects + 3, objects + 4)) return NULL;
    for (int i = 0; i < 5; i++) {
        const int flags = i == 2 || i == 3 ? 0 : ARRAY_WRITEABLE;
        if (!(a[i] = need_array(objects[i], types[i], dimensions[i], flags, names[i]))) return NULL;
        if (!contiguous_from(a[i], 0)) {
            PyErr_Format(PyExc_ValueError, "%s: expected contiguous memory", names[i]);
            return NULL;
        }
    }
    const Py_ssize_t rows = a[3]->shape[0];
    const int64_t features = lpb_stream_features(stream);
    if (a[0]->shape[1] != lpb_stream_state(stream) || a[1]->shape[0] != a[0]->shape[0] || a[2]->shape[0] != rows ||
        a[3]->shape[1] != features || a[4]->shape[0] != rows) {
        PyErr_SetString(PyExc_ValueError, "states, seen, streams, x and out: their shapes do not fit each other");
        return NULL;
    }
    for (int written = 0; written < 5; written += written ? 3 : 1) /* states, seen and out; streams are copied */
        for (int i = 0; i < 5; i++)
            if (i != 2 && i != written && may_overlap(a[written], a[i])) {
                PyErr_Format(PyExc_ValueError, "%s: shares memory with %s", names[written], names[i]);
                return NULL;
            }
    int64_t *streams = need_streams(a[2], a[0]->shape[0]);
    if (!streams) return NULL;
    float *states = (float *)a[0]->data, *out = (float *)a[4]->data;
    int64_t *seen = (int64_t *)a[1]->data;
    const float *x = (const float *)a[3]->data;
    lpb_status status;
    if (rows < RELEASE_ROWS) {
        status = lpb_stream_run(stream, states, seen, streams, x, features, rows, out);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = lpb_stream_run(stream, states, seen, streams, x, features, rows, out);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(streams);
    if (status != LPB_OK) return failure(status);
    Py_RETURN_NONE;
}

static PyMethodDef stream_methods[] = {
    {"state", stream_state, METH_NOARGS, NULL},
    {"run", stream_run, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new}, {Py_tp_dealloc, stream_dealloc}, {Py_tp_methods, stream_methods}, {0, NULL}};
static PyType_Spec stream_spec = {"harness.linalg._native.Stream", sizeof(object), 0, Py_TPFLAGS_DEFAULT, stream_slots};

PyObject *lpb_stream_type(void) { return PyType_FromSpec(&stream_spec); }
