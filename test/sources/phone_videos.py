"""Videos as phones write them, made of frames that are known: stored landscape and turned, at uneven times, signed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

ONE = 1 << 16
MATRICES = {  # by clockwise quarter turns that show the frames upright (ISO 14496-12, track header)
    0: (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30),
    1: (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
    2: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    3: (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}


def write_video(path: Path, images: Sequence[np.ndarray], rate_hz: float = 25.0, turns: int = 0) -> None:
    """Write upright RGB images (H, W, 3) as a phone does whose sensor is turned by so many clockwise quarters."""
    stored = [np.ascontiguousarray(np.rot90(image, turns)) for image in images]
    height, width = stored[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, (width, height))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write mp4v videos")
    for image in stored:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", *MATRICES[turns])
    path.write_bytes(content)


def set_durations(path: Path, durations_ms: Sequence[int]) -> None:
    """Replace how long each frame is shown; the index comes last, so that no frame moves."""
    content = path.read_bytes()
    rows = b"".join(struct.pack(">II", 1, duration) for duration in durations_ms)
    table = struct.pack(">I4sII", 16 + len(rows), b"stts", 0, len(durations_ms)) + rows
    path.write_bytes(_replaced(content, table, sum(durations_ms)))


def sign(path: Path, texts: dict[str, str]) -> None:
    """Add keys with texts to the index, as Apple's and Android's cameras do."""
    keys = b"".join(struct.pack(">I4s", 8 + len(key), b"mdta") + key.encode() for key in texts)
    items = b""
    for number, text in enumerate(texts.values(), 1):
        data = struct.pack(">I4sII", 16 + len(text), b"data", 1, 0) + text.encode()
        items += struct.pack(">II", 8 + len(data), number) + data
    handler = struct.pack(">I4sII4s12xB", 33, b"hdlr", 0, 0, b"mdta", 0)
    parts = handler + box(b"keys", struct.pack(">II", 0, len(texts)) + keys) + box(b"ilst", items)
    content = path.read_bytes()
    begin = content.index(b"moov") - 4
    assert begin + struct.unpack_from(">I", content, begin)[0] == len(content), "the index comes last"
    path.write_bytes(content[:begin] + box(b"moov", content[begin + 8 :] + box(b"meta", parts)))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _replaced(content: bytes, table: bytes, duration_ms: int) -> bytes:
    begin = content.index(b"stts") - 4
    old_size = struct.unpack_from(">I", content, begin)[0]
    changed = bytearray(content[:begin] + table + content[begin + old_size :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = changed.index(kind) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", changed, place)[0] + len(table) - old_size)
    for kind in (b"mdhd", b"mvhd"):
        place = changed.index(kind)
        struct.pack_into(">II", changed, place + 16, 1000, duration_ms)
    place = changed.index(b"tkhd")
    struct.pack_into(">I", changed, place + 24, duration_ms)
    edits = changed.find(b"elst")
    if edits >= 0:
        struct.pack_into(">I", changed, edits + 12, duration_ms)
    return bytes(changed)
