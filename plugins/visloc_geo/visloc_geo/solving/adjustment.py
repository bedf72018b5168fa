"""Joint adjustment of the photo's pose, the tags' errors and the points (bundle adjustment, Triggs et al. 2000).

The unknowns are an error (6,) of each group of views about the axes of the local frame (``core.tangent``), the points,
and the logarithm of the photo's focal length where that is not exactly known. The tags are measurements with their
standard deviations, so that an error which all tags of a street share remains in the covariance. Points are eliminated
(Schur complement); damping by Levenberg and Marquardt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_geo.orientation import angles_of, rotation_of
from visloc_geo.solving.observations import QUERY, Observations, Scene
from visloc_ros.core.geometry import Array, rotation_matrix, rotation_vector
from visloc_ros.core.tangent import skew
from visloc_ros.localization.uncertainty import pixel_by_point

LOSS_SCALE_PX = 2.0
_LOST_PX = 50.0  # residual of a point behind its camera, in the loss alone
LEAST_SIGMA_M, _LEAST_SIGMA_RAD = 0.01, 1e-4
_HUBER = 3.0
"""Standard deviations of a tag's error, beyond which it counts as wrong (Huber 1964)."""
_MAX_ITERATIONS = 50
_MAX_CONDITION = 1e10  # of normalised equations; beyond it the rest of double precision is noise
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-4, 1e-10, 1e6
"""Shares of the diagonal. The tags weigh up to 1e8 times less than the keypoints: what they alone decide moves only
once the damping is below that."""
_ALMOST_NONE = 1e-14  # share of the diagonal: points at infinity have singular blocks


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Hessian blocks: of groups (K, K), of points (N, 3, 3), between them (N, K, 3), and both gradients.

    K are the six numbers of each group, and the photo's intrinsics where they are unknown.
    """

    groups: Array
    points: Array
    mixed: Array
    group_gradient: Array
    point_gradient: Array

    def step(self, damping: float) -> tuple[Array, Array]:
        """Steps of groups (K,) and points (N, 3)."""
        damped = self.groups + damping * np.diag(np.diag(self.groups) + 1e-12)
        inverse = _inverse_blocks(self.points, damping)
        eliminated = np.einsum("ngi,nij->ngj", self.mixed, inverse)
        reduced = damped - np.tensordot(eliminated, self.mixed, axes=([0, 2], [0, 2]))
        right = self.group_gradient - np.einsum("ngi,ni->g", eliminated, self.point_gradient)
        by_groups = -np.linalg.solve(reduced, right)
        remaining = self.point_gradient + np.einsum("ngi,g->ni", self.mixed, by_groups)
        return by_groups, -np.einsum("nij,nj->ni", inverse, remaining)

    def covariance(self) -> Array | None:
        """Covariance (K, K) of the numbers without the points; None where it is not determined."""
        eliminated = np.einsum("ngi,nij->ngj", self.mixed, _inverse_blocks(self.points, _ALMOST_NONE))
        reduced = self.groups - np.tensordot(eliminated, self.mixed, axes=([0, 2], [0, 2]))
        information = np.diag(reduced)
        if not (information > 0.0).all():
            return None
        scale = np.sqrt(information)
        normalised = reduced / np.outer(scale, scale)
        if not np.linalg.cond(normalised) < _MAX_CONDITION:
            return None
        covariance = np.linalg.inv(normalised) / np.outer(scale, scale)
        return np.asarray((covariance + covariance.T) / 2.0)


def adjust(observations: Observations, scene: Scene, least_gain: float) -> Scene:
    """The scene with the least cost. Observations of unknown points are left out; poses are finite.

    It ends where a step gains less, in squared standard deviations.
    """
    known = np.asarray(np.isfinite(scene.points).all(axis=1))
    numbers = np.cumsum(known) - 1
    rows = np.flatnonzero(known[observations.point])
    seen = observations.with_points(rows, numbers[observations.point[rows]], int(known.sum()))
    current = replace(scene, points=scene.points[known])
    cost, damping = _cost(seen, current), _DAMPING
    for _ in range(_MAX_ITERATIONS):
        equations = normal_equations(seen, current, robust_weights(current.residuals(seen)))
        while damping < _MOST_DAMPING:
            moved = _moved(seen, current, *equations.step(damping))
            new_cost = _cost(seen, moved)
            if new_cost < cost:
                break
            damping *= 10.0
        else:
            break
        gain, cost, current = cost - new_cost, new_cost, moved
        if gain < least_gain and damping == _LEAST_DAMPING:
            break
        damping = max(damping / 100.0, _LEAST_DAMPING)
    points = np.full_like(scene.points, np.nan)
    points[known] = current.points
    return replace(current, points=points)


def normal_equations(
    observations: Observations, scene: Scene, weights: Array, *, frees_principal_point: bool = False
) -> NormalEquations:
    """The equations at a scene of known points, with weights (O,) of the observations in 1/px^2.

    The photo's principal point, in pixels, is the last of the unknowns where it is freed.
    """
    count, groups = observations.num_points, observations.groups[observations.view]
    residuals = np.where(weights[:, None] > 0.0, scene.residuals(observations), 0.0)
    by_point, by_group = _jacobians(observations, scene)
    is_ahead = np.isfinite(by_point).all(axis=(1, 2))  # of a point beside its camera no derivative is known
    weights = np.where(is_ahead, weights, 0.0)
    by_point = np.where(weights[:, None, None] > 0.0, by_point, 0.0)
    by_group = np.where(weights[:, None, None] > 0.0, by_group, 0.0)
    weighted_point, weighted_group = weights[:, None, None] * by_point, weights[:, None, None] * by_group
    blocks, gradient = _prior_blocks(observations, scene)
    np.add.at(blocks, groups, np.swapaxes(weighted_group, 1, 2) @ by_group)
    np.add.at(gradient, groups, np.einsum("oki,ok->oi", weighted_group, residuals))
    of_points, point_gradient = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(of_points, observations.point, np.swapaxes(weighted_point, 1, 2) @ by_point)
    np.add.at(point_gradient, observations.point, np.einsum("oki,ok->oi", weighted_point, residuals))
    mixed = np.zeros((count, len(blocks), 6, 3))
    np.add.at(mixed, (observations.point, groups), np.swapaxes(weighted_group, 1, 2) @ by_point)
    hessian = np.zeros((len(blocks), 6, len(blocks), 6))
    hessian[np.arange(len(blocks)), :, np.arange(len(blocks))] = blocks
    size = 6 * len(blocks)
    equations = NormalEquations(
        hessian.reshape(size, size), of_points, mixed.reshape(count, size, 3), gradient.ravel(), point_gradient
    )
    if observations.focal_sigma == 0.0:
        return equations
    photo = observations.rows_of(QUERY)
    by_intrinsics = _by_intrinsics(observations, residuals, with_principal_point=frees_principal_point)
    of_photo = by_point[photo], by_group[photo], residuals[photo], weights[photo]
    return _with_intrinsics(equations, observations, scene, by_intrinsics, *of_photo)


def _by_intrinsics(observations: Observations, residuals: Array, *, with_principal_point: bool) -> Array:
    """Derivatives (O, 2, 1 or 3) of the photo's pixels by the logarithm of its focal length and its principal point."""
    photo, camera = observations.rows_of(QUERY), observations.cameras[QUERY]
    projected = residuals[photo] + observations.pixels[photo]
    by_focal = (projected - [camera.principal_point_x, camera.principal_point_y])[:, :, None]
    if not with_principal_point:
        return np.asarray(by_focal)
    return np.concatenate([by_focal, np.tile(np.eye(2), (len(by_focal), 1, 1))], axis=2)


