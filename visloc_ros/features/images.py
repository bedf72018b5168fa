"""Images for models: reduced, grey, in three channels; and the only conversion of a network's pixels to COLMAP's."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.types import Image


def reduce_image(image: Image, longest: int, multiple: int = 1) -> Image:
    """Resize an image so that its longer side is at most ``longest`` (0 for any) and both are multiples.

    It is never enlarged, except to one ``multiple`` of pixels.
    """
    height, width = image.shape[:2]
    factor = min(1.0, longest / max(height, width)) if longest else 1.0
    size = (_round_down(width * factor, multiple), _round_down(height * factor, multiple))
    return resize_image(image, size)


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize an image to (width, height), averaging over areas where it shrinks."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    shrinks = size[0] <= width and size[1] <= height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def as_grey(image: Image) -> Image:
    """Grey (H, W) of a grey or RGB image."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def as_rgb(image: Image) -> Image:
    """RGB (H, W, 3) of a grey or RGB image."""
    return image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _round_down(length: float, multiple: int) -> int:
    return max(multiple, round(length) // multiple * multiple)


# Networks count from the centre of the top-left pixel of the image they were given, which is (0, 0) to them and
# (0.5, 0.5) to COLMAP; they may be given a resized image.


def colmap_from_network(keypoints: ArrayLike, scale: ArrayLike = 1.0) -> NDArray[np.float32]:
    """COLMAP pixels (N, 2) of the original image; ``scale`` (2,) is resized size / original size in x and y."""
    shifted = np.asarray(keypoints, dtype=np.float32) + np.float32(HALF_PIXEL)
    return np.asarray(shifted / np.asarray(scale, dtype=np.float32), dtype=np.float32)


def network_from_colmap(keypoints: ArrayLike) -> NDArray[np.float32]:
    """Network pixels (N, 2) of an image that is not resized."""
    return np.asarray(np.asarray(keypoints, dtype=np.float32) - np.float32(HALF_PIXEL), dtype=np.float32)
