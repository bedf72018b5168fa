"""Loop factors: a place seen again fixes the similarity between two states, however far apart they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.tangent import pose_differences
from visloc_ros.core.types import LoopClosure
from visloc_ros.fusion.odometry_model.noise_model import transition_matrix
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.states import States


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
