/* harness.linalg._native.ClassifierTrainer: steps of the training of a recurrent or convolutional classifier. */
#include "arrays.h"

#include <string.h>

typedef struct {
    PyObject_HEAD
    lpb_classifier_trainer *trainer;
    int64_t features;
    bool busy;
} object;

/* The fields of a net; false with an exception set. Arrays stay those of `trunk`. */
static bool need_net(PyObject *trunk, PyObject *head, lpb_classifier_net *net) {
    int kind, normalised, products;
    long long features, steps, directions, heads, channels, hidden;
    unsigned long long seed;
    PyObject *sizes_object, *dropout_object;
    if (!need_fields(trunk, "iLLLLLOO", "trunk", &kind, &features, &steps, &directions, &heads, &channels,
                     &sizes_object, &dropout_object) ||
        !need_fields(head, "pLdd(dd)Ki", "head", &normalised, &hidden, &net->hidden_dropout, &net->gamma, net->weights,
                     net->weights + 1, &seed, &products) ||
        !need_products(products))
        return false;
    if (kind < 0 || kind >= LPB_TRUNKS) {
        PyErr_Format(PyExc_ValueError, "trunk: there is no %d", kind);
        return false;
    }
    const array *sizes = need_row(sizes_object, int64_descr, -1, "sizes of layers");
    const array *dropout = sizes ? need_row(dropout_object, float64_descr, sizes->shape[0], "dropout") : NULL;
    if (!dropout) return false;
    net->trunk = (lpb_trunk)kind, net->features = features, net->steps = steps, net->directions = directions;
    net->count = sizes->shape[0], net->sizes = (const int64_t *)sizes->data;
    net->dropout = (const double *)dropout->data;
    net->heads = heads, net->channels = channels, net->hidden = hidden, net->normalised = normalised != 0;
    net->seed = seed, net->products = (lpb_dtype)products;
    return true;
}

/* ClassifierTrainer(isa, (kind, features, steps, directions, heads, channels, sizes, dropout), (normalised, hidden,
 * hidden dropout, gamma, (weight of 0, weight of 1), seed, format of products), sizes, learns, parameters) */
static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index;
    PyObject *trunk, *head, *sizes_object, *learns_object, *values_object;
    if (!no_keywords(kwargs) ||
        !PyArg_ParseTuple(args, "lOOOOO", &isa_index, &trunk, &head, &sizes_object, &learns_object, &values_object))
        return NULL;
    lpb_classifier_net net = {0};
    const lpb_isa *isa = need_isa(isa_index);
    if (!isa || !need_net(trunk, head, &net)) return NULL;
    flat_parameters of;
    if (!need_flat_parameters(sizes_object, learns_object, "learns", values_object, &of)) return NULL;
    lpb_classifier_trainer *trainer;
    const lpb_status status = lpb_classifier_trainer_new(isa, &net, of.sizes, of.flags, of.count, of.values, &trainer);
    if (status == LPB_NO_MEMORY) return PyErr_NoMemory();
    if (status != LPB_OK) {
        PyErr_SetString(PyExc_ValueError, "sizes of the net and its parameters do not fit each other");
        return NULL;
    }
    object *self = new_object(type);
    if (!self) {
        lpb_classifier_trainer_free(trainer);
        return NULL;
    }
    self->trainer = trainer;
    self->features = net.steps * net.features;
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *self) {
    lpb_classifier_trainer_free(((object *)self)->trainer);
    free_object(self);
}

/* step(x, labels, (rate, beta 1, beta 2, epsilon, longest gradient), weight_decay, threads, gradient or None): the
 * loss */
static PyObject *trainer_step(PyObject *of_self, PyObject *args) {
    object *self = (object *)of_self;
    PyObject *x_object, *labels_object, *gradient_object;
    lpb_adam adam = {0};
    double weight_decay, loss = 0;
    int threads;
    float *gradient;
    if (!PyArg_ParseTuple(args, "OO(ddddd)diO", &x_object, &labels_object, &adam.learning_rate, &adam.beta1,
                          &adam.beta2, &adam.epsilon, &adam.max_grad_norm, &weight_decay, &threads, &gradient_object) ||
        !need_gradient(gradient_object, lpb_classifier_trainer_floats(self->trainer), &gradient))
        return NULL;
    const array *x = need_array(x_object, float32_descr, 2, 0, "x");
    if (!x) return NULL;
    if (x->shape[1] != self->features || !rows_are_contiguous(x) || x->shape[0] < 1)
        return PyErr_Format(PyExc_ValueError, "x: expected contiguous rows of %lld features, got %zd x %zd",
                            (long long)self->features, x->shape[0], x->shape[1]);
    int64_t *labels = need_labels(labels_object, x->shape[0]);
    if (!labels) return NULL;
    if (self->busy) {
        PyMem_Free(labels);
        PyErr_SetString(PyExc_RuntimeError, "this trainer is in use by another thread");
        return NULL;
    }
    const lpb_classifier_batch batch = {(const float *)x->data, x->strides[0] / 4, x->shape[0], labels};
    lpb_status status;
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS
    status = lpb_classifier_trainer_step(self->trainer, &batch, &adam, weight_decay, threads, gradient, &loss);
    Py_END_ALLOW_THREADS
    self->busy = false;
    PyMem_Free(labels);
    return status == LPB_OK ? PyFloat_FromDouble(loss) : failure(status);
}

/* read(parameters) */
static PyObject *trainer_read(PyObject *of_self, PyObject *to) {
    const object *self = (const object *)of_self;
    return copied_into(to, lpb_classifier_trainer_values(self->trainer), lpb_classifier_trainer_floats(self->trainer));
}

static PyMethodDef trainer_methods[] = {
    {"step", trainer_step, METH_VARARGS, NULL},
    {"read", trainer_read, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot trainer_slots[] = {
    {Py_tp_new, trainer_new}, {Py_tp_dealloc, trainer_dealloc}, {Py_tp_methods, trainer_methods}, {0, NULL}};
static PyType_Spec trainer_spec = {"harness.linalg._native.ClassifierTrainer", sizeof(object), 0, Py_TPFLAGS_DEFAULT,
                                   trainer_slots};

PyObject *lpb_classifier_trainer_type(void) { return PyType_FromSpec(&trainer_spec); }
