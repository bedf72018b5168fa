"""Estimates a rolling shutter's readout time from consecutive images alone, without calibration or metadata.

Rows that are read later show later moments. Where the picture moves by v pixels a second, a row is off by v times the
moment at which it is read. From one image to the next this shows where v changes: as a shear where the picture moves
along the rows, as a stretch where it moves across them. Both are proportional to the change of v and to the readout,
and to nothing else that cameras do: rolling about the optical axis shears rows and columns against each other, which
cancels, and coming closer stretches both alike, which cancels as well. A global shutter therefore gives 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Image
from visloc_ros.tracking.lucas_kanade import lucas_kanade
from visloc_ros.tracking.pixels import Mask, Pixels

_LONGER_SIDE_PX = 640
_MOST_CORNERS, _LEAST_CORNERS = 200, 40
_CORNER_QUALITY, _CORNER_DISTANCE_PX = 0.01, 12
_WINDOW_PX, _LEVELS = 21, 4
_RETURN_ERROR_PX = 0.5
_ROUNDS = 10
_LEAST_SPREAD_PX = 0.2
_LEAST_CHANGES = 20  # fewer give no standard deviation
_LONGEST_GAP_S = 0.25  # the picture's speed must not change much between two images
_NOISE_PX = 1e-6
_RUN = 5  # intervals that determine the change of speed over the middle one


@dataclass(frozen=True)
class Readout:
    """Seconds from the first row to the last with their standard deviation by chance alone, itself good to a third.

    ``motion`` is how far the picture moves in a second at most times (95 %), as a share of its longer side.
    """

    seconds: float
    sigma_s: float
    motion: float


@dataclass(frozen=True, eq=False)
class _Flow:
    """Speed (2,) of the picture in image heights a second, its shear and stretch over an interval."""

    speed: Array
    shear_and_stretch: Array


class ReadoutMeter:
    """Takes grey images of one camera in order, rows as its sensor reads them, and estimates its readout in the end."""

    def __init__(self) -> None:
        self._last: tuple[int, Image] | None = None
        self._flows: list[_Flow | None] = []
        self._aspect = 1.0

    def add(self, stamp_ns: int, grey: Image) -> None:
        """Take the next image (H, W)."""
        image = _shrink(grey)
        self._aspect = max(1.0, image.shape[1] / image.shape[0])
        if self._last is not None and self._last[1].shape == image.shape:
            self._flows.append(_flow(*self._last, stamp_ns, image))
        self._last = stamp_ns, image

    @property
    def readout(self) -> Readout | None:
        """The readout, or None where there was too little motion."""
        runs = zip(*(self._flows[start:] for start in range(_RUN)), strict=False)
        known = [run for run in runs if all(run)]
        if len(known) < _LEAST_CHANGES:
            return None
        changes = np.concatenate([_change([flow.speed for flow in run if flow]) for run in known])
        middles = [run[_RUN // 2] for run in known]
        effects = np.concatenate([flow.shear_and_stretch for flow in middles if flow])
        if not changes.any():
            return None
        seconds, sigma_s = _slope(changes, effects)
        speeds = [float(np.linalg.norm(flow.speed)) for flow in middles if flow]
        return Readout(seconds, sigma_s, float(np.percentile(speeds, 95)) / self._aspect)


def _change(speeds: Sequence[Array]) -> Array:
    """Change (2,) of the speed over the middle one of five intervals, to fourth order: hands tremble at 10 Hz."""
    first, second, _, fourth, fifth = speeds
    return np.asarray((8.0 * (fourth - second) - (fifth - first)) / 12.0)


def _shrink(grey: Image) -> Image:
    scale = _LONGER_SIDE_PX / max(grey.shape)
    if scale >= 1.0:
        return grey
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _flow(begin_ns: int, source: Image, end_ns: int, target: Image) -> _Flow | None:
    """The motion and change of shape of the picture; None where too little is followed."""
    seconds = (end_ns - begin_ns) / NANOSECONDS
    corners = cv2.goodFeaturesToTrack(source, _MOST_CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE_PX)
    if corners is None or not 0.0 < seconds <= _LONGEST_GAP_S:
        return None
    pixels: Pixels = np.asarray(corners, np.float32).reshape(-1, 2)
    found, is_there = lucas_kanade(source, target, pixels, pixels, _WINDOW_PX, _LEVELS)
    back, is_back = lucas_kanade(target, source, found, found, _WINDOW_PX, _LEVELS)
    good: Mask = is_there & is_back & (np.linalg.norm(back - pixels, axis=1) < _RETURN_ERROR_PX)
    if good.sum() < _LEAST_CORNERS:
        return None
    height, width = source.shape
    (shift_x, shift_y), (x_by_x, y_by_x), (x_by_y, y_by_y) = _affine(
        pixels[good] - np.array([width / 2.0, height / 2.0], np.float32), found[good] - pixels[good]
    )
    speed = np.array([shift_x, shift_y]) / (seconds * height)
    return _Flow(speed, np.array([x_by_y + y_by_x, y_by_y - x_by_x]))


def _affine(pixels: Pixels, shifts: Pixels) -> Array:
    """Shift (2,) of the middle, and its change (2,) by x and by y, robustly (iteratively reweighted, Cauchy)."""
    design = np.column_stack([np.ones(len(pixels)), pixels])
    weights: Array = np.ones(len(pixels))
    fit: Array = np.zeros((3, 2))
    for _ in range(_ROUNDS):
        fit = np.asarray(np.linalg.lstsq(design * weights[:, None], shifts * weights[:, None], rcond=None)[0])
        errors = np.linalg.norm(shifts - design @ fit, axis=1)
        spread = max(_LEAST_SPREAD_PX, 1.5 * float(np.median(errors)))
        weights = np.sqrt(1.0 / (1.0 + (errors / spread) ** 2))
    return fit


def _slope(changes: Array, effects: Array) -> tuple[float, float]:
    """Proportionality of effects (N,) to changes (N,) with its standard deviation, robustly as well."""
    weights = np.ones(len(changes))
    slope = 0.0
    for _ in range(_ROUNDS):
        slope = float((weights * changes * effects).sum() / (weights * changes**2).sum())
        errors = effects - slope * changes
        spread = max(_NOISE_PX, 1.5 * float(np.median(np.abs(errors))))
        weights = 1.0 / (1.0 + (errors / spread) ** 2)
    variance = float((weights * errors**2).sum() / weights.sum() / (weights * changes**2).sum())
    return slope, variance**0.5
