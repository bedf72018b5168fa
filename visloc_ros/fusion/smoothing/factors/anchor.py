"""Anchor factors: absolute poses of the camera in the map, with errors of their own and errors that a place shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, rotation_vector
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.smoothing.factors.linear import Factors, inverse
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import Inflation


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
