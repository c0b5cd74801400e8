"""The Power kernels under emulation: right on every processor, and on POWER10 as few instructions as promised.

Instructions are counted by insn_count.c, a QEMU plugin. Counts of a static program are exact and repeatable, so these
gates have no tolerance; no time is taken from an emulated run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"
COMPILER, EMULATOR, OBJDUMP = "powerpc64le-linux-gnu-gcc", "qemu-ppc64le", "powerpc64le-linux-gnu-objdump"
SOURCES = sorted([*KERNELS.glob("drivers/*.c"), *KERNELS.glob("isa/*.c")])

# instructions per outer product, packing and loops included, for square products of n
MOST_INSTRUCTIONS = {8: 6.0, 16: 3.0, 32: 2.5, 64: 2.3}

# Instructions per row of a detector's network, scored or trained: exact counts of a compiler, committed with the code.
# Written anew by: .venv/bin/python tests/power10/test_kernel_insns.py
FIGURES = HERE / "instructions.json"
BASELINE: dict[str, float] = json.loads(FIGURES.read_text())["instructions_per_row"]
GROWTH = 1.01
ROWS = 64
NETWORKS, ISAS = ("mlp", "autoencoder"), ("mma", "vsx-power9")

DTYPES = ("float32", "bfloat16", "int8")  # in the order of drivers/lparbench_kernels.h


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
    """The checking program, static, from one compilation per source file at a level."""
    need(COMPILER, EMULATOR)

    @cache
    def made(level: str) -> Path:
        return compiled(tmp_path_factory.mktemp("power"), level)

    return made


@pytest.fixture(scope="module", params=["-O3", "-O2"])
def program(request, build):
    return build(request.param)


@pytest.fixture(scope="module")
def optimised(build):
    """At the level at which the product is built."""
    return build("-O3")


def compiled(folder: Path, level: str) -> Path:
    def compile_source(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        run(COMPILER, "-std=gnu11", level, "-fno-math-errno", f"-I{KERNELS}", "-c", source, "-o", made)
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_source, [HERE / "kernel_check.c", *SOURCES]))
    run(COMPILER, "-static", *objects, "-o", folder / "kernel_check", "-lm", "-lpthread")
    return folder / "kernel_check"


def counter(folder: Path) -> Path:
    """The counting plugin."""
    made = folder / "insn_count.so"
    run("gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", HERE / "insn_count.c", "-o", made)
    return made


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    need("gcc", EMULATOR)
    made = counter(tmp_path_factory.mktemp("plugin"))
    probe = subprocess.run([EMULATOR, "-plugin", made, "-h"], capture_output=True, text=True)
    if "plugin" in probe.stderr.lower() and probe.returncode:
        pytest.skip(f"this {EMULATOR} takes no plugins: {probe.stderr.splitlines()[0]}")
    return made


def counted(
    program: Path, plugin: Path, n: int | str, batch: int, isa: str, dtype: str = "float32", what: str = "count"
) -> dict[str, float]:
    """Instructions of one item of a batched product, or of one row of a network, by class: eleven calls less one."""

    def total(calls: int) -> dict[str, int]:
        command = [EMULATOR, "-cpu", "power10", "-plugin", plugin, "-d", "plugin"]
        done = run(*command, program, what, str(n), str(batch), str(calls), isa, str(DTYPES.index(dtype)))
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout + done.stderr)}

    single, eleven = total(1), total(11)
    assert set(single) == {"total", "ger", "acc_move", "load", "store"}
    return {name: (eleven[name] - single[name]) / 10 / batch for name in single}


@pytest.mark.parametrize(("cpu", "chosen"), [("power8", "vsx-power8"), ("power9", "vsx-power9"), ("power10", "mma")])
def test_one_binary_is_right_on_every_processor(program, cpu, chosen):
    assert run(EMULATOR, "-cpu", cpu, program, "isa").stdout.strip() == chosen
    lines = run(EMULATOR, "-cpu", cpu, program, "20").stdout.splitlines()
    ordered = ["mma", "vsx-power9", "vsx-power8", "portable"]
    assert [line.split(":")[0] for line in lines] == ordered[ordered.index(chosen) :]


@pytest.mark.parametrize("n", MOST_INSTRUCTIONS)
def test_products_take_few_instructions(program, plugin, n):
    found = counted(program, plugin, n, max(4, 32768 // n**2), "mma")
    assert found["ger"] == n**3 / 16
    assert found["acc_move"] == (n / 4) ** 2, "an accumulator moved elsewhere than at the end of its tile"
    assert found["total"] / found["ger"] <= MOST_INSTRUCTIONS[n]


@pytest.mark.parametrize(("dtype", "entries"), [("bfloat16", 2), ("int8", 4)])
def test_lower_precision_takes_fewer_outer_products(program, plugin, dtype, entries):
    found = counted(program, plugin, 32, 4, "mma", dtype)
    assert found["ger"] == 32**3 / 16 / entries
    assert found["acc_move"] == (32 / 4) ** 2


def test_only_the_mma_kernel_multiplies_by_outer_products(program, plugin):
    assert all(counted(program, plugin, 16, 8, "vsx-power9", dtype)["ger"] == 0 for dtype in DTYPES)


@pytest.mark.parametrize("row", BASELINE)
def test_a_row_takes_no_more_instructions_than_the_baseline(optimised, plugin, row, transcript):
    """A gate on the speed of Power's kernels without Power hardware: whoever makes one longer changes its figure."""
    what, network, isa, dtype = row.split()
    taken = counted(optimised, plugin, network, ROWS, isa, dtype, what)["total"]
    transcript.append(
        f"POWER10, qemu-user: {row}: {taken:.0f} instructions per row, {BASELINE[row]:.0f} in the baseline"
    )
    assert taken <= GROWTH * BASELINE[row], f"{row}: {taken:.1f} instructions per row, {BASELINE[row]:.1f} in {FIGURES}"


