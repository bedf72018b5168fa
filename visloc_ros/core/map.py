"""The map of a place: images with poses, their features, the 3D points they see, and how to find them.

In memory a map is plain contiguous arrays; on disk it is a folder (DESIGN section 4) that stock hloc reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array

NO_POINT = -1


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Keypoints (N, 2) float32 in COLMAP pixels, scores (N,) float32, descriptors (N, D), image size (w, h)."""

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.floating]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True, eq=False)
class MapImage:
    """A reference image: its pose, camera, features, and for every keypoint the row of its 3D point or NO_POINT."""

    name: str
    map_from_camera: SE3
    camera: pycolmap.Camera
    features: LocalFeatures
    point_rows: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Map:
    """A loaded map: manifest, reference images, points (P, 3), global descriptors (M, G) in the images' order."""

    name: str
    manifest: Manifest
    images: tuple[MapImage, ...]
    points: Array
    global_descriptors: NDArray[np.float32]
    vlad_centroids: NDArray[np.float32]
