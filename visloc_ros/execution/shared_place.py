"""Whether workers on other computers see the folder that this one means: by a file that is put there."""

from __future__ import annotations

import os
import platform
import posixpath
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import fsspec

from visloc_ros.core.errors import SetupError

_PREFIX = ".visloc-mark-"


@dataclass(frozen=True)
class Mark:
    """A file in a folder, or in an object store, whose name occurs nowhere else; it pickles."""

    url: str
    name: str

    def check(self) -> None:
        """Raise SetupError if the file is not here: this computer has another folder of the same name, or none."""
        _check(self)


def absolute(url: str) -> str:
    """A path from the root, since workers run in other folders; an address of an object store as it is."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def mark_place(url: str) -> Mark:
    """A mark of a folder, which is made if it is missing; an earlier mark serves again.

    Those who begin at once may each leave a mark. All of them hold: a mark is a name, so none replaces another.
    """
    files, root = fsspec.core.url_to_fs(absolute(url))
    files.makedirs(root, exist_ok=True)
    files.invalidate_cache()
    names = sorted(posixpath.basename(path.rstrip("/")) for path in files.ls(root, detail=False))
    name = next((one for one in names if one.startswith(_PREFIX)), "")
    if not name:
        name = f"{_PREFIX}{uuid.uuid4().hex}"
        files.pipe_file(posixpath.join(root, name), name.encode())  # some object stores take an empty one for a folder
    return Mark(absolute(url), name)


def is_marked(folder: Path) -> bool:
    """Whether work has begun in a folder of this computer: its files are results."""
    return any(folder.glob(f"{_PREFIX}*"))


@lru_cache(maxsize=8)  # of marks that are seen: errors are not kept
def _check(mark: Mark) -> None:
    files, root = fsspec.core.url_to_fs(mark.url)
    files.invalidate_cache()
    if files.exists(posixpath.join(root, mark.name)):
        return
    raise SetupError(
        f"{platform.node()} does not see {mark.url} as the computer that has begun the work does: give a folder that "
        "all computers mount at the same path, or an object store (s3://BUCKET/FOLDER)"
    )
