"""Fleets over a real Dask cluster with TLS: its workers are the hosts, their measurement alone is made up."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.cli.main import main
from harness.fleet.dask_transport import workers_of
from harness.placement.plan import plan
from harness.platform import limits
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot
from harness.record.fleet_model import HostState
from harness.record.store import load_fleet
from tests.support import dask_cluster
from tests.support.dask_cluster import Cluster
from tests.support.waiting import until

if dask_cluster.MISSING:
    pytest.skip(dask_cluster.MISSING, allow_module_level=True)

PROGRAM = Path(dask_cluster.__file__).with_name("fleet_host.py")
COMMAND = shlex.join([sys.executable, str(PROGRAM)])
EVIL = """
import asyncio, sys
from distributed.core import Server
from distributed.protocol.serialize import ToPickle

class Evil:
    def __reduce__(self):
        return (exec, (f"open({sys.argv[1]!r}, 'w')",))

async def serve():
    server = Server({"identity": lambda: {"workers": ToPickle(Evil())}})
    await server.listen("tcp://127.0.0.1:0")
    print(server.address, flush=True)
    await asyncio.sleep(60)

asyncio.run(serve())
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("dask")
    kinds = {
        name: {
            "LPARBENCH_TEST_HOST": kind,
            "LPARBENCH_TEST_TELL": str(folder / "told.json"),
            "XDG_CACHE_HOME": str(folder / f"cache-{name}"),
        }
        for name, kind in {"lpar1": "1 tell", "lpar2": "2 slow"}.items()
    }
    with dask_cluster.cluster(folder, kinds) as running, pytest.MonkeyPatch.context() as patch:
        import dask

        for name, value in running.environment.items():
            patch.setenv(name, value)
        dask.config.refresh()
        yield running
    dask.config.refresh()


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["fleet", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def run_on(cluster: Cluster, folder: Path, *words: str) -> Path:
    """A fleet run of one wave; its directory."""
    options = ["--scheduler", cluster.scheduler, "--command", COMMAND, "--waves", "1", "--out", str(folder), *words]
    assert code_of("run", "nsl-kdd-mlp", *options) == 2, "one wave decides nothing"
    (directory,) = folder.iterdir()
    return directory


def test_a_measurement_is_apart_from_its_dask_worker(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing that the nanny set is in its environment, and the worker is off the cores that it is placed on."""
    _, _, remarks = asyncio.run(workers_of(cluster.scheduler))
    assert not [remark for remark in remarks if "nanny" in remark], "its timers rest when they are asked to"
    directory = run_on(cluster, tmp_path, "--hosts", "lpar1")
    fleet = load_fleet(directory)
    assert fleet.engine == "dask"
    assert [(host.name, host.state) for host in fleet.hosts] == [("lpar1", HostState.DONE)]
    seen = json.loads((cluster.folder / "told.json").read_text(encoding="utf-8"))
    assert {"PATH", "LPARBENCH_TEST_HOST"} < set(seen["environment"])
    assert not [
        name for name in seen["environment"] if name.startswith(("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "DASK_"))
    ]
    assert seen["own"] == sorted(os.sched_getaffinity(0))
    root = SysRoot()
    topology, bounds = read_topology(root), limits.collect(root)
    placed = plan(topology, cores=1, threads_per_core=1, limits=bounds).cpus
    taken = {cpu for core in topology.cores if {*core.cpus} & {*placed} for cpu in core.cpus}
    free = set(seen["own"]) - taken
    assert set(seen["parent"]) == (free or set(seen["own"]))
    workers = [child for child in psutil.Process(cluster.workers["lpar1"].pid).children() if child.cpu_affinity()]
    assert all(sorted(child.cpu_affinity()) == seen["own"] for child in workers), "afterwards it is where it was"


def test_a_worker_that_dies_takes_its_host_alone_and_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    def kill() -> None:
        _until_there("2 slow")
        nanny = psutil.Process(cluster.workers["lpar2"].pid)
        for process in (nanny, *nanny.children()):
            process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    directory = run_on(cluster, tmp_path)
    killer.join()
    states = {host.name: (host.state, host.reason or "") for host in load_fleet(directory).hosts}
    assert states["lpar1"][0] is HostState.DONE
    assert states["lpar2"][0] is HostState.UNREACHABLE
    _until_there("2 slow", there=False)


def test_a_cluster_that_sends_pickles_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [sys.executable, "-c", EVIL, str(tmp_path / "ran")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert code_of("check", "--scheduler", server.stdout.readline().strip()) == 4
        finally:
            server.kill()
    assert "would have to be unpickled; refused" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_what_does_not_go_with_a_scheduler_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of("check", "--scheduler", "lpar01:8786") == 4
    assert "expected tls://HOST:PORT" in capsys.readouterr().err
    assert code_of("check", "--scheduler", "tls://lpar01:8786", "--ssh-config", str(tmp_path)) == 4
    assert "are of ssh" in capsys.readouterr().err
    assert code_of("check") == 4
    assert "--scheduler" in capsys.readouterr().err


def _until_there(kind: str, *, there: bool = True) -> None:
    """Wait until the measurement of a host runs, or until nothing is left of it."""
    until(lambda: bool(_of_host(kind)) == there)


def _of_host(kind: str) -> list[psutil.Process]:
    """What was started for the measurement of a host."""
    members = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LPARBENCH_TEST_HOST") == kind and process.name() == "sleep":
                members.append(process)
        except psutil.Error:
            continue
    return members
