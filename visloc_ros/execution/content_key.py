"""A key of content: of a file, or of all files of a folder, whatever their place and times of change.

All is read, since times and sizes may lie: 2 GB a second of one processor, where a build reads a second of full HD
video, some megabytes, in about a second. A process reads a file again only once its state in the file system differs,
to which the time belongs at which the system last changed it (nobody can set that one).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.manifest import MANIFEST_NAME, file_info
from visloc_ros.execution.shared_place import is_marked

_State = tuple[int, int, int, int, int]

_THREADS = 4  # hashing releases the interpreter's lock; more only wait for the disk
_MOST_KNOWN = 1 << 20
_UNSETTLED_NS = 2_000_000_000  # a file may change twice at the same time, as coarse as file systems keep it
_known: dict[_State, str] = {}


def content_key(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and contents of all files in it, also of those behind links.

    Hidden files and results of this program (maps, work folders) in a folder are left out: they come and go while it
    is read. Raises SourceError if something cannot be read.
    """
    if not is_folder(path):
        return content_keys([path])[0]
    try:
        files = list(_files_of(str(path), "", frozenset([os.path.realpath(path)])))
        keys = _keys_of({state: place for _, place, state in files})
    except OSError as error:
        raise SourceError(f"cannot read {error.filename or path}: {error.strerror}") from error
    named = "".join(f"{name}\0{keys[state]}\0" for name, _, state in files)
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()


def content_keys(files: Sequence[Path]) -> list[str]:
    """The keys of files. Raises SourceError."""
    try:
        statuses = [os.stat(file) for file in files]
        other = next((file for file, one in zip(files, statuses, strict=True) if not stat.S_ISREG(one.st_mode)), None)
        if other is not None:
            raise SourceError(f"cannot read {other}: it is no file, but a pipe or a device")
        states = [_state_of(one) for one in statuses]
        keys = _keys_of(dict(zip(states, map(str, files), strict=True)))
    except OSError as error:
        raise SourceError(f"cannot read {error.filename or files[0]}: {error.strerror}") from error
    return [keys[state] for state in states]


def content_of_weights(path: str) -> str:
    """The key of a file of weights that an option names; empty where it names none, or none that is there."""
    file = Path(path).expanduser()
    return content_key(file) if path and is_file(file) else ""


def _files_of(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, str, _State]]:
    """Names, paths and states of all files of a folder; ``above`` are the folders that it lies in, without links."""
    with os.scandir(folder) as entries:
        listed = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    for entry in listed:
        try:
            status = entry.stat()
        except OSError:  # a link that leads nowhere
            continue
        if stat.S_ISREG(status.st_mode):
            yield f"{prefix}{entry.name}", entry.path, _state_of(status)
        elif stat.S_ISDIR(status.st_mode) and not _holds_results(Path(entry.path)):
            real = os.path.realpath(entry.path)
            if real not in above:
                yield from _files_of(entry.path, f"{prefix}{entry.name}/", above | {real})


def _holds_results(folder: Path) -> bool:
    return is_file(folder / MANIFEST_NAME) or is_marked(folder)


def _state_of(status: os.stat_result) -> _State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _keys_of(files: dict[_State, str]) -> dict[_State, str]:
    """The keys of files by their states; those of states that this process has not seen are read."""
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    found = {state: _known[state] for state in files if state in _known}
    new = {state: path for state, path in files.items() if state not in found}
    if new:
        settled_ns = time.time_ns() - _UNSETTLED_NS
        with ThreadPoolExecutor(_THREADS) as pool:
            found.update(zip(new, pool.map(_read_key, new.values()), strict=True))
        _known.update((state, found[state]) for state in new if state[-1] < settled_ns)
    return found


def _read_key(path: str) -> str:
    return file_info(Path(path)).sha256
