"""The states of the batch smoother: odometry samples close enough together that little noise lies between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, TrackedPose
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import TrackingConfig
from visloc_ros.fusion.odometry_model.history import OdometryHistory, OdometrySample
from visloc_ros.fusion.smoothing.factor_graph import index_by_stamp
from visloc_ros.fusion.smoothing.factors.tracked_motion import MotionMeasurement

SPACING_S = 0.25  # between states; odometry hardly drifts in between
REACH = 24  # states that a tracked motion may span; the equations' band is as wide


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
