/* harness.linalg._native.Trainer: a chain in training. */
#include "arrays.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    lpb_trainer *trainer;
    int64_t inputs;
    Py_ssize_t layers;
    int64_t latent; /* numbers of noise per row; 0 without sampling */
    bool needs_target, busy;
} trainer_object;
static PyObject *trainer_type; /* never freed */

static bool loss_fits(long loss, const lpb_layer *layers, Py_ssize_t count) {
    const lpb_layer *last = layers + count - 1;
    if (loss < 0 || loss >= LPB_LOSSES) {
        PyErr_Format(PyExc_ValueError, "loss %ld is unknown", loss);
    } else if ((loss == LPB_LOSS_BCE || loss == LPB_LOSS_BERNOULLI) && last->activation != LPB_IDENTITY) {
        PyErr_SetString(PyExc_ValueError, "a loss of logits needs a linear last layer");
    } else if (last->outputs != (loss == LPB_LOSS_BCE ? 1 : layers[0].inputs)) {
        PyErr_Format(PyExc_ValueError, "loss %ld does not fit %lld outputs", loss, (long long)last->outputs);
    } else {
        return true;
    }
    return false;
}

/* Whether `layer` may be sampled from; -1 is none. That it is even and fits the next one is checked with the layers. */
static bool sampling_fits(const lpb_sampling *sampling, const lpb_layer *layers, Py_ssize_t count) {
    if (sampling->layer < -1 || sampling->layer >= count - 1 ||
        (sampling->layer >= 0 && layers[sampling->layer].activation != LPB_IDENTITY)) {
        PyErr_SetString(PyExc_ValueError, "sampled: expected a linear layer before the last");
        return false;
    }
    return true;
}

/* Trainer(isa, layers, loss, sampled, divergence_weight, learning_rate, beta1, beta2, epsilon, max_grad_norm) */
static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index, loss;
    PyObject *list;
    Py_ssize_t count;
    long long sampled;
    lpb_sampling sampling;
    lpb_adam adam;
    if (!no_keywords(kwargs) ||
        !PyArg_ParseTuple(args, "lOlLdddddd", &isa_index, &list, &loss, &sampled, &sampling.weight, &adam.learning_rate,
                          &adam.beta1, &adam.beta2, &adam.epsilon, &adam.max_grad_norm))
        return NULL;
    sampling.layer = sampled;
    const lpb_isa *isa = need_isa(isa_index);
    PyObject *items = isa ? need_items(list, "layers") : NULL;
    lpb_layer *layers = items ? need_layers(items, (Py_ssize_t)sampled, &count) : NULL;
    const bool fits = layers && loss_fits(loss, layers, count) && sampling_fits(&sampling, layers, count);
    trainer_object *self = fits ? new_object(type) : NULL;
    if (self) {
        self->inputs = layers[0].inputs;
        self->layers = count;
        self->latent = sampled < 0 ? 0 : layers[sampled].outputs / 2;
        self->needs_target = loss == LPB_LOSS_BCE;
        self->trainer = lpb_trainer_new(isa, layers, count, (lpb_loss)loss, sampled < 0 ? NULL : &sampling, &adam);
        if (!self->trainer) {
            Py_DECREF((PyObject *)self);
            self = (trainer_object *)PyErr_NoMemory();
        }
    }
    PyMem_Free(layers);
    Py_XDECREF(items);
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *object) {
    lpb_trainer_free(((trainer_object *)object)->trainer);
    free_object(object);
}

/* The data of an epoch or a gradient, checked. */
typedef struct {
    const array *x_array, *y_array; /* y_array: NULL without a target */
    const float *x, *y;
    int64_t rows, x_row;
} rows_of_data;

static bool need_data(rows_of_data *data, const trainer_object *self, PyObject *x_object, PyObject *y_object) {
    const array *x = need_array(x_object, float32_descr, 2, 0, "x");
    if (!x) return false;
    if (x->shape[1] != self->inputs || !rows_are_contiguous(x)) {
        PyErr_Format(PyExc_ValueError, "x: expected contiguous rows of %lld features, got %zd features",
                     (long long)self->inputs, x->shape[1]);
        return false;
    }
    *data = (rows_of_data){x, NULL, (const float *)x->data, NULL, x->shape[0], x->strides[0] / 4};
    if (!self->needs_target) return true;
    const array *y = need_array(y_object, float32_descr, 1, 0, "y");
    if (!y) return false;
    if (y->shape[0] != x->shape[0] || !contiguous_from(y, 0)) {
        PyErr_Format(PyExc_ValueError, "y: expected %zd contiguous targets, got %zd", x->shape[0], y->shape[0]);
        return false;
    }
    data->y_array = y;
    data->y = (const float *)y->data;
    return true;
}

