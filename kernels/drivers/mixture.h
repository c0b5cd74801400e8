/* The losses of a Gaussian mixture and their gradients; used by tapes only. */
#ifndef LPARBENCH_MIXTURE_H
#define LPARBENCH_MIXTURE_H

#include <stdbool.h>
#include <stdint.h>

enum { LPB_MIXTURE_WIDTH = 16, LPB_MIXTURE_COMPONENTS = 64 }; /* most features of a row, and most components */

typedef struct {
    int64_t rows, width, components;
    const float *z, *logits; /* rows x width, rows x components */
    int64_t z_ld, logits_ld;
    float *of_z, *of_logits; /* gradients, written */
    int64_t of_z_ld, of_logits_ld;
    bool bound; /* the energy's variational bound by the memberships instead of it */
    double energy_weight, covariance_weight, floor;
} lpb_mixture;

/* Doubles of memory that the gradient needs. */
int64_t lpb_mixture_doubles(int64_t rows, int64_t components);
/* The mean energy and the sum of the inverse diagonals, unweighted, and the gradient of both, weighted. */
void lpb_mixture_gradient(const lpb_mixture *mixture, double *memory, float *energy, float *narrow);

#endif
