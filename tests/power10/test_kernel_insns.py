"""The Power kernels under emulation: right on every processor, and on POWER10 as few instructions as promised.

Instructions are counted by a QEMU plugin, of all pieces of work in one emulated process. Counts of a static program are
exact and repeatable, so these gates have no tolerance; no time is taken from an emulated run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness.decode import encode
from harness.detectors.published import counted_pieces
from harness.linalg import native
from harness.roofline import instructions
from harness.roofline.instructions import POWER10, Instructions, KnownCounts, counted_on_power10, known_counts
from harness.roofline.pieces import Piece, product

HERE = Path(__file__).resolve().parent
COMPILER, EMULATOR, OBJDUMP = "powerpc64le-linux-gnu-gcc", "qemu-ppc64le", "powerpc64le-linux-gnu-objdump"

# instructions per outer product, packing and loops included, for square products of n
MOST_INSTRUCTIONS = {8: 6.0, 16: 3.0, 32: 2.5, 64: 2.3}

# Instructions per row of products, of networks scored and trained, and of every detector that scores natively: exact
# counts of a compiler, committed with the code. Written anew by: .venv/bin/python tests/power10/test_kernel_insns.py
FIGURES = HERE.parents[1] / "sysconfig" / "instructions" / "power10.json"
BASELINE = {count.title(): count for count in known_counts().counts} if FIGURES.exists() else {}
GROWTH = 1.01


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The checking and the counting program, static, from one compilation per source file at a level."""
    need(COMPILER, EMULATOR)

    @cache
    def made(level: str) -> tuple[Path, Path]:
        return programs(tmp_path_factory.mktemp("power"), level)

    return made


def programs(folder: Path, level: str) -> tuple[Path, Path]:
    """kernel_check and count."""
    own = [HERE / "kernel_check.c", instructions.kernels() / "count/count.c"]
    objects = instructions.compiled(folder, own, level)
    kernels = [path for path in objects if path.stem not in ("kernel_check", "count")]
    check, count = (
        instructions.linked(folder / name, [*kernels, folder / f"{name}.o"]) for name in ("kernel_check", "count")
    )
    return check, count


@pytest.fixture(scope="module", params=["-O3", "-O2"])
def program(request, build):
    return build(request.param)[0]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    need("gcc", EMULATOR)
    made = instructions.built_plugin(tmp_path_factory.mktemp("plugin"))
    probe = subprocess.run([EMULATOR, "-plugin", made, "-h"], capture_output=True, text=True)
    if "plugin" in probe.stderr.lower() and probe.returncode:
        pytest.skip(f"this {EMULATOR} takes no plugins: {probe.stderr.splitlines()[0]}")
    return made


