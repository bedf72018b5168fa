"""Tracked-motion factors: relative motion between states as the tracked map points of one anchor measured it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import pose_differences, turn_covariance
from visloc_ros.fusion.odometry_model.noise_model import transition_matrix
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors


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
