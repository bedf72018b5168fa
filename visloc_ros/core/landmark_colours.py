"""A fixed colour for each landmark or instance of a map, the same in every picture and on every topic."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_NO_LANDMARK = 170  # grey
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0  # of a turn: hues of near numbers lie far apart, however many there are
# Saturation and brightness, in turn: hues come near each other only after some numbers.
_SHADES = np.array([[0.85, 0.95], [0.55, 0.95], [0.95, 0.65]], np.float32)
_DEGREES = 360.0


def landmark_colours(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Colours (N, 3), RGB, of landmarks or instances by number (N,), from 1 on; grey for 0, which is none."""
    labels = np.asarray(labels).reshape(-1)
    hues = np.mod(labels * _GOLDEN, 1.0).astype(np.float32) * _DEGREES
    pixels = np.column_stack((hues, _SHADES[labels % len(_SHADES)])).astype(np.float32)[None]
    if not len(labels):
        return np.empty((0, 3), np.uint8)
    colours = np.round(255.0 * cv2.cvtColor(pixels, cv2.COLOR_HSV2RGB)[0])
    colours[labels == 0] = _NO_LANDMARK
    return np.asarray(colours, np.uint8)
