"""The anchors of the smoother's window and the motion between them as arrays, so that factors are computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, rotation_matrix, rotation_vector
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig, DriftConfig, FusionConfig
from visloc_ros.fusion.drift import OdometryModel, drift_covariance, drifting_distance, transition_matrix
from visloc_ros.fusion.factors import Factors
from visloc_ros.fusion.history import Leg, Sample
from visloc_ros.fusion.noise_levels import Inflation, map_covariance
from visloc_ros.fusion.states import States
from visloc_ros.fusion.trail import Trail


@dataclass(frozen=True, eq=False)
class Fix:
    """An anchor together with the odometry at its image's stamp; covariance (6, 6) with the least error of the map.

    ``map_covariance`` (6, 6) is of the map's own error there, which anchors nearby share; ``trail`` holds how the map
    points were followed through later frames.
    """

    sample: Sample
    anchor: AnchorPose
    covariance: Array
    map_covariance: Array
    trail: Trail = field(default_factory=Trail)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return self.sample.stamp_ns

    def is_followed_by(self, sample: Sample) -> bool:
        """Tell whether a frame of the same segment is newer than the anchor and all that was followed from it."""
        newest_ns = self.trail.newest_ns or self.stamp_ns
        return sample.segment == self.sample.segment and sample.stamp_ns > newest_ns


def make_fix(sample: Sample, anchor: AnchorPose, config: AnchorNoiseConfig) -> Fix:
    """Pair an anchor with odometry; the least error of the map is added to its covariance."""
    floor = np.repeat([config.position_floor**2, np.deg2rad(config.rotation_floor_deg) ** 2], 3)
    return Fix(sample, anchor, anchor.covariance + np.diag(floor), map_covariance(anchor, config))


@dataclass(frozen=True, eq=False)
class Anchors:
    """Measured positions (N, 3), rotations (N, 3, 3), covariances and those of the map's error (N, 6, 6)."""

    positions: Array
    rotations: Array
    covariances: Array
    map_covariances: Array

    @staticmethod
    def of(fixes: Sequence[Fix]) -> Anchors:
        """Stack the anchors of fixes."""
        poses = [fix.anchor.map_from_camera for fix in fixes]
        return Anchors(
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.array([fix.covariance for fix in fixes]),
            np.array([fix.map_covariance for fix in fixes]),
        )

    def minus(self, states: States) -> Array:
        """Errors (N, 6) that take the states' poses to the anchors."""
        turns = rotation_vector(self.rotations @ np.swapaxes(states.rotations, 1, 2))
        return np.column_stack([self.positions - states.positions, turns])

    def linearise(self, states: States, information: Array) -> Factors:
        """One factor a state, with information (N, 6, 6)."""
        jacobians = np.broadcast_to(np.eye(6, 7), (len(states), 6, 7))
        return Factors(np.arange(len(states)), self.minus(states), jacobians, information)


