"""Puts a plan into force on the calling process: its environment, CPU affinity, memory policy."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

from harness.errors import InputError
from harness.placement.model import MemoryBinding, Placement
from harness.platform.parse import format_cpulist
from harness.platform.pinning import CPUS_VARIABLE, POLICY_VARIABLE

# __NR_set_mempolicy by machine name (Linux, arch/*/include and kernel/syscalls tables); the C library has no wrapper.
_SET_MEMPOLICY = {
    "x86_64": 238,
    "ppc64le": 261,
    "ppc64": 261,
    "aarch64": 237,
    "riscv64": 237,
    "loongarch64": 237,
    "s390x": 270,
}
_MPOL_BIND = 2
# Parameters of mallopt(3), for a process that has started already: glibc reads the environment only once.
_MALLOPT = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}
_WORD_BITS = 8 * ctypes.sizeof(ctypes.c_ulong)


def apply(plan: Placement) -> MemoryBinding:
    """Pin the calling process and set its environment; everything it executes inherits them.

    Returns:
        The memory policy in force: that of the plan, or none where the kernel does not permit it, as in many
        containers. It is left in the environment too, in words, with the CPUs (see :mod:`harness.platform.pinning`).

    Raises:
        InputError: a CPU of the plan is offline or forbidden to this process.
    """
    os.environ.update(plan.env)
    _set_allocator(plan.env)
    try:
        os.sched_setaffinity(0, plan.cpus)
        pinned = os.sched_getaffinity(0)
    except (OSError, ValueError) as error:
        raise _not_usable(plan, str(error)) from error
    if pinned != set(plan.cpus):  # the kernel silently leaves out CPUs outside the cpuset
        missing = format_cpulist(tuple(set(plan.cpus) - pinned))
        raise _not_usable(plan, f"CPUs {missing} are not allowed here")
    policy = plan.memory_policy
    if plan.memory_nodes:
        refusal = set_memory_policy(plan.memory_nodes)
        if refusal is not None:
            policy = MemoryBinding(refused=refusal)
    os.environ[CPUS_VARIABLE] = ",".join(str(cpu) for cpu in plan.cpus)
    os.environ[POLICY_VARIABLE] = str(policy)
    return policy


def become(command: Sequence[str], plan: Placement) -> NoReturn:
    """Apply the plan, and replace this process by a program.

    Raises:
        InputError: a CPU of the plan cannot be used, or the program cannot be started.
    """
    apply(plan)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and a program would inherit that
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - an argument list, no shell
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be started: {error.strerror}.") from error


def set_memory_policy(nodes: Sequence[int]) -> str | None:
    """Take memory from ``nodes`` only, from now on and in what this process executes.

    Returns:
        ``None``, or why the kernel refused.
    """
    number = _SET_MEMPOLICY.get(os.uname().machine)
    if number is None:
        return f"set_mempolicy has no known number on {os.uname().machine}"
    bits = max(nodes) + 1
    words = (ctypes.c_ulong * (bits // _WORD_BITS + 1))()
    for node in nodes:
        words[node // _WORD_BITS] |= 1 << node % _WORD_BITS
    library = ctypes.CDLL(None, use_errno=True)
    # The kernel reads one bit fewer than it is given (mm/mempolicy.c, get_nodes).
    result = library.syscall(
        ctypes.c_long(number), ctypes.c_long(_MPOL_BIND), words, ctypes.c_ulong(len(words) * _WORD_BITS + 1)
    )
    if result == 0:
        return None
    return f"set_mempolicy not permitted: {os.strerror(ctypes.get_errno())}"


def _set_allocator(env: Mapping[str, str]) -> None:
    """Do what the environment says to an allocator that has started; one other than glibc's has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, parameter in _MALLOPT.items():
        if mallopt is not None and name in env:
            mallopt(ctypes.c_int(parameter), ctypes.c_int(int(env[name])))


def _not_usable(plan: Placement, why: str) -> InputError:
    return InputError(
        f"CPUs {format_cpulist(plan.cpus)} cannot be used: {why}.",
        remedy="They may have gone offline or out of this process's cpuset since the plan was made: plan again.",
    )
