"""The choice of images to send to an anchor machine: sharp ones, of views not sent yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.config import Config, option
from visloc_ros.core.trajectory import NANOSECONDS

_REMEMBERED = 30  # sharpnesses
_MIN_SHARPNESS = 0.7  # of the usual one: the next frame, 30 ms later, is often sharp again


@dataclass(frozen=True)
class KeyframeConfig(Config):
    """Which frames are published as keyframes, and how."""

    min_interval: float = option(0.3, "least time between two keyframes [s]", minimum=0.0, maximum=60.0)
    max_interval: float = option(
        1.0, "time after which a keyframe is sent even without a new view [s]", minimum=0.0, maximum=3600.0
    )
    jpeg_quality: int = option(90, "JPEG quality of the keyframes", minimum=1, maximum=100)


class KeyframeChoice:
    """Judges frames in the order of their stamps."""

    def __init__(self, config: KeyframeConfig) -> None:
        self._config = config
        self._last_ns: int | None = None
        self._sharpnesses: deque[float] = deque(maxlen=_REMEMBERED)

    def is_due(self, stamp_ns: int, has_new_view: bool) -> bool:
        """Whether a frame is wanted if it is sharp: a new view since the last one, or much time."""
        if self._last_ns is None or stamp_ns < self._last_ns:  # a looped bag
            return True
        waited_s = (stamp_ns - self._last_ns) / NANOSECONDS
        return waited_s >= (self._config.min_interval if has_new_view else self._config.max_interval)

    def take(self, stamp_ns: int, sharpness: float) -> bool:
        """Take a frame that is due, unless it is blurred: then one of the next will do."""
        self._sharpnesses.append(sharpness)
        if sharpness < _MIN_SHARPNESS * float(np.median(self._sharpnesses)):
            return False
        self._last_ns = stamp_ns
        return True
