"""The anchors of the smoother's window and its unknowns as arrays, so that all factors are computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix, rotation_vector
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig, DriftConfig
from visloc_ros.fusion.drift import CameraState, drift_covariance, drifting_distance, transition_matrix
from visloc_ros.fusion.history import Sample

LARGEST_SCALE_STEP = 1.0  # of the log scale in one iteration


@dataclass(frozen=True, eq=False)
class Fix:
    """An anchor together with the odometry at its image's stamp; covariance (6, 6) with the map's own errors."""

    sample: Sample
    anchor: AnchorPose
    covariance: Array

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return self.sample.stamp_ns


def make_fix(sample: Sample, anchor: AnchorPose, config: AnchorNoiseConfig) -> Fix:
    """Pair an anchor with odometry; the errors of the map are added to its covariance."""
    floor = np.repeat([config.position_floor**2, np.deg2rad(config.rotation_floor_deg) ** 2], 3)
    return Fix(sample, anchor, anchor.covariance + np.diag(floor))


@dataclass(frozen=True, eq=False)
class States:
    """Unknowns at N images: positions (N, 3) and rotations (N, 3, 3) of the camera in the map, log scales (N,)."""

    positions: Array
    rotations: Array
    log_scales: Array

    @staticmethod
    def from_similarity(map_from_odom: Sim3, fixes: Sequence[Fix]) -> States:
        """States where one similarity holds for all."""
        poses = [map_from_odom.apply_to_pose(fix.sample.odom_from_camera) for fix in fixes]
        return States(
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.full(len(poses), np.log(map_from_odom.scale)),
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

    def first(self) -> States:
        """The oldest state alone."""
        return States(self.positions[:1], self.rotations[:1], self.log_scales[:1])

    def without_first(self) -> States:
        """States but the oldest."""
        return States(self.positions[1:], self.rotations[1:], self.log_scales[1:])

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
        turns = rotation_vector(self.rotations @ np.swapaxes(others.rotations, 1, 2))
        return np.column_stack([self.positions - others.positions, turns, self.log_scales - others.log_scales])


@dataclass(frozen=True, eq=False)
class Anchors:
    """Measured positions (N, 3), rotations (N, 3, 3) and covariances (N, 6, 6) at the images."""

    positions: Array
    rotations: Array
    covariances: Array

    @staticmethod
    def of(fixes: Sequence[Fix]) -> Anchors:
        """Stack the anchors of fixes."""
        poses = [fix.anchor.map_from_camera for fix in fixes]
        return Anchors(
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.array([fix.covariance for fix in fixes]),
        )

    def minus(self, states: States) -> Array:
        """Errors (N, 6) that take the states' poses to the anchors."""
        turns = rotation_vector(self.rotations @ np.swapaxes(states.rotations, 1, 2))
        return np.column_stack([self.positions - states.positions, turns])


@dataclass(frozen=True, eq=False)
class Legs:
    """Odometry between neighbouring images, unscaled: rotations (N - 1, 3, 3), the rest (N - 1, ...)."""

    rotations: Array
    translations: Array
    paths: Array
    turnings: Array
    seconds: Array

    @staticmethod
    def of(fixes: Sequence[Fix]) -> Legs:
        """Relative odometry of fixes in the order of their stamps."""
        legs = [a.sample.leg_to(b.sample) for a, b in pairwise(fixes)]
        return Legs(
            np.array([leg.camera_from_camera.rotation for leg in legs]),
            np.array([leg.camera_from_camera.translation for leg in legs]),
            np.array([leg.path for leg in legs]),
            np.array([leg.turning for leg in legs]),
            np.array([leg.seconds for leg in legs]),
        )

    def linearise(self, states: States, config: DriftConfig) -> tuple[Array, Array, Array]:
        """Residuals (N - 1, 7) of each state against its predecessor moved on, transitions and drift (N - 1, 7, 7)."""
        starts = States(states.positions[:-1], states.rotations[:-1], states.log_scales[:-1])
        scales = np.exp(starts.log_scales)
        motions = scales[:, None] * np.einsum("nij,nj->ni", starts.rotations, self.translations)
        moved = States(starts.positions + motions, starts.rotations @ self.rotations, starts.log_scales)
        distances = drifting_distance(scales * self.paths, self.turnings, self.seconds, config)
        residuals = states.without_first().minus(moved)
        return residuals, transition_matrix(motions), drift_covariance(motions, distances, self.turnings, config)
