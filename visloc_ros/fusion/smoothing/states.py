"""The states of a smoother as arrays: camera poses in the map and log scales of the odometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix
from visloc_ros.core.tangent import pose_differences
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState

LARGEST_SCALE_STEP = 1.0  # of the log scale in one iteration


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
