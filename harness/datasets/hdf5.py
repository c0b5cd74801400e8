"""HDF5 files through h5py: of the file itself, whatever it refers to, and with the filters that it needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.datasets.store import refuse_bomb
from harness.errors import InputError


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[Any]:
    """The file whose content is ``data``, as h5py has it.

    Raises:
        InputError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: reading HDF5 needs h5py.", remedy="pip install h5py") from None
    with h5py.File(io.BytesIO(data), "r") as file:
        yield file


def array(path: Path, group: Any, name: str) -> Any:
    """The array ``name`` of a group, which lies in the file itself.

    Raises:
        InputError: it refers to another file, which would be read as data; it is larger than it can be; or its
            compression is not here.
    """
    from h5py import Dataset, ExternalLink

    if isinstance(group.get(name, getlink=True), ExternalLink):
        raise _foreign(path, name)
    dataset = group[name]
    if not isinstance(dataset, Dataset):
        raise InputError(f"{path}: {name} is a group; an array was expected.")
    if dataset.external or dataset.is_virtual:
        raise _foreign(path, name)
    refuse_bomb(path, path.stat().st_size, dataset.size * dataset.dtype.itemsize)
    _require_filters(path, dataset)
    return dataset[...]


def _foreign(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: {name} is stored in another file, which is not read.",
        remedy="Write the file again with its content: h5repack FILE NEW.",
    )


def _require_filters(path: Path, dataset: Any) -> None:
    """See that the filters of a compressed dataset are here; PyTables writes Blosc, which h5py lacks."""
    from h5py import h5z

    plist = dataset.id.get_create_plist()
    for place in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(place)
        if h5z.filter_avail(code):
            continue
        try:
            import_module("hdf5plugin")  # registers what it has
        except ImportError:
            written = (name.decode() if isinstance(name, bytes) else str(name)) or f"number {code}"
            raise InputError(
                f"{path} is compressed with the HDF5 filter {written}, which h5py does not have.",
                remedy="pip install hdf5plugin, or write the file again with gzip: h5repack -f GZIP=4 FILE NEW",
            ) from None
