"""Whether a camera stands still, by its images alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import is_same_camera
from visloc_ros.core.types import Frame, Image

# The camera stands still while its images, made small and of even light, do not move.
_WIDTH = 320  # of the images compared: quick, and less noisy than larger ones
# Median motion there: 3 mrad for most cameras, a hundredth of a metre three metres away. What is followed is a hundred
# times as exact, but a robot that stands may tremble: a drone's rotors make half of it.
_STILL_PX = 0.75
_CORNERS, _LEAST_CORNERS = 100, 20
_SPACING_PX = 8
_MEAN, _DEVIATION = 128.0, 40.0  # of all images compared, so that the light may change


@dataclass(frozen=True, eq=False)
class _Rest:
    """The image with which a standstill began, its camera, and its corners (N, 1, 2)."""

    camera: pycolmap.Camera
    grey: Image
    corners: NDArray[np.float32]


class StandstillDetector:
    """Compares each image with the one that a standstill began with, so that creeping does not count as standing."""

    def __init__(self) -> None:
        self._rest: _Rest | None = None

    def forget(self) -> None:
        """Start again with the next image."""
        self._rest = None

    def is_still(self, frame: Frame) -> bool:
        """Whether the camera has not moved since an earlier image; false for the first one, and without corners."""
        grey = _comparable(frame.grey)
        rest = self._rest
        if rest is None or not is_same_camera(rest.camera, frame.camera) or not _is_same_view(rest, grey):
            corners = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, _SPACING_PX)
            self._rest = None if corners is None else _Rest(frame.camera, grey, np.asarray(corners, np.float32))
            return False
        return True


def _comparable(grey: Image) -> Image:
    """A small image of even brightness and contrast."""
    size = _WIDTH, max(1, round(_WIDTH * grey.shape[0] / grey.shape[1]))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
    even = (small - small.mean()) * (_DEVIATION / max(1.0, float(small.std()))) + _MEAN
    return np.asarray(np.clip(even, 0, 255), np.uint8)


def _is_same_view(rest: _Rest, grey: Image) -> bool:
    if len(rest.corners) < _LEAST_CORNERS or rest.grey.shape != grey.shape:
        return False
    found, status, _ = cv2.calcOpticalFlowPyrLK(rest.grey, grey, rest.corners, rest.corners.copy())
    good = status.ravel() == 1
    if np.count_nonzero(good) < max(_LEAST_CORNERS, len(good) // 2):
        return False
    return float(np.median(np.linalg.norm((found - rest.corners)[good, 0], axis=1))) <= _STILL_PX
