/* The dense steps of a plan: their weights packed, and the products with them. */
#define _POSIX_C_SOURCE 200809L
#include "memory.h"
#include "plan.h"

bool plan_pack(plan_step *to, const void *weight, const void *bias, bool wide) {
    const int64_t padded = lpb_round_up(to->outputs, LPB_ALIGN), times = wide ? 2 : 1;
    to->bias = lpb_new_zeros(padded * times);
    if (!to->bias) return false;
    memcpy(to->bias, bias, (size_t)to->outputs * (wide ? sizeof(double) : sizeof(float)));
    if (to->borrows) return true;
    to->weight_row = to->outputs == 1 && !wide ? 1 : padded;
    /* twice as many zeroed floats where they are doubles */
    to->weight = lpb_new_zeros(lpb_round_up(to->features, LPB_ALIGN) * to->weight_row * times);
    if (!to->weight) return false;
    for (int64_t j = 0; j < to->outputs; j++) {
        const plan_panel panel = plan_panel_at(to, j / to->panel * to->panel);
        float *column = (float *)to->weight + panel.first * to->features + j - panel.first;
        for (int64_t i = 0; i < to->features; i++)
            if (wide)
                ((double *)to->weight)[i * to->weight_row + j] = ((const double *)weight)[j * to->features + i];
            else
                column[i * panel.row] = ((const float *)weight)[j * to->features + i];
    }
    return true;
}

static lpb_activation in_registers(const plan_step *s) {
    return s->word <= LPB_LEAKY_RELU ? (lpb_activation)s->word : LPB_IDENTITY;
}

plan_panel plan_panel_at(const plan_step *s, int64_t first) {
    const int64_t left = s->weight_row - first;
    return (plan_panel){
        .first = first,
        .count = s->outputs - first < s->panel ? s->outputs - first : s->panel,
        .row = left < s->panel ? left : s->panel,
        .weight = s->weight ? (const float *)s->weight + first * s->features : NULL,
        .bias = s->bias ? (const float *)s->bias + first : NULL,
    };
}

lpb_gemm plan_few_product(const plan_step *s, const plan_panel *panel, const float *x, int64_t rows, float *out) {
    return (lpb_gemm){
        .batch = 1,
        .m = rows,
        .n = panel->row,
        .k = s->features,
        .a = x,
        .a_row = lpb_round_up(s->features, LPB_ALIGN),
        .a_col = 1,
        .b = panel->weight,
        .b_row = panel->row,
        .b_col = 1,
        .c = out ? out + panel->first : NULL,
        .c_row = s->weight_row,
        .alpha = 1.0f,
        .bias = panel->bias,
        .bias_axis = LPB_COLUMN_BIAS,
        .activation = in_registers(s),
        .slope = s->slope,
    };
}

lpb_gemm plan_product(const plan_step *s, const plan_panel *panel, const float *x, int64_t ld, float *out) {
    return (lpb_gemm){
        .batch = 1,
        .m = panel->count,
        .n = ld,
        .k = s->features,
        .a = panel->weight,
        .a_row = 1,
        .a_col = panel->row,
        .b = x,
        .b_row = ld,
        .b_col = 1,
        .c = out ? out + panel->first * ld : NULL,
        .c_row = ld,
        .alpha = 1.0f,
        .bias = panel->bias,
        .bias_axis = LPB_ROW_BIAS,
        .activation = in_registers(s),
        .slope = s->slope,
    };
}
