"""CSE-CIC-IDS2018: ten days of flows, 80 or 84 columns, a header repeated among the rows of some days."""

from __future__ import annotations

from harness.datasets import cicflow, cicids2017
from harness.datasets.recipe import Recipe, Request
from harness.datasets.table import Split

_ROWS = {"Benign": 16_000, "DDOS attack-HOIC": 900, "DDoS attacks-LOIC-HTTP": 700, "DoS attacks-Hulk": 600, "Bot": 400,
         "FTP-BruteForce": 300, "SSH-Bruteforce": 300, "Infilteration": 200, "DoS attacks-GoldenEye": 60}  # fmt: skip


def _synthesise(request: Request) -> Split:
    return cicflow.synthesise(cicids2017.FEATURES[:78], _ROWS, request)


RECIPE = Recipe(read=cicflow.read, synthesise=_synthesise, options=cicflow.OPTIONS, published=cicflow.PUBLISHED)
