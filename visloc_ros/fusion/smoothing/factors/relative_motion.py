"""Relative motion factors: unscaled odometry between neighbouring states, all of them linearised at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, rotation_matrix
from visloc_ros.core.tangent import pose_differences
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import (
    OdometryModel,
    effective_path_moments,
    odometry_noise_covariance,
    transition_matrix,
)
from visloc_ros.fusion.odometry_model.path_moments import moments_about
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors

LOST_SPEED = 1.0  # map units a second, standard deviation of the motion while odometry is lost
LOST_TURN_RATE = 1.0  # rad/s, likewise
NEW_SEGMENT_SCALE_SIGMA = 1e3  # of the log scale between two segments, whose scales are unrelated


@dataclass(frozen=True, eq=False)
class RelativeMotionFactors:
    """Unscaled motions between N samples: rotations (N - 1, 3, 3), the rest (N - 1, ...) as in ``RelativeMotion``.

    ``is_gap`` (N - 1,) marks those between two segments, which nothing measured.
    """

    rotations: Array
    translations: Array
    moments: Array
    seconds: Array
    rotation_derivatives: Array
    translation_derivatives: Array
    reported_variances: Array
    is_gap: NDArray[np.bool_]

    @staticmethod
    def between(samples: Sequence[OdometrySample]) -> RelativeMotionFactors:
        """Motions between samples in the order of their stamps."""
        is_gap = np.diff([sample.segment for sample in samples]) != 0
        known = np.where(is_gap, 0.0, 1.0)
        rotations = np.array([sample.odom_from_camera.rotation for sample in samples])
        into_start = np.swapaxes(rotations[:-1], 1, 2) * known[:, None, None]
        positions = np.array([sample.odom_from_camera.translation for sample in samples])
        moved, ends = np.diff(positions, axis=0), positions[1:]
        moments = np.diff([sample.moments for sample in samples], axis=0)
        turned = np.array([sample.rotation_derivative for sample in samples])
        shifted = np.diff([sample.translation_derivative for sample in samples], axis=0)
        shifted -= np.cross(turned[:-1], moved)
        steps = np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]
        return RelativeMotionFactors(
            np.where(is_gap[:, None, None], np.eye(3), steps),
            _rotated(into_start, moved),
            known[:, None, None, None] * moments_about(ends, into_start, moments),
            np.diff([sample.stamp_ns for sample in samples]) / NANOSECONDS,
            _rotated(into_start, np.diff(turned, axis=0)),
            _rotated(into_start, shifted),
            known[:, None] * np.diff([sample.reported_variances for sample in samples], axis=0),
            is_gap,
        )

    def linearise(
        self, states: States, odometry: OdometryModel, common: Array, correlation_distance: float
    ) -> LinearFactors:
        """Each state against the one before it moved by odometry.

        Their covariance is the odometry noise plus the change of the error that anchors have in common, which has
        the covariances ``common`` (N, 6, 6) and the ``correlation_distance``.
        """
        starts, scales, error = states.rotations[:-1], np.exp(states.log_scales[:-1]), odometry.rotation_scale_error
        motions = scales[:, None] * _rotated(starts, self.translations + error * self.translation_derivatives)
        shared_jacobians = np.zeros((len(starts), 7))
        shared_jacobians[:, :3] = scales[:, None] * _rotated(starts, self.translation_derivatives)
        shared_jacobians[:, 3:6] = _rotated(starts, self.rotation_derivatives)
        paths = effective_path_moments(self.moments, scales, starts, odometry.noise)
        noise = odometry_noise_covariance(paths, shared_jacobians, odometry.noise)
        if self.is_gap.any():
            noise[self.is_gap] = self._lost_covariances()
        changes = np.where(self.is_gap, 0.0, 1.0 - np.exp(-paths[:, 3, 3] / correlation_distance))
        covariances = noise.copy()
        covariances[:, :6, :6] += changes[:, None, None] * (common[:-1] + common[1:])
        return LinearFactors(
            np.arange(len(starts)),
            self._residuals(states, motions, error),
            transition_matrix(motions),
            inverse(covariances),
            np.broadcast_to(-np.eye(7), (len(starts), 7, 7)),
            shared_jacobians,
            own=noise,
        )

    def reported_factors(self, states: States, expected: OdometryNoiseConfig) -> VarianceFactors:
        """The ratio of the variances that odometry reports to those expected; 1 where it reports none."""
        scales = np.exp(states.log_scales[:-1])
        distances = effective_path_moments(self.moments, scales, states.rotations[:-1], expected)[:, 3, 3]
        rates = np.square([expected.position, np.deg2rad(expected.rotation_deg)])
        variances = self.reported_variances * np.column_stack([np.square(scales), np.ones(len(scales))])
        ratios = variances.sum(axis=0) / (rates * distances[~self.is_gap].sum())
        position, rotation = np.where(ratios > 0.0, ratios, 1.0).tolist()
        return VarianceFactors(position, rotation)

    def _residuals(self, states: States, motions: Array, rotation_scale_error: float) -> Array:
        """Errors (N - 1, 7) that take the state before each one, moved by odometry, to it."""
        turned = rotation_matrix(rotation_scale_error * self.rotation_derivatives)
        ends = states.positions[:-1] + motions, states.rotations[:-1] @ turned @ self.rotations
        residuals = np.empty((len(motions), 7))
        residuals[:, :6] = pose_differences(states.positions[1:], states.rotations[1:], *ends)
        residuals[:, 6] = np.diff(states.log_scales)
        return residuals

    def _lost_covariances(self) -> Array:
        seconds = self.seconds[self.is_gap]
        rates = np.array([LOST_SPEED] * 3 + [LOST_TURN_RATE] * 3)
        covariances = np.zeros((len(seconds), 7, 7))
        covariances[:, range(6), range(6)] = np.square(seconds[:, None] * rates)
        covariances[:, 6, 6] = NEW_SEGMENT_SCALE_SIGMA**2
        return covariances


def _rotated(rotations: Array, vectors: Array) -> Array:
    """Vectors (M, 3) by rotations (M, 3, 3)."""
    return np.asarray((rotations @ vectors[:, :, None])[:, :, 0])
