"""The only conversion between a network's pixels and COLMAP's.

Networks count from the centre of the top-left pixel of the image they were given, which is (0, 0) to them and
(0.5, 0.5) to COLMAP; they may be given a resized image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.camera import HALF_PIXEL


def colmap_from_network(keypoints: ArrayLike, scale: ArrayLike = 1.0) -> NDArray[np.float32]:
    """COLMAP pixels (N, 2) of the original image; ``scale`` (2,) is resized size / original size in x and y."""
    shifted = np.asarray(keypoints, dtype=np.float32) + np.float32(HALF_PIXEL)
    return np.asarray(shifted / np.asarray(scale, dtype=np.float32), dtype=np.float32)


def network_from_colmap(keypoints: ArrayLike, scale: ArrayLike = 1.0) -> NDArray[np.float32]:
    """Network pixels (N, 2) of the resized image; the inverse of ``colmap_from_network``."""
    resized = np.asarray(keypoints, dtype=np.float32) * np.asarray(scale, dtype=np.float32)
    return np.asarray(resized - np.float32(HALF_PIXEL), dtype=np.float32)
