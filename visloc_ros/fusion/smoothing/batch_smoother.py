"""Batch smoother: robust least squares over all states of a recording at once, in linear time.

States are odometry samples close enough together that little noise lies between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import LoopClosure, OdometryPose, TrackedPose
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig, TrackingConfig
from visloc_ros.fusion.odometry_model.history import OdometryHistory, OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel, StateEstimate
from visloc_ros.fusion.smoothing.arrowhead import Solution
from visloc_ros.fusion.smoothing.factor_graph import FactorGraph, LinearisedGraph, index_by_stamp
from visloc_ros.fusion.smoothing.factors.anchor import AnchorFactors
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors, inverse
from visloc_ros.fusion.smoothing.factors.relative_motion import MotionMeasurement
from visloc_ros.fusion.smoothing.factors.sensors import SensorFactors
from visloc_ros.fusion.smoothing.states import FREE_SCALE_SIGMA, StatePrior, States
from visloc_ros.fusion.smoothing.variance_components import VarianceComponents

MAX_ROUNDS = 10  # of judging the anchors and their covariances again
MAX_ITERATIONS = 15  # of Gauss-Newton in each
CONVERGED = 1e-5  # of the error vector: map units, radians, log scale
BROKEN = 0.05  # robust weight below which an odometry step is a jump, not noise
DEGREES_OF_FREEDOM = 8.0  # of the Student-t weights of odometry: a step that slipped counts less
SPACING_S = 0.25  # between states; odometry hardly drifts in between
REACH = 24  # states that a tracked motion may span; the equations' band is as wide


class BatchSmoother:
    """Estimates the states at samples; ``inliers`` (M,) are the anchors to begin with."""

    def __init__(
        self,
        config: FusionConfig,
        samples: Sequence[OdometrySample],
        fixes: Sequence[AnchorFix],
        inliers: NDArray[np.bool_],
        states: States,
        tracked: Sequence[TrackedPose] = (),
        sensors: Sequence[SensorFactors] = (),
        loops: Sequence[LoopClosure] = (),
    ) -> None:
        self.samples, self._config, self._fixes = samples, config, fixes
        self._sensors, self._tracked, self._loops = sensors, tracked, loops
        index = index_by_stamp(samples)
        self._anchors = AnchorFactors.of(fixes, np.array([index[fix.stamp_ns] for fix in fixes], dtype=np.intp))
        self._segment_starts = 1 + np.flatnonzero(np.diff([sample.segment for sample in samples]))
        self._inliers, self._states, self._rotation_scale_error = inliers, states, 0.0
        self._components = VarianceComponents()
        self._solution: Solution
        self._odometry: OdometryModel
        self._solve()

    @property
    def anchor_stamps_ns(self) -> frozenset[int]:
        """Stamps of the anchors that are inliers."""
        return frozenset(fix.stamp_ns for fix in self._inlier_fixes())

    @property
    def odometry(self) -> OdometryModel:
        """The noise and the rotation scale error of this recording's odometry."""
        return self._odometry

    def estimate(self, index: int) -> StateEstimate:
        """State and covariance at one of the samples, the error that anchors have in common included."""
        return StateEstimate(self._states[index], self._covariances[index])

    def _solve(self) -> None:
        for _ in range(MAX_ROUNDS):
            graph = self._graph()
            linearised = self._converge(graph)
            inliers = self._find_inliers()
            components = graph.estimate_components(linearised, self._solution, self._components)
            has_settled = components.is_close(self._components) and np.array_equal(inliers, self._inliers)
            self._inliers, self._components = inliers, components
            if has_settled:
                break
        self._odometry = graph.odometry_model(self._states, self._components, self._rotation_scale_error)
        self._covariances = self._solution.covariances.copy()
        anchors = self._anchors.only(self._inliers)
        common = anchors.common_covariances(len(self._states), self._components.common)
        self._covariances[:, :6, :6] += common + self._jump_covariances(graph)

    def _inlier_fixes(self) -> list[AnchorFix]:
        return [fix for fix, good in zip(self._fixes, self._inliers, strict=True) if good]

    def _graph(self) -> FactorGraph:
        """All measurements, of the anchors only the present inliers."""
        fixes, noise = self._inlier_fixes(), self._config.odometry_noise
        return FactorGraph.build(
            self._config,
            self.samples,
            StatePrior.weak(self._states, FREE_SCALE_SIGMA, noise, self._segment_starts),
            fixes,
            tracked_motions(self.samples, self._tracked, fixes, self._config.tracking),
            self._sensors,
            self._loops,
            DEGREES_OF_FREEDOM,
        )

    def _converge(self, graph: FactorGraph) -> LinearisedGraph:
        """Gauss-Newton to convergence; returns the last linearisation."""
        for _ in range(MAX_ITERATIONS):
            linearised = graph.linearise(self._states, self._rotation_scale_error, self._components)
            equations = linearised.equations()
            steps, shared_step = equations.step()
            self._states = self._states.plus(steps)
            self._rotation_scale_error += shared_step
            if float(np.abs(steps).max()) < CONVERGED:
                break
        self._solution = equations.solve()
        return linearised

    def _find_inliers(self) -> NDArray[np.bool_]:
        """Which anchors pass the gate against the present estimate."""
        inliers, at = self._inliers, self._anchors.at
        expected = self._components.anchors.inflate(self._anchors.covariances) + self._config.alignment.tolerance
        expected[~inliers] += self._solution.covariances[at[~inliers], :6, :6]
        errors = self._anchors.minus(self._states)
        squared = np.einsum("ni,nij,nj->n", errors, inverse(expected), errors)
        fits: NDArray[np.bool_] = squared <= chi_square_quantile(self._config.gate.probability, 6)
        segments = np.array([fix.sample.segment for fix in self._fixes])
        is_determined = np.isin(segments, segments[fits])  # a segment without any anchor would float
        return np.where(is_determined, fits, inliers)

    def _jump_covariances(self, graph: FactorGraph) -> Array:
        """Covariances (N, 6, 6) to add around a broken step, whose time between two anchors is not known."""
        factors = graph.odometry_factors(self._states, self._rotation_scale_error, self._components)
        at, covariances = graph.anchors.at, np.zeros((len(self._states), 6, 6))
        for step in np.flatnonzero(_is_broken(factors) & ~graph.relative_motions.is_gap):
            begin, end = np.searchsorted(at, step, side="right"), np.searchsorted(at, step + 1)
            around = slice(at[begin - 1] + 1 if begin else 0, at[end] if end < len(at) else len(self._states))
            covariances[around] += np.outer(factors.residuals[step, :6], factors.residuals[step, :6])
        return covariances


