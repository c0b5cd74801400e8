"""ADBench: NumPy archives with X and y, numbered as the publisher numbers them (``16_http.npz``)."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np

from harness.datasets import matrix
from harness.datasets.recipe import Reading, Recipe, Request, digests_and_verdict
from harness.datasets.store import Found, content
from harness.errors import InputError


def _read(local: Found, request: Request) -> Reading:
    entry = local.files[0]
    data, sha256 = content(entry.path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            x, y = archive["X"], archive["y"]
    except KeyError as error:
        raise InputError(f"{entry.path}: {error.args[0]}; arrays X and y were expected.") from None
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{entry.path} is no readable NumPy archive: {error}.", remedy="Get it again.") from None
    digests, verified = digests_and_verdict(local, {entry.name: sha256})
    return Reading(matrix.split(x, y, entry.path, request), digests, verified)


RECIPE = Recipe(read=_read, synthesise=matrix.synthesise, options=matrix.OPTIONS, published=matrix.PUBLISHED)
