"""Roots of a Debian suite, of any architecture, unpacked from packages and kept: nothing is installed or configured.

apt resolves the packages and checks every signature and sum, with a state of its own; maintainer scripts never run.
Whoever needs such a root to test may be without root or a network: :class:`Unavailable`. Where the environment
promises both (``LPARBENCH_EMULATION=required``, set by .ci/run) a test that is skipped has failed.

Only the standard library is used, so that any Python >= 3.10 on a fresh machine can run it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
LATER_SUITE = "forky"  # has what the mirror of SUITE lists and does not hold
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
UNNEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons", "usr/share/lintian")
RECIPE = Path(__file__)  # part of every recipe that unpacks packages
PROMISE = "LPARBENCH_EMULATION"


class Unavailable(Exception):  # noqa: N818 - a reason to skip, not an error
    """An emulated machine cannot be had here; the message says why."""


def promised() -> bool:
    """Whether this environment promises root and packages, so that nothing may be skipped for want of them."""
    return os.environ.get(PROMISE) == "required"


@contextmanager
def cached(folder: Path, sources: Sequence[Path], *rest: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """A folder that ``build`` fills, built unless one of the same recipe is there; kept as it is meanwhile.

    Args:
        folder: where it is, or is to be.
        sources: files of code that the recipe depends on.
        rest: whatever else it depends on.
        build: fills an empty folder.
    """
    content = [path.read_bytes() for path in sources]
    recipe = hashlib.sha256(b"\0".join([*content, *(text.encode() for text in rest)])).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    stamp, partial = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("stamp", "partial"))

    def current() -> bool:
        return folder.is_dir() and stamp.is_file() and stamp.read_text() == recipe

    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not current():
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for other users of the old one
            if not current():
                stamp.unlink(missing_ok=True)
                for old in (folder, partial):
                    if old.exists():
                        shutil.rmtree(old)
                partial.mkdir()
                build(partial)
                partial.rename(folder)
                stamp.write_text(recipe)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder


def install_host_tools(tools: Mapping[str, Sequence[str]]) -> None:
    """Install the packages of the programs that this machine lacks.

    Raises:
        Unavailable: they cannot be installed.
    """
    missing = [package for tool, packages in tools.items() if shutil.which(tool) is None for package in packages]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} missing, and there is no apt-get to install them with")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", *missing]):
        done = _run("apt-get", *argv, env=env)
        if done.returncode != 0:
            raise Unavailable(f"cannot install {', '.join(missing)}: {last_line(done.stderr)}")


def native_architecture() -> str:
    """This machine's, as Debian names it."""
    return _run("dpkg", "--print-architecture").stdout.strip()


