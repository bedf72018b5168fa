"""Similarity between odometry and map from camera poses known in both, safe on straight lines.

Umeyama's method takes the rotation from positions: on a straight line nothing determines the rotation about it. Here
each pair has orientations, so ``R_anchor @ R_odom.T`` gives the rotation, positions the scale and translation,
and a weighted least-squares step with all six residuals a pair joins both. The scale's standard deviation,
about sigma / (sqrt(n) * spread), decides whether the camera has moved enough.

Perturbations of a similarity are (7,): ``t = t_hat + d[:3]``, ``R = exp(d[3:6]) @ R_hat``, ``s = s_hat * exp(d[6])``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, Sim3, mean_rotation, rotation_matrix, rotation_vector
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import lever_jacobian, perturbed_similarity, pose_difference
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import AlignmentConfig

AGREEMENT = chi_square_quantile(0.99, 6)
REFINEMENTS = 5
MAX_RISK = 1.3e-4  # that all agreeing anchors are wrong: two of the lowest risk suffice, of others more are needed
DRIFT_TOLERANCE = 0.05  # share of the distance between two anchors; visual odometry usually drifts by less


@dataclass(frozen=True, eq=False)
class PosePair:
    """One camera in both frames; the covariance (6, 6) and the risk of being wrong are those of ``map_from_camera``."""

    stamp_ns: int
    map_from_camera: SE3
    odom_from_camera: SE3
    covariance: Array
    risk: float

    @staticmethod
    def from_fix(fix: AnchorFix) -> PosePair:
        """The pair of an anchor and the odometry at its image."""
        pose, sample = fix.anchor.map_from_camera, fix.sample
        return PosePair(fix.stamp_ns, pose, sample.odom_from_camera, fix.covariance, fix.risk)


@dataclass(frozen=True)
class ScalePrior:
    """Prior of the logarithm of the scale: mean and standard deviation."""

    log_scale: float
    sigma: float

    @property
    def information(self) -> float:
        """Inverse variance of the log scale."""
        return 1.0 / self.sigma**2


NO_PRIOR = ScalePrior(0.0, np.inf)


@dataclass(frozen=True, eq=False)
class Alignment:
    """A similarity, its covariance (7, 7), and which of the pairs (N,) are its inliers."""

    map_from_odom: Sim3
    covariance: Array
    inliers: NDArray[np.bool_]

    @property
    def scale_sigma(self) -> float:
        """Relative standard deviation of the scale; infinite when nothing determines it."""
        return float(np.sqrt(self.covariance[6, 6]))


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Pairs as arrays: positions (N, 3), rotation of each pair alone (N, 3, 3), variances (N,)."""

    map_positions: Array
    odom_positions: Array
    rotations: Array
    position_variances: Array
    rotation_variances: Array

    @staticmethod
    def of(pairs: Sequence[PosePair]) -> _Arrays:
        covariances = np.array([pair.covariance for pair in pairs])
        return _Arrays(
            np.array([pair.map_from_camera.translation for pair in pairs]),
            np.array([pair.odom_from_camera.translation for pair in pairs]),
            np.array([pair.map_from_camera.rotation @ pair.odom_from_camera.rotation.T for pair in pairs]),
            np.trace(covariances[:, :3, :3], axis1=1, axis2=2) / 3.0,
            np.trace(covariances[:, 3:, 3:], axis1=1, axis2=2) / 3.0,
        )


