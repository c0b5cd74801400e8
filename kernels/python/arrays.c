#include "arrays.h"

#include <string.h>

PyObject *array_type, *numpy_empty, *numpy_require, *float32_type;
PyObject *float32_descr, *float64_descr, *int64_descr, *int32_descr, *int8_descr, *uint16_descr;

bool is_array(PyObject *object, PyObject *descr, int dimensions) {
    const array *a = (const array *)object;
    return (PyObject *)Py_TYPE(object) == array_type && a->descr == descr && a->dimensions == dimensions &&
           (a->flags & ARRAY_ALIGNED);
}

const array *need_array(PyObject *object, PyObject *descr, int dimensions, int flags, const char *name) {
    if (!is_array(object, descr, dimensions) || (((const array *)object)->flags & flags) != flags) {
        PyErr_Format(PyExc_TypeError, "%s: expected an aligned%s %d-dimensional array of %S, got %R", name,
                     flags & ARRAY_WRITEABLE ? ", writable" : "", dimensions, descr, object);
        return NULL;
    }
    return (const array *)object;
}

/* Bytes of an element of the types that the module takes. */
static Py_ssize_t item_size(const array *a) {
    return a->descr == int64_descr || a->descr == float64_descr ? 8
           : a->descr == int8_descr                             ? 1
           : a->descr == uint16_descr                           ? 2
                                                                : 4;
}

typedef struct {
    uintptr_t from, to; /* to: behind the last byte; both 0 when there is none */
} extent;

static extent extent_of(const array *a) {
    intptr_t below = 0, above = item_size(a);
    for (int d = 0; d < a->dimensions; d++) {
        if (a->shape[d] == 0) return (extent){0, 0};
        *(a->strides[d] < 0 ? &below : &above) += (a->shape[d] - 1) * a->strides[d];
    }
    return (extent){(uintptr_t)a->data + (uintptr_t)below, (uintptr_t)a->data + (uintptr_t)above};
}

bool may_overlap(const array *a, const array *b) {
    const extent x = extent_of(a), y = extent_of(b);
    return x.from < y.to && y.from < x.to;
}

bool contiguous_from(const array *a, int dimension) {
    Py_ssize_t expected = item_size(a);
    for (int d = 0; d < a->dimensions; d++)
        if (a->shape[d] == 0) return true; /* strides of an empty array mean nothing */
    for (int d = a->dimensions - 1; d >= dimension; d--) {
        if (a->shape[d] > 1 && a->strides[d] != expected) return false;
        expected *= a->shape[d];
    }
    return true;
}

bool rows_are_contiguous(const array *x) {
    const Py_ssize_t size = (Py_ssize_t)sizeof(float);
    return x->shape[0] == 0 || ((x->shape[1] <= 1 || x->strides[1] == size) && x->strides[0] % size == 0);
}

PyObject *need_rows(PyObject *given) {
    if (is_array(given, float32_descr, 2) && rows_are_contiguous((const array *)given)) return Py_NewRef(given);
    PyObject *converted = PyObject_CallFunction(numpy_require, "OOs", given, float32_type, "CA");
    if (converted && !need_array(converted, float32_descr, 2, 0, "x")) Py_CLEAR(converted);
    return converted;
}

PyObject *new_rows(kept_shape *kept, Py_ssize_t rows, int64_t columns) {
    if (!kept->args || rows != kept->rows) {
        PyObject *made = columns ? Py_BuildValue("((nL)O)", rows, (long long)columns, float32_descr)
                                 : Py_BuildValue("((n)O)", rows, float32_descr);
        if (!made) return NULL;
        PyObject *old = kept->args;
        kept->args = made;
        kept->rows = rows;
        Py_XDECREF(old);
    }
    return PyObject_CallObject(numpy_empty, kept->args);
}

PyObject *failure(lpb_status status) {
    if (status == LPB_NO_MEMORY) return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "the kernels do not support this combination of arguments");
    return NULL;
}

const lpb_isa *need_isa(long index) {
    const lpb_isa *isa = index < 0 || index > INT_MAX ? NULL : lpb_isa_at((int)index);
    if (!isa || !lpb_isa_supported(isa)) {
        PyErr_Format(PyExc_ValueError, "instruction set %ld is not supported by this processor", index);
        return NULL;
    }
    return isa;
}

bool need_kernel(const lpb_isa *isa, long dtype) {
    if (dtype >= 0 && dtype < LPB_DTYPES && lpb_isa_kernel(isa, (lpb_dtype)dtype)) return true;
    PyErr_Format(PyExc_ValueError, "dtype %ld has no kernel for %s", dtype, lpb_isa_name(isa));
    return false;
}

bool need_products(int dtype) {
    if (dtype == LPB_FLOAT32 || dtype == LPB_BFLOAT16) return true;
    PyErr_Format(PyExc_ValueError, "products: expected those of floats or bfloat16, got dtype %d", dtype);
    return false;
}

