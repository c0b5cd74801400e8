/* harness.linalg._native.Plan: the steps of a scoring program, compiled. */
#include "runner.h"

#include <string.h>

static lpb_status run(const void *plan, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    return lpb_plan_run(plan, x, rows, x_row, out, threads);
}

static void release(void *plan) { lpb_plan_free(plan); }

/* The tuple of what a step's list or tuple holds, kept in `held` for as long as the steps are; NULL with an exception
 * set. */
static PyObject *held_items(PyObject *held, PyObject *sequence, const char *name) {
    PyObject *items = need_items(sequence, name);
    if (items && PyList_Append(held, items)) Py_CLEAR(items);
    Py_XDECREF(items); /* `held` has it */
    return items;
}

static bool need_inputs(PyObject *items, lpb_step *step, PyObject *held) {
    const Py_ssize_t count = PyTuple_Size(items);
    PyObject *memory = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int64_t));
    if (!memory || PyList_Append(held, memory)) {
        Py_XDECREF(memory);
        return false;
    }
    Py_DECREF(memory);
    int64_t *inputs = (int64_t *)(void *)PyBytes_AsString(memory);
    for (Py_ssize_t i = 0; i < count; i++) {
        const long long number = PyLong_AsLongLong(PyTuple_GetItem(items, i));
        if (number == -1 && PyErr_Occurred()) return false;
        inputs[i] = number;
    }
    step->inputs = inputs;
    step->input_count = count;
    return true;
}

static bool need_arrays(PyObject *items, lpb_step *step) {
    const Py_ssize_t count = PyTuple_Size(items);
    if (count > LPB_STEP_ARRAYS) {
        PyErr_Format(PyExc_ValueError, "arrays: a step has at most %d", (int)LPB_STEP_ARRAYS);
        return false;
    }
    PyObject *const types[] = {float32_descr, float64_descr, int32_descr, int64_descr};
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *object = PyTuple_GetItem(items, i);
        int type = 0;
        while (type < 4 && !is_array(object, types[type], 1) && !is_array(object, types[type], 2)) type++;
        const array *a = (const array *)object;
        if (type == 4 || !contiguous_from(a, 0)) {
            PyErr_Format(PyExc_TypeError,
                         "arrays: expected contiguous float32, float64, int32 or int64 of 1 or 2 dimensions, got %R",
                         object);
            return false;
        }
        const bool matrix = a->dimensions == 2;
        step->arrays[i] = (lpb_array){a->data, (lpb_array_type)type, matrix ? a->shape[0] : 1, a->shape[matrix]};
    }
    step->array_count = count;
    return true;
}

/* The numbers of all steps, whose conversion may run any Python code; the arrays are looked at when that is over. */
static bool need_numbers(PyObject *items, lpb_step *steps, PyObject **arrays, Py_ssize_t count, PyObject *held) {
    for (Py_ssize_t i = 0; i < count; i++) {
        long kind;
        long long word, number;
        PyObject *inputs, *of_step;
        lpb_step *step = steps + i;
        if (!need_fields(PyTuple_GetItem(items, i), "lLOOfL", "step", &kind, &word, &inputs, &of_step, &step->slope,
                         &number))
            return false;
        if (kind < 0 || kind >= LPB_STEP_KINDS) {
            PyErr_Format(PyExc_ValueError, "step %zd: kind %ld is unknown", i, kind);
            return false;
        }
        step->kind = (lpb_step_kind)kind, step->word = word, step->number = number;
        PyObject *numbers = held_items(held, inputs, "inputs");
        if (!numbers || !need_inputs(numbers, step, held)) return false;
        arrays[i] = held_items(held, of_step, "arrays");
        if (!arrays[i]) return false;
    }
    return true;
}

static lpb_plan *compiled(const lpb_isa *isa, int64_t features, PyObject *items, long dtype, PyObject *held) {
    const Py_ssize_t count = PyTuple_Size(items);
    lpb_step *steps = PyMem_Calloc((size_t)count + 1, sizeof *steps);
    PyObject **arrays = PyMem_Calloc((size_t)count + 1, sizeof *arrays);
    lpb_plan *plan = NULL;
    bool fits = steps && arrays;
    if (!fits)
        PyErr_NoMemory();
    else
        fits = need_numbers(items, steps, arrays, count, held);
    for (Py_ssize_t i = 0; fits && i < count; i++) fits = need_arrays(arrays[i], steps + i);
    if (fits) {
        int64_t wrong;
        const lpb_status status = lpb_plan_new(isa, features, steps, count, (lpb_dtype)dtype, &plan, &wrong);
        if (status == LPB_NO_MEMORY)
            PyErr_NoMemory();
        else if (status != LPB_OK && wrong == count)
            PyErr_SetString(PyExc_ValueError, "the steps make no score: one float per row, of at least one feature");
        else if (status != LPB_OK)
            PyErr_Format(PyExc_ValueError, "step %lld does not fit what it is given", (long long)wrong);
    }
    PyMem_Free(arrays);
    PyMem_Free(steps);
    return plan;
}

/* Plan(isa, features, steps, dtype, threads), a step being (kind, word, inputs, arrays, slope, number). */
static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index, dtype;
    long long features;
    int threads;
    PyObject *list;
    if (!no_keywords(kwargs) || !PyArg_ParseTuple(args, "lLOli", &isa_index, &features, &list, &dtype, &threads))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    PyObject *items = isa && need_kernel(isa, dtype) ? need_items(list, "steps") : NULL;
    PyObject *held = items ? PyList_New(0) : NULL;
    lpb_plan *plan = held ? compiled(isa, features, items, dtype, held) : NULL;
    Py_XDECREF(held);
    Py_XDECREF(items);
    if (!plan) return NULL;
    runner *self = new_object(type);
    if (!self) {
        lpb_plan_free(plan);
        return NULL;
    }
    self->compiled = plan;
    self->run = run, self->release = release;
    self->inputs = features;
    self->outputs = 1;
    self->work = lpb_plan_work(plan);
    self->per_row = true;
    self->threads = threads;
    return (PyObject *)self;
}

static PyMethodDef plan_methods[] = {
    {"run", (PyCFunction)(void (*)(void))runner_run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot plan_slots[] = {
    {Py_tp_new, plan_new}, {Py_tp_dealloc, runner_dealloc}, {Py_tp_methods, plan_methods}, {0, NULL}};
static PyType_Spec plan_spec = {"harness.linalg._native.Plan", sizeof(runner), 0, Py_TPFLAGS_DEFAULT, plan_slots};

PyObject *lpb_plan_type(void) { return PyType_FromSpec(&plan_spec); }
