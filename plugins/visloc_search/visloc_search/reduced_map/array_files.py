"""Arrays in NumPy's ``.npz``, uncompressed, and read as untrusted files.

No more is read than the file holds: ``numpy.load`` would unpack anything, and allocate whatever a header claims.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError

# NumPy's format 1.0: magic and version, length of the header, and the header, padded with spaces.
_PREFIX = np.lib.format.magic(1, 0)
_LENGTH_BYTES = 2
_HEADER = re.compile(rb"\{'descr': '([<|>=a-z0-9]+)', 'fortran_order': False, 'shape': \(([0-9, ]{0,64})\), \} *\n")

Shape = tuple[int | None, ...]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name; the same arrays give the same bytes. Raises OSError."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(values), (1, 0), allow_pickle=False)


def read_arrays(
    file: str, content: bytes, expected: Mapping[str, tuple[str, Shape]], advice: str
) -> dict[str, NDArray[Any]]:
    """Read the arrays of these names, types (as ``<f4``) and shapes out of the content of a file of this name.

    A side that is None is of any length; numbers are finite. Raises MapError with ``advice`` at the end of its message.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: _read(archive, name, *kind) for name, kind in expected.items()}
    except _Unexpected as error:
        raise MapError(f"{file}: {error}{advice}") from error
    # What zipfile raises for broken files, and for those that are packed or encrypted.
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError, RuntimeError, MemoryError) as error:
        raise MapError(f"{file} is truncated or broken ({error}){advice}") from error


class _Unexpected(Exception):
    """An array has another type, shape or content than expected."""


def _read(archive: zipfile.ZipFile, name: str, kind: str, shape: Shape) -> NDArray[Any]:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _Unexpected(f"'{name}' is packed, which this program does not do")
    content = archive.read(info)
    start = len(_PREFIX) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(_PREFIX) : start], "little")
    header = _HEADER.fullmatch(content[start:end])
    if not content.startswith(_PREFIX) or header is None:
        raise _Unexpected(f"'{name}' is no array of numbers")
    actual = tuple(int(side) for side in header[2].replace(b" ", b"").split(b",") if side)
    if header[1].decode() != kind or not _fits(actual, shape):
        wanted = "x".join("any" if side is None else str(side) for side in shape)
        raise _Unexpected(f"'{name}' is {header[1].decode()} {actual}, expected {kind} {wanted}")
    values = np.frombuffer(content, kind, offset=end)
    if values.size != np.prod(actual, dtype=np.float64):
        raise _Unexpected(f"'{name}' has {values.size} numbers, not those of {actual}")
    if not np.isfinite(values).all():
        raise _Unexpected(f"'{name}' holds values that are not finite")
    return values.reshape(actual)


def _fits(actual: tuple[int, ...], wanted: Shape) -> bool:
    return len(actual) == len(wanted) and all(
        side is None or side == length for side, length in zip(wanted, actual, strict=True)
    )
