"""Power machines emulated whole: QEMU's pseries machine boots a ppc64le kernel of Debian into a root shared with it.

QEMU and the guest's root are unpacked from packages and kept below ``.lpar``; nothing is installed on this machine. The
guest's kernel has everything that the product reads or switches: SMT, NUMA nodes, memory policies, control groups.
Instructions are translated, so its times mean nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from guest import EMULATOR, HERE, KERNELS, build_emulator, build_guest, compile_modules, native
from lparcfg import lparcfg_module
from support.debian import RECIPE, Unavailable, cached, install_host_tools
from support.emulated import copy_project

CACHE = HERE.parents[1] / ".lpar"
HOST_TOOLS = {"apt-get": ("apt",), "dpkg-deb": ("dpkg",)}
PATIENCE_S = 2400.0  # of a boot: only what hangs is to be stopped, not what shares its CPUs


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
        before: shell commands in the guest that bring it to the state to be read; see ``capture.sh``.
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

    def shares_boot(self, other: Machine) -> bool:
        """Whether it is ``other`` in another state."""
        return replace(self, before=other.before) == other

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
    """QEMU and the guest's root, both built; ``lparcfg``: the module, or why there is none."""

    qemu: Path
    guest: Path
    lparcfg: Path | str

    def version(self) -> str:
        """QEMU's own."""
        answer = subprocess.run([*self._program(), "--version"], capture_output=True, text=True, check=True)
        return answer.stdout.split()[3]

    def release(self, machine: Machine) -> str:
        """The kernel's."""
        return self._kernel(machine).name.removeprefix("vmlinux-").removeprefix("vmlinuz-")

    def copy_project(self, target: Path) -> None:
        """The project with its modules compiled for the guest's Python; ``target`` is /project inside."""
        copy_project(target)
        compile_modules(self.qemu, target, "harness", "tests/lpar", "tests/support", seen_as="/project")

    def command(self, machine: Machine, job: Path, project: Path) -> list[str]:
        """The command that boots a machine, runs ``job/run`` in it and ends; ``job`` is /job inside.

        What ``run`` prints is in ``job/log``, and its exit code in ``job/code``. ``job/monitor`` is a socket that takes
        QEMU's commands. ``project`` can be mounted by its tag "project", read-only.
        """
        read_only = ",readonly=on"
        shares = (("root", self.guest, read_only), ("job", job, ""), ("project", project, read_only))
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
        return _kernel(self.guest, machine.kernel)

    def _program(self) -> list[str]:
        return [*native(self.qemu, "qemu-system-ppc64"), "-L", str(self.qemu / "usr/share/qemu")]


def _kernel(guest: Path, flavour: str) -> Path:
    return next((guest / "boot").glob(f"vmlinu?-*[0-9]-{flavour}"))


@contextmanager
def emulator() -> Iterator[Emulator]:
    """QEMU, the guest's root, and lparcfg for its kernel of 64 KiB pages, built unless they are there.

    Raises:
        Unavailable: this machine has no apt, or no mirror can be reached.
        RuntimeError: what the mirror lists could not be fetched or unpacked.
    """
    install_host_tools(HOST_TOOLS)
    sources = (RECIPE, HERE / "guest.py", HERE / "init.sh")
    with ExitStack() as kept:
        qemu = kept.enter_context(cached(CACHE / "qemu", (RECIPE,), *EMULATOR, build=build_emulator))
        guest = kept.enter_context(cached(CACHE / "guest", sources, build=lambda to: build_guest(to, qemu)))
        release = _kernel(guest, KERNELS[1]).name.partition("-")[2]
        lparcfg: Path | str
        try:
            lparcfg = kept.enter_context(lparcfg_module(CACHE, release))
        except (Unavailable, RuntimeError) as reason:  # all else can be tested without it
            lparcfg = f"no lparcfg for the guest's kernel {release} (`make lpar-kernel` takes another): {reason}"
        yield Emulator(qemu, guest, lparcfg)


if __name__ == "__main__":
    (CACHE / "guest.stamp").unlink(missing_ok=True)
    (CACHE / "lparcfg.stamp").unlink(missing_ok=True)
    with emulator() as built:
        if isinstance(built.lparcfg, str):
            sys.exit(built.lparcfg)
        print(built.lparcfg)
