"""Least squares over a chain of states with anchors, followed map points and sensors: robust, in linear time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import TrackedPose
from visloc_ros.fusion.bordered import Bordered
from visloc_ros.fusion.chain import Chain
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import OdometryModel, StateEstimate
from visloc_ros.fusion.factors import Factors
from visloc_ros.fusion.followed import Followed
from visloc_ros.fusion.noise_levels import Evidence, NoiseLevels
from visloc_ros.fusion.sensor_factors import Sensor
from visloc_ros.fusion.smoother import FREE_SCALE_SIGMA, LEAST_GAIN_SIGMA
from visloc_ros.fusion.states import States
from visloc_ros.fusion.window import Anchors, Fix, inverse, student_weights

ROUNDS = 10  # of judging the anchors and their covariances anew
STEPS = 15  # to converge in each
CONVERGED = 1e-5  # of the error vector: map units, radians, log scale
LONGEST_FOLLOWING = 60  # states between an anchor and a pose from the points that it saw


class ChainSmoother:
    """Estimates all states of a chain; ``trusted`` (M,) tells which of the anchors to begin with."""

    def __init__(
        self,
        config: FusionConfig,
        chain: Chain,
        fixes: Sequence[Fix],
        trusted: NDArray[np.bool_],
        states: States,
        tracked: Sequence[TrackedPose] = (),
        sensors: Sequence[Sensor] = (),
    ) -> None:
        self.chain, self._config, self._fixes, self._sensors = chain, config, fixes, sensors
        self._tracked, self._anchors = tracked, Anchors.of(fixes)
        index = chain.index_of()
        self._at = np.array([index[fix.stamp_ns] for fix in fixes], dtype=np.intp)
        self._trusted, self._states, self._gain = trusted, states, 0.0
        self._noise = NoiseLevels()
        self._solve()

    @property
    def anchor_stamps_ns(self) -> frozenset[int]:
        """Stamps of the anchors that are believed."""
        return frozenset(fix.stamp_ns for fix in self._believed())

    @property
    def odometry(self) -> OdometryModel:
        """How this recording's odometry behaves; what it misjudges of all turns alike is estimated."""
        return OdometryModel(replace(self._noise.drifting(self._config.drift), turning=0.0), self._gain)

    def estimate(self, index: int) -> StateEstimate:
        """State and covariance at one of the chain's samples, the error that all anchors there share included."""
        return StateEstimate(self._states[index], self._covariances[index])

    def _solve(self) -> None:
        for _ in range(ROUNDS):
            self._followed = Followed.of(self._tracked, self.chain, self._believed(), self._config.tracking)
            self._converge()
            trusted, noise = self._judge(), self._levels()
            settled = noise.is_close(self._noise) and np.array_equal(trusted, self._trusted)
            self._trusted, self._noise = trusted, noise
            if settled:
                break
        self._covariances = self._solution.covariances.copy()
        self._covariances[:, :6, :6] += self._common() + self._jumps()

    def _believed(self) -> list[Fix]:
        return [fix for fix, good in zip(self._fixes, self._trusted, strict=True) if good]

    def _converge(self) -> None:
        begin, common = self._states, self._common()
        for _ in range(STEPS):
            equations = self._equations(begin, common)
            steps, shared_step = equations.step()
            self._states = self._states.plus(steps)
            self._gain += shared_step
            if float(np.abs(steps).max()) < CONVERGED:
                break
        self._solution = equations.solve()

    def _equations(self, begin: States, common: Array) -> Bordered:
        ahead, states = self._followed.ahead, self._states
        equations = Bordered(len(states), reach=int(ahead.max(initial=1)))
        equations.add(self._anchor_factors())
        equations.add(self._odometry_factors(common), self.chain.legs.tangents(states))
        equations.add(self._followed_factors(), ahead=ahead)
        equations.add(self._scale_priors(begin))
        for sensor in self._sensors:
            equations.add(sensor.linearise(states, self.chain.samples))
        held = 1.0 / max(self._config.drift.turning, LEAST_GAIN_SIGMA) ** 2
        equations.information += held
        equations.gradient -= held * self._gain
        return equations

    def _common(self) -> Array:
        """Covariances (N, 6, 6) of the error that the anchors around each state share."""
        at, good = self._at[self._trusted], self._anchors
        claimed, of_map = good.covariances[self._trusted], good.map_covariances[self._trusted]
        middles = (at[:-1] + at[1:]) / 2.0
        nearest = np.searchsorted(middles, np.arange(len(self._states)))
        return np.asarray((self._noise.common.inflate(claimed) + of_map)[nearest])

    def _odometry_factors(self, common: Array) -> Factors:
        changes = self.chain.legs.changes(self._states, self._config)[:, None, None] * (common[:-1] + common[1:])
        return self.chain.linearise(self._states, self.odometry, changes)

    def _jumps(self) -> Array:
        """Covariances (N, 6, 6) of states around a leg that is broken: nobody saw when between the anchors it broke."""
        factors, at = self._odometry_factors(self._common()), np.sort(self._at[self._trusted])
        covariances = np.zeros((len(self._states), 6, 6))
        for leg in np.flatnonzero(self.chain.is_broken(factors)):
            begin, end = np.searchsorted(at, leg, side="right"), np.searchsorted(at, leg + 1)
            around = slice(at[begin - 1] + 1 if begin else 0, at[end] if end < len(at) else len(self._states))
            covariances[around] += np.outer(factors.residuals[leg, :6], factors.residuals[leg, :6])
        return covariances

    def _followed_factors(self) -> Factors:
        return self._followed.linearise(self._states, self._noise.tracked, self._config.anchor_noise.tail)

    def _anchor_errors(self) -> Array:
        """Errors (M, 6) that take the states to the anchors."""
        at, states = self._at, self._states
        return self._anchors.minus(States(states.positions[at], states.rotations[at], states.log_scales[at]))

    def _anchor_factors(self) -> Factors:
        errors, good = self._anchor_errors(), self._trusted
        information = inverse(self._noise.scatter.inflate(self._anchors.covariances))
        information *= student_weights(errors, information, self._config.anchor_noise.tail)[:, None, None]
        jacobians = np.broadcast_to(np.eye(6, 7), (int(good.sum()), 6, 7))
        return Factors(self._at[good], errors[good], jacobians, information[good])

    def _scale_priors(self, begin: States) -> Factors:
        """What is known of the scale at the beginning of each segment: next to nothing."""
        first = self.chain.begins_of_segments()
        residuals = (begin.log_scales - self._states.log_scales)[first, None]
        jacobians = np.zeros((len(first), 1, 7))
        jacobians[:, 0, 6] = 1.0
        return Factors(first, residuals, jacobians, np.full((len(first), 1, 1), FREE_SCALE_SIGMA**-2))

    def _judge(self) -> NDArray[np.bool_]:
        """Which anchors fit the present estimate as well as their covariances and the gate's slack allow."""
        tolerance, good = self._config.alignment, self._trusted
        slack = np.repeat([tolerance.position_tolerance**2, np.deg2rad(tolerance.rotation_tolerance_deg) ** 2], 3)
        expected = self._noise.scatter.inflate(self._anchors.covariances) + np.diag(slack)
        expected[~good] += self._solution.covariances[self._at[~good], :6, :6]
        errors = self._anchor_errors()
        squared = np.einsum("ni,nij,nj->n", errors, inverse(expected), errors)
        fits: NDArray[np.bool_] = squared <= chi_square_quantile(self._config.gate.probability, 6)
        segments = np.array([fix.sample.segment for fix in self._fixes])
        held = np.isin(segments, segments[fits])  # a segment without any anchor would float
        return np.where(held, fits, good)

    def _levels(self) -> NoiseLevels:
        """What residuals show of the errors of anchors, odometry and followed points."""
        noise, drift, found, good = self._config.anchor_noise, self._config.drift, self._solution, self._trusted
        inflated = self._noise.scatter.inflate(self._anchors.covariances[good])
        errors = self._anchor_errors()[good]
        weights = student_weights(errors, inverse(inflated), noise.tail)
        seen = Evidence(errors, inflated, found.covariances[self._at[good]], weights)
        odometry = self._odometry_factors(self._common()).at(~self.chain.is_gap)
        moved = found.evidence_of(odometry, self.chain.legs.tangents(self._states)[~self.chain.is_gap])
        followed = found.evidence_of(self._followed_factors(), ahead=self._followed.ahead)
        return NoiseLevels(
            self._noise.scatter.learnt(seen, noise.prior_weight, noise.max_inflation),
            self._noise.drift.learnt(moved, drift.prior_weight, drift.max_inflation),
            self._noise.tracked.learnt(followed, drift.prior_weight, drift.max_inflation),
        )
