"""An untrusted map, opened first in a separate process whose limits are what a map of its size needs."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from visloc_ros.core.child_process import ChildProcess, Limits, Send
from visloc_ros.core.errors import MapError, SetupError
from visloc_ros.core.files import LARGEST_MODEL_BYTES, is_file
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import packed_in

# A map of 10,000 images (1.5 GB) takes 2.7 GB and 8 s; an archive is packed to a twentieth at the most.
_FREE_BYTES, _BYTES_A_BYTE = 1 << 30, 20
_MOST_FOLDERS = 100
_FREE_S, _BYTES_A_SECOND = 30, 20_000_000


def check_map(path: Path) -> None:
    """Open a map in another process, so that a malicious one breaks nothing here. Raises MapError."""
    size = min(_size(path), LARGEST_MODEL_BYTES)
    limits = Limits(_FREE_BYTES + _BYTES_A_BYTE * size, _FREE_S + size // _BYTES_A_SECOND)
    try:
        ChildProcess(_try, path, limits=limits).result()
    except SetupError as error:
        raise MapError(f"{path} cannot be opened ({error}): do not trust it, or copy it again") from error


def _size(path: Path) -> int:
    """Bytes of a file, or of the files in a folder that is a map's."""
    path = packed_in(path)
    folders = islice(os.walk(path), _MOST_FOLDERS)
    files = [path, *(Path(folder) / name for folder, _, names in folders for name in names)]
    return sum(file.lstat().st_size for file in files if is_file(file))


def _try(_: Send, path: Path) -> None:
    open_map(path, reduced=True)