@dataclass(frozen=True)
class Archive:
    """The packages of one architecture, by apt with its state below ``scratch``.

    Use :func:`archive`.
    """

    architecture: str
    scratch: Path

    def unpack(self, target: Path, packages: Sequence[str]) -> None:
        """Fetch what apt resolves for ``packages`` and unpack it.

        A mirror in the middle of an update lists packages that it does not hold, for days. Those come from the next
        suite: nothing is configured here, and what is newer keeps the interfaces of what it replaces.

        Raises:
            Unavailable: no mirror can be reached.
            RuntimeError: the mirror was reached, but what it lists could not be fetched or unpacked.
        """
        resolved = self._apt("install", "-y", "-qq", "--print-uris", *packages)
        wanted = {line.split()[1].partition("_")[0] for line in resolved.stdout.splitlines() if line.startswith("'")}
        if not wanted:
            reason = last_line(resolved.stderr)
            raise Unavailable(f"apt cannot resolve the packages of {SUITE} for {self.architecture}: {reason}")
        debs = self._fetched(wanted)
        missing = wanted - set(debs)
        if missing:
            debs |= self._fetched({f"{name}/{LATER_SUITE}" for name in missing})
        if lacking := sorted(wanted - set(debs)):
            raise RuntimeError(f"{SUITE} and {LATER_SUITE} list what they do not hold: {', '.join(lacking)}")
        for name in ("bin", "lib", "lib64", "sbin"):  # links that base-files makes when it is configured
            (target / "usr" / name).mkdir(parents=True)
            (target / name).symlink_to(f"usr/{name}")
        for _, deb in sorted(debs.items()):
            _extract(deb, target, *(f"--exclude=./{name}/*" for name in UNNEEDED))

    def unpack_kernel(self, target: Path, flavour: str, modules: Sequence[str]) -> None:
        """The newest kernel of a flavour that the mirror holds, of the suite's series where there is one.

        Its index may name newer ones than it holds, for which it asks for another name: ``boot/vmlinux-*`` and the
        modules named come from the first that can be fetched.

        Raises:
            RuntimeError: there is none.
        """
        named = re.compile(rf"linux-image-([0-9]+\.[0-9]+)\.([0-9]+)\+\S*-{re.escape(flavour)}")
        listed = self._apt("pkgnames", "linux-image-", tool="apt-cache").stdout
        depends = named.search(self._apt("depends", f"linux-image-{flavour}", tool="apt-cache").stdout)
        kernels = [match for line in listed.splitlines() if (match := named.fullmatch(line))]
        series = depends[1] if depends else None
        numbers = lambda match: [int(part) for part in (*match[1].split("."), match[2])]  # noqa: E731
        for match in sorted(kernels, key=lambda match: (match[1] == series, numbers(match)), reverse=True):
            for deb in self._fetched({match[0]}).values():
                wanted = ["./boot/vmlinu[xz]-*", *(f"*/kernel/{name}.ko*" for name in modules)]
                _extract(deb, target, "--wildcards", *wanted, missing=True)
            if list((target / "boot").glob(f"vmlinu?-*-{flavour}")):
                return
        raise RuntimeError(f"no kernel {flavour} of {[match[0] for match in kernels]} can be fetched")

    def unpack_first(self, target: Path, names: Sequence[str]) -> None:
        """The first of several packages that the mirror holds, of this suite or of this machine's own.

        Raises:
            RuntimeError: it holds none of them.
        """
        for name in names:
            for deb in (*self._fetched({name}).values(), *self._fetched({name}, own=True).values()):
                _extract(deb, target)
                return
        raise RuntimeError(f"none of these packages can be fetched: {', '.join(names)}")

    def _fetched(self, names: set[str], *, own: bool = False) -> dict[str, Path]:
        """The packages that the mirror holds, by name; ``own``: of the release that this machine runs."""
        debs = self.scratch / "debs"
        if own:
            _run("apt-get", "download", "-qq", *sorted(names), cwd=debs)
        else:
            self._apt("download", "-qq", *sorted(names), cwd=debs)
        wanted = {name.partition("/")[0] for name in names}
        return {name: deb for deb in debs.iterdir() if (name := deb.name.partition("_")[0]) in wanted}

    def _apt(self, *argv: str, tool: str = "apt-get", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(self.scratch / "apt.conf")}
        return _run(tool, *argv, env=env, cwd=cwd)


@contextmanager
def archive(architecture: str) -> Iterator[Archive]:
    """apt with a state of its own: this machine's sources, lists and packages are not touched.

    Raises:
        Unavailable: this machine's apt knows no mirror.
    """
    with tempfile.TemporaryDirectory(prefix="lparbench-apt-") as folder:
        scratch = Path(folder)
        _configure(scratch, architecture)
        env = {**os.environ, "LC_ALL": "C", "APT_CONFIG": str(scratch / "apt.conf")}
        _run("apt-get", "update", "-qq", env=env)  # what could not be had shows when packages are resolved
        yield Archive(architecture, scratch)


def _configure(scratch: Path, architecture: str) -> None:
    for name in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "debs"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    mirror = _mirror()
    sources = (f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in (SUITE, LATER_SUITE))
    (scratch / "etc/sources.list").write_text("".join(sources))
    preferences = f"Package: *\nPin: release n={LATER_SUITE}\nPin-Priority: 50\n"  # only when it is asked for by name
    (scratch / "etc/preferences.d/later").write_text(preferences)
    settings = {
        "Dir::Etc": scratch / "etc",
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::Check-Valid-Until": "false",  # a mirror that stands still is still signed
    }
    (scratch / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))


def _mirror() -> str:
    """The Debian mirror this machine's apt is set up for, whose signatures it can check."""
    listed = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Origin: Debian")
    # "bookworm" but not "bookworm-security", which is another archive
    plain = sorted(
        {uri for uri, _, release in (line.partition(" ") for line in listed.stdout.splitlines()) if "-" not in release}
    )
    if not plain:
        raise Unavailable("apt of this machine knows no mirror of Debian")
    return plain[0]


def _extract(deb: Path, target: Path, *options: str, missing: bool = False) -> None:
    """``missing``: members that are named may not be there."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as contents:
        tar = ["tar", "-x", "-C", target, "--keep-directory-symlink", *options]
        unpacked = subprocess.run(tar, stdin=contents.stdout, capture_output=True, text=True, check=False)
    if contents.returncode or (unpacked.returncode and not missing):
        raise RuntimeError(f"cannot unpack {deb.name}: {last_line(unpacked.stderr)}")


def _run(*argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)


def last_line(text: str) -> str:
    """Of a program's errors, the line to show."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or ["no message"])[-1]
