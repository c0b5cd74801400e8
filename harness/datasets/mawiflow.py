"""MAWIFlow: flows of a trans-Pacific link, labelled by MAWILab v1.1; as its samples do, only clear labels are kept."""

from __future__ import annotations

from harness.datasets import cicflow, cicids2017
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found
from harness.datasets.table import Split

_UNCLEAR = frozenset({"suspicious", "notice"})
_ROWS = {"benign": 15_000, "Port scan": 2_000, "Network scan TCP": 1_500, "Multi. points": 800, "HTTP": 400, "DoS": 300}


def _read(local: Found, request: Request) -> Reading:
    return cicflow.read(local, request, dropped=_UNCLEAR)


def _synthesise(request: Request) -> Split:
    return cicflow.synthesise(cicids2017.FEATURES, _ROWS, request)


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    # Its authors show that detectors age from one year to the next, which only a split by time can show.
    options={**cicflow.OPTIONS, "split": cicflow.split_option("time")},
    published=cicflow.PUBLISHED,
)
