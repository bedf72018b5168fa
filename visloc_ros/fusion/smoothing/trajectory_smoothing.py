"""The best trajectory after the fact: all odometry and all anchors of a recording estimated together.

The same unknowns and factors as in the online smoother (camera pose and log scale; anchors, odometry with its drift,
followed map points, loops), but the future counts as much as the past, and nothing is forgotten. Segments of odometry
are parts of one chain: each begins with an own origin and scale, held by the anchors in it. Anchors are begun with
where ``consensus`` trusts them, and judged again by every solution. The equations are banded but for the loops, and
solved in linear time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, Reason, Rejection, TrackedPose
from visloc_ros.fusion.anchor_fix import Fix, make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR
from visloc_ros.fusion.initialization.sim3_consensus import Consensus, find_consensus
from visloc_ros.fusion.input_checks import is_loop
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate
from visloc_ros.fusion.smoothing.batch_smoother import ChainSmoother
from visloc_ros.fusion.smoothing.batch_states import Chain, Recorded, choose_states
from visloc_ros.fusion.smoothing.factors.sensors import Sensor, scale_prior, sensor_factors
from visloc_ros.fusion.smoothing.states import States


@dataclass(eq=False)
class Recording:
    """What a run gave to its fuser, in any order."""

    odometry: list[OdometryPose] = field(default_factory=list)
    anchors: list[AnchorPose] = field(default_factory=list)
    tracked: list[TrackedPose] = field(default_factory=list)
    loops: list[LoopClosure] = field(default_factory=list)

    def add(self, result: OdometryPose | AnchorPose | TrackedPose | LoopClosure | Rejection) -> None:
        """Keep whatever is a pose."""
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
class Smoothed:
    """Poses of the frames with odometry, in order, and the stamps of the anchors that they rest on.

    A segment of odometry in which no anchors agree has no poses.
    """

    poses: tuple[SmoothedPose, ...]
    anchor_stamps_ns: frozenset[int]


@dataclass(frozen=True, eq=False)
class _Segment:
    """A stretch of odometry, the anchors in it, and where these put it."""

    samples: Sequence[Sample]
    fixes: Sequence[Fix]
    consensus: Consensus


def smooth(
    recording: Recording, config: FusionConfig, metric: bool = False, gravity_aligned: bool = False
) -> Smoothed | Rejection:
    """Estimate the whole trajectory at once, or say why no segment of odometry can be put into the map.

    ``metric`` and ``gravity_aligned`` tell what the map is: only then do scale and gravity by other sensors count.
    """
    odometry = sorted(recording.odometry, key=lambda pose: pose.stamp_ns)
    recorded = Recorded.of(odometry, config.max_gap_s)
    fixes = _fixes(recorded, recording.anchors, config)
    segments: list[_Segment] = []
    refusal = Rejection(odometry[-1].stamp_ns if odometry else 0, Reason.SCALE_UNSET, {"candidates": len(fixes)})
    for number, group in groupby(recorded.samples, key=lambda sample: sample.segment):
        own = [fix for fix in fixes if fix.sample.segment == number]
        consensus = _consensus(own, config, metric)
        if isinstance(consensus, Rejection):
            refusal = consensus
        else:
            segments.append(_Segment(list(group), own, consensus))
    if not segments:
        return refusal
    sensors = sensor_factors(config.sensors, metric, gravity_aligned)
    return _smooth(segments, recording, _ends(recorded, recording.loops), sensors, config)


def _consensus(fixes: Sequence[Fix], config: FusionConfig, metric: bool) -> Consensus | Rejection:
    """Agreement of a segment's anchors; where they do not tell the scale by themselves, with that of other sensors."""
    unaided = find_consensus(fixes, config)
    prior = scale_prior(fixes[-1].sample, config.sensors, metric) if fixes else NO_PRIOR
    return find_consensus(fixes, config, prior) if isinstance(unaided, Rejection) and prior.information else unaided


