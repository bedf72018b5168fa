"""The small pictures of a map's images, which are read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from weakref import finalize

from visloc_ros.core.errors import MapError
from visloc_ros.core.files import COPY_AGAIN, is_file
from visloc_ros.core.map_layout import thumbnail_name


class Thumbnails(Mapping[str, bytes]):
    """Pictures in a folder by image name, encoded as JPEG; images without one are left out.

    The folder stays open: when another map takes its place on disk, reading raises MapError.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._opened = folder, _OpenFolder(folder) if folder.is_dir() else None
        there = set(os.listdir(self._opened.descriptor)) if self._opened else set()
        files = {name: thumbnail_name(name) for name in names} if there else {}
        self._files = {name: file for name, file in files.items() if file in there and is_file(folder / file)}

    def __getitem__(self, name: str) -> bytes:
        file, opened = self._files[name], self._opened
        assert opened is not None
        try:
            with open(file, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=opened.descriptor)) as picture:
                return picture.read()
        except OSError as error:
            raise MapError(f"cannot read {self._folder / file}: {error.strerror}{COPY_AGAIN}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class _OpenFolder:
    """A folder that is open as long as this lives."""

    def __init__(self, folder: Path) -> None:
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        finalize(self, os.close, self.descriptor)
