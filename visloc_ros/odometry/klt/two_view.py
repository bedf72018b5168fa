"""The start from two views: relative pose and points, or the reason to wait for a better pair.

An essential matrix and a homography are fitted to the same pairs and scored against each other (as in ORB-SLAM's
start). Where a pure rotation or a plane explains the pairs, the translation is not to be trusted: wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.core.types import Reason
from visloc_ros.odometry.klt.bundle import BundleProblem, adjust
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.triangulation import TRACK_SIGMA_PX, ViewRays, is_well_seen, parallax_deg, triangulate
from visloc_ros.tracking.pixels import homogeneous

_CHI2_LINE, _CHI2_POINT = 3.84, 5.99  # 95 % for one and two degrees of freedom
_SECOND_BEST = 0.7  # share of points a wrong decomposition may have
_MIN_PARALLAX_PX = 6.0  # a dozen times the accuracy of a tracked point
_UNROTATED_SHARE = 0.25  # of the parallax that must be left after the best rotation
START_PARALLAX_DEG = 1.0  # twenty times the noise of a tracked point at VGA, so that depths are known to a tenth
MAX_HOMOGRAPHY_SHARE = 0.45  # of the model score, above which a plane or a rotation explains the pairs (ORB-SLAM)


@dataclass(frozen=True, eq=False)
class TwoViewGeometry:
    """``second_from_first`` with a baseline that puts the median depth at 1, points (N, 3) in the first camera.

    ``is_point`` (N,) marks pairs that are good points; the other rows of ``points`` mean nothing.
    """

    second_from_first: SE3
    points: Array
    is_point: NDArray[np.bool_]
    counts: dict[str, float]


@dataclass(frozen=True)
class Wait:
    """No start yet: why, and the numbers behind it."""

    counts: dict[str, float]
    reason: Reason = Reason.DEGENERATE_MOTION


def estimate_two_view_geometry(
    first: Array, second: Array, pixels_per_ray: Array, config: KltConfig
) -> TwoViewGeometry | Wait:
    """Find the relative pose of two views from undistorted rays (N, 2) of the same points, or wait."""
    counts = {"pairs": float(len(first))}
    if len(first) < config.start_min_points:
        return Wait(counts, Reason.FEW_FEATURES)
    counts["parallax_deg"] = parallax = median_parallax_deg(first, second)
    if parallax < _UNROTATED_SHARE * _wanted_parallax_deg(pixels_per_ray):
        return Wait(counts)
    scale = float(np.median(pixels_per_ray))
    essential = _fit_essential(first, second, scale)
    if essential is None:
        return Wait(counts)
    share = homography_share(first, second, essential, scale)
    counts["homography_share"] = share
    if share > MAX_HOMOGRAPHY_SHARE:
        return Wait(counts)
    return _reconstruct(essential, first, second, pixels_per_ray, config, counts)


def median_parallax_deg(first: Array, second: Array) -> float:
    """Median angle in degrees between two ray bundles (N, 2) after the best common rotation is taken out."""
    a, b = bearings(first), bearings(second)
    weights = np.ones(len(a))
    for _ in range(5):
        rotation = nearest_rotation((b * weights[:, None]).T @ a)
        angles = np.linalg.norm(b - a @ rotation.T, axis=1)
        weights = 1.0 / (np.median(angles) + angles + 1e-9)
    return float(np.degrees(np.median(angles)))


def homography_share(first: Array, second: Array, essential: Array, pixels_per_ray: float) -> float:
    """Share S_H / (S_H + S_E) of the truncated symmetric scores; from about 0.45 a plane or rotation is enough."""
    threshold = 3.0 * TRACK_SIGMA_PX / pixels_per_ray
    found, _ = cv2.findHomography(first, second, cv2.RANSAC, threshold, maxIters=500)
    if found is None or abs(np.linalg.det(found)) < 1e-12:
        return 0.0
    homography = np.asarray(found, dtype=np.float64)
    back = np.asarray(np.linalg.inv(homography))
    lines = [_line_errors(essential, first, second), _line_errors(essential.T, second, first)]
    moves = [_move_errors(homography, first, second), _move_errors(back, second, first)]
    line_score = _score(np.array(lines) * pixels_per_ray, _CHI2_LINE)
    move_score = _score(np.array(moves) * pixels_per_ray, _CHI2_POINT)
    return move_score / max(move_score + line_score, 1e-12)


def _score(errors_px: Array, gate: float) -> float:
    chi2 = np.square(errors_px / TRACK_SIGMA_PX)
    return float(np.where(chi2 < gate, _CHI2_POINT - chi2, 0.0).sum())


def _fit_essential(first: Array, second: Array, pixels_per_ray: float) -> Array | None:
    essential, _ = cv2.findEssentialMat(
        first, second, np.eye(3), method=cv2.USAC_MAGSAC, prob=0.999, threshold=2.0 * TRACK_SIGMA_PX / pixels_per_ray
    )
    return None if essential is None or essential.shape != (3, 3) else np.asarray(essential)


def _reconstruct(
    essential: Array, first: Array, second: Array, pixels_per_ray: Array, config: KltConfig, counts: dict[str, float]
) -> TwoViewGeometry | Wait:
    candidates = [_with_points(pose, first, second, pixels_per_ray, config) for pose in _decompose(essential)]
    candidates.sort(key=lambda start: np.count_nonzero(start.is_point), reverse=True)
    best, runner_up = (int(np.count_nonzero(start.is_point)) for start in candidates[:2])
    counts |= {"points": float(best)}
    if best < config.start_min_points or runner_up > _SECOND_BEST * best:
        return Wait(counts)
    return _refine(candidates[0], first, second, pixels_per_ray, config, counts)


def _decompose(essential: Array) -> list[SE3]:
    turn_a, turn_b, translation = cv2.decomposeEssentialMat(essential)
    turns = [np.asarray(turn, dtype=np.float64) for turn in (turn_a, turn_b)]
    move = np.asarray(translation, dtype=np.float64).ravel()
    return [SE3(turn, sign * move) for turn in turns for sign in (1.0, -1.0)]


def _with_points(pose: SE3, first: Array, second: Array, pixels_per_ray: Array, config: KltConfig) -> TwoViewGeometry:
    views = _views(pose, first, second, pixels_per_ray)
    points = triangulate(*views)
    good = is_well_seen(points, *views, 0.2 * START_PARALLAX_DEG, config.max_reprojection_px)
    return TwoViewGeometry(pose, points, good, {})


def _refine(
    start: TwoViewGeometry,
    first: Array,
    second: Array,
    pixels_per_ray: Array,
    config: KltConfig,
    counts: dict[str, float],
) -> TwoViewGeometry | Wait:
    """Adjust pose and points together, check again, and normalise the scale."""
    rows = np.flatnonzero(start.is_point)
    pose = start.second_from_first
    number = len(rows)
    problem = BundleProblem(
        rotations=np.stack([np.eye(3), pose.rotation]),
        translations=np.stack([np.zeros(3), pose.translation]),
        points=start.points[rows],
        is_fixed=np.array([True, False]),
        camera_rows=np.repeat([0, 1], number),
        point_rows=np.tile(np.arange(number), 2),
        rays=np.concatenate([first[rows], second[rows]]),
        pixels_per_ray=np.tile(pixels_per_ray[rows], 2),
    )
    adjusted = adjust(problem, iterations=20)
    refined = _with_points(SE3(adjusted.rotations[1], adjusted.translations[1]), first, second, pixels_per_ray, config)
    views = _views(refined.second_from_first, first, second, pixels_per_ray)
    good = refined.is_point
    parallax = float(np.median(parallax_deg(*views)[good])) if np.any(good) else 0.0
    counts |= {"points": float(np.count_nonzero(good)), "parallax_deg": parallax}
    if np.count_nonzero(good) < config.start_min_points or parallax < _wanted_parallax_deg(pixels_per_ray):
        return Wait(counts)
    depth = float(np.median(refined.points[good, 2]))
    pose = refined.second_from_first
    return TwoViewGeometry(SE3(pose.rotation, pose.translation / depth), refined.points / depth, good, counts)


def _wanted_parallax_deg(pixels_per_ray: Array) -> float:
    """The usual parallax, or the larger one that coarse pixels need."""
    return max(START_PARALLAX_DEG, float(np.degrees(_MIN_PARALLAX_PX / np.median(pixels_per_ray))))


def _views(pose: SE3, first: Array, second: Array, pixels_per_ray: Array) -> tuple[ViewRays, ViewRays]:
    number = len(first)
    here = ViewRays(np.tile(np.eye(3), (number, 1, 1)), np.zeros((number, 3)), first, pixels_per_ray)
    there = ViewRays(
        np.tile(pose.rotation, (number, 1, 1)), np.tile(pose.translation, (number, 1)), second, pixels_per_ray
    )
    return here, there


def bearings(rays: Array) -> Array:
    """Unit vectors (N, 3) of rays (N, 2) at depth 1."""
    directions = homogeneous(rays)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _line_errors(essential: Array, source: Array, target: Array) -> Array:
    lines = homogeneous(source) @ essential.T
    distances = np.abs((lines[:, :2] * target).sum(axis=1) + lines[:, 2])
    return np.asarray(distances / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12))


def _move_errors(homography: Array, source: Array, target: Array) -> Array:
    moved = homogeneous(source) @ homography.T
    depth = np.where(np.abs(moved[:, 2]) > 1e-12, moved[:, 2], 1e-12)
    return np.asarray(np.linalg.norm(moved[:, :2] / depth[:, None] - target, axis=1))
