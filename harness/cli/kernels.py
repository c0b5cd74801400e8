"""``lparbench kernels``: the measured roof of the pinned CPUs, and what the kernels reach of it."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json
from harness.errors import InputError


def kernels(
    instructions: Annotated[
        bool,
        typer.Option("--instructions", help="Count instructions per row instead: here and on POWER10."),
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write the figures as CSV too; - for CSV alone, on standard output.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure peak, memory bandwidth and latency of the CPUs this process may use, and the kernels below them.

    The peak is that of a loop on registers, next to the one of the processor's table. Kernel rates are those of one
    thread, with their share of one thread's peak. Pin first to measure a part of the machine. Every rate is the best of
    six rounds, with the least and the greatest of them.

    --instructions counts what a row takes on every native kernel and of every detector that scores natively: by the
    processor's counter where that is permitted, and exactly on a POWER10 that QEMU emulates where it and a cross
    compiler are installed. "Outer" are outer products, "Ideal" the share of them that the multiply-adds fill, "Change"
    is against the counts kept with the kernels.

    Example: `numactl --cpunodebind 0 --membind 0 lparbench kernels`
    """
    from harness.cli.outputs import shares_standard_output
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.record.files import whole_output
    from harness.reporting.kernels_csv import kernels_csv
    from harness.reporting.kernels_terminal import kernels_json, print_kernels
    from harness.reporting.progress import progress_for
    from harness.roofline.assemble import here, measured_here
    from harness.roofline.probes import heeding_signals
    from harness.runs.stopping import duration

    piped = shares_standard_output(csv, as_json=as_json)
    if instructions:
        if csv is not None:
            raise InputError("--csv has no table of instructions.", remedy="Take --json, or leave out --instructions.")
        _count(as_json=as_json)
        return
    facts = probe(SysRoot())
    what = here(facts)
    with nullcontext() if csv is None else whole_output(csv) as sink:  # what cannot be written is refused first
        with progress_for(quiet=as_json) as progress:
            progress.say(f"Roofs of these CPUs and the kernels below them: about {duration(what.seconds)}.")
            measured, roofline = heeding_signals(partial(measured_here, facts, what, progress))
        if as_json:
            typer.echo(kernels_json(measured, roofline))
        elif not piped:
            print_kernels(measured, roofline)
        if sink is not None:  # last: a full disk takes the file alone
            sink.write(kernels_csv(measured, roofline).encode())


def _count(*, as_json: bool) -> None:
    """Count by whatever can count here.

    Raises:
        MeasurementError: nothing can.
    """
    from harness.detectors.published import counted_pieces
    from harness.errors import MeasurementError
    from harness.linalg import native
    from harness.platform import limits
    from harness.platform.perf import not_permitted
    from harness.platform.sysroot import SysRoot
    from harness.reporting.instructions import instructions_json, print_instructions
    from harness.roofline.instructions import POWER10, counted_here, counted_on_power10, not_emulated

    isa = native.select()
    refused, missing = not_permitted(SysRoot(), limits.collect(SysRoot()).container), not_emulated()
    notes = [f"Not counted on this machine: {refused}"] if refused else []
    notes += [f"Not counted on a POWER10: {missing}."] if missing else []
    if refused and missing:
        raise MeasurementError("Instructions cannot be counted here.", remedy=" ".join(notes))
    pieces = list(counted_pieces())
    here = [] if refused else counted_here([piece for piece in pieces if isa.kernel(piece.dtype)])
    power10 = [] if missing else counted_on_power10([(piece, name) for piece in pieces for name in POWER10])
    if as_json:
        typer.echo(instructions_json(here, power10, notes))
    else:
        print_instructions(here, power10, notes)
