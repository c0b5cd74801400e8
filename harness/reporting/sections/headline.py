"""The verdict in one sentence, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.record.model import Result, Run, Verdict
from harness.reporting.sections.figures import (
    accuracy_value,
    cuts_of,
    headline_metric,
    metric_name,
    published_of,
    rate_metric,
    shortfall_of,
    undisturbed_rate,
    variant,
    warnings_of,
    with_margin,
    workload_title,
)
from harness.reporting.sections.findings import costly
from harness.reporting.sections.machine import is_power
from harness.reporting.sections.status import DISTURBED, Status, has_times, is_valid, status_of_run
from harness.reporting.sections.where import describe
from harness.reporting.text import as_given, capital, percent, quantity, score
from harness.wording import plural

_WORKLOADS = 4  # named one by one; more are counted


@dataclass(frozen=True)
class Headline:
    """The verdict.

    Attributes:
        status: of the run as a whole.
        caveats: what limits every figure of the run; said first.
        sentences: one clause per workload with figures that may be used, or why there is none.
        unusable: one clause per workload of which no result is valid.
        closing: validity and findings.
    """

    status: Status
    caveats: tuple[str, ...]
    sentences: tuple[str, ...]
    unusable: tuple[str, ...]
    closing: str

    @property
    def lead(self) -> str:
        """The caveats as a sentence that stands first; empty without one."""
        return f"{capital(', '.join(self.caveats))}." if self.caveats else ""

    @property
    def other_caveats(self) -> str:
        """The lead without the verdict itself, for a page whose badge has said it."""
        others = [caveat for caveat in self.caveats if caveat != self.status.word.lower()]
        return f"{capital(', '.join(others))}." if others else ""

    @property
    def aside(self) -> str:
        """What was measured and may not be used; empty where there is nothing such."""
        return f"Not to be used: {'; '.join(self.unusable)}." if self.unusable else ""

    @property
    def text(self) -> str:
        """All of it as one paragraph."""
        parts = (self.lead, f"{'; '.join(self.sentences)}.", self.aside, self.closing)
        return " ".join(part for part in parts if part)


def headline(run: Run) -> Headline:
    """The verdict of a run."""
    usable, unusable = _sentences(run)
    sentences = tuple(usable) or (_reason(run.results),)
    return Headline(status_of_run(run.results), tuple(_caveats(run)), sentences, tuple(unusable), _closing(run))


def _caveats(run: Run) -> list[str]:
    results = run.results
    caveats = []
    status = status_of_run(results)
    if results and status.kind != "good" and status is not DISTURBED:
        caveats.append(status.word.lower())
    if run.facts.emulation.emulated:
        emulator = run.facts.emulation.emulator
        caveats.append(f"emulated by {emulator}" if emulator else "emulated")
    synthetic = {result.workload for result in results if result.dataset.origin == "synthetic"}
    workloads = {result.workload for result in results}
    if synthetic:
        part = "" if synthetic == workloads else f" in {len(synthetic)} of {len(workloads)} workloads"
        caveats.append(f"synthetic data{part}")
    if is_power(run.facts) is False:
        architecture = run.facts.cpu.architecture
        caveats.append(f"on {'x86-64' if architecture == 'x86_64' else architecture} instead of Power")
    if any(result.cache == "cold" for result in results):
        caveats.append("cold cache")
    if any(result.accuracy is not None and result.accuracy.passed is False for result in results):
        caveats.append("accuracy below its floor")
    if share := max((lost for result in results if is_valid(result) and (lost := shortfall_of(result))), default=0.0):
        caveats.append(f"rates delivered are up to {percent(share, 2)} below undisturbed ones")
    cut = {result.workload for result in results if cuts_of(result)}
    if cut:
        caveats.append(
            "training cut short" + ("" if cut == workloads else f" in {len(cut)} of {len(workloads)} workloads")
        )
    suspicious = {result.workload for result in results if warnings_of(result)}
    if suspicious:
        caveats.append(f"warnings about the data or scores of {plural(len(suspicious), 'workload')}")
    if any(result.dataset.protocol == "as-published" for result in results):
        caveats.append("as-published protocol")
    measured = [result for result in results if result.processes]
    if measured and all(len(result.processes) == 1 for result in measured):
        caveats.append("one process per result, so no interval")
    return caveats


def _sentences(run: Run) -> tuple[list[str], list[str]]:
    """Clauses of workloads: those with figures that may be used, and those without."""
    by_workload: dict[str, list[Result]] = {}
    for result in run.results:
        by_workload.setdefault(result.workload, []).append(result)
    usable: list[str] = []
    unusable: list[str] = []
    previous = None
    for results in list(by_workload.values())[:_WORKLOADS]:
        good = [result for result in results if result.validity.verdict in (Verdict.VALID, Verdict.TIMINGS_REFUSED)]
        where = describe(results[0].placement, run.facts)
        on = "" if where == previous else f" on {where}"
        previous = where
        clause = f"{workload_title(results[0])}{on}: {', '.join(_parts(good or results)) or 'no figure'}"
        (usable if good else unusable).append(clause)
    if len(by_workload) > _WORKLOADS:
        (usable or unusable).append(f"{len(by_workload) - _WORKLOADS} more workloads below")
    return usable, unusable


def _reason(results: Sequence[Result]) -> str:
    """Why no figure may be used."""
    if not results:
        return "No workload has a result"
    shared = _shared_reason(results)
    return "No result may be used; the table says why" if shared is None else f"No result may be used: {shared}"


def _parts(results: Sequence[Result]) -> list[str]:
    timed = [result for result in results if has_times(result)]
    parts = []
    fastest = _best([result for result in timed if result.scenario == "offline"])
    streams = [result for result in timed if result.scenario == "single_stream"]
    quickest = _best(streams or [result for result in timed if result.scenario == "multi_stream"])
    rate = None if fastest is None else _rate(fastest)
    call = None if quickest is None else quickest.metrics.get("mean_inference_s")
    if rate is not None:
        parts.append(rate)
    if quickest is not None and call is not None and call.value is not None:
        parts.append(f"{quantity(call.value, 's')} per call at batch {quickest.batch_size or 1}")
    if len({variant(result) for result in timed}) > 1:
        named = [variant(result) for result in (fastest, quickest) if result is not None]
        backends = list(dict.fromkeys(named))
        parts = (
            [f"{' and '.join(parts)} with {backends[0]}"]
            if len(backends) == 1
            else [f"{part} with {backend}" for part, backend in zip(parts, named, strict=False)]
        )
    parts += _serving(timed)
    training = next((result for result in timed if result.scenario == "train"), None)
    if fastest is None and quickest is None and training is not None:
        trained = _rate(training)
        parts += [] if trained is None else [f"training {trained}"]
    if (accuracy := _accuracy(results)) is not None:
        parts.append(accuracy)
    return parts


def _rate(result: Result) -> str | None:
    """The delivered rate, with the undisturbed one next to it: ``4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed)``."""
    delivered, undisturbed = rate_metric(result), undisturbed_rate(result)
    if delivered is None or delivered.value is None:
        return None
    whole = undisturbed.value if undisturbed is not None else None
    return with_margin(delivered) + ("" if whole is None else f" ({quantity(whole, delivered.unit)} undisturbed)")


def _serving(timed: Sequence[Result]) -> list[str]:
    """What is served in process and over HTTP, and of the two what HTTP leaves."""
    parts = []
    in_process, over_http = (
        _best([result for result in timed if result.scenario == scenario]) for scenario in ("server", "http")
    )
    sustained = None if in_process is None else rate_metric(in_process)
    if in_process is not None and sustained is not None:
        parts.append(f"serves {with_margin(sustained)} with {variant(in_process)}")
    carried = None if over_http is None else rate_metric(over_http)
    if over_http is not None and carried is not None and carried.value is not None:
        whole = None if sustained is None else sustained.value
        share = "" if not whole else f" ({carried.value / whole:.2g} of that in process)"
        parts.append(f"over HTTP {with_margin(carried)} with {variant(over_http)}{share}")
    return parts


def _best(results: Sequence[Result]) -> Result | None:
    """The valid result of the highest undisturbed rate, else the one that is not valid (the caveat says so)."""
    rated = [
        (is_valid(result), rate.value, result)
        for result in results
        if (rate := undisturbed_rate(result) or rate_metric(result)) is not None and rate.value is not None
    ]
    return max(rated, key=lambda entry: entry[:2])[2] if rated else None


def _accuracy(results: Sequence[Result]) -> str | None:
    for result in results:
        name = headline_metric(result)
        value = accuracy_value(result, name)
        if name is None or value is None:
            continue
        document = published_of(result)
        aside = f"published {as_given(document.value)}" if document else ", ".join(cuts_of(result))
        share = result.dataset.prevalence if name == "auc_pr" else None
        rarity = "" if share is None else f" at {percent(share)} anomalies"
        return f"{metric_name(name)} {score(value)}{rarity}" + (f" ({aside})" if aside else "")
    return None


def _closing(run: Run) -> str:
    wrong = [result for result in run.results if not is_valid(result)]
    parts = []
    if not run.results:
        parts.append("Nothing was measured.")
    elif not wrong:
        parts.append("Valid.")
    elif len(wrong) < len(run.results):
        parts.append(f"{len(wrong)} of {plural(len(run.results), 'result')} not valid.")
    cost = len(costly(run))
    if cost:
        parts.append(f"{plural(cost, 'finding')} {'costs' if cost == 1 else 'cost'} performance.")
    else:
        parts.append("No finding costs performance.")
    return " ".join(parts)


def _shared_reason(results: Sequence[Result]) -> str | None:
    """The first reason of all results, where it is the same."""
    reasons = {result.validity.reasons[:1] for result in results}
    only = reasons.pop() if len(reasons) == 1 else ()
    return only[0].rstrip().rstrip(".") if only else None
