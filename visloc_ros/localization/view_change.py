"""How differently two cameras see the same things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import MapImage


@dataclass(frozen=True, eq=False)
class Views:
    """Where the images of a map were taken: centres (M, 3), rotations (M, 3, 3)."""

    centres: Array
    rotations: Array

    @staticmethod
    def of(images: Sequence[MapImage]) -> Views:
        """The views of map images, in their order."""
        poses = [image.map_from_camera for image in images]
        return Views(np.array([pose.translation for pose in poses]), np.array([pose.rotation for pose in poses]))

    def changes(self, map_from_camera: SE3, depth: float) -> Array:
        """View changes (M,) in radians to a view whose points are typically ``depth`` away from it.

        The angle between the cameras plus the distance between them as share of that to the points: from how
        different a direction the points are seen.
        """
        distances = np.linalg.norm(self.centres - map_from_camera.translation, axis=1)
        cosines = (np.einsum("mij,ij->m", self.rotations, map_from_camera.rotation) - 1.0) / 2.0
        return np.asarray(distances / depth + np.arccos(np.clip(cosines, -1.0, 1.0)))


def typical_depth(map_from_camera: SE3, points: Array) -> float:
    """Median distance of points (N, 3) from a camera."""
    return float(np.median(np.linalg.norm(points - map_from_camera.translation, axis=1)))