PyObject *need_items(PyObject *sequence, const char *name) {
    if (PyList_Check(sequence)) return PyList_AsTuple(sequence);
    if (PyTuple_Check(sequence)) return Py_NewRef(sequence);
    PyErr_Format(PyExc_TypeError, "%s: expected a list or a tuple, got %R", name, sequence);
    return NULL;
}

bool need_fields(PyObject *tuple, const char *format, const char *name, ...) {
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a tuple, got %R", name, tuple);
        return false;
    }
    va_list fields;
    va_start(fields, name);
    const bool parsed = PyArg_VaParse(tuple, format, fields);
    va_end(fields);
    return parsed;
}

/* The numbers of all layers, whose conversion may run any Python code; the arrays are looked at when that is over. */
static bool need_numbers(PyObject *items, lpb_layer *layers, Py_ssize_t count) {
    for (Py_ssize_t l = 0; l < count; l++) {
        PyObject *weight, *bias;
        long activation;
        float slope;
        if (!need_fields(PyTuple_GetItem(items, l), "OOlf", "layer", &weight, &bias, &activation, &slope)) return false;
        if (activation < 0 || activation >= LPB_ACTIVATIONS) {
            PyErr_Format(PyExc_ValueError, "layer %zd: activation %ld is unknown", l, activation);
            return false;
        }
        layers[l] = (lpb_layer){.activation = (lpb_activation)activation, .slope = slope};
    }
    return true;
}

static bool need_matrix(PyObject *layer, lpb_layer *to, const lpb_layer *before, bool sampled, Py_ssize_t l) {
    const array *weight = need_array(PyTuple_GetItem(layer, 0), float32_descr, 2, 0, "weight");
    const array *bias = weight ? need_array(PyTuple_GetItem(layer, 1), float32_descr, 1, 0, "bias") : NULL;
    if (!bias) return false;
    if (!contiguous_from(weight, 0) || !contiguous_from(bias, 0) || bias->shape[0] != weight->shape[0] ||
        weight->shape[0] < 1 || weight->shape[1] < 1 ||
        (before && before->outputs != (sampled ? 2 : 1) * weight->shape[1])) {
        PyErr_Format(PyExc_ValueError, "layer %zd does not fit: weight %zd x %zd, bias %zd", l, weight->shape[0],
                     weight->shape[1], bias->shape[0]);
        return false;
    }
    to->inputs = weight->shape[1], to->outputs = weight->shape[0];
    to->weight = (const float *)weight->data, to->bias = (const float *)bias->data;
    return true;
}

lpb_layer *need_layers(PyObject *items, Py_ssize_t sampled, Py_ssize_t *count) {
    *count = PyTuple_Size(items);
    if (*count == 0) {
        PyErr_SetString(PyExc_ValueError, "a chain has at least one layer");
        return NULL;
    }
    lpb_layer *layers = PyMem_Malloc((size_t)*count * sizeof *layers);
    if (!layers) return (lpb_layer *)PyErr_NoMemory();
    bool fits = need_numbers(items, layers, *count);
    for (Py_ssize_t l = 0; fits && l < *count; l++)
        fits = need_matrix(PyTuple_GetItem(items, l), layers + l, l ? layers + l - 1 : NULL, l && l - 1 == sampled, l);
    if (fits) return layers;
    PyMem_Free(layers);
    return NULL;
}

bool no_keywords(PyObject *kwargs) {
    if (!kwargs || PyDict_Size(kwargs) == 0) return true;
    PyErr_SetString(PyExc_TypeError, "arguments have no names here");
    return false;
}

