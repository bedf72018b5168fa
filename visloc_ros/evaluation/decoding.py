"""Frames with their reading times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from visloc_ros.core.types import Frame
from visloc_ros.sources import FrameSource


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame and how long it took to read and decode it."""

    frame: Frame
    decode_ms: float


def decode(source: FrameSource) -> Iterator[DecodedFrame]:
    """Walk over a source, and time the reading of each frame."""
    frames = iter(source)
    while True:
        start = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        yield DecodedFrame(frame, 1e3 * (time.perf_counter() - start))
