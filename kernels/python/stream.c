/* harness.linalg._native.Stream: windows of an LSTM over streams of rows. */
#include "arrays.h"

#include <stdlib.h>
#include <string.h>

enum {
    RELEASE_ROWS = 8, /* fewer rows are done sooner than the interpreter lock is released and taken */
    ALIGNMENT = 64,   /* bytes, of the states */
};

typedef struct {
    PyObject_HEAD
    lpb_stream *stream;
    void *memory; /* where states lie, whose pages are taken when they are written */
    float *states;
    int64_t *seen; /* rows of each stream */
    Py_ssize_t room;
    bool busy; /* a call is at work without the interpreter lock */
    kept_shape shape;
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

static void stream_dealloc(PyObject *object_) {
    object *self = (object *)object_;
    lpb_stream_free(self->stream);
    free(self->memory);
    free(self->seen);
    Py_XDECREF(self->shape.args);
    free_object(object_);
}

static PyObject *stream_state(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLongLong(lpb_stream_state(((object *)self)->stream));
}

static bool is_free(const object *self) {
    if (!self->busy) return true;
    PyErr_SetString(PyExc_ValueError, "another call is at work on these streams");
    return false;
}

/* reserve(streams): there are states for at least so many. */
static PyObject *stream_reserve(PyObject *object_, PyObject *count) {
    object *self = (object *)object_;
    const long long room = PyLong_AsLongLong(count);
    if (room == -1 && PyErr_Occurred()) return NULL;
    if (!is_free(self)) return NULL;
    const int64_t state = lpb_stream_state(self->stream);
    const size_t bytes = (size_t)state * sizeof *self->states;
    if (room < 0 || (uint64_t)room > (PTRDIFF_MAX - ALIGNMENT) / (bytes + sizeof *self->seen)) {
        PyErr_Format(PyExc_ValueError, "streams: there is no memory for %lld", room);
        return NULL;
    }
    if (room <= self->room) Py_RETURN_NONE;
    char *memory = calloc(1, (size_t)room * bytes + ALIGNMENT); /* which writes nothing where that is much */
    int64_t *seen = calloc((size_t)room, sizeof *seen);
    if (!memory || !seen) {
        free(memory);
        free(seen);
        return PyErr_NoMemory();
    }
    float *states = (float *)(void *)(memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT);
    for (Py_ssize_t i = 0; i < self->room; i++) {
        if (self->seen[i]) memcpy(states + i * state, self->states + i * state, bytes);
        seen[i] = self->seen[i];
    }
    free(self->memory);
    free(self->seen);
    self->memory = memory, self->states = states, self->seen = seen, self->room = (Py_ssize_t)room;
    Py_RETURN_NONE;
}

static bool in_room(const object *self, long long stream) {
    if (stream >= 0 && stream < self->room) return true;
    PyErr_Format(PyExc_ValueError, "streams: %lld is not below %zd", stream, self->room);
    return false;
}

/* restart(stream): forgets what it has open. */
static PyObject *stream_restart(PyObject *object_, PyObject *number) {
    object *self = (object *)object_;
    const long long stream = PyLong_AsLongLong(number);
    if (stream == -1 && PyErr_Occurred()) return NULL;
    if (!is_free(self) || !in_room(self, stream)) return NULL;
    const int64_t state = lpb_stream_state(self->stream);
    self->seen[stream] = 0; /* numbers that are none would cost time until their windows are over */
    memset(self->states + stream * state, 0, (size_t)state * sizeof *self->states);
    Py_RETURN_NONE;
}

/* Copies the numbers of `rows` streams from a list of integers or an array; sets the exception. */
static bool need_streams(const object *self, PyObject *given, Py_ssize_t rows, int64_t *to) {
    const bool list = PyList_Check(given);
    const array *numbers = list ? NULL : need_array(given, int64_descr, 1, 0, "streams");
    if (!list && !numbers) return false;
    if ((list ? PyList_Size(given) : numbers->shape[0]) != rows || (numbers && !contiguous_from(numbers, 0))) {
        PyErr_SetString(PyExc_ValueError, "streams and x: their shapes do not fit each other");
        return false;
    }
    for (Py_ssize_t r = 0; r < rows; r++) {
        if (numbers) {
            memcpy(to + r, numbers->data + r * (Py_ssize_t)sizeof *to, sizeof *to);
        } else {
            PyObject *item = PyList_GetItem(given, r);
            if (!PyLong_Check(item)) { /* whose conversion could run any Python code */
                PyErr_Format(PyExc_TypeError, "streams: expected integers, got %R", item);
                return false;
            }
            to[r] = PyLong_AsLongLong(item);
            if (to[r] == -1 && PyErr_Occurred()) return false;
        }
        if (!in_room(self, to[r])) return false;
    }
    return true;
}

/* The scores of rows whose type and layout fit. */
static PyObject *scores_of(object *self, PyObject *given, const array *x) {
    const Py_ssize_t rows = x->shape[0];
    if (x->shape[1] != lpb_stream_features(self->stream)) {
        PyErr_Format(PyExc_ValueError, "streams and x: their shapes do not fit each other, or %lld features",
                     (long long)lpb_stream_features(self->stream));
        return NULL;
    }
    int64_t few[RELEASE_ROWS], *streams = rows <= RELEASE_ROWS ? few : PyMem_Malloc((size_t)rows * sizeof *streams);
    if (!streams) return PyErr_NoMemory();
    PyObject *made = need_streams(self, given, rows, streams) ? new_rows(&self->shape, rows, 0) : NULL;
    lpb_status status = LPB_OK;
    if (made && is_free(self)) {
        float *out = (float *)((const array *)made)->data;
        const float *from = (const float *)x->data;
        const int64_t x_row = x->strides[0] / (Py_ssize_t)sizeof(float);
        if (rows < RELEASE_ROWS) {
            status = lpb_stream_run(self->stream, self->states, self->seen, streams, from, x_row, rows, out);
        } else {
            self->busy = true;
            Py_BEGIN_ALLOW_THREADS
            status = lpb_stream_run(self->stream, self->states, self->seen, streams, from, x_row, rows, out);
            Py_END_ALLOW_THREADS
            self->busy = false;
        }
    } else {
        Py_CLEAR(made);
    }
    if (streams != few) PyMem_Free(streams);
    if (status == LPB_OK) return made;
    Py_DECREF(made);
    return failure(status);
}

/* score(streams, x): see lpb_stream_run; x is read where it is when it is float32 with contiguous rows, else converted.
 */
static PyObject *stream_score(PyObject *object_, PyObject *const *args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected streams and x");
        return NULL;
    }
    object *self = (object *)object_;
    PyObject *converted = need_rows(args[1]);
    PyObject *scores = converted ? scores_of(self, args[0], (const array *)converted) : NULL;
    Py_XDECREF(converted);
    return scores;
}

static PyMethodDef stream_methods[] = {
    {"state", stream_state, METH_NOARGS, NULL},
    {"reserve", stream_reserve, METH_O, NULL},
    {"restart", stream_restart, METH_O, NULL},
    {"score", (PyCFunction)(void (*)(void))stream_score, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new}, {Py_tp_dealloc, stream_dealloc}, {Py_tp_methods, stream_methods}, {0, NULL}};
static PyType_Spec stream_spec = {"harness.linalg._native.Stream", sizeof(object), 0, Py_TPFLAGS_DEFAULT, stream_slots};

PyObject *lpb_stream_type(void) { return PyType_FromSpec(&stream_spec); }
