"""The script that sizes live: each of its figures begins with a line and ends with a judged one, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bench import sizing_live as script


def _fails(error: Exception) -> Callable[[Path, int], None]:
    def figure(directory: Path, repeat: int) -> None:
        """Not possible."""
        raise error

    return figure


def _is_silent(directory: Path, repeat: int) -> None:
    """Says nothing."""


def _holds(directory: Path, repeat: int) -> None:
    """Good."""
    script.figure("holds", True, "seen")


@pytest.mark.parametrize(
    ("figure", "verdict", "code"),
    [
        (_fails(script.FailedError("size failed")), "MISSED", 1),
        (_fails(OSError("no space")), "MISSED", 1),
        (_fails(script.NotHereError("two CPUs are needed")), "NOT SHOWN", 2),
        (_is_silent, "MISSED", 1),
        (_holds, "ok", 0),
    ],
)
def test_every_figure_begins_and_ends(
    figure: Callable[[Path, int], None], verdict: str, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(script, "FIGURES", {"tried": figure})
    monkeypatch.setattr(script, "verdicts", [])
    monkeypatch.setattr("sys.argv", ["sizing_live.py", "tried"])
    assert script.main() == code
    first, judged, last = capsys.readouterr().out.splitlines()
    assert first.startswith("tried: ")
    assert judged.endswith(f"  {verdict}")
    assert last.startswith("tried: ended after ")


def test_a_plain_folder_is_no_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where controllers are mounted below it, /sys/fs/cgroup takes any file."""
    monkeypatch.setattr(script, "_CGROUPS", (tmp_path,))
    with script.half_a_core() as cap:
        assert cap is None
    assert list(tmp_path.iterdir()) == []
