"""The published data sets, for tests that hold facts about the real files; skipped with a reason without them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset


def data_directory() -> Path:
    """The folder of the published files; skips the test when there is none."""
    named = os.environ.get("LPARBENCH_DATA")
    directory = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not directory.is_dir():
        pytest.skip("the published data sets are not here; LPARBENCH_DATA names their folder")
    return directory


def load_published(name: str, *, protocol: str = "clean", **options: Any) -> EncodedDataset:
    """A data set from the published files; loaded once per session for the same options."""
    return _load(name, protocol, repr(sorted(options.items())), data_directory())


@cache
def _load(name: str, protocol: Any, options: str, directory: Path) -> EncodedDataset:
    import ast

    return load(
        name, protocol=protocol, directory=directory, options=dict(ast.literal_eval(options)), synthetic="never"
    )


def published_path(*parts: str) -> Path:
    """One published file; skips the test when it is absent."""
    path = data_directory().joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    return path
