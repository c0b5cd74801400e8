"""Checks records against their schema and against what a schema cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.decode import LARGEST_INT
from harness.record.fleet_model import FLEET_SCHEMA_VERSION
from harness.record.load_model import LOAD_SCHEMA_VERSION
from harness.record.model import SCHEMA_VERSION
from harness.record.schema import Kind, schema_of
from harness.record.size_model import SIZE_SCHEMA_VERSION
from harness.record.sweep_model import SWEEP_SCHEMA_VERSION

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


class SchemaError(ValueError):
    """A record that does not hold to the schema; the message names the path, the value and what was expected."""


def check(document: Any) -> None:
    """Check the parsed record of a run.

    Raises:
        SchemaError: the first thing wrong, by its path in the record.
    """
    _check_shape(document, "run", SCHEMA_VERSION)
    for problem in (*_dates(document), *_inconsistencies(document)):
        raise SchemaError(problem)


def check_sweep(document: Any) -> None:
    """Check the parsed record of a sweep.

    Raises:
        SchemaError: the first thing wrong, by its path in the record.
    """
    _check_shape(document, "sweep", SWEEP_SCHEMA_VERSION)
    for problem in _dates(document):
        raise SchemaError(problem)
    known = {cell["id"] for cell in document["cells"]}
    if len(known) != len(document["cells"]):
        raise SchemaError("cells: two of them have the same id")
    for at, cell in enumerate(document["cells"]):
        named = {name: cell[name] for name in ("rows_per_s", "rows_per_s_undisturbed", "mean_inference_per_row_s")}
        named |= {
            name: each for name in ("in_process_rows_per_s", "http_share") if (each := cell.get(name)) is not None
        }
        for problem in _unordered_intervals(named, f"cells[{at}]"):
            raise SchemaError(problem)
    for where, cell in _references(document):
        if cell not in known:
            raise SchemaError(f"{where}: there is no cell {cell}")


def check_size(document: Any) -> None:
    """Check the parsed record of a sizing.

    Raises:
        SchemaError: the first thing wrong, by its path in the record.
    """
    _check_shape(document, "size", SIZE_SCHEMA_VERSION)
    for at, series in enumerate(document["series"]):
        cores = [point["cores"] for point in series["points"]]
        if cores != sorted(set(cores)):
            raise SchemaError(f"series[{at}].points: core counts must rise, found {cores}")


def check_load(document: Any) -> None:
    """Check the parsed record of a load test.

    Raises:
        SchemaError: the first thing wrong, by its path in the record.
    """
    _check_shape(document, "load", LOAD_SCHEMA_VERSION)
    timeline, curve = document["result"]["timeline"], document["result"]["curve"]
    for where, lists in (("timeline", [timeline[n] for n in ("due", "answered", "failed")]), ("curve", curve.values())):
        if len(set(map(len, lists))) > 1:
            raise SchemaError(f"result.{where}: its lists are not of the same length")
    for name in ("seconds", "shares"):
        if curve[name] != sorted(curve[name]):
            raise SchemaError(f"result.curve.{name}: must rise")


def check_fleet(document: Any) -> None:
    """Check the parsed record of a fleet run.

    Raises:
        SchemaError: the first thing wrong, by its path in the record.
    """
    _check_shape(document, "fleet", FLEET_SCHEMA_VERSION)
    names = [host["name"] for host in document["hosts"]]
    if len(set(names)) != len(names):
        raise SchemaError("hosts: two of them have the same name")
    for at, test in enumerate(document["tests"]):
        for standing in test["hosts"]:
            if standing["host"] not in names:
                raise SchemaError(f"tests[{at}]: there is no host {standing['host']!r}")
        if len({len(standing["rates"]) for standing in test["hosts"]}) > 1:
            raise SchemaError(f"tests[{at}]: its hosts have rates of different numbers of waves")


def _references(document: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for at, best in enumerate(document["best"]):
        yield f"best[{at}].cell", best["cell"]
        yield from ((f"best[{at}].rivals[{n}].cell", rival["cell"]) for n, rival in enumerate(best["rivals"]))
    for at, loss in enumerate(document["losses"]):
        yield from ((f"losses[{at}].{end}", loss[end]) for end in ("start", "to"))
    for at, effect in enumerate(document.get("effects", ())):
        yield from ((f"effects[{at}].{end}", effect[end]) for end in ("start", "to"))


def _check_shape(document: Any, kind: Kind, wanted: int) -> None:
    if not isinstance(document, dict):
        raise SchemaError(f"expected a JSON object, found {_kind(document)}")
    version = document.get("schema_version")
    if version == 1 and wanted > 1 and not isinstance(version, bool):
        raise SchemaError(
            f"schema_version is 1, which no release of lparbench wrote; this one reads {wanted}: measure again"
        )
    if version != wanted or isinstance(version, bool):
        raise SchemaError(f"schema_version: expected {wanted}, found {_short(version)}")
    error = next(_validator(kind).iter_errors(document), None)
    if error is not None:
        raise SchemaError(f"{_path(error.absolute_path)}: {_explain(error)}")


@cache
def _validator(kind: Kind) -> Validator:
    from jsonschema import Draft202012Validator, validators

    default_items = Draft202012Validator.VALIDATORS["items"]

    def items(validator: Validator, subschema: Any, instance: Any, whole: Any) -> Iterator[Any]:
        # The same meaning as the library's rule, at the speed a million samples ask for.
        if _is_integer_range(subschema) and isinstance(instance, list) and set(map(type, instance)) <= {int}:
            low, high = subschema["minimum"], subschema["maximum"]
            if not instance or (min(instance) >= low and max(instance) <= high):
                return
        yield from default_items(validator, subschema, instance, whole)

    extend: Any = validators.extend
    validator: Validator = extend(Draft202012Validator, {"items": items})(schema_of(kind))
    return validator


def _is_integer_range(subschema: Any) -> bool:
    return (
        isinstance(subschema, dict)
        and subschema.keys() == {"type", "minimum", "maximum"}
        and subschema["type"] == "integer"
    )


def _inconsistencies(document: dict[str, Any]) -> Iterator[str]:
    for r, result in enumerate(document["results"]):
        where = f"results[{r}]"
        for p, process in enumerate(result["processes"]):
            for s, series in enumerate(process.get("series", ())):
                at = f"{where}.processes[{p}].series[{s}]"
                samples = len(series["durations_ns"])
                if series["flags"] and len(series["flags"]) != samples:
                    yield f"{at}.flags: expected {samples}, one per sample, found {len(series['flags'])}"
                if series["warmup"] > samples:
                    yield f"{at}.warmup: {series['warmup']} of {samples} samples"
        yield from _unordered_intervals(result["metrics"], f"{where}.metrics")
        for size, metrics in result["by_batch"].items():
            yield from _unordered_intervals(metrics, f"{where}.by_batch.{size}")


def _dates(document: dict[str, Any]) -> Iterator[str]:
    """What a pattern cannot say: February has no 30th."""
    created = document["created"]
    try:
        datetime.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        yield f"created: there is no time {_short(created)}"


def _unordered_intervals(metrics: dict[str, Any], where: str) -> Iterator[str]:
    for name, metric in metrics.items():
        low, high = metric.get("ci_low"), metric.get("ci_high")
        if (low is None) != (high is None):
            yield f"{where}.{name}: an interval has two ends, found ci_low {_short(low)} and ci_high {_short(high)}"
        elif low is not None and low > high:
            yield f"{where}.{name}: ci_low {low} is above ci_high {high}"


def _explain(error: Any) -> str:
    """What the schema wanted, without printing a value of a million items; the deepest cause of an ``anyOf``."""
    shown = _short(error.instance)
    match error.validator:
        case "type":
            wanted = error.validator_value
            return f"expected {wanted if isinstance(wanted, str) else ' or '.join(wanted)}, found {shown}"
        case "enum":
            return f"expected one of {', '.join(map(str, error.validator_value))}, found {shown}"
        case "const":
            return f"expected {_short(error.validator_value)}, found {shown}"
        case "anyOf":
            inner = min(error.context, key=lambda cause: (cause.validator == "type", -len(cause.absolute_path)))
            at = "".join(_steps(inner.relative_path))
            return f"{at.lstrip('.')}: {_explain(inner)}" if at else _explain(inner)
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            return f"key {missing[0]!r} is missing"
        case "additionalProperties":
            unknown = sorted(set(error.instance) - set(error.schema.get("properties", {})))
            return f"unknown key {_short(unknown[0])}"
        case "minimum" | "maximum" | "exclusiveMinimum":
            rule = "above" if error.validator == "exclusiveMinimum" else error.validator
            return f"expected {rule} {error.validator_value}, found {shown}"
        case "pattern":
            return f"expected text like {error.validator_value}, found {shown}"
        case "maxLength":
            return f"expected {error.validator_value:,} characters at most, found {len(error.instance):,}"
        case _:
            return f"{error.validator} does not hold for {shown}"


def _path(steps: Any) -> str:
    return "".join(_steps(steps)).lstrip(".") or "the record"


def _steps(steps: Any) -> Iterator[str]:
    for step in steps:
        yield f"[{step}]" if isinstance(step, int) else f".{_clip(step)}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return _kind(value)
    if type(value) is int and abs(value) > LARGEST_INT:
        return "a number of more than 18 digits"
    return _clip("null" if value is None else repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return _short(value)
