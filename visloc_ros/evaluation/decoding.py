"""Frames with their reading times, all of a source or some a second, as input of benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from visloc_ros.core.errors import SourceError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.sources import FrameSource


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame and how long it took to read and decode it."""

    frame: Frame
    decode_ms: float


def sample_frames(source: FrameSource, fps: float, max_frames: int) -> Iterator[DecodedFrame]:
    """Frames at most ``fps`` a second apart by their stamps, ``max_frames`` of them; 0 takes all.

    Raises SourceError when there is none.
    """
    period_ns = round(NANOSECONDS / fps) if fps else 0
    tolerance_ns = period_ns // 100
    count, due_ns = 0, None
    for decoded in decode(source):
        stamp_ns = decoded.frame.stamp_ns
        if due_ns is not None and stamp_ns < due_ns - tolerance_ns:
            continue
        count, due_ns = count + 1, stamp_ns + period_ns
        yield decoded
        if count == max_frames:
            return
    if count == 0:
        raise SourceError(f"'{source.name}' holds no frame to measure with")


def decode(source: FrameSource) -> Iterator[DecodedFrame]:
    """Walk over a source, and time the reading of each frame."""
    frames = iter(source)
    while True:
        start = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        yield DecodedFrame(frame, 1e3 * (time.perf_counter() - start))