def _with_intrinsics(
    equations: NormalEquations,
    observations: Observations,
    scene: Scene,
    by_intrinsics: Array,
    by_point: Array,
    by_pose: Array,
    residuals: Array,
    weights: Array,
) -> NormalEquations:
    """The equations with the photo's intrinsics (I,) as further unknowns, by the photo's observations."""
    photo, count = observations.rows_of(QUERY), by_intrinsics.shape[2]
    weighted = weights[:, None, None] * np.where(weights[:, None, None] > 0.0, by_intrinsics, 0.0)
    with_points = np.zeros((observations.num_points, count, 3))
    np.add.at(with_points, observations.point[photo], np.swapaxes(weighted, 1, 2) @ by_point)
    with_poses = np.zeros((len(equations.groups), count))
    with_poses[:6] = np.einsum("oki,okj->ji", weighted, by_pose)
    own, gradient = np.einsum("oki,okj->ij", weighted, by_intrinsics), np.einsum("oki,ok->i", weighted, residuals)
    information = observations.focal_sigma**-2
    own[0, 0] += information
    gradient[0] += information * scene.log_focal
    return NormalEquations(
        np.block([[equations.groups, with_poses], [with_poses.T, own]]),
        equations.points,
        np.concatenate([equations.mixed, with_points], axis=1),
        np.concatenate([equations.group_gradient, gradient]),
        equations.point_gradient,
    )