def align(pairs: Sequence[PosePair], prior: ScalePrior = NO_PRIOR) -> Alignment:
    """Weighted least-squares ``map_from_odom`` of pairs that are all good.

    The covariance grows with residuals larger than the pairs' covariances predict. Where neither the positions nor
    the prior determine the scale, it is 1 and its standard deviation infinite. Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("no pairs to align")
    similarity = _closed_form(_Arrays.of(pairs), prior)
    for _ in range(REFINEMENTS):
        information, gradient = _normal_equations(similarity, pairs)
        information[6, 6] += prior.information
        gradient[6] += prior.information * (prior.log_scale - np.log(similarity.scale))
        similarity = _perturbed(similarity, np.linalg.pinv(information, hermitian=True) @ gradient)
    information = _normal_equations(similarity, pairs)[0] / _residual_variance(similarity, pairs)
    information[6, 6] += prior.information
    return Alignment(similarity, _covariance(information), np.ones(len(pairs), dtype=bool))


def align_robust(
    pairs: Sequence[PosePair], config: AlignmentConfig, prior: ScalePrior = NO_PRIOR
) -> Alignment | Rejection:
    """Alignment of the largest set of pairs that agree, or the reason why there is none.

    SCALE_UNSET: too few pairs agree, or more than half as many agree on another place. DEGENERATE_MOTION: they agree,
    but the camera has not moved enough to know the scale.
    """
    if len(pairs) < 2:
        return _refusal(pairs, Reason.SCALE_UNSET, candidates=len(pairs))
    agreement = _agreement(_Arrays.of(pairs), config, prior)
    inliers, rival = _largest_sets(agreement)
    if not _enough([pair for pair, good in zip(pairs, inliers, strict=True) if good]):
        return _refusal(pairs, Reason.SCALE_UNSET, candidates=len(pairs), agreeing=int(inliers.sum()))
    if 2 * rival > inliers.sum():
        return _refusal(pairs, Reason.SCALE_UNSET, candidates=len(pairs), agreeing=int(inliers.sum()), elsewhere=rival)
    alignment = align([pair for pair, good in zip(pairs, inliers, strict=True) if good], prior)
    if not alignment.scale_sigma <= config.max_scale_sigma:
        return _refusal(pairs, Reason.DEGENERATE_MOTION, candidates=len(pairs), scale_sigma=alignment.scale_sigma)
    return Alignment(alignment.map_from_odom, alignment.covariance, inliers)


def align_disjoint_sets(
    pairs: Sequence[PosePair], config: AlignmentConfig, prior: ScalePrior = NO_PRIOR
) -> list[Alignment]:
    """Alignments of disjoint sets of agreeing pairs, the largest first: one for each of the places that look alike.

    Each set must pass the tests of ``align_robust``.
    """
    found: list[Alignment] = []
    if len(pairs) < 2:
        return found
    agreement = _agreement(_Arrays.of(pairs), config, prior)
    while len(agreement):
        inliers = agreement[int(np.argmax(agreement.sum(axis=1)))]
        agreeing = [pair for pair, good in zip(pairs, inliers, strict=True) if good]
        if not _enough(agreeing):
            break
        alignment = align(agreeing, prior)
        if alignment.scale_sigma <= config.max_scale_sigma:
            found.append(Alignment(alignment.map_from_odom, alignment.covariance, inliers))
        agreement = agreement[~np.any(agreement & inliers, axis=1)]
    return found


def _refusal(pairs: Sequence[PosePair], reason: Reason, **counts: float) -> Rejection:
    return Rejection(max((pair.stamp_ns for pair in pairs), default=0), reason, counts)


def _enough(agreeing: Sequence[PosePair]) -> bool:
    return len(agreeing) >= 2 and math.prod(pair.risk for pair in agreeing) <= MAX_RISK


def _closed_form(arrays: _Arrays, prior: ScalePrior) -> Sim3:
    rotation = mean_rotation(arrays.rotations, 1.0 / arrays.rotation_variances)
    weights = 1.0 / arrays.position_variances
    share = weights / weights.sum()
    source = arrays.odom_positions @ rotation.T
    source_mean, target_mean = share @ source, share @ arrays.map_positions
    source_centred, target_centred = source - source_mean, arrays.map_positions - target_mean
    moment = float(weights @ np.sum(source_centred * target_centred, axis=1))
    information = float(weights @ np.sum(np.square(source_centred), axis=1))
    scale = _scale(np.array(moment), np.array(information), prior)
    return Sim3(float(scale), rotation, target_mean - scale * source_mean)


def _scale(moment: Array, information: Array, prior: ScalePrior) -> Array:
    """Scale from sums over positions, with the prior; 1 where neither gives a positive one."""
    prior_information = np.exp(-2.0 * prior.log_scale) * prior.information
    moment = moment + prior_information * np.exp(prior.log_scale)
    information = information + prior_information
    held = (information > 1e-12) & (moment > 1e-12)
    return np.where(held, moment / np.where(held, information, 1.0), 1.0)


def _residual_variance(similarity: Sim3, pairs: Sequence[PosePair]) -> float:
    """Variance of the residuals over the one that the pairs' covariances predict, at least 1."""
    squares = 0.0
    for pair in pairs:
        residual = _residual(similarity, pair)
        squares += float(residual @ np.linalg.solve(pair.covariance, residual))
    return max(1.0, squares / max(6 * len(pairs) - 7, 1))


