"""The choice of map images: a steady rate, the sharpest frame of each period, none where the camera stands still."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, Image
from visloc_ros.mapping.config import SelectionConfig

_log = logging.getLogger(__name__)

_MAX_CORNERS = 150
_SMOOTHING_PX = 2.0
_MAX_RETURN_ERROR_PX = 1.0
_STAMP_TOLERANCE = 0.05  # of a period: frames that come exactly at the rate are all taken


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate map image: its index in the source, its sharpness, and its reduced image."""

    index: int
    stamp_ns: int
    sharpness: float
    grey: Image


@dataclass(frozen=True)
class Motion:
    """Motion between two images: share of corners seen in both, their median shift in image widths."""

    overlap: float
    shift: float


def select_frames(frames: Iterable[Frame], count: int, config: SelectionConfig) -> list[int]:
    """Choose map images from ``count`` frames in order of time; gives their indices, increasing."""
    if count <= config.keep_all_up_to:
        config = replace(config, rate_hz=0.0)
    selector = FrameSelector(config)
    for index, frame in enumerate(frames):
        selector.add(index, frame)
    chosen = selector.finish()
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

    def add(self, index: int, frame: Frame) -> None:
        """Consider the next frame."""
        grey = shrink(frame.grey)
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


def measure_motion(before: Image, after: Image) -> Motion:
    """Motion of corners from one image (H, W) to another, tracked forth and back (pyramidal Lucas-Kanade).

    Without corners to track (a black or uniform image) the overlap is 0.
    """
    if before.shape != after.shape:
        return Motion(0.0, 0.0)
    # A blurred image of the same view is no motion: both are smoothed, so that it is still recognised.
    first, second = smooth(before), smooth(after)
    corners = np.asarray(cv2.goodFeaturesToTrack(first, _MAX_CORNERS, 0.01, 7), dtype=np.float32)
    if corners.ndim == 0:  # OpenCV gives None, here NaN, where it finds none
        return Motion(0.0, 0.0)
    moved, forth = _track_corners(first, second, corners)
    returned, back = _track_corners(second, first, moved)
    good = forth & back & (np.linalg.norm((returned - corners).reshape(-1, 2), axis=1) < _MAX_RETURN_ERROR_PX)
    if not good.any():
        return Motion(0.0, 0.0)
    shifts = np.linalg.norm((moved - corners).reshape(-1, 2)[good], axis=1)
    return Motion(float(good.mean()), float(np.median(shifts)) / before.shape[1])


def smooth(grey: Image) -> Image:
    """Blur an image (H, W) slightly."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _SMOOTHING_PX), dtype=np.uint8)


def _track_corners(
    before: Image, after: Image, corners: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    return moved, np.asarray(status).ravel() == 1
