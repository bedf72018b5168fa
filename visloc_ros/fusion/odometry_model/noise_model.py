"""Camera pose and odometry scale as one state, carried along odometry, with the drift that odometry gathers.

A state's error is (7,): position, rotation and log scale as in ``alignment``. Along a leg the rotation and the scale
walk randomly, so an error of heading or scale made early also bends the rest of the path: the position's error is an
integral over where the camera went (``travel``). Functions of arrays take any leading shape (...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.odometry_model.history import Leg

SHORTEST_DISTANCE = 1e-4  # two looks from one spot still differ by the noise of one odometry pose
CROSS_PRODUCT = np.array([[np.cross(a, b) for b in np.eye(3)] for a in np.eye(3)]).transpose(2, 0, 1)


@dataclass(frozen=True, eq=False)
class CameraState:
    """``map_from_camera`` and the logarithm of the scale that makes odometry fit the map."""

    map_from_camera: SE3
    log_scale: float

    @property
    def scale(self) -> float:
        """Map units per odometry unit."""
        return float(np.exp(self.log_scale))

    def moved(self, leg: Leg) -> CameraState:
        """State at the other end of an odometry leg."""
        step = leg.camera_from_camera
        scaled = SE3(step.rotation, self.scale * step.translation)
        return CameraState(self.map_from_camera @ scaled, self.log_scale)

    def turn_tangent(self, leg: Leg) -> Array:
        """How misjudging all turns of a leg by one share shifts, turns and scales its end: (7,), to first order."""
        axes = self.map_from_camera.rotation
        return np.concatenate([self.scale * axes @ leg.swept, axes @ leg.turned, [0.0]])


@dataclass(frozen=True, eq=False)
class StateEstimate:
    """A state with its covariance (7, 7)."""

    state: CameraState
    covariance: Array

    def moved(self, leg: Leg, config: DriftConfig) -> StateEstimate:
        """Estimate at the other end of an odometry leg, less certain by the drift on the way."""
        moved = self.state.moved(leg)
        motion = moved.map_from_camera.translation - self.state.map_from_camera.translation
        transition = transition_matrix(motion)
        way = drifting_way(leg.moments, self.state.scale, self.state.map_from_camera.rotation, config)
        drift = drift_covariance(way, self.state.turn_tangent(leg), config)
        return StateEstimate(moved, transition @ self.covariance @ transition.T + drift)


@dataclass(frozen=True)
class OdometryModel:
    """What is known of this run's odometry: how it drifts, and by which share its turns are too small."""

    drift: DriftConfig
    turn_gain: float

    def carry(self, estimate: StateEstimate, leg: Leg) -> StateEstimate:
        """Estimate at the other end of an odometry leg."""
        return estimate.moved(leg.corrected(self.turn_gain), self.drift)


def pose_difference(a: SE3, b: SE3) -> Array:
    """Error (6,) that takes ``b`` to ``a``: position, then rotation vector, about the parent's axes."""
    return np.concatenate([a.translation - b.translation, rotation_vector(a.rotation @ b.rotation.T)])


def drifting_way(moments: Array, scale: Array | float, axes: Array, config: DriftConfig) -> Array:
    """Moments (..., 4, 4) of the effective distance along which odometry drifts, in metres about the end of the way.

    ``moments`` (..., 3, 4, 4) are those of unscaled legs, ``axes`` (..., 3, 3) turn their axes into the map's. The last
    element is the distance itself.
    """
    rates = np.stack(np.broadcast_arrays(scale, config.turn_as_distance, config.standing_as_distance), axis=-1)
    placing = np.zeros((*rates.shape[:-1], 4, 4))
    placing[..., :3, :3], placing[..., 3, 3] = np.asarray(scale)[..., None, None] * axes, 1.0
    way = placing @ np.einsum("...k,...kij->...ij", rates, moments) @ np.swapaxes(placing, -1, -2)
    way[..., 3, 3] = np.maximum(way[..., 3, 3], SHORTEST_DISTANCE)
    return np.asarray(way)


def transition_matrix(motion: Array) -> Array:
    """How an error (7,) at the start of a leg with metric motion (..., 3) appears at its end: (..., 7, 7)."""
    matrix = np.zeros((*motion.shape[:-1], 7, 7))
    matrix[...] = np.eye(7)
    matrix[..., :3, 3:6] = _turned_by(motion)
    matrix[..., :3, 6] = motion
    return matrix


def drift_covariance(way: Array, turn_tangent: Array, config: DriftConfig) -> Array:
    """Covariance (..., 7, 7) of what odometry adds to the error along a way (..., 4, 4) of ``drifting_way``.

    ``turn_tangent`` (..., 7) is how the end is off when all turns are misjudged alike, as in ``CameraState``.
    """
    position, rotation, scale = np.square([config.position, np.deg2rad(config.rotation_deg), config.scale])
    distance, ahead, ahead_squared = way[..., 3, 3][..., None, None], -way[..., :3, 3], way[..., :3, :3]
    across = np.trace(ahead_squared, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) - ahead_squared
    covariance: Array = config.turning**2 * turn_tangent[..., :, None] * turn_tangent[..., None, :]
    covariance[..., :3, :3] += position * distance * np.eye(3) + rotation * across + scale * ahead_squared
    covariance[..., 3:6, 3:6] += rotation * distance * np.eye(3)
    bent, stretched = rotation * _turned_by(ahead), scale * ahead
    covariance[..., :3, 3:6] += bent
    covariance[..., 3:6, :3] += np.swapaxes(bent, -1, -2)
    covariance[..., :3, 6] += stretched
    covariance[..., 6, :3] += stretched
    covariance[..., 6:, 6:] += scale * distance
    return covariance


def _turned_by(motion: Array) -> Array:
    """Matrix (..., 3, 3) that takes a small rotation to how it shifts the end of a motion (..., 3)."""
    return np.asarray(np.einsum("ijk,...k->...ij", CROSS_PRODUCT, motion))
