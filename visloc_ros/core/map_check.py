"""A map from a stranger, tried first in a process of its own: it may take no more than a map of its size needs."""

from __future__ import annotations

from pathlib import Path

from visloc_ros.core.child_process import ChildProcess, Limits, Tell
from visloc_ros.core.errors import MapError, SetupError
from visloc_ros.core.map import open_map

# A map of 10,000 images (1.5 GB) takes 2.7 GB and 8 s; an archive is packed to a twentieth at the most.
_FREE_BYTES, _BYTES_A_BYTE = 1 << 30, 20
_FREE_S, _BYTES_A_SECOND = 30, 20_000_000


def check_map(path: Path) -> None:
    """Open a map and forget it, so that a map that is broken on purpose breaks nothing here. Raises MapError."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    limits = Limits(_FREE_BYTES + _BYTES_A_BYTE * size, _FREE_S + size // _BYTES_A_SECOND)
    try:
        ChildProcess(_try, path, limits=limits).result()
    except SetupError as error:
        raise MapError(f"{path} cannot be opened ({error}): do not trust it, or copy it again") from error


def _try(_: Tell, path: Path) -> None:
    open_map(path)
