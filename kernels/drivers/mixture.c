/* Of a Gaussian mixture whose rows belong to components by softmax of logits: the energy of the rows, the inverse
 * diagonals of the covariances, and the gradient of both by rows and logits, in double. */
#define _POSIX_C_SOURCE 200809L
#include "mixture.h"

#include <math.h>
#include <string.h>

enum { WIDE = LPB_MIXTURE_WIDTH };
static const double tiny = 1e-12; /* a membership no smaller than this has a logarithm */

static const double log_two_pi = 1.8378770664093454836;

/* A component, and the gradients by its parts. */
typedef struct {
    double weight, share, log_norm; /* rows in it; their share; log of share over the square root of the determinant */
    double mean[WIDE], covariance[WIDE][WIDE], factor[WIDE][WIDE], inverse[WIDE][WIDE];
    double of_share, of_mean[WIDE], of_covariance[WIDE][WIDE], at_covariance, pulled;
} component;

int64_t lpb_mixture_doubles(int64_t rows, int64_t components) {
    return 2 * rows * components + components * (int64_t)(sizeof(component) / sizeof(double));
}

static void take_memberships(const lpb_mixture *m, double *membership) {
    for (int64_t i = 0; i < m->rows; i++) {
        const float *logit = m->logits + i * m->logits_ld;
        double *own = membership + i * m->components, most = logit[0], sum = 0;
        for (int64_t j = 1; j < m->components; j++) most = fmax(most, logit[j]);
        for (int64_t j = 0; j < m->components; j++) sum += own[j] = exp((double)logit[j] - most);
        for (int64_t j = 0; j < m->components; j++) own[j] /= sum;
    }
}

/* Lower Cholesky factor, and the inverse of the covariance by it. */
static void factorise(const lpb_mixture *m, component *k) {
    const int64_t width = m->width;
    double lower[WIDE][WIDE];
    double log_diagonal = 0;
    for (int64_t a = 0; a < width; a++)
        for (int64_t b = 0; b <= a; b++) {
            double sum = k->covariance[a][b];
            for (int64_t p = 0; p < b; p++) sum -= k->factor[a][p] * k->factor[b][p];
            k->factor[a][b] = a == b ? sqrt(sum) : sum / k->factor[b][b];
        }
    for (int64_t b = 0; b < width; b++) /* of the factor */
        for (int64_t a = b; a < width; a++) {
            double sum = a == b;
            for (int64_t p = b; p < a; p++) sum -= k->factor[a][p] * lower[p][b];
            lower[a][b] = sum / k->factor[a][a];
        }
    for (int64_t a = 0; a < width; a++)
        for (int64_t b = 0; b < width; b++) {
            k->inverse[a][b] = 0;
            for (int64_t p = a > b ? a : b; p < width; p++) k->inverse[a][b] += lower[p][a] * lower[p][b];
        }
    for (int64_t a = 0; a < width; a++) log_diagonal += log(k->factor[a][a]);
    k->log_norm = log(k->share) - log_diagonal - 0.5 * (double)width * log_two_pi;
}

static void take_components(const lpb_mixture *m, const double *membership, component *components) {
    const int64_t count = m->components, width = m->width;
    memset(components, 0, (size_t)count * sizeof *components);
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < count; j++) {
            components[j].weight += membership[i * count + j];
            for (int64_t a = 0; a < width; a++)
                components[j].mean[a] += membership[i * count + j] * m->z[i * m->z_ld + a];
        }
    for (int64_t j = 0; j < count; j++) {
        components[j].share = components[j].weight / (double)m->rows;
        for (int64_t a = 0; a < width; a++) components[j].mean[a] /= components[j].weight;
    }
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < count; j++) {
            component *k = components + j;
            const double share = membership[i * count + j] / k->weight;
            for (int64_t a = 0; a < width; a++)
                for (int64_t b = 0; b <= a; b++)
                    k->covariance[a][b] +=
                        share * (m->z[i * m->z_ld + a] - k->mean[a]) * (m->z[i * m->z_ld + b] - k->mean[b]);
        }
    for (int64_t j = 0; j < count; j++) {
        component *k = components + j;
        for (int64_t a = 0; a < width; a++) {
            k->covariance[a][a] += m->floor;
            for (int64_t b = 0; b < a; b++) k->covariance[b][a] = k->covariance[a][b];
        }
        factorise(m, k);
    }
}

/* Row i less the mean, and that times the inverse covariance; the log of share times density. */
static double joint(const lpb_mixture *m, const component *k, int64_t i, double *centred, double *pull) {
    double square = 0;
    for (int64_t a = 0; a < m->width; a++) centred[a] = m->z[i * m->z_ld + a] - k->mean[a];
    for (int64_t a = 0; a < m->width; a++) {
        pull[a] = 0;
        for (int64_t b = 0; b < m->width; b++) pull[a] += k->inverse[a][b] * centred[b];
        square += pull[a] * centred[a];
    }
    return k->log_norm - 0.5 * square;
}

