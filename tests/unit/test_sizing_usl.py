"""The scalability law against published fits and what R's ``usl`` prints; numbers are stored, R is not needed."""

from __future__ import annotations

import numpy as np
import pytest

from harness.sizing.usl import Usl, fit, fit_squares

# Schwartz and Fortune, "Forecasting MySQL Scalability with the Universal Scalability Law" (2010): a Cisco UCS server.
CISCO = [
    955.16, 1878.91, 2688.01, 3548.68, 4315.54, 5130.43, 5931.37, 6531.08, 7219.8, 7867.61, 8278.71, 8646.7, 9047.84,
    9426.55, 9645.37, 9897.24, 10097.6, 10240.5, 10532.39, 10798.52, 11151.43, 11518.63, 11806.0, 12089.37, 12075.41,
    12177.29, 12211.41, 12158.93, 12155.27, 12118.04, 12140.4, 12074.39,
]  # fmt: skip
# Gunther (2007), tables 5.1 and 6.1, as R's usl ships them: a ray tracer, and SPEC SDM91 on a Sun SC2000.
RAYTRACER = ([1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64], [20, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310])
SPEC_SDM91 = ([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])


def test_cisco_as_in_the_book() -> None:
    squares = fit_squares(range(1, 33), CISCO)
    assert squares.law.alpha == pytest.approx(0.02671591, rel=2e-4)
    assert squares.law.beta == pytest.approx(7.690945e-4, rel=2e-4)
    assert squares.law.gamma == pytest.approx(995.6486, rel=2e-4)
    assert squares.law.peak_cores == pytest.approx(35.6, abs=0.1)  # the book rounds down to 35
    assert squares.law.highest_rate == pytest.approx(12341, rel=2e-4)


def test_cisco_with_relative_errors() -> None:
    law = fit(range(1, 33), CISCO)
    assert (law.alpha, law.beta, law.gamma) == pytest.approx((0.0202804, 8.95821e-4, 960.048), rel=1e-5)
    assert law.peak_cores == pytest.approx(33.07, abs=0.005)


@pytest.mark.parametrize(("rate", "cores"), [(955, 0.95807), (11_048, 19.9239), (12_201, 29.5690)])
def test_the_inverse_keeps_coherency(rate: float, cores: float) -> None:
    """Leaving kappa out of it, as a published library does, gives 15.35 and 17.73."""
    law = Usl(0.02671591, 7.690945e-4, 995.6486)
    answer = law.cores_for(rate)
    assert answer == pytest.approx(cores, rel=2e-5)
    assert float(law.rate(answer)) == pytest.approx(rate, rel=1e-9)


def test_above_the_peak_no_number_of_cores_does() -> None:
    law = Usl(0.02671591, 7.690945e-4, 995.6486)
    assert law.cores_for(law.highest_rate * 1.0001) is None
    assert law.cores_for(law.highest_rate * 0.9999) < (law.peak_cores or 0)
    assert Usl(0.1, 0.0, 100.0).cores_for(1000.0) is None  # the limit gamma / alpha
    assert Usl(0.1, 0.0, 100.0).cores_for(500.0) == pytest.approx(9.0)
    assert Usl(0.0, 0.0, 100.0).cores_for(500.0) == pytest.approx(5.0)
    assert Usl(1.0, 0.0, 100.0).cores_for(101.0) is None
    assert Usl(1.0, 0.0, 100.0).cores_for(99.0) == 1.0


def test_six_points_of_the_ray_tracer_as_r_prints_them() -> None:
    """R prints alpha in [0.0075, 0.0414], a one-sided quantile with n - 1 degrees; 0 lies in the 95 % interval."""
    squares = fit_squares(RAYTRACER[0][:6], RAYTRACER[1][:6])
    assert (squares.law.alpha, squares.law.beta, squares.law.gamma) == pytest.approx(
        (0.02444, 0.00163, 20.856), rel=2e-3
    )
    errors = [each.error for each in (squares.alpha, squares.beta, squares.gamma)]
    assert errors == pytest.approx([0.00839, 0.000261, 0.789], rel=5e-3)
    assert (squares.alpha.low, squares.alpha.high) == pytest.approx((-0.0023, 0.0511), abs=2e-4)
    assert squares.degrees == 3
    assert squares.law.peak_cores == pytest.approx(24.5, abs=0.05)
    assert float(squares.law.rate(64)) == pytest.approx(147, abs=1)  # measured: 310


def test_all_points_of_the_ray_tracer() -> None:
    law = fit_squares(*RAYTRACER).law
    assert (law.alpha, law.gamma) == pytest.approx((0.05777, 21.849), rel=5e-4)
    assert law.beta == pytest.approx(0, abs=1e-5)
    relative = fit(*RAYTRACER)
    assert (relative.alpha, relative.beta, relative.gamma) == pytest.approx((0.056857, 3.45e-6, 21.746), rel=2e-3)


def test_spec_sdm91() -> None:
    squares = fit_squares(*SPEC_SDM91)
    assert (squares.law.alpha, squares.law.beta, squares.law.gamma) == pytest.approx(
        (0.02773, 1.044e-4, 89.995), rel=1e-3
    )
    assert squares.law.highest_rate == pytest.approx(1884, abs=1)
    assert squares.law.peak_cores == pytest.approx(96.52, abs=0.02)
    assert (squares.residual_error, squares.degrees) == (pytest.approx(82.85, abs=0.02), 4)


def test_exact_data() -> None:
    law = Usl(0.02, 0.02, 1.0)
    loads = np.array([1, 2, 4, 6, 8, 10])
    assert fit(loads, law.rate(loads)) == Usl(*(pytest.approx(each) for each in (0.02, 0.02, 1.0)))


def test_a_table_without_the_rate_of_one_core_has_no_law() -> None:
    with pytest.raises(ValueError, match="no law of scaling"):
        fit([4, 8, 16, 32], [1000, 100, 10, 1])


def test_a_published_table_without_coherency_has_no_peak() -> None:
    """rPerf of an E980 chip: the fit's worst error is 2.1 %, and nothing bends it."""
    rates = [228.8, 334.0, 457.3, 554.3, 651.3, 760.7, 870.1, 960.6, 1073.3, 1171.7, 1270.2]
    cores = np.arange(8, 49, 4)
    law = fit(cores, rates)
    assert law.gamma == pytest.approx(28.81, abs=0.005)
    assert law.alpha == pytest.approx(0.0020, abs=5e-5)
    assert law.peak_cores is None
    assert np.abs(law.rate(cores) / np.array(rates) - 1).max() == pytest.approx(0.021, abs=0.001)
