"""The numerical software: found as files without importing it, or asked once it is loaded."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.platform import blas, elf
from harness.platform.facts import BlasLibrary, LoadedSoftware, OnnxRuntimeBuild, Package, SoftwareFacts, TorchBuild
from harness.platform.sysroot import SysRoot

# distribution -> import name
_PACKAGES = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "pandas": "pandas",
    "onnx": "onnx",
}
_WITH_BLAS = ("torch", "numpy", "scipy")
_BLAS_NAME = re.compile(r"lib[a-z0-9_]*(?:openblas|blas|blis|mkl_rt|essl)[^/]*\.so", re.IGNORECASE)
_ENVIRONMENT = re.compile(
    r"(?:OMP|OPENBLAS|MKL|BLIS|GOMP|KMP|NUMEXPR|VECLIB|TORCH|ATEN|ORT|DNNL|ONEDNN|GOTO)_[A-Z0-9_]+\Z|LD_PRELOAD\Z"
)
_ASK_TIMEOUT_S = 30.0  # loading takes well under a second, but a library must not hang the probe
_MMA_SCAN_BYTES = 64 << 20  # of the larger libtorch_cpu only a process that has it loaded anyway is asked


def collect(sysroot: SysRoot) -> SoftwareFacts:
    """What is installed here, without importing any of it; nothing for a stored tree."""
    if not sysroot.live:
        return SoftwareFacts()
    packages: list[Package] = []
    libraries: list[BlasLibrary] = []
    wanted: dict[str, str] = {}  # library -> the package it was found for
    for name, module in _PACKAGES.items():
        directory = _directory(module)
        if directory is None:
            continue
        packages.append(_package(name, directory))
        if name in _WITH_BLAS:
            for path in _blas_files(module, directory):
                wanted.setdefault(path, name)
            if name == "torch" and packages[-1].details.get("mkl") == "1":
                libraries.append(BlasLibrary("mkl", str(directory / "lib/libtorch_cpu.so"), None, None, None, name))
    libraries += _ask(wanted)
    return SoftwareFacts(
        python=platform.python_version(),
        packages=tuple(packages),
        blas=tuple(libraries),
        environment=_environment(),
        sources={"python": "sys", "packages": "package metadata", "blas": "libraries", "environment": "environ"},
    )


def _environment() -> dict[str, str]:
    return {key: value for key, value in sorted(os.environ.items()) if _ENVIRONMENT.match(key)}


def _directory(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _package(name: str, directory: Path) -> Package:
    metadata = _metadata(name, directory)
    version = metadata.name.split("-")[1] if metadata else None
    details = {"path": str(directory)}
    if name == "torch":
        details |= _torch_details(directory)
        version = details.pop("version", version)
    elif name == "numpy":
        details |= _numpy_details(directory)
    elif name == "onnxruntime":
        details |= _mma_detail(sorted(directory.glob("capi/onnxruntime_pybind11_state*.so")))
    origin, build = _origin(name, directory, metadata)
    local = (version or "").partition("+")[2]
    return Package(name, version, origin, build or local or None, details)


def _metadata(name: str, directory: Path) -> Path | None:
    """The ``.dist-info`` or ``.egg-info`` next to a package."""
    stem = name.replace("-", "[-_]")
    for suffix in ("dist-info", "egg-info"):
        matches = sorted(directory.parent.glob(f"{stem}-*.{suffix}"))
        if matches:
            return matches[0].with_suffix("")
    return None


def _origin(name: str, directory: Path, metadata: Path | None) -> tuple[str | None, str | None]:
    """Who installed a package, and the build where that is recorded: "conda" with "rocketce: py311_openblas_1"."""
    for record in sorted((Path(sys.prefix) / "conda-meta").glob(f"{name}-*.json")):
        try:
            described = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(described, dict) and described.get("name") in (name, f"py{name}"):
            return "conda", f"{described.get('channel', '')}: {described.get('build', '')}".strip(": ") or None
    if directory.parent.name == "dist-packages" and directory.parts[:3] == ("/", "usr", "lib"):
        return "debian", None
    if metadata is not None:
        try:
            installer = Path(f"{metadata}.dist-info", "INSTALLER").read_text(encoding="utf-8").strip()
        except OSError:
            return None, None
        return installer or None, None
    return None, None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _torch_details(directory: Path) -> dict[str, str]:
    """Build options: the wheel's own ``version.py`` and ``ATen/Config.h``."""
    version = _text(directory / "version.py")
    header = _text(directory / "include/ATen/Config.h")
    details: dict[str, str] = {}
    for key, pattern in (("version", r"__version__ = '([^']+)'"), ("cuda", r"^cuda\b[^=]*= '([^']+)'")):
        if match := re.search(pattern, version, re.MULTILINE):
            details[key] = match[1]
    for key, macro in (
        ("mkl", "AT_MKL_ENABLED"),
        ("onednn", "AT_MKLDNN_ENABLED"),
        ("openmp", "AT_PARALLEL_OPENMP"),
        ("blas", "AT_BUILD_WITH_BLAS"),
        ("lapack", "AT_BUILD_WITH_LAPACK"),
    ):
        if match := re.search(rf"#define {macro}(?:\(\))?\s+([01])", header):
            details[key] = match[1]
    return details


