"""Arrays from an untrusted HDF5 file: numbers of the expected shape, none from other files or mere fill values.

A few bytes of HDF5 can declare an array of any size, which reads as its fill value; so the ratio of the arrays' size
to the file's size is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.files import COPY_AGAIN, LARGEST_MODEL_BYTES, check_file

MAX_DIMENSION = 1 << 17
LARGEST_NUMBER = 1e6
_LARGEST_RATIO = 50  # of memory to file: descriptors of a map pack to a half, plain ones to a tenth
_FREE_BYTES = 16 << 20
_LARGEST_RATIO_OF_ONE = 1100  # zeros pack to a thousandth
_FREE_BYTES_OF_ONE = 64 << 10


class H5Reader:
    """An open file; ``path`` is for its messages. Raises MapError for anything unexpected."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        self._left_bytes = _FREE_BYTES + _LARGEST_RATIO * path.stat().st_size

    def __contains__(self, key: str) -> bool:
        return key in self._file

    def read(
        self, key: str, shape: tuple[int | None, ...], at_most: int = MAX_DIMENSION, largest: float = LARGEST_NUMBER
    ) -> NDArray[Any]:
        """A data set of numbers up to ``largest``; a side of ``shape`` that is None is of any length to ``at_most``."""
        dataset = self._dataset(key)
        self._check_shape(key, dataset, shape, at_most)
        self._left_bytes -= dataset.nbytes
        stored_bytes = dataset.id.get_storage_size()
        if self._left_bytes < 0 or dataset.nbytes > _FREE_BYTES_OF_ONE + _LARGEST_RATIO_OF_ONE * stored_bytes:
            raise MapError(f"{self.path} unpacks to more than a map can hold at '{key}': do not trust this map")
        try:
            values: NDArray[Any] = dataset[()]
        except (OSError, MemoryError) as error:
            raise MapError(f"{self.path} is truncated or broken at '{key}'{COPY_AGAIN}") from error
        bound = min(largest, float(np.finfo(values.dtype).max)) if values.dtype.kind == "f" else largest
        if not np.all((values >= -bound) & (values <= bound)):
            raise MapError(f"{self.path}: '{key}' holds values that are not finite, or absurd: rebuild the map")
        return values

    def _dataset(self, key: str) -> h5py.Dataset:
        try:
            dataset = self._file.get(key)
        except (OSError, RuntimeError) as error:
            raise MapError(f"{self.path} is truncated or broken at '{key}'{COPY_AGAIN}") from error
        if not isinstance(dataset, h5py.Dataset):
            raise MapError(f"{self.path} lacks '{key}': it does not belong to this COLMAP model, rebuild the map")
        # A map is self-contained: links and virtual or external storage could make it read other files.
        if dataset.file.filename != self._file.filename or dataset.is_virtual or dataset.external:
            raise MapError(f"{self.path}: '{key}' refers to another file: do not trust this map")
        return dataset

    def _check_shape(self, key: str, dataset: h5py.Dataset, shape: tuple[int | None, ...], at_most: int) -> None:
        actual = dataset.shape
        fits = (
            actual is not None
            and len(actual) == len(shape)
            and all(
                side == wanted if wanted is not None else side <= at_most
                for side, wanted in zip(actual, shape, strict=True)
            )
        )
        if not fits or dataset.dtype.kind not in "fiu":
            wanted_text = "x".join("any" if side is None else str(side) for side in shape)
            raise MapError(
                f"{self.path}: '{key}' is {dataset.dtype} {actual}, expected numbers {wanted_text} as in the COLMAP "
                "model: the files do not belong together, rebuild the map"
            )


@contextmanager
def opened(path: Path) -> Iterator[H5Reader]:
    """Open a file to read. Raises MapError."""
    check_file(path, MapError, LARGEST_MODEL_BYTES, COPY_AGAIN)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise MapError(f"{path} is truncated or broken ({error}){COPY_AGAIN}") from error
    with file:
        yield H5Reader(path, file)
