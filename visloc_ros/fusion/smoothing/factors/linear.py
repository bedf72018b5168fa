"""What every piece of evidence becomes for the smoothers: linearised factors, summed by ``block_banded``.

A factor touches one state, or one state and a later one, and perhaps the unknown that all share (``bordered``). Errors
of a state are (7,): position and rotation vector about the axes of the map, then the log of the scale. Residuals are
measured minus predicted: a step with ``jacobian @ step = residual`` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array


@dataclass(frozen=True, eq=False)
class Factors:
    """M factors of one kind at the states ``first`` (M,), or between them and the states so far ``ahead`` (M,) of them.

    ``residuals`` (M, k), ``jacobians`` (M, k, 7) of the prediction by the state's error, ``next_jacobians`` (M, k, 7)
    by that of the state ahead or None, ``shared_jacobians`` (M, k) by the shared unknown or None, ``information``
    (M, k, k) with robust weights already in it. ``own`` (M, k, k) is the part of its inverse that is the
    measurements' own error, None where all of it is.
    """

    first: NDArray[np.intp]
    residuals: Array
    jacobians: Array
    information: Array
    next_jacobians: Array | None = None
    shared_jacobians: Array | None = None
    ahead: NDArray[np.intp] | int = 1
    own: Array | None = None

    @property
    def second(self) -> NDArray[np.intp]:
        """The later states (M,) of factors between two."""
        return self.first + self.ahead

    def at(self, keep: NDArray[np.bool_]) -> Factors:
        """Those of the M that are to be kept."""
        return Factors(
            self.first[keep],
            self.residuals[keep],
            self.jacobians[keep],
            self.information[keep],
            None if self.next_jacobians is None else self.next_jacobians[keep],
            None if self.shared_jacobians is None else self.shared_jacobians[keep],
            np.broadcast_to(self.ahead, self.first.shape)[keep],
            None if self.own is None else self.own[keep],
        )

    def softened(self, tail: float) -> Factors:
        """The same with Student-t weights: near 1 where residuals are as small as their information promises."""
        squared = np.einsum("ni,nij,nj->n", self.residuals, self.information, self.residuals)
        weights = ((tail + self.residuals.shape[1]) / (tail + squared))[:, None, None]
        own = None if self.own is None else self.own / weights
        return replace(self, information=weights * self.information, own=own)

    def residuals_after(self, steps: Array, shared_step: float) -> Array:
        """What is left (M, k) of the residuals after steps (N, 7) of all states and of the shared unknown."""
        residuals: Array = self.residuals - np.einsum("mki,mi->mk", self.jacobians, steps[self.first])
        if self.next_jacobians is not None:
            residuals -= np.einsum("mki,mi->mk", self.next_jacobians, steps[self.second])
        if self.shared_jacobians is not None:
            residuals -= shared_step * self.shared_jacobians
        return residuals


def inverse(matrices: Array) -> Array:
    """Inverses of matrices (..., k, k)."""
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
