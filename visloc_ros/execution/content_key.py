"""A key of content: of a file, or of all files of a folder, whatever their place and times of change.

All is read, since times and sizes may lie: 2 GB a second of one processor, where a build reads a second of full HD
video, some megabytes, in about a second. A process reads a file again only once its state in the file system differs,
to which the time belongs at which the system last changed it (nobody can set that one).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.manifest import MANIFEST_NAME, file_info
from visloc_ros.execution.shared_place import is_marked

_THREADS = 4  # hashing releases the interpreter's lock; more only wait for the disk


def content_key(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and contents of all files in it, also of those behind links.

    Hidden files and results of this program (maps, work folders) in a folder are left out: they come and go while it
    is read. Raises SourceError if something cannot be read.
    """
    try:
        if not is_folder(path):
            return _file_key(path)
        files = dict(_files_of(path, "", frozenset([os.path.realpath(path)])))
        with ThreadPoolExecutor(_THREADS) as pool:
            keys = pool.map(_file_key, files.values())
            named = "".join(f"{name}\0{key}\0" for name, key in zip(files, keys, strict=True))
    except OSError as error:
        raise SourceError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()


def content_of_weights(path: str) -> str:
    """The key of a file of weights that an option names; empty where it names none, or none that is there."""
    file = Path(path).expanduser()
    return content_key(file) if path and is_file(file) else ""


def _files_of(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name.startswith("."):
            continue
        if is_file(path):
            yield f"{prefix}{name}", path
        elif is_folder(path) and not _holds_results(path) and (real := os.path.realpath(path)) not in above:
            yield from _files_of(path, f"{prefix}{name}/", above | {real})


def _holds_results(folder: Path) -> bool:
    return is_file(folder / MANIFEST_NAME) or is_marked(folder)


def _file_key(path: Path) -> str:
    state = path.stat()
    times = state.st_mtime_ns, state.st_ctime_ns
    return _read_key(os.path.realpath(path), (state.st_dev, state.st_ino, state.st_size, *times))


@lru_cache(maxsize=1 << 20)
def _read_key(path: str, state: tuple[int, ...]) -> str:
    return file_info(Path(path)).sha256
