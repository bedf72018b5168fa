"""Fixed-lag smoother: the last anchors, joined by odometry, solved together with a slowly varying scale.

Unknown at each anchor's image: ``map_from_camera`` and the log of the odometry's scale. Factors: each anchor with
its own covariance; the odometry between neighbours with the drift of ``drift``; for what lies before the window the
exact Gaussian marginal, which keeps the scale known while the camera stands still. Only *relative* odometry enters,
so neither the order in which late anchors arrive nor the odometry's origin matters (SPEC H-61). Compared with one
similarity over a window (``alignment``, used to start), it bends along the path as drifting odometry does (H-52).

Two things make the answer robust and honest. Student-t weights soften anchors that passed the gate but do not fit.
And the residuals tell how far the anchors' claims are off (variance components, positions and rotations apart): a
pose solver does not know the errors of the map. The drift is not estimated alongside: where anchors promise too much,
residuals cannot tell the two apart, and a drift that takes the blame makes the estimate follow every anchor.
The normal equations are dense with 7 x window unknowns: a few milliseconds for 20 anchors.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import CameraState, StateEstimate
from visloc_ros.fusion.history import Sample
from visloc_ros.fusion.window import Anchors, Fix, Legs, States

MAX_ITERATIONS = 10
CONVERGED = 1e-5  # of the error vector: map units, radians, log scale
FREE_SCALE_SIGMA = 2.0  # of the log scale before anything is known: a factor of seven either way


@dataclass(frozen=True, eq=False)
class _Prior:
    """Quadratic of the first state's error: information (7, 7) and gradient (7,) at states of length one."""

    at: States
    information: Array
    gradient: Array

    def seen_from(self, first: States) -> tuple[Array, Array]:
        """Information and gradient at another linearisation point."""
        return self.information, self.gradient - self.information @ first.minus(self.at)[0]


@dataclass(frozen=True)
class AnchorInflation:
    """Factors by which residuals exceed the variances that anchors claim: of positions, of rotations."""

    position: float = 1.0
    rotation: float = 1.0

    def inflate(self, covariances: Array) -> Array:
        """Anchor covariances (..., 6, 6) as residuals have shown them to be."""
        factors = np.sqrt(np.repeat([self.position, self.rotation], 3))
        return np.asarray(covariances * np.outer(factors, factors))

    def is_close(self, other: AnchorInflation) -> bool:
        """Tell whether re-estimating has settled."""
        return bool(np.allclose((self.position, self.rotation), (other.position, other.rotation), rtol=1e-2))


