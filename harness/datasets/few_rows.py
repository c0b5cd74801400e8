"""Features of a few raw rows, bit for bit those of `harness.datasets.encoders`, without what many rows cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.datasets.encoders import LARGEST, PIXELS, Doubles, Encoder, Scaler, signed_log

_LARGEST_LOG = 710.0  # above that of any float64


@dataclass(frozen=True, eq=False)
class FewRows:
    """An encoder's arithmetic in as few calls as give the same bits, and each row put together from pieces of bytes.

    Attributes:
        log: numbers are replaced by their logarithms.
        bounded: no finite number can leave the range of float32, so that none is looked at.
        scaler: None where there is none.
        numbers: how many there are of a row.
        pieces: of a row of features in order: bytes of its numbers, or of each code those of the features it makes.
    """

    log: bool
    bounded: bool
    scaler: Scaler | None
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
                pieces.append(tuple(row.tobytes() for row in np.eye(len(values), dtype=np.float32)))
            elif values and encoding.categories == "codes":
                pieces.append(tuple(np.float32(code).tobytes() for code in range(len(values))))
            else:
                last = pieces[-1] if pieces else None
                start = pieces.pop().start if isinstance(last, slice) else 4 * numbers  # type: ignore[union-attr]
                numbers += 1
                pieces.append(slice(start, 4 * numbers))
        return cls(encoding.log, encoding.log and _bounded(scaler), scaler, numbers, tuple(pieces))

    def features(self, numbers: Doubles, codes: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """Features of finite rows whose categories are known; None where a number has to be looked at.

        Args:
            numbers: (n, numbers), C-contiguous; overwritten.
            codes: of each row, those of its categories in the order of the columns.
        """
        if self.log:
            numbers = signed_log(numbers)
        if not self.bounded and not (np.abs(numbers) <= LARGEST).all():
            return None
        if self.scaler is not None:
            numbers = self.scaler.transform(numbers)
            if not self.bounded and not (np.abs(numbers) <= LARGEST).all():
                return None
        block = numbers.astype(np.float32).tobytes()
        width, parts = 4 * self.numbers, []
        for index, mine in enumerate(codes):
            row, code = block[index * width : (index + 1) * width], iter(mine)
            for piece in self.pieces:
                parts.append(row[piece] if type(piece) is slice else piece[next(code)])
        return np.frombuffer(bytearray().join(parts), dtype=np.float32).reshape(len(codes), -1)


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
