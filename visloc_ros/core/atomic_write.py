"""Atomic writing of files: they are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visloc_ros.core.errors import OutputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of ``path`` when the block ends well, and vanishes otherwise.

    Raises OutputError where the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is gone already, or could never be made
            temporary.unlink()
