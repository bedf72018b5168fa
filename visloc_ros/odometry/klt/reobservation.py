"""Landmarks matched with their earlier observations: tracks are realigned, and lost landmarks are found again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.geometry import SE3
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.observations import (
    ExpectedLandmarks,
    align_observations,
    nearest_observations,
    oldest_observations,
)
from visloc_ros.odometry.klt.rolling_shutter import pixels_while_read
from visloc_ros.odometry.klt.tracking import Features, measure, seen_points
from visloc_ros.tracking.pixels import is_inside
from visloc_ros.tracking.robust_pose import fit_pose

_MIN_FOUND = 8
_MIN_AGREEING = 0.3  # share of the found landmarks that must fit one pose
_LARGEST_SLIP_PX = 1.5  # a track farther from its first observation shows another point


def realign(local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig) -> Features:
    """Put followed landmarks where their oldest observations match best, which removes slips from image to image.

    Features that no longer look like their observation stay where they are.
    """
    rows, known = local_map.landmarks.rows_of(followed.ids)
    known_rows = np.flatnonzero(known)
    points = local_map.landmarks.points[rows[known]]
    candidates = ExpectedLandmarks(followed.ids[known], points, followed.pixels[known])
    observations = oldest_observations(local_map.keyframes, candidates, pose)
    seen = np.flatnonzero(observations.owner >= 0)
    candidates = candidates[seen]
    found, matched = align_observations(
        local_map.keyframes, candidates, observations[seen], view, pose, config, levels=0
    )
    matched &= np.linalg.norm(found - candidates.pixels, axis=1) < _LARGEST_SLIP_PX
    pixels = followed.pixels.copy()
    pixels[known_rows[seen[matched]]] = found[matched]
    return measure(view.camera, followed.ids, pixels, view.turn)


def find_again(local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig) -> Features:
    """Find landmarks that should be in view at ``camera_from_odom`` but are not among the followed features."""
    if len(local_map.keyframes) < 2:
        return Features.none()
    candidates = _expected(local_map, view, pose, followed, config)
    observations = nearest_observations(local_map.keyframes, candidates, pose)
    rows = _spread(candidates, np.flatnonzero(observations.owner >= 0), view, config)
    if len(rows) < _MIN_FOUND:
        return Features.none()
    candidates = candidates[rows]
    pixels, matched = align_observations(
        local_map.keyframes, candidates, observations[rows], view, pose, config, levels=1
    )
    matched &= is_inside(pixels, view.grey, float(config.window_px // 2))
    found = measure(view.camera, candidates.ids[matched], pixels[matched], view.turn)
    return _agreeing(found, local_map, pose, config)


def _expected(
    local_map: LocalMap, view: PreparedImage, pose: SE3, followed: Features, config: KltConfig
) -> ExpectedLandmarks:
    """Landmarks that project into the image, away from every followed feature: the most reliable first.

    Old ones come first: a pose by them drifts less than one by new ones. Of landmarks whose depth was guessed the
    newest come first.
    """
    table = local_map.landmarks
    local = pose @ table.points
    pixels = np.full((len(table), 2), np.nan, dtype=np.float32)
    ahead = local[:, 2] > 0.0
    pixels[ahead] = pixels_while_read(view.camera, local[ahead], view.turn)
    free = is_inside(pixels, view.grey, float(config.window_px // 2)) & ~np.isin(table.ids, followed.ids)
    is_guessed = np.isfinite(table.expected_distances)
    rows = np.concatenate([np.flatnonzero(free & ~is_guessed), np.flatnonzero(free & is_guessed)[::-1]])
    candidates = ExpectedLandmarks(table.ids[rows], table.points[rows], pixels[rows])
    if len(candidates) == 0 or len(followed) == 0:
        return candidates
    gaps, _ = cKDTree(followed.pixels).query(candidates.pixels)
    return candidates[np.flatnonzero(gaps > _spacing_px(view, config))]


def _spread(
    candidates: ExpectedLandmarks, rows: NDArray[np.intp], view: PreparedImage, config: KltConfig
) -> NDArray[np.intp]:
    """Those of the rows (N,) that are the first in their part of the image."""
    cells = np.floor(candidates.pixels[rows] / _spacing_px(view, config)).astype(int)
    _, first = np.unique(cells, axis=0, return_index=True)
    return np.asarray(rows[np.sort(first)][: config.max_features // 2])


def _spacing_px(view: PreparedImage, config: KltConfig) -> float:
    """Half the distance between features that are spread evenly."""
    return float(0.5 * np.sqrt(view.grey.size / config.max_features))


def _agreeing(found: Features, local_map: LocalMap, pose: SE3, config: KltConfig) -> Features:
    """The found landmarks that fit one common pose; that pose may differ from the present one by the drift."""
    if len(found) < _MIN_FOUND:
        return Features.none()
    rows, _ = local_map.landmarks.rows_of(found.ids)
    points = local_map.landmarks.points[rows]
    limit = config.max_reprojection_px
    fit = fit_pose(pose, seen_points(points, found, limit), limit)
    if fit.num_inliers < max(_MIN_FOUND, _MIN_AGREEING * len(found)):
        return Features.none()
    return found[fit.inliers]