def tag_errors(observations: Observations, scene: Scene) -> tuple[Array, Array]:
    """Errors (G, 6) of the tags, and their standard deviations (G, 6), infinite where a tag says nothing.

    A view that lacks a rotation is expected to be upright at whatever heading it has.
    """
    errors, sigmas = np.zeros((observations.num_groups, 6)), np.full((observations.num_groups, 6), np.inf)
    for group in range(observations.num_groups):
        view = observations.members(group)[0]
        tag, rotation = observations.tags[view], scene.rotations[view]
        if tag.position is not None:
            errors[group, :3] = scene.centres[view] - tag.position
            sigmas[group, :3] = np.maximum([tag.position_sigma_m] * 2 + [tag.height_sigma_m], LEAST_SIGMA_M)
        heading_sigma, expected = tag.heading_sigma_deg, tag.rotation
        if expected is None or not tag.has_heading:
            heading_sigma, expected = np.inf, _without_heading(tag.rotation, rotation)
        errors[group, 3:] = rotation_vector(rotation @ expected.T)
        turns = np.radians([tag.tilt_sigma_deg, tag.tilt_sigma_deg, heading_sigma])
        sigmas[group, 3:] = np.maximum(turns, _LEAST_SIGMA_RAD)
    return errors, sigmas


def _without_heading(tagged: Array | None, rotation: Array) -> Array:
    """A rotation (3, 3) as upright as the tag says, level without one, at whatever heading the camera has."""
    pitch, roll = (0.0, 0.0) if tagged is None else angles_of(tagged)[1:]
    return rotation_of(angles_of(rotation)[0], pitch, roll)


def _prior_blocks(observations: Observations, scene: Scene) -> tuple[Array, Array]:
    """Hessian blocks (G, 6, 6) and gradient (G, 6) of the tags."""
    errors, sigmas = tag_errors(observations, scene)
    weights = tag_weights(errors, sigmas)
    return weights[:, :, None] * np.eye(6), weights * errors


def tag_weights(errors: Array, sigmas: Array) -> Array:
    """Inverse variances (G, 6) of the tags, smaller for errors (G, 6) of tags that count as wrong."""
    norms = _norms_of_halves(errors / sigmas)
    is_right = np.minimum(1.0, _HUBER / np.maximum(norms, _HUBER))
    return np.asarray(np.repeat(is_right, 3, axis=1) / np.square(sigmas))


def _norms_of_halves(whitened: Array) -> Array:
    """Lengths (G, 2) of the errors of position and rotation in standard deviations."""
    return np.asarray(np.linalg.norm(whitened.reshape(-1, 2, 3), axis=2))


def robust_weights(residuals: Array) -> Array:
    """Cauchy weights (O,), 0 for points behind their camera."""
    return np.asarray(1.0 / (1.0 + np.square(residuals).sum(axis=1) / LOSS_SCALE_PX**2))


def _cost(observations: Observations, scene: Scene) -> float:
    squares = np.minimum(np.square(scene.residuals(observations)).sum(axis=1), _LOST_PX**2)
    errors, sigmas = tag_errors(observations, scene)
    norms = _norms_of_halves(errors / sigmas)
    huber = np.where(norms <= _HUBER, np.square(norms), _HUBER * (2.0 * norms - _HUBER))
    focal = scene.log_focal / observations.focal_sigma if observations.focal_sigma else 0.0
    return float(LOSS_SCALE_PX**2 * np.log1p(squares / LOSS_SCALE_PX**2).sum() + huber.sum() + focal**2)


def _jacobians(observations: Observations, scene: Scene) -> tuple[Array, Array]:
    """Derivatives of the pixels by the points (O, 2, 3) and by the errors of the groups (O, 2, 6)."""
    in_camera = scene.in_camera(observations)
    by_camera_point = np.zeros((len(in_camera), 2, 3))
    for view in range(len(observations.cameras)):
        rows = observations.rows_of(view)
        by_camera_point[rows] = pixel_by_point(in_camera[rows], scene.camera(observations, view))
    by_point = by_camera_point @ np.swapaxes(scene.rotations[observations.view], 1, 2)
    arms = scene.points[observations.point] - scene.centres[observations.view]
    return by_point, np.concatenate([-by_point, by_point @ skew(arms)], axis=2)


def _inverse_blocks(blocks: Array, damping: float) -> Array:
    diagonal = np.einsum("nii->ni", blocks)
    return np.asarray(np.linalg.inv(blocks + (damping * diagonal + 1e-12)[:, :, None] * np.eye(3)))


def _moved(observations: Observations, scene: Scene, by_unknowns: Array, by_points: Array) -> Scene:
    by_groups = by_unknowns[: 6 * observations.num_groups].reshape(-1, 6)
    steps = by_groups[observations.groups]
    turns = np.array([rotation_matrix(step) for step in by_groups[:, 3:]])[observations.groups]
    log_focal = scene.log_focal + float(by_unknowns[6 * observations.num_groups :].sum())  # of one number, or none
    return Scene(turns @ scene.rotations, scene.centres + steps[:, :3], scene.points + by_points, log_focal)
