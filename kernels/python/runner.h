/* Objects that score rows: a compiled chain or plan, and what runs and frees it. */
#ifndef LPARBENCH_PYTHON_RUNNER_H
#define LPARBENCH_PYTHON_RUNNER_H

#include "arrays.h"

typedef struct {
    PyObject_HEAD
    void *compiled;
    lpb_status (*run)(const void *compiled, const float *x, int64_t rows, int64_t x_row, float *out, int threads);
    void (*release)(void *compiled);
    int64_t inputs, outputs;
    int64_t work; /* of a row, in operations */
    bool per_row; /* one number per row, rather than a row of outputs */
    int threads;
    kept_shape shape; /* of the last call's output */
} runner;

void runner_dealloc(PyObject *object);
/* run(x), run(x, out): x (rows, inputs), read where it is when it is float32 with contiguous rows and else converted;
 * returns out. */
PyObject *runner_run(PyObject *object, PyObject *const *args, Py_ssize_t count);

#endif
