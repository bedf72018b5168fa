"""Temporary folders that the next process removes where the one that made them was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "visloc_"


@contextmanager
def temporary_folder(use: str) -> Iterator[Path]:
    """Give an empty folder that vanishes when the block ends; ``use`` is a part of its name.

    It is locked while it is in use. Those of the same use that no process locks any more are removed first.
    """
    prefix = f"{_PREFIX}{use}_"
    _remove_abandoned(prefix)
    folder, lock = _locked_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the next process removes what cannot be removed now
        os.close(lock)


def _locked_folder(prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock
        # Another process has taken it for abandoned, before it was locked, and removes it.


def _remove_abandoned(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # it belongs to another user, or another process removes it, too
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks a folder until it is closed; None where it is locked or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
