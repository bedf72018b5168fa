"""The choice of map images: a steady rate, the sharpest frame of each period, none where the camera stands still."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.image_motion import measure_motion
from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.side_by_side import ADVICE, is_of_two_cameras, shows_two_pictures
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, Image
from visloc_ros.mapping.config import SelectionConfig

_log = logging.getLogger(__name__)

_LOOKED_AT = 10  # each tenth frame, for two pictures side by side
_STAMP_TOLERANCE = 0.05  # of a period: frames that come exactly at the rate are all taken


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate map image: its index in the source, its sharpness, and its reduced image."""

    index: int
    stamp_ns: int
    sharpness: float
    grey: Image


def select_frames(frames: Iterable[Frame], count: int, config: SelectionConfig) -> list[int]:
    """Choose map images from ``count`` frames in order of time; gives their indices, increasing.

    Raises MapError where each shows two pictures side by side.
    """
    if count <= config.keep_all_up_to:
        config = replace(config, rate_hz=0.0)
    selector = FrameSelector(config)
    for index, frame in enumerate(frames):
        selector.add(index, frame)
    chosen = selector.finish()
    if is_of_two_cameras(selector.num_of_two_pictures, selector.num_looked_at):
        raise MapError(ADVICE)
    return thin_out(chosen, config.max_frames)


def thin_out(indices: list[int], limit: int) -> list[int]:
    """Keep at most ``limit`` indices (0: all), evenly spread, the first and the last among them."""
    if limit == 0 or len(indices) <= limit:
        return indices
    places = np.linspace(0, len(indices) - 1, limit).round().astype(int)
    _log.info("%d of %d suitable frames are kept (max_frames)", limit, len(indices))
    return [indices[place] for place in places]


class FrameSelector:
    """Takes frames one by one and closes a period when its time or the view it began with is over."""

    def __init__(self, config: SelectionConfig) -> None:
        self._config = config
        self._period_ns = NANOSECONDS / config.rate_hz if config.rate_hz > 0 else 0.0
        self._first_stamp_ns: int | None = None
        self._window: list[Candidate] = []
        self._last: Candidate | None = None
        self._chosen: list[int] = []
        self.num_looked_at = self.num_of_two_pictures = 0

    def add(self, index: int, frame: Frame) -> None:
        """Consider the next frame."""
        grey = shrink(frame.grey)
        if index % _LOOKED_AT == 0:
            self.num_looked_at += 1
            self.num_of_two_pictures += shows_two_pictures(grey)
        candidate = Candidate(index, frame.stamp_ns, sharpness(grey), grey)
        if self._first_stamp_ns is None:
            self._first_stamp_ns = frame.stamp_ns
        if self._window and not self._belongs(candidate):
            self._close_window()
        self._window.append(candidate)

    def finish(self) -> list[int]:
        """Close the last period and give the indices of all chosen frames."""
        if self._window:
            self._close_window()
        return self._chosen

    def _belongs(self, candidate: Candidate) -> bool:
        start = self._window[0]
        if self._period(candidate) != self._period(start):
            return False
        return measure_motion(start.grey, candidate.grey).overlap >= self._config.min_overlap

    def _period(self, candidate: Candidate) -> int:
        if self._period_ns == 0.0:
            return candidate.index
        assert self._first_stamp_ns is not None
        return int((candidate.stamp_ns - self._first_stamp_ns) / self._period_ns + _STAMP_TOLERANCE)

    def _close_window(self) -> None:
        best = max(self._window, key=lambda candidate: candidate.sharpness)
        self._window = []
        if self._last is None or self._has_moved(self._last, best):
            self._last = best
            self._chosen.append(best.index)

    def _has_moved(self, last: Candidate, candidate: Candidate) -> bool:
        motion = measure_motion(last.grey, candidate.grey)
        return motion.shift >= self._config.min_motion or motion.overlap < self._config.min_overlap
