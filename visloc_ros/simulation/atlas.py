"""All textures of a room in one image with its mip levels, so that a whole view is one ``cv2.remap``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image

_LEVELS = 5
_PAD: int = 2 ** (_LEVELS - 1)  # a border that still separates neighbours at the coarsest level
_MAX_SIDE = 32767  # cv2.remap addresses its source with 16 bits


@dataclass(frozen=True, eq=False)
class Atlas:
    """Packed textures: the image, each texture's box (N, 4) as x, y, width, height, and each level's corner (L, 2).

    Texture coordinates count texels of level 0 from the corner of the top-left texel; level l is 2^l times smaller.
    """

    image: Image
    boxes: NDArray[np.float64]
    level_corners: NDArray[np.float32]

    @property
    def num_levels(self) -> int:
        """Number of mip levels."""
        return len(self.level_corners)

    def sample(self, x: NDArray[np.float32], y: NDArray[np.float32], level: NDArray[np.intp]) -> Image:
        """Look up RGB (H, W, 3) at texel coordinates of level 0 and the mip level (H, W) of each pixel."""
        shrink = np.float32(0.5) ** np.arange(self.num_levels, dtype=np.float32)
        factor = shrink.take(level)
        left, top = (self.level_corners[:, axis] - np.float32(0.5) for axis in (0, 1))
        return np.asarray(
            cv2.remap(self.image, x * factor + left.take(level), y * factor + top.take(level), cv2.INTER_LINEAR)
        )


def pack(textures: Sequence[Image], width: int = 8192) -> Atlas:
    """Place textures (H, W, 3) on shelves and halve the whole repeatedly. Raises ValueError when they do not fit."""
    boxes, height = _shelves([texture.shape[:2] for texture in textures], width)
    image = np.zeros((height + height // 2, width, 3), dtype=np.uint8)
    for texture, (x, y, w, h) in zip(textures, boxes.astype(int), strict=True):
        padded = cv2.copyMakeBorder(texture, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REPLICATE)
        image[y - _PAD : y + h + _PAD, x - _PAD : x + w + _PAD] = padded
    return Atlas(image, boxes, _add_levels(image, height))


def _shelves(shapes: Sequence[tuple[int, ...]], width: int) -> tuple[NDArray[np.float64], int]:
    """Boxes of textures, tallest first, left to right in rows, and the height that takes."""
    boxes = np.zeros((len(shapes), 4))
    x = y = shelf = 0
    for row in sorted(range(len(shapes)), key=lambda i: -shapes[i][0]):
        h, w = shapes[row]
        full_w, full_h = (_aligned(side + 2 * _PAD) for side in (w, h))
        if x + full_w > width:
            x, y, shelf = 0, y + shelf, 0
        boxes[row] = x + _PAD, y + _PAD, w, h
        x, shelf = x + full_w, max(shelf, full_h)
        if full_w > width or y + shelf > _MAX_SIDE // 2:
            raise ValueError(f"textures do not fit an atlas {width} texels wide: make them smaller")
    return boxes, y + shelf


def _aligned(side: int) -> int:
    """Round up to whole texels of the coarsest level."""
    return side + -side % _PAD


def _add_levels(image: Image, height: int) -> NDArray[np.float32]:
    """Put the smaller levels side by side below the ``height`` rows of level 0; give each level's corner (L, 2)."""
    corners, x, level = [(0, 0)], 0, image[:height]
    for _ in range(1, _LEVELS):
        level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        image[height : height + level.shape[0], x : x + level.shape[1]] = level
        corners.append((x, height))
        x += level.shape[1]
    return np.array(corners, dtype=np.float32)
