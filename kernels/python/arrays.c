#include "arrays.h"

PyObject *array_type, *numpy_empty, *numpy_require, *float32_type;
PyObject *float32_descr, *int64_descr, *int32_descr, *int8_descr, *uint16_descr;

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

bool contiguous_from(const array *a, int dimension) {
    Py_ssize_t expected = a->descr == int64_descr ? 8 : a->descr == int8_descr ? 1 : a->descr == uint16_descr ? 2 : 4;
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

PyObject *failure(lpb_status status) {
    if (status == LPB_NO_MEMORY) return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "the kernels do not support this combination of arguments");
    return NULL;
}

const lpb_isa *need_isa(long index) {
    const lpb_isa *isa = lpb_isa_at((int)index);
    if (!isa || !lpb_isa_supported(isa)) {
        PyErr_Format(PyExc_ValueError, "instruction set %ld is not supported by this processor", index);
        return NULL;
    }
    return isa;
}

lpb_layer *need_layers(PyObject *list, Py_ssize_t sampled, Py_ssize_t *count) {
    *count = PyList_Size(list);
    if (*count < 0) return NULL;
    if (*count == 0) {
        PyErr_SetString(PyExc_ValueError, "a chain has at least one layer");
        return NULL;
    }
    lpb_layer *layers = PyMem_Malloc((size_t)*count * sizeof *layers);
    if (!layers) return (lpb_layer *)PyErr_NoMemory();
    for (Py_ssize_t l = 0; l < *count; l++) {
        PyObject *weight_object, *bias_object;
        long activation;
        float slope;
        if (!PyArg_ParseTuple(PyList_GetItem(list, l), "OOlf", &weight_object, &bias_object, &activation, &slope))
            goto fail;
        const array *weight = need_array(weight_object, float32_descr, 2, 0, "weight");
        const array *bias = weight ? need_array(bias_object, float32_descr, 1, 0, "bias") : NULL;
        if (!bias) goto fail;
        if (!contiguous_from(weight, 0) || !contiguous_from(bias, 0) || bias->shape[0] != weight->shape[0] ||
            weight->shape[0] < 1 || weight->shape[1] < 1 || activation < 0 || activation >= LPB_ACTIVATIONS ||
            (l && layers[l - 1].outputs != (l - 1 == sampled ? 2 : 1) * weight->shape[1])) {
            PyErr_Format(PyExc_ValueError, "layer %zd does not fit: weight %zd x %zd, bias %zd", l, weight->shape[0],
                         weight->shape[1], bias->shape[0]);
            goto fail;
        }
        layers[l] = (lpb_layer){weight->shape[1],          weight->shape[0],           (const float *)weight->data,
                                (const float *)bias->data, (lpb_activation)activation, slope};
    }
    return layers;
fail:
    PyMem_Free(layers);
    return NULL;
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
    int64_descr = descr_of(numpy, "int64");
    int32_descr = descr_of(numpy, "int32");
    int8_descr = descr_of(numpy, "int8");
    uint16_descr = descr_of(numpy, "uint16");
    const bool known = array_type && numpy_empty && numpy_require && float32_type && float32_descr && int64_descr &&
                       int32_descr && int8_descr && uint16_descr && layout_is_known(numpy);
    Py_DECREF(numpy);
    return known;
}
