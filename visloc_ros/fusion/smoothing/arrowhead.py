"""Arrowhead system: normal equations of banded states and of one unknown that they all share, the rotation scale error.

The shared unknown is the border of the matrix and is eliminated by its Schur complement; factors between states far
apart are a low-rank update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.smoothing.block_banded import SIZE, BlockBanded
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.variance_components import ResidualStatistics


@dataclass(frozen=True, eq=False)
class Solution:
    """Steps (N, 7) of the states and of the shared unknown, and the covariances of the estimate.

    ``covariances`` (N, 7, 7) of each state, ``cross`` (N, reach, 7, 7) with the next ones; ``shared`` (N, 7) of each
    state with the shared unknown, whose own is ``variance``.
    """

    steps: Array
    shared_step: float
    covariances: Array
    cross: Array
    shared: Array
    variance: float

    @property
    def largest_step(self) -> float:
        """Largest element of the states' steps, in standard deviations."""
        return float(np.max(np.abs(self.steps) / np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))))

    def only(self, kept: NDArray[np.bool_]) -> Solution:
        """The solution of the states (N,) selected by a mask; ``cross`` is then no longer with the next ones."""
        return replace(
            self,
            steps=self.steps[kept],
            covariances=self.covariances[kept],
            cross=self.cross[kept],
            shared=self.shared[kept],
        )

    def corrected(self, columns: Array, shared: Array, weights: Array) -> Solution:
        """With ``columns @ weights @ columns.T`` added: columns (N, 7, K) of the states, (K,) of the shared unknown."""
        weighted = columns @ weights
        later = np.minimum(np.arange(len(columns))[:, None] + np.arange(1, self.cross.shape[1] + 1), len(columns) - 1)
        return replace(
            self,
            covariances=self.covariances + weighted @ np.swapaxes(columns, 1, 2),
            cross=self.cross + weighted[:, None] @ np.swapaxes(columns[later], 2, 3),
            shared=self.shared + weighted @ shared,
            variance=self.variance + float(shared @ weights @ shared),
        )

    def residual_statistics(self, factors: LinearFactors) -> ResidualStatistics:
        """Residuals of factors after the steps, and the covariances of the estimate's predictions for them."""
        explained = factors.jacobians @ self.covariances[factors.first] @ np.swapaxes(factors.jacobians, 1, 2)
        if factors.second_jacobians is not None:
            explained += self._explained_by_second(factors, factors.second_jacobians)
        if factors.shared_jacobians is not None:
            explained += self._explained_by_shared(factors, factors.shared_jacobians)
        residuals = factors.residuals_after(self.steps, self.shared_step)
        return ResidualStatistics(residuals, inverse(factors.information), explained, factors.own)

    def _explained_by_second(self, factors: LinearFactors, jacobians: Array) -> Array:
        """Covariances of the predictions by the second states and their cross-covariances with the first."""
        cross = factors.jacobians @ self.cross[factors.first, factors.ahead - 1] @ np.swapaxes(jacobians, 1, 2)
        own = jacobians @ self.covariances[factors.second] @ np.swapaxes(jacobians, 1, 2)
        return np.asarray(own + cross + np.swapaxes(cross, 1, 2))

    def _explained_by_shared(self, factors: LinearFactors, jacobians: Array) -> Array:
        """Covariances of the predictions by the shared unknown and its cross-covariances with the states."""
        with_states = np.einsum("nij,nj->ni", factors.jacobians, self.shared[factors.first])
        if factors.second_jacobians is not None:
            with_states += np.einsum("nij,nj->ni", factors.second_jacobians, self.shared[factors.second])
        cross = (with_states + self.variance / 2.0 * jacobians)[:, :, None] * jacobians[:, None, :]
        return np.asarray(cross + np.swapaxes(cross, 1, 2))


