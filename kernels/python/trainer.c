/* harness.linalg._native.Trainer: a chain in training. */
#include "arrays.h"

typedef struct {
    PyObject_HEAD
    lpb_trainer *trainer;
    int64_t inputs;
    Py_ssize_t layers;
    int64_t latent; /* numbers of noise per row; 0 without sampling */
    bool needs_target, busy;
} trainer_object;
static PyObject *trainer_type; /* owned by the module, which is never unloaded */

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
    (void)kwargs;
    long isa_index, loss;
    PyObject *list;
    Py_ssize_t count;
    long long sampled;
    lpb_sampling sampling;
    lpb_adam adam;
    if (!PyArg_ParseTuple(args, "lOlLdddddd", &isa_index, &list, &loss, &sampled, &sampling.weight, &adam.learning_rate,
                          &adam.beta1, &adam.beta2, &adam.epsilon, &adam.max_grad_norm))
        return NULL;
    sampling.layer = sampled;
    const lpb_isa *isa = need_isa(isa_index);
    lpb_layer *layers = isa ? need_layers(list, (Py_ssize_t)sampled, &count) : NULL;
    if (!layers) return NULL;
    const bool fits = loss_fits(loss, layers, count) && sampling_fits(&sampling, layers, count);
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
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *object) {
    lpb_trainer_free(((trainer_object *)object)->trainer);
    free_object(object);
}

/* The data of an epoch or a gradient, checked. */
typedef struct {
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
    *data = (rows_of_data){(const float *)x->data, NULL, x->shape[0], x->strides[0] / 4};
    if (!self->needs_target) return true;
    const array *y = need_array(y_object, float32_descr, 1, 0, "y");
    if (!y) return false;
    if (y->shape[0] != x->shape[0] || !contiguous_from(y, 0)) {
        PyErr_Format(PyExc_ValueError, "y: expected %zd contiguous targets, got %zd", x->shape[0], y->shape[0]);
        return false;
    }
    data->y = (const float *)y->data;
    return true;
}

