"""Low-rank update: factors between states far apart (loops), added to a solved banded system by Woodbury's identity.

The band stays narrow, and the update reads as a Kalman update: the innovation of the factors against what the banded
system predicts for them, and its covariance, tell how far each state moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse


@dataclass(frozen=True, eq=False)
class LowRankUpdate:
    """M factors of k rows, in terms of all N states."""

    factors: LinearFactors
    count: int

    @property
    def columns(self) -> Array:
        """Jacobians (N, 7, M k), transposed."""
        every = np.arange(len(self.factors.first))
        columns = np.zeros((len(every), self.count, *self.factors.jacobians.shape[1:]))
        columns[every, self.factors.first] += self.factors.jacobians
        if self.factors.second_jacobians is not None:
            columns[every, self.factors.second] += self.factors.second_jacobians
        return np.asarray(columns.transpose(1, 3, 0, 2).reshape(self.count, columns.shape[3], -1))

    def innovation_of(self, steps: Array, solutions: Array) -> JointInnovation:
        """The innovation after steps (N, 7) without the update; ``solutions`` (N, 7, M k) are those for ``columns``."""
        count, rows = self.factors.residuals.shape
        predicted = self.factors.jacobians @ solutions[self.factors.first]
        if self.factors.second_jacobians is not None:
            predicted += self.factors.second_jacobians @ solutions[self.factors.second]
        predicted = predicted.reshape(count, rows, count, rows)
        noise = inverse(self.factors.information)
        predicted[np.arange(count), :, np.arange(count)] += noise
        covariance = predicted.reshape(count * rows, count * rows)
        return JointInnovation(self.factors.residuals_after(steps, 0.0), (covariance + covariance.T) / 2.0, noise)


@dataclass(frozen=True, eq=False)
class JointInnovation:
    """Innovations (M, k) of all factors of an update, and their joint covariance (M k, M k).

    ``noise`` (M, k, k) is the part of it that is the factors' own.
    """

    errors: Array
    covariance: Array
    noise: Array

    @property
    def weights(self) -> Array:
        """Weights (M k,) of the columns in the update of the states."""
        return np.asarray(np.linalg.solve(self.covariance, self.errors.ravel()), dtype=np.float64)

    def squared(self, index: int, noise_factor: float = 1.0) -> float:
        """Normalised innovation squared of one factor: chi-square of k degrees of freedom.

        ``noise_factor`` multiplies the standard deviations of the predictions.
        """
        rows, noise = self.errors.shape[1], self.noise[index]
        own = slice(index * rows, (index + 1) * rows)
        tolerated = noise + noise_factor**2 * (self.covariance[own, own] - noise)
        return float(self.errors[index] @ np.linalg.solve(tolerated, self.errors[index]))
