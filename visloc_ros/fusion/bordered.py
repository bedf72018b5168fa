"""Equations of a chain of states and of one unknown that they all share: the share of turns that odometry misjudges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.block_banded import SIZE, BlockBanded
from visloc_ros.fusion.factors import Factors
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

    def without_first(self) -> Solution:
        """The solution for all states but the oldest."""
        return replace(
            self,
            steps=self.steps[1:],
            covariances=self.covariances[1:],
            ahead=self.ahead[1:],
            shared=self.shared[1:],
        )

    def evidence_of(
        self, motions: Factors, tangents: Array | None = None, ahead: NDArray[np.intp] | int = 1
    ) -> Evidence:
        """Motions between states against the estimate; ``tangents`` (M, k) are by the shared unknown."""
        first, second, back, forth = motions.first, motions.first + ahead, motions.jacobians, motions.next_jacobians
        if forth is None:
            raise ValueError("motions lead from one state to another")
        across = back @ self.ahead[first, second - first - 1] @ np.swapaxes(forth, 1, 2)
        explained = across + np.swapaxes(across, 1, 2)
        explained += back @ self.covariances[first] @ np.swapaxes(back, 1, 2)
        explained += forth @ self.covariances[second] @ np.swapaxes(forth, 1, 2)
        if tangents is not None:
            shared = np.einsum("nij,nj->ni", back, self.shared[first])
            shared += np.einsum("nij,nj->ni", forth, self.shared[second])
            mixed = shared[:, :, None] * tangents[:, None, :]
            explained += mixed + np.swapaxes(mixed, 1, 2) + self.variance * tangents[:, :, None] * tangents[:, None, :]
        return Evidence(
            motions.residuals, np.asarray(np.linalg.inv(motions.information)), explained, np.ones(len(first))
        )


class Bordered:
    """Banded equations with a border: one more row and column for the shared unknown."""

    def __init__(self, count: int, reach: int = 1) -> None:
        self.states = BlockBanded(count, reach)
        self.across: Array = np.zeros((count, SIZE))
        self.information = 0.0
        self.gradient = 0.0

    def add(self, factors: Factors, tangents: Array | None = None, ahead: NDArray[np.intp] | int = 1) -> None:
        """Add factors; ``tangents`` (M, k) is the derivative of their predictions by the shared unknown."""
        self.states.add(factors, ahead)
        if tangents is None:
            return
        weighted = np.einsum("mij,mj->mi", factors.information, tangents)
        np.add.at(self.across, factors.first, np.einsum("mki,mk->mi", factors.jacobians, weighted))
        if factors.next_jacobians is not None:
            np.add.at(self.across, factors.first + ahead, np.einsum("mki,mk->mi", factors.next_jacobians, weighted))
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
        pull, variance = self._border()
        free = self.states.solve_for(self.states.gradient)
        shared_step = variance * (self.gradient - float(np.sum(self.across * free)))
        return free - pull * shared_step, shared_step

    def solve(self) -> Solution:
        """Least squares with covariances."""
        steps, shared_step = self.step()
        pull, variance = self._border()
        widened = variance * pull[:, :, None] * pull[:, None, :]
        beside = self.states.covariances_ahead()
        later = np.minimum(np.arange(len(pull))[:, None] + np.arange(1, beside.shape[1] + 1), len(pull) - 1)
        return Solution(
            steps,
            shared_step,
            self.states.covariances() + widened,
            beside + variance * pull[:, None, :, None] * pull[later][:, :, None, :],
            -variance * pull,
            variance,
        )

    def _border(self) -> tuple[Array, float]:
        """What eliminating the states leaves: how the shared unknown pulls them (N, 7), and its own variance."""
        pull = self.states.solve_for(self.across)
        return pull, 1.0 / (self.information - float(np.sum(self.across * pull)))

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