def _residual(similarity: Sim3, pair: PosePair) -> Array:
    return pose_difference(pair.map_from_camera, similarity.apply_to_pose(pair.odom_from_camera))


def _normal_equations(similarity: Sim3, pairs: Sequence[PosePair]) -> tuple[Array, Array]:
    information, gradient = np.zeros((7, 7)), np.zeros(7)
    for pair in pairs:
        lever = similarity.scale * similarity.rotation @ pair.odom_from_camera.translation
        jacobian = np.zeros((6, 7))
        jacobian[:, :6], jacobian[:3, 6] = lever_jacobian(lever), lever
        weighted = np.linalg.solve(pair.covariance, jacobian)
        information += jacobian.T @ weighted
        gradient += weighted.T @ _residual(similarity, pair)
    return information, gradient


def _perturbed(similarity: Sim3, step: Array) -> Sim3:
    return perturbed_similarity(similarity, np.append(step[:6], np.clip(step[6], -1.0, 1.0)))


def _covariance(information: Array) -> Array:
    """Inverse; infinite in the scale where the positions do not determine it."""
    pose, cross = information[:6, :6], information[:6, 6]
    scale_information = float(information[6, 6] - cross @ np.linalg.solve(pose, cross))
    if scale_information > 1e-9 * max(1.0, float(information[6, 6])):
        return np.asarray(np.linalg.inv(information))
    covariance = np.zeros((7, 7))
    covariance[:6, :6] = np.linalg.inv(pose)
    covariance[6, 6] = np.inf
    return covariance


def _agreement(arrays: _Arrays, config: AlignmentConfig, prior: ScalePrior) -> NDArray[np.bool_]:
    """Which of the N pairs agree with the similarity by each two of them: (N (N - 1) / 2, N)."""
    first, second = np.triu_indices(len(arrays.rotations), k=1)
    rotations = _mean_of_two(arrays.rotations[first], arrays.rotations[second])
    x, y = arrays.odom_positions, arrays.map_positions
    x_step, y_step = x[second] - x[first], y[second] - y[first]
    variance = arrays.position_variances[first] + arrays.position_variances[second]
    moment = np.einsum("hij,hj,hi->h", rotations, x_step, y_step) / variance
    scales = _scale(moment, np.square(x_step).sum(axis=1) / variance, prior)
    x_middle, y_middle = (x[first] + x[second]) / 2, (y[first] + y[second]) / 2
    levers = scales[:, None, None] * np.einsum("hij,hnj->hni", rotations, x[None] - x_middle[:, None])
    offsets = np.square(y[None] - y_middle[:, None] - levers).sum(axis=2)
    angles = _angles(rotations[:, None], arrays.rotations[None])
    drift = DRIFT_TOLERANCE**2 * np.square(levers).sum(axis=2)
    position_variance = config.position_tolerance**2 + arrays.position_variances + drift
    rotation_variance = np.deg2rad(config.rotation_tolerance_deg) ** 2 + arrays.rotation_variances
    agrees = offsets / position_variance + np.square(angles) / rotation_variance <= AGREEMENT
    rows = np.arange(len(first))
    both = agrees[rows, first] & agrees[rows, second]
    return np.asarray(agrees & both[:, None])


def _mean_of_two(a: Array, b: Array) -> Array:
    half = rotation_vector(np.swapaxes(a, 1, 2) @ b) / 2
    return np.asarray(a @ rotation_matrix(half))


def _angles(a: Array, b: Array) -> Array:
    """Angles in radians between rotations, broadcast; from the Frobenius distance, exact when small."""
    distance = np.sqrt(np.square(a - b).sum(axis=(-2, -1)) / 8.0)
    return np.asarray(2.0 * np.arcsin(np.clip(distance, 0.0, 1.0)))


def _largest_sets(agreement: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """The largest agreeing set, and how many agree on something else without any of its members."""
    best = agreement[int(np.argmax(agreement.sum(axis=1)))]
    disjoint = agreement[~np.any(agreement & best, axis=1)]
    return best, int(disjoint.sum(axis=1).max(initial=0))
