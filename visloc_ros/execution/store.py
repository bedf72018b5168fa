"""Results of tasks by their content's address, in a folder that all workers reach, or in an object store (fsspec)."""

from __future__ import annotations

import io
import posixpath
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import OutputError

Artifact = Mapping[str, NDArray[Any]]
"""What a task makes: arrays by name; files of other libraries are arrays of bytes."""


@dataclass(frozen=True)
class ArtifactStore:
    """Artifacts by key below ``url``: a path, or an address as ``s3://bucket/prefix``. It pickles by its address."""

    url: str

    def has(self, key: str) -> bool:
        """Whether the artifact is there; it is there whole or not at all."""
        files, place = self._place(key)
        return bool(files.exists(place))

    def read(self, key: str) -> Artifact:
        """Read an artifact. Raises OutputError where it is missing or damaged; a damaged one is removed."""
        files, place = self._place(key)
        try:
            with files.open(place, "rb") as stream:
                content = stream.read()
        except FileNotFoundError as error:
            raise OutputError(f"{place} is missing: run the same command again") from error
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (zipfile.BadZipFile, ValueError, EOFError) as error:
            files.rm(place)
            raise OutputError(f"{place} was damaged and is removed: run the same command again") from error

    def write(self, key: str, artifact: Artifact) -> None:
        """Write an artifact, whole or not at all, also where several workers write the same one."""
        files, place = self._place(key)
        files.makedirs(posixpath.dirname(place), exist_ok=True)
        temporary = f"{place}.{uuid.uuid4().hex}.partial"
        with files.open(temporary, "wb") as stream:
            np.savez(stream, **dict[str, Any](artifact))
        files.mv(temporary, place)

    def _place(self, key: str) -> tuple[Any, str]:
        files, root = fsspec.core.url_to_fs(self.url)
        return files, posixpath.join(root, key[:2], f"{key}.npz")
