"""The prior of a smoother on its first state and on the rotation scale error.

For the fixed-lag smoother it is the marginal of all that has left the window; at the start it is very weak for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.config import OdometryNoiseConfig
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors
from visloc_ros.fusion.smoothing.states import States

LEAST_ROTATION_SCALE_SIGMA = 1e-6
FREE_SCALE_SIGMA = 2.0  # of the log scale before anything is measured: a factor of seven either way


class LinearPrior(NamedTuple):
    """Information (8, 8) and gradient (8,) of the first state and the rotation scale error, and factors on scales."""

    information: Array
    gradient: Array
    scales: LinearFactors | None


@dataclass(frozen=True, eq=False)
class StatePrior:
    """Gaussian of the first state and the rotation scale error: information (8, 8), gradient (8,) at ``at`` (length 1).

    States ``segment_starts`` (K,), where odometry starts again, have separate weak priors: ``log_scales`` (K,).
    """

    at: States
    rotation_scale_error: float
    information: Array
    gradient: Array
    segment_starts: NDArray[np.intp]
    log_scales: Array

    @staticmethod
    def weak(
        states: States, scale_sigma: float, noise: OdometryNoiseConfig, segment_starts: NDArray[np.intp]
    ) -> StatePrior:
        """Before any measurement: none on the pose, a very weak one on the scales, the configured rotation scale."""
        information = np.zeros((8, 8))
        information[6, 6] = 1.0 / scale_sigma**2
        information[7, 7] = 1.0 / max(noise.rotation_scale_sigma, LEAST_ROTATION_SCALE_SIGMA) ** 2
        log_scales = states.log_scales[segment_starts]
        return StatePrior(states.head(1), 0.0, information, np.zeros(8), segment_starts, log_scales)

    @staticmethod
    def marginal(states: States, rotation_scale_error: float, information: Array, gradient: Array) -> StatePrior:
        """The prior on the first remaining state by the marginalised ones."""
        return StatePrior(
            states.head(1), rotation_scale_error, information, gradient, np.empty(0, dtype=np.intp), np.empty(0)
        )

    def linearise(self, states: States, rotation_scale_error: float) -> LinearPrior:
        """The prior about other states."""
        error = np.append(states.head(1).minus(self.at)[0], rotation_scale_error - self.rotation_scale_error)
        gradient = self.gradient - self.information @ error
        return LinearPrior(self.information, gradient, self._scale_factors(states))

    def _scale_factors(self, states: States) -> LinearFactors | None:
        count = len(self.segment_starts)
        if count == 0:
            return None
        jacobians = np.zeros((count, 1, 7))
        jacobians[:, 0, 6] = 1.0
        residuals = (self.log_scales - states.log_scales[self.segment_starts])[:, None]
        information = np.full((count, 1, 1), FREE_SCALE_SIGMA**-2)
        return LinearFactors(self.segment_starts, residuals, jacobians, information)
