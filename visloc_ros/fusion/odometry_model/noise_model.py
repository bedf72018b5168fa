"""The odometry noise model: how the covariance of a camera pose and a scale grows along a relative motion.

A state is ``map_from_camera`` and the log scale of the odometry; its error is (7,): position, rotation vector, log
scale, as in ``sim3_alignment``. Along a motion position, rotation and scale do random walks. An early error of rotation
or scale also bends the rest of the path, so that the position covariance is an integral over the path (``history``).
Functions of arrays take any leading shape (...).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import lever_jacobian, skew
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import RelativeMotion

RECOVERED_SHARE = 0.25  # of the step to a recovered pose: its error was 3 to 25 % over half a metre to four metres
NOT_REPORTED = (np.inf, np.inf)
USUAL: Array = np.ones(2)
LEAST_DISTANCE = 1e-4  # a camera that stands still has noise, too: that of one odometry pose


@dataclass(frozen=True, eq=False)
class CameraState:
    """``map_from_camera`` and the logarithm of the scale that makes odometry fit the map."""

    map_from_camera: SE3
    log_scale: float

    @property
    def scale(self) -> float:
        """Map units per odometry unit."""
        return float(np.exp(self.log_scale))

    def moved(self, motion: RelativeMotion) -> CameraState:
        """State at the other end of a relative motion."""
        step = motion.camera_from_camera
        scaled = SE3(step.rotation, self.scale * step.translation)
        return CameraState(self.map_from_camera @ scaled, self.log_scale)

    def rotation_scale_jacobian(self, motion: RelativeMotion) -> Array:
        """Derivative (7,) of the state at the other end of a motion by the rotation scale error."""
        rotation = self.map_from_camera.rotation
        shift = self.scale * rotation @ motion.translation_derivative
        return np.concatenate([shift, rotation @ motion.rotation_derivative, [0.0]])


@dataclass(frozen=True, eq=False)
class StateEstimate:
    """A state with its covariance (7, 7)."""

    state: CameraState
    covariance: Array

    def moved(
        self, motion: RelativeMotion, config: OdometryNoiseConfig, usual: tuple[float, float] = NOT_REPORTED
    ) -> StateEstimate:
        """Estimate at the other end of a relative motion, with the noise of odometry on the way added."""
        moved, pose = self.state.moved(motion), self.state.map_from_camera
        transition = transition_matrix(moved.map_from_camera.translation - pose.translation)
        moments = effective_path_moments(motion.moments, self.state.scale, pose.rotation, config)
        factors = unusual_noise(motion.reported_variances, self.state.scale, moments, usual)
        noise = odometry_noise_covariance(moments, self.state.rotation_scale_jacobian(motion), config, factors)
        return StateEstimate(moved, transition @ self.covariance @ transition.T + noise)


@dataclass(frozen=True)
class OdometryModel:
    """This run's odometry errors: its noise, and the share by which its rotations are too small.

    ``usual`` are the variances of position and rotation that odometry mostly reports, by effective distance: where it
    reports more, there is as much more noise.
    """

    noise: OdometryNoiseConfig
    rotation_scale_error: float
    usual: tuple[float, float] = NOT_REPORTED

    def propagate(self, estimate: StateEstimate, motion: RelativeMotion) -> StateEstimate:
        """Estimate at the other end of a relative motion."""
        return estimate.moved(motion.corrected(self.rotation_scale_error), self.noise, self.usual)

    @property
    def of_steps(self) -> OdometryModel:
        """The same for the next frames: with at least the noise that odometry reports.

        It may have less over longer motions, as the next steps take much of a step's error back: when landmarks are new
        and not yet adjusted.
        """
        position, rotation = np.square([self.noise.position, np.deg2rad(self.noise.rotation_deg)]).tolist()
        return replace(self, usual=(min(self.usual[0], position), min(self.usual[1], rotation)))

    def times(self, factor: float) -> OdometryModel:
        """The same with a factor on the variances of its noise."""
        share = float(np.sqrt(factor))
        noise = replace(
            self.noise,
            position=share * self.noise.position,
            rotation_deg=share * self.noise.rotation_deg,
            scale=share * self.noise.scale,
        )
        return replace(self, noise=noise)


def effective_path_moments(moments: Array, scale: Array | float, rotation: Array, config: OdometryNoiseConfig) -> Array:
    """Moments (..., 4, 4) of the effective distance along which noise grows, in metres about the end of the path.

    ``moments`` (..., 4, 4, 4) are those of unscaled motions, ``rotation`` (..., 3, 3) turns them into the map's axes.
    The last element is the effective distance itself.
    """
    recovered = np.square(RECOVERED_SHARE * np.asarray(scale) / config.position)
    rates = np.stack(
        np.broadcast_arrays(scale, config.distance_per_radian, config.distance_per_second, recovered), axis=-1
    )
    transform = np.zeros((*rates.shape[:-1], 4, 4))
    transform[..., :3, :3], transform[..., 3, 3] = np.asarray(scale)[..., None, None] * rotation, 1.0
    path = transform @ np.einsum("...k,...kij->...ij", rates, moments) @ np.swapaxes(transform, -1, -2)
    path[..., 3, 3] = np.maximum(path[..., 3, 3], LEAST_DISTANCE)
    return np.asarray(path)


def unusual_noise(reported_variances: Array, scale: Array | float, path: Array, usual: tuple[float, float]) -> Array:
    """By how much the noise of motions exceeds the usual one: factors (..., 2) on variances, 1 or more.

    Odometry reports more where few points hold it, or their places scatter: in blurred images, at a bare wall.
    """
    variances = reported_variances * np.stack(np.broadcast_arrays(np.square(scale), 1.0), axis=-1)
    return np.asarray(np.maximum(1.0, variances / (np.array(usual) * path[..., 3, 3, None])))


def transition_matrix(motion: Array) -> Array:
    """How an error (7,) at the start of a metric motion (..., 3) appears at its end: (..., 7, 7)."""
    matrix = np.zeros((*motion.shape[:-1], 7, 7))
    matrix[..., :6, :6] = lever_jacobian(motion)
    matrix[..., :3, 6] = motion
    matrix[..., 6, 6] = 1.0
    return matrix


def odometry_noise_covariance(
    path: Array, rotation_scale_jacobian: Array, config: OdometryNoiseConfig, factors: Array = USUAL
) -> Array:
    """Covariance (..., 7, 7) that odometry adds along a path (..., 4, 4) of ``effective_path_moments``.

    ``rotation_scale_jacobian`` (..., 7) is the derivative of the end by the rotation scale error (``CameraState``),
    ``factors`` (..., 2) those on the variances of position and rotation (``unusual_noise``).
    """
    of_position, of_rotation = factors[..., 0, None, None], factors[..., 1, None, None]
    position, scale = of_position * config.position**2, of_position * config.scale**2
    rotation = of_rotation * np.deg2rad(config.rotation_deg) ** 2
    distance, ahead, ahead_squared = path[..., 3, 3][..., None, None], -path[..., :3, 3], path[..., :3, :3]
    across = np.trace(ahead_squared, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) - ahead_squared
    column, row = rotation_scale_jacobian[..., :, None], rotation_scale_jacobian[..., None, :]
    covariance: Array = config.rotation_scale_sigma**2 * column * row
    covariance[..., :3, :3] += position * distance * np.eye(3) + rotation * across + scale * ahead_squared
    covariance[..., 3:6, 3:6] += rotation * distance * np.eye(3)
    bent, stretched = -rotation * skew(ahead), scale[..., 0] * ahead
    covariance[..., :3, 3:6] += bent
    covariance[..., 3:6, :3] += np.swapaxes(bent, -1, -2)
    covariance[..., :3, 6] += stretched
    covariance[..., 6, :3] += stretched
    covariance[..., 6:, 6:] += scale * distance
    return covariance