def _is_broken(odometry: LinearFactors) -> NDArray[np.bool_]:
    """Which steps (N - 1,) of odometry are gross errors, by their factors: the camera jumped unobserved."""
    # Student's weight times the squared error it belongs to gives the weight.
    weighted = np.einsum("ni,nij,nj->n", odometry.residuals, odometry.information, odometry.residuals)
    weights = (DEGREES_OF_FREEDOM + odometry.residuals.shape[1] - weighted) / DEGREES_OF_FREEDOM
    return np.asarray(weights < BROKEN)


@dataclass(frozen=True, eq=False)
class OdometryRecord:
    """Samples of every frame with odometry, in order; ``history`` interpolates for stamps between frames."""

    samples: Sequence[OdometrySample]
    history: OdometryHistory

    @staticmethod
    def of(odometry: Sequence[OdometryPose], max_gap_s: float) -> OdometryRecord:
        """Make samples of odometry in the order of its stamps."""
        span_ns = odometry[-1].stamp_ns - min(odometry[0].earlier, default=odometry[0].stamp_ns) if odometry else 0
        history = OdometryHistory(span_ns / NANOSECONDS + 1.0, max_gap_s)
        for pose in odometry:
            history.append(pose)
        return OdometryRecord(history.samples, history)


def choose_states(samples: Sequence[OdometrySample], wanted: Iterable[OdometrySample]) -> list[OdometrySample]:
    """Wanted samples, the first and the last of each segment, and others so that none are far apart."""
    chosen = {sample.stamp_ns: sample for sample in wanted}
    for _, of_segment in groupby(samples, key=lambda sample: sample.segment):
        own = list(of_segment)
        chosen |= {sample.stamp_ns: sample for sample in (own[0], *_spaced(own), own[-1])}
    return sorted(chosen.values(), key=lambda sample: sample.stamp_ns)


def _spaced(samples: Sequence[OdometrySample]) -> Iterable[OdometrySample]:
    last_ns = samples[0].stamp_ns
    for sample in samples:
        if sample.stamp_ns - last_ns >= SPACING_S * NANOSECONDS:
            last_ns = sample.stamp_ns
            yield sample


def tracked_motions(
    samples: Sequence[OdometrySample],
    tracked: Sequence[TrackedPose],
    fixes: Sequence[AnchorFix],
    config: TrackingConfig,
) -> list[MotionMeasurement]:
    """Motion by tracked points from the state of their anchor on; far from it, from a later state that saw them, too.

    Errors of neighbouring poses are correlated, so that each counts as a share of a measurement.
    """
    index, correlated = index_by_stamp(samples), 1.0 + config.correlated_share * 2.0 * config.correlation_s / SPACING_S
    seen = {
        fix.stamp_ns: {index[fix.stamp_ns]: _TrackedState(fix.anchor.map_from_camera, np.zeros((6, 6)))}
        for fix in fixes
    }
    motions = []
    for pose in sorted(tracked, key=lambda pose: pose.stamp_ns):
        at, of_anchor = index.get(pose.stamp_ns), seen.get(pose.anchor_stamp_ns)
        if at is None or of_anchor is None or at <= next(iter(of_anchor)):
            continue
        first = next((one for one in of_anchor if at - one <= REACH), None)
        of_anchor[at] = _TrackedState(pose.map_from_camera, correlated * pose.covariance_since_anchor)
        if first is not None:
            motions.append(_motion(first, at, of_anchor[first], of_anchor[at]))
    return motions


class _TrackedState(NamedTuple):
    """``map_from_camera`` by the points of an anchor, and its covariance (6, 6) since that anchor."""

    map_from_camera: SE3
    covariance: Array


def _motion(first: int, second: int, start: _TrackedState, end: _TrackedState) -> MotionMeasurement:
    covariance = turn_covariance(start.covariance + end.covariance, start.map_from_camera.rotation.T)
    return MotionMeasurement(first, second, start.map_from_camera.inverse @ end.map_from_camera, covariance)
