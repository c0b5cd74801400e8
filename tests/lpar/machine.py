"""Power machines emulated whole: QEMU's pseries machine boots a ppc64le kernel of Debian into a root shared with it.

QEMU and the guest's root are unpacked from packages and kept below ``.lpar``; nothing is installed on this machine. The
guest's kernel has everything that the product reads or switches: SMT, NUMA nodes, memory policies, control groups.
Instructions are translated, so its times mean nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from guest import EMULATOR, HERE, KERNELS, OWN_KERNEL, build_emulator, build_guest
from kernel import lparcfg_kernel
from support.debian import RECIPE, cached, install_host_tools

CACHE = HERE.parents[1] / ".lpar"
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
        kernel: one of ``KERNELS``, or ``OWN_KERNEL``.
        before: shell commands in the guest that switch threads off.
        spare: cores, the last ones, that are not there at boot and can be plugged in.
    """

    threads: int = 8
    nodes: tuple[Node, ...] = (Node(), Node())
    distances: Mapping[tuple[int, int], int] = field(default_factory=dict)
    cpu: str = "power10"
    compatible: str | None = None
    halves: bool = False
    kernel: str = KERNELS[0]
    before: str = ":"
    spare: int = 0

    def arguments(self) -> list[str]:
        """QEMU's arguments that make it."""
        cores = [number for number, node in enumerate(self.nodes) for _ in range(node.cores)]
        per_node = {cores.count(number) for number in cores}
        sockets = len(set(cores)) if len(per_node) == 1 else len(cores)
        present, most = (number * self.threads for number in (len(cores) - self.spare, len(cores)))
        smp = f"{present},sockets={sockets},cores={len(cores) // sockets},threads={self.threads},maxcpus={most}"
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
    """QEMU and the guest's root, both built; ``own``: the kernel with lparcfg, where it was built."""

    qemu: Path
    guest: Path
    own: Path | None

    def version(self) -> str:
        """QEMU's own."""
        answer = subprocess.run([*self._program(), "--version"], capture_output=True, text=True, check=True)
        return answer.stdout.split()[3]

    def release(self, machine: Machine) -> str:
        """The kernel's."""
        return self._kernel(machine).name.removeprefix("vmlinux-").removeprefix("vmlinuz-")

    def command(self, machine: Machine, job: Path) -> list[str]:
        """The command that boots a machine, runs ``job/run`` in it and ends; ``job`` is /job inside.

        What ``run`` prints is in ``job/log``, and its exit code in ``job/code``. ``job/monitor`` is a socket that takes
        QEMU's commands. This checkout can be mounted by its tag "checkout", read-only.
        """
        read_only = ",readonly=on"
        shares = (("root", self.guest, read_only), ("job", job, ""), ("checkout", HERE.parents[1], read_only))
        made = [*self._program(), *machine.arguments(), "-accel", "tcg,thread=single"]
        made += ["-monitor", f"unix:{job / 'monitor'},server,nowait"]
        made += ["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-vga", "none"]
        made += ["-kernel", str(self._kernel(machine)), "-initrd", str(self.guest / f"initrd-{machine.kernel}")]
        made += ["-append", "console=hvc0 quiet loglevel=4 panic=-1"]
        for tag, folder, option in shares:
            made += ["-fsdev", f"local,id={tag},path={folder},security_model=none,multidevs=remap{option}"]
            made += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        return made

    def _kernel(self, machine: Machine) -> Path:
        if machine.kernel == OWN_KERNEL:
            assert self.own is not None
            return self.own
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
    sources = (RECIPE, HERE / "guest.py", HERE / "init.sh")
    with (
        cached(CACHE / "qemu", (RECIPE,), *EMULATOR, build=build_emulator) as qemu,
        cached(CACHE / "guest", sources, build=build_guest) as guest,
    ):
        yield Emulator(qemu, guest, lparcfg_kernel(CACHE))
