"""Power machines emulated whole: QEMU's pseries machine boots a ppc64le kernel of Debian into a root shared with it.

QEMU and the guest's root are unpacked from packages and kept below ``.lpar``; nothing is installed on this machine. The
guest's kernel has everything that the product reads or switches: SMT, NUMA nodes, memory policies, control groups.
Instructions are translated, so its times mean nothing.
"""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.debian import archive, cached, install_host_tools, native_architecture

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".lpar"
EMULATOR = ("qemu-system-ppc", "qemu-system-data")
GUEST = (
    *("coreutils", "dash", "busybox-static", "kmod", "util-linux", "numactl", "hwloc-nox", "powerpc-utils"),
    *("python3", "python3-cpuinfo", "python3-jinja2", "python3-jsonschema", "python3-numpy", "python3-psutil"),
    *("python3-rich", "python3-typer"),
)
KERNELS = ("powerpc64le", "powerpc64le-64k")  # of 4 KiB pages and of 64 KiB
MODULES = (  # in the order in which they are loaded
    *("fs/fscache/fscache", "fs/netfs/netfs", "net/9p/9pnet", "net/9p/9pnet_virtio", "fs/9p/9p"),
    *("fs/overlayfs/overlay", "drivers/char/hw_random/rng-core", "drivers/char/hw_random/virtio-rng"),
)
HOST_TOOLS = {"apt-get": ("apt",), "dpkg-deb": ("dpkg",)}
PATIENCE_S = 600.0  # of a boot: only what hangs is to be stopped, not what shares its CPUs


@dataclass(frozen=True)
class Node:
    """A NUMA node: SMT cores and GiB of memory; either may be none."""

    cores: int = 1
    gib: int = 1


@dataclass(frozen=True)
class Machine:
    """One emulated machine, as QEMU is asked for it: what the guest and the product have to find again.

    Attributes:
        threads: of a core, at most.
        nodes: by number; one without cores and memory is not there for the kernel.
        distances: (node, node) -> distance where it is not the default of 20.
        cpu: QEMU's name of the processor.
        compatible: the processor mode that the machine is held to, "power9".
        halves: whether the firmware says that a core is two halves, even and odd threads, as PowerVM does.
        kernel: one of ``KERNELS``.
        before: shell commands in the guest that switch threads off.
    """

    threads: int = 8
    nodes: tuple[Node, ...] = (Node(), Node())
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    cpu: str = "power10"
    compatible: str | None = None
    halves: bool = False
    kernel: str = KERNELS[0]
    before: str = ":"

    def arguments(self) -> list[str]:
        """QEMU's arguments that make it."""
        cores = [number for number, node in enumerate(self.nodes) for _ in range(node.cores)]
        sockets = len(set(cores))
        smp = f"{len(cores) * self.threads},sockets={sockets},cores={len(cores) // sockets},threads={self.threads}"
        options = ["pseries", *([f"max-cpu-compat={self.compatible}"] if self.compatible else [])]
        if not self.halves:  # which the larger firmware has to be scripted for
            options.append("x-vof=on")
        made = ["-M", ",".join(options), "-cpu", self.cpu, "-smp", smp, "-m", f"{sum(n.gib for n in self.nodes)}G"]
        for number, node in enumerate(self.nodes):
            memory = f",memdev=m{number}" if node.gib else ""
            if node.gib:
                made += ["-object", f"memory-backend-ram,id=m{number},size={node.gib}G"]
            made += ["-numa", f"node,nodeid={number}{memory}"]
        for core, number in enumerate(cores):
            made += ["-numa", f"cpu,node-id={number},core-id={core * self.threads}"]
        for (left, right), distance in self.distances.items():
            made += ["-numa", f"dist,src={left},dst={right},val={distance}"]
        if self.halves:
            made += ["-prom-env", "use-nvramrc?=true", "-prom-env", f"nvramrc={self._thread_groups(len(cores))}"]
        return made

    def _thread_groups(self, cores: int) -> str:
        """Forth for the firmware: ``ibm,thread-groups`` of every core, two groups that share an L1 and an L2 each.

        No word may be named as a hexadecimal number.
        """
        words = [": c+ encode-int encode+ ;"]
        for core in range(cores):
            first = core * self.threads
            groups = [first + k for half in (0, 1) for k in range(half, self.threads, 2)]
            listed = " ".join(f"{thread:x} c+" for thread in groups)
            words.append(f's" /cpus/PowerPC,POWER10@{first:x}" find-device')
            words.append(f"1 encode-int 2 c+ {self.threads // 2} c+ {listed} 2 c+ 2 c+ {self.threads // 2} c+ {listed}")
            words.append('s" ibm,thread-groups" property')
        return " ".join([*words, "device-end"])


