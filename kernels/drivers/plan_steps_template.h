/* The steps of a plan that floats and doubles have alike. Included twice by plan.c, which defines before
 *   REAL, P(name), TABLE(plan)   the type, the name with its prefix, and the functions of its vectors */

static void P(run_elementwise)(const lpb_plan *plan, const frame *f, const REAL *a, REAL *out) {
    const plan_step *s = f->step;
    const REAL *b = place(plan, f, s->inputs[1]);
    const bool narrow_a = plan->values[s->inputs[0]].features < s->outputs;
    const bool narrow_b = plan->values[s->inputs[1]].features < s->outputs;
    if (f->ld > 1) {
        TABLE(plan)->combine((lpb_operator)s->word, a, narrow_a ? 0 : f->ld, b, narrow_b ? 0 : f->ld, s->outputs, f->ld,
                             out);
        return;
    }
    const int64_t row = padded(s->outputs);
    if (!narrow_a && !narrow_b) {
        TABLE(plan)->combine((lpb_operator)s->word, a, row, b, row, f->rows, row, out);
        return;
    }
    for (int64_t r = 0; r < f->rows; r++, out += row) {
        REAL repeated[LPB_ALIGN] __attribute__((aligned(64)));
        for (int i = 0; i < LPB_ALIGN; i++) repeated[i] = (narrow_a ? a : b)[r * LPB_ALIGN];
        TABLE(plan)->combine((lpb_operator)s->word, narrow_a ? repeated : a + r * row, narrow_a ? 0 : LPB_ALIGN,
                             narrow_b ? repeated : b + r * row, narrow_b ? 0 : LPB_ALIGN, row / LPB_ALIGN, LPB_ALIGN,
                             out);
    }
}

static void P(run_constant)(const lpb_plan *plan, const frame *f, const REAL *x, REAL *out) {
    const plan_step *s = f->step;
    if (f->ld > 1)
        TABLE(plan)->combine_constants((lpb_operator)s->word, x, s->weight, s->outputs, f->ld, out);
    else
        TABLE(plan)->combine((lpb_operator)s->word, x, padded(s->outputs), s->weight, 0, f->rows, padded(s->outputs),
                             out);
}

static void P(run_concat)(const lpb_plan *plan, const frame *f, REAL *out) {
    for (int64_t i = 0; i < f->step->input_count; i++) {
        const int64_t v = f->step->inputs[i], features = plan->values[v].features;
        const REAL *x = place(plan, f, v);
        if (f->ld > 1)
            memcpy(out, x, (size_t)(features * f->ld) * sizeof *out);
        else
            for (int64_t r = 0; r < f->rows; r++)
                memcpy(out + r * padded(f->step->outputs), x + r * padded(features), (size_t)features * sizeof *out);
        out += features * f->ld;
    }
}

static void P(run_columns)(const frame *f, const REAL *x, REAL *out) {
    const plan_step *s = f->step;
    if (f->ld > 1) {
        for (int64_t j = 0; j < s->outputs; j++)
            memcpy(out + j * f->ld, x + s->numbers[j] * f->ld, (size_t)f->ld * sizeof *out);
        return;
    }
    for (int64_t r = 0; r < f->rows; r++, x += padded(s->features), out += padded(s->outputs))
        for (int64_t j = 0; j < s->outputs; j++) out[j] = x[s->numbers[j]];
}

static void P(run_reduce)(const lpb_plan *plan, const frame *f, const REAL *x, REAL *out) {
    const plan_step *s = f->step;
    if (f->ld > 1)
        TABLE(plan)->reduce((lpb_reduction)s->word, x, s->features, f->ld, out);
    else
        for (int64_t r = 0; r < f->rows; r++)
            TABLE(plan)->reduce_row((lpb_reduction)s->word, x + r * padded(s->features), s->features,
                                    out + r * LPB_ALIGN);
}

static void P(run)(const lpb_plan *plan, const frame *f, const void *x, void *out) {
    const plan_step *s = f->step;
    switch (s->kind) {
    case LPB_STEP_ACTIVATION:
        memcpy(out, x, (size_t)extent(f, s->outputs) * sizeof(REAL));
        TABLE(plan)->activate(out, extent(f, s->outputs), (lpb_activation)s->word, 0);
        return;
    case LPB_STEP_ELEMENTWISE:
        P(run_elementwise)(plan, f, x, out);
        return;
    case LPB_STEP_CONSTANT:
        P(run_constant)(plan, f, x, out);
        return;
    case LPB_STEP_REDUCE:
        P(run_reduce)(plan, f, x, out);
        return;
    case LPB_STEP_CONCAT:
        P(run_concat)(plan, f, out);
        return;
    default: /* LPB_STEP_COLUMNS */
        P(run_columns)(f, x, out);
        return;
    }
}
#undef REAL
#undef P
#undef TABLE
