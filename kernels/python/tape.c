/* harness.linalg._native.Tape: the operations of a training step. */
#include "arrays.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    lpb_tape *tape;
    PyObject *memory;
    lpb_tape_sizes sizes;
    bool busy;
} tape_object;

enum { VALUE_NUMBERS = 4, OPERATION_NUMBERS = 7, OPERATION_REALS = 4, TABLE_NUMBERS = 4 };

static const array *need_table(PyObject *object, PyObject *descr, Py_ssize_t columns, const char *name) {
    const array *table = need_array(object, descr, 2, 0, name);
    if (!table) return NULL;
    if (contiguous_from(table, 0) && table->shape[1] == columns) return table;
    PyErr_Format(PyExc_ValueError, "%s: expected contiguous rows of %zd numbers, got %zd", name, columns,
                 table->shape[1]);
    return NULL;
}

/* To be freed by PyMem_Free; NULL with an exception set. */
static lpb_tape_operation *need_operations(const array *numbers, const array *reals) {
    if (numbers->shape[0] != reals->shape[0]) {
        PyErr_SetString(PyExc_ValueError, "reals: expected a row for each operation");
        return NULL;
    }
    const int64_t *from = (const int64_t *)numbers->data;
    lpb_tape_operation *made = PyMem_Calloc((size_t)numbers->shape[0] + 1, sizeof *made);
    if (!made) return (lpb_tape_operation *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < numbers->shape[0]; i++, from += OPERATION_NUMBERS) {
        if (from[0] < 0 || from[0] >= LPB_TAPE_KINDS) {
            PyErr_Format(PyExc_ValueError, "operation %zd: kind %lld is unknown", i, (long long)from[0]);
            PyMem_Free(made);
            return NULL;
        }
        made[i] =
            (lpb_tape_operation){(lpb_tape_kind)from[0], from[1], from[2], from[3], from[4], from[5], from[6], {0}};
        memcpy(made[i].real, (const double *)reals->data + i * OPERATION_REALS, sizeof made[i].real);
    }
    return made;
}

static bool sizes_fit(const lpb_tape_sizes *s) {
    const int64_t numbers[] = {s->features, s->batch, s->orders, s->normals, s->words, s->losses};
    for (int i = 0; i < 6; i++)
        if (numbers[i] < 0 || numbers[i] > INT_MAX) {
            PyErr_SetString(PyExc_ValueError, "sizes: expected six numbers of 32 bits, none negative");
            return false;
        }
    if (s->batch > 0) return true;
    PyErr_SetString(PyExc_ValueError, "batch: expected at least one row");
    return false;
}

/* Tape(isa, memory, features, batch, orders, normals, words, losses, values, operations, reals, tables, entries) */
static PyObject *tape_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index;
    PyObject *memory_object, *values_object, *numbers_object, *reals_object, *tables_object, *entries_object;
    long long features, batch, orders, normals, words, losses;
    if (!no_keywords(kwargs) || !PyArg_ParseTuple(args, "lOLLLLLLOOOOO", &isa_index, &memory_object, &features, &batch,
                                                  &orders, &normals, &words, &losses, &values_object, &numbers_object,
                                                  &reals_object, &tables_object, &entries_object))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    const array *memory = isa ? need_array(memory_object, float32_descr, 1, ARRAY_WRITEABLE, "memory") : NULL;
    const array *values = memory ? need_table(values_object, int64_descr, VALUE_NUMBERS, "values") : NULL;
    const array *numbers = values ? need_table(numbers_object, int64_descr, OPERATION_NUMBERS, "operations") : NULL;
    const array *reals = numbers ? need_table(reals_object, float64_descr, OPERATION_REALS, "reals") : NULL;
    const array *tables = reals ? need_table(tables_object, int64_descr, TABLE_NUMBERS, "tables") : NULL;
    const array *entries = tables ? need_array(entries_object, int64_descr, 1, 0, "entries") : NULL;
    if (!entries) return NULL;
    if (!contiguous_from(memory, 0) || !contiguous_from(entries, 0)) {
        PyErr_SetString(PyExc_ValueError, "memory, entries: expected contiguous numbers");
        return NULL;
    }
    const lpb_tape_tables all_tables = {(const lpb_tape_table *)tables->data, tables->shape[0],
                                        (const int64_t *)entries->data, entries->shape[0]};
    /* sixteen numbers behind the last value: whole vectors are written */
    const lpb_tape_sizes sizes = {memory->shape[0] - 16, features, batch, orders, normals, words, losses};
    lpb_tape_operation *operations = sizes_fit(&sizes) ? need_operations(numbers, reals) : NULL;
    tape_object *self = operations ? new_object(type) : NULL;
    if (self) {
        int64_t wrong;
        self->sizes = sizes;
        self->memory = Py_NewRef(memory_object);
        const lpb_status status =
            lpb_tape_new(isa, (float *)memory->data, &sizes, (const lpb_tape_value *)values->data, values->shape[0],
                         operations, numbers->shape[0], &all_tables, &self->tape, &wrong);
        if (status != LPB_OK) {
            if (status == LPB_NO_MEMORY)
                PyErr_NoMemory();
            else if (wrong < 0)
                PyErr_SetString(PyExc_ValueError, "values: they do not fit the memory, or tables their entries");
            else
                PyErr_Format(PyExc_ValueError, "operation %lld does not fit its operands", (long long)wrong);
            Py_DECREF((PyObject *)self);
            self = NULL;
        }
    }
    PyMem_Free(operations);
    return (PyObject *)self;
}

