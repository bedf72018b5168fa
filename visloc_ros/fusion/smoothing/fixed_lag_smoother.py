"""Fixed-lag smoother: the last anchors, joined by odometry, solved together with a slowly varying scale.

Each anchor in the window is a state of a ``problem``, and so is either end of a loop that odometry closed since the
oldest of them, with a prior in place of what lies before the window: its exact Gaussian marginal, which keeps the scale
known while the camera stands still. Compared with one similarity over a window (``alignment``, used to start), it bends
along the path as drifting odometry does (SPEC H-52). The error that the anchors of a place share is added to every
answer, so that no number of them makes the pose surer than the map is.
Linear in the length of the window: a few milliseconds an anchor for a window of 20.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import LoopClosure
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate, transition_matrix
from visloc_ros.fusion.smoothing.arrowhead import Solution
from visloc_ros.fusion.smoothing.factor_graph import FREE_SCALE_SIGMA, Prior, Problem, odometry_model
from visloc_ros.fusion.smoothing.factors.anchor import Anchors
from visloc_ros.fusion.smoothing.factors.loop import Loops
from visloc_ros.fusion.smoothing.factors.relative_motion import Legs
from visloc_ros.fusion.smoothing.factors.sensors import Sensor, held_by_sensors, telling
from visloc_ros.fusion.smoothing.factors.tracked_motion import Followed, Motion
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import CAUTIOUS, NoiseLevels

MAX_ITERATIONS = 10
MAX_LOOPS = 20
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
        self._samples = [fix.sample for fix in self._fixes]  # where there are states
        self._loops: list[LoopClosure] = []
        self._states = States.from_similarity(map_from_odom, self._samples)
        self._gain = 0.0
        self._prior = Prior.of_nothing(self._states, scale_sigma, config.drift)
        self._has_past = False
        self._noise = NoiseLevels()
        self._odometry = odometry_model(config.drift, self._noise, self._gain)
        self._solution: Solution
        self._common_errors: Array
        self._solve()

    @property
    def latest_fix(self) -> Fix:
        """The anchor with the newest image."""
        return self._fixes[-1]

    @property
    def latest_state(self) -> CameraState:
        """The estimate at the newest state; its scale is the one to use from now on."""
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

    def reaches_back_to(self, stamp_ns: int) -> bool:
        """Tell whether a stamp is within the window: not older than its first anchor."""
        return stamp_ns >= self._fixes[0].stamp_ns

    def is_followed(self, stamp_ns: int, within_ns: int) -> bool:
        """Tell whether points of the map were followed into a frame, or into one so shortly before it."""
        newest = (fix.trail.newest_ns for fix in self._fixes)
        return any(known_ns is not None and stamp_ns - known_ns <= within_ns for known_ns in newest)

    def insert(self, fix: Fix) -> None:
        """Add an anchor, however late, and solve again; the oldest leaves a full window."""
        self._add_states([fix.sample])
        self._fixes.insert(bisect(self._fixes, fix.stamp_ns, key=lambda known: known.stamp_ns), fix)
        self._solve()
        if len(self._fixes) > self._config.window:
            self._marginalise_oldest()

    def close(self, loop: LoopClosure, ends: Sequence[Sample]) -> float | None:
        """Tie the odometry at both ends of a loop; None, or its squared error where that is beyond the gate."""
        before = self._samples, self._states
        self._add_states(ends)
        squared = self._innovation_squared(loop)
        if squared > chi_square_quantile(self._config.gate.probability, 7):
            self._samples, self._states = before
            return squared
        self._loops.append(loop)
        self._solve()
        self._keep_loops(self._loops[-MAX_LOOPS:])
        return None

    def at(self, sample: Sample) -> StateEstimate:
        """Estimate at any odometry sample of the segment, the error that all anchors there share included."""
        apparent, index = self._carried(sample)
        start = self._samples[index]
        if sample.stamp_ns > start.stamp_ns:
            apparent = held_by_sensors(self._estimate(index), apparent, (start, sample), self._sensors)
        covariance = apparent.covariance.copy()
        covariance[:6, :6] += self._common_errors[index]
        return StateEstimate(apparent.state, covariance)

    def path_since_anchor(self, sample: Sample) -> float:
        """Way from the newest anchor to a sample, in odometry's units; what a loop leads around brought no drift."""
        ways = [(self.latest_fix.sample.path, 0.0)]

        def shortest(path: float) -> float:
            return min(way + abs(path - known) for known, way in ways)

        for loop in sorted(self._loops, key=lambda loop: loop.later_ns):
            earlier, later = (self._samples[self._index(stamp_ns)] for stamp_ns in (loop.earlier_ns, loop.later_ns))
            ways.append((later.path, min(shortest(earlier.path), shortest(later.path))))
        return shortest(sample.path)

    def scale_at(self, fix: Fix) -> StateEstimate:
        """The scale known at an anchor, with the camera there as the origin."""
        index = self._index(fix.stamp_ns)
        covariance = np.zeros((7, 7))
        covariance[6, 6] = self._solution.covariances[index, 6, 6]
        return StateEstimate(CameraState(SE3.identity(), float(self._states.log_scales[index])), covariance)

    def _carried(self, sample: Sample) -> tuple[StateEstimate, int]:
        """Estimate where the anchors put the camera, from the nearest or along followed points, and that anchor."""
        nearest = min(range(len(self._samples)), key=lambda i: abs(self._samples[i].stamp_ns - sample.stamp_ns))
        best, from_index = self._moved(nearest, sample), nearest
        fixes = self.fix_at(self._samples[nearest].stamp_ns), self._followed_until(sample.stamp_ns)
        for fix in dict.fromkeys(fix for fix in fixes if fix is not None):
            index = self._index(fix.stamp_ns)
            other = fix.trail.carry(self._estimate(index), sample, self.odometry)
            if other is not None and np.trace(other.covariance[:3, :3]) < np.trace(best.covariance[:3, :3]):
                best, from_index = other, index
        return best, from_index

    def _followed_until(self, stamp_ns: int) -> Fix | None:
        """The newest anchor, not newer than a stamp, whose points were followed."""
        return next((fix for fix in reversed(self._fixes) if fix.trail and fix.stamp_ns <= stamp_ns), None)

    def _index(self, stamp_ns: int) -> int:
        """Which state is the first that is not older than a stamp."""
        return bisect_left(self._samples, stamp_ns, key=lambda known: known.stamp_ns)

    def _add_states(self, samples: Sequence[Sample]) -> None:
        """Begin states at samples where there are none yet."""
        known = {sample.stamp_ns for sample in self._samples}
        for sample, state in [(one, self.at(one).state) for one in samples if one.stamp_ns not in known]:
            index = self._index(sample.stamp_ns)
            self._states = self._states.inserted(index, state)
            self._samples = [*self._samples[:index], sample, *self._samples[index:]]

    def _keep_loops(self, loops: Sequence[LoopClosure]) -> None:
        """Forget all other loops, and the states that were only for them."""
        used = {stamp_ns for loop in loops for stamp_ns in (loop.earlier_ns, loop.later_ns)}
        used |= {fix.stamp_ns for fix in self._fixes}
        kept = np.array([sample.stamp_ns in used for sample in self._samples])
        self._loops = list(loops)
        self._samples = [sample for sample in self._samples if sample.stamp_ns in used]
        self._states, self._solution = self._states.only(kept), self._solution.only(kept)
        self._common_errors = self._common_errors[kept]

    def _estimate(self, index: int) -> StateEstimate:
        return StateEstimate(self._states[index], self._solution.covariances[index])

    def _moved(self, index: int, sample: Sample) -> StateEstimate:
        """Estimate at an anchor carried along odometry, less certain also by what the turn gain is not known to."""
        leg, start = self._samples[index].leg_to(sample), self._estimate(index)
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
        problem, self._noise = self._problem(self._samples, self._loops), CAUTIOUS
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
        self._common_errors = problem.anchors.common_errors(len(self._samples), self._noise.common)

    def _innovation_squared(self, loop: LoopClosure) -> float:
        """Error of one more loop between states over what is tolerated, chi-square of 7 degrees of freedom."""
        problem = self._problem(self._samples, [*self._loops, loop])
        linearised = problem.linearise(self._states, self._gain, self._noise)
        if problem.loops is not None:
            linearised = replace(linearised, loops=problem.loops.linearise(self._states))  # none is trusted less
        equations = linearised.equations()
        self._prior.add_to(equations, self._states, self._gain)
        met = equations.meet_ties()
        return np.inf if met is None else met.squared(len(self._loops), self._config.tracking.drift_slack)

    def _problem(self, samples: Sequence[Sample], loops: Sequence[LoopClosure]) -> Problem:
        """What is known of the oldest states, or of all of them."""
        index = {sample.stamp_ns: row for row, sample in enumerate(samples)}
        fixes = [fix for fix in self._fixes if fix.stamp_ns in index]
        return Problem(
            self._config,
            samples,
            Legs.between(samples),
            Anchors.of(fixes, np.array([index[fix.stamp_ns] for fix in fixes])),
            Followed.of(self._followed_between(fixes, index)),
            telling(self._sensors, samples),
            Loops.of(loops, index),
        )

    def _followed_between(self, fixes: Sequence[Fix], index: Mapping[int, int]) -> list[Motion]:
        """Motion of followed points from anchors to the next ones; odometry carries it over a short rest of the way."""
        motions = []
        for fix, following in pairwise(fixes):
            first, second = index[fix.stamp_ns], index[following.stamp_ns]
            log_scale = float(self._states.log_scales[first])
            seen = fix.trail.motion_to(following.sample, log_scale, self._config.max_gap_s, self._odometry)
            if seen is not None:
                motions.append(Motion(first, second, seen.anchor_from_camera, seen.covariance))
        return motions

    def _marginalise_oldest(self) -> None:
        """Fold the oldest anchor, its odometry and its prior into a prior of the next; loops from before that end."""
        later = [fix for fix in self._fixes if fix.stamp_ns > self._samples[0].stamp_ns]
        self._keep_loops([loop for loop in self._loops if loop.earlier_ns >= later[0].stamp_ns])
        ending = self._problem(self._samples[:2], ()).linearise(self._states.head(2), self._gain, self._noise)
        equations = ending.of_first_state().equations()
        self._prior.add_to(equations, self._states, self._gain)
        information, gradient = equations.without_first()
        rest = np.arange(len(self._samples)) > 0
        self._states, self._solution = self._states.only(rest), self._solution.only(rest)
        self._prior = Prior(self._states.head(1), self._gain, information, gradient)
        self._common_errors = self._common_errors[rest]
        self._has_past = True
        self._fixes, self._samples = later, self._samples[1:]
