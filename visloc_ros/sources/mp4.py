"""What an MP4 or QuickTime file says beside its images: who made the camera, and when each frame is shown.

Boxes are those of ISO/IEC 14496-12; phones write their maker as keys of a ``meta`` box (QuickTime File Format).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.trajectory import NANOSECONDS

LARGEST_INDEX_BYTES = 1 << 27  # a day of video has an index of some 40 MB
MOST_FRAMES = 1 << 24
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MAKERS = ("com.apple.quicktime.make", "com.android.manufacturer")
_MODELS = ("com.apple.quicktime.model", "com.android.model")
_MOST_BOXES = 10_000
_VERSION_AND_FLAGS = 4


@dataclass(frozen=True)
class Mp4Facts:
    """Maker and model of the camera, empty where the file does not tell; ``stamps_ns`` of all frames, in order."""

    maker: str = ""
    model: str = ""
    stamps_ns: NDArray[np.int64] | None = None


def read_mp4_facts(path: Path) -> Mp4Facts:
    """Read them from the index of a file; nothing is known of one that is no MP4, or damaged."""
    try:
        index = _read_index(path)
        texts = _texts(index)
        maker, model = (next((texts[key] for key in keys if key in texts), "") for keys in (_MAKERS, _MODELS))
        return Mp4Facts(maker or texts.get("©mak", ""), model or texts.get("©mod", ""), _stamps_ns(index))
    except (OSError, struct.error, ValueError, MemoryError):
        return Mp4Facts()


def _read_index(path: Path) -> bytes:
    """Contents of the ``moov`` box, wherever it lies in the file; empty where there is none."""
    with path.open("rb") as file:
        for _ in range(_MOST_BOXES):
            begin, head = file.tell(), file.read(16)
            if len(head) < 8 or (begin == 0 and head[4:8] not in _FIRST_BOXES):
                return b""
            size, start = _sizes(head)
            if head[4:8] == b"moov":
                file.seek(begin + start)
                return file.read(min(size - start, LARGEST_INDEX_BYTES)) if size else file.read(LARGEST_INDEX_BYTES)
            if size < start:
                return b""
            file.seek(begin + size)
    return b""


def _sizes(head: bytes) -> tuple[int, int]:
    """Size of a box and where its contents begin in it; size 0 reaches to the end of what holds it."""
    size = int(struct.unpack_from(">I", head)[0])
    return (int(struct.unpack_from(">Q", head, 8)[0]), 16) if size == 1 else (size, 8)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and contents of the boxes in the contents of another."""
    offset = 0
    while offset + 8 <= len(data):
        size, start = _sizes(data[offset : offset + 16])
        size = size or len(data) - offset
        if size < start:
            raise ValueError(f"a box of {size} bytes")
        yield data[offset + 4 : offset + 8], data[offset + start : offset + size]
        offset += size


def _find(data: bytes, *path: bytes) -> bytes:
    """Contents of the first box at a path of types; empty where there is none."""
    for kind in path:
        data = next((content for name, content in _boxes(data) if name == kind), b"")
    return data


def _texts(index: bytes) -> dict[str, str]:
    """Texts by their keys: QuickTime's user data, and keys of ``meta`` boxes."""
    user = _find(index, b"udta")
    texts = {}
    for kind, content in _boxes(user):
        if kind[:1] == b"\xa9" and len(content) > 4:
            texts[kind.decode("latin-1")] = _clean(content[4 : 4 + int(struct.unpack_from(">H", content)[0])])
    for meta in (_find(user, b"meta"), _find(index, b"meta")):
        texts |= _texts_of_keys(meta)
    return texts


def _texts_of_keys(meta: bytes) -> dict[str, str]:
    if meta[4:8] != b"hdlr":  # ISO's box begins with a version, QuickTime's does not
        meta = meta[_VERSION_AND_FLAGS:]
    keys = [name.decode("utf-8", "replace") for _, name in _boxes(_find(meta, b"keys")[_VERSION_AND_FLAGS + 4 :])]
    texts = {}
    for number, item in islice(_boxes(_find(meta, b"ilst")), _MOST_BOXES):
        place, value = int.from_bytes(number, "big"), _find(item, b"data")
        if 0 < place <= len(keys) and value[:4] == b"\0\0\0\1":  # UTF-8
            texts[keys[place - 1]] = _clean(value[8:])
    return texts


def _clean(text: bytes) -> str:
    """Text on one line, of the length that names have."""
    return " ".join(text[:100].decode("utf-8", "replace").replace("\0", " ").split())


def _stamps_ns(index: bytes) -> NDArray[np.int64] | None:
    """When the frames of the first video track are shown, from the first on; None where that is not told."""
    for kind, track in _boxes(index):
        media = _find(track, b"mdia") if kind == b"trak" else b""
        if _find(media, b"hdlr")[8:12] == b"vide":
            header = _find(media, b"mdhd")
            timescale = int(struct.unpack_from(">I", header, 20 if header[:1] == b"\1" else 12)[0])
            ticks = _ticks(_find(media, b"minf", b"stbl"))
            return None if ticks is None or not timescale else _nanoseconds(ticks, timescale)
    return None


def _ticks(table: bytes) -> NDArray[np.int64] | None:
    """Presentation times of a sample table, sorted: each is decoded after the one before, and shown with an offset."""
    durations = _runs(_find(table, b"stts"), ">u4")
    if durations is None or not len(durations):
        return None
    decoded = np.concatenate([[0], np.cumsum(durations)[:-1]])
    offsets = _runs(_find(table, b"ctts"), ">i4")
    if offsets is not None and len(offsets) == len(decoded):
        decoded = decoded + offsets
    return np.sort(decoded)


def _runs(content: bytes, kind: str) -> NDArray[np.int64] | None:
    """Values of a table of (count, value), each as often as it counts; None without such a table."""
    if not content:
        return None
    rows = np.frombuffer(content, dtype=[("count", ">u4"), ("value", kind)], offset=_VERSION_AND_FLAGS + 4)
    counts = rows["count"].astype(np.int64)
    if counts.sum() > MOST_FRAMES:
        raise ValueError(f"{counts.sum()} frames")
    return np.repeat(rows["value"].astype(np.int64), counts)


def _nanoseconds(ticks: NDArray[np.int64], timescale: int) -> NDArray[np.int64]:
    seconds, rest = np.divmod(ticks - ticks[0], timescale)
    return np.asarray(seconds * NANOSECONDS + (rest * NANOSECONDS + timescale // 2) // timescale, dtype=np.int64)
