"""Features of a few raw rows, bit for bit those of `harness.datasets.encoders`, without what many rows cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.datasets.encoders import LARGEST, PIXELS, Doubles, Encoder, Scaler, signed_log

MOST = 16  # rows, above which the fixed cost of the encoder's own arithmetic is less than theirs
_LARGEST_LOG = 710.0  # above that of any float64


@dataclass(frozen=True, eq=False)
class FewRows:
    """An encoder's arithmetic in as few calls as give the same bits, and each row put together from pieces of bytes.

    Attributes:
        log: numbers are replaced by their logarithms.
        bounded: no finite number can leave the range of float32, so that none is looked at.
        scaling: the scaler's steps, each with its parameters for `MOST` rows: NumPy takes eight times as long for two
            arrays of different shapes.
        numbers: how many there are of a row.
        pieces: of a row of features in order: bytes of its numbers, or of each code those of the features it makes.
    """

    log: bool
    bounded: bool
    scaling: tuple[tuple[np.ufunc, Doubles], ...]
    numbers: int
    pieces: tuple[slice | tuple[bytes, ...], ...]

    @classmethod
    def of(cls, encoder: Encoder) -> FewRows | None:
        """None where the encoding has no such form."""
        encoding, scaler = encoder.encoding, encoder.scaler
        nonlinear = scaler is not None and scaler.kind not in ("standard", "minmax")
        ordinal = encoder.vocabulary and encoding.categories not in ("onehot", "codes")
        if encoding.scaling in PIXELS or nonlinear or not encoder.columns or (encoding.log and ordinal):
            return None
        pieces: list[slice | tuple[bytes, ...]] = []
        numbers = 0
        for name in encoder.columns:
            values = encoder.vocabulary.get(name, ())
            if values and encoding.categories == "onehot":
                rows = np.eye(len(values) + 1, len(values), dtype=np.float32)  # the last is that of the code -1
                pieces.append(tuple(row.tobytes() for row in rows))
            elif values and encoding.categories == "codes":
                pieces.append(tuple(np.float32(code).tobytes() for code in (*range(len(values)), -1)))
            else:
                last = pieces[-1] if pieces else None
                start = pieces.pop().start if isinstance(last, slice) else 4 * numbers  # type: ignore[union-attr]
                numbers += 1
                pieces.append(slice(start, 4 * numbers))
        bounded = encoding.log and not encoder.gaps.filled and _bounded(scaler)
        return cls(encoding.log, bounded, _steps(scaler), numbers, tuple(pieces))

    def features(self, numbers: Doubles, codes: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """Features of rows; None where a number has to be looked at.

        Args:
            numbers: (n, numbers), C-contiguous, n at most `MOST`; overwritten.
            codes: of each row, those of its categories in the order of the columns; -1 is none of them.
        """
        if self.log:
            numbers = signed_log(numbers)
        if not self.bounded and not (np.abs(numbers) <= LARGEST).all():
            return None
        for step, parameters in self.scaling:
            step(numbers, parameters[: len(numbers)], out=numbers)
        if self.scaling and not self.bounded and not (np.abs(numbers) <= LARGEST).all():
            return None
        block = numbers.astype(np.float32).tobytes()
        width, parts = 4 * self.numbers, []
        for index, mine in enumerate(codes):
            row, code = block[index * width : (index + 1) * width], iter(mine)
            for piece in self.pieces:
                parts.append(row[piece] if type(piece) is slice else piece[next(code)])
        return np.frombuffer(bytearray().join(parts), dtype=np.float32).reshape(len(codes), -1)


def _steps(scaler: Scaler | None) -> tuple[tuple[np.ufunc, Doubles], ...]:
    """What `Scaler.transform` does, on `MOST` rows at once."""
    if scaler is None:
        return ()
    of = scaler.parameters
    steps: list[tuple[np.ufunc, Doubles]]
    if scaler.kind == "standard":
        steps = [(np.subtract, of["mean_"]), (np.divide, of["scale_"])]
    else:
        steps = [(np.multiply, of["scale_"]), (np.add, of["min_"])]
    return tuple((step, np.tile(values, (MOST, 1))) for step, values in steps)


def _bounded(scaler: Scaler | None) -> bool:
    """Whether what is scaled from the logarithm of a finite number, at most 710, is within the range of float32."""
    if scaler is None:
        return True
    parameters = scaler.parameters
    if scaler.kind == "standard":
        most = (_LARGEST_LOG + np.abs(parameters["mean_"])) / np.abs(parameters["scale_"])
    else:
        most = _LARGEST_LOG * np.abs(parameters["scale_"]) + np.abs(parameters["min_"])
    return bool((most < LARGEST).all())
