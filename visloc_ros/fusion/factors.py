"""What every piece of evidence becomes for the smoothers: linearised factors, summed by ``block_banded``.

A factor touches one state, or one state and the next. Errors of a state are (7,): position and rotation vector about
the axes of the map, then the log of the scale. Residuals are measured minus predicted: a step with
``jacobian @ step = residual`` removes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array


@dataclass(frozen=True, eq=False)
class Factors:
    """M factors of one kind at the states ``first`` (M,), all different, or between each of them and the next state.

    ``residuals`` (M, k), ``jacobians`` (M, k, 7) of the prediction by the state's error, ``next_jacobians`` (M, k, 7)
    by that of the next state or None, ``information`` (M, k, k) with robust weights already in it.
    """

    first: NDArray[np.intp]
    residuals: Array
    jacobians: Array
    information: Array
    next_jacobians: Array | None = None

    def of_first_state(self) -> Factors:
        """Those that touch the oldest state."""
        return self.at(self.first == 0)

    def at(self, keep: NDArray[np.bool_]) -> Factors:
        """Those of the M that are to be kept."""
        beyond = None if self.next_jacobians is None else self.next_jacobians[keep]
        return Factors(self.first[keep], self.residuals[keep], self.jacobians[keep], self.information[keep], beyond)

    def after(self, steps: Array) -> Factors:
        """The same with what is left of the residuals after steps (N, 7) of all states."""
        residuals = self.residuals - np.einsum("mki,mi->mk", self.jacobians, steps[self.first])
        if self.next_jacobians is not None:
            residuals = residuals - np.einsum("mki,mi->mk", self.next_jacobians, steps[self.first + 1])
        return replace(self, residuals=residuals)
