"""The product at work on booted machines: each test is a check of ``live.py`` or ``work.py``, which ran in a guest."""

from __future__ import annotations

import ast

import pytest
from machine import HERE
from machines import WORKING

CHECKS = [
    (program, node.name)
    for program in WORKING
    for node in ast.parse((HERE / f"{program}.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check[1])
def test_live(live, check):
    program, name = check
    result = live[program].get(name)
    assert result is not None, f"{name} did not run: {live[program].get('log')}"
    assert result["error"] is None, result["error"]
