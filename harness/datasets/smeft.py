"""SMEFT: Higgs production with two leptons, the anomaly is a dimension-six operator of the effective field theory.

The events of the Anomaly Awareness papers (Khosa & Sanz 2023; Banda, Khosa & Sanz 2025) are not public. A file with
these columns is read as it is; without one the stand-in below takes its place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile, splits
from harness.datasets.options import encoding
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found
from harness.datasets.table import Split, Table, categorical
from harness.errors import InputError

Doubles = npt.NDArray[np.float64]

COLUMNS = (
    "pt_v",  # transverse momentum of the vector boson, GeV
    "pt_h",  # transverse momentum of the Higgs boson, GeV
    "m_vh",  # invariant mass of both, GeV
    "eta_v",  # pseudorapidities
    "eta_h",
    "pt_l1",  # the leptons, leading first, GeV
    "pt_l2",
    "pt_b1",  # the b jets, leading first, GeV
    "pt_b2",
    "delta_r_ll",  # angular distances
    "delta_r_bb",
    "delta_phi_vh",  # azimuthal angle between the bosons, rad
)
_CLASSES = ("standard model", "operator")
_EVENTS = 40_000
_OPERATOR_SHARE = 0.2
_M_V, _M_H = 91.19, 125.1  # GeV
_SCALE = 600.0  # GeV; where the operator's contribution equals that of the standard model


def _read(local: Found, request: Request) -> Reading:
    entry = local.files[0]
    names = csvfile.header(entry.path)
    csvfile.require_columns(entry.path, names, (*COLUMNS, "label"))
    schema = csvfile.Schema(names, categories=frozenset(), keep=(*COLUMNS, "label"))
    frame, digest = csvfile.read(entry.path, schema, header_lines=1)
    wrong = np.flatnonzero(~frame["label"].isin((0, 1)).to_numpy())
    if len(wrong):
        raise InputError(
            f"{entry.path} line {wrong[0] + 2}: label 0 or 1 expected, {frame['label'][wrong[0]]:g} found."
        )
    label = frame["label"].to_numpy().astype(np.int64)
    return reading(local, {entry.name: digest}, _split(frame[list(COLUMNS)], label, request, ()))


def _split(features: pd.DataFrame, label: npt.NDArray[np.int64], request: Request, notes: tuple[str, ...]) -> Split:
    table = Table(features, label.astype(np.int8), categorical(label, _CLASSES))
    return splits.random(table, request, notes)


def _synthesise(request: Request) -> Split:
    """Two-body kinematics with a falling spectrum; the operator's events follow it weighted by (pt / 600 GeV)²."""
    rng = np.random.default_rng(request.seed)
    operator = round(_OPERATOR_SHARE * _EVENTS)
    label = rng.permutation(np.repeat([0, 1], [_EVENTS - operator, operator]))
    pt = np.empty(_EVENTS)
    pt[label == 0] = _transverse_momenta(rng, _EVENTS - operator)
    pool = _transverse_momenta(rng, 40 * operator)
    weight = (pool / _SCALE) ** 2
    pt[label == 1] = rng.choice(pool, size=operator, replace=False, p=weight / weight.sum())
    note = "Synthetic: two-body kinematics with a falling spectrum; see harness/datasets/smeft.py."
    return _split(pd.DataFrame(_kinematics(rng, pt), columns=list(COLUMNS)), label, request, (note,))


def _transverse_momenta(rng: np.random.Generator, events: int) -> Doubles:
    return np.asarray(60.0 * (rng.pareto(3.5, events) + rng.exponential(0.6, events)), dtype=np.float64)


def _kinematics(rng: np.random.Generator, pt: Doubles) -> Doubles:
    events = len(pt)
    recoil = np.abs(pt + rng.normal(0.0, 0.08 * pt + 5.0))  # radiation and resolution unbalance the bosons
    eta_v, eta_h = rng.normal(0.0, 1.1, (2, events))
    phi = np.pi - np.abs(rng.normal(0.0, 0.15, events))
    transverse = np.sqrt(pt**2 + _M_V**2) * np.sqrt(recoil**2 + _M_H**2) * np.cosh(eta_v - eta_h)
    mass = np.sqrt(_M_V**2 + _M_H**2 + 2 * (transverse - pt * recoil * np.cos(phi)))
    lepton, jet = rng.uniform(0.5, 0.95, (2, events))
    opening = rng.normal(1.0, 0.08, (2, events))
    return np.column_stack(
        [
            pt, recoil, mass, eta_v, eta_h,
            lepton * pt + 15, (1 - lepton) * pt + 10, jet * recoil + 20, (1 - jet) * recoil + 20,
            np.abs(2 * _M_V / (pt + 40) * opening[0]), np.abs(2 * _M_H / (recoil + 40) * opening[1]), phi,
        ]
    )  # fmt: skip


RECIPE = Recipe(read=_read, synthesise=_synthesise, options={"encoding": encoding("standard")})