def _numpy_details(directory: Path) -> dict[str, str]:
    """The BLAS that NumPy was built with, out of its ``__config__.py``."""
    text = _text(directory / "__config__.py")
    block = re.search(r'"blas":\s*\{(.*?)\n\s*\}', text, re.DOTALL)
    details: dict[str, str] = {}
    for key, name in (("blas", "name"), ("blas_version", "version"), ("blas_build", "openblas configuration")):
        if block and (match := re.search(rf'"{name}":\s*r?"([^"]*)"', block[1])):
            details[key] = match[1]
    return details


def _mma_detail(files: Sequence[Path]) -> dict[str, str]:
    """Whether a Power library holds MMA code at all; empty elsewhere and where the file is too large to read now."""
    if not platform.machine().startswith("ppc64"):
        return {}
    for path in files:
        if path.stat().st_size <= _MMA_SCAN_BYTES:
            held = elf.holds_mma(path)
            return {} if held is None else {"mma_instructions": "present" if held else "absent"}
    return {}


def _blas_files(module: str, directory: Path) -> Iterable[str]:
    """Libraries a package brings, else the names it is linked with, which the loader resolves."""
    brought = [
        path
        for folder in (directory.parent / f"{module}.libs", directory / "lib", directory / ".libs")
        for path in sorted(folder.glob("*.so*"))
        if _BLAS_NAME.search(path.name)
    ]
    if brought:
        return [str(path) for path in brought]
    extensions = {
        "torch": ("lib/libtorch_cpu.so",),
        "numpy": ("_core/_multiarray_umath*.so", "core/_multiarray_umath*.so"),
        "scipy": ("linalg/_fblas*.so",),
    }
    names: dict[str, None] = {}
    for pattern in extensions.get(module, ()):
        for path in sorted(directory.glob(pattern)):
            names.update({name: None for name in elf.needed(path) if _BLAS_NAME.search(name)})
    return names


def _ask(wanted: dict[str, str]) -> list[BlasLibrary]:
    """What each library says of itself, in a process of its own."""
    if not wanted:
        return []
    command = [sys.executable, "-I", "-S", str(Path(blas.__file__)), *wanted]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_ASK_TIMEOUT_S, env=environment, check=True)
        described = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # not known; the packages are listed all the same
    return [_library(item, wanted[item["path"]]) for item in described if "error" not in item]


def _library(described: dict[str, Any], used_by: str) -> BlasLibrary:
    return BlasLibrary(
        name=described["name"],
        path=described["path"],
        version=described["version"],
        kernel=described["kernel"],
        threading=described["threading"],
        used_by=used_by,
    )


def loaded_software() -> LoadedSoftware:
    """The software of this process, with what only the loaded libraries can tell.

    Call it where torch and ONNX Runtime are loaded already.
    """
    facts = collect(SysRoot())
    mapped = _mapped_libraries()
    libraries = list(_loaded_blas(mapped))
    torch = _torch_build()
    if torch is not None and sys.modules["torch"].backends.mkl.is_available():
        version = re.search(r"Math Kernel Library Version (\S+)", torch.config)
        libraries.append(BlasLibrary("mkl", None, version[1] if version else None, None, None, "torch"))
    mma = {}
    if platform.machine().startswith("ppc64"):
        mma = {
            path: elf.holds_mma(Path(path))
            for path in mapped
            if re.search(r"libtorch_cpu|onnxruntime_pybind11_state|blas", Path(path).name)
        }
    return LoadedSoftware(
        facts.python,
        facts.packages,
        tuple(libraries),
        facts.environment,
        facts.sources,
        torch,
        _onnxruntime_build(),
        mma,
    )


def _torch_build() -> TorchBuild | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    capability = getattr(torch.backends.cpu, "get_cpu_capability", None)
    return TorchBuild(
        torch.__config__.show(), torch.__config__.parallel_info(), capability() if capability is not None else None
    )


def _onnxruntime_build() -> OnnxRuntimeBuild | None:
    runtime = sys.modules.get("onnxruntime")
    if runtime is None:
        return None
    build_info = getattr(runtime, "get_build_info", None)
    return OnnxRuntimeBuild(build_info() if build_info is not None else None, tuple(runtime.get_available_providers()))


def _mapped_libraries() -> tuple[str, ...]:
    """Shared libraries in the address space of this process."""
    paths = {line.split(None, 5)[5].strip() for line in _text(Path("/proc/self/maps")).splitlines() if ".so" in line}
    return tuple(sorted(path for path in paths if path.startswith("/")))


def _loaded_blas(mapped: Iterable[str]) -> Iterable[BlasLibrary]:
    for path in mapped:
        if _BLAS_NAME.search(Path(path).name):
            try:
                described = blas.describe(path)
            except OSError:
                continue
            yield _library(described, _owner(path))


def _owner(path: str) -> str:
    match = re.search(r"/(?:site|dist)-packages/([A-Za-z0-9_]+)", path)
    return match[1] if match else "system"
