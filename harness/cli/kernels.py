"""``lparbench kernels``: the measured roof of the pinned CPUs, and what the kernels reach of it."""

from __future__ import annotations

from functools import partial

import typer

from harness.cli.options import Json


def kernels(as_json: Json = False) -> None:
    """Measure peak, memory bandwidth and latency of the CPUs this process may use, and the kernels below them.

    The peak is that of a loop on registers, next to the one of the processor's table. Kernel rates are those of one
    thread, with their share of one thread's peak. Pin first to measure a part of the machine.

    Example: `numactl --cpunodebind 0 --membind 0 lparbench kernels`
    """
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot
    from harness.reporting.kernels_terminal import kernels_json, print_kernels
    from harness.roofline.assemble import measured_here
    from harness.roofline.probes import heeding_signals

    measured, roofline = heeding_signals(partial(measured_here, probe(SysRoot())))
    if as_json:
        typer.echo(kernels_json(measured, roofline))
    else:
        print_kernels(measured, roofline)
