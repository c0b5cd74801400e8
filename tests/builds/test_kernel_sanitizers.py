"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, their threads under ThreadSanitizer; no Python.

Those for Intel's tiles run on a model of the tiles (amx_model.h), wherever the rest of their instructions are.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.linalg import native

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
CHECK = ROOT / "tests" / "power10" / "kernel_check.c"
SOURCES = sorted([*KERNELS.glob("drivers/*.c"), *KERNELS.glob("isa/*.c")])
MEMORY = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
RACES = ["-fsanitize=thread"]
TILES = [f"-I{Path(__file__).parent}", '-DLPB_AMX_MODEL="amx_model.h"']
SHARED = "-DLPB_SHARED_WORK=1"  # threads share every transformer, however small
FLAGS = ["-std=gnu11", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-fno-math-errno"]


def built(folder: Path, sources: list[Path], flags: list[str]) -> Path:
    """A program of these sources; skips where gcc or the sanitizer's library is not here."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run(["gcc", *flags, probe, "-o", folder / "probe"], capture_output=True).returncode:
        pytest.skip(f"gcc has no library for {flags[0]}")

    def compiled(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        command = ["gcc", *FLAGS, *flags, f"-I{KERNELS}", "-c", source, "-o", made]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    program = folder / "program"
    subprocess.run(["gcc", *flags, *objects, "-o", program, "-lm", "-lpthread"], check=True)
    return program


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    return built(tmp_path_factory.mktemp("sanitized"), [CHECK, *SOURCES], [*MEMORY, "-DLPB_TALLEST_TILE=4", SHARED])


def test_no_kernel_reads_or_writes_where_it_should_not(checker):
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run([checker, "150"], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert checked[-1] == "portable"
    if native.extension is not None and platform.machine() != "ppc64le":
        assert checked == [isa.name for isa in native.isas() if isa.supported]


def test_kernels_for_tiles_are_right_on_a_model_of_them(tmp_path):
    """Products, chains, plans and trainers in bfloat16 and int8; the model ends where the processor would fault."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if platform.machine() == "x86_64" else ""
    if "avx512_bf16" not in cpuinfo:
        pytest.skip("this processor has no AVX-512 BF16, by which the operands of tiles are rounded")
    program = built(tmp_path, [CHECK, *SOURCES], [*MEMORY, "-DLPB_TALLEST_TILE=4", SHARED, *TILES])
    done = subprocess.run([program, "60"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "avx512: right in 3 types"


CODES = """
#include "isa/amx_tiles.h"
void codes(void *x, void *y, amx_shapes *s);
void codes(void *x, void *y, amx_shapes *s) {
    AMX_SHAPES(s); AMX_ZERO(3); AMX_LOAD(5, x, 64); AMX_STORE(7, y, 128);
    AMX_BF16(2, 5, 7); AMX_INT8(1, 4, 6); AMX_RELEASE();
}
"""


def test_codes_of_tile_instructions_are_those_that_binutils_reads(tmp_path):
    if shutil.which("objdump") is None or platform.machine() != "x86_64":
        pytest.skip("needs objdump of an x86 machine")
    source = tmp_path / "codes.c"
    source.write_text(CODES)
    subprocess.run(["gcc", "-O2", f"-I{KERNELS}", "-c", source, "-o", tmp_path / "codes.o"], check=True)
    read = subprocess.run(["objdump", "-d", tmp_path / "codes.o"], capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t")[-1].split() for line in read.splitlines() if "\t" in line]
    assert [line for line in lines if line[0].startswith(("tile", "tdp", "ldtile"))] == [
        ["ldtilecfg", "(%rax)"],
        ["tilezero", "%tmm3"],
        ["tileloadd", "(%rax,%rcx,1),%tmm5"],
        ["tilestored", "%tmm7,(%rax,%rcx,1)"],
        ["tdpbf16ps", "%tmm7,%tmm5,%tmm2"],
        ["tdpbssd", "%tmm6,%tmm4,%tmm1"],
        ["tilerelease"],
    ]


def test_threads_do_not_race(tmp_path):
    """Drivers, pool and the portable kernels; instrumenting every instruction set would take a minute to compile."""
    portable = [KERNELS / "isa" / name for name in ("portable.c", "portable_int8.c")]
    sources = [Path(__file__).with_name("kernel_threads.c"), *KERNELS.glob("drivers/*.c"), *portable]
    program = built(tmp_path, sources, [*RACES, "-DLPB_TALLEST_TILE=2", SHARED, "-DLPB_PORTABLE_ONLY"])
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    fixed = ["setarch", "-R"]  # ThreadSanitizer cannot map its memory where addresses are random in too many bits
    prefix = fixed if shutil.which("setarch") and not subprocess.run([*fixed, "true"]).returncode else []
    done = subprocess.run([*prefix, program], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "same\n"
