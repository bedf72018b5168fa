"""Fixed-lag smoother: the last anchors, joined by odometry, solved together with a slowly varying scale.

Unknown at each anchor's image: ``map_from_camera`` and the log of the odometry's scale; and once for all of them the
turn gain, the share of all turns that odometry misjudges. Factors: each anchor with its own covariance; between
neighbours the odometry with its drift, and the motion that followed map points saw; what other sensors say; for what
lies before the window the exact Gaussian marginal, which keeps the scale known while the camera stands still. Only
*relative* odometry enters, so neither the order in which late anchors arrive nor the odometry's origin matters (SPEC
H-61). Compared with one similarity over a window (``alignment``, used to start), it bends along the path as drifting
odometry does (H-52).

The states are where anchors *put* the camera: true pose plus the error that the anchors of one place share
(``noise_levels``). That error may change between neighbours, which loosens the odometry between them, and it is added
to every answer, so that no number of anchors makes the pose surer than the map is. Two things more make the answer
robust and honest. Student-t weights soften what passed the gate but does not fit. And the residuals tell how far the
claims of anchors, of odometry and of followed points are off. Linear in the length of the window: about a millisecond
an iteration for 20 anchors.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.fusion.bordered import Bordered
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import CameraState, OdometryModel, StateEstimate, transition_matrix
from visloc_ros.fusion.factors import Factors
from visloc_ros.fusion.history import Sample
from visloc_ros.fusion.noise_levels import Evidence, NoiseLevels
from visloc_ros.fusion.sensor_factors import Sensor, held_by_sensors
from visloc_ros.fusion.states import States
from visloc_ros.fusion.window import Anchors, Fix, Legs, TrackedLegs, inverse, student_weights

MAX_ITERATIONS = 10
CONVERGED = 1e-5  # of the error vector: map units, radians, log scale
LEAST_GAIN_SIGMA = 1e-6
FREE_SCALE_SIGMA = 2.0  # of the log scale before anything is known: a factor of seven either way


@dataclass(frozen=True, eq=False)
class _Prior:
    """Quadratic of the first state and the turn gain: information (8, 8) and gradient (8,) at states of length one."""

    at: States
    gain: float
    information: Array
    gradient: Array

    def add_to(self, equations: Bordered, first: States, gain: float) -> None:
        """Add it to equations linearised at another point."""
        error = np.append(first.minus(self.at)[0], gain - self.gain)
        equations.add_prior(self.information, self.gradient - self.information @ error)


@dataclass(frozen=True, eq=False)
class _Window:
    """The anchors, what leads from each to the next, and the odometry at their images."""

    anchors: Anchors
    legs: Legs
    tracked: TrackedLegs
    samples: Sequence[Sample]


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Factors of each kind at one linearisation point; ``tangents`` (N - 1, 7) of the odometry by the turn gain."""

    weights: Array
    anchors: Factors
    odometry: Factors
    tangents: Array
    tracked: Factors
    sensors: Sequence[Factors]

    def of_first_state(self) -> _Evidence:
        """What touches the oldest state."""
        return _Evidence(
            self.weights[:1],
            self.anchors.of_first_state(),
            self.odometry.of_first_state(),
            self.tangents[:1],
            self.tracked.of_first_state(),
            [factors.of_first_state() for factors in self.sensors],
        )

    def equations(self, prior: _Prior, first: States, gain: float) -> Bordered:
        """All of it in one system, with what is known from before; two states where only the oldest matters."""
        equations = Bordered(int(self.odometry.first[-1]) + 2)
        for factors in (self.anchors, self.tracked, *self.sensors):
            equations.add(factors)
        equations.add(self.odometry, self.tangents)
        prior.add_to(equations, first, gain)
        return equations


