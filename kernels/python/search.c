/* harness.linalg._native.Search: the search for the code of each row. */
#include "runner.h"

static lpb_status run(const void *search, const float *x, int64_t rows, int64_t x_row, float *out, int threads) {
    return lpb_search_run(search, x, rows, x_row, out, threads);
}

static void release(void *search) { lpb_search_free(search); }

/* The two nets and the steps, looked at when nothing is converted any more. */
typedef struct {
    lpb_layer *generator, *judge;
    Py_ssize_t generator_count, judge_count;
    lpb_search_steps steps;
} parts;

static bool only_rectifiers(const lpb_layer *layers, Py_ssize_t count) {
    for (Py_ssize_t l = 0; l < count; l++)
        if (layers[l].activation > LPB_LEAKY_RELU) {
            PyErr_Format(PyExc_ValueError, "layer %zd: a search takes no activation but rectifiers", l);
            return false;
        }
    return true;
}

static bool parts_fit(const parts *p, long term) {
    const lpb_layer *last = p->generator + p->generator_count - 1, *logit = p->judge + p->judge_count - 1;
    if (term < 0 || term >= LPB_SEARCH_TERMS) {
        PyErr_Format(PyExc_ValueError, "term %ld is unknown", term);
    } else if (last->outputs != p->judge[0].inputs) {
        PyErr_Format(PyExc_ValueError, "the judge takes %lld features, the generator makes %lld",
                     (long long)p->judge[0].inputs, (long long)last->outputs);
    } else if (term == LPB_TERM_LOGIT && logit->outputs != 1) {
        PyErr_Format(PyExc_ValueError, "a logit is one output, got %lld", (long long)logit->outputs);
    } else {
        return only_rectifiers(p->generator, p->generator_count) && only_rectifiers(p->judge, p->judge_count);
    }
    return false;
}

static const double *need_doubles(PyObject *object, int64_t count, const char *name, int64_t *found) {
    const array *values = need_array(object, float64_descr, 1, 0, name);
    if (!values) return NULL;
    if (!contiguous_from(values, 0) || (count >= 0 && values->shape[0] != count)) {
        PyErr_Format(PyExc_ValueError, "%s: expected contiguous numbers, %zd of them do not fit", name,
                     values->shape[0]);
        return NULL;
    }
    *found = values->shape[0];
    return (const double *)values->data;
}

static int64_t work_of(const parts *p) {
    int64_t work = 0;
    for (Py_ssize_t l = 0; l < p->generator_count; l++) work += p->generator[l].inputs * p->generator[l].outputs;
    for (Py_ssize_t l = 0; l < p->judge_count; l++) work += p->judge[l].inputs * p->judge[l].outputs;
    return 2 * work * (p->steps.count + 1);
}

/* Search(isa, generator, judge, term, weight, start, rates, beta1, beta2, epsilon, threads) */
static PyObject *search_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long isa_index, term;
    int threads;
    double weight;
    int64_t latent;
    PyObject *generator_list, *judge_list, *start, *rates;
    parts p = {0};
    if (!no_keywords(kwargs) ||
        !PyArg_ParseTuple(args, "lOOldOOdddi", &isa_index, &generator_list, &judge_list, &term, &weight, &start, &rates,
                          &p.steps.beta1, &p.steps.beta2, &p.steps.epsilon, &threads))
        return NULL;
    const lpb_isa *isa = need_isa(isa_index);
    PyObject *generator = isa ? need_items(generator_list, "generator") : NULL;
    PyObject *judge = generator ? need_items(judge_list, "judge") : NULL;
    p.generator = judge ? need_layers(generator, -1, &p.generator_count) : NULL;
    p.judge = p.generator ? need_layers(judge, -1, &p.judge_count) : NULL;
    bool fits = p.judge && parts_fit(&p, term);
    fits = fits && (p.steps.start = need_doubles(start, p.generator[0].inputs, "start", &latent));
    fits = fits && (p.steps.rates = need_doubles(rates, -1, "rates", &p.steps.count));
    runner *self = fits ? new_object(type) : NULL;
    if (self) {
        self->inputs = p.judge[0].inputs;
        self->outputs = 1;
        self->per_row = true;
        self->threads = threads;
        self->run = run, self->release = release;
        self->work = work_of(&p);
        self->compiled = lpb_search_new(isa, p.generator, p.generator_count, p.judge, p.judge_count,
                                        (lpb_search_term)term, weight, &p.steps);
        if (!self->compiled) {
            Py_DECREF((PyObject *)self);
            self = (runner *)PyErr_NoMemory();
        }
    }
    PyMem_Free(p.generator);
    PyMem_Free(p.judge);
    Py_XDECREF(generator);
    Py_XDECREF(judge);
    return (PyObject *)self;
}

static PyMethodDef search_methods[] = {
    {"run", (PyCFunction)(void (*)(void))runner_run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot search_slots[] = {
    {Py_tp_new, search_new}, {Py_tp_dealloc, runner_dealloc}, {Py_tp_methods, search_methods}, {0, NULL}};
static PyType_Spec search_spec = {"harness.linalg._native.Search", sizeof(runner), 0, Py_TPFLAGS_DEFAULT, search_slots};

PyObject *lpb_search_type(void) { return PyType_FromSpec(&search_spec); }
