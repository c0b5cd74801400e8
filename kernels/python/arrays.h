/* What the files of the Python module share: NumPy arrays as C sees them, and arguments checked. Limited API
 * throughout.
 *
 * Arrays are read through `array`, the head of NumPy's array object, whose layout NumPy keeps fixed for compiled
 * extensions and which lpb_arrays_init verifies against a real array when the module is imported: the limited API of
 * Python 3.10 has no buffer protocol, and a batch-1 call has no microsecond to spend on attributes.
 * Sizes and types are checked here; making an argument fit (copying, casting) is the callers' work in Python. */
#ifndef LPARBENCH_PYTHON_ARRAYS_H
#define LPARBENCH_PYTHON_ARRAYS_H

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <stdarg.h>

#include "drivers/lparbench_kernels.h"

typedef struct {
    PyObject_HEAD
    char *data;
    int dimensions;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *descr;
    int flags;
} array;

enum { ARRAY_ALIGNED = 0x0100, ARRAY_WRITEABLE = 0x0400 };

/* Of NumPy; set by lpb_arrays_init. */
extern PyObject *array_type, *numpy_empty, *numpy_require, *float32_type;
extern PyObject *float32_descr, *float64_descr, *int64_descr, *int32_descr, *int8_descr, *uint16_descr;

/* False with an exception set when NumPy is missing or unknown. */
bool lpb_arrays_init(void);

bool is_array(PyObject *object, PyObject *descr, int dimensions);
/* Checks an array argument and returns it; NULL with an exception set otherwise. */
const array *need_array(PyObject *object, PyObject *descr, int dimensions, int flags, const char *name);
/* Whether the bytes from the first to the last element of one array meet those of the other. */
bool may_overlap(const array *a, const array *b);
/* Whether the dimensions from `dimension` on lie without gaps, last one fastest. */
bool contiguous_from(const array *a, int dimension);
/* Whether a matrix of floats has contiguous rows, a whole number of floats apart. */
bool rows_are_contiguous(const array *x);

/* A new reference to a matrix of floats with contiguous rows: what is given, or a copy; NULL with an exception set. */
PyObject *need_rows(PyObject *given);
/* The arguments that numpy.empty had last: (shape, float32). */
typedef struct {
    Py_ssize_t rows; /* as long as args is not NULL */
    PyObject *args;
} kept_shape;
/* A new array of floats, (rows, columns), or (rows,) where there are no columns; those are the same in every call. */
PyObject *new_rows(kept_shape *kept, Py_ssize_t rows, int64_t columns);

/* Sets the exception for a status that is not LPB_OK; returns NULL. */
PyObject *failure(lpb_status status);
/* The instruction set with this index, supported here; NULL with an exception set otherwise. */
const lpb_isa *need_isa(long index);
/* Whether the instruction set has a kernel for the type with this number; sets the exception. */
bool need_kernel(const lpb_isa *isa, long dtype);
/* Whether trainers of nets have products in the type with this number; sets the exception. */
bool need_products(int dtype);
/* A tuple of what a list or a tuple holds now, a new reference: what other code does to the list changes nothing, and
 * everything in the tuple lives as long as it does. NULL with an exception set for anything else. */
PyObject *need_items(PyObject *sequence, const char *name);
/* PyArg_ParseTuple of what may be no tuple. */
bool need_fields(PyObject *tuple, const char *format, const char *name, ...);
/* Layers from a tuple of (weight, bias, activation, slope), which must outlive them, to be freed by PyMem_Free; NULL
 * with an exception set. Of the outputs of layer `sampled`, if there is one, the next layer takes half as many. */
lpb_layer *need_layers(PyObject *items, Py_ssize_t sampled, Py_ssize_t *count);
/* So many contiguous numbers, or any number of them with -1; NULL with an exception set. */
const array *need_row(PyObject *given, PyObject *descr, int64_t count, const char *name);
/* None when the array `to` took so many values; NULL with an exception set. */
PyObject *copied_into(PyObject *to, const float *values, int64_t count);
/* Parameters of a net, one behind the other, each padded to a multiple of 16 floats, and a flag of each. */
typedef struct {
    const int64_t *sizes, *flags;
    Py_ssize_t count;
    const float *values;
} flat_parameters;
/* The parameters that three arrays hold, the flags being called `name`; false with an exception set. */
bool need_flat_parameters(PyObject *sizes, PyObject *flags, const char *name, PyObject *values, flat_parameters *of);
/* Where so many numbers of a gradient go, NULL for None; false with an exception set. */
bool need_gradient(PyObject *given, int64_t count, float **gradient);
/* A copy of labels, 0 or 1 of every row, to be freed by PyMem_Free; NULL with an exception set. */
int64_t *need_labels(PyObject *given, Py_ssize_t rows);
/* Whether a constructor was given no argument by name; sets the exception. */
bool no_keywords(PyObject *kwargs);

/* Allocation and freeing of an instance of a heap type. */
void *new_object(PyTypeObject *type);
void free_object(PyObject *self);

/* The types of the module, made by their files. */
PyObject *lpb_chain_type(void);
PyObject *lpb_classifier_trainer_type(void);
PyObject *lpb_plan_type(void);
PyObject *lpb_search_type(void);
PyObject *lpb_stream_type(void);
PyObject *lpb_tape_type(void);
PyObject *lpb_trainer_type(void);
PyObject *lpb_transformer_trainer_type(void);
/* epoch_many(trainers, x, y, orders, noises, batch, losses, threads) */
PyObject *lpb_epoch_many(PyObject *module, PyObject *args);

#endif
