"""What is known of a machine: frozen values, each with the place it was read from, ``None`` where nothing is known.

Sizes are in bytes, clocks in hertz, times in seconds, shares in [0, 1]. ``sources`` maps a field's name to where its
value was read ("sysfs:devices/system/cpu/online", "lparcfg:capped"); a field that is ``None`` has no source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.platform.nodes import Node

Sources = Mapping[str, str]


@dataclass(frozen=True)
class CpuFacts:
    """The processor: what it is, in which mode it runs, and which instructions programs may use."""

    architecture: str | None = None  # "ppc64le", "ppc64", "x86_64", as uname names it; see ``byte_order``
    byte_order: str | None = None  # "little", "big"; an ``architecture`` of ppc64 with None here may be either
    vendor: str | None = None  # "IBM", "AuthenticAMD", "GenuineIntel"
    model_name: str | None = None  # the kernel's own text: "POWER10 (architected), altivec supported"
    generation_hw: str | None = None  # of the silicon, by PVR: "POWER10"; None on x86
    generation_mode: str | None = None  # the compatibility mode programs see: "POWER9"; None on x86
    pvr: int | None = None  # processor version register: 0x00800200
    family: int | None = None  # CPUID family and model, x86 only
    model: int | None = None
    part_threads: int | None = None  # threads of a core as the part was made: 4 or 8
    clock_hz: float | None = None
    clock_max_hz: float | None = None
    timebase_hz: float | None = None
    mmu: str | None = None  # "Radix" or "Hash"
    at_platform: str | None = None  # "power10"
    at_base_platform: str | None = None
    hwcap: int | None = None
    hwcap2: int | None = None
    # Feature -> usable by programs. Power: altivec, vsx, arch_2_07, arch_3_00, arch_3_1, mma.
    # x86: sse2, avx, avx2, fma, avx512f, avx512bw, avx512vl, avx512_vnni, avx_vnni, avx512_bf16, avx512_fp16, amx_tile,
    # amx_int8, amx_bf16. A feature of the other architecture is not listed; None: not known.
    isa: Mapping[str, bool | None] = field(default_factory=dict)
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class Core:
    """One core with at least one thread online."""

    id: int  # logical index, unique over the machine, in the order of the first CPU
    kernel_id: int | None  # topology/core_id; on Power the hardware number of the first thread
    node: int | None  # NUMA node; None when the kernel names none
    package: int | None  # physical_package_id: the chip on Power
    die: int | None  # topology/die_id: the hemisphere of a chip on Power, where the kernel tells
    cpus: tuple[int, ...]  # threads that are online
    cpus_present: tuple[int, ...]  # threads the core has, offline ones included as far as they can be attributed
    halves: tuple[tuple[int, ...], ...] | None  # online threads grouped by the innermost shared cache; None: not known


@dataclass(frozen=True)
class Smt:
    """Simultaneous multithreading, as it stands."""

    max: int | None = None  # threads a core has
    online: int | None = None  # threads online per core; the largest number where cores differ
    mixed: bool | None = None  # cores have different numbers of threads online
    cores_by_threads: Mapping[int, int] = field(default_factory=dict)  # threads online -> number of cores
    control: str | None = None  # smt/control: "on", "off", "2", "forceoff", "notsupported", "notimplemented"
    subcores_per_core: int | None = None  # POWER8 on bare metal


@dataclass(frozen=True)
class Topology:
    """CPUs, cores and NUMA nodes. ``cores`` is empty when thread siblings are not known."""

    cpus_online: tuple[int, ...] = ()
    cpus_present: tuple[int, ...] = ()
    cores: tuple[Core, ...] = ()
    nodes: tuple[Node, ...] = ()
    smt: Smt = field(default_factory=Smt)
    moved_cpus: tuple[int, ...] = ()  # that firmware has on another node than Linux shows, as after a migration
    moved_memory_bytes: int | None = None  # the same for memory
    sources: Sources = field(default_factory=dict)

    def node(self, node_id: int) -> Node | None:
        """The node of that id, if there is one."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def cores_of(self, node_id: int | None) -> tuple[Core, ...]:
        """The cores of one node."""
        return tuple(core for core in self.cores if core.node == node_id)


@dataclass(frozen=True)
class Cache:
    """All caches of one level, type and geometry."""

    level: int
    type: str  # "Data", "Instruction", "Unified"
    size_bytes: int | None
    line_bytes: int | None
    ways: int | None
    sets: int | None
    instances: tuple[tuple[int, ...], ...]  # the online CPUs that share each cache


@dataclass(frozen=True)
class CacheFacts:
    """The caches of the online CPUs, innermost first."""

    caches: tuple[Cache, ...] = ()
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class HugePages:
    """One pool of huge pages."""

    size_bytes: int
    total: int | None
    free: int | None


