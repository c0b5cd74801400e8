"""One training over two hosts by the real ssh: ranks meet over the network, and the first host's record comes back."""

from __future__ import annotations

import contextlib
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.record.store import load_run
from harness.scoring.bundle import open_bundle
from tests.support import namespaces, sshd
from tests.support.sshd import Servers

if sshd.MISSING:
    pytest.skip(sshd.MISSING, allow_module_level=True)

COMMAND = shlex.join([sys.executable, str(Path(sshd.__file__).with_name("train_host.py"))])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Hosts with networks of their own where those are permitted: then the first interface of each leads nowhere."""
    folder = tmp_path_factory.mktemp("sshd")
    with contextlib.nullcontext(()) if namespaces.MISSING else namespaces.namespaces(2) as hosts:
        interface = {} if hosts else {"GLOO_SOCKET_IFNAME": "lo"}
        environments = [
            {"LPARBENCH_TEST_HOST": number, "XDG_CACHE_HOME": str(folder / number), **interface}
            for number in ("1", "2")
        ]
        with sshd.servers(folder, environments, hosts) as running:
            yield running


def train(servers: Servers, folder: Path, *words: str) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [
        "fleet", "train", str(servers.inventory(folder)), "nsl-kdd-autoencoder", "--ssh-config", str(servers.config),
        "--command", COMMAND, "--port", str(port), "--ranks", "1", "--synthetic", "--rows", "2000", "--epochs", "1",
        "--blocks", "1", "--backends", "eager", "--out", str(folder / "out"), *words,
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_two_hosts_train_one_model(servers: Servers, tmp_path: Path) -> None:
    assert train(servers, tmp_path, "--save", str(tmp_path / "models")) == 2, "one block decides nothing"
    (directory,) = (tmp_path / "out").iterdir()
    assert load_run(directory).spec.ranks == 2
    assert "Trained by 2 ranks (1 here: CPUs" in (directory / "run.json").read_text(encoding="utf-8")
    assert (directory / "report.html").is_file()
    assert open_bundle(tmp_path / "models" / "nsl-kdd-autoencoder").manifest.provenance.detector == "autoencoder"


def test_one_host_is_no_fleet_to_train_on(servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(servers, tmp_path, "--hosts", "lpar1") == 4
    assert "One host trains by itself" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
