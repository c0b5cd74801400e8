"""The Open Inference Protocol, version 2, over REST: metadata, health and inference of one model.

A model takes encoded rows as one FP32 tensor ``features``; one with an encoder also takes raw rows: the numeric columns
as one FP64 tensor ``numeric`` and a BYTES tensor for each categorical column, by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from harness import __version__
from harness.serving.exchange import Checked, HttpError, Reply, Request, Rows, Scores, Scoring, to_json
from harness.serving.json_input import field_error, parse_object, take
from harness.serving.model import ServedModel
from harness.wording import plural

_OUTPUTS = {"score": "FP32", "anomaly": "BOOL", "level": "INT64"}
_PROBABILITY = {"probability": "FP32"}
_NUMERIC = frozenset({"FP16", "FP32", "FP64", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))})
_MOST_DIMENSIONS = 8


class OpenInference:
    """The routes for one model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._outputs = _OUTPUTS if model.levels is None else _OUTPUTS | _PROBABILITY
        raw = model.encoder
        self._texts: tuple[str, ...] = ()
        self._numbers: tuple[str, ...] = ()
        if raw is not None:
            vocabulary = model.bundle.encoder.vocabulary
            self._texts = tuple(name for name in raw.columns if name in vocabulary)
            self._numbers = tuple(name for name in raw.columns if name not in vocabulary)

    def server(self) -> Reply:
        """``GET /v2``."""
        return Reply(200, to_json({"name": "lparbench", "version": __version__, "extensions": []}))

    def metadata(self) -> Reply:
        """``GET /v2/models/NAME``."""
        model = self._model
        inputs = [{"name": "features", "datatype": "FP32", "shape": [-1, *model.shape(1)[1:]]}]
        if model.encoder is not None:
            inputs.append({"name": "numeric", "datatype": "FP64", "shape": [-1, len(self._numbers)]})
            inputs += [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in self._texts]
        outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in self._outputs.items()]
        described: dict[str, Any] = {
            "name": model.name,
            "versions": [model.version],
            "platform": f"lparbench_{model.backend}",
            "inputs": inputs,
            "outputs": outputs,
            "parameters": {"numeric_columns": list(self._numbers), "features": list(model.features)},
        }
        return Reply(200, to_json(described))

    def infer(self, request: Request) -> Scoring:
        """``POST /v2/models/NAME/infer``.

        Raises:
            HttpError: the request does not fit the model; its field is named.
        """
        document = parse_object(request.body)
        tensors = {tensor["name"]: (path, tensor) for path, tensor in _tensors(document)}
        asked = self._asked(document)
        _parameters(document)
        given_id = document.get("id")
        if given_id is not None and not isinstance(given_id, str):
            raise field_error("id", "a string", given_id)
        if "features" in tensors:
            if extra := set(tensors) - {"features"}:
                raise HttpError(400, f"inputs: {sorted(extra)[0]!r} does not go with encoded features")
            rows: Rows | list[Checked] = self._encoded(*tensors["features"])
        else:
            rows = self._raw(tensors)
        return Scoring(rows, lambda scores: self._answer(scores, asked, given_id))

    def _asked(self, document: dict[str, Any]) -> tuple[str, ...]:
        if "outputs" not in document:
            return tuple(self._outputs)
        outputs = take(document, "outputs", list, "a list")
        names = []
        for index, output in enumerate(outputs):
            if not isinstance(output, dict):
                raise field_error(f"outputs[{index}]", "an object", output)
            name = take(output, "name", str, "a name", f"outputs[{index}]")
            if name not in self._outputs:
                raise field_error(f"outputs[{index}].name", f"one of {', '.join(self._outputs)}", name)
            _parameters(output, f"outputs[{index}]")
            names.append(name)
        return tuple(names) or tuple(self._outputs)

    def _encoded(self, path: str, tensor: dict[str, Any]) -> Rows:
        shape = self._model.shape(-1)
        given = _shape(tensor, path)
        if len(given) != len(shape) or given[1:] != shape[1:]:
            raise field_error(f"{path}.shape", str(list(shape)), list(given))
        values = _floats(tensor, path, given)
        with np.errstate(over="ignore"):
            rows = values.astype(np.float32).reshape(given)
        if not np.isfinite(rows).all():
            index = int(np.flatnonzero(~np.isfinite(rows))[0])
            raise HttpError(400, f"{_place(tensor, path, index)}: a number does not fit FP32")
        return rows

    def _raw(self, tensors: dict[str, tuple[str, dict[str, Any]]]) -> list[Checked]:
        encoder = self._model.encoder
        if encoder is None:
            raise HttpError(400, "inputs: 'features' is missing; this model takes encoded rows")
        needed = (*(("numeric",) if self._numbers else ()), *self._texts)
        for name in needed:
            if name not in tensors:
                raise HttpError(400, f"inputs: {name!r} is missing; give 'features', or {', '.join(needed)}")
        if extra := sorted(set(tensors) - set(needed)):
            raise field_error(f"{tensors[extra[0]][0]}.name", f"one of features, {', '.join(needed)}", extra[0])
        columns: dict[str, list[Any]] = {}
        count = _shape(tensors[needed[0]][1], tensors[needed[0]][0])[0]
        if self._numbers:
            path, tensor = tensors["numeric"]
            given = _shape(tensor, path)
            if given != (count, len(self._numbers)):
                raise field_error(f"{path}.shape", f"[-1, {len(self._numbers)}]", list(given))
            values = _floats(tensor, path, given, missing=encoder.filled).reshape(given)
            columns |= dict(zip(self._numbers, values.T.tolist(), strict=True))
        for name in self._texts:
            path, tensor = tensors[name]
            given = _shape(tensor, path)
            if given not in ((count,), (count, 1)):
                raise field_error(f"{path}.shape", f"[{count}]", list(given))
            _datatype(tensor, path, frozenset({"BYTES"}))
            columns[name] = _flat(tensor, path, given)
        rows = [list(row) for row in zip(*(columns[name] for name in encoder.columns), strict=True)]
        return [encoder.check(row, self._place(tensors, encoder.columns, index)) for index, row in enumerate(rows)]

    def _place(
        self, tensors: dict[str, tuple[str, dict[str, Any]]], columns: Sequence[str], row: int
    ) -> Callable[[int], str]:
        """The JSON path of each column's value in a row."""

        def path_of(column: int) -> str:
            name = columns[column]
            if name in self._texts:
                path, tensor = tensors[name]
                return f"{path}.data[{row}]" + ("[0]" if isinstance(tensor["data"][0], list) else "")
            path, tensor = tensors["numeric"]
            place = self._numbers.index(name)
            if isinstance(tensor["data"][0], list):
                return f"{path}.data[{row}][{place}]"
            return f"{path}.data[{row * len(self._numbers) + place}]"

        return path_of

    def _answer(self, scores: Scores, asked: tuple[str, ...], given_id: str | None) -> Reply:
        bundle = self._model.bundle
        values: dict[str, list[Any]] = {
            "score": scores.astype(np.float64).tolist(),
            "anomaly": bundle.labels(scores).tolist(),
            "level": bundle.levels(scores).tolist(),
        }
        answer: dict[str, Any] = {"model_name": self._model.name, "model_version": self._model.version}
        if given_id is not None:
            answer["id"] = given_id
        if "probability" in asked:
            probabilities = bundle.probabilities(scores)
            assert probabilities is not None
            values["probability"] = probabilities.astype(np.float64).tolist()
        answer["outputs"] = [
            {"name": name, "shape": [len(scores)], "datatype": self._outputs[name], "data": values[name]}
            for name in asked
        ]
        return Reply(200, to_json(answer))


