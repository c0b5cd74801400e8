"""A host of a fleet that means harm: `python hostile_host.py fleet host`, over a real ssh.

`LPARBENCH_TEST_KIND` says what it does, by the names in `tests/bench/hostile_hosts.py`; `LPARBENCH_TEST_NUMBER` is its
number. All but facts, measurement and what is wrong with the answer is the product's own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

KIND, NUMBER = os.environ["LPARBENCH_TEST_KIND"], int(os.environ["LPARBENCH_TEST_NUMBER"])
SCRIPT = "<script>alert(1)</script>\x1b[2J\n::error::x"
Document = dict[str, Any]


def before_it_answers() -> None:
    """What needs nothing of the product; returns for the other kinds."""
    match KIND:
        case "zeros without end":
            while True:
                sys.stdout.buffer.write(b"\0" * (1 << 20))
        case "300 MB of errors":
            for _ in range(300):
                sys.stderr.buffer.write(b"\x1b[31mE" * (1 << 18))
            sys.exit(3)
        case "exit 255":
            print("ssh: connect to host: Permission denied", file=sys.stderr)
            sys.exit(255)
        case "exit 127":
            sys.exit(127)
        case "hangs":
            time.sleep(600)
        case "a byte a second":
            while True:
                sys.stdout.write("x")
                sys.stdout.flush()
                time.sleep(1)
        case "another token":
            print(f"lparbench-fleet {'0' * 32} record\n{{}}\n", flush=True)
            sys.exit(0)


def partition_of_a_path(document: Document) -> bytes:
    document["facts"]["lpar"]["partition_name"] = "../../../../evil"
    return as_json(document)


def kernel_of_a_list(document: Document) -> bytes:
    document["facts"]["kernel"] = [1, 2]
    return as_json(document)


def many_findings(document: Document) -> bytes:
    document["findings"] += [{"id": "x"}] * 200_000
    return as_json(document)


def as_json(document: Document) -> bytes:
    return json.dumps(document).encode()


LOOKED: Mapping[str, Callable[[Document], bytes]] = {
    "partition of a path": partition_of_a_path,
    "kernel of a list": kernel_of_a_list,
    "200,000 findings": many_findings,
    "facts 200,000 deep": lambda document: b"[" * 200_000,
    "time of 5,000 digits": lambda document: as_json(document).replace(b'"time_s": ', b'"time_s": ' + b"9" * 5000),
    "time that is none": lambda document: re.sub(rb'"time_s": [0-9.e+]+', b'"time_s": NaN', as_json(document)),
    "a key twice": lambda document: as_json(document)[:-1] + b', "version": "x"}',
}


def series_of(document: Document) -> Document:
    first: Document = document["results"][0]["processes"][0]["series"][0]
    return first


def of_every_sample(value: int) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        series = series_of(document)
        series["durations_ns"] = [value] * len(series["durations_ns"])

    return change


RECORD: Mapping[str, Callable[[Document], None]] = {
    "run id of a path": lambda document: document.update(run_id="../../../evil"),
    "script for a workload": lambda document: document["results"][0].update(workload="<img src=x onerror=alert(1)>"),
    "times below zero": of_every_sample(-5),
    "times of zero": of_every_sample(0),
    "times of 300 digits": of_every_sample(10**300),
    "an estimate of 1e308": lambda document: series_of(document).update(estimate_s=1e308, estimate_all_s=1e308),
    "half a character": lambda document: document.update(created="\ud800"),
    "a later schema": lambda document: document.update(schema_version=999),
    "another seed": lambda document: document["spec"].update(seed=77),
    "no results": lambda document: document.update(results=[]),
    "200 results": lambda document: document.update(results=document["results"] * 200),
    "facts of another kernel": lambda document: document["facts"]["kernel"].update(release="6.99"),
}


def serve() -> None:
    """Answer as the product does, with what is wrong put in."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from harness.cli.main import main
    from harness.fleet import host
    from harness.fleet.protocol import AnswerKind, Looked, Request
    from harness.record.codec import DIGEST, digest_of
    from harness.record.model import Run
    from harness.record.spec import RunSpec
    from harness.runs.engine import Progress
    from tests.support import fleets

    facts = fleets.facts(NUMBER, f"{NUMBER:02x}" * 8)
    if KIND == "script in the facts":
        machine, kernel = replace(facts.machine, mtm=SCRIPT, name=SCRIPT), replace(facts.kernel, release=SCRIPT)
        facts = replace(facts, machine=machine, kernel=kernel, lpar=replace(facts.lpar, partition_name=SCRIPT))
    later = replace(facts, kernel=replace(facts.kernel, release="6.99"))

    def looked() -> Looked:
        return fleets.looked(facts, machine_id=f"{NUMBER:02x}" * 8)

    def measured(spec: RunSpec, *_: object, **__: object) -> Run:
        return fleets.record(later if KIND == "another kernel" else facts, spec, 1.7e-3)

    answer = host._answer

    def answered(request: Request, progress: Progress) -> tuple[AnswerKind, bytes]:
        kind, body = answer(request, progress)
        if kind == "looked" and KIND in LOOKED:
            return kind, LOOKED[KIND](json.loads(body))
        if kind == "record" and KIND in RECORD:
            document = json.loads(body)
            RECORD[KIND](document)
            del document[DIGEST]
            return kind, as_json({**document, DIGEST: digest_of(document)})
        if kind == "record" and KIND == "a record 300,000 deep":
            return kind, b"[" * 300_000
        if kind == "record" and KIND == "an estimate that is none":
            return kind, re.sub(rb'"estimate_s": [0-9.e-]+', b'"estimate_s": NaN', body)
        return kind, body

    host._look, host.run_once, host._answer = looked, measured, answered
    if KIND == "a banner":
        print('Welcome {"this": 1}\nlparbench-fleet', flush=True)
    if KIND == "a child that stays":
        subprocess.Popen(["sleep", "100"], start_new_session=True)
    main()


if __name__ == "__main__":
    before_it_answers()
    serve()
