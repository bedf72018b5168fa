"""How a similarity meets the matched points (K, 3) of two cameras, and how sure it is by that.

Directions are known best, seen from either camera. Depths come from neighbouring frames and are rough, but where both
cameras stand at one place, nothing else tells the scale.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.tangent import perturbed_similarity

_DIRECTION_SCALE = 0.005  # of image-plane coordinates, about two pixels: larger errors lose their weight
_DEPTH_SCALE = 0.2  # likewise of the logarithm of depths
_STEP = 1e-6  # of differences that stand for derivatives
_SELECTION = 1.5  # the points fitted are those near a first fit: simulated errors are so much larger, squared


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
    how exact near and far points are.
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
    steps = np.linalg.solve(curvatures.sum(axis=0) - curvatures, gradients[:, :, None])[:, :, 0]
    return np.asarray(_SELECTION * steps.T @ steps)


def _cauchy(errors: Array) -> tuple[Array, Array]:
    """First and second derivative of the loss log(1 + errors^2) / 2; what bends the other way counts as flat."""
    weights = 1.0 / (1.0 + np.square(errors))
    return weights * errors, np.maximum(1.0 - np.square(errors), 0.0) * np.square(weights)
