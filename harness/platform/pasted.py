"""Output of lscpu (also -e and -p), numactl -H, ppc64_cpu --info, lparstat -i and /proc/cpuinfo, as files of a tree.

Nothing is made up: a file is written only where a text has what the kernel would put there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from harness.platform import parse

Files = dict[str, str]
HYPERVISOR = "told/hypervisor"  # not a kernel's file: the hypervisor and which text names it, divided by a tab

_CPUS, _NODES = "sys/devices/system/cpu", "sys/devices/system/node"
_ARCH = "proc/sys/kernel/arch"
_VENDORS = {"pHyp": "PowerVM", "KVM": "KVM", "VMware": "VMware", "Microsoft": "Hyper-V", "Xen": "Xen"}
_CORE = re.compile(r"Core\s+\d+:((?:\s+\d+\*?)+)")
_NODE = re.compile(r"node (\d+) (cpus|size|free):\s*(.*)")
_ROW = re.compile(r"(\d+):((?:\s+\d+)+)")
# lparstat -i (powerpc-utils, src/lparstat.c) -> /proc/ppc64/lparcfg, with what one unit is there
_LPAR = {
    "Partition Name": ("partition_name", None),
    "Partition Number": ("partition_id", 1),
    "Entitled Capacity": ("partition_entitled_capacity", 100),
    "Online Virtual CPUs": ("partition_active_processors", 1),
    "Maximum Virtual CPUs": ("partition_potential_processors", 1),
    "Minimum Capacity": ("MinEntCap", 100),
    "Maximum Capacity": ("partition_max_entitled_capacity", 100),
    "Desired Capacity": ("DesEntCap", 100),
    "Shared Pool ID": ("pool", 1),
    "Entitled Capacity of Pool": ("pool_capacity", 100),
    "Active CPUs in Pool": ("pool_num_procs", 1),
    "Variable Capacity Weight": ("capacity_weight", 1),
    "Active Physical CPUs in system": ("system_active_processors", 1),
    "Maximum Physical CPUs in system": ("system_potential_processors", 1),
    "Minimum Memory": ("MinMem", 1),
    "Desired Memory": ("DesMem", 1),
    "Maximum Memory": ("MaxMem", 1),
    "Partition Affinity Score": ("partition_affinity_score", 1),
}  # fmt: skip


def files_of(text: str) -> tuple[Files, tuple[str, ...]]:
    """Files of a tree that a text tells, and the commands whose output was recognised in it; other text is passed over.

    The text may hold the output of several commands, with prompts between.
    """
    lines = [line.strip() for line in text.replace("\ufeff", "").replace("\r", "").split("\n")]
    files: Files = {}
    kinds = []
    for kind, read in _READERS.items():
        for name, content in (own := read(lines)).items():
            files.setdefault(name, content)
        if own:
            kinds.append(kind)
    return files, tuple(kinds)


def _values(lines: list[str], known: Callable[[str], bool]) -> dict[str, str]:
    values: dict[str, str] = {}
    for key, middle, value in (line.partition(":") for line in lines):
        if middle and known(key.strip()):
            values.setdefault(key.strip(), value.strip())
    return values


def _cpuinfo(lines: list[str]) -> Files:
    """``/proc/cpuinfo`` as it stands, from the first processor to the last line of its form."""
    start = next((at for at, line in enumerate(lines) if re.match(r"processor\s*: \d+$", line)), None)
    if start is None:
        return {}
    end = start
    while end < len(lines) and (not lines[end] or re.match(r"[a-zA-Z][\w /-]*\s+:|[a-z]\w*:", lines[end])):
        end += 1
    return {"proc/cpuinfo": "\n".join(lines[start:end]) + "\n"}


def _ppc64_cpu(lines: list[str]) -> Files:
    cores = [match[1].split() for line in lines if (match := _CORE.fullmatch(line))]
    if not cores:
        return {}
    online = [[int(word[:-1]) for word in core if word.endswith("*")] for core in cores]
    present = sorted(int(word.rstrip("*")) for core in cores for word in core)
    return {
        _ARCH: "ppc64",
        f"{_CPUS}/present": _listed(present),
        f"{_CPUS}/online": _listed(cpu for core in online for cpu in core),
        **_siblings(online),
    }


def _listed(cpus: Iterable[int]) -> str:
    return parse.format_cpulist(tuple(sorted(cpus)))


def _siblings(cores: list[list[int]]) -> Files:
    return {f"{_CPUS}/cpu{cpu}/topology/thread_siblings_list": _listed(core) for core in cores for cpu in core}


def _lscpu(lines: list[str]) -> Files:
    values = _values(lines, lambda key: key[:1].isupper())
    online = parse.cpu_list(values.get("On-line CPU(s) list"))
    architecture = values.get("Architecture")
    if not online or not ("CPU(s)" in values or architecture):
        return {}
    files = {f"{_CPUS}/online": _listed(online)}
    offline = parse.cpu_list(values.get("Off-line CPU(s) list")) or ()
    if offline or values.get("CPU(s)") == str(len(online)):
        files[f"{_CPUS}/present"] = _listed({*online, *offline})
    power = (architecture or values.get("Model name", "")).lower().startswith(("ppc", "power"))
    if architecture or power:
        files[_ARCH] = architecture or "ppc64"
    cores = _cores(online, parse.integer(values.get("Thread(s) per core")), power=power)
    files |= _siblings(cores)
    for key, value in values.items():
        if (match := re.fullmatch(r"NUMA node(\d+) CPU\(s\)", key)) is not None:
            files[f"{_NODES}/node{match[1]}/cpulist"] = value
    vendor = values.get("Hypervisor vendor")
    if vendor is not None:
        files[HYPERVISOR] = f"{_VENDORS.get(vendor, vendor)}\tlscpu:Hypervisor vendor"
    files |= _processor(values, online, power=power)
    return files


def _lscpu_table(lines: list[str]) -> Files:
    """``lscpu -e`` and ``lscpu -p``: a row per CPU below a line of column names."""
    for at, line in enumerate(lines):
        comma = line.startswith("# ") and "," in line
        names = [name.strip().lower() for name in (line[2:].split(",") if comma else line.split())]
        if "cpu" not in names or len(names) < 2 or not (comma or line.isupper() or "CPU" in line.split()):
            continue
        rows = []
        for row in lines[at + 1 :]:
            cells = row.split(",") if comma else row.split()
            if len(cells) != len(names) or not cells[names.index("cpu")].isdigit():
                break
            rows.append(dict(zip(names, cells, strict=True)))
        if rows:
            return _of_rows(rows)
    return {}


def _of_rows(rows: list[dict[str, str]]) -> Files:
    # Of a CPU that is offline the kernel tells no core.
    online = [row for row in rows if row.get("online", "yes") in ("yes", "Y") and row.get("core", "") != "-"]
    cpus = [int(row["cpu"]) for row in online]
    files = {f"{_CPUS}/online": _listed(cpus)}
    if "online" in rows[0] or len(online) < len(rows):  # else lscpu may have left out what is offline
        files[f"{_CPUS}/present"] = _listed(int(row["cpu"]) for row in rows)
    cores: dict[tuple[str, str], list[int]] = {}
    nodes: dict[str, list[int]] = {}
    for row, cpu in zip(online, cpus, strict=True):
        if row.get("core", "").isdigit():
            cores.setdefault((row.get("socket", ""), row["core"]), []).append(cpu)
        if row.get("node", "").isdigit():
            nodes.setdefault(row["node"], []).append(cpu)
    files |= _siblings(list(cores.values()))
    return files | {f"{_NODES}/node{node}/cpulist": _listed(own) for node, own in nodes.items()}


def _cores(online: tuple[int, ...], threads: int | None, *, power: bool) -> list[list[int]]:
    """Cores of that many threads each, which on Power are consecutive and aligned; elsewhere lscpu tells none."""
    if threads == 1:
        return [[cpu] for cpu in online]
    for width in (2, 4, 8) if power and threads else ():
        groups: dict[int, list[int]] = {}
        for cpu in online:
            groups.setdefault(cpu // width, []).append(cpu)
        if all(len(group) == threads for group in groups.values()):
            return list(groups.values())
    return []


def _processor(values: Mapping[str, str], online: tuple[int, ...], *, power: bool) -> Files:
    """The lines of ``/proc/cpuinfo`` that lscpu repeats."""
    if power:
        lines = {"cpu": values.get("Model name"), "revision": values.get("Model")}
        trailer = "platform\t: pSeries\n" if values.get("Hypervisor vendor") in ("pHyp", "KVM") else ""
    else:
        names = {"vendor_id": "Vendor ID", "cpu family": "CPU family", "model": "Model", "model name": "Model name",
                 "cpu MHz": "CPU MHz", "flags": "Flags"}  # fmt: skip
        lines, trailer = {key: values.get(name) for key, name in names.items()}, ""
    block = "".join(f"{key}\t: {value}\n" for key, value in lines.items() if value)
    return {"proc/cpuinfo": "".join(f"processor\t: {cpu}\n{block}\n" for cpu in online) + trailer} if block else {}


def _numactl(lines: list[str]) -> Files:
    if not any(re.match(r"available: \d+ nodes?", line) for line in lines):
        return {}
    files: Files = {}
    sizes: dict[str, list[str]] = {}
    cpus: list[int] = []
    for line in lines:
        if (match := _NODE.fullmatch(line)) is None:
            continue
        node, what, value = match.groups()
        if what == "cpus":
            own = [int(word) for word in value.split() if word.isdigit()]
            files[f"{_NODES}/node{node}/cpulist"] = _listed(own)
            cpus += own
        elif (size := re.fullmatch(r"(\d+) MB", value)) is not None:
            name = "MemTotal" if what == "size" else "MemFree"
            sizes.setdefault(node, []).append(f"Node {node} {name}: {int(size[1]) << 10} kB\n")
    files |= {f"{_NODES}/node{node}/meminfo": "".join(amounts) for node, amounts in sizes.items()}
    start = next((at for at, line in enumerate(lines) if line.startswith("node distances")), len(lines))
    for line in lines[start:]:
        if (row := _ROW.fullmatch(line)) is not None:
            files[f"{_NODES}/node{row[1]}/distance"] = " ".join(row[2].split())
    if cpus:
        files[f"{_CPUS}/online"] = _listed(cpus)
    return files


def _lparstat(lines: list[str]) -> Files:
    values = _values(lines, lambda key: key in _LPAR or key in ("Type", "Mode"))
    if "Partition Name" not in values and "Entitled Capacity" not in values:
        return {}
    settings = []
    for key, (name, unit) in _LPAR.items():
        value = values.get(key)
        amount = parse.number((value or "").removesuffix("MB").strip())
        if value and unit is None:
            settings.append(f"{name}={value}")
        elif amount is not None and unit is not None:
            settings.append(f"{name}={round(amount * unit)}")
    kind, mode = values.get("Type", ""), values.get("Mode", "")
    if kind.startswith(("Shared", "Dedicated")):
        settings.append(f"shared_processor_mode={int(kind.startswith('Shared'))}")
    if mode in ("Capped", "Uncapped"):
        settings.append(f"capped={int(mode == 'Capped')}")
    files = {"proc/ppc64/lparcfg": "\n".join(settings) + "\n", _ARCH: "ppc64"}
    if "Entitled Capacity" in values:
        files[HYPERVISOR] = "PowerVM\tlparstat -i"
    return files


# In order of trust: the first to tell a file is believed.
_READERS: Mapping[str, Callable[[list[str]], Files]] = {
    "/proc/cpuinfo": _cpuinfo,
    "ppc64_cpu --info": _ppc64_cpu,
    "numactl -H": _numactl,
    "lscpu -e or -p": _lscpu_table,
    "lscpu": _lscpu,
    "lparstat -i": _lparstat,
}
