"""Factors between states far apart, joined after the rest: as corrections of small rank the band stays narrow.

By Woodbury's identity, which is a Kalman update: what the banded equations alone predict for the ties, and how surely,
tells how far these move all states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.smoothing.factors.linear import Factors, inverse


@dataclass(frozen=True, eq=False)
class Ties:
    """M factors of k rows, in terms of all N states."""

    factors: Factors
    count: int

    @property
    def columns(self) -> Array:
        """Jacobians (N, 7, M k), transposed."""
        every = np.arange(len(self.factors.first))
        columns = np.zeros((len(every), self.count, *self.factors.jacobians.shape[1:]))
        columns[every, self.factors.first] += self.factors.jacobians
        if self.factors.next_jacobians is not None:
            columns[every, self.factors.second] += self.factors.next_jacobians
        return np.asarray(columns.transpose(1, 3, 0, 2).reshape(self.count, columns.shape[3], -1))

    def meet(self, steps: Array, pulls: Array) -> Innovations:
        """What steps (N, 7) without the ties leave of them; ``pulls`` (N, 7, M k) solve the rest for the columns."""
        tied, rows = self.factors.residuals.shape
        seen = self.factors.jacobians @ pulls[self.factors.first]
        if self.factors.next_jacobians is not None:
            seen += self.factors.next_jacobians @ pulls[self.factors.second]
        seen = seen.reshape(tied, rows, tied, rows)
        noise = inverse(self.factors.information)
        seen[np.arange(tied), :, np.arange(tied)] += noise
        covariance = seen.reshape(tied * rows, tied * rows)
        return Innovations(self.factors.residuals_after(steps, 0.0), (covariance + covariance.T) / 2.0, noise)


@dataclass(frozen=True, eq=False)
class Innovations:
    """Errors (M, k) of ties before they are joined, and the covariance (M k, M k) that is expected of them all.

    ``noise`` (M, k, k) is the ties' own part of it.
    """

    errors: Array
    covariance: Array
    noise: Array

    @property
    def weights(self) -> Array:
        """How much of each of their columns (M k,) the states are to take over."""
        return np.asarray(np.linalg.solve(self.covariance, self.errors.ravel()), dtype=np.float64)

    def squared(self, index: int, slack: float = 1.0) -> float:
        """Error of one tie over what is expected of it: chi-square of k degrees of freedom.

        With ``slack`` all else may be so many times as far off as it usually is.
        """
        rows, noise = self.errors.shape[1], self.noise[index]
        own = slice(index * rows, (index + 1) * rows)
        tolerated = noise + slack**2 * (self.covariance[own, own] - noise)
        return float(self.errors[index] @ np.linalg.solve(tolerated, self.errors[index]))
