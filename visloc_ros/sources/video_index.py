"""What a video file says beside its images: who made the camera, and when each frame is shown. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.trajectory import NANOSECONDS

_MAKERS = ("com.apple.quicktime.make", "com.android.manufacturer", "make")
_MODELS = ("com.apple.quicktime.model", "com.android.model", "model")
_LONGEST = 100  # characters of a name


def read_maker(path: Path) -> str:
    """Maker and model of the camera on one line; empty where the file does not tell, or cannot be read."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            names = (_first(container.metadata, keys) for keys in (_MAKERS, _MODELS))
            return " ".join(" ".join(names).split())
    except (av.FFmpegError, OSError, ValueError):
        return ""


def read_stamps_ns(path: Path) -> NDArray[np.int64] | None:
    """When the frames are shown, from the first on, in order; None where the file does not tell, or cannot be read."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            ticks = [packet.pts for packet in container.demux(stream) if packet.size]
            tick_s = stream.time_base
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return None
    if not ticks or tick_s is None:
        return None
    known = np.array([tick for tick in ticks if tick is not None], np.int64)
    return _nanoseconds(np.sort(known), tick_s) if len(known) == len(ticks) else None


def _first(metadata: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((metadata[key] for key in keys if key in metadata), "")[:_LONGEST].replace("\0", " ")


def _nanoseconds(ticks: NDArray[np.int64], tick_s: Fraction) -> NDArray[np.int64]:
    """Exact to a nanosecond, however long the video is."""
    since = (ticks - ticks[0]).astype(object)
    return np.array([round(int(tick) * tick_s * NANOSECONDS) for tick in since], np.int64)
