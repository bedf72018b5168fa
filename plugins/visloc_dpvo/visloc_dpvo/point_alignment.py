"""The similarity between two places from matched 3D points, many of which may be wrong (Lipson et al. 2024).

Points are in camera frames. Their unit is each frame's own distance: the harmonic mean depth of its points, so that
no threshold depends on the scale that monocular odometry happens to have.

Depths from two neighbouring frames are rough, directions are not: the fit of the points in space only initialises a fit
mainly of their directions, which on simulated rooms is five times as exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from visloc_ros.core.geometry import Array, Sim3, umeyama
from visloc_ros.core.similarities import Similarities
from visloc_ros.core.tangent import perturbed_similarity

_MIN_POINTS = 10
_MAX_DEPTH = 20.0  # in units of the harmonic mean: further points have no depth to speak of
_DRAWS = 400
_SAMPLE = 3
_INLIER_DISTANCE = 0.1
_SEED = 1234
_MAX_EVALUATIONS = 30
_REFITS = 5
_DIRECTION_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class PointAlignment:
    """``target_from_source``, which of the matched points (K,) agree with it, and how far these spread in the image.

    Points agree that lie near each other, and in the same direction from either camera. ``spread`` is the least
    standard deviation of their image-plane coordinates in any direction. It was fitted to ``source`` and ``target``
    (N, 3), the points near each other.
    """

    target_from_source: Sim3
    inliers: NDArray[np.bool_]
    spread: float
    source: Array
    target: Array

    @cached_property
    def covariance(self) -> Array:
        """Covariance (7, 7) as in ``LoopClosure``, in the target's units, by the points."""
        return alignment_covariance(self.target_from_source, self.source, self.target)

    @property
    def num_inliers(self) -> int:
        """Number of points that agree."""
        return int(self.inliers.sum())


def align_points(source: Array, target: Array) -> PointAlignment | None:
    """Best similarity of matched points (K, 3) of two cameras by RANSAC, refined on those that agree.

    None where there are fewer than ten points at finite depths, or they lie on a line.
    """
    near = (_relative_depths(source) < _MAX_DEPTH) & (_relative_depths(target) < _MAX_DEPTH)
    if near.sum() < _MIN_POINTS:
        return None
    best = _best_hypothesis(source[near], target[near])
    if best is None:
        return None
    inliers = np.zeros(len(source), dtype=np.bool_)
    inliers[near] = best.inliers
    return replace(best, inliers=inliers)


def _relative_depths(points: Array) -> Array:
    """Depths (K,) over their harmonic mean; infinite for points that are not in front of the camera."""
    inverse_depths = np.where(points[:, 2] > 0.0, 1.0 / np.where(points[:, 2] > 0.0, points[:, 2], 1.0), 0.0)
    return np.asarray(np.where(inverse_depths > 0.0, inverse_depths.mean() / np.maximum(inverse_depths, 1e-12), np.inf))


def _best_hypothesis(source: Array, target: Array) -> PointAlignment | None:
    tolerance = _INLIER_DISTANCE / float((1.0 / target[:, 2]).mean())
    hypotheses = _hypotheses(source, target)
    if len(hypotheses) == 0:
        return None
    moved = np.einsum("hij,nj->hni", hypotheses.scales[:, None, None] * hypotheses.rotations, source)
    distances = np.linalg.norm(moved + hypotheses.translations[:, None] - target, axis=2)
    inliers = distances[int(np.argmax((distances < tolerance).sum(axis=1)))] < tolerance
    for _ in range(_REFITS):
        if inliers.sum() < _SAMPLE:
            return None
        target_from_source = umeyama(target[inliers], source[inliers])
        inliers = _is_near(target_from_source, source, target, tolerance)
    return _polished(target_from_source, source, target, tolerance)


def _polished(start: Sim3, source: Array, target: Array, tolerance: float) -> PointAlignment | None:
    """Fit to the directions and depths of those points that are near each other at the start."""
    near = _is_near(start, source, target, tolerance)
    if near.sum() < _SAMPLE:
        return None

    def errors(step: Array) -> Array:
        return alignment_errors(moved(start, step), source[near], target[near]).ravel()

    solution = least_squares(errors, np.zeros(7), loss="cauchy", max_nfev=_MAX_EVALUATIONS)
    target_from_source = moved(start, solution.x)
    aligned = np.linalg.norm(direction_errors(target_from_source, source, target), axis=2).max(axis=0)
    inliers = _is_near(target_from_source, source, target, tolerance) & (aligned < _DIRECTION_TOLERANCE)
    return PointAlignment(target_from_source, inliers, _spread(target[inliers]), source[near], target[near])


def _is_near(target_from_source: Sim3, source: Array, target: Array, tolerance: float) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(target_from_source @ source - target, axis=1) < tolerance)


