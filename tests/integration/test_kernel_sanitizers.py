"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, without Python in between."""

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
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("sanitized")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run(["gcc", *SANITIZERS, probe, "-o", folder / "probe"], capture_output=True).returncode:
        pytest.skip("gcc has no sanitizer libraries")

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        flags = ["-std=gnu11", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-fno-math-errno", "-DLPB_TALLEST_TILE=4"]
        done = subprocess.run(
            ["gcc", *flags, *SANITIZERS, f"-I{KERNELS}", "-c", source, "-o", made], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return made

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [CHECK, *SOURCES]))
    program = folder / "kernel_check"
    subprocess.run(["gcc", *SANITIZERS, *objects, "-o", program, "-lm", "-lpthread"], check=True)
    return program


def test_no_kernel_reads_or_writes_where_it_should_not(checker):
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run([checker, "150"], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert checked[-1] == "portable"
    if native.extension is not None and platform.machine() != "ppc64le":
        assert checked == [isa.name for isa in native.isas() if isa.supported]
