"""Fixed-lag smoother: the last anchors, joined by odometry, estimated together with a slowly varying scale.

Each anchor in the window is a state of the ``factor_graph``, and so is either end of a loop within it. All before the
window is marginalised into a prior of the oldest state, which keeps the scale known while the camera stands still.
Unlike one similarity over the window (``sim3_alignment``, the first fix), the estimate bends along the path as drifting
odometry does. The common error of a place's anchors is added to every covariance, so that the pose never becomes more
certain than the map. The time is linear in the length of the window: a few milliseconds an
anchor for a window of 20.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import LoopClosure
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate, transition_matrix
from visloc_ros.fusion.smoothing.arrowhead import Solution
from visloc_ros.fusion.smoothing.factor_graph import FactorGraph, index_by_stamp
from visloc_ros.fusion.smoothing.factors.relative_motion import MotionMeasurement
from visloc_ros.fusion.smoothing.factors.sensors import SensorFactors, update_with_sensors
from visloc_ros.fusion.smoothing.states import FREE_SCALE_SIGMA, StatePrior, States
from visloc_ros.fusion.smoothing.tracked_motion_filter import propagate_step
from visloc_ros.fusion.smoothing.variance_components import CONSERVATIVE, VarianceComponents

MAX_ITERATIONS = 10
MAX_LOOPS = 20
CONVERGED = 0.02  # of a standard deviation


class FixedLagSmoother:
    """Estimates the camera at the last anchors; made from two or more anchors that agree on a similarity."""

    def __init__(
        self,
        config: FusionConfig,
        fixes: Sequence[AnchorFix],
        map_from_odom: Sim3,
        scale_sigma: float = FREE_SCALE_SIGMA,
        sensors: Sequence[SensorFactors] = (),
    ) -> None:
        self._config = config
        self._sensors = sensors
        self._fixes = sorted(fixes, key=lambda fix: fix.stamp_ns)
        self._samples = [fix.sample for fix in self._fixes]  # where there are states
        self._loops: list[LoopClosure] = []
        self._states = States.from_similarity(map_from_odom, self._samples)
        self._rotation_scale_error = 0.0
        one_segment = np.empty(0, dtype=np.intp)
        self._prior = StatePrior.weak(self._states, scale_sigma, config.odometry_noise, one_segment)
        self._has_past = False
        self._components = VarianceComponents()
        self._odometry = OdometryModel(replace(config.odometry_noise, rotation_scale_sigma=0.0), 0.0)
        self._solution: Solution
        self._common_covariances: Array
        self._solve()

    @property
    def latest_fix(self) -> AnchorFix:
        """The anchor with the newest image."""
        return self._fixes[-1]

    @property
    def latest_state(self) -> CameraState:
        """The estimate at the newest state; its scale is the one to use from now on."""
        return self._states[len(self._states) - 1]

    @property
    def variance_components(self) -> VarianceComponents:
        """The variance components of this run's anchors and odometry."""
        return self._components

    @property
    def odometry(self) -> OdometryModel:
        """The noise and the rotation scale error of this run's odometry."""
        return self._odometry

    def fix_at(self, stamp_ns: int) -> AnchorFix | None:
        """The anchor in the window whose image has this stamp."""
        return next((fix for fix in self._fixes if fix.stamp_ns == stamp_ns), None)

    def count_since(self, stamp_ns: int) -> int:
        """How many anchors in the window are not older than a stamp."""
        return sum(fix.stamp_ns >= stamp_ns for fix in self._fixes)

    def reaches(self, stamp_ns: int) -> bool:
        """Whether an anchor of this stamp still fits into the window."""
        return not self._has_past or stamp_ns >= self._fixes[0].stamp_ns

    def covers(self, stamp_ns: int) -> bool:
        """Whether a stamp is within the window: not older than its first anchor."""
        return stamp_ns >= self._fixes[0].stamp_ns

    def is_tracked(self, stamp_ns: int, within_ns: int) -> bool:
        """Whether map points were tracked into a frame, or into one at most this time before it."""
        newest = (fix.tracked_motion.newest_ns for fix in self._fixes)
        return any(known_ns is not None and stamp_ns - known_ns <= within_ns for known_ns in newest)

    def add_anchor(self, fix: AnchorFix) -> None:
        """Add an anchor, however late, and solve again; the oldest leaves a full window."""
        self._add_states([fix.sample])
        self._fixes.insert(bisect(self._fixes, fix.stamp_ns, key=lambda known: known.stamp_ns), fix)
        self._solve()
        if len(self._fixes) > self._config.window:
            self._marginalise_oldest()

    def add_loop(self, loop: LoopClosure, ends: Sequence[OdometrySample]) -> float | None:
        """Add a loop between two samples; None, or its normalised innovation squared where it fails the gate."""
        before = self._samples, self._states
        self._add_states(ends)
        squared = self._loop_innovation_squared(loop)
        if squared > chi_square_quantile(self._config.gate.probability, 7):
            self._samples, self._states = before
            return squared
        self._loops.append(loop)
        self._solve()
        self._keep_loops(self._loops[-MAX_LOOPS:])
        return None

    def at(self, sample: OdometrySample) -> StateEstimate:
        """Estimate at any odometry sample of the segment, the error that anchors have in common included."""
        apparent, index = self._best_prediction(sample)
        start = self._samples[index]
        if sample.stamp_ns > start.stamp_ns:
            apparent = update_with_sensors(self._estimate(index), apparent, (start, sample), self._sensors)
        covariance = apparent.covariance.copy()
        covariance[:6, :6] += self._common_covariances[index]
        return StateEstimate(apparent.state, covariance)

    def path_since_anchor(self, sample: OdometrySample) -> float:
        """Path length from the newest anchor to a sample, in odometry units; loops are shortcuts: they remove drift."""
        paths = [(self.latest_fix.sample.path, 0.0)]

        def shortest(path: float) -> float:
            return min(length + abs(path - known) for known, length in paths)

        for loop in sorted(self._loops, key=lambda loop: loop.later_ns):
            earlier, later = (self._samples[self._index(stamp_ns)] for stamp_ns in (loop.earlier_ns, loop.later_ns))
            paths.append((later.path, min(shortest(earlier.path), shortest(later.path))))
        return shortest(sample.path)

    def scale_at(self, fix: AnchorFix) -> StateEstimate:
        """The scale known at an anchor, with the camera there as the origin."""
        index = self._index(fix.stamp_ns)
        covariance = np.zeros((7, 7))
        covariance[6, 6] = self._solution.covariances[index, 6, 6]
        return StateEstimate(CameraState(SE3.identity(), float(self._states.log_scales[index])), covariance)

    def _best_prediction(self, sample: OdometrySample) -> tuple[StateEstimate, int]:
        """Estimate without the common error, by odometry or by tracked points; and from which state it starts."""
        nearest = min(range(len(self._samples)), key=lambda i: abs(self._samples[i].stamp_ns - sample.stamp_ns))
        best, from_index = self._predicted_past(self._followed_after(nearest, sample), nearest, sample), nearest
        fixes = self.fix_at(self._samples[nearest].stamp_ns), self._tracked_before(sample.stamp_ns)
        for fix in dict.fromkeys(fix for fix in fixes if fix is not None):
            index = self._index(fix.stamp_ns)
            other = fix.tracked_motion.propagate(self._estimate(index), sample, self.odometry)
            if other is not None and np.trace(other.covariance[:3, :3]) < np.trace(best.covariance[:3, :3]):
                best, from_index = other, index
        return best, from_index

    def _followed_after(self, index: int, sample: OdometrySample) -> OdometrySample | None:
        """The newest frame since a state, and just before a sample, whose points were followed."""
        fix, begin_ns = self._tracked_before(sample.stamp_ns), self._samples[index].stamp_ns
        last = None if fix is None else fix.tracked_motion.followed_before(sample.stamp_ns)
        gap_ns = round(self._config.max_gap_s * NANOSECONDS)
        return last if last is not None and max(begin_ns, sample.stamp_ns - gap_ns) <= last.stamp_ns else None

    def _predicted_past(self, last: OdometrySample | None, index: int, sample: OdometrySample) -> StateEstimate:
        """Prediction from a state, past a frame after which odometry's errors count as those of single steps."""
        if last is None:
            return self._predicted(index, sample)
        return propagate_step(self._predicted(index, last), last, sample, self.odometry)

    def _tracked_before(self, stamp_ns: int) -> AnchorFix | None:
        """The newest anchor, not newer than a stamp, whose points were tracked."""
        return next((fix for fix in reversed(self._fixes) if fix.tracked_motion and fix.stamp_ns <= stamp_ns), None)

    def _index(self, stamp_ns: int) -> int:
        """Which state is the first that is not older than a stamp."""
        return bisect_left(self._samples, stamp_ns, key=lambda known: known.stamp_ns)

    def _add_states(self, samples: Sequence[OdometrySample]) -> None:
        """Add states at samples where there are none yet."""
        known = {sample.stamp_ns for sample in self._samples}
        for sample, state in [(one, self.at(one).state) for one in samples if one.stamp_ns not in known]:
            index = self._index(sample.stamp_ns)
            self._states = self._states.inserted(index, state)
            self._samples = [*self._samples[:index], sample, *self._samples[index:]]

    def _keep_loops(self, loops: Sequence[LoopClosure]) -> None:
        """Drop all other loops, and the states that were only for them."""
        used = {stamp_ns for loop in loops for stamp_ns in (loop.earlier_ns, loop.later_ns)}
        used |= {fix.stamp_ns for fix in self._fixes}
        kept = np.array([sample.stamp_ns in used for sample in self._samples])
        self._loops = list(loops)
        self._samples = [sample for sample in self._samples if sample.stamp_ns in used]
        self._states, self._solution = self._states.only(kept), self._solution.only(kept)
        self._common_covariances = self._common_covariances[kept]

    def _estimate(self, index: int) -> StateEstimate:
        return StateEstimate(self._states[index], self._solution.covariances[index])

    def _predicted(self, index: int, sample: OdometrySample) -> StateEstimate:
        """Estimate at a state propagated by odometry, with the uncertainty of the rotation scale error."""
        motion, start = self._samples[index].motion_to(sample), self._estimate(index)
        moved = self.odometry.propagate(start, motion)
        transition = transition_matrix(
            moved.state.map_from_camera.translation - start.state.map_from_camera.translation
        )
        jacobian = start.state.rotation_scale_jacobian(motion)
        cross = np.outer(transition @ self._solution.shared[index], jacobian)
        covariance = self._solution.variance * np.outer(jacobian, jacobian) + cross + cross.T
        return StateEstimate(moved.state, moved.covariance + covariance)

    def _solve(self) -> None:
        """Gauss-Newton to convergence; each iteration also estimates the variance components again.

        That begins with the same components each time: two values may explain the residuals, and the result must not
        depend on the earlier one.
        """
        graph, self._components = self._graph(self._samples, self._loops), CONSERVATIVE
        for _ in range(MAX_ITERATIONS):
            linearised = graph.linearise(self._states, self._rotation_scale_error, self._components)
            self._solution = linearised.equations().solve()
            self._states = self._states.plus(self._solution.steps)
            self._rotation_scale_error += self._solution.shared_step
            before = self._components
            self._components = graph.estimate_components(linearised, self._solution, before)
            if self._solution.largest_step < CONVERGED and self._components.is_close(before):
                break
        self._odometry = graph.odometry_model(self._states, self._components, self._rotation_scale_error)
        self._common_covariances = graph.anchors.common_covariances(len(self._samples), self._components.common)

    def _loop_innovation_squared(self, loop: LoopClosure) -> float:
        """Normalised innovation squared of one more loop between states, chi-square of 7 degrees of freedom."""
        graph = self._graph(self._samples, [*self._loops, loop])
        linearised = graph.linearise(self._states, self._rotation_scale_error, self._components)
        if graph.loops is not None:
            linearised = replace(linearised, loops=graph.loops.linearise(self._states))  # without robust weights
        innovation = linearised.equations().joint_innovation()
        if innovation is None:
            return np.inf
        return innovation.squared(len(self._loops), self._config.tracking.odometry_noise_factor)

    def _graph(self, samples: Sequence[OdometrySample], loops: Sequence[LoopClosure]) -> FactorGraph:
        """The factor graph of the oldest states, or of all of them."""
        motions = self._tracked_motions(index_by_stamp(samples))
        return FactorGraph.build(self._config, samples, self._prior, self._fixes, motions, self._sensors, loops)

    def _tracked_motions(self, index: Mapping[int, int]) -> list[MotionMeasurement]:
        """Motion by tracked points from each anchor to the next one; odometry adds what is missing at the end."""
        motions = []
        for fix, following in pairwise(fix for fix in self._fixes if fix.stamp_ns in index):
            first, second = index[fix.stamp_ns], index[following.stamp_ns]
            log_scale = float(self._states.log_scales[first])
            motion = fix.tracked_motion.motion_to(following.sample, log_scale, self._config.max_gap_s, self._odometry)
            if motion is not None:
                motions.append(MotionMeasurement(first, second, motion.anchor_from_camera, motion.covariance))
        return motions

    def _marginalise_oldest(self) -> None:
        """Marginalise the oldest state into a prior of the next one; loops that begin before that are dropped."""
        later = [fix for fix in self._fixes if fix.stamp_ns > self._samples[0].stamp_ns]
        self._keep_loops([loop for loop in self._loops if loop.earlier_ns >= later[0].stamp_ns])
        ending = self._graph(self._samples[:2], ())
        linearised = ending.linearise(self._states.head(2), self._rotation_scale_error, self._components)
        information, gradient = linearised.of_first_state().equations().marginalise_first()
        rest = np.arange(len(self._samples)) > 0
        self._states, self._solution = self._states.only(rest), self._solution.only(rest)
        self._prior = StatePrior.marginal(self._states, self._rotation_scale_error, information, gradient)
        self._common_covariances = self._common_covariances[rest]
        self._has_past = True
        self._fixes, self._samples = later, self._samples[1:]