def _hypotheses(source: Array, target: Array) -> Similarities:
    """Similarities of random triples; those on a line, whose rotation is arbitrary, and mirrored ones are left out."""
    rng = np.random.default_rng(_SEED)
    triples = rng.random((_DRAWS, len(source))).argpartition(_SAMPLE, axis=1)[:, :_SAMPLE]
    x, y = source[triples], target[triples]
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    x, y = x - x_mean[:, None], y - y_mean[:, None]
    left, singular, right = np.linalg.svd(y.transpose(0, 2, 1) @ x)
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotations = (left * signs[:, None]) @ right
    variances = np.square(x).sum(axis=(1, 2))
    is_plane = singular[:, 1] > 1e-9 * np.maximum(singular[:, 0], 1e-300)
    scales = (singular * signs).sum(axis=1) / np.where(variances > 0.0, variances, 1.0)
    translations = y_mean - scales[:, None] * np.einsum("hij,hj->hi", rotations, x_mean)
    return Similarities(scales, rotations, translations).take(np.flatnonzero(is_plane & (scales > 0.0)))


def _spread(points: Array) -> float:
    """Least standard deviation of the image-plane coordinates of points (K, 3), 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    variances = np.linalg.eigvalsh(np.cov(directions(points).T))
    return float(np.sqrt(max(variances[0], 0.0)))


# The errors of a similarity for the matched points (K, 3) of two cameras, and its covariance by them. Directions from
# either camera are the most exact. Depths come from neighbouring frames and are rough, but where both cameras are at
# one place, only they determine the scale.

_DIRECTION_SCALE = 0.005  # of image-plane coordinates, about two pixels: larger errors lose their weight
_DEPTH_SCALE = 0.2  # likewise of the logarithm of depths
_STEP = 1e-6  # of differences that stand for derivatives
_SELECTION = 1.5  # the points fitted are those near a first fit: simulated errors are so much larger, squared
_LEAST_ERROR = 0.05  # of these scales: no keypoint is exacter than a tenth of a pixel, no depth than one per cent


def alignment_errors(target_from_source: Sim3, source: Array, target: Array) -> Array:
    """Errors (K, 5) of directions in the target's camera and the source's, and of depth; beyond 1 they lose weight."""
    directions = direction_errors(target_from_source, source, target) / _DIRECTION_SCALE
    depths = np.log(np.maximum((target_from_source @ source)[:, 2] / target[:, 2], 1e-6)) / _DEPTH_SCALE
    return np.column_stack((*directions, depths))


def direction_errors(target_from_source: Sim3, source: Array, target: Array) -> Array:
    """Differences (2, K, 2) of image-plane coordinates in the target's camera and in the source's."""
    in_target, in_source = target_from_source @ source, target_from_source.inverse @ target
    return np.stack((directions(in_target) - directions(target), directions(in_source) - directions(source)))


def directions(points: Array) -> Array:
    """Image-plane coordinates (K, 2); far outside for points that are not in front of the camera."""
    return np.asarray(points[:, :2] / np.maximum(points[:, 2:], 1e-6))


def moved(similarity: Sim3, step: Array) -> Sim3:
    """A similarity after a step (7,) of position, rotation vector about the target's axes, and log scale."""
    return perturbed_similarity(similarity, step)


def alignment_covariance(target_from_source: Sim3, source: Array, target: Array) -> Array:
    """Covariance (7, 7) of the ``moved`` steps from the points' own errors: how far the fit moves without each point.

    This jackknife takes a point's five errors, which are of one keypoint and two depths, as one, and needs no model of
    how exact near and far points are. Points that fit better than any are measured leave ``_LEAST_ERROR``.
    """
    units = _STEP * np.repeat([float(np.median(target[:, 2])), 1.0], [3, 4])
    forward, backward = (
        np.stack([alignment_errors(moved(target_from_source, step), source, target) for step in np.diag(sign * units)])
        for sign in (1.0, -1.0)
    )
    jacobians = (forward - backward).transpose(1, 2, 0) / (2.0 * units)
    errors = alignment_errors(target_from_source, source, target)
    pulls, bends = _cauchy(errors)
    gradients = np.einsum("kea,ke->ka", jacobians, pulls)
    curvatures = np.einsum("kea,ke,keb->kab", jacobians, bends, jacobians)
    total = curvatures.sum(axis=0)
    steps = np.linalg.solve(total - curvatures, gradients[:, :, None])[:, :, 0]
    return np.asarray(_SELECTION * steps.T @ steps + _LEAST_ERROR**2 * np.linalg.inv(total))


def _cauchy(errors: Array) -> tuple[Array, Array]:
    """First and second derivative of the loss log(1 + errors^2) / 2; what bends the other way counts as flat."""
    weights = 1.0 / (1.0 + np.square(errors))
    return weights * errors, np.maximum(1.0 - np.square(errors), 0.0) * np.square(weights)
