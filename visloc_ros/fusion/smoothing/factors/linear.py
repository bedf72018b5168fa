"""Linear factors: the measurements at a linearisation point, to be summed into normal equations.

A factor involves one state, or one state and a later one, and perhaps the unknown that all states share
(``arrowhead``). Errors of a state are (7,): position and rotation vector about the axes of the map, then the log of the
scale. Residuals are measured minus predicted: a step with ``jacobian @ step = residual`` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array


@dataclass(frozen=True, eq=False)
class LinearFactors:
    """M factors of one kind on the states ``first`` (M,), or between these and the states ``ahead`` (M,) rows later.

    ``residuals`` (M, k), ``jacobians`` (M, k, 7) of the prediction by the first state's error, ``second_jacobians``
    (M, k, 7) by the second's or None, ``shared_jacobians`` (M, k) by the shared unknown or None, ``information``
    (M, k, k) with the robust weights in it. ``own`` (M, k, k) is the part of the covariance that the variance factor of
    this kind scales, None where that is all of it.
    """

    first: NDArray[np.intp]
    residuals: Array
    jacobians: Array
    information: Array
    second_jacobians: Array | None = None
    shared_jacobians: Array | None = None
    ahead: NDArray[np.intp] | int = 1
    own: Array | None = None

    @property
    def second(self) -> NDArray[np.intp]:
        """The later states (M,) of factors between two."""
        return self.first + self.ahead

    def at(self, keep: NDArray[np.bool_]) -> LinearFactors:
        """The factors (M,) selected by a mask."""
        return LinearFactors(
            self.first[keep],
            self.residuals[keep],
            self.jacobians[keep],
            self.information[keep],
            None if self.second_jacobians is None else self.second_jacobians[keep],
            None if self.shared_jacobians is None else self.shared_jacobians[keep],
            np.broadcast_to(self.ahead, self.first.shape)[keep],
            None if self.own is None else self.own[keep],
        )

    def with_robust_weights(self, degrees_of_freedom: float) -> LinearFactors:
        """The same, weighted by Student's t: near 1 where residuals are as small as their information predicts."""
        squared = np.einsum("ni,nij,nj->n", self.residuals, self.information, self.residuals)
        weights = ((degrees_of_freedom + self.residuals.shape[1]) / (degrees_of_freedom + squared))[:, None, None]
        own = None if self.own is None else self.own / weights
        return replace(self, information=weights * self.information, own=own)

    def residuals_after(self, steps: Array, shared_step: float) -> Array:
        """Residuals (M, k) after steps (N, 7) of all states and of the shared unknown."""
        residuals: Array = self.residuals - np.einsum("mki,mi->mk", self.jacobians, steps[self.first])
        if self.second_jacobians is not None:
            residuals -= np.einsum("mki,mi->mk", self.second_jacobians, steps[self.second])
        if self.shared_jacobians is not None:
            residuals -= shared_step * self.shared_jacobians
        return residuals


def inverse(matrices: Array) -> Array:
    """Inverses of matrices (..., k, k)."""
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
