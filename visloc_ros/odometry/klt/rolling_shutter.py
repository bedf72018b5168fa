"""A rolling shutter: rows are exposed one after the other, and a camera that turns meanwhile bends the image.

At 100 degrees a second and 25 ms from the first row to the last the image is bent by 2.5 degrees. Rays are turned to
their directions at the instant of the middle row, by the turn from view to view (Forssen and Ringaby, CVPR 2010). The
translation meanwhile has far less effect and is neglected.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.tracking.pixels import Pixels, homogeneous, pixels_of
from visloc_ros.tracking.robust_pose import SeenPoints, pose_jacobian

_LEAST_SIGMA = np.radians(0.003)  # of an expected turn: with more, landmarks and turns bend together without limit
_TURN = np.arange(6, 9)  # the turn's unknowns, after the pose's
_HUBER = 1.5  # standard deviations


def rays_at_middle_row(camera: pycolmap.Camera, pixels: Pixels, rays: Array, turn: Array) -> Array:
    """Rays (N, 2), seen at pixels (N, 2), as they would be had the image been exposed at once.

    ``turn`` (3,) or (N, 3) is the rotation vector of the camera, ``last_row_from_first_row``.
    """
    local = _turned(homogeneous(rays), -_since_middle(camera, pixels) * turn)
    return local[:, :2] / local[:, 2:]


def pixels_while_read(camera: pycolmap.Camera, points: Array, turn: Array | None) -> Pixels:
    """Pixels (N, 2) of points (N, 3) in the camera of the middle row, whose image turns (3,) while it is read.

    The row of a point is that of its projection without a turn: exact to a few hundredths of the shift.
    """
    at_once = pixels_of(camera, points)
    if turn is None:
        return at_once
    return pixels_of(camera, _turned(points, _since_middle(camera, np.nan_to_num(at_once)) * turn))


class ExpectedTurn(NamedTuple):
    """Rotation vector (3,) by which the camera should turn while an image is read, and its standard deviation."""

    mean: Array
    sigma: float


def expect_turn(readout_s: float, rate: Array, earlier_rate: Array) -> ExpectedTurn:
    """By the rates (3,) at which the camera turned since the last view and before it.

    A rate holds in the middle of its interval, half an interval before the image is read: it is extrapolated by half of
    its last change, which is also its standard deviation.
    """
    change = 0.5 * (rate - earlier_rate)
    return ExpectedTurn(readout_s * (rate + change), abs(readout_s) * float(np.linalg.norm(change)) + _LEAST_SIGMA)


def fitted_turn(
    turn: Array,
    expected: ExpectedTurn,
    camera: pycolmap.Camera,
    pixels: Pixels,
    seen: SeenPoints,
    camera_from_world: SE3,
) -> Array:
    """The turn (3,) that fits the expected one and points whose rays were taken with ``turn`` (3,).

    The pose follows along: nine unknowns, one step of Gauss-Newton with Huber weights.
    """
    at = seen.residuals_at(camera_from_world)
    weights = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(np.hypot(*at.values), 1e-12))) * at.ahead
    pose = pose_jacobian(at.places[0], at.places[1], at.inverse_depths) * (at.scale * weights)
    jacobian = np.concatenate([pose, pose[:, :3] * _since_middle(camera, pixels)[:, 0]], axis=1)
    jacobian = jacobian.transpose(1, 0, 2).reshape(9, -1)
    hessian, gradient = jacobian @ jacobian.T, jacobian @ (at.values * weights).ravel()
    hessian[_TURN, _TURN] += 1.0 / expected.sigma**2
    gradient[6:] += (turn - expected.mean) / expected.sigma**2
    return np.asarray(turn - np.linalg.solve(hessian, gradient)[6:])


def _since_middle(camera: pycolmap.Camera, pixels: Pixels) -> Array:
    """Shares (N, 1) of the readout between the middle row and those of pixels (N, 2)."""
    return np.clip((pixels[:, 1:] + 0.5) / camera.height - 0.5, -0.5, 0.5).astype(np.float64)


def _turned(points: Array, vectors: Array) -> Array:
    """Points (N, 3), each turned by its rotation vector (N, 3)."""
    return np.asarray(np.einsum("nij,nj->ni", rotation_matrix(vectors), points))