def _smooth(
    segments: Sequence[_Segment],
    recording: Recording,
    ends: Mapping[LoopClosure, tuple[Sample, Sample]],
    sensors: Sequence[Sensor],
    config: FusionConfig,
) -> Smoothed:
    samples = [sample for segment in segments for sample in segment.samples]
    fixes = [fix for segment in segments for fix in segment.fixes]
    trusted = np.concatenate([segment.consensus.trusted for segment in segments])
    used = {segment.samples[0].segment for segment in segments}
    loops = {loop: pair for loop, pair in ends.items() if pair[0].segment in used}
    of_loops = [sample for pair in loops.values() for sample in pair]
    chain = Chain.of(choose_states(samples, [*(fix.sample for fix in fixes), *of_loops]))
    smoother = ChainSmoother(
        config, chain, fixes, trusted, _initial(chain, segments), recording.tracked, sensors, tuple(loops)
    )
    return Smoothed(tuple(_every_frame(samples, smoother)), smoother.anchor_stamps_ns)


def _ends(recorded: Recorded, loops: Sequence[LoopClosure]) -> dict[LoopClosure, tuple[Sample, Sample]]:
    """Loops with the odometry at both ends; those that cannot be, or lead to another segment, are left out."""
    met = ((loop, recorded.history.at(loop.earlier_ns), recorded.history.at(loop.later_ns)) for loop in loops)
    return {
        loop: (earlier, later)
        for loop, earlier, later in met
        if is_loop(loop) and earlier is not None and later is not None and earlier.segment == later.segment
    }


def _fixes(recorded: Recorded, anchors: Sequence[AnchorPose], config: FusionConfig) -> list[Fix]:
    """Anchors with the odometry of their images; those without are left out."""
    ordered = sorted(anchors, key=lambda anchor: anchor.stamp_ns)
    met = [(recorded.history.at(anchor.stamp_ns), anchor) for anchor in ordered]
    return [make_fix(sample, anchor, config.anchor_noise) for sample, anchor in met if sample is not None]


def _initial(chain: Chain, segments: Sequence[_Segment]) -> States:
    """States by the similarity of the nearest piece of each segment."""
    near = {segment.samples[0].segment: segment.consensus.near for segment in segments}
    similarities = [near[sample.segment](sample.stamp_ns) for sample in chain.samples]
    return States.stacked(
        [
            CameraState(similarity.apply_to_pose(sample.odom_from_camera), float(np.log(similarity.scale)))
            for similarity, sample in zip(similarities, chain.samples, strict=True)
        ]
    )


def _every_frame(samples: Sequence[Sample], smoother: ChainSmoother) -> Iterator[SmoothedPose]:
    """Estimates at samples: between two states, carried from both and blended."""
    states = smoother.chain.samples
    after = 0
    for sample in samples:
        while states[after].stamp_ns < sample.stamp_ns:
            after += 1
        there = smoother.estimate(after)
        if states[after].stamp_ns > sample.stamp_ns:
            there = _between(smoother, after, sample)
        pose = there.state.map_from_camera
        yield SmoothedPose(sample.stamp_ns, pose, there.covariance[:6, :6], there.state.scale)


def _between(smoother: ChainSmoother, after: int, sample: Sample) -> StateEstimate:
    before, later = smoother.chain.samples[after - 1], smoother.chain.samples[after]
    fraction = (sample.stamp_ns - before.stamp_ns) / (later.stamp_ns - before.stamp_ns)
    forward = smoother.odometry.carry(smoother.estimate(after - 1), before.leg_to(sample))
    backward = smoother.odometry.carry(smoother.estimate(after), later.leg_to(sample))
    return _blend(forward, backward, fraction)


def _blend(forward: StateEstimate, backward: StateEstimate, fraction: float) -> StateEstimate:
    pose = forward.state.map_from_camera.interpolate(backward.state.map_from_camera, fraction)
    log_scale = (1.0 - fraction) * forward.state.log_scale + fraction * backward.state.log_scale
    covariance = (1.0 - fraction) * forward.covariance + fraction * backward.covariance
    return StateEstimate(CameraState(pose, log_scale), covariance)
