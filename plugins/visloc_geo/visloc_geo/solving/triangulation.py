"""Points that several views see, where they are well determined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_geo.solving.bearings import intersect
from visloc_geo.solving.observations import Observations, Scene
from visloc_ros.core.geometry import Array

MIN_PARALLAX_DEG = 3.0
"""With less, an error of one pixel (0.1 degrees) shifts a point by more than 3 % of its distance."""
MAX_ERROR_PX = 12.0
"""In the views by their tags: one degree of heading is 6 to 12 pixels in usual images."""


def triangulate(observations: Observations, scene: Scene, farthest_m: float) -> Array:
    """Points (N, 3) from all views that see them, NaN where they are far, behind a view or without parallax."""
    view, point = observations.view, observations.point
    directions = scene.directions(observations)
    points, parallax = intersect(scene.centres[view], directions, point, observations.num_points)
    to_points = points[point] - scene.centres[view]
    with np.errstate(invalid="ignore"):
        is_ahead = np.einsum("oi,oi->o", to_points, directions) > 0.0
        is_near = np.linalg.norm(to_points, axis=1) <= farthest_m
    bad = np.zeros(observations.num_points, bool)
    bad[point[~(is_ahead & is_near)]] = True
    return np.where((bad | (parallax < MIN_PARALLAX_DEG))[:, None], np.nan, points)


def has_parallax(observations: Observations, scene: Scene) -> NDArray[np.bool_]:
    """Which points (N,) the views see from directions that are apart enough, whether or not their rays meet."""
    centres, directions = scene.centres[observations.view], scene.directions(observations)
    parallax = intersect(centres, directions, observations.point, observations.num_points)[1]
    return np.asarray(parallax >= MIN_PARALLAX_DEG)