static void tape_dealloc(PyObject *object) {
    tape_object *self = (tape_object *)object;
    lpb_tape_free(self->tape);
    Py_XDECREF(self->memory);
    free_object(object);
}

/* `per_step` numbers for each of `steps` steps. */
static const array *need_steps(PyObject *object, PyObject *descr, int64_t per_step, int64_t steps, int flags,
                               const char *name) {
    const array *numbers = need_array(object, descr, 1, flags, name);
    if (!numbers) return NULL;
    if (contiguous_from(numbers, 0) && numbers->shape[0] == per_step * steps) return numbers;
    PyErr_Format(PyExc_ValueError, "%s: expected %lld contiguous numbers, got %zd", name, (long long)(per_step * steps),
                 numbers->shape[0]);
    return NULL;
}

/* A copy of the orders, one behind the other, to be freed by PyMem_Free: what is checked must stay as it is. */
static int64_t *need_orders(PyObject *object, int64_t count, int64_t rows, int64_t rows_of_x) {
    const array *orders = need_array(object, int64_descr, 2, 0, "orders");
    if (!orders) return NULL;
    if (!contiguous_from(orders, 0) || orders->shape[0] != count || orders->shape[1] != rows) {
        PyErr_Format(PyExc_ValueError, "orders: expected %lld x %lld contiguous row numbers, got %zd x %zd",
                     (long long)count, (long long)rows, orders->shape[0], orders->shape[1]);
        return NULL;
    }
    int64_t *entries = PyMem_Malloc((size_t)(count * rows + 1) * sizeof *entries);
    if (!entries) return (int64_t *)PyErr_NoMemory();
    memcpy(entries, orders->data, (size_t)(count * rows) * sizeof *entries);
    for (int64_t i = 0; i < count * rows; i++)
        if (entries[i] < 0 || entries[i] >= rows_of_x) {
            PyErr_Format(PyExc_IndexError, "orders: row %lld is outside the %lld rows of x", (long long)entries[i],
                         (long long)rows_of_x);
            PyMem_Free(entries);
            return NULL;
        }
    return entries;
}

/* run(steps, x, orders, normals, words, losses) */
static PyObject *tape_run(PyObject *object, PyObject *args) {
    tape_object *self = (tape_object *)object;
    const lpb_tape_sizes *s = &self->sizes;
    long long steps;
    PyObject *x_object, *orders_object, *normals_object, *words_object, *losses_object;
    if (!PyArg_ParseTuple(args, "LOOOOO", &steps, &x_object, &orders_object, &normals_object, &words_object,
                          &losses_object))
        return NULL;
    if (steps < 0 || steps > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "steps: expected a number of 32 bits, not negative");
        return NULL;
    }
    const array *x = need_array(x_object, float32_descr, 2, 0, "x");
    if (x && (x->shape[1] != s->features || !rows_are_contiguous(x))) {
        PyErr_Format(PyExc_ValueError, "x: expected contiguous rows of %lld features, got %zd", (long long)s->features,
                     x->shape[1]);
        return NULL;
    }
    const array *normals = x ? need_steps(normals_object, float32_descr, s->normals, steps, 0, "normals") : NULL;
    const array *words = normals ? need_steps(words_object, int64_descr, s->words, steps, 0, "words") : NULL;
    const array *losses =
        words ? need_steps(losses_object, float32_descr, s->losses, steps, ARRAY_WRITEABLE, "losses") : NULL;
    if (!losses) return NULL;
    if (may_overlap(losses, x) || may_overlap(losses, normals) || may_overlap(losses, words)) {
        PyErr_SetString(PyExc_ValueError, "losses: they share memory with the data");
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this tape is in use by another thread");
        return NULL;
    }
    int64_t *entries = need_orders(orders_object, s->orders, steps * s->batch, x->shape[0]);
    const int64_t **orders = entries ? PyMem_Calloc((size_t)s->orders + 1, sizeof *orders) : NULL;
    if (entries && !orders) PyErr_NoMemory();
    if (orders) {
        for (int64_t i = 0; i < s->orders; i++) orders[i] = entries + i * steps * s->batch;
        const lpb_tape_data data = {.x = (const float *)x->data,
                                    .x_row = x->strides[0] / 4,
                                    .orders = orders,
                                    .normals = (const float *)normals->data,
                                    .words = (const uint16_t *)words->data,
                                    .losses = (float *)losses->data};
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        lpb_tape_run(self->tape, &data, steps);
        Py_END_ALLOW_THREADS
        self->busy = false;
    }
    PyMem_Free(orders);
    PyMem_Free(entries);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef tape_methods[] = {
    {"run", tape_run, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot tape_slots[] = {
    {Py_tp_new, tape_new}, {Py_tp_dealloc, tape_dealloc}, {Py_tp_methods, tape_methods}, {0, NULL}};
static PyType_Spec tape_spec = {"harness.linalg._native.Tape", sizeof(tape_object), 0, Py_TPFLAGS_DEFAULT, tape_slots};

PyObject *lpb_tape_type(void) { return PyType_FromSpec(&tape_spec); }
