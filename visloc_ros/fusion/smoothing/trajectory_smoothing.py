"""The best trajectory of a finished recording: all its odometry and anchors smoothed together.

States and factors are those of the fixed-lag smoother, but nothing is marginalised and the future counts as much as the
past. Segments of odometry are parts of one problem: each has its own origin and scale, determined by the anchors in it.
The first inliers are those of ``sim3_consensus``; every solution judges them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, Reason, Rejection, TrackedPose
from visloc_ros.fusion.anchor_fix import AnchorFix, make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR
from visloc_ros.fusion.initialization.sim3_consensus import Consensus, find_consensus
from visloc_ros.fusion.input_checks import is_valid_loop
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate
from visloc_ros.fusion.smoothing.batch_smoother import BatchSmoother, OdometryRecord, choose_states
from visloc_ros.fusion.smoothing.factors.sensors import SensorFactors, make_sensor_factors, scale_prior
from visloc_ros.fusion.smoothing.states import States


@dataclass(eq=False)
class RecordedMeasurements:
    """The measurements that a run gave to its fuser, in any order."""

    odometry: list[OdometryPose] = field(default_factory=list)
    anchors: list[AnchorPose] = field(default_factory=list)
    tracked: list[TrackedPose] = field(default_factory=list)
    loops: list[LoopClosure] = field(default_factory=list)

    def add(self, result: OdometryPose | AnchorPose | TrackedPose | LoopClosure | Rejection) -> None:
        """Keep a measurement that is a pose."""
        if isinstance(result, OdometryPose):
            self.odometry.append(result)
        elif isinstance(result, AnchorPose):
            self.anchors.append(result)
        elif isinstance(result, TrackedPose):
            self.tracked.append(result)
        elif isinstance(result, LoopClosure):
            self.loops.append(result)


@dataclass(frozen=True, eq=False)
class SmoothedPose:
    """``map_from_camera`` of a frame with its covariance (6, 6), and the odometry's scale there."""

    stamp_ns: int
    map_from_camera: SE3
    covariance: Array
    scale: float


@dataclass(frozen=True, eq=False)
class SmoothedTrajectory:
    """Poses of the frames with odometry, in order, and the stamps of the anchors that they rest on.

    A segment of odometry in which no anchors agree has no poses.
    """

    poses: tuple[SmoothedPose, ...]
    anchor_stamps_ns: frozenset[int]


@dataclass(frozen=True, eq=False)
class _Segment:
    """A segment of odometry, the anchors in it, and their consensus."""

    samples: Sequence[OdometrySample]
    fixes: Sequence[AnchorFix]
    consensus: Consensus


def smooth(
    measurements: RecordedMeasurements, config: FusionConfig, metric: bool = False, gravity_aligned: bool = False
) -> SmoothedTrajectory | Rejection:
    """Estimate the whole trajectory at once, or give the reason why no segment of odometry can be aligned to the map.

    Scale and gravity by other sensors are used only where the map is ``metric`` and ``gravity_aligned``.
    """
    odometry = sorted(measurements.odometry, key=lambda pose: pose.stamp_ns)
    record = OdometryRecord.of(odometry, config.max_gap_s)
    fixes = _fixes(record, measurements.anchors, config)
    segments: list[_Segment] = []
    refusal = Rejection(odometry[-1].stamp_ns if odometry else 0, Reason.SCALE_UNSET, {"candidates": len(fixes)})
    for number, group in groupby(record.samples, key=lambda sample: sample.segment):
        own = [fix for fix in fixes if fix.sample.segment == number]
        consensus = _consensus(own, config, metric)
        if isinstance(consensus, Rejection):
            refusal = consensus
        else:
            segments.append(_Segment(list(group), own, consensus))
    if not segments:
        return refusal
    sensors = make_sensor_factors(config.sensors, metric, gravity_aligned)
    return _smooth(segments, measurements, _ends(record, measurements.loops), sensors, config)


def _consensus(fixes: Sequence[AnchorFix], config: FusionConfig, metric: bool) -> Consensus | Rejection:
    """Consensus of a segment's anchors; where they do not determine the scale, with that of other sensors."""
    by_anchors = find_consensus(fixes, config)
    prior = scale_prior(fixes[-1].sample, config.sensors, metric) if fixes else NO_PRIOR
    needs_prior = isinstance(by_anchors, Rejection) and prior.information
    return find_consensus(fixes, config, prior) if needs_prior else by_anchors


