"""Software found as files, libraries asked in a process of their own, and instructions found in their code."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness.platform import blas, elf, software
from harness.platform.sysroot import SysRoot

_COMPILER = shutil.which("cc") or shutil.which("gcc")
_needs_compiler = pytest.mark.skipif(_COMPILER is None, reason="no C compiler is installed")
_POWER_COMPILER = shutil.which("powerpc64le-linux-gnu-gcc")
_needs_power_compiler = pytest.mark.skipif(_POWER_COMPILER is None, reason="no ppc64le cross compiler is installed")

# Stands for OpenBLAS: the three functions that tell what it is.
_OPENBLAS = """
char *openblas_get_corename64_(void) { return "POWER10"; }
char *openblas_get_config64_(void) { return "OpenBLAS 0.3.26 DYNAMIC_ARCH NO_AFFINITY USE_OPENMP"; }
int openblas_get_parallel64_(void) { return 2; }
"""


def _library(source: str, path: Path, compiler: str, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    code = path.with_suffix(".c")
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", *options, "-o", str(path), str(code)], check=True)
    return path


@_needs_compiler
def test_a_library_tells_its_kernels_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert _COMPILER is not None
    library = _library(_OPENBLAS, tmp_path / "libopenblas.so", _COMPILER)
    answer = subprocess.run(
        [sys.executable, "-I", "-S", blas.__file__, str(library), str(tmp_path / "absent.so")],
        capture_output=True,
        text=True,
        check=True,
    )
    known, absent = json.loads(answer.stdout)
    assert known == {
        "name": "openblas",
        "path": str(library),
        "version": "0.3.26",
        "kernel": "POWER10",
        "threading": "openmp",
    }
    assert absent["path"].endswith("absent.so")
    assert "error" in absent


@_needs_compiler
def test_a_library_that_tells_nothing_is_named_by_its_file(tmp_path: Path) -> None:
    assert _COMPILER is not None
    silent = _library("int dgemm_(void) { return 0; }", tmp_path / "libblas.so.3", _COMPILER)
    assert blas.describe(str(silent)) == {
        "name": "reference BLAS",
        "path": str(silent),
        "version": None,
        "kernel": None,
        "threading": None,
    }


@_needs_compiler
def test_linked_libraries_are_read_from_the_file(tmp_path: Path) -> None:
    assert _COMPILER is not None
    _library(_OPENBLAS, tmp_path / "libopenblas.so.0", _COMPILER, "-Wl,-soname,libopenblas.so.0")
    user = _library(
        "int f(void) { return 1; }", tmp_path / "user.so", _COMPILER, "-Wl,--no-as-needed",
        str(tmp_path / "libopenblas.so.0"),
    )  # fmt: skip
    assert elf.needed(user) == ("libopenblas.so.0",)
    assert elf.needed(tmp_path / "user.c") == ()
    assert elf.needed(tmp_path / "absent") == ()
    cut = tmp_path / "cut.so"
    content = user.read_bytes()
    for length in (5, 60, 200, len(content) // 2):
        cut.write_bytes(content[:length])
        assert isinstance(elf.needed(cut), tuple)


@_needs_power_compiler
def test_mma_code_is_found_and_vector_code_is_not_taken_for_it(tmp_path: Path) -> None:
    assert _POWER_COMPILER is not None
    mma = """
    typedef vector unsigned char v;
    void f(__vector_quad *c, v *a, v *b) {
      __vector_quad q = *c;
      for (int i = 0; i < 32; i++) { STEPS }
      *c = q;
    }
    """.replace("STEPS", " ".join(f"__builtin_mma_xvf32gerpp(&q, a[i + {k}], b[i]);" for k in range(20)))
    vsx = """
    typedef vector float v;
    void f(v *c, v *a, v *b) { for (int i = 0; i < 4096; i++) c[i & 63] += a[i] * b[i]; }
    """
    with_mma = _library(mma, tmp_path / "mma.so", _POWER_COMPILER, "-O2", "-mcpu=power10")
    without = _library(vsx, tmp_path / "vsx.so", _POWER_COMPILER, "-O3", "-mcpu=power9")
    assert elf.holds_mma(with_mma) is True
    assert elf.holds_mma(without) is False


def test_mma_is_not_told_of_other_files(tmp_path: Path) -> None:
    assert elf.holds_mma(Path(sys.executable).resolve()) is None or os.uname().machine.startswith("ppc")
    (tmp_path / "text").write_text("no library")
    assert elf.holds_mma(tmp_path / "text") is None
    assert elf.holds_mma(tmp_path / "absent") is None


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages as an installer leaves them, found before the real ones."""
    site = tmp_path / "site-packages"
    files = {
        "torch/__init__.py": "raise RuntimeError('imported')",
        "torch/version.py": "__version__ = '2.6.0+openblas'\ncuda: Optional[str] = None\n",
        "torch/include/ATen/Config.h": "#define AT_MKL_ENABLED() 0\n#define AT_PARALLEL_OPENMP 1\n",
        "torch-2.6.0+openblas.dist-info/INSTALLER": "pip\n",
        "numpy/__init__.py": "raise RuntimeError('imported')",
        "numpy/__config__.py": textwrap.dedent(
            """
            CONFIG = {
                "Build Dependencies": {
                    "blas": {
                        "name": "openblas",
                        "version": "0.3.26",
                        "openblas configuration": r"OpenBLAS 0.3.26 POWER10",
                    },
                }
            }
            """
        ),
        "numpy-2.1.0.dist-info/INSTALLER": "conda\n",
        "sklearn/__init__.py": "",
        "scikit_learn-1.5.0.dist-info/METADATA": "",
    }
    for name, content in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    real = software.importlib.util.find_spec  # type: ignore[attr-defined]

    def find_spec(name: str) -> object:
        found = site / name / "__init__.py"
        if found.is_file():
            return software.importlib.util.spec_from_file_location(name, found)  # type: ignore[attr-defined]
        return None if name in ("onnxruntime", "scipy", "pandas", "onnx") else real(name)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    return site


