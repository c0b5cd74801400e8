"""``make bench`` on x86-64: which torch is installed, from a package index on this machine, by the real pip."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import threading
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTED = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
CPU, CUDA, OTHER = f"{TESTED}+cpu", TESTED, "2.99.0"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="CPU wheels are asked for on x86-64 alone")


def _wheel(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"torch-{version}.dist-info"
    facts = {"Metadata-Version": "2.1", "Name": "torch", "Version": version, "Requires-Dist": "nowhere-to-be-found"}
    files = {
        "torch_fake.py": "",
        f"{info}/METADATA": "".join(f"{key}: {value}\n" for key, value in facts.items()),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)


class _Handler(SimpleHTTPRequestHandler):
    """Folders as a simple index; an absolute address, as a proxy is given, by its path."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.path = re.sub(r"^http://[^/]+", "", self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Indexes:
    """A server of several indexes, one folder each, and what was asked of it."""

    folder: Path
    port: int
    asked: list[str] = field(default_factory=list)

    def index(self, name: str, *versions: str) -> str:
        for version in versions:
            _wheel(self.folder / name / "torch", version)
        return f"http://127.0.0.1:{self.port}/{name}/"


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    served = Indexes(folder, server.server_port)
    server.asked = served.asked  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class SetUp:
    """A fresh environment whose pip is that of this one, and nothing of the user's settings but what a test gives."""

    venv: Path
    home: Path

    def make(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "-s", f"VENV={self.venv}", *words, f"{self.venv}/.torch"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=480,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "PIP_CONFIG_FILE": os.devnull, **settings},
        )

    @property
    def torch(self) -> str | None:
        names = [path.name for path in self.venv.glob("lib/python*/site-packages/torch-*.dist-info")]
        return names[0].removeprefix("torch-").removesuffix(".dist-info") if names else None


@pytest.fixture
def setup(tmp_path: Path) -> SetUp:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    try:  # not by find_spec, at which setuptools gives its place as distutils up for this whole process
        pip = Path(str(importlib.metadata.distribution("pip").locate_file("pip")))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pip is not in this environment")
    (site / "pip").symlink_to(pip)
    (folder / "bin" / "pip").touch()
    return SetUp(folder, tmp_path)


def test_the_named_index_gives_torch_and_no_other_is_asked(indexes: Indexes, setup: SetUp) -> None:
    cpu, own = indexes.index("cpu", CPU), indexes.index("own", CUDA, OTHER)
    _wheel(setup.home / "wheels", OTHER)
    done = setup.make(
        f"TORCH_INDEX={cpu}", PIP_INDEX_URL=own, PIP_EXTRA_INDEX_URL=own, PIP_FIND_LINKS=str(setup.home / "wheels")
    )
    assert (done.returncode, setup.torch) == (0, CPU), done.stderr
    assert f"torch: the CPU build of {cpu}" in done.stdout
    assert not [path for path in indexes.asked if path.startswith("/own")]


def test_an_index_without_the_tested_release_gives_its_newest(indexes: Indexes, setup: SetUp) -> None:
    done = setup.make(TORCH_INDEX=indexes.index("cpu", "2.7.0+cpu", "2.8.0+cpu"))
    assert (done.returncode, setup.torch) == (0, "2.8.0+cpu"), done.stderr


def test_wheels_at_hand_go_before_the_default_index(indexes: Indexes, setup: SetUp) -> None:
    _wheel(setup.home / "wheels", CPU)
    done = setup.make(PIP_FIND_LINKS=str(setup.home / "wheels"), PIP_INDEX_URL=indexes.index("own", CUDA))
    assert (done.returncode, setup.torch, indexes.asked) == (0, CPU, []), done.stderr


def test_wheels_at_hand_may_be_named_in_a_configuration_file(setup: SetUp) -> None:
    _wheel(setup.home / "wheels", CPU)
    (setup.home / "pip.conf").write_text(f"[global]\nfind-links = {setup.home / 'wheels'}\n")
    done = setup.make(PIP_CONFIG_FILE=str(setup.home / "pip.conf"))
    assert (done.returncode, setup.torch) == (0, CPU), done.stderr


def test_an_index_out_of_reach_is_named_and_pips_own_settings_are_used(indexes: Indexes, setup: SetUp) -> None:
    own = indexes.index("own", CUDA)
    done = setup.make("TORCH_INDEX=http://127.0.0.1:1/cpu", PIP_INDEX_URL=own)
    assert (done.returncode, setup.torch) == (0, CUDA), done.stderr
    assert "no torch could be had from http://127.0.0.1:1/cpu" in done.stderr
    assert "5.5 GB of CUDA" in done.stderr
    assert "TORCH_INDEX=URL" in done.stderr


def test_an_empty_index_leaves_torch_to_pips_own_settings(indexes: Indexes, setup: SetUp) -> None:
    done = setup.make("TORCH_INDEX=", PIP_INDEX_URL=indexes.index("own", CUDA))
    assert (done.returncode, setup.torch, done.stderr) == (0, CUDA, "")


def test_the_users_constraints_outweigh_the_tested_release(indexes: Indexes, setup: SetUp) -> None:
    (setup.home / "mine.txt").write_text("torch==2.7.0+cpu\n")
    cpu = indexes.index("cpu", "2.7.0+cpu", CPU)
    done = setup.make(f"TORCH_INDEX={cpu}", PIP_CONSTRAINT=str(setup.home / "mine.txt"))
    assert (done.returncode, setup.torch) == (0, "2.7.0+cpu"), done.stderr


@pytest.mark.parametrize("how", ["http_proxy", "PIP_PROXY"])
def test_proxies_are_used(indexes: Indexes, setup: SetUp, how: str) -> None:
    indexes.index("whl/cpu", CPU)
    done = setup.make(
        "TORCH_INDEX=http://torch.invalid/whl/cpu",
        **{how: f"http://127.0.0.1:{indexes.port}", "PIP_TRUSTED_HOST": "torch.invalid"},
    )
    assert (done.returncode, setup.torch) == (0, CPU), done.stderr
    assert indexes.asked[0] == "http://torch.invalid/whl/cpu/torch/"


def test_nothing_anywhere_is_an_error(setup: SetUp) -> None:
    done = setup.make("TORCH_INDEX=http://127.0.0.1:1/cpu", PIP_NO_INDEX="1")
    assert done.returncode != 0
    assert "No matching distribution found" in done.stderr
    assert not (setup.venv / ".torch").exists()


def _planned(*words: str, **settings: str) -> str:
    done = subprocess.run(
        ["make", "-n", "-B", "VENV=/nowhere/venv", *words, "/nowhere/venv/.installed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], **settings},
    )
    return done.stdout


def test_power_uses_the_torch_of_its_surroundings() -> None:
    planned = _planned("ARCH=ppc64le")
    assert "install-torch" not in planned
    assert "--system-site-packages" in planned


def test_the_default_is_pytorchs_index_of_cpu_wheels_for_torch_alone() -> None:
    lines = _planned("ARCH=x86_64").splitlines()
    assert [line for line in lines if "download.pytorch.org" in line] == [
        "sh .ci/install-torch /nowhere/venv/bin/python 'torch>=2.6' 'https://download.pytorch.org/whl/cpu' 'file'"
    ]
    assert "'http://mirror/cpu' 'environment'" in _planned("ARCH=x86_64", TORCH_INDEX="http://mirror/cpu")
    assert "'torch>=2.6' '' 'undefined'" in _planned("ARCH=aarch64")