def _smooth(
    segments: Sequence[_Segment],
    measurements: RecordedMeasurements,
    ends: Mapping[LoopClosure, tuple[OdometrySample, OdometrySample]],
    sensors: Sequence[SensorFactors],
    config: FusionConfig,
) -> SmoothedTrajectory:
    samples = [sample for segment in segments for sample in segment.samples]
    fixes = [fix for segment in segments for fix in segment.fixes]
    inliers = np.concatenate([segment.consensus.inliers for segment in segments])
    used = {segment.samples[0].segment for segment in segments}
    loops = {loop: pair for loop, pair in ends.items() if pair[0].segment in used}
    of_loops = [sample for pair in loops.values() for sample in pair]
    at_states = choose_states(samples, [*(fix.sample for fix in fixes), *of_loops])
    states = _initial_states(at_states, segments)
    smoother = BatchSmoother(config, at_states, fixes, inliers, states, measurements.tracked, sensors, tuple(loops))
    return SmoothedTrajectory(tuple(_every_frame(samples, smoother)), smoother.anchor_stamps_ns)


def _ends(
    record: OdometryRecord, loops: Sequence[LoopClosure]
) -> dict[LoopClosure, tuple[OdometrySample, OdometrySample]]:
    """Loops with the odometry at both ends; invalid ones and those between segments are left out."""
    candidates = ((loop, record.history.at(loop.earlier_ns), record.history.at(loop.later_ns)) for loop in loops)
    return {
        loop: (earlier, later)
        for loop, earlier, later in candidates
        if is_valid_loop(loop) and earlier is not None and later is not None and earlier.segment == later.segment
    }


def _fixes(record: OdometryRecord, anchors: Sequence[AnchorPose], config: FusionConfig) -> list[AnchorFix]:
    """Anchors with the odometry of their images; those without are left out."""
    ordered = sorted(anchors, key=lambda anchor: anchor.stamp_ns)
    paired = [(record.history.at(anchor.stamp_ns), anchor) for anchor in ordered]
    return [make_fix(sample, anchor, config.anchor_noise) for sample, anchor in paired if sample is not None]


def _initial_states(samples: Sequence[OdometrySample], segments: Sequence[_Segment]) -> States:
    """States at samples by the nearest similarity of their segment's consensus."""
    near = {segment.samples[0].segment: segment.consensus.near for segment in segments}
    similarities = [near[sample.segment](sample.stamp_ns) for sample in samples]
    return States.stacked(
        [
            CameraState(similarity.apply_to_pose(sample.odom_from_camera), float(np.log(similarity.scale)))
            for similarity, sample in zip(similarities, samples, strict=True)
        ]
    )


def _every_frame(samples: Sequence[OdometrySample], smoother: BatchSmoother) -> Iterator[SmoothedPose]:
    """Estimates at samples: between two states predicted from both and interpolated."""
    states = smoother.samples
    after = 0
    for sample in samples:
        while states[after].stamp_ns < sample.stamp_ns:
            after += 1
        there = smoother.estimate(after)
        if states[after].stamp_ns > sample.stamp_ns:
            there = _between(smoother, after, sample)
        pose = there.state.map_from_camera
        yield SmoothedPose(sample.stamp_ns, pose, there.covariance[:6, :6], there.state.scale)


def _between(smoother: BatchSmoother, after: int, sample: OdometrySample) -> StateEstimate:
    before, later = smoother.samples[after - 1], smoother.samples[after]
    fraction = (sample.stamp_ns - before.stamp_ns) / (later.stamp_ns - before.stamp_ns)
    forward = smoother.odometry.propagate(smoother.estimate(after - 1), before.motion_to(sample))
    backward = smoother.odometry.propagate(smoother.estimate(after), later.motion_to(sample))
    return _interpolate(forward, backward, fraction)


def _interpolate(forward: StateEstimate, backward: StateEstimate, fraction: float) -> StateEstimate:
    pose = forward.state.map_from_camera.interpolate(backward.state.map_from_camera, fraction)
    log_scale = (1.0 - fraction) * forward.state.log_scale + fraction * backward.state.log_scale
    covariance = (1.0 - fraction) * forward.covariance + fraction * backward.covariance
    return StateEstimate(CameraState(pose, log_scale), covariance)
