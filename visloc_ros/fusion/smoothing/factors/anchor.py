"""Anchor factors: absolute poses of the camera in the map, with independent errors and errors that a place shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.tangent import pose_differences
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import VarianceFactors


@dataclass(frozen=True, eq=False)
class AnchorFactors:
    """Anchors at the states ``at`` (M,), in order: positions (M, 3), rotations (M, 3, 3), covariances (M, 6, 6).

    ``map_covariances`` (M, 6, 6) are of the map's error there, which anchors nearby share.
    """

    at: NDArray[np.intp]
    positions: Array
    rotations: Array
    covariances: Array
    map_covariances: Array

    @staticmethod
    def of(fixes: Sequence[AnchorFix], at: NDArray[np.intp]) -> AnchorFactors:
        """Stack the anchors of fixes."""
        poses = [fix.anchor.map_from_camera for fix in fixes]
        return AnchorFactors(
            at,
            np.array([pose.translation for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            np.array([fix.covariance for fix in fixes]),
            np.array([fix.map_covariance for fix in fixes]),
        )

    def only(self, keep: NDArray[np.bool_]) -> AnchorFactors:
        """The anchors (M,) selected by a mask."""
        return AnchorFactors(
            self.at[keep],
            self.positions[keep],
            self.rotations[keep],
            self.covariances[keep],
            self.map_covariances[keep],
        )

    def minus(self, states: States) -> Array:
        """Errors (M, 6) that take the states' poses to the anchors."""
        return pose_differences(self.positions, self.rotations, states.positions[self.at], states.rotations[self.at])

    def common_covariances(self, count: int, variance_factors: VarianceFactors) -> Array:
        """Covariances (N, 6, 6) of the error that the anchors near each of N states have in common."""
        nearest = np.searchsorted((self.at[:-1] + self.at[1:]) / 2.0, np.arange(count))
        return np.asarray((variance_factors.inflate(self.covariances) + self.map_covariances)[nearest])

    def linearise(self, states: States, variance_factors: VarianceFactors, degrees_of_freedom: float) -> LinearFactors:
        """One factor each, with its covariance scaled by the variance factors and a robust weight."""
        information = inverse(variance_factors.inflate(self.covariances))
        jacobians = np.broadcast_to(np.eye(6, 7), (len(self.at), 6, 7))
        factors = LinearFactors(self.at, self.minus(states), jacobians, information)
        return factors.with_robust_weights(degrees_of_freedom)
