"""The states of a smoother as arrays, camera poses in the map and log scales of the odometry, and their prior.

The prior is on the first state and on the rotation scale error. For the fixed-lag smoother it is the marginal of all
that has left the window; at the start it is very weak for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix
from visloc_ros.core.tangent import pose_differences
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors

LARGEST_SCALE_STEP = 1.0  # of the log scale in one iteration
LEAST_ROTATION_SCALE_SIGMA = 1e-6
FREE_SCALE_SIGMA = 2.0  # of the log scale before anything is measured: a factor of seven either way


@dataclass(frozen=True, eq=False)
class States:
    """States at N images: positions (N, 3) and rotations (N, 3, 3) of the camera in the map, log scales (N,)."""

    positions: Array
    rotations: Array
    log_scales: Array

    @staticmethod
    def from_similarity(map_from_odom: Sim3, samples: Sequence[OdometrySample]) -> States:
        """States where one similarity holds for all."""
        poses = [map_from_odom.apply_to_pose(sample.odom_from_camera) for sample in samples]
        return States(
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.full(len(poses), np.log(map_from_odom.scale)),
        )

    @staticmethod
    def stacked(states: Sequence[CameraState]) -> States:
        """Single states in their order."""
        return States(
            np.array([state.map_from_camera.translation for state in states]),
            np.array([state.map_from_camera.rotation for state in states]),
            np.array([state.log_scale for state in states]),
        )

    def __len__(self) -> int:
        return len(self.log_scales)

    def __getitem__(self, index: int) -> CameraState:
        return CameraState(SE3(self.rotations[index], self.positions[index]), float(self.log_scales[index]))

    def inserted(self, index: int, state: CameraState) -> States:
        """States with one more before ``index``."""
        pose = state.map_from_camera
        return States(
            np.insert(self.positions, index, pose.translation, axis=0),
            np.insert(self.rotations, index, pose.rotation, axis=0),
            np.insert(self.log_scales, index, state.log_scale),
        )

    def head(self, count: int) -> States:
        """The oldest states alone."""
        return States(self.positions[:count], self.rotations[:count], self.log_scales[:count])

    def only(self, kept: NDArray[np.bool_]) -> States:
        """The states (N,) selected by a mask."""
        return States(self.positions[kept], self.rotations[kept], self.log_scales[kept])

    def plus(self, errors: Array) -> States:
        """States moved by errors (N, 7)."""
        scale_steps = np.clip(errors[:, 6], -LARGEST_SCALE_STEP, LARGEST_SCALE_STEP)
        return States(
            self.positions + errors[:, :3],
            rotation_matrix(errors[:, 3:6]) @ self.rotations,
            self.log_scales + scale_steps,
        )

    def minus(self, others: States) -> Array:
        """Errors (N, 7) that take the others to these."""
        poses = pose_differences(self.positions, self.rotations, others.positions, others.rotations)
        return np.column_stack([poses, self.log_scales - others.log_scales])


class LinearPrior(NamedTuple):
    """Information (8, 8) and gradient (8,) of the first state and the rotation scale error, and factors on scales."""

    information: Array
    gradient: Array
    scales: LinearFactors | None


@dataclass(frozen=True, eq=False)
class StatePrior:
    """Gaussian of the first state and the rotation scale error: information (8, 8), gradient (8,) at ``at`` (length 1).

    States ``segment_starts`` (K,), where odometry starts again, have separate weak priors: ``log_scales`` (K,).
    """

    at: States
    rotation_scale_error: float
    information: Array
    gradient: Array
    segment_starts: NDArray[np.intp]
    log_scales: Array

    @staticmethod
    def weak(
        states: States, scale_sigma: float, noise: OdometryNoiseConfig, segment_starts: NDArray[np.intp]
    ) -> StatePrior:
        """Before any measurement: none on the pose, a very weak one on the scales, the configured rotation scale."""
        information = np.zeros((8, 8))
        information[6, 6] = 1.0 / scale_sigma**2
        information[7, 7] = 1.0 / max(noise.rotation_scale_sigma, LEAST_ROTATION_SCALE_SIGMA) ** 2
        log_scales = states.log_scales[segment_starts]
        return StatePrior(states.head(1), 0.0, information, np.zeros(8), segment_starts, log_scales)

    @staticmethod
    def marginal(states: States, rotation_scale_error: float, information: Array, gradient: Array) -> StatePrior:
        """The prior on the first remaining state by the marginalised ones."""
        return StatePrior(
            states.head(1), rotation_scale_error, information, gradient, np.empty(0, dtype=np.intp), np.empty(0)
        )

    def linearise(self, states: States, rotation_scale_error: float) -> LinearPrior:
        """The prior about other states."""
        error = np.append(states.head(1).minus(self.at)[0], rotation_scale_error - self.rotation_scale_error)
        gradient = self.gradient - self.information @ error
        return LinearPrior(self.information, gradient, self._scale_factors(states))

    def _scale_factors(self, states: States) -> LinearFactors | None:
        count = len(self.segment_starts)
        if count == 0:
            return None
        jacobians = np.zeros((count, 1, 7))
        jacobians[:, 0, 6] = 1.0
        residuals = (self.log_scales - states.log_scales[self.segment_starts])[:, None]
        information = np.full((count, 1, 1), FREE_SCALE_SIGMA**-2)
        return LinearFactors(self.segment_starts, residuals, jacobians, information)
