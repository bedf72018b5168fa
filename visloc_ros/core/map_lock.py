"""One lock a map: whoever changes it holds that from reading the map until the changed one is in its place.

So no change is lost because another one read the map before it. Processes that only read a map need no lock: a map is
replaced whole. The lock is on a file beside the map, which the system unlocks when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visloc_ros.core.errors import OutputError


class MapBusyError(OutputError):
    """Another process or thread is changing the map."""


class _Held(threading.local):
    """The maps whose lock a thread holds."""

    def __init__(self) -> None:
        self.places = set[Path]()


_held = _Held()


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the lock of a map while it is read, changed and replaced; also of one that is yet to be written.

    Within the block the same thread may ask for it again. Raises MapBusyError at once if another process or thread has
    it, OutputError if no file can be written beside the map.
    """
    place = path.resolve()  # a link's map may be changed by its own name, too
    if place in _held.places:
        yield
        return
    descriptor = _locked(place)
    _held.places.add(place)
    try:
        yield
    finally:
        _held.places.discard(place)
        with suppress(OSError):  # its folder may have been removed; the next change removes what is left of it
            _file_of(place).unlink()
        with suppress(OSError):  # nothing was written to it
            os.close(descriptor)


def _file_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


def _locked(place: Path) -> int:
    """A descriptor that locks the file of a map until it is closed."""
    file = _file_of(place)
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"cannot write {file}: {error.strerror}; see that the folder is writable") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
            os.close(descriptor)  # of a file that its last holder has just removed
        except FileNotFoundError:
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise OutputError(f"cannot lock {file}: {error.strerror}; use a folder of a disk that can") from error
            raise MapBusyError(
                f"another process is changing the map {place}: wait until it has ended, then run this again"
            ) from error
