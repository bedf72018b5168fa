"""Atomic writing of files and folders: they are complete or absent, whatever happens while they are written.

Files are written in a hidden folder beside their destination, ``.NAME.partial``, which the writing process locks.
A process that was killed leaves it behind, unlocked: the next process that writes or opens the destination restores
what had been moved aside and removes the rest.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visloc_ros.core.errors import OutputError

_SUFFIX = ".partial"
_LOCK, _NEW, _OLD = "lock", "new", "old"
_RENAMING_S = 2.0  # longer than another process needs for two renames


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of the file ``path`` when the block ends well, and vanishes otherwise.

    Raises OutputError where the file cannot be written.
    """
    path = path.resolve()
    with _words(path), _workspace(path) as workspace:
        temporary = workspace / _NEW / path.name
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of the folder ``path`` when the block ends well, and vanishes otherwise.

    Raises OutputError where it cannot be written.
    """
    path = path.resolve()
    with _words(path), _workspace(path) as workspace:
        folder = workspace / _NEW / path.name
        folder.mkdir()
        yield folder
        for written in (*folder.rglob("*"), folder):
            _sync(written)
        _replace(path, folder, workspace / _OLD)
        _sync(path.parent)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder on the disk of ``path``, beside it, which vanishes when the block ends.

    Raises OutputError where nothing can be written there.
    """
    path = path.resolve()
    with _words(path), _workspace(path) as workspace:
        yield workspace / _NEW


def restore(path: Path) -> None:
    """Restore what a process moved aside before it was killed while replacing ``path``, and remove its leftovers.

    Raises OutputError where there is nothing at ``path`` and it cannot be put back.
    """
    try:
        path = path.resolve()
        if not path.name or not _workspace_of(path).exists():
            return
        if path.exists():
            with suppress(OutputError), _words(path), _workspace(path):  # it can be read all the same
                return
        if not (_workspace_of(path) / _OLD).exists():
            return
    except (OSError, ValueError, RuntimeError):  # nothing can be at such a path, as a circle of links
        return
    deadline = time.monotonic() + _RENAMING_S
    while not path.exists() and time.monotonic() < deadline:
        with _words(path), suppress(_InUse), _workspace(path):
            return
        time.sleep(0.01)


class _InUse(OutputError):
    """Another process writes to the same place."""


def check_space(folder: Path, at_least_bytes: int) -> None:
    """Raise OutputError where a folder's disk has less room than the least that the output needs."""
    left = shutil.disk_usage(folder).free
    if left < at_least_bytes:
        raise OutputError(
            f"{at_least_bytes / 1e6:.1f} MB or more are to be written, and the disk has {left / 1e6:.1f} MB left: "
            "free some space, or choose another disk"
        )


def is_unfinished(path: Path) -> bool:
    """Whether a relative path belongs to an unfinished write, of a running or of a killed process."""
    return any(part.startswith(".") and part.endswith(_SUFFIX) for part in path.parts)


def _workspace_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_SUFFIX}")


@contextmanager
def _words(path: Path) -> Iterator[None]:
    """Turn failures to write below the folder of ``path`` into OutputError; other errors pass."""
    try:
        yield
    except OSError as error:
        if not _is_of_writing(error, path.parent):
            raise
        cure = "free some space" if _is_full(error) else "see that the folder is writable, or choose another one"
        is_taken = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a file is in the way" if is_taken else error.strerror or error
        raise OutputError(f"cannot write {path}: {reason}; {cure}") from error


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _is_of_writing(error: OSError, parent: Path) -> bool:
    """Whether an error concerns a file written below a folder, rather than one that was read as input."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return _is_full(error) or not names or any(Path(name).is_relative_to(parent) for name in names)


@contextmanager
def _workspace(path: Path) -> Iterator[Path]:
    """The locked folder in which ``path`` is written, put in order first. Raises _InUse."""
    workspace = _workspace_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _locked(workspace, path)
    try:
        _put_in_order(path, workspace)
        (workspace / _NEW).mkdir()
        yield workspace
    finally:
        with suppress(OSError):  # the next writer clears up what cannot be cleared up now
            _put_in_order(path, workspace)
            (workspace / _LOCK).unlink()
            workspace.rmdir()
        os.close(lock)


def _put_in_order(path: Path, workspace: Path) -> None:
    """Put back what was moved aside, if nothing has taken its place, and remove what is unfinished."""
    if (workspace / _OLD).exists() and not os.path.lexists(path):
        (workspace / _OLD).rename(path)
    for leftover in (workspace / _OLD, workspace / _NEW):
        if leftover.exists():
            shutil.rmtree(leftover)


def _locked(workspace: Path, path: Path) -> int:
    """A descriptor that locks a workspace until it is closed; the folder is made where there is none. Raises _InUse."""
    while True:
        workspace.mkdir(exist_ok=True)
        try:
            descriptor = os.open(workspace / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # its last owner has just removed it
            continue
        except OSError:
            with suppress(OSError):  # it belongs to another process if it is not empty
                workspace.rmdir()
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(workspace / _LOCK)):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise _InUse(
                f"another process is just writing {path}: wait until it has ended, or choose another place"
            ) from error
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the last owner has just removed this lock: there may be a new one


def _replace(path: Path, folder: Path, old: Path) -> None:
    """Put ``folder`` in the place of ``path``; the old one moves to ``old``, from where the workspace restores it."""
    if path.exists():
        path.rename(old)
    folder.rename(path)


def _sync(path: Path) -> None:
    """Flush a file, or a folder's names, to the disk before anything depends on it: power may fail."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
