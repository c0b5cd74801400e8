"""``lparbench load``: open-loop HTTP load against a server, every answer checked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.durations import seconds as duration
from harness.cli.options import Json
from harness.cli.rates import parse_arrivals, per_second
from harness.errors import ExitCode, InputError, LparbenchError

if TYPE_CHECKING:
    from harness.record.load_model import LoadRecord


def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the server, e.g. http://127.0.0.1:8000")],
    bundle: Annotated[
        Path,
        typer.Option("--bundle", metavar="BUNDLE", help="The model that is served: its rows, and its own scores."),
    ],
    rate: Annotated[
        str | None, typer.Option(metavar="N/s", help="Requests per second, e.g. 5000/s or 5k/s.", show_default=False)
    ] = None,
    find_rate: Annotated[
        bool, typer.Option("--find-rate", help="Search for the highest rate that meets --p99.")
    ] = False,
    p99: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Bound on the 99th percentile of the latency.", show_default=False),
    ] = None,
    arrivals: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="poisson, constant, or a file of recorded times, stretched to --rate."),
    ] = "poisson",
    connections: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Kept open.")] = 64,
    seconds: Annotated[str, typer.Option(metavar="TIME", help="Of a trial.")] = "10s",
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Raw rows to send. Default: made ones.", show_default=False),
    ] = None,
    cards: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000_000, metavar="N", help="Send transactions of so many cards instead of rows.",
            show_default=False,
        ),
    ] = None,
    skew: Annotated[
        float, typer.Option(min=0, max=10, metavar="S", help="Exponent of Zipf's law, by which some cards are busy.")
    ] = 1.1,
    cpus: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="CPUs of the generator. Default: one that the server does not use.",
                     show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bearer token for the server.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals and of made rows.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the record there; - prints it.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page there; - prints it.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Offer load to a server on a schedule that does not wait for it; latency counts from the scheduled time.

    Exit code 0: valid, and the bound held; 1: it did not; 2: the figure is invalid, and why.

    Example: `lparbench load http://127.0.0.1:8000 --bundle models/nsl-kdd-autoencoder --rate 5k/s --p99 5ms`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.record.files import check_output, is_standard_output
    from harness.record.load_model import LoadSpec
    from harness.record.store import encode, load_text
    from harness.serving.arrival_trace import read_trace
    from harness.serving.trial import Cards, Session

    trace = None if parse_arrivals(arrivals) in ("poisson", "constant") else read_trace(Path(arrivals))
    if trace is not None and rate is None and not find_rate:
        rate = f"{trace.record.rate_per_s:.12f}"
    if (rate is None) == (not find_rate):
        raise InputError("Give either --rate or --find-rate.", remedy="Example: --rate 5k/s, or --find-rate --p99 5ms")
    if find_rate and p99 is None:
        raise InputError("--find-rate needs --p99.", remedy="Example: --find-rate --p99 5ms")
    if rows is not None and cards is not None:
        raise InputError("--rows and --cards exclude each other.", remedy="Leave one of them out.")
    spec = LoadSpec(
        url=url,
        rate=per_second("--rate", rate or "1000/s"),
        seconds=duration("--seconds", seconds),
        connections=connections,
        arrivals="trace" if trace is not None else "constant" if arrivals == "constant" else "poisson",
        seed=seed,
        p99_bound_s=None if p99 is None else duration("--p99", p99),
        cards=cards,
        skew=None if cards is None else skew,
    )
    alone = shares_standard_output(html, as_json=as_json or (out is not None and is_standard_output(out)))
    inputs = [path for path in (rows, token_file) if path is not None]
    for path in filter(None, (out, html)):
        check_output(path, inputs=inputs)
    sent = rows if cards is None else Cards(cards, skew)
    session = Session.open(url, bundle, sent, token_file, _cpus(cpus), seed, probe(SysRoot()))
    session = replace(session, trace=trace, argv=("lparbench", *sys.argv[1:]))
    record = session.search(spec) if find_rate else session.offer(spec)
    text = load_text(record)
    piped = out is not None and is_standard_output(out)  # where --json writes the same record
    _write(record, encode(text), None if piped else out, html, inputs)
    if as_json or piped:
        typer.echo(text, nl=False)
    elif not alone:
        from harness.reporting.load_view import lines

        typer.echo("\n".join(lines(record)))
    raise typer.Exit(ExitCode.judged(failed=record.result.met is False, inconclusive=bool(record.result.reasons)))


def _write(record: LoadRecord, content: bytes, out: Path | None, html: Path | None, inputs: Sequence[Path]) -> None:
    """Write what was asked for; a record that cannot be written there is kept for the time being.

    Raises:
        LparbenchError: the disk or its permissions refuse; names where the record is.
    """
    from harness.record.files import write_output
    from harness.record.store import LOAD_NAME, kept_aside

    try:
        if out is not None:
            write_output(out, content, inputs=inputs)
        if html is not None:
            from harness.reporting.load_html import render_load

            write_output(html, render_load(record), inputs=inputs)
    except LparbenchError as error:
        raise kept_aside(error, record.load_id, {LOAD_NAME: content}) from None


def _cpus(text: str | None) -> tuple[int, ...] | None:
    from harness.platform.parse import cpu_list

    if text is None:
        return None
    chosen = cpu_list(text)
    allowed = os.sched_getaffinity(0)
    if not chosen or not set(chosen) <= allowed:
        raise InputError(f"--cpus {text}: not all of them may be used.", remedy=f"Usable: {sorted(allowed)}.")
    return tuple(chosen)
