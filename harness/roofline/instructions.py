"""Instructions of pieces of the kernels' work: by the processor's own counter, or on a POWER10 that QEMU emulates.

Under emulation a static program of the kernels runs every piece once to warm up and once between two marks, in one
process; a plugin of QEMU counts between the marks. Such counts repeat exactly, and no time is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.content import content_dir
from harness.decode import decode_json_file
from harness.errors import MeasurementError
from harness.linalg import native
from harness.platform.perf import EVENTS, Counters
from harness.record.fields import NotNegative, Positive, PositiveCount
from harness.roofline.pieces import Piece, call_of, encoded, title

POWER10 = ("mma", "vsx-power9")  # instruction sets of the kernels that an emulated POWER10 has
_COMPILER, _EMULATOR = "powerpc64le-linux-gnu-gcc", "qemu-ppc64le"
_FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno")
_PATIENCE_S = 1800.0
_COUNTER = "instructions"
_MACS_PER_OUTER_PRODUCT = {"float32": 16, "bfloat16": 32, "int8": 64}  # Power ISA 3.1: 4 x 4 sums of 1, 2 or 4 products
_CALLS = 11  # one more than ten, so that what one call costs is a difference
_REPEATS = 3
Reading = Callable[[], int]


@dataclass(frozen=True)
class Instructions:
    """What one row takes.

    Attributes:
        per_row: of the whole call, divided by its rows.
        outer_products_per_row: of the Matrix-Multiply Assist; None where the counter does not tell them apart.
        macs_per_row: multiply-adds of dense layers that a row needs; None where there are none.
    """

    what: str
    name: str
    isa: str
    dtype: native.Dtype
    rows: PositiveCount
    per_row: Positive
    outer_products_per_row: NotNegative | None = None
    macs_per_row: PositiveCount | None = None

    @property
    def share_of_ideal(self) -> float | None:
        """Outer products that the multiply-adds fill, of those taken; the rest is padding. None where none are."""
        if not self.outer_products_per_row or self.macs_per_row is None:
            return None
        return self.macs_per_row / _MACS_PER_OUTER_PRODUCT[self.dtype] / self.outer_products_per_row

    def title(self) -> str:
        """As a baseline names it."""
        return title(self.what, self.name, self.isa, self.dtype, self.rows)


@dataclass(frozen=True)
class KnownCounts:
    """Counts that are kept: a gate on the kernels, and what a projection onto a POWER10 rests on.

    Attributes:
        what: was counted, and how.
        compiler: of the program.
    """

    what: str
    compiler: str
    counts: tuple[Instructions, ...]


@cache
def known_counts() -> KnownCounts:
    """The counts of POWER10, as committed with the kernels."""
    return decode_json_file(KnownCounts, content_dir("sysconfig") / "instructions" / "power10.json")


def counted_here(pieces: Sequence[Piece], read: Reading | None = None) -> list[Instructions]:
    """By the counter of this processor, of calls from Python: ten of them, the least of three repetitions.

    Args:
        pieces: those whose number format has a kernel here.
        read: instructions of this thread so far; None for the processor's counter.

    Raises:
        MeasurementError: this processor does not count, or not for this process.
    """
    if read is not None:
        return [_here(piece, read) for piece in pieces]
    counters = Counters({_COUNTER: EVENTS[_COUNTER]})
    try:
        if _COUNTER not in counters.read():
            raise MeasurementError("The processor's counter of instructions is not available here.")
        return [_here(piece, lambda: counters.read()[_COUNTER][0]) for piece in pieces]
    finally:
        counters.close()


def _here(piece: Piece, read: Reading) -> Instructions:
    call = call_of(piece)

    def taken(calls: int) -> int:
        before = read()
        for _ in range(calls):
            call()
        return read() - before

    call()
    least = [min(taken(calls) for _ in range(_REPEATS)) for calls in (1, _CALLS)]
    per_call = (least[1] - least[0]) / (_CALLS - 1)
    return _of(piece, native.select().name, per_call)


def not_emulated() -> str | None:
    """Why no POWER10 can be emulated here; None where one can."""
    missing = [name for name in (_COMPILER, "gcc", _EMULATOR) if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    if sys.byteorder != "little" or not (kernels() / "count/count.c").exists():
        return "the sources of the kernels are not part of this installation"
    return None


def compiler() -> str:
    """Name and version of the compiler for Power."""
    return _run(_COMPILER, "--version").splitlines()[0]


def kernels() -> Path:
    """The folder of the kernels' sources; one that is not there in an installation without them."""
    try:
        return content_dir("kernels")
    except FileNotFoundError:
        return Path("kernels")