def square(n: int, dtype: native.Dtype) -> Piece:
    return product(n, n, n, dtype, max(4, 32768 // n**2))


SQUARES = [(square(n, "float32"), "mma") for n in MOST_INSTRUCTIONS]
LOWER = [(square(32, dtype), "mma") for dtype in ("bfloat16", "int8")]
OTHERS = [(square(16, dtype), "vsx-power9") for dtype in native.DTYPES]


@pytest.fixture(scope="module", params=["-O3", "-O2"])
def squares(request, build, plugin, tmp_path_factory):
    """Instructions of one product by class, by n, number format and instruction set."""
    pieces = [*SQUARES, *LOWER, *OTHERS]
    file = tmp_path_factory.mktemp("pieces") / "pieces"
    file.write_bytes(instructions.encoded(pieces))
    counts = instructions.run_counted(build(request.param)[1], plugin, file)
    return {
        (piece.work.n, piece.dtype, isa): {name: value / piece.work.batch for name, value in count.items()}
        for (piece, isa), count in zip(pieces, counts, strict=False)
    }


@pytest.fixture(scope="module")
def counted(build, plugin) -> dict[str, Instructions]:
    """Every count of the baseline, taken now, in one emulated process."""
    pieces = [(piece, isa) for piece in counted_pieces() for isa in POWER10]
    return {count.title(): count for count in counted_on_power10(pieces, build("-O3")[1])}


@pytest.mark.parametrize(("cpu", "chosen"), [("power8", "vsx-power8"), ("power9", "vsx-power9"), ("power10", "mma")])
def test_one_binary_is_right_on_every_processor(program, cpu, chosen):
    assert run(EMULATOR, "-cpu", cpu, program, "isa").stdout.strip() == chosen
    lines = run(EMULATOR, "-cpu", cpu, program, "20").stdout.splitlines()
    ordered = ["mma", "vsx-power9", "vsx-power8", "portable"]
    assert [line.split(":")[0] for line in lines] == ordered[ordered.index(chosen) :]


@pytest.mark.parametrize("n", MOST_INSTRUCTIONS)
def test_products_take_few_instructions(squares, n):
    taken = squares[n, "float32", "mma"]
    assert taken["ger"] == n**3 / 16
    assert taken["acc_move"] == (n / 4) ** 2, "an accumulator moved elsewhere than at the end of its tile"
    assert taken["total"] / taken["ger"] <= MOST_INSTRUCTIONS[n]


@pytest.mark.parametrize(("dtype", "entries"), [("bfloat16", 2), ("int8", 4)])
def test_lower_precision_takes_fewer_outer_products(squares, dtype, entries):
    taken = squares[32, dtype, "mma"]
    assert taken["ger"] == 32**3 / 16 / entries
    assert taken["acc_move"] == (32 / 4) ** 2


def test_only_the_mma_kernel_multiplies_by_outer_products(squares):
    assert all(squares[16, dtype, "vsx-power9"]["ger"] == 0 for dtype in native.DTYPES)


def test_every_count_has_its_baseline(counted):
    assert counted.keys() == BASELINE.keys(), f"write {FIGURES} anew"


@pytest.mark.parametrize("row", BASELINE)
def test_a_row_takes_no_more_instructions_than_the_baseline(counted, row, transcript):
    """A gate on the speed of Power's kernels without Power hardware: whoever makes one longer changes its figure."""
    taken, before = counted[row].per_row, BASELINE[row].per_row
    transcript.append(f"POWER10, qemu-user: {row}: {taken:.0f} instructions per row, {before:.0f} in the baseline")
    assert not grown(taken, before), f"{row}: {taken:.1f} instructions per row, {before:.1f} in {FIGURES}"


def grown(taken: float, before: float) -> bool:
    return taken > GROWTH * before


def test_the_gate_can_fail(counted):
    """One instruction in fifty more, of any count."""
    assert all(grown(1.02 * counted[row].per_row, counted[row].per_row) for row in counted)


def test_counts_repeat_whatever_is_counted_before(counted, build):
    again = [(piece, "mma") for piece in counted_pieces() if piece.name in ("122-128-64-1", "8x8x8")]
    for count in counted_on_power10(list(reversed(again)), build("-O3")[1]):
        assert count.per_row == counted[count.title()].per_row


def test_the_counter_knows_what_it_counts(plugin, tmp_path):
    """A program of known instructions, so that the gates above cannot pass for want of counting."""
    need(COMPILER)
    source = tmp_path / "known.s"
    lines = ["xvf32ger 0,34,35", "xvf32gerpp 0,34,35", "pmxvf32gerpp 0,34,35,15,15", "xvi8ger4pp 1,34,35"]
    lines += ["xxsetaccz 2", "xxmfacc 0", "xxmtacc 0", "lxv 34,0(1)", "lxvp 36,0(1)", "lxvwsx 34,0,1"]
    lines += ["stxv 34,-64(1)", "stxvp 36,-96(1)", "fadds 1,2,3", "fcfids 1,2", "li 0,1", "li 3,0", "sc"]
    source.write_text(".abiversion 2\n.machine power10\n.globl _start\n_start:\n" + "\n".join(lines) + "\n")
    run(COMPILER, "-nostdlib", "-static", source, "-o", tmp_path / "known")
    (found,) = instructions.run_counted(tmp_path / "known", plugin)
    padding = found.pop("total") - len(lines)  # the assembler may align a prefixed instruction
    assert 0 <= padding <= 1
    assert found == {"ger": 4, "acc_move": 2, "load": 3, "store": 2}


def inner_loop(listing: str, function: str) -> list[str]:
    """The instructions of the counted loop with the most outer products, in the assembler's plain notation."""
    body = listing.split(f"<{function}>:\n")[1].split("\n\n")[0].splitlines()
    addresses = [line.split(":")[0].strip() for line in body]
    loops = []
    for end, line in enumerate(body):
        branch = re.search(r"\tbdnz\s+([0-9a-f]+) ", line)
        if branch:
            loops.append(body[addresses.index(branch[1]) : end])
    best = max(loops, key=lambda loop: sum("ger" in line for line in loop))
    plain = (re.sub(r"\b(?:a|vs|r|v|f)(\d+)", r"\1", line.split("\t", 1)[1]) for line in best)
    return [line.replace("dmxvf", "xvf") for line in plain]  # a newer name of the same instruction


def test_the_inner_loop_is_near_its_bound_in_an_independent_model(program):
    """LLVM's model of one half of a POWER10 core: two outer products a cycle, four cycles from one to the next."""
    analysers = [name for name in ("llvm-mca", "llvm-mca-14", "llvm-mca-16", "llvm-mca-19") if shutil.which(name)]
    need(OBJDUMP, *(analysers[:1] or ["llvm-mca"]))
    listing = run(OBJDUMP, "-d", "-M", "power10", "--no-show-raw-insn", program).stdout
    loop = inner_loop(listing, "mma_plain_8x16")
    products = sum("ger" in line for line in loop)
    assert products == 32
    assert len(loop) <= 1.5 * products
    command = [analysers[0], "-mtriple=powerpc64le-unknown-linux-gnu", "-mcpu=pwr10", "-iterations=200"]
    report = run(*command, input="\n".join(loop) + "\n").stdout
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", report)[1]) / 200
    bound = float(re.search(r"Block RThroughput:\s+([\d.]+)", report)[1])
    assert bound == products / 2
    assert cycles <= 1.25 * bound


def write_figures(folder: Path) -> None:
    """Count all figures of the baseline anew."""
    pieces = [(piece, isa) for piece in counted_pieces() for isa in POWER10]
    counts = [
        replace(
            count, per_row=round(count.per_row, 3), outer_products_per_row=round(count.outer_products_per_row or 0, 3)
        )
        for count in counted_on_power10(pieces, programs(folder, "-O3")[1])
    ]
    what = "Instructions of a POWER10 per row, whole calls of one thread; detectors in harness/detectors/published.py."
    document = encode(KnownCounts(what, instructions.compiler(), tuple(counts)))
    lines = ",\n".join(f"  {json.dumps(count)}" for count in document.pop("counts"))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(f'{json.dumps(document, indent=1)[:-2]},\n "counts": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    with tempfile.TemporaryDirectory() as scratch:
        write_figures(Path(scratch))
