"""Factors between two states: unscaled odometry, motion by tracked map points, and loops.

Each kind is linearised for all states at once. A loop, a place seen again, fixes the similarity between two states,
however far apart they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.tangent import pose_differences, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import LoopClosure
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample, moments_about
from visloc_ros.fusion.odometry_model.noise_model import (
    OdometryModel,
    effective_path_moments,
    odometry_noise_covariance,
    transition_matrix,
    unusual_noise,
)
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors

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
        factors = unusual_noise(self.reported_variances, scales, paths, odometry.usual)
        noise = odometry_noise_covariance(paths, shared_jacobians, odometry.noise, factors)
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
        variances, distances = self._reported(states, expected)
        rates = np.square([expected.position, np.deg2rad(expected.rotation_deg)])
        ratios = variances.sum(axis=0) / (rates * distances.sum())
        position, rotation = np.where(ratios > 0.0, ratios, 1.0).tolist()
        return VarianceFactors(position, rotation)

    def usually_reported(self, states: States, expected: OdometryNoiseConfig) -> tuple[float, float]:
        """The variances of position and rotation that odometry mostly reports, by effective distance."""
        variances, distances = self._reported(states, expected)
        rates = variances / distances[:, None]
        position, rotation = (float(np.median(one[one > 0.0])) if np.any(one > 0.0) else np.inf for one in rates.T)
        return position, rotation

    def _reported(self, states: States, expected: OdometryNoiseConfig) -> tuple[Array, Array]:
        """Variances (M, 2) in map units that odometry reports for its motions, and their effective distances (M,)."""
        scales, known = np.exp(states.log_scales[:-1]), ~self.is_gap
        distances = effective_path_moments(self.moments, scales, states.rotations[:-1], expected)[known, 3, 3]
        variances = self.reported_variances * np.column_stack([np.square(scales), np.ones(len(scales))])
        return variances[known], distances

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
        covariances = np.zeros((len(seconds), 7, 7))
        covariances[:, :6, :6] = np.square(seconds)[:, None, None] * unobserved_motion_covariance(1.0)
        covariances[:, 6, 6] = NEW_SEGMENT_SCALE_SIGMA**2
        return covariances


class MotionMeasurement(NamedTuple):
    """Motion in map units from one state to a later one; covariance (6, 6) about the axes of the first camera."""

    first: int
    second: int
    camera_from_camera: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class TrackedMotionFactors:
    """Motions (M) from states ``first`` (M,) to those ``ahead`` (M,) rows later, as in ``MotionMeasurement``."""

    first: NDArray[np.intp]
    ahead: NDArray[np.intp]
    rotations: Array
    translations: Array
    covariances: Array

    @staticmethod
    def of(motions: Sequence[MotionMeasurement]) -> TrackedMotionFactors | None:
        """Stack motions; None without any."""
        if not motions:
            return None
        first = np.array([motion.first for motion in motions], dtype=np.intp)
        return TrackedMotionFactors(
            first,
            np.array([motion.second for motion in motions], dtype=np.intp) - first,
            np.array([motion.camera_from_camera.rotation for motion in motions]),
            np.array([motion.camera_from_camera.translation for motion in motions]),
            np.array([motion.covariance for motion in motions]),
        )

    def linearise(self, states: States, variance_factors: VarianceFactors, degrees_of_freedom: float) -> LinearFactors:
        """Motion between the states against the measured one, with scaled covariances and robust weights."""
        starts, second = states.rotations[self.first], self.first + self.ahead
        motions = (starts @ self.translations[:, :, None])[:, :, 0]
        ends = states.positions[self.first] + motions, starts @ self.rotations
        covariances = turn_covariance(variance_factors.inflate(self.covariances), starts)
        backward = -transition_matrix(motions)[:, :6]
        backward[:, :, 6] = 0.0  # map points do not measure the odometry's scale
        return LinearFactors(
            self.first,
            pose_differences(*ends, states.positions[second], states.rotations[second]),
            backward,
            inverse(covariances),
            np.broadcast_to(np.eye(6, 7), backward.shape),
            ahead=self.ahead,
        ).with_robust_weights(degrees_of_freedom)


@dataclass(frozen=True, eq=False)
class LoopFactors:
    """Loops (M) between states ``first`` (M,) and later ones ``second`` (M,), the rest as in ``LoopClosure``."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    rotations: Array
    translations: Array
    log_scales: Array
    covariances: Array

    @staticmethod
    def of(closures: Sequence[LoopClosure], index_of: Mapping[int, int]) -> LoopFactors | None:
        """Stack those with a state at either end; None where there are none."""
        closures = [one for one in closures if one.earlier_ns in index_of and one.later_ns in index_of]
        if not closures:
            return None
        similarities = [one.earlier_from_later for one in closures]
        return LoopFactors(
            np.array([index_of[one.earlier_ns] for one in closures], dtype=np.intp),
            np.array([index_of[one.later_ns] for one in closures], dtype=np.intp),
            np.array([one.rotation for one in similarities]),
            np.array([one.translation for one in similarities]),
            np.log([one.scale for one in similarities]),
            np.array([one.covariance for one in closures]),
        )

    def linearise(self, states: States) -> LinearFactors:
        """Each later state against the earlier one moved by the loop."""
        starts, scales = states.rotations[self.first], np.exp(states.log_scales[self.first])
        motions = scales[:, None] * (starts @ self.translations[:, :, None])[:, :, 0]
        axes = np.zeros((len(starts), 7, 7))
        axes[:, :3, :3], axes[:, 3:6, 3:6], axes[:, 6, 6] = scales[:, None, None] * starts, starts, 1.0
        jacobians = transition_matrix(motions)
        return LinearFactors(
            self.first,
            self._residuals(states, motions),
            -jacobians,
            inverse(axes @ self.covariances @ np.swapaxes(axes, 1, 2)),
            np.broadcast_to(np.eye(7), jacobians.shape),
            ahead=self.second - self.first,
        )

    def _residuals(self, states: States, motions: Array) -> Array:
        """Errors (M, 7) that take each later state to the earlier one moved by the loop."""
        residuals = np.empty((len(motions), 7))
        ends = states.positions[self.first] + motions, states.rotations[self.first] @ self.rotations
        residuals[:, :6] = pose_differences(*ends, states.positions[self.second], states.rotations[self.second])
        residuals[:, 6] = states.log_scales[self.first] + self.log_scales - states.log_scales[self.second]
        return residuals


def _rotated(rotations: Array, vectors: Array) -> Array:
    """Vectors (M, 3) by rotations (M, 3, 3)."""
    return np.asarray((rotations @ vectors[:, :, None])[:, :, 0])
