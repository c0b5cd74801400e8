"""ONNX Runtime kept on the CPUs that the process was given.

Left alone, ONNX Runtime sizes its pool from the machine and pins the threads itself, over whatever mask the process has
(microsoft/onnxruntime#7347, #10104). An explicit pool size stops that; with one thread there is no pool at all and the
calling thread does the work.
"""

from __future__ import annotations

import onnxruntime

from harness.errors import InputError
from harness.platform.pinning import pinned_cpus
from harness.wording import plural


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of a session of which one call uses ``threads`` threads, each on a CPU of the placement.

    Raises:
        InputError: fewer CPUs are allowed than threads asked for.
    """
    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    if threads > 1:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities(pinned_cpus(), threads))
    return options


def affinities(cpus: tuple[int, ...], threads: int) -> str:
    """ONNX Runtime's affinity string for its pool of ``threads - 1`` workers (the caller is the remaining thread).

    Workers take the CPUs after the first; numbers are 1-based, worker lists are separated by ``;``.

    Raises:
        InputError: fewer CPUs are allowed than threads asked for.
    """
    if threads > len(cpus):
        raise InputError(
            f"{plural(threads, 'thread')} asked for, but the process may run on {plural(len(cpus), 'CPU')} only."
        )
    return ";".join(str(cpu + 1) for cpu in cpus[1:threads])
