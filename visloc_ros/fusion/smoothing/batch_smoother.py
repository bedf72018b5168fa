"""Least squares over a chain of states with anchors, followed map points and sensors: robust, in linear time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import LoopClosure, TrackedPose
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel, StateEstimate
from visloc_ros.fusion.smoothing.batch_states import Chain, followed_along
from visloc_ros.fusion.smoothing.factor_graph import FREE_SCALE_SIGMA, Linearised, Prior, Problem, odometry_model
from visloc_ros.fusion.smoothing.factors.anchor import Anchors
from visloc_ros.fusion.smoothing.factors.linear import Factors, inverse
from visloc_ros.fusion.smoothing.factors.loop import Loops
from visloc_ros.fusion.smoothing.factors.sensors import Sensor, telling
from visloc_ros.fusion.smoothing.factors.tracked_motion import Followed
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import NoiseLevels

ROUNDS = 10  # of judging the anchors and their covariances anew
STEPS = 15  # to converge in each
CONVERGED = 1e-5  # of the error vector: map units, radians, log scale
BROKEN = 0.05  # weight below which a step of odometry is no drift, but a jump
TAIL = 8.0  # degrees of freedom of the drift's Student t: a step that slipped counts less


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
        closures: Sequence[LoopClosure] = (),
    ) -> None:
        self.chain, self._config, self._fixes = chain, config, fixes
        self._sensors, self._tracked = telling(sensors, chain.samples), tracked
        index = chain.index_of()
        self._loops = Loops.of(closures, index)
        self._anchors = Anchors.of(fixes, np.array([index[fix.stamp_ns] for fix in fixes], dtype=np.intp))
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
        return odometry_model(self._config.drift, self._noise, self._gain)

    def estimate(self, index: int) -> StateEstimate:
        """State and covariance at one of the chain's samples, the error that all anchors there share included."""
        return StateEstimate(self._states[index], self._covariances[index])

    def _solve(self) -> None:
        for _ in range(ROUNDS):
            problem = self._problem()
            linearised = self._converge(problem)
            trusted, noise = self._judge(), problem.levels(linearised, self._solution, self._noise)
            settled = noise.is_close(self._noise) and np.array_equal(trusted, self._trusted)
            self._trusted, self._noise = trusted, noise
            if settled:
                break
        self._covariances = self._solution.covariances.copy()
        common = self._anchors.only(self._trusted).common_errors(len(self._states), self._noise.common)
        self._covariances[:, :6, :6] += common + self._jumps(problem)

    def _believed(self) -> list[Fix]:
        return [fix for fix, good in zip(self._fixes, self._trusted, strict=True) if good]

    def _problem(self) -> Problem:
        """What is known with the anchors that are believed now."""
        return Problem(
            self._config,
            self.chain.samples,
            self.chain.legs,
            self._anchors.only(self._trusted),
            Followed.of(followed_along(self.chain, self._tracked, self._believed(), self._config.tracking)),
            self._sensors,
            self._loops,
            leg_tail=TAIL,
        )

    def _converge(self, problem: Problem) -> Linearised:
        """Step until the states stay where they are; the last linearisation."""
        prior, scales = Prior.of_nothing(self._states, FREE_SCALE_SIGMA, self._config.drift), self._states.log_scales
        for _ in range(STEPS):
            linearised = problem.linearise(self._states, self._gain, self._noise)
            equations = linearised.equations()
            prior.add_to(equations, self._states, self._gain)
            equations.add(self._scale_priors(scales))
            steps, shared_step = equations.step()
            self._states = self._states.plus(steps)
            self._gain += shared_step
            if float(np.abs(steps).max()) < CONVERGED:
                break
        self._solution = equations.solve()
        return linearised

    def _scale_priors(self, scales: Array) -> Factors:
        """What is known of the log scale (N,) at the beginning of each segment but the first: next to nothing."""
        first = self.chain.begins_of_segments()[1:]
        jacobians = np.zeros((len(first), 1, 7))
        jacobians[:, 0, 6] = 1.0
        residuals = (scales - self._states.log_scales)[first, None]
        return Factors(first, residuals, jacobians, np.full((len(first), 1, 1), FREE_SCALE_SIGMA**-2))

    def _judge(self) -> NDArray[np.bool_]:
        """Which anchors fit the present estimate as well as their covariances and the gate's slack allow."""
        tolerance, good, at = self._config.alignment, self._trusted, self._anchors.at
        slack = np.repeat([tolerance.position_tolerance**2, np.deg2rad(tolerance.rotation_tolerance_deg) ** 2], 3)
        expected = self._noise.scatter.inflate(self._anchors.covariances) + np.diag(slack)
        expected[~good] += self._solution.covariances[at[~good], :6, :6]
        errors = self._anchors.minus(self._states)
        squared = np.einsum("ni,nij,nj->n", errors, inverse(expected), errors)
        fits: NDArray[np.bool_] = squared <= chi_square_quantile(self._config.gate.probability, 6)
        segments = np.array([fix.sample.segment for fix in self._fixes])
        held = np.isin(segments, segments[fits])  # a segment without any anchor would float
        return np.where(held, fits, good)

    def _jumps(self, problem: Problem) -> Array:
        """Covariances (N, 6, 6) of states around a leg that is broken: nobody saw when between the anchors it broke."""
        factors = problem.odometry_factors(self._states, self._gain, self._noise)
        at, covariances = problem.anchors.at, np.zeros((len(self._states), 6, 6))
        for leg in np.flatnonzero(_is_broken(factors) & ~problem.legs.is_gap):
            begin, end = np.searchsorted(at, leg, side="right"), np.searchsorted(at, leg + 1)
            around = slice(at[begin - 1] + 1 if begin else 0, at[end] if end < len(at) else len(self._states))
            covariances[around] += np.outer(factors.residuals[leg, :6], factors.residuals[leg, :6])
        return covariances


def _is_broken(odometry: Factors) -> NDArray[np.bool_]:
    """Which legs (N - 1,) odometry got altogether wrong, by their factors: the camera jumped unseen."""
    # Student's weight times the squared error it belongs to tells the weight.
    weighted = np.einsum("ni,nij,nj->n", odometry.residuals, odometry.information, odometry.residuals)
    return np.asarray((TAIL + odometry.residuals.shape[1] - weighted) / TAIL < BROKEN)