static const int64_t *need_order(PyObject *object, int64_t rows_of_x, Py_ssize_t *rows) {
    const array *order = need_array(object, int64_descr, 1, 0, "order");
    if (!order) return NULL;
    const int64_t *entries = (const int64_t *)order->data;
    *rows = order->shape[0];
    if (!contiguous_from(order, 0)) {
        PyErr_SetString(PyExc_ValueError, "order: expected contiguous row numbers");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < *rows; i++)
        if (entries[i] < 0 || entries[i] >= rows_of_x) {
            PyErr_Format(PyExc_IndexError, "order: row %lld is outside the %lld rows of x", (long long)entries[i],
                         (long long)rows_of_x);
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

/* One loss per batch, or with sampling a pair. */
static float *need_losses(const trainer_object *self, PyObject *object, Py_ssize_t rows, int64_t batch) {
    const int dimensions = self->latent ? 2 : 1;
    const array *losses = need_array(object, float32_descr, dimensions, ARRAY_WRITEABLE, "losses");
    if (!losses) return NULL;
    if (batch < 1 || losses->shape[0] != (rows + batch - 1) / batch || (dimensions == 2 && losses->shape[1] != 2) ||
        !contiguous_from(losses, 0)) {
        PyErr_Format(PyExc_ValueError, "losses: expected one entry per batch of %lld rows", (long long)batch);
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
    const int64_t *order = need_order(order_object, data.rows, &rows);
    const float *noise = order ? need_noise(self, noise_object, rows) : NULL;
    float *losses = order && !PyErr_Occurred() ? need_losses(self, losses_object, rows, batch) : NULL;
    if (!losses || !take(self)) return NULL;
    lpb_status status;
    Py_BEGIN_ALLOW_THREADS
    status = lpb_trainer_epoch(self->trainer, data.x, data.x_row, data.y, order, noise, rows, batch, losses);
    Py_END_ALLOW_THREADS
    self->busy = false;
    if (status != LPB_OK) return failure(status);
    Py_RETURN_NONE;
}

PyObject *lpb_epoch_many(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *list, *x, *y, *orders, *noises, *losses;
    long long batch;
    int threads;
    if (!PyArg_ParseTuple(args, "OOOOOLOi", &list, &x, &y, &orders, &noises, &batch, &losses, &threads)) return NULL;
    const Py_ssize_t count = PyList_Size(list);
    if (count < 0) return NULL;
    if (count == 0 || PyList_Size(orders) != count || PyList_Size(noises) != count || PyList_Size(losses) != count) {
        PyErr_SetString(PyExc_ValueError, "expected lists of as many orders, noises and losses as trainers, not none");
        return NULL;
    }
    lpb_trainer **trainers = PyMem_Calloc((size_t)count, sizeof *trainers);
    const int64_t **order = PyMem_Calloc((size_t)count, sizeof *order);
    const float **noise = PyMem_Calloc((size_t)count, sizeof *noise);
    float **loss = PyMem_Calloc((size_t)count, sizeof *loss);
    rows_of_data data = {0};
    Py_ssize_t rows = 0, taken = 0;
    lpb_status status = LPB_NO_MEMORY;
    if (!trainers || !order || !noise || !loss) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(list, i);
        Py_ssize_t here;
        if ((PyObject *)Py_TYPE(item) != trainer_type) {
            PyErr_SetString(PyExc_TypeError, "trainers: expected a list of Trainer");
            goto done;
        }
        trainer_object *self = (trainer_object *)item;
        if (!need_data(&data, self, x, y)) goto done;
        if (!(order[i] = need_order(PyList_GetItem(orders, i), data.rows, &here))) goto done;
        if (i && here != rows) {
            PyErr_SetString(PyExc_ValueError, "orders: every trainer sees as many rows");
            goto done;
        }
        rows = here;
        noise[i] = need_noise(self, PyList_GetItem(noises, i), rows);
        if (PyErr_Occurred() || !(loss[i] = need_losses(self, PyList_GetItem(losses, i), rows, batch))) goto done;
        if (!take(self)) goto done;
        taken = i + 1;
        trainers[i] = self->trainer;
    }
    Py_BEGIN_ALLOW_THREADS
    status =
        lpb_trainer_epoch_many(trainers, count, data.x, data.x_row, data.y, order, noise, rows, batch, loss, threads);
    Py_END_ALLOW_THREADS
    if (status != LPB_OK) failure(status);
done:
    for (Py_ssize_t i = 0; i < taken; i++) ((trainer_object *)PyList_GetItem(list, i))->busy = false;
    PyMem_Free(trainers);
    PyMem_Free(order);
    PyMem_Free(noise);
    PyMem_Free(loss);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* Addresses of writable arrays [(weight, bias), ...], one pair per layer of the right shape (checked in Python, which
 * makes them); filled by `read` or `gradients`. */
static bool need_parameters(const trainer_object *self, PyObject *list, float ***weights, float ***biases) {
    *weights = *biases = NULL;
    if (PyList_Size(list) != self->layers) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "expected %zd pairs of arrays", self->layers);
        return false;
    }
    *weights = PyMem_Malloc((size_t)self->layers * sizeof **weights);
    *biases = PyMem_Malloc((size_t)self->layers * sizeof **biases);
    for (Py_ssize_t l = 0; *weights && *biases && l < self->layers; l++) {
        PyObject *weight_object, *bias_object;
        if (!PyArg_ParseTuple(PyList_GetItem(list, l), "OO", &weight_object, &bias_object)) return false;
        const array *weight = need_array(weight_object, float32_descr, 2, ARRAY_WRITEABLE, "weight");
        const array *bias = weight ? need_array(bias_object, float32_descr, 1, ARRAY_WRITEABLE, "bias") : NULL;
        if (!bias) return false;
        (*weights)[l] = (float *)weight->data;
        (*biases)[l] = (float *)bias->data;
    }
    if (!*weights || !*biases) PyErr_NoMemory();
    return *weights && *biases;
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
    return trainer_type;
}