@_needs_compiler
def test_packages_are_described_without_importing_them(site: Path) -> None:
    assert _COMPILER is not None
    library = _library(_OPENBLAS, site / "numpy.libs/libscipy_openblas64_-1.so", _COMPILER)
    facts = software.collect(SysRoot("/"))
    torch, numpy, sklearn = (facts.package(name) for name in ("torch", "numpy", "scikit-learn"))
    assert torch is not None
    assert (torch.version, torch.build, torch.origin) == ("2.6.0+openblas", "openblas", "pip")
    assert (torch.details["mkl"], torch.details["openmp"]) == ("0", "1")
    assert numpy is not None
    assert (numpy.version, numpy.origin) == ("2.1.0", "conda")
    assert (numpy.details["blas"], numpy.details["blas_build"]) == ("openblas", "OpenBLAS 0.3.26 POWER10")
    assert sklearn is not None
    assert (sklearn.version, sklearn.origin) == ("1.5.0", None)
    assert [(found.name, found.kernel, found.used_by, found.path) for found in facts.blas] == [
        ("openblas", "POWER10", "numpy", str(library))
    ]
    assert facts.package("onnxruntime") is None
    assert facts.environment["OMP_NUM_THREADS"] == "3"


def test_a_conda_build_is_named_with_its_channel(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = tmp_path / "prefix/conda-meta"
    meta.mkdir(parents=True)
    (meta / "broken.json").write_text("{")
    (meta / "numpy-broken.json").write_text("{")
    (meta / "numpy-2.1.0-py311.json").write_text(
        json.dumps({"name": "numpy", "channel": "rocketce", "build": "py311h_openblas"})
    )
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    numpy = software.collect(SysRoot("/")).package("numpy")
    assert numpy is not None
    assert (numpy.origin, numpy.build) == ("conda", "rocketce: py311h_openblas")


def test_libraries_that_give_no_answer_are_left_out(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = site / "numpy.libs/libopenblas.so"
    broken.parent.mkdir()
    broken.write_bytes(b"\x7fELF")
    assert software.collect(SysRoot("/")).blas == ()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert software.collect(SysRoot("/")).blas == ()


def test_a_stored_tree_has_no_software(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    assert software.collect(SysRoot(tmp_path)).packages == ()


def test_loaded_libraries_are_asked_in_the_process_itself() -> None:
    script = """
    import json, numpy
    from harness.decode import encode
    from harness.platform.software import loaded_software
    print(json.dumps(encode(loaded_software())))
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    facts = json.loads(answer.stdout)
    assert facts["torch"] is None  # not loaded, so not asked
    assert any(package["name"] == "numpy" for package in facts["packages"])
    names = {library["name"] for library in facts["blas"]}
    assert names, "NumPy is always linked with some BLAS"
    for library in facts["blas"]:
        if library["name"] == "openblas" and library["kernel"] is not None:
            assert library["threading"] in ("sequential", "pthreads", "openmp")


def test_library_names_that_are_linear_algebra() -> None:
    names = ("libopenblas.so.0", "libscipy_openblas64_-3a.so", "libblas.so.3", "libmkl_rt.so.2", "libessl.so")
    assert all(software._BLAS_NAME.search(name) for name in names)
    assert not any(software._BLAS_NAME.search(name) for name in ("libgomp.so.1", "libtorch_cpu.so", "libc.so.6"))


def test_elf_headers_of_either_byte_order(tmp_path: Path) -> None:
    big = tmp_path / "big.so"
    header = (
        b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HHIQQQIHHHHHH", 3, 21, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0)
    )
    big.write_bytes(header)
    assert elf.needed(big) == ()
    assert elf.holds_mma(big) is None  # only little-endian code is looked at
