"""Pixels in which (0, 0) is the centre of the top-left one, as OpenCV counts: inside or not, projected, as rays."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FARTHEST_PX = 1e9


def is_inside(pixels: Pixels | Array, image: Image, margin_px: float) -> Mask:
    """Which pixels (N, 2) lie in the image, at least ``margin_px`` from its border."""
    height, width = image.shape[:2]
    low, high = margin_px, np.array([width, height]) - 1.0 - margin_px
    return np.asarray(np.all((pixels >= low) & (pixels <= high), axis=1))


def pixels_of(camera: pycolmap.Camera, points: Array) -> Pixels:
    """Pixels (N, 2) of points (N, 3) in the camera frame; NaN behind the camera."""
    pixels = cameras.project(camera, points) - cameras.HALF_PIXEL
    return np.clip(pixels, -_FARTHEST_PX, _FARTHEST_PX).astype(np.float32)  # single precision ends at 1e38


def undistort(camera: pycolmap.Camera, pixels: Pixels) -> tuple[Array, Mask]:
    """Rays (N, 2) at depth 1 of pixels (N, 2), and which of them the camera model describes; the others are NaN."""
    rays = cameras.rays(camera, pixels.astype(np.float64) + cameras.HALF_PIXEL)
    return rays, np.asarray(np.isfinite(rays).all(axis=1))


def pixels_per_ray(camera: pycolmap.Camera, rays: Array) -> Array:
    """Local scale (N,) of the camera model about rays (N, 2), zero where it has none.

    It converts errors on rays to pixels for any lens.
    """
    reach = 1.0 / camera.mean_focal_length()
    steps = np.array([[0.0, 0.0], [reach, 0.0], [0.0, reach]])
    stacked = (rays[None] + steps[:, None]).reshape(-1, 2)
    here, right, down = cameras.project(camera, homogeneous(stacked)).reshape(3, -1, 2)
    area = np.abs(cross(right - here, down - here)) / reach**2
    return np.asarray(np.sqrt(np.where(np.isfinite(area), area, 0.0)))


def cross(left: Array, right: Array) -> Array:
    """Cross products (N,) of vectors (N, 2): the areas that they span."""
    return np.asarray(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])


def homogeneous(rays: Array) -> Array:
    """Points (N, 3) of depth 1 on rays (N, 2)."""
    return np.column_stack([rays, np.ones(len(rays))])


def sight_lines(centres: Array, points: Array) -> tuple[Array, Array]:
    """Unit vectors (N, 3) from camera centres (N, 3) or (3,) to points (N, 3), and the distances (N,)."""
    lines = points - centres
    distances = np.maximum(np.linalg.norm(lines, axis=1), 1e-9)
    return lines / distances[:, None], distances
