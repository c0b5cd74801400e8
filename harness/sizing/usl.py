"""The universal scalability law: capacity over cores, its fits, its inverse and what its parameters may be said to be.

Source: Gunther, Guerrilla Capacity Planning (2007), chapter 5. ``alpha`` is contention (sigma), ``beta`` coherency
(kappa), ``gamma`` the rate of one core (lambda).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.measure.stats import t_quantile

PARAMETERS = 3
LEAST_POINTS = PARAMETERS + 1  # distinct core counts: one degree of freedom left
_ABSENT = 1e-7  # beta below it bends nothing within ten thousand cores

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Usl:
    """X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1))."""

    alpha: float
    beta: float
    gamma: float

    def rate(self, cores: ArrayLike) -> Array:
        """Rate at each number of cores."""
        n = np.asarray(cores, dtype=np.float64)
        return np.asarray(self.gamma * n / (1 + self.alpha * (n - 1) + self.beta * n * (n - 1)))

    @property
    def peak_cores(self) -> float | None:
        """Where the rate is highest; None where it rises without end (towards ``gamma / alpha``)."""
        if self.alpha >= 1:
            return 1.0
        return math.sqrt((1 - self.alpha) / self.beta) if self.beta > _ABSENT else None

    @property
    def highest_rate(self) -> float:
        """At the peak, or the limit where there is none."""
        if self.peak_cores is not None:
            return float(self.rate(self.peak_cores))
        return self.gamma / self.alpha if self.alpha > 0 else math.inf

    def cores_for(self, rate: float) -> float | None:
        """The fewest cores that give ``rate``; None when no number of cores does.

        The smaller root of R beta N^2 + (R (alpha - beta) - gamma) N + R (1 - alpha) = 0, in the form that is stable
        where beta vanishes.
        """
        if rate <= 0:
            return 0.0
        if self.alpha >= 1:
            return 1.0 if rate <= self.gamma else None
        slope = self.gamma - rate * (self.alpha - self.beta)
        discriminant = slope**2 - 4 * rate**2 * self.beta * (1 - self.alpha)
        if slope <= 0 or discriminant < 0:
            return None
        return 2 * rate * (1 - self.alpha) / (slope + math.sqrt(discriminant))


@dataclass(frozen=True)
class Parameter:
    """An estimate with its standard error and limits."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class SquaresFit:
    """A least-squares fit of the rates, as published fits are made.

    Attributes:
        residual_error: standard deviation of the residuals.
        degrees: of freedom.
    """

    law: Usl
    alpha: Parameter
    beta: Parameter
    gamma: Parameter
    residual_error: float
    degrees: int


def fit(cores: ArrayLike, rates: ArrayLike, like: Usl | None = None) -> Usl:
    """The law with the least relative errors: N / X is linear in 1, N - 1 and N (N - 1), all coefficients >= 0.

    One minimum, no starting value: the same points give the same law.

    Args:
        cores: shape (k,).
        rates: shape (k,), positive.
        like: the law of the mean of several such fits: what is 0 in it stays 0, and nothing else is bounded. Bounding
            each of them by itself would bend their mean.

    Raises:
        ValueError: the points have no rate of one core, as where the rate falls from the first to the last.
    """
    from scipy.optimize import nnls

    n, x = np.asarray(cores, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    design = np.column_stack([np.ones_like(n), n - 1, n * (n - 1)]) * (x / n)[:, None]
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0
    if like is None:
        coefficients = nnls(design / scale, np.ones_like(n))[0] / scale
    else:
        kept = [True, like.alpha > 0, like.beta > 0]
        coefficients = np.zeros(PARAMETERS)
        solution = np.linalg.lstsq((design / scale)[:, kept], np.ones_like(n), rcond=None)[0]
        coefficients[kept] = solution / scale[kept]
    if coefficients[0] <= 0:
        raise ValueError("no law of scaling has these rates: they do not begin with the rate of one core")
    single, contention, coherency = (float(each) for each in coefficients)
    return Usl(contention / single, coherency / single, 1 / single)


def fit_squares(cores: ArrayLike, rates: ArrayLike, *, confidence: float = 0.95) -> SquaresFit:
    """Least squares of the rates with limits from Student's t on n - 3 degrees; no parameter is below 0, as in R.

    Raises:
        ValueError: fewer than four points, or the fit does not converge.
    """
    from scipy.optimize import least_squares

    n, x = np.asarray(cores, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if len(n) < LEAST_POINTS:
        raise ValueError(f"three parameters need {LEAST_POINTS} points, got {len(n)}")
    start = fit(n, x)
    scale = float(x.mean())

    def residuals(parameters: Array) -> Array:
        alpha, beta, gamma = parameters
        return np.asarray((scale * gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1)) - x) / scale)

    solution = least_squares(
        residuals, [start.alpha, start.beta, start.gamma / scale], bounds=(0, np.inf), x_scale="jac",
        xtol=1e-15, ftol=1e-15, gtol=1e-15,
    )  # fmt: skip
    degrees = len(n) - PARAMETERS
    variance = float(np.square(solution.fun).sum()) / degrees
    covariance = np.linalg.pinv(solution.jac.T @ solution.jac) * variance
    units = np.array([1.0, 1.0, scale])
    errors = np.sqrt(np.diag(covariance)) * units
    values = solution.x * units
    half = t_quantile(confidence, degrees)
    alpha, beta, gamma = (
        Parameter(float(value), float(error), float(value - half * error), float(value + half * error))
        for value, error in zip(values, errors, strict=True)
    )
    law = Usl(alpha.value, beta.value, gamma.value)
    return SquaresFit(law, alpha, beta, gamma, math.sqrt(variance) * scale, degrees)