class FixedLagSmoother:
    """Estimates the camera at the last anchors; made from two or more anchors that agree on a similarity."""

    def __init__(
        self, config: FusionConfig, fixes: Sequence[Fix], map_from_odom: Sim3, scale_sigma: float = FREE_SCALE_SIGMA
    ) -> None:
        self._config = config
        self._fixes = sorted(fixes, key=lambda fix: fix.stamp_ns)
        self._states = States.from_similarity(map_from_odom, self._fixes)
        self._prior = _scale_prior(self._states, scale_sigma)
        self._has_past = False
        self._inflation = AnchorInflation()
        self._solve()

    @property
    def latest_fix(self) -> Fix:
        """The anchor with the newest image."""
        return self._fixes[-1]

    @property
    def latest_state(self) -> CameraState:
        """The estimate at that image; its scale is the one to use from now on."""
        return self._states[len(self._states) - 1]

    @property
    def anchor_inflation(self) -> AnchorInflation:
        """How the anchors compare with what they claim."""
        return self._inflation

    def count_since(self, stamp_ns: int) -> int:
        """How many anchors in the window are not older than a stamp."""
        return sum(fix.stamp_ns >= stamp_ns for fix in self._fixes)

    def reaches(self, stamp_ns: int) -> bool:
        """Tell whether an anchor of this stamp still fits into the window."""
        return not self._has_past or stamp_ns >= self._fixes[0].stamp_ns

    def insert(self, fix: Fix) -> None:
        """Add an anchor, however late, and solve again; the oldest leaves a full window."""
        index = bisect(self._fixes, fix.stamp_ns, key=lambda known: known.stamp_ns)
        self._states = self._states.inserted(index, self.at(fix.sample).state)
        self._fixes.insert(index, fix)
        self._solve()
        if len(self._fixes) > self._config.window:
            self._marginalise_oldest()

    def at(self, sample: Sample) -> StateEstimate:
        """Estimate at any odometry sample of the segment, carried from the nearest anchor."""
        index = min(range(len(self._fixes)), key=lambda i: abs(self._fixes[i].stamp_ns - sample.stamp_ns))
        nearest = StateEstimate(self._states[index], self._blocks()[index])
        leg = self._fixes[index].sample.leg_to(sample)
        return nearest.moved(leg, self._config.drift)

    def _solve(self) -> None:
        anchors, legs = Anchors.of(self._fixes), Legs.of(self._fixes)
        for _ in range(MAX_ITERATIONS):
            weights = self._weights(anchors)
            information, gradient = self._normal_equations(anchors, legs, weights)
            self._covariance = np.asarray(cho_solve(cho_factor(information), np.eye(len(information))))
            step = self._covariance @ gradient
            self._states = self._states.plus(step.reshape(-1, 7))
            inflation = self._estimate_inflation(anchors, weights)
            settled = inflation.is_close(self._inflation)
            self._inflation = inflation
            if settled and float(np.abs(step).max()) < CONVERGED:
                break

    def _blocks(self) -> Array:
        """Covariance of each state (N, 7, 7)."""
        count = len(self._states)
        return np.asarray(np.einsum("iaib->iab", self._covariance.reshape(count, 7, count, 7)))

    def _weights(self, anchors: Anchors) -> Array:
        """Student-t weight (N,) of each anchor: near 1 where it fits."""
        tail = self._config.anchor_noise.tail
        residuals = anchors.minus(self._states)
        whitened = np.linalg.solve(self._inflation.inflate(anchors.covariances), residuals[..., None])[..., 0]
        return np.asarray((tail + 6.0) / (tail + np.sum(residuals * whitened, axis=1)))

    def _normal_equations(self, anchors: Anchors, legs: Legs, weights: Array) -> tuple[Array, Array]:
        count = len(self._states)
        every, starts = np.arange(count), np.arange(count - 1)
        information, gradient = np.zeros((count, 7, count, 7)), np.zeros((count, 7))
        anchor_information, anchor_gradient = self._anchor_factors(anchors, weights)
        information[every, :6, every, :6] = anchor_information
        gradient[:, :6] = anchor_gradient
        both, start, end, leg_gradient = self._odometry_factors(legs)
        information[starts, :, starts, :] += start
        information[starts + 1, :, starts + 1, :] += end
        information[starts, :, starts + 1, :] = both
        information[starts + 1, :, starts, :] = np.swapaxes(both, 1, 2)
        gradient[:-1] += leg_gradient[:, :7]
        gradient[1:] += leg_gradient[:, 7:]
        prior_information, prior_gradient = self._prior.seen_from(self._states.first())
        information[0, :, 0, :] += prior_information
        gradient[0] += prior_gradient
        return information.reshape(7 * count, 7 * count), gradient.reshape(-1)

    def _anchor_factors(self, anchors: Anchors, weights: Array) -> tuple[Array, Array]:
        """Information (N, 6, 6) and gradient (N, 6) of each anchor."""
        information: Array = weights[:, None, None] * _inverse(self._inflation.inflate(anchors.covariances))
        return information, np.einsum("nij,nj->ni", information, anchors.minus(self._states))

    def _odometry_factors(self, legs: Legs) -> tuple[Array, Array, Array, Array]:
        """Of each leg: information (N - 1, 7, 7) across, of its start, of its end; gradient (N - 1, 14)."""
        residuals, transitions, drifts = legs.linearise(self._states, self._config.drift)
        end = _inverse(drifts)
        back = np.swapaxes(transitions, 1, 2)
        both: Array = -back @ end
        pull = np.einsum("nij,nj->ni", end, residuals)
        gradient = np.hstack([np.einsum("nij,nj->ni", back, pull), -pull])
        return both, -both @ transitions, end, gradient

    def _estimate_inflation(self, anchors: Anchors, weights: Array) -> AnchorInflation:
        """Variance components: squared residuals over what is left of the measurements after the estimate."""
        noise, residuals, blocks = self._config.anchor_noise, anchors.minus(self._states), self._blocks()
        factors = []
        for part, factor in ((slice(0, 3), self._inflation.position), (slice(3, 6), self._inflation.rotation)):
            inverses: Array = weights[:, None, None] * _inverse(anchors.covariances[:, part, part])
            squares = float(np.einsum("ni,nij,nj->", residuals[:, part], inverses, residuals[:, part]))
            explained = float(np.einsum("nij,nji->", inverses, blocks[:, part, part])) / factor
            redundancy = max(3.0 * len(weights) - explained, 0.0)
            ratio = (noise.prior_weight + squares) / (noise.prior_weight + redundancy)
            factors.append(float(np.clip(ratio, 1.0, noise.max_inflation)))
        return AnchorInflation(*factors)

    def _marginalise_oldest(self) -> None:
        """Fold the oldest anchor, its odometry and its prior into a prior of the next."""
        anchors, legs = Anchors.of(self._fixes), Legs.of(self._fixes)
        information, gradient = self._normal_equations(anchors, legs, self._weights(anchors))
        _, _, ends, leg_gradients = self._odometry_factors(legs)
        across = information[:7, 7:14]
        carried = np.linalg.solve(information[:7, :7], np.column_stack([across, gradient[:7]]))
        remaining = ends[0] - across.T @ carried[:, :7]
        offset = leg_gradients[0, 7:] - across.T @ carried[:, 7]
        self._states = self._states.without_first()
        self._covariance = self._covariance[7:, 7:]
        self._prior = _Prior(self._states.first(), (remaining + remaining.T) / 2.0, offset)
        self._has_past = True
        del self._fixes[0]


def _scale_prior(states: States, sigma: float) -> _Prior:
    information = np.zeros((7, 7))
    information[6, 6] = 1.0 / sigma**2
    return _Prior(states.first(), information, np.zeros(7))


def _inverse(matrices: Array) -> Array:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
