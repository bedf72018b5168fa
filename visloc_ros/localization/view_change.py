"""The change of view between two cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, MapImage


@dataclass(frozen=True, eq=False)
class Viewpoints:
    """Viewpoints of cameras: centres (M, 3), lines of sight (M, 3), and ``depths`` (M,), the distance of their points.

    The depth of a camera that saw nothing is zero: no other camera sees the same.
    """

    centres: Array
    axes: Array
    depths: Array

    @staticmethod
    def of(images: Sequence[MapImage], points: Array) -> Viewpoints:
        """The views of map images, in their order, of points (P, 3)."""
        poses = [image.map_from_camera for image in images]
        seen = [image.point_rows[image.point_rows != NO_POINT] for image in images]
        depths = [typical_depth(pose, points[rows]) for pose, rows in zip(poses, seen, strict=True)]
        return Viewpoints(
            np.array([pose.translation for pose in poses]).reshape(-1, 3),
            np.array([pose.rotation[:, 2] for pose in poses]).reshape(-1, 3),
            np.array(depths),
        )

    def changes(self, map_from_camera: SE3) -> Array:
        """View changes (M,) in radians to another camera.

        The angle between the lines of sight, with which the visible points change, plus the distance between the
        cameras as share of that to the points, the change of the direction from which these are seen.
        """
        distances = np.linalg.norm(self.centres - map_from_camera.translation, axis=1)
        shares = np.divide(distances, self.depths, out=np.full(len(distances), np.inf), where=self.depths > 0.0)
        turned = np.arccos(np.clip(self.axes @ map_from_camera.rotation[:, 2], -1.0, 1.0))
        return np.asarray(turned + shares)


def view_change(map_from_camera: SE3, depth: float, map_from_other: SE3) -> float:
    """View change in radians from a camera that saw points ``depth`` away to another."""
    pose = map_from_camera
    return float(
        Viewpoints(pose.translation[None], pose.rotation[None, :, 2], np.array([depth])).changes(map_from_other)[0]
    )


def typical_depth(map_from_camera: SE3, points: Array) -> float:
    """Median distance of points (N, 3) from a camera; 0 without points."""
    return float(np.median(np.linalg.norm(points - map_from_camera.translation, axis=1))) if len(points) else 0.0
