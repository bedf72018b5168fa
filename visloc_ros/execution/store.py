"""Results of tasks by their content's address, in a folder that all workers reach, or in an object store (fsspec)."""

from __future__ import annotations

import io
import os
import posixpath
import struct
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError, OutputError, SetupError
from visloc_ros.execution.shared_place import absolute

Artifact = Mapping[str, NDArray[Any]]
"""What a task makes: arrays by name; files of other libraries are arrays of bytes."""

_SUFFIX = ".npz"
_DAMAGE = (zipfile.BadZipFile, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, struct.error)


class ArtifactError(OutputError):
    """An artifact is missing or damaged, ``key`` says which: the task that makes it has to run again."""

    def __init__(self, words: str, key: str = "") -> None:
        super().__init__(words)
        self.key = key


@dataclass(frozen=True)
class ArtifactStore:
    """Artifacts by key below ``url``: a path, or an address as ``s3://bucket/prefix``. It pickles by its address."""

    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", absolute(self.url))

    def has(self, key: str) -> bool:
        """Whether the artifact is there; it is there whole or not at all."""
        files, place = self._place(key)
        files.invalidate_cache()
        return bool(files.exists(place))

    def present(self, keys: Iterable[str]) -> set[str]:
        """The keys whose artifacts are there, by lists of folders: an object store takes long for each single name."""
        files, root = self._root()
        files.invalidate_cache()
        wanted = set(keys)
        names: set[str] = set()
        for folder in {key[:2] for key in wanted}:
            with suppress(FileNotFoundError):
                names.update(posixpath.basename(path) for path in files.ls(posixpath.join(root, folder), detail=False))
        return {key for key in wanted if f"{key}{_SUFFIX}" in names}

    def read(self, key: str) -> Artifact:
        """Read an artifact. Raises ArtifactError where it is missing or damaged; a damaged one is removed."""
        files, place = self._place(key)
        try:
            content = files.cat_file(place)
        except FileNotFoundError as error:
            raise ArtifactError(f"{place} is missing: run the same command again", key) from error
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except _DAMAGE as error:
            with suppress(FileNotFoundError):  # another worker has found it damaged, too
                files.rm(place)
            raise ArtifactError(f"{place} was damaged and is removed: run the same command again", key) from error

    def write(self, key: str, artifact: Artifact) -> None:
        """Write an artifact, whole or not at all, also where several workers write the same one. Raises OutputError."""
        content = io.BytesIO()
        np.savez(content, **dict[str, Any](artifact))
        files, place = self._place(key)
        try:
            files.makedirs(posixpath.dirname(place), exist_ok=True)
            if isinstance(files, LocalFileSystem):
                _write_whole(Path(place), content.getbuffer())
            else:
                files.pipe_file(place, content.getvalue())  # object stores show an object once it is whole
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot write {place}: {reason}; see that it is writable and has space left") from error

    def _place(self, key: str) -> tuple[Any, str]:
        files, root = self._root()
        return files, posixpath.join(root, key[:2], f"{key}{_SUFFIX}")

    def _root(self) -> tuple[Any, str]:
        """The file system and the path in it. Raises ConfigError, SetupError."""
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except ValueError as error:
            raise ConfigError(f"cannot store anything at {self.url}: {error}") from error
        except ImportError as error:
            raise SetupError(f"cannot reach {self.url}: {error}") from error
        return files, root


def _write_whole(path: Path, content: memoryview) -> None:
    """Write a file that takes its place once it is on the disk; renaming is one step, also on a network's file system.

    No lock, unlike ``core.atomic_write``: whoever comes last replaces the same content.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