@dataclass(frozen=True)
class MemoryFacts:
    """Main memory and how it is paged."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    base_page_bytes: int | None = None
    huge_pages: tuple[HugePages, ...] = ()
    thp_enabled: str | None = None  # "always", "madvise", "never"
    thp_defrag: str | None = None
    numa_balancing: int | None = None  # 0 off, 1 normal, 2 memory tiering
    zone_reclaim_mode: int | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class KernelFacts:
    """The kernel and what it runs on."""

    release: str | None = None
    platform: str | None = None  # "pSeries", "PowerNV", "x86"
    # "PowerVM", "KVM", "bare metal", an emulator ("QEMU TCG", "IBM Mambo"), "VMware", "Hyper-V", "Xen", "other"
    hypervisor: str | None = None
    parameters: tuple[str, ...] | None = None  # of the command line, those that bear on measurements
    isolated_cpus: tuple[int, ...] | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class LimitFacts:
    """What this process may use, which may be less than the machine has."""

    allowed_cpus: tuple[int, ...] | None = None
    allowed_mems: tuple[int, ...] | None = None
    cgroup_version: int | None = None
    cpu_quota_cores: float | None = (
        None  # CPU time per wall time, of threads; None: no quota, when ``sources`` names it
    )
    cpuset_cpus: tuple[int, ...] | None = None
    cpuset_mems: tuple[int, ...] | None = None
    memory_limit_bytes: int | None = None  # None: no limit, when ``sources`` names it
    sysfs_read_only: bool | None = None  # nobody can switch anything below /sys, root neither
    container: str | None = None  # "docker", "podman", "kubernetes", "lxc", "none"; "container": of a kind not known
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class LparFacts:
    """The logical partition, from ``/proc/ppc64/lparcfg`` and the device tree; all ``None`` off PowerVM."""

    partition_id: int | None = None
    partition_name: str | None = None
    system_type: str | None = None  # "IBM,9105-22A"
    serial_sha256: str | None = None  # first 16 hex digits of the digest; the serial number itself is not kept
    mode: str | None = None  # "dedicated", "dedicated donating", "shared capped", "shared uncapped"
    dedicated: bool | None = None
    donating: bool | None = None
    capped: bool | None = None
    capacity_weight: int | None = None
    entitled_cores: float | None = None  # partition_entitled_capacity / 100
    desired_entitled_cores: float | None = None
    minimum_entitled_cores: float | None = None
    maximum_entitled_cores: float | None = None
    virtual_processors: int | None = None  # cores, not threads
    virtual_processors_max: int | None = None
    system_active_processors: int | None = None  # of the whole machine
    system_potential_processors: int | None = None
    pool_id: int | None = None
    pool_cores: float | None = None  # capacity of the shared pool
    pool_processors: int | None = None
    affinity_score: int | None = None  # 0 to 100, the hypervisor's own
    dispatches: int | None = None
    dispatch_dispersions: int | None = None  # dispatches of a virtual processor away from where it ran before
    desired_memory_bytes: int | None = None
    minimum_memory_bytes: int | None = None
    maximum_memory_bytes: int | None = None
    entitled_memory_bytes: int | None = None
    power_mode_data: int | None = None  # EnergyScale word of H_GET_EM_PARMS
    purr: int | None = None
    security_flavor: int | None = None
    hmc_managed: bool | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """One kind of processor module that a server model is sold with; a NUMA node is one of its chips."""

    type: str  # "SCM" one chip, "DCM" two chips, "eSCM" one computing chip of two
    chips: int  # with cores
    chips_with_memory: int
    cores_per_chip: tuple[int, ...]  # the core counts it is sold with
    memory_channels_per_chip: int | None  # of a chip with memory
    bandwidth_per_chip: Mapping[str, float]  # memory kind ("DDR4-3200") -> bytes per second, all slots filled


@dataclass(frozen=True)
class MachineFacts:
    """The server model, by machine type-model, with what ``sysconfig/machines`` knows of it."""

    mtm: str | None = None  # "9105-22A"
    name: str | None = None  # "Power S1022"
    generation: str | None = None  # the processor it is sold with: "POWER10"
    sockets: int | None = None  # at most
    threads_per_core: int | None = None
    modules: tuple[Module, ...] = ()  # the kinds it is sold with; Linux does not know which one is fitted
    unverified: tuple[str, ...] = ()  # fields above for which no published source was found
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class EnergyAttribute:
    """One entry of ``/sys/firmware/papr/energy_scale_info``."""

    id: int
    description: str
    value: int | None
    value_description: str | None


@dataclass(frozen=True)
class EnergyFacts:
    """EnergyScale settings as the partition sees them."""

    attributes: tuple[EnergyAttribute, ...] = ()
    power_performance_mode: str | None = None  # "Maximum Performance", in the firmware's words
    idle_power_saver: str | None = None
    processor_folding: str | None = None
    frequency_min_hz: float | None = None
    frequency_static_hz: float | None = None
    frequency_max_hz: float | None = None
    governor: str | None = None  # cpufreq, where the kernel sets the clock itself
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class EmulationFacts:
    """Whether instructions are emulated, so that times mean nothing."""

    emulated: bool | None = None
    emulator: str | None = None  # "qemu-user", "QEMU TCG", "IBM Mambo", "Rosetta"
    evidence: tuple[str, ...] = ()
    sources: Sources = field(default_factory=dict)

    @property
    def refuses(self) -> str | None:
        """Name of the emulator under which times are refused; None on a real machine, or where nothing tells."""
        return (self.emulator or "unknown emulator") if self.emulated else None


@dataclass(frozen=True)
class LoadFacts:
    """Other work on the machine when it was looked at."""

    load_1m: float | None = None
    load_5m: float | None = None
    load_15m: float | None = None
    runnable: int | None = None
    steal_share: float | None = None  # of all CPU time since boot
    uptime_s: float | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True)
class BlasLibrary:
    """One linear-algebra library as loaded, or as installed with a package."""

    name: str  # "openblas", "mkl", "onednn", "mlas"
    path: str | None
    version: str | None
    kernel: str | None  # the instruction-set path it takes here: "POWER10", "SkylakeX", "avx512"
    threading: str | None  # "pthreads", "openmp", "sequential"
    used_by: str  # the package it was found for


@dataclass(frozen=True)
class Package:
    """One installed package of the numerical stack."""

    name: str
    version: str | None
    origin: str | None  # "pip", "conda", "debian", ...
    build: str | None = None  # "cpu", a conda build string, a local version label
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SoftwareFacts:
    """The numerical software that a run on this machine uses; empty for a stored tree."""

    python: str | None = None
    packages: tuple[Package, ...] = ()
    blas: tuple[BlasLibrary, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)  # thread settings found: OMP_NUM_THREADS, ...
    sources: Sources = field(default_factory=dict)

    def package(self, name: str) -> Package | None:
        """The installed package of that name, if there is one."""
        return next((package for package in self.packages if package.name == name), None)


@dataclass(frozen=True)
class TorchBuild:
    """What torch says of itself once it is loaded."""

    config: str
    parallel_info: str
    cpu_capability: str | None


@dataclass(frozen=True)
class OnnxRuntimeBuild:
    """What ONNX Runtime says of itself once it is loaded."""

    build_info: str | None
    providers: tuple[str, ...]


@dataclass(frozen=True)
class LoadedSoftware(SoftwareFacts):
    """The software of a process that has loaded it; None for what is not loaded."""

    torch: TorchBuild | None = None
    onnxruntime: OnnxRuntimeBuild | None = None
    mma_instructions: Mapping[str, bool | None] = field(default_factory=dict)  # library -> holds them; on Power only


@dataclass(frozen=True)
class Disagreement:
    """A fact on which another tool says otherwise."""

    tool: str  # "lscpu", "numactl", "py-cpuinfo"
    subject: str  # "CPUs of node 0", "core of CPU 4"
    ours: str
    theirs: str


@dataclass(frozen=True)
class CrossCheck:
    """Independent readings of the same machine; nothing is run for a stored tree."""

    tools: tuple[str, ...] = ()  # that were run
    skipped: Mapping[str, str] = field(default_factory=dict)  # tool -> why it was not run or not understood
    disagreements: tuple[Disagreement, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything known of one machine."""

    sysroot: str  # "/" for the machine itself
    cpu: CpuFacts = field(default_factory=CpuFacts)
    topology: Topology = field(default_factory=Topology)
    caches: CacheFacts = field(default_factory=CacheFacts)
    memory: MemoryFacts = field(default_factory=MemoryFacts)
    kernel: KernelFacts = field(default_factory=KernelFacts)
    limits: LimitFacts = field(default_factory=LimitFacts)
    lpar: LparFacts = field(default_factory=LparFacts)
    machine: MachineFacts = field(default_factory=MachineFacts)
    energy: EnergyFacts = field(default_factory=EnergyFacts)
    emulation: EmulationFacts = field(default_factory=EmulationFacts)
    load: LoadFacts = field(default_factory=LoadFacts)
    software: SoftwareFacts = field(default_factory=SoftwareFacts)
    crosscheck: CrossCheck = field(default_factory=CrossCheck)
