"""An image at half, a quarter ... of its size, each made once, when it is first needed."""

from __future__ import annotations

import cv2
import numpy as np

from visloc_ros.core.types import Image


class Pyramid:
    """Level 0 is the image (H, W); a pixel at (x, y) lies at (x, y) / 2 on the next level, (0, 0) being a centre."""

    def __init__(self, image: Image) -> None:
        self._levels = [image]

    def level(self, number: int) -> Image:
        """The image at this level, halved as many times."""
        while len(self._levels) <= number:
            self._levels.append(np.asarray(cv2.pyrDown(self._levels[-1]), dtype=np.uint8))
        return self._levels[number]
