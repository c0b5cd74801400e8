"""A host without lparbench gets the wheel over the real ssh, and runs what arrived."""

from __future__ import annotations

import json
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import __version__
from harness.cli.main import main
from tests.support import sshd
from tests.support.sshd import Servers

if sshd.MISSING:
    pytest.skip(sshd.MISSING, allow_module_level=True)

_ROOT = Path(__file__).parents[2]
_CONTENT = ("workloads", "sysconfig", "results/schema", "reports")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("sshd")
    with sshd.servers(folder, [{"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONSAFEPATH": "1"}]) as running:
        yield running


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the build packs it, without building: this package with its content folders inside."""
    path = tmp_path_factory.mktemp("wheel") / f"lparbench-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted((_ROOT / "harness").rglob("*.py")):
            packed.write(file, file.relative_to(_ROOT).as_posix())
        for folder in _CONTENT:
            for file in sorted((_ROOT / folder).rglob("*")):
                if file.is_file():
                    packed.write(file, f"harness/_content/{file.relative_to(_ROOT).as_posix()}")
    return path


def check(servers: Servers, folder: Path, wheel: Path, *words: str) -> int:
    arguments = [
        "fleet", "check", str(servers.inventory(folder)), "--ssh-config", str(servers.config), "--push", str(wheel),
        "--python", shlex.quote(sys.executable), "--push-to", str(folder / "pushed"), "--json", *words,
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_wheel_is_brought_once_and_brought_again_when_it_was_changed(
    servers: Servers, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(servers, tmp_path, wheel) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["looked"]["version"] == __version__
    assert "1 unpacked, 0 there before" in printed.err
    (place,) = (tmp_path / "pushed").iterdir()
    changed = place / "site" / "harness" / "__init__.py"
    changed.write_text("raise SystemExit('somebody changed this')\n", encoding="utf-8")
    assert check(servers, tmp_path, wheel) == 0
    assert "1 unpacked, 0 there before" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "pushed").iterdir()] == [place.name], "nothing half-unpacked is left"


def test_what_is_no_wheel_of_this_version_is_refused(
    servers: Servers, wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "lparbench-0.0.1-py3-none-any.whl"
    other.write_bytes(wheel.read_bytes())
    assert check(servers, tmp_path, other) == 4
    assert f"lparbench-{__version__}-*.whl expected" in capsys.readouterr().err
    foreign = tmp_path / f"lparbench-{__version__}-cp311-abi3-linux_s390x.whl"
    foreign.write_bytes(wheel.read_bytes())
    assert check(servers, tmp_path, foreign) == 2
    assert "lpar1: the wheel is not there: failed: the wheel is for s390x" in capsys.readouterr().err
    assert check(servers, tmp_path, wheel, "--command", "/opt/lparbench") == 4
    assert not (tmp_path / "pushed").exists()