def counted_on_power10(pieces: Sequence[tuple[Piece, str]], program: Path | None = None) -> list[Instructions]:
    """On an emulated POWER10, each piece on the instruction set with it.

    Args:
        pieces: of formats that have a kernel there.
        program: the counting program where it is built already.

    Raises:
        MeasurementError: the program cannot be built, or the emulator takes no plugins.
    """
    with tempfile.TemporaryDirectory(prefix="lparbench-count-") as scratch:
        folder = Path(scratch)
        plugin = built_plugin(folder)
        program = program or linked(folder / "count", compiled(folder, [kernels() / "count/count.c"]))
        (folder / "pieces").write_bytes(encoded(pieces))
        counts = run_counted(program, plugin, folder / "pieces")
    if len(counts) != len(pieces):
        piece, isa = pieces[len(counts)]
        named = title(piece.what, piece.name, isa, piece.dtype, piece.rows)
        raise MeasurementError(f"{named}: the kernels refused it on the emulated POWER10.")
    return [_of(piece, isa, count["total"], count["ger"]) for (piece, isa), count in zip(pieces, counts, strict=True)]


def _of(piece: Piece, isa: str, instructions: float, outer_products: float | None = None) -> Instructions:
    return Instructions(
        piece.what,
        piece.name,
        isa,
        piece.dtype,
        piece.rows,
        instructions / piece.rows,
        None if outer_products is None else outer_products / piece.rows,
        piece.macs_per_row,
    )


def run_counted(program: Path, plugin: Path, pieces: Path | None = None) -> list[dict[str, int]]:
    """The counts of each piece in the file; without a file, those of the whole program.

    Environment and names are always the same: where they put the stack changes what copying takes.

    Raises:
        MeasurementError: the emulator takes no plugins, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="lparbench-count-") as scratch:
        shutil.copy(program, Path(scratch) / "count")
        arguments = [] if pieces is None else ["pieces"]
        if pieces is not None:
            (Path(scratch) / "pieces").symlink_to(pieces.resolve())
        emulator = (_EMULATOR, "-cpu", "power10", "-plugin", str(plugin), "-d", "plugin")
        done = _run(*emulator, "./count", *arguments, good=(0, 1), folder=Path(scratch))
    if not re.search("^whole ", done, re.MULTILINE):
        raise MeasurementError(f"{_EMULATOR} takes no plugins here: {(done.splitlines() or ['it printed nothing'])[0]}")
    what = "whole" if pieces is None else "piece"
    lines = [re.findall(r"(\w+)=(\d+)", line) for line in re.findall(rf"^{what} .*$", done, re.MULTILINE)]
    return [{name: int(value) for name, value in line} for line in lines]


def built_plugin(folder: Path) -> Path:
    """The plugin that counts."""
    made = folder / "plugin.so"
    _run("gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(kernels() / "count/qemu_plugin.c"), "-o", str(made))
    return made


def compiled(folder: Path, programs: Sequence[Path], *flags: str) -> list[Path]:
    """Objects of the kernels and of further sources, for Power."""
    sources = sorted([*kernels().glob("drivers/*.c"), *kernels().glob("isa/*.c"), *programs])

    def made(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        _run(_COMPILER, *_FLAGS, *flags, f"-I{kernels()}", "-c", str(source), "-o", str(target))
        return target

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(made, sources))


def linked(target: Path, objects: Sequence[Path]) -> Path:
    """A static program."""
    _run(_COMPILER, "-static", *map(str, objects), "-o", str(target), "-lm", "-lpthread")
    return target


def _run(*command: str, good: Sequence[int] = (0,), folder: Path | None = None) -> str:
    """What a command prints; in ``folder`` with an environment of its own, if given."""
    env = None if folder is None else {"PATH": os.defpath}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False, cwd=folder, env=env
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"{command[0]} failed: {error}.") from None
    if done.returncode not in good:
        raise MeasurementError(f"{command[0]} failed: {(done.stderr.splitlines() or ['it printed nothing'])[0]}")
    return done.stdout + done.stderr
