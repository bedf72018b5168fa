"""Simulated runs with an incident: what the fusion must live through without ever being confidently wrong."""

from dataclasses import replace

import numpy as np

from testing.fusion_replay import play
from testing.fusion_runs import FusionRun
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import AnchorPose, OdometryPose, Rejection
from visloc_ros.evaluation.records import FrameRecord, RunRecord
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

ELSEWHERE = SE3(rotation_matrix([0.0, 0.0, 1.0]), np.array([2.0, -1.5, 0.1]))


def kidnapped(run: FusionRun, at_s: float, noticed: bool) -> FusionRun:
    """The run with the camera put elsewhere at a time; where that is ``noticed`` the odometry begins a new segment."""
    jump_ns = run.stamps_ns[0] + round(at_s * NANOSECONDS)
    truth = [
        ELSEWHERE @ pose if stamp >= jump_ns else pose for stamp, pose in zip(run.stamps_ns, run.truth, strict=True)
    ]
    anchors = [(arrival, moved(anchor) if anchor.stamp_ns >= jump_ns else anchor) for arrival, anchor in run.anchors]
    odometry = [in_next_segment(one) if noticed and one.stamp_ns >= jump_ns else one for one in run.odometry]
    return replace(run, truth=truth, anchors=anchors, odometry=odometry)


def moved(anchor: AnchorPose) -> AnchorPose:
    """An anchor as it is where the camera was put."""
    return replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera)


def in_next_segment(result: OdometryPose | Rejection) -> OdometryPose | Rejection:
    """Odometry in the segment after its own."""
    return replace(result, segment=result.segment + 1) if isinstance(result, OdometryPose) else result


def record_of(run: FusionRun, config: FusionConfig | None = None) -> RunRecord:
    """Play a run to the fuser with default options, and keep what it says."""
    fuser = Fuser(config or FusionConfig(), metric=True)
    estimates = play(fuser, run)
    truth = Trajectory(np.array(run.stamps_ns), tuple(run.truth))
    return RunRecord("simulated", tuple(map(FrameRecord.from_estimate, estimates)), ground_truth=truth)
