"""Arrays of NumPy's files, which may come from others: nothing pickled is read, and nothing larger than it can be."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import check_file

COMPUTE_AGAIN = ": remove the file, and compute it again"
_MAX_BYTES = 1 << 28  # in memory: 100,000 keypoints have a fifth of it
_ERRORS = (OSError, ValueError, EOFError, MemoryError, SyntaxError, zipfile.BadZipFile, NotImplementedError)


def read_arrays(path: Path, only: str | None = None) -> Mapping[str, NDArray[Any]]:
    """Arrays of a .npz file by their names, of which ``only`` one, or that of a .npy file without a name.

    Raises GeoError.
    """
    check_file(path, GeoError, _MAX_BYTES)
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return {"": np.lib.format.read_array(file, allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            if sum(one.file_size for one in archive.infolist()) > _MAX_BYTES:
                raise ValueError("it unpacks to more than such a file can hold")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if only in (None, name)}
    except _ERRORS as error:
        raise GeoError(f"cannot read {path}: {error}{COMPUTE_AGAIN}") from error
