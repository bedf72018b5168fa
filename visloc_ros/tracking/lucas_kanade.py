"""Pyramidal Lucas-Kanade (Bouguet 2000), and the size of its windows."""

from __future__ import annotations

import math

import cv2
import numpy as np

from visloc_ros.core.types import Image
from visloc_ros.tracking.pixels import Mask, Pixels

_VGA_PIXELS = 640 * 480
_SMALLEST_WINDOW = 0.7  # share of the window at VGA: smaller ones hold too little to track
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)


def fitted_window(window_px: int, width: int, height: int) -> int:
    """Side of a window that shows as much of an image of this size as ``window_px`` of VGA, if that is enough."""
    side = round(window_px * max(_SMALLEST_WINDOW, math.sqrt(min(1.0, width * height / _VGA_PIXELS))))
    return side + 1 - side % 2


def lucas_kanade(
    source: Image, target: Image, pixels: Pixels, guess: Pixels, window_px: int, levels: int
) -> tuple[Pixels, Mask]:
    """Pixels (N, 2) in the target of windows about pixels (N, 2) of the source, and which were found.

    The search begins at ``guess`` (N, 2), on ``levels`` levels of a pyramid besides the images themselves.
    """
    if len(pixels) == 0:
        return pixels, np.zeros(0, dtype=bool)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        pixels.reshape(-1, 1, 2),
        guess.reshape(-1, 1, 2).copy(),
        winSize=(window_px, window_px),
        maxLevel=levels,
        criteria=_CRITERIA,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-5,
    )
    return np.asarray(found.reshape(-1, 2)), np.asarray(status.ravel() == 1)
