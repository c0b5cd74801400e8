"""What HDF5 files need to be read besides h5py."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.errors import InputError


def require_filters(path: Path, datasets: Iterable[Any]) -> None:
    """See that the filters that compressed ``datasets`` (h5py's) are here; PyTables writes Blosc, which h5py lacks.

    Raises:
        InputError: names the filter and the package that has it.
    """
    from h5py import h5z

    for dataset in datasets:
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