/* The energy; in `of_joint` the weighted gradient by every joint log. What the bound takes of a membership by itself
 * goes into the gradient of its logit. */
static double energy_of(const lpb_mixture *m, const double *membership, const component *components, double *of_joint) {
    double energy = 0, centred[WIDE], pull[WIDE];
    const double share = 1.0 / (double)m->rows;
    for (int64_t i = 0; i < m->rows; i++) {
        const double *own = membership + i * m->components;
        double *of = of_joint + i * m->components, most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < m->components; j++) {
            of[j] = joint(m, components + j, i, centred, pull);
            most = fmax(most, of[j]);
        }
        for (int64_t j = 0; j < m->components && m->bound; j++) {
            const double surprise = log(fmax(own[j], tiny)) - of[j];
            energy += share * own[j] * surprise;
            m->of_logits[i * m->of_logits_ld + j] =
                (float)(m->energy_weight * share * (surprise + (own[j] > tiny ? 1.0 : 0.0)));
            of[j] = -m->energy_weight * share * own[j];
        }
        if (m->bound) continue;
        for (int64_t j = 0; j < m->components; j++) sum += of[j] = exp(of[j] - most);
        energy -= share * (most + log(sum));
        for (int64_t j = 0; j < m->components; j++) {
            of[j] *= -m->energy_weight * share / sum;
            m->of_logits[i * m->of_logits_ld + j] = 0.0f;
        }
    }
    return energy;
}

/* The gradients by the parts of every component, and the sum of the inverse diagonals. */
static double of_components(const lpb_mixture *m, const double *of_joint, component *components) {
    double narrow = 0, centred[WIDE], pull[WIDE];
    for (int64_t i = 0; i < m->rows; i++)
        for (int64_t j = 0; j < m->components; j++) {
            component *k = components + j;
            const double q = of_joint[i * m->components + j];
            joint(m, k, i, centred, pull);
            k->pulled += q;
            for (int64_t a = 0; a < m->width; a++) {
                k->of_mean[a] += q * pull[a];
                for (int64_t b = 0; b < m->width; b++) k->of_covariance[a][b] += 0.5 * q * pull[a] * pull[b];
            }
        }
    for (int64_t j = 0; j < m->components; j++) {
        component *k = components + j;
        k->of_share = k->pulled / k->share;
        for (int64_t a = 0; a < m->width; a++) {
            const double diagonal = k->covariance[a][a];
            narrow += 1 / diagonal;
            for (int64_t b = 0; b < m->width; b++) k->of_covariance[a][b] -= 0.5 * k->pulled * k->inverse[a][b];
            k->of_covariance[a][a] -= m->covariance_weight / (diagonal * diagonal);
        }
        for (int64_t a = 0; a < m->width; a++)
            for (int64_t b = 0; b < m->width; b++)
                k->at_covariance += k->of_covariance[a][b] * (k->covariance[a][b] - (a == b ? m->floor : 0.0));
    }
    return narrow;
}

static void of_rows(const lpb_mixture *m, const double *membership, const double *of_joint,
                    const component *components) {
    double centred[WIDE], pull[WIDE], of_z[WIDE], of_own[LPB_MIXTURE_COMPONENTS];
    for (int64_t i = 0; i < m->rows; i++) {
        const double *own = membership + i * m->components;
        float *of_logits = m->of_logits + i * m->of_logits_ld;
        double mean = 0;
        memset(of_z, 0, sizeof of_z);
        for (int64_t j = 0; j < m->components; j++) {
            const component *k = components + j;
            double turned = 0, moved = 0;
            joint(m, k, i, centred, pull);
            for (int64_t a = 0; a < m->width; a++) {
                double bent = 0;
                for (int64_t b = 0; b < m->width; b++) bent += k->of_covariance[a][b] * centred[b];
                turned += bent * centred[a];
                moved += k->of_mean[a] * centred[a];
                of_z[a] += own[j] / k->weight * (2 * bent + k->of_mean[a]) - of_joint[i * m->components + j] * pull[a];
            }
            of_own[j] = of_logits[j] + k->of_share / (double)m->rows + (moved + turned - k->at_covariance) / k->weight;
            mean += own[j] * of_own[j];
        }
        for (int64_t j = 0; j < m->components; j++) of_logits[j] = (float)(own[j] * (of_own[j] - mean));
        for (int64_t a = 0; a < m->width; a++) m->of_z[i * m->of_z_ld + a] = (float)of_z[a];
    }
}

void lpb_mixture_gradient(const lpb_mixture *m, double *memory, float *energy, float *narrow) {
    double *membership = memory, *of_joint = memory + m->rows * m->components;
    component *components = (component *)(of_joint + m->rows * m->components);
    take_memberships(m, membership);
    take_components(m, membership, components);
    *energy = (float)energy_of(m, membership, components, of_joint);
    *narrow = (float)of_components(m, of_joint, components);
    of_rows(m, membership, of_joint, components);
}
