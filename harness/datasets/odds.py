"""ODDS library: MATLAB files with X and y; newer ones are HDF5."""

from __future__ import annotations

import io
from typing import Any

import numpy.typing as npt

from harness.datasets import matrix
from harness.datasets.recipe import Reading, Recipe, Request, digests_and_verdict
from harness.datasets.store import Found, content
from harness.errors import InputError

Matrix = npt.NDArray[Any]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSET = 512  # MATLAB 7.3 puts its own header before that of HDF5


def _read(local: Found, request: Request) -> Reading:
    from scipy.io.matlab import MatReadError

    entry = local.files[0]
    data, sha256 = content(entry.path)
    try:
        arrays = _hdf5(data) if _HDF5_MAGIC in data[: _HDF5_OFFSET + len(_HDF5_MAGIC)] else _matlab(data)
        x, y = arrays["X"], arrays["y"]
    except ImportError:
        raise InputError(f"{entry.path} is a MATLAB 7.3 file, which needs h5py.", remedy="pip install h5py") from None
    except KeyError as error:
        raise InputError(f"{entry.path} has no variable {error}; X and y were expected.") from None
    except (MatReadError, ValueError, TypeError, OSError, EOFError, IndexError) as error:
        raise InputError(f"{entry.path} is no readable MATLAB file: {error}.", remedy="Get it again.") from None
    digests, verified = digests_and_verdict(local, {entry.name: sha256})
    return Reading(matrix.split(x, y, entry.path, request), digests, verified)


def _matlab(data: bytes) -> dict[str, Matrix]:
    from scipy.io import loadmat

    loaded: dict[str, Matrix] = loadmat(io.BytesIO(data))
    return loaded


def _hdf5(data: bytes) -> dict[str, Matrix]:
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        return {name: file[name][...].T for name in ("X", "y") if name in file}  # MATLAB stores by column


RECIPE = Recipe(read=_read, synthesise=matrix.synthesise, options=matrix.OPTIONS, published=matrix.PUBLISHED)