@dataclass(frozen=True)
class Emulator:
    """QEMU and the guest's root, both built."""

    qemu: Path
    guest: Path

    def version(self) -> str:
        """QEMU's own."""
        answer = subprocess.run([*self._program(), "--version"], capture_output=True, text=True, check=True)
        return answer.stdout.split()[3]

    def release(self, machine: Machine) -> str:
        """The kernel's."""
        return self._kernel(machine).name.removeprefix("vmlinux-").removeprefix("vmlinuz-")

    def command(self, machine: Machine, job: Path, *more: str) -> list[str]:
        """The command that boots a machine, runs ``job/run`` in it and ends; ``job`` is /job inside.

        What ``run`` prints is in ``job/log``, and its exit code in ``job/code``.
        """
        shares = (("root", self.guest, ",readonly=on"), ("job", job, ""))
        made = [*self._program(), *machine.arguments(), "-accel", "tcg,thread=single", *more]
        made += ["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-vga", "none"]
        made += ["-kernel", str(self._kernel(machine)), "-initrd", str(self.guest / f"initrd-{machine.kernel}")]
        made += ["-append", "console=hvc0 quiet loglevel=4 panic=-1"]
        for tag, folder, option in shares:
            made += ["-fsdev", f"local,id={tag},path={folder},security_model=none,multidevs=remap{option}"]
            made += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return made

    def _kernel(self, machine: Machine) -> Path:
        return next((self.guest / "boot").glob(f"vmlinu?-*[0-9]-{machine.kernel}"))

    def _program(self) -> list[str]:
        """QEMU under the loader and the libraries that came with it."""
        libraries = next(self.qemu.glob("usr/lib/*-linux-gnu"))
        loader = next(libraries.glob("ld*.so.*"))
        path = f"{libraries}:{libraries}/pulseaudio"
        program = self.qemu / "usr/bin/qemu-system-ppc64"
        return [str(loader), "--library-path", path, str(program), "-L", str(self.qemu / "usr/share/qemu")]


@contextmanager
def emulator() -> Iterator[Emulator]:
    """QEMU and the guest's root, built unless they are there.

    Raises:
        Unavailable: this machine has no apt, or no mirror can be reached.
        RuntimeError: what the mirror lists could not be fetched or unpacked.
    """
    install_host_tools(HOST_TOOLS)
    sources = (Path(__file__), HERE / "init.sh")
    with (
        cached(CACHE / "qemu", (), *EMULATOR, build=_build_emulator) as qemu,
        cached(CACHE / "guest", sources, build=_build_guest) as guest,
    ):
        yield Emulator(qemu, guest)


def _build_emulator(target: Path) -> None:
    with archive(native_architecture()) as packages:
        packages.unpack(target, EMULATOR)


def _build_guest(target: Path) -> None:
    with archive("ppc64el") as packages:
        packages.unpack(target, GUEST)
        for flavour in KERNELS:
            packages.unpack_kernel(target, flavour, MODULES)
    for flavour in KERNELS:
        _write_initrd(target, flavour)


def _write_initrd(root: Path, flavour: str) -> None:
    """A first root in memory with busybox, the modules that reach the shared one, and ``init.sh``."""
    kernel = next((root / "usr/lib/modules").glob(f"*[0-9]-{flavour}"))
    members = [(name, 0o40755, b"") for name in ("bin", "dev", "proc", "sys", "modules", "lower", "upper", "new")]
    members.append(("bin/busybox", 0o100755, (root / "usr/bin/busybox").read_bytes()))
    members.append(("init", 0o100755, (HERE / "init.sh").read_bytes()))
    for number, name in enumerate(MODULES):
        for packed in kernel.glob(f"kernel/{name}.ko*"):
            content = packed.read_bytes()
            content = lzma.decompress(content) if packed.suffix == ".xz" else content
            members.append((f"modules/{number:02}-{Path(name).name}", 0o100644, content))
    archived = b"".join(_member(*member) for member in [*members, ("TRAILER!!!", 0, b"")])
    (root / f"initrd-{flavour}").write_bytes(archived)


def _member(name: str, mode: int, content: bytes) -> bytes:
    """One entry of a cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{number:08x}" for number in fields).encode() + name.encode() + b"\0"
    return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, content))
