"""Whether workers on other computers see the folder that this one means: by a file that is put there."""

from __future__ import annotations

import os
import platform
import posixpath
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import fsspec

from visloc_ros.core.errors import SetupError

_NAME = ".visloc-mark"


@dataclass(frozen=True)
class Mark:
    """The content of a file in a folder, or in an object store; it pickles."""

    url: str
    content: str

    def check(self) -> None:
        """Raise SetupError where the file is not here: this computer has another folder of the same name, or none."""
        _check(self)


def absolute(url: str) -> str:
    """A path from the root, since workers run in other folders; an address of an object store as it is."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def mark_place(url: str) -> Mark:
    """Mark a folder, which is made where it is missing; an earlier mark stays."""
    files, root = fsspec.core.url_to_fs(absolute(url))
    place = posixpath.join(root, _NAME)
    files.makedirs(root, exist_ok=True)
    if not files.exists(place):
        files.pipe_file(place, uuid.uuid4().hex.encode())
    return Mark(absolute(url), files.cat_file(place).decode())


@lru_cache(maxsize=8)  # of marks that are seen: errors are not kept
def _check(mark: Mark) -> None:
    files, root = fsspec.core.url_to_fs(mark.url)
    with suppress(FileNotFoundError, NotADirectoryError):
        if files.cat_file(posixpath.join(root, _NAME)).decode() == mark.content:
            return
    raise SetupError(
        f"{platform.node()} does not see {mark.url} as the computer that has begun the work does: give a folder that "
        "all computers mount at the same path, or an object store (s3://BUCKET/FOLDER)"
    )