/* A copy, to be freed by PyMem_Free: what is checked must stay as it is while other threads run. */
static int64_t *need_order(PyObject *object, int64_t rows_of_x, Py_ssize_t *rows) {
    const array *order = need_array(object, int64_descr, 1, 0, "order");
    if (!order) return NULL;
    *rows = order->shape[0];
    if (!contiguous_from(order, 0)) {
        PyErr_SetString(PyExc_ValueError, "order: expected contiguous row numbers");
        return NULL;
    }
    int64_t *entries = PyMem_Malloc((size_t)*rows * sizeof *entries);
    if (!entries) return (int64_t *)PyErr_NoMemory();
    memcpy(entries, order->data, (size_t)*rows * sizeof *entries);
    for (Py_ssize_t i = 0; i < *rows; i++)
        if (entries[i] < 0 || entries[i] >= rows_of_x) {
            PyErr_Format(PyExc_IndexError, "order: row %lld is outside the %lld rows of x", (long long)entries[i],
                         (long long)rows_of_x);
            PyMem_Free(entries);
            return NULL;
        }
    return entries;
}

/* The noise of `rows` rows; NULL without an exception where none is needed. */
static const float *need_noise(const trainer_object *self, PyObject *object, Py_ssize_t rows) {
    if (!self->latent) return NULL;
    const array *noise = need_array(object, float32_descr, 2, 0, "noise");
    if (!noise) return NULL;
    if (noise->shape[0] != rows || noise->shape[1] != self->latent || !contiguous_from(noise, 0)) {
        PyErr_Format(PyExc_ValueError, "noise: expected %zd contiguous rows of %lld numbers, got %zd x %zd", rows,
                     (long long)self->latent, noise->shape[0], noise->shape[1]);
        return NULL;
    }
    return (const float *)noise->data;
}

/* One loss per batch, or with sampling a pair; written while x, y and the noise are still read. */
static float *need_losses(const trainer_object *self, PyObject *object, Py_ssize_t rows, int64_t batch,
                          const rows_of_data *data, PyObject *noise) {
    const int dimensions = self->latent ? 2 : 1;
    const array *losses = need_array(object, float32_descr, dimensions, ARRAY_WRITEABLE, "losses");
    if (!losses) return NULL;
    if (batch < 1 || losses->shape[0] != rows / batch + (rows % batch != 0) ||
        (dimensions == 2 && losses->shape[1] != 2) || !contiguous_from(losses, 0)) {
        PyErr_Format(PyExc_ValueError, "losses: expected one entry per batch of %lld rows", (long long)batch);
        return NULL;
    }
    if (may_overlap(losses, data->x_array) || (data->y_array && may_overlap(losses, data->y_array)) ||
        (self->latent && may_overlap(losses, (const array *)noise))) {
        PyErr_SetString(PyExc_ValueError, "losses: they share memory with the data");
        return NULL;
    }
    return (float *)losses->data;
}

static bool take(trainer_object *self) {
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this trainer is in use by another thread");
        return false;
    }
    return self->busy = true;
}

