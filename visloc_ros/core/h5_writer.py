"""New HDF5 files, through a file that takes everything: where a write fails in HDF5 itself, the process crashes.

(A file that cannot be flushed stays open in the library, which tries once more when the process ends.)
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


@contextmanager
def created(path: Path, **options: Any) -> Iterator[h5py.File]:
    """Give a new file to write into. Raises OSError where it could not be written, when the block ends."""
    with _PatientFile(path, "w+b") as file:
        try:
            with h5py.File(file, "w", **options) as h5:
                yield h5
        finally:
            if file.failure is not None:
                raise OSError(file.failure.errno, file.failure.strerror, str(path))


class _PatientFile(io.FileIO):
    """A file that forgets what it cannot write, and everything after it; ``failure`` is the first one."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or seem to."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self.failure is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or seem to."""
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self.failure = error
        return size or 0
