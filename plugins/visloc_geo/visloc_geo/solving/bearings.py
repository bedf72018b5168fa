"""Rays of keypoints, and the points where they meet."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import Array


def bearings(camera: pycolmap.Camera, pixels: Array) -> Array:
    """Unit vectors (N, 3) in the camera of pixels (N, 2); NaN for those without a ray."""
    vectors = np.column_stack([rays(camera, pixels), np.ones(len(pixels))])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def intersect(centres: Array, directions: Array, point: NDArray[np.intp], num_points: int) -> tuple[Array, Array]:
    """Points (N, 3) nearest to rays (O, 3), (O, 3) that belong to them, and their parallax (N,) in degrees.

    The least squares of the distances from the rays, NaN with less than two of them. The parallax is the angle of two
    rays that would determine the point as well.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    normal, right = np.zeros((num_points, 3, 3)), np.zeros((num_points, 3))
    np.add.at(normal, point, across)
    np.add.at(right, point, np.einsum("oij,oj->oi", across, centres))
    least = np.linalg.eigvalsh(normal)[:, 0]
    is_regular = least > 1e-9
    points = np.full((num_points, 3), np.nan)
    points[is_regular] = np.linalg.solve(normal[is_regular], right[is_regular][..., None])[..., 0]
    return points, np.degrees(np.arccos(np.clip(1.0 - least, -1.0, 1.0)))