class ArrowheadSystem:
    """Banded equations of the states, bordered by one row and column of the shared unknown."""

    def __init__(self, count: int, reach: int = 1) -> None:
        self.states = BlockBanded(count, reach)
        self.border: Array = np.zeros((count, SIZE))
        self.information = 0.0
        self.gradient = 0.0
        self._update: LowRankUpdate | None = None

    def add_low_rank(self, factors: LinearFactors) -> None:
        """Set the factors between states far apart; once, with all of them."""
        self._update = LowRankUpdate(factors, len(self.border))

    def add(self, factors: LinearFactors) -> None:
        """Add factors of states at most ``reach`` apart."""
        self.states.add(factors)
        jacobians = factors.shared_jacobians
        if jacobians is None:
            return
        weighted = np.einsum("mij,mj->mi", factors.information, jacobians)
        np.add.at(self.border, factors.first, np.einsum("mki,mk->mi", factors.jacobians, weighted))
        if factors.second_jacobians is not None:
            np.add.at(self.border, factors.second, np.einsum("mki,mk->mi", factors.second_jacobians, weighted))
        self.information += float(np.sum(jacobians * weighted))
        self.gradient += float(np.sum(factors.residuals * weighted))

    def add_prior(self, information: Array, gradient: Array) -> None:
        """Add a prior (8, 8), (8,) of the first state and the shared unknown."""
        self.states.blocks[0, 0] += information[:SIZE, :SIZE]
        self.states.gradient[0] += gradient[:SIZE]
        self.border[0] += information[:SIZE, SIZE]
        self.information += float(information[SIZE, SIZE])
        self.gradient += float(gradient[SIZE])

    def step(self) -> tuple[Array, float]:
        """The least-squares steps (N, 7) of the states, and that of the shared unknown."""
        found = self._eliminated()
        return found.steps, found.shared_step

    def solve(self) -> Solution:
        """The least-squares steps with covariances."""
        found, (blocks, cross) = self._eliminated(), self.states.inverse_blocks()
        known = Solution(found.steps, found.shared_step, blocks, cross, np.zeros(found.steps.shape), 0.0)
        known = known.corrected(found.border_solution[:, :, None], np.array([-1.0]), np.array([[found.variance]]))
        if found.innovation is None:
            return known
        weights = -inverse(found.innovation.covariance)
        return known.corrected(found.update_solutions, found.shared_update_solutions, weights)

    def joint_innovation(self) -> JointInnovation | None:
        """The innovation of the low-rank update against the rest of the system; None without one."""
        return self._eliminated().innovation

    def _eliminated(self) -> _Eliminated:
        right = [self.states.gradient[:, :, None], *([] if self._update is None else [self._update.columns])]
        solved = self.states.solve_for(np.concatenate([self.border[:, :, None], *right], axis=2))
        border_solution, free = solved[:, :, 0], solved[:, :, 1:]
        variance = 1.0 / (self.information - float(np.sum(self.border * border_solution)))
        shared = -variance * np.einsum("ni,nik->k", self.border, free)
        shared[0] += variance * self.gradient
        free = free - border_solution[:, :, None] * shared
        banded = _Eliminated(
            free[:, :, 0], float(shared[0]), border_solution, variance, free[:, :, 1:], shared[1:], None
        )
        return banded if self._update is None else banded.with_update(self._update)

    def marginalise_first(self) -> tuple[Array, Array]:
        """Information (8, 8) and gradient (8,) of a system of two states with the first one marginalised."""
        first = self.states.blocks[0, 0]
        beside = np.vstack([self.states.blocks[0, 1], self.border[:1]])
        rest = np.zeros((SIZE + 1, SIZE + 1))
        rest[:SIZE, :SIZE] = self.states.blocks[1, 0]
        rest[:SIZE, SIZE] = rest[SIZE, :SIZE] = self.border[1]
        rest[SIZE, SIZE] = self.information
        eliminated = beside @ np.linalg.inv(first)
        information = rest - eliminated @ beside.T
        gradient = np.append(self.states.gradient[1], self.gradient) - eliminated @ self.states.gradient[0]
        return (information + information.T) / 2.0, gradient


@dataclass(frozen=True, eq=False)
class _Eliminated:
    """The solved system: steps, the border's solution (N, 7), the variance of the shared unknown.

    ``update_solutions`` (N, 7, K) and ``shared_update_solutions`` (K,) solve it for the columns of the low-rank update,
    whose ``innovation`` is there once it was added.
    """

    steps: Array
    shared_step: float
    border_solution: Array
    variance: float
    update_solutions: Array
    shared_update_solutions: Array
    innovation: JointInnovation | None

    def with_update(self, update: LowRankUpdate) -> _Eliminated:
        """With the low-rank update added."""
        innovation = update.innovation_of(self.steps, self.update_solutions)
        steps = self.steps + self.update_solutions @ innovation.weights
        shared_step = self.shared_step + float(self.shared_update_solutions @ innovation.weights)
        return replace(self, steps=steps, shared_step=shared_step, innovation=innovation)


# Low-rank update: factors between states far apart (loops), added to a solved banded system by Woodbury's identity.
# The band stays narrow, and the update reads as a Kalman update: the innovation of the factors against what the banded
# system predicts for them, and its covariance, determine how far each state moves.


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
