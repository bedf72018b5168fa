"""The content of a recording as a checksum: the same wherever it lies and whatever it is called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import check_file
from visloc_ros.core.manifest import file_info
from visloc_ros.sources.opening import LARGEST_VIDEO_BYTES


def content_of(path: Path) -> str:
    """SHA-256 in hexadecimal of a file, or of all files below a folder by their names in it; links are followed.

    The name of the recording itself, times and permissions do not count. Raises SourceError where there is no
    recording, a file of it cannot be read or is a pipe or a device, or links lead back to a folder around them.
    """
    try:
        if not path.is_dir():
            return _checksum(path)
        digest = hashlib.sha256()
        for file in sorted(_files(path), key=os.fsencode):
            digest.update(b"%s\0%s\0" % (os.fsencode(file.relative_to(path)), _checksum(file).encode()))
        return digest.hexdigest()
    except OSError as error:
        raise SourceError(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def _checksum(file: Path) -> str:
    check_file(file, SourceError, LARGEST_VIDEO_BYTES)
    return file_info(file).sha256


def _files(folder: Path) -> Iterator[Path]:
    """All that lies below a folder and is no folder."""
    left = [(folder, frozenset[Path]())]  # with the folders that each lies in
    while left:
        place, around = left.pop()
        inside = around | {place.resolve()}
        if len(inside) == len(around):
            raise SourceError(f"the link {place} leads back to a folder that it lies in: remove the link")
        for path in place.iterdir():
            if path.is_dir():
                left.append((path, inside))
            else:
                yield path