@dataclass(frozen=True, eq=False)
class Legs:
    """Odometry between neighbouring images, unscaled: rotations (N - 1, 3, 3), the rest (N - 1, ...)."""

    rotations: Array
    translations: Array
    paths: Array
    turnings: Array
    seconds: Array
    turned: Array
    swept: Array

    @staticmethod
    def of(fixes: Sequence[Fix]) -> Legs:
        """Relative odometry of fixes in the order of their stamps."""
        return Legs.stacked([a.sample.leg_to(b.sample) for a, b in pairwise(fixes)])

    @staticmethod
    def stacked(legs: Sequence[Leg]) -> Legs:
        """Single legs in their order."""
        return Legs(
            np.array([leg.camera_from_camera.rotation for leg in legs]),
            np.array([leg.camera_from_camera.translation for leg in legs]),
            np.array([leg.path for leg in legs]),
            np.array([leg.turning for leg in legs]),
            np.array([leg.seconds for leg in legs]),
            np.array([leg.turned for leg in legs]),
            np.array([leg.swept for leg in legs]),
        )

    def corrected(self, gain: float) -> Legs:
        """The legs with all turns larger by a share."""
        turned = rotation_matrix(gain * self.turned) @ self.rotations
        return replace(self, rotations=turned, translations=self.translations + gain * self.swept)

    def tangents(self, states: States) -> Array:
        """Derivative (N - 1, 7) of where the legs lead to by the share of turns that is misjudged."""
        starts = states.rotations[:-1]
        shifts = np.exp(states.log_scales[:-1, None]) * np.einsum("nij,nj->ni", starts, self.swept)
        turns = np.einsum("nij,nj->ni", starts, self.turned)
        return np.column_stack([shifts, turns, np.zeros(len(starts))])

    def linearise(self, states: States, config: DriftConfig) -> tuple[Array, Array, Array]:
        """Residuals (N - 1, 7) of each state against its predecessor moved on, transitions and drift (N - 1, 7, 7)."""
        starts = States(states.positions[:-1], states.rotations[:-1], states.log_scales[:-1])
        scales = np.exp(starts.log_scales)
        motions = scales[:, None] * np.einsum("nij,nj->ni", starts.rotations, self.translations)
        moved = States(starts.positions + motions, starts.rotations @ self.rotations, starts.log_scales)
        distances = drifting_distance(scales * self.paths, self.turnings, self.seconds, config)
        residuals = states.without_first().minus(moved)
        turns = np.einsum("nij,nj->ni", starts.rotations, self.turned)
        return residuals, transition_matrix(motions), drift_covariance(motions, distances, turns, config)

    def transitions(self, states: States) -> Array:
        """How errors (N - 1, 7, 7) at the start of each leg appear at its end."""
        scales = np.exp(states.log_scales[:-1, None])
        return transition_matrix(scales * np.einsum("nij,nj->ni", states.rotations[:-1], self.translations))

    def changes(self, states: States, config: FusionConfig) -> Array:
        """How much the error that anchors share differs between the ends (N - 1,): 0 not at all, 1 altogether."""
        paths = np.exp(states.log_scales[:-1]) * self.paths
        distances = drifting_distance(paths, self.turnings, self.seconds, config.drift)
        return np.asarray(1.0 - np.exp(-distances / config.anchor_noise.common_distance))


@dataclass(frozen=True, eq=False)
class TrackedLegs:
    """Motion in map units between M of the neighbouring images, from map points followed between them.

    ``first`` (M,) are the images that it begins at; covariances (M, 6, 6) are about the axes of the camera there.
    """

    first: NDArray[np.intp]
    rotations: Array
    translations: Array
    covariances: Array

    @staticmethod
    def of(fixes: Sequence[Fix], states: States, max_gap_s: float, odometry: OdometryModel) -> TrackedLegs:
        """Followed motion of fixes in the order of their stamps; odometry carries it over a short rest of the way."""
        motions = [
            a.trail.motion_to(b.sample, states[index].log_scale, max_gap_s, odometry)
            for index, (a, b) in enumerate(pairwise(fixes))
        ]
        known = [(index, motion) for index, motion in enumerate(motions) if motion is not None]
        return TrackedLegs(
            np.array([index for index, _ in known], dtype=np.intp),
            np.array([motion.anchor_from_camera.rotation for _, motion in known]).reshape(-1, 3, 3),
            np.array([motion.anchor_from_camera.translation for _, motion in known]).reshape(-1, 3),
            np.array([motion.covariance for _, motion in known]).reshape(-1, 6, 6),
        )

    def linearise(self, states: States, inflation: Inflation, tail: float) -> Factors:
        """Residuals of each next state, softened where followed points and odometry contradict each other."""
        starts = states.rotations[self.first]
        motions = np.einsum("nij,nj->ni", starts, self.translations)
        moved = starts @ self.rotations
        turns = rotation_vector(moved @ np.swapaxes(states.rotations[self.first + 1], 1, 2)).reshape(-1, 3)
        away = states.positions[self.first] + motions - states.positions[self.first + 1]
        residuals = np.column_stack([away, turns])
        axes = np.zeros((len(starts), 6, 6))
        axes[:, :3, :3], axes[:, 3:, 3:] = starts, starts
        information = inverse(axes @ inflation.inflate(self.covariances) @ np.swapaxes(axes, 1, 2))
        information *= student_weights(residuals, information, tail)[:, None, None]
        jacobians = -transition_matrix(motions)[:, :6]
        jacobians[:, :, 6] = 0.0
        ahead = np.broadcast_to(np.eye(6, 7), jacobians.shape)
        return Factors(self.first, residuals, jacobians, information, ahead)


def inverse(matrices: Array) -> Array:
    """Inverses of matrices (N, k, k)."""
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def student_weights(residuals: Array, information: Array, tail: float) -> Array:
    """Student-t weight (N,) of residuals (N, k): near 1 where they are as small as their information promises."""
    squared = np.einsum("ni,nij,nj->n", residuals, information, residuals)
    return np.asarray((tail + residuals.shape[1]) / (tail + squared))
