"""Large images at a size that tracks fast."""

from __future__ import annotations

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.camera import crop_and_bin
from visloc_ros.core.types import Image


def reduced(grey: Image, camera: pycolmap.Camera, max_pixels: int) -> tuple[Image, pycolmap.Camera]:
    """The image (H, W), and its camera, halved until it has no more than ``max_pixels``."""
    while grey.size > max_pixels:
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        camera = crop_and_bin(camera, (0, 0, 2 * width, 2 * height), (2, 2))
        grey = np.asarray(cv2.resize(grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
    return grey, camera
