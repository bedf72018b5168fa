"""Odometry of a whole recording as a chain of states: close enough together that what lies between is a short leg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, TrackedPose
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import TrackingConfig
from visloc_ros.fusion.odometry_model.history import OdometryHistory, Sample
from visloc_ros.fusion.smoothing.factors.relative_motion import Legs
from visloc_ros.fusion.smoothing.factors.tracked_motion import Motion

SPACING_S = 0.25  # between states; odometry hardly drifts in between
REACH = 24  # states that a motion of followed points may span; the equations' band is as wide


@dataclass(frozen=True, eq=False)
class Recorded:
    """Samples of every frame with odometry, in order; ``at`` interpolates for stamps between frames."""

    samples: Sequence[Sample]
    history: OdometryHistory

    @staticmethod
    def of(odometry: Sequence[OdometryPose], max_gap_s: float) -> Recorded:
        """Sum up path and turning of odometry in the order of its stamps."""
        span_ns = odometry[-1].stamp_ns - odometry[0].stamp_ns if odometry else 0
        history = OdometryHistory(span_ns / NANOSECONDS + 1.0, max_gap_s)
        return Recorded([history.append(pose) for pose in odometry], history)


@dataclass(frozen=True, eq=False)
class Chain:
    """Samples (N) at the states, and the legs between them."""

    samples: Sequence[Sample]
    legs: Legs

    @staticmethod
    def of(samples: Sequence[Sample]) -> Chain:
        """Join samples in the order of their stamps; across a gap of odometry nothing is known of the motion."""
        return Chain(samples, Legs.between(samples))

    def index_of(self) -> dict[int, int]:
        """Which state belongs to a stamp."""
        return {sample.stamp_ns: index for index, sample in enumerate(self.samples)}

    def begins_of_segments(self) -> NDArray[np.intp]:
        """Indices of the first state of each segment."""
        return np.concatenate([[0], np.flatnonzero(self.legs.is_gap) + 1])


def choose_states(samples: Sequence[Sample], wanted: Iterable[Sample]) -> list[Sample]:
    """Wanted samples, the first and the last of each segment, and others so that none are far apart."""
    chosen = {sample.stamp_ns: sample for sample in wanted}
    for _, of_segment in groupby(samples, key=lambda sample: sample.segment):
        own = list(of_segment)
        chosen |= {sample.stamp_ns: sample for sample in (own[0], *_spaced(own), own[-1])}
    return sorted(chosen.values(), key=lambda sample: sample.stamp_ns)


def _spaced(samples: Sequence[Sample]) -> Iterable[Sample]:
    last_ns = samples[0].stamp_ns
    for sample in samples:
        if sample.stamp_ns - last_ns >= SPACING_S * NANOSECONDS:
            last_ns = sample.stamp_ns
            yield sample


def followed_along(
    chain: Chain, tracked: Sequence[TrackedPose], anchors: Sequence[Fix], config: TrackingConfig
) -> list[Motion]:
    """Motion of followed points from their anchor's state on; far from it, from a state before that saw them, too.

    Errors of neighbouring poses are alike, so that each counts as a share of a measurement.
    """
    index, alike = chain.index_of(), 1.0 + config.lasting_share * 2.0 * config.correlation_s / SPACING_S
    seen = {fix.stamp_ns: {index[fix.stamp_ns]: _Seen(fix.anchor.map_from_camera, np.zeros((6, 6)))} for fix in anchors}
    motions = []
    for pose in sorted(tracked, key=lambda pose: pose.stamp_ns):
        at, siblings = index.get(pose.stamp_ns), seen.get(pose.anchor_stamp_ns)
        if at is None or siblings is None or at <= next(iter(siblings)):
            continue
        first = next((one for one in siblings if at - one <= REACH), None)
        siblings[at] = _Seen(pose.map_from_camera, alike * pose.covariance_since_anchor)
        if first is not None:
            motions.append(_motion(first, at, siblings[first], siblings[at]))
    return motions


class _Seen(NamedTuple):
    """``map_from_camera`` by the points of an anchor, and its covariance (6, 6) since that anchor."""

    map_from_camera: SE3
    covariance: Array


def _motion(first: int, second: int, start: _Seen, end: _Seen) -> Motion:
    into_camera = np.kron(np.eye(2), start.map_from_camera.rotation.T)
    covariance = into_camera @ (start.covariance + end.covariance) @ into_camera.T
    return Motion(first, second, start.map_from_camera.inverse @ end.map_from_camera, covariance)
