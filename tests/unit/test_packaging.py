"""The list of packages in pyproject.toml is written out; this keeps it true."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CONTENT = {
    "reports": {".j2", ".css"},
    "results/schema": {".json"},
    "sysconfig": {".toml", ".json"},
    "workloads": {".toml"},
}


@pytest.fixture(scope="module")
def setuptools_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_of_harness_is_shipped(setuptools_table: dict) -> None:
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "harness").rglob("__init__.py")}
    listed = {name for name in setuptools_table["packages"] if not name.startswith("harness._content")}
    assert listed == on_disk


def test_every_content_file_is_shipped(setuptools_table: dict) -> None:
    shipped = {ROOT / folder for folder in setuptools_table["package-dir"].values()}
    patterns = setuptools_table["package-data"]["*"]
    for folder, suffixes in CONTENT.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in suffixes:
                assert path.parent in shipped, f"{path.relative_to(ROOT)} would be missing from a wheel"
                assert any(path.match(pattern) for pattern in patterns)


def test_types_are_shipped(setuptools_table: dict) -> None:
    assert (ROOT / "harness" / "py.typed").exists()
    assert "py.typed" in setuptools_table["package-data"]["harness"]


def test_sysconfig_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "sysconfig" / "__init__.py").exists()
