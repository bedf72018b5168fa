"""Images at half, a quarter ... of their size: each level, made when it is first needed, or one that tracks fast."""

from __future__ import annotations

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.camera import crop_and_bin
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


def reduced(grey: Image, camera: pycolmap.Camera, max_pixels: int) -> tuple[Image, pycolmap.Camera]:
    """The image (H, W), and its camera, halved until it has no more than ``max_pixels``."""
    while grey.size > max_pixels:
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        camera = crop_and_bin(camera, (0, 0, 2 * width, 2 * height), (2, 2))
        grey = np.asarray(cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
    return grey, camera
