"""Equations of a chain of states and of one unknown that they all share: the share of turns that odometry misjudges.

Both that unknown and ties between far states are joined to the banded rest as corrections of small rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.smoothing.block_banded import SIZE, BlockBanded
from visloc_ros.fusion.smoothing.factors.linear import Factors, inverse
from visloc_ros.fusion.smoothing.low_rank_update import Innovations, Ties
from visloc_ros.fusion.smoothing.variance_components import Evidence


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

    def only(self, kept: NDArray[np.bool_]) -> Solution:
        """The solution for those of the N states that are to be kept; what is ``ahead`` of them may be gone."""
        return replace(
            self,
            steps=self.steps[kept],
            covariances=self.covariances[kept],
            ahead=self.ahead[kept],
            shared=self.shared[kept],
        )

    def corrected(self, columns: Array, shared: Array, weights: Array) -> Solution:
        """With covariances larger by ``columns @ weights @ columns.T``: of states (N, 7, K), of the unknown (K,)."""
        weighted = columns @ weights
        later = np.minimum(np.arange(len(columns))[:, None] + np.arange(1, self.ahead.shape[1] + 1), len(columns) - 1)
        return replace(
            self,
            covariances=self.covariances + weighted @ np.swapaxes(columns, 1, 2),
            ahead=self.ahead + weighted[:, None] @ np.swapaxes(columns[later], 2, 3),
            shared=self.shared + weighted @ shared,
            variance=self.variance + float(shared @ weights @ shared),
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
        self._ties: Ties | None = None

    def tie(self, factors: Factors) -> None:
        """Add factors between states however far apart, all of them at once."""
        self._ties = Ties(factors, len(self.across))

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
        found = self._eliminated()
        return found.steps, found.shared_step

    def solve(self) -> Solution:
        """Least squares with covariances."""
        found, (blocks, beside) = self._eliminated(), self.states.inverse_blocks()
        known = Solution(found.steps, found.shared_step, blocks, beside, np.zeros(found.steps.shape), 0.0)
        known = known.corrected(found.pull[:, :, None], np.array([-1.0]), np.array([[found.variance]]))
        if found.met is None:
            return known
        return known.corrected(found.tie_pulls, found.shared_tie_pulls, -inverse(found.met.covariance))

    def meet_ties(self) -> Innovations | None:
        """How the ties meet what everything else predicts for them; None without any."""
        return self._eliminated().met

    def _eliminated(self) -> _Eliminated:
        right = [self.states.gradient[:, :, None], *([] if self._ties is None else [self._ties.columns])]
        solved = self.states.solve_for(np.concatenate([self.across[:, :, None], *right], axis=2))
        pull, free = solved[:, :, 0], solved[:, :, 1:]
        variance = 1.0 / (self.information - float(np.sum(self.across * pull)))
        shared = -variance * np.einsum("ni,nik->k", self.across, free)
        shared[0] += variance * self.gradient
        free = free - pull[:, :, None] * shared
        alone = _Eliminated(free[:, :, 0], float(shared[0]), pull, variance, free[:, :, 1:], shared[1:], None)
        return alone if self._ties is None else alone.tied(self._ties)

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


@dataclass(frozen=True, eq=False)
class _Eliminated:
    """Steps (N, 7) and that of the shared unknown, which pulls the states by (N, 7) and has a variance.

    ``tie_pulls`` (N, 7, K) and ``shared_tie_pulls`` (K,) solve the equations for the columns of ties; ``met`` is how
    these met the rest before they were joined to it.
    """

    steps: Array
    shared_step: float
    pull: Array
    variance: float
    tie_pulls: Array
    shared_tie_pulls: Array
    met: Innovations | None

    def tied(self, ties: Ties) -> _Eliminated:
        """With the ties joined."""
        met = ties.meet(self.steps, self.tie_pulls)
        steps = self.steps + self.tie_pulls @ met.weights
        return replace(
            self, steps=steps, shared_step=self.shared_step + float(self.shared_tie_pulls @ met.weights), met=met
        )
