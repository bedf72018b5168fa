"""An anchor with the odometry at its image, and many of them as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, rotation_vector
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig
from visloc_ros.fusion.factors import Factors, inverse
from visloc_ros.fusion.history import Sample
from visloc_ros.fusion.noise_levels import Inflation
from visloc_ros.fusion.states import States
from visloc_ros.fusion.trail import Trail


@dataclass(frozen=True, eq=False)
class Fix:
    """An anchor together with the odometry at its image's stamp.

    ``covariance`` (6, 6) is of the error that it has for itself, ``map_covariance`` (6, 6) of the map's error there,
    which anchors nearby share; both with the least error of a map. ``trail`` holds how the map points were followed
    through later frames.
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
    """Pair an anchor with odometry; what of its covariance is the map's own is told apart from the rest."""
    floor = np.diag(np.repeat([config.position_floor**2, np.deg2rad(config.rotation_floor_deg) ** 2], 3))
    of_map = np.zeros((6, 6)) if anchor.map_covariance is None else anchor.map_covariance
    return Fix(sample, anchor, anchor.covariance - of_map + floor, of_map + floor)


@dataclass(frozen=True, eq=False)
class Anchors:
    """Anchors of the states ``at`` (M,), in order: positions (M, 3), rotations (M, 3, 3), covariances (M, 6, 6).

    ``map_covariances`` (M, 6, 6) are of the map's own error there.
    """

    at: NDArray[np.intp]
    positions: Array
    rotations: Array
    covariances: Array
    map_covariances: Array

    @staticmethod
    def of(fixes: Sequence[Fix], at: NDArray[np.intp]) -> Anchors:
        """Stack the anchors of fixes."""
        poses = [fix.anchor.map_from_camera for fix in fixes]
        return Anchors(
            at,
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.array([fix.covariance for fix in fixes]),
            np.array([fix.map_covariance for fix in fixes]),
        )

    def only(self, keep: NDArray[np.bool_]) -> Anchors:
        """Those of the M that are to be kept."""
        return Anchors(
            self.at[keep],
            self.positions[keep],
            self.rotations[keep],
            self.covariances[keep],
            self.map_covariances[keep],
        )

    def minus(self, states: States) -> Array:
        """Errors (M, 6) that take the states' poses to the anchors."""
        turns = rotation_vector(self.rotations @ np.swapaxes(states.rotations[self.at], 1, 2))
        return np.concatenate([self.positions - states.positions[self.at], turns], axis=1)

    def common_errors(self, count: int, claims: Inflation) -> Array:
        """Covariances (N, 6, 6) of the error that the anchors around each of N states share."""
        nearest = np.searchsorted((self.at[:-1] + self.at[1:]) / 2.0, np.arange(count))
        return np.asarray((claims.inflate(self.covariances) + self.map_covariances)[nearest])

    def linearise(self, states: States, claims: Inflation, tail: float) -> Factors:
        """One factor of each state; claims are inflated, and anchors that do not fit all the same count less."""
        information = inverse(claims.inflate(self.covariances))
        jacobians = np.broadcast_to(np.eye(6, 7), (len(self.at), 6, 7))
        return Factors(self.at, self.minus(states), jacobians, information).softened(tail)
