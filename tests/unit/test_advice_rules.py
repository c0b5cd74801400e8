"""Every rule against a machine that triggers it and one that does not; strictness of the rule files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.trees import LparSpec, NodeSpec, TreeSpec, build
from support.trees_presets import ENERGY_MAXIMUM, ENERGY_SAVING, PRESETS

from harness.advice.engine import evaluate
from harness.advice.finding import DOES, Report, Severity, severity_of
from harness.advice.rules import WorkloadNeeds, load_rule, shipped_rules
from harness.decode import encode
from harness.errors import InputError
from harness.placement.plan import plan
from harness.platform.facts import (
    BlasLibrary,
    CrossCheck,
    Disagreement,
    Facts,
    LimitFacts,
    Package,
    SoftwareFacts,
)
from harness.platform.hmc import HmcFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

HMC = HmcFacts(managed_system="9105-22A*785FABC", profile="default_profile")
NOTHING = HmcFacts()
NO_NEEDS = WorkloadNeeds()
GOOD = replace(PRESETS["p10-smt2"], nodes=(NodeSpec(0, cores=6),))
TWO_NODES = replace(GOOD, nodes=(NodeSpec(0, cores=3), NodeSpec(1, cores=3)))
P8 = PRESETS["p8-lpar"]
X86 = PRESETS["x86-siblings-first"]


@dataclass(frozen=True)
class Case:
    """A machine, and what is changed of it that a tree cannot hold."""

    spec: TreeSpec = GOOD
    change: Callable[[Facts], Facts] = lambda facts: facts
    hmc: HmcFacts = HMC
    workload: WorkloadNeeds = NO_NEEDS

    def facts(self) -> Facts:
        return self.change(_probe(self.spec))

    def report(self) -> Report:
        return evaluate(self.facts(), hmc=self.hmc, workload=self.workload)


def _software(
    blas: tuple[BlasLibrary, ...] = (), details: dict[str, str] | None = None, **environment: str
) -> Callable[[Facts], Facts]:
    software = SoftwareFacts(
        python="3.11.2",
        packages=(Package("onnxruntime", "1.21", "debian", details=details or {}),),
        blas=blas,
        environment=environment,
        sources=dict.fromkeys(("packages", "blas", "environment"), "test"),
    )
    return lambda facts: replace(facts, software=software)


def _openblas(kernel: str, name: str = "openblas", version: str = "0.3.29") -> tuple[BlasLibrary, ...]:
    return (BlasLibrary(name, "/usr/lib/libblas.so", version, kernel, "pthreads", "torch"),)


def _quota(cores: float | None) -> Callable[[Facts], Facts]:
    limits = LimitFacts(
        allowed_cpus=tuple(range(12)),
        cpu_quota_cores=cores,
        container="docker",
        sources={"cpu_quota_cores": "cgroup", "allowed_cpus": "procfs", "container": "/.dockerenv"},
    )
    return lambda facts: replace(facts, limits=limits)


def _checked(*disagreements: Disagreement) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, crosscheck=CrossCheck(("lscpu",), {}, disagreements))


def _at_platform(name: str) -> Callable[[Facts], Facts]:
    def change(facts: Facts) -> Facts:
        sources = {**facts.cpu.sources, "at_platform": "auxv:AT_PLATFORM"}
        return replace(facts, cpu=replace(facts.cpu, at_platform=name, sources=sources))

    return change


def _gib(amount: int) -> WorkloadNeeds:
    return WorkloadNeeds(amount << 30, {"memory_bytes": "--memory"})


def _lpar(**settings: object) -> TreeSpec:
    return replace(GOOD, lpar=LparSpec(**settings))  # type: ignore[arg-type]


def _isolated(*cpus: int) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, kernel=replace(facts.kernel, isolated_cpus=cpus))


FOUR_THREADS = replace(GOOD, smt=4, smt_control="4")
CASES: dict[str, tuple[Case, Case]] = {  # rule -> a machine it is for and fires on, and one it is for and passes
    "affinity-score": (
        Case(_lpar(affinity_score=63)),
        Case(_lpar(affinity_score=63), hmc=replace(HMC, predicted_affinity_score=63)),
    ),
    "cores-offline": (Case(replace(GOOD, offline_cores=frozenset({2}))), Case()),
    "cpu-quota": (Case(change=_quota(3.0)), Case(change=_quota(12.0))),
    "cpus-isolated": (Case(change=_isolated(0, 1, 2)), Case(change=_isolated(0))),  # a single one moves nothing
    "cpus-on-several-nodes": (Case(TWO_NODES), Case()),
    "cpus-withheld": (Case(replace(GOOD, allowed_cpus="0-1")), Case()),
    "dispatch-dispersion": (
        Case(_lpar(dispatches=1000, dispersions=200)),
        Case(_lpar(dispatches=1000, dispersions=1)),
    ),
    "emulated": (Case(PRESETS["tcg-guest"]), Case()),
    "energy-mode": (Case(replace(GOOD, energy=ENERGY_SAVING)), Case(replace(GOOD, energy=ENERGY_MAXIMUM))),
    "entitlement-below-processors": (
        Case(PRESETS["p10-shared"]),
        Case(_lpar(shared=True, capped=False, donating=None, entitled_percent=600)),
    ),
    "governor": (Case(PRESETS["p8-bare-metal-smt-off"]), Case(PRESETS["p9-bare-metal"])),
    "idle-power-saver": (Case(replace(GOOD, energy=ENERGY_SAVING)), Case(replace(GOOD, energy=ENERGY_MAXIMUM))),
    "lpar-donating": (Case(PRESETS["p10-donating"]), Case()),
    "lpar-larger-than-chip": (Case(PRESETS["p10-over-chip"]), Case()),
    "lpar-may-exceed-chip": (
        Case(replace(GOOD, nodes=(NodeSpec(0, cores=4), NodeSpec(1, cores=4)))),
        Case(replace(GOOD, nodes=(NodeSpec(0, cores=8),))),
    ),
    "lpar-shared": (Case(PRESETS["p10-shared"]), Case()),
    "machine-name-disagrees": (Case(PRESETS["p11-in-p10-mode"]), Case(PRESETS["p11"])),
    "memory-away-from-cpus": (
        Case(replace(GOOD, nodes=(NodeSpec(2, cores=6), NodeSpec(3, cores=0)))),
        Case(PRESETS["p9-bare-metal"]),
    ),
    "memory-withheld": (Case(replace(TWO_NODES, allowed_mems="0")), Case(TWO_NODES)),
    "memory-for-workload": (Case(workload=_gib(80)), Case(workload=_gib(8))),
    "memory-of-node": (Case(TWO_NODES, workload=_gib(100)), Case(TWO_NODES, workload=_gib(50))),
    "mma-hidden": (Case(PRESETS["p10-in-p9-mode"]), Case(PRESETS["p11-in-p10-mode"])),
    "mode-below-hardware": (Case(PRESETS["p11-in-p10-mode"]), Case(PRESETS["p11"])),
    "node-without-memory": (Case(PRESETS["p10-remote-memory"]), Case(TWO_NODES)),
    "numa-view-stale": (Case(replace(TWO_NODES, moved={1: 2})), Case(TWO_NODES)),
    "threads-offline": (
        Case(replace(PRESETS["kvm-guest"], threads=2, smt=1)),
        Case(replace(PRESETS["kvm-guest"], threads=2)),
    ),
    "numa-balancing": (Case(replace(TWO_NODES, numa_balancing=1)), Case(TWO_NODES)),
    "onnxruntime-without-mma": (
        Case(change=_software(details={"mma_instructions": "absent"})),
        Case(change=_software(details={"mma_instructions": "present"})),
    ),
    "openblas-old-path": (
        Case(X86, change=_software(_openblas("Prescott"))),
        Case(X86, change=_software(_openblas("SkylakeX"))),
    ),
    "openblas-without-mma": (
        Case(change=_software(_openblas("POWER9"))),
        Case(change=_software(_openblas("POWER10"))),
    ),
    "openblas-wrong-sums": (
        Case(P8, change=_software(_openblas("POWER8"))),
        Case(P8, change=_software(_openblas("POWER8", version="0.3.30"))),
    ),
    "other-load": (Case(replace(GOOD, load=(3.5, 1.0, 0.5))), Case(replace(GOOD, load=(0.2, 1.0, 0.5)))),
    "platform-string-disagrees": (
        Case(change=_at_platform("power9")),
        Case(replace(GOOD, generation="POWER7", threads=4, mtm="8231-E2B"), change=_at_platform("power7+")),
    ),
    "reference-blas": (
        Case(change=_software(_openblas("", "reference BLAS"))),
        Case(change=_software(_openblas("POWER10"))),
    ),
    "smt-above-two": (Case(FOUR_THREADS), Case(PRESETS["p10-mixed-smt"])),
    "threads-on-one-half": (Case(replace(GOOD, online_threads={2: (1, 3)})), Case(PRESETS["p10-mixed-smt"])),
    "smt-mixed": (Case(PRESETS["p10-mixed-smt"]), Case()),
    "smt-one-thread": (Case(replace(GOOD, smt=1, smt_control="off")), Case()),
    "steal": (Case(replace(GOOD, steal_ticks=500_000)), Case()),
    "subcores": (Case(replace(PRESETS["p8-bare-metal-smt-off"], subcores=4)), Case(PRESETS["p8-bare-metal-smt-off"])),
    "threads-above-halves": (
        Case(FOUR_THREADS, change=_software(OMP_NUM_THREADS="24")),
        Case(FOUR_THREADS, change=_software(OMP_NUM_THREADS="12")),
    ),
    "threads-one-per-core": (
        Case(change=_software(OMP_NUM_THREADS="6")),
        Case(change=_software(OMP_NUM_THREADS="12")),
    ),
    "threads-oversubscribed": (
        Case(change=_software(OPENBLAS_NUM_THREADS="96")),
        Case(change=_software(OPENBLAS_NUM_THREADS="12")),
    ),
    "threads-unset": (
        Case(FOUR_THREADS, change=_software()),
        Case(FOUR_THREADS, change=_software(OMP_NUM_THREADS="12")),
    ),
    "tools-disagree": (
        Case(change=_checked(Disagreement("lscpu", "CPUs of node 0", "0-1", "0-3"))),
        Case(change=_checked()),
    ),
}


_PROBED: dict[str, Facts] = {}


def _probe(spec: TreeSpec) -> Facts:
    key = repr(spec)  # a spec holds mappings, so it cannot be hashed itself
    if key not in _PROBED:
        with TemporaryDirectory() as folder:
            _PROBED[key] = probe(SysRoot(build(spec, Path(folder))))
    return _PROBED[key]


def test_mixed_levels_are_shown_in_words():
    finding = next(each for each in Case(PRESETS["p10-mixed-smt"]).report().findings if each.id == "smt-mixed")
    assert finding.evidence[0].value == "1 core with 1 thread, 1 core with 2 threads, 2 cores with 8 threads"


@pytest.mark.parametrize(
    "rule", ["smt-one-thread", "smt-mixed", "smt-above-two", "threads-on-one-half", "cores-offline"]
)
def test_nothing_is_advised_that_a_read_only_sys_refuses(rule):
    fires = CASES[rule][0]
    mount = "22 25 0:20 / /sys {},nosuid shared:7 - sysfs sysfs rw"
    for own, offered in (("rw", True), ("ro", False)):
        spec = replace(fires.spec, files={"proc/self/mountinfo": mount.format(own), "proc/self/cgroup": "0::/"})
        finding = next(each for each in Case(spec).report().findings if each.id == rule)
        switches = [line for line in finding.fix if re.match(r"(lparbench smt|ppc64_cpu|chcpu) ", line)]
        assert bool(switches) is offered, switches


def test_every_rule_has_its_machines():
    assert set(CASES) == {rule.id for rule in shipped_rules()}


@pytest.mark.parametrize("rule", CASES)
def test_rule_fires_where_it_should_with_evidence_and_commands(rule):
    report = CASES[rule][0].report()
    finding = next(finding for finding in report.findings if finding.id == rule)
    told = " ".join((finding.title, finding.why, finding.effect))
    assert "unknown" not in told
    assert finding.evidence
    for evidence in finding.evidence:
        assert evidence.source or evidence.path.startswith("crosscheck."), f"{evidence.path} has no source"
    for command in finding.fix:
        assert shlex.split(command, comments=True)
        assert not re.search(r"\b(MANAGED_SYSTEM|PARTITION_NAME|PARTITION_ID|BEST|LEVEL|None)\b", command)
    assert finding.loss is None or 0 < finding.loss <= 1
    assert finding.costs_performance == (finding.loss is not None)


ONE_CORE = replace(GOOD, nodes=(NodeSpec(0, cores=1),), smt=1, load=(3.5, 1.0, 0.5))
OF_ONE = (
    Case(replace(GOOD, nodes=(NodeSpec(0, cores=1), NodeSpec(1, cores=1)), smt=1)),
    Case(ONE_CORE, change=_software(OMP_NUM_THREADS="2")),
    Case(replace(ONE_CORE, lpar=LparSpec(shared=True, donating=None, entitled_percent=10, virtual_processors=1))),
    Case(replace(GOOD, nodes=(NodeSpec(0, cores=1),), smt=2), change=_software(OMP_NUM_THREADS="1")),
    Case(change=_quota(1.0)),
    Case(change=_checked(Disagreement("lscpu", "CPUs of node 0", "0-1", "0-3"))),
)


@pytest.mark.parametrize("case", [*OF_ONE, *(fires for fires, _ in CASES.values())])
def test_a_single_thing_is_in_the_singular(case):
    for finding in case.report().findings:
        text = " ".join((finding.title, finding.why, finding.effect))
        several = r"(?<![-\d.,(])\b1 ([a-z]+ )?(CPUs|cores|threads|nodes|points|processors|halves)\b"
        assert re.search(several, text) is None, text


@pytest.mark.parametrize("rule", CASES)
def test_rule_is_checked_and_silent_where_all_is_well(rule):
    report = CASES[rule][1].report()
    assert rule in report.checked
    assert rule not in {finding.id for finding in report.findings}


@pytest.mark.parametrize("rule", CASES)
def test_losing_facts_never_makes_a_finding(rule):
    """Each group of facts in turn is taken away: a finding must not appear for it."""
    for case in CASES[rule]:
        facts = case.facts()
        before = {finding.id for finding in case.report().findings}
        for group in fields(Facts):
            if group.name != "sysroot":
                blind = replace(facts, **{group.name: type(getattr(facts, group.name))()})
                after = evaluate(blind, hmc=case.hmc, workload=case.workload)
                assert {finding.id for finding in after.findings} <= before, group.name


def test_nothing_known_gives_no_finding_and_names_what_is_missing():
    report = evaluate(Facts("/"))
    assert report.findings == ()
    missing = {item.id: item.missing for item in report.not_checked}
    assert missing["lpar-shared"] == ("kernel.hypervisor",)
    assert missing["memory-for-workload"] == ("memory.available_bytes", "workload.memory_bytes")
    assert {*report.checked, *missing, *report.not_applicable} == {rule.id for rule in shipped_rules()}


def test_rules_for_power_do_not_apply_to_x86():
    report = Case(X86).report()
    assert {"mma-hidden", "lpar-shared", "smt-one-thread", "energy-mode", "affinity-score"} <= set(
        report.not_applicable
    )


@pytest.mark.parametrize("name", PRESETS)
def test_commands_say_what_they_do_the_safest_first(name):
    """On every machine: severity follows the cost, ways go from the safest on, and no command takes many cores."""
    facts = _probe(PRESETS[name])
    report = evaluate(facts, workload=_gib(10_000))
    assert [finding.severity.rank for finding in report.findings] == sorted(
        finding.severity.rank for finding in report.findings
    )
    for finding in report.findings:
        assert finding.severity is (Severity.INFO if finding.loss is None else severity_of(finding.loss))
        assert len(finding.actions) == len(finding.fix)
        ways = [action.way for action in finding.actions]
        assert ways == sorted(ways)
        worst = [max(DOES.index(each.does) for each in finding.actions if each.way == way) for way in sorted(set(ways))]
        assert worst == sorted(worst)
        for command, action in zip(finding.fix, finding.actions, strict=True):
            asked = re.search(r"desired_procs=(\d+)", command)
            if asked is not None and facts.lpar.dedicated:
                assert int(asked[1]) * 3 >= len(facts.topology.cores) * 2
            if re.search(r"shutdown|-r prof|-o on\b", command):
                assert action.does == "restart"
            if re.match(r"(ls\w+|lparnumascore|grep|top) ", command):
                assert action.does == "look"
            if (placed := re.search(r"run --nodes (\d+)(?: --cores (\d+))?", command)) is not None:
                chosen = plan(
                    facts.topology,
                    cores=int(placed[2] or 1),
                    threads_per_core=1,
                    node=int(placed[1]),
                    limits=facts.limits,
                )
                assert chosen.node == int(placed[1])


def test_findings_come_costliest_first():
    report = Case(PRESETS["p10-two-nodes"]).report()
    losses = [finding.loss or 0.0 for finding in report.findings]
    assert len(losses) >= 4
    assert losses == sorted(losses, reverse=True)
    assert report.costs_performance
    document = encode(report)["findings"][0]
    assert set(document) == {
        "id",
        "severity",
        "title",
        "evidence",
        "why",
        "fix",
        "actions",
        "effect",
        "source",
        "loss",
        "momentary",
    }
    assert document["evidence"][0] == {"path": "usable.nodes", "value": [0, 1], "source": "sysfs:devices/system/node"}


def test_commands_name_this_system_and_partition():
    report = Case(replace(GOOD, mode="POWER9")).report()
    finding = next(finding for finding in report.findings if finding.id == "mma-hidden")
    assert finding.fix[1] == (
        "chsyscfg -m '9105-22A*785FABC' -r prof -i lpar_name=bench1,name=default_profile,"
        "lpar_proc_compat_mode=default  # on the HMC"
    )


def test_what_is_not_known_stands_in_capitals_in_commands():
    report = Case(_lpar(affinity_score=40), hmc=NOTHING).report()
    finding = next(finding for finding in report.findings if finding.id == "affinity-score")
    assert finding.fix[2] == "optmem -m MANAGED_SYSTEM -o start -t affinity --id 5  # on the HMC"


@pytest.mark.parametrize("name", ["my lpar", "a'b\"c", "$(reboot)", "x;y", "ü", "-rf"])
def test_names_are_quoted_for_the_shell(name):
    case = Case(_lpar(affinity_score=40), lambda facts: replace(facts, lpar=replace(facts.lpar, partition_name=name)))
    finding = next(finding for finding in case.report().findings if finding.id == "affinity-score")
    words = shlex.split(finding.fix[1].removesuffix("  # on the HMC"))
    assert words[-1] == name
    assert len(words) == 9


def test_numbers_outside_their_range_do_not_leave_it(tmp_path):
    path = tmp_path / "loaded.toml"
    path.write_text(_WHOLE.replace("lpar.donating", "load.runnable > 0", 1) + 'loss = "load.load_1m"\n')
    rule = load_rule(path)
    report = evaluate(_probe(replace(GOOD, load=(500.0, 1.0, 1.0))), rules=[rule])
    assert report.findings[0].loss == 1.0


_WHOLE = """
severity = "low"
when = "lpar.donating"
title = "t"
why = "w"
effect = "e"
source = "s"
evidence = ["lpar.donating"]
fix = [{ on = "hmc", run = "chsyscfg -i {lpar.partition_name}" }]
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("severity", "severitty"), "unknown key 'severitty'"),
        (('title = "t"\n', ""), "title is missing; expected a text"),
        (('"low"', '"urgent"'), "severity is 'urgent' (str); expected one of 'high', 'medium', 'low', 'info'"),
        (('"lpar.donating"', '"lpar.donatign"'), "when: 'lpar.donatign' is not a fact; LparFacts has "),
        (('"lpar.donating"', '"lpar.donating =="'), "when: not an expression: "),
        (('"lpar.donating"', '"lpar.entitled_cores"'), "when: 'lpar.entitled_cores' is number, expected true/false"),
        (('"lpar.donating"', "true"), "when is True (bool); expected a text"),
        (('title = "t"', 'title = ""'), "title is '' (str); expected a text"),
        (('title = "t"', 'title = "{lpar.name}"'), "title: 'lpar.name' is not a fact"),
        (('title = "t"', 'title = "{lpar"'), "title: a brace without its partner"),
        (('["lpar.donating"]', "[]"), "evidence is a list; expected a list that is not empty"),
        (('["lpar.donating"]', '["1 + 1"]'), "evidence[0]: '1 + 1' names no fact"),
        (('["lpar.donating"]', '[{ fact = "lpar.mode" }]'), "evidence[0].value is missing; expected a text"),
        (('on = "hmc"', 'on = "moon"'), "fix[0].on is 'moon' (str); expected one of 'here', 'root', 'hmc'"),
        (('on = "hmc", ', ""), "fix[0].on is missing; expected one of 'here'"),
        (("chsyscfg -i", "chsyscfg 'x"), "fix[0].run: not a command line: No closing quotation"),
        (("{lpar.partition_name}", "{lpar.nam}"), "fix[0].run: 'lpar.nam' is not a fact"),
        (('source = "s"', 'source = "s"\nloss = "lpar.mode"'), "loss: 'lpar.mode' is text, expected number"),
        (('source = "s"', 'source = "s"\nlet = 3'), "let is 3 (int); expected a table"),
        (('source = "s"', 'source = "s"\nlet = { lpar = "1" }'), "let.lpar: expected a name that is not in use"),
        (('source = "s"', 'source = "s'), "not TOML: "),
    ],
)
def test_a_mistake_in_a_rule_file_is_named_with_file_and_key(tmp_path, change, message):
    path = tmp_path / "wrong.toml"
    path.write_text(_WHOLE)
    assert load_rule(path).severity is Severity.LOW
    path.write_text(_WHOLE.replace(*change, 1))
    with pytest.raises(InputError) as failure:
        load_rule(path)
    assert failure.value.message.startswith(f"{path}: {message}")
