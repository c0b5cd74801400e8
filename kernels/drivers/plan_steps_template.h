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
    REAL repeated[LPB_ALIGN] __attribute__((aligned(64)));
    if (narrow_a || narrow_b)
        for (int i = 0; i < LPB_ALIGN; i++) repeated[i] = narrow_a ? *a : *b;
    const int64_t chunks = lpb_round_up(s->outputs, LPB_ALIGN) / LPB_ALIGN;
    TABLE(plan)->combine((lpb_operator)s->word, narrow_a ? repeated : a, narrow_a ? 0 : LPB_ALIGN,
                         narrow_b ? repeated : b, narrow_b ? 0 : LPB_ALIGN, chunks, LPB_ALIGN, out);
}

static void P(run_constant)(const lpb_plan *plan, const frame *f, const REAL *x, REAL *out) {
    const plan_step *s = f->step;
    if (f->ld > 1)
        TABLE(plan)->combine_constants((lpb_operator)s->word, x, s->weight, s->outputs, f->ld, out);
    else
        TABLE(plan)->combine((lpb_operator)s->word, x, 0, s->weight, 0, 1, lpb_round_up(s->outputs, LPB_ALIGN), out);
}

static void P(run_concat)(const lpb_plan *plan, const frame *f, REAL *out) {
    for (int64_t i = 0; i < f->step->input_count; i++) {
        const int64_t v = f->step->inputs[i], count = plan->values[v].features * f->ld;
        memcpy(out, place(plan, f, v), (size_t)count * sizeof *out);
        out += count;
    }
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
        if (f->ld > 1)
            TABLE(plan)->reduce((lpb_reduction)s->word, x, s->features, f->ld, out);
        else
            TABLE(plan)->reduce_row((lpb_reduction)s->word, x, s->features, out);
        return;
    case LPB_STEP_CONCAT:
        P(run_concat)(plan, f, out);
        return;
    default: /* LPB_STEP_COLUMNS */
        for (int64_t j = 0; j < s->outputs; j++)
            memcpy((REAL *)out + j * f->ld, (const REAL *)x + s->numbers[j] * f->ld, (size_t)f->ld * sizeof(REAL));
        return;
    }
}
#undef REAL
#undef P
#undef TABLE
