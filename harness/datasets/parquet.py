"""Parquet and Arrow (Feather) files through pyarrow, which is optional."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.datasets.csvfile import distinct_names, require_columns
from harness.datasets.store import parsing
from harness.datasets.table import trimmed
from harness.errors import InputError

_BATCH_ROWS = 1 << 17
_ARROW = b"ARROW1"


def frames(path: Path, wanted: Callable[[str], bool], *, required: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
    """Read the wanted columns batch by batch.

    Yields:
        Float64 columns, decimals and truth values included; times as datetime64; anything else as a categorical column
        of trimmed texts. What is null is missing. A name that occurs again gets ``.1``, as in a table of text.

    Raises:
        InputError: pyarrow is not installed; no readable file; a required column is missing; a wanted column
            holds lists or records.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pyarrow.", remedy="pip install pyarrow") from None
    with parsing(path, "Parquet file"):
        with path.open("rb") as start:
            arrow = start.read(len(_ARROW)) == _ARROW
        file = ParquetFile(path) if not arrow else pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
        schema = file.schema if arrow else file.schema_arrow
        written = schema.names
        names = distinct_names(written)
        require_columns(path, names, required)
        chosen = [place for place, name in enumerate(names) if wanted(name)]
        for place in chosen:
            kind = schema.types[place]
            if pyarrow.types.is_nested(kind):
                raise InputError(
                    f"{path}: column {names[place]!r} holds {kind}, which is no single value.",
                    remedy=f"Leave it out: --drop {names[place]}.",
                )
        repeated = len(set(written)) < len(written)  # pyarrow takes columns by name only
        if arrow:
            batches = (file.get_batch(number) for number in range(file.num_record_batches))
        else:
            columns = None if repeated else [written[place] for place in chosen]
            batches = file.iter_batches(_BATCH_ROWS, columns=columns)
        for batch in batches:
            places = chosen if repeated or arrow else range(len(chosen))
            made = {names[place]: _column(batch.column(at)) for place, at in zip(chosen, places, strict=True)}
            yield pd.DataFrame(made, copy=False)


def _column(values: Any) -> pd.Series[Any]:
    import pyarrow

    kind = values.type
    if pyarrow.types.is_decimal(kind) or pyarrow.types.is_boolean(kind):
        values = values.cast(pyarrow.float64())
    elif pyarrow.types.is_duration(kind):
        values = values.cast(pyarrow.int64())
    elif pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        return pd.Series(values.cast(pyarrow.timestamp("us")).to_numpy(zero_copy_only=False))
    elif pyarrow.types.is_dictionary(kind):
        values = values.dictionary_decode()
    column: pd.Series[Any] = values.to_pandas()
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    codes, texts = pd.factorize(column.to_numpy(dtype=object))
    return pd.Series(trimmed(codes, [_text(value) for value in texts]))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