class FixedLagSmoother:
    """Estimates the camera at the last anchors; made from two or more anchors that agree on a similarity."""

    def __init__(
        self,
        config: FusionConfig,
        fixes: Sequence[Fix],
        map_from_odom: Sim3,
        scale_sigma: float = FREE_SCALE_SIGMA,
        sensors: Sequence[Sensor] = (),
    ) -> None:
        self._config = config
        self._sensors = sensors
        self._fixes = sorted(fixes, key=lambda fix: fix.stamp_ns)
        self._states = States.from_similarity(map_from_odom, [fix.sample for fix in self._fixes])
        self._gain = 0.0
        self._prior = _first_prior(self._states, scale_sigma, config.drift.turning)
        self._has_past = False
        self._noise = NoiseLevels()
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
    def noise(self) -> NoiseLevels:
        """How large the errors of this run's anchors and odometry have turned out to be."""
        return self._noise

    @property
    def odometry(self) -> OdometryModel:
        """How this run's odometry behaves; what it misjudges of all turns alike is estimated."""
        return OdometryModel(replace(self._noise.drifting(self._config.drift), turning=0.0), self._gain)

    def fix_at(self, stamp_ns: int) -> Fix | None:
        """The anchor in the window whose image has this stamp."""
        return next((fix for fix in self._fixes if fix.stamp_ns == stamp_ns), None)

    def count_since(self, stamp_ns: int) -> int:
        """How many anchors in the window are not older than a stamp."""
        return sum(fix.stamp_ns >= stamp_ns for fix in self._fixes)

    @property
    def usual_inliers(self) -> float:
        """Median number of inliers of the anchors in the window."""
        return float(np.median([fix.anchor.num_inliers for fix in self._fixes]))

    def reaches(self, stamp_ns: int) -> bool:
        """Tell whether an anchor of this stamp still fits into the window."""
        return not self._has_past or stamp_ns >= self._fixes[0].stamp_ns

    def is_followed(self, stamp_ns: int, within_ns: int) -> bool:
        """Tell whether points of the map were followed into a frame, or into one so shortly before it."""
        newest = (fix.trail.newest_ns for fix in self._fixes)
        return any(known_ns is not None and stamp_ns - known_ns <= within_ns for known_ns in newest)

    def insert(self, fix: Fix) -> None:
        """Add an anchor, however late, and solve again; the oldest leaves a full window."""
        index = bisect(self._fixes, fix.stamp_ns, key=lambda known: known.stamp_ns)
        self._states = self._states.inserted(index, self.at(fix.sample).state)
        self._fixes.insert(index, fix)
        self._solve()
        if len(self._fixes) > self._config.window:
            self._marginalise_oldest()

    def at(self, sample: Sample) -> StateEstimate:
        """Estimate at any odometry sample of the segment, the error that all anchors there share included."""
        apparent, index = self._carried(sample)
        fix = self._fixes[index]
        if sample.stamp_ns > fix.stamp_ns:
            apparent = held_by_sensors(self._estimate(index), apparent, (fix.sample, sample), self._sensors)
        covariance = apparent.covariance.copy()
        covariance[:6, :6] += self._noise.common.inflate(fix.covariance) + fix.map_covariance
        return StateEstimate(apparent.state, covariance)

    def scale_at(self, fix: Fix) -> StateEstimate:
        """The scale known at an anchor, with the camera there as the origin."""
        index = self._fixes.index(fix)
        covariance = np.zeros((7, 7))
        covariance[6, 6] = self._solution.covariances[index, 6, 6]
        return StateEstimate(CameraState(SE3.identity(), float(self._states.log_scales[index])), covariance)

    def _carried(self, sample: Sample) -> tuple[StateEstimate, int]:
        """Estimate where the anchors put the camera, from the nearest or along followed points, and that anchor."""
        nearest = min(range(len(self._fixes)), key=lambda i: abs(self._fixes[i].stamp_ns - sample.stamp_ns))
        best, from_index = self._moved(nearest, sample), nearest
        for index in {nearest, self._followed_until(sample.stamp_ns)}:
            other = self._fixes[index].trail.carry(self._estimate(index), sample, self.odometry)
            if other is not None and np.trace(other.covariance[:3, :3]) < np.trace(best.covariance[:3, :3]):
                best, from_index = other, index
        return best, from_index

    def _followed_until(self, stamp_ns: int) -> int:
        """Index of the newest anchor, not newer than a stamp, whose points were followed."""
        indices = range(len(self._fixes))
        return max((i for i in indices if self._fixes[i].trail and self._fixes[i].stamp_ns <= stamp_ns), default=0)

    def _estimate(self, index: int) -> StateEstimate:
        return StateEstimate(self._states[index], self._solution.covariances[index])

    def _moved(self, index: int, sample: Sample) -> StateEstimate:
        """Estimate at an anchor carried along odometry, less certain also by what the turn gain is not known to."""
        leg, start = self._fixes[index].sample.leg_to(sample), self._estimate(index)
        moved = self.odometry.carry(start, leg)
        pose = start.state.map_from_camera
        motion = moved.state.map_from_camera.translation - pose.translation
        tangent = np.concatenate([start.state.scale * pose.rotation @ leg.swept, pose.rotation @ leg.turned, [0.0]])
        across = np.outer(transition_matrix(motion) @ self._solution.shared[index], tangent)
        misjudged = self._solution.variance * np.outer(tangent, tangent) + across + across.T
        return StateEstimate(moved.state, moved.covariance + misjudged)

    def _solve(self) -> None:
        window = self._window()
        for _ in range(MAX_ITERATIONS):
            evidence = self._linearise(window)
            self._step(evidence)
            noise = self._levels(window, evidence)
            settled = noise.is_close(self._noise)
            self._noise = noise
            if settled and float(np.abs(self._solution.steps).max()) < CONVERGED:
                break

    def _step(self, evidence: _Evidence) -> None:
        """Move the states to where the linearised evidence puts them."""
        self._solution = evidence.equations(self._prior, self._states.first(), self._gain).solve()
        self._states = self._states.plus(self._solution.steps)
        self._gain += self._solution.shared_step

    def _window(self) -> _Window:
        tracked = TrackedLegs.of(self._fixes, self._states, self._config.max_gap_s, self.odometry)
        return _Window(Anchors.of(self._fixes), Legs.of(self._fixes), tracked, [fix.sample for fix in self._fixes])

    def _linearise(self, window: _Window) -> _Evidence:
        """All that is known, at the present states; anchors and followed points that do not fit count less."""
        states, tail = self._states, self._config.anchor_noise.tail
        information = inverse(self._noise.scatter.inflate(window.anchors.covariances))
        weights = student_weights(window.anchors.minus(states), information, tail)
        return _Evidence(
            weights,
            window.anchors.linearise(states, weights[:, None, None] * information),
            self._odometry_factors(window),
            window.legs.tangents(states),
            window.tracked.linearise(states, self._noise.tracked, tail),
            [sensor.linearise(states, window.samples) for sensor in self._sensors],
        )

    def _odometry_factors(self, window: _Window) -> Factors:
        """Motion between neighbours: odometry with its drift, and with how the anchors' common error changes."""
        legs, anchors = window.legs, window.anchors
        residuals, transitions, drifts = legs.corrected(self._gain).linearise(self._states, self.odometry.drift)
        changes = legs.changes(self._states, self._config)
        common = self._noise.common.inflate(anchors.covariances) + anchors.map_covariances
        drifts[:, :6, :6] += changes[:, None, None] * (common[:-1] + common[1:])
        backward = np.broadcast_to(-np.eye(7), transitions.shape)
        return Factors(np.arange(len(residuals)), residuals, transitions, inverse(drifts), backward)

    def _levels(self, window: _Window, evidence: _Evidence) -> NoiseLevels:
        """What the residuals of each kind of evidence show of its errors."""
        noise, drift, found = self._config.anchor_noise, self._config.drift, self._solution
        claimed = self._noise.scatter.inflate(window.anchors.covariances)
        seen = Evidence(evidence.anchors.after(found.steps).residuals, claimed, found.covariances, evidence.weights)
        odometry = evidence.odometry.after(found.steps)
        turned = replace(odometry, residuals=odometry.residuals - found.shared_step * evidence.tangents)
        moved = found.evidence_of(turned, evidence.tangents)
        followed = found.evidence_of(evidence.tracked.after(found.steps))
        return NoiseLevels(
            self._noise.scatter.learnt(seen, noise.prior_weight, noise.max_inflation),
            self._noise.drift.learnt(moved, drift.prior_weight, drift.max_inflation),
            self._noise.tracked.learnt(followed, drift.prior_weight, drift.max_inflation),
        )

    def _marginalise_oldest(self) -> None:
        """Fold the oldest anchor, its odometry and its prior into a prior of the next."""
        ending = self._linearise(self._window()).of_first_state()
        equations = ending.equations(self._prior, self._states.first(), self._gain)
        information, gradient = equations.without_first()
        self._states = self._states.without_first()
        self._solution = self._solution.without_first()
        self._prior = _Prior(self._states.first(), self._gain, information, gradient)
        self._has_past = True
        del self._fixes[0]


def _first_prior(states: States, scale_sigma: float, gain_sigma: float) -> _Prior:
    """What is known before any anchor: hardly anything of the scale, how well turns are usually judged."""
    information = np.zeros((8, 8))
    information[6, 6], information[7, 7] = 1.0 / scale_sigma**2, 1.0 / max(gain_sigma, LEAST_GAIN_SIGMA) ** 2
    return _Prior(states.first(), 0.0, information, np.zeros(8))
