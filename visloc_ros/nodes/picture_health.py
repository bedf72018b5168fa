"""Whether images show anything: what is wrong with them, in words that say what to do about it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from visloc_ros.core.types import Image

PERIOD_S = 0.5  # between images that are looked at
PATIENCE_S = 3.0  # a camera's exposure adapts within it, and nobody stands before a lens for so long
_STEP = 4  # every fourth pixel of every fourth row tells as much
_DARK, _BRIGHT = 30, 250  # of 255: below are shadows alone, above nothing is left to tell apart
_MOST_BRIGHT = 0.5  # share of the pixels
_LEAST_CONTRAST = 4.0  # standard deviation: a camera's noise has 1 to 3
_WIDTH = 640  # that images are reduced to before their detail is compared: noise hides less of it
_LEAST_DETAIL = 0.2  # of a scale, against that of the scale twice as coarse. Natural scenes have about as much in each:
# at the least 0.26 in single images of thirteen places, in motion, too; out of focus by 2.5 pixels 0.08 to 0.2.


class PictureHealth:
    """Looks at an image now and then; times are of one steady clock."""

    def __init__(self) -> None:
        self._looked_s = -np.inf
        self._wrong, self._since_s = "", 0.0

    def image(self, now_s: float, image: Image) -> None:
        """An image (H, W) or (H, W, 3) has been decoded."""
        if now_s - self._looked_s < PERIOD_S:
            return
        self._looked_s = now_s
        wrong = _what_is_wrong(image[::_STEP, ::_STEP]) or _what_blurs(image)
        if wrong != self._wrong:
            self._wrong, self._since_s = wrong, now_s

    def warning(self, now_s: float) -> str:
        """What has been wrong for a while, or nothing."""
        return self._wrong if now_s - self._since_s > PATIENCE_S else ""


def _what_is_wrong(pixels: Image) -> str:
    if pixels.size == 0:
        return ""
    if np.percentile(pixels, 95) < _DARK:
        return "Images are dark: more light, a longer exposure, or is something before the lens?"
    if np.mean(pixels >= _BRIGHT) > _MOST_BRIGHT:
        return "Images are overexposed: a shorter exposure, or let the camera choose it."
    if float(np.std(pixels)) < _LEAST_CONTRAST:
        return "Images show nothing: is something before the lens, or is it out of focus?"
    return ""


def _what_blurs(image: Image) -> str:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    if width < _WIDTH // 2:
        return ""
    scale = _WIDTH / max(width, _WIDTH) / 2.0
    detail = []
    for _ in range(3):
        size = round(width * scale), max(1, round(height * scale))
        smaller = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        detail.append(float(cv2.Laplacian(smaller, cv2.CV_32F).var()))
        scale /= 2.0
    if all(fine >= _LEAST_DETAIL * coarse for fine, coarse in pairwise(detail)):
        return ""
    return "Images are blurred: focus the lens, or clean it; where the camera moves fast, a shorter exposure."