/* epoch(x, y, order, noise, batch, losses) */
static PyObject *trainer_epoch(PyObject *object, PyObject *args) {
    trainer_object *self = (trainer_object *)object;
    PyObject *x, *y, *order_object, *noise_object, *losses_object;
    long long batch;
    Py_ssize_t rows;
    rows_of_data data;
    if (!PyArg_ParseTuple(args, "OOOOLO", &x, &y, &order_object, &noise_object, &batch, &losses_object)) return NULL;
    if (!need_data(&data, self, x, y)) return NULL;
    int64_t *order = need_order(order_object, data.rows, &rows);
    const float *noise = order ? need_noise(self, noise_object, rows) : NULL;
    float *losses =
        order && !PyErr_Occurred() ? need_losses(self, losses_object, rows, batch, &data, noise_object) : NULL;
    if (losses && take(self)) {
        lpb_status status;
        Py_BEGIN_ALLOW_THREADS
        status = lpb_trainer_epoch(self->trainer, data.x, data.x_row, data.y, order, noise, rows, batch, losses);
        Py_END_ALLOW_THREADS
        self->busy = false;
        if (status != LPB_OK) failure(status);
    }
    PyMem_Free(order);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static trainer_object *need_trainer(PyObject *object) {
    if ((PyObject *)Py_TYPE(object) == trainer_type) return (trainer_object *)object;
    PyErr_SetString(PyExc_TypeError, "trainers: expected a list of Trainer");
    return NULL;
}

/* What epoch_many is given: tuples of as many trainers, orders, noises and losses. */
enum { TRAINERS, ORDERS, NOISES, LOSSES, LISTS };

/* The arguments of one of several trainers. */
typedef struct {
    lpb_trainer **trainers;
    int64_t **orders;
    const float **noises;
    float **losses;
    Py_ssize_t count, taken;
    Py_ssize_t rows;
    rows_of_data data;
} together;

static bool need_together(together *t, PyObject **items, PyObject *x, PyObject *y, int64_t batch) {
    const bool labelled = PyTuple_Size(items[TRAINERS]) && need_trainer(PyTuple_GetItem(items[TRAINERS], 0)) &&
                          ((trainer_object *)PyTuple_GetItem(items[TRAINERS], 0))->needs_target;
    for (Py_ssize_t i = 0; i < t->count; i++) {
        PyObject *item = PyTuple_GetItem(items[TRAINERS], i), *noise = PyTuple_GetItem(items[NOISES], i);
        trainer_object *self = need_trainer(item);
        Py_ssize_t rows;
        if (!self) return false;
        if (self->needs_target != labelled) {
            PyErr_SetString(PyExc_ValueError, "trainers: some take labels and some do not");
            return false;
        }
        if (!need_data(&t->data, self, x, y)) return false;
        if (!(t->orders[i] = need_order(PyTuple_GetItem(items[ORDERS], i), t->data.rows, &rows))) return false;
        if (i && rows != t->rows) {
            PyErr_SetString(PyExc_ValueError, "orders: every trainer sees as many rows");
            return false;
        }
        t->rows = rows;
        t->noises[i] = need_noise(self, noise, rows);
        if (PyErr_Occurred()) return false;
        t->losses[i] = need_losses(self, PyTuple_GetItem(items[LOSSES], i), rows, batch, &t->data, noise);
        if (!t->losses[i] || !take(self)) return false;
        t->taken = i + 1;
        t->trainers[i] = self->trainer;
    }
    return true;
}

PyObject *lpb_epoch_many(PyObject *module, PyObject *args) {
    (void)module;
    static const char *const names[LISTS] = {"trainers", "orders", "noises", "losses"};
    PyObject *lists[LISTS], *items[LISTS] = {NULL}, *x, *y;
    long long batch;
    int threads;
    if (!PyArg_ParseTuple(args, "OOOOOLOi", lists + TRAINERS, &x, &y, lists + ORDERS, lists + NOISES, &batch,
                          lists + LOSSES, &threads))
        return NULL;
    together t = {0};
    for (int i = 0; i < LISTS; i++)
        if (!(items[i] = need_items(lists[i], names[i]))) goto done;
    t.count = PyTuple_Size(items[TRAINERS]);
    for (int i = 0; i < LISTS; i++)
        if (t.count == 0 || PyTuple_Size(items[i]) != t.count) {
            PyErr_SetString(PyExc_ValueError, "expected as many orders, noises and losses as trainers, not none");
            goto done;
        }
    t.trainers = PyMem_Calloc((size_t)t.count, sizeof *t.trainers);
    t.orders = PyMem_Calloc((size_t)t.count, sizeof *t.orders);
    t.noises = PyMem_Calloc((size_t)t.count, sizeof *t.noises);
    t.losses = PyMem_Calloc((size_t)t.count, sizeof *t.losses);
    if (!t.trainers || !t.orders || !t.noises || !t.losses) {
        PyErr_NoMemory();
    } else if (need_together(&t, items, x, y, batch)) {
        lpb_status status;
        Py_BEGIN_ALLOW_THREADS
        status = lpb_trainer_epoch_many(t.trainers, t.count, t.data.x, t.data.x_row, t.data.y,
                                        (const int64_t *const *)t.orders, t.noises, t.rows, batch, t.losses, threads);
        Py_END_ALLOW_THREADS
        if (status != LPB_OK) failure(status);
    }
done:
    for (Py_ssize_t i = 0; i < t.taken; i++) ((trainer_object *)PyTuple_GetItem(items[TRAINERS], i))->busy = false;
    for (Py_ssize_t i = 0; t.orders && i < t.count; i++) PyMem_Free(t.orders[i]);
    PyMem_Free(t.trainers);
    PyMem_Free(t.orders);
    PyMem_Free(t.noises);
    PyMem_Free(t.losses);
    for (int i = 0; i < LISTS; i++) Py_XDECREF(items[i]);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* Addresses of writable arrays ((weight, bias), ...), one pair per layer of its shape; filled by `read` or `gradients`.
 */
static bool need_parameters(const trainer_object *self, PyObject *into, float ***weights, float ***biases) {
    *weights = *biases = NULL;
    PyObject *items = need_items(into, "into");
    if (!items) return false;
    bool fits = PyTuple_Size(items) == self->layers;
    if (!fits) PyErr_Format(PyExc_ValueError, "expected %zd pairs of arrays", self->layers);
    *weights = PyMem_Malloc((size_t)self->layers * sizeof **weights);
    *biases = PyMem_Malloc((size_t)self->layers * sizeof **biases);
    if (fits && (!*weights || !*biases)) fits = PyErr_NoMemory() != NULL;
    for (Py_ssize_t l = 0; fits && l < self->layers; l++) {
        PyObject *weight_object, *bias_object;
        fits = need_fields(PyTuple_GetItem(items, l), "OO", "into", &weight_object, &bias_object);
        const array *weight = fits ? need_array(weight_object, float32_descr, 2, ARRAY_WRITEABLE, "weight") : NULL;
        const array *bias = weight ? need_array(bias_object, float32_descr, 1, ARRAY_WRITEABLE, "bias") : NULL;
        int64_t inputs, outputs;
        lpb_trainer_shape(self->trainer, l, &inputs, &outputs);
        fits = bias && weight->shape[0] == outputs && weight->shape[1] == inputs && bias->shape[0] == outputs &&
               contiguous_from(weight, 0) && contiguous_from(bias, 0);
        if (!fits) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "into: expected a contiguous weight %lld x %lld and bias of layer %zd",
                             (long long)outputs, (long long)inputs, l);
            break;
        }
        (*weights)[l] = (float *)weight->data;
        (*biases)[l] = (float *)bias->data;
    }
    Py_DECREF(items);
    return fits;
}

