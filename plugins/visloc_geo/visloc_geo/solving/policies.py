"""First poses of the photo from points between pairs of views, which are where their tags place them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from visloc_geo.solving.config import DISPLACEMENT, SolvingConfig
from visloc_geo.solving.observations import QUERY, Observations, Scene
from visloc_geo.solving.triangulation import MAX_ERROR_PX, triangulate
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import solve_pose

MAX_POSE_ERROR_PX = 8.0
_LEAST_TRACK = 3


def pose_by_tags(observations: Observations, config: SolvingConfig) -> SE3 | None:
    """``enu_from_camera`` by RANSAC from the points that the policy makes; None where the tags give too few.

    The views' tags have rotations.
    """
    rotations = [np.eye(3), *(one.rotation for one in observations.tags[1:])]
    centres = [np.zeros(3), *(one.position for one in observations.tags[1:])]
    scene = Scene(np.array(rotations), np.array(centres), np.empty((0, 3)))
    point, points = _points_of_policy(observations, scene, config)
    pixels = observations.pixels[observations.rows_of(QUERY)][point]
    poses = PoseConfig(max_error_px=MAX_POSE_ERROR_PX, seed=config.seed)
    found = solve_pose(pixels, points, observations.cameras[QUERY], poses)
    return None if found is None else found.map_from_camera


def _points_of_policy(
    observations: Observations, scene: Scene, config: SolvingConfig
) -> tuple[NDArray[np.intp], Array]:
    """Numbers (K,) and positions (K, 3) of points: for each the surest of its pairs (displacement), or each pair's."""
    pairs = _pairs(observations, config)
    points = _checked(observations, scene, pairs, config)
    point, product = observations.point[pairs[:, 0]], np.prod(observations.confidence[pairs], axis=1)
    is_good = np.isfinite(points).all(axis=1)
    point, points, product = point[is_good], points[is_good], product[is_good]
    if config.policy == DISPLACEMENT:
        surest = np.lexsort((-product, point))
        first = surest[np.unique(point[surest], return_index=True)[1]]
        point, points = point[first], points[first]
    return point, _by_tracks(observations, scene, point, points, config)


def _pairs(observations: Observations, config: SolvingConfig) -> NDArray[np.intp]:
    """Pairs (K, 2) of observations of one point from two places."""
    pairs = [np.empty((0, 2), np.intp)]
    for first, second in combinations(range(1, len(observations.cameras)), 2):
        if observations.groups[first] != observations.groups[second]:
            of_first, of_second = observations.rows_of(first), observations.rows_of(second)
            in_both = np.intersect1d(observations.point[of_first], observations.point[of_second], return_indices=True)
            pairs.append(np.column_stack([in_both[1] + of_first.start, in_both[2] + of_second.start]))
    joined = np.concatenate(pairs)
    is_sure = np.prod(observations.confidence[joined], axis=1) > config.confidence_thr
    return np.asarray(joined[is_sure])


def _checked(observations: Observations, scene: Scene, pairs: NDArray[np.intp], config: SolvingConfig) -> Array:
    """Points (K, 3) of pairs, NaN where a pair does not meet in one."""
    numbers = np.tile(np.arange(len(pairs)), 2)
    return _agreeing(observations, scene, pairs.T.ravel(), numbers, len(pairs), config)


def _by_tracks(
    observations: Observations, scene: Scene, point: NDArray[np.intp], points: Array, config: SolvingConfig
) -> Array:
    """The points (K, 3) from all views that agree with them, where these are three and more."""
    numbers, rows = _observations_of(observations, point)
    errors = np.linalg.norm(_residuals(observations, scene, rows, points[numbers]), axis=1)
    numbers, rows = numbers[errors <= MAX_ERROR_PX], rows[errors <= MAX_ERROR_PX]
    is_track = np.bincount(numbers, minlength=len(points)) >= _LEAST_TRACK
    kept = is_track[numbers]
    better = _agreeing(observations, scene, rows[kept], numbers[kept], len(points), config)
    return np.where(np.isfinite(better), better, points)


def _observations_of(observations: Observations, point: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For points (K,): their places in that list, and the rows of what the views, not the photo, see of them."""
    tagged = np.flatnonzero(observations.view != QUERY)
    by_point = tagged[np.argsort(observations.point[tagged], kind="stable")]
    first = np.searchsorted(observations.point[by_point], point, "left")
    counts = np.searchsorted(observations.point[by_point], point, "right") - first
    numbers = np.repeat(np.arange(len(point)), counts)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers, by_point[np.repeat(first, counts) + within]


def _agreeing(
    observations: Observations,
    scene: Scene,
    rows: NDArray[np.intp],
    numbers: NDArray[np.intp],
    count: int,
    config: SolvingConfig,
) -> Array:
    """Points (count, 3) of rows of observations, NaN where one of these does not agree."""
    order = np.argsort(rows, kind="stable")
    rows, numbers = rows[order], numbers[order]
    seen = observations.with_points(rows, numbers, count)
    points = triangulate(seen, scene, config.points_distance_thr)
    errors = np.linalg.norm(scene.residuals(seen, points[numbers]), axis=1)
    bad = np.zeros(count, bool)
    bad[numbers[~(errors <= MAX_ERROR_PX)]] = True
    return np.where(bad[:, None], np.nan, points)


def _residuals(observations: Observations, scene: Scene, rows: NDArray[np.intp], points: Array) -> Array:
    order = np.argsort(rows, kind="stable")
    found = np.empty((len(rows), 2))
    seen = observations.with_points(rows[order], np.arange(len(rows)), len(rows))
    found[order] = scene.residuals(seen, points[order])
    return found
