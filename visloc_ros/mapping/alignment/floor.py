"""The floor of a map: the lowest large plane under its cameras becomes z = 0, its normal +z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.map import Map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.gravity import find_up

_HYPOTHESES = 2000
_TOLERANCE = 0.012  # of the median height of the cameras over the lowest points: 2 cm for a camera held at 1.6 m
_LARGEST_TILT_DEG = 20.0  # from the direction of up by the cameras alone: the error of a camera that only looks ahead
_MOST_BELOW = 0.03  # share of the points below a floor: reflections in it, and errors
_LEAST_POINTS = 20
_LEAST_EXTENT = 0.3  # of the points on it, in heights of the cameras: a step or a shelf is smaller


@dataclass(frozen=True, eq=False)
class Plane:
    """Points x with ``normal @ x = offset``; the normal (3,) points up. ``on_it`` (P,) marks the points in it."""

    normal: Array
    offset: float
    on_it: NDArray[np.bool_]

    def heights(self, points: Array) -> Array:
        """Heights (N,) of points (N, 3) over it."""
        return np.asarray(points @ self.normal - self.offset)

    @property
    def upright_rotation(self) -> Array:
        """The smallest rotation (3, 3) that turns the normal to +z."""
        rotation, _ = Rotation.align_vectors([0.0, 0.0, 1.0], self.normal)
        return np.asarray(rotation.as_matrix())


def align_to_floor(map_: Map, camera_height: float | None = None) -> MapFit:
    """Turn a map upright on its floor; headings and the place of its origin over the floor stay.

    ``camera_height`` is the median of the cameras' heights over the floor in metres, such as that of a camera mounted
    on a robot: it sets the scale. Raises MapError where no floor is found.
    """
    cameras = [image.map_from_camera for image in map_.images]
    floor = find_floor(map_.points, cameras, map_.manifest.gravity_aligned)
    heights = floor.heights(np.array([pose.translation for pose in cameras]))
    scale = 1.0 if camera_height is None else camera_height / float(np.median(heights))
    residual = scale * float(np.std(floor.heights(map_.points[floor.on_it])))
    return MapFit(
        Sim3(scale, floor.upright_rotation, np.array([0.0, 0.0, -scale * floor.offset])),
        "floor" if camera_height is None else f"floor, {camera_height:g} m under the cameras",
        {
            "points_on_the_floor": int(np.count_nonzero(floor.on_it)),
            "rms_m": residual,
            "camera_height_m": scale * float(np.median(heights)),
        },
        metric=map_.manifest.metric or camera_height is not None,
        gravity_aligned=True,
    )


def find_floor(points: Array, cameras: list[SE3], gravity_aligned: bool) -> Plane:
    """The lowest plane that holds many of the points (P, 3), by RANSAC. Raises MapError."""
    up = np.array([0.0, 0.0, 1.0])
    if not gravity_aligned:
        found = find_up(cameras)
        if found is None:
            raise MapError("the images do not agree on what is down: build the map with the camera held upright")
        up = found.direction
    centres = np.array([pose.translation for pose in cameras])
    below = points[points @ up < np.median(centres @ up)]
    if len(below) < _LEAST_POINTS:
        raise _no_floor(len(below))
    size = float(np.median(centres @ up) - np.percentile(below @ up, 5))
    tolerance = _TOLERANCE * size
    best = _best_plane(points, below, up, tolerance)
    if best is None:
        raise _no_floor(len(below))
    plane = _refined(points, *best, tolerance)
    extent = np.linalg.norm(np.ptp(points[plane.on_it], axis=0))
    if np.count_nonzero(plane.on_it) < _LEAST_POINTS or extent < _LEAST_EXTENT * size:
        raise _no_floor(int(np.count_nonzero(plane.on_it)))
    return plane


def _best_plane(points: Array, below: Array, up: Array, tolerance: float) -> tuple[Array, float] | None:
    rng, best, most = np.random.default_rng(0), None, 0
    least = np.cos(np.deg2rad(_LARGEST_TILT_DEG))
    for _ in range(_HYPOTHESES):
        a, b, c = below[rng.choice(len(below), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-9:
            continue
        normal = normal / length * np.sign(normal @ up)
        if normal @ up < least:
            continue
        heights = points @ normal - normal @ a
        count = int(np.count_nonzero(np.abs(heights) < tolerance))
        if count > most and np.mean(heights < -3.0 * tolerance) < _MOST_BELOW:
            best, most = (normal, float(normal @ a)), count
    return best


def _refined(points: Array, normal: Array, offset: float, tolerance: float) -> Plane:
    """Least squares over the points in it, until the set of points is stable."""
    on_it = np.abs(points @ normal - offset) < tolerance
    for _ in range(10):
        centre = points[on_it].mean(axis=0)
        fitted = np.linalg.svd(points[on_it] - centre)[2][2]
        normal = np.asarray(fitted * np.sign(fitted @ normal))
        offset = float(normal @ centre)
        now = np.abs(points @ normal - offset) < tolerance
        if np.array_equal(now, on_it):
            break
        on_it = now
    return Plane(normal, offset, on_it)


def _no_floor(count: int) -> MapError:
    return MapError(
        f"no floor was found ({count} points may lie on one, {_LEAST_POINTS} over a good part of it are needed): add "
        "images that show the floor with texture, or align the map by --poses, --grid or --tags"
    )
