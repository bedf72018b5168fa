"""Fixed-lag smoother: the last anchors, joined by odometry, solved together with a slowly varying scale.

Each anchor in the window is a state of a ``problem``, with a prior in place of what lies before the window: its exact
Gaussian marginal, which keeps the scale known while the camera stands still. Compared with one similarity over a window
(``alignment``, used to start), it bends along the path as drifting odometry does (SPEC H-52). The error that the
anchors of a place share is added to every answer, so that no number of them makes the pose surer than the map is.
Linear in the length of the window: a few milliseconds an anchor for a window of 20.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import CameraState, OdometryModel, StateEstimate, transition_matrix
from visloc_ros.fusion.fixes import Anchors, Fix
from visloc_ros.fusion.followed import Followed, Motion
from visloc_ros.fusion.history import Sample
from visloc_ros.fusion.legs import Legs
from visloc_ros.fusion.noise_levels import CAUTIOUS, NoiseLevels
from visloc_ros.fusion.problem import FREE_SCALE_SIGMA, Prior, Problem, odometry_model
from visloc_ros.fusion.sensor_factors import Sensor, held_by_sensors, telling
from visloc_ros.fusion.states import States

MAX_ITERATIONS = 10
CONVERGED = 0.02  # of a standard deviation: what is left then is a small share of what is not known anyway


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
        self._prior = Prior.of_nothing(self._states, scale_sigma, config.drift)
        self._has_past = False
        self._noise = NoiseLevels()
        self._odometry = odometry_model(config.drift, self._noise, self._gain)
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
        return self._odometry

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
        covariance[:6, :6] += self._common_errors[index]
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
        motion = moved.state.map_from_camera.translation - start.state.map_from_camera.translation
        tangent = start.state.turn_tangent(leg)
        across = np.outer(transition_matrix(motion) @ self._solution.shared[index], tangent)
        misjudged = self._solution.variance * np.outer(tangent, tangent) + across + across.T
        return StateEstimate(moved.state, moved.covariance + misjudged)

    def _solve(self) -> None:
        """Step to where the linearised evidence puts the states, each time with what it tells of its own errors.

        That begins anew each time: two levels may explain the residuals, and which was known before must not matter.
        """
        problem, self._noise = self._problem(self._fixes), CAUTIOUS
        for _ in range(MAX_ITERATIONS):
            linearised = problem.linearise(self._states, self._gain, self._noise)
            equations = linearised.equations()
            self._prior.add_to(equations, self._states, self._gain)
            self._solution = equations.solve()
            self._states = self._states.plus(self._solution.steps)
            self._gain += self._solution.shared_step
            before, self._noise = self._noise, problem.levels(linearised, self._solution, self._noise)
            if self._solution.largest_step < CONVERGED and self._noise.is_close(before):
                break
        self._odometry = odometry_model(self._config.drift, self._noise, self._gain)
        self._common_errors = problem.anchors.common_errors(len(self._fixes), self._noise.common)

    def _problem(self, fixes: Sequence[Fix]) -> Problem:
        """What is known of the oldest anchors, or of all of them."""
        samples = [fix.sample for fix in fixes]
        return Problem(
            self._config,
            samples,
            Legs.between(samples),
            Anchors.of(fixes, np.arange(len(fixes))),
            Followed.of(self._followed_between(fixes)),
            telling(self._sensors, samples),
        )

    def _followed_between(self, fixes: Sequence[Fix]) -> list[Motion]:
        """Motion of followed points from anchors to the next ones; odometry carries it over a short rest of the way."""
        motions = []
        for index, (fix, following) in enumerate(pairwise(fixes)):
            log_scale = float(self._states.log_scales[index])
            seen = fix.trail.motion_to(following.sample, log_scale, self._config.max_gap_s, self._odometry)
            if seen is not None:
                motions.append(Motion(index, index + 1, seen.anchor_from_camera, seen.covariance))
        return motions

    def _marginalise_oldest(self) -> None:
        """Fold the oldest anchor, its odometry and its prior into a prior of the next."""
        ending = self._problem(self._fixes[:2]).linearise(self._states.head(2), self._gain, self._noise)
        equations = ending.of_first_state().equations()
        self._prior.add_to(equations, self._states, self._gain)
        information, gradient = equations.without_first()
        self._states = self._states.without_first()
        self._solution = self._solution.without_first()
        self._prior = Prior(self._states.head(1), self._gain, information, gradient)
        self._common_errors = self._common_errors[1:]
        self._has_past = True
        del self._fixes[0]