void *new_object(PyTypeObject *type) {
    const allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

void free_object(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* layout_is_known: a 2 x 3 float32 array, seen through `array`, must be what its own attributes say. */
static bool layout_is_known(PyObject *numpy) {
    PyObject *whole = PyObject_CallMethod(numpy, "zeros", "((nn)O)", (Py_ssize_t)2, (Py_ssize_t)3, float32_type);
    PyObject *pointer = whole ? PyObject_GetAttrString(whole, "ctypes") : NULL;
    PyObject *address = pointer ? PyObject_GetAttrString(pointer, "data") : NULL;
    bool known = false;
    if (address && (PyObject *)Py_TYPE(whole) == array_type) {
        const array *a = (const array *)whole;
        known = a->data == PyLong_AsVoidPtr(address) && a->dimensions == 2 && a->shape[0] == 2 && a->shape[1] == 3 &&
                a->strides[0] == 12 && a->strides[1] == 4 && a->descr == float32_descr &&
                (a->flags & (ARRAY_ALIGNED | ARRAY_WRITEABLE)) == (ARRAY_ALIGNED | ARRAY_WRITEABLE);
        if (!known) PyErr_SetString(PyExc_ImportError, "this NumPy lays out its arrays in an unknown way");
    }
    Py_XDECREF(address);
    Py_XDECREF(pointer);
    Py_XDECREF(whole);
    return known;
}

static PyObject *descr_of(PyObject *numpy, const char *name) { return PyObject_CallMethod(numpy, "dtype", "s", name); }

bool lpb_arrays_init(void) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy) return false;
    array_type = PyObject_GetAttrString(numpy, "ndarray");
    numpy_empty = PyObject_GetAttrString(numpy, "empty");
    numpy_require = PyObject_GetAttrString(numpy, "require");
    float32_type = PyObject_GetAttrString(numpy, "float32");
    float32_descr = descr_of(numpy, "float32");
    float64_descr = descr_of(numpy, "float64");
    int64_descr = descr_of(numpy, "int64");
    int32_descr = descr_of(numpy, "int32");
    int8_descr = descr_of(numpy, "int8");
    uint16_descr = descr_of(numpy, "uint16");
    const bool known = array_type && numpy_empty && numpy_require && float32_type && float32_descr && float64_descr &&
                       int64_descr && int32_descr && int8_descr && uint16_descr && layout_is_known(numpy);
    Py_DECREF(numpy);
    return known;
}

const array *need_row(PyObject *given, PyObject *descr, int64_t count, const char *name) {
    const array *numbers = need_array(given, descr, 1, 0, name);
    if (!numbers) return NULL;
    if (contiguous_from(numbers, 0) && (count < 0 || numbers->shape[0] == count)) return numbers;
    PyErr_Format(PyExc_ValueError, "%s: expected %lld contiguous numbers, got %zd", name, (long long)count,
                 numbers->shape[0]);
    return NULL;
}

PyObject *copied_into(PyObject *to, const float *values, int64_t count) {
    const array *numbers = need_array(to, float32_descr, 1, ARRAY_WRITEABLE, "parameters");
    if (!numbers) return NULL;
    if (!contiguous_from(numbers, 0) || numbers->shape[0] != count) {
        PyErr_Format(PyExc_ValueError, "parameters: expected %lld contiguous numbers", (long long)count);
        return NULL;
    }
    memcpy(numbers->data, values, (size_t)count * sizeof *values);
    Py_RETURN_NONE;
}

/* The floats that sizes of parameters stand for, each padded to a multiple of 16; -1 with an exception set. */
static int64_t padded_floats(const int64_t *sizes, Py_ssize_t count) {
    int64_t floats = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (sizes[i] < 0 || sizes[i] > INT_MAX) {
            PyErr_Format(PyExc_ValueError, "sizes: parameter %zd has %lld numbers", i, (long long)sizes[i]);
            return -1;
        }
        floats += (sizes[i] + 15) / 16 * 16;
    }
    return floats;
}

bool need_flat_parameters(PyObject *sizes, PyObject *flags, const char *name, PyObject *values, flat_parameters *of) {
    const array *lengths = need_row(sizes, int64_descr, -1, "sizes");
    const int64_t floats = lengths ? padded_floats((const int64_t *)lengths->data, lengths->shape[0]) : -1;
    const array *each = floats < 0 ? NULL : need_row(flags, int64_descr, lengths->shape[0], name);
    const array *numbers = each ? need_row(values, float32_descr, floats, "parameters") : NULL;
    if (!numbers) return false;
    of->sizes = (const int64_t *)lengths->data, of->flags = (const int64_t *)each->data;
    of->count = lengths->shape[0], of->values = (const float *)numbers->data;
    return true;
}

bool need_gradient(PyObject *given, int64_t count, float **gradient) {
    *gradient = NULL;
    if (given == Py_None) return true;
    const array *floats = need_array(given, float32_descr, 1, ARRAY_WRITEABLE, "gradient");
    if (!floats) return false;
    if (!contiguous_from(floats, 0) || floats->shape[0] != count) {
        PyErr_SetString(PyExc_ValueError, "gradient: expected as many contiguous numbers as the parameters have");
        return false;
    }
    *gradient = (float *)floats->data;
    return true;
}

int64_t *need_labels(PyObject *given, Py_ssize_t rows) {
    const array *of_rows = need_row(given, int64_descr, rows, "labels");
    int64_t *labels = of_rows ? PyMem_Malloc((size_t)(rows + 1) * sizeof *labels) : NULL;
    if (!labels) return of_rows ? (int64_t *)PyErr_NoMemory() : NULL;
    memcpy(labels, of_rows->data, (size_t)rows * sizeof *labels);
    for (Py_ssize_t r = 0; r < rows; r++)
        if (labels[r] != 0 && labels[r] != 1) {
            PyErr_Format(PyExc_ValueError, "labels: row %zd has neither 0 nor 1", r);
            PyMem_Free(labels);
            return NULL;
        }
    return labels;
}
