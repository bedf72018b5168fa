"""Odometry between neighbouring states as arrays, so that all of its factors are computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, rotation_matrix, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import (
    OdometryModel,
    drift_covariance,
    drifting_way,
    transition_matrix,
)
from visloc_ros.fusion.odometry_model.path_moments import moments_about
from visloc_ros.fusion.smoothing.factors.linear import Factors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import Inflation

BLIND_SPEED = 1.0  # map units a second that a camera may move while odometry is lost: standard deviation
BLIND_TURN_RATE = 1.0  # rad/s, likewise
FREE = 1e3  # standard deviation of the log scale that a new segment may begin with


@dataclass(frozen=True, eq=False)
class Legs:
    """Unscaled motions between N samples: rotations (N - 1, 3, 3), the rest (N - 1, ...) as in ``history.Leg``.

    ``is_gap`` (N - 1,) marks those that lead to another segment: of the motion there nothing is known.
    """

    rotations: Array
    translations: Array
    moments: Array
    seconds: Array
    turned: Array
    swept: Array
    slips: Array
    is_gap: NDArray[np.bool_]

    @staticmethod
    def between(samples: Sequence[Sample]) -> Legs:
        """Motions between samples in the order of their stamps."""
        is_gap = np.diff([sample.segment for sample in samples]) != 0
        known = np.where(is_gap, 0.0, 1.0)
        rotations = np.array([sample.odom_from_camera.rotation for sample in samples])
        into_start = np.swapaxes(rotations[:-1], 1, 2) * known[:, None, None]
        positions = np.array([sample.odom_from_camera.translation for sample in samples])
        moved, ends = np.diff(positions, axis=0), positions[1:]
        moments = np.diff([sample.moments for sample in samples], axis=0)
        turned = np.array([sample.turned for sample in samples])
        swept = np.diff([sample.swept for sample in samples], axis=0) - np.cross(turned[:-1], moved)
        steps = np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]
        return Legs(
            np.where(is_gap[:, None, None], np.eye(3), steps),
            _rotated(into_start, moved),
            known[:, None, None, None] * moments_about(ends, into_start, moments),
            np.diff([sample.stamp_ns for sample in samples]) / NANOSECONDS,
            _rotated(into_start, np.diff(turned, axis=0)),
            _rotated(into_start, swept),
            known[:, None] * np.diff([sample.slips for sample in samples], axis=0),
            is_gap,
        )

    def linearise(self, states: States, odometry: OdometryModel, common: Array, common_distance: float) -> Factors:
        """Each state against its predecessor moved on, apart by the drift and by how the anchors' common error changes.

        That error has the covariances ``common`` (N, 6, 6) and is another one after ``common_distance``.
        """
        starts, scales, gain = states.rotations[:-1], np.exp(states.log_scales[:-1]), odometry.turn_gain
        motions = scales[:, None] * _rotated(starts, self.translations + gain * self.swept)
        tangents = np.zeros((len(starts), 7))
        tangents[:, :3] = scales[:, None] * _rotated(starts, self.swept)
        tangents[:, 3:6] = _rotated(starts, self.turned)
        ways = drifting_way(self.moments, scales, starts, odometry.drift)
        drifts = drift_covariance(ways, tangents, odometry.drift)
        if self.is_gap.any():
            drifts[self.is_gap] = self._blind_covariances()
        changes = np.where(self.is_gap, 0.0, 1.0 - np.exp(-ways[:, 3, 3] / common_distance))
        covariances = drifts.copy()
        covariances[:, :6, :6] += changes[:, None, None] * (common[:-1] + common[1:])
        return Factors(
            np.arange(len(starts)),
            self._residuals(states, motions, gain),
            transition_matrix(motions),
            inverse(covariances),
            np.broadcast_to(-np.eye(7), (len(starts), 7, 7)),
            tangents,
            own=drifts,
        )

    def told(self, states: States, expected: DriftConfig) -> Inflation:
        """The variances that odometry tells of its drift over those expected; 1 where it tells none."""
        scales = np.exp(states.log_scales[:-1])
        distances = drifting_way(self.moments, scales, states.rotations[:-1], expected)[:, 3, 3]
        rates = np.square([expected.position, np.deg2rad(expected.rotation_deg)])
        slips = self.slips * np.column_stack([np.square(scales), np.ones(len(scales))])
        ratios = slips.sum(axis=0) / (rates * distances[~self.is_gap].sum())
        position, rotation = np.where(ratios > 0.0, ratios, 1.0).tolist()
        return Inflation(position, rotation)

    def _residuals(self, states: States, motions: Array, gain: float) -> Array:
        """Errors (N - 1, 7) that take each state's predecessor, moved on, to it."""
        ends = states.rotations[:-1] @ rotation_matrix(gain * self.turned) @ self.rotations
        residuals = np.empty((len(ends), 7))
        residuals[:, :3] = np.diff(states.positions, axis=0) - motions
        residuals[:, 3:6] = rotation_vector(states.rotations[1:] @ np.swapaxes(ends, 1, 2))
        residuals[:, 6] = np.diff(states.log_scales)
        return residuals

    def _blind_covariances(self) -> Array:
        seconds = self.seconds[self.is_gap]
        rates = np.array([BLIND_SPEED] * 3 + [BLIND_TURN_RATE] * 3)
        covariances = np.zeros((len(seconds), 7, 7))
        covariances[:, range(6), range(6)] = np.square(seconds[:, None] * rates)
        covariances[:, 6, 6] = FREE**2
        return covariances


def _rotated(rotations: Array, vectors: Array) -> Array:
    """Vectors (M, 3) by rotations (M, 3, 3)."""
    return np.asarray((rotations @ vectors[:, :, None])[:, :, 0])