def _tensors(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    inputs = take(document, "inputs", list, "a list of tensors")
    if not inputs:
        raise HttpError(400, "inputs: expected at least one tensor")
    seen = set()
    for index, tensor in enumerate(inputs):
        path = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise field_error(path, "an object", tensor)
        name = take(tensor, "name", str, "a name", path)
        if name in seen:
            raise HttpError(400, f"{path}.name: {name!r} is given twice")
        seen.add(name)
        _parameters(tensor, path)
        yield path, tensor


def _parameters(value: dict[str, Any], path: str = "") -> None:
    """What is known of parameters: they are an object; none has a meaning here."""
    if "parameters" in value:
        take(value, "parameters", dict, "an object", path)


def _shape(tensor: dict[str, Any], path: str) -> tuple[int, ...]:
    shape = take(tensor, "shape", list, "a list of whole numbers", path)
    if not 0 < len(shape) <= _MOST_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
        raise field_error(f"{path}.shape", "a list of whole numbers", shape)
    return tuple(shape)


def _datatype(tensor: dict[str, Any], path: str, allowed: frozenset[str]) -> str:
    kind = take(tensor, "datatype", str, "a datatype", path)
    if kind not in allowed:
        raise field_error(f"{path}.datatype", f"one of {', '.join(sorted(allowed))}", kind)
    return str(kind)


def _flat(tensor: dict[str, Any], path: str, shape: tuple[int, ...]) -> list[Any]:
    """The data, row after row, whether they were nested or not.

    Raises:
        HttpError: they are not as many as the shape says.
    """
    data, lists = take(tensor, "data", list, "a list", path), []
    for _ in range(len(shape) - 1):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(part, list) for part in data):
            raise HttpError(400, f"{path}.data: lists and values are mixed")
        lists.append([len(part) for part in data])
        data = [value for part in data for value in part]
    if len(data) != math.prod(shape):
        raise HttpError(
            400, f"{path}.data holds {plural(len(data), 'value')}; the shape {list(shape)} takes {math.prod(shape)}"
        )
    for level, lengths in enumerate(lists, 1):
        length = shape[level] if level < len(lists) else math.prod(shape[level:])
        if lengths != [length] * math.prod(shape[:level]):  # values of a row would be taken for those of another
            raise HttpError(400, f"{path}.data: its lists do not have the shape {list(shape)}")
    return list(data)


