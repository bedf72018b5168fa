"""Equations of a chain of states and of one unknown that they all share: the share of turns that odometry misjudges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.block_banded import SIZE, BlockBanded
from visloc_ros.fusion.factors import Factors, inverse
from visloc_ros.fusion.noise_levels import Evidence


@dataclass(frozen=True, eq=False)
class Solution:
    """Steps (N, 7) of the states and of the shared unknown, and the covariances of the estimate.

    ``covariances`` (N, 7, 7) of each state, ``ahead`` (N, reach, 7, 7) with the next ones; ``shared`` (N, 7) of each
    state with the shared unknown, whose own is ``variance``.
    """

    steps: Array
    shared_step: float
    covariances: Array
    ahead: Array
    shared: Array
    variance: float

    @property
    def largest_step(self) -> float:
        """Largest element of the states' steps, in standard deviations."""
        return float(np.max(np.abs(self.steps) / np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))))

    def without_first(self) -> Solution:
        """The solution for all states but the oldest."""
        return replace(
            self,
            steps=self.steps[1:],
            covariances=self.covariances[1:],
            ahead=self.ahead[1:],
            shared=self.shared[1:],
        )

    def evidence_of(self, factors: Factors) -> Evidence:
        """What factors show of their errors: residuals after the steps, and how well the estimate predicts them."""
        explained = factors.jacobians @ self.covariances[factors.first] @ np.swapaxes(factors.jacobians, 1, 2)
        if factors.next_jacobians is not None:
            explained += self._explained_ahead(factors, factors.next_jacobians)
        if factors.shared_jacobians is not None:
            explained += self._explained_by_shared(factors, factors.shared_jacobians)
        residuals = factors.residuals_after(self.steps, self.shared_step)
        return Evidence(residuals, inverse(factors.information), explained, factors.own)

    def _explained_ahead(self, factors: Factors, forth: Array) -> Array:
        """What the later states, and these together with the first ones, add to the predictions' covariances."""
        beside = self.ahead[factors.first, factors.ahead - 1]
        across = factors.jacobians @ beside @ np.swapaxes(forth, 1, 2)
        own = forth @ self.covariances[factors.second] @ np.swapaxes(forth, 1, 2)
        return np.asarray(own + across + np.swapaxes(across, 1, 2))

    def _explained_by_shared(self, factors: Factors, tangents: Array) -> Array:
        """What the shared unknown, and it together with the states, adds to the predictions' covariances."""
        with_states = np.einsum("nij,nj->ni", factors.jacobians, self.shared[factors.first])
        if factors.next_jacobians is not None:
            with_states += np.einsum("nij,nj->ni", factors.next_jacobians, self.shared[factors.second])
        across = (with_states + self.variance / 2.0 * tangents)[:, :, None] * tangents[:, None, :]
        return np.asarray(across + np.swapaxes(across, 1, 2))


class Bordered:
    """Banded equations with a border: one more row and column for the shared unknown."""

    def __init__(self, count: int, reach: int = 1) -> None:
        self.states = BlockBanded(count, reach)
        self.across: Array = np.zeros((count, SIZE))
        self.information = 0.0
        self.gradient = 0.0

    def add(self, factors: Factors) -> None:
        """Add factors of states at most ``reach`` apart."""
        self.states.add(factors)
        tangents = factors.shared_jacobians
        if tangents is None:
            return
        weighted = np.einsum("mij,mj->mi", factors.information, tangents)
        np.add.at(self.across, factors.first, np.einsum("mki,mk->mi", factors.jacobians, weighted))
        if factors.next_jacobians is not None:
            np.add.at(self.across, factors.second, np.einsum("mki,mk->mi", factors.next_jacobians, weighted))
        self.information += float(np.sum(tangents * weighted))
        self.gradient += float(np.sum(factors.residuals * weighted))

    def add_prior(self, information: Array, gradient: Array) -> None:
        """Add what is known (8, 8), (8,) of the first state and the shared unknown together."""
        self.states.blocks[0, 0] += information[:SIZE, :SIZE]
        self.states.gradient[0] += gradient[:SIZE]
        self.across[0] += information[:SIZE, SIZE]
        self.information += float(information[SIZE, SIZE])
        self.gradient += float(gradient[SIZE])

    def step(self) -> tuple[Array, float]:
        """Least squares alone: steps (N, 7) of the states, and of the shared unknown."""
        steps, shared_step, _, _ = self._eliminated()
        return steps, shared_step

    def solve(self) -> Solution:
        """Least squares with covariances."""
        steps, shared_step, pull, variance = self._eliminated()
        blocks, beside = self.states.inverse_blocks()
        later = np.minimum(np.arange(len(pull))[:, None] + np.arange(1, beside.shape[1] + 1), len(pull) - 1)
        return Solution(
            steps,
            shared_step,
            blocks + variance * pull[:, :, None] * pull[:, None, :],
            beside + variance * pull[:, None, :, None] * pull[later][:, :, None, :],
            -variance * pull,
            variance,
        )

    def _eliminated(self) -> tuple[Array, float, Array, float]:
        """Steps; and how the shared unknown pulls the states (N, 7), with its variance."""
        solved = self.states.solve_for(np.stack([self.states.gradient, self.across], axis=2))
        free, pull = solved[:, :, 0], solved[:, :, 1]
        variance = 1.0 / (self.information - float(np.sum(self.across * pull)))
        shared_step = variance * (self.gradient - float(np.sum(self.across * free)))
        return free - pull * shared_step, shared_step, pull, variance

    def without_first(self) -> tuple[Array, Array]:
        """What two states and the shared unknown leave to know (8, 8), (8,) of all but the first state."""
        first = self.states.blocks[0, 0]
        beside = np.vstack([self.states.blocks[0, 1], self.across[:1]])
        rest = np.zeros((SIZE + 1, SIZE + 1))
        rest[:SIZE, :SIZE] = self.states.blocks[1, 0]
        rest[:SIZE, SIZE] = rest[SIZE, :SIZE] = self.across[1]
        rest[SIZE, SIZE] = self.information
        carried = beside @ np.linalg.inv(first)
        information = rest - carried @ beside.T
        gradient = np.append(self.states.gradient[1], self.gradient) - carried @ self.states.gradient[0]
        return (information + information.T) / 2.0, gradient
