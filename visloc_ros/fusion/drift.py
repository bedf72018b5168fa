"""Camera pose and odometry scale as one state, carried along odometry, with the drift that odometry gathers.

A state's error is (7,): position, rotation and log scale as in ``alignment``. Along a leg with metric motion ``u``
the rotation and the scale walk randomly, so a heading error also bends the path: its position error is the
integral of the walk, which gives the 1/2 and 1/3 below. Functions of arrays take any leading shape (...).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.history import Leg

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
        distance = drifting_distance(self.state.scale * leg.path, leg.turning, leg.seconds, config)
        turn = self.state.map_from_camera.rotation @ leg.turned
        drift = drift_covariance(motion, distance, turn, config)
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


def drifting_distance(
    travelled: Array | float, turning: Array | float, seconds: Array | float, config: DriftConfig
) -> Array:
    """Effective distance (...) in metres along which odometry drifts."""
    distance = travelled + config.turn_as_distance * turning + config.standing_as_distance * seconds
    return np.maximum(distance, SHORTEST_DISTANCE)


def transition_matrix(motion: Array) -> Array:
    """How an error (7,) at the start of a leg with metric motion (..., 3) appears at its end: (..., 7, 7)."""
    matrix = np.zeros((*motion.shape[:-1], 7, 7))
    matrix[...] = np.eye(7)
    matrix[..., :3, 3:6] = _turned_by(motion)
    matrix[..., :3, 6] = motion
    return matrix


def drift_covariance(motion: Array, distance: Array, turn: Array, config: DriftConfig) -> Array:
    """Covariance (..., 7, 7) of what odometry adds to the error over a motion, an effective distance and a turn.

    ``turn`` (..., 3) is the rotation vector about the axes of the map: what is misjudged of it is about its own axis.
    """
    rates = np.array([config.position] * 3 + [np.deg2rad(config.rotation_deg)] * 3 + [config.scale])
    covariance: Array = distance[..., None, None] * np.diag(np.square(rates))
    covariance[..., 3:6, 3:6] += config.turning**2 * turn[..., :, None] * turn[..., None, :]
    rotation, scale = covariance[..., 3:6, 3:6].copy(), covariance[..., 6:7, 6:7].copy()
    bend, along = _turned_by(motion), motion[..., :, None]
    bent = bend @ rotation
    covariance[..., :3, :3] += bent @ np.swapaxes(bend, -1, -2) / 3.0 + _squared(along) * scale / 3.0
    covariance[..., :3, 3:6] = bent / 2.0
    covariance[..., 3:6, :3] = np.swapaxes(bent, -1, -2) / 2.0
    covariance[..., :3, 6:] = along * scale / 2.0
    covariance[..., 6:, :3] = np.swapaxes(along, -1, -2) * scale / 2.0
    return covariance


def _turned_by(motion: Array) -> Array:
    """Matrix (..., 3, 3) that takes a small rotation to how it shifts the end of a motion (..., 3)."""
    return np.asarray(np.einsum("ijk,...k->...ij", CROSS_PRODUCT, motion))


def _squared(matrix: Array) -> Array:
    return np.asarray(matrix @ np.swapaxes(matrix, -1, -2))