def _place(tensor: dict[str, Any], path: str, index: int) -> str:
    """The JSON path of a value that `_flat` gave."""
    where, data = f"{path}.data", tensor["data"]
    for level in range(1, len(tensor["shape"])):
        if not isinstance(data[0], list):
            break
        nested = level < len(tensor["shape"]) - 1 and data[0] and isinstance(data[0][0], list)
        place, index = divmod(index, math.prod(tensor["shape"][level:]) if nested else len(data[0]))
        where, data = f"{where}[{place}]", data[place]
    return f"{where}[{index}]"


def _floats(
    tensor: dict[str, Any], path: str, shape: tuple[int, ...], *, missing: bool = False
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers of a tensor; where some may be ``missing``, null is NaN."""
    kind, data = _datatype(tensor, path, _NUMERIC), _flat(tensor, path, shape)
    if missing:
        data = [math.nan if value is None else value for value in data]
    if not {type(value) for value in data} <= {int, float}:
        index = next(i for i, value in enumerate(data) if type(value) not in (int, float))
        raise field_error(_place(tensor, path, index), "a number", data[index])
    try:
        values = np.array(data, dtype=np.float64)
    except OverflowError:
        raise HttpError(400, f"{path}.data: a number does not fit FP64") from None
    if np.isinf(values).any():
        index = int(np.flatnonzero(np.isinf(values))[0])
        raise HttpError(400, f"{_place(tensor, path, index)}: a number does not fit FP64")
    if (wrong := _outside(np.nan_to_num(values), kind)) is not None:
        raise field_error(_place(tensor, path, wrong), f"a number of {kind}", data[wrong])
    return values


def _outside(values: np.ndarray[Any, np.dtype[np.float64]], kind: str) -> int | None:
    """The first value that its datatype does not have; None where there is none. FP32 is checked where it is used."""
    if kind in ("FP32", "FP64"):
        return None
    if kind == "FP16":
        bad = np.abs(values) > float(np.finfo(np.float16).max)
    else:
        limits = np.iinfo(kind.lower())
        bad = (values != np.floor(values)) | (values < float(limits.min)) | (values > float(limits.max))
    return int(np.flatnonzero(bad)[0]) if bad.any() else None
