"""The product at work on one booted machine: each test is a check of ``live.py``, which ran in the guest."""

from __future__ import annotations

import ast

import pytest
from machine import HERE

CHECKS = [
    node.name
    for node in ast.parse((HERE / "live.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.mark.parametrize("check", CHECKS)
def test_live(live, check):
    result = live.get(check)
    assert result is not None, f"{check} did not run: {live.get('log')}"
    assert result["error"] is None, result["error"]
