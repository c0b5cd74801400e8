"""Which ranks each host of a common training starts, and what ends it for all of them; hosts are scripted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.decode import encode
from harness.errors import EnvironmentMismatchError, InputError, LparbenchError, MeasurementError
from harness.fleet.inventory import Host
from harness.fleet.protocol import MARK, Refused, Request
from harness.fleet.train import Training, train_together
from harness.placement.ranks import PER_NODE, plan_ranks
from harness.record.model import Run
from tests.support import fleets
from tests.support.fleets import FakeTransport, answer, facts

HOSTS = {f"lpar{number}": facts(number) for number in (1, 2, 3)}
PER_HOST = len(plan_ranks(facts().topology, PER_NODE, cores=1, threads_per_core=1))
Behaviour = Callable[[Request, bytes], bytes]


def train(transport: FakeTransport, *names: str, save: Path | None = None) -> Run:
    spec = replace(fleets.SPEC, workloads=("nsl-kdd-autoencoder",))
    training = Training(spec, "10.0.0.1", 29500, 60.0, save)
    hosts = [Host(name, name) for name in names or HOSTS]
    return asyncio.run(train_together(hosts, training, transport, lambda text: None))


def with_identity(identity: str) -> Behaviour:
    def behave(request: Request, right: bytes) -> bytes:
        body = json.dumps(encode(fleets.looked(facts(1), machine_id=identity))).encode()
        return right if request.spec else answer(request.token, "looked", body)

    return behave


def test_ranks_are_numbered_over_the_hosts_and_the_first_host_records() -> None:
    groups = []

    def behave(request: Request, right: bytes) -> bytes:
        if request.group is None:
            return right
        groups.append(request.group)
        return answer(request.token, "trained", b"") if request.group.first else right

    run = train(FakeTransport(HOSTS, dict.fromkeys(HOSTS, behave)))
    groups.sort(key=lambda group: group.first)
    assert [group.first for group in groups] == [0, PER_HOST, 2 * PER_HOST]
    assert {(group.count, group.planned, group.at) for group in groups} == {(3 * PER_HOST, PER_HOST, None)}
    assert run.spec.ranks == 3 * PER_HOST
    assert run.facts.lpar.partition_id == 1


@pytest.mark.parametrize("fault", ["name", "content"])
def test_a_bundle_that_is_none_is_refused(fault: str, tmp_path: Path) -> None:
    """A path in a name, a file that is not as its digest says: nothing is written."""

    def behave(request: Request, right: bytes) -> bytes:
        if request.group is None:
            return right
        if request.group.first:
            return answer(request.token, "trained", b"")
        record = right.partition(b"record\n")[2].rpartition(f"\n{MARK}".encode())[0].decode()
        name = "../out.json" if fault == "name" else "SHA256SUMS"
        model = {"record": record, "files": [{"name": name, "content": base64.b64encode(b"0  a").decode()}]}
        return answer(request.token, "model", json.dumps(model).encode())

    with pytest.raises(MeasurementError, match="out.json" if fault == "name" else "the model bundle is damaged"):
        train(FakeTransport(HOSTS, dict.fromkeys(HOSTS, behave)), save=tmp_path / "models")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_host_that_fails_ends_the_training_of_all() -> None:
    def behave(request: Request, right: bytes) -> bytes:
        body = json.dumps(encode(Refused("rank 2: killed by signal 9 (SIGKILL)."))).encode()
        return answer(request.token, "refused", body) if request.spec else right

    with pytest.raises(MeasurementError, match="lpar2: failed: rank 2: killed by signal 9"):
        train(FakeTransport(HOSTS, {"lpar2": behave}))


@pytest.mark.parametrize(
    ("transport", "names", "error", "words"),
    [
        (FakeTransport(HOSTS), ("lpar1",), InputError, "One host trains by itself"),
        (
            FakeTransport({**HOSTS, "lpar2": replace(facts(2), cpu=replace(facts().cpu, architecture="x86_64"))}),
            (),
            EnvironmentMismatchError,
            "of 2 architectures",
        ),
        (
            FakeTransport(HOSTS, {"lpar1": with_identity("a"), "lpar3": with_identity("a")}),
            (),
            InputError,
            "lpar3 and lpar1 are one system",
        ),
        (
            FakeTransport(HOSTS, {"lpar3": lambda *_: b"no"}),
            (),
            MeasurementError,
            "All hosts are needed. lpar3: failed",
        ),
    ],
)
def test_hosts_that_cannot_train_together_are_named(
    transport: FakeTransport, names: tuple[str, ...], error: type[LparbenchError], words: str
) -> None:
    with pytest.raises(error, match=words):
        train(transport, *names)
    assert not transport.asked, "nothing began"