/* gradients(x, y, noise, into) -> loss */
static PyObject *trainer_gradients(PyObject *object, PyObject *args) {
    trainer_object *self = (trainer_object *)object;
    PyObject *x, *y, *noise_object, *into, *result = NULL;
    rows_of_data data;
    float **weights, **biases, loss;
    if (!PyArg_ParseTuple(args, "OOOO", &x, &y, &noise_object, &into)) return NULL;
    if (!need_data(&data, self, x, y)) return NULL;
    if (data.rows < 1) {
        PyErr_SetString(PyExc_ValueError, "x: expected at least one row");
        return NULL;
    }
    const float *noise = need_noise(self, noise_object, data.rows);
    if (PyErr_Occurred()) return NULL;
    if (need_parameters(self, into, &weights, &biases) && take(self)) {
        lpb_status status =
            lpb_trainer_gradients(self->trainer, data.x, data.x_row, data.y, noise, data.rows, &loss, weights, biases);
        self->busy = false;
        result = status == LPB_OK ? PyFloat_FromDouble(loss) : failure(status);
    }
    PyMem_Free(weights);
    PyMem_Free(biases);
    return result;
}

/* read(into) */
static PyObject *trainer_read(PyObject *object, PyObject *into) {
    trainer_object *self = (trainer_object *)object;
    float **weights, **biases;
    const bool fits = need_parameters(self, into, &weights, &biases) && take(self);
    if (fits) {
        lpb_trainer_read(self->trainer, weights, biases);
        self->busy = false;
    }
    PyMem_Free(weights);
    PyMem_Free(biases);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

static PyObject *trainer_set_learning_rate(PyObject *object, PyObject *value) {
    const double rate = PyFloat_AsDouble(value);
    if (PyErr_Occurred() || !take((trainer_object *)object)) return NULL;
    lpb_trainer_set_learning_rate(((trainer_object *)object)->trainer, rate);
    ((trainer_object *)object)->busy = false;
    Py_RETURN_NONE;
}

static PyMethodDef trainer_methods[] = {
    {"epoch", trainer_epoch, METH_VARARGS, NULL},
    {"gradients", trainer_gradients, METH_VARARGS, NULL},
    {"read", trainer_read, METH_O, NULL},
    {"set_learning_rate", trainer_set_learning_rate, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot trainer_slots[] = {
    {Py_tp_new, trainer_new}, {Py_tp_dealloc, trainer_dealloc}, {Py_tp_methods, trainer_methods}, {0, NULL}};
static PyType_Spec trainer_spec = {"harness.linalg._native.Trainer", sizeof(trainer_object), 0, Py_TPFLAGS_DEFAULT,
                                   trainer_slots};

PyObject *lpb_trainer_type(void) {
    trainer_type = PyType_FromSpec(&trainer_spec);
    return Py_XNewRef(trainer_type);
}
