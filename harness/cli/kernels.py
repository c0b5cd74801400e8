"""``lparbench kernels``: the measured roof of the pinned CPUs, and what the kernels reach of it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from harness.cli.options import Json


def kernels(
    instructions: Annotated[
        bool,
        typer.Option("--instructions", help="Count instructions per row instead: here and on POWER10."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure peak, memory bandwidth and latency of the CPUs this process may use, and the kernels below them.

    The peak is that of a loop on registers, next to the one of the processor's table. Kernel rates are those of one
    thread, with their share of one thread's peak. Pin first to measure a part of the machine.

    --instructions counts what a row takes on every native kernel and of every detector that scores natively: by the
    processor's counter where that is permitted, and exactly on a POWER10 that QEMU emulates where it and a cross
    compiler are installed. "Outer" are outer products, "Ideal" the share of them that the multiply-adds fill, "Change"
    is against the counts kept with the kernels.

    Example: `numactl --cpunodebind 0 --membind 0 lparbench kernels`
    """
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.reporting.kernels_terminal import kernels_json, print_kernels
    from harness.roofline.assemble import measured_here
    from harness.roofline.probes import heeding_signals

    if instructions:
        _count(as_json=as_json)
        return
    measured, roofline = heeding_signals(partial(measured_here, probe(SysRoot())))
    if as_json:
        typer.echo(kernels_json(measured, roofline))
    else:
        print_kernels(measured, roofline)


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
