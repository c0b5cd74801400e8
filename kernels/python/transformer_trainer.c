/* harness.linalg._native.TransformerTrainer: steps of the training of a transformer. */
#include "arrays.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    lpb_transformer_trainer *trainer;
    int64_t features, tokens;
    bool masked, busy;
} object;

/* TransformerTrainer(isa, (features, width, heads, blocks, inner), columns, masked, (published, attention dropout,
 * inner dropout, seed, format of products), sizes, decays, parameters) */
static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index;
    long long features, width, heads, blocks, inner;
    int masked, published, products;
    double attention_dropout, inner_dropout;
    unsigned long long seed;
    PyObject *columns_object, *sizes_object, *decays_object, *values_object;
    if (!no_keywords(kwargs) ||
        !PyArg_ParseTuple(args, "l(LLLLL)Op(pddKi)OOO", &isa_index, &features, &width, &heads, &blocks, &inner,
                          &columns_object, &masked, &published, &attention_dropout, &inner_dropout, &seed, &products,
                          &sizes_object, &decays_object, &values_object))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    if (isa && !need_products(products)) return NULL;
    const array *columns = isa ? need_array(columns_object, int64_descr, 2, 0, "columns") : NULL;
    if (!columns) return NULL;
    if (!contiguous_from(columns, 0) || columns->shape[1] != 2) {
        PyErr_SetString(PyExc_ValueError, "columns: expected contiguous rows of two numbers");
        return NULL;
    }
    flat_parameters of;
    if (!need_flat_parameters(sizes_object, decays_object, "decays", values_object, &of)) return NULL;
    const lpb_transformer_net net = {.features = features,
                                     .width = width,
                                     .heads = heads,
                                     .blocks = blocks,
                                     .inner = inner,
                                     .tokens = columns->shape[0],
                                     .columns = (const int64_t *)columns->data,
                                     .masked = masked != 0,
                                     .published = published != 0,
                                     .attention_dropout = attention_dropout,
                                     .inner_dropout = inner_dropout,
                                     .seed = seed,
                                     .products = (lpb_dtype)products};
    lpb_transformer_trainer *trainer;
    const lpb_status status = lpb_transformer_trainer_new(isa, &net, of.sizes, of.flags, of.count, of.values, &trainer);
    if (status == LPB_NO_MEMORY) return PyErr_NoMemory();
    if (status != LPB_OK) {
        PyErr_SetString(PyExc_ValueError, "sizes of the net, columns and parameters do not fit each other");
        return NULL;
    }
    object *self = new_object(type);
    if (!self) {
        lpb_transformer_trainer_free(trainer);
        return NULL;
    }
    self->trainer = trainer;
    self->features = features, self->tokens = net.tokens, self->masked = net.masked;
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *self) {
    lpb_transformer_trainer_free(((object *)self)->trainer);
    free_object(self);
}

/* What a batch is: rows, and labels with weights or hidden features. Labels and row sizes are checked; labels in a copy
 * to be freed by PyMem_Free. */
static bool need_batch(const object *self, PyObject *const *given, lpb_transformer_batch *batch, int64_t **labels) {
    const array *x = need_array(given[0], float32_descr, 2, 0, "x");
    if (!x) return false;
    if (x->shape[1] != self->features || !rows_are_contiguous(x)) {
        PyErr_Format(PyExc_ValueError, "x: expected contiguous rows of %lld features, got %zd",
                     (long long)self->features, x->shape[1]);
        return false;
    }
    if (x->shape[0] < 1) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least one row");
        return false;
    }
    *batch = (lpb_transformer_batch){.x = (const float *)x->data, .x_row = x->strides[0] / 4, .rows = x->shape[0]};
    if (self->masked) {
        const array *hidden = need_array(given[1], int8_descr, 2, 0, "hidden");
        if (!hidden) return false;
        batch->hidden = (const int8_t *)hidden->data;
        if (contiguous_from(hidden, 0) && hidden->shape[0] == batch->rows && hidden->shape[1] == self->tokens)
            return true;
        PyErr_Format(PyExc_ValueError, "hidden: expected contiguous %lld x %lld", (long long)batch->rows,
                     (long long)self->tokens);
        return false;
    }
    *labels = need_labels(given[1], batch->rows);
    const array *weights = *labels ? need_row(given[2], float32_descr, batch->rows, "weights") : NULL;
    if (!weights) return false;
    batch->labels = *labels, batch->weights = (const float *)weights->data;
    return true;
}

/* step(x, labels or hidden, weights or None, (rate, beta 1, beta 2, epsilon), weight_decay, threads, gradient or None):
 * the loss */
static PyObject *trainer_step(PyObject *of_self, PyObject *args) {
    object *self = (object *)of_self;
    PyObject *given[3], *gradient_object;
    lpb_adam adam = {0};
    double weight_decay, loss = 0;
    int threads;
    if (!PyArg_ParseTuple(args, "OOO(dddd)diO", given, given + 1, given + 2, &adam.learning_rate, &adam.beta1,
                          &adam.beta2, &adam.epsilon, &weight_decay, &threads, &gradient_object))
        return NULL;
    float *gradient;
    if (!need_gradient(gradient_object, lpb_transformer_trainer_floats(self->trainer), &gradient)) return NULL;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this trainer is in use by another thread");
        return NULL;
    }
    lpb_transformer_batch batch;
    int64_t *labels = NULL;
    lpb_status status = LPB_OK;
    const bool fits = need_batch(self, given, &batch, &labels);
    if (fits) {
        self->busy = true;
        Py_BEGIN_ALLOW_THREADS
        status = lpb_transformer_trainer_step(self->trainer, &batch, &adam, weight_decay, threads, gradient, &loss);
        Py_END_ALLOW_THREADS
        self->busy = false;
    }
    PyMem_Free(labels);
    if (!fits) return NULL;
    return status == LPB_OK ? PyFloat_FromDouble(loss) : failure(status);
}

/* read(parameters) */
static PyObject *trainer_read(PyObject *of_self, PyObject *to) {
    const object *self = (const object *)of_self;
    return copied_into(to, lpb_transformer_trainer_values(self->trainer),
                       lpb_transformer_trainer_floats(self->trainer));
}

static PyMethodDef trainer_methods[] = {
    {"step", trainer_step, METH_VARARGS, NULL},
    {"read", trainer_read, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot trainer_slots[] = {
    {Py_tp_new, trainer_new}, {Py_tp_dealloc, trainer_dealloc}, {Py_tp_methods, trainer_methods}, {0, NULL}};
static PyType_Spec trainer_spec = {"harness.linalg._native.TransformerTrainer", sizeof(object), 0, Py_TPFLAGS_DEFAULT,
                                   trainer_slots};

PyObject *lpb_transformer_trainer_type(void) { return PyType_FromSpec(&trainer_spec); }
