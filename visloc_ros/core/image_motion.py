"""How far what two images show has moved from one to the other, whatever it is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image

_MAX_CORNERS = 150
_SMOOTHING_PX = 2.0
_MAX_RETURN_ERROR_PX = 1.0


@dataclass(frozen=True)
class Motion:
    """Motion between two images: share of corners seen in both, their median shift in image widths."""

    overlap: float
    shift: float


def measure_motion(before: Image, after: Image) -> Motion:
    """Motion of corners from one image (H, W) to another, tracked forth and back (pyramidal Lucas-Kanade).

    Without corners to track (a black or uniform image) the overlap is 0.
    """
    if before.shape != after.shape:
        return Motion(0.0, 0.0)
    # A blurred image of the same view is no motion: both are smoothed, so that it is still recognised.
    first, second = _smooth(before), _smooth(after)
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


def _smooth(grey: Image) -> Image:
    """Blur an image (H, W) slightly."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _SMOOTHING_PX), dtype=np.uint8)


def _track_corners(
    before: Image, after: Image, corners: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    return moved, np.asarray(status).ravel() == 1