def test_the_counter_knows_what_it_counts(plugin, tmp_path):
    """A program of known instructions, so that the gates above cannot pass for want of counting."""
    need(COMPILER)
    source = tmp_path / "known.s"
    lines = ["xvf32ger 0,34,35", "xvf32gerpp 0,34,35", "pmxvf32gerpp 0,34,35,15,15", "xvi8ger4pp 1,34,35"]
    lines += ["xxsetaccz 2", "xxmfacc 0", "xxmtacc 0", "lxv 34,0(1)", "lxvp 36,0(1)", "lxvwsx 34,0,1"]
    lines += ["stxv 34,-64(1)", "stxvp 36,-96(1)", "fadds 1,2,3", "fcfids 1,2", "li 0,1", "li 3,0", "sc"]
    source.write_text(".abiversion 2\n.machine power10\n.globl _start\n_start:\n" + "\n".join(lines) + "\n")
    run(COMPILER, "-nostdlib", "-static", source, "-o", tmp_path / "known")
    done = run(EMULATOR, "-cpu", "power10", "-plugin", plugin, "-d", "plugin", tmp_path / "known")
    found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout + done.stderr)}
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
    program, plugin = compiled(folder, "-O3"), counter(folder)
    rows = [("score", network, isa, dtype) for network in NETWORKS for isa in ISAS for dtype in DTYPES]
    rows += [("train", network, isa, "float32") for network in NETWORKS for isa in ISAS]
    figures = {" ".join(row): counted(program, plugin, row[1], ROWS, row[2], row[3], row[0])["total"] for row in rows}
    document = {
        "what": f"Instructions of a POWER10 per row, in calls of {ROWS} rows; networks in kernel_check.c.",
        "compiler": run(COMPILER, "--version").stdout.splitlines()[0],
        "instructions_per_row": figures,
    }
    FIGURES.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_figures(Path(scratch))
